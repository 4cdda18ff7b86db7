//! The best plan for a small pool, by a mixed-integer program that `HiGHS` solves.
//!
//! For each instance that may move and each machine that could take it there is a choice, 0 or 1. What the filters refuse whatever else moves
//! is no choice at all; what depends on others is a constraint: memory, vCPUs, disks and CPU of a machine, and who must be together or apart.
//! What is made as small as possible:
//! - drain and recover: first what finds no place (higher priorities weigh more), then machines woken, then the cost of moving others;
//! - balance: per dimension the mean absolute deviation of the machines' loads, weighted as the imbalance is, and the moves' cost over the
//!   number of machines. The imbalance itself is a standard deviation, which no linear program can have;
//! - consolidate: watts, with each machine's power drawn as one straight line from idle to busy, and the moves' minutes.
//!
//! Where the CPU limit keeps a margin of deviations, the root of the summed variances is replaced by a tangent, which lies above it: the solver
//! may pass over a plan that the rules would just allow, and never the other way round.

#[cfg(feature = "optimal")]
mod balance;
#[cfg(feature = "optimal")]
mod consolidate;
#[cfg(feature = "optimal")]
mod homes;
#[cfg(feature = "optimal")]
mod program;

#[cfg(feature = "optimal")]
pub(super) use balance::balance;
#[cfg(feature = "optimal")]
pub(super) use consolidate::consolidate;
#[cfg(feature = "optimal")]
pub(super) use homes::homes;
#[cfg(not(feature = "optimal"))]
pub(super) use without::{balance, consolidate, homes};

/// How many choices the solver is given at most: more take longer than anybody waits.
#[cfg_attr(
    not(feature = "optimal"),
    expect(dead_code, reason = "nothing is too large for a solver that is not there")
)]
pub(super) const CHOICES_MAX: usize = 6_000;

#[cfg(not(feature = "optimal"))]
mod without {
    use crate::Pool;
    use crate::plans::error::PlanError;
    use crate::plans::homes::{Found, Search};
    use crate::plans::options::{BalanceOptions, ConsolidateOptions, How};
    use crate::plans::plan::SolverUsed;
    use crate::state::InstanceIndex;

    pub(in crate::plans) fn homes(
        _: &Pool,
        _: &[InstanceIndex],
        _: &Search,
        _: &How,
        _: &Found,
    ) -> Result<(Found, SolverUsed), PlanError> {
        Err(PlanError::NoSolver)
    }

    pub(in crate::plans) fn balance(
        _: &Pool,
        _: &BalanceOptions,
        _: &Pool,
    ) -> Result<(Pool, SolverUsed), PlanError> {
        Err(PlanError::NoSolver)
    }

    pub(in crate::plans) fn consolidate(
        _: &Pool,
        _: &ConsolidateOptions,
        _: &Pool,
    ) -> Result<(Pool, SolverUsed), PlanError> {
        Err(PlanError::NoSolver)
    }
}
