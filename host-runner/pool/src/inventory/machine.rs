use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::UsageSeries;
use crate::{EngineKind, ImageAvailability, Mib};

/// Whether a machine takes instances, and keeps those that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MachineState {
    /// It does.
    #[default]
    Ready,
    /// It keeps what it has, takes nothing new, and is being emptied.
    Draining,
    /// There is no working connection to it; what runs there is not known.
    Unreachable,
    /// It is switched off to save power, and can be woken.
    Asleep,
}

/// How much more than it has a machine may promise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Overcommit {
    /// vCPUs to a hardware thread, 0.1..=64; absent sets no limit but that one instance may not have more vCPUs than there are threads.
    pub cpu: Option<f64>,
    /// Guest memory to offered memory, 0.1..=4.
    pub memory: f64,
}

impl Default for Overcommit {
    fn default() -> Self {
        Self {
            cpu: None,
            memory: 1.0,
        }
    }
}

/// What a machine keeps for itself.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reserved {
    /// Hardware threads' worth of CPU, 0..=threads.
    pub threads: f64,
    /// Memory.
    pub memory_mib: Mib,
}

/// A place for disks on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Its name; the same name on two machines is the same kind of place.
    pub name: String,
    /// What it may promise to disks.
    pub capacity_mib: Mib,
}

/// What the machine's own agent says that it can still promise. It knows what an inventory does not (what each engine needs beside its
/// guest, instances that others made), so where it says less, less is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// Memory for one more instance.
    pub memory_free_mib: Mib,
    /// Disk, over all storages.
    pub disk_free_mib: Mib,
}

/// Electrical power by utilization: straight lines between points at equal distances from idle to busy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerCurve {
    /// Watts at 0 %, …, 100 % CPU, 2..=101 points, none negative.
    pub watts: Vec<f64>,
}

impl Default for PowerCurve {
    /// A small server that was never measured: 60 W idle, 120 W busy.
    fn default() -> Self {
        Self {
            watts: vec![60.0, 120.0],
        }
    }
}

/// A machine of the pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Its identity in the pool.
    pub id: Uuid,
    /// The name that people know it by.
    pub name: String,
    /// Whether it takes instances.
    #[serde(default)]
    pub state: MachineState,
    /// Hardware threads, 1..=65,536.
    pub threads: u32,
    /// All its memory.
    pub memory_mib: Mib,
    /// What it keeps for itself.
    #[serde(default)]
    pub reserved: Reserved,
    /// How much more it may promise.
    #[serde(default)]
    pub overcommit: Overcommit,
    /// Memory that each instance's engine needs beside its guest.
    #[serde(default)]
    pub instance_overhead_mib: Mib,
    /// Where disks can be; none for a machine without room for disks.
    #[serde(default)]
    pub storages: Vec<Storage>,
    /// What its agent said last.
    #[serde(default)]
    pub reported: Option<Reported>,
    /// The class of its hardware, such as `zen3`: an instance moves live only within its class.
    #[serde(default)]
    pub hardware: Option<String>,
    /// Free words, such as `ssd`.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Where it stands.
    #[serde(default)]
    pub site: Option<String>,
    /// The rack in its site.
    #[serde(default)]
    pub rack: Option<String>,
    /// The images that it holds.
    #[serde(default)]
    pub images: Vec<ImageAvailability>,
    /// The engines that work there.
    pub engines: Vec<EngineKind>,
    /// CPU in use over all threads, in threads (0..=threads), by everything on the machine.
    #[serde(default)]
    pub usage: Option<UsageSeries>,
    /// Its electrical power.
    #[serde(default)]
    pub power: PowerCurve,
    /// How fast guest memory leaves or reaches it when an instance moves, MiB/s.
    #[serde(default = "Machine::default_migration_mib_per_s")]
    pub migration_mib_per_s: f64,
}

impl Machine {
    /// A gigabit link, and what the protocols leave of it.
    fn default_migration_mib_per_s() -> f64 {
        110.0
    }

    /// A ready machine without instances, images or storages.
    pub fn new(id: Uuid, name: impl Into<String>, threads: u32, memory_mib: Mib) -> Self {
        Self {
            id,
            name: name.into(),
            state: MachineState::Ready,
            threads,
            memory_mib,
            reserved: Reserved::default(),
            overcommit: Overcommit::default(),
            instance_overhead_mib: Mib::ZERO,
            storages: Vec::new(),
            reported: None,
            hardware: None,
            tags: Vec::new(),
            site: None,
            rack: None,
            images: Vec::new(),
            engines: vec![EngineKind::Qemu],
            usage: None,
            power: PowerCurve::default(),
            migration_mib_per_s: Self::default_migration_mib_per_s(),
        }
    }
}
