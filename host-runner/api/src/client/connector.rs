//! How a byte stream to the agent's HTTP socket is opened.

use std::fmt::Debug;
#[cfg(unix)]
use std::path::PathBuf;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use super::ClientError;

/// A two-way byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A two-way byte stream to the agent's HTTP socket, however it gets there.
pub type BoxedStream = Box<dyn Duplex>;

/// Opens byte streams to one agent's HTTP socket.
#[async_trait]
pub trait Connector: Send + Sync + Debug {
    /// Opens one more stream.
    ///
    /// # Errors
    /// The socket cannot be reached: [`ClientError::OpenSocket`] locally, [`ClientError::Ssh`] over SSH. The caller puts a deadline
    /// on the call; dropping the future gives the stream up.
    async fn open(&self) -> Result<BoxedStream, ClientError>;
}

/// Connects to the socket of an agent on this computer.
#[cfg(unix)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConnector {
    /// The agent's Unix socket, such as `/run/host-runner/api.sock`.
    pub socket: PathBuf,
}

#[cfg(unix)]
#[async_trait]
impl Connector for LocalConnector {
    async fn open(&self) -> Result<BoxedStream, ClientError> {
        let stream = tokio::net::UnixStream::connect(&self.socket)
            .await
            .map_err(|err| ClientError::OpenSocket {
                path: self.socket.clone(),
                err,
            })?;
        Ok(Box::new(stream))
    }
}
