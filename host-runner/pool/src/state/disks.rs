use std::cmp::Reverse;

use uuid::Uuid;

use super::names::{Name, Storages};
use super::{AskedDisk, InstanceIndex, MachineSeat, Pool};

/// Why an instance's disks find no room on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskMisfit {
    /// There is no such storage.
    Missing(Name<Storages>),
    /// The storage that some disks must be on has too little left, MiB.
    StorageFull {
        /// The storage.
        storage: Name<Storages>,
        /// What all disks need there.
        needed_mib: u64,
        /// What it can still promise.
        free_mib: u64,
    },
    /// No storage has enough left for a disk that may be anywhere, or all together have too little, MiB.
    Full {
        /// What is needed.
        needed_mib: u64,
        /// The most that can still be promised.
        free_mib: u64,
    },
}

/// Disks that the machine is to be looked at without, as places among its storages and sizes: an instance asks about the machine that
/// it is on.
pub type GivenBack<'a> = &'a mut dyn Iterator<Item = (u32, u64)>;

impl MachineSeat {
    fn promise_disk(&mut self, place: Option<u32>, change: impl FnOnce(u64) -> u64) {
        if let Some(storage) = place.and_then(|place| self.storages.get_mut(place as usize)) {
            storage.promised_mib = change(storage.promised_mib);
        }
    }

    /// Whether disks find room, each in its storage.
    ///
    /// # Errors
    /// The first misfit: disks that must be in a storage before those that may be anywhere.
    pub fn fit_disks(&self, disks: &[AskedDisk], given_back: GivenBack<'_>) -> Result<(), DiskMisfit> {
        if disks.is_empty() {
            return Ok(());
        }
        let mut layout = Layout::new(self, given_back);
        let total: u64 = disks.iter().map(|disk| disk.size_mib).sum();
        for (_, disk) in named_first(disks) {
            layout.lay(self, disk, disks)?;
        }
        if total > layout.total_free_mib {
            return Err(DiskMisfit::Full {
                needed_mib: total,
                free_mib: layout.total_free_mib,
            });
        }
        Ok(())
    }

    /// Where disks go, as places among the storages: the storage that a disk names, else the one with most room after the disks
    /// before it, the first of equals. Disks that name one are laid out before those that may be anywhere, and of these the largest
    /// first. `None` where there is no such storage.
    pub fn disk_places(&self, disks: &[AskedDisk]) -> Box<[Option<u32>]> {
        if let [disk] = disks {
            return Box::new([self.storage_for(disk)]);
        }
        let mut places = vec![None; disks.len()];
        let mut layout = Layout::new(self, &mut std::iter::empty());
        for (number, disk) in named_first(disks) {
            let place = layout.place(self, disk);
            layout.take(place, disk.size_mib);
            if let Some(slot) = places.get_mut(number) {
                *slot = place;
            }
        }
        places.into_boxed_slice()
    }
}

impl Pool {
    /// Lays the disks that may be anywhere out anew, beside those that name a storage, the largest first. An inventory does not say where
    /// they are, and the order of its instances must not decide it.
    pub(super) fn lay_out_disks(&mut self) {
        for seat in self.machines.iter_mut().filter(|seat| seat.storages.len() > 1) {
            let mut anywhere: Vec<(Reverse<u64>, Uuid, usize, InstanceIndex)> = Vec::new();
            let mut given_back: Vec<(Option<u32>, u64)> = Vec::new();
            for index in &seat.instances {
                let Some(held) = self.instances.get(index.0 as usize) else {
                    continue;
                };
                for (number, (disk, place)) in held.asked.disks.iter().zip(&held.disk_places).enumerate() {
                    if disk.storage.is_none() {
                        anywhere.push((Reverse(disk.size_mib), held.id, number, *index));
                        given_back.push((*place, disk.size_mib));
                    }
                }
            }
            for (place, size_mib) in given_back {
                seat.promise_disk(place, |promised| promised.saturating_sub(size_mib));
            }
            anywhere.sort_unstable();
            for (Reverse(size_mib), _, number, index) in anywhere {
                let place = seat.storage_for(&AskedDisk {
                    size_mib,
                    storage: None,
                });
                seat.promise_disk(place, |promised| promised.saturating_add(size_mib));
                let held = self.instances.get_mut(index.0 as usize);
                if let Some(slot) = held.and_then(|held| held.disk_places.get_mut(number)) {
                    *slot = place;
                }
            }
        }
    }
}

/// In the order in which they are laid out: those that name a storage, then the others, the largest first, as it has least choice. So
/// nothing depends on the order in which an instance lists them.
fn named_first(disks: &[AskedDisk]) -> impl Iterator<Item = (usize, &AskedDisk)> {
    let named = disks
        .iter()
        .enumerate()
        .filter(|(_, disk)| disk.storage.is_some());
    let mut anywhere: Vec<(usize, &AskedDisk)> = disks
        .iter()
        .enumerate()
        .filter(|(_, disk)| disk.storage.is_none())
        .collect();
    anywhere.sort_by_key(|(_, disk)| Reverse(disk.size_mib));
    named.chain(anywhere)
}

/// What each storage has left while disks are laid out one after the other.
struct Layout {
    free_mib: Vec<u64>,
    total_free_mib: u64,
}

impl Layout {
    fn new(seat: &MachineSeat, given_back: GivenBack<'_>) -> Self {
        let mut promised: Vec<u64> = seat.storages.iter().map(|storage| storage.promised_mib).collect();
        for (place, size_mib) in given_back {
            if let Some(promised) = promised.get_mut(place as usize) {
                *promised = promised.saturating_sub(size_mib);
            }
        }
        let free_mib: Vec<u64> = seat
            .storages
            .iter()
            .zip(promised)
            .map(|(storage, promised)| storage.capacity_mib.saturating_sub(promised))
            .collect();
        let total: u64 = free_mib.iter().sum();
        Self {
            free_mib,
            total_free_mib: total.saturating_sub(seat.disk_unaccounted_mib),
        }
    }

    fn place(&self, seat: &MachineSeat, disk: &AskedDisk) -> Option<u32> {
        let places = (0..).zip(&self.free_mib);
        match disk.storage {
            Some(name) => (0..)
                .zip(&seat.storages)
                .find_map(|(place, storage)| (storage.name == name).then_some(place)),
            None => places
                .min_by_key(|(_, free)| Reverse(**free))
                .map(|(place, _)| place),
        }
    }

    fn take(&mut self, place: Option<u32>, size_mib: u64) {
        if let Some(free) = place.and_then(|place| self.free_mib.get_mut(place as usize)) {
            *free = free.saturating_sub(size_mib);
        }
    }

    fn lay(&mut self, seat: &MachineSeat, disk: &AskedDisk, all: &[AskedDisk]) -> Result<(), DiskMisfit> {
        let place = self.place(seat, disk);
        let free_mib = place.and_then(|place| self.free_mib.get(place as usize)).copied();
        match (disk.storage, free_mib) {
            (Some(storage), None) => Err(DiskMisfit::Missing(storage)),
            (Some(storage), Some(free_mib)) if disk.size_mib > free_mib => {
                let there = all.iter().filter(|disk| disk.storage == Some(storage));
                let needed_mib: u64 = there.clone().map(|disk| disk.size_mib).sum();
                let laid: u64 = there
                    .take_while(|before| !std::ptr::eq(*before, disk))
                    .map(|before| before.size_mib)
                    .sum();
                Err(DiskMisfit::StorageFull {
                    storage,
                    needed_mib,
                    free_mib: free_mib + laid,
                })
            }
            (None, free_mib) if disk.size_mib > free_mib.unwrap_or(0) => Err(DiskMisfit::Full {
                needed_mib: disk.size_mib,
                free_mib: free_mib.unwrap_or(0),
            }),
            (None | Some(_), _) => {
                self.take(place, disk.size_mib);
                Ok(())
            }
        }
    }
}
