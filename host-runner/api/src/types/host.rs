use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{EngineKind, Mib, Timestamp};

/// How instances on this machine reach the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// QEMU's user-mode network: out to anywhere, in only through published ports on loopback.
    User,
}

/// Whether the CPU can run guests itself.
///
/// An open `/dev/kvm` is not enough: without `vmx` or `svm` among the CPU's flags, guests are emulated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct HardwareVirtualization {
    /// True where guests run on the CPU itself.
    pub available: bool,
    /// The finding in words: what is there, or what is missing and the remedy.
    pub reason: String,
}

/// How one thing that `host-runner doctor` looks at turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum CapabilityState {
    /// It works.
    Ok,
    /// It is missing, and the machine does its work without it in a lesser way.
    Limited,
    /// It is missing, and instances cannot run.
    Missing,
}

/// One thing that this machine can do or lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct Capability {
    /// A stable name, such as `hardware_virtualization` or `qemu`.
    pub name: String,
    /// How it turned out.
    pub state: CapabilityState,
    /// What was found, in words.
    pub finding: String,
    /// What to do about it; absent when nothing is to be done.
    pub remedy: Option<String>,
}

/// What a machine is. Changes only when the agent restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
pub struct HostFacts {
    /// The machine's identity, made at the agent's first start and kept.
    pub id: Uuid,
    /// The machine's host name.
    pub hostname: String,
    /// The operating system, such as `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    /// The kernel's release, such as `6.1.0-28-amd64`.
    pub kernel: String,
    /// The CPU's architecture, such as `x86_64`.
    pub arch: String,
    /// The CPU's brand string; empty where it has none.
    pub cpu_model: String,
    /// Hardware threads.
    pub threads: u32,
    /// All memory of the machine.
    pub memory_total_mib: Mib,
    /// Memory that the machine offers to instances: the total less what is kept for the machine itself.
    pub memory_offered_mib: Mib,
    /// What of the offered memory the engine of each instance takes beside its guest; 0 where the owner offers so little that engines
    /// live on the rest.
    #[serde(default)]
    pub instance_overhead_mib: Mib,
    /// Whether the CPU runs guests itself.
    pub hardware_virtualization: HardwareVirtualization,
    /// The engines that work here.
    pub engines: Vec<EngineKind>,
    /// How instances reach the network.
    pub network: NetworkMode,
    /// True when the agent runs as root.
    pub privileged: bool,
    /// Everything that `host-runner doctor` found.
    pub capabilities: Vec<Capability>,
    /// The agent's version, such as `0.1.0`.
    pub agent_version: String,
    /// The contract's version, see [`API_VERSION`](super::API_VERSION).
    pub api_version: String,
}

/// How loaded a machine is, sampled every two seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, TS)]
pub struct HostUsage {
    /// When the sample was taken, by the machine's clock.
    pub sampled_at: Timestamp,
    /// CPU in use over all threads, 0..=100.
    pub cpu_percent: f64,
    /// Memory in use by everything on the machine.
    pub memory_used_mib: Mib,
    /// Memory promised to instances that run or start.
    pub memory_promised_mib: Mib,
    /// Memory that one more instance could be promised, after what its engine and those of the others need beside it.
    pub memory_free_mib: Mib,
    /// The size of the file system that holds the instances' disks.
    pub disk_total_mib: Mib,
    /// Disk promised to instances.
    pub disk_promised_mib: Mib,
    /// Disk that can still be promised.
    pub disk_free_mib: Mib,
    /// Seconds since the machine started.
    pub uptime_s: u32,
}
