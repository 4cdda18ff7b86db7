//! N+1: could every machine that may fail be recovered on the others?
//!
//! For each machine a certificate is kept: where each of its running instances would go if it failed, with the real filters. Room that
//! several certificates count on is counted on by each of them, as one machine fails at a time. When an instance comes to a machine, only
//! that machine's certificate, and those that count on room there, are looked at again.
//!
//! A certificate is found by placing the instances one by one, the largest first. That may miss a way. Before an instance is told to be
//! stranded, the search for batches looks again: it changes the order and goes back. It, too, is bounded: `Stranding` means that no way
//! was found, not that there is none.

use std::collections::BTreeSet;

use super::batch::{BatchFailure, place_batch};
use super::filters::{FilterName, passes};
use super::policy::{Policy, RecoveryRule};
use super::question::Subject;
use super::verdict::{Choice, NoPlace, RefusedBy, best_machines, choose, choose_machine, explain, no_place};
use crate::Refusal;
use crate::inventory::{Activity, MachineState, Mobility};
use crate::plans::{Recovery, Stranded};
use crate::state::{InstanceIndex, MachineIndex, Pool};

/// What becomes of a machine's running instances when it fails.
#[derive(Debug, Clone, PartialEq)]
enum Certificate {
    /// Each of them has a place.
    Places(Vec<(InstanceIndex, MachineIndex)>),
    /// These find none.
    Stranded(Vec<Stranded>),
}

impl Certificate {
    fn stranded(&self) -> usize {
        match self {
            Self::Places(_) => 0,
            Self::Stranded(stranded) => stranded.len(),
        }
    }

    fn targets(&self) -> BTreeSet<MachineIndex> {
        match self {
            Self::Places(places) => places.iter().map(|(_, machine)| *machine).collect(),
            Self::Stranded(_) => BTreeSet::new(),
        }
    }
}

/// A failure that a change of the pool would make unrecoverable.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// The machine whose failure is meant.
    pub failure: MachineIndex,
    /// Which of its instances would find no place.
    pub stranded: Vec<Stranded>,
}

impl Broken {
    /// The same as a reason to refuse.
    ///
    /// # Panics
    /// For a pool other than the one that it is about.
    pub fn refusal(&self, pool: &Pool) -> Refusal {
        Refusal::BreaksRecovery {
            failure: (*pool.machine(self.failure).name).to_owned(),
            stranded: u32::try_from(self.stranded.len()).unwrap_or(u32::MAX),
        }
    }
}

/// A machine chosen under a rule for recovery.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// The machine; where better ones were passed over, compared with the best of them.
    pub choice: Choice,
    /// What it would make unrecoverable, where the rule is to warn.
    pub broken: Option<Broken>,
    /// Better machines, best first, and what each of them would make unrecoverable.
    pub passed_over: Vec<(MachineIndex, Broken)>,
}

/// Whether each machine's failure could be recovered, kept as the pool changes.
///
/// It has a pool of its own, on which it tries things, and is told of every change ([`seat`](Self::seat), [`unseat`](Self::unseat)).
#[derive(Debug, Clone)]
pub struct Recoverability {
    pool: Pool,
    policy: Policy,
    certificates: Vec<Certificate>,
    /// By machine: whose certificates count on room there.
    counted_on: Vec<BTreeSet<MachineIndex>>,
    stranding: BTreeSet<MachineIndex>,
}

/// Whether every machine that may fail could be recovered on the others.
pub fn n_plus_one(pool: &Pool, policy: &Policy) -> Recovery {
    Recoverability::new(pool, policy).verdict()
}

impl Recoverability {
    /// Among how many machines, best first, one is sought that keeps every failure recoverable.
    pub const CANDIDATES_MAX: usize = 16;

    /// Looks for every machine's certificate: each running instance of the pool is placed once.
    pub fn new(pool: &Pool, policy: &Policy) -> Self {
        let machines = pool.machines().len();
        let mut new = Self {
            pool: pool.clone(),
            policy: policy.clone(),
            certificates: vec![Certificate::Places(Vec::new()); machines],
            counted_on: vec![BTreeSet::new(); machines],
            stranding: BTreeSet::new(),
        };
        new.check_all(pool.machines().map(|(machine, _)| machine));
        new
    }

    /// The verdict, with the first unrecoverable failure as its witness.
    pub fn verdict(&self) -> Recovery {
        let witness = self.stranding.first().copied();
        match witness.and_then(|failure| Some((failure, self.certificates.get(failure.0 as usize)?))) {
            Some((failure, Certificate::Stranded(stranded))) => {
                let seat = self.pool.machine(failure);
                Recovery::Stranding {
                    failure: seat.id,
                    name: (*seat.name).to_owned(),
                    stranded: stranded.clone(),
                    failures: u32::try_from(self.stranding.len()).unwrap_or(u32::MAX),
                }
            }
            Some((_, Certificate::Places(_))) | None => Recovery::Recoverable,
        }
    }

    /// How many machines' failures could not be recovered.
    pub fn unrecoverable(&self) -> usize {
        self.stranding.len()
    }

    /// An instance of the pool has come to a machine. One that is new to the pool is learnt of it.
    ///
    /// # Panics
    /// On an index of another pool.
    pub fn seat(&mut self, pool: &Pool, instance: InstanceIndex, machine: MachineIndex) {
        self.pool.learn_from(pool);
        let left = self.pool.instance(instance).machine;
        self.pool.seat(instance, machine);
        let mut affected = self.affected_by(machine);
        affected.extend(left);
        self.check_all(affected.into_iter());
        if left.is_some() {
            self.check_stranding();
        }
    }

    /// An instance has left its machine.
    ///
    /// # Panics
    /// On an index of another pool.
    pub fn unseat(&mut self, instance: InstanceIndex) {
        let left = self.pool.instance(instance).machine;
        self.pool.unseat(instance);
        self.check_all(left.into_iter());
        // Where there is more room now, more can be recovered.
        self.check_stranding();
    }

    /// What would no longer be recoverable with the instance on the machine; `None` where nothing gets worse. Nothing is changed.
    ///
    /// # Panics
    /// On an index of another pool.
    pub fn would_break(
        &mut self,
        pool: &Pool,
        instance: InstanceIndex,
        machine: MachineIndex,
    ) -> Option<Broken> {
        self.pool.learn_from(pool);
        let back = self.pool.instance(instance).machine;
        let affected = self.affected_by(machine);
        let kept: Vec<_> = affected
            .iter()
            .map(|failure| (*failure, self.certificate(*failure)))
            .collect();
        self.pool.seat(instance, machine);
        self.check_all(affected.into_iter());
        let broken = kept
            .iter()
            .map(|(failure, before)| (*failure, before.stranded(), self.certificate(*failure)))
            .find_map(|(failure, before, after)| match after {
                Certificate::Stranded(stranded) if stranded.len() > before => {
                    Some(Broken { failure, stranded })
                }
                Certificate::Stranded(_) | Certificate::Places(_) => None,
            });
        match back {
            Some(back) => self.pool.seat(instance, back),
            None => self.pool.unseat(instance),
        }
        for (failure, certificate) in kept {
            self.keep(failure, certificate);
        }
        broken
    }

    /// Chooses a machine under the policy's rule for recovery, for an instance that is of the pool.
    ///
    /// # Errors
    /// No machine can take it; or the rule refuses the best [`CANDIDATES_MAX`](Self::CANDIDATES_MAX) of those that can.
    ///
    /// # Panics
    /// On an index of another pool.
    pub fn choose(
        &mut self,
        pool: &Pool,
        instance: InstanceIndex,
        policy: &Policy,
    ) -> Result<Kept, Box<NoPlace>> {
        let subject = Subject::of(pool, instance);
        let choice = choose(&subject, policy)?;
        let broken = match policy.recovery {
            RecoveryRule::Ignore => None,
            RecoveryRule::Warn | RecoveryRule::Refuse => self.would_break(pool, instance, choice.machine),
        };
        match (broken, policy.recovery) {
            (Some(broken), RecoveryRule::Refuse) => {
                self.next_best(&subject, instance, policy, (choice.machine, broken))
            }
            (broken, _) => Ok(Kept {
                choice,
                broken,
                passed_over: Vec::new(),
            }),
        }
    }

    /// The best machine that keeps every failure recoverable, after `first`, which does not.
    fn next_best(
        &mut self,
        subject: &Subject<'_>,
        instance: InstanceIndex,
        policy: &Policy,
        first: (MachineIndex, Broken),
    ) -> Result<Kept, Box<NoPlace>> {
        let pool = subject.pool;
        let best = first.0;
        let mut passed_over = vec![first];
        for machine in best_machines(subject, policy, Self::CANDIDATES_MAX)
            .into_iter()
            .skip(1)
        {
            match self.would_break(pool, instance, machine) {
                Some(broken) => passed_over.push((machine, broken)),
                None => {
                    return Ok(Kept {
                        choice: Choice {
                            machine,
                            explanation: explain(subject, policy, machine, Some(best)),
                        },
                        broken: None,
                        passed_over,
                    });
                }
            }
        }
        let nearest = pool.machine(best);
        Err(Box::new(NoPlace {
            machines: u32::try_from(pool.machines().len()).unwrap_or(u32::MAX),
            refused_by: vec![RefusedBy {
                filter: FilterName::Recovery,
                machines: u32::try_from(passed_over.len()).unwrap_or(u32::MAX),
            }],
            nearest: Some(nearest.id),
            nearest_name: Some((*nearest.name).to_owned()),
            refusals: passed_over
                .iter()
                .take(1)
                .map(|(_, broken)| broken.refusal(pool))
                .collect(),
        }))
    }

    fn certificate(&self, failure: MachineIndex) -> Certificate {
        let certificate = self.certificates.get(failure.0 as usize);
        certificate.cloned().unwrap_or(Certificate::Places(Vec::new()))
    }

    /// Whose certificates an instance that comes to the machine may spoil.
    fn affected_by(&self, machine: MachineIndex) -> BTreeSet<MachineIndex> {
        let mut affected = self
            .counted_on
            .get(machine.0 as usize)
            .cloned()
            .unwrap_or_default();
        affected.insert(machine);
        affected
    }

    fn check_stranding(&mut self) {
        let stranding = self.stranding.clone();
        self.check_all(stranding.into_iter());
    }

    fn check_all(&mut self, failures: impl Iterator<Item = MachineIndex>) {
        for failure in failures {
            let certificate = self.certify(failure);
            self.keep(failure, certificate);
        }
    }

    fn keep(&mut self, failure: MachineIndex, certificate: Certificate) {
        let Some(held) = self.certificates.get_mut(failure.0 as usize) else {
            return;
        };
        if certificate.stranded() > 0 {
            self.stranding.insert(failure);
        } else {
            self.stranding.remove(&failure);
        }
        let (before, after) = (held.targets(), certificate.targets());
        *held = certificate;
        for target in before.difference(&after) {
            if let Some(users) = self.counted_on.get_mut(target.0 as usize) {
                users.remove(&failure);
            }
        }
        for target in after.difference(&before) {
            if let Some(users) = self.counted_on.get_mut(target.0 as usize) {
                users.insert(failure);
            }
        }
    }

    /// Lets the machine fail, looks where its running instances would go, and undoes it.
    fn certify(&mut self, failure: MachineIndex) -> Certificate {
        let seat = self.pool.machine(failure);
        let state = seat.state;
        let running = |instance: &InstanceIndex| self.pool.instance(*instance).activity == Activity::Running;
        let lost: Vec<InstanceIndex> = seat.instances.iter().copied().filter(running).collect();
        // What already fails, or sleeps, cannot fail any more.
        if lost.is_empty() || matches!(state, MachineState::Unreachable | MachineState::Asleep) {
            return Certificate::Places(Vec::new());
        }
        self.pool.set_machine_state(failure, MachineState::Unreachable);
        for instance in &lost {
            self.pool.unseat(*instance);
        }
        let certificate = self.find_places(failure, &lost);
        // Undone in the order in which they came, so that a certificate depends on the pool alone.
        for instance in &lost {
            self.pool.unseat(*instance);
        }
        self.pool.set_machine_state(failure, state);
        for instance in lost {
            self.pool.seat(instance, failure);
        }
        certificate
    }

    fn find_places(&mut self, failure: MachineIndex, lost: &[InstanceIndex]) -> Certificate {
        if let Some(places) = self.places_kept(failure, lost) {
            return Certificate::Places(places);
        }
        for instance in lost {
            self.pool.unseat(*instance);
        }
        if let Some(places) = self.places_one_by_one(lost) {
            return Certificate::Places(places);
        }
        for instance in lost {
            self.pool.unseat(*instance);
        }
        self.places_or_stranded(failure, lost)
    }

    /// The places of the certificate that is held, as far as they are still good, and new ones for the others.
    fn places_kept(
        &mut self,
        failure: MachineIndex,
        lost: &[InstanceIndex],
    ) -> Option<Vec<(InstanceIndex, MachineIndex)>> {
        let held = match self.certificate(failure) {
            Certificate::Places(held) if !held.is_empty() => held,
            Certificate::Places(_) | Certificate::Stranded(_) => return None,
        };
        let mut places = Vec::with_capacity(lost.len());
        let mut others: Vec<InstanceIndex> = lost.to_vec();
        for (instance, machine) in held {
            let subject = Subject::of(&self.pool, instance).waking(self.policy.may_wake);
            if lost.contains(&instance) && passes(&subject.on(machine)) {
                self.pool.seat(instance, machine);
                places.push((instance, machine));
                others.retain(|other| *other != instance);
            }
        }
        places.extend(self.places_one_by_one(&others)?);
        Some(places)
    }

    fn places_one_by_one(&mut self, lost: &[InstanceIndex]) -> Option<Vec<(InstanceIndex, MachineIndex)>> {
        let mut order = lost.to_vec();
        let memory = |instance: &InstanceIndex| self.pool.instance(*instance).asked.memory_mib;
        order.sort_by_key(|instance| std::cmp::Reverse(memory(instance)));
        let mut places = Vec::with_capacity(order.len());
        for instance in order {
            if self.is_bound_to_its_machine(instance) {
                return None;
            }
            self.pool.refresh_index();
            let machine = choose_machine(&Subject::of(&self.pool, instance), &self.policy)?;
            self.pool.seat(instance, machine);
            places.push((instance, machine));
        }
        Some(places)
    }

    fn places_or_stranded(&mut self, failure: MachineIndex, lost: &[InstanceIndex]) -> Certificate {
        let (bound, free): (Vec<InstanceIndex>, Vec<InstanceIndex>) = lost
            .iter()
            .copied()
            .partition(|instance| self.is_bound_to_its_machine(*instance));
        let mut stranded: Vec<Stranded> = bound
            .iter()
            .map(|instance| self.lost_with(failure, *instance))
            .collect();
        match place_batch(&mut self.pool, &free, &self.policy).map_err(|failure| *failure) {
            Ok(places) if stranded.is_empty() => return Certificate::Places(places),
            Ok(_) => {}
            Err(BatchFailure::NoPlace { unplaced, .. }) => {
                stranded.extend(unplaced.into_iter().map(|unplaced| Stranded {
                    instance: unplaced.instance,
                    name: unplaced.name,
                    nearest: unplaced.why.nearest,
                    refusals: unplaced.why.refusals,
                }));
            }
            // They ran together, so their wishes were broken before: each by itself says what keeps it out.
            Err(BatchFailure::Contradiction { .. }) => {
                stranded.extend(free.iter().map(|instance| self.keeps_out(*instance)));
            }
        }
        Certificate::Stranded(stranded)
    }

    /// An instance that may not move at all shares its machine's fate, as one that is tied to it does.
    fn is_bound_to_its_machine(&self, instance: InstanceIndex) -> bool {
        self.pool.instance(instance).asked.mobility == Mobility::Fixed
    }

    fn lost_with(&self, failure: MachineIndex, instance: InstanceIndex) -> Stranded {
        Stranded {
            nearest: None,
            refusals: vec![Refusal::PinnedElsewhere {
                machine: (*self.pool.machine(failure).name).to_owned(),
            }],
            ..self.keeps_out(instance)
        }
    }

    fn keeps_out(&self, instance: InstanceIndex) -> Stranded {
        let subject = Subject::of(&self.pool, instance).waking(self.policy.may_wake);
        let NoPlace {
            nearest, refusals, ..
        } = no_place(&subject);
        let seat = self.pool.instance(instance);
        Stranded {
            instance: seat.id,
            name: (*seat.name).to_owned(),
            nearest,
            refusals,
        }
    }
}
