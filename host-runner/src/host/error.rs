//! What can go wrong when looking at the machine.

use std::io;
use std::path::PathBuf;

/// Why the machine's facts or its load cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file operation failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted, such as `read`.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// A file of the kernel's or of the agent's state reads otherwise than expected.
    #[error("{} does not read as {expected}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was expected of it.
        expected: &'static str,
    },
}
