//! Who moves the frames: this process, or the kernel for it.

use super::Network;
use super::active::Active;
use super::link::Link;
use super::stats::Path;
use super::vhost::{Served, Vhost};

impl Network {
    /// Lets the kernel serve the pairs in use, if it can; if it refuses one, this process serves all of them, for good.
    pub(super) fn enter_kernel(&mut self) {
        let (Some(kernel), Some(active)) = (self.kernel.as_mut(), self.active.as_mut()) else {
            return;
        };
        if !active.can_use(active.in_use) || (self.log_writes && !kernel.can_log()) {
            return;
        }
        // Before the kernel raises the line for the first time.
        active.interrupt.always_used(true);
        while active.in_kernel < active.in_use {
            if let Err(error) = start_next(kernel, active, &self.link, self.log_writes) {
                self.leave_kernel();
                self.path = Path::OwnBecause(format!("vhost-net refuses the queues: {error}"));
                self.kernel = None;
                if let Some(active) = &self.active {
                    active.interrupt.always_used(false);
                    active.interrupt.used();
                }
                return;
            }
            active.in_kernel += 1;
        }
        // Their frames are not for this process any more: they would wake it one by one.
        for pair in 0..active.in_kernel {
            if let Some(descriptor) = self.link.descriptor(pair) {
                let _watched_in_vain = self.wakes.ignore(pair, descriptor);
            }
        }
    }

    /// Takes the queues back from the kernel, if it has them.
    pub(super) fn leave_kernel(&mut self) {
        let (Some(kernel), Some(active)) = (self.kernel.as_mut(), self.active.as_mut()) else {
            return;
        };
        for pair in 0..std::mem::take(&mut active.in_kernel) {
            let memory = active.memory.clone();
            if let Some(mut served) = served(active, pair)
                && let Err(error) = kernel.stop(pair, &memory, &mut served)
            {
                crate::devices::once(
                    &self.id,
                    &format!("network {}: vhost-net does not stop: {error}", self.id),
                );
            }
            if let Some(pair) = active.pairs.get_mut(pair) {
                pair.receive.half.taken_over();
                pair.transmit.half.taken_over();
            }
            if let Some(descriptor) = self.link.descriptor(pair) {
                let _watched = self.wakes.when_writable(pair, descriptor, false);
            }
        }
    }
}

/// Lets the kernel serve the first pair that it does not serve yet.
fn start_next(kernel: &mut Vhost, active: &mut Active, link: &Link, log: bool) -> Result<(), vhost::Error> {
    let pair = active.in_kernel;
    let tap = link.tap(pair).ok_or(vhost::Error::InvalidQueue)?;
    let (memory, features) = (active.memory.clone(), active.features);
    let interrupt = std::sync::Arc::clone(&active.interrupt);
    let mut served = served(active, pair).ok_or(vhost::Error::InvalidQueue)?;
    kernel.start(pair, (&memory, log), features, &mut served, tap, &interrupt)
}

/// The queues of a pair, and what the guest kicks for them.
fn served(active: &mut Active, pair: usize) -> Option<[Served<'_>; 2]> {
    let [kick_receive, kick_transmit] = active.queue_events.get(2 * pair..2 * pair + 2)? else {
        return None;
    };
    let pair = active.pairs.get_mut(pair)?;
    Some([
        Served {
            queue: &mut pair.receive.half.queue,
            kick: kick_receive,
        },
        Served {
            queue: &mut pair.transmit.half.queue,
            kick: kick_transmit,
        },
    ])
}
