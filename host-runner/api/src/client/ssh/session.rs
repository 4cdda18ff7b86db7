//! A live SSH connection.

use std::fmt;

use async_trait::async_trait;

use super::{SshError, SshOptions, SshTarget};
use crate::client::{BoxedStream, ClientError, Connector};

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// [`SshSession::close`] was called, or the last handle dropped.
    Local,
    /// The server said goodbye, with its words.
    Remote(String),
    /// The peer went silent: keep-alives stayed without an answer.
    Silent,
    /// The connection broke; how, in words.
    Broken(String),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("closed on this side"),
            Self::Remote(words) => write!(f, "the server closed it ({words})"),
            Self::Silent => f.write_str("the server no longer answers"),
            Self::Broken(words) => f.write_str(words),
        }
    }
}

/// Connects and logs in.
///
/// # Errors
/// See [`SshError`]. [`SshError::HostKeyUnknown`] and [`SshError::PassphraseNeeded`], and [`SshError::AuthenticationFailed`] with
/// `password_possible`, can be answered: try again with the answer in `options`.
pub async fn connect(_target: &SshTarget, _options: &SshOptions) -> Result<SshSession, SshError> {
    todo!()
}

/// One SSH connection to a machine. Cheap to clone; the connection ends when the last clone and all its streams are dropped.
#[derive(Debug, Clone)]
pub struct SshSession {}

impl SshSession {
    /// Waits until the connection has ended, and says why. A dead peer is noticed within 15 s.
    pub async fn closed(&self) -> CloseReason {
        todo!()
    }

    /// Ends the connection and all its streams.
    pub async fn close(&self) {
        todo!()
    }

    /// Host and port of the machine.
    pub fn address(&self) -> &str {
        todo!()
    }
}

#[async_trait]
impl Connector for SshSession {
    async fn open(&self) -> Result<BoxedStream, ClientError> {
        todo!()
    }
}
