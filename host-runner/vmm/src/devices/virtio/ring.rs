//! A queue as most devices see it: chains come, are worked on one by one, and go back.
//!
//! Threat: the guest writes rings, descriptors and buffers at any moment. A chain is walked once, into a list of at most
//! [`SEGMENTS_MAX`] segments; what makes no sense goes back with length 0. The work of one call is bounded by the queue's size. A ring
//! that makes no sense is given up until the next reset.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_bindings::virtio_ring::{
    VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC, VRING_AVAIL_F_NO_INTERRUPT,
};
use virtio_queue::{Queue, QueueOwnedT as _, QueueT as _};
use vm_memory::io::{ReadVolatile, WriteVolatile};
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryBackend as _, GuestMemoryError, VolatileMemoryError};
use vmm_sys_util::eventfd::EventFd;

use super::{ActivateError, Activation, Interrupt};
use crate::memory::GuestMemory;

/// How many segments a chain has at most; drivers of the devices here use a few dozen.
pub const SEGMENTS_MAX: usize = 128;

/// The features of queues that all devices here offer, as bits.
pub const FEATURES: u64 = 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// A piece of guest memory: checked only when it is read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins, a guest-physical address.
    pub address: u64,
    /// How many bytes it has.
    pub length: u32,
}

/// A list of segments, as one run of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segments(Vec<Segment>);

/// A buffer is not where it should be, or the other side failed.
#[derive(Debug, thiserror::Error)]
pub enum BufferError {
    /// The buffer lies outside guest memory, or is too short.
    #[error("a buffer lies outside the guest's memory or is too short")]
    Outside,
    /// Reading into, or writing from, the buffer failed.
    #[error("cannot move data between the guest's memory and a file")]
    Moving(#[source] io::Error),
}

impl From<GuestMemoryError> for BufferError {
    fn from(error: GuestMemoryError) -> Self {
        match error {
            GuestMemoryError::IOError(err) => Self::Moving(err),
            _ => Self::Outside,
        }
    }
}

impl From<VolatileMemoryError> for BufferError {
    fn from(error: VolatileMemoryError) -> Self {
        match error {
            VolatileMemoryError::IOError(err) => Self::Moving(err),
            _ => Self::Outside,
        }
    }
}

impl Segments {
    /// The segments.
    pub fn iter(&self) -> impl Iterator<Item = Segment> {
        self.0.iter().copied()
    }

    /// How many bytes they have together.
    pub fn bytes(&self) -> u64 {
        // At most SEGMENTS_MAX times 2^32.
        self.iter().map(|segment| u64::from(segment.length)).sum()
    }

    /// Those parts that begin `skip` bytes from the start, and end after `most` more.
    fn range(&self, skip: u64, most: u64) -> impl Iterator<Item = (GuestAddress, usize)> {
        let mut skip = skip;
        let mut left = most;
        self.iter().filter_map(move |segment| {
            let length = u64::from(segment.length);
            let begin = skip.min(length);
            skip -= begin;
            let take = (length - begin).min(left);
            left -= take;
            let address = segment.address.checked_add(begin);
            // A segment whose end is beyond all addresses is found out when it is used.
            let address = GuestAddress(address.unwrap_or(u64::MAX));
            usize::try_from(take)
                .ok()
                .filter(|take| *take > 0)
                .map(|take| (address, take))
        })
    }

    /// Copies out of them, from `skip` on, as many bytes as `buffer` has.
    pub fn read(&self, memory: &GuestMemory, skip: u64, buffer: &mut [u8]) -> Result<(), BufferError> {
        let mut rest = buffer;
        for (address, count) in self.range(skip, rest.len() as u64) {
            let (now, later) = rest.split_at_mut_checked(count).ok_or(BufferError::Outside)?;
            memory.read_slice(now, address)?;
            rest = later;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(BufferError::Outside)
        }
    }

    /// Copies `bytes` into them, from `skip` on.
    pub fn write(&self, memory: &GuestMemory, skip: u64, bytes: &[u8]) -> Result<(), BufferError> {
        let mut rest = bytes;
        for (address, count) in self.range(skip, rest.len() as u64) {
            let (now, later) = rest.split_at_checked(count).ok_or(BufferError::Outside)?;
            memory.write_slice(now, address)?;
            rest = later;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(BufferError::Outside)
        }
    }

    /// Reads from a descriptor into them, from `skip` on, at most `most` bytes, until it has no more: how many. An error after the first
    /// byte comes with the next call.
    pub fn fill(
        &self,
        memory: &GuestMemory,
        skip: u64,
        most: u64,
        source: &mut impl ReadVolatile,
    ) -> Result<u64, BufferError> {
        move_pieces(self.range(skip, most), |address, count| {
            Ok(source.read_volatile(&mut memory.get_slice(address, count)?)?)
        })
    }

    /// Writes them to a descriptor, from `skip` on, at most `most` bytes, until it takes no more: how many. An error after the first
    /// byte comes with the next call.
    pub fn drain(
        &self,
        memory: &GuestMemory,
        skip: u64,
        most: u64,
        target: &mut impl WriteVolatile,
    ) -> Result<u64, BufferError> {
        // Not `write_volatile_to`, which writes until all is written or an error comes, and then does not say how much was.
        move_pieces(self.range(skip, most), |address, count| {
            Ok(target.write_volatile(&memory.get_slice(address, count)?)?)
        })
    }
}

fn move_pieces(
    pieces: impl Iterator<Item = (GuestAddress, usize)>,
    mut step: impl FnMut(GuestAddress, usize) -> Result<usize, BufferError>,
) -> Result<u64, BufferError> {
    let mut moved = 0;
    for (address, count) in pieces {
        match step(address, count) {
            Ok(done) => {
                moved += done as u64;
                if done < count {
                    break;
                }
            }
            Err(_) if moved > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(moved)
}

/// A chain that the driver made available.
#[derive(Debug)]
pub struct Chain {
    head: u16,
    /// What the device reads.
    pub readable: Segments,
    /// What the device writes.
    pub writable: Segments,
}

/// What became of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// It goes back to the driver, with so many bytes written.
    Used(u32),
    /// So it does, and was so much work that those that follow have their turn after other devices.
    Enough(u32),
    /// It stays where it is, and with it all that follow: the device is not ready for it.
    Later,
}

/// A queue that a device works on.
#[derive(Debug)]
pub struct Ring {
    queue: Queue,
    kick: Option<Arc<EventFd>>,
    /// The index of the used ring up to which the driver has been told.
    told: u16,
    /// The ring made no sense.
    broken: bool,
}

impl Ring {
    /// A ring of an activated device; `index` is its number.
    pub fn take(activation: &mut Activation, index: usize) -> Option<Self> {
        let slot = activation.queues.get_mut(index)?;
        // A queue of no use takes its place: the numbers of the others stay. Cannot fail, the size is a power of two.
        let queue = std::mem::replace(slot, Queue::new(1).ok()?);
        Some(Self {
            told: queue.next_used(),
            queue,
            kick: activation.queue_events.get(index).cloned(),
            broken: false,
        })
    }

    /// The rings of an activated device, which has `N`.
    pub fn take_all<const N: usize>(
        activation: &mut Activation,
        device: &str,
    ) -> Result<[Self; N], ActivateError> {
        let rings: Vec<Self> = (0..N).filter_map(|index| Self::take(activation, index)).collect();
        rings.try_into().map_err(|_| ActivateError {
            device: device.to_owned(),
            reason: format!("it has {N} queues"),
        })
    }

    /// The queue itself.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Whether the driver made it ready, and its ring made sense so far.
    pub fn works(&self) -> bool {
        self.queue.ready() && !self.broken
    }

    /// Works on what is available: until nothing is left, `work` has to wait or has had enough, or as many chains were done as the ring has
    /// room for; then the rest is done in a call of its own, so that other devices have their turn. Tells the driver where it wants to know.
    pub fn serve(
        &mut self,
        memory: &GuestMemory,
        interrupt: &Interrupt,
        mut work: impl FnMut(&Chain) -> Done,
    ) {
        let mut budget = self.queue.size();
        while self.works() {
            let _kept_quiet = self.queue.disable_notification(memory);
            let Some(chain) = self.next(memory) else {
                // What came in between has its turn soon: nobody will kick for it.
                if self.ask_for_kicks(memory) {
                    self.come_again();
                }
                break;
            };
            match work(&chain) {
                Done::Used(length) => self.give_back(memory, &chain, length),
                Done::Enough(length) => {
                    self.give_back(memory, &chain, length);
                    self.come_again();
                    break;
                }
                Done::Later => {
                    self.put_back();
                    break;
                }
            }
            budget = budget.saturating_sub(1);
            if budget == 0 {
                self.come_again();
                break;
            }
        }
        self.tell(memory, interrupt);
    }

    /// The next chain, if there is one. Those that make no sense go back with length 0; no more of them in one call than the ring has.
    pub fn next(&mut self, memory: &GuestMemory) -> Option<Chain> {
        if !self.works() {
            return None;
        }
        for _ in 0..self.queue.size() {
            let chain = if let Ok(mut available) = self.queue.iter(memory) {
                available.next()?
            } else {
                // Not "nothing is there": whoever asked then whether there is more would be told so, again and again.
                self.give_up();
                return None;
            };
            let head = chain.head_index();
            if let Some(chain) = walk(head, chain) {
                return Some(chain);
            }
            self.give_back_head(memory, head, 0);
        }
        None
    }

    /// Leaves the chain that [`next`](Self::next) gave last to be given again.
    pub fn put_back(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Gives a chain back to the driver, with so many bytes written. It learns of it by [`tell`](Self::tell).
    pub fn give_back(&mut self, memory: &GuestMemory, chain: &Chain, length: u32) {
        self.give_back_head(memory, chain.head, length);
    }

    fn give_back_head(&mut self, memory: &GuestMemory, head: u16, length: u32) {
        if self.queue.add_used(memory, head, length).is_err() {
            self.give_up();
        }
    }

    /// Asks to be kicked when chains come. Whether there are some already.
    pub fn ask_for_kicks(&mut self, memory: &GuestMemory) -> bool {
        if !self.works() {
            return false;
        }
        let Ok(more) = self.queue.enable_notification(memory) else {
            self.give_up();
            return false;
        };
        more && self.can_advance(memory)
    }

    /// Has the device called again for this queue, after others had their turn.
    pub fn come_again(&self) {
        if let Some(kick) = &self.kick {
            // A full counter is a kick as well.
            let _full = kick.write(1);
        }
    }

    /// Tells the driver of what was given back since it was told last, where it wants to know (2.7.7, 2.7.10).
    pub fn tell(&mut self, memory: &GuestMemory, interrupt: &Interrupt) {
        let now = self.queue.next_used();
        if now == self.told || !self.works() {
            return;
        }
        self.told = now;
        let Ok(wanted) = wants_interrupt(&mut self.queue, memory) else {
            self.give_up();
            return;
        };
        if wanted {
            interrupt.used();
        }
    }

    /// Whether the available index makes sense: no more is available than the ring holds. One that does not would have us look for ever.
    fn can_advance(&mut self, memory: &GuestMemory) -> bool {
        let sensible = match self.queue.avail_idx(memory, Ordering::Acquire) {
            Ok(index) => index.0.wrapping_sub(self.queue.next_avail()) <= self.queue.size(),
            Err(_) => false,
        };
        if !sensible {
            self.give_up();
        }
        sensible
    }

    fn give_up(&mut self) {
        self.broken = true;
        super::super::once(
            "virtio ring",
            &"a guest's virtio queue makes no sense; it is left alone until a reset",
        );
    }
}

/// The segments of a chain; `None` when it loops, leads out of its table, has too many, or mixes what is read and what is written.
fn walk(head: u16, chain: virtio_queue::DescriptorChain<&GuestMemory>) -> Option<Chain> {
    let mut readable = Vec::new();
    let mut writable = Vec::new();
    let mut complete = false;
    for (count, descriptor) in chain.enumerate() {
        if count == SEGMENTS_MAX {
            return None;
        }
        let segment = Segment {
            address: descriptor.addr().0,
            length: descriptor.len(),
        };
        if descriptor.is_write_only() {
            writable.push(segment);
        } else if writable.is_empty() {
            readable.push(segment);
        } else {
            return None;
        }
        // The iterator also ends where it cannot go on: then the last one had a successor.
        complete = !descriptor.has_next();
    }
    complete.then_some(Chain {
        head,
        readable: Segments(readable),
        writable: Segments(writable),
    })
}

/// Whether the driver wants to hear of what was given back since this was last asked: with the event index by the queue's own rule, and
/// without it by the driver's flag, which that does not look at.
pub(super) fn wants_interrupt(queue: &mut Queue, memory: &GuestMemory) -> Result<bool, virtio_queue::Error> {
    let wanted = queue.needs_notification(memory)?;
    if queue.event_idx_enabled() {
        return Ok(wanted);
    }
    fence(Ordering::SeqCst);
    let flags: u16 = memory
        .load(GuestAddress(queue.avail_ring()), Ordering::Relaxed)
        .map_err(virtio_queue::Error::GuestMemory)?;
    Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0)
}

#[cfg(test)]
mod tests;
