//! Pages of guest memory, to and from a file.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};
use vm_memory::bitmap::{AtomicBitmap, Bitmap};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap};

use crate::memory::{self, GuestMemory};

/// The size of a page, in bytes.
pub const PAGE: u64 = 4096;

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

/// Writes the pages of the runs, one after the other.
pub fn write(memory: &GuestMemory, runs: &[Run], file: &mut File) -> io::Result<()> {
    for run in runs {
        let length = usize::try_from(run.bytes()).map_err(io::Error::other)?;
        memory
            .write_all_volatile_to(GuestAddress(run.start), file, length)
            .map_err(io::Error::other)?;
    }
    Ok(())
}

/// Reads the pages of the runs. They must be [`within`] the memory.
pub fn read(memory: &GuestMemory, runs: &[Run], file: &mut File) -> io::Result<()> {
    for run in runs {
        let length = usize::try_from(run.bytes()).map_err(io::Error::other)?;
        memory
            .read_exact_volatile_from(GuestAddress(run.start), file, length)
            .map_err(io::Error::other)?;
    }
    Ok(())
}

/// The pages that hold anything: those of the memory's file that were ever touched.
///
/// Source: lseek(2), `SEEK_DATA` and `SEEK_HOLE`, which memory files have.
pub fn touched(memory: &GuestMemory) -> io::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for region in memory.iter() {
        let Some(file) = region.file_offset() else {
            push(&mut runs, region.start_addr().0, region.len() / PAGE);
            continue;
        };
        let (mut at, end) = (file.start(), file.start() + region.len());
        while at < end {
            let data = match rustix::fs::seek(file.file(), rustix::fs::SeekFrom::Data(at)) {
                Ok(data) if data < end => data,
                // Nothing behind it.
                Ok(_) | Err(rustix::io::Errno::NXIO) => break,
                Err(err) => return Err(err.into()),
            };
            let hole = rustix::fs::seek(file.file(), rustix::fs::SeekFrom::Hole(data))?.min(end);
            push(
                &mut runs,
                region.start_addr().0 + (data - file.start()),
                (hole - data).div_ceil(PAGE),
            );
            at = hole;
        }
    }
    Ok(runs)
}

/// The pages of either list; each is in order and apart.
pub fn union(one: &[Run], other: &[Run]) -> Vec<Run> {
    let mut all: Vec<Run> = [one, other].concat();
    all.sort_by_key(|run| run.start);
    let mut runs = Vec::new();
    let mut end = 0;
    for run in all {
        let run_end = run.start + run.bytes();
        let start = run.start.max(end);
        if start < run_end {
            push(&mut runs, start, (run_end - start) / PAGE);
            end = run_end;
        }
    }
    runs
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

fn forget(region: &GuestRegionMmap<AtomicBitmap>) {
    region.get_mmap().bitmap().reset();
}

fn push(runs: &mut Vec<Run>, start: u64, pages: u64) {
    let mut start = start;
    let mut pages = pages;
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

    #[test]
    fn the_touched_pages_are_those_that_were_written() {
        let memory = memory::create(64, false).unwrap();
        for page in [0, 1, 2, 700] {
            memory.write_obj(1_u8, GuestAddress(page * PAGE + 9)).unwrap();
        }
        let runs = touched(&memory).unwrap();
        assert_eq!(
            runs,
            [
                Run { start: 0, pages: 3 },
                Run {
                    start: 700 * PAGE,
                    pages: 1
                }
            ]
        );
    }

    #[test]
    fn what_a_device_or_a_vcpu_wrote_is_dirty_once() {
        let memory = memory::create(64, false).unwrap();
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

    proptest! {
        #[test]
        fn the_union_has_each_page_of_either_list_once(one in proptest::collection::btree_set(0_u64..200, 0..60), other in proptest::collection::btree_set(0_u64..200, 0..60)) {
            let runs_of = |pages: &std::collections::BTreeSet<u64>| {
                let mut runs = Vec::new();
                for page in pages {
                    push(&mut runs, page * PAGE, 1);
                }
                runs
            };
            let expected = runs_of(&one.union(&other).copied().collect());
            prop_assert_eq!(union(&runs_of(&one), &runs_of(&other)), expected);
        }

        #[test]
        fn pages_come_back_as_they_were(pages in proptest::collection::btree_map(0_u64..16384, any::<u8>(), 1..40)) {
            let memory = memory::create(64, false).unwrap();
            for (page, value) in &pages {
                memory.write_slice(&[*value; 4096], GuestAddress(page * PAGE)).unwrap();
            }
            let runs = touched(&memory).unwrap();
            prop_assert!(within(64, &runs));
            let mut file = tempfile::tempfile().unwrap();
            write(&memory, &runs, &mut file).unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            let copy = memory::create(64, false).unwrap();
            read(&copy, &runs, &mut file).unwrap();
            for (page, value) in &pages {
                prop_assert_eq!(copy.read_obj::<u8>(GuestAddress(page * PAGE + 77)).unwrap(), *value);
            }
        }
    }
}
