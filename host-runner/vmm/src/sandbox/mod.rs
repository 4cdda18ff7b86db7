//! What is left of this process's rights while a guest runs.
//!
//! A guest that found a mistake in a device would run code here, with what this process may do. So that is as little as can be: all files
//! are opened first, then the process gives up its rights, and each thread all system calls but those of its work.
//!
//! ```text
//! begin            no descriptor but the standard three
//!   open           disks, taps, sockets, /dev/kvm, memory, the kernel's files
//! confine_process  own namespaces, the guest's user, no capabilities, limits, no new rights, files by Landlock
//!   threads start
//! enter            each thread its filter of system calls; the driver, which is the main thread, last
//! ```
//!
//! | thread | may call, beside memory, locks, clocks, `read`, `write`, `close` and its own end |
//! |---|---|
//! | disk worker | reads, writes, syncs and allocation on open files |
//! | devices | that, and `epoll`, timers, `io_uring`, Unix sockets, ioctls of taps and vhost, new threads of this process |
//! | vcpu | as devices (a register access can make a device begin or end its work), and `KVM_RUN` |
//! | driver | as devices, and KVM's state, the kick of vCPUs, files: those that Landlock leaves, which are snapshots |
//! | api | accepts and answers on Unix sockets; new threads of this process, one for each connection |
//!
//! **A thread that calls anything else ends the whole process** with `SIGSYS`. No thread can start a program, trace another process,
//! make memory executable, open a network socket, or be followed by a child process.
//!
//! # Order
//!
//! Rights belong to threads, and are inherited: [`confine_process`] comes before the first thread. A filter can only be tightened:
//! the disk workers' is a part of the filter of each thread that may start them.

mod files;
mod filters;
mod ioctls;
mod process;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

pub use filters::FilterError;
pub use process::{Account, ProcessError};

use crate::config::MachineConfig;
use crate::log::say;
use filters::Filters;

/// The filters of this process, compiled before the first thread starts.
static FILTERS: OnceLock<Filters> = OnceLock::new();

/// What happens to a system call that a thread has no need of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Seccomp {
    /// It ends the process.
    #[default]
    Kill,
    /// It is done, and the kernel writes a line to its log: to find out what a filter lacks.
    Log,
    /// Nothing: there are no filters. For debuggers.
    Off,
}

/// The kinds of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadKind {
    /// The main thread, which drives the machine.
    Driver,
    /// Accepts connections to the control socket, and answers on them.
    Api,
    /// Moves data between queues and the world.
    Devices,
    /// Runs the guest.
    Vcpu,
    /// Does a disk's work where `io_uring` cannot.
    DiskWorker,
}

impl fmt::Display for ThreadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "driver",
            Self::Api => "api",
            Self::Devices => "devices",
            Self::Vcpu => "vcpu",
            Self::DiskWorker => "disk worker",
        })
    }
}

/// How tight the confinement is to be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confinement {
    /// What a forbidden system call does.
    pub seccomp: Seccomp,
    /// Whom the process becomes when all is open. Without it, it stays whom it was started as.
    pub account: Option<Account>,
}

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A right that could not be given up.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A folder that is to stay within reach cannot be opened.
    #[error("cannot keep {} within reach", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// Landlock.
    #[error("cannot take this process's files away")]
    Landlock(#[from] landlock::RulesetError),
}

/// Closes what whoever started this process left open, and makes the allocator one that needs no files: the first thing in the process,
/// before it opens anything.
pub fn begin() -> Result<(), SandboxError> {
    process::keep_one_arena();
    Ok(process::begin()?)
}

/// Gives up the process's rights. All that it needs is open, and there is no other thread yet.
///
/// What the configuration names for later stays within reach, as far as the user's own rights go: the folder of snapshots, the snapshots
/// that are to be read, and the folder of the vsock's sockets.
///
/// What the kernel does not have of this is said on standard error.
pub fn confine_process(config: &MachineConfig, confinement: &Confinement) -> Result<(), SandboxError> {
    if FILTERS.get().is_none() {
        // Whoever else has compiled them in between has compiled the same.
        let _same = FILTERS.set(Filters::compile(confinement.seccomp)?);
    }
    if !process::own_namespaces()? && rustix::process::geteuid().is_root() {
        say(&"microvm: root may not make namespaces here: the machine shares the host's");
    }
    process::limit()?;
    process::become_nobody(confinement.account)?;
    if !files::restrict(config)? {
        say(
            &"microvm: this kernel has no Landlock: filters and the user's rights alone guard the host's files",
        );
    }
    Ok(())
}

/// Confines the calling thread for good: the first thing in a thread. Fails where [`confine_process`] has not been called.
pub fn enter(kind: ThreadKind) -> io::Result<()> {
    let filters = FILTERS
        .get()
        .ok_or_else(|| io::Error::other("the filters of system calls are not prepared"))?;
    filters
        .apply(kind)
        .map_err(|err| io::Error::other(format!("cannot confine a {kind} thread: {err}")))
}

/// [`enter`] as what a disk's worker does first. A worker that cannot be confined must not work, and the disk cannot without it: the
/// process ends.
pub fn enter_disk_worker() {
    if let Err(err) = enter(ThreadKind::DiskWorker) {
        say(&format_args!("microvm: {err}"));
        std::process::abort();
    }
}
