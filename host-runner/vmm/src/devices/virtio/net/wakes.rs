//! What wakes a network device beside its queues and its limits, behind one descriptor.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::PAIRS_MAX;

const AGAIN: u64 = 0;
const TIMER: u64 = 1;
/// The link of the first pair; those of the others follow.
const LINK: u64 = 2;
/// As many events as can have come at once.
const EVENTS_MAX: usize = 2 + PAIRS_MAX;
/// A link has frames, or ends.
const READS: EventSet = EventSet::IN.union(EventSet::READ_HANG_UP);

/// Why the device was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A turn was over before the work was done.
    Again,
    /// The timer has run out.
    Timer,
    /// The link of a queue pair has something to say.
    Link {
        /// Which pair's.
        pair: usize,
        /// It has frames.
        readable: bool,
        /// It takes frames again.
        writable: bool,
        /// The other side has gone.
        hung_up: bool,
    },
}

/// The events of a device, each of which comes once (edge-triggered).
pub struct Wakes {
    epoll: Epoll,
    again: EventFd,
}

impl Wakes {
    /// Nothing wakes yet.
    pub fn new() -> io::Result<Self> {
        let (epoll, again) = (Epoll::new()?, EventFd::new(EFD_NONBLOCK)?);
        let wakes = Self { epoll, again };
        // With an edge for each write, the counter need not be emptied.
        let descriptor = wakes.again.as_raw_fd();
        wakes.control(ControlOperation::Add, descriptor, EventSet::IN, AGAIN)?;
        Ok(wakes)
    }

    /// What is readable while one of the events has come and was not [taken](Self::take).
    pub fn descriptor(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Wakes the device once others have had their turn.
    pub fn again(&self) {
        // The counter is never read: it would be full after 2^64 turns.
        let _written = self.again.write(1);
    }

    /// Lets the link of a pair wake the device when it has frames, or ends.
    pub fn watch(&self, pair: usize, link: RawFd) -> io::Result<()> {
        self.control(ControlOperation::Add, link, READS, LINK + pair as u64)
    }

    /// Lets a timer wake the device.
    pub fn watch_timer(&self, timer: RawFd) -> io::Result<()> {
        self.control(ControlOperation::Add, timer, EventSet::IN, TIMER)
    }

    /// Lets a watched link wake the device when it takes frames, too, or no longer.
    pub fn when_writable(&self, pair: usize, link: RawFd, writes: bool) -> io::Result<()> {
        let events = if writes { READS | EventSet::OUT } else { READS };
        self.control(ControlOperation::Modify, link, events, LINK + pair as u64)
    }

    /// Keeps a watched link from waking the device, until [`when_writable`](Self::when_writable) is called.
    pub fn ignore(&self, pair: usize, link: RawFd) -> io::Result<()> {
        self.control(
            ControlOperation::Modify,
            link,
            EventSet::empty(),
            LINK + pair as u64,
        )
    }

    /// Takes the events that have come.
    pub fn take(&self) -> impl Iterator<Item = Wake> + use<> {
        let mut events = [EpollEvent::default(); EVENTS_MAX];
        let count = self.epoll.wait(0, &mut events).unwrap_or(0);
        events.into_iter().take(count).map(|event| match event.data() {
            AGAIN => Wake::Again,
            TIMER => Wake::Timer,
            link => {
                let set = event.event_set();
                Wake::Link {
                    // Below `PAIRS_MAX`.
                    pair: usize::try_from(link - LINK).unwrap_or(usize::MAX),
                    readable: set.contains(EventSet::IN),
                    writable: set.contains(EventSet::OUT),
                    hung_up: set.intersects(EventSet::HANG_UP | EventSet::READ_HANG_UP),
                }
            }
        })
    }

    fn control(
        &self,
        operation: ControlOperation,
        descriptor: RawFd,
        events: EventSet,
        token: u64,
    ) -> io::Result<()> {
        let event = EpollEvent::new(events | EventSet::EDGE_TRIGGERED, token);
        self.epoll.ctl(operation, descriptor, event)
    }
}
