//! Copying files that may be mostly holes, as disks are.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::ControlFlow;

use rustix::io::Errno;

/// How much is copied at once, in bytes.
const PIECE: usize = 1 << 20;
/// How many zeroes in one piece become a hole, in bytes: a block of most file systems.
const BLOCK: usize = 4096;

/// Which side of a copy failed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The file to copy.
    #[error("cannot read")]
    Read(#[source] io::Error),
    /// The copy.
    #[error("cannot write")]
    Write(#[source] io::Error),
    /// Whoever watched it has had it broken off.
    #[error("broken off")]
    BrokenOff,
}

/// Hears after each piece of a copy how many hundredths are done (0 to 100, never fewer than before), and says whether it goes on.
pub type Watch<'a> = &'a mut dyn FnMut(u8) -> ControlFlow<()>;

/// Copies a file into an empty one: by sharing its blocks where the file system can, else the data without the holes between. Blocks of
/// zeroes become holes: not every file system tells of the holes that it has, and a disk may be full of zeroes.
pub fn copy(from: &mut File, to: &mut File, watch: Watch<'_>) -> Result<(), CopyError> {
    if rustix::fs::ioctl_ficlone(&*to, &*from).is_ok() {
        // It is done: nothing is left to break off.
        let _goes_on = watch(100);
        return Ok(());
    }
    let length = from.metadata().map_err(CopyError::Read)?.len();
    to.set_len(length).map_err(CopyError::Write)?;
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while let Some((start, end)) = data_from(from, at, length)? {
        from.seek(SeekFrom::Start(start)).map_err(CopyError::Read)?;
        to.seek(SeekFrom::Start(start)).map_err(CopyError::Write)?;
        at = start;
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let read = from
                .read(piece.get_mut(..most).unwrap_or_default())
                .map_err(CopyError::Read)?;
            if read == 0 {
                return Err(CopyError::Read(io::ErrorKind::UnexpectedEof.into()));
            }
            write_data(to, piece.get(..read).unwrap_or_default()).map_err(CopyError::Write)?;
            at += read as u64;
            let percent = u8::try_from(u128::from(at) * 100 / u128::from(length.max(1))).unwrap_or(100);
            if watch(percent).is_break() {
                return Err(CopyError::BrokenOff);
            }
        }
    }
    Ok(())
}

/// Writes the blocks that hold anything, and moves on by all of them.
fn write_data(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    let is_zero = |block: &&[u8]| block.iter().all(|byte| *byte == 0);
    let stretch = |bytes: &[u8], zero: bool| -> usize {
        let blocks = bytes.chunks(BLOCK).take_while(|block| is_zero(block) == zero);
        blocks.map(<[u8]>::len).sum()
    };
    while !bytes.is_empty() {
        let (zeroes, rest) = bytes.split_at(stretch(bytes, true));
        to.seek(SeekFrom::Current(i64::try_from(zeroes.len()).unwrap_or(i64::MAX)))?;
        let (data, rest) = rest.split_at(stretch(rest, false));
        to.write_all(data)?;
        bytes = rest;
    }
    Ok(())
}

/// The next stretch of data; `None` where only a hole is left. A file system that knows no holes says that all is data.
fn data_from(file: &File, at: u64, length: u64) -> Result<Option<(u64, u64)>, CopyError> {
    use rustix::fs::{SeekFrom, seek};
    if at >= length {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, length))),
        Err(err) => return Err(CopyError::Read(err.into())),
    };
    let end = seek(file, SeekFrom::Hole(start)).map_err(|err| CopyError::Read(err.into()))?;
    Ok(Some((start, end.min(length))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _};

    use super::*;

    #[test]
    fn a_copy_has_the_data_and_the_holes() {
        let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(64 << 20).unwrap();
        from.write_all_at(b"first", 0).unwrap();
        from.write_all_at(&vec![7; PIECE + 5], 40 << 20).unwrap();
        let mut heard = Vec::new();
        copy(&mut from, &mut to, &mut |percent| {
            heard.push(percent);
            ControlFlow::Continue(())
        })
        .unwrap();
        let read = |file: &mut File| {
            let mut bytes = Vec::new();
            file.seek(SeekFrom::Start(0)).unwrap();
            file.read_to_end(&mut bytes).unwrap();
            bytes
        };
        assert!(read(&mut from) == read(&mut to));
        assert!(
            to.metadata().unwrap().blocks() * 512 < 16 << 20,
            "the holes stay holes"
        );
        assert!(
            heard.is_sorted() && heard.last() == Some(&64),
            "the end is a hole: {heard:?}"
        );
    }

    #[test]
    fn a_copy_can_be_broken_off_at_each_piece() {
        let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all_at(&vec![7; 4 * PIECE], 0).unwrap();
        let mut pieces = 0;
        let broken = copy(&mut from, &mut to, &mut |percent| {
            pieces += 1;
            if percent >= 50 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        // A file system that shares blocks is done at once.
        assert!(matches!(
            (broken, pieces),
            (Err(CopyError::BrokenOff), 2) | (Ok(()), 1)
        ));
    }

    #[test]
    fn zeroes_that_are_data_become_holes_and_data_beside_them_stays() {
        let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let mut bytes = vec![0; 8 << 20];
        for at in [0, BLOCK * 3 - 1, BLOCK * 700, (8 << 20) - 1] {
            bytes[at] = 9;
        }
        from.write_all(&bytes).unwrap();
        copy(&mut from, &mut to, &mut |_| ControlFlow::Continue(())).unwrap();
        let mut copied = vec![1; bytes.len()];
        to.read_exact_at(&mut copied, 0).unwrap();
        assert!(copied == bytes);
        assert!(
            to.metadata().unwrap().blocks() * 512 < 1 << 20,
            "zeroes take no room"
        );
    }

    #[test]
    fn a_file_that_is_all_hole_or_nothing_at_all_is_copied() {
        for length in [0, 1 << 20] {
            let (mut from, mut to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            from.set_len(length).unwrap();
            copy(&mut from, &mut to, &mut |_| ControlFlow::Continue(())).unwrap();
            assert_eq!(to.metadata().unwrap().len(), length);
        }
    }
}
