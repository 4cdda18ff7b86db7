//! Unix sockets that a monitor listens on.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error("somebody listens on {} already", path.display())]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// There is something else than a socket.
    #[error("{} is there already, and is no socket", path.display())]
    NoSocket {
        /// Where.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("cannot listen on {}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
}

/// Listens on a Unix socket, whose descriptor never waits. A socket file that nobody listens on any more is replaced.
pub fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let refuse = |err: io::Error| ListenError::Listen {
        path: path.to_owned(),
        err,
    };
    let listener = match UnixListener::bind(path) {
        Err(err) if err.kind() == io::ErrorKind::AddrInUse => {
            let kind = std::fs::symlink_metadata(path).map_err(refuse)?.file_type();
            if !kind.is_socket() {
                return Err(ListenError::NoSocket {
                    path: path.to_owned(),
                });
            }
            if somebody_listens(path).map_err(refuse)? {
                return Err(ListenError::Taken {
                    path: path.to_owned(),
                });
            }
            std::fs::remove_file(path).map_err(refuse)?;
            UnixListener::bind(path).map_err(refuse)?
        }
        bound => bound.map_err(refuse)?,
    };
    listener.set_nonblocking(true).map_err(refuse)?;
    Ok(listener)
}

/// Asks without waiting: a listener whose queue is full is a listener.
fn somebody_listens(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(rustix::io::Errno::AGAIN) => Ok(true),
        Err(rustix::io::Errno::CONNREFUSED) => Ok(false),
        Err(err) => Err(err.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_file_that_nobody_listens_on_is_replaced_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = listen(&path).unwrap();
        assert!(matches!(listen(&path), Err(ListenError::Taken { .. })));
        drop(first);
        listen(&path).unwrap();

        let file = folder.path().join("file");
        std::fs::write(&file, "mine").unwrap();
        assert!(matches!(listen(&file), Err(ListenError::NoSocket { .. })));
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
        let nowhere = folder.path().join("nowhere/socket");
        assert!(matches!(listen(&nowhere), Err(ListenError::Listen { .. })));
    }
}
