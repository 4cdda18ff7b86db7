//! Making a connection to a machine, whichever way its address says.

use std::path::PathBuf;
use std::sync::Arc;

use api::client::ssh::{self, SshError, SshOptions, SshTarget};
use api::client::{Client, ClientError};
use api::{ApiError, ErrorCode};
use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use zeroize::Zeroizing;

use super::local::{LocalAgent, LocalAgentError};
use crate::contract::MachineAddress;
use crate::pool::SameMachine;

/// What a person answered for a connection. Lives in memory only, and is wiped on drop.
#[derive(Clone, Default)]
pub struct Answers {
    /// The fingerprint that was compared and accepted.
    pub accepted_fingerprint: Option<String>,
    /// The login password.
    pub password: Option<Zeroizing<String>>,
    /// The key file's passphrase.
    pub passphrase: Option<Zeroizing<String>>,
}

impl Answers {
    /// Takes over what was answered now; what was not stays as it was answered before.
    pub fn take(&mut self, later: Self) {
        self.accepted_fingerprint = later.accepted_fingerprint.or(self.accepted_fingerprint.take());
        self.password = later.password.or(self.password.take());
        self.passphrase = later.passphrase.or(self.passphrase.take());
    }
}

impl std::fmt::Debug for Answers {
    /// Without the secrets: what is logged stays.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers")
            .field("accepted_fingerprint", &self.accepted_fingerprint)
            .field("password_given", &self.password.is_some())
            .field("passphrase_given", &self.passphrase.is_some())
            .finish()
    }
}

/// A connection to an agent.
pub struct Connection {
    /// Speaks with the agent; calls fail once the link has ended.
    pub client: Client,
    /// Ends when the link below has ended, with the reason. Never ends where there is no link of its own (the local socket).
    pub closed: BoxFuture<'static, ApiError>,
}

/// Why there is no link to a machine: it was not made, or it broke.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No agent answers on this computer.
    #[error(transparent)]
    Local(#[from] LocalAgentError),
    /// The SSH link was not made.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The agent did not answer as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The machine is in the pool under another address.
    #[error(transparent)]
    SameMachine(#[from] SameMachine),
    /// The link below ended.
    #[error("{0}")]
    Closed(ApiError),
    /// The agent drops its events faster than they can be read.
    #[error("the host-runner dropped its events {times} times in a row")]
    EventsKeepGettingLost {
        /// How often.
        times: u32,
    },
}

impl LinkError {
    /// True when trying again changes nothing until somebody has done something.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::Ssh(err) => err.needs_a_person(),
            Self::Client(err) => err.needs_a_person(),
            Self::SameMachine(_) => true,
            Self::Local(_) | Self::Closed(_) | Self::EventsKeepGettingLost { .. } => false,
        }
    }

    /// The same error for programs and windows.
    pub fn to_api(&self) -> ApiError {
        match self {
            Self::Local(err) => err.to_api(),
            Self::Ssh(err) => err.to_api(),
            Self::Client(err) => err.to_api(),
            Self::SameMachine(same) => {
                ApiError::new(ErrorCode::MachineKnown, self.to_string()).with("name", same.name.as_str())
            }
            Self::Closed(error) => error.clone(),
            Self::EventsKeepGettingLost { .. } => ApiError::new(ErrorCode::EventsLost, self.to_string()),
        }
    }
}

/// Makes connections. A port: the app dials for real, tests dial scripted agents.
#[async_trait]
pub trait Dial: Send + Sync + 'static {
    /// Connects to the agent at `address`. Each step inside has a deadline; dropping the future gives up.
    async fn dial(&self, address: &MachineAddress, answers: &Answers) -> Result<Connection, LinkError>;
}

/// Dials this computer's socket, and other machines over SSH with the user's own files.
#[derive(Debug)]
pub struct RealDial {
    local: LocalAgent,
    ssh: SshOptions,
}

impl RealDial {
    /// Dials with these settings; the answers in `ssh` are replaced by those of each call.
    pub fn new(local: LocalAgent, ssh: SshOptions) -> Self {
        Self { local, ssh }
    }
}

#[async_trait]
impl Dial for RealDial {
    async fn dial(&self, address: &MachineAddress, answers: &Answers) -> Result<Connection, LinkError> {
        match address {
            MachineAddress::Local => Ok(Connection {
                client: self.local.connect().await?,
                closed: futures::future::pending().boxed(),
            }),
            MachineAddress::Ssh {
                host,
                user,
                port,
                identity_file,
            } => {
                let target = SshTarget {
                    host: host.clone(),
                    user: user.clone(),
                    port: *port,
                    identity_file: identity_file.as_ref().map(PathBuf::from),
                };
                let options = SshOptions {
                    accepted_fingerprint: answers.accepted_fingerprint.clone(),
                    password: answers.password.clone(),
                    passphrase: answers.passphrase.clone(),
                    ..self.ssh.clone()
                };
                let session = ssh::connect(&target, &options).await?;
                let client = Client::new(Arc::new(session.clone()));
                let closed = async move {
                    let reason = session.closed().await;
                    let address = session.address().to_owned();
                    SshError::Closed { address, reason }.to_api()
                };
                Ok(Connection {
                    client,
                    closed: closed.boxed(),
                })
            }
        }
    }
}
