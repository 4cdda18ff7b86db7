//! What there is of an interface while it has a driver.

use std::sync::Arc;

use virtio_queue::{Queue, QueueT as _};
use vmm_sys_util::eventfd::EventFd;

use super::features;
use super::receive::Receive;
use super::transmit::Transmit;
use crate::devices::virtio::ring::Ring;
use crate::devices::virtio::{Activation, Interrupt};
use crate::memory::GuestMemory;

/// A queue pair (5.1.2): by one queue the guest receives, by the other it sends.
pub struct Pair {
    /// Queue `2 * pair`.
    pub receive: Receive,
    /// Queue `2 * pair + 1`.
    pub transmit: Transmit,
    /// A turn of the receive queue was over before its work was done.
    pub receive_again: bool,
    /// The same of the transmit queue.
    pub transmit_again: bool,
}

impl Pair {
    /// Whether the driver has set both queues up.
    pub fn is_ready(&self) -> bool {
        self.receive.half.queue.ready() && self.transmit.half.queue.ready()
    }
}

/// What there is while a driver is.
pub struct Active {
    pub memory: GuestMemory,
    /// All pairs that the driver may use.
    pub pairs: Vec<Pair>,
    /// How many of them it uses: the first ones.
    pub in_use: usize,
    /// Away while a command of it is obeyed.
    pub control: Option<Ring>,
    /// Queues behind the others, which have no use with the features that were accepted.
    unused: Vec<Queue>,
    /// What the guest kicks, by the number of the queue.
    pub queue_events: Vec<Arc<EventFd>>,
    pub interrupt: Arc<Interrupt>,
    pub features: u64,
    /// How many pairs the kernel serves now: all in use, or none.
    pub in_kernel: usize,
    /// What the driver was told of the link.
    pub link_up: bool,
}

impl Active {
    /// Takes the queues. The driver was told of `most` pairs, and `in_use` of them are; frames usually need `usual_frame` bytes.
    /// The error says why this cannot be.
    pub fn new(
        mut activation: Activation,
        (most, in_use): (usize, usize),
        usual_frame: usize,
        link_up: bool,
    ) -> Result<Self, String> {
        let features = activation.features;
        let count = features::pairs(features, most);
        if !(1..=count).contains(&in_use) {
            return Err(format!("{in_use} queue pairs of {count} cannot be in use"));
        }
        let control = match features::control_queue(features, most) {
            Some(at) => Some(Ring::take(&mut activation, at).ok_or("its control queue is missing")?),
            None => None,
        };
        let memory = activation.memory;
        let mut queues = activation.queues.into_iter();
        let mut pairs = Vec::new();
        for pair in 0..count {
            let (Some(receive), Some(transmit)) = (queues.next(), queues.next()) else {
                return Err(format!("{count} queue pairs have two queues each"));
            };
            pairs.push(Pair {
                receive: Receive::new(pair, receive, memory.clone(), features, usual_frame),
                transmit: Transmit::new(pair, transmit, memory.clone()),
                receive_again: false,
                transmit_again: false,
            });
        }
        Ok(Self {
            memory,
            pairs,
            in_use,
            // The control queue, where there is one, follows the pairs: its place is empty now.
            unused: queues.skip(control.iter().count()).collect(),
            control,
            queue_events: activation.queue_events,
            interrupt: activation.interrupt,
            features,
            in_kernel: 0,
            link_up,
        })
    }

    /// All queues, in their order.
    pub fn queues(&self) -> Vec<&Queue> {
        let pairs = self
            .pairs
            .iter()
            .flat_map(|pair| [&pair.receive.half.queue, &pair.transmit.half.queue]);
        let control = self.control.iter().map(Ring::queue);
        pairs.chain(control).chain(&self.unused).collect()
    }

    /// The number of the control queue, if there is one; no pair has a queue of that number.
    pub fn control_queue(&self) -> usize {
        2 * self.pairs.len()
    }

    /// Whether the driver may use so many pairs: it was told of them, and has set them up (5.1.6.5.5.1).
    pub fn can_use(&self, pairs: usize) -> bool {
        let asked_for = self.pairs.get(..pairs).unwrap_or_default();
        !asked_for.is_empty() && asked_for.iter().all(Pair::is_ready)
    }
}
