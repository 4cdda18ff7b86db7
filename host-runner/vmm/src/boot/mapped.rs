#![expect(unsafe_code, reason = "a file is mapped over a part of guest memory")]
//! Files that become guest memory without being copied.
//!
//! A kernel has fifty megabytes, of which a guest that boots touches a part. So the whole pages of a file are mapped over the memory
//! where they belong, privately: each comes from the host's page cache when the guest first needs it, is shared with all guests that
//! boot the same kernel, and is copied when one of them writes it.
//!
//! The file must stay as it is while the machine runs: one that is cut meanwhile ends the process (SIGBUS) when a page behind its end is
//! touched. Images are content-addressed and read-only, and whoever starts the process answers for its other files.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd as _;

use vm_memory::bitmap::BitmapSlice;
use vm_memory::volatile_memory::Error as VolatileMemoryError;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress, ReadVolatile, VolatileSlice};

use crate::memory::GuestMemory;
use crate::snapshot::Run;

const PAGE: usize = 4096;
/// What is shorter is copied: a mapping of its own costs more than a few pages.
const MAPPED_BYTES_MIN: usize = 256 << 10;

/// A file that a loader reads guest memory from, and that maps what it can.
pub(super) struct Mapped<'a> {
    file: &'a mut File,
    /// Whether anything may be mapped: memory in huge pages, or memory that another process shares, must be copied to.
    allowed: bool,
    /// What was mapped: where in this process, and how many bytes.
    ranges: Vec<(usize, usize)>,
}

impl<'a> Mapped<'a> {
    pub(super) fn new(file: &'a mut File, allowed: bool) -> Self {
        Self {
            file,
            allowed,
            ranges: Vec::new(),
        }
    }

    /// The guest's pages that were mapped, and are therefore not in the memory's own file.
    pub(super) fn pages(&self, memory: &GuestMemory) -> Vec<Run> {
        let mut runs = Vec::new();
        for (address, length) in &self.ranges {
            for region in memory.iter() {
                let Ok(host) = region.get_host_address(MemoryRegionAddress(0)) else {
                    continue;
                };
                let Some(offset) = address.checked_sub(host as usize) else {
                    continue;
                };
                if (offset as u64) < region.len() {
                    let pages = u32::try_from(length / PAGE).unwrap_or(u32::MAX);
                    runs.push(Run {
                        start: region.start_addr().0 + offset as u64,
                        pages,
                    });
                }
            }
        }
        runs
    }

    /// Maps the pages of the file at `offset` over the page-aligned `length` bytes at `address`.
    fn map(&self, address: *mut u8, offset: u64, length: usize) -> io::Result<()> {
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        // SAFETY: `address` and `length` are whole pages inside one slice of guest memory, which the caller has bounds-checked and which
        // belongs to a mapping that lives as long as the process; replacing pages within it by others that can be read and written keeps
        // every pointer into it valid. No vCPU and no device runs yet, so nobody reads what is replaced. The file's mapping is private:
        // writes do not reach the file.
        let mapped = unsafe {
            libc::mmap(
                address.cast(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
                self.file.as_raw_fd(),
                offset,
            )
        };
        if mapped == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }

    /// How many bytes at the beginning of the slice could be mapped; 0 where the place in the file and that in memory do not agree.
    fn mappable(&self, address: usize, offset: u64, length: usize) -> io::Result<usize> {
        let left = self.file.metadata()?.len().saturating_sub(offset);
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(length) / PAGE * PAGE;
        let aligned = address.is_multiple_of(PAGE) && offset.is_multiple_of(PAGE as u64);
        Ok(if self.allowed && aligned && length >= MAPPED_BYTES_MIN {
            length
        } else {
            0
        })
    }
}

impl ReadVolatile for Mapped<'_> {
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        buffer: &mut VolatileSlice<B>,
    ) -> Result<usize, VolatileMemoryError> {
        let offset = self
            .file
            .stream_position()
            .map_err(VolatileMemoryError::IOError)?;
        let guard = buffer.ptr_guard_mut();
        let mappable = self
            .mappable(guard.as_ptr() as usize, offset, buffer.len())
            .map_err(VolatileMemoryError::IOError)?;
        if mappable == 0 {
            return self.file.read_volatile(buffer);
        }
        // A file system that cannot map is read.
        if self.map(guard.as_ptr(), offset, mappable).is_err() {
            return self.file.read_volatile(buffer);
        }
        self.ranges.push((guard.as_ptr() as usize, mappable));
        self.file
            .seek(SeekFrom::Start(offset + mappable as u64))
            .map_err(VolatileMemoryError::IOError)?;
        // Loaders take a short read for the end of the file: the rest of the last page is read at once.
        let mut done = mappable;
        while done < buffer.len() {
            match self.file.read_volatile(&mut buffer.offset(done)?)? {
                0 => break,
                read => done += read,
            }
        }
        Ok(done)
    }
}

/// For the few bytes of a header, which are no guest memory.
impl Read for Mapped<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.file.read(into)
    }
}

impl Seek for Mapped<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use vm_memory::{Bytes, GuestAddress};

    use super::*;

    /// A file of a megabyte and a bit, whose bytes tell their place.
    fn file() -> (File, Vec<u8>) {
        let bytes: Vec<u8> = (0..=u8::MAX)
            .cycle()
            .flat_map(|value| [value; 251])
            .take((1 << 20) + 100)
            .collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        file.rewind().unwrap();
        (file, bytes)
    }

    #[test]
    fn mapped_or_copied_the_guest_sees_the_same() {
        for (allowed, address, skip) in [
            (true, 0x20_0000, 0),
            (true, 0x20_0123, 0),
            (true, 0x20_0000, 4096),
            (true, 0x20_0000, 7),
            (false, 0x20_0000, 0),
        ] {
            let (mut file, bytes) = file();
            let memory = crate::memory::create(64, false).unwrap();
            file.seek(SeekFrom::Start(skip as u64)).unwrap();
            let expected = &bytes[skip..];
            let mut mapped = Mapped::new(&mut file, allowed);
            memory
                .read_exact_volatile_from(GuestAddress(address), &mut mapped, expected.len())
                .unwrap();
            let whole_pages = allowed && address % 4096 == 0 && skip.is_multiple_of(4096);
            let pages = mapped.pages(&memory);
            assert_eq!(
                pages.first()
                    == Some(&Run {
                        start: address,
                        pages: u32::try_from(expected.len() / 4096).unwrap()
                    }),
                whole_pages,
                "{allowed} {address:#x} {skip}"
            );
            let mut seen = vec![0; expected.len()];
            memory.read_slice(&mut seen, GuestAddress(address)).unwrap();
            assert!(seen == expected);
            assert_eq!(
                memory
                    .read_obj::<u8>(GuestAddress(address + expected.len() as u64))
                    .unwrap(),
                0
            );
        }
    }

    #[test]
    fn what_a_guest_writes_does_not_reach_the_file() {
        let (mut file, bytes) = file();
        let memory = crate::memory::create(64, false).unwrap();
        memory
            .read_exact_volatile_from(GuestAddress(0), &mut Mapped::new(&mut file, true), bytes.len())
            .unwrap();
        memory.write_obj(!bytes[0], GuestAddress(0)).unwrap();
        let mut first = [0];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut first, 0).unwrap();
        assert_eq!(first[0], bytes[0]);
    }

    #[test]
    fn a_file_that_ends_early_is_said_to() {
        let (mut file, bytes) = file();
        let memory = crate::memory::create(64, false).unwrap();
        let mut mapped = Mapped::new(&mut file, true);
        assert!(
            memory
                .read_exact_volatile_from(GuestAddress(0), &mut mapped, bytes.len() + 1)
                .is_err()
        );
    }
}
