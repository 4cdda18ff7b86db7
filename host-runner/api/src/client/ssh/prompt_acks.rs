//! A TCP stream whose every arrival is acknowledged at once.
//!
//! sshd leaves Nagle's algorithm on for forwarded channels: the last, small segment of an answer waits until the segments before it are
//! acknowledged. Linux delays such an acknowledgement by 40 ms when it has nothing to send, and so would each large answer be late.
//! Sources: RFC 1122, 4.2.3.2 and 4.2.3.4; tcp(7), `TCP_QUICKACK`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The stream. Elsewhere than on Linux it is the plain one.
#[derive(Debug)]
pub(super) struct PromptAcks(pub(super) TcpStream);

impl PromptAcks {
    /// The kernel goes back to delaying by itself, so this is asked for anew after each arrival.
    #[cfg(target_os = "linux")]
    fn acknowledge_now(&self) {
        if let Err(error) = rustix::net::sockopt::set_tcp_quickack(&self.0, true) {
            // Only time is lost.
            tracing::trace!(%error, "acknowledgements stay delayed");
        }
    }
}

impl AsyncRead for PromptAcks {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) {
            #[cfg(target_os = "linux")]
            self.acknowledge_now();
        }
        read
    }
}

impl AsyncWrite for PromptAcks {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
