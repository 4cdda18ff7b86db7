//! What the story is played on: two machines' agents, an SSH server with throw-away keys, a display, and an empty home.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use api::client::{Client, LocalConnector};
use support::{
    AgentOptions, AgentProcess, Display, KeyKind, Place, SshKey, SshServer, SshServerOptions, Trouble,
    WindowOptions, host_runner, run,
};

use crate::error::DemoError;

/// The machine's name in the person's `~/.ssh/config`.
pub const MACHINE: &str = "atlas";

/// Everything that runs beside the window. Ends with this value.
pub struct Stage {
    /// What "This computer" runs.
    _local: AgentProcess,
    /// What the machine behind SSH runs.
    pub remote: AgentProcess,
    /// The way to the machine.
    pub ssh: SshServer,
    /// The SSH server's fingerprint, as its own `ssh-keygen` prints it.
    pub fingerprint: String,
    /// Where the pictures go.
    pub pictures: PathBuf,
    /// The screen that nobody sees.
    pub display: Display,
    /// How the app is started.
    pub window: WindowOptions,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Starts everything but the window.
    ///
    /// # Errors
    /// What did not come up, with its log.
    pub fn set() -> Result<Self, DemoError> {
        let program = host_runner()?;
        let app = program.with_file_name("millpond");
        if !app.is_file() {
            return Err(DemoError::Stage(Trouble::Missing {
                program: app.display().to_string(),
                remedy: "cargo build -p millpond",
            }));
        }
        let folder = tempfile::Builder::new()
            .prefix("millpond-demo-")
            .tempdir()
            .map_err(DemoError::io("make a folder in", std::env::temp_dir()))?;
        let home = folder.path().join("home");
        make_folder(&home.join(".ssh"))?;

        let local = agent(2_048)?;
        let remote = agent(4_096)?;
        let key = SshKey::make(&home.join(".ssh/id_ed25519"), KeyKind::Ed25519, "")?;
        let port = SshServer::free_port()?;
        let ssh = ssh_server(port, &key, &program, &remote)?;
        let fingerprint = match ssh.host_keys.first() {
            Some(key) => key.fingerprint()?,
            None => String::new(),
        };
        write(
            &home.join(".ssh/config"),
            &format!("Host {MACHINE}\n  HostName 127.0.0.1\n  Port {port}\n"),
        )?;

        let display = Display::start(1_280, 800, folder.path())?;
        let user = run(Command::new("id").arg("-un"))?;
        let window = WindowOptions {
            app,
            home,
            environment: vec![
                ("USER".to_owned(), user.trim().into()),
                ("MILLPOND_AGENT_SOCKET".to_owned(), OsString::from(local.socket())),
            ],
            log: folder.path().join("window.log"),
        };
        Ok(Self {
            pictures: pictures(&program)?,
            _local: local,
            remote,
            ssh,
            fingerprint,
            display,
            window,
            _folder: folder,
        })
    }

    /// A client of the machine's agent, past the window and past SSH.
    pub fn agent(&self) -> Client {
        Client::new(Arc::new(LocalConnector {
            socket: self.remote.socket(),
        }))
    }
}

fn agent(offer_mib: u32) -> Result<AgentProcess, Trouble> {
    AgentProcess::start(
        Place::Here,
        AgentOptions {
            with_tiny_image: true,
            arguments: vec!["--offer-memory-mib".to_owned(), offer_mib.to_string()],
            ..AgentOptions::default()
        },
    )
}

/// A server on loopback that lets the one key in. It forbids forwarding to sockets, so that the session runs `host-runner connect`
/// and this machine's own agent, if it has one, is left alone.
fn ssh_server(port: u16, key: &SshKey, program: &Path, agent: &AgentProcess) -> Result<SshServer, DemoError> {
    if rustix::process::geteuid().is_root() {
        // The server of root wants an empty folder of its own, which Debian makes at start-up.
        make_folder(Path::new("/run/sshd"))?;
    }
    let programs = program.parent().unwrap_or(Path::new("/"));
    let config = format!(
        "AllowStreamLocalForwarding no\nSetEnv \"PATH={}:/usr/bin:/bin\" \"HOST_RUNNER_SOCKET={}\"\n",
        programs.display(),
        agent.socket().display(),
    );
    let options = SshServerOptions {
        port,
        listen: "127.0.0.1",
        authorized: vec![key.public.clone()],
        config,
        ..SshServerOptions::default()
    };
    Ok(SshServer::start(Place::Here, &options)?)
}

/// `target/demo`, without the pictures of an earlier run.
fn pictures(program: &Path) -> Result<PathBuf, DemoError> {
    let target = program.ancestors().nth(2).unwrap_or(Path::new("target"));
    let folder = target.join("demo");
    make_folder(&folder)?;
    for entry in std::fs::read_dir(&folder).map_err(DemoError::io("read", &folder))? {
        let path = entry.map_err(DemoError::io("read", &folder))?.path();
        if path.extension().is_some_and(|extension| extension == "png") {
            std::fs::remove_file(&path).map_err(DemoError::io("remove", &path))?;
        }
    }
    Ok(folder)
}

fn make_folder(path: &Path) -> Result<(), DemoError> {
    std::fs::create_dir_all(path).map_err(DemoError::io("make", path))
}

fn write(path: &Path, text: &str) -> Result<(), DemoError> {
    std::fs::write(path, text).map_err(DemoError::io("write", path))
}
