//! What to connect to, and with what.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

/// A machine to connect to. What is absent comes from the SSH configuration, then from SSH's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SshTarget {
    /// A host name, an IP address, or an alias from the SSH configuration.
    pub host: String,
    /// The user to log in as; by default the configuration's `User`, then the local user.
    pub user: Option<String>,
    /// The TCP port, 1..=65535; by default the configuration's `Port`, then 22.
    pub port: Option<u16>,
    /// A private key to try first; by default the configuration's `IdentityFile`s, then `~/.ssh/id_*`.
    pub identity_file: Option<PathBuf>,
}

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SshDeadlines {
    /// Name resolution, the TCP connection and the key exchange of one hop.
    pub connect: Duration,
    /// All attempts to log in to one hop.
    pub authenticate: Duration,
    /// Opening one channel to the agent, with all ways tried.
    pub channel: Duration,
}

impl Default for SshDeadlines {
    /// 10 s, 30 s and 15 s.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            authenticate: Duration::from_secs(30),
            channel: Duration::from_secs(15),
        }
    }
}

/// The user's files, and the answers that a person gave for this connection.
///
/// Secrets are wiped from memory on drop, and never shown by `Debug`.
#[derive(Clone)]
pub struct SshOptions {
    /// The home folder, for `~`, the default keys and the default `known_hosts`; `None` where the user has none.
    pub home: Option<PathBuf>,
    /// The local user's name: the default for `User`, and `%u`.
    pub local_user: String,
    /// The SSH configuration; a missing file is an empty one. `None` reads none.
    pub config_path: Option<PathBuf>,
    /// Files of known host keys, in place of `UserKnownHostsFile`; a newly accepted key is added to the first. `None` follows the
    /// configuration, then takes `~/.ssh/known_hosts` and `~/.ssh/known_hosts2`.
    pub known_hosts_paths: Option<Vec<PathBuf>>,
    /// The machine-wide files of known host keys, which are read and never written; by default `/etc/ssh/ssh_known_hosts`.
    pub global_known_hosts_paths: Vec<PathBuf>,
    /// The fingerprint (`SHA256:…`) that a person has compared and accepted. A key that is unknown and has it is added to the known
    /// ones. It never overrides a changed or revoked key.
    pub accepted_fingerprint: Option<String>,
    /// The login password of the target (not of jump hosts).
    pub password: Option<Zeroizing<String>>,
    /// The passphrase of encrypted key files.
    pub passphrase: Option<Zeroizing<String>>,
    /// The ssh-agent's socket (on Windows its named pipe); `None` uses none.
    pub agent_socket: Option<PathBuf>,
    /// How long each step may take.
    pub deadlines: SshDeadlines,
    /// The host-runner's socket on the machine, in place of looking for it.
    pub socket_path: Option<String>,
    /// The host-runner's program on the machine, in place of looking for it.
    pub host_runner_path: Option<String>,
}

impl fmt::Debug for SshOptions {
    /// Without the secrets: what is logged stays.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshOptions")
            .field("home", &self.home)
            .field("config_path", &self.config_path)
            .field("known_hosts_paths", &self.known_hosts_paths)
            .field("accepted_fingerprint", &self.accepted_fingerprint)
            .field("password_given", &self.password.is_some())
            .field("passphrase_given", &self.passphrase.is_some())
            .field("agent_socket", &self.agent_socket)
            .field("deadlines", &self.deadlines)
            .field("socket_path", &self.socket_path)
            .field("host_runner_path", &self.host_runner_path)
            .finish_non_exhaustive()
    }
}

impl SshOptions {
    /// What `ssh` itself would use: the files below the home folder, and the ssh-agent of the environment.
    ///
    /// Reads `HOME` (`USERPROFILE` on Windows), `USER`, `LOGNAME` or `USERNAME`, and `SSH_AUTH_SOCK`; touches no file.
    pub fn from_environment() -> Self {
        let home = std::env::home_dir();
        let local_user = ["USER", "LOGNAME", "USERNAME"]
            .into_iter()
            .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
            .unwrap_or_else(|| "root".to_owned());
        Self {
            config_path: home.as_ref().map(|home| home.join(".ssh/config")),
            home,
            local_user,
            known_hosts_paths: None,
            global_known_hosts_paths: default_global_known_hosts(),
            accepted_fingerprint: None,
            password: None,
            passphrase: None,
            agent_socket: default_agent_socket(),
            deadlines: SshDeadlines::default(),
            socket_path: None,
            host_runner_path: None,
        }
    }
}

fn default_global_known_hosts() -> Vec<PathBuf> {
    if cfg!(windows) {
        return std::env::var_os("PROGRAMDATA")
            .map(|data| PathBuf::from(data).join("ssh/ssh_known_hosts"))
            .into_iter()
            .collect();
    }
    vec![
        PathBuf::from("/etc/ssh/ssh_known_hosts"),
        PathBuf::from("/etc/ssh/ssh_known_hosts2"),
    ]
}

fn default_agent_socket() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .or_else(|| cfg!(windows).then(|| PathBuf::from(r"\\.\pipe\openssh-ssh-agent")))
}
