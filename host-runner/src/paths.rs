//! Where the agent keeps its state, its sockets and its own socket.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::engines::qemu::SOCKET_PATH_BYTES_MAX;

/// The longest path below the runtime directory: `/instances/UUID/console.sock`.
const BELOW_RUNTIME_BYTES: usize = "/instances/".len() + 36 + "/console.sock".len();

/// The runtime directory of an agent that runs as root.
const SYSTEM_RUNTIME_DIR: &str = "/run/host-runner";
/// How the names of all that is kept in the state directory begin.
const STATE_NAMES: [&str; 5] = ["agent.lock", "host-id", "images", "instances", "ledger.sqlite"];
/// The agent's socket, in the runtime directory.
const SOCKET: &str = "api.sock";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// Neither an option nor the environment says where it is.
    #[error("there is no home directory to keep state in; give --state-dir")]
    NoHome,
    /// A socket's path does not fit into the kernel's structure.
    #[error("{what} {} is too long: a Unix socket's path has at most {max} bytes, and this needs {needed}; give a shorter one",
        path.display())]
    TooLong {
        /// `the socket` or `the runtime directory`.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// How many bytes the longest socket's path would have.
        needed: usize,
        /// How many it may have.
        max: usize,
    },
    /// A directory belongs to somebody else or is open to others.
    #[error("{} {problem}; remove it, or give --runtime-dir", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// A file operation failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
}

/// The three places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// What lasts: the ledger, images, disks.
    pub state_dir: PathBuf,
    /// What is gone with a reboot: guests' sockets and logs.
    pub runtime_dir: PathBuf,
    /// The agent's socket.
    pub socket: PathBuf,
}

/// What the defaults depend on.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The effective user.
    pub uid: u32,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub xdg_state: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`.
    pub xdg_runtime: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process. Relative paths count as unset, as the XDG specification says.
    pub fn of_process() -> Self {
        let dir = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            uid: rustix::process::geteuid().as_raw(),
            home: dir("HOME"),
            xdg_state: dir("XDG_STATE_HOME"),
            xdg_runtime: dir("XDG_RUNTIME_DIR"),
        }
    }

    fn state_dir(&self) -> Result<PathBuf, PathError> {
        if self.uid == 0 {
            return Ok("/var/lib/millpond".into());
        }
        let base = self
            .xdg_state
            .clone()
            .or_else(|| self.home.as_ref().map(|home| home.join(".local/state")))
            .ok_or(PathError::NoHome)?;
        Ok(base.join("millpond"))
    }

    /// Where an agent that this user may command can listen, the likeliest first: the user's own, and root's.
    ///
    /// A login over SSH may lack `XDG_RUNTIME_DIR` although the agent was started with it.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let system = PathBuf::from(SYSTEM_RUNTIME_DIR);
        let mut folders = Vec::new();
        if self.uid != 0 {
            folders.extend(self.xdg_runtime.as_ref().map(|dir| dir.join("host-runner")));
            folders.push(format!("/run/user/{}/host-runner", self.uid).into());
            folders.push(format!("/tmp/host-runner-{}", self.uid).into());
        }
        folders.push(system);
        folders.dedup();
        folders.iter().map(|folder| folder.join(SOCKET)).collect()
    }

    fn runtime_dir(&self) -> PathBuf {
        if self.uid == 0 {
            return SYSTEM_RUNTIME_DIR.into();
        }
        match &self.xdg_runtime {
            Some(dir) => dir.join("host-runner"),
            None => format!("/tmp/host-runner-{}", self.uid).into(),
        }
    }
}

impl Places {
    /// What was given, and the defaults for the rest. Nothing is made yet.
    pub fn resolve(
        state_dir: Option<PathBuf>,
        runtime_dir: Option<PathBuf>,
        socket: Option<PathBuf>,
        surroundings: &Surroundings,
    ) -> Result<Self, PathError> {
        let state_dir = match state_dir {
            Some(dir) => dir,
            None => surroundings.state_dir()?,
        };
        let runtime_dir = runtime_dir.unwrap_or_else(|| surroundings.runtime_dir());
        let socket = socket.unwrap_or_else(|| runtime_dir.join(SOCKET));
        Ok(Self {
            state_dir: absolute(&state_dir)?,
            runtime_dir: absolute(&runtime_dir)?,
            socket: absolute(&socket)?,
        })
    }

    /// Refuses what the kernel would cut off.
    pub fn check_lengths(&self) -> Result<(), PathError> {
        fits("the socket", &self.socket, 0)?;
        fits("the runtime directory", &self.runtime_dir, BELOW_RUNTIME_BYTES)
    }

    /// Makes the state directory, for the agent's user alone, and closes one to others that holds nothing but an agent's files.
    pub fn make_state(&self) -> Result<(), PathError> {
        let path = &self.state_dir;
        make_dir(path, 0o700)?;
        let metadata = std::fs::metadata(path).map_err(io_failed("look at", path))?;
        let mode = metadata.permissions().mode() & 0o7777;
        let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
        // A directory that was there before us and is used for more, such as a home, is not ours to close.
        if is_own && mode & 0o077 != 0 && holds_only_state(path)? {
            let closed = std::fs::Permissions::from_mode(mode & 0o700);
            std::fs::set_permissions(path, closed).map_err(io_failed("close to others", path))?;
        }
        Ok(())
    }

    /// Makes the directories. The runtime directory has to be ours alone: who can write to it can pose as a guest.
    pub fn make(&self) -> Result<(), PathError> {
        self.check_lengths()?;
        self.make_state()?;
        // As root, members of the group `millpond` have to get through to the socket; what guests need is closed further down.
        let open_to_group = rustix::process::geteuid().is_root();
        let was_there = self.runtime_dir.exists();
        make_dir(&self.runtime_dir, 0o700)?;
        if open_to_group && !was_there {
            std::fs::set_permissions(&self.runtime_dir, std::fs::Permissions::from_mode(0o755))
                .map_err(io_failed("open", &self.runtime_dir))?;
        }
        let owner = rustix::process::geteuid().as_raw();
        check_owned(&self.runtime_dir, &[owner])
    }
}

fn holds_only_state(path: &Path) -> Result<bool, PathError> {
    for entry in std::fs::read_dir(path).map_err(io_failed("read", path))? {
        let name = entry.map_err(io_failed("read", path))?.file_name();
        let is_ours = STATE_NAMES
            .iter()
            .any(|ours| name.as_bytes().starts_with(ours.as_bytes()));
        if !is_ours {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Refuses a directory that somebody else can put things into: who can, can pose as the agent or as a guest.
///
/// # Errors
/// `NotOurs` where it is a link or no directory, where none of `owners` owns it, and where others may write; `Io`.
pub fn check_owned(path: &Path, owners: &[u32]) -> Result<(), PathError> {
    let metadata = std::fs::symlink_metadata(path).map_err(io_failed("look at", path))?;
    let problem = if !metadata.is_dir() {
        "is not a directory"
    } else if !owners.contains(&metadata.uid()) {
        "belongs to another user"
    } else if metadata.permissions().mode() & 0o022 != 0 {
        "can be written to by others"
    } else {
        return Ok(());
    };
    Err(PathError::NotOurs {
        path: path.to_owned(),
        problem,
    })
}

fn fits(what: &'static str, path: &Path, below: usize) -> Result<(), PathError> {
    let needed = path.as_os_str().as_bytes().len() + below;
    if needed <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    Err(PathError::TooLong {
        what,
        path: path.to_owned(),
        needed,
        max: SOCKET_PATH_BYTES_MAX,
    })
}

fn absolute(path: &Path) -> Result<PathBuf, PathError> {
    std::path::absolute(path).map_err(io_failed("resolve", path))
}

fn make_dir(path: &Path, mode: u32) -> Result<(), PathError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(io_failed("make", path))
}

/// Turns what the system said into a [`PathError`].
pub(crate) fn io_failed<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> PathError + 'a {
    move |err| PathError::Io {
        operation,
        path: path.to_owned(),
        err,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> Surroundings {
        Surroundings {
            uid: 1000,
            home: Some("/home/ada".into()),
            ..Surroundings::default()
        }
    }

    fn resolved(surroundings: &Surroundings) -> Places {
        Places::resolve(None, None, None, surroundings).unwrap()
    }

    #[test]
    fn root_and_users_have_their_own_places() {
        let root = resolved(&Surroundings::default());
        assert_eq!(root.state_dir, Path::new("/var/lib/millpond"));
        assert_eq!(root.socket, Path::new("/run/host-runner/api.sock"));
        let plain = resolved(&user());
        assert_eq!(plain.state_dir, Path::new("/home/ada/.local/state/millpond"));
        assert_eq!(plain.runtime_dir, Path::new("/tmp/host-runner-1000"));
        let xdg = resolved(&Surroundings {
            xdg_state: Some("/s".into()),
            xdg_runtime: Some("/run/user/1000".into()),
            ..user()
        });
        assert_eq!(xdg.state_dir, Path::new("/s/millpond"));
        assert_eq!(xdg.socket, Path::new("/run/user/1000/host-runner/api.sock"));
    }

    #[test]
    fn an_agent_is_looked_for_wherever_the_user_or_root_may_have_started_it() {
        let text = |surroundings: Surroundings| -> Vec<String> {
            let sockets = surroundings.sockets();
            sockets.iter().map(|path| path.display().to_string()).collect()
        };
        let without = [
            "/run/user/1000/host-runner/api.sock",
            "/tmp/host-runner-1000/api.sock",
            "/run/host-runner/api.sock",
        ];
        assert_eq!(text(user()), without);
        let xdg = |dir: &str| Surroundings {
            xdg_runtime: Some(dir.into()),
            ..user()
        };
        assert_eq!(text(xdg("/run/user/1000")), without, "each once");
        assert_eq!(text(xdg("/x"))[0], "/x/host-runner/api.sock");
        assert_eq!(text(Surroundings::default()), ["/run/host-runner/api.sock"]);
    }

    #[test]
    fn the_state_directory_is_closed_to_others_whoever_made_it_and_a_home_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("s");
        let places = Places::resolve(Some(state.clone()), Some(dir.path().join("r")), None, &user()).unwrap();
        let mode = || std::fs::metadata(&state).unwrap().permissions().mode() & 0o777;
        let set = |mode| std::fs::set_permissions(&state, std::fs::Permissions::from_mode(mode)).unwrap();
        places.make_state().unwrap();
        assert_eq!(mode(), 0o700);
        set(0o755);
        std::fs::create_dir(state.join("images")).unwrap();
        std::fs::write(state.join("ledger.sqlite-wal"), "").unwrap();
        places.make_state().unwrap();
        assert_eq!(mode(), 0o700);
        set(0o755);
        std::fs::write(state.join("letter.txt"), "").unwrap();
        places.make_state().unwrap();
        assert_eq!(mode(), 0o755, "it is somebody's folder");
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let owner = std::fs::metadata(dir.path()).unwrap().uid();
        check_owned(dir.path(), &[owner]).unwrap();
        let refusal = check_owned(dir.path(), &[owner + 1]).unwrap_err();
        assert!(
            refusal.to_string().contains("belongs to another user"),
            "{refusal}"
        );
    }

    #[test]
    fn paths_that_the_kernel_would_cut_off_are_refused() {
        let at = |length: usize| {
            Places::resolve(
                Some("/s".into()),
                Some(format!("/{}", "r".repeat(length - 1)).into()),
                Some("/s/api.sock".into()),
                &user(),
            )
            .unwrap()
        };
        let longest = SOCKET_PATH_BYTES_MAX - BELOW_RUNTIME_BYTES;
        at(longest).check_lengths().unwrap();
        let error = at(longest + 1).check_lengths().unwrap_err().to_string();
        assert!(error.contains("at most 107 bytes, and this needs 108"), "{error}");
    }

    #[test]
    fn a_runtime_directory_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let places = Places::resolve(Some(dir.path().join("s")), Some(open), None, &user()).unwrap();
        assert!(matches!(places.make(), Err(PathError::NotOurs { .. })));
    }

    #[test]
    fn a_link_in_the_runtime_directorys_place_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let places = Places::resolve(Some(dir.path().join("s")), Some(link), None, &user()).unwrap();
        assert!(matches!(places.make(), Err(PathError::NotOurs { .. })));
    }
}
