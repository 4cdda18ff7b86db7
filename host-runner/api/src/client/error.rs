//! What can go wrong between a caller and an agent.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::ssh::SshError;
use crate::{API_VERSION, ApiError, ErrorCode};

/// Why a call did not give what was asked for.
///
/// The messages are for people and never repeat their source; [`ClientError::to_api`] gives the code for programs.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The agent understood and said no; the error is its own.
    #[error("{error}")]
    Refused {
        /// What was asked.
        operation: &'static str,
        /// The HTTP status.
        status: u16,
        /// The agent's answer.
        error: ApiError,
    },
    /// The local socket does not answer.
    #[error("the host-runner's socket {} does not answer", path.display())]
    OpenSocket {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        err: io::Error,
    },
    /// The SSH link failed; shared, as it fails for every stream in it.
    #[error(transparent)]
    Ssh(Arc<SshError>),
    /// The connection broke while a call was under way: whether it was done is unknown.
    #[error("the connection to the host-runner broke during \"{operation}\"")]
    Broken {
        /// What was asked.
        operation: &'static str,
        /// How it broke.
        #[source]
        err: BrokenConnection,
    },
    /// The agent did not answer in time: whether the call was done is unknown.
    #[error("\"{operation}\" took longer than {} ms", deadline.as_millis())]
    DeadlineExceeded {
        /// What was asked.
        operation: &'static str,
        /// How long the caller waited.
        deadline: Duration,
    },
    /// The answer is not what the contract says.
    #[error("the host-runner's answer to \"{operation}\" breaks the contract: {reason}")]
    BadAnswer {
        /// What was asked.
        operation: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is larger than any honest one.
    #[error("the host-runner's answer to \"{operation}\" is larger than {limit_bytes} bytes")]
    AnswerTooLarge {
        /// What was asked.
        operation: &'static str,
        /// How much is read at most.
        limit_bytes: usize,
    },
    /// The agent speaks another version of the contract.
    #[error(
        "the host-runner speaks version {host} of the contract, this desktop {API_VERSION}; upgrade the older of the two"
    )]
    VersionMismatch {
        /// The version that the agent speaks.
        host: String,
    },
}

/// How a connection broke.
#[derive(Debug, thiserror::Error)]
pub enum BrokenConnection {
    /// In HTTP.
    #[error("HTTP failed")]
    Http(#[from] hyper::Error),
    /// In the stream below.
    #[error("the byte stream failed")]
    Stream(#[from] io::Error),
    /// The stream of events ended; an agent that restarts ends it.
    #[error("the stream of events ended")]
    Ended,
}

impl ClientError {
    /// True when the link is no longer of use: build a new session, then ask again.
    ///
    /// False where the agent answered, even with a refusal.
    pub fn is_link(&self) -> bool {
        match self {
            Self::OpenSocket { .. } | Self::Broken { .. } | Self::DeadlineExceeded { .. } => true,
            Self::Ssh(error) => error.is_link(),
            Self::Refused { .. }
            | Self::BadAnswer { .. }
            | Self::AnswerTooLarge { .. }
            | Self::VersionMismatch { .. } => false,
        }
    }

    /// True when trying again changes nothing until somebody has done something: a changed host key, a wrong password, an agent of
    /// another version.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::VersionMismatch { .. } => true,
            Self::Ssh(error) => error.needs_a_person(),
            Self::Refused { .. }
            | Self::OpenSocket { .. }
            | Self::Broken { .. }
            | Self::DeadlineExceeded { .. }
            | Self::BadAnswer { .. }
            | Self::AnswerTooLarge { .. } => false,
        }
    }

    /// The same error for programs and windows: a code, the words with all their causes, and the facts.
    pub fn to_api(&self) -> ApiError {
        let message = chain(self);
        match self {
            Self::Refused { error, .. } => error.clone(),
            Self::OpenSocket { path, .. } => {
                ApiError::new(ErrorCode::Unreachable, message).with("address", path.display().to_string())
            }
            Self::Ssh(error) => error.to_api(),
            Self::Broken { .. } => ApiError::new(ErrorCode::Unreachable, message),
            Self::DeadlineExceeded { deadline, .. } => ApiError::new(ErrorCode::TimedOut, message).with(
                "deadline_ms",
                u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
            ),
            Self::BadAnswer { .. } | Self::AnswerTooLarge { .. } => {
                ApiError::new(ErrorCode::ProtocolViolation, message)
            }
            Self::VersionMismatch { host } => ApiError::new(ErrorCode::VersionMismatch, message)
                .with("desktop", API_VERSION)
                .with("host", host.as_str()),
        }
    }
}

impl From<SshError> for ClientError {
    fn from(error: SshError) -> Self {
        Self::Ssh(Arc::new(error))
    }
}

impl From<&ClientError> for ApiError {
    fn from(error: &ClientError) -> Self {
        error.to_api()
    }
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        error.to_api()
    }
}

/// An error and all its causes on one line, joined by `: `.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Another machine's words without what could deceive a terminal or a log, and not too long.
pub(crate) fn presentable(text: &str, chars_max: usize) -> String {
    text.trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(chars_max)
        .collect()
}
