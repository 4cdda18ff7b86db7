//! Why a request is refused.

use std::path::PathBuf;

use api::{ApiError, ErrorCode, RunState};
use pool::Refusal;
use pool::inventory::InventoryError;
use uuid::Uuid;

use crate::admission;
use crate::engines::EngineError;
use crate::images::ImageError;
use crate::instance_files::FileError;
use crate::ledger::LedgerError;
use crate::spec_rules::RuleBroken;

/// Why a request is refused. Whatever the reason, nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The id is not a `UUIDv7`.
    #[error("the id of an instance is a version 7 UUID, and {given} is none")]
    BadId {
        /// What was given.
        given: Uuid,
    },
    /// The spec breaks a rule.
    #[error(transparent)]
    Rule(#[from] RuleBroken),
    /// No instance has the id.
    #[error("this machine has no instance {id}")]
    NotFound {
        /// The id.
        id: Uuid,
    },
    /// Another instance has the name.
    #[error("another instance on this machine is called {name}")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The generation is older than the one held.
    #[error("generation {given} is older than {held}, which this machine holds")]
    Stale {
        /// What this machine holds.
        held: u32,
        /// What was given.
        given: u32,
    },
    /// The generation is known with another content.
    #[error("generation {generation} is known with another content; a change needs a higher number")]
    Conflicting {
        /// The generation.
        generation: u32,
    },
    /// A newer generation changes what cannot change.
    #[error("the {field} of an instance cannot change; create another instance")]
    Fixed {
        /// Which field.
        field: &'static str,
        /// The generation.
        generation: u32,
    },
    /// The action does not fit the state.
    #[error("cannot {action} an instance that is {}", state_word(*state))]
    WrongState {
        /// Where the instance is in its life.
        state: RunState,
        /// What was asked.
        action: &'static str,
    },
    /// A fixed port of the machine is another instance's.
    #[error(
        "port {port} on 127.0.0.1 belongs to instance {holder}; stop that first, choose another port, or leave the choice to the machine"
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// The name of the instance that has it.
        holder: String,
    },
    /// The ledger does not know the instance, and there is a folder of it.
    #[error("{} belongs to no instance of the ledger and may hold somebody's disk; move it away, or create another instance", path.display())]
    Stray {
        /// The folder.
        path: PathBuf,
        /// The generation that was given.
        generation: u32,
    },
    /// The ledger has a row with the id that does not read as an instance.
    #[error("the ledger's row {id} is bad and was set aside; host-runner's log names the remedy")]
    SetAside {
        /// The id.
        id: Uuid,
        /// The generation that was given.
        generation: u32,
    },
    /// The machine cannot take it.
    #[error("this machine cannot run {name}")]
    Refused {
        /// The instance's name.
        name: String,
        /// Why; at least one reason.
        refusals: Vec<Refusal>,
    },
    /// The machine's facts contradict themselves, so that nothing can be decided.
    #[error("what is known of this machine contradicts itself")]
    Facts(#[from] InventoryError),
    /// The engine that was asked for cannot run here.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The image cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The instance's files cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
    /// The work was cut off.
    #[error("the work did not finish")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// The state as it is on the wire.
pub(crate) fn state_word(state: RunState) -> &'static str {
    match state {
        RunState::Creating => "creating",
        RunState::Stopped => "stopped",
        RunState::Starting => "starting",
        RunState::Running => "running",
        RunState::Paused => "paused",
        RunState::Stopping => "stopping",
        RunState::Failed => "failed",
        RunState::Deleting => "deleting",
    }
}

impl InstanceError {
    /// The error as it crosses the wire.
    pub fn to_api(&self) -> ApiError {
        let message = self.to_string();
        match self {
            Self::BadId { .. } => ApiError::new(ErrorCode::MalformedRequest, message).with("field", "id"),
            Self::Rule(rule) => rule.to_api(),
            Self::NotFound { id } => {
                ApiError::new(ErrorCode::InstanceNotFound, message).with("id", id.to_string())
            }
            Self::NameTaken { name } => {
                ApiError::new(ErrorCode::NameTaken, message).with("name", name.as_str())
            }
            Self::Stale { held, given } => ApiError::new(ErrorCode::StaleGeneration, message)
                .with("held", *held)
                .with("given", *given),
            Self::Conflicting { generation } | Self::SetAside { generation, .. } => {
                ApiError::new(ErrorCode::ConflictingSpec, message).with("generation", *generation)
            }
            Self::Fixed { field, generation } => ApiError::new(ErrorCode::ConflictingSpec, message)
                .with("generation", *generation)
                .with("field", *field),
            Self::WrongState { state, action } => ApiError::new(ErrorCode::WrongState, message)
                .with("state", state_word(*state))
                .with("action", *action),
            Self::PortTaken { port, .. } => {
                ApiError::new(ErrorCode::PortTaken, message).with("port", u32::from(*port))
            }
            Self::Stray { path, generation } => ApiError::new(ErrorCode::ConflictingSpec, message)
                .with("generation", *generation)
                .with("path", path.display().to_string()),
            Self::Refused { name, refusals } => admission::to_api(name, refusals)
                .unwrap_or_else(|| ApiError::new(ErrorCode::Internal, message)),
            Self::Engine(error) => error.to_api(),
            Self::Image(error) => error.to_api(),
            Self::Ledger(error) => error.to_api(),
            Self::File(error) => error.to_api(),
            Self::Facts(_) | Self::Interrupted(_) => ApiError::new(ErrorCode::Internal, message),
        }
    }

    /// Whether the machine refused what it could not hold, as opposed to what it did not find.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Engine(_))
    }
}
