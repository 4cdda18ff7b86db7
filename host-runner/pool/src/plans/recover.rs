//! Starting what ran on a machine that is gone on the others.

use std::cmp::Reverse;

use uuid::Uuid;

use super::draft::{Draft, Finished, Moment};
use super::error::PlanError;
use super::figures::{left_out, stranded_or_blocked};
use super::homes::{Found, Search, find_homes};
use super::options::RecoverOptions;
use super::plan::{LeftOut, LeftOutReason, MoveReason, Plan, PlanKind, Solver, SolverUsed, Stranded};
use super::purpose::Purpose;
use super::rules::{Rules, mobility};
use crate::Pool;
use crate::inventory::{Activity, MachineState};
use crate::state::InstanceIndex;

/// How what ran on a machine that cannot be reached is started elsewhere: higher priorities first, and as few others moved as possible.
/// What finds no place is named in [`Plan::stranded`]; the rest is recovered all the same.
///
/// Whoever carries it out must know that the instances do not run there any more: that a machine cannot be reached does not say so.
///
/// # Errors
/// The machine is unknown, or can be reached; an option is out of its range, or the solver that was asked for cannot be had.
pub fn recover(pool: &Pool, machine: Uuid, options: &RecoverOptions) -> Result<Plan, PlanError> {
    options.check()?;
    let gone = pool
        .machine_of_id(machine)
        .ok_or(PlanError::UnknownMachine { machine })?;
    let seat = pool.machine(gone);
    if seat.state != MachineState::Unreachable {
        return Err(PlanError::WrongState {
            operation: "recover",
            name: seat.name.to_string(),
            state: seat.state,
            needed: "unreachable",
        });
    }
    let mut held = seat.instances.clone();
    held.sort_unstable();
    let place = |start: &Pool, held: &[InstanceIndex]| {
        let restart = Restart::of(start, held);
        let (found, found_by) = restart.find(start, options)?;
        let rules = Rules::new(options.cpu);
        let draft = Draft {
            start: start.clone(),
            goal: found.pool.clone(),
            ..Draft::nothing(pool, PlanKind::Recover { machine }, rules, found_by)
        };
        let purpose = restart.purpose(start, &found, MoveReason::Recover);
        Ok(restart.finish(draft.about(gone), &found, &|moment| purpose.reason(moment)))
    };
    let finished = place(pool, &held)?;
    Ok(and_again(pool, finished, &place)?.plan)
}

/// Finds places for these, from where a plan ends.
pub(super) type Place<'a> = dyn Fn(&Pool, &[InstanceIndex]) -> Result<Finished, PlanError> + 'a;

/// How often what found no place is tried again.
const AGAIN_MAX: u32 = 16;

/// Moves that could not be made, or a balance, may have left room for what found no place before: places for that, too.
pub(super) fn and_again(
    now: &Pool,
    mut finished: Finished,
    place: &Place<'_>,
) -> Result<Finished, PlanError> {
    for _ in 0..AGAIN_MAX {
        let has_room = |stranded: &Stranded| stranded.nearest.is_some() && stranded.refusals.is_empty();
        let stranded = std::mem::take(&mut finished.plan.stranded);
        let (late, stays): (Vec<_>, Vec<_>) = stranded.into_iter().partition(has_room);
        finished.plan.stranded = stays;
        let late: Vec<InstanceIndex> = late
            .iter()
            .filter_map(|stranded| finished.end.instance_of_id(stranded.instance))
            .collect();
        if late.is_empty() {
            break;
        }
        let end = finished.end.clone();
        finished = finished.then(now, place(&end, &late)?);
    }
    Ok(finished)
}

/// What is to be started elsewhere, and what cannot be.
#[derive(Debug)]
pub(super) struct Restart {
    wanted: Vec<InstanceIndex>,
    stuck: Vec<InstanceIndex>,
    left_out: Vec<LeftOut>,
}

impl Restart {
    pub(super) fn of(pool: &Pool, held: &[InstanceIndex]) -> Self {
        let mut restart = Self {
            wanted: Vec::new(),
            stuck: Vec::new(),
            left_out: Vec::new(),
        };
        for instance in held.iter().copied() {
            let seat = pool.instance(instance);
            let is_gone = seat
                .machine
                .is_some_and(|machine| pool.machine(machine).state == MachineState::Unreachable);
            if seat.activity == Activity::Stopped && is_gone {
                restart
                    .left_out
                    .push(left_out(pool, instance, LeftOutReason::Stopped));
                continue;
            }
            // Without a machine there is nothing that it would have to leave.
            match mobility(seat) {
                Err(reason) if seat.machine.is_some() => {
                    restart.left_out.push(left_out(pool, instance, reason));
                    restart.stuck.push(instance);
                }
                _ => restart.wanted.push(instance),
            }
        }
        restart
    }

    pub(super) fn find(
        &self,
        pool: &Pool,
        options: &RecoverOptions,
    ) -> Result<(Found, SolverUsed), PlanError> {
        let search = Search {
            rules: Rules::new(options.cpu),
            cost: options.cost,
            make_room: options.make_room,
            wake: options.wake,
            seed: options.how.seed,
        };
        let found = find_homes(pool, &self.wanted, &search);
        match options.how.solver {
            Solver::Heuristic => Ok((found, SolverUsed::HEURISTIC)),
            Solver::Optimal => super::optimal::homes(pool, &self.wanted, &search, &options.how, &found),
        }
    }

    /// Why each move is made that leads to what was found; what is wanted moves for this reason.
    pub(super) fn purpose(&self, start: &Pool, found: &Found, reason: MoveReason) -> Purpose {
        Purpose::of(start, &found.pool, &self.wanted, reason)
    }

    /// The plan. The draft's start and goal say from where to where.
    pub(super) fn finish(
        &self,
        draft: Draft<'_>,
        found: &Found,
        why: &dyn Fn(&Moment<'_>) -> MoveReason,
    ) -> Finished {
        let rules = draft.rules;
        let mut start = draft.start.clone();
        for machine in &found.woken {
            start.set_machine_state(*machine, MachineState::Ready);
        }
        let draft = Draft {
            start,
            wake: found.woken.clone(),
            left_out: self.left_out.clone(),
            ..draft
        };
        let mut finished = draft.finish(why);
        finished.plan.stranded = self.without_place(&finished, found, &rules);
        finished
    }

    /// Highest priority first. What has a place but no way there counts, too: it is not in the end where it should be.
    fn without_place(&self, finished: &Finished, found: &Found, rules: &Rules) -> Vec<Stranded> {
        let end = &finished.end;
        let blocked = finished.blocked.iter().map(|blocked| &blocked.instance);
        let mut homeless: Vec<InstanceIndex> = self
            .stuck
            .iter()
            .chain(&found.homeless)
            .chain(blocked)
            .copied()
            .filter(|instance| {
                let now = end.instance(*instance).machine;
                now.is_none_or(|machine| end.machine(machine).state != MachineState::Ready)
            })
            .collect();
        homeless.sort_by_key(|instance| (Reverse(end.instance(*instance).asked.priority), *instance));
        homeless.dedup();
        homeless
            .iter()
            .map(|instance| stranded_or_blocked(end, *instance, &finished.blocked, rules))
            .collect()
    }
}
