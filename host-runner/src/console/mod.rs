//! The serial console of one guest: one connection to the engine, many viewers.
//!
//! A viewer that cannot keep up is dropped: neither the guest nor the other viewers ever wait for it. The guest's output is hostile
//! and travels as bytes; only the [`scanner`] looks at it.

mod backlog;
pub mod replay;
pub mod scanner;

use std::time::Duration;

use api::Progress;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use self::backlog::{Feed, backlog};
use self::replay::Replay;
use self::scanner::ConsoleScanner;

pub use self::backlog::Output;

/// The largest piece of output.
const PIECE_BYTES_MAX: usize = 4096;
/// How many bytes a viewer may lag behind before it is dropped.
const VIEWER_LAG_BYTES: usize = 1024 * 1024;
/// How many pieces of input may wait for the guest.
const INPUT_PIECES: usize = 64;
/// The most viewers of one console; one more takes the place of the oldest.
const VIEWERS_MAX: usize = 32;
/// How many newcomers may wait to be let in.
const NEWCOMERS: usize = 8;
/// How long a newcomer waits to be let in.
const JOIN_DEADLINE: Duration = Duration::from_secs(2);

/// A viewer's ends of the console.
#[derive(Debug)]
pub struct Viewer {
    /// What the console showed before.
    pub replay: Bytes,
    /// What it shows from then on. Ends when the guest is gone, or when this viewer was too slow.
    pub output: Output,
    /// What is typed.
    pub input: mpsc::Sender<Bytes>,
}

/// What the console shows of the guest's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// How far it has come.
    pub progress: Progress,
    /// When that was first seen.
    pub at: Instant,
}

impl Sighting {
    /// What the console shows, or that the guest is ready, where it said so itself before the console showed it.
    pub fn or_ready(seen: Option<Self>, said_at: Option<Instant>) -> Option<Self> {
        let said = said_at.map(|at| Self {
            progress: Progress::Ready,
            at,
        });
        match (seen, said) {
            (Some(seen), Some(said)) if seen.progress == Progress::Ready && seen.at <= said.at => Some(seen),
            (seen, said) => said.or(seen),
        }
    }
}

/// A running hub. Dropping it ends its tasks and with them every viewer.
#[derive(Debug)]
pub struct ConsoleHub {
    newcomers: mpsc::Sender<oneshot::Sender<Viewer>>,
    sighting: watch::Receiver<Sighting>,
    reader: AbortHandle,
    writer: AbortHandle,
}

impl Drop for ConsoleHub {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

impl ConsoleHub {
    /// Takes over a connection to the engine's console.
    pub fn start(stream: UnixStream, replay: Replay, progress: Progress) -> Self {
        let (read, write) = stream.into_split();
        let (newcomers, arrivals) = mpsc::channel(NEWCOMERS);
        let (input, typed) = mpsc::channel(INPUT_PIECES);
        let first = Sighting {
            progress,
            at: Instant::now(),
        };
        let (sighted, sighting) = watch::channel(first);
        let hub = Hub {
            replay,
            scanner: ConsoleScanner::new(progress),
            sighted,
            viewers: Vec::new(),
            input,
        };
        Self {
            newcomers,
            sighting,
            reader: tokio::spawn(hub.run(read, arrivals)).abort_handle(),
            writer: tokio::spawn(write_typed(write, typed)).abort_handle(),
        }
    }

    /// Lets a viewer in; `None` when the console has ended.
    pub async fn join(&self) -> Option<Viewer> {
        let (answer, viewer) = oneshot::channel();
        let joined = async {
            self.newcomers.send(answer).await.ok()?;
            viewer.await.ok()
        };
        tokio::time::timeout(JOIN_DEADLINE, joined).await.ok().flatten()
    }

    /// What the console shows of the guest's progress, now and with every change until the console ends.
    pub fn sightings(&self) -> watch::Receiver<Sighting> {
        self.sighting.clone()
    }

    /// Returns when all that the guest wrote was taken and its console has ended.
    pub async fn ended(&self) {
        let mut sighting = self.sighting.clone();
        while sighting.changed().await.is_ok() {}
    }

    /// Whether the console has ended.
    pub fn has_ended(&self) -> bool {
        self.reader.is_finished()
    }
}

struct Hub {
    replay: Replay,
    scanner: ConsoleScanner,
    sighted: watch::Sender<Sighting>,
    viewers: Vec<Feed>,
    input: mpsc::Sender<Bytes>,
}

impl Hub {
    async fn run(mut self, mut read: OwnedReadHalf, mut arrivals: mpsc::Receiver<oneshot::Sender<Viewer>>) {
        let mut buffer = BytesMut::with_capacity(PIECE_BYTES_MAX);
        loop {
            tokio::select! {
                count = read.read_buf(&mut buffer) => match count {
                    Ok(0) => return,
                    Ok(_) => self.show(&buffer.split().freeze()),
                    Err(error) => {
                        tracing::debug!(%error, "the console's connection ended");
                        return;
                    }
                },
                Some(newcomer) = arrivals.recv() => self.admit(newcomer),
            }
            buffer.reserve(PIECE_BYTES_MAX);
        }
    }

    fn show(&mut self, piece: &Bytes) {
        self.replay.push(piece);
        if let Some(progress) = self.scanner.feed(piece) {
            self.sighted.send_replace(Sighting {
                progress,
                at: Instant::now(),
            });
        }
        // Whoever left or does not keep up is let go.
        self.viewers.retain(|viewer| viewer.push(piece));
    }

    fn admit(&mut self, newcomer: oneshot::Sender<Viewer>) {
        self.viewers.retain(|viewer| !viewer.is_abandoned());
        if self.viewers.len() == VIEWERS_MAX {
            self.viewers.remove(0);
        }
        let (show, output) = backlog(VIEWER_LAG_BYTES);
        let viewer = Viewer {
            replay: self.replay.bytes(),
            output,
            input: self.input.clone(),
        };
        if newcomer.send(viewer).is_ok() {
            self.viewers.push(show);
        }
    }
}

/// The only writer: a guest that reads nothing makes the typists wait, and nobody else.
async fn write_typed(mut write: OwnedWriteHalf, mut typed: mpsc::Receiver<Bytes>) {
    while let Some(piece) = typed.recv().await {
        if let Err(error) = write.write_all(&piece).await {
            tracing::debug!(%error, "the console no longer takes input");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_ready_once_its_console_shows_it_or_it_says_so() {
        let early = Instant::now();
        let late = early + Duration::from_secs(1);
        let seen = |progress, at| Some(Sighting { progress, at });
        let ready = |at| seen(Progress::Ready, at);
        assert_eq!(Sighting::or_ready(None, None), None);
        assert_eq!(Sighting::or_ready(None, Some(late)), ready(late));
        assert_eq!(
            Sighting::or_ready(seen(Progress::Booting, early), None),
            seen(Progress::Booting, early)
        );
        assert_eq!(
            Sighting::or_ready(seen(Progress::Booting, early), Some(late)),
            ready(late)
        );
        assert_eq!(Sighting::or_ready(ready(early), Some(late)), ready(early));
        assert_eq!(Sighting::or_ready(ready(late), Some(early)), ready(early));
    }

    fn hub() -> (tempfile::TempDir, ConsoleHub, UnixStream) {
        let dir = tempfile::tempdir().unwrap();
        let (guest, engine) = UnixStream::pair().unwrap();
        let replay = Replay::start(dir.path()).unwrap();
        (dir, ConsoleHub::start(engine, replay, Progress::PoweredOn), guest)
    }

    async fn soon<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), work)
            .await
            .expect("within ten seconds")
    }

    #[tokio::test]
    async fn several_viewers_see_the_same_and_a_newcomer_sees_the_past() {
        let (_dir, hub, mut guest) = hub();
        let mut first = hub.join().await.unwrap();
        guest.write_all(b"hello").await.unwrap();
        assert_eq!(soon(first.output.recv()).await.unwrap(), b"hello"[..]);
        let mut second = hub.join().await.unwrap();
        assert_eq!(second.replay, b"hello"[..]);
        guest.write_all(b"again").await.unwrap();
        assert_eq!(soon(first.output.recv()).await.unwrap(), b"again"[..]);
        assert_eq!(soon(second.output.recv()).await.unwrap(), b"again"[..]);
    }

    #[tokio::test]
    async fn what_any_viewer_types_reaches_the_guest() {
        let (_dir, hub, mut guest) = hub();
        for text in [&b"root\n"[..], &b"date\n"[..]] {
            let viewer = hub.join().await.unwrap();
            viewer.input.send(Bytes::copy_from_slice(text)).await.unwrap();
            let mut buffer = [0; 5];
            soon(guest.read_exact(&mut buffer)).await.unwrap();
            assert_eq!(buffer, text);
        }
    }

    #[tokio::test]
    async fn a_slow_viewer_is_dropped_and_the_guest_never_waits() {
        let (_dir, hub, mut guest) = hub();
        let mut slow = hub.join().await.unwrap();
        let mut quick = hub.join().await.unwrap();
        let drain = tokio::spawn(async move {
            let mut seen = 0;
            while let Some(piece) = quick.output.recv().await {
                seen += piece.len();
            }
            seen
        });
        let total = VIEWER_LAG_BYTES * 4;
        soon(guest.write_all(&vec![b'x'; total])).await.unwrap();
        drop(guest);
        assert_eq!(soon(drain).await.unwrap(), total);
        let mut seen = 0;
        while let Some(piece) = soon(slow.output.recv()).await {
            seen += piece.len();
        }
        assert!(seen < total, "the slow viewer was cut off");
    }

    #[tokio::test]
    async fn the_end_of_the_guest_ends_the_viewers() {
        let (_dir, hub, guest) = hub();
        let mut viewer = hub.join().await.unwrap();
        drop(guest);
        assert_eq!(soon(viewer.output.recv()).await, None);
        soon(async {
            while !hub.has_ended() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(hub.join().await.is_none());
    }

    #[tokio::test]
    async fn the_prompt_is_seen_without_any_viewer() {
        let (_dir, hub, mut guest) = hub();
        let mut bell = hub.sightings();
        guest.write_all(b"tiny-1 login: ").await.unwrap();
        soon(bell.wait_for(|sighting| sighting.progress == Progress::Ready))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn viewers_who_left_make_room_before_one_who_watches_has_to() {
        let (_dir, hub, mut guest) = hub();
        let mut watching = hub.join().await.unwrap();
        for _ in 0..VIEWERS_MAX * 2 {
            drop(hub.join().await.unwrap());
        }
        guest.write_all(b"still here").await.unwrap();
        assert_eq!(soon(watching.output.recv()).await.unwrap(), b"still here"[..]);
    }

    #[tokio::test]
    async fn one_viewer_too_many_takes_the_oldest_ones_place() {
        let (_dir, hub, _guest) = hub();
        let mut oldest = hub.join().await.unwrap();
        let mut others = Vec::new();
        for _ in 0..VIEWERS_MAX {
            others.push(hub.join().await.unwrap());
        }
        assert_eq!(soon(oldest.output.recv()).await, None);
    }
}
