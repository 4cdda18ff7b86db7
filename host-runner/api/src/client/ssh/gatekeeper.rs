//! Watches one connection: judges the server's key, and notes how the connection ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use russh::client::{DisconnectReason, Handler};
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use tokio::sync::watch;
use tracing::{info, warn};

use super::known_hosts::{self, Judgement, KnownHosts};
use super::{CloseReason, SshError};
use crate::client::error::{self, chain};

/// The longest text of a server's that is shown, in characters.
const WORDS_MAX: usize = 300;

/// How the connection ended, once it has.
pub(super) type Ending = Arc<watch::Sender<Option<CloseReason>>>;

/// Everything that a server's key is judged by.
#[derive(Debug)]
pub(super) struct HostKeyCheck {
    pub address: String,
    /// The name and port under which the key is known, or will be.
    pub known_as: (String, u16),
    pub known: KnownHosts,
    /// Where an accepted key is added.
    pub learn_to: Option<PathBuf>,
    pub accepted_fingerprint: Option<String>,
}

#[derive(Debug)]
pub(super) struct Gatekeeper {
    check: HostKeyCheck,
    /// The key that was let in: a key re-exchange must show the same.
    admitted: Option<PublicKey>,
    ending: Ending,
}

/// What stops a connection.
#[derive(Debug)]
pub(super) enum GateError {
    Protocol(russh::Error),
    Refused(SshError),
}

impl From<russh::Error> for GateError {
    fn from(err: russh::Error) -> Self {
        Self::Protocol(err)
    }
}

impl Gatekeeper {
    pub(super) fn new(check: HostKeyCheck, ending: Ending) -> Self {
        Self {
            check,
            admitted: None,
            ending,
        }
    }
}

impl HostKeyCheck {
    /// Lets the key in, or says why not. Adds a key that a person has accepted to the known ones: blocking.
    fn admit(&self, shown: &PublicKeyOrCertificate, now: u64) -> Result<(), SshError> {
        let key = shown.public_key();
        let fingerprint = known_hosts::fingerprint(&key);
        let key_type = key.algorithm().to_string();
        let address = self.address.clone();
        let (name, port) = &self.known_as;
        match self.known.judge(name, *port, shown, now) {
            Judgement::Known => Ok(()),
            Judgement::Unknown if self.accepted_fingerprint.as_ref() == Some(&fingerprint) => {
                let Some(path) = &self.learn_to else {
                    return Ok(());
                };
                info!(address, fingerprint, file = %path.display(), "adding the accepted host key");
                known_hosts::append(path, name, *port, &key).map_err(|err| SshError::SaveHostKey {
                    path: path.clone(),
                    err,
                })
            }
            Judgement::Unknown => Err(SshError::HostKeyUnknown {
                address,
                key_type,
                fingerprint,
            }),
            Judgement::Changed(place) => {
                warn!(address, fingerprint, "the host key has changed");
                Err(SshError::HostKeyChanged {
                    address,
                    key_type,
                    fingerprint,
                    known_hosts: place.file,
                    line: place.line,
                })
            }
            Judgement::Revoked(place) => {
                warn!(address, fingerprint, "the host key is revoked");
                Err(SshError::HostKeyRevoked {
                    address,
                    key_type,
                    fingerprint,
                    known_hosts: place.file,
                    line: place.line,
                })
            }
        }
    }
}

impl Handler for Gatekeeper {
    type Error = GateError;

    /// Called after the server has proved that it holds the key.
    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, GateError> {
        let key = shown.public_key();
        if let Some(admitted) = &self.admitted {
            return Ok(admitted.key_data() == key.key_data());
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        self.check.admit(shown, now).map_err(GateError::Refused)?;
        self.admitted = Some(key);
        Ok(true)
    }

    async fn disconnected(&mut self, reason: DisconnectReason<GateError>) -> Result<(), GateError> {
        let reason = match reason {
            DisconnectReason::ReceivedDisconnect(info) => CloseReason::Remote(presentable(&info.message)),
            DisconnectReason::Error(GateError::Protocol(
                russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout,
            )) => CloseReason::Silent,
            DisconnectReason::Error(GateError::Protocol(err)) => {
                CloseReason::Broken(presentable(&chain(&err)))
            }
            DisconnectReason::Error(GateError::Refused(err)) => CloseReason::Broken(chain(&err)),
        };
        note(&self.ending, reason);
        Ok(())
    }
}

impl Drop for Gatekeeper {
    /// The connection's task is gone, whether or not it could say why.
    fn drop(&mut self) {
        note(&self.ending, CloseReason::Broken("the connection broke".into()));
    }
}

/// Notes how a connection ended; the first word stands.
pub(super) fn note(ending: &Ending, reason: CloseReason) {
    ending.send_if_modified(|held| {
        let first = held.is_none();
        held.get_or_insert(reason);
        first
    });
}

/// A server's words, fit to be shown.
pub(super) fn presentable(text: &str) -> String {
    error::presentable(text, WORDS_MAX)
}
