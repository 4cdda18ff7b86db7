#![expect(
    unsafe_code,
    reason = "what a process may not do is said between `fork` and `exec`"
)]
//! A host that lets nobody have an `io_uring`, to one process. From Linux 6.6 on `kernel.io_uring_disabled` makes such hosts; the lab's
//! kernel is older.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Has the system refuse `io_uring_setup` to a program that is to be started, as that switch does: with `EPERM`.
pub fn refuse(command: &mut Command) {
    // SAFETY: between `fork` and `exec` it makes two system calls, and touches no memory but its own stack.
    unsafe { command.pre_exec(filter_this_process) };
}

fn filter_this_process() -> io::Result<()> {
    let step = |code: u32, yes, no, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt: yes,
        jf: no,
        k,
    };
    let refused = u32::try_from(libc::SYS_io_uring_setup).unwrap_or(0);
    let error = libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EPERM).unwrap_or(0);
    // The number of the system call is the first thing that a filter sees.
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, refused),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, error),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(steps.len()).unwrap_or(0),
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: takes numbers alone.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the program is as long as it says, and it and its steps outlive the call, which copies them.
    if unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    } != 0
    {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
