//! How tasks are carried out: by the kernel, or by threads.

use std::io;
use std::os::fd::RawFd;

use super::pool::Pool;
use super::ring::Ring;
use super::task::{Completion, Segment, Task};
use crate::memory::GuestMemory;

/// What carries out the tasks of a disk. Slots are the caller's numbers, below [`SLOTS`](super::SLOTS), each for one task at a time.
pub enum Engine {
    /// The kernel.
    Ring(Box<Ring>),
    /// Threads.
    Pool(Pool),
}

impl Engine {
    /// What becomes readable when something is done.
    pub fn descriptor(&self) -> RawFd {
        match self {
            Self::Ring(ring) => ring.descriptor(),
            Self::Pool(pool) => pool.descriptor(),
        }
    }

    /// The memory that the tasks from now on are about; only while nothing is under way.
    pub fn set_memory(&mut self, memory: Option<GuestMemory>) {
        match self {
            Self::Ring(ring) => ring.set_memory(memory),
            Self::Pool(pool) => pool.set_memory(memory),
        }
    }

    /// Begins a task; it goes off at the latest with [`submit`](Self::submit).
    pub fn begin(&mut self, slot: u16, task: Task, data: &[Segment]) -> io::Result<()> {
        match self {
            Self::Ring(ring) => ring.begin(slot, task, data),
            Self::Pool(pool) => pool.begin(slot, task, data.to_vec()),
        }
    }

    /// Sends off what was begun.
    pub fn submit(&mut self) {
        if let Self::Ring(ring) = self {
            ring.submit();
        }
    }

    /// While `quiet`, the descriptor need not become readable: the caller looks by itself, and once more after this is over.
    pub fn quiet(&mut self, quiet: bool) {
        if let Self::Ring(ring) = self {
            ring.quiet(quiet);
        }
    }

    /// Forgets the wake-up; to be called before the completions are looked at.
    pub fn acknowledge(&mut self) {
        match self {
            Self::Ring(ring) => ring.acknowledge(),
            Self::Pool(pool) => pool.acknowledge(),
        }
    }

    /// The next task that has ended.
    pub fn take_completion(&mut self) -> Option<Completion> {
        match self {
            Self::Ring(ring) => ring.take_completion(),
            Self::Pool(pool) => pool.take_completion(),
        }
    }

    /// Waits until something has happened, while anything is under way.
    pub fn wait(&mut self) {
        match self {
            Self::Ring(ring) => ring.wait(),
            Self::Pool(pool) => pool.wait(),
        }
    }

    /// How many tasks have been begun and not been taken as completed.
    pub fn under_way(&self) -> usize {
        match self {
            Self::Ring(ring) => ring.under_way(),
            Self::Pool(pool) => pool.under_way(),
        }
    }
}
