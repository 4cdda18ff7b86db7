//! Writes that find no room on the host.
//!
//! To a guest a write that fails is a disk that breaks: its file system stops taking any. But nothing is broken, and there may be room
//! soon. So such a write is not answered: it waits in its slot until the machine, which is held meanwhile, is set running again, and is
//! then done anew, as a whole.
//!
//! Threat: a guest may fill the host's disk on purpose. What waits has slots that were its own anyway, and whoever is told of it holds a
//! machine that waits for nothing but itself.

use std::io;

use super::Block;
use super::request::Status;
use super::service::Flight;
use super::task::{Completion, Task};

/// Tells whoever can hold the machine. False where it cannot be told: then the write has failed.
pub type Tell = Box<dyn Fn() -> bool + Send>;

/// The writes of a disk that wait for room.
#[derive(Default)]
pub struct Waiting {
    /// Absent where nobody would hold the machine; nothing waits then.
    tell: Option<Tell>,
    /// Their slots.
    slots: Vec<u16>,
    /// Whether they are to be done anew.
    again: bool,
}

impl Waiting {
    /// Whether there are any.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether there are any that nothing will be done about before somebody says so.
    fn need_room(&self) -> bool {
        !self.is_empty() && !self.again
    }

    /// Whether a task that ended like this waits.
    pub fn takes(&self, task: &Task, error: &io::Error) -> bool {
        let needs_room = match task {
            Task::Write { .. } | Task::Zero { .. } => true,
            // What a flush could not write is not written by another one.
            Task::Read { .. } | Task::Flush | Task::Discard { .. } => false,
        };
        let is_full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        );
        let tell = || self.tell.as_ref().is_some_and(|tell| tell());
        // The first one tells.
        needs_room && is_full && (!self.is_empty() || tell())
    }

    /// Lets the task of a slot wait.
    pub fn push(&mut self, slot: u16) {
        self.slots.push(slot);
    }

    /// They may be done anew, as soon as the device thread comes by; or not yet, where `again` is false.
    pub fn again(&mut self, again: bool) {
        self.again = again;
    }

    /// Forgets all: their slots.
    pub fn forget(&mut self) -> Vec<u16> {
        self.again = false;
        std::mem::take(&mut self.slots)
    }
}

impl Block {
    /// Has writes that find no room on the host wait for it: `tell` is called, on the device thread, with the first one. The machine is
    /// then to be held, and set running again where there may be room.
    pub fn when_full(&mut self, tell: impl Fn() -> bool + Send + 'static) {
        self.waiting.tell = Some(Box::new(tell));
    }

    /// Whether writes wait for room on the host at this moment. Those that are about to be done anew do not: where they find none, it is told
    /// again.
    pub fn waits_for_room(&self) -> bool {
        self.waiting.need_room()
    }

    /// Begins what waited, where that is asked for. Nothing of it begins while the machine is paused: a snapshot would have it in no ring.
    pub(super) fn try_again(&mut self) {
        if !self.waiting.again || self.active.as_ref().is_none_or(|active| active.paused) {
            return;
        }
        for slot in self.waiting.forget() {
            let place = self.flights.get_mut(usize::from(slot));
            let Some(Flight { task, data, .. }) = place.and_then(|place| place.as_ref()) else {
                continue;
            };
            if let Err(error) = self.engine.begin(slot, *task, data) {
                self.complete(Completion {
                    slot,
                    result: Err(error),
                });
            }
        }
    }

    /// Lets go of what waits; it is not answered.
    pub(super) fn forget_waiting(&mut self) {
        for slot in self.waiting.forget() {
            let _unanswered = self.land(slot);
        }
    }

    /// The status of a task that did not wait.
    pub(super) fn failed(&mut self, error: &io::Error) -> Status {
        let device = std::sync::Arc::clone(&self.name);
        crate::devices::once(
            &format!("{device} {:?}", error.kind()),
            &format_args!("{device}: {error}"),
        );
        self.stats.errors += 1;
        Status::Failed
    }
}
