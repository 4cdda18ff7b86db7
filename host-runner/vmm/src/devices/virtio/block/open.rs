//! Opening a disk: the file, whose it is, and what it can do.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::StatxFlags;

use super::image::{Alignment, Image, RawFile};
use super::lock::{self, NotLocked};
use super::qcow2::{Qcow2Error, Qcow2Image};
use super::{SECTOR, Traits};
use crate::config::{DiskConfig, DiskFormat};

/// How often a lock is tried for.
const LOCK_TRIES: u32 = 25;
/// How long it is waited for before each further try.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why a disk cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenDiskError {
    /// The file cannot be opened.
    #[error("disk {id}: cannot open {}; does it exist, and may this user {} it?", path.display(), if *written { "write" } else { "read" })]
    Open {
        /// The disk.
        id: String,
        /// The file.
        path: PathBuf,
        /// Whether for writing.
        written: bool,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// It is something else.
    #[error("disk {id}: {} is {kind}; {right}", path.display())]
    Kind {
        /// The disk.
        id: String,
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
        /// What it should be, as a sentence.
        right: &'static str,
    },
    /// Another process has it.
    #[error(
        "disk {id}: {} is in use by another machine or program{}; stop that first",
        path.display(),
        if *written { "" } else { ", which writes it" }
    )]
    InUse {
        /// The disk.
        id: String,
        /// The file.
        path: PathBuf,
        /// Whether it was to be written.
        written: bool,
    },
    /// Locking it fails.
    #[error("disk {id}: cannot lock {} against other machines", path.display())]
    Lock {
        /// The disk.
        id: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// It is no image that can be used.
    #[error("disk {id}: {} cannot be used", path.display())]
    Qcow2 {
        /// The disk.
        id: String,
        /// The file: the disk's own, or one behind it.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        err: Qcow2Error,
    },
    /// What it is like cannot be found out.
    #[error("disk {id}: cannot find out the size of {}", path.display())]
    Size {
        /// The disk.
        id: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// There is nothing in it.
    #[error("disk {id}: {} holds {bytes} bytes, and a disk has at least {SECTOR}; is it the right file?", path.display())]
    Empty {
        /// The disk.
        id: String,
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It wants larger blocks than the guest would use.
    #[error(
        "disk {id}: {} takes direct access only in blocks of {bytes} bytes, and its guest uses {SECTOR}; leave `direct` out",
        path.display()
    )]
    Direct {
        /// The disk.
        id: String,
        /// The file.
        path: PathBuf,
        /// The blocks, in bytes.
        bytes: u32,
    },
    /// The system gave no event or timer.
    #[error("disk {id}: cannot make its events; are there too many open files?")]
    Events {
        /// The disk.
        id: String,
        /// What the system said.
        #[source]
        err: io::Error,
    },
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// The disk.
    pub id: &'a str,
    /// Whether the disk is written.
    pub written: bool,
    /// Whether the host's page cache is bypassed.
    pub direct: bool,
}

impl Purpose<'_> {
    /// There is something wrong with a file of the disk.
    pub fn bad(&self, path: &Path, err: Qcow2Error) -> OpenDiskError {
        OpenDiskError::Qcow2 {
            id: self.id.to_owned(),
            path: path.into(),
            err,
        }
    }

    fn unknown(&self, path: &Path, err: io::Error) -> OpenDiskError {
        OpenDiskError::Size {
            id: self.id.to_owned(),
            path: path.into(),
            err,
        }
    }
}

/// What a disk's file gives.
#[derive(Debug)]
pub struct Opened {
    /// The contents.
    pub image: Image,
    /// The size of the disk, in bytes.
    pub bytes: u64,
    /// What it is like.
    pub traits: Traits,
}

/// Opens and locks a disk.
pub fn open(config: &DiskConfig) -> Result<Opened, OpenDiskError> {
    let path = &config.path;
    let purpose = Purpose {
        id: &config.id,
        written: !config.read_only,
        direct: config.direct,
    };
    match config.format {
        DiskFormat::Raw => {
            let (file, metadata) = open_file(path, &purpose, purpose.written)?;
            let device = !metadata.is_file();
            let unknown = |err| purpose.unknown(path, err);
            let bytes = size(&file, &metadata).map_err(unknown)?;
            let traits = traits(&file, &metadata);
            let (memory, offset) = direct_alignment(&file, traits.block_bytes);
            if config.direct && !device && u64::from(offset) > SECTOR {
                return Err(OpenDiskError::Direct {
                    id: config.id.clone(),
                    path: path.clone(),
                    bytes: offset,
                });
            }
            let alignment = Alignment {
                address: memory,
                length: traits.block_bytes,
            };
            Ok(Opened {
                bytes,
                traits,
                image: Image::Raw(RawFile {
                    file,
                    direct: config.direct.then_some(alignment),
                }),
            })
        }
        DiskFormat::Qcow2 => {
            let (file, metadata) = open_file(path, &purpose, purpose.written)?;
            only_regular(path, &purpose, &metadata)?;
            let traits = traits(&file, &metadata);
            let image = Qcow2Image::open(file, path, &purpose)?;
            Ok(Opened {
                bytes: image.size(),
                traits,
                image: Image::Qcow2(image),
            })
        }
    }
}

/// Opens and locks a backing file: a regular file, only to be read.
pub fn regular(path: &Path, purpose: &Purpose<'_>) -> Result<File, OpenDiskError> {
    let (file, metadata) = open_file(path, purpose, false)?;
    only_regular(path, purpose, &metadata)?;
    Ok(file)
}

fn only_regular(path: &Path, purpose: &Purpose<'_>, metadata: &Metadata) -> Result<(), OpenDiskError> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(OpenDiskError::Kind {
        id: purpose.id.to_owned(),
        path: path.into(),
        kind: "a block device",
        right: "a qcow2 image, and what is behind it, is a regular file",
    })
}

fn open_file(path: &Path, purpose: &Purpose<'_>, written: bool) -> Result<(File, Metadata), OpenDiskError> {
    // A named pipe would otherwise block here until somebody opens its other end.
    let mut flags = libc::O_NONBLOCK;
    if purpose.direct {
        flags |= libc::O_DIRECT;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(written)
        .custom_flags(flags)
        .open(path)
        .map_err(|err| OpenDiskError::Open {
            id: purpose.id.to_owned(),
            path: path.into(),
            written,
            err,
        })?;
    let metadata = file.metadata().map_err(|err| purpose.unknown(path, err))?;
    let kind = metadata.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(OpenDiskError::Kind {
            id: purpose.id.to_owned(),
            path: path.into(),
            kind: name(kind),
            right: "a disk is a regular file or a block device",
        });
    }
    lock_soon(&file, written).map_err(|not| match not {
        NotLocked::InUse => OpenDiskError::InUse {
            id: purpose.id.to_owned(),
            path: path.into(),
            written,
        },
        NotLocked::Failed(err) => OpenDiskError::Lock {
            id: purpose.id.to_owned(),
            path: path.into(),
            err,
        },
    })?;
    Ok((file, metadata))
}

/// Locks a file, waiting a little where it is in use: the kernel lets go of a disk only when it has ended the last write of a machine
/// that is no more.
fn lock_soon(file: &File, written: bool) -> Result<(), NotLocked> {
    let mut tries = LOCK_TRIES;
    loop {
        tries -= 1;
        match lock::lock(file, written) {
            Err(NotLocked::InUse) if tries > 0 => std::thread::sleep(LOCK_PAUSE),
            locked => return locked,
        }
    }
}

/// The size of a regular file or a block device, in bytes.
pub fn size(file: &File, metadata: &Metadata) -> io::Result<u64> {
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    Ok(rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?)
}

fn traits(file: &File, metadata: &Metadata) -> Traits {
    use std::os::unix::fs::MetadataExt as _;
    let (block, physical) = if metadata.is_file() {
        (512, u32::try_from(metadata.blksize()).unwrap_or(4096))
    } else {
        let block = rustix::fs::ioctl_blksszget(file).unwrap_or(512);
        (block, rustix::fs::ioctl_blkpbszget(file).unwrap_or(block))
    };
    let sensible = |bytes: u32| bytes.is_power_of_two() && (512..=1 << 20).contains(&bytes);
    let block_bytes = if sensible(block) { block } else { 512 };
    Traits {
        block_bytes,
        physical_bytes: if sensible(physical) { physical } else { 4096 }.max(block_bytes),
    }
}

/// How memory and offsets must be aligned for direct access to a file, in bytes, where the kernel says so: to a block otherwise.
fn direct_alignment(file: &File, block_bytes: u32) -> (u32, u32) {
    let flags = rustix::fs::AtFlags::EMPTY_PATH;
    match rustix::fs::statx(file, "", flags, StatxFlags::DIOALIGN) {
        Ok(status)
            if status.stx_mask & StatxFlags::DIOALIGN.bits() != 0
                && status.stx_dio_mem_align.is_power_of_two() =>
        {
            (status.stx_dio_mem_align, status.stx_dio_offset_align)
        }
        _ => (block_bytes, block_bytes),
    }
}

fn name(kind: std::fs::FileType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_char_device() {
        "a character device"
    } else {
        "something else"
    }
}
