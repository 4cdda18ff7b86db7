//! From where everything should be to steps that lead there: in whatever order the moves of a step happen, and while guests hold memory on
//! the machine that they leave and on the one that they go to, no machine promises more than it has and no rule is broken.
//!
//! The one exception: those that must be on one machine leave it together, within one step, and are apart only while that step lasts.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::bonds::{belong_together, fit_together, is_bound};
use super::rules::Rules;
use crate::inventory::{AffinityKind, MachineState};
use crate::state::{AskedTarget, InstanceIndex, MachineIndex};
use crate::{Pool, Refusal};

/// One instance goes to one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) instance: InstanceIndex,
    pub(super) to: MachineIndex,
    /// Set where this is a detour, which lets the named one go where it should.
    pub(super) lets_go: Option<InstanceIndex>,
}

/// A move that cannot be made without breaking something in between.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Blocked {
    pub(super) instance: InstanceIndex,
    pub(super) to: MachineIndex,
    pub(super) refusals: Vec<Refusal>,
}

/// Steps, and where they lead.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) steps: Vec<Vec<Hop>>,
    pub(super) blocked: Vec<Blocked>,
    /// The pool after the last step.
    pub(super) end: Pool,
}

impl Ordered {
    /// No moves.
    pub(super) fn nowhere(from: Pool) -> Self {
        Self {
            steps: Vec::new(),
            blocked: Vec::new(),
            end: from,
        }
    }

    /// Whether nothing moves, and nothing would.
    pub(super) fn is_nowhere(&self) -> bool {
        self.steps.is_empty() && self.blocked.is_empty()
    }

    /// These moves, and from where they end, others.
    pub(super) fn then(mut self, next: Self) -> Self {
        self.steps.extend(next.steps);
        Self {
            steps: self.steps,
            ..next
        }
    }

    /// Whether nothing moves twice, but for detours.
    pub(super) fn moves_each_once(&self) -> bool {
        let mut seen = BTreeSet::new();
        self.moves()
            .into_iter()
            .all(|(instance, _)| seen.insert(instance))
    }

    /// Who moves, and where to; detours are none.
    pub(super) fn moves(&self) -> Vec<(InstanceIndex, MachineIndex)> {
        let hops = self.steps.iter().flatten();
        hops.filter(|hop| hop.lets_go.is_none())
            .map(|hop| (hop.instance, hop.to))
            .collect()
    }

    /// How many moves it takes, detours among them.
    pub(super) fn count(&self) -> usize {
        self.steps.iter().map(Vec::len).sum()
    }

    pub(super) fn hops(&self) -> impl Iterator<Item = Hop> + '_ {
        self.steps.iter().flatten().copied()
    }

    /// How many moves come before the first detour: behind it, nobody may be left half-way.
    pub(super) fn direct(&self) -> usize {
        self.hops().take_while(|hop| hop.lets_go.is_none()).count()
    }

    /// The same, with the pool after it as a next look will see it.
    pub(super) fn seen_anew(self) -> Self {
        let end = self.end.seated_anew();
        Self { end, ..self }
    }

    /// The pool after so many of the moves, as a next look will see it.
    pub(super) fn after(&self, from: &Pool, count: usize) -> Pool {
        let mut pool = from.clone();
        for hop in self.hops().take(count) {
            pool.seat(hop.instance, hop.to);
        }
        pool.seated_anew()
    }

    /// So many of the moves, and no more.
    pub(super) fn first(&self, from: &Pool, count: usize) -> Self {
        let mut left = count;
        let steps = self.steps.iter().map(|step| {
            let kept: Vec<Hop> = step.iter().copied().take(left).collect();
            left -= kept.len();
            kept
        });
        Self {
            steps: steps.filter(|step| !step.is_empty()).collect(),
            blocked: self.blocked.clone(),
            end: self.after(from, count),
        }
    }
}

/// Orders moves that are to be made from `start`. What cannot be reached without breaking something in between is left out.
pub(super) fn order(start: &Pool, goals: &[(InstanceIndex, MachineIndex)], rules: &Rules) -> Ordered {
    let mut way = Way::new(start, goals, rules);
    let mut steps = Vec::new();
    let mut blocked = Vec::new();
    while !way.waiting.is_empty() {
        let mut step = way.all_that_fit();
        if step.is_empty() {
            let Some(hop) = way.detour() else {
                blocked.extend(way.give_up_one());
                continue;
            };
            step.push(hop);
        }
        way.close(&step);
        steps.push(step);
    }
    Ordered {
        steps,
        blocked,
        end: way.end,
    }
}

/// Whether these steps can be gone from `start`; else who is the first that cannot go its way.
pub(super) fn retrace(start: &Pool, steps: &[Vec<Hop>], rules: &Rules) -> Result<(), InstanceIndex> {
    let mut way = Way::new(start, &[], rules);
    for step in steps {
        let goals: Vec<(InstanceIndex, MachineIndex)> =
            step.iter().map(|hop| (hop.instance, hop.to)).collect();
        way.waiting = parties(&way.end, &goals);
        way.all_that_fit();
        if let Some(stuck) = way.waiting.iter().find_map(|party| party.members.first()) {
            return Err(*stuck);
        }
        way.close(step);
    }
    Ok(())
}

/// Those that go from one machine to one other together; mostly one alone.
#[derive(Debug, Clone)]
struct Party {
    members: Vec<InstanceIndex>,
    to: MachineIndex,
}

struct Way<'a> {
    rules: &'a Rules,
    /// Everything where it is before the step, and a double of each that moves in it on its target.
    pool: Pool,
    /// Everything where it is before the step.
    end: Pool,
    waiting: Vec<Party>,
    doubles: Vec<InstanceIndex>,
    detoured: Vec<InstanceIndex>,
}

impl<'a> Way<'a> {
    fn new(start: &Pool, goals: &[(InstanceIndex, MachineIndex)], rules: &'a Rules) -> Self {
        Self {
            rules,
            pool: start.clone(),
            end: start.clone(),
            waiting: parties(start, goals),
            doubles: Vec::new(),
            detoured: Vec::new(),
        }
    }

    /// Takes moves into a step as long as each fits beside all before it, with nobody gone yet.
    fn all_that_fit(&mut self) -> Vec<Hop> {
        let mut step: Vec<Hop> = Vec::new();
        let mut still_waiting = Vec::new();
        for party in std::mem::take(&mut self.waiting) {
            if self.may_join(&step, &party) {
                self.hold(&party);
                step.extend(party.members.iter().map(|instance| Hop {
                    instance: *instance,
                    to: party.to,
                    lets_go: None,
                }));
            } else {
                still_waiting.push(party);
            }
        }
        self.waiting = still_waiting;
        step
    }

    fn may_join(&mut self, step: &[Hop], party: &Party) -> bool {
        let keeps_away = |instance: &InstanceIndex| {
            step.iter()
                .filter(|hop| hop.to == party.to)
                .any(|hop| keeps_away(&self.pool, *instance, hop.instance))
        };
        if party.members.iter().any(keeps_away) {
            return false;
        }
        match party.members.as_slice() {
            [alone] => self.rules.fits(&self.pool, *alone, party.to),
            members => fit_together(&mut self.pool, self.rules, members, party.to),
        }
    }

    /// The room on the target is taken from now on.
    fn hold(&mut self, party: &Party) {
        for instance in &party.members {
            let double = self.pool.add_double(*instance);
            self.pool.seat(double, party.to);
            self.doubles.push(double);
        }
    }

    fn close(&mut self, step: &[Hop]) {
        for double in std::mem::take(&mut self.doubles) {
            self.pool.unseat(double);
        }
        for hop in step {
            self.pool.seat(hop.instance, hop.to);
            self.end.seat(hop.instance, hop.to);
        }
    }

    /// Nothing fits: everyone waits for someone else's room. One that goes elsewhere for a while can let another go.
    fn detour(&mut self) -> Option<Hop> {
        for party in self.waiting.clone().iter().rev() {
            let &[instance] = party.members.as_slice() else {
                continue;
            };
            let Some(from) = self.pool.instance(instance).machine else {
                continue;
            };
            if self.detoured.contains(&instance) {
                continue;
            }
            let Some(lets_go) = self.whom_it_lets_go(instance, from) else {
                continue;
            };
            if let Some(between) = self.machine_between(instance, from, party.to) {
                self.detoured.push(instance);
                return Some(Hop {
                    instance,
                    to: between,
                    lets_go: Some(lets_go),
                });
            }
        }
        None
    }

    /// Who could move if this one were gone.
    fn whom_it_lets_go(&mut self, instance: InstanceIndex, from: MachineIndex) -> Option<InstanceIndex> {
        let place = self.pool.place_of(instance);
        self.pool.unseat(instance);
        let found = self
            .waiting
            .iter()
            .filter(|party| party.to == from)
            .filter_map(|party| party.members.first())
            .copied()
            .find(|other| self.rules.fits(&self.pool, *other, from));
        self.pool.put_back(instance, place);
        found
    }

    /// The emptiest machine that takes it, one that nobody waits for if there is one.
    fn machine_between(
        &self,
        instance: InstanceIndex,
        from: MachineIndex,
        to: MachineIndex,
    ) -> Option<MachineIndex> {
        let held = self.pool.instance(instance);
        let mut best: Option<((bool, f64), MachineIndex)> = None;
        for (machine, seat) in self.pool.machines() {
            if machine == from || machine == to || seat.state != MachineState::Ready {
                continue;
            }
            let is_waited_for = self.waiting.iter().any(|party| party.to == machine);
            let load = seat.load_with(&held.asked, held.activity, held.demand).highest();
            let is_better = best.is_none_or(|((waited, least), _)| {
                is_waited_for.cmp(&waited).then(load.total_cmp(&least)).is_lt()
            });
            if is_better && self.rules.fits(&self.pool, instance, machine) {
                best = Some(((is_waited_for, load), machine));
            }
        }
        best.map(|(_, machine)| machine)
    }

    /// Leaves out the smallest of those that wait.
    fn give_up_one(&mut self) -> Vec<Blocked> {
        let Some(party) = self.waiting.pop() else {
            return Vec::new();
        };
        party
            .members
            .iter()
            .map(|instance| Blocked {
                instance: *instance,
                to: party.to,
                refusals: self.rules.refusals(&self.pool, *instance, party.to),
            })
            .collect()
    }
}

/// Whether the one says that it must be apart from the other.
fn keeps_away(pool: &Pool, one: InstanceIndex, other: InstanceIndex) -> bool {
    let id = pool.instance(other).id;
    pool.instance(one)
        .asked
        .hard_affinities()
        .any(|wish| wish.kind == AffinityKind::Apart && wish.target == AskedTarget::Instance(id))
}

/// The moves, with those in one party that must be together and go the same way; the largest first.
fn parties(start: &Pool, goals: &[(InstanceIndex, MachineIndex)]) -> Vec<Party> {
    let mut goals = goals.to_vec();
    goals.sort_by_key(|(instance, _)| (Reverse(start.instance(*instance).asked.memory_mib), *instance));
    let mut parties: Vec<Party> = Vec::with_capacity(goals.len());
    let mut bound: Vec<usize> = Vec::new();
    for (instance, to) in goals {
        let from = start.instance(instance).machine;
        let joined = bound.iter().copied().find(|party| {
            parties.get(*party).is_some_and(|party| {
                party.to == to
                    && party.members.iter().any(|other| {
                        start.instance(*other).machine == from && belong_together(start, instance, *other)
                    })
            })
        });
        if let Some(party) = joined.and_then(|party| parties.get_mut(party)) {
            party.members.push(instance);
            continue;
        }
        if is_bound(start, instance) {
            bound.push(parties.len());
        }
        parties.push(Party {
            members: vec![instance],
            to,
        });
    }
    parties
}

#[cfg(test)]
mod tests;
