//! The used ring of a queue (2.7.8), where a frame that fills several buffers must appear at once.

use std::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueT as _};
use vm_memory::{Bytes as _, GuestAddress};

use crate::memory::GuestMemory;

/// A chain that the device has finished with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The index of its first descriptor.
    pub head: u16,
    /// How many bytes the device wrote into it.
    pub length: u32,
}

/// A ring reaches outside guest memory, or its indices make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a queue's ring makes no sense")]
pub struct BadRing;

/// What is remembered of a used ring between two interrupts.
#[derive(Debug, Clone, Copy)]
pub struct UsedRing {
    /// The index up to which the driver has been told.
    told: u16,
}

impl UsedRing {
    /// Begins where the queue is.
    pub fn new(queue: &Queue) -> Self {
        Self {
            told: queue.next_used(),
        }
    }

    /// Gives chains back, all in one step: the driver sees all of them or none (5.1.6.4: a driver that finds the first buffer of a frame
    /// may take the rest without looking again).
    pub fn publish(memory: &GuestMemory, queue: &mut Queue, used: &[Used]) -> Result<(), BadRing> {
        let mut next = queue.next_used();
        for entry in used {
            let slot = u64::from(next.checked_rem(queue.size()).ok_or(BadRing)?);
            let mut bytes = [0; 8];
            let (head, length) = bytes.split_at_mut(4);
            head.copy_from_slice(&u32::from(entry.head).to_le_bytes());
            length.copy_from_slice(&entry.length.to_le_bytes());
            let address = queue.used_ring().checked_add(4 + 8 * slot).ok_or(BadRing)?;
            memory
                .write_slice(&bytes, GuestAddress(address))
                .map_err(|_| BadRing)?;
            next = next.wrapping_add(1);
        }
        queue.set_next_used(next);
        let address = queue.used_ring().checked_add(2).ok_or(BadRing)?;
        // Release: what was written before, the frame among it, is there for who sees the index.
        memory
            .store(next.to_le(), GuestAddress(address), Ordering::Release)
            .map_err(|_| BadRing)
    }

    /// Whether the driver wants to be told of what was published since it was told last (2.7.10).
    pub fn needs_interrupt(&mut self, memory: &GuestMemory, queue: &Queue) -> Result<bool, BadRing> {
        let now = queue.next_used();
        let published = now.wrapping_sub(self.told);
        if published == 0 {
            return Ok(false);
        }
        // The index must be visible before the driver's wish is read, or both sides could wait for each other.
        fence(Ordering::SeqCst);
        self.told = now;
        let (offset, size) = (queue.avail_ring(), u64::from(queue.size()));
        if !queue.event_idx_enabled() {
            let flags: u16 = load(memory, offset)?;
            return Ok(u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0);
        }
        let event: u16 = load(memory, offset.checked_add(4 + 2 * size).ok_or(BadRing)?)?;
        Ok(now.wrapping_sub(event).wrapping_sub(1) < published)
    }
}

fn load(memory: &GuestMemory, address: u64) -> Result<u16, BadRing> {
    memory
        .load(GuestAddress(address), Ordering::Relaxed)
        .map(u16::from_le)
        .map_err(|_| BadRing)
}
