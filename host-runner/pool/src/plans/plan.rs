use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;
use uuid::Uuid;

use super::depends::DependsOn;
use crate::Refusal;
use crate::inventory::Mobility;
use crate::state::Load;

/// What a plan is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum PlanKind {
    /// Empty a machine, so that it can be switched off.
    Drain {
        /// The machine.
        machine: Uuid,
    },
    /// Even out the load.
    Balance,
    /// Use fewer machines, and let the others sleep.
    Consolidate,
    /// Start what ran on a machine that is gone on the others.
    Recover {
        /// The machine.
        machine: Uuid,
    },
    /// See what an edit of the pool would bring.
    WhatIf,
}

/// How a plan is to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// A local search: fast at every size, and near the best.
    #[default]
    Heuristic,
    /// A mixed-integer program: the best, for small pools, within a time limit.
    Optimal,
}

/// How a plan was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, TS)]
pub struct SolverUsed {
    /// The way.
    pub solver: Solver,
    /// True where it is proven that no better plan exists under the same rules.
    pub proven_optimal: bool,
    /// True where the time limit ended the search; the plan is the best found until then.
    pub stopped_by_limit: bool,
}

impl SolverUsed {
    /// A local search, which proves nothing.
    pub const HEURISTIC: Self = Self {
        solver: Solver::Heuristic,
        proven_optimal: false,
        stopped_by_limit: false,
    };

    /// How two plans were found that are carried out one after the other.
    #[must_use]
    pub(super) fn and(self, next: Self) -> Self {
        Self {
            solver: if self.solver == next.solver {
                self.solver
            } else {
                Solver::Optimal
            },
            proven_optimal: self.proven_optimal && next.proven_optimal,
            stopped_by_limit: self.stopped_by_limit || next.stopped_by_limit,
        }
    }
}

/// Why an instance is moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum MoveReason {
    /// The machine is being emptied.
    Drain,
    /// The machine is gone: the instance is started anew.
    Recover,
    /// It lowers the imbalance.
    Balance {
        /// By how much, in units of [`Imbalance::value`](crate::state::Imbalance::value); more than 0.
        gain: f64,
    },
    /// It lowers the imbalance together with others, which come where it was or leave where it goes; one of them alone would raise it.
    Exchange {
        /// The others.
        with: Vec<Uuid>,
        /// By how much all of them together, in the same units.
        gain: f64,
    },
    /// Its machine is expected to run out of CPU.
    Overload {
        /// The machine's load with the instance.
        load: f64,
    },
    /// Its machine can sleep without it.
    EmptyForSleep,
    /// It makes room for another instance.
    MakesRoom {
        /// For which.
        instance: Uuid,
    },
    /// It had no place.
    Placed,
    /// A wish about its neighbourhood is broken where it is.
    BreaksRule {
        /// The rule.
        rule: Refusal,
    },
}

/// One instance goes from one machine to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Move {
    /// The instance.
    pub instance: Uuid,
    /// Its name.
    pub name: String,
    /// The machine that it leaves; absent for one that had none.
    pub from: Option<Uuid>,
    /// The machine that it goes to.
    pub to: Uuid,
    /// While it runs, or stopped; a recovery is always cold.
    pub how: Mobility,
    /// Why.
    pub reason: MoveReason,
    /// How long it is expected to take, in seconds: its memory at the slower machine's rate.
    pub duration_s: f64,
}

/// Moves that may run together: in any order, and at the same time, none overloads a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Step {
    /// The moves.
    pub moves: Vec<Move>,
}

/// A machine is woken or put to sleep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum PowerChange {
    /// Woken before the first step.
    Wake {
        /// The machine.
        machine: Uuid,
    },
    /// Put to sleep after the last step.
    Sleep {
        /// The machine.
        machine: Uuid,
    },
}

/// Why something was not moved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum LeftOutReason {
    /// It is fixed to where it is.
    Fixed,
    /// It is pinned to the machine.
    Pinned,
    /// It does not run: what is on a machine that is gone cannot be had from there.
    Stopped,
    /// It was moved a short while ago.
    Cooldown {
        /// How long it stays put yet, in seconds.
        remaining_s: u32,
    },
    /// Moving it would gain less than the move costs.
    GainTooSmall {
        /// The best gain found; negative where every move would raise the imbalance.
        gain: f64,
        /// What it would have to exceed.
        needed: f64,
    },
    /// Moving it would pay, but the plan has as many moves as it may have.
    MovesSpent {
        /// How many it may have.
        moves_max: u32,
    },
    /// No other machine can take it: the nearest one refuses.
    NoPlace {
        /// The machine that lacks least; absent where there is no other.
        nearest: Option<Uuid>,
        /// Why that one refuses.
        refusals: Vec<Refusal>,
    },
    /// A machine is not put to sleep.
    StaysAwake {
        /// The machine.
        machine: Uuid,
        /// Its name.
        machine_name: String,
        /// Why.
        why: StaysAwake,
    },
    /// A machine stays too busy: nothing that is there may leave it and finds room elsewhere.
    TooBusy {
        /// The machine.
        machine: Uuid,
        /// Its name.
        machine_name: String,
    },
    /// The machine has been evened out enough: the pool is balanced within the threshold.
    BalancedEnough {
        /// The imbalance.
        imbalance: f64,
        /// What it would have to exceed.
        threshold: f64,
    },
}

/// Why a machine is not put to sleep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "because", rename_all = "snake_case")]
pub enum StaysAwake {
    /// Without it, some other machine's failure could not be recovered.
    Recovery,
    /// So many have to be awake.
    AwakeMin {
        /// How many.
        machines: u32,
    },
    /// Its sleep saves less than the moves that it takes are worth.
    SavesTooLittle {
        /// What it would save, in watts.
        saved_w: f64,
        /// What it would have to save, in watts.
        needed_w: f64,
    },
}

/// An instance, or the pool as a whole, that a plan leaves where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct LeftOut {
    /// The instance; absent where it is about the whole pool.
    pub instance: Option<Uuid>,
    /// Its name.
    pub name: Option<String>,
    /// Why.
    pub reason: LeftOutReason,
}

/// An instance that finds no place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Stranded {
    /// The instance.
    pub instance: Uuid,
    /// Its name.
    pub name: String,
    /// The machine that lacks least, or the one that it would have gone to if there were a way; absent where there is no other.
    pub nearest: Option<Uuid>,
    /// Why that one refuses; never empty where there is one.
    pub refusals: Vec<Refusal>,
}

/// Whether every single machine's failure could be recovered on the others, and if not, which could not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Recovery {
    /// Every one could.
    Recoverable,
    /// Nobody has looked: in a pool of more than 100,000 instances that takes longer than a plan may. [`placing::n_plus_one`] looks.
    ///
    /// [`placing::n_plus_one`]: crate::placing::n_plus_one
    NotJudged,
    /// This one could not: the witness.
    Stranding {
        /// The machine whose failure is meant.
        failure: Uuid,
        /// Its name.
        name: String,
        /// Which of its instances would find no place.
        stranded: Vec<Stranded>,
        /// How many machines' failures in all could not be recovered.
        failures: u32,
    },
}

/// The pool at one moment, in figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PoolState {
    /// The mean load of the ready machines.
    pub mean_load: Load,
    /// The fullest machine's CPU load.
    pub highest_cpu_load: f64,
    /// [`Imbalance::value`](crate::state::Imbalance::value).
    pub imbalance: f64,
    /// Whether a failure can be recovered.
    pub recovery: Recovery,
    /// Electrical power of all awake machines at their predicted load, watts.
    pub power_w: f64,
    /// Machines that are awake.
    pub machines_awake: u32,
    /// Instances that have a place.
    pub instances_placed: u32,
}

/// A plan: what would be moved, in order, and what the pool would be afterwards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Plan {
    /// What it is for.
    #[serde(flatten)]
    pub kind: PlanKind,
    /// The snapshot's version that it was made from.
    pub version: u32,
    /// What of that snapshot it depends on, as a digest: a later snapshot in which this is the same can still take the plan.
    pub fingerprint: String,
    /// The same in detail, so that a refusal can say what has changed: see [`Plan::still_valid`].
    pub depends_on: DependsOn,
    /// What is woken before, and put to sleep after.
    pub power: Vec<PowerChange>,
    /// The moves: a step begins when the one before it has ended.
    pub steps: Vec<Step>,
    /// What was left where it is, and why.
    pub left_out: Vec<LeftOut>,
    /// What finds no place. A drain that would strand an instance moves nothing.
    pub stranded: Vec<Stranded>,
    /// The pool before.
    pub before: PoolState,
    /// The pool after.
    pub after: PoolState,
    /// How it was found.
    pub found_by: SolverUsed,
}

/// A plan with what only its maker knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PlanReport {
    /// The plan.
    #[serde(flatten)]
    pub plan: Plan,
    /// How long it took to make, in milliseconds.
    pub took_ms: f64,
}
