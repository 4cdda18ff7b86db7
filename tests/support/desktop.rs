use std::path::PathBuf;

use api::client::ssh::{SshDeadlines, SshOptions, SshTarget};

use crate::{SshServer, Trouble};

/// A person's computer: a home of its own, with an SSH folder.
#[derive(Debug)]
pub struct Desktop {
    home: tempfile::TempDir,
}

impl Desktop {
    /// One whose `~/.ssh` is empty.
    ///
    /// # Errors
    /// [`Trouble::Io`].
    pub fn new() -> Result<Self, Trouble> {
        let home = tempfile::tempdir().map_err(Trouble::io("make a home"))?;
        std::fs::create_dir(home.path().join(".ssh")).map_err(Trouble::io("make ~/.ssh"))?;
        Ok(Self { home })
    }

    /// A file below `~/.ssh`.
    pub fn ssh_path(&self, name: &str) -> PathBuf {
        self.home.path().join(".ssh").join(name)
    }

    /// Writes a file below `~/.ssh`.
    ///
    /// # Errors
    /// [`Trouble::Io`].
    pub fn write_ssh(&self, name: &str, text: &str) -> Result<(), Trouble> {
        std::fs::write(self.ssh_path(name), text).map_err(Trouble::io(format!("write ~/.ssh/{name}")))
    }

    /// What it connects with: this home's files, no ssh-agent, no secrets.
    pub fn options(&self) -> SshOptions {
        SshOptions {
            home: Some(self.home.path().to_owned()),
            local_user: "root".into(),
            config_path: Some(self.ssh_path("config")),
            known_hosts_paths: None,
            global_known_hosts_paths: Vec::new(),
            accepted_fingerprint: None,
            password: None,
            passphrase: None,
            agent_socket: None,
            deadlines: SshDeadlines::default(),
            socket_path: None,
            host_runner_path: None,
        }
    }

    /// Knows a server's keys under a name, as after an earlier visit.
    ///
    /// # Errors
    /// [`Trouble::Io`].
    pub fn know(&self, name: &str, server: &SshServer) -> Result<(), Trouble> {
        let path = self.ssh_path("known_hosts");
        let mut text = std::fs::read_to_string(&path).unwrap_or_default();
        for key in &server.host_keys {
            text.extend([name, " ", &key.public, "\n"]);
        }
        std::fs::write(&path, text).map_err(Trouble::io("write ~/.ssh/known_hosts"))
    }

    /// A target by its name alone.
    pub fn target(host: impl Into<String>) -> SshTarget {
        SshTarget {
            host: host.into(),
            user: None,
            port: None,
            identity_file: None,
        }
    }
}
