//! The console's recent past: in memory for viewers, and in two bounded files for the agent that comes after this one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use api::CONSOLE_REPLAY_BYTES;
use bytes::Bytes;

/// How the files' names begin; a number follows that grows with each file. The clock may jump, the numbers do not.
///
/// One is written while the one before it holds what came before; older ones are removed.
const PREFIX: &str = "console.";

/// The last [`CONSOLE_REPLAY_BYTES`] of a console.
#[derive(Debug)]
pub struct Replay {
    past: VecDeque<u8>,
    log: Option<Log>,
}

#[derive(Debug)]
struct Log {
    folder: PathBuf,
    number: u64,
    file: File,
    written: usize,
}

impl Replay {
    /// An empty past; what files an earlier guest has left are emptied.
    pub fn start(folder: &Path) -> io::Result<Self> {
        for number in numbers(folder)? {
            std::fs::remove_file(part(folder, number))?;
        }
        Self::resume(folder)
    }

    /// The past as an earlier agent has left it.
    pub fn resume(folder: &Path) -> io::Result<Self> {
        let numbers = numbers(folder)?;
        let mut past = VecDeque::with_capacity(CONSOLE_REPLAY_BYTES);
        let mut written = 0;
        for number in &numbers[numbers.len().saturating_sub(2)..] {
            let bytes = read_part(&part(folder, *number));
            push(&mut past, &bytes);
            written = bytes.len();
        }
        let number = numbers.last().copied().unwrap_or(0);
        let file = open_part(&part(folder, number))?;
        Ok(Self {
            past,
            log: Some(Log {
                folder: folder.to_owned(),
                number,
                file,
                written,
            }),
        })
    }

    /// Takes new output. A file that cannot be written (a full disk) ends the keeping for the next agent, not the console.
    pub fn push(&mut self, bytes: &[u8]) {
        push(&mut self.past, bytes);
        if let Some(log) = &mut self.log
            && let Err(error) = log.write(bytes)
        {
            tracing::warn!(%error, folder = %log.folder.display(), "the console's past is no longer kept on disk");
            self.log = None;
        }
    }

    /// The past, oldest byte first.
    pub fn bytes(&self) -> Bytes {
        let (front, back) = self.past.as_slices();
        [front, back].concat().into()
    }
}

impl Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Small writes to the page cache of a file of at most 64 KiB: not worth another thread.
        if self.written + bytes.len() > CONSOLE_REPLAY_BYTES {
            let before = self.number;
            self.number = before.saturating_add(1);
            self.file = open_part(&part(&self.folder, self.number))?;
            for old in numbers(&self.folder)? {
                if old < before {
                    std::fs::remove_file(part(&self.folder, old))?;
                }
            }
            self.written = 0;
        }
        let tail = &bytes[bytes.len().saturating_sub(CONSOLE_REPLAY_BYTES)..];
        self.file.write_all(tail)?;
        self.written += tail.len();
        Ok(())
    }
}

fn push(past: &mut VecDeque<u8>, bytes: &[u8]) {
    let tail = &bytes[bytes.len().saturating_sub(CONSOLE_REPLAY_BYTES)..];
    let excess = (past.len() + tail.len()).saturating_sub(CONSOLE_REPLAY_BYTES);
    past.drain(..excess);
    past.extend(tail);
}

fn part(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{number}"))
}

/// The numbers of the files, in order; other files of the folder have none.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The past as the last agent that listened has left it, oldest byte first; empty where none did.
pub fn past(folder: &Path) -> Vec<u8> {
    let numbers = numbers(folder).unwrap_or_default();
    let last = numbers.get(numbers.len().saturating_sub(2)..).unwrap_or_default();
    last.iter()
        .flat_map(|number| read_part(&part(folder, *number)))
        .collect()
}

/// A file's last bytes; one that cannot be read has none.
fn read_part(path: &Path) -> Vec<u8> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let most = u64::try_from(CONSOLE_REPLAY_BYTES).unwrap_or(u64::MAX);
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().unwrap_or_default()
}

fn open_part(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_past_survives_the_agent() {
        let dir = tempfile::tempdir().unwrap();
        let mut replay = Replay::start(dir.path()).unwrap();
        replay.push(b"Linux version 6.1\r\n");
        replay.push(b"tiny-1 login: ");
        drop(replay);
        let resumed = Replay::resume(dir.path()).unwrap();
        assert_eq!(resumed.bytes(), b"Linux version 6.1\r\ntiny-1 login: "[..]);
    }

    #[test]
    fn a_new_guest_starts_with_an_empty_past() {
        let dir = tempfile::tempdir().unwrap();
        Replay::start(dir.path()).unwrap().push(b"old");
        assert!(Replay::start(dir.path()).unwrap().bytes().is_empty());
        assert!(Replay::resume(dir.path()).unwrap().bytes().is_empty());
    }

    #[test]
    fn a_clock_that_jumps_does_not_put_the_past_out_of_order() {
        let dir = tempfile::tempdir().unwrap();
        let mut replay = Replay::start(dir.path()).unwrap();
        for byte in [b'a', b'b', b'c'] {
            replay.push(&vec![byte; CONSOLE_REPLAY_BYTES / 2 + 1]);
        }
        let past = replay.bytes();
        drop(replay);
        // As if the older file had been written in a later hour.
        let oldest = part(dir.path(), numbers(dir.path()).unwrap()[0]);
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
        File::options()
            .append(true)
            .open(oldest)
            .unwrap()
            .set_modified(later)
            .unwrap();
        assert_eq!(Replay::resume(dir.path()).unwrap().bytes(), past);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn memory_and_files_are_bounded_and_agree_on_the_end(
            pieces in prop::collection::vec((any::<u8>(), 0_usize..40_000), 0..12)
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut replay = Replay::start(dir.path()).unwrap();
            let mut all = Vec::new();
            for (byte, count) in pieces {
                let piece = vec![byte; count];
                all.extend_from_slice(&piece);
                replay.push(&piece);
            }
            let expected = &all[all.len().saturating_sub(CONSOLE_REPLAY_BYTES)..];
            prop_assert_eq!(&replay.bytes()[..], expected);
            let numbers = numbers(dir.path()).unwrap();
            prop_assert!(numbers.len() <= 2);
            for number in numbers {
                let length = std::fs::metadata(part(dir.path(), number)).unwrap().len();
                prop_assert!(length <= CONSOLE_REPLAY_BYTES as u64);
            }
        }
    }
}
