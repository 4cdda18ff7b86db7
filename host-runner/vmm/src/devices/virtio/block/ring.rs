#![expect(
    unsafe_code,
    reason = "io_uring is told addresses that it uses after the call: no type says how long they must live"
)]
//! Raw disks through `io_uring`: one ring for each disk, straight between its file and guest memory.
//!
//! The ring is restricted, for good, to reads, writes, syncs and allocation on the one file that is registered with it: whoever got hold
//! of the process could not do anything else with it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{Ordering, fence};

use io_uring::{IoUring, opcode, register::Restriction, squeue, types};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::SLOTS;
use super::task::{Completion, Segment, Task};
use super::vectors::Vectors;
use crate::memory::GuestMemory;

/// `IORING_UNREGISTER_FILES`, as `io_uring_register(2)` has it.
const UNREGISTER_FILES: u8 = 3;
/// The one file that is registered.
const FILE: types::Fixed = types::Fixed(0);

/// What a slot is at.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Nothing.
    Idle,
    Read {
        offset: u64,
    },
    Write {
        offset: u64,
        durable: bool,
    },
    /// Takes space away: for a discard, where it is a hint, and for zeroes.
    Punch {
        offset: u64,
        length: u64,
        durable: bool,
        hint: bool,
    },
    ZeroRange {
        offset: u64,
        length: u64,
        durable: bool,
    },
    /// Writes zeroes, for a file system that cannot do it better: what is under way, then `left` more.
    WriteZeroes {
        offset: u64,
        left: u64,
        durable: bool,
    },
    Sync,
}

struct Slot {
    step: Step,
    vectors: Vectors,
}

/// A ring, and what is under way in it.
///
/// Invariant: while a slot is not idle, its vectors do not change but in [`Ring::take_completion`] for that slot, when the kernel has let
/// go of them, and `memory` is kept.
pub struct Ring {
    uring: IoUring,
    done: EventFd,
    slots: Vec<Slot>,
    memory: Option<GuestMemory>,
    under_way: usize,
}

impl Ring {
    /// A ring for this file. Fails where the kernel, or whoever started this process, does not permit it.
    pub fn new(file: &File) -> io::Result<Self> {
        let entries = u32::from(SLOTS);
        let uring = IoUring::builder()
            .setup_r_disabled()
            .setup_coop_taskrun()
            .build(entries)?;
        let done = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let submitter = uring.submitter();
        submitter.register_files(&[file.as_raw_fd()])?;
        submitter.register_eventfd(done.as_raw_fd())?;
        let codes = [
            opcode::Read::CODE,
            opcode::Write::CODE,
            opcode::Readv::CODE,
            opcode::Writev::CODE,
            opcode::Fsync::CODE,
            opcode::Fallocate::CODE,
        ];
        let mut restrictions: Vec<_> = codes.into_iter().map(Restriction::sqe_op).collect();
        restrictions.push(Restriction::sqe_flags_required(squeue::Flags::FIXED_FILE.bits()));
        restrictions.push(Restriction::register_op(UNREGISTER_FILES));
        submitter.register_restrictions(&mut restrictions)?;
        submitter.register_enable_rings()?;
        let slots = (0..SLOTS).map(|_| Slot {
            step: Step::Idle,
            vectors: Vectors::default(),
        });
        Ok(Self {
            uring,
            done,
            slots: slots.collect(),
            memory: None,
            under_way: 0,
        })
    }

    /// What becomes readable when something is done.
    pub fn event(&self) -> io::Result<EventFd> {
        self.done.try_clone()
    }

    /// The memory that the tasks from now on are about; only while nothing is under way.
    pub fn set_memory(&mut self, memory: Option<GuestMemory>) {
        debug_assert_eq!(self.under_way, 0, "the kernel still uses the memory of before");
        if self.under_way == 0 {
            self.memory = memory;
        }
    }

    /// Begins a task in an idle slot; the kernel hears of it with [`submit`](Self::submit).
    pub fn begin(&mut self, slot: u16, task: Task, data: &[Segment]) -> io::Result<()> {
        let (Some(memory), Some(place)) = (&self.memory, self.slots.get_mut(usize::from(slot))) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if !matches!(place.step, Step::Idle) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        place.vectors.fill(memory, data).map_err(io::Error::other)?;
        place.step = match task {
            Task::Read { offset } => Step::Read { offset },
            Task::Write { offset, durable } => Step::Write { offset, durable },
            Task::Flush => Step::Sync,
            Task::Discard {
                offset,
                length,
                durable,
            } => Step::Punch {
                offset,
                length,
                durable,
                hint: true,
            },
            Task::Zero {
                offset,
                length,
                unmap: true,
                durable,
            } => Step::Punch {
                offset,
                length,
                durable,
                hint: false,
            },
            Task::Zero {
                offset,
                length,
                unmap: false,
                durable,
            } => Step::ZeroRange {
                offset,
                length,
                durable,
            },
        };
        self.under_way += 1;
        self.push(slot);
        Ok(())
    }

    /// Hands what was begun to the kernel: one system call, however much it is.
    pub fn submit(&mut self) {
        if self.uring.submission().is_empty() {
            return;
        }
        if let Err(error) = self.uring.submit()
            && error.kind() != io::ErrorKind::Interrupted
        {
            crate::devices::once(
                "io_uring",
                &format_args!("io_uring takes nothing at present: {error}"),
            );
            // What was not taken stays in the ring. The device comes back by its own event, and tries again.
            let _full_counter_wakes_too = self.done.write(1);
        }
    }

    /// While `quiet`, the descriptor does not become readable: the caller looks by itself, and once more after this is over.
    pub fn quiet(&mut self, quiet: bool) {
        let queue = self.uring.completion();
        if quiet {
            queue.disable_eventfd();
        } else {
            queue.enable_eventfd();
            // What the kernel ends from here on wakes the device; what it ended before is seen by who looks after this.
            fence(Ordering::SeqCst);
        }
    }

    /// The next task that has ended. Tasks that have to go on do so, with the next [`submit`](Self::submit).
    pub fn take_completion(&mut self) -> Option<Completion> {
        loop {
            let (slot, result) = {
                let entry = self.uring.completion().next()?;
                (u16::try_from(entry.user_data()).ok()?, entry.result())
            };
            if let Some(result) = self.next_step(slot, result) {
                self.under_way = self.under_way.saturating_sub(1);
                return Some(Completion { slot, result });
            }
            self.push(slot);
        }
    }

    /// Waits until at least one system call of a task under way has ended.
    pub fn wait(&mut self) {
        match self.uring.submit_and_wait(1) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The kernel is short of memory: what is under way needs the processor more than this loop does.
            Err(_) => std::thread::yield_now(),
        }
    }

    /// How many tasks have been begun and not been taken as completed.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Takes note of what a system call of a slot came to: `Some` when its task has ended with it.
    fn next_step(&mut self, slot: u16, result: i32) -> Option<io::Result<()>> {
        let slot = self.slots.get_mut(usize::from(slot))?;
        let Ok(count) = usize::try_from(result) else {
            return slot.failed(result.unsigned_abs().cast_signed());
        };
        let ended = slot.succeeded(count);
        if ended.is_some() {
            slot.idle();
        }
        ended
    }

    fn push(&mut self, slot: u16) {
        let Some(place) = self.slots.get(usize::from(slot)) else {
            return;
        };
        let entry = place.entry().user_data(slot.into());
        // SAFETY: the entry names the slot's vectors, or what they name: guest memory. Both stay where they are until the kernel is done
        // with the entry: vectors are heap memory that is only touched for an idle slot or one whose entry has completed, guest memory
        // is kept in `self.memory` while anything is under way, and `drop` waits for the kernel before it lets go of either.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        // There are as many entries in the ring as slots, and a slot has one at most.
        debug_assert!(pushed.is_ok(), "the ring is full");
    }
}

impl Slot {
    fn idle(&mut self) {
        self.step = Step::Idle;
        self.vectors.clear();
    }

    /// What the kernel is to do now.
    fn entry(&self) -> squeue::Entry {
        let rest = self.vectors.rest();
        let count = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let zero = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        match (self.step, rest) {
            (Step::Idle, _) => opcode::Nop::new().build(),
            (Step::Read { offset }, [one]) => opcode::Read::new(FILE, one.iov_base.cast(), length(one))
                .offset(offset)
                .build(),
            (Step::Read { offset }, _) => opcode::Readv::new(FILE, rest.as_ptr(), count)
                .offset(offset)
                .build(),
            (Step::Write { offset, durable }, [one]) => {
                opcode::Write::new(FILE, one.iov_base.cast(), length(one))
                    .offset(offset)
                    .rw_flags(write_flags(durable))
                    .build()
            }
            (Step::Write { offset, durable } | Step::WriteZeroes { offset, durable, .. }, _) => {
                opcode::Writev::new(FILE, rest.as_ptr(), count)
                    .offset(offset)
                    .rw_flags(write_flags(durable))
                    .build()
            }
            (Step::Punch { offset, length, .. }, _) => opcode::Fallocate::new(FILE, length)
                .offset(offset)
                .mode(punch)
                .build(),
            (Step::ZeroRange { offset, length, .. }, _) => opcode::Fallocate::new(FILE, length)
                .offset(offset)
                .mode(zero)
                .build(),
            (Step::Sync, _) => opcode::Fsync::new(FILE)
                .flags(types::FsyncFlags::DATASYNC)
                .build(),
        }
    }

    /// After a system call that did something: `None` to go on.
    fn succeeded(&mut self, count: usize) -> Option<io::Result<()>> {
        match &mut self.step {
            Step::Read { .. } if count == 0 => Some(Err(io::ErrorKind::UnexpectedEof.into())),
            Step::Write { .. } | Step::WriteZeroes { .. } if count == 0 => {
                Some(Err(io::ErrorKind::WriteZero.into()))
            }
            Step::Read { offset } | Step::Write { offset, .. } => {
                *offset += count as u64;
                self.vectors.advance(count);
                self.vectors.is_done().then_some(Ok(()))
            }
            Step::WriteZeroes { offset, left, .. } => {
                *offset += count as u64;
                self.vectors.advance(count);
                if self.vectors.is_done() {
                    *left -= self.vectors.zeroes(*left);
                }
                self.vectors.is_done().then_some(Ok(()))
            }
            Step::Punch { durable: true, .. } | Step::ZeroRange { durable: true, .. } => {
                self.step = Step::Sync;
                None
            }
            Step::Punch { .. } | Step::ZeroRange { .. } | Step::Sync | Step::Idle => Some(Ok(())),
        }
    }

    /// After a system call that failed: `None` to go on, in another way.
    fn failed(&mut self, errno: i32) -> Option<io::Result<()>> {
        let ended = match (errno, self.step) {
            (libc::EINTR | libc::EAGAIN, _) => None,
            // A hint that is not taken.
            (libc::EOPNOTSUPP, Step::Punch { hint: true, .. }) => Some(Ok(())),
            (
                libc::EOPNOTSUPP,
                Step::Punch {
                    offset,
                    length,
                    durable,
                    ..
                }
                | Step::ZeroRange {
                    offset,
                    length,
                    durable,
                },
            ) => {
                let left = length - self.vectors.zeroes(length);
                self.step = Step::WriteZeroes {
                    offset,
                    left,
                    durable,
                };
                None
            }
            _ => Some(Err(io::Error::from_raw_os_error(errno))),
        };
        if ended.is_some() {
            self.idle();
        }
        ended
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        while self.under_way > 0 {
            self.wait();
            while self.take_completion().is_some() {}
        }
        // The kernel takes its time with the end of a ring, and the file's lock ends with the last that has it open.
        let _then_it_ends_later = self.uring.submitter().unregister_files();
    }
}

/// The length of one vector, which is at most that of one descriptor: 32 bits.
fn length(vector: &libc::iovec) -> u32 {
    u32::try_from(vector.iov_len).unwrap_or(u32::MAX)
}

fn write_flags(durable: bool) -> i32 {
    if durable { libc::RWF_DSYNC } else { 0 }
}
