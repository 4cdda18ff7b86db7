//! What becomes of a machine's running instances when it fails: tried out on the pool, and undone.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::super::batch::place_all_within_cpu;
use super::super::filters::passes;
use super::super::policy::Policy;
use super::super::question::Subject;
use super::super::verdict::{NoPlace, choose_machine, no_place};
use crate::Refusal;
use crate::inventory::{Activity, MachineState, Mobility};
use crate::plans::Stranded;
use crate::state::{InstanceIndex, MachineIndex, Place, Pool};

/// How many machines with memory enough are asked for an instance, beginning with the neighbours of the one that fails, before the best is
/// looked for; and how many are passed by for them.
const NEARBY_MAX: usize = 32;
const PASSED_BY_MAX: usize = 1_024;

/// How many searches through other orders may fail before failures count as unrecoverable without one. Each takes long; and once one has
/// failed, the pool's verdict is known.
pub(super) const SEARCHES_MAX: u32 = 4;

/// What becomes of a machine's running instances when it fails.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Certificate {
    /// Each of them has a place.
    Places(Vec<(InstanceIndex, MachineIndex)>),
    /// Some find none beside the others.
    Stranded {
        /// Which, in their order.
        stranded: Vec<InstanceIndex>,
        /// Where the others are then.
        placed: Vec<(InstanceIndex, MachineIndex)>,
    },
}

impl Certificate {
    pub(super) fn stranded(&self) -> &[InstanceIndex] {
        match self {
            Self::Places(_) => &[],
            Self::Stranded { stranded, .. } => stranded,
        }
    }

    /// The machines whose room it counts on.
    pub(super) fn targets(&self) -> BTreeSet<MachineIndex> {
        match self {
            Self::Places(places) => places.iter().map(|(_, machine)| *machine).collect(),
            Self::Stranded { .. } => BTreeSet::new(),
        }
    }
}

/// Of a machine on which nothing runs, or that has failed already.
pub(super) static NOTHING_LOST: Certificate = Certificate::Places(Vec::new());

/// Lets machines of a pool fail, and undoes it each time.
pub(super) struct Trial<'a> {
    pub(super) pool: &'a mut Pool,
    pub(super) policy: &'a Policy,
    pub(super) searches_left: u32,
}

impl<'a> Trial<'a> {
    pub(super) fn new(pool: &'a mut Pool, policy: &'a Policy) -> Self {
        Self {
            pool,
            policy,
            searches_left: SEARCHES_MAX,
        }
    }

    /// Where the machine's running instances would go; places that are known are kept as far as they are still good.
    pub(super) fn certify(&mut self, failure: MachineIndex, known: &Certificate) -> Certificate {
        let seat = self.pool.machine(failure);
        // What already fails, or sleeps, cannot fail any more.
        if seat.instances.is_empty() || matches!(seat.state, MachineState::Unreachable | MachineState::Asleep)
        {
            return Certificate::Places(Vec::new());
        }
        self.with_failure(failure, |trial, lost| trial.find_places(failure, lost, known))
    }

    /// Why those that a certificate strands find no place.
    pub(super) fn describe(&mut self, failure: MachineIndex, certificate: &Certificate) -> Vec<Stranded> {
        let Certificate::Stranded { stranded, placed } = certificate else {
            return Vec::new();
        };
        self.with_failure(failure, |trial, _| {
            for (instance, machine) in placed {
                trial.pool.seat(*instance, *machine);
            }
            let told = stranded
                .iter()
                .map(|instance| trial.describe_one(failure, *instance));
            told.collect()
        })
    }

    /// Lets the machine fail, looks at what it has lost, the largest first, and undoes it.
    fn with_failure<T>(
        &mut self,
        failure: MachineIndex,
        look: impl FnOnce(&mut Self, &[InstanceIndex]) -> T,
    ) -> T {
        let seat = self.pool.machine(failure);
        let state = seat.state;
        let running = |instance: &InstanceIndex| self.pool.instance(*instance).activity == Activity::Running;
        let mut lost: Vec<InstanceIndex> = seat.instances.iter().copied().filter(running).collect();
        // Put back in the order in which they came, and as they were, so that what is found depends on the pool alone.
        let held: Vec<(InstanceIndex, Option<Place>)> =
            lost.iter().map(|one| (*one, self.pool.place_of(*one))).collect();
        lost.sort_unstable_by_key(|one| (Reverse(self.pool.instance(*one).asked.memory_mib), *one));
        self.pool.set_machine_state(failure, MachineState::Unreachable);
        self.unseat(&lost);
        let seen = look(self, &lost);
        self.unseat(&lost);
        self.pool.set_machine_state(failure, state);
        for (instance, place) in held {
            self.pool.put_back(instance, place);
        }
        seen
    }

    fn unseat(&mut self, instances: &[InstanceIndex]) {
        for instance in instances {
            self.pool.unseat(*instance);
        }
    }

    /// The cheapest look that finds places for all is the last.
    fn find_places(
        &mut self,
        failure: MachineIndex,
        lost: &[InstanceIndex],
        known: &Certificate,
    ) -> Certificate {
        if !lost
            .iter()
            .any(|instance| self.is_bound_to_its_machine(*instance))
        {
            if let Some(places) = self.known_places(lost, known) {
                return Certificate::Places(places);
            }
            self.unseat(lost);
            if let Some(places) = self.nearby_places(failure, lost) {
                return Certificate::Places(places);
            }
            self.unseat(lost);
        }
        let (placed, mut stranded) = self.best_places(lost);
        if stranded.is_empty() {
            return Certificate::Places(placed);
        }
        self.unseat(lost);
        if self.searches_left > 0 && stranded.iter().all(|instance| self.best(*instance).is_some()) {
            if let Some(places) = place_all_within_cpu(self.pool, lost, self.policy) {
                return Certificate::Places(places);
            }
            self.searches_left -= 1;
        }
        stranded.sort_unstable();
        Certificate::Stranded { stranded, placed }
    }

    /// The places that are known, as far as they are still good, and the best for the others.
    fn known_places(
        &mut self,
        lost: &[InstanceIndex],
        known: &Certificate,
    ) -> Option<Vec<(InstanceIndex, MachineIndex)>> {
        let known = match known {
            Certificate::Places(known) if !known.is_empty() => known,
            Certificate::Places(_) | Certificate::Stranded { .. } => return None,
        };
        let mut places = Vec::with_capacity(lost.len());
        for (instance, machine) in known {
            if lost.contains(instance) && self.has_place(*instance, *machine) {
                self.pool.seat(*instance, *machine);
                places.push((*instance, *machine));
            }
        }
        let mut others = lost.to_vec();
        others.retain(|other| self.pool.instance(*other).machine.is_none());
        let (more, stranded) = self.best_places(&others);
        places.extend(more);
        stranded.is_empty().then_some(places)
    }

    /// For each the first machine that takes it, round and round from the one that fails: which one is best matters to nobody, and
    /// failures count on room in different places.
    fn nearby_places(
        &mut self,
        failure: MachineIndex,
        lost: &[InstanceIndex],
    ) -> Option<Vec<(InstanceIndex, MachineIndex)>> {
        let machines = self.pool.machines().len();
        let mut round = (0..machines)
            .cycle()
            .skip(failure.0 as usize + 1)
            .filter_map(|number| u32::try_from(number).ok())
            .map(MachineIndex);
        let mut places = Vec::with_capacity(lost.len());
        for instance in lost {
            let subject = self.subject(*instance);
            let needed_mib = self.pool.instance(*instance).asked.memory_mib;
            let machine = round
                .by_ref()
                .take(PASSED_BY_MAX.min(machines))
                .filter(|machine| {
                    let seat = self.pool.machine(*machine);
                    needed_mib.saturating_add(seat.overhead_mib) <= seat.memory_free_mib()
                })
                .take(NEARBY_MAX)
                .find(|machine| passes(&subject.on(*machine)))?;
            self.pool.seat(*instance, machine);
            places.push((*instance, machine));
        }
        Some(places)
    }

    /// Each on its best machine, one after the other, and who finds none.
    fn best_places(
        &mut self,
        lost: &[InstanceIndex],
    ) -> (Vec<(InstanceIndex, MachineIndex)>, Vec<InstanceIndex>) {
        let (mut placed, mut stranded) = (Vec::with_capacity(lost.len()), Vec::new());
        for instance in lost {
            match self.best(*instance) {
                Some(machine) => {
                    self.pool.seat(*instance, machine);
                    placed.push((*instance, machine));
                }
                None => stranded.push(*instance),
            }
        }
        (placed, stranded)
    }

    fn best(&mut self, instance: InstanceIndex) -> Option<MachineIndex> {
        if self.is_bound_to_its_machine(instance) {
            return None;
        }
        self.pool.refresh_index();
        choose_machine(&self.subject(instance), self.policy)
    }

    fn has_place(&self, instance: InstanceIndex, machine: MachineIndex) -> bool {
        passes(&self.subject(instance).on(machine))
    }

    fn subject(&self, instance: InstanceIndex) -> Subject<'_> {
        Subject::of(self.pool, instance)
            .waking(self.policy.may_wake)
            .within_cpu(true)
    }

    /// An instance that may not move at all shares its machine's fate, as one that is tied to it does.
    fn is_bound_to_its_machine(&self, instance: InstanceIndex) -> bool {
        self.pool.instance(instance).asked.mobility == Mobility::Fixed
    }

    fn describe_one(&self, failure: MachineIndex, instance: InstanceIndex) -> Stranded {
        let (nearest, refusals) = if self.is_bound_to_its_machine(instance) {
            let machine = (*self.pool.machine(failure).name).to_owned();
            (None, vec![Refusal::PinnedElsewhere { machine }])
        } else {
            let NoPlace {
                nearest, refusals, ..
            } = no_place(&self.subject(instance));
            (nearest, refusals)
        };
        let seat = self.pool.instance(instance);
        Stranded {
            instance: seat.id,
            name: (*seat.name).to_owned(),
            nearest,
            refusals,
        }
    }
}
