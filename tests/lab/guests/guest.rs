//! One guest: its monitor, its console, its control socket.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{MachineFolder, Monitor, ask, wait_until};

use crate::no_rings;

/// How long anything in a guest may take.
pub const DEADLINE: Duration = Duration::from_secs(240);
const COMMAND_LINE: &str =
    "console=ttyS0 quiet panic=-1 random.trust_cpu=on cryptomgr.notests no_timer_check";
/// How long a monitor may take to its end once its console is closed.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// What the guest says when it takes commands.
pub const READY: &str = "GUEST-READY\n";
/// Memory that the guest's own kernel and programs need, in MiB.
pub const MEMORY_MIB: u32 = 192;

/// Where each guest has its folder.
const GUESTS: &str = "/run/guests";

/// What the monitors of all guests have written, by the guest's name.
pub fn logs() -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let mut logs = BTreeMap::new();
    // Not every session has guests.
    for guest in fs::read_dir(GUESTS).into_iter().flatten() {
        let guest = guest?;
        // A folder may be that of a scenario without a monitor of its own.
        let Ok(log) = fs::read_to_string(guest.path().join("log")) else {
            continue;
        };
        logs.insert(guest.file_name().to_string_lossy().into_owned(), log);
    }
    Ok(logs)
}

/// The guest's kernel and initial RAM file system.
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// Reads them once, so that all guests find them in the page cache.
    pub fn new(folder: &Path) -> Result<Self, Box<dyn Error>> {
        for name in ["vmlinux", "initrd"] {
            fs::read(folder.join(name))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// One of them, or what lies beside them.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A guest's own folder.
    pub fn place(name: &str) -> Result<MachineFolder, Box<dyn Error>> {
        Ok(MachineFolder::new(Path::new(GUESTS).join(name))?)
    }

    /// The `boot` of a configuration, with more words on the command line.
    pub fn boot(&self, more: &str) -> Value {
        json!({
            "kernel": self.file("vmlinux"),
            "initrd": self.file("initrd"),
            "command_line": format!("{COMMAND_LINE} {more}"),
        })
    }

    /// Starts a guest and waits until it takes commands. `config` is merged into its configuration.
    pub fn start(&self, name: &str, config: &Value) -> Result<Guest, Box<dyn Error>> {
        let mut guest = self.launch(name, config)?;
        guest.wait_ready()?;
        Ok(guest)
    }

    /// The same on a host that lets nobody have an `io_uring`.
    pub fn start_without_rings(&self, name: &str, config: &Value) -> Result<Guest, Box<dyn Error>> {
        let mut guest = self.launch_with(name, config, no_rings::refuse)?;
        guest.wait_ready()?;
        Ok(guest)
    }

    /// Starts a guest's monitor, and does not wait for more than its console.
    pub fn launch(&self, name: &str, config: &Value) -> Result<Guest, Box<dyn Error>> {
        self.launch_with(name, config, |_| {})
    }

    fn launch_with(
        &self,
        name: &str,
        config: &Value,
        prepare: impl FnOnce(&mut Command),
    ) -> Result<Guest, Box<dyn Error>> {
        let place = Self::place(name)?;
        let (serial, snapshots) = (place.file("serial"), place.file("snapshots"));
        // What a monitor that was killed has left.
        for file in ["serial", "api", "ending"] {
            let _not_there = fs::remove_file(place.file(file));
        }
        fs::create_dir_all(&snapshots)?;
        let mut whole = json!({
            "boot": self.boot(""),
            "serial_socket": serial,
            "api_socket": place.file("api"),
            "ending_file": place.file("ending"),
            "snapshot_directory": snapshots,
        });
        if let (Some(whole), Some(config)) = (whole.as_object_mut(), config.as_object()) {
            whole.extend(config.clone());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(place.file("log"))?;
        let mut command = place.monitor(&self.folder, MEMORY_MIB, &whole)?;
        command.stderr(log);
        prepare(&mut command);
        let monitor = Monitor::start(&mut command)?;
        let console = wait_until("the monitor listens", DEADLINE, || {
            UnixStream::connect(&serial).ok()
        });
        let console = console.map_err(|late| format!("{late}: {}", log_of(&place)))?;
        Ok(Guest {
            monitor,
            console,
            place,
            said: String::new(),
            asked: 0,
        })
    }

    /// What a monitor says that ends before it runs a guest. One that runs it is an error.
    pub fn refusal(&self, name: &str, config: &Value) -> Result<String, Box<dyn Error>> {
        let place = Self::place(name)?;
        let log = File::create(place.file("log"))?;
        let mut monitor = Monitor::start(place.monitor(&self.folder, MEMORY_MIB, config)?.stderr(log))?;
        let status = monitor.wait(DEADLINE)?;
        Ok(format!("{}; {status}", log_of(&place).trim()))
    }

    /// Lets a guest go on where a chain of its snapshots ends. `config` is as at its start.
    pub fn restore(&self, name: &str, config: &Value, chain: &[&str]) -> Result<Guest, Box<dyn Error>> {
        let snapshots = Self::place(name)?.file("snapshots");
        let chain: Vec<PathBuf> = chain.iter().map(|link| snapshots.join(link)).collect();
        let mut config = config.clone();
        config["restore"] = json!(chain);
        self.launch(name, &config)
    }
}

fn log_of(place: &MachineFolder) -> String {
    fs::read_to_string(place.file("log")).unwrap_or_default()
}

/// A running guest, killed when dropped.
pub struct Guest {
    pub monitor: Monitor,
    console: UnixStream,
    pub place: MachineFolder,
    said: String,
    asked: u32,
}

impl Guest {
    /// Waits until it takes commands.
    pub fn wait_ready(&mut self) -> Result<(), Box<dyn Error>> {
        self.until(READY).map(|_| ())
    }

    /// Reads its console up to a mark, and returns what comes before it.
    pub fn until(&mut self, mark: &str) -> Result<String, Box<dyn Error>> {
        let begun = Instant::now();
        let mut part = [0; 4096];
        self.console.set_read_timeout(Some(DEADLINE))?;
        loop {
            if let Some((before, after)) = self.said.split_once(mark) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.said = after;
                return Ok(before);
            }
            let read = self.console.read(&mut part).unwrap_or(0);
            if read == 0 || begun.elapsed() > DEADLINE {
                let threads = self.monitor.threads();
                let nudged = self.nudged();
                // One that has ended says how.
                let ended = self.monitor.wait(END_DEADLINE);
                return Err(format!(
                    "the console does not say {mark:?} but: {}; after a key: {nudged:?}; the monitor: {}, {ended:?}; its threads:\n{threads}",
                    self.said,
                    self.log(),
                )
                .into());
            }
            self.said += &String::from_utf8_lossy(part.get(..read).unwrap_or_default());
        }
    }

    /// What it says once a key is pressed: a serial port whose interrupt was lost goes on with the next one.
    fn nudged(&mut self) -> String {
        let mut part = [0; 4096];
        let _closed = writeln!(self.console);
        let _bounded = self.console.set_read_timeout(Some(END_DEADLINE));
        let read = self.console.read(&mut part).unwrap_or(0);
        String::from_utf8_lossy(part.get(..read).unwrap_or_default()).into_owned()
    }

    /// Runs a command in the guest, and returns what it says. One that fails is an error.
    pub fn run(&mut self, command: &str) -> Result<String, Box<dyn Error>> {
        self.asked += 1;
        let end = self.asked;
        // The mark is put together by the guest, so that it is not in the command; commands say other things with a `=` and a number.
        writeln!(self.console, "( {command} ) </dev/null; echo \"=$?=#\"{end}")?;
        let said = self.until(&format!("=#{end}\n"))?;
        let (said, status) = said.rsplit_once('=').ok_or("a command says how it ended")?;
        if status == "0" {
            Ok(said.trim().to_owned())
        } else {
            Err(format!("{command} ended with {status}: {said}").into())
        }
    }

    /// Sends a command whose end nobody waits for.
    pub fn send(&mut self, command: &str) -> Result<(), Box<dyn Error>> {
        Ok(writeln!(self.console, "{command}")?)
    }

    /// Runs a command whose last word is a number.
    pub fn number(&mut self, command: &str) -> Result<u64, Box<dyn Error>> {
        let said = self.run(command)?;
        let number = said.split_whitespace().last().and_then(|word| word.parse().ok());
        number.ok_or_else(|| format!("{command}: no number in {said:?}").into())
    }

    /// Asks the monitor.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Box<dyn Error>> {
        Ok(ask(&self.place.file("api"), method, path, body)?)
    }

    /// Asks for something that has no body.
    pub fn post(&self, path: &str) -> Result<Value, Box<dyn Error>> {
        self.ask("POST", path, &Value::Null)
    }

    /// What the devices have done.
    pub fn stats(&self) -> Result<Value, Box<dyn Error>> {
        self.ask("GET", "/v1/stats", &Value::Null)
    }

    /// Takes a snapshot.
    pub fn snapshot(&self, name: &str, incremental: bool) -> Result<Value, Box<dyn Error>> {
        let body = json!({"name": name, "incremental": incremental});
        self.ask("POST", "/v1/snapshots", &body)
    }

    /// Waits for its end: the exit code, and what the monitor wrote about it.
    pub fn ending(&mut self) -> Result<Value, Box<dyn Error>> {
        let status = self.monitor.wait(DEADLINE)?;
        let ending: Value = serde_json::from_slice(&fs::read(self.place.file("ending"))?)?;
        Ok(json!({"code": status.code(), "ending": ending["ending"], "reason": ending["reason"]}))
    }

    /// What its monitors have written to standard error.
    pub fn log(&self) -> String {
        log_of(&self.place)
    }
}
