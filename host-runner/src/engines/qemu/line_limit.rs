//! A bound on what QEMU can make the agent hold.
//!
//! A guest that has broken out of its devices controls QEMU, and with it this socket. The QMP codec keeps a line until it ends, so a
//! line that never ends would take all of the agent's memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// The longest line of QMP, in bytes. Answers to the agent's few commands are a thousand times shorter.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Reads lines, and fails when one is longer than [`LINE_BYTES_MAX`].
#[derive(Debug)]
pub struct LineLimit<R> {
    inner: R,
    since_line_end: usize,
}

impl<R> LineLimit<R> {
    /// Bounds a reader.
    pub fn new(inner: R) -> Self {
        Self {
            inner,
            since_line_end: 0,
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for LineLimit<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let new = &buffer.filled()[before..];
        self.since_line_end = match new.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => new.len() - end - 1,
            None => self.since_line_end + new.len(),
        };
        if self.since_line_end > LINE_BYTES_MAX {
            // A read that fails has read nothing.
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a line of QMP is longer than {LINE_BYTES_MAX} bytes"),
            )));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn any_number_of_lines_passes_and_an_endless_one_does_not() {
        let mut lines = vec![b'x'; LINE_BYTES_MAX];
        lines.push(b'\n');
        let many = lines.repeat(3);
        let mut out = Vec::new();
        LineLimit::new(&many[..]).read_to_end(&mut out).await.unwrap();
        assert_eq!(out.len(), many.len());
        let error = LineLimit::new(tokio::io::repeat(b'x'))
            .read_to_end(&mut out)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
