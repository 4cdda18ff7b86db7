//! Disks in QEMU's copy-on-write format, through imago.
//!
//! What a header says is checked here, not followed: a backing file is opened only by a plain file name, only if it is a regular file, only
//! for reading, and only in the format that the header names. A format is never guessed: a guest that wrote such a header into its raw
//! disk would otherwise choose a file of the host to read.
//!
//! What imago works on must not change under its hands, and guest memory may: data is copied on its way.
//!
//! Memory: imago keeps at most 128 tables and 32 blocks of counters of one cluster each for each file of a chain, as far as they are
//! used: with clusters of 64 KiB, a table maps 512 MiB of disk.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use imago::FormatAccess;
use imago::file::File as Storage;
use imago::format::PreallocateMode;
use imago::qcow2::Qcow2;
use imago::raw::Raw;

use super::counts;
use super::image::GrowError;
use super::open::{self, OpenDiskError, Purpose};
use super::scratch::{PIECE_BYTES, Scratch, cut};
use super::task::{Segment, Segments, Task};
use crate::memory::GuestMemory;
use crate::panics::caught;

/// The most files of a chain: the disk itself and what is behind it.
pub const CHAIN_MAX: usize = 16;

/// The most that an image grows to, in bytes: 64 TiB, for whose tables it has a table of 1 MiB where clusters have 64 KiB.
pub const GROWN_BYTES_MAX: u64 = 64 << 40;
/// The most clusters of a backing file that are covered with zeroes when a disk grows: each is an entry in a table that is written at once,
/// while everything else that is asked of the machine waits. 1 TiB where clusters have 64 KiB.
const COVERED_CLUSTERS_MAX: u64 = 1 << 24;

/// A disk in qcow2.
#[derive(Debug)]
pub struct Qcow2Image {
    /// Shared by what leaves the places of data alone; exclusive for what gives clusters back.
    access: RwLock<FormatAccess<Storage>>,
    /// The file itself: for syncs that do not keep readers out, as imago's would.
    file: File,
    /// How memory is to be aligned for its files, in bytes.
    alignment: usize,
    /// The size of what is behind it, in bytes; 0 where there is nothing.
    behind: u64,
    /// imago has panicked on it: what its caches hold is not to be trusted.
    broken: AtomicBool,
}

/// What is wrong with a file of a chain.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// The file is not a qcow2 image, or not one that can be used.
    #[error("it is no usable qcow2 image")]
    Image(#[source] io::Error),
    /// The library gave up on it.
    #[error("its tables contradict each other")]
    Contradiction,
    /// What it says of its own clusters is wrong.
    #[error("its reference counts are damaged; repair it with qemu-img check -r all")]
    Counts,
    /// Its data is in another file.
    #[error("its data lies in an external data file; convert it with qemu-img convert")]
    ExternalData,
    /// The backing file is not a file name.
    #[error("its backing file {name:?} is not the name of a file")]
    BackingName {
        /// What it is.
        name: String,
    },
    /// The format of the backing file is missing.
    #[error("the format of its backing file is not stated; add it with qemu-img rebase -u -F FORMAT")]
    NoBackingFormat,
    /// The format of the backing file is another one.
    #[error("its backing file is in the format {format:?}; only raw and qcow2 are supported")]
    BackingFormat {
        /// What it is.
        format: String,
    },
    /// There are too many files.
    #[error(
        "it has more than {CHAIN_MAX} files in its chain of backing files; shorten it with qemu-img commit or convert"
    )]
    Chain,
}

impl Qcow2Image {
    /// Opens a disk whose own file is open already, and what is behind it.
    pub fn open(file: File, path: &Path, purpose: &Purpose<'_>) -> Result<Self, OpenDiskError> {
        let storage = file
            .try_clone()
            .map_err(|err| purpose.bad(path, Qcow2Error::Image(err)))?;
        let Layer { access, behind } =
            caught(|| layer(storage, path, purpose, purpose.written, CHAIN_MAX - 1))
                .unwrap_or_else(|| Err(purpose.bad(path, Qcow2Error::Contradiction)))?;
        let alignment = access.mem_align().max(access.req_align());
        Ok(Self {
            access: RwLock::new(access),
            file,
            alignment,
            behind,
            broken: AtomicBool::new(false),
        })
    }

    /// The size of the disk, in bytes.
    pub fn size(&self) -> u64 {
        self.shared().size()
    }

    /// Carries out one task.
    pub fn run(
        &self,
        task: Task,
        data: &[Segment],
        memory: &GuestMemory,
        scratch: &mut Scratch,
    ) -> io::Result<()> {
        self.whole(|| match task {
            Task::Read { offset } => {
                let access = self.shared();
                scratch.fill(
                    self.alignment,
                    offset,
                    Segments::new(data),
                    memory,
                    |piece, at| access.read(piece, at),
                )
            }
            Task::Write { offset, durable } => {
                let access = self.shared();
                scratch.drain(
                    self.alignment,
                    offset,
                    Segments::new(data),
                    memory,
                    |piece, at| access.write(piece, at),
                )?;
                drop(access);
                self.settle(durable)
            }
            Task::Flush => self.settle(true),
            Task::Discard {
                offset,
                length,
                durable,
            } => {
                // Less than a cluster cannot be given back: a hint that is not taken, as in version 2 of the format.
                if let Some(whole) = self.clusters(offset, length) {
                    self.alone()
                        .discard_to_any(whole.start, whole.end - whole.start)?;
                }
                self.settle(durable)
            }
            Task::Zero {
                offset,
                length,
                unmap,
                durable,
            } => {
                self.zero(offset, length, unmap, scratch)?;
                self.settle(durable)
            }
        })
    }

    /// Brings the tables into the file, so that another process finds them there.
    pub fn flush(&self) -> io::Result<()> {
        self.whole(|| self.shared().flush())
    }

    /// Makes what is in the file durable: its tables as far as they have been brought there.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Makes the disk larger.
    pub fn grow(&self, bytes: u64) -> Result<(), GrowError> {
        if bytes > GROWN_BYTES_MAX {
            return Err(GrowError::TooLarge {
                wanted: bytes,
                most: GROWN_BYTES_MAX,
            });
        }
        let covered = self.covered(bytes)?;
        let grown = self.whole(|| {
            let access = self.alone();
            access.resize_grow(covered, PreallocateMode::Zero)?;
            // Where there is nothing in any file, there is nothing to be written either.
            access.resize_grow(bytes, PreallocateMode::None)?;
            drop(access);
            self.settle(true)
        });
        grown.map_err(GrowError::File)
    }

    /// Up to where zeroes must be written when the disk grows to `bytes`: to the end of its last cluster, and over what a larger backing file
    /// would show.
    fn covered(&self, bytes: u64) -> Result<u64, GrowError> {
        let access = self.shared();
        let now = access.size();
        let Some(cluster) = access.inner().zero_granularity() else {
            // Version 2 of the format has no zeroes; imago says so.
            return Ok(bytes);
        };
        let whole = now.checked_next_multiple_of(cluster).unwrap_or(bytes);
        let covered = whole.max(self.behind).min(bytes);
        let most = now.saturating_add(cluster.saturating_mul(COVERED_CLUSTERS_MAX));
        if covered > most {
            return Err(GrowError::Covered { most });
        }
        Ok(covered)
    }

    /// Zeroes a range: whole clusters in the tables, what is around them by writing. imago would do both, but miscounts where a range
    /// ends in the last cluster of a disk that is not made of whole ones.
    fn zero(&self, offset: u64, length: u64, unmap: bool, scratch: &mut Scratch) -> io::Result<()> {
        let end = offset + length;
        let whole = self.clusters(offset, length).unwrap_or(end..end);
        self.write_zeroes(offset..whole.start, scratch)?;
        self.write_zeroes(whole.end..end, scratch)?;
        let count = whole.end - whole.start;
        match count {
            0 => Ok(()),
            _ if unmap => self.alone().discard_to_zero(whole.start, count),
            _ => self.shared().write_zeroes(whole.start, count),
        }
    }

    /// The whole clusters in a range, of an image whose tables can say "zero"; the last cluster of the disk is whole with what it has.
    fn clusters(&self, offset: u64, length: u64) -> Option<Range<u64>> {
        let access = self.shared();
        let cluster = access.inner().zero_granularity()?;
        let end = offset.checked_add(length)?;
        let start = offset.checked_next_multiple_of(cluster)?;
        let stop = if end == access.size() {
            end
        } else {
            end - end % cluster
        };
        (start < stop).then_some(start..stop)
    }

    fn write_zeroes(&self, range: Range<u64>, scratch: &mut Scratch) -> io::Result<()> {
        let access = self.shared();
        let buffer = scratch.buffer(self.alignment)?;
        buffer.as_mut().into_slice().fill(0);
        let mut offset = range.start;
        while offset < range.end {
            let count = (range.end - offset).min(PIECE_BYTES as u64);
            access.write(buffer.as_ref_range(0..cut(count)), offset)?;
            offset += count;
        }
        Ok(())
    }

    fn settle(&self, durable: bool) -> io::Result<()> {
        if !durable {
            return Ok(());
        }
        self.shared().flush()?;
        self.sync()
    }

    fn shared(&self) -> RwLockReadGuard<'_, FormatAccess<Storage>> {
        self.access.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn alone(&self) -> RwLockWriteGuard<'_, FormatAccess<Storage>> {
        self.access.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with imago, unless that has panicked before: an image whose tables contradict each other may bring it to that.
    fn whole<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let broken = || io::Error::other("the image's tables contradict each other");
        if self.broken.load(Ordering::Acquire) {
            return Err(broken());
        }
        caught(work).unwrap_or_else(|| {
            self.broken.store(true, Ordering::Release);
            Err(broken())
        })
    }
}

/// An image of a chain.
struct Layer {
    access: FormatAccess<Storage>,
    /// The size of what is behind it, in bytes.
    behind: u64,
}

/// Opens one image of a chain, and all that is behind it: at most `left` more files.
fn layer(
    file: File,
    path: &Path,
    purpose: &Purpose<'_>,
    written: bool,
    left: usize,
) -> Result<Layer, OpenDiskError> {
    let bad = |error| purpose.bad(path, error);
    let storage = Storage::try_from(file).map_err(|err| bad(Qcow2Error::Image(err)))?;
    if written {
        counts::check(&storage).map_err(bad)?;
    }
    let mut image =
        Qcow2::<Storage>::open_image(storage, written).map_err(|err| bad(Qcow2Error::Image(err)))?;
    if image.requires_external_data_file() {
        return Err(bad(Qcow2Error::ExternalData));
    }
    image.set_data_file(None);
    let backing = match image.implicit_backing_file() {
        None => None,
        Some(name) => {
            let below =
                beside(path, name).ok_or_else(|| bad(Qcow2Error::BackingName { name: name.clone() }))?;
            let format = image
                .implicit_backing_format()
                .ok_or_else(|| bad(Qcow2Error::NoBackingFormat))?;
            let left = left.checked_sub(1).ok_or_else(|| bad(Qcow2Error::Chain))?;
            Some(
                behind(&below, format, purpose, left).map_err(|error| match error {
                    Behind::Open(error) => error,
                    Behind::Format => bad(Qcow2Error::BackingFormat {
                        format: format.clone(),
                    }),
                })?,
            )
        }
    };
    let behind = backing.as_ref().map_or(0, FormatAccess::size);
    image.set_backing(backing);
    Ok(Layer {
        access: FormatAccess::new(image),
        behind,
    })
}

/// Why a backing file cannot be opened.
enum Behind {
    Open(OpenDiskError),
    Format,
}

/// Opens a backing file.
fn behind(
    path: &Path,
    format: &str,
    purpose: &Purpose<'_>,
    left: usize,
) -> Result<FormatAccess<Storage>, Behind> {
    if !matches!(format, "raw" | "qcow2") {
        return Err(Behind::Format);
    }
    let file = open::regular(path, purpose).map_err(Behind::Open)?;
    if format == "qcow2" {
        let layer = layer(file, path, purpose, false, left).map_err(Behind::Open)?;
        return Ok(layer.access);
    }
    let raw = Storage::try_from(file).and_then(|storage| Raw::open_image(storage, false));
    let raw = raw.map_err(|err| Behind::Open(purpose.bad(path, Qcow2Error::Image(err))))?;
    Ok(FormatAccess::new(raw))
}

/// The file that an image names as its backing file, seen from where the image is. `None` when it names something else: a device of
/// QEMU's (`nbd:…`, `json:…`), a folder, or nothing.
fn beside(image: &Path, name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let is_file = matches!(path.components().next_back(), Some(Component::Normal(_))) && !name.ends_with('/');
    let first = name.split('/').next().unwrap_or_default();
    if !is_file || first.contains(':') || name.contains('\0') {
        return None;
    }
    // An absolute name takes the place of all before it.
    Some(image.parent().unwrap_or(Path::new("")).join(path))
}
