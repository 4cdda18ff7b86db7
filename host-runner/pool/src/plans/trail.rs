//! A pool that is tried things out on: every change can be taken back.

use crate::Pool;
use crate::inventory::MachineState;
use crate::state::{InstanceIndex, MachineIndex, Place};

/// A pool, and what was done to it.
#[derive(Debug)]
pub(super) struct Trail {
    pool: Pool,
    done: Vec<(InstanceIndex, Option<Place>)>,
}

impl Trail {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            done: Vec::new(),
        }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// To look at what would be, by changes that whoever makes them takes back himself.
    pub(super) fn scratch(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// A machine is woken, or put to sleep again. Not taken back by [`back_to`](Self::back_to).
    pub(super) fn set_state(&mut self, machine: MachineIndex, state: MachineState) {
        self.pool.set_machine_state(machine, state);
    }

    pub(super) fn into_pool(self) -> Pool {
        self.pool
    }

    pub(super) fn seat(&mut self, instance: InstanceIndex, machine: MachineIndex) {
        self.done.push((instance, self.pool.place_of(instance)));
        self.pool.seat(instance, machine);
    }

    pub(super) fn unseat(&mut self, instance: InstanceIndex) {
        self.done.push((instance, self.pool.place_of(instance)));
        self.pool.unseat(instance);
    }

    /// How much was done, to come back to.
    pub(super) fn mark(&self) -> usize {
        self.done.len()
    }

    /// Takes everything back that was done since the mark.
    pub(super) fn back_to(&mut self, mark: usize) {
        while self.done.len() > mark {
            let Some((instance, before)) = self.done.pop() else {
                return;
            };
            self.pool.put_back(instance, before);
        }
    }
}
