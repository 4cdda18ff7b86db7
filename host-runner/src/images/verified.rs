//! Which files are known to have the digest that they should.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::ImageError;
use super::manifest::{BlobRef, Sha256Hex};

/// How a file compares with what its manifest says of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Intact,
    Missing,
    NotAFile,
    WrongSize { found: u64 },
    WrongDigest,
}

/// What the system changes when a file's content changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
    /// Cannot be set back by a program, unlike the modification time.
    changed_ns: i128,
}

impl Fingerprint {
    fn of(metadata: &fs::Metadata) -> Self {
        let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The digests of files that were hashed before, by path: a file is hashed again only when its fingerprint has changed.
#[derive(Debug, Default)]
pub(super) struct Verified {
    known: Mutex<HashMap<PathBuf, (Fingerprint, Sha256Hex)>>,
}

impl Verified {
    /// Compares the file with what its manifest says. Reads the whole file when it has not been seen like this before.
    pub(super) fn check(&self, path: &Path, wanted: &BlobRef) -> Result<Finding, ImageError> {
        // A symbolic link is not followed: whoever can place one could point it anywhere.
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                self.forget(path);
                return Ok(Finding::Missing);
            }
            Err(err) => return Err(ImageError::io("look at", path, err)),
        };
        if !metadata.is_file() {
            return Ok(Finding::NotAFile);
        }
        if metadata.len() != wanted.size {
            return Ok(Finding::WrongSize {
                found: metadata.len(),
            });
        }
        let fingerprint = Fingerprint::of(&metadata);
        let digest = if let Some(digest) = self.known_digest(path, fingerprint) {
            digest
        } else {
            let digest = hash_file(path)?;
            self.remember(path, fingerprint, digest.clone());
            digest
        };
        Ok(if digest == wanted.sha256 {
            Finding::Intact
        } else {
            Finding::WrongDigest
        })
    }

    fn known_digest(&self, path: &Path, fingerprint: Fingerprint) -> Option<Sha256Hex> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(path)
            .filter(|(seen, _)| *seen == fingerprint)
            .map(|(_, digest)| digest.clone())
    }

    fn remember(&self, path: &Path, fingerprint: Fingerprint, digest: Sha256Hex) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(path.to_owned(), (fingerprint, digest));
    }

    fn forget(&self, path: &Path) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(path);
    }
}

/// Opens a regular file, and nothing else: no link is followed, and a FIFO that somebody has put in the file's place is not waited for.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// The digest of a file's content.
pub(super) fn hash_file(path: &Path) -> Result<Sha256Hex, ImageError> {
    let failed = |err| ImageError::io("read", path, err);
    let mut file = open_regular(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 256 * 1024];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(Sha256Hex::from_hasher(hasher)),
            Ok(length) => hasher.update(chunk.get(..length).unwrap_or_default()),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(failed(err)),
        }
    }
}
