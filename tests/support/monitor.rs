use std::fs;
use std::io::{self, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde_json::Value;

use crate::{Trouble, wait_until};

/// How long a guest may take to its init: fifty at once share two emulated processors.
const BOOT_DEADLINE: Duration = Duration::from_secs(600);

/// The kernel's command line of a guest that does nothing.
pub const QUIET_COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1";

/// A running monitor of one guest, killed when dropped.
#[derive(Debug)]
pub struct Monitor {
    child: Child,
    /// When it was started.
    pub started: Instant,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Monitor {
    /// Starts one. Its standard output can be read.
    ///
    /// # Errors
    /// The system's.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        Ok(Self { child, started })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// [`Trouble::Late`].
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus, Trouble> {
        wait_until("the monitor ends", deadline, || {
            self.child.try_wait().ok().flatten()
        })
    }

    /// How long it took from the start until it said this on its standard output.
    ///
    /// # Errors
    /// [`Trouble::Unexpected`] with what it said, where it ends before, or takes too long.
    pub fn until_it_says(&mut self, mark: &str) -> Result<Duration, Trouble> {
        self.until(|said| said.windows(mark.len()).any(|window| window == mark.as_bytes()))
    }

    /// How long it took from the start until it wrote a number to its standard output.
    ///
    /// # Errors
    /// As [`until_it_says`](Self::until_it_says).
    pub fn until_it_counts(&mut self) -> Result<Duration, Trouble> {
        self.until(|said| said.iter().any(u8::is_ascii_digit))
    }

    /// How long it took from the start until what it had said on its standard output was enough.
    ///
    /// # Errors
    /// As [`until_it_says`](Self::until_it_says).
    pub fn until(&mut self, mut enough: impl FnMut(&[u8]) -> bool) -> Result<Duration, Trouble> {
        let mut said = Vec::new();
        let mut part = [0; 4096];
        while !enough(&said) {
            let read = self
                .read(&mut part)
                .map_err(Trouble::io("read a monitor's output"))?;
            if read == 0 {
                let found = match self.child.try_wait() {
                    Ok(Some(status)) => format!("and the monitor has ended with {status}"),
                    _ => format!("and the monitor's threads:\n{}", self.threads()),
                };
                return Err(Trouble::Unexpected {
                    what: "a guest that comes up".to_owned(),
                    found: format!("{}; {found}", String::from_utf8_lossy(&said)),
                });
            }
            said.extend_from_slice(part.get(..read).unwrap_or_default());
        }
        Ok(self.started.elapsed())
    }

    /// Reads what it says; nothing once it has ended, or the deadline has passed.
    fn read(&mut self, part: &mut [u8]) -> io::Result<usize> {
        let output = self
            .child
            .stdout
            .as_mut()
            .ok_or_else(|| io::Error::other("its output is no pipe"))?;
        let left = BOOT_DEADLINE.saturating_sub(self.started.elapsed());
        let left = left.try_into().map_err(io::Error::other)?;
        let readable = rustix::event::poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&left))?;
        if readable == 0 { Ok(0) } else { output.read(part) }
    }

    /// The CPU time of all its threads so far; one that ends meanwhile, as that of a connection does, is left out.
    ///
    /// # Errors
    /// The system's.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut total = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{}/task", self.id()))? {
            let said = match fs::read_to_string(task?.path().join("schedstat")) {
                Ok(said) => said,
                Err(err) if is_gone(&err) => continue,
                Err(err) => return Err(err),
            };
            let nanoseconds = said.split_whitespace().next().and_then(|word| word.parse().ok());
            total += Duration::from_nanos(nanoseconds.unwrap_or(0));
        }
        Ok(total)
    }

    /// What each of its threads is at, for whoever has to find out why nothing moves: its name, state and CPU time, and as root where it
    /// is in the kernel.
    pub fn threads(&self) -> String {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id()))
            .into_iter()
            .flatten();
        let told = tasks.flatten().map(|task| {
            // A file that is not there, or may not be read, says nothing.
            let part = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let status = part("stat");
            let state = status.rsplit(") ").next().and_then(|rest| rest.chars().next());
            format!(
                "{} {} cpu {} syscall {}\n{}",
                part("comm").trim(),
                state.unwrap_or('?'),
                part("schedstat").trim(),
                part("syscall").trim(),
                part("stack")
            )
        });
        told.collect::<Vec<_>>().concat()
    }

    /// Its proportional share of memory beyond the guest's own, in KiB: all mappings but those that together are the guest's memory.
    ///
    /// # Errors
    /// As [`guest_share_kib`](Self::guest_share_kib).
    pub fn overhead_kib(&self, guest_memory_mib: u32) -> Result<u32, Trouble> {
        Ok(self.shares_kib(guest_memory_mib)?.0)
    }

    /// Its proportional share of the guest's own memory, in KiB: the mappings without a gap between them that are as large as that together.
    ///
    /// # Errors
    /// [`Trouble::Unexpected`] where not exactly one row of mappings has that size.
    pub fn guest_share_kib(&self, guest_memory_mib: u32) -> Result<u32, Trouble> {
        Ok(self.shares_kib(guest_memory_mib)?.1)
    }

    fn shares_kib(&self, guest_memory_mib: u32) -> Result<(u32, u32), Trouble> {
        let share = |of: &[Mapping]| of.iter().map(|one| one.share_kib).sum::<u32>();
        let rows = self.rows(guest_memory_mib)?;
        let [row] = rows.as_slice() else {
            return Err(Trouble::Unexpected {
                what: "one row of mappings that has the size of the guest's memory".to_owned(),
                found: format!("{} of them", rows.len()),
            });
        };
        Ok((share(&self.mappings()?).saturating_sub(share(row)), share(row)))
    }

    /// Its mappings without a gap between them that are so large together: guest memory is one, or several where parts of it are a file.
    ///
    /// # Errors
    /// [`Trouble::Io`].
    pub fn rows(&self, size_mib: u32) -> Result<Vec<Vec<Mapping>>, Trouble> {
        let mappings = self.mappings()?;
        let rows =
            (0..mappings.len()).filter_map(|first| row_of(mappings.get(first..)?, u64::from(size_mib) << 20));
        Ok(rows.map(<[Mapping]>::to_vec).collect())
    }

    /// What it has mapped.
    ///
    /// # Errors
    /// [`Trouble::Io`].
    pub fn mappings(&self) -> Result<Vec<Mapping>, Trouble> {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.id()));
        Ok(mappings(
            &smaps.map_err(Trouble::io("read a monitor's mappings"))?,
        ))
    }
}

/// A mapping of a process.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    /// Where it is.
    pub addresses: Range<u64>,
    /// The file that it is of; nothing for memory of the process alone.
    pub of: String,
    /// The size of its pages, in KiB.
    pub page_kib: u32,
    /// How much of it is there, in KiB.
    pub resident_kib: u32,
    /// The process's proportional share of that, in KiB.
    pub share_kib: u32,
}

/// The mappings that `smaps` tells of: each begins with its addresses, rights, offset, device and inode, and what it is of.
///
/// Source: `proc_pid_smaps(5)`.
fn mappings(smaps: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), mappings.last_mut()) {
            ([field, kib, "kB"], Some(last)) => {
                let kib = kib.parse().unwrap_or(0);
                match *field {
                    "KernelPageSize:" => last.page_kib = kib,
                    "Rss:" => last.resident_kib = kib,
                    "Pss:" => last.share_kib = kib,
                    _ => {}
                }
            }
            ([addresses, _, _, _, _, of @ ..], _) => {
                let address = |hex| u64::from_str_radix(hex, 16).ok();
                let bounds = addresses.split_once('-');
                if let Some((Some(start), Some(end))) =
                    bounds.map(|(start, end)| (address(start), address(end)))
                {
                    mappings.push(Mapping {
                        addresses: start..end,
                        of: of.first().copied().unwrap_or_default().to_owned(),
                        ..Mapping::default()
                    });
                }
            }
            _ => {}
        }
    }
    mappings
}

/// The first of the mappings and those that follow it without a gap, if they can be of that size together.
fn row_of(mappings: &[Mapping], size: u64) -> Option<&[Mapping]> {
    let start = mappings.first()?.addresses.start;
    let mut end = start;
    for (count, mapping) in (1..).zip(mappings) {
        if mapping.addresses.start != end {
            return None;
        }
        end = mapping.addresses.end;
        if end - start >= size {
            return mappings.get(..count).filter(|_| end - start == size);
        }
    }
    None
}

/// A thread that ended before its file was opened, or before it was read.
fn is_gone(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::NotFound
        || err.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// A request over a Unix socket, HTTP/1.1 and JSON; waits until somebody listens. Returns the answer's body, `null` where it is empty.
///
/// # Errors
/// [`Trouble::Unexpected`] with the answer, where it is none of success.
pub fn ask(socket: &Path, method: &str, path: &str, body: &Value) -> Result<Value, Trouble> {
    let mut stream = wait_until("somebody listens", BOOT_DEADLINE, || {
        UnixStream::connect(socket).ok()
    })?;
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: guest\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = String::new();
    stream
        .set_read_timeout(Some(BOOT_DEADLINE))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .and_then(|()| stream.read_to_string(&mut answer))
        .map_err(Trouble::io(format!("{method} {path}")))?;
    let unexpected = || Trouble::Unexpected {
        what: format!("success of {method} {path}"),
        found: answer.clone(),
    };
    let (head, text) = answer.split_once("\r\n\r\n").ok_or_else(unexpected)?;
    if !head.starts_with("HTTP/1.1 2") {
        return Err(unexpected());
    }
    match text.trim() {
        "" => Ok(Value::Null),
        text => serde_json::from_str(text).map_err(|_| unexpected()),
    }
}

/// Where a machine keeps its files.
#[derive(Debug)]
pub struct MachineFolder {
    /// The folder.
    pub path: PathBuf,
}

impl MachineFolder {
    /// Makes one.
    ///
    /// # Errors
    /// [`Trouble::Io`].
    pub fn new(path: PathBuf) -> Result<Self, Trouble> {
        fs::create_dir_all(&path).map_err(Trouble::io(format!("make {}", path.display())))?;
        Ok(Self { path })
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The command that runs our monitor with a machine that boots `vmlinux` and `initrd` of the folder `files`, with one vCPU, and its
    /// console on standard output; `more` is merged into its configuration.
    ///
    /// # Errors
    /// [`Trouble::Io`].
    pub fn monitor(&self, files: &Path, memory_mib: u32, more: &Value) -> Result<Command, Trouble> {
        let mut config = serde_json::json!({
            "id": "guest",
            "cpus": {"count": 1},
            "memory": {"size_mib": memory_mib},
            "boot": {
                "kernel": files.join("vmlinux"),
                "initrd": files.join("initrd"),
                "command_line": QUIET_COMMAND_LINE,
            },
        });
        if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
            config.extend(more.clone());
        }
        let path = self.file("config.json");
        fs::write(&path, config.to_string()).map_err(Trouble::io("write a machine's configuration"))?;
        let this = std::env::current_exe().map_err(Trouble::io("find this program"))?;
        let mut command = Command::new(this.with_file_name("microvm"));
        command.arg("run").arg("--config").arg(path);
        Ok(command)
    }
}
