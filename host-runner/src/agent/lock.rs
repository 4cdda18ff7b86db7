//! One agent for one state directory and one socket: a locked file for each, free again when its process is gone.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a held lock is tried.
const TRIES: usize = 10;
/// Time between two tries.
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent holds it.
    #[error("another host-runner{} is already at work: it holds {}", told(*pid), path.display())]
    Held {
        /// The lock.
        path: PathBuf,
        /// Its process's number, where it has told.
        pid: Option<u32>,
    },
    /// The file cannot be used.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// The lock.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
}

fn told(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

/// The lock that goes with a socket.
pub fn beside_socket(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Takes the lock for as long as the file is kept.
///
/// An agent that was killed while it was making a guest's process lives on in that process, lock and all, until it has become QEMU:
/// so a held lock is tried again for a moment.
pub async fn take(path: &Path) -> Result<File, LockError> {
    for _ in 1..TRIES {
        match try_take(path) {
            Err(LockError::Held { .. }) => tokio::time::sleep(BETWEEN_TRIES).await,
            taken => return taken,
        }
    }
    try_take(path)
}

/// Takes the lock now or not at all.
pub fn try_take(path: &Path) -> Result<File, LockError> {
    let failed = |operation| {
        move |err| LockError::Io {
            operation,
            path: path.to_owned(),
            err,
        }
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed("open"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The number is a courtesy: without it the refusal stands.
            let _ = (&file).take(32).read_to_string(&mut text);
            return Err(LockError::Held {
                path: path.to_owned(),
                pid: text.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(err)) => return Err(failed("lock")(err)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed("write"))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_agent_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.lock");
        let first = take(&path).await.unwrap();
        let refusal = take(&path).await.unwrap_err().to_string();
        assert!(
            refusal.contains(&format!("(process {})", std::process::id())),
            "{refusal}"
        );
        drop(first);
        take(&path).await.unwrap();
    }
}
