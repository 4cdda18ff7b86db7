//! How a device tells its guest.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use vmm_sys_util::eventfd::EventFd;

/// A queue was used (4.2.2, `InterruptStatus`).
const USED_BUFFER: u32 = 1;
/// The configuration changed.
const CONFIGURATION_CHANGED: u32 = 2;

/// One device's interrupt: a status that the guest reads and acknowledges, and an edge on an interrupt line.
#[derive(Debug)]
pub struct Interrupt {
    status: AtomicU32,
    /// The status always says "used": for queues that the kernel serves, which raises the line without asking us.
    always_used: AtomicBool,
    /// KVM turns a write into an edge on the line.
    line: EventFd,
}

impl Interrupt {
    /// An interrupt whose line rises when `line`, an eventfd that KVM knows, is written.
    pub fn new(line: EventFd) -> Self {
        Self {
            status: AtomicU32::new(0),
            always_used: AtomicBool::new(false),
            line,
        }
    }

    /// Tells the driver that a queue has used buffers. Whether it wants to know is the caller's to ask
    /// ([`needs_notification`](virtio_queue::QueueT::needs_notification)).
    pub fn used(&self) {
        self.raise(USED_BUFFER);
    }

    /// Tells the driver that the configuration space changed.
    pub fn configuration_changed(&self) {
        self.raise(CONFIGURATION_CHANGED);
    }

    /// While `always`, the status says that buffers were used: the kernel serves the queues and raises the line alone.
    pub fn always_used(&self, always: bool) {
        self.always_used.store(always, Ordering::Release);
    }

    /// The line, for a kernel that raises it.
    pub fn line(&self) -> &EventFd {
        &self.line
    }

    /// The status register.
    pub fn status(&self) -> u32 {
        let always = if self.always_used.load(Ordering::Acquire) {
            USED_BUFFER
        } else {
            0
        };
        self.status.load(Ordering::Acquire) | always
    }

    /// The driver has seen these bits.
    pub fn acknowledge(&self, bits: u32) {
        self.status.fetch_and(!bits, Ordering::AcqRel);
    }

    /// As after power-on, or as it was saved.
    pub fn set(&self, status: u32) {
        self.status.store(status, Ordering::Release);
    }

    /// Raises the line again for what the guest has not acknowledged: an edge does not survive a snapshot.
    pub fn repeat(&self) {
        if self.status.load(Ordering::Acquire) != 0 {
            self.edge();
        }
    }

    fn raise(&self, bit: u32) {
        self.status.fetch_or(bit, Ordering::AcqRel);
        self.edge();
    }

    fn edge(&self) {
        // The counter can only be full (WouldBlock) when KVM has not taken 2^64 - 2 edges: the line is up then anyway.
        let written: io::Result<()> = self.line.write(1);
        debug_assert!(written.is_ok(), "{written:?}");
    }
}
