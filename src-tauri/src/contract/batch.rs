use api::{ApiError, Instance};
use pool::placing::BatchFailure;
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::command::InstanceRequest;

/// Several instances of one kind, wanted together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Their ids, UUIDv7, made by the window; 1..=20, none twice.
    pub ids: Vec<Uuid>,
    /// What each of them is. A name is the prefix of theirs.
    pub request: InstanceRequest,
    /// Whether no two of them may be on one machine.
    pub apart: bool,
}

/// Where a batch would go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum BatchPreview {
    /// All of them find a place.
    Places {
        /// Each one's machine, in the order of their ids.
        machines: Vec<Uuid>,
    },
    /// Not all of them do.
    Refused {
        /// Why.
        failure: BatchFailure,
    },
}

/// How the creation of a batch ended: all of them are there, or none is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum BatchOutcome {
    /// All are created, and start.
    Created {
        /// They, in the order of their ids.
        instances: Vec<Instance>,
    },
    /// Not all of them find a place; nothing was created.
    Refused {
        /// Why.
        failure: BatchFailure,
    },
    /// A machine refused one of them; those that were created before are deleted again.
    Undone {
        /// The machine that refused.
        machine: String,
        /// What it said.
        error: ApiError,
        /// What could not be deleted again, by name.
        left: Vec<String>,
    },
}
