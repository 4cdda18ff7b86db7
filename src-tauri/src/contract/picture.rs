use api::{ApiError, HostFacts, HostUsage, Image, Instance, Mib, PortRequest, Timestamp};
use pool::placing::PolicyName;
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

/// How the desktop reaches a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum MachineAddress {
    /// This computer, through the agent's Unix socket.
    Local,
    /// Another machine, over SSH. What is absent comes from `~/.ssh/config`, then from SSH's defaults.
    Ssh {
        /// A host name, an IP address, or an alias from `~/.ssh/config`.
        host: String,
        /// The user to log in as.
        user: Option<String>,
        /// The TCP port, 1..=65535.
        port: Option<u16>,
        /// A private key's file.
        identity_file: Option<String>,
    },
}

/// The state of the session with a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Link {
    /// The first connection, or one that was asked for, is being made.
    Connecting,
    /// Events flow.
    Connected {
        /// Since when.
        since: Timestamp,
    },
    /// The link is down and will be tried again by itself; what is shown of the machine is the last that was seen.
    Unreachable {
        /// Since when.
        since: Timestamp,
        /// Why.
        error: ApiError,
        /// When it will be tried again.
        retry_at: Timestamp,
    },
    /// Trying again would change nothing: somebody has to do something first (a changed host key, a wrong password).
    Refused {
        /// Why, with the remedy.
        error: ApiError,
    },
}

/// A machine of the pool as the window shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PoolMachine {
    /// The machine's identity in this desktop's pool.
    pub id: Uuid,
    /// The name that people know it by.
    pub name: String,
    /// How it is reached.
    pub address: MachineAddress,
    /// The state of the session with it.
    pub link: Link,
    /// What it is; absent until the first connection.
    pub host: Option<HostFacts>,
    /// How loaded it was when last seen; absent until the first connection.
    pub usage: Option<HostUsage>,
    /// Its images.
    pub images: Vec<Image>,
    /// True where this desktop gives it no new instances; those that it has stay.
    pub draining: bool,
}

/// An instance and the machine that it is on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PlacedInstance {
    /// The machine's identity in the pool.
    pub machine: Uuid,
    /// The instance as last seen.
    pub instance: Instance,
}

/// Something on the shelf that can be dragged onto a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Template {
    /// A stable name, such as `tiny-linux`. The window has a title and a line of words for it in each language.
    pub id: String,
    /// The image to start from.
    pub image: String,
    /// The prefix of new instances' names: `tiny` gives `tiny-1`, `tiny-2`, …
    pub name_prefix: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory.
    pub memory_mib: Mib,
    /// The instance's own disk; 0 for none.
    pub disk_mib: Mib,
    /// TCP ports to publish.
    pub ports: Vec<PortRequest>,
}

/// The whole pool at one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PoolPicture {
    /// Grows by one with every change; starts anew with the app.
    pub version: u32,
    /// The machines, in the order in which they were added; this computer first.
    pub machines: Vec<PoolMachine>,
    /// The instances of all machines, oldest first.
    pub instances: Vec<PlacedInstance>,
}

/// What changed from one version of the picture to a later one. Machines keep their order, new ones come last; instances are ordered
/// by `created_at`, then `id`.
///
/// Whoever holds `to` or a later version ignores it; whoever holds another version than `from` reads the whole again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct PoolChange {
    /// The version that this applies to.
    pub from: u32,
    /// The version that it makes.
    pub to: u32,
    /// New or changed machines, whole.
    pub machines: Vec<PoolMachine>,
    /// Machines that left the pool.
    pub removed_machines: Vec<Uuid>,
    /// New or changed instances, whole.
    pub instances: Vec<PlacedInstance>,
    /// Instances that are gone.
    pub removed_instances: Vec<Uuid>,
}

/// What an entry of the activity list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ActivityKind {
    /// A machine joined the pool.
    MachineAdded,
    /// A machine left the pool.
    MachineRemoved,
    /// A machine's link came up.
    MachineConnected,
    /// A machine's link went down.
    MachineUnreachable,
    /// An instance was created.
    InstanceCreated,
    /// An instance's guest was powered on.
    InstanceStarted,
    /// An instance's login prompt came up.
    InstanceReady,
    /// An instance stopped.
    InstanceStopped,
    /// An instance failed.
    InstanceFailed,
    /// An instance was deleted.
    InstanceDeleted,
    /// A command was refused.
    CommandRefused,
}

/// One line of the activity list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ActivityEntry {
    /// Grows with every entry.
    pub id: u32,
    /// When it happened, by the desktop's clock.
    pub at: Timestamp,
    /// What it is about.
    pub kind: ActivityKind,
    /// The machine, as it was called then.
    pub machine: Option<String>,
    /// The instance, as it was called then.
    pub instance: Option<String>,
    /// The instance's id, while the window can still open it.
    pub instance_id: Option<Uuid>,
    /// Milliseconds that it took, where that is of interest (boot time).
    pub took_ms: Option<u32>,
    /// The error, for failures and refusals.
    pub error: Option<ApiError>,
    /// The id that finds the same request in the agent's log.
    pub request_id: Option<String>,
}

/// Light, dark, or as the system says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ThemeChoice {
    /// As the system says.
    #[default]
    System,
    /// Light.
    Light,
    /// Dark.
    Dark,
}

/// What a person has chosen for the window.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, TS)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Light or dark.
    pub theme: ThemeChoice,
    /// A language tag (`en`, `zh-CN`); absent follows the system.
    pub language: Option<String>,
    /// How machines are chosen.
    #[serde(default)]
    pub placement: PolicyName,
}

/// What is pushed to the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WindowEvent {
    /// Read the pool and the activity list again: the first event of every subscription, and the one in place of events that a slow
    /// window has missed.
    ReadAgain,
    /// The pool changed.
    Pool {
        /// How.
        change: PoolChange,
    },
    /// The activity list has a new entry.
    Activity {
        /// The entry.
        entry: ActivityEntry,
    },
}
