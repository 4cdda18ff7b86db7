//! What can go wrong when looking at the machine.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

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

/// The largest file that is read whole. `/proc/cpuinfo` has some 1.5 KB for each thread.
const TEXT_BYTES_MAX: u64 = 4 << 20;

/// Reads a text file of the kernel or of the system; bytes that are no UTF-8 are replaced.
pub(super) fn read_text(path: &Path) -> Result<String, HostError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .map_err(|err| HostError::Io {
            operation: "read",
            path: path.to_owned(),
            err,
        })
}
