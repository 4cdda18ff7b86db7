//! N+1: could every machine that may fail be recovered on the others?
//!
//! For each machine a certificate is kept: where each of its running instances would go if it failed, with the real filters, and on machines
//! whose CPU is expected to suffice for it, where its use is foretold. Room that several certificates count on is counted on by each of
//! them, as one machine fails at a time. When an instance comes to a machine, only that machine's certificate, and those that count on room
//! there, are looked at again.
//!
//! Any places will do. So the machines next to the one that fails are asked first, and only where that is not enough the instances are placed
//! one by one, the largest first, each where it is best. That may miss a way. Before an instance is told to be stranded, the search for
//! batches looks again: it changes the order and goes back. It, too, is bounded: `Stranding` means that no way was found, not that there is
//! none.

mod certificate;

use std::collections::BTreeSet;

use super::filters::FilterName;
use super::policy::{Policy, RecoveryRule};
use super::question::Subject;
use super::verdict::{Choice, NoPlace, RefusedBy, best_machines, choose, explain, no_place};
use crate::Refusal;
use crate::plans::{Recovery, Stranded};
use crate::state::{InstanceIndex, MachineIndex, Pool};
use certificate::{Certificate, NOTHING_LOST, Trial};

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
    /// How many searches may fail at each change.
    searches_max: u32,
}

/// How far a pool is from bearing any failure. Less is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Exposure {
    /// How many machines' failures could not be recovered.
    pub(crate) failures: u32,
    /// How many instances these would strand in all.
    pub(crate) stranded: u32,
}

impl Exposure {
    /// Whatever may be.
    pub(crate) const ANY: Self = Self {
        failures: u32::MAX,
        stranded: u32::MAX,
    };

    /// Of failures that each strand so many instances, at least one.
    pub(crate) fn of(stranded: impl Iterator<Item = u32>) -> Self {
        stranded.fold(Self::default(), |exposure, stranded| Self {
            failures: exposure.failures.saturating_add(1),
            stranded: exposure.stranded.saturating_add(stranded),
        })
    }

    /// The worse of both in each respect.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            failures: self.failures.max(other.failures),
            stranded: self.stranded.max(other.stranded),
        }
    }

    /// Whether more could not be recovered than there.
    pub(crate) fn is_worse_than(self, other: Self) -> bool {
        self.failures > other.failures || self.stranded > other.stranded
    }
}

/// Whether every machine that may fail could be recovered on the others.
pub fn n_plus_one(pool: &Pool, policy: &Policy) -> Recovery {
    judge(pool, policy, None).0
}

/// The verdict, and which failures strand how many instances. Where it is enough to know that a pool is worse than allowed, it looks no
/// further than that.
pub(crate) fn judge(
    pool: &Pool,
    policy: &Policy,
    allowed: Option<Exposure>,
) -> (Recovery, Vec<(MachineIndex, u32)>) {
    let mut tried = pool.clone();
    let mut trial = Trial::new(&mut tried, policy);
    let mut failures = Vec::new();
    let mut witness = None;
    for (failure, _) in pool.machines() {
        let certificate = trial.certify(failure, &NOTHING_LOST);
        let stranded = u32::try_from(certificate.stranded().len()).unwrap_or(u32::MAX);
        if stranded > 0 {
            failures.push((failure, stranded));
            witness.get_or_insert((failure, certificate));
            let exposure = Exposure::of(failures.iter().map(|(_, stranded)| *stranded));
            if allowed.is_some_and(|allowed| exposure.is_worse_than(allowed)) {
                break;
            }
        }
    }
    let count = u32::try_from(failures.len()).unwrap_or(u32::MAX);
    let verdict = match witness {
        None => Recovery::Recoverable,
        Some((failure, certificate)) => stranding(&mut trial, failure, &certificate, count),
    };
    (verdict, failures)
}

fn stranding(
    trial: &mut Trial<'_>,
    failure: MachineIndex,
    certificate: &Certificate,
    failures: u32,
) -> Recovery {
    let stranded = trial.describe(failure, certificate);
    let seat = trial.pool.machine(failure);
    Recovery::Stranding {
        failure: seat.id,
        name: (*seat.name).to_owned(),
        stranded,
        failures,
    }
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
            certificates: vec![NOTHING_LOST.clone(); machines],
            counted_on: vec![BTreeSet::new(); machines],
            stranding: BTreeSet::new(),
            searches_max: certificate::SEARCHES_MAX,
        };
        new.check_all(pool.machines().map(|(machine, _)| machine));
        new
    }

    /// From now on it looks once at each change, for whoever makes many: it may miss more ways.
    #[must_use]
    pub(crate) fn looking_once(self) -> Self {
        Self {
            searches_max: 0,
            ..self
        }
    }

    /// The verdict, with the first unrecoverable failure as its witness.
    pub fn verdict(&self) -> Recovery {
        let Some(failure) = self.stranding.first().copied() else {
            return Recovery::Recoverable;
        };
        let mut tried = self.pool.clone();
        let mut trial = Trial::new(&mut tried, &self.policy);
        let failures = u32::try_from(self.stranding.len()).unwrap_or(u32::MAX);
        stranding(&mut trial, failure, self.certificate(failure), failures)
    }

    /// Where an instance is, as far as it was told.
    pub(crate) fn machine_of(&self, instance: InstanceIndex) -> Option<MachineIndex> {
        self.pool.instance(instance).machine
    }

    /// How far the pool is from bearing any failure.
    pub(crate) fn exposure(&self) -> Exposure {
        let stranding = self.stranding.iter().map(|failure| self.certificate(*failure));
        Exposure::of(
            stranding.map(|certificate| u32::try_from(certificate.stranded().len()).unwrap_or(u32::MAX)),
        )
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
        let back = self.pool.place_of(instance);
        let affected = self.affected_by(machine);
        let kept: Vec<(MachineIndex, Certificate)> = affected
            .iter()
            .map(|failure| (*failure, self.certificate(*failure).clone()))
            .collect();
        self.pool.seat(instance, machine);
        self.check_all(affected.into_iter());
        let worse = kept.iter().find_map(|(failure, before)| {
            let after = self.certificate(*failure);
            (after.stranded().len() > before.stranded().len()).then(|| (*failure, after.clone()))
        });
        let broken = worse.map(|(failure, certificate)| Broken {
            failure,
            stranded: Trial::new(&mut self.pool, &self.policy).describe(failure, &certificate),
        });
        self.pool.put_back(instance, back);
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
        let without_room = no_place(&subject.waking(policy.may_wake));
        let mut refused_by = without_room.refused_by;
        refused_by.push(RefusedBy {
            filter: FilterName::Recovery,
            machines: u32::try_from(passed_over.len()).unwrap_or(u32::MAX),
        });
        Err(Box::new(NoPlace {
            machines: without_room.machines,
            refused_by,
            nearest: Some(nearest.id),
            nearest_name: Some((*nearest.name).to_owned()),
            refusals: passed_over
                .iter()
                .take(1)
                .map(|(_, broken)| broken.refusal(pool))
                .collect(),
        }))
    }

    fn certificate(&self, failure: MachineIndex) -> &Certificate {
        self.certificates.get(failure.0 as usize).unwrap_or(&NOTHING_LOST)
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
        let mut searches_left = self.searches_max;
        for failure in failures {
            let mut trial = Trial {
                searches_left,
                ..Trial::new(&mut self.pool, &self.policy)
            };
            let known = self.certificates.get(failure.0 as usize).unwrap_or(&NOTHING_LOST);
            let certificate = trial.certify(failure, known);
            searches_left = trial.searches_left;
            self.keep(failure, certificate);
        }
    }

    fn keep(&mut self, failure: MachineIndex, certificate: Certificate) {
        let Some(held) = self.certificates.get_mut(failure.0 as usize) else {
            return;
        };
        if certificate.stranded().is_empty() {
            self.stranding.remove(&failure);
        } else {
            self.stranding.insert(failure);
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
}
