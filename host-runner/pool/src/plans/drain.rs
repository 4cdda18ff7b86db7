//! Emptying a machine: everything finds a place elsewhere, or nothing moves.

use uuid::Uuid;

use super::draft::{Draft, Finished};
use super::error::PlanError;
use super::figures::{left_out, stranded, stranded_or_blocked};
use super::homes::{Found, Search, find_homes};
use super::options::DrainOptions;
use super::plan::{MoveReason, Plan, PlanKind, Solver, SolverUsed, Stranded};
use super::purpose::Purpose;
use super::rules::{Rules, mobility};
use crate::Pool;
use crate::inventory::MachineState;
use crate::state::{InstanceIndex, MachineIndex};

/// How a machine can be emptied. The plan moves all that is on it, and as few others as it can; where something cannot leave or finds no
/// place, it moves nothing and names that in [`Plan::stranded`].
///
/// # Errors
/// The machine is unknown or cannot be reached, an option is out of its range, or the solver that was asked for cannot be had.
pub fn drain(pool: &Pool, machine: Uuid, options: &DrainOptions) -> Result<Plan, PlanError> {
    options.check()?;
    let drained = pool
        .machine_of_id(machine)
        .ok_or(PlanError::UnknownMachine { machine })?;
    let seat = pool.machine(drained);
    if !matches!(seat.state, MachineState::Ready | MachineState::Draining) {
        return Err(PlanError::WrongState {
            operation: "drain",
            name: seat.name.to_string(),
            state: seat.state,
            needed: "ready or draining",
        });
    }
    let mut start = pool.clone();
    start.set_machine_state(drained, MachineState::Draining);
    let task = Task {
        now: pool,
        start,
        drained,
        rules: Rules::new(options.cpu),
        options,
    };
    task.plan()
}

struct Task<'a> {
    now: &'a Pool,
    /// The pool with the machine draining.
    start: Pool,
    drained: MachineIndex,
    rules: Rules,
    options: &'a DrainOptions,
}

impl Task<'_> {
    fn plan(&self) -> Result<Plan, PlanError> {
        let mut held = self.now.machine(self.drained).instances.clone();
        held.sort_unstable();
        let (movable, stuck): (Vec<_>, Vec<_>) = held
            .into_iter()
            .partition(|instance| mobility(self.now.instance(*instance)).is_ok());
        let (found, found_by) = self.find(&movable)?;
        let mut no_place = self.without_place(&stuck, &found);
        if no_place.is_empty() {
            let finished = self.move_out(found, &movable, found_by);
            no_place = self.not_out(&finished);
            if no_place.is_empty() {
                return Ok(finished.plan);
            }
        }
        Ok(self.stay(no_place, &stuck, found_by))
    }

    /// What may not leave, and what finds no place where everything else has its own.
    fn without_place(&self, stuck: &[InstanceIndex], found: &Found) -> Vec<Stranded> {
        let mut pool = found.pool.clone();
        for instance in &found.homeless {
            // There it is yet: whoever must be with it cannot be elsewhere.
            pool.seat(*instance, self.drained);
        }
        let all = stuck.iter().chain(&found.homeless);
        all.map(|instance| stranded(&pool, *instance, &self.rules))
            .collect()
    }

    fn find(&self, movable: &[InstanceIndex]) -> Result<(Found, SolverUsed), PlanError> {
        let search = Search {
            rules: self.rules,
            cost: self.options.cost,
            make_room: self.options.make_room,
            wake: self.options.wake,
            seed: self.options.how.seed,
        };
        let found = find_homes(&self.start, movable, &search);
        match self.options.how.solver {
            Solver::Heuristic => Ok((found, SolverUsed::HEURISTIC)),
            Solver::Optimal => {
                super::optimal::homes(&self.start, movable, &search, &self.options.how, &found)
            }
        }
    }

    fn move_out(&self, found: Found, movable: &[InstanceIndex], found_by: SolverUsed) -> Finished {
        let mut start = self.start.clone();
        for machine in &found.woken {
            start.set_machine_state(*machine, MachineState::Ready);
        }
        let purpose = Purpose::of(&start, &found.pool, movable, MoveReason::Drain);
        let draft = Draft {
            start,
            goal: found.pool,
            wake: found.woken,
            sleep: if self.options.sleep {
                vec![self.drained]
            } else {
                Vec::new()
            },
            ..self.draft(found_by)
        };
        draft.finish(&|moment| purpose.reason(moment))
    }

    /// What the order of the moves could not bring out.
    fn not_out(&self, finished: &Finished) -> Vec<Stranded> {
        let left = &finished.end.machine(self.drained).instances;
        left.iter()
            .map(|instance| stranded_or_blocked(&finished.end, *instance, &finished.blocked, &self.rules))
            .collect()
    }

    /// A plan that moves nothing, and says what would find no place.
    fn stay(&self, stranded: Vec<Stranded>, stuck: &[InstanceIndex], found_by: SolverUsed) -> Plan {
        let draft = Draft {
            stranded,
            left_out: stuck
                .iter()
                .filter_map(|instance| {
                    let reason = mobility(self.now.instance(*instance)).err()?;
                    Some(left_out(self.now, *instance, reason))
                })
                .collect(),
            ..self.draft(found_by)
        };
        draft.finish(&|_| MoveReason::Drain).plan
    }

    fn draft(&self, found_by: SolverUsed) -> Draft<'_> {
        let machine = self.now.machine(self.drained).id;
        Draft::nothing(self.now, PlanKind::Drain { machine }, self.rules, found_by).about(self.drained)
    }
}
