use thiserror::Error;
use uuid::Uuid;

use crate::inventory::MachineState;

/// Why there is no plan at all. That a plan achieves little is no error: it says so itself.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PlanError {
    /// The pool has no such machine.
    #[error("cannot plan for the machine {machine}: it is not in the pool")]
    UnknownMachine {
        /// The machine that was asked for.
        machine: Uuid,
    },
    /// The pool has no such instance.
    #[error("cannot plan with the instance {instance}: it is not in the pool")]
    UnknownInstance {
        /// The instance that was asked for.
        instance: Uuid,
    },
    /// A machine or an instance would be there twice.
    #[error("cannot add {name}: the pool already has something with the id {id}")]
    AlreadyThere {
        /// The name of what was to be added.
        name: String,
        /// Its identity.
        id: Uuid,
    },
    /// What is to be added contradicts itself.
    #[error("cannot add {name}: {fault}")]
    Faulty {
        /// The name of what was to be added.
        name: String,
        /// What is wrong with it.
        fault: String,
    },
    /// Only a machine that can be reached can be drained; only one that is gone can be recovered.
    #[error("cannot {operation} {name}: it is {}, and must be {needed}", state_in_words(*state))]
    WrongState {
        /// `drain` or `recover`.
        operation: &'static str,
        /// The machine's name.
        name: String,
        /// Its state.
        state: MachineState,
        /// The states that would do, in words.
        needed: &'static str,
    },
    /// An option is out of its range.
    #[error("cannot plan with {option} = {value}: it must be {least} to {most}")]
    Option {
        /// The option.
        option: &'static str,
        /// What was asked for.
        value: f64,
        /// The least that is possible.
        least: f64,
        /// The most that is possible.
        most: f64,
    },
    /// This program was built without a solver.
    #[error(
        "cannot look for the best plan: this program was built without a solver (cargo feature \"optimal\")"
    )]
    NoSolver,
    /// The solver is for small pools.
    #[error(
        "cannot look for the best plan: {instances} movable instances and {machines} machines are {variables} choices, \
         more than {variables_max}"
    )]
    TooLarge {
        /// Instances that could move.
        instances: usize,
        /// Machines that they could be on.
        machines: usize,
        /// The product.
        variables: usize,
        /// The most that the solver is given.
        variables_max: usize,
    },
    /// The solver found nothing, which its time limit may have been too short for.
    #[error("cannot look for the best plan within {seconds} s: {message}")]
    Solver {
        /// The time limit.
        seconds: f64,
        /// What the solver says.
        message: String,
    },
}

fn state_in_words(state: MachineState) -> &'static str {
    match state {
        MachineState::Ready => "ready",
        MachineState::Draining => "draining",
        MachineState::Unreachable => "unreachable",
        MachineState::Asleep => "asleep",
    }
}

/// Refuses a value outside of a range, or what is no number.
pub(super) fn within(option: &'static str, value: f64, least: f64, most: f64) -> Result<(), PlanError> {
    if value.is_finite() && value >= least && value <= most {
        return Ok(());
    }
    Err(PlanError::Option {
        option,
        value,
        least,
        most,
    })
}
