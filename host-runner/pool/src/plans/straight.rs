//! Legs that were found one after the other as one way: nothing goes to and fro on it that need not.

use std::collections::BTreeMap;

use super::order::{Hop, Ordered, retrace};
use super::rules::Rules;
use crate::Pool;
use crate::state::{InstanceIndex, MachineIndex};

/// Takes out what leaves a machine and comes back to it; where another could not go its way then, it leaves to make room for that one.
pub(super) fn without_to_and_fro(start: &Pool, mut way: Ordered, rules: &Rules) -> Ordered {
    while let Some(trip) = first_trip(start, &way) {
        let steps = trip.left_out_of(&way);
        match retrace(start, &steps, rules) {
            Ok(()) => way.steps = steps,
            Err(other) => trip.made_for(other, &mut way),
        }
    }
    way
}

/// An instance leaves a machine, for no other's sake, and is back there later.
struct Trip {
    instance: InstanceIndex,
    /// The numbers of the moves by which it leaves and comes back.
    leaves: usize,
    comes_back: usize,
}

fn first_trip(start: &Pool, way: &Ordered) -> Option<Trip> {
    let mut is_on: BTreeMap<InstanceIndex, MachineIndex> = BTreeMap::new();
    let mut left: BTreeMap<(InstanceIndex, MachineIndex), usize> = BTreeMap::new();
    for (number, hop) in way.hops().enumerate() {
        let Hop { instance, to, .. } = hop;
        if let Some(leaves) = left.get(&(instance, to)) {
            return Some(Trip {
                instance,
                leaves: *leaves,
                comes_back: number,
            });
        }
        let from = is_on.insert(instance, to).or(start.instance(instance).machine);
        if let (Some(from), None) = (from, hop.lets_go) {
            left.insert((instance, from), number);
        }
    }
    None
}

impl Trip {
    /// The steps of the way without the trip.
    fn left_out_of(&self, way: &Ordered) -> Vec<Vec<Hop>> {
        let mut number = 0..;
        let steps = way.steps.iter().map(|step| {
            let hops = step.iter().zip(&mut number);
            let others = hops.filter(|(hop, number)| {
                hop.instance != self.instance || *number < self.leaves || *number > self.comes_back
            });
            others.map(|(hop, _)| *hop).collect()
        });
        steps.filter(|step: &Vec<Hop>| !step.is_empty()).collect()
    }

    fn made_for(&self, other: InstanceIndex, way: &mut Ordered) {
        let mut hops = way.steps.iter_mut().flatten();
        if let Some(hop) = hops.nth(self.leaves) {
            hop.lets_go = Some(other);
        }
    }
}
