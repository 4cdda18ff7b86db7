//! Who would have to leave a machine so that another finds room there.

use super::homes::is_marked;
use super::options::MoveCost;
use super::rules::{Rules, mobility};
use super::travel;
use crate::Pool;
use crate::inventory::MachineState;
use crate::state::{InstanceIndex, MachineIndex, MachineSeat};

/// How many offers are looked at, cheapest first.
const OFFERS_MAX: usize = 24;

/// A machine that could take an instance if these left.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) machine: MachineIndex,
    pub(super) leaving: Vec<InstanceIndex>,
    cost: f64,
}

/// How room may be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room<'a> {
    pub(super) rules: &'a Rules,
    pub(super) cost: &'a MoveCost,
    /// Whose move costs nothing: they are under way anyway.
    pub(super) free: &'a [bool],
    /// Who does not leave.
    pub(super) staying: &'a [InstanceIndex],
}

impl Room<'_> {
    /// The machines that could take the instance if something left them: the cheapest offers first. The pool is left as it was.
    pub(super) fn offers(&self, pool: &mut Pool, instance: InstanceIndex) -> Vec<Offer> {
        let mut offers = Vec::new();
        let machines: Vec<MachineIndex> = pool
            .machines()
            .filter(|(machine, seat)| {
                seat.state == MachineState::Ready && pool.instance(instance).machine != Some(*machine)
            })
            .filter(|(_, seat)| could_free_enough(pool, instance, seat))
            .map(|(machine, _)| machine)
            .collect();
        for machine in machines {
            let leaving = self.may_leave(pool, machine);
            let single = self.single(pool, instance, machine, &leaving);
            let several = self.several(pool, instance, machine, &leaving);
            for leaving in [single, several] {
                if !leaving.is_empty() {
                    let cost = self.price(pool, &leaving);
                    offers.push(Offer {
                        machine,
                        leaving,
                        cost,
                    });
                }
            }
        }
        offers.sort_by(|a, b| {
            a.cost
                .total_cmp(&b.cost)
                .then(a.leaving.len().cmp(&b.leaving.len()))
                .then(a.machine.cmp(&b.machine))
        });
        offers.truncate(OFFERS_MAX);
        offers
    }

    fn price(&self, pool: &Pool, leaving: &[InstanceIndex]) -> f64 {
        leaving
            .iter()
            .filter(|other| !is_marked(self.free, **other))
            .map(|other| self.cost.of_duration(travel::seconds_out(pool, *other)))
            .sum()
    }

    fn leaves(&self, pool: &Pool, other: InstanceIndex) -> bool {
        mobility(pool.instance(other)).is_ok() && !self.staying.contains(&other)
    }

    /// Who may leave, the smallest first.
    fn may_leave(&self, pool: &Pool, machine: MachineIndex) -> Vec<InstanceIndex> {
        let seat = pool.machine(machine);
        let mut leaving: Vec<InstanceIndex> = seat
            .instances
            .iter()
            .copied()
            .filter(|other| self.leaves(pool, *other))
            .collect();
        leaving.sort_unstable_by_key(|other| (pool.instance(*other).asked.memory_mib, *other));
        leaving
    }

    /// The smallest that makes enough room alone.
    fn single(
        &self,
        pool: &mut Pool,
        instance: InstanceIndex,
        machine: MachineIndex,
        leaving: &[InstanceIndex],
    ) -> Vec<InstanceIndex> {
        let found = leaving.iter().copied().find(|other| {
            let place = pool.place_of(*other);
            pool.unseat(*other);
            let fits = self.rules.fits(pool, instance, machine);
            pool.put_back(*other, place);
            fits
        });
        found.into_iter().collect()
    }

    /// Small ones until there is room, without those that turn out not to be needed; empty where even all together make too little, or
    /// one is enough.
    fn several(
        &self,
        pool: &mut Pool,
        instance: InstanceIndex,
        machine: MachineIndex,
        leaving: &[InstanceIndex],
    ) -> Vec<InstanceIndex> {
        let mut out = Vec::new();
        let mut fits = false;
        for other in leaving {
            out.push((*other, pool.place_of(*other)));
            pool.unseat(*other);
            fits = self.rules.fits(pool, instance, machine);
            if fits {
                break;
            }
        }
        let mut needed = Vec::new();
        for (other, place) in out.into_iter().rev() {
            pool.put_back(other, place.clone());
            if fits && !self.rules.fits(pool, instance, machine) {
                pool.unseat(other);
                needed.push((other, place));
            }
        }
        let leaving: Vec<InstanceIndex> = needed.iter().map(|(other, _)| *other).collect();
        for (other, place) in needed {
            pool.put_back(other, place);
        }
        if leaving.len() > 1 { leaving } else { Vec::new() }
    }
}

/// A quick no: even if everything left, there would not be memory enough.
fn could_free_enough(pool: &Pool, instance: InstanceIndex, seat: &MachineSeat) -> bool {
    pool.instance(instance).asked.memory_mib + seat.overhead_mib <= seat.memory_offered_mib
}
