//! What wakes a network device beside its queues and its tap, behind one descriptor.

use std::io;
use std::os::fd::{AsRawFd as _, RawFd};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

const AGAIN: u64 = 0;
const LINK: u64 = 1;

/// Why the device was woken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Woken {
    /// A turn was over before the work was done.
    pub again: bool,
    /// The link takes frames again.
    pub link: bool,
}

/// The events of a device.
pub struct Wakes {
    epoll: Epoll,
    again: EventFd,
}

impl Wakes {
    /// Nothing wakes yet.
    pub fn new() -> io::Result<Self> {
        let (epoll, again) = (Epoll::new()?, EventFd::new(EFD_NONBLOCK)?);
        // With an edge for each write, the counter need not be emptied.
        let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, AGAIN);
        epoll.ctl(ControlOperation::Add, again.as_raw_fd(), event)?;
        Ok(Self { epoll, again })
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

    /// Lets `link` wake the device, once [asked](Self::when_writable).
    pub fn watch(&self, link: RawFd) -> io::Result<()> {
        self.epoll.ctl(
            ControlOperation::Add,
            link,
            EpollEvent::new(EventSet::empty(), LINK),
        )
    }

    /// Wakes the device once when `link` takes data.
    pub fn when_writable(&self, link: RawFd) -> io::Result<()> {
        let events = EventSet::OUT | EventSet::ONE_SHOT;
        self.epoll
            .ctl(ControlOperation::Modify, link, EpollEvent::new(events, LINK))
    }

    /// Takes the events that have come.
    pub fn take(&self) -> Woken {
        let mut events = [EpollEvent::default(); 4];
        let count = self.epoll.wait(0, &mut events).unwrap_or(0);
        let mut woken = Woken::default();
        for event in events.iter().take(count) {
            match event.data() {
                AGAIN => woken.again = true,
                _ => woken.link = true,
            }
        }
        woken
    }
}
