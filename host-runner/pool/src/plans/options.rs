use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;
use uuid::Uuid;

use super::plan::{Move, Solver};
use crate::inventory::{Instance, Machine, MachineState};

/// How a plan is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields, default)]
pub struct How {
    /// A local search (the default), or a solver.
    pub solver: Solver,
    /// When the solver stops and hands over the best that it found, in seconds, 0.1..=600. Default 10. A plan that this limit cut short
    /// depends on the speed of the computer; every other depends on nothing but the pool and these options.
    pub solver_seconds_max: f64,
    /// Where the local search begins when it has to try several orders. Default 0.
    pub seed: u64,
}

impl Default for How {
    fn default() -> Self {
        Self {
            solver: Solver::Heuristic,
            solver_seconds_max: 10.0,
            seed: 0,
        }
    }
}

/// How much CPU a machine may be expected to use after something was moved to it. Memory, disk and vCPUs have their limits in the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields)]
pub struct CpuLimit {
    /// The share of the offered threads that may be in use, 0.05..=64; absent for no limit.
    pub load_max: Option<f64>,
    /// How many standard deviations of its instances' use are kept free below that, 0..=10.
    pub deviations: f64,
}

/// What a move costs, to be held against what it gains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields, default)]
pub struct MoveCost {
    /// Each move, 0..=1,000. Default 0.01.
    pub per_move: f64,
    /// Each minute that a move takes, 0..=1,000. Default 0.01.
    pub per_minute: f64,
}

impl Default for MoveCost {
    fn default() -> Self {
        Self {
            per_move: 0.01,
            per_minute: 0.01,
        }
    }
}

impl MoveCost {
    /// What a move of this length costs.
    pub fn of_duration(&self, seconds: f64) -> f64 {
        self.per_move + self.per_minute * seconds / 60.0
    }

    /// What a move costs.
    pub fn of(&self, made: &Move) -> f64 {
        self.of_duration(made.duration_s)
    }
}

/// How a machine is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields, default)]
pub struct DrainOptions {
    /// How the plan is looked for.
    pub how: How,
    /// CPU on the machines that take the instances. Default: no more than they offer, without a margin.
    pub cpu: CpuLimit,
    /// What moves cost: among plans, the cheapest.
    pub cost: MoveCost,
    /// Whether others may be moved to make room. Default true.
    pub make_room: bool,
    /// Whether sleeping machines may be woken where there is no room otherwise. Default true.
    pub wake: bool,
    /// Whether the machine is put to sleep in the end. Default false.
    pub sleep: bool,
}

impl Default for DrainOptions {
    fn default() -> Self {
        Self {
            how: How::default(),
            cpu: CpuLimit {
                load_max: Some(1.0),
                deviations: 0.0,
            },
            cost: MoveCost::default(),
            make_room: true,
            wake: true,
            sleep: false,
        }
    }
}

/// How the load is evened out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields, default)]
pub struct BalanceOptions {
    /// How the plan is looked for.
    pub how: How,
    /// CPU on the machines that take instances. Default: 85 % of what they offer, one deviation below.
    pub cpu: CpuLimit,
    /// What a move costs. It must lower the imbalance, times the number of machines, by more.
    pub cost: MoveCost,
    /// The imbalance that balancing begins at, 0..=10. Default 0.05: loads that lie 5 percentage points from their mean.
    pub begin: f64,
    /// The imbalance that it is content with, 0..=`begin`. Default 0.02. Lower than `begin`, so that a pool that was just evened out can
    /// change a little before anything moves again.
    pub end: f64,
    /// The CPU load at which a machine counts as overloaded and is relieved whatever the imbalance, 0.05..=64. Default 0.95.
    pub overload: f64,
    /// How long an instance stays where it was moved to, in seconds. Default 3,600.
    pub cooldown_s: u32,
    /// How many moves at most, 1..=100,000. Default 10,000.
    pub moves_max: u32,
    /// Whether moves for evenness' sake are held back that would leave more failures unrecoverable, or more instances stranded by them, than
    /// there were. Default true. What hurts now comes first: a broken wish or an overloaded machine is seen to even so, where there is no
    /// way that keeps every failure recoverable.
    pub keep_recovery: bool,
}

impl Default for BalanceOptions {
    fn default() -> Self {
        Self {
            how: How::default(),
            cpu: CpuLimit {
                load_max: Some(0.85),
                deviations: 1.0,
            },
            cost: MoveCost::default(),
            begin: 0.05,
            end: 0.02,
            overload: 0.95,
            cooldown_s: 3_600,
            moves_max: 10_000,
            keep_recovery: true,
        }
    }
}

/// How fewer machines are used.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields, default)]
pub struct ConsolidateOptions {
    /// How the plan is looked for.
    pub how: How,
    /// CPU on the machines that take instances. Default: 80 % of what they offer, two deviations below.
    pub cpu: CpuLimit,
    /// Watts that a machine's sleep must save for each minute of moves that it takes, 0..=10,000. Default 1.
    pub watts_per_minute: f64,
    /// Whether no sleep may leave more failures unrecoverable, or more instances stranded by them, than before. Default true.
    pub keep_recovery: bool,
    /// How many machines stay awake at least, 1..=100,000. Default 1.
    pub awake_min: u32,
    /// How long an instance stays where it was moved to, in seconds. Default 3,600.
    pub cooldown_s: u32,
}

impl Default for ConsolidateOptions {
    fn default() -> Self {
        Self {
            how: How::default(),
            cpu: CpuLimit {
                load_max: Some(0.8),
                deviations: 2.0,
            },
            watts_per_minute: 1.0,
            keep_recovery: true,
            awake_min: 1,
            cooldown_s: 3_600,
        }
    }
}

/// How the instances of a machine that is gone are started elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields, default)]
pub struct RecoverOptions {
    /// How the plan is looked for.
    pub how: How,
    /// CPU on the machines that take the instances. Default: no limit; slow is better than gone.
    pub cpu: CpuLimit,
    /// What moves of others cost: among plans that start the same instances, the cheapest.
    pub cost: MoveCost,
    /// Whether others may be moved to make room. Default true.
    pub make_room: bool,
    /// Whether sleeping machines may be woken where there is no room otherwise. Default true.
    pub wake: bool,
}

impl Default for RecoverOptions {
    fn default() -> Self {
        Self {
            how: How::default(),
            cpu: CpuLimit {
                load_max: None,
                deviations: 0.0,
            },
            cost: MoveCost::default(),
            make_room: true,
            wake: true,
        }
    }
}

/// One edit of a pool, to see what it would bring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "edit", rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// A machine is taken away; its instances need places. No later edit may name it.
    RemoveMachine {
        /// The machine.
        machine: Uuid,
    },
    /// A machine is added.
    AddMachine {
        /// The machine.
        machine: Box<Machine>,
    },
    /// Everything uses more or less CPU: each instance up to its vCPUs, and what else is at work on a machine up to its threads.
    ScaleLoad {
        /// By this factor, 0..=1,000.
        factor: f64,
    },
    /// An instance is added; it needs a place unless it names its machine.
    AddInstance {
        /// The instance.
        instance: Box<Instance>,
    },
    /// An instance is taken away.
    RemoveInstance {
        /// The instance.
        instance: Uuid,
    },
    /// A machine's state becomes another. What is on a machine that is drained or cannot be reached needs places.
    SetState {
        /// The machine.
        machine: Uuid,
        /// What it becomes.
        state: MachineState,
    },
}

/// What would be done after the edits.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields, default)]
pub struct WhatIfOptions {
    /// How places are found for what has none: as when a machine is gone.
    pub recover: RecoverOptions,
    /// How the load is evened out afterwards; absent (the default) leaves it.
    pub balance: Option<BalanceOptions>,
}
