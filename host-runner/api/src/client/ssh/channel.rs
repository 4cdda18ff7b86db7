//! A byte stream through one channel of a connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf, WriteHalf, duplex,
    split,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::SshError;
use super::gatekeeper::presentable;
use super::link::Link;

/// How much one stream holds back in each direction, in bytes.
const PIPE_BYTES: usize = 256 * 1024;
/// How long a reader may hold the pipe full. russh reads all channels of a connection in turn, so that a reader which stands still
/// would stop every other stream of the machine, and the answers to keep-alives: it loses its stream instead.
const STALL_MAX: Duration = Duration::from_secs(5);
/// How much of a command's stderr is kept, in bytes.
const STDERR_BYTES_MAX: usize = 1024;

/// Makes an error of a command's exit status and its stderr.
pub(super) type MissingAgent = Box<dyn FnOnce(Option<u32>, &str) -> SshError + Send>;

/// What a channel leads to.
pub(super) enum Far {
    /// The agent's socket itself.
    Socket,
    /// A command that joins its stdin and stdout to the agent's socket.
    Command {
        /// Set when the first byte comes back: the command is there and works.
        works: Arc<OnceLock<()>>,
        /// For a command that ended without a byte.
        missing: MissingAgent,
    },
}

/// One stream to the agent. Dropping it closes the channel.
pub(super) struct ChannelStream {
    pipe: DuplexStream,
    failure: Arc<OnceLock<Arc<SshError>>>,
    _close: DropGuard,
}

impl ChannelStream {
    /// Takes over a channel; the connection lives as long as the stream.
    pub(super) fn new(channel: Channel<Msg>, link: Arc<Link>, far: Far) -> Self {
        let (pipe, inner) = duplex(PIPE_BYTES);
        let failure = Arc::new(OnceLock::new());
        let dropped = CancellationToken::new();
        let pump = Pump {
            link,
            far,
            failure: failure.clone(),
        };
        // Ends with the stream (the guard below), or with the connection (the channel then yields nothing more).
        tokio::spawn(pump.run(channel, inner, dropped.clone()));
        Self {
            pipe,
            failure,
            _close: dropped.drop_guard(),
        }
    }

    fn failed(&self) -> Option<io::Error> {
        self.failure
            .get()
            .map(|err| io::Error::other(Failed(err.clone())))
    }
}

/// Carries an [`SshError`] through HTTP, which knows only of I/O errors.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(in crate::client) struct Failed(pub Arc<SshError>);

impl AsyncRead for ChannelStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.pipe).poll_read(cx, buffer));
        let at_end = result.is_err() || (buffer.filled().len() == before && buffer.remaining() > 0);
        Poll::Ready(match self.failed().filter(|_| at_end) {
            Some(err) => Err(err),
            None => result,
        })
    }
}

impl AsyncWrite for ChannelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.pipe).poll_write(cx, bytes));
        Poll::Ready(result.map_err(|err| self.failed().unwrap_or(err)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// Moves bytes between a channel and a pipe.
struct Pump {
    link: Arc<Link>,
    far: Far,
    failure: Arc<OnceLock<Arc<SshError>>>,
}

impl Pump {
    async fn run(mut self, channel: Channel<Msg>, inner: DuplexStream, dropped: CancellationToken) {
        let (from_far, to_far) = channel.split();
        let (from_near, to_near) = split(inner);
        {
            let inbound = self.inbound(from_far, to_near);
            let outbound = outbound(from_near, &to_far);
            tokio::pin!(inbound, outbound);
            let mut sending = true;
            loop {
                tokio::select! {
                    () = &mut inbound => break,
                    () = &mut outbound, if sending => sending = false,
                    () = dropped.cancelled() => break,
                }
            }
        }
        // What fails here is already closed.
        let _ = to_far.close().await;
    }

    /// Until the far side has closed, or the near one takes no more.
    async fn inbound(&mut self, mut from_far: ChannelReadHalf, mut to_near: WriteHalf<DuplexStream>) {
        let mut received = false;
        let mut exit_status = None;
        let mut stderr = Vec::new();
        loop {
            match from_far.wait().await {
                Some(ChannelMsg::Data { data }) => {
                    received = true;
                    if let Far::Command { works, .. } = &self.far {
                        works.get_or_init(|| ());
                    }
                    if !matches!(
                        tokio::time::timeout(STALL_MAX, to_near.write_all(&data)).await,
                        Ok(Ok(()))
                    ) {
                        return;
                    }
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    let room = STDERR_BYTES_MAX.saturating_sub(stderr.len());
                    stderr.extend_from_slice(&data[..data.len().min(room)]);
                }
                Some(ChannelMsg::ExitStatus { exit_status: status }) => exit_status = Some(status),
                Some(ChannelMsg::Close) => break,
                Some(_) => {}
                None => {
                    // No goodbye from the channel: the connection is gone.
                    if self.link.handle.is_closed() {
                        self.fail(self.link.gone());
                    }
                    break;
                }
            }
        }
        if let Far::Command { missing, .. } = std::mem::replace(&mut self.far, Far::Socket)
            && !received
        {
            self.fail(missing(
                exit_status,
                &presentable(&String::from_utf8_lossy(&stderr)),
            ));
        }
        // Dropping `to_near` would leave the reader waiting while the other half lives.
        let _ = to_near.shutdown().await;
    }

    fn fail(&self, err: SshError) {
        // The first failure is the cause of the others.
        let _ = self.failure.set(Arc::new(err));
    }
}

/// Until the near side has no more to say, which the far one is told.
async fn outbound(mut from_near: ReadHalf<DuplexStream>, to_far: &ChannelWriteHalf<Msg>) {
    let mut buffer = BytesMut::with_capacity(32 * 1024);
    loop {
        match from_near.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                if to_far.data_bytes(buffer.split().freeze()).await.is_err() {
                    return;
                }
                buffer.reserve(32 * 1024);
            }
        }
    }
    let _ = to_far.eof().await;
}
