//! Virtio devices, and what they and their transport owe each other.
//!
//! Source: Virtual I/O Device (VIRTIO) 1.2, OASIS; section numbers below are of that document.

pub mod balloon;
pub mod block;
pub mod console;
pub mod entropy;
pub mod interrupt;
pub mod mmio;
pub mod net;
pub mod ring;
#[cfg(any(test, feature = "fuzzing"))]
pub mod testing;
pub mod vsock;

use std::os::fd::RawFd;
use std::sync::Arc;

use virtio_queue::Queue;
use vmm_sys_util::eventfd::EventFd;

pub use interrupt::Interrupt;

use crate::memory::GuestMemory;

/// The kinds of device that there are here, by their number (5, "Device Types").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum DeviceKind {
    /// 5.1
    Network = 1,
    /// 5.2
    Block = 2,
    /// 5.3
    Console = 3,
    /// 5.4
    Entropy = 4,
    /// 5.5
    Balloon = 5,
    /// 5.10
    Socket = 19,
}

/// What a device gets when its driver has set it up.
pub struct Activation {
    /// The guest's memory.
    pub memory: GuestMemory,
    /// The queues that the driver made ready, in the order of [`VirtioDevice::queue_sizes`]; one that it left out is not
    /// [`ready`](virtio_queue::QueueT::ready). Their addresses have been checked to lie in guest memory.
    pub queues: Vec<Queue>,
    /// What the guest writes to when a queue has work, for a kernel that serves the queue itself; one for each queue.
    pub queue_events: Vec<Arc<EventFd>>,
    /// Tells the guest.
    pub interrupt: Arc<Interrupt>,
    /// The features that were offered and accepted, as bits.
    pub features: u64,
}

/// A file descriptor beside the queues that a device waits for: it is read when the descriptor is readable (or closed).
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// The descriptor; the device owns it, and keeps it open for as long as it lives.
    pub descriptor: RawFd,
    /// What [`VirtioDevice::source_ready`] is told; the device chooses it, below 1000.
    pub token: u32,
    /// Whether each wake-up needs new data (edge-triggered): for what a device reads only when its guest has room.
    pub edge: bool,
}

/// Why a device cannot serve its driver: the device then asks for a reset (2.1.2, `DEVICE_NEEDS_RESET`).
#[derive(Debug, thiserror::Error)]
#[error("{device}: {reason}")]
pub struct ActivateError {
    /// Which device.
    pub device: String,
    /// What is wrong.
    pub reason: String,
}

/// Why the saved state of a device cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("the saved state of {device} {reason}")]
pub struct DeviceStateError {
    /// Which device.
    pub device: String,
    /// What is wrong with it, as the end of a sentence.
    pub reason: String,
}

impl DeviceStateError {
    /// A state that this device cannot have given.
    fn format(device: &(impl VirtioDevice + ?Sized)) -> Self {
        Self {
            device: device.name(),
            reason: "is of another format".to_owned(),
        }
    }
}

/// A virtio device.
///
/// # Ordering
///
/// ```text
///              activate                 pause
///   inactive ------------>   active  ----------->  paused
///      ^  ^                  |    ^                  |
///      |  +------ reset -----+    +----- resume -----+
///      +------------- reset -------------------------+
/// ```
///
/// - `restore` comes at most once, before everything else; then `activate` follows, with the queues as they were, and the device is
///   active but told to `pause` before any of its events is delivered.
/// - `queue_ready` and `source_ready` may come at any time, also while inactive or paused, and must do no harm then. What they would
///   have done is done on `activate` or `resume`, where the device looks at all its queues and sources by itself.
/// - `pause` and `reset` return only after nothing is in flight: no thread, kernel or ring of the device touches guest memory any more.
///   `pause` leaves each request either finished and in the used ring, or not yet taken from the available ring.
/// - All calls come under the device's lock. None may wait for the guest.
///
/// # Threat
///
/// The guest writes its memory while a device reads it: what was checked must be read once and kept. A chain that makes no sense is
/// answered with an error status where the format has one, and otherwise returned with length 0; a queue whose ring makes no sense stops
/// that queue. Neither is logged more often than [`once`](crate::devices::once) allows.
pub trait VirtioDevice: Send {
    /// What kind of device.
    fn kind(&self) -> DeviceKind;

    /// Its name in messages and in the API: `disk root`, `network net0`.
    fn name(&self) -> String;

    /// The features that it offers beyond `VIRTIO_F_VERSION_1`, as bits.
    fn features(&self) -> u64;

    /// The largest size of each queue: powers of two, at most 32768.
    fn queue_sizes(&self) -> Vec<u16>;

    /// Whether something else than the device thread (the kernel) serves a queue's notifications while the device is active.
    fn served_elsewhere(&self, _queue: usize) -> bool {
        false
    }

    /// Reads configuration space (2.5). `data` may reach beyond the device's fields, which read as zero there; it holds zeroes.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes configuration space; where nothing is writable, nothing happens.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    /// The descriptors that it waits for beside its queues: the same for all its life.
    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }

    /// The driver is ready.
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError>;

    /// Back to the beginning.
    fn reset(&mut self);

    /// The guest says that a queue has work.
    fn queue_ready(&mut self, queue: usize);

    /// A source has something.
    fn source_ready(&mut self, _token: u32) {}

    /// Stops, with nothing in flight.
    fn pause(&mut self);

    /// Goes on.
    fn resume(&mut self);

    /// Its queues as they are now, in the order of [`queue_sizes`](Self::queue_sizes); `None` while inactive.
    fn queues(&self) -> Option<Vec<&Queue>>;

    /// Whether what something else than this process writes for the device (the kernel, where it [serves](Self::served_elsewhere) queues)
    /// must be in the memory's bitmap when [`pause`](Self::pause) returns. Not at first: it costs.
    fn log_writes(&mut self, _log: bool) {}

    /// What [`restore`](Self::restore) needs beyond what the transport keeps (queues, features). Only while paused or inactive.
    /// Nothing, of a device that does not say otherwise.
    fn save(&self) -> Result<Vec<u8>, DeviceStateError> {
        Ok(Vec::new())
    }

    /// Takes what [`save`](Self::save) gave, maybe in another process of another version: hostile, as any file.
    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceStateError> {
        if state.is_empty() {
            return Ok(());
        }
        Err(DeviceStateError::format(self))
    }
}
