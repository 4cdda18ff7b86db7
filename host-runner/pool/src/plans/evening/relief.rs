//! What comes first, whatever the imbalance: wishes that are broken, and machines that are expected to run out of CPU.

use super::{Among, Evening, is_overloaded};
use crate::plans::rules::broken_wish;
use crate::state::{InstanceIndex, MachineIndex};

impl Evening<'_> {
    /// Moves what is where it must not be, as far as other machines take it.
    pub(super) fn mend(&mut self) {
        let instances: Vec<InstanceIndex> = self.pool.instances().map(|(index, _)| index).collect();
        for instance in instances {
            if self.moves_left == 0 {
                return;
            }
            if !self.is_free(instance) || broken_wish(&self.pool, instance).is_none() {
                continue;
            }
            self.mend_one(instance);
        }
    }

    /// To the best machine that keeps failures recoverable, else to the best of all.
    fn mend_one(&mut self, instance: InstanceIndex) {
        while let Some((_, to)) = self.best_target(instance, Among::NotRefused) {
            if self.admits(&[(instance, to)]) {
                self.seat(instance, to);
                return;
            }
        }
        if let Some((_, to)) = self.best_target(instance, Among::All) {
            self.insist(instance, to);
        }
    }

    /// Moves instances off overloaded machines until they are overloaded no more, or nothing that is there can go.
    pub(super) fn relieve(&mut self) {
        let mut overloaded: Vec<MachineIndex> = self
            .rows
            .iter()
            .map(|row| row.machine)
            .filter(|machine| is_overloaded(&self.pool, *machine, self.options))
            .collect();
        overloaded.sort_by(|a, b| {
            let load = |machine: &MachineIndex| self.pool.machine(*machine).load().cpu;
            load(b).total_cmp(&load(a)).then(a.cmp(b))
        });
        for machine in overloaded {
            while self.moves_left > 0 && is_overloaded(&self.pool, machine, self.options) {
                if let Some((instance, to)) = self.best_relief(machine, Among::NotRefused) {
                    if self.admits(&[(instance, to)]) {
                        self.seat(instance, to);
                    }
                } else if let Some((instance, to)) = self.best_relief(machine, Among::All) {
                    self.insist(instance, to);
                } else {
                    break;
                }
            }
        }
    }

    /// The move off this machine that leaves the pool most even, of those that take load away.
    fn best_relief(&self, machine: MachineIndex, among: Among) -> Option<(InstanceIndex, MachineIndex)> {
        let mut best: Option<(f64, InstanceIndex, MachineIndex)> = None;
        for instance in self.free_on(machine) {
            if self.pool.instance(instance).demand.mean <= 0.0 {
                continue;
            }
            let Some((gain, to)) = self.best_target(instance, among) else {
                continue;
            };
            if best.is_none_or(|(most, _, _)| gain > most) {
                best = Some((gain, instance, to));
            }
        }
        best.map(|(_, instance, to)| (instance, to))
    }
}
