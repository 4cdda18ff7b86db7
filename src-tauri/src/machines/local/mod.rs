//! The agent on this computer: where its socket is, and starting it where nothing answers.
//!
//! Agents run on Linux. Elsewhere this computer only shows the pool of others, and `elsewhere` says so.

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

use std::path::PathBuf;
use std::process::ExitStatus;

use api::{ApiError, ErrorCode};

#[cfg(not(target_os = "linux"))]
pub use elsewhere::LocalAgent;
#[cfg(target_os = "linux")]
pub use linux::{LocalAgent, Places};

/// Names the agent's socket, in place of looking for it.
pub const SOCKET_VARIABLE: &str = "MILLPOND_AGENT_SOCKET";

/// Names the agent's program, in place of looking beside the app's own.
pub const BINARY_VARIABLE: &str = "MILLPOND_AGENT_BINARY";

/// Why this computer's agent does not answer.
#[derive(Debug, thiserror::Error)]
pub enum LocalAgentError {
    /// Nothing answers on any socket.
    #[error(
        "no host-runner answers on this computer (looked at {}); start one with `host-runner serve`",
        list(looked_at)
    )]
    NotRunning {
        /// Where was looked.
        looked_at: Vec<PathBuf>,
    },
    /// An agent runs, and the user may not use it.
    #[error("you may not use the host-runner at {}; join its group (`sudo usermod -aG millpond $USER`) and log in anew", socket.display())]
    NotAllowed {
        /// Its socket.
        socket: PathBuf,
    },
    /// The agent's program cannot be started.
    #[error("cannot start {}", binary.display())]
    Start {
        /// The program.
        binary: PathBuf,
        /// Why.
        #[source]
        err: std::io::Error,
    },
    /// The agent was started and ended at once.
    #[error("{} was started and ended at once ({status}); its log is {}", binary.display(), log.display())]
    Ended {
        /// The program.
        binary: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
    },
    /// The agent was started and its socket stayed silent.
    #[error("{} was started and does not answer; its log is {}", binary.display(), log.display())]
    Silent {
        /// The program.
        binary: PathBuf,
        /// Its log.
        log: PathBuf,
    },
    /// Agents of this kind do not run on this platform.
    #[error("instances run on Linux machines; add one over SSH")]
    OtherPlatform,
}

impl LocalAgentError {
    /// The same error for programs and windows.
    pub fn to_api(&self) -> ApiError {
        let message = match std::error::Error::source(self) {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        };
        let remedy = match self {
            Self::NotRunning { .. } => "host-runner serve",
            Self::NotAllowed { .. } => "sudo usermod -aG millpond $USER",
            Self::Start { .. } | Self::Ended { .. } | Self::Silent { .. } => "host-runner doctor",
            Self::OtherPlatform => return ApiError::new(ErrorCode::Unreachable, message),
        };
        ApiError::new(ErrorCode::AgentMissing, message).with("remedy", remedy)
    }
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(", ")
}
