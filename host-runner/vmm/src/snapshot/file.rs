//! The frame of a state file.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `MPSNAPVM` |
//! | 4 | the version of the format, little-endian |
//! | 8 | the length of the body, little-endian |
//! | 32 | SHA-256 of the body |
//! | … | the body: a [`MachineState`], then the sum of the memory's file, as postcard writes them |
//!
//! Threat: the file may have been cut, changed, or made by somebody else. Nothing of the body is looked at before its length and its sum
//! are right, and no length in it is believed beyond what is there. The sum finds accidents; it is no signature: who can write the file
//! can make a machine of any content, which is still confined as any guest. The sum of the memory's file is in the body, and so guarded
//! by the body's own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::MachineState;

const MAGIC: [u8; 8] = *b"MPSNAPVM";
/// The version that is written. It rises with each change of [`MachineState`], of what is in it, or of what follows it.
///
/// 2: pages that hold zeroes are listed. 3: a network interface has queue pairs. 4: the memory's file has a sum.
pub const VERSION: u32 = 4;
/// The oldest version that is read: its [`MachineState`] is the same, and the parts of which it has another form tell it apart.
pub const OLDEST: u32 = 2;
/// The first version whose body ends with the sum of the memory's file.
const SUMMED: u32 = 4;
/// The most bytes of a body: 64 vCPUs with their registers, and the list of pages of a large, scattered memory.
pub const BODY_MAX: u64 = 64 << 20;
const SUM: usize = 32;

/// Why a state file cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// The file.
    #[error("cannot access {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// Another kind of file.
    #[error("it is no snapshot of a microVM")]
    Magic,
    /// A file of another version.
    #[error("it has version {found} of the format; this monitor knows versions {OLDEST} to {VERSION}")]
    Version {
        /// Its version.
        found: u32,
    },
    /// A length beyond reason.
    #[error("its state is said to have {0} bytes; at most {BODY_MAX} are taken")]
    TooLarge(u64),
    /// A file that is cut.
    #[error("it is cut short")]
    Truncated,
    /// A file with something behind its end.
    #[error("it goes on after its end")]
    Trailing,
    /// A file that is changed.
    #[error("its checksum is wrong: it was altered or damaged")]
    Checksum,
    /// A body that makes no sense.
    #[error("its content makes no sense")]
    Body(#[source] postcard::Error),
}

/// What a state file holds.
#[derive(Debug)]
pub struct Contents {
    /// The machine.
    pub state: MachineState,
    /// The sum of the file with its memory, as [`pages::write`](super::pages::write) makes it; files before version 4 have none.
    pub memory_sum: Option<u64>,
}

/// Writes a state file, and waits until it is on the disk. `memory_sum` is of the memory's file.
pub fn write(path: &Path, state: &MachineState, memory_sum: u64) -> Result<(), StateFileError> {
    let body = postcard::to_stdvec(&(state, memory_sum)).map_err(StateFileError::Body)?;
    let length = body.len() as u64;
    if length > BODY_MAX {
        return Err(StateFileError::TooLarge(length));
    }
    let fail = |err| StateFileError::Io {
        path: path.to_owned(),
        err,
    };
    let mut file = super::create_private(path).map_err(fail)?;
    file.write_all(&head(&body)).map_err(fail)?;
    file.write_all(&body).map_err(fail)?;
    file.sync_all().map_err(fail)
}

/// What is before a body.
pub(super) fn head(body: &[u8]) -> Vec<u8> {
    let (version, length) = (VERSION.to_le_bytes(), (body.len() as u64).to_le_bytes());
    [&MAGIC[..], &version, &length, &Sha256::digest(body)].concat()
}

/// Reads a state file.
pub fn read(path: &Path) -> Result<Contents, StateFileError> {
    let fail = |err| StateFileError::Io {
        path: path.to_owned(),
        err,
    };
    parse(File::open(path).map_err(fail)?, fail)
}

/// Reads a state from anything.
pub(super) fn parse(
    mut from: impl Read,
    fail: impl Fn(io::Error) -> StateFileError,
) -> Result<Contents, StateFileError> {
    let whole = |err: io::Error| match err.kind() {
        io::ErrorKind::UnexpectedEof => StateFileError::Truncated,
        _ => fail(err),
    };
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic).map_err(whole)?;
    if magic != MAGIC {
        return Err(StateFileError::Magic);
    }
    let mut version = [0; 4];
    from.read_exact(&mut version).map_err(whole)?;
    let found = u32::from_le_bytes(version);
    if !(OLDEST..=VERSION).contains(&found) {
        return Err(StateFileError::Version { found });
    }
    let mut length = [0; 8];
    from.read_exact(&mut length).map_err(whole)?;
    let length = u64::from_le_bytes(length);
    if length > BODY_MAX {
        return Err(StateFileError::TooLarge(length));
    }
    let mut sum = [0; SUM];
    from.read_exact(&mut sum).map_err(whole)?;
    // `take` and growing: what is not there is not allocated for.
    let mut body = Vec::new();
    from.by_ref().take(length).read_to_end(&mut body).map_err(&fail)?;
    if (body.len() as u64) < length {
        return Err(StateFileError::Truncated);
    }
    if from.read(&mut [0]).map_err(&fail)? != 0 {
        return Err(StateFileError::Trailing);
    }
    if Sha256::digest(&body).as_slice() != sum {
        return Err(StateFileError::Checksum);
    }
    contents(found, &body)
}

/// What a body of that version holds.
fn contents(version: u32, body: &[u8]) -> Result<Contents, StateFileError> {
    let (state, rest) = postcard::take_from_bytes(body).map_err(StateFileError::Body)?;
    let (memory_sum, rest) = if version < SUMMED {
        (None, rest)
    } else {
        let (sum, rest) = postcard::take_from_bytes(rest).map_err(StateFileError::Body)?;
        (Some(sum), rest)
    };
    match rest {
        [] => Ok(Contents { state, memory_sum }),
        _ => Err(StateFileError::Trailing),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::fuzz::fuzz;
    use crate::snapshot::tests::state;

    const MEMORY_SUM: u64 = 0x1234_5678_9abc_def0;

    fn bytes() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write(&path, &state(), MEMORY_SUM).unwrap();
        std::fs::read(path).unwrap()
    }

    fn parsed(bytes: &[u8]) -> Result<Contents, StateFileError> {
        parse(bytes, |err| panic!("{err}"))
    }

    #[test]
    fn what_was_written_is_read() {
        let read = parsed(&bytes()).unwrap();
        assert_eq!(read.memory_sum, Some(MEMORY_SUM));
        let (expected, found) = (state(), read.state);
        assert_eq!(
            (expected.id, expected.shape, expected.runs, expected.zeroes),
            (found.id, found.shape, found.runs, found.zeroes)
        );
    }

    #[test]
    fn each_version_from_the_oldest_on_is_read_and_has_a_sum_of_the_memory_since_there_is_one() {
        for version in OLDEST..=VERSION {
            let summed = version >= SUMMED;
            let body = if summed {
                postcard::to_stdvec(&(state(), MEMORY_SUM)).unwrap()
            } else {
                postcard::to_stdvec(&state()).unwrap()
            };
            let mut whole = [head(&body), body].concat();
            whole[8..12].copy_from_slice(&version.to_le_bytes());
            let read = parsed(&whole).unwrap();
            assert_eq!(
                (read.state.id, read.memory_sum),
                (state().id, summed.then_some(MEMORY_SUM)),
                "{version}"
            );
        }
    }

    #[test]
    fn a_body_without_the_sum_that_its_version_has_is_refused() {
        let body = postcard::to_stdvec(&state()).unwrap();
        let whole = [head(&body), body].concat();
        assert!(matches!(parsed(&whole), Err(StateFileError::Body(_))));
    }

    #[test]
    fn a_file_that_is_cut_anywhere_is_said_to_be_cut() {
        let whole = bytes();
        for length in (0..whole.len()).step_by(7) {
            assert!(
                matches!(parsed(&whole[..length]), Err(StateFileError::Truncated)),
                "{length}"
            );
        }
    }

    #[test]
    fn a_changed_a_newer_and_a_foreign_file_are_each_refused_for_what_they_are() {
        let change = |at: usize, value: u8| {
            let mut bytes = bytes();
            bytes[at] ^= value;
            parsed(&bytes).unwrap_err()
        };
        assert!(matches!(change(0, 1), StateFileError::Magic));
        assert!(matches!(change(8, 1), StateFileError::Version { found: 5 }));
        assert!(matches!(change(8, 5), StateFileError::Version { found: 1 }));
        assert!(matches!(change(19, 0x80), StateFileError::TooLarge(_)));
        assert!(matches!(change(60, 1), StateFileError::Checksum));
        let longer = [bytes(), vec![0]].concat();
        assert!(matches!(parsed(&longer), Err(StateFileError::Trailing)));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(data in proptest::collection::vec(any::<u8>(), 0..4096)) {
            fuzz(&data);
        }
    }
}
