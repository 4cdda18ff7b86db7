//! Plans: what would be moved, in which order, why, and what the pool would be afterwards. Nothing moves here.
//!
//! Each kind has one entry: [`drain`], [`balance`], [`consolidate`], [`recover`], [`what_if`]. All are pure: the same pool and options give
//! the same plan, except that a solver's time limit may cut its search short.

mod balance;
mod bonds;
mod check;
mod consolidate;
mod depends;
mod draft;
mod drain;
mod error;
mod evening;
mod exchanges;
mod figures;
mod homes;
mod legs;
mod optimal;
mod options;
mod order;
mod plan;
mod purpose;
mod recover;
mod room;
mod rules;
mod straight;
mod trail;
mod travel;
mod what_if;
mod worth;

pub use balance::balance;
pub use consolidate::consolidate;
pub use depends::{Changed, DependsOn, InstanceThen, MachineThen};
pub use drain::drain;
pub use error::PlanError;
pub use figures::pool_state;
pub use options::{
    BalanceOptions, ConsolidateOptions, CpuLimit, DrainOptions, Edit, How, MoveCost, RecoverOptions,
    WhatIfOptions,
};
pub use plan::{
    LeftOut, LeftOutReason, Move, MoveReason, Plan, PlanKind, PlanReport, PoolState, PowerChange, Recovery,
    Solver, SolverUsed, StaysAwake, Step, Stranded,
};
pub use recover::recover;
pub use what_if::{EDITS_MAX, what_if};
