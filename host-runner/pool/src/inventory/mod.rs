//! What is known of the pool at one moment: machines, instances, and what they use.
//!
//! An [`Inventory`] is plain data, and one JSON document: `host-runner pool dump` writes it, `host-runner plan` answers from it, and
//! its schema is `host-runner/docs/inventory.schema.json`. To decide with it, make a [`Pool`](crate::Pool) of it.

mod check;
mod instance;
mod machine;
mod usage;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use check::{InventoryError, InventoryFault};
pub use instance::{Activity, Affinity, AffinityKind, AffinityTarget, DiskNeed, Instance, Mobility, Needs};
pub use machine::{Machine, MachineState, Overcommit, PowerCurve, Reported, Reserved, Storage};
pub use usage::UsageSeries;

/// The version of the document's format that this code reads and writes.
pub const INVENTORY_FORMAT: u32 = 1;

/// How many machines one inventory may hold.
pub const MACHINES_MAX: usize = 100_000;

/// How many instances one inventory may hold.
pub const INSTANCES_MAX: usize = 2_000_000;

/// The whole pool at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// [`INVENTORY_FORMAT`].
    pub format: u32,
    /// Counts the states of the pool that this snapshot was taken from: a plan made from one version is checked against the next.
    pub version: u32,
    /// When it was taken, in seconds since 1970-01-01 UTC.
    pub taken_at_s: i64,
    /// All machines; their order decides nothing but ties.
    pub machines: Vec<Machine>,
    /// All instances, placed or not.
    pub instances: Vec<Instance>,
}

impl Inventory {
    /// A pool without machines.
    pub fn empty() -> Self {
        Self {
            format: INVENTORY_FORMAT,
            version: 0,
            taken_at_s: 0,
            machines: Vec::new(),
            instances: Vec::new(),
        }
    }

    /// Reads the JSON document, and checks it.
    ///
    /// # Errors
    /// What is no JSON of this form, with line and column; or every fault that [`check`](Self::check) finds.
    pub fn from_json(text: &str) -> Result<Self, InventoryError> {
        let inventory: Self = serde_json::from_str(text).map_err(InventoryError::Malformed)?;
        inventory.check()?;
        Ok(inventory)
    }

    /// Checks what the types cannot say: limits, ranges, identities that are used twice, references that lead nowhere.
    ///
    /// # Errors
    /// The faults, at most [`InventoryError::FAULTS_MAX`] of them.
    pub fn check(&self) -> Result<(), InventoryError> {
        check::check(self)
    }
}
