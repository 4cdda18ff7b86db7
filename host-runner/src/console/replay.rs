//! The console's recent past: in memory for viewers, and in two bounded files for the agent that comes after this one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use api::CONSOLE_REPLAY_BYTES;
use bytes::Bytes;

/// The two files; one is written while the other holds what came before.
const FILES: [&str; 2] = ["console.0", "console.1"];

/// The last [`CONSOLE_REPLAY_BYTES`] of a console.
#[derive(Debug)]
pub struct Replay {
    past: VecDeque<u8>,
    log: Option<Log>,
}

#[derive(Debug)]
struct Log {
    folder: PathBuf,
    current: usize,
    file: File,
    written: usize,
}

impl Replay {
    /// An empty past; what files an earlier guest has left are emptied.
    pub fn start(folder: &Path) -> io::Result<Self> {
        for name in FILES {
            match std::fs::remove_file(folder.join(name)) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                _ => {}
            }
        }
        Self::resume(folder)
    }

    /// The past as an earlier agent has left it.
    pub fn resume(folder: &Path) -> io::Result<Self> {
        let parts = FILES.map(|name| read_part(&folder.join(name)));
        // The current file is the one that was written last.
        let current = usize::from(parts[1].1 > parts[0].1);
        let mut past = VecDeque::with_capacity(CONSOLE_REPLAY_BYTES);
        push(&mut past, &parts[1 - current].0);
        push(&mut past, &parts[current].0);
        let file = open_part(&folder.join(FILES[current]), false)?;
        Ok(Self {
            past,
            log: Some(Log {
                folder: folder.to_owned(),
                current,
                file,
                written: parts[current].0.len(),
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
            let next = 1 - self.current;
            self.file = open_part(&self.folder.join(FILES[next]), true)?;
            self.current = next;
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

/// A file's last bytes, and when it was written; a missing file is an empty one.
fn read_part(path: &Path) -> (Vec<u8>, Option<std::time::SystemTime>) {
    let read = || -> io::Result<(Vec<u8>, std::time::SystemTime)> {
        let mut file = File::open(path)?;
        let modified = file.metadata()?.modified()?;
        let most = u64::try_from(CONSOLE_REPLAY_BYTES).unwrap_or(u64::MAX);
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok((bytes, modified))
    };
    read().map_or((Vec::new(), None), |(bytes, modified)| (bytes, Some(modified)))
}

fn open_part(path: &Path, empty: bool) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).mode(0o600);
    if empty {
        options.write(true).truncate(true);
    } else {
        options.append(true);
    }
    options.open(path)
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
            for name in FILES {
                let length = std::fs::metadata(dir.path().join(name)).map_or(0, |metadata| metadata.len());
                prop_assert!(length <= CONSOLE_REPLAY_BYTES as u64);
            }
        }
    }
}
