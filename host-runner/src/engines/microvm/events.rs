//! What the monitor tells by itself: a bell, and no more. Whoever hears it looks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::control::{DEADLINE, open_stream};

/// How often the bell rings at most: a monitor that its guest has taken over may tell as much as it likes.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection on which the monitor tells what happens to its machine; it ends with this.
#[derive(Debug)]
pub struct Events {
    rang: Arc<Notify>,
    task: AbortHandle,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Events {
    /// Begins to listen, in the background. A monitor that tells nothing, or is not there, never rings.
    pub fn listen(socket: PathBuf) -> Self {
        let rang = Arc::new(Notify::new());
        let bell = Arc::clone(&rang);
        let task = tokio::spawn(async move { ring(&socket, &bell).await }).abort_handle();
        Self { rang, task }
    }

    /// Whether the monitor is still listened to.
    pub fn is_open(&self) -> bool {
        !self.task.is_finished()
    }

    /// Returns after something has happened. Safe to cancel.
    pub async fn rang(&self) {
        self.rang.notified().await;
    }
}

async fn ring(socket: &Path, bell: &Notify) {
    let Ok(Ok((mut body, connection))) = timeout(DEADLINE, open_stream(socket, "/v1/events")).await else {
        tracing::debug!(socket = %socket.display(), "the monitor tells nothing by itself");
        return;
    };
    let listening = async {
        while let Some(Ok(frame)) = body.frame().await {
            // An empty line only asks whether somebody listens.
            if frame
                .data_ref()
                .is_some_and(|data| data.iter().any(|byte| !byte.is_ascii_whitespace()))
            {
                bell.notify_one();
                sleep(PAUSE).await;
            }
        }
    };
    // The connection moves the bytes for as long as somebody listens, and its end is the end.
    tokio::pin!(connection);
    tokio::pin!(listening);
    tokio::select! {
        () = &mut listening => {}
        _ended = &mut connection => listening.await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn what_the_monitor_tells_rings_and_its_silence_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let events = Events::listen(path);
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 1024];
        let length = stream.read(&mut asked).await.unwrap();
        assert!(asked[..length].starts_with(b"GET /v1/events HTTP/1.1\r\n"));
        let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n\n\n";
        stream.write_all(head).await.unwrap();
        assert!(
            timeout(Duration::from_millis(50), events.rang()).await.is_err(),
            "empty lines are no news"
        );
        stream.write_all(b"{\"event\":\"paused\"}\n").await.unwrap();
        timeout(DEADLINE, events.rang()).await.expect("it rings");
        assert!(events.is_open());
        drop(stream);
        let closed = async {
            while events.is_open() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, closed).await.expect("the end is noticed");
    }

    #[tokio::test]
    async fn a_monitor_that_tells_nothing_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let events = Events::listen(dir.path().join("api.sock"));
        let closed = async {
            while events.is_open() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, closed).await.expect("it gives up");
        assert!(timeout(Duration::from_millis(10), events.rang()).await.is_err());
    }
}
