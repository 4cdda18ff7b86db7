//! From the guest to the world.

use virtio_queue::{Queue, QueueOwnedT as _, QueueT as _};

use super::chain::{Direction, collect};
use super::half::{Half, Turn};
use super::link::{Link, LinkError};
use super::receive::FRAME_MAX;
use super::stats::Traffic;
use super::used::{BadRing, Used, UsedRing};
use super::{FRAME_MIN, HEADER};
use crate::devices::virtio::Interrupt;
use crate::memory::GuestMemory;
use crate::rate_limit::RateLimiter;

/// How many chains are looked at before others have their turn: a guest could add them as fast as they are sent.
const CHAINS_PER_TURN: usize = 256;
/// How many chains are finished before the guest may be told.
const CHAINS_PER_INTERRUPT: usize = 32;

/// The transmit queue.
pub struct Transmit {
    /// The pair that it belongs to.
    pair: usize,
    /// Its buffers are those of the frame that is being sent.
    pub half: Half,
    /// Whether the frame at the head of the ring has been paid for: the backend was full when it should have gone.
    paid: bool,
}

impl Transmit {
    /// Serves the queue of a pair.
    pub fn new(pair: usize, queue: Queue, memory: GuestMemory) -> Self {
        Self {
            pair,
            half: Half::new(queue, memory),
            paid: false,
        }
    }

    /// Sends what the guest has put into the ring.
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
        // A frame is sent or still in the ring; its buffers are no longer of interest.
        self.half.pieces.clear();
        self.half.conclude(moved, traffic, interrupt)
    }

    fn move_frames(
        &mut self,
        link: &mut Link,
        limit: &mut RateLimiter,
        traffic: &mut Traffic,
        interrupt: &Interrupt,
    ) -> Result<Turn, BadRing> {
        let memory = self.half.pieces.memory().clone();
        self.half
            .queue
            .disable_notification(&memory)
            .map_err(|_| BadRing)?;
        for looked_at in 1..=CHAINS_PER_TURN {
            let Some(chain) = self.half.queue.iter(&memory).map_err(|_| BadRing)?.next() else {
                let more = self
                    .half
                    .queue
                    .enable_notification(&memory)
                    .map_err(|_| BadRing)?;
                if !more {
                    return Ok(Turn::Done);
                }
                self.half
                    .queue
                    .disable_notification(&memory)
                    .map_err(|_| BadRing)?;
                continue;
            };
            let head = chain.head_index();
            if head >= self.half.queue.size() {
                return Err(BadRing);
            }
            self.half.pieces.clear();
            let length = collect(chain, Direction::Send, &mut self.half.pieces).unwrap_or(0);
            if let Some(turn) = self.send(length, link, limit, traffic) {
                self.half.queue.go_to_previous_position();
                return Ok(turn);
            }
            let used = Used { head, length: 0 };
            UsedRing::publish(&memory, &mut self.half.queue, &[used])?;
            if looked_at % CHAINS_PER_INTERRUPT == 0 {
                self.half.tell(interrupt)?;
            }
        }
        Ok(Turn::More)
    }

    /// Sends the frame in `pieces`, or finds it unfit. Returns why it stays in the ring, if it does.
    fn send(
        &mut self,
        length: usize,
        link: &mut Link,
        limit: &mut RateLimiter,
        traffic: &mut Traffic,
    ) -> Option<Turn> {
        if !(HEADER + FRAME_MIN..=FRAME_MAX).contains(&length) {
            traffic.errors += 1;
            return None;
        }
        let bytes = (length - HEADER) as u64;
        if !self.paid && !limit.take(1, bytes) {
            return Some(Turn::Limited);
        }
        self.paid = false;
        match link.send(self.pair, &mut self.half.pieces) {
            Ok(()) => {
                traffic.frames += 1;
                traffic.bytes += bytes;
            }
            Err(LinkError::Wait) => {
                self.paid = true;
                return Some(Turn::Full);
            }
            Err(LinkError::Failed) => traffic.dropped += 1,
        }
        None
    }
}
