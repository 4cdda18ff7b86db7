//! `plan place`: where new instances would go, and why there.

mod request;
mod solver;
mod text;

use std::process::ExitCode;
use std::time::Instant;

use pool::placing::{
    BatchFailure, Explanation, Policy, PolicyName, Recoverability, RecoveryRule, Subject, Unplaced,
    best_machines, explain, n_plus_one, place_batch,
};
use pool::plans::{PoolState, Recovery, SolverUsed, pool_state};
use pool::state::{InstanceIndex, MachineIndex};
use pool::{Pool, Refusal};
use serde::Serialize;
use uuid::Uuid;

use super::source::{self, Names};
use super::{PlanCommandError, exit_code, inventory, kinds};
use crate::cli::{Asking, PlacePlan, PolicyChoice, RecoveryChoice, SolverChoice};
use crate::commands::CommandError;
use crate::commands::words::presentable;

/// One instance's place.
#[derive(Debug, Serialize)]
struct Placed {
    instance: Uuid,
    name: String,
    machine: Uuid,
    /// As if it were placed last, after all others of its batch; compared with the next best machine.
    explanation: Explanation,
}

/// A better machine that was not taken, so that failures can still be recovered.
#[derive(Debug, Serialize)]
struct PassedOver {
    machine: Uuid,
    name: String,
    refusal: Refusal,
}

/// Why nothing is placed.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum PlaceFailure {
    /// Not all find a place.
    Batch(BatchFailure),
    /// They would, and then a machine's failure could no longer be recovered.
    Recovery(BreaksRecovery),
}

/// The pool as it would be, if the rule allowed it.
#[derive(Debug, Serialize)]
struct BreaksRecovery {
    failure: &'static str,
    recovery: Recovery,
}

/// The answer.
#[derive(Debug, Serialize)]
struct PlaceReport {
    kind: &'static str,
    version: u32,
    policy: PolicyName,
    /// All of them, or none.
    placed: Vec<Placed>,
    failure: Option<PlaceFailure>,
    /// Under `--recovery refuse`, and for one instance: better machines, best first.
    passed_over: Vec<PassedOver>,
    /// The machines that were to be explained, each for the first instance and compared with the one that was chosen.
    explained: Vec<Explanation>,
    before: PoolState,
    after: PoolState,
    /// By the search that follows the policy, or by the solver, which knows no scores: it places as many as can be placed, and wakes as few
    /// machines as it must.
    found_by: SolverUsed,
    took_ms: f64,
}

/// Answers the question.
pub(super) fn run(asked: &PlacePlan) -> Result<ExitCode, CommandError> {
    let (report, names) = report(asked)?;
    if asked.asking.json {
        crate::commands::print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        crate::commands::print(&presentable(&text::told(&report, &names)))?;
    }
    Ok(exit_code(report.failure.is_none()))
}

fn report(asked: &PlacePlan) -> Result<(PlaceReport, Names), PlanCommandError> {
    let mut inventory = inventory(&asked.asking)?;
    let explain_ids = (asked.explain.iter())
        .map(|word| source::machine(&inventory, word).map(|machine| machine.id))
        .collect::<Result<Vec<Uuid>, _>>()?;
    let needs = request::needs(asked, &inventory)?;
    let first = inventory.instances.len();
    inventory.instances.extend(request::wanted(asked, &needs));
    let mut pool = kinds::pool_of(&inventory)?;
    let policy = policy(asked);
    let untouched = pool.clone();
    let wanted: Vec<InstanceIndex> = (pool.instances().skip(first)).map(|(index, _)| index).collect();
    let started = Instant::now();
    let (found, found_by) = match asked.asking.solver {
        SolverChoice::Heuristic => (place(&mut pool, &wanted, &policy), SolverUsed::HEURISTIC),
        SolverChoice::Optimal => solver::place(&mut pool, &wanted, &policy, kinds::how(&asked.asking))?,
    };
    let took_ms = started.elapsed().as_secs_f64() * 1_000.0;
    let before = pool_state(&untouched);
    let (placed, passed_over, failure, after) = match found {
        Ok(passed_over) => (
            placed(&pool, &wanted, &policy),
            passed_over,
            None,
            pool_state(&pool),
        ),
        Err(failure) => (Vec::new(), Vec::new(), Some(*failure), before.clone()),
    };
    let chosen = (placed.first()).and_then(|placed| untouched.machine_of_id(placed.machine));
    let explained =
        (wanted.first()).map(|first| explained(&untouched, *first, &policy, &explain_ids, chosen));
    let report = PlaceReport {
        kind: "place",
        version: inventory.version,
        policy: policy_name(&asked.asking),
        placed,
        failure,
        passed_over,
        explained: explained.unwrap_or_default(),
        before,
        after,
        found_by,
        took_ms,
    };
    Ok((report, Names::of(&inventory)))
}

fn policy_name(asking: &Asking) -> PolicyName {
    match asking.policy.unwrap_or(PolicyChoice::Spread) {
        PolicyChoice::Spread => PolicyName::Spread,
        PolicyChoice::Pack => PolicyName::Pack,
        PolicyChoice::SavePower => PolicyName::SavePower,
    }
}

fn policy(asked: &PlacePlan) -> Policy {
    Policy {
        seed: asked.asking.seed,
        recovery: match asked.recovery {
            RecoveryChoice::Ignore => RecoveryRule::Ignore,
            RecoveryChoice::Warn => RecoveryRule::Warn,
            RecoveryChoice::Refuse => RecoveryRule::Refuse,
        },
        ..policy_name(&asked.asking).into()
    }
}

/// Places all, or nothing.
fn place(
    pool: &mut Pool,
    wanted: &[InstanceIndex],
    policy: &Policy,
) -> Result<Vec<PassedOver>, Box<PlaceFailure>> {
    pool.refresh_index();
    match (policy.recovery, wanted) {
        // One instance can go to the next best machine where the best one breaks the rule.
        (RecoveryRule::Refuse, [only]) => {
            let chosen = Recoverability::new(pool, policy).choose(pool, *only, policy);
            let kept = chosen.map_err(|why| {
                let seat = pool.instance(*only);
                Box::new(PlaceFailure::Batch(BatchFailure::NoPlace {
                    asked: 1,
                    proven: why.has_asked_all(),
                    unplaced: vec![Unplaced {
                        instance: seat.id,
                        name: seat.name.to_string(),
                        why: *why,
                    }],
                }))
            })?;
            pool.seat(*only, kept.choice.machine);
            let passed_over = kept.passed_over.iter().map(|(machine, broken)| {
                let seat = pool.machine(*machine);
                PassedOver {
                    machine: seat.id,
                    name: seat.name.to_string(),
                    refusal: broken.refusal(pool),
                }
            });
            return Ok(passed_over.collect());
        }
        (RecoveryRule::Refuse, _) => {
            let before = n_plus_one(pool, policy);
            place_batch(pool, wanted, policy).map_err(|failure| Box::new(PlaceFailure::Batch(*failure)))?;
            keeps_recovery(&before, pool, policy)?;
        }
        (RecoveryRule::Ignore | RecoveryRule::Warn, _) => {
            place_batch(pool, wanted, policy).map_err(|failure| Box::new(PlaceFailure::Batch(*failure)))?;
        }
    }
    Ok(Vec::new())
}

/// Whether no more failures than before are unrecoverable.
fn keeps_recovery(before: &Recovery, pool: &Pool, policy: &Policy) -> Result<(), Box<PlaceFailure>> {
    let recovery = n_plus_one(pool, policy);
    if failures(&recovery) <= failures(before) {
        return Ok(());
    }
    Err(Box::new(PlaceFailure::Recovery(BreaksRecovery {
        failure: "breaks_recovery",
        recovery,
    })))
}

/// How many machines' failures could not be recovered.
fn failures(recovery: &Recovery) -> u32 {
    match recovery {
        Recovery::Stranding { failures, .. } => *failures,
        Recovery::Recoverable | Recovery::NotJudged => 0,
    }
}

/// Why each of them is where it is, with all others in their places.
fn placed(pool: &Pool, wanted: &[InstanceIndex], policy: &Policy) -> Vec<Placed> {
    let mut scratch = pool.clone();
    let mut placed = Vec::with_capacity(wanted.len());
    for &instance in wanted {
        let seat = pool.instance(instance);
        let Some(machine) = seat.machine else { continue };
        scratch.unseat(instance);
        let subject = Subject::of(&scratch, instance);
        let next = (best_machines(&subject, policy, 2).into_iter()).find(|other| *other != machine);
        placed.push(Placed {
            instance: seat.id,
            name: seat.name.to_string(),
            machine: pool.machine(machine).id,
            explanation: explain(&subject, policy, machine, next),
        });
        scratch.seat(instance, machine);
    }
    placed
}

fn explained(
    pool: &Pool,
    instance: InstanceIndex,
    policy: &Policy,
    machines: &[Uuid],
    chosen: Option<MachineIndex>,
) -> Vec<Explanation> {
    let subject = Subject::of(pool, instance);
    (machines.iter())
        .filter_map(|id| pool.machine_of_id(*id))
        .map(|machine| explain(&subject, policy, machine, chosen))
        .collect()
}
