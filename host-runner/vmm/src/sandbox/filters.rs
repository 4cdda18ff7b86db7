//! The filters of system calls.
//!
//! A filter lists what is allowed. Where a call can do more than its thread needs, its arguments are looked at, as far as they are numbers:
//! a filter cannot look behind a pointer.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_long, c_ulong};

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use super::{Seccomp, ThreadKind, ioctls};
use crate::vcpu;

/// Why a filter cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the filter of the {kind} thread")]
pub struct FilterError {
    kind: ThreadKind,
    #[source]
    err: BackendError,
}

/// What one thread may call: for each number, the arguments that are allowed, or none for all of them.
type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

/// The flags of `clone` that make a thread, of this process, with nothing of its own: glibc's and musl's, which differ in one that has
/// had no meaning since Linux 2.6.2.
const THREAD: c_int = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_SETTLS
    | libc::CLONE_PARENT_SETTID
    | libc::CLONE_CHILD_CLEARTID;

/// `MADV_GUARD_INSTALL` and `MADV_GUARD_REMOVE` (Linux 6.13), which `libc` does not name everywhere: from glibc 2.42 on, the guard below each
/// new thread's stack is made so. A thread that may start others and may not call it would end the process.
///
/// Source: `asm-generic/mman-common.h`; glibc, `nptl/allocatestack.c`.
const MADV_GUARD: [c_int; 2] = [102, 103];

/// All filters.
#[derive(Debug)]
pub struct Filters {
    /// Nothing with [`Seccomp::Off`].
    by_kind: Vec<(ThreadKind, BpfProgram)>,
    /// Makes `clone3` look as if the kernel did not know it: its flags lie in memory, where no filter sees them, and C libraries then
    /// use `clone`.
    no_clone3: Option<BpfProgram>,
}

impl Filters {
    /// Compiles the filters of all kinds.
    pub fn compile(seccomp: Seccomp) -> Result<Self, FilterError> {
        let otherwise = match seccomp {
            Seccomp::Off => {
                return Ok(Self {
                    by_kind: Vec::new(),
                    no_clone3: None,
                });
            }
            Seccomp::Log => SeccompAction::Log,
            Seccomp::Kill => SeccompAction::KillProcess,
        };
        let mut by_kind = Vec::new();
        for kind in [
            ThreadKind::Driver,
            ThreadKind::Api,
            ThreadKind::Devices,
            ThreadKind::Vcpu,
            ThreadKind::DiskWorker,
        ] {
            let program = rules(kind)
                .and_then(|rules| program(rules, otherwise.clone(), SeccompAction::Allow))
                .map_err(|err| FilterError { kind, err })?;
            by_kind.push((kind, program));
        }
        let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        let clone3 = Rules::from([(libc::SYS_clone3, Vec::new())]);
        let no_clone3 = program(clone3, SeccompAction::Allow, unknown).map_err(|err| FilterError {
            kind: ThreadKind::Devices,
            err,
        })?;
        Ok(Self {
            by_kind,
            no_clone3: Some(no_clone3),
        })
    }

    /// Puts the filter of its kind on the calling thread.
    pub fn apply(&self, kind: ThreadKind) -> Result<(), seccompiler::Error> {
        let Some((_, program)) = self.by_kind.iter().find(|(of, _)| *of == kind) else {
            // `Seccomp::Off`: there is none for any kind.
            return Ok(());
        };
        // First: the filter that follows does not let a worker add another one.
        if let Some(no_clone3) = self.no_clone3.as_ref().filter(|_| kind != ThreadKind::DiskWorker) {
            seccompiler::apply_filter(no_clone3)?;
        }
        seccompiler::apply_filter(program)
    }
}

fn program(
    rules: Rules,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, otherwise, listed, arch)?.try_into()
}

fn rules(kind: ThreadKind) -> Result<Rules, BackendError> {
    let mut list = List::default();
    list.of_every_thread()?;
    match kind {
        ThreadKind::DiskWorker => list.of_disks()?,
        ThreadKind::Api => {
            list.of_thread_starters()?;
            list.of_api()?;
        }
        ThreadKind::Devices => {
            list.of_devices(&[])?;
            // What its waiting is made of.
            list.allow(&[libc::SYS_epoll_create1]);
        }
        ThreadKind::Vcpu => list.of_devices(&ioctls::of_vcpus())?,
        ThreadKind::Driver => {
            list.of_devices(&ioctls::of_driver())?;
            list.of_driver()?;
        }
    }
    Ok(list.rules)
}

/// A list of rules in the making.
#[derive(Default)]
struct List {
    rules: Rules,
}

impl List {
    /// Allows calls with whatever arguments.
    fn allow(&mut self, numbers: &[c_long]) {
        for number in numbers {
            self.rules.insert(*number, Vec::new());
        }
    }

    /// Allows a call where all conditions hold, beside what of it is allowed already.
    fn allow_where(
        &mut self,
        number: c_long,
        conditions: Vec<Result<SeccompCondition, BackendError>>,
    ) -> Result<(), BackendError> {
        let conditions = conditions.into_iter().collect::<Result<_, _>>()?;
        self.rules
            .entry(number)
            .or_default()
            .push(SeccompRule::new(conditions)?);
        Ok(())
    }

    /// Allows a call where an argument, a 32-bit number, is one of these.
    fn allow_one_of(&mut self, number: c_long, argument: u8, values: &[c_int]) -> Result<(), BackendError> {
        for value in values {
            self.allow_where(number, vec![is(argument, *value)])?;
        }
        Ok(())
    }

    /// Memory, locks, clocks, a thread's beginning and end, and the way to a message and an abort.
    fn of_every_thread(&mut self) -> Result<(), BackendError> {
        self.allow(&[
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_close,
            libc::SYS_brk,
            libc::SYS_munmap,
            libc::SYS_mremap,
            libc::SYS_futex,
            libc::SYS_sched_yield,
            libc::SYS_restart_syscall,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_sigaltstack,
            libc::SYS_set_robust_list,
            libc::SYS_rseq,
            // A thread asks for the size of its own stack, and glibc answers with all attributes.
            libc::SYS_sched_getaffinity,
            libc::SYS_getrandom,
            libc::SYS_getpid,
            libc::SYS_gettid,
            libc::SYS_exit,
            libc::SYS_exit_group,
            // Where the kernel has no clock that it can be read from without a call.
            libc::SYS_clock_gettime,
            libc::SYS_gettimeofday,
            libc::SYS_time,
            libc::SYS_clock_nanosleep,
            libc::SYS_nanosleep,
        ]);
        self.allow_where(libc::SYS_mmap, vec![has_not(2, libc::PROT_EXEC)])?;
        self.allow_where(libc::SYS_mprotect, vec![has_not(2, libc::PROT_EXEC)])?;
        self.allow_one_of(libc::SYS_madvise, 2, &[libc::MADV_DONTNEED, libc::MADV_FREE])?;
        self.allow_one_of(libc::SYS_madvise, 2, &MADV_GUARD)?;
        self.allow_one_of(libc::SYS_rt_sigaction, 0, &[libc::SIGABRT])?;
        self.allow_one_of(libc::SYS_tgkill, 2, &[libc::SIGABRT])?;
        self.allow_one_of(libc::SYS_fcntl, 1, &[libc::F_GETFD, libc::F_GETFL])?;
        self.allow_one_of(libc::SYS_prctl, 0, &[libc::PR_SET_NAME])
    }

    /// Threads of this process, and the filter that a new thread may need.
    fn of_thread_starters(&mut self) -> Result<(), BackendError> {
        // A flag that musl sets, and that the kernel ignores.
        const DETACHED: c_int = 0x0040_0000;
        self.allow_where(libc::SYS_clone, vec![matches(0, !DETACHED, THREAD)])?;
        // The other filter answers it.
        self.allow(&[libc::SYS_clone3]);
        Ok(())
    }

    /// Work on files that are open.
    fn of_disks(&mut self) -> Result<(), BackendError> {
        self.allow(&[
            libc::SYS_pread64,
            libc::SYS_pwrite64,
            libc::SYS_preadv,
            libc::SYS_pwritev,
            libc::SYS_preadv2,
            libc::SYS_pwritev2,
            libc::SYS_fdatasync,
            libc::SYS_fsync,
            libc::SYS_fallocate,
            libc::SYS_ftruncate,
            libc::SYS_lseek,
            libc::SYS_fstat,
        ]);
        let of_descriptor = |argument| vec![has(argument, libc::AT_EMPTY_PATH)];
        self.allow_where(libc::SYS_statx, of_descriptor(2))?;
        self.allow_where(libc::SYS_newfstatat, of_descriptor(3))
    }

    /// All that devices do, which is also the work of threads that can make a device begin or end its work.
    fn of_devices(&mut self, more_ioctls: &[c_ulong]) -> Result<(), BackendError> {
        self.of_disks()?;
        self.of_thread_starters()?;
        self.of_sockets()?;
        // Puts the filter of a disk's worker on top of this one: more filters forbid more.
        self.allow_one_of(libc::SYS_prctl, 0, &[libc::PR_SET_NO_NEW_PRIVS])?;
        self.allow_where(
            libc::SYS_seccomp,
            vec![is(0, libc::SECCOMP_SET_MODE_FILTER.cast_signed()), is(1, 0)],
        )?;
        self.allow(&[
            libc::SYS_readv,
            libc::SYS_writev,
            libc::SYS_recvmsg,
            libc::SYS_sendmsg,
            libc::SYS_epoll_wait,
            libc::SYS_epoll_pwait,
            libc::SYS_epoll_ctl,
            libc::SYS_timerfd_settime,
            libc::SYS_timerfd_gettime,
            // The rings are restricted to the work of disks when they are made.
            libc::SYS_io_uring_enter,
            libc::SYS_connect,
            libc::SYS_getsockopt,
        ]);
        self.allow_where(libc::SYS_socket, vec![is(0, libc::AF_UNIX)])?;
        // KVM_RUN first: it is by far the most frequent.
        for request in more_ioctls.iter().copied().chain(ioctls::of_devices()) {
            self.allow_where(libc::SYS_ioctl, vec![is_request(request)])?;
        }
        Ok(())
    }

    /// Unix sockets that listen already, and who connects to them.
    fn of_sockets(&mut self) -> Result<(), BackendError> {
        self.allow(&[
            libc::SYS_accept4,
            libc::SYS_recvfrom,
            libc::SYS_sendto,
            libc::SYS_shutdown,
            libc::SYS_poll,
            libc::SYS_ppoll,
        ]);
        self.allow_where(libc::SYS_setsockopt, vec![is(1, libc::SOL_SOCKET)])
    }

    fn of_api(&mut self) -> Result<(), BackendError> {
        self.of_sockets()
    }

    /// The kick of vCPUs, and files: those that Landlock leaves within reach.
    fn of_driver(&mut self) -> Result<(), BackendError> {
        self.allow_one_of(libc::SYS_tgkill, 2, &[vcpu::kick()])?;
        // A folder that is read.
        self.allow_where(
            libc::SYS_fcntl,
            vec![is(1, libc::F_SETFD), is(2, libc::FD_CLOEXEC)],
        )?;
        self.allow(&[
            libc::SYS_openat,
            libc::SYS_mkdir,
            libc::SYS_mkdirat,
            libc::SYS_unlink,
            libc::SYS_unlinkat,
            libc::SYS_rmdir,
            libc::SYS_rename,
            libc::SYS_renameat,
            libc::SYS_renameat2,
            libc::SYS_getdents64,
            libc::SYS_statx,
            libc::SYS_newfstatat,
            libc::SYS_copy_file_range,
            libc::SYS_sendfile,
        ]);
        Ok(())
    }
}

/// An argument is this 32-bit number. The kernel looks at no more of it: the upper half is the caller's to choose.
fn is(argument: u8, value: c_int) -> Result<SeccompCondition, BackendError> {
    matches(argument, -1, value)
}

/// An argument has none of these bits.
fn has_not(argument: u8, bits: c_int) -> Result<SeccompCondition, BackendError> {
    matches(argument, bits, 0)
}

/// An argument has all of these bits.
fn has(argument: u8, bits: c_int) -> Result<SeccompCondition, BackendError> {
    matches(argument, bits, bits)
}

/// Of an argument, a 32-bit number, the bits of the mask are those of the value.
fn matches(argument: u8, mask: c_int, value: c_int) -> Result<SeccompCondition, BackendError> {
    let operator = SeccompCmpOp::MaskedEq(mask.cast_unsigned().into());
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        operator,
        value.cast_unsigned().into(),
    )
}

/// An ioctl has this number, which has 32 bits.
fn is_request(request: c_ulong) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request)
}
