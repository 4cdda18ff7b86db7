use api::{ApiError, DiskLimit, Instance, Mib, NetworkLimit, Placement, PortRequest};
use pool::placing::Preview;
use pool::plans::Recovery;
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

use super::batch::{Batch, BatchOutcome, BatchPreview};
use super::picture::{ActivityEntry, MachineAddress, PoolMachine, PoolPicture, Settings, Template};
use super::plan::{MadePlan, PlanAsk, PlanStanding, ReserveLost};

/// What a person asks for when a template is dropped, or the form is filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct InstanceRequest {
    /// The instance's name; absent takes the next free one of the prefix.
    pub name: Option<String>,
    /// The prefix for a name that is not given.
    pub name_prefix: String,
    /// The image to start from.
    pub image: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory.
    pub memory_mib: Mib,
    /// The instance's own disk; 0 for none.
    pub disk_mib: Mib,
    /// How fast that disk may be used; absent does not limit it.
    #[serde(default)]
    #[ts(as = "Option<DiskLimit>", optional)]
    pub disk_limit: DiskLimit,
    /// How fast its network may be; absent does not limit it. Only machines where microVMs run can hold it to that.
    #[serde(default)]
    #[ts(as = "Option<NetworkLimit>", optional)]
    pub network_limit: NetworkLimit,
    /// TCP ports to publish.
    pub ports: Vec<PortRequest>,
    /// What it wishes of the machine that holds it; absent wishes nothing.
    #[serde(default)]
    #[ts(as = "Option<Placement>", optional)]
    pub placement: Placement,
}

/// What can be done to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum InstanceAction {
    /// Power on.
    Start,
    /// The power button, and force after a minute.
    Stop,
    /// Pull the plug.
    ForceStop,
    /// Stop gracefully, then power on.
    Restart,
    /// Remove it with its disk.
    Delete,
}

/// A machine to add, with the answers that earlier tries asked for.
///
/// Secrets live in memory for the session only; nothing writes them anywhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct AddMachine {
    /// How to reach it.
    pub address: MachineAddress,
    /// The name to show; absent takes the machine's own.
    pub name: Option<String>,
    /// The fingerprint that the person has compared and accepted (`SHA256:…`).
    pub accepted_fingerprint: Option<String>,
    /// The login password.
    pub password: Option<String>,
    /// The key file's passphrase.
    pub passphrase: Option<String>,
}

impl std::fmt::Debug for AddMachine {
    /// Without the secrets: what is logged stays.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AddMachine")
            .field("address", &self.address)
            .field("name", &self.name)
            .field("accepted_fingerprint", &self.accepted_fingerprint)
            .finish_non_exhaustive()
    }
}

/// An SSH host key that nobody has vouched for yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct HostKeyQuestion {
    /// The host and port that showed it.
    pub address: String,
    /// The key's type, such as `ssh-ed25519`.
    pub key_type: String,
    /// `SHA256:` and the unpadded base64 of the digest, as `ssh-keygen -lf` prints it.
    pub fingerprint: String,
}

/// How an attempt to add a machine ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one value for each attempt of a person")]
pub enum AddMachineOutcome {
    /// It is in the pool and connected.
    Added {
        /// The machine.
        machine: PoolMachine,
    },
    /// Compare the fingerprint, then try again with it in `accepted_fingerprint`.
    ConfirmHostKey {
        /// The key.
        question: HostKeyQuestion,
    },
    /// Try again with `password`: no key was accepted.
    PasswordNeeded {
        /// The user that would log in.
        user: String,
        /// True when a password was given and refused.
        refused: bool,
    },
    /// Try again with `passphrase`: the key file is encrypted.
    PassphraseNeeded {
        /// The key file.
        path: String,
        /// True when a passphrase was given and is wrong.
        refused: bool,
    },
}

/// Everything that the window can ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(
    tag = "name",
    content = "args",
    rename_all = "snake_case",
    deny_unknown_fields
)]
pub enum Command {
    /// All that a window needs for its first picture, in one answer.
    WindowOpen {},
    /// The whole pool.
    PoolGet {},
    /// The shelf.
    TemplatesList {},
    /// Every machine's verdict on a request, and the best.
    PlacementPreview {
        /// What would be created.
        request: InstanceRequest,
    },
    /// On which machines the instance would use up room that is kept for a failure; slower than the verdicts.
    PlacementReserve {
        /// What would be created.
        request: InstanceRequest,
    },
    /// Creates an instance and starts it. Safe to repeat with the same id.
    InstanceCreate {
        /// UUIDv7, made by the window.
        id: Uuid,
        /// The machine; absent takes the best.
        machine: Option<Uuid>,
        /// What to create.
        request: InstanceRequest,
    },
    /// Where several instances would go, as one decision.
    BatchPreview {
        /// They.
        batch: Batch,
    },
    /// Creates several instances as one decision and starts them: all, or none. Safe to repeat with the same ids.
    BatchCreate {
        /// They.
        batch: Batch,
    },
    /// Does something to an instance.
    InstanceAct {
        /// The machine that it is on.
        machine: Uuid,
        /// The instance.
        instance: Uuid,
        /// What to do.
        action: InstanceAction,
    },
    /// Connects to a machine and adds it to the pool.
    MachineAdd {
        /// The machine and the answers so far.
        request: AddMachine,
    },
    /// Takes a machine out of this desktop's pool; nothing on the machine changes.
    MachineRemove {
        /// The machine.
        machine: Uuid,
    },
    /// Gives a machine no new instances from now on, or takes that back; answers the machine. Those that it has stay.
    MachineDrainSet {
        /// The machine.
        machine: Uuid,
        /// Whether it is to be left alone.
        draining: bool,
    },
    /// Connects to a machine now instead of waiting for the next try, with secrets where the link asked for them.
    MachineReconnect {
        /// The machine.
        machine: Uuid,
        /// The login password.
        password: Option<String>,
        /// The key file's passphrase.
        passphrase: Option<String>,
        /// The fingerprint that the person has compared and accepted, where the link was refused for an unknown host key.
        #[serde(default)]
        #[ts(optional)]
        accepted_fingerprint: Option<String>,
    },
    /// A page of the activity list, newest first.
    ActivityList {
        /// Only entries older than this one.
        before: Option<u32>,
        /// How many, 1..=200.
        limit: u32,
    },
    /// Makes a plan for the pool of now. Nothing is carried out.
    PlanMake {
        /// What for.
        ask: PlanAsk,
    },
    /// Whether a plan still holds.
    PlanCheck {
        /// The plan.
        plan: Uuid,
    },
    /// Whether the failure of any one machine could be borne.
    RecoveryCheck {},
    /// Writes the pool's inventory into a file, as `host-runner plan` reads it.
    InventorySave {},
    /// Chooses for the window; what was chosen comes with [`WindowOpen`](Self::WindowOpen).
    SettingsSet {
        /// All of it.
        settings: Settings,
    },
    /// A chart of a machine's CPU and memory over the last hour, as an SVG document.
    MachineChart {
        /// The machine.
        machine: Uuid,
        /// Light or dark ink.
        dark: bool,
    },
}

/// What each command answers, by its name; for the window's types alone.
#[derive(Debug, TS)]
#[expect(dead_code, reason = "only its shape is used, in TypeScript")]
pub struct CommandResults {
    window_open: Opening,
    pool_get: PoolPicture,
    templates_list: Vec<Template>,
    placement_preview: Preview,
    placement_reserve: Vec<ReserveLost>,
    instance_create: Instance,
    batch_preview: BatchPreview,
    batch_create: BatchOutcome,
    /// `null` after a delete.
    instance_act: Option<Instance>,
    machine_add: AddMachineOutcome,
    machine_remove: (),
    machine_drain_set: PoolMachine,
    machine_reconnect: (),
    activity_list: ActivityPage,
    plan_make: MadePlan,
    plan_check: PlanStanding,
    recovery_check: Recovery,
    inventory_save: SavedInventory,
    settings_set: Settings,
    machine_chart: String,
}

/// An inventory that was written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SavedInventory {
    /// The file.
    pub path: String,
}

/// What a window shows first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Opening {
    /// What was chosen for the window; the defaults where it cannot be read.
    pub settings: Settings,
    /// The shelf.
    pub templates: Vec<Template>,
    /// The whole pool.
    pub picture: PoolPicture,
}

/// A page of the activity list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ActivityPage {
    /// Newest first.
    pub entries: Vec<ActivityEntry>,
    /// True when older entries exist.
    pub more: bool,
}

/// A command on its way, with the id that follows it to the agent's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Made by the window, 1..=64 of `A-Z a-z 0-9 -`.
    pub request_id: String,
    /// What is asked.
    pub command: Command,
}

/// Why a command was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, thiserror::Error)]
#[error("{error}")]
pub struct CommandError {
    /// What went wrong.
    pub error: ApiError,
    /// The machine that it is about, as people know it.
    pub machine: Option<String>,
    /// The id that finds the request in the logs.
    pub request_id: String,
}
