//! What an edit of the pool would bring: what had to move, what would find no place, and the pool before and after.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::balance::{evened, reason};
use super::draft::{Draft, Finished, Moment, moved};
use super::error::{PlanError, within};
use super::figures::stranded;
use super::homes::Found;
use super::options::{BalanceOptions, Edit, WhatIfOptions};
use super::plan::{Move, MoveReason, Plan, PlanKind, SolverUsed};
use super::recover::{Restart, and_again};
use super::rules::Rules;
use crate::Pool;
use crate::inventory::{Instance, Inventory, InventoryError, Machine, MachineState};
use crate::state::{InstanceIndex, MachineIndex};

/// How many edits one question may have.
pub const EDITS_MAX: u32 = 1_000;

/// What the edits, one after the other, would bring: [`Plan::before`] is the pool as it is, [`Plan::after`] the edited one with everything in
/// the place that it finds, and evened out where that is asked for. The steps say what had to move for that and what a balance would move
/// then, [`Plan::stranded`] what would find no place, and [`Plan::left_out`] what stays and why, as in the plans of these kinds.
///
/// Such a plan is an answer, and not to be carried out: the pool is not the edited one.
///
/// # Errors
/// An edit names what is not there, adds what is there already or contradicts itself; there are more than [`EDITS_MAX`], or an option is out
/// of its range.
pub fn what_if(pool: &Pool, edits: &[Edit], options: &WhatIfOptions) -> Result<Plan, PlanError> {
    options.check()?;
    let count = u32::try_from(edits.len()).unwrap_or(u32::MAX);
    within("edits", f64::from(count), 0.0, f64::from(EDITS_MAX))?;
    let mut edited = Edited {
        pool: pool.clone(),
        vacated: BTreeSet::new(),
        taken_away: BTreeSet::new(),
        removed: BTreeSet::new(),
    };
    for edit in edits {
        edited.apply(edit)?;
    }
    let homeless = edited.homeless();
    let question = Question {
        asked_of: pool,
        options,
    };
    let placed = question.place(&edited.pool, &homeless)?;
    Ok(match &options.balance {
        Some(balance) => question.evened(placed, balance)?.plan,
        None => question.again(placed.finished)?.plan,
    })
}

/// What is asked once the edits are made.
#[derive(Clone, Copy)]
struct Question<'a> {
    /// The pool as it is.
    asked_of: &'a Pool,
    options: &'a WhatIfOptions,
}

/// Places for what had none.
struct Placed {
    start: Pool,
    restart: Restart,
    found: Found,
    finished: Finished,
}

impl<'a> Question<'a> {
    fn place(self, start: &Pool, wanted: &[InstanceIndex]) -> Result<Placed, PlanError> {
        let restart = Restart::of(start, wanted);
        let (found, found_by) = restart.find(start, &self.options.recover)?;
        let draft = Draft {
            goal: found.pool.clone(),
            ..self.draft(start, found_by)
        };
        let purpose = restart.purpose(start, &found, MoveReason::Placed);
        let finished = restart.finish(draft, &found, &|moment| purpose.reason(moment));
        Ok(Placed {
            start: start.clone(),
            restart,
            found,
            finished,
        })
    }

    fn draft(self, start: &Pool, found_by: SolverUsed) -> Draft<'a> {
        let rules = Rules::new(self.options.recover.cpu);
        Draft {
            start: start.clone(),
            ..Draft::nothing(self.asked_of, PlanKind::WhatIf, rules, found_by)
        }
    }

    /// What a balance does from there, after it; and places for what finds one only then.
    fn evened(self, placed: Placed, balance: &BalanceOptions) -> Result<Finished, PlanError> {
        let then = evened(&placed.finished.end, balance)?;
        let mut both = match self.in_one_go(&placed, &then, balance) {
            Some(direct) => direct,
            None => placed.finished.then(self.asked_of, then),
        };
        // What found no place before: the pool is another now.
        let rules = Rules::new(self.options.recover.cpu);
        for told in &mut both.plan.stranded {
            if let Some(instance) = both.end.instance_of_id(told.instance) {
                *told = stranded(&both.end, instance, &rules);
            }
        }
        self.again(both)
    }

    fn again(self, finished: Finished) -> Result<Finished, PlanError> {
        let place = |start: &Pool, wanted: &[InstanceIndex]| Ok(self.place(start, wanted)?.finished);
        and_again(self.asked_of, finished, &place)
    }

    /// Both without the way over a place that is left again at once, where that can be had.
    fn in_one_go(self, placed: &Placed, then: &Finished, balance: &BalanceOptions) -> Option<Finished> {
        let moved_once = moved(&placed.finished.plan.steps);
        let moved_again = moved(&then.plan.steps);
        if moved_once.is_disjoint(&moved_again) {
            return None;
        }
        let purpose = placed
            .restart
            .purpose(&placed.start, &placed.found, MoveReason::Placed);
        let why = |moment: &Moment<'_>| match purpose.reason(moment) {
            MoveReason::Balance { .. } => reason(moment, balance),
            needed => needed,
        };
        let found_by = placed.finished.plan.found_by.and(then.plan.found_by);
        let draft = Draft {
            goal: then.end.clone(),
            // The stricter of both: what goes to its last place at once may not overload it on the way.
            rules: Rules::new(balance.cpu),
            ..self.draft(&placed.start, found_by)
        };
        let mut direct = placed.restart.finish(draft, &placed.found, &why);
        direct.plan.leave_out(then.plan.left_out.clone());
        let pays = |made: &Move| match made.reason {
            MoveReason::Balance { gain } | MoveReason::Exchange { gain, .. } => gain > 0.0,
            _ => true,
        };
        let is_better = direct.blocked.is_empty()
            && direct.moves() < placed.finished.moves() + then.moves()
            && direct.plan.steps.iter().flat_map(|step| &step.moves).all(pays);
        is_better.then_some(direct)
    }
}

struct Edited {
    pool: Pool,
    /// What is on these needs places.
    vacated: BTreeSet<MachineIndex>,
    /// These are in the pool's list yet, out of reach, and no edit knows them any more.
    taken_away: BTreeSet<Uuid>,
    /// These are in the pool's list yet, without a place, and look for none.
    removed: BTreeSet<InstanceIndex>,
}

impl Edited {
    fn apply(&mut self, edit: &Edit) -> Result<(), PlanError> {
        match edit {
            Edit::RemoveMachine { machine } => {
                self.set_state(*machine, MachineState::Unreachable)?;
                self.taken_away.insert(*machine);
                Ok(())
            }
            Edit::SetState { machine, state } => self.set_state(*machine, *state),
            Edit::AddMachine { machine } => self.add_machine(machine),
            Edit::ScaleLoad { factor } => self.scale_load(*factor),
            Edit::AddInstance { instance } => self.add_instance(instance),
            Edit::RemoveInstance { instance } => {
                let index = self
                    .pool
                    .instance_of_id(*instance)
                    .ok_or(PlanError::UnknownInstance { instance: *instance })?;
                if !self.removed.insert(index) {
                    return Err(PlanError::UnknownInstance { instance: *instance });
                }
                self.pool.unseat(index);
                Ok(())
            }
        }
    }

    fn homeless(&self) -> Vec<InstanceIndex> {
        self.pool
            .instances()
            .filter(|(index, seat)| {
                let has_place = seat
                    .machine
                    .is_some_and(|machine| !self.vacated.contains(&machine));
                !has_place && !self.removed.contains(index)
            })
            .map(|(index, _)| index)
            .collect()
    }

    fn machine(&self, machine: Uuid) -> Result<MachineIndex, PlanError> {
        self.pool
            .machine_of_id(machine)
            .filter(|_| !self.taken_away.contains(&machine))
            .ok_or(PlanError::UnknownMachine { machine })
    }

    fn set_state(&mut self, machine: Uuid, state: MachineState) -> Result<(), PlanError> {
        let index = self.machine(machine)?;
        self.pool.set_machine_state(index, state);
        if state == MachineState::Ready {
            self.vacated.remove(&index);
        } else {
            self.vacated.insert(index);
        }
        Ok(())
    }

    fn add_machine(&mut self, machine: &Machine) -> Result<(), PlanError> {
        if self.pool.machine_of_id(machine.id).is_some() {
            return Err(PlanError::AlreadyThere {
                name: machine.name.clone(),
                id: machine.id,
            });
        }
        let alone = Inventory {
            machines: vec![machine.clone()],
            ..Inventory::empty()
        };
        alone.check().map_err(|fault| faulty(&machine.name, &fault))?;
        self.pool.add_machine(machine);
        Ok(())
    }

    fn add_instance(&mut self, instance: &Instance) -> Result<(), PlanError> {
        if self.pool.instance_of_id(instance.id).is_some() {
            return Err(PlanError::AlreadyThere {
                name: instance.name.clone(),
                id: instance.id,
            });
        }
        for machine in instance.machine.iter().chain(&instance.needs.pin) {
            self.machine(*machine)?;
        }
        let mut alone = instance.clone();
        alone.machine = None;
        alone.needs.pin = None;
        let alone = Inventory {
            instances: vec![alone],
            ..Inventory::empty()
        };
        alone.check().map_err(|fault| faulty(&instance.name, &fault))?;
        self.pool.add_known_instance(instance);
        Ok(())
    }

    fn scale_load(&mut self, factor: f64) -> Result<(), PlanError> {
        within("factor", factor, 0.0, 1_000.0)?;
        self.pool.scale_demand(factor);
        Ok(())
    }
}

fn faulty(name: &str, fault: &InventoryError) -> PlanError {
    PlanError::Faulty {
        name: name.to_owned(),
        fault: fault.to_string(),
    }
}
