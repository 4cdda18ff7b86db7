use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use api::client::{Client, LocalConnector};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{BINARY_VARIABLE, LocalAgentError, SOCKET_VARIABLE};

/// How long a started agent may take until its socket answers.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// How often a started agent's socket is looked at.
const START_POLL: Duration = Duration::from_millis(50);

/// A log larger than this makes place for a new one, in bytes.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// How long one try to open a socket may take: it is on this computer.
const OPEN_DEADLINE: Duration = Duration::from_secs(2);

/// An agent that dies at once is not started again and again: this much time lies between two starts.
const BETWEEN_STARTS: Duration = Duration::from_secs(30);

/// The mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// This computer's agent.
#[derive(Debug)]
pub struct LocalAgent {
    places: Places,
    log: PathBuf,
    last_start: Mutex<Option<Instant>>,
}

/// Where to look for this computer's agent.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// The socket, in place of looking for it.
    pub socket: Option<PathBuf>,
    /// The user's runtime folder (`XDG_RUNTIME_DIR`).
    pub runtime_dir: Option<PathBuf>,
    /// The agent's program, to start it where nothing answers; `None` starts none.
    pub binary: Option<PathBuf>,
}

impl Places {
    /// What the environment says: [`SOCKET_VARIABLE`], [`BINARY_VARIABLE`] and `XDG_RUNTIME_DIR`, and a `host-runner` beside the
    /// app's own program, which is left alone where the socket is named: that agent is somebody's already.
    pub fn from_environment() -> Self {
        let path = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let socket = path(SOCKET_VARIABLE);
        let beside = || {
            let binary = std::env::current_exe().ok()?.with_file_name("host-runner");
            (socket.is_none() && binary.is_file()).then_some(binary)
        };
        Self {
            binary: path(BINARY_VARIABLE).or_else(beside),
            socket,
            runtime_dir: path("XDG_RUNTIME_DIR"),
        }
    }
}

impl LocalAgent {
    /// Looks in these places; a started agent logs to `log`.
    pub fn new(places: Places, log: PathBuf) -> Self {
        Self {
            places,
            log,
            last_start: Mutex::default(),
        }
    }

    /// Looks where the environment says, see [`Places::from_environment`]; a started agent logs to `log`.
    pub fn from_environment(log: PathBuf) -> Self {
        Self::new(Places::from_environment(), log)
    }

    /// A client of the agent on this computer; starts the agent where its program is known and nothing answers.
    pub async fn connect(&self) -> Result<Client, LocalAgentError> {
        let denied = match self.look().await {
            Found::Answering(socket) => return Ok(client(socket)),
            Found::Denied(socket) => Some(socket),
            Found::Nothing => None,
        };
        let not_running = || match &denied {
            Some(socket) => LocalAgentError::NotAllowed {
                socket: socket.clone(),
            },
            None => LocalAgentError::NotRunning {
                looked_at: self.sockets(),
            },
        };
        let binary = self.places.binary.as_ref().ok_or_else(not_running)?;
        let mut last_start = self.last_start.lock().await;
        if last_start.is_some_and(|last| last.elapsed() < BETWEEN_STARTS) {
            return Err(not_running());
        }
        *last_start = Some(Instant::now());
        let mut agent = self.start(binary)?;
        let deadline = Instant::now() + START_DEADLINE;
        while Instant::now() < deadline {
            if let Found::Answering(socket) = self.look().await {
                return Ok(client(socket));
            }
            if let Ok(Some(status)) = agent.try_wait() {
                return Err(LocalAgentError::Ended {
                    binary: binary.clone(),
                    status,
                    log: self.log.clone(),
                });
            }
            tokio::time::sleep(START_POLL).await;
        }
        Err(LocalAgentError::Silent {
            binary: binary.clone(),
            log: self.log.clone(),
        })
    }

    /// The places to look at, the first that answers wins.
    fn sockets(&self) -> Vec<PathBuf> {
        if let Some(socket) = &self.places.socket {
            return vec![socket.clone()];
        }
        let mut sockets = Vec::new();
        if let Some(runtime_dir) = &self.places.runtime_dir {
            sockets.push(runtime_dir.join("host-runner/api.sock"));
        }
        sockets.extend(private_temporary_socket());
        sockets.push(PathBuf::from("/run/host-runner/api.sock"));
        sockets
    }

    async fn look(&self) -> Found {
        let mut denied = None;
        for socket in self.sockets() {
            match tokio::time::timeout(OPEN_DEADLINE, UnixStream::connect(&socket)).await {
                Ok(Ok(_)) => return Found::Answering(socket),
                Ok(Err(err)) if err.kind() == io::ErrorKind::PermissionDenied => {
                    denied.get_or_insert(socket);
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
        denied.map_or(Found::Nothing, Found::Denied)
    }

    /// Starts the agent so that it outlives the app: in a process group of its own, which neither Ctrl-C in the app's terminal nor the
    /// terminal's end reaches, with its output in a file.
    fn start(&self, binary: &Path) -> Result<Child, LocalAgentError> {
        let failed = |err| LocalAgentError::Start {
            binary: binary.to_owned(),
            err,
        };
        let overgrown = std::fs::metadata(&self.log).is_ok_and(|facts| facts.len() > LOG_BYTES_MAX);
        if overgrown {
            // The last run's lines are kept beside; older ones are of no use to anybody.
            std::fs::rename(&self.log, self.log.with_extension("log.1")).map_err(failed)?;
        }
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(failed)?;
        let errors = log.try_clone().map_err(failed)?;
        let mut command = Command::new(binary);
        command.arg("serve");
        if let Some(socket) = &self.places.socket {
            command.arg("--socket").arg(socket);
        }
        command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .kill_on_drop(false)
            .process_group(0);
        let agent = command.spawn().map_err(failed)?;
        tracing::info!(binary = %binary.display(), pid = agent.id(), "started this computer's host-runner");
        Ok(agent)
    }
}

/// What a look at the sockets found.
enum Found {
    /// This one answers.
    Answering(PathBuf),
    /// None answers, and this one is closed to the user.
    Denied(PathBuf),
    /// None answers.
    Nothing,
}

fn client(socket: PathBuf) -> Client {
    Client::new(Arc::new(LocalConnector { socket }))
}

/// `/tmp/host-runner-UID/api.sock`, where the folder is the user's alone.
fn private_temporary_socket() -> Option<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let folder = PathBuf::from(format!("/tmp/host-runner-{uid}"));
    is_private(&folder, uid).then(|| folder.join("api.sock"))
}

/// Whether a folder is `uid`'s own and closed to all others. Anybody may make folders in `/tmp`, and whoever may write into this one
/// may put a socket of their own there.
fn is_private(folder: &Path, uid: u32) -> bool {
    std::fs::symlink_metadata(folder)
        .is_ok_and(|facts| facts.is_dir() && facts.uid() == uid && facts.mode() & OTHERS == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn only_a_folder_that_is_closed_to_others_is_private() {
        let place = tempfile::tempdir().expect("a place");
        let folder = place.path().join("host-runner");
        std::fs::create_dir(&folder).expect("a folder");
        let own = std::fs::metadata(&folder).expect("facts").uid();
        for (mode, private) in [
            (0o700, true),
            (0o500, true),
            (0o710, false),
            (0o770, false),
            (0o701, false),
            (0o777, false),
            (0o1777, false),
        ] {
            std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode)).expect("a mode");
            assert_eq!(is_private(&folder, own), private, "{mode:o}");
        }
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).expect("a mode");
        assert!(!is_private(&folder, own + 1), "another's");
        let link = place.path().join("link");
        symlink(&folder, &link).expect("a link");
        assert!(!is_private(&link, own), "a link to it");
        assert!(!is_private(&place.path().join("nothing"), own), "nothing there");
    }
}
