//! From "everything should be there" to a plan: steps, reasons, and the pool before and after.

use super::depends::{DependsOn, depends_on};
use super::figures::pool_state;
use super::order::{Blocked, Hop, Ordered, order};
use super::plan::{
    LeftOut, LeftOutReason, Move, MoveReason, Plan, PlanKind, PowerChange, SolverUsed, Step, Stranded,
};
use super::rules::{Rules, mobility};
use super::travel;
use crate::Pool;
use crate::inventory::{MachineState, Mobility};
use crate::state::{InstanceIndex, MachineIndex};

/// How often a plan may go on from where the order of its moves left it.
const LEGS_MAX: u32 = 6;

/// How a search may look for where things should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daring {
    /// Whatever is best.
    Bold,
    /// What single moves and swaps lead to.
    Careful,
}

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
        self.put_together(steps, ordered)
    }

    /// The same for a search that says where things should be, given where they are. A bold goal is taken where it can be reached as a whole,
    /// else a careful one as far as it can be, and from there on again. A search from where this ends leads nowhere else.
    pub(super) fn finish_by(
        self,
        search: &dyn Fn(&Pool, Daring) -> Pool,
        why: &dyn Fn(&Moment<'_>) -> MoveReason,
    ) -> Finished {
        let mut steps = Vec::new();
        let mut at = self.start.clone();
        for _ in 0..LEGS_MAX {
            let bold = self.leg(&at, &search(&at, Daring::Bold));
            if bold.blocked.is_empty() {
                steps.extend(describe(&at, &bold.steps, why));
                return self.put_together(steps, bold);
            }
            let careful = self.leg(&at, &search(&at, Daring::Careful));
            steps.extend(describe(&at, &careful.steps, why));
            if careful.steps.is_empty() {
                return self.put_together(steps, careful);
            }
            at = careful.end;
        }
        let rest = self.leg(&at, &at);
        self.put_together(steps, rest)
    }

    fn leg(&self, from: &Pool, goal: &Pool) -> Ordered {
        let goals: Vec<(InstanceIndex, MachineIndex)> = from
            .instances()
            .filter_map(|(index, before)| {
                let to = goal.instance(index).machine?;
                (before.machine != Some(to)).then_some((index, to))
            })
            .collect();
        order(from, &goals, &self.rules)
    }

    fn put_together(self, steps: Vec<Step>, last: Ordered) -> Finished {
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
        let mut plan = Plan {
            kind: self.kind,
            version: self.now.version(),
            fingerprint: String::new(),
            depends_on: DependsOn::default(),
            power,
            steps,
            left_out,
            stranded: self.stranded,
            before: pool_state(self.now),
            after: pool_state(&end),
            found_by: self.found_by,
        };
        let about = self.about.map(|machine| self.now.machine(machine).id);
        plan.depends_on = depends_on(self.now, &plan, about);
        plan.fingerprint = plan.depends_on.fingerprint();
        Finished { plan, blocked, end }
    }
}

fn describe(from: &Pool, steps: &[Vec<Hop>], why: &dyn Fn(&Moment<'_>) -> MoveReason) -> Vec<Step> {
    let mut pool = from.clone();
    steps
        .iter()
        .map(|hops| Step {
            moves: hops
                .iter()
                .map(|hop| describe_move(&mut pool, *hop, why))
                .collect(),
        })
        .collect()
}

/// Describes a move, and makes it in the pool.
fn describe_move(pool: &mut Pool, hop: Hop, why: &dyn Fn(&Moment<'_>) -> MoveReason) -> Move {
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
    made.reason = match hop.lets_go {
        Some(other) => MoveReason::MakesRoom {
            instance: pool.instance(other).id,
        },
        None => why(&Moment {
            pool,
            hop,
            from,
            gain: gain_of(pool, hop),
        }),
    };
    pool.seat(hop.instance, hop.to);
    made
}

/// By how much a move lowers the imbalance.
fn gain_of(pool: &Pool, hop: Hop) -> f64 {
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
