//! The files of an instance: its disk and its lock in the state directory, its sockets in the runtime directory.

use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api::{ApiError, ErrorCode, Mib};
use uuid::Uuid;

use crate::admission::DiskSpace;
use crate::images::BootFiles;
use crate::sparse::{self, CopyError, Watch};

/// The instance's own disk, in its folder.
const DISK_FILE: &str = "disk.raw";
/// What the guest's process holds locked, in the instance's folder.
const LOCK_FILE: &str = "guest.lock";
/// Ends the name of a folder whose instance may not be written down yet, and of a disk that may not be whole.
const STAGED: &str = ".new";

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

/// The disk of an instance to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDisk {
    /// Its size; zero for none.
    pub size: Mib,
    /// What it begins with: a raw disk, at most as large. Without one it is blank.
    pub base: Option<PathBuf>,
}

impl NewDisk {
    /// The disk of an instance that boots from an image.
    pub fn of(size: Mib, boot: Option<&BootFiles>) -> Self {
        Self {
            size,
            base: boot.and_then(|boot| Some(boot.disk.as_ref()?.path.clone())),
        }
    }
}

impl From<Mib> for NewDisk {
    fn from(size: Mib) -> Self {
        Self { size, base: None }
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
        self.state_dir(id).join(DISK_FILE)
    }

    /// The file that the guest's process holds locked as long as it lives. It also says the process's number.
    pub fn lock(&self, id: Uuid) -> PathBuf {
        self.state_dir(id).join(LOCK_FILE)
    }

    /// Makes what a new instance's files need beside their place, and on disk, before the ledger knows of it: all of them, where the
    /// disk is blank; where it begins with an image's, which may take minutes to copy, only their folder, which tells
    /// [`make`](Self::make) that none of them has ever been there. Nobody's disk is in such a folder, since no guest boots from
    /// there; one that a killed agent left behind is made anew.
    ///
    /// Leaves nothing behind when it fails.
    pub fn stage(&self, id: Uuid, disk: impl Into<NewDisk>) -> Result<(), FileError> {
        let (dir, disk) = (self.staged_dir(id), disk.into());
        let staged = remove_dir(&dir)
            .and_then(|()| {
                if disk.base.is_some() {
                    private_dir(&dir)
                } else {
                    fill(&dir, &disk, &mut unwatched)
                }
            })
            .and_then(|()| sync_dir(&self.state));
        if staged.is_err() {
            self.unstage(id);
        }
        staged
    }

    /// Removes what [`stage`](Self::stage) has made.
    pub fn unstage(&self, id: Uuid) {
        if let Err(error) = remove_dir(&self.staged_dir(id)) {
            // The next agent sweeps it away.
            tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "files are left behind");
        }
    }

    /// Puts the files of an instance that the ledger knows in their place: staged ones by completing and renaming them, missing ones
    /// by making them. What is there is kept, and must be as the ledger says. A folder that has gone with its disk is an error: a
    /// blank disk in its place would hide the loss.
    ///
    /// `watch` hears of the copying of the image's disk, and may break it off; the next call begins it anew.
    pub fn make(&self, id: Uuid, disk: impl Into<NewDisk>, watch: Watch<'_>) -> Result<(), FileError> {
        let disk = disk.into();
        let (dir, staged) = (self.state_dir(id), self.staged_dir(id));
        if dir.exists() {
            return fill(&dir, &disk, watch);
        }
        if !staged.exists() && disk.size > Mib::ZERO {
            let lost = "it is gone, and the instance's disk with it; put it back, or delete the instance";
            return Err(failed("use", &dir)(io::Error::new(io::ErrorKind::NotFound, lost)));
        }
        fill(&staged, &disk, watch)?;
        std::fs::rename(&staged, &dir).map_err(failed("put in place", &staged))?;
        sync_dir(&self.state)
    }

    /// An instance's disk must be there, and as long as the ledger says: a guest that boots from another one would take it for its own.
    pub fn check_disk(&self, id: Uuid, disk: Mib) -> Result<(), FileError> {
        if disk == Mib::ZERO {
            return Ok(());
        }
        let path = self.disk(id);
        let length = std::fs::metadata(&path).map_err(failed("use", &path))?.len();
        has_length(&path, length, disk)
    }

    /// The folder in which a create makes an instance's files.
    fn staged_dir(&self, id: Uuid) -> PathBuf {
        self.state.join(format!("{id}{STAGED}"))
    }

    /// The folder that has the id although the ledger does not know it.
    pub fn stray(&self, id: Uuid) -> Option<PathBuf> {
        Some(self.state_dir(id)).filter(|dir| dir.exists())
    }

    /// Whether a process holds the instance's lock, so that its guest may be alive. What cannot be told counts as alive.
    pub fn may_be_alive(&self, id: Uuid) -> bool {
        match std::fs::File::open(self.lock(id)) {
            Ok(lock) => lock.try_lock().is_err(),
            Err(err) => err.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Whether the files are whole, and wait for their place.
    pub fn are_staged(&self, id: Uuid) -> bool {
        self.staged_dir(id).join(LOCK_FILE).exists()
    }

    /// Whether [`make`](Self::make) has completed.
    pub fn are_ready(&self, id: Uuid) -> bool {
        self.lock(id).exists()
    }

    /// What the instance's disk occupies on the file system, or what there is of it so far.
    pub fn disk_occupied(&self, id: Uuid) -> Mib {
        let dirs = [self.state_dir(id), self.staged_dir(id)];
        let disks = dirs.iter().flat_map(|dir| [dir.join(DISK_FILE), half_disk(dir)]);
        let blocks: u64 = disks
            .map(|disk| std::fs::metadata(disk).map_or(0, |metadata| metadata.blocks()))
            .sum();
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
        for dir in [self.runtime_dir(id), self.state_dir(id), self.staged_dir(id)] {
            remove_dir(&dir)?;
        }
        Ok(())
    }

    /// Sweeps away what unfinished creates have left, and tells the folders that no instance of the ledger belongs to. Nothing makes
    /// any: an instance's folder gets its name after the instance is written down, and goes before it is forgotten. So a stray means a lost ledger, and it may hold somebody's disk: it is left
    /// alone, and a create over it is refused.
    pub fn strays(&self, known: impl Fn(Uuid) -> bool) -> Result<Vec<PathBuf>, FileError> {
        let mut strays = Vec::new();
        for entry in std::fs::read_dir(&self.state).map_err(failed("read", &self.state))? {
            let entry = entry.map_err(failed("read", &self.state))?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let staged = name.strip_suffix(STAGED).and_then(|id| Uuid::parse_str(id).ok());
            let known = Uuid::parse_str(name).ok().or(staged).is_some_and(&known);
            match staged {
                _ if known => {}
                Some(id) => self.unstage(id),
                None => strays.push(entry.path()),
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

/// Makes a folder with the disk and the lock, all of it on disk; what is there already is kept.
fn fill(dir: &Path, disk: &NewDisk, watch: Watch<'_>) -> Result<(), FileError> {
    private_dir(dir)?;
    if disk.size > Mib::ZERO {
        make_disk(dir, disk, watch)?;
    }
    // The lock is made last: it is what tells complete files from half-made ones.
    let path = dir.join(LOCK_FILE);
    let lock = private_file(&path).map_err(failed("make", &path))?;
    lock.sync_all().map_err(failed("write", &path))?;
    sync_dir(dir)
}

/// Makes the disk: it appears under its name by renaming, with its content and its length, or not at all.
fn make_disk(dir: &Path, disk: &NewDisk, watch: Watch<'_>) -> Result<(), FileError> {
    let path = dir.join(DISK_FILE);
    match std::fs::metadata(&path) {
        Ok(metadata) => return has_length(&path, metadata.len(), disk.size),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {}
        Err(err) => return Err(failed("use", &path)(err)),
    }
    let half = half_disk(dir);
    let written = write_disk(&half, disk, watch);
    if written.is_err() {
        // It may be what has filled the file system, and whoever tries again begins anew.
        let _gone = std::fs::remove_file(&half);
    }
    written?;
    std::fs::rename(&half, &path).map_err(failed("put in place", &half))?;
    sync_dir(dir)
}

/// Writes the disk's content, all of it on disk.
fn write_disk(path: &Path, disk: &NewDisk, watch: Watch<'_>) -> Result<(), FileError> {
    let mut file = private_file(path).map_err(failed("make", path))?;
    if let Some(base) = &disk.base {
        // What a copy that broke off has left is no hole.
        file.set_len(0).map_err(failed("empty", path))?;
        let mut from = std::fs::File::open(base).map_err(failed("open", base))?;
        sparse::copy(&mut from, &mut file, watch).map_err(|err| match err {
            CopyError::Read(err) => failed("read", base)(err),
            CopyError::Write(err) => failed("write", path)(err),
            CopyError::BrokenOff => failed("write", path)(io::ErrorKind::Interrupted.into()),
        })?;
    }
    file.set_len(disk.size.bytes()).map_err(failed("size", path))?;
    file.sync_all().map_err(failed("write", path))
}

/// The disk of an instance in this folder, while it is made.
fn half_disk(dir: &Path) -> PathBuf {
    dir.join(format!("{DISK_FILE}{STAGED}"))
}

/// Lets every copy go on to its end.
fn unwatched(_percent: u8) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn has_length(path: &Path, length: u64, disk: Mib) -> Result<(), FileError> {
    if length == disk.bytes() {
        return Ok(());
    }
    let wrong = format!(
        "it has {length} bytes, and the ledger says {}; put the right disk there, or delete the instance",
        disk.bytes()
    );
    Err(failed("use", path)(io::Error::new(
        io::ErrorKind::InvalidData,
        wrong,
    )))
}

/// A name is on disk only when its folder is.
fn sync_dir(dir: &Path) -> Result<(), FileError> {
    std::fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed("write", dir))
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
    fn a_lost_folder_is_made_again_only_where_no_disk_went_with_it() {
        let (_dir, files) = files();
        let (without, with) = (Uuid::now_v7(), Uuid::now_v7());
        files.make(without, Mib::ZERO, &mut unwatched).unwrap();
        assert!(files.are_ready(without));
        let error = files.make(with, Mib(1), &mut unwatched).unwrap_err().to_api();
        assert!(error.message.contains("gone"), "{error}");
        assert!(!files.state_dir(with).exists());
    }

    #[test]
    fn a_disk_has_its_size_and_occupies_nothing_yet() {
        let (_dir, files) = files();
        let id = Uuid::now_v7();
        files.stage(id, Mib(100)).unwrap();
        files.make(id, Mib(100), &mut unwatched).unwrap();
        assert!(files.are_ready(id));
        assert_eq!(std::fs::metadata(files.disk(id)).unwrap().len(), Mib(100).bytes());
        assert_eq!(files.disk_occupied(id), Mib::ZERO);
    }

    #[test]
    fn a_disk_begins_with_that_of_the_image_and_the_image_keeps_its_own() {
        let (dir, files) = files();
        let base = dir.path().join("base");
        std::fs::write(&base, b"root file system").unwrap();
        let disk = NewDisk {
            size: Mib(2),
            base: Some(base.clone()),
        };
        let id = Uuid::now_v7();
        files.stage(id, disk.clone()).unwrap();
        files.make(id, disk, &mut unwatched).unwrap();
        let own = std::fs::read(files.disk(id)).unwrap();
        assert!(own.starts_with(b"root file system\0") && own.len() == 2 << 20);
        let own = std::fs::File::options().write(true).open(files.disk(id)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&own, b"changed", 0).unwrap();
        assert_eq!(std::fs::read(base).unwrap(), b"root file system");
    }

    #[test]
    fn only_the_making_copies_an_images_disk_and_one_that_was_broken_off_begins_anew() {
        let (dir, files) = files();
        let base = dir.path().join("base");
        std::fs::write(&base, vec![7; 3 << 20]).unwrap();
        let (disk, id) = (
            NewDisk {
                size: Mib(4),
                base: Some(base.clone()),
            },
            Uuid::now_v7(),
        );
        files.stage(id, disk.clone()).unwrap();
        assert_eq!(
            (files.are_staged(id), files.disk_occupied(id)),
            (false, Mib::ZERO)
        );
        // An agent that was killed in the middle of its copy.
        std::fs::write(half_disk(&files.staged_dir(id)), vec![9; 1 << 20]).unwrap();
        assert_eq!(files.disk_occupied(id), Mib(1));

        std::fs::rename(&base, dir.path().join("away")).unwrap();
        assert!(files.make(id, disk.clone(), &mut unwatched).is_err());
        assert_eq!(
            files.disk_occupied(id),
            Mib::ZERO,
            "a half disk gives its room back"
        );
        std::fs::rename(dir.path().join("away"), &base).unwrap();

        let mut heard = Vec::new();
        let broken = files.make(id, disk.clone(), &mut |percent| {
            heard.push(percent);
            ControlFlow::Break(())
        });
        if broken.is_err() {
            // Where the file system shares blocks, it is done with the first word of it.
            assert_eq!(heard, [33]);
            assert!(!files.are_ready(id));
            files.make(id, disk, &mut unwatched).unwrap();
        }
        let own = std::fs::read(files.disk(id)).unwrap();
        assert!(own[..3 << 20].iter().all(|byte| *byte == 7) && own[3 << 20..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn making_twice_keeps_what_is_on_the_disk() {
        let (_dir, files) = files();
        let id = Uuid::now_v7();
        files.stage(id, Mib(1)).unwrap();
        files.make(id, Mib(1), &mut unwatched).unwrap();
        let disk = std::fs::File::options().write(true).open(files.disk(id)).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&disk, b"precious", 0).unwrap();
        files.make(id, Mib(1), &mut unwatched).unwrap();
        assert!(std::fs::read(files.disk(id)).unwrap().starts_with(b"precious"));
        files.check_disk(id, Mib(1)).unwrap();
    }

    #[test]
    fn staged_files_take_their_place_whole() {
        let (_dir, files) = files();
        let id = Uuid::now_v7();
        // What an agent left that was killed in between.
        std::fs::create_dir(files.staged_dir(id)).unwrap();
        std::fs::write(files.staged_dir(id).join(DISK_FILE), "").unwrap();
        files.stage(id, Mib(1)).unwrap();
        assert_eq!((files.stray(id), files.are_ready(id)), (None, false));
        files.make(id, Mib(1), &mut unwatched).unwrap();
        assert!(files.are_ready(id));
        files.check_disk(id, Mib(1)).unwrap();
        assert!(!files.staged_dir(id).exists());
    }

    #[test]
    fn a_disk_that_was_made_and_not_sized_is_made_again_and_one_of_another_length_is_an_error() {
        let (_dir, files) = files();
        let (half, other) = (Uuid::now_v7(), Uuid::now_v7());
        for (id, name) in [(half, "disk.raw.new"), (other, "disk.raw")] {
            std::fs::create_dir(files.state_dir(id)).unwrap();
            std::fs::write(files.state_dir(id).join(name), "").unwrap();
        }
        files.make(half, Mib(1), &mut unwatched).unwrap();
        files.check_disk(half, Mib(1)).unwrap();
        let error = files.make(other, Mib(1), &mut unwatched).unwrap_err().to_api();
        assert!(error.message.contains("0 bytes"), "{error}");
        assert!(!files.are_ready(other));
    }

    #[test]
    fn folders_that_nobody_knows_are_found_and_left_alone() {
        let (_dir, files) = files();
        let (known, stray) = (Uuid::now_v7(), Uuid::now_v7());
        files.make(known, Mib::ZERO, &mut unwatched).unwrap();
        files.make(stray, Mib::ZERO, &mut unwatched).unwrap();
        assert_eq!(files.strays(|id| id == known).unwrap(), [files.state_dir(stray)]);
        assert!(files.are_ready(stray));
    }

    #[test]
    fn what_an_unfinished_create_left_is_swept_unless_the_ledger_knows_it() {
        let (_dir, files) = files();
        let (known, unknown) = (Uuid::now_v7(), Uuid::now_v7());
        for id in [known, unknown] {
            files.stage(id, Mib(1)).unwrap();
        }
        assert_eq!(files.strays(|id| id == known).unwrap(), Vec::<PathBuf>::new());
        assert!(files.staged_dir(known).exists() && !files.staged_dir(unknown).exists());
    }
}
