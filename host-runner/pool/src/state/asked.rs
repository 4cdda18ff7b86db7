use uuid::Uuid;

use super::names::{Groups, HardwareClasses, Images, Name, Sites, Storages, Tags};
use super::{MachineIndex, Pool};
use crate::EngineKind;
use crate::inventory::{Affinity, AffinityKind, AffinityTarget, Mobility, Needs};

/// What an instance needs, with every word turned into its number: what filters and terms read.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory, MiB.
    pub memory_mib: u64,
    /// Its disks.
    pub disks: Box<[AskedDisk]>,
    /// The image.
    pub image: Option<Name<Images>>,
    /// The engine.
    pub engine: Option<EngineKind>,
    /// The hardware class.
    pub hardware: Option<Name<HardwareClasses>>,
    /// Its group.
    pub group: Option<Name<Groups>>,
    /// Near what, and far from what.
    pub affinities: Box<[AskedAffinity]>,
    /// The machine that would be liked, if it is of the pool.
    pub hint: Option<MachineIndex>,
    /// The only machine that may hold it.
    pub pin: Option<Pin>,
    /// Who comes first.
    pub priority: i32,
    /// How it may move.
    pub mobility: Mobility,
}

/// A disk that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedDisk {
    /// Its size, MiB.
    pub size_mib: u64,
    /// The storage that it must be on.
    pub storage: Option<Name<Storages>>,
}

/// A pin, which may lead out of the pool: then no machine will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// The machine's identity.
    pub id: Uuid,
    /// Its place in this pool.
    pub machine: Option<MachineIndex>,
}

/// A wish about the neighbourhood.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AskedAffinity {
    /// Near or far.
    pub kind: AffinityKind,
    /// From what.
    pub target: AskedTarget,
    /// Whether breaking it refuses.
    pub hard: bool,
}

/// Near what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AskedTarget {
    /// An instance; it need not be of this pool (yet).
    Instance(Uuid),
    /// A group.
    Group(Name<Groups>),
    /// A tag.
    Tag(Name<Tags>),
    /// A site.
    Site(Name<Sites>),
}

impl Asked {
    /// The wishes that must be met.
    pub fn hard_affinities(&self) -> impl Iterator<Item = &AskedAffinity> {
        self.affinities.iter().filter(|affinity| affinity.hard)
    }

    /// All its disks together, MiB.
    pub fn disk_mib(&self) -> u64 {
        self.disks.iter().map(|disk| disk.size_mib).sum()
    }
}

impl Pool {
    /// Turns needs into what filters and terms read. New words are learnt.
    pub fn ask(&mut self, needs: &Needs) -> Asked {
        let words = &mut self.words;
        Asked {
            vcpus: needs.vcpus,
            memory_mib: u64::from(needs.memory_mib.0),
            disks: needs
                .disks
                .iter()
                .map(|disk| AskedDisk {
                    size_mib: u64::from(disk.size_mib.0),
                    storage: disk.storage.as_deref().map(|word| words.storages.learn(word)),
                })
                .collect(),
            image: needs.image.as_deref().map(|word| words.images.learn(word)),
            engine: needs.engine,
            hardware: needs.hardware.as_deref().map(|word| words.hardware.learn(word)),
            group: needs.group.as_deref().map(|word| words.groups.learn(word)),
            affinities: needs
                .affinities
                .iter()
                .map(|affinity| asked_affinity(words, affinity))
                .collect(),
            hint: needs.hint.and_then(|id| self.machine_numbers.get(&id).copied()),
            pin: needs.pin.map(|id| Pin {
                id,
                machine: self.machine_numbers.get(&id).copied(),
            }),
            priority: needs.priority,
            mobility: needs.mobility,
        }
    }
}

fn asked_affinity(words: &mut super::Vocabularies, affinity: &Affinity) -> AskedAffinity {
    let target = match &affinity.target {
        AffinityTarget::Instance { id } => AskedTarget::Instance(*id),
        AffinityTarget::Group { name } => AskedTarget::Group(words.groups.learn(name)),
        AffinityTarget::Tag { name } => AskedTarget::Tag(words.tags.learn(name)),
        AffinityTarget::Site { name } => AskedTarget::Site(words.sites.learn(name)),
    };
    AskedAffinity {
        kind: affinity.kind,
        target,
        hard: affinity.hard,
    }
}
