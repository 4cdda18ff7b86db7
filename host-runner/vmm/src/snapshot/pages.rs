//! Pages of guest memory, to and from a file.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;
use vm_memory::bitmap::Bitmap as _;
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap};

use crate::memory::{self, GuestMemory, Pages};

/// The size of a page, in bytes.
pub const PAGE: u64 = PAGE_BYTES as u64;
const PAGE_BYTES: usize = 4096;
/// How many bytes are moved at a time: they are in the processor's cache when they are added to the sum.
const PART: usize = 64 << 10;

type Region = GuestRegionMmap<Pages>;

/// Pages that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The first one's guest-physical address.
    pub start: u64,
    /// How many.
    pub pages: u32,
}

impl Run {
    /// How many bytes they have.
    pub fn bytes(&self) -> u64 {
        u64::from(self.pages) * PAGE
    }
}

/// Whether all runs lie in a machine's memory, in order and apart: then none is written twice, and their sum is bounded.
pub fn within(size_mib: u32, runs: &[Run]) -> bool {
    let layout = memory::layout(size_mib);
    let mut end = 0;
    runs.iter().all(|run| {
        let Some(run_end) = run.start.checked_add(run.bytes()) else {
            return false;
        };
        let apart = run.start >= end && run.start % PAGE == 0 && run.pages > 0;
        end = run_end;
        apart
            && layout
                .iter()
                .any(|range| range.start <= run.start && run_end <= range.end)
    })
}

/// Writes the pages of the runs, one after the other. Returns the XXH64 of what it wrote, with seed 0.
///
/// The sum finds accidents. It is no signature, and need not be: the list of pages beside it is not signed either.
///
/// # Errors
/// A run outside the memory, or what the file says.
pub fn write(memory: &GuestMemory, runs: &[Run], file: impl Write) -> io::Result<u64> {
    let mut file = BufWriter::with_capacity(PART, file);
    let mut sum = XxHash64::with_seed(0);
    // Copied first: the sum is of the bytes that are written, whatever becomes of the memory meanwhile.
    let mut part = vec![0; PART];
    for run in runs {
        let (mut at, mut left) = (run.start, run.bytes());
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(PART).min(PART);
            let part = part.get_mut(..length).unwrap_or_default();
            memory
                .read_slice(part, GuestAddress(at))
                .map_err(io::Error::other)?;
            sum.write(part);
            file.write_all(part)?;
            at += length as u64;
            left -= length as u64;
        }
    }
    file.flush()?;
    Ok(sum.finish())
}

/// Makes the pages of the runs hold zeroes, and gives them back to the host. They must be [`within`] the memory.
pub fn clear(memory: &GuestMemory, runs: &[Run]) -> io::Result<()> {
    for run in runs {
        let region = memory.find_region(GuestAddress(run.start));
        let region = region.ok_or(io::ErrorKind::InvalidInput)?;
        memory::clear(region, &(run.start..run.start + run.bytes()))?;
    }
    Ok(())
}

/// Reads the pages of the runs. They must be [`within`] the memory. Returns the sum of what it read, as [`write`] does.
///
/// # Errors
/// A file that ends before the runs do, or what it says.
pub fn read(memory: &GuestMemory, runs: &[Run], file: impl Read) -> io::Result<u64> {
    let mut file = BufReader::with_capacity(PART, file);
    let mut sum = XxHash64::with_seed(0);
    for run in runs {
        let (mut at, mut left) = (run.start, run.bytes());
        while left > 0 {
            let there = match file.fill_buf() {
                Ok([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(there) => there,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(err),
            };
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(there.len());
            let part = there.get(..length).unwrap_or_default();
            memory
                .write_slice(part, GuestAddress(at))
                .map_err(io::Error::other)?;
            sum.write(part);
            file.consume(length);
            at += length as u64;
            left -= length as u64;
        }
    }
    Ok(sum.finish())
}

/// Pages, told apart by what they hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// Those that hold anything but zeroes.
    pub data: Vec<Run>,
    /// Those that hold zeroes alone.
    pub zeroes: Vec<Run>,
}

/// The pages that hold anything but zeroes. `page_map` is this process's `/proc/self/pagemap`.
///
/// No page is looked at, and thereby taken from the host, that was never touched.
pub fn touched(memory: &GuestMemory, page_map: &File) -> io::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for region in memory.iter() {
        keep_data(memory, region, 0..region.len(), page_map, &mut runs)?;
    }
    Ok(runs)
}

/// Tells pages apart that were written. A guest writes its own freed pages no more, but gives them back to the host: there are as many
/// of those as of any other, and they need no room in a file.
///
/// The runs are those of [`dirty`]: in order, and each within a region.
pub fn sort(memory: &GuestMemory, written: &[Run], page_map: &File) -> io::Result<Sorted> {
    let mut sorted = Sorted::default();
    for run in written {
        let region = memory.find_region(GuestAddress(run.start));
        let region = region.ok_or(io::ErrorKind::InvalidInput)?;
        let offset = run.start - region.start_addr().0;
        let mut data = Vec::new();
        keep_data(memory, region, offset..offset + run.bytes(), page_map, &mut data)?;
        let mut at = run.start;
        for run in &data {
            push(&mut sorted.zeroes, at, (run.start - at) / PAGE);
            push(&mut sorted.data, run.start, u64::from(run.pages));
            at = run.start + run.bytes();
        }
        push(&mut sorted.zeroes, at, (run.start + run.bytes() - at) / PAGE);
    }
    Ok(sorted)
}

/// Adds the pages of a part of a region that hold anything but zeroes. `part` is of offsets, and of whole pages.
///
/// Source: the kernel's `Documentation/admin-guide/mm/pagemap.rst`; lseek(2), `SEEK_DATA` and `SEEK_HOLE`, which memory files have.
fn keep_data(
    memory: &GuestMemory,
    region: &Region,
    part: Range<u64>,
    page_map: &File,
    runs: &mut Vec<Run>,
) -> io::Result<()> {
    let mut touched = Vec::new();
    match region.file_offset() {
        Some(file) => touched_of_file(region, file, part, &mut touched)?,
        None => touched_of_process(region, part, page_map, &mut touched)?,
    }
    for run in touched {
        keep_what_is_not_zero(memory, run, runs)?;
    }
    Ok(())
}

/// A page with something in it is shared with others that map the file: the file knows.
fn touched_of_file(
    region: &Region,
    file: &FileOffset,
    part: Range<u64>,
    runs: &mut Vec<Run>,
) -> io::Result<()> {
    let (mut at, end) = (file.start() + part.start, file.start() + part.end);
    while at < end {
        let data = match rustix::fs::seek(file.file(), rustix::fs::SeekFrom::Data(at)) {
            Ok(data) if data < end => data,
            // Nothing behind it.
            Ok(_) | Err(rustix::io::Errno::NXIO) => break,
            Err(err) => return Err(err.into()),
        };
        let hole = rustix::fs::seek(file.file(), rustix::fs::SeekFrom::Hole(data))?.min(end);
        let start = region.start_addr().0 + (data - file.start());
        push(runs, start, (hole - data).div_ceil(PAGE));
        at = hole;
    }
    Ok(())
}

/// Memory of this process alone: a page is there, or the kernel has put it into swap. One of a file
/// that is shown counts, touched or not.
fn touched_of_process(
    region: &Region,
    part: Range<u64>,
    page_map: &File,
    runs: &mut Vec<Run>,
) -> io::Result<()> {
    const THERE: u64 = 1 << 63;
    const IN_SWAP: u64 = 1 << 62;
    const ENTRY: usize = size_of::<u64>();
    let of_a_file = region.get_mmap().bitmap().of_a_file();
    let first = region.as_ptr() as u64 / PAGE;
    let pages = part.end / PAGE;
    let mut entries = [0; 512 * ENTRY];
    let mut page = part.start / PAGE;
    while page < pages {
        let left = usize::try_from(pages - page).unwrap_or(usize::MAX);
        let bytes = entries.len().min(left.saturating_mul(ENTRY));
        let part = entries.get_mut(..bytes).unwrap_or_default();
        page_map.read_exact_at(part, (first + page) * ENTRY as u64)?;
        for entry in part.as_chunks::<ENTRY>().0 {
            let shown = || of_a_file.iter().any(|one| one.contains(&(page * PAGE)));
            if u64::from_ne_bytes(*entry) & (THERE | IN_SWAP) != 0 || shown() {
                push(runs, region.start_addr().0 + page * PAGE, 1);
            }
            page += 1;
        }
    }
    Ok(())
}

/// A huge page is there as a whole when one byte of it was touched, and most of it is then zeroes, as fresh memory is where it is restored.
fn keep_what_is_not_zero(memory: &GuestMemory, run: Run, runs: &mut Vec<Run>) -> io::Result<()> {
    let mut content = [0_u8; PAGE_BYTES];
    for page in 0..u64::from(run.pages) {
        let address = run.start + page * PAGE;
        memory
            .read_slice(&mut content, GuestAddress(address))
            .map_err(io::Error::other)?;
        if content != [0; PAGE_BYTES] {
            push(runs, address, 1);
        }
    }
    Ok(())
}

/// The pages that were written since the last call: by vCPUs, as KVM's log says (a bit a page, a list for each region), or by devices,
/// as the memory's own bitmap says, which is emptied.
pub fn dirty(memory: &GuestMemory, logs: &[Vec<u64>]) -> Vec<Run> {
    let mut runs = Vec::new();
    for (region, log) in memory.iter().zip(logs) {
        for page in 0..region.len() / PAGE {
            let by_vcpu = log
                .get((page / 64) as usize)
                .is_some_and(|word| word >> (page % 64) & 1 == 1);
            let by_device = usize::try_from(page * PAGE).is_ok_and(|offset| region.bitmap().dirty_at(offset));
            if by_vcpu || by_device {
                push(&mut runs, region.start_addr().0 + page * PAGE, 1);
            }
        }
        forget(region);
    }
    runs
}

/// Forgets what devices wrote so far.
pub fn forget_all(memory: &GuestMemory) {
    memory.iter().for_each(forget);
}

fn forget(region: &Region) {
    region.get_mmap().bitmap().forget();
}

fn push(runs: &mut Vec<Run>, start: u64, pages: u64) {
    let mut start = start;
    let mut pages = pages;
    if pages == 0 {
        return;
    }
    if let Some(last) = runs.last_mut()
        && last.start + last.bytes() == start
        && let Some(joined) = u32::try_from(pages)
            .ok()
            .and_then(|pages| last.pages.checked_add(pages))
    {
        last.pages = joined;
        return;
    }
    while pages > 0 {
        let part = u32::try_from(pages).unwrap_or(u32::MAX);
        runs.push(Run { start, pages: part });
        start += u64::from(part) * PAGE;
        pages -= u64::from(part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page_map() -> File {
        File::open("/proc/self/pagemap").unwrap()
    }

    #[test]
    fn pages_of_a_file_that_nobody_has_touched_hold_something_too() {
        let file = File::from(rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        file.set_len(4 * PAGE).unwrap();
        file.write_all_at(&[5; 2 * PAGE_BYTES], PAGE).unwrap();
        let memory = memory::create(64, memory::Backing::Private).unwrap();
        memory::show(&memory, GuestAddress(9 * PAGE), &file, &(0..4 * PAGE)).unwrap();
        let runs = touched(&memory, &page_map()).unwrap();
        let start = 10 * PAGE;
        assert_eq!(runs, [Run { start, pages: 2 }], "its zeroes need no room");
    }

    #[test]
    fn the_touched_pages_are_those_that_hold_something() {
        for backing in [memory::Backing::Private, memory::Backing::Shared] {
            let memory = memory::create(64, backing).unwrap();
            for page in [0, 1, 2, 700, 701] {
                memory.write_obj(1_u8, GuestAddress(page * PAGE + 9)).unwrap();
            }
            memory.write_obj(0_u8, GuestAddress(701 * PAGE + 9)).unwrap();
            let runs = touched(&memory, &page_map()).unwrap();
            let expected = [(0, 3), (700, 1)].map(|(page, pages)| Run {
                start: page * PAGE,
                pages,
            });
            assert_eq!(runs, expected, "{backing:?}");
        }
    }

    #[test]
    fn what_a_device_or_a_vcpu_wrote_is_dirty_once() {
        let memory = memory::create(64, memory::Backing::Shared).unwrap();
        forget_all(&memory);
        memory.write_obj(1_u8, GuestAddress(5 * PAGE)).unwrap();
        let mut log = vec![0_u64; 64 * 256 / 64];
        log[0] = 1 << 6;
        let runs = dirty(&memory, &[log.clone()]);
        assert_eq!(
            runs,
            [Run {
                start: 5 * PAGE,
                pages: 2
            }]
        );
        log[0] = 0;
        assert_eq!(dirty(&memory, &[log]), []);
    }

    #[test]
    fn written_pages_that_hold_zeroes_are_told_apart_and_take_none_of_the_host() {
        for backing in [memory::Backing::Private, memory::Backing::Shared] {
            let memory = memory::create(64, backing).unwrap();
            let run = |start: u64, pages| Run {
                start: start * PAGE,
                pages,
            };
            for page in [10, 12, 13] {
                memory.write_obj(1_u8, GuestAddress(page * PAGE)).unwrap();
            }
            memory.write_obj(0_u8, GuestAddress(13 * PAGE)).unwrap();
            // Of the second, no page was ever touched.
            let sorted = sort(&memory, &[run(9, 8), run(5000, 50)], &page_map()).unwrap();
            let expected = Sorted {
                data: vec![run(10, 1), run(12, 1)],
                zeroes: vec![run(9, 1), run(11, 1), run(13, 4), run(5000, 50)],
            };
            assert_eq!(sorted, expected, "{backing:?}");
            let mut there = Vec::new();
            for region in memory.iter() {
                let all = 0..region.len();
                match region.file_offset() {
                    Some(file) => touched_of_file(region, file, all, &mut there).unwrap(),
                    None => touched_of_process(region, all, &page_map(), &mut there).unwrap(),
                }
            }
            let is_there = |page: u64| {
                there
                    .iter()
                    .any(|run| (run.start..run.start + run.bytes()).contains(&(page * PAGE)))
            };
            assert!(is_there(10) && !is_there(5020), "{backing:?}: {there:?}");
        }
    }

    #[test]
    fn a_list_of_pages_that_is_out_of_order_or_of_memory_is_refused() {
        let run = |start: u64, pages| Run {
            start: start * PAGE,
            pages,
        };
        assert!(within(64, &[run(0, 1), run(1, 1), run(16383, 1)]));
        for wrong in [
            vec![run(2, 2), run(3, 1)],
            vec![run(16383, 2)],
            vec![run(0, 0)],
            vec![Run { start: 1, pages: 1 }],
            vec![Run {
                start: !(PAGE - 1),
                pages: u32::MAX,
            }],
        ] {
            assert!(!within(64, &wrong), "{wrong:?}");
        }
    }

    /// Gives bytes in parts of odd lengths, as a pipe may, and is interrupted before each.
    struct Reluctant<'a>(&'a [u8], bool);

    impl Read for Reluctant<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let part = to.len().min(1001);
            self.0.read(&mut to[..part])
        }
    }

    #[test]
    fn the_sum_is_that_of_the_whole_file_however_it_is_cut() {
        let memory = memory::create(64, memory::Backing::Shared).unwrap();
        let run = |start: u64, pages| Run {
            start: start * PAGE,
            pages,
        };
        // The second is longer than what is moved at a time, and no multiple of it.
        let runs = [run(3, 1), run(100, 33), run(900, 2)];
        for page in 0..1000_u64 {
            memory
                .write_obj(page * 0x9e37_79b9, GuestAddress(page * PAGE))
                .unwrap();
        }
        let mut file = Vec::new();
        let written = write(&memory, &runs, &mut file).unwrap();
        assert_eq!(written, XxHash64::oneshot(0, &file));
        assert_eq!(file.len(), 36 * PAGE_BYTES);
        let copy = memory::create(64, memory::Backing::Shared).unwrap();
        assert_eq!(read(&copy, &runs, Reluctant(&file, false)).unwrap(), written);
        for page in [3, 100, 132, 901_u64] {
            let at = GuestAddress(page * PAGE);
            let (copied, original) = (copy.read_obj::<u64>(at), memory.read_obj::<u64>(at));
            assert_eq!(copied.unwrap(), original.unwrap(), "{page}");
        }
        let cut = read(&copy, &runs, &file[..file.len() - 1]).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn pages_come_back_as_they_were(pages in proptest::collection::btree_map(0_u64..16384, 1_u8.., 1..40)) {
            let memory = memory::create(64, memory::Backing::Shared).unwrap();
            for (page, value) in &pages {
                memory.write_slice(&[*value; 4096], GuestAddress(page * PAGE)).unwrap();
            }
            let runs = touched(&memory, &page_map()).unwrap();
            prop_assert!(within(64, &runs));
            let mut file = tempfile::tempfile().unwrap();
            let written = write(&memory, &runs, &mut file).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            let copy = memory::create(64, memory::Backing::Shared).unwrap();
            prop_assert_eq!(read(&copy, &runs, &mut file).unwrap(), written);
            for (page, value) in &pages {
                prop_assert_eq!(copy.read_obj::<u8>(GuestAddress(page * PAGE + 77)).unwrap(), *value);
            }
        }
    }
}
