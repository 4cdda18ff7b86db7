//! Opening a disk: the file, whose it is, and what it can do.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, StatxFlags};

use super::{SECTOR, Traits};
use crate::config::DiskConfig;

/// Why a disk cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenDiskError {
    /// The file cannot be opened.
    #[error("disk {id}: cannot open {}; does it exist, and may this user {} it?", path.display(), if *read_only { "read" } else { "write" })]
    Open {
        /// The disk.
        id: String,
        /// The file.
        path: PathBuf,
        /// Whether only to read.
        read_only: bool,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// It is something else.
    #[error("disk {id}: {} is {kind}; a disk is a regular file or a block device", path.display())]
    Kind {
        /// The disk.
        id: String,
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Another process has it.
    #[error(
        "disk {id}: {} is in use by another machine or program{}; stop that first",
        path.display(),
        if *read_only { ", which writes it" } else { "" }
    )]
    InUse {
        /// The disk.
        id: String,
        /// The file.
        path: PathBuf,
        /// Whether it was only to be read.
        read_only: bool,
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

/// A file that is open, and locked: no other machine writes it.
#[derive(Debug)]
pub struct OpenFile {
    /// The file.
    pub file: File,
    /// Its size, in bytes.
    pub bytes: u64,
    /// What it is like.
    pub traits: Traits,
}

/// Opens and locks a disk's file.
pub fn open(config: &DiskConfig) -> Result<OpenFile, OpenDiskError> {
    let (id, path) = (&config.id, &config.path);
    let mut flags = libc::O_NONBLOCK;
    if config.direct {
        flags |= libc::O_DIRECT;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(!config.read_only)
        // A named pipe would otherwise block here until somebody opens its other end.
        .custom_flags(flags)
        .open(path)
        .map_err(|err| OpenDiskError::Open {
            id: id.clone(),
            path: path.clone(),
            read_only: config.read_only,
            err,
        })?;
    let unknown = |err| OpenDiskError::Size {
        id: id.clone(),
        path: path.clone(),
        err,
    };
    let metadata = file.metadata().map_err(unknown)?;
    let kind = metadata.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(OpenDiskError::Kind {
            id: id.clone(),
            path: path.clone(),
            kind: name(kind),
        });
    }
    lock(&file, config)?;
    let bytes = size(&file, &metadata).map_err(unknown)?;
    let traits = traits(&file, kind.is_block_device(), config)?;
    Ok(OpenFile { file, bytes, traits })
}

/// The size of a regular file or a block device, in bytes.
pub fn size(file: &File, metadata: &std::fs::Metadata) -> io::Result<u64> {
    if metadata.is_file() {
        return Ok(metadata.len());
    }
    Ok(rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?)
}

/// For as long as the file is open, no other process of this program writes it, and, unless it is only read, none reads it.
fn lock(file: &File, config: &DiskConfig) -> Result<(), OpenDiskError> {
    let operation = if config.read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    match rustix::fs::flock(file, operation) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenDiskError::InUse {
            id: config.id.clone(),
            path: config.path.clone(),
            read_only: config.read_only,
        }),
        // A file system without locks.
        Err(_) | Ok(()) => Ok(()),
    }
}

fn traits(file: &File, device: bool, config: &DiskConfig) -> Result<Traits, OpenDiskError> {
    let block_bytes = match device {
        true => rustix::fs::ioctl_blksszget(file).unwrap_or(512).max(512),
        false => 512,
    };
    let physical = match device {
        true => rustix::fs::ioctl_blkpbszget(file).unwrap_or(block_bytes),
        false => file_block(file),
    };
    if config.direct && !device {
        let bytes = direct_block(file);
        if u64::from(bytes) > SECTOR {
            return Err(OpenDiskError::Direct {
                id: config.id.clone(),
                path: config.path.clone(),
                bytes,
            });
        }
    }
    let sensible = |bytes: u32| bytes.is_power_of_two() && (512..=1 << 20).contains(&bytes);
    Ok(Traits {
        block_bytes: if sensible(block_bytes) { block_bytes } else { 512 },
        physical_bytes: if sensible(physical) { physical } else { 4096 },
    })
}

/// The block size of the file system that a file is on.
fn file_block(file: &File) -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    let bytes = file.metadata().map_or(4096, |metadata| metadata.blksize());
    u32::try_from(bytes).unwrap_or(4096)
}

/// In what blocks a file takes direct access, where the kernel says so.
fn direct_block(file: &File) -> u32 {
    let flags = rustix::fs::AtFlags::EMPTY_PATH;
    match rustix::fs::statx(file, "", flags, StatxFlags::DIOALIGN) {
        Ok(status) if status.stx_mask & StatxFlags::DIOALIGN.bits() != 0 => status.stx_dio_offset_align,
        _ => 512,
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
