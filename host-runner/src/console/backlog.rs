//! What a viewer has yet to read: one buffer, bounded in bytes. However small the pieces that the guest writes, they add up to no more
//! than their bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    rang: Notify,
}

#[derive(Debug, Default)]
struct State {
    unread: BytesMut,
    /// Nothing follows.
    ended: bool,
    /// Nobody reads any more.
    abandoned: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The console's end. Dropping it ends the viewer's, after what is unread.
#[derive(Debug)]
pub(super) struct Feed {
    shared: Arc<Shared>,
    bytes_max: usize,
}

/// The viewer's end.
#[derive(Debug)]
pub struct Output(Arc<Shared>);

/// Both ends of a new backlog that holds at most `bytes_max` bytes.
pub(super) fn backlog(bytes_max: usize) -> (Feed, Output) {
    let shared = Arc::<Shared>::default();
    let feed = Feed {
        shared: Arc::clone(&shared),
        bytes_max,
    };
    (feed, Output(shared))
}

impl Feed {
    /// Adds output; false when the viewer is gone or lags behind by more than it may.
    pub(super) fn push(&self, piece: &[u8]) -> bool {
        let mut state = self.shared.state();
        if state.abandoned || state.unread.len() + piece.len() > self.bytes_max {
            return false;
        }
        state.unread.extend_from_slice(piece);
        drop(state);
        self.shared.rang.notify_one();
        true
    }

    /// Whether the viewer is gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.shared.state().abandoned
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.rang.notify_one();
    }
}

impl Output {
    /// All that is unread, as soon as there is something; `None` at the end. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Bytes> {
        loop {
            {
                let mut state = self.0.state();
                if !state.unread.is_empty() {
                    return Some(std::mem::take(&mut state.unread).freeze());
                }
                if state.ended {
                    return None;
                }
            }
            self.0.rang.notified().await;
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.abandoned = true;
        state.unread = BytesMut::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_small_pieces_weigh_what_their_bytes_weigh() {
        let (feed, mut output) = backlog(1000);
        for _ in 0..1000 {
            assert!(feed.push(b"x"));
        }
        assert!(!feed.push(b"x"), "one byte more than may lag");
        assert_eq!(output.recv().await.unwrap().len(), 1000);
        assert!(feed.push(b"last"), "what was read makes room");
        drop(feed);
        assert_eq!(output.recv().await.unwrap(), b"last"[..]);
        assert_eq!(output.recv().await, None);
    }

    #[test]
    fn a_viewer_that_is_gone_takes_nothing() {
        let (feed, output) = backlog(1000);
        assert!(!feed.is_abandoned());
        drop(output);
        assert!(feed.is_abandoned() && !feed.push(b"x"));
    }
}
