//! What wakes a network device beside its queues and its tap, behind one descriptor.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const AGAIN: u64 = 0;
const LINK: u64 = 1;
const TIMER: u64 = 2;
/// A link has frames, or ends.
const READS: EventSet = EventSet::IN.union(EventSet::READ_HANG_UP);

/// Why the device was woken.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each event is there or not, by itself"
)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Woken {
    /// A turn was over before the work was done.
    pub again: bool,
    /// The link has frames.
    pub readable: bool,
    /// The link takes frames again.
    pub writable: bool,
    /// The other side of the link has gone.
    pub hung_up: bool,
    /// The timer has run out.
    pub timer: bool,
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

    /// Lets a link wake the device when it has frames, or ends.
    pub fn watch(&self, link: RawFd) -> io::Result<()> {
        self.control(ControlOperation::Add, link, READS, LINK)
    }

    /// Lets a timer wake the device.
    pub fn watch_timer(&self, timer: RawFd) -> io::Result<()> {
        self.control(ControlOperation::Add, timer, EventSet::IN, TIMER)
    }

    /// Lets a watched link wake the device when it takes frames, too, or no longer.
    pub fn when_writable(&self, link: RawFd, writes: bool) -> io::Result<()> {
        let events = if writes { READS | EventSet::OUT } else { READS };
        self.control(ControlOperation::Modify, link, events, LINK)
    }

    /// Keeps a watched link from waking the device, until [`when_writable`](Self::when_writable) is called.
    pub fn ignore(&self, link: RawFd) -> io::Result<()> {
        self.control(ControlOperation::Modify, link, EventSet::empty(), LINK)
    }

    /// Takes the events that have come.
    pub fn take(&self) -> Woken {
        let mut events = [EpollEvent::default(); 4];
        let count = self.epoll.wait(0, &mut events).unwrap_or(0);
        let mut woken = Woken::default();
        for event in events.iter().take(count) {
            match event.data() {
                AGAIN => woken.again = true,
                TIMER => woken.timer = true,
                _ => {
                    let set = event.event_set();
                    woken.readable |= set.contains(EventSet::IN);
                    woken.writable |= set.contains(EventSet::OUT);
                    woken.hung_up |= set.intersects(EventSet::HANG_UP | EventSet::READ_HANG_UP);
                }
            }
        }
        woken
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
