//! From "everything should be there" to a plan: steps, reasons, and the pool before and after.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::depends::{DependsOn, depends_on};
use super::exchanges::name_exchanges;
use super::figures::{Judged, figures, judge};
use super::order::{Blocked, Hop, Ordered, order};
use super::plan::{
    LeftOut, LeftOutReason, Move, MoveReason, Plan, PlanKind, PowerChange, SolverUsed, Step, Stranded,
};
use super::rules::{Rules, mobility};
use super::travel;
use crate::inventory::{MachineState, Mobility};
use crate::state::{InstanceIndex, MachineIndex};
use crate::{Pool, Refusal};

/// What a plan is to achieve.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) kind: PlanKind,
    /// The machine that it is about.
    pub(super) about: Option<MachineIndex>,
    /// The pool as it is.
    pub(super) now: &'a Pool,
    /// The same with the machines awake that are woken first.
    pub(super) start: Pool,
    /// Where everything should be.
    pub(super) goal: Pool,
    pub(super) rules: Rules,
    pub(super) wake: Vec<MachineIndex>,
    pub(super) sleep: Vec<MachineIndex>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) stranded: Vec<Stranded>,
    /// How many moves the plan may have.
    pub(super) moves_max: u32,
    pub(super) found_by: SolverUsed,
}

/// A move at the moment when it is made, for whoever says why.
pub(super) struct Moment<'a> {
    /// The pool just before.
    pub(super) pool: &'a Pool,
    pub(super) hop: Hop,
    pub(super) from: Option<MachineIndex>,
    /// By how much it lowers the imbalance.
    pub(super) gain: f64,
}

/// A plan, what could not be ordered, and the pool after it.
pub(super) struct Finished {
    pub(super) plan: Plan,
    pub(super) blocked: Vec<Blocked>,
    pub(super) end: Pool,
    /// What a better plan would have moved, and where to, if it had not made failures worse.
    pub(super) held_back: HeldBack,
}

/// Moves that a better plan would have made.
#[derive(Default)]
pub(super) struct HeldBack {
    pub(super) moves: Vec<(InstanceIndex, MachineIndex)>,
    /// What they would have done together.
    pub(super) refusal: Option<Refusal>,
}

impl HeldBack {
    /// Moves that were refused for what failures would do after them.
    pub(super) fn add(&mut self, refused: &Ordered, judged: &Judged, before: &Judged) {
        self.moves.extend(refused.moves());
        if self.refusal.is_none() {
            self.refusal = judged.worse_failure(before, &refused.end);
        }
    }
}

impl<'a> Draft<'a> {
    /// A plan that does nothing, to begin with.
    pub(super) fn nothing(now: &'a Pool, kind: PlanKind, rules: Rules, found_by: SolverUsed) -> Self {
        Self {
            kind,
            about: None,
            now,
            start: now.clone(),
            goal: now.clone(),
            rules,
            wake: Vec::new(),
            sleep: Vec::new(),
            left_out: Vec::new(),
            stranded: Vec::new(),
            moves_max: u32::MAX,
            found_by,
        }
    }

    /// The plan is about a machine, and depends on it whether or not it moves something.
    pub(super) fn about(self, machine: MachineIndex) -> Self {
        Self {
            about: Some(machine),
            ..self
        }
    }

    /// Orders the moves and describes them; `why` names the reason of each.
    pub(super) fn finish(self, why: &dyn Fn(&Moment<'_>) -> MoveReason) -> Finished {
        let ordered = self.leg(&self.start, &self.goal);
        let steps = describe(&self.start, &ordered.steps, why);
        let before = judge(self.now);
        let is_as_it_was = steps.is_empty() && self.wake.is_empty() && self.kind != PlanKind::WhatIf;
        let after = is_as_it_was.then(|| before.clone());
        self.put_together(steps, ordered, before, after)
    }

    /// The moves that lead from one pool to another, ordered; with the pool after them as a next look will see it.
    pub(super) fn leg(&self, from: &Pool, goal: &Pool) -> Ordered {
        let goals: Vec<(InstanceIndex, MachineIndex)> = from
            .instances()
            .filter_map(|(index, before)| {
                let to = goal.instance(index).machine?;
                (before.machine != Some(to)).then_some((index, to))
            })
            .collect();
        order(from, &goals, &self.rules).seen_anew()
    }

    /// `after` is what failures would do in the end, where that is known already.
    pub(super) fn put_together(
        self,
        steps: Vec<Step>,
        last: Ordered,
        before: Judged,
        after: Option<Judged>,
    ) -> Finished {
        let Ordered { blocked, mut end, .. } = last;
        let mut left_out = self.left_out;
        left_out.extend(blocked.iter().map(|blocked| {
            let held = end.instance(blocked.instance);
            LeftOut {
                instance: Some(held.id),
                name: Some(held.name.to_string()),
                reason: LeftOutReason::NoPlace {
                    nearest: Some(end.machine(blocked.to).id),
                    refusals: blocked.refusals.clone(),
                },
            }
        }));
        let moved = moved(&steps);
        left_out.retain(|left| left.instance.is_none_or(|instance| !moved.contains(&instance)));
        let mut power = Vec::new();
        for machine in &self.wake {
            let machine = end.machine(*machine).id;
            power.push(PowerChange::Wake { machine });
        }
        for machine in &self.sleep {
            // Whoever could not leave keeps it awake.
            if end.machine(*machine).instances.is_empty() {
                end.set_machine_state(*machine, MachineState::Asleep);
                let machine = end.machine(*machine).id;
                power.push(PowerChange::Sleep { machine });
            }
        }
        let after = match after {
            Some(known) if self.sleep.is_empty() => known,
            Some(_) | None => judge(&end),
        };
        let mut plan = Plan {
            kind: self.kind,
            version: self.now.version(),
            fingerprint: String::new(),
            depends_on: DependsOn::default(),
            power,
            steps,
            left_out,
            stranded: self.stranded,
            before: figures(self.now, before.verdict),
            after: figures(&end, after.verdict),
            found_by: self.found_by,
        };
        let about = self.about.map(|machine| self.now.machine(machine).id);
        plan.depends_on = depends_on(self.now, &plan, about);
        plan.fingerprint = plan.depends_on.fingerprint();
        Finished {
            plan,
            blocked,
            end,
            held_back: HeldBack::default(),
        }
    }
}

impl Plan {
    /// Names more that is left out: each once, and nobody who moves.
    pub(super) fn leave_out(&mut self, more: Vec<LeftOut>) {
        self.left_out.extend(more);
        let moved = moved(&self.steps);
        let mut told = BTreeSet::new();
        self.left_out.retain(|left| {
            let is_new = |instance| !moved.contains(&instance) && told.insert(instance);
            left.instance.is_none_or(is_new)
        });
    }
}

impl Finished {
    /// How many moves the plan has.
    pub(super) fn moves(&self) -> usize {
        self.plan.steps.iter().map(|step| step.moves.len()).sum()
    }

    /// This plan and, from where it ends, the next one, as one plan for the pool as it is. Whoever moves in the next one is not left out.
    pub(super) fn then(self, now: &Pool, next: Self) -> Self {
        let (mut plan, next_plan) = (self.plan, next.plan);
        plan.found_by = match (plan.steps.is_empty(), next_plan.steps.is_empty()) {
            (_, true) => plan.found_by,
            (true, false) => next_plan.found_by,
            (false, false) => plan.found_by.and(next_plan.found_by),
        };
        plan.power.extend(next_plan.power);
        plan.steps.extend(next_plan.steps);
        plan.stranded.extend(next_plan.stranded);
        plan.leave_out(next_plan.left_out);
        plan.after = next_plan.after;
        let about = match plan.kind {
            PlanKind::Drain { machine } | PlanKind::Recover { machine } => Some(machine),
            PlanKind::Balance | PlanKind::Consolidate | PlanKind::WhatIf => None,
        };
        plan.depends_on = depends_on(now, &plan, about);
        plan.fingerprint = plan.depends_on.fingerprint();
        Self {
            plan,
            blocked: [self.blocked, next.blocked].concat(),
            end: next.end,
            held_back: next.held_back,
        }
    }

    /// Remembers what would have moved, of those that have not.
    pub(super) fn holding_back(mut self, mut held_back: HeldBack) -> Self {
        let moved = moved(&self.plan.steps);
        let mut seen = BTreeSet::new();
        held_back.moves.retain(|(instance, _)| {
            !moved.contains(&self.end.instance(*instance).id) && seen.insert(*instance)
        });
        self.held_back = held_back;
        self
    }
}

/// What the steps move.
pub(super) fn moved(steps: &[Step]) -> BTreeSet<Uuid> {
    let moves = steps.iter().flat_map(|step| &step.moves);
    moves.map(|made| made.instance).collect()
}

pub(super) fn describe(
    from: &Pool,
    steps: &[Vec<Hop>],
    why: &dyn Fn(&Moment<'_>) -> MoveReason,
) -> Vec<Step> {
    let mut pool = from.clone();
    let mut gains = Vec::new();
    let mut steps: Vec<Step> = steps
        .iter()
        .map(|hops| Step {
            moves: hops
                .iter()
                .map(|hop| {
                    let (made, gain) = describe_move(&mut pool, *hop, why);
                    gains.push(gain);
                    made
                })
                .collect(),
        })
        .collect();
    name_exchanges(&mut steps, &gains);
    steps
}

/// Describes a move, and makes it in the pool. With it, by how much it lowers the imbalance.
fn describe_move(pool: &mut Pool, hop: Hop, why: &dyn Fn(&Moment<'_>) -> MoveReason) -> (Move, f64) {
    let held = pool.instance(hop.instance);
    let from = held.machine;
    let is_gone = from.is_none_or(|from| pool.machine(from).state == MachineState::Unreachable);
    let how = if is_gone {
        Mobility::Cold
    } else {
        mobility(held).unwrap_or(Mobility::Cold)
    };
    let mut made = Move {
        instance: held.id,
        name: held.name.to_string(),
        from: from.map(|from| pool.machine(from).id),
        to: pool.machine(hop.to).id,
        how,
        reason: MoveReason::Placed,
        duration_s: travel::seconds(pool, hop.instance, hop.to),
    };
    let gain = gain_of(pool, hop);
    made.reason = match hop.lets_go {
        Some(other) => MoveReason::MakesRoom {
            instance: pool.instance(other).id,
        },
        None => why(&Moment {
            pool,
            hop,
            from,
            gain,
        }),
    };
    pool.seat(hop.instance, hop.to);
    (made, gain)
}

/// By how much a move lowers the imbalance.
pub(super) fn gain_of(pool: &Pool, hop: Hop) -> f64 {
    let held = pool.instance(hop.instance);
    let mut imbalance = *pool.imbalance();
    let before = imbalance.value();
    let to = pool.machine(hop.to);
    if to.is_balanced() {
        imbalance.change(to.load(), to.load_with(&held.asked, held.activity, held.demand));
    }
    if let Some(from) = held
        .machine
        .map(|from| pool.machine(from))
        .filter(|from| from.is_balanced())
    {
        imbalance.change(
            from.load(),
            from.load_without(&held.asked, held.activity, held.demand),
        );
    }
    before - imbalance.value()
}
