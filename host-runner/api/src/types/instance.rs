use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{EngineKind, Mib, Placement, Timestamp};
use crate::ErrorCode;

/// The most characters of what a guest says that it is at.
pub const GUEST_STATUS_CHARS_MAX: usize = 200;

/// Which engine an instance is to run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum EngineRequest {
    /// The machine chooses, and says why.
    #[default]
    Auto,
    /// QEMU.
    Qemu,
    /// The microVM monitor; refused where the machine cannot run it.
    Microvm,
}

/// A guest's TCP port to publish on the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields)]
pub struct PortRequest {
    /// The port in the guest, 1..=65535.
    pub guest: u16,
    /// The port on the machine's loopback, 1..=65535; absent lets the machine choose a free one.
    #[serde(default)]
    pub host: Option<u16>,
}

/// How much of its machine's disk an instance may use in a second, at most; what is absent is not limited. A tenth of a second's worth can be
/// used at once. Without a disk of its own there is nothing to limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields)]
pub struct DiskLimit {
    /// What is read and written together, 1..=1,048,576 MiB a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub mib_per_second: Option<u32>,
    /// Requests of any size, 1..=10,000,000 a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub requests_per_second: Option<u32>,
}

impl DiskLimit {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// How much an instance may send in a second, at most, and how much it receives; what is absent is not limited. A tenth of a second's worth can
/// go at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields)]
pub struct NetworkLimit {
    /// 1..=1,000,000 Mbit a second, a million bits each, in each direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub mbit_per_second: Option<u32>,
    /// Frames of any size, 1..=100,000,000 a second in each direction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub frames_per_second: Option<u32>,
}

impl NetworkLimit {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What an instance is meant to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields)]
pub struct InstanceSpec {
    /// 1..=63 of `a-z`, `0-9` and `-`, starting and ending with a letter or digit (RFC 1123, a host name's label); unique on the
    /// machine.
    pub name: String,
    /// The image's name.
    pub image: String,
    /// Virtual CPUs, 1..=64, at most the machine's threads.
    pub vcpus: u32,
    /// Guest memory, 16..=16,777,216 MiB.
    pub memory_mib: Mib,
    /// The instance's own disk, 0..=67,108,864 MiB; 0 for none.
    #[serde(default)]
    pub disk_mib: Mib,
    /// How fast that disk may be used; absent does not limit it.
    #[serde(default, skip_serializing_if = "DiskLimit::is_none")]
    #[ts(as = "Option<DiskLimit>", optional)]
    pub disk_limit: DiskLimit,
    /// How fast its network may be; absent does not limit it. Only the microVM monitor keeps to it, so it is refused together with QEMU, and
    /// where no microVM runs.
    #[serde(default, skip_serializing_if = "NetworkLimit::is_none")]
    #[ts(as = "Option<NetworkLimit>", optional)]
    pub network_limit: NetworkLimit,
    /// Which engine to use.
    #[serde(default)]
    pub engine: EngineRequest,
    /// TCP ports to publish, at most 16, no guest port twice.
    #[serde(default)]
    pub ports: Vec<PortRequest>,
    /// What it wishes of the machine that holds it; absent wishes nothing.
    #[serde(default, skip_serializing_if = "Placement::is_indifferent")]
    #[ts(as = "Option<Placement>", optional)]
    pub placement: Placement,
}

impl InstanceSpec {
    /// The engine that it can run on: what it asks for, and where it leaves the choice, the one that can do what it asks for.
    pub fn engine_needed(&self) -> EngineRequest {
        match self.engine {
            EngineRequest::Auto if !self.network_limit.is_none() => EngineRequest::Microvm,
            asked => asked,
        }
    }
}

/// Body of `PUT /v1/instances/{id}`. Safe to repeat: the same id, generation and spec is a no-op.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields)]
pub struct CreateInstance {
    /// Counts the changes of the spec, from 1. An older one is refused as stale; the same one with another content too.
    pub generation: u32,
    /// What the instance is meant to be.
    pub spec: InstanceSpec,
    /// True to start it at once.
    pub start: bool,
}

/// How to stop an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum StopMode {
    /// The power button, and force after the deadline.
    Graceful,
    /// Pull the plug.
    Force,
}

/// Body of `POST /v1/instances/{id}/stop` and `…/restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields)]
pub struct StopInstance {
    /// How.
    pub mode: StopMode,
    /// How long a graceful stop may take before force, 1,000..=600,000 ms.
    #[serde(default = "StopInstance::default_deadline_ms")]
    pub deadline_ms: u32,
}

impl StopInstance {
    fn default_deadline_ms() -> u32 {
        60_000
    }

    /// The power button, with the default deadline of a minute.
    pub fn graceful() -> Self {
        Self {
            mode: StopMode::Graceful,
            deadline_ms: Self::default_deadline_ms(),
        }
    }

    /// The plug.
    pub fn force() -> Self {
        Self {
            mode: StopMode::Force,
            ..Self::graceful()
        }
    }
}

/// Where an instance is in its life.
///
/// ```text
/// creating → stopped ⇄ starting → running ⇄ paused
///               ↑                    ↓
///               └──── stopping ←─────┘        anything → failed, anything → deleting
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its files are being made.
    Creating,
    /// It does not run.
    Stopped,
    /// Its engine is being launched.
    Starting,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs are held.
    Paused,
    /// It was told to stop, and has not yet.
    Stopping,
    /// It is not what it should be; `failure` says why.
    Failed,
    /// It is being removed.
    Deleting,
}

/// How far a running guest has come, as seen on its serial console or told by itself. A guest that prints and tells nothing stays at
/// `powered_on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The engine runs; the guest has printed nothing.
    PoweredOn,
    /// The guest's firmware or kernel prints.
    Booting,
    /// A login prompt is up, or the guest has said that it is ready.
    Ready,
}

/// Why an instance failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// For people: the cause and the remedy.
    pub message: String,
    /// The last lines that the engine wrote, at most 4 KiB; empty where it wrote nothing.
    pub log: String,
    /// When.
    pub at: Timestamp,
}

/// The engine that an instance runs on, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct EngineChoice {
    /// The engine.
    pub kind: EngineKind,
    /// True where the CPU runs the guest itself; false where it is emulated.
    pub accelerated: bool,
    /// Why this engine, in words.
    pub reason: String,
}

/// A guest's port as it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct PublishedPort {
    /// The port in the guest.
    pub guest: u16,
    /// The port on the machine's 127.0.0.1.
    pub host: u16,
}

/// What a running instance uses, sampled every two seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct InstanceUsage {
    /// CPU of its engine's process, 100 for one full thread.
    pub cpu_percent: f64,
    /// Resident memory of its engine's process.
    pub memory_mib: Mib,
}

/// An instance as its machine sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct Instance {
    /// A `UUIDv7`, made by the caller that created it.
    pub id: Uuid,
    /// The spec's generation.
    pub generation: u32,
    /// What it is meant to be.
    pub spec: InstanceSpec,
    /// Whether it is meant to run.
    pub wanted_running: bool,
    /// Where it is in its life.
    pub state: RunState,
    /// How far a running guest has come; absent when it does not run.
    pub progress: Option<Progress>,
    /// Why it failed, why it is held though nobody asked for it, or what it runs without; present in state `failed`, in `paused` with a full
    /// disk, and in `running` without its network.
    pub failure: Option<Failure>,
    /// The engine, from its first start on.
    pub engine: Option<EngineChoice>,
    /// The published ports; empty when it does not run.
    pub ports: Vec<PublishedPort>,
    /// What it uses; absent when it does not run.
    pub usage: Option<InstanceUsage>,
    /// How much of its image's disk has been copied, 0 to 100; present only in state `creating`, and only where there is one to copy.
    pub copied_percent: Option<u8>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its guest was last powered on; absent when it does not run.
    pub started_at: Option<Timestamp>,
    /// Milliseconds from power-on to the login prompt of the present run, or to its guest's own word that it is ready; absent until then.
    pub boot_ms: Option<u32>,
    /// What its guest last said that it is at, in its own words: one line of at most 200 characters. Absent where it said nothing, and when
    /// it does not run.
    pub guest_status: Option<String>,
}
