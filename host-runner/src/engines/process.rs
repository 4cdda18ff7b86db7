//! An engine's process: made, found again, watched, killed.
//!
//! Whether a guest lives is told by a lock, not by a process number: its engine inherits an open, locked file as its standard input and
//! holds the lock until its process is gone, whatever becomes of the agent, of the sockets and of the number.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use api::EngineKind;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

use crate::engines::limits::GuestGroup;
use crate::engines::{EngineError, LOG_BYTES_MAX};
use crate::instance_files::{FileError, failed};

/// The most that is read of a lock file and of a process's command line, in bytes.
const READ_MAX: u64 = 64 * 1024;

/// How large the log of one engine may grow between two looks at it, in bytes.
const STDERR_BYTES_MAX: u64 = 1024 * 1024;

/// A process, held by a descriptor that cannot come to mean another one.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    descriptor: AsyncFd<OwnedFd>,
    /// Present when this agent made the process.
    child: Option<Child>,
}

impl Process {
    /// Takes hold of a running process.
    pub fn open(pid: u32) -> io::Result<Self> {
        let number = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let descriptor = rustix::process::pidfd_open(number, PidfdFlags::NONBLOCK)?;
        Ok(Self {
            pid,
            descriptor: watch(descriptor)?,
            child: None,
        })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(self.descriptor.get_ref(), PollFlags::IN)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready > 0)
    }

    /// Returns when it has ended. Safe to cancel.
    pub async fn ended(&self) {
        // A descriptor that cannot be polled says nothing; whoever waits here also waits for something else.
        if self.descriptor.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Kills it.
    pub fn kill(&self) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(self.descriptor.get_ref(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// How it ended, in words. Only its parent is told.
    pub fn ending(&mut self) -> String {
        let status = self
            .child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten());
        status.map_or_else(|| "nobody saw how".to_owned(), in_words)
    }
}

#[expect(
    unsafe_code,
    reason = "tokio asks for a promise that the type of the descriptor keeps"
)]
fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names one open descriptor for as long as it lives, and `AsyncFd` deregisters it before it drops it.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}

fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => "killed by signal 9, SIGKILL".to_owned(),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

/// Whether a process holds the lock. No lock file: nobody does.
pub fn is_locked(path: &Path) -> Result<bool, EngineError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(err) => return Err(failed("open", path)(err).into()),
    };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(err)) => Err(failed("lock", path)(err).into()),
    }
}

/// The process number that the lock file names, if any.
pub fn named_pid(path: &Path) -> Option<u32> {
    read_capped(path).ok()?.trim().parse().ok()
}

/// Whether the process was started with this argument.
pub fn has_argument(pid: u32, wanted: &str) -> bool {
    read_capped(Path::new(&format!("/proc/{pid}/cmdline")))
        .is_ok_and(|line| line.split('\0').any(|argument| argument == wanted))
}

fn read_capped(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Empties the lock file: no process was made for this launch yet.
pub fn forget_pid(path: &Path) -> Result<(), EngineError> {
    let file = File::options()
        .write(true)
        .open(path)
        .map_err(failed("open", path))?;
    Ok(file.set_len(0).map_err(failed("empty", path))?)
}

/// What an engine's process is made of.
#[derive(Debug)]
pub struct Program<'a> {
    /// The engine.
    pub engine: EngineKind,
    /// A path, or a name that is found on the `PATH`.
    pub path: &'a Path,
    /// What it is told.
    pub arguments: &'a [OsString],
    /// Where it runs.
    pub folder: &'a Path,
    /// Where what it writes goes; what was there goes.
    pub stderr: &'a Path,
    /// The control group that it belongs to.
    pub group: &'a GuestGroup,
}

/// Makes an engine's process, which holds the lock: a session of its own, so that nothing that ends the agent or its terminal reaches it.
pub fn spawn(what: &Program<'_>, lock_path: &Path) -> Result<Process, EngineError> {
    let lock = File::options()
        .read(true)
        .write(true)
        .open(lock_path)
        .map_err(failed("open", lock_path))?;
    lock.try_lock().map_err(|err| match err {
        TryLockError::WouldBlock => EngineError::Hidden {
            path: lock_path.to_owned(),
        },
        TryLockError::Error(err) => failed("lock", lock_path)(err).into(),
    })?;
    let mut note = lock.try_clone().map_err(failed("duplicate", lock_path))?;
    let process = start(what, Stdio::from(lock))?;
    note.set_len(0)
        .and_then(|()| note.write_all(process.pid().to_string().as_bytes()))
        .map_err(failed("write", lock_path))?;
    Ok(process)
}

/// Makes a process in a session of its own, with `stdin` and a log.
pub fn start(what: &Program<'_>, stdin: Stdio) -> Result<Process, EngineError> {
    let (stderr_path, program) = (what.stderr, what.path);
    // What an earlier process wrote goes; what this one writes is appended, so that it can be cut while its writer has it open.
    remove_if_there(stderr_path)?;
    let stderr = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(stderr_path)
        .map_err(failed("make", stderr_path))?;
    let mut command = Command::new(program);
    command
        .args(what.arguments)
        .current_dir(what.folder)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(stdin)
        .stdout(Stdio::null())
        .stderr(Stdio::from(stderr));
    own_session(&mut command, what.group.doors());
    let child = command.spawn().map_err(|err| EngineError::Spawn {
        engine: what.engine,
        program: program.display().to_string(),
        err,
    })?;
    let gone = || EngineError::Died {
        engine: what.engine,
        ending: "at once".into(),
        log: String::new(),
    };
    let pid = child.id().ok_or_else(gone)?;
    let mut process = Process::open(pid).map_err(|_| gone())?;
    process.child = Some(child);
    if !what.group.holds(pid) {
        tracing::warn!(pid, program = %program.display(), "a guest's process is outside its control group");
    }
    Ok(process)
}

/// Removes a file; none there is no error.
pub fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(err)),
        _ => Ok(()),
    }
}

#[expect(
    unsafe_code,
    reason = "std offers no other way to start a session, and to enter control groups, between fork and exec"
)]
fn own_session(command: &mut Command, groups: Vec<OwnedFd>) {
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed. `setsid` and `write` are: rustix
    // makes the system calls directly, without a lock or an allocation, and the error is a plain number.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            for group in &groups {
                // Whether it has worked is seen from outside, where there are words for it.
                let _seen_later = rustix::io::write(group, b"0");
            }
            Ok(())
        });
    }
}

/// Empties a log that has grown beyond [`STDERR_BYTES_MAX`]: a guest can make its engine complain as often as it likes, and the runtime
/// folder is usually in memory.
pub fn cap_log(path: &Path) {
    let grown = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > STDERR_BYTES_MAX);
    if grown
        && let Err(error) = File::options()
            .write(true)
            .open(path)
            .and_then(|file| file.set_len(0))
    {
        tracing::warn!(%error, path = %path.display(), "a log that has grown too large cannot be emptied");
    }
}

/// Adds a line to a log, as its writer would; a log that cannot be written is done without.
pub fn add_to_log(path: &Path, line: &str) {
    let added = File::options()
        .append(true)
        .open(path)
        .and_then(|mut file| writeln!(file, "{line}"));
    if let Err(error) = added {
        tracing::debug!(%error, path = %path.display(), line, "not added to the log");
    }
}

/// The end of a file as text, at most [`LOG_BYTES_MAX`], without control characters; empty where there is none.
pub fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.seek(SeekFrom::End(0))?;
        let most = u64::try_from(LOG_BYTES_MAX).unwrap_or(u64::MAX);
        file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    harmless(&read().unwrap_or_default())
}

/// Bytes of any origin as text, without control characters.
pub fn harmless(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .filter(|c| *c == '\n' || *c == '\t' || !c.is_control())
        .collect::<String>()
        .trim()
        .to_owned()
}

/// A process that does nothing, in an engine's place.
#[cfg(test)]
pub fn spawn_for_test() -> io::Result<Process> {
    let child = Command::new("sleep").arg("600").kill_on_drop(true).spawn()?;
    let mut process = Process::open(child.id().ok_or(io::ErrorKind::NotFound)?)?;
    process.child = Some(child);
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_cut_from_the_front_and_made_harmless() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stderr");
        let mut text = "x".repeat(LOG_BYTES_MAX * 2);
        text.push_str("\n\u{1b}[31mlast line\0\n");
        std::fs::write(&path, text).unwrap();
        let tail = tail(&path);
        assert!(tail.len() <= LOG_BYTES_MAX);
        assert!(tail.ends_with("\n[31mlast line"), "{tail:?}");
    }

    #[test]
    fn a_log_that_grows_without_end_is_cut_under_its_writers_hands() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stderr");
        let mut writer = File::options().append(true).create(true).open(&path).unwrap();
        writer.write_all(b"one complaint\n").unwrap();
        cap_log(&path);
        assert_eq!(tail(&path), "one complaint");
        writer.write_all(&vec![b'x'; 1024 * 1024]).unwrap();
        cap_log(&path);
        writer.write_all(b"the last complaint\n").unwrap();
        assert_eq!(tail(&path), "the last complaint");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 19);
    }

    #[test]
    fn no_log_is_an_empty_one() {
        assert_eq!(tail(Path::new("/nonexistent/stderr")), "");
    }

    #[test]
    fn a_lock_is_held_as_long_as_any_copy_of_its_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("guest.lock");
        assert!(!is_locked(&path).unwrap());
        let holder = File::create(&path).unwrap();
        assert!(!is_locked(&path).unwrap());
        holder.try_lock().unwrap();
        let copy = holder.try_clone().unwrap();
        drop(holder);
        assert!(is_locked(&path).unwrap());
        drop(copy);
        assert!(!is_locked(&path).unwrap());
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_seen_and_told() {
        let mut process = spawn_for_test().unwrap();
        assert!(!process.has_ended());
        process.kill().unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(10), process.ended())
            .await
            .expect("killed processes end");
        assert!(process.has_ended());
        assert_eq!(process.ending(), "killed by signal 9, SIGKILL");
    }
}
