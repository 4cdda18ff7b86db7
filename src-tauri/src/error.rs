//! Why a command was not done.

use std::path::PathBuf;

use api::client::ClientError;
use api::{ApiError, ErrorCode};
use pool::Refusal;
use pool::inventory::InventoryError;
use pool::plans::PlanError;
use uuid::Uuid;

use crate::charts::ChartError;
use crate::contract::Link;
use crate::history::HistoryError;
use crate::machines::LinkError;
use crate::pool::SameMachine;

/// Why a command was not done. [`AppError::to_api`] gives the code for the window.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A value in the command is out of its range.
    #[error("{field} must be {min} to {max}, not {value}")]
    OutOfRange {
        /// The value's place in the command.
        field: &'static str,
        /// What was given.
        value: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// A text in the command breaks a rule.
    #[error("{field}: {rule}")]
    InvalidText {
        /// The text's place in the command.
        field: &'static str,
        /// The rule.
        rule: &'static str,
    },
    /// No machine of the pool has this identity.
    #[error("no machine of this pool has the id {id}")]
    UnknownMachine {
        /// What was asked for.
        id: Uuid,
    },
    /// There is no link to the machine now.
    #[error("{machine} is not connected{}", reason(link))]
    NotConnected {
        /// The machine.
        machine: String,
        /// The state of its link.
        link: Link,
    },
    /// The pool has the machine already.
    #[error("{address} is in the pool already, as {name}")]
    KnownMachine {
        /// The address that was given.
        address: String,
        /// The name of the machine that is there.
        name: String,
    },
    /// Another machine of the pool has the name.
    #[error("another machine of the pool is called {name}")]
    MachineNameTaken {
        /// The name.
        name: String,
    },
    /// This computer cannot leave the pool.
    #[error("this computer is always part of the pool")]
    ThisComputerStays,
    /// No machine can take the instance.
    #[error("no machine can take it: {}", told(refusals))]
    NoMachineFits {
        /// Each machine's name and first reason, in the pool's order.
        refusals: Vec<(String, Refusal)>,
    },
    /// The link was not made.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The agent refused, or did not answer.
    #[error("{machine} refused, or did not answer")]
    Agent {
        /// The machine.
        machine: String,
        /// What it said.
        #[source]
        err: ClientError,
    },
    /// The desktop's own memory failed.
    #[error("the desktop's database failed")]
    Storage(#[from] HistoryError),
    /// A chart cannot be drawn.
    #[error("the chart cannot be drawn")]
    Chart(#[from] ChartError),
    /// The pool as it is known contradicts itself, so that nothing can be decided.
    #[error("what is known of the pool contradicts itself")]
    Inventory(#[from] InventoryError),
    /// There is no plan.
    #[error(transparent)]
    Plan(PlanError),
    /// The work was cut off.
    #[error("the work did not finish")]
    Interrupted(#[from] tokio::task::JoinError),
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    WriteFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        err: std::io::Error,
    },
    /// An answer cannot be written as JSON.
    #[error("the answer cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
}

impl From<SameMachine> for AppError {
    fn from(same: SameMachine) -> Self {
        Self::Link(same.into())
    }
}

fn reason(link: &Link) -> String {
    match link {
        Link::Connecting => ": the connection is being made".to_owned(),
        Link::Connected { .. } => String::new(),
        Link::Unreachable { error, .. } | Link::Refused { error } => format!(": {error}"),
    }
}

fn told(refusals: &[(String, Refusal)]) -> String {
    if refusals.is_empty() {
        return "the pool has no machine".to_owned();
    }
    let told: Vec<String> = refusals
        .iter()
        .map(|(machine, refusal)| format!("{machine} {refusal}"))
        .collect();
    told.join("; ")
}

impl AppError {
    /// Refuses a `value` that is not `min` to `max`; `field` is its place in the command.
    pub(crate) fn unless_within(field: &'static str, value: u32, min: u32, max: u32) -> Result<(), Self> {
        if (min..=max).contains(&value) {
            return Ok(());
        }
        Err(Self::OutOfRange {
            field,
            value,
            min,
            max,
        })
    }

    /// The same error for the window: a code, the words with all their causes, and the facts.
    pub fn to_api(&self) -> ApiError {
        match self {
            Self::Link(error) => error.to_api(),
            Self::Agent { err, .. } => err.to_api(),
            Self::OutOfRange {
                field,
                value,
                min,
                max,
            } => self
                .coded(ErrorCode::OutOfRange)
                .with("field", *field)
                .with("value", *value)
                .with("min", *min)
                .with("max", *max),
            Self::InvalidText { field, rule } => self
                .coded(ErrorCode::InvalidName)
                .with("field", *field)
                .with("rule", *rule),
            Self::UnknownMachine { id } => self.coded(ErrorCode::MachineNotFound).with("id", id.to_string()),
            Self::NotConnected { .. } => self.coded(ErrorCode::Unreachable),
            Self::KnownMachine { address, name } => self
                .coded(ErrorCode::MachineKnown)
                .with("address", address.as_str())
                .with("name", name.as_str()),
            Self::MachineNameTaken { name } => self.coded(ErrorCode::NameTaken).with("name", name.as_str()),
            Self::ThisComputerStays => self.coded(ErrorCode::WrongState).with("action", "remove"),
            Self::NoMachineFits { refusals } => self.no_machine_fits(refusals),
            Self::Storage(_) => self.coded(ErrorCode::Storage),
            Self::WriteFile { path, .. } => self
                .coded(ErrorCode::BadLocalFile)
                .with("path", path.display().to_string()),
            Self::Plan(PlanError::WrongState { operation, name, .. }) => self
                .coded(ErrorCode::WrongState)
                .with("action", *operation)
                .with("machine", name.as_str()),
            Self::Plan(_) | Self::Interrupted(_) | Self::Inventory(_) | Self::Chart(_) | Self::Encode(_) => {
                self.coded(ErrorCode::Internal)
            }
        }
    }

    /// The machine that it is about, where the error itself knows.
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::NotConnected { machine, .. } | Self::Agent { machine, .. } => Some(machine),
            Self::KnownMachine { name, .. } => Some(name),
            _ => None,
        }
    }

    fn coded(&self, code: ErrorCode) -> ApiError {
        ApiError::new(code, with_causes(self))
    }

    /// The code and the numbers of the machine that comes first among those that can be reached: what a person would fix.
    fn no_machine_fits(&self, refusals: &[(String, Refusal)]) -> ApiError {
        let telling = refusals
            .iter()
            .map(|(_, refusal)| refusal)
            .find(|refusal| **refusal != Refusal::Unreachable)
            .unwrap_or(&Refusal::Unreachable);
        ApiError::of_refusal(telling, with_causes(self))
    }
}

/// An error and all its causes on one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    message
}
