//! The files of an instance: its disk and its lock in the state directory, its sockets in the runtime directory.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api::{ApiError, ErrorCode, Mib};
use uuid::Uuid;

use crate::admission::DiskSpace;

/// A file operation on an instance's files failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}", path.display())]
pub struct FileError {
    /// What was attempted.
    pub operation: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub err: io::Error,
}

impl FileError {
    /// The error as it crosses the wire.
    pub fn to_api(&self) -> ApiError {
        let path = self.path.display().to_string();
        match self.err.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ApiError::new(
                ErrorCode::DiskFull,
                format!("the disk that holds {path} is full; free some space and try again"),
            )
            .with("path", path),
            _ => ApiError::new(ErrorCode::Internal, format!("{self}: {}", self.err)),
        }
    }
}

/// Turns what the system said into a [`FileError`].
pub(crate) fn failed<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |err| FileError {
        operation,
        path: path.to_owned(),
        err,
    }
}

/// Where the instances' files are.
#[derive(Debug, Clone)]
pub struct InstanceFiles {
    state: PathBuf,
    runtime: PathBuf,
}

impl InstanceFiles {
    /// The folders `instances` in both directories; they are made where they are missing, for the agent's user alone.
    pub fn open(state_dir: &Path, runtime_dir: &Path) -> Result<Self, FileError> {
        let files = Self {
            state: state_dir.join("instances"),
            runtime: runtime_dir.join("instances"),
        };
        for dir in [&files.state, &files.runtime] {
            private_dir(dir)?;
        }
        Ok(files)
    }

    /// The instance's folder for what lasts.
    pub fn state_dir(&self, id: Uuid) -> PathBuf {
        self.state.join(id.to_string())
    }

    /// The instance's folder for what a running guest needs.
    pub fn runtime_dir(&self, id: Uuid) -> PathBuf {
        self.runtime.join(id.to_string())
    }

    /// The instance's own disk: a raw, sparse file.
    pub fn disk(&self, id: Uuid) -> PathBuf {
        self.state_dir(id).join("disk.raw")
    }

    /// The file that the guest's process holds locked as long as it lives. It also says the process's number.
    pub fn lock(&self, id: Uuid) -> PathBuf {
        self.state_dir(id).join("guest.lock")
    }

    /// Makes the folder, the lock and the disk; what is there already is kept. Leaves nothing behind when it fails.
    pub fn make(&self, id: Uuid, disk: Mib) -> Result<(), FileError> {
        let made = self.try_make(id, disk);
        if made.is_err()
            && let Err(error) = self.remove(id)
        {
            tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "files are left behind");
        }
        made
    }

    fn try_make(&self, id: Uuid, disk: Mib) -> Result<(), FileError> {
        private_dir(&self.state_dir(id))?;
        let path = self.disk(id);
        if disk > Mib::ZERO && !path.exists() {
            let file = private_file(&path).map_err(failed("make", &path))?;
            file.set_len(disk.bytes()).map_err(failed("size", &path))?;
            file.sync_all().map_err(failed("write", &path))?;
        }
        // The lock is made last: it is what tells complete files from half-made ones.
        let path = self.lock(id);
        let lock = private_file(&path).map_err(failed("make", &path))?;
        lock.sync_all().map_err(failed("write", &path))
    }

    /// Whether [`make`](Self::make) has completed.
    pub fn are_ready(&self, id: Uuid) -> bool {
        self.lock(id).exists()
    }

    /// What the instance's disk occupies on the file system.
    pub fn disk_occupied(&self, id: Uuid) -> Mib {
        let blocks = std::fs::metadata(self.disk(id)).map_or(0, |metadata| metadata.blocks());
        Mib::floor_from_bytes(blocks.saturating_mul(512))
    }

    /// The file system that holds the disks, and what those of `instances` occupy on it.
    pub fn space(&self, instances: &[Uuid], offered: Option<Mib>) -> Result<DiskSpace, FileError> {
        let stats =
            rustix::fs::statvfs(&self.state).map_err(|err| failed("measure", &self.state)(err.into()))?;
        let size = |blocks: u64| Mib::floor_from_bytes(blocks.saturating_mul(stats.f_frsize));
        Ok(DiskSpace {
            total: size(stats.f_blocks),
            available: size(stats.f_bavail),
            occupied: instances.iter().map(|id| self.disk_occupied(*id)).sum(),
            offered,
        })
    }

    /// Removes all of the instance's files; none there is no error.
    pub fn remove(&self, id: Uuid) -> Result<(), FileError> {
        for dir in [self.runtime_dir(id), self.state_dir(id)] {
            remove_dir(&dir)?;
        }
        Ok(())
    }

    /// Folders that no instance of the ledger belongs to. Nothing makes any: an instance is written down before its files are made,
    /// and forgotten after they are removed. So a stray means a lost ledger, and it may hold somebody's disk: it is left alone.
    pub fn strays(&self, known: impl Fn(Uuid) -> bool) -> Result<Vec<PathBuf>, FileError> {
        let mut strays = Vec::new();
        for entry in std::fs::read_dir(&self.state).map_err(failed("read", &self.state))? {
            let entry = entry.map_err(failed("read", &self.state))?;
            let id = entry
                .file_name()
                .to_str()
                .and_then(|name| Uuid::parse_str(name).ok());
            if !id.is_some_and(&known) {
                strays.push(entry.path());
            }
        }
        Ok(strays)
    }
}

/// Makes a folder for the agent's user alone, and its parents.
pub(crate) fn private_dir(path: &Path) -> Result<(), FileError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed("make", path))
}

fn private_file(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn remove_dir(dir: &Path) -> Result<(), FileError> {
    match std::fs::remove_dir_all(dir) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir)(err)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, InstanceFiles) {
        let dir = tempfile::tempdir().unwrap();
        let files = InstanceFiles::open(&dir.path().join("state"), &dir.path().join("run")).unwrap();
        (dir, files)
    }

    #[test]
    fn a_disk_has_its_size_and_occupies_nothing_yet() {
        let (_dir, files) = files();
        let id = Uuid::now_v7();
        files.make(id, Mib(100)).unwrap();
        assert!(files.are_ready(id));
        assert_eq!(std::fs::metadata(files.disk(id)).unwrap().len(), Mib(100).bytes());
        assert_eq!(files.disk_occupied(id), Mib::ZERO);
    }

    #[test]
    fn making_twice_keeps_what_is_on_the_disk() {
        let (_dir, files) = files();
        let id = Uuid::now_v7();
        files.make(id, Mib(1)).unwrap();
        std::fs::write(files.disk(id), b"precious").unwrap();
        files.make(id, Mib(1)).unwrap();
        assert_eq!(std::fs::read(files.disk(id)).unwrap(), b"precious");
    }

    #[test]
    fn folders_that_nobody_knows_are_found_and_left_alone() {
        let (_dir, files) = files();
        let (known, stray) = (Uuid::now_v7(), Uuid::now_v7());
        files.make(known, Mib::ZERO).unwrap();
        files.make(stray, Mib::ZERO).unwrap();
        assert_eq!(files.strays(|id| id == known).unwrap(), [files.state_dir(stray)]);
        assert!(files.are_ready(stray));
    }
}
