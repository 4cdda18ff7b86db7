//! Plans: what would be moved, in which order, why, and what the pool would be afterwards. Nothing moves here.

mod plan;

pub use plan::{
    LeftOut, LeftOutReason, Move, MoveReason, Plan, PlanKind, PlanReport, PoolState, PowerChange, Recovery,
    Solver, SolverUsed, Step, Stranded,
};
