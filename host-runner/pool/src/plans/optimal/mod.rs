//! The best plan for a small pool, by a mixed-integer program.

use super::error::PlanError;
use super::homes::{Found, Search};
use super::options::How;
use super::plan::SolverUsed;
use crate::Pool;
use crate::state::InstanceIndex;

pub(super) fn homes(
    _start: &Pool,
    _wanted: &[InstanceIndex],
    _search: &Search,
    _how: &How,
    _known: Found,
) -> Result<(Found, SolverUsed), PlanError> {
    Err(PlanError::NoSolver)
}

pub(super) fn balance(
    _pool: &Pool,
    _options: &super::options::BalanceOptions,
    _known: Pool,
) -> Result<(Pool, SolverUsed), PlanError> {
    Err(PlanError::NoSolver)
}

pub(super) fn consolidate(
    _pool: &Pool,
    _options: &super::options::ConsolidateOptions,
    _known: Pool,
) -> Result<(Pool, SolverUsed), PlanError> {
    Err(PlanError::NoSolver)
}
