use super::names::{Name, Storages};
use super::{AskedDisk, MachineSeat};

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
    /// before it, the first of equals. Disks that name one are laid out before those that may be anywhere. `None` where there is no
    /// such storage.
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

fn named_first(disks: &[AskedDisk]) -> impl Iterator<Item = (usize, &AskedDisk)> {
    let named = disks
        .iter()
        .enumerate()
        .filter(|(_, disk)| disk.storage.is_some());
    named.chain(
        disks
            .iter()
            .enumerate()
            .filter(|(_, disk)| disk.storage.is_none()),
    )
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
                .min_by_key(|(_, free)| std::cmp::Reverse(**free))
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
