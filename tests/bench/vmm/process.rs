//! Monitors as processes, and what the kernel says of them.

use std::error::Error;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

use crate::guest::MARK;

/// How long a guest may take to its init: fifty at once share two emulated processors.
const BOOT_DEADLINE: Duration = Duration::from_secs(600);

/// The kernel's command line of a guest that does nothing.
pub const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1";

/// A running monitor, killed when dropped.
pub struct Monitor {
    child: Child,
    /// When it was started.
    pub started: Instant,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Monitor {
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let started = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        Ok(Self { child, started })
    }

    /// How long it took from the start to the guest's init.
    pub fn until_init(&mut self) -> Result<Duration, Box<dyn Error>> {
        self.until(|said| said.windows(MARK.len()).any(|window| window == MARK.as_bytes()))
    }

    /// How long it took from the start until the guest wrote a number.
    pub fn until_it_counts(&mut self) -> Result<Duration, Box<dyn Error>> {
        self.until(|said| said.iter().any(u8::is_ascii_digit))
    }

    /// What the guest measured: the two numbers between the mark and `END`.
    pub fn two_figures(&mut self, mark: &str) -> Result<[f64; 2], Box<dyn Error>> {
        let mut line = String::new();
        self.until(|said| {
            line = String::from_utf8_lossy(said).into_owned();
            line.contains(mark) && line.contains("END")
        })?;
        let words: Vec<&str> = line.split_whitespace().skip_while(|word| *word != mark).collect();
        match words.as_slice() {
            [_, one, two, "END", ..] => Ok([one.parse()?, two.parse()?]),
            _ => Err(format!("the guest's tools failed: {line}").into()),
        }
    }

    fn until(&mut self, mut enough: impl FnMut(&[u8]) -> bool) -> Result<Duration, Box<dyn Error>> {
        let output = self.child.stdout.as_mut().ok_or("its output is a pipe")?;
        let mut said = Vec::new();
        let mut part = [0; 4096];
        while !enough(&said) {
            let left = BOOT_DEADLINE.saturating_sub(self.started.elapsed());
            let readable =
                rustix::event::poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&left.try_into()?))?;
            let read = if readable == 0 { 0 } else { output.read(&mut part)? };
            if read == 0 {
                return Err(format!("the guest did not come up: {}", String::from_utf8_lossy(&said)).into());
            }
            said.extend_from_slice(part.get(..read).unwrap_or_default());
        }
        Ok(self.started.elapsed())
    }

    /// The CPU time of all its threads so far; one that ends meanwhile, as that of a connection does, is left out.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut total = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
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

    /// Its proportional share of memory beyond the guest's own, in KiB: all mappings but the one that is as large as the guest's memory.
    pub fn overhead_kib(&self, guest_memory_mib: u32) -> Result<u32, Box<dyn Error>> {
        let guest_kib = guest_memory_mib << 10;
        let (mut total, mut size) = (0, 0);
        let mut guests = 0;
        for line in fs::read_to_string(format!("/proc/{}/smaps", self.child.id()))?.lines() {
            let mut words = line.split_whitespace();
            let mut kib = || {
                words
                    .nth(1)
                    .and_then(|word| word.parse::<u32>().ok())
                    .unwrap_or(0)
            };
            if line.starts_with("Size:") {
                size = kib();
                guests += u32::from(size == guest_kib);
            } else if line.starts_with("Pss:") && size != guest_kib {
                total += kib();
            }
        }
        if guests == 1 {
            Ok(total)
        } else {
            Err(format!("{guests} mappings have the size of the guest's memory").into())
        }
    }
}

/// A thread that ended before its file was opened, or before it was read.
fn is_gone(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::NotFound
        || err.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// A command of the control socket; waits until the monitor listens.
pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Result<String, Box<dyn Error>> {
    let begun = Instant::now();
    let mut stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(err) if begun.elapsed() > BOOT_DEADLINE => return Err(err.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    stream.set_read_timeout(Some(BOOT_DEADLINE))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(answer)
    } else {
        Err(answer.into())
    }
}

/// Where a machine of the benchmark keeps its files.
pub struct Place {
    pub folder: PathBuf,
}

impl Place {
    pub fn new(name: &str) -> io::Result<Self> {
        let folder = Path::new("/run/bench").join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// Our monitor with a machine of one vCPU; `more` is merged into its configuration.
    pub fn ours(
        &self,
        files: &Path,
        memory_mib: u32,
        more: &serde_json::Value,
    ) -> Result<Command, Box<dyn Error>> {
        let mut config = serde_json::json!({
            "id": "bench",
            "cpus": {"count": 1},
            "memory": {"size_mib": memory_mib},
            "boot": {
                "kernel": files.join("vmlinux"),
                "initrd": files.join("initrd"),
                "command_line": COMMAND_LINE,
            },
        });
        if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
            config.extend(more.clone());
        }
        let path = self.folder.join("config.json");
        fs::write(&path, serde_json::to_vec(&config)?)?;
        let monitor = std::env::current_exe()?.with_file_name("microvm");
        let mut command = Command::new(monitor);
        command.arg("run").arg("--config").arg(path);
        Ok(command)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// What differs between QEMU's machines.
pub struct QemuParts {
    /// The initial RAM file system.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
}

/// QEMU with the same machine.
pub fn qemu(files: &Path, memory_mib: u32, parts: &QemuParts) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-M", "microvm,acpi=on,rtc=on", "-accel", "kvm", "-cpu", "host"])
        .args(["-smp", "1", "-m", &memory_mib.to_string()])
        .arg("-kernel")
        .arg(files.join("vmlinux"))
        .arg("-initrd")
        .arg(&parts.initrd)
        .args(["-append", &parts.command_line])
        .args(["-nodefaults", "-no-user-config", "-nographic", "-serial", "stdio"])
        .arg("-no-reboot");
    command
}
