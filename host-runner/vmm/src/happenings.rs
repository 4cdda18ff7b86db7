//! What happens to a machine, for who listens.
//!
//! Threat: who listens may be slow, or not there any more. Nobody waits for it: what it does not take in time ends its listening, and it
//! asks for the machine's state when it comes back.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;

use crate::driver::{Ending, RunState};

/// The most who listen at once.
pub const LISTENERS_MAX: usize = 4;
/// The most that waits for one of them.
const WAITING_MAX: usize = 64;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Happening {
    /// Somebody began to listen: what the machine did then.
    Listening {
        /// What it did.
        state: RunState,
    },
    /// Its vCPUs were held.
    Paused,
    /// Its vCPUs were set running.
    Resumed,
    /// Its power button was pressed.
    PowerPressed,
    /// A snapshot was written.
    SnapshotWritten {
        /// Its name.
        name: String,
    },
    /// The balloon was given another size.
    BalloonChanged {
        /// Its size, in MiB.
        size_mib: u32,
    },
    /// A disk was given more room.
    DiskGrown {
        /// Which, by its name in the configuration.
        id: String,
        /// Its size, in MiB.
        size_mib: u32,
    },
    /// What the guest wrote to a disk found no room on the host's: the machine is held until it is set running again.
    DiskFull {
        /// Which, by its name in the configuration.
        id: String,
    },
    /// The machine has come to its end; the process is about to. The last that is told, and not always in time: the end that counts is in
    /// the ending file.
    Ended(Ending),
}

/// All who listen.
#[derive(Debug, Default)]
pub struct Listeners {
    all: Mutex<Vec<(Weak<()>, SyncSender<Happening>)>>,
}

/// One who listens.
#[derive(Debug)]
pub struct Listener {
    /// There for as long as it listens.
    _listens: Arc<()>,
    happenings: Receiver<Happening>,
}

impl Listeners {
    fn all(&self) -> MutexGuard<'_, Vec<(Weak<()>, SyncSender<Happening>)>> {
        // Whole between any two statements that could panic.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more; `None` where [`LISTENERS_MAX`] listen already.
    pub fn listen(&self) -> Option<Listener> {
        let mut all = self.all();
        all.retain(|(listens, _)| listens.strong_count() > 0);
        if all.len() >= LISTENERS_MAX {
            return None;
        }
        let (sender, happenings) = sync_channel(WAITING_MAX);
        let listens = Arc::new(());
        all.push((Arc::downgrade(&listens), sender));
        Some(Listener {
            _listens: listens,
            happenings,
        })
    }

    /// Tells all. Waits for nobody: who has not taken what was told before is told no more.
    pub fn tell(&self, happening: &Happening) {
        self.all()
            .retain(|(_, listener)| listener.try_send(happening.clone()).is_ok());
    }
}

impl Listener {
    /// The next that happens, for as long as `time`.
    pub fn next(&self, time: Duration) -> Result<Happening, RecvTimeoutError> {
        self.happenings.recv_timeout(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    #[test]
    fn all_hear_the_same_in_order() {
        let listeners = Listeners::default();
        let both = [listeners.listen().unwrap(), listeners.listen().unwrap()];
        listeners.tell(&Happening::Paused);
        listeners.tell(&Happening::Resumed);
        for listener in &both {
            assert_eq!(listener.next(AT_ONCE), Ok(Happening::Paused));
            assert_eq!(listener.next(AT_ONCE), Ok(Happening::Resumed));
            assert_eq!(listener.next(AT_ONCE), Err(RecvTimeoutError::Timeout));
        }
    }

    #[test]
    fn who_does_not_take_what_it_is_told_is_told_no_more_and_holds_nobody_up() {
        let listeners = Listeners::default();
        let slow = listeners.listen().unwrap();
        for _ in 0..=WAITING_MAX {
            listeners.tell(&Happening::Paused);
        }
        let taken = std::iter::from_fn(|| slow.next(AT_ONCE).ok()).count();
        assert_eq!(taken, WAITING_MAX);
        assert_eq!(slow.next(AT_ONCE), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn only_so_many_listen_and_one_that_goes_makes_room() {
        let listeners = Listeners::default();
        let mut all: Vec<_> = (0..LISTENERS_MAX).map(|_| listeners.listen().unwrap()).collect();
        assert!(listeners.listen().is_none());
        all.pop();
        assert!(listeners.listen().is_some());
    }

    #[test]
    fn each_is_told_as_an_object_with_the_name_of_what_happened() {
        let ended = Happening::Ended(Ending::Panicked(vec!["Kernel panic".into()]));
        let told = |happening: &Happening| serde_json::to_string(happening).unwrap();
        assert_eq!(
            told(&ended),
            r#"{"event":"ended","ending":"panicked","reason":["Kernel panic"]}"#
        );
        let balloon = Happening::BalloonChanged { size_mib: 64 };
        assert_eq!(told(&balloon), r#"{"event":"balloon_changed","size_mib":64}"#);
        let full = Happening::DiskFull { id: "disk".into() };
        assert_eq!(told(&full), r#"{"event":"disk_full","id":"disk"}"#);
        assert_eq!(told(&Happening::Resumed), r#"{"event":"resumed"}"#);
    }
}
