//! Switching queue pairs on and off, as the driver asks by the control queue (5.1.6.5.5).

use std::sync::Arc;

use super::Network;
use super::chain::Direction;
use super::control::{self, Answer, Command};
use crate::devices::virtio::ring::{Chain, Done};
use crate::memory::GuestMemory;

impl Network {
    /// Obeys the commands that the driver has given.
    pub(super) fn serve_control(&mut self) {
        if self.paused {
            return;
        }
        let Some(active) = &mut self.active else {
            return;
        };
        let (memory, interrupt) = (active.memory.clone(), Arc::clone(&active.interrupt));
        // A command changes what the ring is part of.
        let Some(mut ring) = active.control.take() else {
            return;
        };
        ring.serve(&memory, &interrupt, |chain| self.obey(chain, &memory));
        if let Some(active) = &mut self.active {
            active.control = Some(ring);
        }
    }

    fn obey(&mut self, chain: &Chain, memory: &GuestMemory) -> Done {
        // The answer until there is a better one. Where it has no place, nothing is done: the driver could not learn of it.
        let length = Answer::Refused.write(chain, memory);
        if length == 0 {
            return Done::Used(0);
        }
        let answer = match control::read(&chain.readable, memory) {
            Some(Command::SetPairs(pairs)) => match self.set_pairs(pairs.into()) {
                Some(answer) => answer,
                None => return Done::Later,
            },
            None => Answer::Refused,
        };
        Done::Used(answer.write(chain, memory))
    }

    /// Uses so many pairs from now on, or as many as before. `None`: the guest has changed its mind too often, and a timer tells when it
    /// may again.
    fn set_pairs(&mut self, pairs: usize) -> Option<Answer> {
        let active = self.active.as_ref()?;
        if active.in_use == pairs {
            return Some(Answer::Ok);
        }
        if !active.can_use(pairs) {
            return Some(Answer::Refused);
        }
        if !self.change_limit.take(1, 0) {
            return None;
        }
        Some(self.change_pairs(pairs))
    }

    fn change_pairs(&mut self, pairs: usize) -> Answer {
        self.leave_kernel();
        let before = self.active.as_ref().map_or(0, |active| active.in_use);
        for pair in pairs..before {
            // The last look at what was sent by a pair before the command was given.
            self.serve(Direction::Send, pair);
        }
        let changed = self.link.use_pairs(pairs);
        if let Err(err) = &changed {
            crate::devices::once(
                &self.id,
                &format!("network {}: the host refuses {pairs} queues: {err}", self.id),
            );
            // Those that were in use have been attached before.
            let _as_before = self.link.use_pairs(before);
        } else if let Some(active) = &mut self.active {
            active.in_use = pairs;
            for (of, traffic) in active.pairs.iter_mut().zip(&mut self.traffic).skip(pairs) {
                of.receive.give_back(&mut traffic.received);
            }
            self.receive_limit.keep(pairs);
            self.transmit_limit.keep(pairs);
        }
        self.enter_kernel();
        self.serve_pairs();
        match changed {
            Ok(()) => Answer::Ok,
            Err(_) => Answer::Refused,
        }
    }
}
