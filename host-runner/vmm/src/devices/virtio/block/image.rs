//! What is in a disk's file, for threads that work on it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::SECTOR;
use super::qcow2::Qcow2Image;
use super::scratch::Scratch;
use super::task::{Segment, Segments, Task};
use super::vectors::Vectors;
use crate::memory::GuestMemory;

/// The contents of a disk. Several threads may run tasks on it at once.
#[derive(Debug)]
pub enum Image {
    /// The file is the disk.
    Raw(RawFile),
    /// QEMU's format.
    Qcow2(Qcow2Image),
}

/// A file that is the disk.
#[derive(Debug)]
pub struct RawFile {
    /// The file.
    pub file: File,
    /// Where the host's page cache is bypassed: what that asks of the memory that is read to and written from.
    pub direct: Option<Alignment>,
}

/// How memory must lie for the kernel to move data straight to it and from it, in bytes: powers of two, at most a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alignment {
    /// The address of each piece is a multiple of this.
    pub address: u32,
    /// Its length is a multiple of this.
    pub length: u32,
}

impl Alignment {
    /// Whether all pieces lie so. Guest memory begins at a page, here as in the guest.
    pub fn suits(self, data: &[Segment]) -> bool {
        data.iter().all(|segment| {
            segment.address.0.is_multiple_of(self.address.into())
                && segment.length.is_multiple_of(self.length)
        })
    }
}

impl RawFile {
    /// Whether the kernel takes these pieces as they lie; otherwise they are copied.
    pub fn takes(&self, data: &[Segment]) -> bool {
        self.direct.is_none_or(|alignment| alignment.suits(data))
    }
}

/// Why a disk does not grow.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    /// That is no size for this disk.
    #[error(
        "a disk of {now} bytes does not become one of {wanted}: it grows, in whole sectors of {SECTOR} bytes"
    )]
    Size {
        /// Its size, in bytes.
        now: u64,
        /// The size that was asked for, in bytes.
        wanted: u64,
    },
    /// It may not be written.
    #[error("the disk is read-only, and its file is not that large")]
    ReadOnly,
    /// The device behind it ends before.
    #[error("the block device has {bytes} bytes; make it larger first")]
    Device {
        /// The size of the device, in bytes.
        bytes: u64,
    },
    /// More than an image is made to be.
    #[error("an image grows to at most {most} bytes, not {wanted}")]
    TooLarge {
        /// The size that was asked for, in bytes.
        wanted: u64,
        /// The most, in bytes.
        most: u64,
    },
    /// Too much of the backing file would have to be covered.
    #[error(
        "the backing file goes on where the disk ends: covering it takes too long while the machine runs, but for up to {most} bytes"
    )]
    Covered {
        /// The most that the disk may have, in bytes.
        most: u64,
    },
    /// The file did not take it.
    #[error("cannot make the disk's file larger")]
    File(#[source] io::Error),
}

impl Image {
    /// Makes the disk larger, to `bytes`, whole sectors. What is new reads as zeroes.
    pub fn grow(&self, bytes: u64, read_only: bool) -> Result<(), GrowError> {
        match self {
            Self::Raw(raw) => grow_raw(&raw.file, bytes, read_only),
            Self::Qcow2(image) if bytes <= image.size() => Ok(()),
            Self::Qcow2(_) if read_only => Err(GrowError::ReadOnly),
            Self::Qcow2(image) => image.grow(bytes),
        }
    }

    /// Brings what only this process knows into the file, so that another one finds it there. For good only after a flush.
    pub fn leave(&self) -> io::Result<()> {
        match self {
            Self::Raw(_) => Ok(()),
            Self::Qcow2(image) => image.flush(),
        }
    }

    /// Makes what is in the file durable; what [`leave`](Self::leave) brings there comes first.
    pub fn sync(&self) -> io::Result<()> {
        match self {
            Self::Raw(raw) => raw.file.sync_data(),
            Self::Qcow2(image) => image.sync(),
        }
    }

    /// Carries out one task, and returns when it has ended.
    ///
    /// What is read into guest memory may not be in the memory's log of writes: that is left to the caller.
    pub fn run(
        &self,
        task: Task,
        data: &[Segment],
        memory: &GuestMemory,
        scratch: &mut Scratch,
    ) -> io::Result<()> {
        match self {
            Self::Raw(raw) if !raw.takes(data) => copy_raw(raw, task, data, memory, scratch),
            Self::Raw(raw) => run_raw(&raw.file, task, data, memory),
            Self::Qcow2(image) => image.run(task, data, memory, scratch),
        }
    }
}

fn grow_raw(file: &File, bytes: u64, read_only: bool) -> Result<(), GrowError> {
    let metadata = file.metadata().map_err(GrowError::File)?;
    let now = super::open::size(file, &metadata).map_err(GrowError::File)?;
    if bytes <= now {
        // Somebody has done it already.
        return Ok(());
    }
    if !metadata.is_file() {
        return Err(GrowError::Device { bytes: now });
    }
    if read_only {
        return Err(GrowError::ReadOnly);
    }
    file.set_len(bytes).map_err(GrowError::File)
}

/// Reads or writes through memory that lies as the kernel wants it.
fn copy_raw(
    raw: &RawFile,
    task: Task,
    data: &[Segment],
    memory: &GuestMemory,
    scratch: &mut Scratch,
) -> io::Result<()> {
    /// At least as much as any file asks for.
    const ALIGNMENT: usize = 4096;
    let pieces = Segments::new(data);
    match task {
        Task::Read { offset } => scratch.fill(ALIGNMENT, offset, pieces, memory, |piece, at| {
            raw.file.read_exact_at(piece.into_slice(), at)
        }),
        Task::Write { offset, durable } => {
            scratch.drain(ALIGNMENT, offset, pieces, memory, |piece, at| {
                raw.file.write_all_at(piece.into_slice(), at)
            })?;
            settle(&raw.file, durable)
        }
        // They have no data that could lie anywhere.
        Task::Flush | Task::Discard { .. } | Task::Zero { .. } => run_raw(&raw.file, task, &[], memory),
    }
}

fn run_raw(file: &File, task: Task, data: &[Segment], memory: &GuestMemory) -> io::Result<()> {
    let mut vectors = Vectors::default();
    vectors.fill(memory, data).map_err(io::Error::other)?;
    match task {
        Task::Read { offset } => vectors.read_from(file, offset),
        Task::Write { offset, durable } => vectors.write_to(file, offset, durable),
        Task::Flush => file.sync_data(),
        Task::Discard {
            offset,
            length,
            durable,
        } => {
            match allocate(file, FallocateFlags::PUNCH_HOLE, offset, length) {
                // A hint that is not taken.
                Err(Errno::OPNOTSUPP) => return Ok(()),
                punched => punched?,
            }
            settle(file, durable)
        }
        Task::Zero {
            offset,
            length,
            unmap,
            durable,
        } => {
            let mode = if unmap {
                FallocateFlags::PUNCH_HOLE
            } else {
                FallocateFlags::ZERO_RANGE
            };
            match allocate(file, mode, offset, length) {
                Err(Errno::OPNOTSUPP) => write_zeroes(file, offset, length)?,
                zeroed => zeroed?,
            }
            settle(file, durable)
        }
    }
}

fn allocate(file: &File, mode: FallocateFlags, offset: u64, length: u64) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| {
        rustix::fs::fallocate(file, mode | FallocateFlags::KEEP_SIZE, offset, length)
    })
}

fn write_zeroes(file: &File, mut offset: u64, length: u64) -> io::Result<()> {
    let mut vectors = Vectors::default();
    let end = offset.saturating_add(length);
    while offset < end {
        let given = vectors.zeroes(end - offset);
        vectors.write_to(file, offset, false)?;
        offset += given;
    }
    Ok(())
}

fn settle(file: &File, durable: bool) -> io::Result<()> {
    if durable { file.sync_data() } else { Ok(()) }
}
