//! The agent's Unix socket. Who may connect may manage: as root the group `millpond`, else the agent's user alone.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Gid;
use tokio::net::UnixListener;

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

/// Binds the socket. The lock beside it must be held: what is left of an earlier agent's socket is then nobody's.
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
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
    Ok(listener)
}

/// Removes the socket at the end.
pub fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, "the socket is left behind");
    }
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
}
