use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;
use uuid::Uuid;

use super::UsageSeries;
use crate::{EngineKind, Mib};

/// A disk that an instance needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiskNeed {
    /// Its size.
    pub size_mib: Mib,
    /// The storage that it must be on; absent leaves it to the machine.
    #[serde(default)]
    pub storage: Option<String>,
}

/// Near what, or far from what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(tag = "of", rename_all = "snake_case", deny_unknown_fields)]
pub enum AffinityTarget {
    /// One instance's machine.
    Instance {
        /// The instance.
        id: Uuid,
    },
    /// The machines of a group's other instances.
    Group {
        /// The group.
        name: String,
    },
    /// Machines with a tag.
    Tag {
        /// The tag.
        name: String,
    },
    /// Machines at a site.
    Site {
        /// The site.
        name: String,
    },
}

/// Near or far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum AffinityKind {
    /// On the same machine; for a group: on a machine that holds one of it, if any of it is placed.
    Together,
    /// On another machine.
    Apart,
}

/// A wish about the neighbourhood.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields)]
pub struct Affinity {
    /// Near or far.
    pub kind: AffinityKind,
    /// From what.
    pub target: AffinityTarget,
    /// True: a machine that breaks it is refused. False: it is worse.
    pub hard: bool,
}

/// How an instance may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum Mobility {
    /// While it runs; also stopped.
    #[default]
    Live,
    /// Stopped here and started there.
    Cold,
    /// Not at all.
    Fixed,
}

/// What an instance needs of the machine that holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Virtual CPUs, 1..=1,024.
    pub vcpus: u32,
    /// Guest memory.
    pub memory_mib: Mib,
    /// Its own disks.
    #[serde(default)]
    pub disks: Vec<DiskNeed>,
    /// The image that it starts from; absent where it needs none.
    #[serde(default)]
    pub image: Option<String>,
    /// The engine that it must run on; absent leaves it to the machine.
    #[serde(default)]
    pub engine: Option<EngineKind>,
    /// The class of hardware that it must run on.
    #[serde(default)]
    pub hardware: Option<String>,
    /// The group that it belongs to.
    #[serde(default)]
    pub group: Option<String>,
    /// Near what, and far from what.
    #[serde(default)]
    pub affinities: Vec<Affinity>,
    /// A machine that would be liked: better than others, all else equal. It binds nobody.
    #[serde(default)]
    pub hint: Option<Uuid>,
    /// The only machine that may hold it: every other is refused, and no plan moves it.
    #[serde(default)]
    pub pin: Option<Uuid>,
    /// Who comes first where not all find room, higher before lower.
    #[serde(default)]
    pub priority: i32,
    /// How it may move.
    #[serde(default)]
    pub mobility: Mobility,
}

impl Needs {
    /// An instance that asks for CPU and memory alone.
    pub fn new(vcpus: u32, memory_mib: Mib) -> Self {
        Self {
            vcpus,
            memory_mib,
            disks: Vec::new(),
            image: None,
            engine: None,
            hardware: None,
            group: None,
            affinities: Vec::new(),
            hint: None,
            pin: None,
            priority: 0,
            mobility: Mobility::Live,
        }
    }

    /// All its disks together.
    pub fn disk_mib(&self) -> Mib {
        self.disks.iter().map(|disk| disk.size_mib).sum()
    }
}

/// Whether an instance holds memory and CPU, or its disks alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// It runs, starts or is paused: all that it needs is promised to it.
    #[default]
    Running,
    /// It holds disks only.
    Stopped,
}

/// An instance of the pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its identity.
    pub id: Uuid,
    /// The name that people know it by.
    pub name: String,
    /// The machine that holds it; absent for one that waits for a place.
    #[serde(default)]
    pub machine: Option<Uuid>,
    /// Whether it runs.
    #[serde(default)]
    pub activity: Activity,
    /// What it needs.
    pub needs: Needs,
    /// CPU in use, in threads (0..=vCPUs).
    #[serde(default)]
    pub usage: Option<UsageSeries>,
    /// When it was last moved, in seconds since 1970-01-01 UTC; absent for never.
    #[serde(default)]
    pub moved_at_s: Option<i64>,
}
