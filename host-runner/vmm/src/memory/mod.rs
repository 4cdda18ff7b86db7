//! Guest memory: where it lies, and how it is made.
//!
//! ```text
//! 0           640 KiB  1 MiB                       3 GiB              4 GiB
//! | RAM | ACPI, BIOS  | RAM: kernel, initrd …      | MMIO gap          | RAM, the rest …
//! ```

mod pages;
mod private;

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use vm_memory::mmap::MmapRegion;
use vm_memory::{
    Address as _, Bytes as _, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap,
    GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress,
};

pub use self::pages::Pages;

/// The guest's memory. The pages that devices wrote are in the bitmap; those that vCPUs wrote are in KVM's log.
pub type GuestMemory = GuestMemoryMmap<Pages>;

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
    /// A memory file in huge pages of 2 MiB, which the machine must have reserved: taken as a whole, and kept.
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

/// Makes the memory of a machine, which holds nothing but zeroes, and takes none of the host's before it is touched, but for
/// [`Backing::Reserved`].
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
        if range.start == 0 {
            // The guest is handed a few pages there, and its kernel leaves the first MiB alone.
            private::in_small_pages(&mapping, private::HUGE_PAGE);
        }
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
    let bytes = u64::from(size_mib) << 20;
    rustix::fs::ftruncate(&file, bytes).map_err(reserve)?;
    let huge = pages.contains(MemfdFlags::HUGETLB);
    if huge {
        // The file's size takes no page from the pool, and neither does its mapping, which is made without a reservation: a guest that
        // touched one more than there are would end the process with SIGBUS.
        let take = || rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes);
        rustix::io::retry_on_intr(take).map_err(reserve)?;
    }
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
        .map_err(reserve)?;
    map(&File::from(file), size_mib, huge)
}

/// Puts whole pages of a file in the place of memory that nobody has written yet. Each is read when the guest touches it, and is the page
/// that others have of this file, until the guest writes to it: then it has one of its own.
///
/// The file must keep these pages as long as the guest runs: one that is gone when it is touched ends the process.
///
/// # Errors
/// A range that is not whole pages within one region, memory that is a file itself, or what the system says of the file.
pub fn show(memory: &GuestMemory, start: GuestAddress, file: &File, part: &Range<u64>) -> io::Result<()> {
    let in_process = |bytes: u64| usize::try_from(bytes).map_err(io::Error::other);
    let region = memory.find_region(start).ok_or(io::ErrorKind::InvalidInput)?;
    if region.file_offset().is_some() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let length = part.end.saturating_sub(part.start);
    let offset = start.raw_value() - region.start_addr().raw_value();
    private::show(
        region,
        (in_process(offset)?, in_process(length)?),
        file,
        part.start,
    )?;
    region.get_mmap().bitmap().are_of_a_file(offset..offset + length);
    Ok(())
}

/// Gives the whole pages of a part of a region back to the host: they read as zeroes from now on. The range is of guest-physical addresses
/// within the region, and of whole pages of 4 KiB.
///
/// In a file's mapping this takes the pages away from everybody who shares the file; a file that is mapped privately is refused, since a
/// hole in it would not take its pages away. So are huge pages that were reserved: another machine could take them, and the guest, which
/// may touch them again at any time, would find none; and pages of a file that is [shown](show), which would be as in the file again.
///
/// # Errors
/// A range that is not whole pages within the region, or what the system says.
pub fn give_back(region: &GuestRegionMmap<Pages>, range: &Range<u64>) -> io::Result<()> {
    let base = region.start_addr().raw_value();
    let whole = range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE);
    if !whole || range.start < base || range.end > base + region.len() || range.end <= range.start {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (offset, length) = (range.start - base, range.end - range.start);
    let of_a_file = region.get_mmap().bitmap().of_a_file();
    let mut touched = of_a_file
        .iter()
        .filter(|one| one.start < offset + length && offset < one.end);
    match region.file_offset() {
        None if touched.next().is_some() => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "pages of the kernel's file stay",
        )),
        None => {
            let in_process = |bytes| usize::try_from(bytes).map_err(io::Error::other);
            private::give_back(region, in_process(offset)?, in_process(length)?)
        }
        Some(_) if is_reserved(region) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "huge pages that were reserved stay the guest's",
        )),
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

/// Has the whole pages of a part of a region read as zeroes from now on: given back, where that can be.
///
/// # Errors
/// As of [`give_back`], but that memory which stays the guest's is overwritten.
pub fn clear(region: &GuestRegionMmap<Pages>, range: &Range<u64>) -> io::Result<()> {
    if !is_reserved(region) {
        return give_back(region, range);
    }
    let zeroes = [0; 4096];
    let mut at = range.start;
    while at < range.end {
        let offset = at
            .checked_sub(region.start_addr().raw_value())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let count = usize::try_from((range.end - at).min(PAGE)).map_err(io::Error::other)?;
        let (now, _) = zeroes.split_at(count);
        region
            .write_slice(now, MemoryRegionAddress(offset))
            .map_err(io::Error::other)?;
        at += PAGE;
    }
    Ok(())
}

fn is_reserved(region: &GuestRegionMmap<Pages>) -> bool {
    GuestMemoryRegion::is_hugetlbfs(region) == Some(true)
}

/// Maps a memory file as the memory of a machine; `huge`, where it consists of huge pages.
fn map(file: &File, size_mib: u32, huge: bool) -> Result<GuestMemory, MemoryError> {
    let mut offset = 0;
    let mut regions = Vec::new();
    for range in layout(size_mib) {
        let length = range.end - range.start;
        let file = file.try_clone().map_err(|err| MemoryError::Reserve {
            size_mib,
            huge_pages: huge,
            err,
        })?;
        let size = usize::try_from(length).map_err(|_| MemoryError::Size(size_mib))?;
        let mapping = MmapRegion::from_file(FileOffset::new(file, offset), size);
        let mut mapping = mapping.map_err(|err| MemoryError::Map(err.into()))?;
        mapping.set_hugetlbfs(huge);
        let region = GuestRegionMmap::new(mapping, GuestAddress(range.start));
        regions.push(region.ok_or(MemoryError::Size(size_mib))?);
        offset += length;
    }
    GuestMemory::from_regions(regions).map_err(|err| MemoryError::Map(err.into()))
}

/// The size of a machine's memory, in MiB.
pub fn size_mib(memory: &GuestMemory) -> u32 {
    let bytes: u64 = memory.iter().map(vm_memory::GuestMemoryRegion::len).sum();
    u32::try_from(bytes >> 20).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use proptest::prelude::*;

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

    /// Four pages of ones, and one byte more.
    fn ones() -> File {
        let file = File::from(rustix::fs::memfd_create("ones", MemfdFlags::CLOEXEC).unwrap());
        file.write_all_at(&vec![1; (4 << 12) + 1], 0).unwrap();
        file
    }

    #[test]
    fn pages_of_a_file_are_seen_where_they_are_shown_and_stay() {
        let memory = create(64, Backing::Private).unwrap();
        let region = memory.iter().next().unwrap();
        show(&memory, GuestAddress(2 << 12), &ones(), &(1 << 12..3 << 12)).unwrap();
        let seen = || [1, 2, 3, 4].map(|page: u64| memory.read_obj::<u8>(GuestAddress(page << 12)).unwrap());
        assert_eq!(seen(), [0, 1, 1, 0]);
        memory.write_obj(7_u8, GuestAddress(3 << 12)).unwrap();
        // They would be as in the file again, where the guest may count on zeroes.
        for touching in [0..3 << 12, 3 << 12..4 << 12, 3 << 12..8 << 12] {
            assert!(give_back(region, &touching).is_err(), "{touching:?}");
        }
        assert_eq!(seen(), [0, 1, 7, 0]);
        for beside in [0..2 << 12, 4 << 12..8 << 12] {
            give_back(region, &beside).unwrap();
        }
    }

    #[test]
    fn only_whole_pages_are_shown_within_private_memory() {
        let (memory, file) = (create(64, Backing::Private).unwrap(), ones());
        for (start, part) in [
            (8, 0..1 << 12),
            (0, 8..1 << 12),
            (0, 0..100),
            (0, 0..0),
            ((64 << 20) - (1 << 12), 0..2 << 12),
            (64 << 20, 0..1 << 12),
        ] {
            assert!(
                show(&memory, GuestAddress(start), &file, &part).is_err(),
                "{start} {part:?}"
            );
        }
        assert_eq!(memory.read_obj::<u8>(GuestAddress(0)).unwrap(), 0);
        // A file that may not be read: the memory is as it was made, and is no file's.
        let closed = tempfile::NamedTempFile::new().unwrap();
        closed.as_file().set_len(8 << 12).unwrap();
        let unreadable = File::options().write(true).open(closed.path()).unwrap();
        assert!(show(&memory, GuestAddress(1 << 12), &unreadable, &(0..4 << 12)).is_err());
        memory.write_obj(5_u8, GuestAddress(2 << 12)).unwrap();
        assert_eq!(memory.read_obj::<u8>(GuestAddress(2 << 12)).unwrap(), 5);
        give_back(memory.iter().next().unwrap(), &(0..8 << 12)).unwrap();
        assert_eq!(memory.read_obj::<u8>(GuestAddress(2 << 12)).unwrap(), 0);
        let shared = create(64, Backing::Shared).unwrap();
        assert!(show(&shared, GuestAddress(0), &file, &(0..1 << 12)).is_err());
    }

    /// What the machine's pool of huge pages can give at most, in MiB: 0 also where there is no pool.
    fn pool_mib() -> u32 {
        let number = |name: &str| {
            let path = format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{name}");
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.trim().parse::<u32>().unwrap_or(0)
        };
        2 * (number("free_hugepages") + number("nr_overcommit_hugepages"))
    }

    #[test]
    fn reserved_memory_is_refused_where_the_pool_is_too_small() {
        let wanted = pool_mib() + 64;
        let refused = create(wanted, Backing::Reserved).unwrap_err();
        let expected = format!("cannot reserve {wanted} MiB for the guest in huge pages");
        assert_eq!(refused.to_string(), expected);
    }

    #[test]
    fn reserved_memory_is_all_there_and_stays_the_guests() {
        if pool_mib() < 64 {
            eprintln!("not tried: this machine has no huge pages");
            return;
        }
        let before = pool_mib();
        let memory = match create(64, Backing::Reserved) {
            Ok(memory) => memory,
            Err(refused) => {
                eprintln!("not tried: {refused}: others have reserved them");
                return;
            }
        };
        assert!(pool_mib() < before, "they are taken before they are touched");
        let region = memory.iter().next().unwrap();
        memory.write_obj(9_u8, GuestAddress(0)).unwrap();
        memory.write_obj(9_u8, GuestAddress(PAGE)).unwrap();
        assert!(give_back(region, &(0..64 << 20)).is_err());
        clear(region, &(0..PAGE)).unwrap();
        let seen = [0, PAGE].map(|at| memory.read_obj::<u8>(GuestAddress(at)).unwrap());
        assert_eq!(seen, [0, 9]);
    }
}
