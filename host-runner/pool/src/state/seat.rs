use uuid::Uuid;

use super::anew::Rest;
use super::demand::Demand;
use super::load::Load;
use super::names::{HardwareClasses, Images, Name, Sites, Storages, Tags};
use super::{Asked, AskedDisk, InstanceIndex, MachineIndex};
use crate::inventory::{Activity, MachineState, PowerCurve};
use crate::{EngineKind, ImageState};

/// A storage on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageRoom {
    /// Its name.
    pub name: Name<Storages>,
    /// What it may promise, MiB.
    pub capacity_mib: u64,
    /// What it has promised, MiB; more than its capacity where an inventory says so.
    pub promised_mib: u64,
}

impl StorageRoom {
    /// What it can still promise, MiB.
    pub fn free_mib(self) -> u64 {
        self.capacity_mib.saturating_sub(self.promised_mib)
    }
}

/// A machine as decisions see it: what it offers, and what it has promised.
#[derive(Debug, Clone)]
pub struct MachineSeat {
    /// Its identity.
    pub id: Uuid,
    /// The name that people know it by.
    pub name: Box<str>,
    /// Whether it takes instances.
    pub state: MachineState,
    /// Hardware threads.
    pub threads: u32,
    /// Threads that it offers to instances, after what it keeps for itself.
    pub offered_threads: f64,
    /// How many vCPUs it may promise; `None` for no limit.
    pub vcpus_max: Option<u64>,
    /// vCPUs of the instances that run there.
    pub vcpus_promised: u64,
    /// Memory that it may promise, MiB, after what it keeps and with overcommit.
    pub memory_offered_mib: u64,
    /// Memory promised to instances that run there, with their engines' overhead, and whatever else its agent counts, MiB.
    pub memory_promised_mib: u64,
    /// What each instance's engine needs beside its guest, MiB.
    pub overhead_mib: u64,
    /// Its storages.
    pub storages: Box<[StorageRoom]>,
    /// Disk that its agent counts and the inventory does not, MiB.
    pub disk_unaccounted_mib: u64,
    /// The CPU demand of its running instances and of the machine itself.
    pub demand: Demand,
    /// What it uses and promises beyond its instances; part of the sums above.
    pub(super) rest: Rest,
    /// Its hardware class.
    pub hardware: Option<Name<HardwareClasses>>,
    /// Its tags, sorted.
    pub tags: Box<[Name<Tags>]>,
    /// Where it stands.
    pub site: Option<Name<Sites>>,
    /// The images that it holds, sorted by name.
    pub images: Box<[(Name<Images>, ImageState)]>,
    /// The engines that work there.
    pub engines: Box<[EngineKind]>,
    /// Its electrical power.
    pub power: PowerCurve,
    /// How fast guest memory leaves or reaches it, MiB/s.
    pub migration_mib_per_s: f64,
    /// What it holds, running or not, in the order in which it came.
    pub instances: Vec<InstanceIndex>,
}

impl MachineSeat {
    /// Memory that it can still promise, MiB, before the overhead of one more instance.
    pub fn memory_free_mib(&self) -> u64 {
        self.memory_offered_mib.saturating_sub(self.memory_promised_mib)
    }

    /// Disk that it can still promise over all storages, MiB.
    pub fn disk_free_mib(&self) -> u64 {
        let free: u64 = self.storages.iter().map(|storage| storage.free_mib()).sum();
        free.saturating_sub(self.disk_unaccounted_mib)
    }

    /// The place in [`storages`](Self::storages) where a disk goes: the storage that it names, else the one with most room, the first
    /// of equals; `None` where there is no such storage.
    pub fn storage_for(&self, disk: &AskedDisk) -> Option<u32> {
        let mut storages = (0..).zip(&self.storages);
        let place = match disk.storage {
            Some(name) => storages.find(|(_, storage)| storage.name == name),
            None => storages.min_by_key(|(_, storage)| std::cmp::Reverse(storage.free_mib())),
        };
        place.map(|(place, _)| place)
    }

    /// Whether a disk finds room in the storage where it goes.
    pub fn has_room_for(&self, disk: &AskedDisk) -> bool {
        let place = self.storage_for(disk).map(|place| place as usize);
        let room = place.and_then(|place| self.storages.get(place));
        room.is_some_and(|room| disk.size_mib <= room.free_mib()) && disk.size_mib <= self.disk_free_mib()
    }

    /// The state of an image; `None` where it is not there.
    pub fn image(&self, name: Name<Images>) -> Option<ImageState> {
        let at = self.images.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        self.images.get(at).map(|(_, state)| *state)
    }

    /// Whether it has a tag.
    pub fn has_tag(&self, name: Name<Tags>) -> bool {
        self.tags.binary_search(&name).is_ok()
    }

    /// Whether it counts in the pool's balance: only what takes instances can be balanced.
    pub fn is_balanced(&self) -> bool {
        self.state == MachineState::Ready
    }

    /// Its load now.
    pub fn load(&self) -> Load {
        let capacity: u64 = self.storages.iter().map(|storage| storage.capacity_mib).sum();
        let promised: u64 = self.storages.iter().map(|storage| storage.promised_mib).sum();
        Load {
            cpu: share(self.demand.mean, self.offered_threads),
            memory: share_mib(self.memory_promised_mib, self.memory_offered_mib),
            disk: share_mib(promised + self.disk_unaccounted_mib, capacity),
        }
    }

    /// Its load if it held the instance, too.
    pub fn load_with(&self, asked: &Asked, activity: Activity, demand: Demand) -> Load {
        let now = self.load();
        let capacity: u64 = self.storages.iter().map(|storage| storage.capacity_mib).sum();
        let disk: u64 = asked.disks.iter().map(|disk| disk.size_mib).sum();
        let with_disk = Load {
            disk: now.disk + share_mib(disk, capacity),
            ..now
        };
        match activity {
            Activity::Stopped => with_disk,
            Activity::Running => Load {
                cpu: share(self.demand.mean + demand.mean, self.offered_threads),
                memory: share_mib(
                    self.memory_promised_mib + asked.memory_mib + self.overhead_mib,
                    self.memory_offered_mib,
                ),
                ..with_disk
            },
        }
    }

    /// Its load if it no longer held the instance, which it must hold.
    pub fn load_without(&self, asked: &Asked, activity: Activity, demand: Demand) -> Load {
        let now = self.load();
        let capacity: u64 = self.storages.iter().map(|storage| storage.capacity_mib).sum();
        let disk: u64 = asked.disks.iter().map(|disk| disk.size_mib).sum();
        let without_disk = Load {
            disk: (now.disk - share_mib(disk, capacity)).max(0.0),
            ..now
        };
        match activity {
            Activity::Stopped => without_disk,
            Activity::Running => Load {
                cpu: share((self.demand.mean - demand.mean).max(0.0), self.offered_threads),
                memory: share_mib(
                    self.memory_promised_mib
                        .saturating_sub(asked.memory_mib + self.overhead_mib),
                    self.memory_offered_mib,
                ),
                ..without_disk
            },
        }
    }

    /// Electrical power at a CPU load, in watts; nothing while asleep.
    pub fn watts(&self, cpu_load: f64) -> f64 {
        if self.state == MachineState::Asleep {
            0.0
        } else {
            self.power.at(cpu_load)
        }
    }
}

impl PowerCurve {
    /// Watts at a utilization, which is held to 0..=1; straight lines between the points.
    pub fn at(&self, utilization: f64) -> f64 {
        let (Some(last), true) = (self.watts.len().checked_sub(1), utilization.is_finite()) else {
            return 0.0;
        };
        #[expect(clippy::cast_precision_loss, reason = "at most 101 points")]
        let place = utilization.clamp(0.0, 1.0) * last as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0..=100 by the clamp"
        )]
        let below = place.floor() as usize;
        let at = |index: usize| self.watts.get(index.min(last)).copied().unwrap_or(0.0);
        at(below) + (at(below + 1) - at(below)) * (place - place.floor())
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        part / whole
    } else if part > 0.0 {
        1.0
    } else {
        0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "MiB of a machine are far below 2^52")]
fn share_mib(part: u64, whole: u64) -> f64 {
    share(part as f64, whole as f64)
}

/// An instance as decisions see it.
#[derive(Debug, Clone)]
pub struct InstanceSeat {
    /// Its identity.
    pub id: Uuid,
    /// The name that people know it by.
    pub name: Box<str>,
    /// What it needs.
    pub asked: Asked,
    /// Whether it runs.
    pub activity: Activity,
    /// The machine that holds it.
    pub machine: Option<MachineIndex>,
    /// The CPU that it is expected to use while it runs.
    pub demand: Demand,
    /// When it was last moved, in seconds since 1970-01-01 UTC.
    pub moved_at_s: Option<i64>,
    /// Where each of its disks is: a place among its machine's storages.
    pub(super) disk_places: Box<[Option<u32>]>,
}

impl InstanceSeat {
    /// Its disks on the machine that holds it: a place among the machine's storages, and a size in MiB.
    pub fn disks_there(&self) -> impl Iterator<Item = (u32, u64)> {
        let disks = self.asked.disks.iter().zip(&self.disk_places);
        disks.filter_map(|(disk, place)| place.map(|place| (place, disk.size_mib)))
    }
}
