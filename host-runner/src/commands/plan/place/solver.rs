//! A batch placed by the solver, for who wants to know whether there really is no way.

use pool::Pool;
use pool::placing::{
    BatchFailure, Policy, RecoveryRule, Subject, Unplaced, n_plus_one, no_place, place_batch,
};
use pool::plans::{self, Edit, How, Plan, PlanError, RecoverOptions, SolverUsed, WhatIfOptions};
use pool::state::InstanceIndex;

use super::{PassedOver, PlaceFailure, keeps_recovery};

type Found = Result<Vec<PassedOver>, Box<PlaceFailure>>;

/// Places all, or nothing. Nobody else moves.
pub(super) fn place(
    pool: &mut Pool,
    wanted: &[InstanceIndex],
    policy: &Policy,
    how: How,
) -> Result<(Found, SolverUsed), PlanError> {
    if let Err(failure) = place_batch(&mut pool.clone(), wanted, policy)
        && let BatchFailure::Contradiction { .. } = &*failure
    {
        // No solver is needed to see that, and it would not say which wishes they are.
        return Ok((
            Err(Box::new(PlaceFailure::Batch(*failure))),
            SolverUsed::HEURISTIC,
        ));
    }
    let plan = plans::what_if(pool, &without_others(pool, wanted), &options(policy, how))?;
    let found_by = plan.found_by;
    Ok((carried_out(pool, wanted, policy, &plan), found_by))
}

/// What else waits for a place is not asked about.
fn without_others(pool: &Pool, wanted: &[InstanceIndex]) -> Vec<Edit> {
    let waiting = pool.instances().filter(|(_, seat)| seat.machine.is_none());
    waiting
        .filter(|(index, _)| !wanted.contains(index))
        .map(|(_, seat)| Edit::RemoveInstance { instance: seat.id })
        .collect()
}

fn options(policy: &Policy, how: How) -> WhatIfOptions {
    WhatIfOptions {
        recover: RecoverOptions {
            how,
            make_room: false,
            wake: policy.may_wake,
            ..RecoverOptions::default()
        },
        balance: None,
    }
}

fn carried_out(pool: &mut Pool, wanted: &[InstanceIndex], policy: &Policy, plan: &Plan) -> Found {
    let before = (policy.recovery == RecoveryRule::Refuse).then(|| n_plus_one(pool, policy));
    for made in plan.steps.iter().flat_map(|step| &step.moves) {
        let places = (pool.instance_of_id(made.instance)).zip(pool.machine_of_id(made.to));
        if let Some((instance, machine)) = places {
            pool.seat(instance, machine);
        }
    }
    let left: Vec<InstanceIndex> = (wanted.iter().copied())
        .filter(|instance| pool.instance(*instance).machine.is_none())
        .collect();
    if left.is_empty() {
        return match before {
            Some(before) => keeps_recovery(&before, pool, policy).map(|()| Vec::new()),
            None => Ok(Vec::new()),
        };
    }
    let unplaced = left.iter().map(|instance| {
        let seat = pool.instance(*instance);
        Unplaced {
            instance: seat.id,
            name: seat.name.to_string(),
            why: no_place(&Subject::of(pool, *instance).waking(policy.may_wake)),
        }
    });
    Err(Box::new(PlaceFailure::Batch(BatchFailure::NoPlace {
        asked: u32::try_from(wanted.len()).unwrap_or(u32::MAX),
        unplaced: unplaced.collect(),
        proven: plan.found_by.proven_optimal,
    })))
}
