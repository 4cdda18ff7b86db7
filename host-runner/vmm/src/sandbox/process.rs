#![expect(
    unsafe_code,
    reason = "closing what this process does not know, namespaces of its own, and the allocator's settings have no safe interface"
)]
//! The rights of the process as a whole.
//!
//! Users, capabilities and namespaces belong to threads: what is done here counts for the calling thread and for those that it starts.

use std::io;

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid, UnshareFlags};

/// The most descriptors that may be open: a machine of the largest size, with all its connections, needs some 700.
const DESCRIPTORS_MAX: u64 = 1024;
/// The first descriptor that is not one of the standard three.
const FIRST: libc::c_uint = 3;
/// The kernel has no more capabilities than bits in a set.
const CAPABILITIES_MAX: u32 = 64;

/// A user, and the only group that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// Why rights could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A step.
    #[error("cannot {operation}")]
    System {
        /// The step.
        operation: &'static str,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// The user.
    #[error("cannot become user {} and group {}; only root can become somebody else", account.uid, account.gid)]
    Become {
        /// Whom.
        account: Account,
        /// What the system said.
        #[source]
        err: io::Error,
    },
}

fn system(operation: &'static str) -> impl Fn(Errno) -> ProcessError {
    move |err| ProcessError::System {
        operation,
        err: err.into(),
    }
}

/// Closes all descriptors but the standard three.
pub fn begin() -> Result<(), ProcessError> {
    let to_the_last = libc::c_uint::MAX;
    // SAFETY: takes numbers alone. No value of this process owns one of these descriptors yet: this is the first thing that it does.
    let done = unsafe { libc::syscall(libc::SYS_close_range, FIRST, to_the_last, 0) };
    if done == 0 {
        return Ok(());
    }
    Err(ProcessError::System {
        operation: "close the descriptors that this process was started with",
        err: io::Error::last_os_error(),
    })
}

/// Leaves the allocator one arena, the process's own. With more it would look into files, which confined threads cannot: for the number of
/// processors when threads first meet, and for how the host commits memory when an arena of a thread's shrinks.
///
/// Source: glibc's `malloc/arena.c` and `sysdeps/unix/sysv/linux/malloc-sysdep.h`.
pub fn keep_one_arena() {
    #[cfg(target_env = "gnu")]
    {
        const ARENAS: libc::c_int = 1;
        // SAFETY: takes numbers alone, and there is no other thread yet that allocates.
        let _an_older_libc_knows_it_too = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
    }
}

/// Namespaces of its own: mounts, System V objects, the host's name, and a network without interfaces. `false` where this is not
/// permitted; only root may.
///
/// A tap that is open stays where it is.
pub fn own_namespaces() -> Result<bool, ProcessError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(false);
    }
    let flags = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWNET;
    // SAFETY: descriptors stay shared: `FILES` is not among the flags.
    match unsafe { rustix::thread::unshare_unsafe(flags) } {
        Ok(()) => {}
        // Root of a container, a limit on namespaces, a kernel without them.
        Err(Errno::PERM | Errno::NOSPC | Errno::INVAL) => return Ok(false),
        Err(err) => return Err(system("make namespaces of its own")(err)),
    }
    // What the host unmounts must not stay in use here; what is mounted here is nobody else's.
    // SAFETY: the path is a string that ends with a zero, and with these flags the kernel reads none of the other pointers.
    let done = unsafe {
        libc::mount(
            std::ptr::null(),
            c"/".as_ptr(),
            std::ptr::null(),
            libc::MS_REC | libc::MS_SLAVE,
            std::ptr::null(),
        )
    };
    if done == 0 {
        return Ok(true);
    }
    Err(ProcessError::System {
        operation: "part its mounts from the host's",
        err: io::Error::last_os_error(),
    })
}

/// Bounds what it can hold, and keeps its memory, which is the guest's, out of core files and from other processes of its user.
pub fn limit() -> Result<(), ProcessError> {
    let most = rustix::process::getrlimit(Resource::Nofile)
        .maximum
        .map_or(DESCRIPTORS_MAX, |most| most.min(DESCRIPTORS_MAX));
    for (resource, most) in [(Resource::Nofile, most), (Resource::Core, 0)] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(resource, limit).map_err(system("limit its resources"))?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(system("keep its memory to itself"))
}

/// Gives up the user, where another one is named, all capabilities, and the way to new ones.
pub fn become_nobody(account: Option<Account>) -> Result<(), ProcessError> {
    drop_bounding_set()?;
    if let Some(account) = account {
        change(account).map_err(|err| ProcessError::Become {
            account,
            err: err.into(),
        })?;
    }
    match rustix::thread::clear_ambient_capability_set() {
        // A kernel without ambient capabilities.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(err) => return Err(system("give up its ambient capabilities")(err)),
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none).map_err(system("give up its capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(system("forbid itself new rights"))
}

/// Groups first: only root may change them.
fn change(account: Account) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

fn drop_bounding_set() -> Result<(), ProcessError> {
    for number in 0..CAPABILITIES_MAX {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // Beyond the last one that the kernel knows; or not root, whose bounding set gives it nothing.
            Err(Errno::INVAL | Errno::PERM) => break,
            Err(err) => return Err(system("shut out all capabilities")(err)),
        }
    }
    Ok(())
}
