#![expect(unsafe_code, reason = "where a page lies is known of mapped pages alone")]
//! Where in physical memory the pages of a file lie.
//!
//! Source: the kernel's `Documentation/admin-guide/mm/pagemap.rst`.

use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::ptr;

const PAGE: usize = 4096;
/// The size of what the kernel tells of a page.
const ENTRY: usize = 8;
/// The page is in memory.
const THERE: u64 = 1 << 63;
/// The bits that hold the number of its frame.
const FRAME: u64 = (1 << 55) - 1;
/// The first frame at 4 GiB.
const ABOVE: u64 = 1 << 20;

/// Prints how many pages the file has, and how many of them lie above 4 GiB.
pub fn print(path: &str) -> Result<(), Box<dyn Error>> {
    let file = File::open(path)?;
    let pages = usize::try_from(file.metadata()?.len())?.div_ceil(PAGE);
    // SAFETY: a new mapping, at an address of the kernel's choice; it overlaps nothing of this process.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            pages * PAGE,
            libc::PROT_READ,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            file.as_raw_fd(),
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error().into());
    }
    let mut entries = vec![0; pages * ENTRY];
    let first = start as usize / PAGE;
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, (first * ENTRY) as u64)?;
    let entries = entries.as_chunks::<ENTRY>().0.iter().copied();
    let above = entries
        .map(u64::from_ne_bytes)
        .filter(|entry| entry & THERE != 0 && entry & FRAME >= ABOVE);
    println!("pages={pages} above={}", above.count());
    Ok(())
}
