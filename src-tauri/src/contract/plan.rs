use pool::plans::{Changed, PlanReport};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

/// What a person wants a plan for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum PlanAsk {
    /// Empty a machine.
    Drain {
        /// The machine.
        machine: Uuid,
    },
    /// What would become of the instances of a machine that fails; of one that cannot be reached: how they could be started elsewhere.
    Failure {
        /// The machine.
        machine: Uuid,
    },
    /// Even out the load.
    Balance {},
    /// Use fewer machines.
    SavePower {},
    /// See what an edit of the pool would bring.
    WhatIf {
        /// The edits, at most 16, done in this order.
        edits: Vec<PoolEdit>,
    },
}

/// One edit of the pool, to see what it would bring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "edit", rename_all = "snake_case", deny_unknown_fields)]
pub enum PoolEdit {
    /// A machine is taken away.
    RemoveMachine {
        /// The machine.
        machine: Uuid,
    },
    /// More machines like one of the pool join it, empty.
    AddMachinesLike {
        /// The machine.
        machine: Uuid,
        /// How many, 1..=16.
        count: u32,
    },
    /// Everything uses more or less CPU.
    ScaleLoad {
        /// Of what is used now, 1..=1,000 percent.
        percent: u32,
    },
}

/// A plan as the window shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct MadePlan {
    /// Finds the plan again, while it is among the last few.
    pub id: Uuid,
    /// The plan.
    pub report: PlanReport,
    /// Machines that the pool does not have, and the question added.
    pub added: Vec<AddedMachine>,
}

/// A machine that could take a new instance, but then one failure more could not be borne.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ReserveLost {
    /// The machine that would take it.
    pub machine: Uuid,
    /// The machine whose failure is meant.
    pub failure: Uuid,
    /// How many instances would find no room then.
    pub stranded: u32,
}

/// A machine that is only thought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct AddedMachine {
    /// Its identity in the plan.
    pub id: Uuid,
    /// What it is called there.
    pub name: String,
}

/// Whether a plan still holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum PlanStanding {
    /// Nothing that it depends on has changed.
    Holds,
    /// Something has.
    Changed {
        /// The first such change.
        change: Changed,
    },
    /// Others were made since, and it is not known any more.
    Forgotten,
}
