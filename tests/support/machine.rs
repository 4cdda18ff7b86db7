use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use crate::ssh_server::{PASSWORD, USER};
use crate::{Trouble, run, wait_until};

/// How many machines can exist at once on this computer, over all test processes.
const MACHINES_MAX: u32 = 4096;

/// A machine of the test's own: a network namespace at the end of a cable (a veth pair), with its own `/run`, `/usr/local/bin` and
/// users. Its files are otherwise this computer's.
///
/// The cable leads to this computer, and nowhere else.
#[derive(Debug)]
pub struct Machine {
    number: u32,
    /// Holds the namespaces.
    keeper: Child,
    folder: tempfile::TempDir,
    /// Held for as long as the number is in use.
    _claim: std::fs::File,
}

impl Machine {
    /// Makes one, on a subnet that no other has.
    ///
    /// # Errors
    /// [`Trouble::NotRoot`], and the errors of `ip` and `mount`.
    pub fn new() -> Result<Self, Trouble> {
        if !rustix::process::geteuid().is_root() {
            return Err(Trouble::NotRoot);
        }
        let (number, claim) = claim_number()?;
        let folder = tempfile::Builder::new()
            .prefix("millpond-machine-")
            .tempdir()
            .map_err(Trouble::io("make a machine's folder"))?;
        // What an earlier test that was killed has left under this number; mostly there is nothing.
        let _ = run(Command::new("ip").args(["netns", "del", &namespace(number)]));
        let _ = run(Command::new("ip").args(["link", "del", &cable(number)]));
        ip(&["netns", "add", &namespace(number)])?;
        let keeper = start_keeper(number, folder.path()).inspect_err(|_| {
            let _ = run(Command::new("ip").args(["netns", "del", &namespace(number)]));
        })?;
        let machine = Self {
            number,
            keeper,
            folder,
            _claim: claim,
        };
        machine.lay_cable()?;
        Ok(machine)
    }

    /// Where this computer finds it.
    pub fn address(&self) -> Ipv4Addr {
        address(self.number, 2)
    }

    /// A folder for what its programs need; not hidden from this computer.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file below its `/run`, as this computer sees it.
    pub fn run_path(&self, below: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/run", self.keeper.id())).join(below)
    }

    /// A command that will run on it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--target={}", self.keeper.id()))
            .args(["--mount", "--net", "--"])
            .arg(program);
        command
    }

    /// Puts a program where every shell of the machine finds it, below `/usr/local/bin`.
    ///
    /// # Errors
    /// Those of `mount`.
    pub fn install(&self, program: &Path) -> Result<(), Trouble> {
        let name = program.file_name().unwrap_or_default();
        let place = Path::new("/usr/local/bin").join(name);
        // Not a link: the way to the program need not be open to the machine's users.
        run(self.command("touch").arg(&place))?;
        run(self.command("mount").arg("--bind").arg(program).arg(&place)).map(drop)
    }

    /// Pulls the cable: packets vanish, and nobody is told.
    ///
    /// # Errors
    /// Those of `ip`.
    pub fn cut_link(&self) -> Result<(), Trouble> {
        run(self.command("ip").args(["link", "set", "eth0", "down"])).map(drop)
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// Those of `ip`.
    pub fn restore_link(&self) -> Result<(), Trouble> {
        run(self.command("ip").args(["link", "set", "eth0", "up"])).map(drop)
    }

    fn lay_cable(&self) -> Result<(), Trouble> {
        let (namespace, near) = (namespace(self.number), cable(self.number));
        ip(&[
            "link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", &namespace,
        ])?;
        ip(&[
            "addr",
            "add",
            &format!("{}/30", address(self.number, 1)),
            "dev",
            &near,
        ])?;
        ip(&["link", "set", &near, "up"])?;
        let far = format!("{}/30", self.address());
        for arguments in [
            &["link", "set", "lo", "up"][..],
            &["addr", "add", &far, "dev", "eth0"],
            &["link", "set", "eth0", "up"],
        ] {
            run(self.command("ip").args(arguments))?;
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Whatever still runs there would keep the namespaces alive.
        if let Ok(ids) = run(Command::new("ip").args(["netns", "pids", &namespace(self.number)])) {
            for id in ids.split_whitespace() {
                let _ = run(Command::new("kill").args(["-KILL", id]));
            }
        }
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        // Connections that nobody answers any more keep a namespace for minutes, and its cable with it.
        let _ = run(Command::new("ip").args(["link", "del", &cable(self.number)]));
        let _ = run(Command::new("ip").args(["netns", "del", &namespace(self.number)]));
    }
}

fn ip(arguments: &[&str]) -> Result<(), Trouble> {
    run(Command::new("ip").args(arguments)).map(drop)
}

fn namespace(number: u32) -> String {
    format!("millpond-{number}")
}

/// This computer's end of the cable; the name has at most 15 bytes.
fn cable(number: u32) -> String {
    format!("millpond{number}")
}

/// The addresses of 10.211.0.0/16 in fours: 1 is this computer, 2 the machine.
fn address(number: u32, place: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0ad3_0000 + number * 4 + place)
}

/// The first number that no running test has: a lock on a file, which ends with the process, however it ends.
fn claim_number() -> Result<(u32, std::fs::File), Trouble> {
    let folder = std::env::temp_dir().join("millpond-machines");
    std::fs::create_dir_all(&folder).map_err(Trouble::io("make the folder of claims"))?;
    let first = std::process::id() % MACHINES_MAX;
    for offset in 0..MACHINES_MAX {
        let number = (first + offset) % MACHINES_MAX;
        let path = folder.join(number.to_string());
        let file = std::fs::File::create(&path).map_err(Trouble::io("make a claim"))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok((number, file));
        }
    }
    Err(Trouble::Late {
        what: "a machine's number is free".into(),
        deadline: std::time::Duration::ZERO,
    })
}

/// Starts the process that holds the namespaces, and waits until it has set them up.
fn start_keeper(number: u32, folder: &Path) -> Result<Child, Trouble> {
    let hash = run(Command::new("openssl").args(["passwd", "-6", PASSWORD]))?;
    let script = format!(
        "set -e
        mount --make-rprivate /
        cp /etc/passwd /etc/shadow \"$1\"
        chmod 755 \"$1\"
        mkdir -p \"$1/home/.ssh\" && chown -R 4711:4711 \"$1/home\"
        echo \"{USER}:x:4711:4711::$1/home:/bin/sh\" >> \"$1/passwd\"
        echo '{USER}:{}:19000:0:99999:7:::' >> \"$1/shadow\"
        mount --bind \"$1/passwd\" /etc/passwd
        mount --bind \"$1/shadow\" /etc/shadow
        mount -t tmpfs -o mode=755 tmpfs /run
        mount -t tmpfs -o mode=755 tmpfs /usr/local/bin
        mkdir -m 755 /run/sshd
        : > \"$1/ready\"
        exec sleep infinity",
        hash.trim()
    );
    let mut child = Command::new("ip")
        .args([
            "netns",
            "exec",
            &namespace(number),
            "sh",
            "-c",
            &script,
            "machine",
        ])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map_err(Trouble::io("start a machine"))?;
    let ready = folder.join("ready");
    let up = wait_until("a machine is set up", std::time::Duration::from_secs(20), || {
        let ended = matches!(child.try_wait(), Ok(Some(_)));
        (ended || ready.exists()).then_some(!ended)
    });
    match up {
        Ok(true) => Ok(child),
        outcome => {
            let _ = child.kill();
            let _ = child.wait();
            outcome.and(Err(Trouble::Failed {
                command: "the set-up of a machine".into(),
                status: "see above".into(),
                output: String::new(),
            }))
        }
    }
}
