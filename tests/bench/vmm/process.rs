//! Monitors as processes, and what the kernel says of them.

use std::error::Error;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::guest::MARK;

/// How long a guest may take to its init: fifty at once share two emulated processors.
const BOOT_DEADLINE: Duration = Duration::from_secs(600);

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

    fn until(&mut self, enough: impl Fn(&[u8]) -> bool) -> Result<Duration, Box<dyn Error>> {
        let output = self.child.stdout.as_mut().ok_or("its output is a pipe")?;
        let mut said = Vec::new();
        let mut part = [0; 4096];
        while !enough(&said) {
            let read = output.read(&mut part)?;
            if read == 0 || self.started.elapsed() > BOOT_DEADLINE {
                return Err(format!("the guest did not come up: {}", String::from_utf8_lossy(&said)).into());
            }
            said.extend_from_slice(part.get(..read).unwrap_or_default());
        }
        Ok(self.started.elapsed())
    }

    /// The CPU time of all its threads so far.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut total = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let said = fs::read_to_string(task?.path().join("schedstat"))?;
            let nanoseconds = said.split_whitespace().next().and_then(|word| word.parse().ok());
            total += Duration::from_nanos(nanoseconds.unwrap_or(0));
        }
        Ok(total)
    }

    /// Its proportional share of memory beyond the guest's own, in KiB: all mappings but those that are the guest's memory.
    pub fn overhead_kib(&self, guest_memory: &[&str]) -> io::Result<u32> {
        let mut total = 0;
        let mut is_guest = false;
        for line in fs::read_to_string(format!("/proc/{}/smaps", self.child.id()))?.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [range, ..] if range.contains('-') && !range.ends_with(':') => {
                    is_guest = guest_memory.iter().any(|name| line.contains(name));
                }
                ["Pss:", size, ..] if !is_guest => total += size.parse::<u32>().unwrap_or(0),
                _ => {}
            }
        }
        Ok(total)
    }
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
                "command_line": "console=ttyS0 quiet panic=-1",
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

/// QEMU with the same machine.
pub fn qemu(files: &Path, memory_mib: u32) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-M",
            "microvm,acpi=on,rtc=on",
            "-accel",
            "kvm",
            "-cpu",
            "host",
            "-smp",
            "1",
            "-m",
        ])
        .arg(memory_mib.to_string())
        .arg("-kernel")
        .arg(files.join("vmlinux"))
        .arg("-initrd")
        .arg(files.join("initrd"))
        .args([
            "-append",
            "console=ttyS0 quiet panic=-1",
            "-nodefaults",
            "-no-user-config",
            "-nographic",
        ])
        .args(["-serial", "stdio", "-no-reboot"]);
    command
}
