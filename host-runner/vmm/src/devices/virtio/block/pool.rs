//! Disks through threads: for what `io_uring` cannot do (qcow2), and where it is not permitted.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::SLOTS;
use super::image::Image;
use super::scratch::Scratch;
use super::task::{Completion, Segment, Task};
use crate::memory::GuestMemory;

/// How many threads a disk has, at most.
const THREADS: usize = 2;
/// What a thread's stack may grow to, in bytes.
const STACK_BYTES: usize = 512 << 10;

/// What a worker thread does before anything else: where its filter of system calls is put on.
pub type ThreadStart = fn();

struct Job {
    slot: u16,
    task: Task,
    data: Vec<Segment>,
    memory: Arc<GuestMemory>,
}

/// What the device and its threads share.
struct Shared {
    image: Arc<Image>,
    desk: Mutex<Desk>,
    /// There is a job, or the end.
    to_do: Condvar,
    /// There is a completion.
    ended: Condvar,
    done: EventFd,
}

#[derive(Default)]
struct Desk {
    /// At most [`SLOTS`].
    jobs: VecDeque<Job>,
    /// At most [`SLOTS`].
    completions: VecDeque<Completion>,
    closing: bool,
}

/// Threads that do a disk's tasks, started with the first one.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    name: String,
    start: ThreadStart,
    memory: Option<Arc<GuestMemory>>,
    under_way: usize,
}

impl Pool {
    /// A pool for this image, without threads so far, that says by an event of its own when something is done.
    pub fn alone(image: Arc<Image>, name: String, start: ThreadStart) -> io::Result<Self> {
        Ok(Self::new(
            image,
            name,
            start,
            EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
        ))
    }

    /// A pool for this image, without threads so far, that says by this event when something is done.
    pub fn new(image: Arc<Image>, name: String, start: ThreadStart, done: EventFd) -> Self {
        Self {
            shared: Arc::new(Shared {
                image,
                desk: Mutex::default(),
                to_do: Condvar::new(),
                ended: Condvar::new(),
                done,
            }),
            threads: Vec::new(),
            name,
            start,
            memory: None,
            under_way: 0,
        }
    }

    /// What becomes readable when something is done.
    pub fn descriptor(&self) -> RawFd {
        self.shared.done.as_raw_fd()
    }

    /// The memory that the tasks from now on are about.
    pub fn set_memory(&mut self, memory: Option<GuestMemory>) {
        self.memory = memory.map(Arc::new);
    }

    /// Begins a task.
    pub fn begin(&mut self, slot: u16, task: Task, data: Vec<Segment>) -> io::Result<()> {
        let Some(memory) = self.memory.clone() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if self.under_way >= usize::from(SLOTS) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let job = Job {
            slot,
            task,
            data,
            memory,
        };
        self.under_way += 1;
        self.need_threads();
        if self.threads.is_empty() {
            // Nobody to do it but this thread: slow, but the guest lives.
            self.shared.run(job, &mut Scratch::default());
            return Ok(());
        }
        self.shared.desk().jobs.push_back(job);
        self.shared.to_do.notify_one();
        Ok(())
    }

    /// Forgets the wake-up; to be called before the completions are looked at.
    pub fn acknowledge(&mut self) {
        let _empty_counter_is_fine = self.shared.done.read();
    }

    /// The next task that has ended.
    pub fn take_completion(&mut self) -> Option<Completion> {
        let completion = self.shared.desk().completions.pop_front()?;
        self.under_way = self.under_way.saturating_sub(1);
        Some(completion)
    }

    /// Waits until at least one task has ended that has not been taken.
    pub fn wait(&mut self) {
        let mut desk = self.shared.desk();
        while self.under_way > 0 && desk.completions.is_empty() {
            desk = self
                .shared
                .ended
                .wait(desk)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How many tasks have been begun and not been taken as completed.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    fn need_threads(&mut self) {
        while self.threads.len() < THREADS {
            let (shared, start) = (Arc::clone(&self.shared), self.start);
            let thread = std::thread::Builder::new()
                .name(self.name.clone())
                .stack_size(STACK_BYTES)
                .spawn(move || {
                    start();
                    shared.work();
                });
            match thread {
                Ok(thread) => self.threads.push(thread),
                Err(error) => {
                    crate::devices::once(
                        &self.name,
                        &format_args!("{}: cannot start a thread: {error}", self.name),
                    );
                    return;
                }
            }
        }
    }
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut scratch = Scratch::default();
        loop {
            let mut desk = self.desk();
            let job = loop {
                if let Some(job) = desk.jobs.pop_front() {
                    break job;
                }
                if desk.closing {
                    return;
                }
                desk = self.to_do.wait(desk).unwrap_or_else(PoisonError::into_inner);
            };
            drop(desk);
            self.run(job, &mut scratch);
        }
    }

    fn run(&self, job: Job, scratch: &mut Scratch) {
        let result = self.image.run(job.task, &job.data, &job.memory, scratch);
        // The memory is let go of before anyone hears that the job is done.
        let slot = job.slot;
        drop(job);
        let first = {
            let mut desk = self.desk();
            desk.completions.push_back(Completion { slot, result });
            desk.completions.len() == 1
        };
        self.ended.notify_one();
        // Whoever takes one takes all: those behind the first need no wake-up of their own.
        if first {
            let _full_counter_wakes_too = self.done.write(1);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.desk().closing = true;
        self.shared.to_do.notify_all();
        for thread in self.threads.drain(..) {
            let _panicked_already = thread.join();
        }
    }
}
