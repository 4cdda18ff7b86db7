//! Evening out the load, and saying why where nothing is done.

use std::collections::BTreeSet;

use super::draft::{Draft, Finished, Moment, moved};
use super::error::PlanError;
#[cfg(feature = "optimal")]
use super::evening::even_out_towards;
use super::evening::{best_gain, even_out, is_overloaded, needed_gain, trimmed, wanders};
use super::figures::{left_out, nearest};
use super::legs::{Daring, Search};
use super::options::BalanceOptions;
use super::plan::{LeftOut, LeftOutReason, MoveReason, Plan, PlanKind, Solver, SolverUsed};
use super::rules::{Rules, broken_wish, cooling_s, mobility};
use super::worth::Strain;
use crate::placing::{Policy, Recoverability};
use crate::state::{InstanceIndex, MachineIndex};
use crate::{Pool, Refusal};

/// How many instances a plan names that it leaves where they are.
const LEFT_OUT_MAX: usize = 32;

/// How many machines' instances are looked at for that, the fullest first.
const FULLEST_MAX: usize = 3;

/// How the load can be evened out: first, what is where a wish of its forbids it moves, and machines that are expected to run out of CPU are
/// relieved; then, if the imbalance is above
/// [`begin`](BalanceOptions::begin), instances move as long as a move gains more than it costs and the imbalance is above
/// [`end`](BalanceOptions::end). Where nothing is done, [`Plan::left_out`] says why.
///
/// Whatever is done for evenness' sake, detours included, lowers the imbalance by more than it costs, unless what must be done needs the room
/// that it makes. Nothing comes back to where it was unless it left to make room.
///
/// A plan made from where this one ends is empty, with three exceptions. This one has all the moves that it may have. Or what has moved
/// stays put for a while by [`cooldown_s`](BalanceOptions::cooldown_s): a search among fewer comes by other ways, and now and then by a
/// better place. Or a solver found this one: it weighs evenness by another measure, and does not look again.
///
/// # Errors
/// An option is out of its range, or the solver that was asked for cannot be had.
pub fn balance(pool: &Pool, options: &BalanceOptions) -> Result<Plan, PlanError> {
    options.check()?;
    Ok(evened(pool, options)?.plan)
}

/// The plan, and the pool after it.
pub(super) fn evened(pool: &Pool, options: &BalanceOptions) -> Result<Finished, PlanError> {
    let rules = Rules::new(options.cpu);
    if !has_reason(pool, options) {
        let draft = Draft {
            left_out: vec![balanced_enough(pool, options.begin)],
            ..Draft::nothing(pool, PlanKind::Balance, rules, SolverUsed::HEURISTIC)
        };
        return Ok(draft.finish(&|moment| reason(moment, options)));
    }
    let mut finished = match options.how.solver {
        Solver::Heuristic => {
            let draft = Draft {
                moves_max: options.moves_max,
                ..Draft::nothing(pool, PlanKind::Balance, rules, SolverUsed::HEURISTIC)
            };
            draft.finish_by(options.keep_recovery, &ByHeuristic(options))
        }
        Solver::Optimal => {
            let known = even_out(pool, options, Daring::Bold);
            let (goal, found_by) = super::optimal::balance(pool, options, &known)?;
            let draft = Draft {
                goal,
                moves_max: options.moves_max,
                ..Draft::nothing(pool, PlanKind::Balance, rules, found_by)
            };
            best_finish(draft, options)
        }
    };
    let stays = what_stays(&finished, options);
    // Some are named already, for a move that found no way.
    finished.plan.leave_out(stays);
    Ok(finished)
}

/// Begins where there is reason to.
struct ByHeuristic<'a>(&'a BalanceOptions);

impl Search for ByHeuristic<'_> {
    fn goal(&self, pool: &Pool, daring: Daring, moves_max: u32) -> Pool {
        let options = BalanceOptions { moves_max, ..*self.0 };
        even_if_worth_it(pool, &options, daring)
    }

    fn dares(&self, pool: &Pool) -> bool {
        wanders(pool, self.0)
    }

    fn trimmed(&self, from: &Pool, to: &Pool) -> Pool {
        trimmed(from, to, self.0)
    }

    fn strain(&self, pool: &Pool) -> Strain {
        strain(pool, self.0)
    }

    fn needed_gain(&self, pool: &Pool, instance: InstanceIndex) -> f64 {
        needed_gain(pool, instance, self.0)
    }

    fn reason(&self, moment: &Moment<'_>) -> MoveReason {
        reason(moment, self.0)
    }
}

#[cfg(feature = "optimal")]
fn best_finish(draft: Draft<'_>, options: &BalanceOptions) -> Finished {
    let search = TowardsGoal {
        goal: draft.goal.clone(),
        heuristic: ByHeuristic(options),
    };
    draft.finish_towards(options.keep_recovery, &search)
}

/// Follows the solver, which knows nothing of failures, as far as none suffers.
#[cfg(feature = "optimal")]
struct TowardsGoal<'a> {
    goal: Pool,
    heuristic: ByHeuristic<'a>,
}

#[cfg(feature = "optimal")]
impl Search for TowardsGoal<'_> {
    fn goal(&self, pool: &Pool, daring: Daring, moves_max: u32) -> Pool {
        match daring {
            Daring::Guarded(exposure) => even_out_towards(&self.goal, pool, self.heuristic.0, exposure),
            Daring::Bold | Daring::Careful | Daring::Relief(_) => {
                self.heuristic.goal(pool, daring, moves_max)
            }
        }
    }

    fn dares(&self, pool: &Pool) -> bool {
        self.heuristic.dares(pool)
    }

    fn trimmed(&self, from: &Pool, to: &Pool) -> Pool {
        self.heuristic.trimmed(from, to)
    }

    fn strain(&self, pool: &Pool) -> Strain {
        self.heuristic.strain(pool)
    }

    fn needed_gain(&self, pool: &Pool, instance: InstanceIndex) -> f64 {
        self.heuristic.needed_gain(pool, instance)
    }

    fn reason(&self, moment: &Moment<'_>) -> MoveReason {
        self.heuristic.reason(moment)
    }
}

#[cfg(not(feature = "optimal"))]
fn best_finish(draft: Draft<'_>, options: &BalanceOptions) -> Finished {
    draft.finish(&|moment| reason(moment, options))
}

/// The pool evened out, or as it is where there is no reason to begin.
fn even_if_worth_it(pool: &Pool, options: &BalanceOptions, daring: Daring) -> Pool {
    if has_reason(pool, options) {
        even_out(pool, options, daring)
    } else {
        pool.clone()
    }
}

fn has_reason(pool: &Pool, options: &BalanceOptions) -> bool {
    pool.imbalance().value() > options.begin
        || pool
            .machines()
            .any(|(machine, _)| is_overloaded(pool, machine, options))
        || misplaced(pool).next().is_some()
}

/// What could move and is where a wish of its forbids it.
fn misplaced(pool: &Pool) -> impl Iterator<Item = InstanceIndex> + '_ {
    pool.instances()
        .filter(|(index, seat)| {
            let counts = seat
                .machine
                .is_some_and(|machine| pool.machine(machine).is_balanced());
            counts && mobility(seat).is_ok() && broken_wish(pool, *index).is_some()
        })
        .map(|(index, _)| index)
}

/// What must be done whatever the imbalance.
fn strain(pool: &Pool, options: &BalanceOptions) -> Strain {
    let overloaded = pool
        .machines()
        .filter(|(machine, _)| is_overloaded(pool, *machine, options));
    let too_many = overloaded.map(|(_, seat)| {
        seat.demand.with_margin(options.cpu.deviations) - options.overload * seat.offered_threads
    });
    Strain {
        misplaced: misplaced(pool).count(),
        overload_threads: too_many.fold(0.0, |sum, threads| sum + threads),
    }
}

/// Why a balance makes a move.
pub(super) fn reason(moment: &Moment<'_>, options: &BalanceOptions) -> MoveReason {
    if let Some(rule) = broken_wish(moment.pool, moment.hop.instance) {
        return MoveReason::BreaksRule { rule };
    }
    let overloaded = moment
        .from
        .filter(|from| is_overloaded(moment.pool, *from, options));
    match overloaded {
        Some(from) => MoveReason::Overload {
            load: moment.pool.machine(from).load().cpu,
        },
        None => MoveReason::Balance { gain: moment.gain },
    }
}

fn balanced_enough(pool: &Pool, threshold: f64) -> LeftOut {
    LeftOut {
        instance: None,
        name: None,
        reason: LeftOutReason::BalancedEnough {
            imbalance: pool.imbalance().value(),
            threshold,
        },
    }
}

/// What is where it must not be, and why the pool is not more even: that it is even enough, or what keeps the instances of the fullest
/// machines where they are. What the plan moves is not among them.
fn what_stays(finished: &Finished, options: &BalanceOptions) -> Vec<LeftOut> {
    let pool = &finished.end;
    let moved = moved(&finished.plan.steps);
    let is_moved = |instance: InstanceIndex| moved.contains(&pool.instance(instance).id);
    let mut held_back = held_back(finished, options);
    held_back.retain(|(instance, _)| !is_moved(*instance));
    let mut staying: Vec<InstanceIndex> = misplaced(pool).take(LEFT_OUT_MAX).collect();
    let is_content = pool.imbalance().value() <= options.end;
    if !is_content {
        for (_, machine) in fullest(pool).iter().take(FULLEST_MAX) {
            staying.extend(&pool.machine(*machine).instances);
        }
    }
    let mut seen: BTreeSet<InstanceIndex> = held_back.iter().map(|(instance, _)| *instance).collect();
    staying.retain(|instance| seen.insert(*instance) && !is_moved(*instance));
    let is_spent = finished.moves() >= options.moves_max as usize;
    let staying = staying.into_iter().filter_map(|instance| {
        let why = why_it_stays(pool, instance, options);
        let why = why.or_else(|| {
            let moves_max = options.moves_max;
            is_spent.then_some(LeftOutReason::MovesSpent { moves_max })
        });
        Some((instance, why?))
    });
    let mut left: Vec<LeftOut> = held_back
        .into_iter()
        .chain(staying)
        .take(LEFT_OUT_MAX)
        .map(|(instance, why)| left_out(pool, instance, why))
        .collect();
    if is_content {
        left.push(balanced_enough(pool, options.end));
    } else if pool.imbalance().value() <= options.begin && !is_spent {
        // What would pay yet is not begun for so little.
        left.push(balanced_enough(pool, options.begin));
    }
    left
}

/// What stays because its move would make some failure worse, and which.
fn held_back(finished: &Finished, options: &BalanceOptions) -> Vec<(InstanceIndex, LeftOutReason)> {
    let Some(refusal) = finished.held_back.refusal.clone() else {
        return Vec::new();
    };
    let pool = &finished.end;
    let mut recoverability = Recoverability::new(pool, &Policy::default());
    // Where a better plan would have moved it; and where it would go by itself.
    let by_itself = fullest(pool)
        .into_iter()
        .take(FULLEST_MAX)
        .flat_map(|(_, machine)| pool.machine(machine).instances.iter().copied())
        .filter_map(|instance| {
            let seat = pool.instance(instance);
            let is_free =
                mobility(seat).is_ok() && cooling_s(seat, pool.now_s(), options.cooldown_s).is_none();
            let (gain, to) = best_gain(pool, instance, options)?;
            (is_free && gain > needed_gain(pool, instance, options)).then_some((instance, to))
        });
    let why = |to: MachineIndex, refusal: Refusal| LeftOutReason::NoPlace {
        nearest: Some(pool.machine(to).id),
        refusals: vec![refusal],
    };
    let moves = &finished.held_back.moves;
    let mut seen = BTreeSet::new();
    let each: Vec<(InstanceIndex, LeftOutReason)> = moves
        .iter()
        .copied()
        .chain(by_itself)
        .filter_map(|(instance, to)| {
            let broken = recoverability.would_break(pool, instance, to)?;
            seen.insert(instance)
                .then(|| (instance, why(to, broken.refusal(pool))))
        })
        .take(LEFT_OUT_MAX)
        .collect();
    if !each.is_empty() {
        return each;
    }
    // Each by itself would do no harm; all of them together did.
    let all = moves.iter().take(LEFT_OUT_MAX);
    all.map(|(instance, to)| (*instance, why(*to, refusal.clone())))
        .collect()
}

fn fullest(pool: &Pool) -> Vec<(f64, MachineIndex)> {
    let mut fullest: Vec<(f64, MachineIndex)> = pool
        .machines()
        .filter(|(_, seat)| seat.is_balanced())
        .map(|(machine, seat)| (seat.load().highest(), machine))
        .collect();
    fullest.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    fullest
}

/// What keeps an instance where it is; `None` where nothing does, and a move of it would pay.
fn why_it_stays(pool: &Pool, instance: InstanceIndex, options: &BalanceOptions) -> Option<LeftOutReason> {
    let seat = pool.instance(instance);
    if let Err(reason) = mobility(seat) {
        return Some(reason);
    }
    if let Some(remaining_s) = cooling_s(seat, pool.now_s(), options.cooldown_s) {
        return Some(LeftOutReason::Cooldown { remaining_s });
    }
    let Some((gain, _)) = best_gain(pool, instance, options) else {
        let (nearest, refusals) = nearest(pool, instance, &Rules::new(options.cpu));
        return Some(LeftOutReason::NoPlace { nearest, refusals });
    };
    let must_move = broken_wish(pool, instance).is_some();
    let needed = needed_gain(pool, instance, options);
    (gain <= needed && !must_move).then_some(LeftOutReason::GainTooSmall { gain, needed })
}
