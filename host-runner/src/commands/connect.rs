//! `connect`: stdin and stdout joined to the agent's socket, for desktops whose SSH server forbids socket forwarding.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::io::{AsyncWriteExt, copy};
use tokio::net::UnixStream;

use super::CommandError;
use crate::cli::Common;
use crate::paths::{Surroundings, check_owned};

/// Root's user number.
const ROOT: u32 = 0;

/// Why stdin and stdout are not joined to the agent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error(
        "no agent listens on {}; start one with `systemctl start host-runner`, or `host-runner serve` as a plain user",
        listed(paths)
    )]
    NoAgent {
        /// The sockets that were tried.
        paths: Vec<PathBuf>,
    },
    /// The socket cannot be used.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// Somebody else's program listens there: it could pose as the agent.
    #[error("{} is served by user {peer}, neither by this one nor by root; it is not trusted", path.display())]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// The user number of the program that listens.
        peer: u32,
    },
    /// The bytes stopped flowing.
    #[error("the connection broke off")]
    Broken(#[source] io::Error),
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(" or ")
}

/// A socket to try, and whether the folder that holds it was chosen by the user: then only who listens is checked.
struct Door {
    path: PathBuf,
    chosen: bool,
}

fn doors(common: &Common) -> Result<Vec<Door>, CommandError> {
    let chosen = common.socket.is_some();
    if chosen || common.runtime_dir.is_some() {
        let places = common.places()?;
        places.check_lengths()?;
        let path = places.socket;
        return Ok(vec![Door { path, chosen }]);
    }
    let sockets = Surroundings::of_process().sockets();
    Ok(sockets.into_iter().map(|path| Door { path, chosen }).collect())
}

/// The first socket where a trusted agent listens.
pub(super) async fn find(common: &Common) -> Result<PathBuf, CommandError> {
    reach(doors(common)?).await.map(|(path, _)| path)
}

/// Connects to the first socket where a trusted agent listens. One that is not trusted is passed over, and named when there is no other.
async fn reach(doors: Vec<Door>) -> Result<(PathBuf, UnixStream), CommandError> {
    let mut refusal = None;
    for door in &doors {
        match enter(door).await {
            Ok(Some(stream)) => return Ok((door.path.clone(), stream)),
            Ok(None) => {}
            Err(error) => {
                refusal.get_or_insert(error);
            }
        }
    }
    let paths = || doors.into_iter().map(|door| door.path).collect();
    Err(refusal.unwrap_or_else(|| ConnectError::NoAgent { paths: paths() }.into()))
}

/// `None` where nobody listens.
async fn enter(door: &Door) -> Result<Option<UnixStream>, CommandError> {
    let path = &door.path;
    let own = rustix::process::geteuid().as_raw();
    if let Some(folder) = path.parent().filter(|folder| !door.chosen && folder.exists()) {
        // Anybody may make a folder in /tmp, and put a link to another program's socket into it.
        check_owned(folder, &[own, ROOT])?;
    }
    let failed = |err| ConnectError::Connect {
        path: path.clone(),
        err,
    };
    let stream = match UnixStream::connect(path).await {
        Ok(stream) => stream,
        Err(err)
            if matches!(
                err.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(err) => return Err(failed(err).into()),
    };
    let peer = stream.peer_cred().map_err(failed)?.uid();
    if !is_trusted(peer, own) {
        return Err(ConnectError::Foreign {
            path: path.clone(),
            peer,
        }
        .into());
    }
    Ok(Some(stream))
}

/// Root can pose as anybody anyway.
fn is_trusted(peer: u32, own: u32) -> bool {
    peer == own || peer == ROOT
}

/// Copies both ways. The end of stdin is passed on, and what the agent still sends is passed back: it ends when the agent does.
pub async fn run(common: &Common) -> Result<ExitCode, CommandError> {
    let (_, stream) = reach(doors(common)?).await?;
    let (mut from_agent, mut to_agent) = stream.into_split();
    let up = async {
        copy(&mut tokio::io::stdin(), &mut to_agent).await?;
        to_agent.shutdown().await
    };
    let down = async {
        let mut stdout = tokio::io::stdout();
        copy_flushed(&mut from_agent, &mut stdout).await
    };
    tokio::pin!(up, down);
    // The agent's end decides: what is typed after it has nobody to go to.
    tokio::select! {
        sent = &mut up => {
            if let Err(error) = sent {
                tracing::debug!(%error, "the agent takes no more");
            }
            down.await.map_err(ConnectError::Broken)?;
        }
        received = &mut down => received.map_err(ConnectError::Broken)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Like `copy`, and never holds back what has come.
async fn copy_flushed(
    from: &mut (impl tokio::io::AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> io::Result<()> {
    use tokio::io::AsyncReadExt;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_user_and_root_are_taken_for_the_agent() {
        assert!(is_trusted(1000, 1000) && is_trusted(ROOT, 1000));
        assert!(!is_trusted(1001, 1000) && !is_trusted(1000, ROOT));
    }
}
