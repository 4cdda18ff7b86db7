//! Guest memory: where it lies, and how it is made.
//!
//! ```text
//! 0           640 KiB  1 MiB                       3 GiB              4 GiB
//! | RAM | ACPI, BIOS  | RAM: kernel, initrd …      | MMIO gap          | RAM, the rest …
//! ```

mod private;

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{
    Address as _, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    GuestRegionMmap,
};

/// The guest's memory. The bitmap holds the pages that devices wrote; those that vCPUs wrote are in KVM's log.
pub type GuestMemory = GuestMemoryMmap<AtomicBitmap>;

/// Where the hole for devices begins, in bytes.
pub const GAP_START: u64 = 3 << 30;
/// Where memory goes on above the hole, in bytes.
pub const GAP_END: u64 = 4 << 30;
/// Where extended memory, and with it the kernel, begins.
pub const HIGH_MEMORY_START: u64 = 1 << 20;
/// The first byte that the firmware of a PC would own; below it, conventional memory.
pub const LOW_MEMORY_END: u64 = 0xa_0000;
/// The size of a page, in bytes.
const PAGE: u64 = 4096;
/// The least memory of a machine, in MiB: a kernel does not unpack into less.
pub const MEMORY_MIB_MIN: u32 = 32;
/// The most memory of a machine, in MiB: 4 TiB.
pub const MEMORY_MIB_MAX: u32 = 4 << 20;

/// What the memory of a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// This process's own, in huge pages where the kernel has some to give.
    Private,
    /// A memory file, which another process can share.
    Shared,
    /// A memory file in huge pages of 2 MiB, which the machine must have reserved.
    Reserved,
}

/// Why guest memory could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The size is out of range.
    #[error("a machine has {MEMORY_MIB_MIN} to {MEMORY_MIB_MAX} MiB of memory, not {0}")]
    Size(u32),
    /// The file that stands for the memory could not be made.
    #[error("cannot reserve {size_mib} MiB for the guest{}", if *huge_pages { " in huge pages" } else { "" })]
    Reserve {
        /// How much, in MiB.
        size_mib: u32,
        /// Whether in huge pages.
        huge_pages: bool,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// The memory could not be mapped.
    #[error("cannot map the guest's memory")]
    Map(#[source] vm_memory::mmap::FromRangesError),
}

/// The ranges of guest-physical addresses that are memory, in bytes: the second one only where the first does not hold all.
///
/// Pure. The ranges are disjoint, in order, never touch the gap, and add up to `size_mib`.
pub fn layout(size_mib: u32) -> Vec<Range<u64>> {
    let size = u64::from(size_mib) << 20;
    let mut ranges = Vec::from([Range {
        start: 0,
        end: size.min(GAP_START),
    }]);
    if size > GAP_START {
        ranges.push(GAP_END..GAP_END + (size - GAP_START));
    }
    ranges
}

/// Makes the memory of a machine, which holds nothing but zeroes, and takes none of the host's before it is touched.
pub fn create(size_mib: u32, backing: Backing) -> Result<GuestMemory, MemoryError> {
    if !(MEMORY_MIB_MIN..=MEMORY_MIB_MAX).contains(&size_mib) {
        return Err(MemoryError::Size(size_mib));
    }
    match backing {
        Backing::Private => create_private(size_mib),
        Backing::Shared => create_file(size_mib, MemfdFlags::empty()),
        Backing::Reserved => create_file(size_mib, MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB),
    }
}

fn create_private(size_mib: u32) -> Result<GuestMemory, MemoryError> {
    let mut regions = Vec::new();
    for range in layout(size_mib) {
        let length = usize::try_from(range.end - range.start).map_err(|_| MemoryError::Size(size_mib))?;
        let mapping = private::map(length).map_err(|err| MemoryError::Reserve {
            size_mib,
            huge_pages: false,
            err,
        })?;
        let region = GuestRegionMmap::new(mapping, GuestAddress(range.start));
        regions.push(region.ok_or(MemoryError::Size(size_mib))?);
    }
    GuestMemory::from_regions(regions).map_err(|err| MemoryError::Map(err.into()))
}

/// One memory file, sealed against shrinking, which would turn accesses into SIGBUS.
fn create_file(size_mib: u32, pages: MemfdFlags) -> Result<GuestMemory, MemoryError> {
    let reserve = |err: rustix::io::Errno| MemoryError::Reserve {
        size_mib,
        huge_pages: pages.contains(MemfdFlags::HUGETLB),
        err: err.into(),
    };
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | pages;
    let file = rustix::fs::memfd_create("guest-memory", flags).map_err(reserve)?;
    rustix::fs::ftruncate(&file, u64::from(size_mib) << 20).map_err(reserve)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
        .map_err(reserve)?;
    map(&File::from(file), size_mib)
}

/// Gives the whole pages of a part of a region back to the host: they read as zeroes from now on. The range is of guest-physical addresses
/// within the region, and of whole pages of 4 KiB.
///
/// In a file's mapping this takes the pages away from everybody who shares the file; a file that is mapped privately is refused, since a
/// hole in it would not take its pages away.
///
/// # Errors
/// A range that is not whole pages within the region, or what the system says.
pub fn give_back(region: &GuestRegionMmap<AtomicBitmap>, range: &Range<u64>) -> io::Result<()> {
    let base = region.start_addr().raw_value();
    let whole = range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE);
    if !whole || range.start < base || range.end > base + region.len() || range.end <= range.start {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (offset, length) = (range.start - base, range.end - range.start);
    match region.file_offset() {
        None => {
            let in_process = |bytes| usize::try_from(bytes).map_err(io::Error::other);
            private::give_back(region, in_process(offset)?, in_process(length)?)
        }
        Some(file) if region.flags() & libc::MAP_SHARED != 0 => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            Ok(rustix::fs::fallocate(
                file.file(),
                flags,
                file.start() + offset,
                length,
            )?)
        }
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Maps a memory file as the memory of a machine.
pub fn map(file: &File, size_mib: u32) -> Result<GuestMemory, MemoryError> {
    let mut offset = 0;
    let mut ranges = Vec::new();
    for range in layout(size_mib) {
        let length = range.end - range.start;
        let file = file.try_clone().map_err(|err| MemoryError::Reserve {
            size_mib,
            huge_pages: false,
            err,
        })?;
        let size = usize::try_from(length).map_err(|_| MemoryError::Size(size_mib))?;
        ranges.push((
            GuestAddress(range.start),
            size,
            Some(FileOffset::new(file, offset)),
        ));
        offset += length;
    }
    GuestMemory::from_ranges_with_files(ranges).map_err(MemoryError::Map)
}

/// The size of a machine's memory, in MiB.
pub fn size_mib(memory: &GuestMemory) -> u32 {
    let bytes: u64 = memory.iter().map(vm_memory::GuestMemoryRegion::len).sum();
    u32::try_from(bytes >> 20).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vm_memory::Bytes as _;

    use super::*;

    proptest! {
        #[test]
        fn memory_adds_up_is_in_order_and_leaves_the_gap_alone(size_mib in MEMORY_MIB_MIN..=MEMORY_MIB_MAX) {
            let ranges = layout(size_mib);
            let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
            prop_assert_eq!(bytes, u64::from(size_mib) << 20);
            let mut end = 0;
            for range in &ranges {
                prop_assert!(range.start < range.end && range.start >= end);
                prop_assert!(range.end <= GAP_START || range.start >= GAP_END);
                end = range.end;
            }
        }
    }

    #[test]
    fn no_machine_has_less_than_a_kernel_needs_or_more_than_can_be_addressed() {
        for size_mib in [0, MEMORY_MIB_MIN - 1, MEMORY_MIB_MAX + 1, u32::MAX] {
            assert!(
                matches!(create(size_mib, Backing::Private), Err(MemoryError::Size(said)) if said == size_mib)
            );
        }
    }

    #[test]
    fn memory_is_shared_through_one_file_that_cannot_shrink() {
        let memory = create(64, Backing::Shared).unwrap();
        let region = memory.iter().next().unwrap();
        let file = vm_memory::GuestMemoryRegion::file_offset(region).unwrap();
        assert!(file.file().set_len(0).is_err());
        assert_eq!(size_mib(&memory), 64);
    }

    #[test]
    fn private_memory_lies_where_huge_pages_can_be_mapped_and_is_all_there() {
        let memory = create(33, Backing::Private).unwrap();
        let region = memory.iter().next().unwrap();
        assert!((region.as_ptr() as usize).is_multiple_of(private::HUGE_PAGE));
        let last = GuestAddress((33 << 20) - 8);
        for address in [GuestAddress(0), last] {
            assert_eq!(memory.read_obj::<u64>(address).unwrap(), 0);
            memory.write_obj(7_u64, address).unwrap();
        }
        assert_eq!(memory.read_obj::<u64>(last).unwrap(), 7);
    }

    #[test]
    fn what_is_given_back_reads_as_zeroes_and_its_neighbours_stay() {
        for backing in [Backing::Private, Backing::Shared] {
            let memory = create(64, backing).unwrap();
            let region = memory.iter().next().unwrap();
            for page in 0..4_u64 {
                memory.write_obj(9_u8, GuestAddress(page << 12)).unwrap();
            }
            give_back(region, &(1 << 12..3 << 12)).unwrap();
            let seen = [0, 1, 2, 3].map(|page: u64| memory.read_obj::<u8>(GuestAddress(page << 12)).unwrap());
            assert_eq!(seen, [9, 0, 0, 9], "{backing:?}");
            for wrong in [1 << 12..(64 << 20) + 4096, 7..4096] {
                assert!(give_back(region, &wrong).is_err(), "{backing:?} {wrong:?}");
            }
            assert_eq!(memory.read_obj::<u8>(GuestAddress(0)).unwrap(), 9);
        }
    }
}
