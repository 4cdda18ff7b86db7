//! From "everything should be there" to a plan: steps, reasons, and the pool before and after.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::depends::{DependsOn, depends_on};
use super::exchanges::name_exchanges;
use super::figures::{Judged, figures, judge, judge_within};
use super::order::{Blocked, Hop, Ordered, order};
use super::plan::{
    LeftOut, LeftOutReason, Move, MoveReason, Plan, PlanKind, PowerChange, SolverUsed, Step, Stranded,
};
use super::rules::{Rules, mobility};
use super::travel;
use crate::inventory::{MachineState, Mobility};
use crate::placing::Exposure;
use crate::state::{InstanceIndex, MachineIndex};
use crate::{Pool, Refusal};

/// How often a plan may go on from where the order of its moves left it.
const LEGS_MAX: u32 = 6;

/// How a search may look for where things should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daring {
    /// Whatever is best.
    Bold,
    /// What single moves and swaps lead to.
    Careful,
    /// The same without any move after which failures would be worse than this, unless it must be made.
    Guarded(Exposure),
    /// What must be done, and no more; if possible without making failures worse than this.
    Relief(Exposure),
}

/// Who says where everything should be.
pub(super) trait Search {
    /// Given where it is, in at most so many moves.
    fn goal(&self, pool: &Pool, daring: Daring, moves_max: u32) -> Pool;

    /// Whether a bold goal can be another than a careful one.
    fn dares(&self, pool: &Pool) -> bool;
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
    fn add(&mut self, refused: &Ordered, judged: &Judged, kept: &Kept) {
        self.moves.extend(refused.moves());
        if self.refusal.is_none() {
            self.refusal = judged.worse_failure(&kept.before, &refused.end);
        }
    }
}

/// What failures would do before a plan, and what they may do after it.
struct Kept {
    before: Judged,
    allowed: Option<Exposure>,
}

impl Kept {
    /// What failures would do to a pool: `Ok` if they may.
    fn admits(&self, pool: &Pool) -> Result<Judged, Judged> {
        let judged = judge_within(pool, self.allowed);
        if judged.is_worse_than(self.allowed) {
            Err(judged)
        } else {
            Ok(judged)
        }
    }

    /// As many of the moves, from the first on, as make no failure worse. Nobody is left half-way on a detour.
    fn cut_back(&self, from: &Pool, leg: Ordered) -> Ordered {
        if self.admits(&leg.end).is_ok() {
            return leg;
        }
        let (mut good, mut bad) = (0, leg.direct().saturating_add(1));
        while bad - good > 1 {
            let middle = usize::midpoint(good, bad);
            if self.admits(&leg.after(from, middle)).is_ok() {
                good = middle;
            } else {
                bad = middle;
            }
        }
        leg.first(from, good)
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
        let ordered = self
            .leg(&self.start, &self.goal)
            .within(&self.start, self.moves_max as usize);
        let steps = describe(&self.start, &ordered.steps, why);
        let before = judge(self.now);
        let is_as_it_was = steps.is_empty() && self.wake.is_empty() && self.kind != PlanKind::WhatIf;
        let after = is_as_it_was.then(|| before.clone());
        self.put_together(steps, ordered, before, after)
    }

    /// The same, unless failures were worse after it than before: then without the moves that do the harm, as `search` says where things
    /// should be instead.
    #[cfg(feature = "optimal")]
    pub(super) fn finish_kept(
        mut self,
        search: &dyn Search,
        why: &dyn Fn(&Moment<'_>) -> MoveReason,
    ) -> Finished {
        let kept = self.kept(true, search);
        let moves_max = self.moves_max as usize;
        let mut leg = self.leg(&self.start, &self.goal).within(&self.start, moves_max);
        let judged = kept.admits(&leg.end);
        let mut held_back = HeldBack::default();
        if let (Err(judged), Some(exposure)) = (&judged, kept.allowed) {
            held_back.add(&leg, judged, &kept);
            self.found_by.proven_optimal = false;
            let guarded = search.goal(&self.start, Daring::Guarded(exposure), self.moves_max);
            let guarded = self.leg(&self.start, &guarded).within(&self.start, moves_max);
            leg = kept.cut_back(&self.start, guarded);
        }
        let steps = describe(&self.start, &leg.steps, why);
        let finished = self.put_together(steps, leg, kept.before, judged.ok());
        finished.holding_back(held_back)
    }

    /// The same for a search that says where things should be, given where they are. A bold goal is taken where it can be reached as a whole
    /// and makes no failure worse, else a careful one as far as it can be, and from there on again; where that makes failures worse, one
    /// that minds them. A search from where this ends leads nowhere else.
    pub(super) fn finish_by(
        self,
        keep_recovery: bool,
        search: &dyn Search,
        why: &dyn Fn(&Moment<'_>) -> MoveReason,
    ) -> Finished {
        let mut kept = self.kept(keep_recovery, search);
        let mut steps = Vec::new();
        let mut held_back = HeldBack::default();
        let mut at = self.start.clone();
        let mut moves_left = self.moves_max;
        for _ in 0..LEGS_MAX {
            let room = moves_left as usize;
            let bold = self.leg(&at, &search.goal(&at, Daring::Bold, moves_left));
            match kept.admits(&bold.end) {
                Ok(judged) if bold.blocked.is_empty() && bold.count() <= room => {
                    steps.extend(describe(&at, &bold.steps, why));
                    let finished = self.put_together(steps, bold, kept.before, Some(judged));
                    return finished.holding_back(held_back);
                }
                Ok(_) => {}
                Err(judged) => held_back.add(&bold, &judged, &kept),
            }
            let careful = if search.dares(&at) {
                self.leg(&at, &search.goal(&at, Daring::Careful, moves_left))
            } else {
                bold
            };
            let mut careful = careful.within(&at, room);
            let judged = kept.admits(&careful.end);
            if let (Err(judged), Some(exposure)) = (&judged, kept.allowed) {
                held_back.add(&careful, judged, &kept);
                let guarded = self.leg(&at, &search.goal(&at, Daring::Guarded(exposure), moves_left));
                careful = kept.cut_back(&at, guarded.within(&at, room));
            }
            steps.extend(describe(&at, &careful.steps, why));
            if careful.steps.is_empty() {
                if let Some(wider) = self.wider(&kept, &at, search, moves_left) {
                    kept.allowed = Some(wider);
                    continue;
                }
                let finished = self.put_together(steps, careful, kept.before, judged.ok());
                return finished.holding_back(held_back);
            }
            moves_left = moves_left.saturating_sub(u32::try_from(careful.count()).unwrap_or(u32::MAX));
            at = careful.end;
        }
        let rest = self.leg(&at, &at);
        let finished = self.put_together(steps, rest, kept.before, None);
        finished.holding_back(held_back)
    }

    /// What must be done is allowed to make failures worse, if there is no other way.
    fn kept(&self, is_kept: bool, search: &dyn Search) -> Kept {
        let before = judge(self.now);
        let allowed = before.exposure().filter(|_| is_kept).map(|exposure| {
            let relieved = search.goal(self.now, Daring::Relief(exposure), self.moves_max);
            judge(&relieved)
                .exposure()
                .map_or(exposure, |then| then.or(exposure))
        });
        Kept { before, allowed }
    }

    /// What failures may do once what must be done from here on is done, where that is more than they may: a machine that could have been
    /// relieved without harm at first may have lost that way to a better move.
    fn wider(&self, kept: &Kept, at: &Pool, search: &dyn Search, moves_max: u32) -> Option<Exposure> {
        let allowed = kept.allowed?;
        let anything = search.goal(at, Daring::Relief(allowed), moves_max);
        if self.leg(at, &anything).count() == 0 {
            return None;
        }
        let exposure = judge(at).exposure()?;
        let relieved = search.goal(at, Daring::Relief(exposure), moves_max);
        let then = judge(&relieved).exposure()?.or(allowed);
        then.is_worse_than(allowed).then_some(then)
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

    /// `after` is what failures would do in the end, where that is known already.
    fn put_together(
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
    fn holding_back(mut self, mut held_back: HeldBack) -> Self {
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

fn describe(from: &Pool, steps: &[Vec<Hop>], why: &dyn Fn(&Moment<'_>) -> MoveReason) -> Vec<Step> {
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
