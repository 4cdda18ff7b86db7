//! The live picture of the pool: snapshots and events of all machines, merged, versioned, and pushed to the windows.
//!
//! Changes are gathered and pushed together: at most ten times a second where somebody may be waiting, once a second where only
//! measurements changed, so that the samples of two hundred machines cost the window one message a second. Where thousands of
//! instances are measured, each push takes only so many, so that no window stands still over one.

mod inventory;
mod picture;
mod usage;
mod whereabouts;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

pub use inventory::PastCarried;
pub use picture::{LivePicture, MEASURED_PER_PUSH, SameMachine, Urgency};
pub use usage::{MEANS_MAX, STEP_S};
pub use whereabouts::Sight;

use crate::contract::{ActivityEntry, PoolChange, PoolPicture, WindowEvent};

/// The shortest time between two pushes.
pub const PUSH_INTERVAL: Duration = Duration::from_millis(100);

/// The shortest time between two pushes that carry measurements alone.
pub const CALM_PUSH_INTERVAL: Duration = Duration::from_secs(1);

/// How many events wait for a slow window before it is told to read again.
pub const EVENTS_WAITING_MAX: usize = 64;

/// The picture, and those who watch it.
#[derive(Debug)]
pub struct Pool {
    picture: Mutex<LivePicture>,
    changed: Notify,
    events: broadcast::Sender<Arc<WindowEvent>>,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new()
    }
}

impl Pool {
    /// An empty pool without watchers.
    pub fn new() -> Self {
        Self {
            picture: Mutex::default(),
            changed: Notify::new(),
            events: broadcast::Sender::new(EVENTS_WAITING_MAX),
        }
    }

    /// The whole picture. What was waiting to be pushed is pushed first, so that the picture is exactly its version's.
    pub fn picture(&self) -> PoolPicture {
        let mut picture = self.lock();
        self.send_change(picture.take_whole_change());
        picture.picture()
    }

    /// Reads without copying the whole. `read` must be quick: everybody waits for it.
    pub fn read<R>(&self, read: impl FnOnce(&LivePicture) -> R) -> R {
        read(&self.lock())
    }

    /// Changes the picture; the change is pushed soon. `change` must be quick: everybody waits for it.
    pub fn change<R>(&self, change: impl FnOnce(&mut LivePicture) -> R) -> R {
        let mut picture = self.lock();
        let answer = change(&mut picture);
        if picture.urgency() != Urgency::None {
            self.changed.notify_one();
        }
        answer
    }

    /// Tells every window about a new line of the activity list.
    pub fn announce(&self, entry: ActivityEntry) {
        self.send(WindowEvent::Activity { entry });
    }

    /// Watches from now on. The first event is always [`WindowEvent::ReadAgain`].
    pub fn subscribe(&self) -> Subscription {
        Subscription {
            events: self.events.subscribe(),
            read_again: true,
        }
    }

    /// Pushes changes as they gather. Runs until it is dropped.
    pub async fn push_changes(&self) {
        let mut last_push: Option<Instant> = None;
        loop {
            let changed = self.changed.notified();
            let interval = match self.read(LivePicture::urgency) {
                Urgency::None => {
                    changed.await;
                    continue;
                }
                Urgency::Calm => CALM_PUSH_INTERVAL,
                Urgency::Urgent => PUSH_INTERVAL,
            };
            if let Some(last) = last_push
                && Instant::now() < last + interval
            {
                // A change that comes meanwhile may be more urgent than what waits: look again.
                tokio::select! {
                    () = tokio::time::sleep_until(last + interval) => {}
                    () = changed => {}
                }
                continue;
            }
            let mut picture = self.lock();
            self.send_change(picture.take_change());
            drop(picture);
            last_push = Some(Instant::now());
        }
    }

    /// To be called under the picture's lock, so that versions leave in order.
    fn send_change(&self, change: Option<PoolChange>) {
        if let Some(change) = change {
            self.send(WindowEvent::Pool { change });
        }
    }

    fn send(&self, event: WindowEvent) {
        // Without a window nobody listens; that is no error.
        let _ = self.events.send(Arc::new(event));
    }

    fn lock(&self) -> MutexGuard<'_, LivePicture> {
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One window's view of the events.
#[derive(Debug)]
pub struct Subscription {
    events: broadcast::Receiver<Arc<WindowEvent>>,
    read_again: bool,
}

impl Subscription {
    /// The next event; `None` when the app ends. A window that was too slow gets one [`WindowEvent::ReadAgain`] in place of all that
    /// it missed. Safe to drop between events.
    pub async fn next(&mut self) -> Option<Arc<WindowEvent>> {
        if std::mem::take(&mut self.read_again) {
            return Some(Arc::new(WindowEvent::ReadAgain));
        }
        match self.events.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Closed) => None,
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "a window was too slow and reads again");
                self.events = self.events.resubscribe();
                Some(Arc::new(WindowEvent::ReadAgain))
            }
        }
    }
}
