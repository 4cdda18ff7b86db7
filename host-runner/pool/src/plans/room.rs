//! Who would have to leave a machine so that another finds room there.

use super::homes::is_marked;
use super::options::MoveCost;
use super::rules::{Rules, mobility};
use super::travel;
use crate::Pool;
use crate::inventory::{Activity, MachineState};
use crate::state::{InstanceIndex, MachineIndex};

/// How many offers are looked at, cheapest first.
const OFFERS_MAX: usize = 24;

/// On how many machines room is sought for one instance: those that lack least memory for it.
const MACHINES_MAX: usize = 96;

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
    /// The machines that could take the instance if something left them: the cheapest offers first; and how many were looked at. The pool is
    /// left as it was.
    pub(super) fn offers(&self, pool: &mut Pool, instance: InstanceIndex) -> (Vec<Offer>, usize) {
        let mut offers = Vec::new();
        let machines = least_lacking(pool, instance);
        let looks = machines.len();
        for (lacks_mib, machine) in machines {
            let leaving = self.may_leave(pool, machine);
            let single = self.single(pool, instance, machine, &leaving, lacks_mib);
            let several = self.several(pool, instance, machine, &leaving, lacks_mib);
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
        (offers, looks)
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
        lacks_mib: u64,
    ) -> Vec<InstanceIndex> {
        let found = leaving.iter().copied().find(|other| {
            if frees_mib(pool, *other, machine) < lacks_mib {
                return false;
            }
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
        lacks_mib: u64,
    ) -> Vec<InstanceIndex> {
        let all_mib: u64 = leaving.iter().map(|other| frees_mib(pool, *other, machine)).sum();
        if all_mib < lacks_mib {
            return Vec::new();
        }
        let mut out = Vec::new();
        let mut freed_mib = 0;
        let mut fits = false;
        for other in leaving {
            freed_mib += frees_mib(pool, *other, machine);
            out.push((*other, pool.place_of(*other)));
            pool.unseat(*other);
            fits = freed_mib >= lacks_mib && self.rules.fits(pool, instance, machine);
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

/// The machines that lack least memory for the instance, with how much, MiB; none that could not hold it even if everything left.
fn least_lacking(pool: &Pool, instance: InstanceIndex) -> Vec<(u64, MachineIndex)> {
    let held = pool.instance(instance);
    let mut lacking: Vec<(u64, MachineIndex)> = pool
        .machines()
        .filter(|(machine, seat)| seat.state == MachineState::Ready && held.machine != Some(*machine))
        .filter_map(|(machine, seat)| {
            let needed_mib = match held.activity {
                Activity::Running => held.asked.memory_mib.saturating_add(seat.overhead_mib),
                Activity::Stopped => 0,
            };
            let lacks_mib = needed_mib.saturating_sub(seat.memory_free_mib());
            (needed_mib <= seat.memory_offered_mib).then_some((lacks_mib, machine))
        })
        .collect();
    if lacking.len() > MACHINES_MAX {
        lacking.select_nth_unstable(MACHINES_MAX);
        lacking.truncate(MACHINES_MAX);
    }
    lacking.sort_unstable_by_key(|(_, machine)| *machine);
    lacking
}

/// What memory is free once an instance has left, MiB.
fn frees_mib(pool: &Pool, other: InstanceIndex, machine: MachineIndex) -> u64 {
    let held = pool.instance(other);
    match held.activity {
        Activity::Running => held
            .asked
            .memory_mib
            .saturating_add(pool.machine(machine).overhead_mib),
        Activity::Stopped => 0,
    }
}
