//! Why the demonstration failed.

use std::io;
use std::path::PathBuf;

use api::client::ClientError;
use support::{Trouble, WindowTrouble};

/// Why the demonstration failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A part of the stage did not come up.
    #[error(transparent)]
    Stage(#[from] Trouble),
    /// The window could not be driven, or did not show what it should.
    #[error(transparent)]
    Window(#[from] WindowTrouble),
    /// The agent did not answer.
    #[error("the agent did not answer")]
    Agent(#[from] ClientError),
    /// Window and agent do not tell the same.
    #[error("{step} did not happen: expected {expected}, found {found}")]
    DidNotHappen {
        /// The step.
        step: &'static str,
        /// What should have been.
        expected: String,
        /// What was.
        found: String,
    },
    /// A file operation failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// Somebody pressed Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |err| Self::Io { operation, path, err }
    }

    /// The error and what caused it, in one line.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(err) = cause {
            let more = err.to_string();
            // A transparent error repeats its source.
            if !text.ends_with(&more) {
                text = format!("{text}: {more}");
            }
            cause = err.source();
        }
        text
    }
}
