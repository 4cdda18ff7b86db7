//! Reading a file whose holes stay holes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use rustix::io::Errno;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{ReadVolatile, VolatileMemoryError, VolatileSlice};

/// A file on its way into guest memory that nobody has written: where it has holes, that memory is left as it is, which is zero. A third of
/// an uncompressed kernel is the `.bss` and the gaps between its sections; the host need neither read them nor find memory for them.
///
/// Memory that was written before keeps, under a hole, what is there. It would be the kernel's own doing, by segments that overlap, and
/// harms nobody but itself.
///
/// Source: lseek(2), `SEEK_DATA` and `SEEK_HOLE`.
pub(super) struct Sparse<'a> {
    file: &'a mut File,
    /// The stretch of data that was found last.
    data: Range<u64>,
    /// What is passed over, too: it is in its place already.
    there: Vec<Range<u64>>,
}

impl<'a> Sparse<'a> {
    /// `there` are parts of the file that are in memory where it would be read to.
    pub fn new(file: &'a mut File, there: Vec<Range<u64>>) -> Self {
        Self {
            file,
            data: 0..0,
            there,
        }
    }

    /// Where the data at `position` ends, or else where the hole at `position` does. Leaves the file anywhere.
    fn stretch(&mut self, position: u64) -> io::Result<Stretch> {
        use rustix::fs::{SeekFrom, seek};
        if let Some(there) = self.there.iter().find(|there| there.contains(&position)) {
            return Ok(Stretch::Hole(there.end - position));
        }
        if !self.data.contains(&position) {
            let file = &*self.file;
            self.data = match seek(file, SeekFrom::Data(position)) {
                Ok(start) => start..seek(file, SeekFrom::Hole(start))?,
                // No data from here on, or nothing at all.
                Err(Errno::NXIO) => {
                    let end = file.metadata()?.len();
                    return Ok(Stretch::Hole(end.saturating_sub(position)));
                }
                // A file system that knows no holes.
                Err(Errno::INVAL | Errno::OPNOTSUPP) => position..u64::MAX,
                Err(err) => return Err(err.into()),
            };
        }
        let hole = self.data.start.saturating_sub(position);
        if hole > 0 {
            return Ok(Stretch::Hole(hole));
        }
        let there = self.there.iter().map(|there| there.start);
        let there = there.filter(|start| *start > position).min();
        let end = self.data.end.min(there.unwrap_or(u64::MAX));
        // A file system that answers with an end before its beginning has nothing.
        Ok(Stretch::Data(end.saturating_sub(position)))
    }
}

/// What comes next in a file, and how many bytes of it.
enum Stretch {
    Data(u64),
    Hole(u64),
}

impl Sparse<'_> {
    /// Reads the next stretch into the buffer, or passes over it; how much of the buffer that was, 0 at the end of the file.
    fn next<B: BitmapSlice>(&mut self, buf: &VolatileSlice<B>) -> Result<usize, VolatileMemoryError> {
        let wanted = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX).min(buf.len());
        let position = self
            .file
            .stream_position()
            .map_err(VolatileMemoryError::IOError)?;
        let (to, data) = match self.stretch(position).map_err(VolatileMemoryError::IOError)? {
            Stretch::Data(bytes) => (position, Some(wanted(bytes))),
            Stretch::Hole(bytes) => (position + wanted(bytes) as u64, None),
        };
        self.file
            .seek(SeekFrom::Start(to))
            .map_err(VolatileMemoryError::IOError)?;
        match data {
            Some(bytes) => self.file.read_volatile(&mut buf.subslice(0, bytes)?),
            None => Ok(usize::try_from(to - position).unwrap_or(usize::MAX)),
        }
    }
}

impl ReadVolatile for Sparse<'_> {
    /// As of any file, but that nothing is written where it has a hole, and that it gives less than is asked for only at its end: guest
    /// memory takes any other short read for one.
    fn read_volatile<B: BitmapSlice>(
        &mut self,
        buf: &mut VolatileSlice<B>,
    ) -> Result<usize, VolatileMemoryError> {
        let mut done = 0;
        while done < buf.len() {
            match self.next(&buf.offset(done)?) {
                Ok(0) => break,
                Ok(bytes) => done += bytes,
                Err(VolatileMemoryError::IOError(err)) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(done)
    }
}

impl Read for Sparse<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read(buf)
    }
}

impl Seek for Sparse<'_> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use proptest::prelude::*;
    use vm_memory::VolatileMemory as _;

    use super::*;

    /// In memory, where files have holes whatever the file system of temporary files is.
    fn file(length: u64) -> File {
        let file = File::from(rustix::fs::memfd_create("sparse", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        file.set_len(length).unwrap();
        file
    }

    /// What is found at the end of a read into memory that was all `before`.
    fn read(file: &mut File, from: u64, length: usize, before: u8) -> Result<Vec<u8>, VolatileMemoryError> {
        let mut memory = vec![before; length];
        file.seek(SeekFrom::Start(from)).unwrap();
        let slice = VolatileSlice::from(memory.as_mut_slice());
        let read = Sparse::new(file, Vec::new()).read_volatile(&mut slice.get_slice(0, length).unwrap())?;
        assert_eq!(file.stream_position().unwrap(), from + read as u64);
        memory.truncate(read);
        Ok(memory)
    }

    #[test]
    fn memory_under_a_hole_is_not_touched() {
        let mut file = file(4 << 20);
        file.write_all_at(&[7; 4096], 1 << 20).unwrap();
        let memory = read(&mut file, 0, 3 << 20, 0x55).unwrap();
        let (before, rest) = memory.split_at(1 << 20);
        let (data, after) = rest.split_at(4096);
        assert!(before.iter().all(|byte| *byte == 0x55));
        assert_eq!(data, [7; 4096]);
        assert!(after.iter().all(|byte| *byte == 0x55));
    }

    #[test]
    fn a_file_gives_what_it_has_whether_it_ends_by_data_or_by_a_hole() {
        let mut file = file(1 << 20);
        assert_eq!(read(&mut file, 0, (1 << 20) + 1, 0).unwrap().len(), 1 << 20);
        assert!(read(&mut file, 2 << 20, 1, 0).unwrap().is_empty());
        file.write_all_at(&[7; 100], (1 << 20) - 100).unwrap();
        assert_eq!(read(&mut file, 0, (1 << 20) + 1, 0).unwrap().len(), 1 << 20);
        assert_eq!(read(&mut file, (1 << 20) - 1, 1, 0).unwrap(), [7]);
    }

    proptest! {
        #[test]
        fn zeroed_memory_gets_what_any_read_gives(
            pieces in prop::collection::vec((0..64_u64, 1..3_usize, any::<u8>()), 0..8),
            from in 0..300_000_u64,
            length in 0..300_000_usize,
        ) {
            let mut file = file(600_000);
            for (block, blocks, byte) in pieces {
                file.write_all_at(&vec![byte; blocks * 4096], block * 8192).unwrap();
            }
            let mut expected = vec![0; length];
            file.read_exact_at(&mut expected, from).unwrap();
            prop_assert_eq!(read(&mut file, from, length, 0).unwrap(), expected);
        }
    }
}
