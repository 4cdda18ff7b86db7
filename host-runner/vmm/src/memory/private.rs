#![expect(
    unsafe_code,
    reason = "memory that begins at an address of our choice is mapped by hand"
)]
//! Memory of this process alone, which the kernel gives in huge pages where it can.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::null_mut;

use vm_memory::bitmap::NewBitmap as _;
use vm_memory::mmap::{MmapRegion, MmapRegionBuilder};

use super::Pages;

/// The size of a small page, in bytes.
const PAGE: usize = 4096;
/// The size of a huge page, in bytes.
pub(super) const HUGE_PAGE: usize = 2 << 20;

/// Maps `size` bytes, a number of whole pages, that begin on a huge page's boundary, and stay mapped as long as the process lives.
///
/// Guest addresses of regions begin there, too: only then can KVM map a huge page as one, and save the guest an exit for each of the
/// 512 small ones that it would consist of. A kernel without huge pages gives small ones.
///
/// Source: the kernel's `Documentation/admin-guide/mm/transhuge.rst`.
pub(super) fn map(size: usize) -> io::Result<MmapRegion<Pages>> {
    let reserved = size.checked_add(HUGE_PAGE).ok_or(io::ErrorKind::OutOfMemory)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, at an address that the kernel chooses, replaces nothing.
    let start = unsafe { libc::mmap(null_mut(), reserved, protection, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let before = (start as usize).next_multiple_of(HUGE_PAGE) - start as usize;
    // SAFETY: `before` is at most `HUGE_PAGE`, by which the mapping is longer than `size`.
    let (aligned, end) = unsafe { (start.byte_add(before), start.byte_add(before + size)) };
    // SAFETY: both ranges are whole pages of the mapping made above, which nobody else knows yet, and lie outside of what is kept.
    // A range that cannot be given back, or that is empty, stays reserved and unused; huge pages are the kernel's to refuse.
    unsafe {
        libc::munmap(start, before);
        libc::munmap(end, HUGE_PAGE - before);
        libc::madvise(aligned, size, libc::MADV_HUGEPAGE);
    }
    // SAFETY: the range is mapped, readable and writable, and nothing ever unmaps it.
    let region = unsafe {
        MmapRegionBuilder::new_with_bitmap(size, Pages::with_len(size))
            .with_mmap_prot(protection)
            .with_mmap_flags(flags)
            .with_raw_mmap_pointer(aligned.cast())
            .build()
    };
    region.map_err(io::Error::other)
}

/// Has the first `length` bytes of a region that [`map`] made consist of small pages: where little is touched, a huge page is mostly lost.
///
/// A wish, as huge pages are: `length` beyond the region, or a kernel without huge pages, changes nothing.
pub(super) fn in_small_pages(region: &MmapRegion<Pages>, length: usize) {
    if length <= region.size() {
        // SAFETY: the range is of the region's mapping, as checked, and what it holds stays as it is.
        unsafe {
            libc::madvise(region.as_ptr().cast(), length, libc::MADV_NOHUGEPAGE);
        }
    }
}

/// Takes the pages of a range out of a private mapping: they read as zeroes from then on.
///
/// The range is `length` bytes at `offset`, whole pages within a region that [`map`] made; anything else is refused.
pub(super) fn give_back(region: &MmapRegion<Pages>, offset: usize, length: usize) -> io::Result<()> {
    let end = offset.checked_add(length).filter(|end| *end <= region.size());
    if end.is_none() || !offset.is_multiple_of(PAGE) || !length.is_multiple_of(PAGE) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: the range is whole pages of the region's mapping, as checked. The memory is the guest's, which nobody holds a Rust reference
    // to: all access goes through volatile accesses of bytes, to which a page that turns to zeroes is like any other write of the guest.
    let done = unsafe { libc::madvise(region.as_ptr().add(offset).cast(), length, libc::MADV_DONTNEED) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Puts whole pages of a file in the place of a part of a region: they are read from the file when they are touched first, and what is
/// written to them stays in this process.
///
/// The part is `length` bytes at `offset`, whole pages within a region that [`map`] made, and so is `file_offset`; anything else is refused.
pub(super) fn show(
    region: &MmapRegion<Pages>,
    (offset, length): (usize, usize),
    file: &File,
    file_offset: u64,
) -> io::Result<()> {
    let end = offset.checked_add(length).filter(|end| *end <= region.size());
    if end.is_none() || length == 0 || !offset.is_multiple_of(PAGE) || !length.is_multiple_of(PAGE) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // The kernel refuses an offset within a page by itself.
    let file_offset = libc::off_t::try_from(file_offset).map_err(io::Error::other)?;
    let flags = libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE;
    // SAFETY: the range is whole pages of the region's mapping, as checked, and is mapped before and after, readable and writable: a kernel
    // that refuses may have taken the old mapping away already, so the place is mapped anew, or the process ends. In a gap there something else
    // could be mapped, which the guest would reach. The memory is the guest's, which nobody holds a Rust reference to: all access goes through volatile accesses
    // of bytes, to which pages that turn into others are like any other write of the guest. A page that the file no longer has when it is
    // touched ends the process.
    unsafe {
        let start = region.as_ptr().add(offset).cast();
        let shown = libc::mmap(start, length, region.prot(), flags, file.as_raw_fd(), file_offset);
        if shown != libc::MAP_FAILED {
            return Ok(());
        }
        let refused = io::Error::last_os_error();
        let again = libc::mmap(start, length, region.prot(), flags | libc::MAP_ANONYMOUS, -1, 0);
        if again == libc::MAP_FAILED {
            std::process::abort();
        }
        libc::madvise(start, length, libc::MADV_HUGEPAGE);
        Err(refused)
    }
}
