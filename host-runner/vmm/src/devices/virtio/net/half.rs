//! What both directions of a network interface have.

use virtio_queue::Queue;

use super::pieces::Pieces;
use super::stats::Traffic;
use super::used::{BadRing, UsedRing};
use crate::devices::virtio::Interrupt;
use crate::memory::GuestMemory;

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

/// One direction: a queue, and the buffers that were taken from it.
pub struct Half {
    /// The queue. A kernel may serve it; then it is [taken over](Self::taken_over).
    pub queue: Queue,
    /// Buffers of the guest.
    pub pieces: Pieces,
    used: UsedRing,
    /// The ring made no sense: nothing more is done with it.
    stopped: bool,
}

impl Half {
    /// Begins where the queue is.
    pub fn new(queue: Queue, memory: GuestMemory) -> Self {
        use virtio_queue::QueueT as _;
        Self {
            used: UsedRing::new(&queue),
            stopped: !queue.ready(),
            queue,
            pieces: Pieces::new(memory),
        }
    }

    /// Whether nothing more is done with the queue.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Goes on where the kernel has left the queue; it has told the driver of what it did.
    pub fn taken_over(&mut self) {
        self.used = UsedRing::new(&self.queue);
    }

    /// Tells the driver of what was given back, where it wants to know.
    pub fn tell(&mut self, interrupt: &Interrupt) -> Result<(), BadRing> {
        if self.used.needs_interrupt(self.pieces.memory(), &self.queue)? {
            interrupt.used();
        }
        Ok(())
    }

    /// Ends a turn that came to this.
    pub fn conclude(
        &mut self,
        moved: Result<Turn, BadRing>,
        traffic: &mut Traffic,
        interrupt: &Interrupt,
    ) -> Turn {
        let told = self.tell(interrupt);
        moved
            .and_then(|turn| told.map(|()| turn))
            .unwrap_or_else(|BadRing| {
                self.stopped = true;
                traffic.errors += 1;
                Turn::Done
            })
    }
}
