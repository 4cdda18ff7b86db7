use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Process, SshKey, Trouble, run};

/// A real `ssh-agent` of the test's own.
#[derive(Debug)]
pub struct SshAgent {
    _process: Process,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl SshAgent {
    /// Starts one without keys.
    ///
    /// # Errors
    /// [`Trouble::NotUp`] with its log.
    pub fn start() -> Result<Self, Trouble> {
        let folder = tempfile::tempdir().map_err(Trouble::io("make an ssh-agent's folder"))?;
        let socket = folder.path().join("agent.sock");
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a"]).arg(&socket);
        let mut process = Process::start("ssh-agent", &mut command, &folder.path().join("log"))?;
        process.wait_up(Duration::from_secs(10), || socket.exists())?;
        Ok(Self {
            _process: process,
            socket,
            _folder: folder,
        })
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Hands it a key that is in clear.
    ///
    /// # Errors
    /// Those of `ssh-add`.
    pub fn add(&self, key: &SshKey) -> Result<(), Trouble> {
        run(Command::new("ssh-add")
            .arg("-q")
            .arg(&key.path)
            .env("SSH_AUTH_SOCK", &self.socket))
        .map(drop)
    }
}
