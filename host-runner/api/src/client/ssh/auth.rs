//! Logging in: keys from files and from the ssh-agent, then the password.
//!
//! Source: RFC 4252 (methods, partial success), RFC 4256 (keyboard-interactive), RFC 8332 (RSA with SHA-2).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{MethodKind, MethodSet};
use tracing::debug;

use super::gatekeeper::{Ending, Gatekeeper};
use super::keys::{self, KeyMaterial};
use super::route::{Hop, KeyFile};
use super::{CloseReason, SshError, SshOptions};

/// OpenSSH's `MaxAuthTries` is 6 by default: after five keys there is one try left for the password.
const KEYS_OFFERED_MAX: usize = 5;
/// How often a server may ask for one more factor.
const FACTORS_MAX: usize = 3;
/// How many times a server may ask in one keyboard-interactive login.
const QUESTIONS_MAX: usize = 8;
/// How long the ssh-agent may take to list its keys. Signing may wait for a person, within the login's own deadline.
const AGENT_LIST_DEADLINE: Duration = Duration::from_secs(3);

type Agent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// Logs in to a hop; the caller puts a deadline on it.
///
/// # Errors
/// [`SshError::PassphraseNeeded`] where the server would take a key that is still encrypted, [`SshError::AuthenticationFailed`] where
/// nothing is left to try, and the errors of the connection.
pub(super) async fn log_in(
    handle: &mut Handle<Gatekeeper>,
    hop: &Hop,
    options: &SshOptions,
    ending: &Ending,
) -> Result<(), SshError> {
    let mut login = Login {
        handle,
        hop,
        options,
        ending,
        methods: MethodSet::empty(),
        offered: Vec::new(),
        tried: Vec::new(),
        locked: None,
        password_refused: false,
        one_factor_more: false,
    };
    if login.run().await? {
        Ok(())
    } else {
        Err(login.failure())
    }
}

struct Login<'a> {
    handle: &'a mut Handle<Gatekeeper>,
    hop: &'a Hop,
    options: &'a SshOptions,
    ending: &'a Ending,
    /// What the server would look at next.
    methods: MethodSet,
    offered: Vec<PublicKey>,
    tried: Vec<String>,
    /// A key that the server would take and that is encrypted; true where the given passphrase is wrong.
    locked: Option<(std::path::PathBuf, bool)>,
    password_refused: bool,
    one_factor_more: bool,
}

impl Login<'_> {
    async fn run(&mut self) -> Result<bool, SshError> {
        let none = self.handle.authenticate_none(self.hop.user.clone()).await;
        if self.settle(none)? {
            return Ok(true);
        }
        for _ in 0..FACTORS_MAX {
            self.one_factor_more = false;
            if self.keys().await? || self.password().await? {
                return Ok(true);
            }
            if !self.one_factor_more {
                break;
            }
        }
        Ok(false)
    }

    fn would_take(&self, method: MethodKind) -> bool {
        self.methods.contains(&method)
    }

    /// Notes what the server answered; true when it let us in.
    fn settle(&mut self, result: Result<AuthResult, russh::Error>) -> Result<bool, SshError> {
        match result {
            Ok(AuthResult::Success) => Ok(true),
            // A connection that ends during a login looks like a refusal without other methods.
            _ if self.handle.is_closed() => Err(self.cut_off()),
            Ok(AuthResult::Failure {
                remaining_methods,
                partial_success,
            }) => {
                self.methods = remaining_methods;
                self.one_factor_more |= partial_success;
                Ok(false)
            }
            Err(err) => Err(SshError::Protocol {
                address: self.hop.address(),
                err,
            }),
        }
    }

    async fn keys(&mut self) -> Result<bool, SshError> {
        let mut agent = self.agent().await;
        let held = match &mut agent {
            Some(agent) => list(agent).await,
            None => Vec::new(),
        };
        for file in &self.hop.keys {
            if self.key_file(file, &mut agent, &held).await? {
                return Ok(true);
            }
        }
        if let Some(agent) = agent.as_mut().filter(|_| !self.hop.identities_only) {
            for key in &held {
                if self.sign_with_agent(agent, key).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// True when the key may be offered now; notes that it is.
    fn may_offer(&mut self, key: &PublicKey, name: &str) -> bool {
        let again = self
            .offered
            .iter()
            .any(|offered| offered.key_data() == key.key_data());
        if again || self.offered.len() >= KEYS_OFFERED_MAX || !self.would_take(MethodKind::PublicKey) {
            return false;
        }
        self.offered.push(key.clone());
        self.tried.push(name.to_owned());
        true
    }

    async fn key_file(
        &mut self,
        file: &KeyFile,
        agent: &mut Option<Agent>,
        held: &[PublicKey],
    ) -> Result<bool, SshError> {
        let material = match keys::load(&file.path, self.options.passphrase.clone()).await {
            Ok(Some(material)) => material,
            Ok(None) if file.required => {
                return Err(SshError::ReadFile {
                    path: file.path.clone(),
                    err: std::io::ErrorKind::NotFound.into(),
                });
            }
            Ok(None) => return Ok(false),
            Err(err) if file.required => return Err(err),
            Err(err) => {
                debug!(%err, "passing over a key file");
                return Ok(false);
            }
        };
        let name = format!("key {}", file.path.display());
        let public = material.public_key();
        let in_agent = public.and_then(|public| held.iter().find(|key| key.key_data() == public.key_data()));
        match (material, in_agent, agent) {
            (KeyMaterial::Open(key), _, _) => self.sign(key, &name).await,
            (KeyMaterial::Locked { .. }, Some(key), Some(agent)) => self.sign_with_agent(agent, key).await,
            (KeyMaterial::Locked { public, refused }, _, _) => {
                self.ask_about(public.as_ref(), &name, &file.path, refused).await
            }
        }
    }

    async fn sign(&mut self, key: Box<PrivateKey>, name: &str) -> Result<bool, SshError> {
        if !self.may_offer(key.public_key(), name) {
            return Ok(false);
        }
        let hash = self.rsa_hash(key.public_key()).await;
        let key = PrivateKeyWithHashAlg::new(Arc::new(*key), hash);
        let result = self
            .handle
            .authenticate_publickey(self.hop.user.clone(), key)
            .await;
        self.settle(result)
    }

    async fn sign_with_agent(&mut self, agent: &mut Agent, key: &PublicKey) -> Result<bool, SshError> {
        let comment = super::gatekeeper::presentable(key.comment().as_str_lossy());
        if !self.may_offer(key, &format!("ssh-agent {comment}")) {
            return Ok(false);
        }
        let hash = self.rsa_hash(key).await;
        let result = self
            .handle
            .authenticate_publickey_with(self.hop.user.clone(), key.clone(), hash, agent)
            .await;
        match result {
            Ok(result) => self.settle(Ok(result)),
            Err(_) if self.handle.is_closed() => Err(self.cut_off()),
            Err(err) => {
                debug!(%err, "the ssh-agent did not sign");
                Ok(false)
            }
        }
    }

    /// Asks the server whether it would take a key that is still encrypted: a passphrase is worth asking a person for only then.
    async fn ask_about(
        &mut self,
        public: Option<&PublicKey>,
        name: &str,
        path: &Path,
        refused: bool,
    ) -> Result<bool, SshError> {
        let wanted = match public {
            Some(key) if self.may_offer(key, name) => {
                let hash = self.rsa_hash(key).await;
                let result = self
                    .handle
                    .authenticate_publickey_with(
                        self.hop.user.clone(),
                        key.clone(),
                        hash,
                        &mut keys::NoSigner,
                    )
                    .await;
                match result {
                    Err(keys::NotSigned::OnPurpose) => true,
                    Err(keys::NotSigned::Closed) => return Err(self.cut_off()),
                    Ok(result) => {
                        self.settle(Ok(result))?;
                        false
                    }
                }
            }
            Some(_) => false,
            // A file that hides even its public key.
            None => self.would_take(MethodKind::PublicKey),
        };
        if wanted && self.locked.is_none() {
            self.locked = Some((path.to_owned(), refused));
        }
        Ok(false)
    }

    async fn password(&mut self) -> Result<bool, SshError> {
        let Some(password) = self.options.password.clone().filter(|_| self.hop.is_target) else {
            return Ok(false);
        };
        if self.password_refused {
            return Ok(false);
        }
        let accepted = if self.would_take(MethodKind::Password) {
            self.tried.push("password".into());
            let result = self
                .handle
                .authenticate_password(self.hop.user.clone(), password.as_str())
                .await;
            self.settle(result)?
        } else if self.would_take(MethodKind::KeyboardInteractive) {
            self.tried.push("keyboard-interactive".into());
            self.answer_questions(&password).await?
        } else {
            return Ok(false);
        };
        // A password that was right but not enough is not refused.
        self.password_refused = !accepted && !self.one_factor_more;
        Ok(accepted)
    }

    /// Answers the server's question for a secret with the password, and gives up where it asks for anything else.
    async fn answer_questions(&mut self, password: &str) -> Result<bool, SshError> {
        let user = self.hop.user.clone();
        let mut response = self
            .handle
            .authenticate_keyboard_interactive_start(user, None)
            .await;
        for _ in 0..QUESTIONS_MAX {
            let answers = match response {
                Ok(KeyboardInteractiveAuthResponse::Success) => return Ok(true),
                Ok(KeyboardInteractiveAuthResponse::Failure {
                    remaining_methods,
                    partial_success,
                }) => {
                    return self.settle(Ok(AuthResult::Failure {
                        remaining_methods,
                        partial_success,
                    }));
                }
                Ok(KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. }) => {
                    match prompts.as_slice() {
                        [] => Vec::new(),
                        [secret] if !secret.echo => vec![password.to_owned()],
                        others => vec![String::new(); others.len()],
                    }
                }
                Err(err) => return self.settle(Err(err)),
            };
            response = self
                .handle
                .authenticate_keyboard_interactive_respond(answers)
                .await;
        }
        Ok(false)
    }

    /// The hash for an RSA key's signature; `None` for other keys. Never SHA-1.
    async fn rsa_hash(&self, key: &PublicKey) -> Option<HashAlg> {
        if !key.algorithm().is_rsa() {
            return None;
        }
        let named = self.handle.best_supported_rsa_hash().await;
        // A server that does not say what it takes may still take this.
        Some(named.ok().flatten().flatten().unwrap_or(HashAlg::Sha512))
    }

    async fn agent(&self) -> Option<Agent> {
        if !self.would_take(MethodKind::PublicKey) {
            return None;
        }
        let socket = self.hop.agent_socket.as_ref()?;
        match tokio::time::timeout(AGENT_LIST_DEADLINE, open_agent(socket)).await {
            Ok(Ok(agent)) => Some(agent),
            Ok(Err(err)) => {
                debug!(%err, socket = %socket.display(), "no ssh-agent");
                None
            }
            Err(_) => None,
        }
    }

    /// The server ended the connection before it let us in: where it names a reason, that is mostly too many attempts.
    fn cut_off(&mut self) -> SshError {
        let reason = self.ending.borrow().clone();
        match reason {
            Some(CloseReason::Remote(words)) => {
                self.tried.push(format!("then the server hung up ({words})"));
                self.failure()
            }
            Some(reason) => SshError::Closed {
                address: self.hop.address(),
                reason,
            },
            None => SshError::Closed {
                address: self.hop.address(),
                reason: CloseReason::Broken("the server hung up during the login".into()),
            },
        }
    }

    fn failure(&mut self) -> SshError {
        if let Some((path, refused)) = self.locked.take()
            && !self.password_refused
        {
            return SshError::PassphraseNeeded { path, refused };
        }
        SshError::AuthenticationFailed {
            address: self.hop.address(),
            user: self.hop.user.clone(),
            tried: std::mem::take(&mut self.tried),
            password_possible: self.hop.is_target
                && (self.would_take(MethodKind::Password)
                    || self.would_take(MethodKind::KeyboardInteractive)),
            password_refused: self.password_refused,
        }
    }
}

#[cfg(unix)]
async fn open_agent(socket: &Path) -> Result<Agent, russh::keys::Error> {
    AgentClient::connect_uds(socket).await.map(AgentClient::dynamic)
}

#[cfg(windows)]
async fn open_agent(socket: &Path) -> Result<Agent, russh::keys::Error> {
    AgentClient::connect_named_pipe(socket)
        .await
        .map(AgentClient::dynamic)
}

/// The agent's plain keys; certificates are left to a later version.
async fn list(agent: &mut Agent) -> Vec<PublicKey> {
    match tokio::time::timeout(AGENT_LIST_DEADLINE, agent.request_identities()).await {
        Ok(Ok(identities)) => identities
            .into_iter()
            .filter_map(|identity| match identity {
                AgentIdentity::PublicKey { mut key, comment } => {
                    key.set_comment(comment);
                    Some(key)
                }
                AgentIdentity::Certificate { .. } => None,
            })
            .collect(),
        Ok(Err(err)) => {
            debug!(%err, "the ssh-agent lists no keys");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}
