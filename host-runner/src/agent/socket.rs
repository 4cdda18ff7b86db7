//! The agent's Unix socket. Who may connect may manage: as root the group `millpond`, else the agent's user alone.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Gid;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::lock;

/// How often the socket is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Whose members may manage, where the agent runs as root.
const GROUP: &str = "millpond";

/// Why the socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something else is in its place.
    #[error("{} exists and is no socket; move it away, or give another --socket", path.display())]
    InTheWay {
        /// The path.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
}

/// Which file it is: device and inode.
type Identity = (u64, u64);

fn identity(metadata: &std::fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// The agent's socket for as long as the agent serves: whoever removes the file, or puts another in its place, does not shut the
/// agent off.
#[derive(Debug)]
pub struct Door {
    path: PathBuf,
    /// Held so that no other agent takes the socket.
    lock: File,
    listener: UnixListener,
    bound: Identity,
    looks: Interval,
    /// Whether it was told that the socket cannot be bound again.
    complained: bool,
}

impl Door {
    /// Takes the lock beside the socket and binds.
    pub async fn open(path: &Path) -> Result<Self, super::AgentError> {
        let lock = lock::take(&lock::beside_socket(path)).await?;
        let (listener, bound) = bind(path)?;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            path: path.to_owned(),
            lock,
            listener,
            bound,
            looks,
            complained: false,
        })
    }

    /// The next connection; meanwhile the socket is bound again where its file is gone. Safe to cancel.
    pub async fn accept(&mut self) -> io::Result<UnixStream> {
        loop {
            tokio::select! {
                accepted = self.listener.accept() => return accepted.map(|(stream, _)| stream),
                _ = self.looks.tick() => self.look(),
            }
        }
    }

    fn look(&mut self) {
        if self.is_in_place() {
            return;
        }
        match self.bind_again() {
            Ok(()) => {
                self.complained = false;
                tracing::warn!(path = %self.path.display(), "the socket's file was gone; it is bound again");
            }
            Err(error) if !self.complained => {
                self.complained = true;
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the socket's file is gone and cannot be bound again; nobody can connect"
                );
            }
            Err(_) => {}
        }
    }

    fn is_in_place(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|metadata| identity(&metadata) == self.bound)
    }

    fn bind_again(&mut self) -> Result<(), super::AgentError> {
        let lock_path = lock::beside_socket(&self.path);
        let held = self.lock.metadata().map(|metadata| identity(&metadata)).ok();
        let there = std::fs::symlink_metadata(&lock_path)
            .map(|metadata| identity(&metadata))
            .ok();
        if held.is_none() || held != there {
            // The lock went with the socket: another agent may hold a new one by now, and then the socket is its.
            self.lock = lock::try_take(&lock_path)?;
        }
        (self.listener, self.bound) = bind(&self.path)?;
        Ok(())
    }

    /// Refuses connections from now on, and removes the socket's file if it still is this one.
    pub fn close(self) {
        if self.is_in_place()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "the socket is left behind");
        }
    }
}

/// Binds the socket. The lock beside it must be held: what is left of an earlier agent's socket is then nobody's.
fn bind(path: &Path) -> Result<(UnixListener, Identity), SocketError> {
    let failed = |operation| {
        move |err| SocketError::Io {
            operation,
            path: path.to_owned(),
            err,
        }
    };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            std::fs::remove_file(path).map_err(failed("remove the old socket"))?;
        }
        Ok(_) => {
            return Err(SocketError::InTheWay {
                path: path.to_owned(),
            });
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(failed("look at")(err)),
    }
    let listener = UnixListener::bind(path).map_err(failed("bind"))?;
    let group = millpond_group().filter(|_| rustix::process::geteuid().is_root());
    if let Some(group) = group {
        rustix::fs::chown(path, None, Some(group))
            .map_err(|err| failed("give to the group millpond")(err.into()))?;
    }
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(failed("set the mode of"))?;
    let metadata = std::fs::symlink_metadata(path).map_err(failed("look at"))?;
    Ok((listener, identity(&metadata)))
}

fn millpond_group() -> Option<Gid> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    group_id(&groups).map(Gid::from_raw)
}

/// The group's number in the text of `/etc/group`.
fn group_id(groups: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(GROUP)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_number_is_found_by_its_whole_name() {
        assert_eq!(
            group_id("root:x:0:\nmillpond-x:x:7:\nmillpond:x:990:ada,bob\n"),
            Some(990)
        );
        assert_eq!(group_id("root:x:0:\n"), None);
        assert_eq!(group_id("millpond"), None);
    }

    #[tokio::test]
    async fn an_old_socket_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(bind(&path).unwrap());
        drop(bind(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::InTheWay { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_socket_whose_file_is_gone_is_bound_again_and_another_agents_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let mut door = Door::open(&path).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let call = async {
            while UnixStream::connect(&path).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        let deadline = Duration::from_secs(20);
        tokio::time::timeout(deadline, async { tokio::join!(call, door.accept()) })
            .await
            .expect("it is bound again")
            .1
            .unwrap();
        // Everything is removed, and another agent has come.
        std::fs::remove_file(&path).unwrap();
        std::fs::remove_file(lock::beside_socket(&path)).unwrap();
        let other = Door::open(&path).await.unwrap();
        door.look();
        assert!(other.is_in_place() && !door.is_in_place());
        door.close();
        assert!(other.is_in_place(), "its socket is not removed either");
        other.close();
        assert!(!path.exists());
    }
}
