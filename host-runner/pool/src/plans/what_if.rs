//! What an edit of the pool would bring: what had to move, what would find no place, and the pool before and after.

use uuid::Uuid;

use super::balance::even_and_kept;
use super::draft::Draft;
use super::error::{PlanError, within};
use super::options::{Edit, WhatIfOptions};
use super::plan::{MoveReason, Plan, PlanKind};
use super::recover::Restart;
use super::rules::Rules;
use crate::Pool;
use crate::inventory::{Instance, Inventory, InventoryError, Machine, MachineState};
use crate::state::{Demand, InstanceIndex, MachineIndex};

/// How many edits one question may have.
pub const EDITS_MAX: u32 = 1_000;

/// What the edits, one after the other, would bring: [`Plan::before`] is the pool as it is, [`Plan::after`] the edited one with everything in
/// the place that it finds. The steps say what had to move for that, [`Plan::stranded`] what would find no place.
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
        vacated: Vec::new(),
        removed: Vec::new(),
    };
    for edit in edits {
        edited.apply(edit)?;
    }
    let homeless = edited.homeless();
    let start = edited.pool;
    let restart = Restart::of(&start, &homeless);
    let (found, found_by) = restart.find(&start, &options.recover)?;
    let goal = match &options.balance {
        Some(balance) => even_and_kept(&found.pool, balance),
        None => found.pool.clone(),
    };
    let draft = Draft {
        start,
        goal,
        ..Draft::nothing(pool, PlanKind::WhatIf, Rules::new(options.recover.cpu), found_by)
    };
    Ok(restart.finish(draft, &found, MoveReason::Placed))
}

struct Edited {
    pool: Pool,
    /// What is on these needs places.
    vacated: Vec<MachineIndex>,
    /// These are in the pool's list yet, without a place, and look for none.
    removed: Vec<InstanceIndex>,
}

impl Edited {
    fn apply(&mut self, edit: &Edit) -> Result<(), PlanError> {
        match edit {
            Edit::RemoveMachine { machine } => self.set_state(*machine, MachineState::Unreachable),
            Edit::SetState { machine, state } => self.set_state(*machine, *state),
            Edit::AddMachine { machine } => self.add_machine(machine),
            Edit::ScaleLoad { factor } => self.scale_load(*factor),
            Edit::AddInstance { instance } => self.add_instance(instance),
            Edit::RemoveInstance { instance } => {
                let index = self
                    .pool
                    .instance_of_id(*instance)
                    .ok_or(PlanError::UnknownInstance { instance: *instance })?;
                self.pool.unseat(index);
                self.removed.push(index);
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
            .ok_or(PlanError::UnknownMachine { machine })
    }

    fn set_state(&mut self, machine: Uuid, state: MachineState) -> Result<(), PlanError> {
        let index = self.machine(machine)?;
        self.pool.set_machine_state(index, state);
        self.vacated.retain(|vacated| *vacated != index);
        if state != MachineState::Ready {
            self.vacated.push(index);
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
        let scaled: Vec<(InstanceIndex, Demand)> = self
            .pool
            .instances()
            .map(|(index, seat)| {
                let most = f64::from(seat.asked.vcpus);
                let demand = Demand {
                    mean: (seat.demand.mean * factor).min(most),
                    variance: seat.demand.variance * factor * factor,
                    ..seat.demand
                };
                (index, demand)
            })
            .collect();
        for (index, demand) in scaled {
            self.pool.set_demand(index, demand);
        }
        Ok(())
    }
}

fn faulty(name: &str, fault: &InventoryError) -> PlanError {
    PlanError::Faulty {
        name: name.to_owned(),
        fault: fault.to_string(),
    }
}
