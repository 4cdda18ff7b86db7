//! `connect`: stdin and stdout joined to the agent's socket, for desktops whose SSH server forbids socket forwarding.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use tokio::io::{AsyncWriteExt, copy};
use tokio::net::UnixStream;

use super::CommandError;
use crate::cli::Common;

/// Why stdin and stdout are not joined to the agent.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens.
    #[error(
        "no agent listens on {}; start one with `systemctl start host-runner`, or `host-runner serve` as a plain user",
        path.display()
    )]
    NoAgent {
        /// The socket.
        path: PathBuf,
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
    /// The bytes stopped flowing.
    #[error("the connection broke off")]
    Broken(#[source] io::Error),
}

/// Copies both ways. The end of stdin is passed on, and what the agent still sends is passed back: it ends when the agent does.
pub async fn run(common: &Common) -> Result<ExitCode, CommandError> {
    let places = common.places()?;
    places.check_lengths()?;
    let path = places.socket;
    let stream = UnixStream::connect(&path).await.map_err(|err| match err.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ConnectError::NoAgent { path: path.clone() }
        }
        _ => ConnectError::Connect {
            path: path.clone(),
            err,
        },
    })?;
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
