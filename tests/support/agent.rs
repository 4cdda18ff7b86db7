use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::{Place, Process, Trouble, run, wait_until};

/// How long a killed guest may take to be out of its control group.
const GROUP_DEADLINE: Duration = Duration::from_secs(5);

/// The program under test, as cargo built it beside the tests.
///
/// # Errors
/// [`Trouble::Missing`] where it is not built.
pub fn host_runner() -> Result<PathBuf, Trouble> {
    program("host-runner")
}

/// A program of this repository, as cargo built it beside the tests.
///
/// # Errors
/// [`Trouble::Missing`] where it is not built.
pub fn program(name: &str) -> Result<PathBuf, Trouble> {
    let own = std::env::current_exe().map_err(Trouble::io("find this program"))?;
    // target/PROFILE/bench-app, or target/PROFILE/deps/integration-HASH.
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Trouble::Missing {
            program: format!("{name} (beside {})", own.display()),
            remedy: "cargo build --workspace --bins",
        })
}

/// A state directory that holds nothing but the image of Tiny Linux: made once by `host-runner image build-tiny`, and kept below the
/// target directory. Tests copy it.
///
/// # Errors
/// [`Trouble::Failed`] with the words of `build-tiny`.
pub fn tiny_image_state() -> Result<PathBuf, Trouble> {
    let program = host_runner()?;
    let state = kept_folder("tiny-image")?;
    // Tests run side by side, in many processes: the first one builds, the others wait for it.
    let _lock = lock(&state.with_extension("lock"))?;
    run(Command::new(program)
        .args(["image", "build-tiny", "--state-dir"])
        .arg(&state))?;
    Ok(state)
}

/// A folder of this name below the target directory: what is made once and kept lies there.
pub(crate) fn kept_folder(name: &str) -> Result<PathBuf, Trouble> {
    let program = host_runner()?;
    let target = program.ancestors().nth(2).map(Path::to_owned).unwrap_or_default();
    let folder = target.join("tests").join(name);
    std::fs::create_dir_all(&folder).map_err(Trouble::io(format!("make {}", folder.display())))?;
    Ok(folder)
}

/// Waits until nobody else has the lock, and has it until the file is closed.
pub(crate) fn lock(path: &Path) -> Result<File, Trouble> {
    let file = File::create(path).map_err(Trouble::io("make a lock"))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|err| Trouble::Io {
        what: "wait for a lock".into(),
        err: err.into(),
    })?;
    Ok(file)
}

/// How an agent is started.
#[derive(Debug, Clone, Default)]
pub struct AgentOptions {
    /// Where it keeps its state; a folder of its own by default.
    pub state_dir: Option<PathBuf>,
    /// Where its runtime folder and socket are; by default where an agent of root's has them on a machine of its own. On this computer
    /// a folder of its own.
    pub runtime_dir: Option<PathBuf>,
    /// True to copy the image of Tiny Linux into a new state.
    pub with_tiny_image: bool,
    /// Further arguments of `serve`.
    pub arguments: Vec<String>,
}

/// A real agent.
#[derive(Debug)]
pub struct AgentProcess {
    process: Process,
    state_dir: PathBuf,
    runtime_dir: PathBuf,
    options: AgentOptions,
    folder: tempfile::TempDir,
}

impl AgentProcess {
    /// Starts one and waits until its socket answers.
    ///
    /// # Errors
    /// [`Trouble::NotUp`] with its log.
    pub fn start(place: Place<'_>, options: AgentOptions) -> Result<Self, Trouble> {
        // Short: a guest's sockets lie below it, and a socket's path has at most 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("mp-")
            .tempdir()
            .map_err(Trouble::io("make an agent's folder"))?;
        let state_dir = match &options.state_dir {
            Some(dir) => dir.clone(),
            None => folder.path().join("state"),
        };
        if options.with_tiny_image {
            let image = tiny_image_state()?;
            run(Command::new("cp").arg("-a").arg(image).arg(&state_dir))?;
        }
        let runtime_dir = match (&options.runtime_dir, place) {
            (Some(dir), _) => dir.clone(),
            (None, Place::Machine(_)) => "/run/host-runner".into(),
            (None, Place::Here) => folder.path().join("run"),
        };
        let process = launch(place, &options, &state_dir, &runtime_dir, folder.path())?;
        Ok(Self {
            process,
            state_dir,
            runtime_dir,
            options,
            folder,
        })
    }

    /// Ends it as a crash would (SIGKILL). What it runs lives on.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it anew, with the same state.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_again(&mut self, place: Place<'_>) -> Result<(), Trouble> {
        self.process.kill();
        self.process = launch(
            place,
            &self.options,
            &self.state_dir,
            &self.runtime_dir,
            self.folder.path(),
        )?;
        Ok(())
    }

    /// Its socket, as seen from where it runs.
    pub fn socket(&self) -> PathBuf {
        self.runtime_dir.join("api.sock")
    }

    /// Its state directory.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Its process id, on this computer.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl Drop for AgentProcess {
    /// Ends its guests too: they outlive an agent on purpose, and would outlive the test.
    fn drop(&mut self) {
        self.process.kill();
        let own = format!("{}/instances", self.runtime_dir.display());
        let state = self.state_dir.display().to_string();
        for id in guests(&own, &state) {
            let _ = run(Command::new("kill").args(["-KILL", &id]));
        }
        // The kernel keeps a guest's control group until somebody removes it, which the agent would have done.
        for instance in std::fs::read_dir(self.state_dir.join("instances"))
            .into_iter()
            .flatten()
            .flatten()
        {
            remove_groups(&instance.file_name().to_string_lossy());
        }
    }
}

/// Removes the control groups of an instance's guest, as soon as the killed guest is out of them.
fn remove_groups(id: &str) {
    let is_gone = || {
        let path = format!("*/millpond/{id}");
        let find = ["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &path];
        let removed = run(Command::new("find")
            .args(find)
            .args(["-exec", "rmdir", "{}", "+"]));
        removed.is_ok().then_some(())
    };
    // One that stays is an empty folder, and no test's failure.
    let _ = wait_until("a guest is out of its control group", GROUP_DEADLINE, is_gone);
}

/// The processes of QEMU whose command line names one of these folders.
fn guests(runtime: &str, state: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let id = entry.file_name().into_string().ok()?;
            id.parse::<u32>().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let is_guest = line.contains("qemu-system") && (line.contains(state) || line.contains(runtime));
            // A machine's runtime folder has the same name on every machine: there the machine ends its own guests.
            let here = line.contains(state) || !runtime.starts_with("/run/host-runner");
            (is_guest && here).then_some(id)
        })
        .collect()
}

fn launch(
    place: Place<'_>,
    options: &AgentOptions,
    state_dir: &Path,
    runtime_dir: &Path,
    folder: &Path,
) -> Result<Process, Trouble> {
    let mut command = place.command(host_runner()?);
    command
        .arg("serve")
        .arg("--state-dir")
        .arg(state_dir)
        .arg("--runtime-dir")
        .arg(runtime_dir)
        .args(&options.arguments)
        .env("RUST_LOG", "info");
    let socket = match place {
        Place::Here => runtime_dir.join("api.sock"),
        Place::Machine(machine) => {
            let below = runtime_dir.strip_prefix("/run").unwrap_or(runtime_dir);
            machine.run_path(&below.join("api.sock").to_string_lossy())
        }
    };
    let mut process = Process::start("host-runner", &mut command, &folder.join("agent.log"))?;
    process.wait_up(Duration::from_secs(30), || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    })?;
    Ok(process)
}
