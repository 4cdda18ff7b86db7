//! Evening out the load, and saying why where nothing is done.

use std::collections::BTreeSet;

use super::draft::{Daring, Draft, Moment};
use super::error::PlanError;
use super::evening::{best_gain, even_out, is_overloaded, needed_gain};
use super::figures::{left_out, nearest};
use super::options::BalanceOptions;
use super::plan::{LeftOut, LeftOutReason, MoveReason, Plan, PlanKind, Solver, SolverUsed};
use super::rules::{Rules, broken_wish, cooling_s, mobility};
use crate::Pool;
use crate::state::{InstanceIndex, MachineIndex};

/// How many instances a plan names that it leaves where they are.
const LEFT_OUT_MAX: usize = 32;

/// How many machines' instances are looked at for that, the fullest first.
const FULLEST_MAX: usize = 3;

/// How the load can be evened out: first, what is where a wish of its forbids it moves, and machines that are expected to run out of CPU are
/// relieved; then, if the imbalance is above
/// [`begin`](BalanceOptions::begin), instances move as long as a move gains more than it costs and the imbalance is above
/// [`end`](BalanceOptions::end). A plan made from where this one ends is empty. Where nothing is done, [`Plan::left_out`] says why.
///
/// # Errors
/// An option is out of its range, or the solver that was asked for cannot be had.
pub fn balance(pool: &Pool, options: &BalanceOptions) -> Result<Plan, PlanError> {
    options.check()?;
    let rules = Rules::new(options.cpu);
    if !has_reason(pool, options) {
        let draft = Draft {
            left_out: vec![balanced_enough(pool, options.begin)],
            ..Draft::nothing(pool, PlanKind::Balance, rules, SolverUsed::HEURISTIC)
        };
        return Ok(draft.finish(&|moment| reason(moment, options)).plan);
    }
    let mut finished = match options.how.solver {
        Solver::Heuristic => Draft::nothing(pool, PlanKind::Balance, rules, SolverUsed::HEURISTIC)
            .finish_by(&|at, daring| even_if_worth_it(at, options, daring), &|moment| {
                reason(moment, options)
            }),
        Solver::Optimal => {
            let known = even_out(pool, options, Daring::Bold);
            let (goal, found_by) = super::optimal::balance(pool, options, &known)?;
            let draft = Draft {
                goal,
                ..Draft::nothing(pool, PlanKind::Balance, rules, found_by)
            };
            draft.finish(&|moment| reason(moment, options))
        }
    };
    let stays = what_stays(&finished.end, options);
    finished.plan.left_out.extend(stays);
    Ok(finished.plan)
}

/// The pool evened out, or as it is where there is no reason to begin.
pub(super) fn even_if_worth_it(pool: &Pool, options: &BalanceOptions, daring: Daring) -> Pool {
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

fn reason(moment: &Moment<'_>, options: &BalanceOptions) -> MoveReason {
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
/// machines where they are.
fn what_stays(pool: &Pool, options: &BalanceOptions) -> Vec<LeftOut> {
    let mut staying: Vec<InstanceIndex> = misplaced(pool).take(LEFT_OUT_MAX).collect();
    let is_content = pool.imbalance().value() <= options.end;
    if !is_content {
        for (_, machine) in fullest(pool).iter().take(FULLEST_MAX) {
            staying.extend(&pool.machine(*machine).instances);
        }
    }
    let mut seen = BTreeSet::new();
    staying.retain(|instance| seen.insert(*instance));
    staying.truncate(LEFT_OUT_MAX);
    let mut left: Vec<LeftOut> = staying
        .into_iter()
        .map(|instance| left_out(pool, instance, why_it_stays(pool, instance, options)))
        .collect();
    if is_content {
        left.push(balanced_enough(pool, options.end));
    }
    left
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

fn why_it_stays(pool: &Pool, instance: InstanceIndex, options: &BalanceOptions) -> LeftOutReason {
    let seat = pool.instance(instance);
    if let Err(reason) = mobility(seat) {
        return reason;
    }
    if let Some(remaining_s) = cooling_s(seat, pool.now_s(), options.cooldown_s) {
        return LeftOutReason::Cooldown { remaining_s };
    }
    if let Some((gain, _)) = best_gain(pool, instance, options) {
        let needed = needed_gain(pool, instance, options);
        return LeftOutReason::GainTooSmall { gain, needed };
    }
    let (nearest, refusals) = nearest(pool, instance, &Rules::new(options.cpu));
    LeftOutReason::NoPlace { nearest, refusals }
}
