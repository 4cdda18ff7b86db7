#![expect(
    unsafe_code,
    reason = "locks that belong to an open file, not to a process, have no safe interface"
)]
//! Locks on disk files, so that no two machines write one disk.
//!
//! They are the locks that QEMU and `qemu-img` take ("Image locking" in QEMU's manual; `file-posix.c`), so that its machines are kept
//! out, too. Byte 100 + N says "I do N", byte 200 + N says "nobody else may do N"; both are only ever locked for reading, and whoever
//! comes locks its own bytes first and then looks whether the other kind is locked by somebody else. Two that come at once may both be
//! refused; never are both let in.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Byte 100 + N: the holder does N.
const DOES: libc::off_t = 100;
/// Byte 200 + N: the holder suffers nobody else who does N.
const FORBIDS: libc::off_t = 200;

/// What can be done with a disk.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Read = 0,
    Write = 1,
    Resize = 3,
}

/// Why there is no lock.
#[derive(Debug)]
pub enum NotLocked {
    /// Somebody else has the file.
    InUse,
    /// Locking itself fails.
    Failed(io::Error),
}

/// Locks a file for as long as it is open: others may then read it, but not write it, and if it is to be `written`, another one that
/// wants it for itself alone is refused.
///
/// A file system without locks has none: that is not an error.
pub fn lock(file: &File, written: bool) -> Result<(), NotLocked> {
    let does: &[Deed] = if written {
        &[Deed::Read, Deed::Write, Deed::Resize]
    } else {
        &[Deed::Read]
    };
    let forbids = [Deed::Write, Deed::Resize];
    let own = (does.iter().map(|deed| DOES + *deed as libc::off_t))
        .chain(forbids.iter().map(|deed| FORBIDS + *deed as libc::off_t));
    for byte in own {
        match set(file, byte) {
            Ok(()) => {}
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EACCES) => return Err(NotLocked::InUse),
                Some(libc::EINVAL | libc::ENOSYS | libc::ENOTSUP | libc::ENOLCK) => return Ok(()),
                _ => return Err(NotLocked::Failed(error)),
            },
        }
    }
    let others = (does.iter().map(|deed| FORBIDS + *deed as libc::off_t))
        .chain(forbids.iter().map(|deed| DOES + *deed as libc::off_t));
    for byte in others {
        if is_locked_by_others(file, byte).map_err(NotLocked::Failed)? {
            return Err(NotLocked::InUse);
        }
    }
    Ok(())
}

fn set(file: &File, byte: libc::off_t) -> io::Result<()> {
    let mut lock = request(libc::F_RDLCK, byte);
    call(file, libc::F_OFD_SETLK, &mut lock)
}

fn is_locked_by_others(file: &File, byte: libc::off_t) -> io::Result<bool> {
    let mut lock = request(libc::F_WRLCK, byte);
    call(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

fn request(kind: libc::c_int, byte: libc::off_t) -> libc::flock {
    let narrow = |value: libc::c_int| libc::c_short::try_from(value).unwrap_or_default();
    libc::flock {
        l_type: narrow(kind),
        l_whence: narrow(libc::SEEK_SET),
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

fn call(file: &File, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: both commands take a pointer to a `flock`, which the kernel reads and, for the question, writes during the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
