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
use super::half::{Half, Turn};
use super::link::{Link, LinkError};
use super::pieces::PIECES_MAX;
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

/// Whether there is room for a frame.
enum Room {
    /// There is.
    Enough,
    /// The guest's next kick tells.
    Wait,
    /// It is to be looked for again, when others have had their turn.
    Later,
}

/// Why no more chains were taken from the ring.
#[derive(PartialEq, Eq)]
enum Gathered {
    /// There are enough, or no more.
    All,
    /// No more can be held.
    Full,
    /// Too many of them made no sense.
    Bad,
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
    /// The pair that it belongs to.
    pair: usize,
    /// Its queue is as the guest sees it only after [`give_back`](Self::give_back).
    pub half: Half,
    /// Taken from the ring and not used yet, in the ring's order; their buffers are the half's.
    chains: VecDeque<Chain>,
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
    /// How many more chains that make no sense are looked at in this turn: a guest could add them as fast as they are given back.
    bad_left: u16,
}

impl Receive {
    /// Serves the queue of a pair, with the negotiated features. `ahead` is the longest frame, with its header, that is usual.
    pub fn new(pair: usize, queue: Queue, memory: GuestMemory, features: u64, ahead: usize) -> Self {
        Self {
            pair,
            half: Half::new(queue, memory),
            chains: VecDeque::new(),
            // Address space alone, until a frame spills.
            spill: Vec::with_capacity(FRAME_MAX),
            parked: None,
            mergeable: features & 1 << VIRTIO_NET_F_MRG_RXBUF != 0,
            indirect: features & 1 << VIRTIO_RING_F_INDIRECT_DESC != 0,
            ahead,
            owed: None,
            batch: Vec::new(),
            bad_left: 0,
        }
    }

    /// Returns what was taken ahead: the ring is then as if the device had never looked. A frame that waits for buffers is lost.
    pub fn give_back(&mut self, traffic: &mut Traffic) {
        if self.parked.take().is_some() {
            traffic.dropped += 1;
        }
        for _ in self.chains.drain(..) {
            self.half.queue.go_to_previous_position();
        }
        self.half.pieces.clear();
    }

    /// Moves frames until there are none, or the guest has no room.
    pub fn run(
        &mut self,
        link: &mut Link,
        limit: &mut RateLimiter,
        traffic: &mut Traffic,
        interrupt: &Interrupt,
    ) -> Turn {
        if self.half.is_stopped() {
            return Turn::Done;
        }
        let moved = self.move_frames(link, limit, traffic, interrupt);
        self.half.conclude(moved, traffic, interrupt)
    }

    fn move_frames(
        &mut self,
        link: &mut Link,
        limit: &mut RateLimiter,
        traffic: &mut Traffic,
        interrupt: &Interrupt,
    ) -> Result<Turn, BadRing> {
        self.half
            .queue
            .disable_notification(self.half.pieces.memory())
            .map_err(|_| BadRing)?;
        self.bad_left = self.half.queue.size();
        for moved in 1..=FRAMES_PER_TURN {
            if let Some(bytes) = self.owed {
                if !limit.take(1, bytes) {
                    return Ok(Turn::Limited);
                }
                self.owed = None;
            }
            match self.room(traffic)? {
                Room::Enough => {}
                Room::Wait => return Ok(Turn::Done),
                Room::Later => return Ok(Turn::More),
            }
            if self.parked.is_none() && !self.read(link, traffic) {
                return Ok(Turn::Done);
            }
            self.deliver(traffic)?;
            if moved % FRAMES_PER_INTERRUPT == 0 {
                self.half.tell(interrupt)?;
            }
        }
        Ok(Turn::More)
    }

    /// Whether there is room for the next frame, or for the one that waits. If not, the guest's next kick tells.
    fn room(&mut self, traffic: &mut Traffic) -> Result<Room, BadRing> {
        loop {
            let wanted = match self.parked {
                Some((length, _)) => length,
                None if self.mergeable => self.ahead,
                None => HEADER,
            };
            let gathered = self.gather(wanted, traffic)?;
            let room = self.half.pieces.bytes();
            match self.parked {
                None if room > 0 => return Ok(Room::Enough),
                Some((length, _)) if room >= length => return Ok(Room::Enough),
                _ if gathered == Gathered::Bad => return Ok(Room::Later),
                // The guest has no more to give, and will not have until this frame is out of the way.
                Some(_) if gathered == Gathered::Full => {
                    self.parked = None;
                    traffic.dropped += 1;
                }
                _ => {
                    let more = self.half.queue.enable_notification(self.half.pieces.memory());
                    if !more.map_err(|_| BadRing)? {
                        return Ok(Room::Wait);
                    }
                    self.half
                        .queue
                        .disable_notification(self.half.pieces.memory())
                        .map_err(|_| BadRing)?;
                }
            }
        }
    }

    /// Takes chains from the ring until they have `wanted` bytes, or there are none.
    fn gather(&mut self, wanted: usize, traffic: &mut Traffic) -> Result<Gathered, BadRing> {
        while self.half.pieces.bytes() < wanted {
            if self.is_full() {
                return Ok(Gathered::Full);
            }
            if self.bad_left == 0 {
                return Ok(Gathered::Bad);
            }
            // The iterator borrows the memory beside the pieces: a clone is a reference count.
            let memory = self.half.pieces.memory().clone();
            let mut available = self.half.queue.iter(&memory).map_err(|_| BadRing)?;
            let Some(chain) = available.next() else {
                return Ok(Gathered::All);
            };
            let head = chain.head_index();
            if head >= self.half.queue.size() {
                return Err(BadRing);
            }
            let before = self.half.pieces.len();
            let bytes = match collect(chain, Direction::Receive, &mut self.half.pieces) {
                Ok(bytes) if self.half.pieces.len() <= PIECES_MAX => bytes,
                Ok(_) => {
                    self.half.pieces.drop_back(before);
                    self.half.queue.go_to_previous_position();
                    return Ok(Gathered::Full);
                }
                Err(_) => {
                    self.bad_left -= 1;
                    traffic.errors += 1;
                    0
                }
            };
            let pieces = self.half.pieces.len() - before;
            self.chains.push_back(Chain { head, pieces, bytes });
            self.refuse_bad()?;
        }
        Ok(Gathered::All)
    }

    /// Whether the guest has given all that its ring can hold.
    fn is_full(&self) -> bool {
        let size = usize::from(self.half.queue.size());
        // Without indirect descriptors each buffer takes a place in the table: one more chain like the last would not fit.
        let next = self.chains.back().map_or(1, |chain| chain.pieces);
        self.chains.len() >= size || (!self.indirect && self.half.pieces.len() + next > size)
    }

    /// Gives back the chains in front that make no sense. Only from the front, so that what is kept can still be returned to the ring.
    fn refuse_bad(&mut self) -> Result<(), BadRing> {
        while let Some(Chain { head, bytes: 0, .. }) = self.chains.front().copied() {
            self.chains.pop_front();
            let used = Used { head, length: 0 };
            UsedRing::publish(self.half.pieces.memory(), &mut self.half.queue, &[used])?;
        }
        Ok(())
    }

    /// Reads one frame into the buffers that are there. Returns whether there was one.
    fn read(&mut self, link: &mut Link, traffic: &mut Traffic) -> bool {
        let first = self.chains.front().map_or(0, |chain| chain.pieces);
        let (count, room) = if self.mergeable {
            (self.half.pieces.len(), self.half.pieces.bytes())
        } else {
            (first, self.chains.front().map_or(0, |chain| chain.bytes))
        };
        match link.receive(self.pair, &mut self.half.pieces, (count, room), &mut self.spill) {
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
            self.half.pieces.bytes()
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
        if self.half.pieces.copy_in(held, &self.spill).is_err() {
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
        self.half
            .pieces
            .copy_in(NUM_BUFFERS, &buffers.to_le_bytes())
            .map_err(|_| BadRing)?;
        self.half.pieces.drop_front(pieces);
        UsedRing::publish(self.half.pieces.memory(), &mut self.half.queue, &frame)?;
        self.batch = frame;
        self.refuse_bad()
    }
}
