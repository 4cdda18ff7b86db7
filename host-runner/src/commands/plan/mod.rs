//! `plan`: questions that are answered from an inventory file alone.

mod edits;
mod kinds;
mod place;
mod reasons;
mod source;
mod text;

use std::fmt;
use std::process::ExitCode;
use std::time::Instant;

use pool::inventory::{Inventory, InventoryError};
use pool::plans::{Plan, PlanError, PlanReport};

use super::CommandError;
use super::words::presentable;
use crate::cli::{Asking, PlanCommand};
use source::Names;

pub use source::SourceError;

/// The exit code where something finds no place.
const STRANDED: u8 = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PlanCommandError {
    /// The question's files cannot be used, or name what is not there.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// There is no such plan.
    #[error("{err}{}", Remedy(err))]
    Plan {
        /// Why. Told with a remedy; no source, or it would be told twice.
        err: PlanError,
    },
    /// The pool cannot be worked with after the edits.
    #[error("the pool cannot be planned for")]
    Pool(#[from] InventoryError),
}

impl From<PlanError> for PlanCommandError {
    fn from(err: PlanError) -> Self {
        Self::Plan { err }
    }
}

struct Remedy<'a>(&'a PlanError);

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PlanError::TooLarge { .. } => {
                f.write_str("; leave out --solver optimal: the local search is made for large pools")
            }
            PlanError::Solver { .. } => {
                f.write_str("; give it more time with --solver-seconds, or leave out --solver optimal")
            }
            PlanError::WrongState {
                operation: "drain", ..
            } => f.write_str("; for a machine that is gone there is `host-runner plan recover`"),
            _ => Ok(()),
        }
    }
}

/// An answer: the plan, and what its machines and instances are called.
struct Answer {
    plan: Plan,
    names: Names,
    took_ms: f64,
}

/// Answers a question.
pub fn run(command: &PlanCommand) -> Result<ExitCode, CommandError> {
    let (asking, answer) = match command {
        PlanCommand::Place(asked) => return place::run(asked),
        PlanCommand::Drain(asked) => (&asked.asking, kinds::drain(asked)),
        PlanCommand::Balance(asked) => (&asked.asking, kinds::balance(asked)),
        PlanCommand::Consolidate(asked) => (&asked.asking, kinds::consolidate(asked)),
        PlanCommand::Recover(asked) => (&asked.asking, kinds::recover(asked)),
        PlanCommand::WhatIf(asked) => (&asked.asking, kinds::what_if(asked)),
    };
    tell(asking, answer?)
}

/// Prints the plan.
fn tell(asking: &Asking, answer: Answer) -> Result<ExitCode, CommandError> {
    let Answer { plan, names, took_ms } = answer;
    let report = PlanReport { plan, took_ms };
    if asking.json {
        super::print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        super::print(&presentable(&text::plan(&report, &names)))?;
    }
    Ok(exit_code(report.plan.stranded.is_empty()))
}

/// 0 where all has a place.
fn exit_code(placed: bool) -> ExitCode {
    if placed {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(STRANDED)
    }
}

/// Makes the plan, and measures how long that takes.
fn answer(
    inventory: &Inventory,
    plan: impl FnOnce() -> Result<Plan, PlanError>,
) -> Result<Answer, PlanCommandError> {
    let started = Instant::now();
    let plan = plan()?;
    Ok(Answer {
        plan,
        names: Names::of(inventory),
        took_ms: started.elapsed().as_secs_f64() * 1_000.0,
    })
}

/// The inventory that is asked about.
fn inventory(asking: &Asking) -> Result<Inventory, SourceError> {
    source::inventory(&asking.inventory)
}
