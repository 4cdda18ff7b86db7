//! From the world to the guest.
//!
//! Buffers are taken from the ring ahead of the frames, as many as the largest frame may need, and kept: most frames use one, and the next
//! frame finds the others already checked. What is kept has not been used; [`Receive::give_back`] returns it to the ring.

use std::collections::VecDeque;

use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;
use virtio_queue::{Queue, QueueOwnedT as _, QueueT as _};

use super::HEADER;
use super::chain::{Direction, collect};
use super::link::{Link, LinkError};
use super::pieces::{PIECES_MAX, Pieces};
use super::stats::Traffic;
use super::used::{BadRing, Used, UsedRing};
use crate::devices::virtio::Interrupt;
use crate::memory::GuestMemory;
use crate::rate_limit::RateLimiter;

/// The longest frame that a backend may hand over, with its header, in bytes: 64 KiB of IP with Ethernet and VLAN headers.
pub const FRAME_MAX: usize = HEADER + 65535 + 18;
/// How many frames are moved before others have their turn.
const FRAMES_PER_TURN: usize = 256;
/// How many frames are moved before the guest may be told, so that it works on them while the next ones come.
const FRAMES_PER_INTERRUPT: usize = 16;
/// Where the header says how many buffers a frame has (5.1.6).
const NUM_BUFFERS: usize = 10;

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There is nothing to move: the next event tells.
    Done,
    /// There is more to move, but others have their turn first.
    More,
    /// The guest has had its share; a timer tells when it goes on.
    Limited,
    /// The backend takes no more; it tells when it does.
    Full,
}

/// A chain that the guest gave for frames.
#[derive(Debug, Clone, Copy)]
struct Chain {
    head: u16,
    pieces: usize,
    /// 0 for a chain that makes no sense, which waits here for its turn to be given back.
    bytes: usize,
}

/// The receive queue.
pub struct Receive {
    queue: Queue,
    used: UsedRing,
    /// Taken from the ring and not used yet, in the ring's order.
    chains: VecDeque<Chain>,
    /// The buffers of `chains`.
    pieces: Pieces,
    /// What of a frame did not fit into the buffers that the guest had given.
    spill: Vec<u8>,
    /// The length of the frame whose end is in `spill`, and how much of it is in the buffers.
    parked: Option<(usize, usize)>,
    /// Whether a frame may fill several chains.
    mergeable: bool,
    /// Whether a chain may lie in a table of its own.
    indirect: bool,
    /// How many bytes of buffers are taken ahead.
    ahead: usize,
    /// The bytes that the last frame had, which are to be paid for before the next one is taken.
    owed: Option<u64>,
    /// Chains to give back together, kept for the allocation alone.
    batch: Vec<Used>,
    /// The ring made no sense: nothing more is done with it.
    stopped: bool,
}

impl Receive {
    /// Serves a queue, with the negotiated features. `ahead` is the longest frame, with its header, that is usual.
    pub fn new(queue: Queue, memory: GuestMemory, features: u64, ahead: usize) -> Self {
        Self {
            used: UsedRing::new(&queue),
            stopped: !queue.ready(),
            queue,
            chains: VecDeque::new(),
            pieces: Pieces::new(memory),
            // Address space alone, until a frame spills.
            spill: Vec::with_capacity(FRAME_MAX),
            parked: None,
            mergeable: features & 1 << VIRTIO_NET_F_MRG_RXBUF != 0,
            indirect: features & 1 << VIRTIO_RING_F_INDIRECT_DESC != 0,
            ahead,
            owed: None,
            batch: Vec::new(),
        }
    }

    /// The queue as the guest sees it, only after [`give_back`](Self::give_back).
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The queue, for a kernel that serves it; then it is [taken over](Self::taken_over).
    pub fn queue_mut(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Goes on where the kernel has left the queue; it has told the driver of what it did.
    pub fn taken_over(&mut self) {
        self.used = UsedRing::new(&self.queue);
    }

    /// Returns what was taken ahead: the ring is then as if the device had never looked. A frame that waits for buffers is lost.
    pub fn give_back(&mut self, traffic: &mut Traffic) {
        if self.parked.take().is_some() {
            traffic.dropped += 1;
        }
        for _ in self.chains.drain(..) {
            self.queue.go_to_previous_position();
        }
        self.pieces.clear();
    }

    /// Moves frames until there are none, or the guest has no room.
    pub fn run(
        &mut self,
        link: &mut Link,
        limit: &mut RateLimiter,
        traffic: &mut Traffic,
        interrupt: &Interrupt,
    ) -> Turn {
        if self.stopped {
            return Turn::Done;
        }
        let moved = self.move_frames(link, limit, traffic, interrupt);
        let told = self.tell(interrupt);
        moved
            .and_then(|turn| told.map(|()| turn))
            .unwrap_or_else(|BadRing| {
                self.stopped = true;
                traffic.errors += 1;
                Turn::Done
            })
    }

    fn move_frames(
        &mut self,
        link: &mut Link,
        limit: &mut RateLimiter,
        traffic: &mut Traffic,
        interrupt: &Interrupt,
    ) -> Result<Turn, BadRing> {
        self.queue
            .disable_notification(self.pieces.memory())
            .map_err(|_| BadRing)?;
        for moved in 1..=FRAMES_PER_TURN {
            if let Some(bytes) = self.owed {
                if !limit.take(1, bytes) {
                    return Ok(Turn::Limited);
                }
                self.owed = None;
            }
            if !self.room(traffic)? {
                return Ok(Turn::Done);
            }
            if self.parked.is_none() && !self.read(link, traffic) {
                return Ok(Turn::Done);
            }
            self.deliver(traffic)?;
            if moved % FRAMES_PER_INTERRUPT == 0 {
                self.tell(interrupt)?;
            }
        }
        Ok(Turn::More)
    }

    /// Whether there is room for the next frame, or for the one that waits. If not, the guest's next kick tells.
    fn room(&mut self, traffic: &mut Traffic) -> Result<bool, BadRing> {
        loop {
            let wanted = match self.parked {
                Some((length, _)) => length,
                None if self.mergeable => self.ahead,
                None => HEADER,
            };
            let full = self.gather(wanted, traffic)?;
            let room = self.pieces.bytes();
            match self.parked {
                None if room > 0 => return Ok(true),
                Some((length, _)) if room >= length => return Ok(true),
                // The guest has no more to give, and will not have until this frame is out of the way.
                Some(_) if full => {
                    self.parked = None;
                    traffic.dropped += 1;
                }
                _ => {
                    let more = self.queue.enable_notification(self.pieces.memory());
                    if !more.map_err(|_| BadRing)? {
                        return Ok(false);
                    }
                    self.queue
                        .disable_notification(self.pieces.memory())
                        .map_err(|_| BadRing)?;
                }
            }
        }
    }

    /// Takes chains from the ring until they have `wanted` bytes, or there are none. Returns whether no more could be held.
    fn gather(&mut self, wanted: usize, traffic: &mut Traffic) -> Result<bool, BadRing> {
        while self.pieces.bytes() < wanted {
            if self.is_full() {
                return Ok(true);
            }
            // The iterator borrows the memory beside the pieces: a clone is a reference count.
            let memory = self.pieces.memory().clone();
            let mut available = self.queue.iter(&memory).map_err(|_| BadRing)?;
            let Some(chain) = available.next() else {
                return Ok(false);
            };
            let head = chain.head_index();
            if head >= self.queue.size() {
                return Err(BadRing);
            }
            let before = self.pieces.len();
            let bytes = match collect(chain, Direction::Receive, &mut self.pieces) {
                Ok(bytes) if self.pieces.len() <= PIECES_MAX => bytes,
                Ok(_) => {
                    self.pieces.drop_back(before);
                    self.queue.go_to_previous_position();
                    return Ok(true);
                }
                Err(_) => {
                    traffic.errors += 1;
                    0
                }
            };
            let pieces = self.pieces.len() - before;
            self.chains.push_back(Chain { head, pieces, bytes });
            self.refuse_bad()?;
        }
        Ok(false)
    }

    /// Whether the guest has given all that its ring can hold.
    fn is_full(&self) -> bool {
        let size = usize::from(self.queue.size());
        // Without indirect descriptors each buffer takes a place in the table: one more chain like the last would not fit.
        let next = self.chains.back().map_or(1, |chain| chain.pieces);
        self.chains.len() >= size || (!self.indirect && self.pieces.len() + next > size)
    }

    /// Gives back the chains in front that make no sense. Only from the front, so that what is kept can still be returned to the ring.
    fn refuse_bad(&mut self) -> Result<(), BadRing> {
        while let Some(Chain { head, bytes: 0, .. }) = self.chains.front().copied() {
            self.chains.pop_front();
            let used = Used { head, length: 0 };
            UsedRing::publish(self.pieces.memory(), &mut self.queue, &[used])?;
        }
        Ok(())
    }

    /// Reads one frame into the buffers that are there. Returns whether there was one.
    fn read(&mut self, link: &mut Link, traffic: &mut Traffic) -> bool {
        let first = self.chains.front().map_or(0, |chain| chain.pieces);
        let (count, room) = if self.mergeable {
            (self.pieces.len(), self.pieces.bytes())
        } else {
            (first, self.chains.front().map_or(0, |chain| chain.bytes))
        };
        match link.receive(&mut self.pieces, (count, room), &mut self.spill) {
            Ok(length) => {
                self.parked = Some((length, room.min(length)));
                true
            }
            Err(LinkError::Wait) => false,
            Err(LinkError::Failed) => {
                traffic.errors += 1;
                false
            }
        }
    }

    /// Gives the frame that was read to the guest, if it fits.
    fn deliver(&mut self, traffic: &mut Traffic) -> Result<(), BadRing> {
        let Some((length, held)) = self.parked else {
            return Ok(());
        };
        if !(HEADER..=FRAME_MAX).contains(&length) {
            self.parked = None;
            traffic.errors += 1;
            return Ok(());
        }
        let room = if self.mergeable {
            self.pieces.bytes()
        } else {
            self.chains.front().map_or(0, |chain| chain.bytes)
        };
        if length > room {
            if !self.mergeable {
                // Without mergeable buffers no other buffer can help.
                self.parked = None;
                traffic.dropped += 1;
            }
            return Ok(());
        }
        self.parked = None;
        if self.pieces.copy_in(held, &self.spill).is_err() {
            return Err(BadRing);
        }
        self.publish(length)?;
        let bytes = (length - HEADER) as u64;
        self.owed = Some(bytes);
        traffic.frames += 1;
        traffic.bytes += bytes;
        Ok(())
    }

    fn publish(&mut self, length: usize) -> Result<(), BadRing> {
        let (mut rest, mut pieces) = (length, 0);
        let mut frame = std::mem::take(&mut self.batch);
        frame.clear();
        let mut buffers = 0_u16;
        let mut bad = 0;
        while rest > 0 {
            let chain = self.chains.pop_front().ok_or(BadRing)?;
            let filled = rest.min(chain.bytes);
            rest -= filled;
            pieces += chain.pieces;
            let used = Used {
                head: chain.head,
                length: u32::try_from(filled).map_err(|_| BadRing)?,
            };
            if filled == 0 {
                // The buffers of a frame follow each other in the used ring: a chain that makes no sense goes before them.
                frame.insert(bad, used);
                bad += 1;
            } else {
                frame.push(used);
                buffers = buffers.saturating_add(1);
            }
        }
        self.pieces
            .copy_in(NUM_BUFFERS, &buffers.to_le_bytes())
            .map_err(|_| BadRing)?;
        self.pieces.drop_front(pieces);
        UsedRing::publish(self.pieces.memory(), &mut self.queue, &frame)?;
        self.batch = frame;
        self.refuse_bad()
    }

    fn tell(&mut self, interrupt: &Interrupt) -> Result<(), BadRing> {
        if self.used.needs_interrupt(self.pieces.memory(), &self.queue)? {
            interrupt.used();
        }
        Ok(())
    }
}
