#![expect(
    unsafe_code,
    reason = "a forbidden system call is made by its number: no safe interface would make it"
)]
//! What confined threads cannot do, each time in a process of its own: the test binary starts itself again, since a filter stays for good
//! and a violation ends the process.

use std::ffi::{c_int, c_long};
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use super::*;
use crate::config::{BootConfig, CpusConfig, MemoryConfig};

const KINDS: [ThreadKind; 5] = [
    ThreadKind::Driver,
    ThreadKind::Api,
    ThreadKind::Devices,
    ThreadKind::Vcpu,
    ThreadKind::DiskWorker,
];
/// Names what the process that was started again is to do: a kind of thread, and a deed.
const DEED: &str = "MICROVM_TEST_DEED";
/// The folder that it may use.
const FOLDER: &str = "MICROVM_TEST_FOLDER";
/// What it ends with when it has done what it was told to; a panic of a test ends with another one.
const DONE: i32 = 42;
/// Somebody who owns nothing; told apart from the group.
const NOBODY: Account = Account {
    uid: 65534,
    gid: 65533,
};

/// What a thread tries. `Ok` when the kernel let it.
type Deed = fn(&Path) -> io::Result<()>;

/// What no thread may do.
const FORBIDDEN: [(&str, Deed); 13] = [
    ("trace another process", |_| call(libc::SYS_ptrace, [0; 6])),
    ("start a program", |_| call(libc::SYS_execve, [0; 6])),
    ("start a process", |_| {
        call(libc::SYS_clone, [c_long::from(libc::SIGCHLD), 0, 0, 0, 0, 0])
    }),
    ("open an Internet socket", |_| {
        let kind = [libc::AF_INET, libc::SOCK_STREAM].map(c_long::from);
        call(libc::SYS_socket, [kind[0], kind[1], 0, 0, 0, 0])
    }),
    ("open a netlink socket", |_| {
        let kind = [libc::AF_NETLINK, libc::SOCK_RAW].map(c_long::from);
        call(libc::SYS_socket, [kind[0], kind[1], 0, 0, 0, 0])
    }),
    ("map executable memory", |_| {
        let flags = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let protection = c_long::from(libc::PROT_READ | libc::PROT_EXEC);
        call(libc::SYS_mmap, [0, 4096, protection, flags, -1, 0])
    }),
    ("make memory executable", |_| {
        call(
            libc::SYS_mprotect,
            [0, 4096, c_long::from(libc::PROT_EXEC), 0, 0, 0],
        )
    }),
    ("type on a terminal", |_| {
        let request = c_long::try_from(libc::TIOCSTI).unwrap();
        call(libc::SYS_ioctl, [0, request, 0, 0, 0, 0])
    }),
    ("end another process", |_| {
        call(libc::SYS_kill, [1, c_long::from(libc::SIGTERM), 0, 0, 0, 0])
    }),
    ("make namespaces", |_| {
        call(
            libc::SYS_unshare,
            [c_long::from(libc::CLONE_NEWUSER), 0, 0, 0, 0, 0],
        )
    }),
    ("mount", |_| call(libc::SYS_mount, [0; 6])),
    ("make an unrestricted io_uring", |_| {
        call(libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0])
    }),
    ("listen on a socket", |_| {
        call(libc::SYS_listen, [0, 1, 0, 0, 0, 0])
    }),
];

/// What is one kind's work, and ends a process whose other threads try it.
const OWN: [(&str, &[ThreadKind], Deed); 5] = [
    ("open a file", &[ThreadKind::Driver], |folder| {
        std::fs::File::open(folder.join("inside/file")).map(drop)
    }),
    ("run a vCPU", &[ThreadKind::Vcpu], |_| {
        const KVM_RUN: c_long = 0xae80;
        call(libc::SYS_ioctl, [-1, KVM_RUN, 0, 0, 0, 0])
    }),
    (
        "wait for events",
        &[ThreadKind::Devices, ThreadKind::Vcpu, ThreadKind::Driver],
        |_| call(libc::SYS_epoll_wait, [-1, 0, 1, 0, 0, 0]),
    ),
    (
        "allocate space in an open file",
        &[
            ThreadKind::DiskWorker,
            ThreadKind::Devices,
            ThreadKind::Vcpu,
            ThreadKind::Driver,
        ],
        |_| call(libc::SYS_fallocate, [-1, 0, 0, 1, 0, 0]),
    ),
    (
        "make what an open file holds durable",
        &[
            ThreadKind::DiskWorker,
            ThreadKind::Devices,
            ThreadKind::Vcpu,
            ThreadKind::Driver,
        ],
        |_| call(libc::SYS_fdatasync, [-1, 0, 0, 0, 0, 0]),
    ),
];

/// What every thread does: it must not end the process.
fn everyday(_: &Path) -> io::Result<()> {
    let mut grown = vec![1_u8; 1 << 20];
    grown.resize(4 << 20, 2);
    drop(grown);
    // More than the allocator keeps for later: it gives memory back, and must need no file for that.
    let many: Vec<Vec<u8>> = (0..100).map(|_| vec![3; 100 << 10]).collect();
    drop(many);
    let now = std::time::Instant::now();
    eprintln!("a message, after {:?}", now.elapsed());
    thread::yield_now();
    let random: std::collections::HashMap<u8, u8> = [(1, 1)].into();
    random
        .get(&1)
        .map(drop)
        .ok_or_else(|| io::Error::other("a map lost what it was given"))
}

/// What glibc does from 2.42 on for each thread that it starts, and when it uses a stack again: of no pages here. Kernels before 6.13
/// refuse it, which glibc takes for an answer.
fn guard_a_stack(_: &Path) -> io::Result<()> {
    const MADV_GUARD_INSTALL: c_long = 102;
    const MADV_GUARD_REMOVE: c_long = 103;
    for advice in [MADV_GUARD_INSTALL, MADV_GUARD_REMOVE] {
        match call(libc::SYS_madvise, [0, 0, advice, 0, 0, 0]) {
            Err(err) if err.kind() != io::ErrorKind::InvalidInput => return Err(err),
            _ => {}
        }
    }
    Ok(())
}

fn call(number: c_long, arguments: [c_long; 6]) -> io::Result<()> {
    let [first, second, third, fourth, fifth, sixth] = arguments;
    // SAFETY: the calls that are made here get null pointers, no descriptor, or a new mapping that nothing uses: what the kernel does
    // with them touches no memory of this process.
    match unsafe { libc::syscall(number, first, second, third, fourth, fifth, sixth) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn machine(folder: &Path) -> MachineConfig {
    MachineConfig {
        id: "confined".into(),
        cpus: CpusConfig {
            count: 1,
            model: crate::config::CpuModel::Host,
        },
        memory: MemoryConfig {
            size_mib: 64,
            huge_pages: false,
            shared: false,
        },
        boot: BootConfig {
            kernel: "/kernel".into(),
            initrd: None,
            command_line: String::new(),
        },
        disks: Vec::new(),
        networks: Vec::new(),
        serial_socket: None,
        console_socket: None,
        vsock: None,
        balloon: None,
        entropy: false,
        api_socket: None,
        ending_file: None,
        snapshot_directory: Some(folder.join("inside")),
        log_writes: false,
        restore: Vec::new(),
        paused: false,
    }
}

/// What [`begin`] does to the allocator, in the processes that are started again: before the harness has threads, as in the product.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_ALL: extern "C" fn() = before_all;

extern "C" fn before_all() {
    if std::env::var_os(DEED).is_some() {
        process::keep_one_arena();
    }
}

/// Starts this test binary again, for one of the tests that are ignored otherwise.
fn again(test: &str, deed: &str, folder: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .arg(format!("sandbox::tests::{test}"))
        .args(["--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DEED, deed)
        .env(FOLDER, folder)
        .output()
        .unwrap()
}

/// Does one thing as one kind of thread.
fn try_it(kind: ThreadKind, deed: &str, folder: &Path) -> Output {
    again("deed", &format!("{kind}/{deed}"), folder)
}

/// The other side of [`try_it`].
#[test]
#[ignore = "is what the other tests start, in a process of its own"]
fn deed() {
    let wanted = std::env::var(DEED).unwrap();
    let (kind, name) = wanted.split_once('/').unwrap();
    let kind = KINDS.into_iter().find(|known| known.to_string() == kind).unwrap();
    let own = OWN.iter().map(|(name, _, deed)| (*name, *deed));
    let deed = (FORBIDDEN.into_iter().chain(own))
        .chain([
            ("everyday", everyday as Deed),
            ("guard a stack", guard_a_stack),
            ("outside", outside),
            ("snapshot", snapshot),
        ])
        .find(|(known, _)| *known == name)
        .unwrap()
        .1;
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let config = machine(&folder);
    // Rights and filters stay with the thread and those that it starts.
    let worker = thread::spawn(move || {
        confine_process(&config, &Confinement::default()).unwrap();
        // As in the product: a worker is started by a thread that has a filter of its own, and so is a connection.
        let first = match kind {
            ThreadKind::DiskWorker => ThreadKind::Devices,
            kind => kind,
        };
        enter(first).unwrap();
        let act = move || {
            if kind == ThreadKind::DiskWorker {
                enter_disk_worker();
            }
            match deed(&folder) {
                Ok(()) => println!("let"),
                Err(err) => println!("refused: {err}"),
            }
        };
        thread::spawn(act).join().unwrap();
        std::process::exit(DONE);
    });
    worker.join().unwrap();
}

/// What is left of a process's rights, one a line, as a thread finds them that was started after the process was confined.
#[test]
#[ignore = "is what another test starts, in a process of its own"]
fn rights() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let config = machine(&folder);
    let confinement = Confinement {
        seccomp: Seccomp::Kill,
        account: (std::env::var(DEED).unwrap() == "become nobody").then_some(NOBODY),
    };
    let look = || {
        let has = rustix::thread::capabilities(None).unwrap();
        println!(
            "effective {:?}, permitted {:?}",
            has.effective.bits(),
            has.permitted.bits()
        );
        println!("no new rights {}", rustix::thread::no_new_privs().unwrap());
        println!("dumpable {:?}", rustix::process::dumpable_behavior().unwrap());
        let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
        println!("user {} group {}", uid.as_raw(), gid.as_raw());
        let most = rustix::process::getrlimit(rustix::process::Resource::Core).maximum;
        println!("core {most:?}");
    };
    let confined = thread::spawn(move || {
        confine_process(&config, &confinement).map(|()| thread::spawn(look).join().unwrap())
    });
    match confined.join().unwrap() {
        Ok(()) => std::process::exit(DONE),
        Err(err) => println!("not confined: {err}"),
    }
}

/// Whether descriptors that a process was started with are there, before and after its beginning.
#[test]
#[ignore = "is what another test starts, in a process of its own"]
fn inherited() {
    let number = std::env::var(DEED).unwrap().parse().unwrap();
    // SAFETY: whether the descriptor is open is all that is asked of it.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    println!("before {}", rustix::io::fcntl_getfd(descriptor).is_ok());
    begin().unwrap();
    println!("after {}", rustix::io::fcntl_getfd(descriptor).is_ok());
    std::process::exit(DONE);
}

fn outside(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder.join("outside")).map(drop)
}

fn snapshot(folder: &Path) -> io::Result<()> {
    use std::io::Write as _;
    let inside = folder.join("inside/new");
    std::fs::create_dir(&inside)?;
    let mut file = std::fs::File::create_new(inside.join("state"))?;
    file.write_all(b"state")?;
    file.sync_all()?;
    std::fs::File::open(&inside)?.sync_all()?;
    std::fs::File::open(folder.join("inside"))?.sync_all()?;
    std::fs::read(inside.join("state"))?;
    std::fs::remove_dir_all(&inside)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    // Somebody else must be able to enter it.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(folder.path().join("inside")).unwrap();
    std::fs::write(folder.path().join("inside/file"), "in reach").unwrap();
    std::fs::write(folder.path().join("outside"), "out of reach").unwrap();
    folder
}

#[track_caller]
fn assert_killed(output: &Output, what: &str) {
    assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{what}: {output:?}");
}

#[track_caller]
fn assert_survived(output: &Output, what: &str) -> String {
    assert_eq!(output.status.code(), Some(DONE), "{what}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_thread_of_any_kind_that_does_what_none_may_ends_the_process() {
    let folder = folder();
    for kind in KINDS {
        for (name, _) in FORBIDDEN {
            assert_killed(&try_it(kind, name, folder.path()), &format!("{kind}: {name}"));
        }
    }
}

#[test]
fn a_thread_that_does_the_work_of_another_kind_ends_the_process() {
    let folder = folder();
    for kind in KINDS {
        for (name, may, _) in OWN {
            let output = try_it(kind, name, folder.path());
            let what = format!("{kind}: {name}");
            if may.contains(&kind) {
                assert_survived(&output, &what);
            } else {
                assert_killed(&output, &what);
            }
        }
    }
}

#[test]
fn memory_messages_and_threads_are_everybodys() {
    let folder = folder();
    for kind in KINDS {
        let said = assert_survived(&try_it(kind, "everyday", folder.path()), &kind.to_string());
        assert!(said.contains("let"), "{kind}: {said}");
    }
}

#[test]
fn any_thread_may_set_up_the_guard_of_a_stack() {
    let folder = folder();
    for kind in KINDS {
        let name = "guard a stack";
        assert_survived(&try_it(kind, name, folder.path()), &kind.to_string());
    }
}

#[test]
fn the_driver_reaches_snapshots_and_no_other_file() {
    let folder = folder();
    let said = assert_survived(&try_it(ThreadKind::Driver, "snapshot", folder.path()), "snapshot");
    assert!(said.contains("let"), "{said}");
    let output = try_it(ThreadKind::Driver, "outside", folder.path());
    let said = assert_survived(&output, "outside");
    if String::from_utf8_lossy(&output.stderr).contains("no Landlock") {
        // The lab's kernel has it: there, this is all of the truth.
        assert!(said.contains("let"), "{said}");
    } else {
        assert!(said.contains("refused: Permission denied"), "{said}");
    }
}

#[test]
fn a_process_keeps_no_capability_and_gains_none() {
    let folder = folder();
    let said = assert_survived(&again("rights", "stay", folder.path()), "rights");
    for right in [
        "effective 0, permitted 0",
        "no new rights true",
        "dumpable NotDumpable",
        "core Some(0)",
    ] {
        assert!(said.contains(right), "{right}: {said}");
    }
}

#[test]
fn root_becomes_whom_it_is_told_to_and_nobody_else_can() {
    let folder = folder();
    let output = again("rights", "become nobody", folder.path());
    if rustix::process::geteuid().is_root() {
        let said = assert_survived(&output, "rights");
        assert!(said.contains("user 65534 group 65533"), "{said}");
        assert!(said.contains("effective 0, permitted 0"), "{said}");
    } else {
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("not confined: cannot become user 65534"), "{said}");
    }
}

#[test]
fn descriptors_that_a_process_was_started_with_are_closed() {
    let folder = folder();
    let file = std::fs::File::open(folder.path()).unwrap();
    // A duplicate that programs inherit.
    let passed = rustix::io::dup(&file).unwrap();
    let said = assert_survived(
        &again("inherited", &passed.as_raw_fd().to_string(), folder.path()),
        "inherited",
    );
    assert!(
        said.contains("before true") && said.contains("after false"),
        "{said}"
    );
}

#[test]
fn a_thread_that_is_confined_too_early_does_not_run() {
    // In this process nothing has been confined: the filters are compiled with the process's own confinement.
    assert!(FILTERS.get().is_none());
    let refused = enter(ThreadKind::Vcpu).unwrap_err();
    assert!(refused.to_string().contains("not prepared"), "{refused}");
}

#[test]
fn without_filters_nothing_is_forbidden() {
    let filters = Filters::compile(Seccomp::Off).unwrap();
    let tried = thread::spawn(move || {
        for kind in KINDS {
            filters.apply(kind).unwrap();
        }
        let domain: c_int = libc::AF_INET;
        call(
            libc::SYS_socket,
            [domain.into(), libc::SOCK_STREAM.into(), 0, 0, 0, 0],
        )
    });
    tried.join().unwrap().unwrap();
}
