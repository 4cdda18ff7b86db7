//! How tasks are carried out: by the kernel, or by threads.

use std::fs::File;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use rustix::fs::FileType;

use super::image::Image;
use super::pool::{Pool, ThreadStart};
use super::ring::Ring;
use super::task::{Completion, Segment, Task};
use crate::memory::GuestMemory;

/// `XFS_SUPER_MAGIC`, as `statfs(2)` has it.
const XFS: i64 = 0x5846_5342;
/// `BTRFS_SUPER_MAGIC`.
const BTRFS: i64 = 0x9123_683e;

/// What carries out the tasks of a disk. Slots are the caller's numbers, below [`SLOTS`](super::SLOTS), each for one task at a time.
///
/// Where there is a ring, it does everything but writes into the page cache of a file system that does not take them without blocking:
/// there, the kernel would hand each of them to a thread of its own for the ring, which takes twice as long as our threads do (24 µs
/// against 11 for 4 KiB, 32 at once, ext4, Linux 6.18).
pub struct Engine {
    image: Arc<Image>,
    ring: Option<Box<Ring>>,
    ring_writes: bool,
    pool: Pool,
}

impl Engine {
    /// The best engine for an image: with a `ring` for the file of a raw one, if that is wanted and permitted. The threads are called
    /// `name`.
    pub fn new(image: Arc<Image>, ring: bool, name: String, start: ThreadStart) -> io::Result<Self> {
        let raw = match &*image {
            Image::Raw(raw) if ring => Some(raw),
            _ => None,
        };
        // Not for this format, not in this kernel, or not permitted.
        let ring = raw.and_then(|raw| Ring::new(&raw.file).ok());
        let ring_writes = raw.is_some_and(|raw| raw.direct.is_some() || takes_writes_at_once(&raw.file));
        let pool = match &ring {
            Some(ring) => Pool::new(Arc::clone(&image), name, start, ring.event()?),
            None => Pool::alone(Arc::clone(&image), name, start)?,
        };
        Ok(Self {
            image,
            ring: ring.map(Box::new),
            ring_writes,
            pool,
        })
    }

    /// What becomes readable when something is done.
    pub fn descriptor(&self) -> RawFd {
        self.pool.descriptor()
    }

    /// The memory that the tasks from now on are about; only while nothing is under way.
    pub fn set_memory(&mut self, memory: Option<GuestMemory>) {
        if let Some(ring) = &mut self.ring {
            ring.set_memory(memory.clone());
        }
        self.pool.set_memory(memory);
    }

    /// Begins a task; it goes off at the latest with [`submit`](Self::submit).
    pub fn begin(&mut self, slot: u16, task: Task, data: &[Segment]) -> io::Result<()> {
        let ring_can = match &*self.image {
            Image::Raw(raw) => raw.takes(data) && (self.ring_writes || !matches!(task, Task::Write { .. })),
            Image::Qcow2(_) => false,
        };
        match &mut self.ring {
            Some(ring) if ring_can => ring.begin(slot, task, data),
            _ => self.pool.begin(slot, task, data.to_vec()),
        }
    }

    /// Sends off what was begun.
    pub fn submit(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.submit();
        }
    }

    /// While `quiet`, the descriptor need not become readable: the caller looks by itself, and once more after this is over.
    pub fn quiet(&mut self, quiet: bool) {
        if let Some(ring) = &mut self.ring {
            ring.quiet(quiet);
        }
    }

    /// Forgets the wake-up; to be called before the completions are looked at.
    pub fn acknowledge(&mut self) {
        self.pool.acknowledge();
    }

    /// The next task that has ended.
    pub fn take_completion(&mut self) -> Option<Completion> {
        let ring = self.ring.as_mut().and_then(|ring| ring.take_completion());
        ring.or_else(|| self.pool.take_completion())
    }

    /// Waits until something has happened, while anything is under way.
    pub fn wait(&mut self) {
        match &mut self.ring {
            Some(ring) if ring.under_way() > 0 => ring.wait(),
            _ => self.pool.wait(),
        }
    }

    /// How many tasks have been begun and not been taken as completed.
    pub fn under_way(&self) -> usize {
        self.ring.as_ref().map_or(0, |ring| ring.under_way()) + self.pool.under_way()
    }
}

/// Whether writes through the page cache reach it without a detour from the ring.
fn takes_writes_at_once(file: &File) -> bool {
    let device = rustix::fs::fstat(file)
        .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::BlockDevice);
    device || rustix::fs::fstatfs(file).is_ok_and(|system| matches!(system.f_type, XFS | BTRFS))
}
