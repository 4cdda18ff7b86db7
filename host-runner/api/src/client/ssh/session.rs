//! A live connection to a machine.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelOpenFailure};
use tokio::sync::Semaphore;
use tracing::{debug, info};

use super::channel::{ChannelStream, Far};
use super::link::Link;
use super::{SshError, SshOptions, SshTarget, route};
use crate::client::{BoxedStream, ClientError, Connector};

/// Where an agent that runs as root listens.
const SYSTEM_SOCKET: &str = "/run/host-runner/api.sock";
/// How many channels are opened at once: sshd starts a process for each command.
const OPENING_MAX: usize = 4;
/// The exit status by which a shell says that it found no such command. Source: POSIX.1-2017, XCU 2.8.2.
const NOT_FOUND: u32 = 127;

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// [`SshSession::close`] was called, or nobody used the connection any more.
    Local,
    /// The server said goodbye, with its words.
    Remote(String),
    /// The peer went silent: keep-alives stayed without an answer.
    Silent,
    /// The connection broke; how, in words.
    Broken(String),
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("closed on this side"),
            Self::Remote(words) => write!(f, "the server closed it ({words})"),
            Self::Silent => f.write_str("the server no longer answers"),
            Self::Broken(words) => f.write_str(words),
        }
    }
}

/// Connects to a machine through its jump hosts, checks each host key, and logs in.
///
/// # Errors
/// See [`SshError`]. [`SshError::HostKeyUnknown`], [`SshError::PassphraseNeeded`], and [`SshError::AuthenticationFailed`] with
/// `password_possible` can be answered: try again with the answer in `options`.
pub async fn connect(target: &SshTarget, options: &SshOptions) -> Result<SshSession, SshError> {
    let hops = {
        let (target, options) = (target.clone(), options.clone());
        super::blocking(move || route::plan(&target, &options)).await?
    };
    let mut link: Option<Arc<Link>> = None;
    for hop in &hops {
        debug!(address = hop.address(), user = hop.user, "connecting");
        link = Some(Link::establish(hop, options, link).await?);
    }
    let link = link.ok_or_else(|| SshError::BadTarget {
        host: target.host.clone(),
        reason: "there is no way to it".into(),
    })?;
    info!(address = link.address, hops = hops.len(), "connected over SSH");
    Ok(SshSession {
        shared: Arc::new(Shared {
            link,
            socket_path: options.socket_path.clone(),
            host_runner_path: options.host_runner_path.clone(),
            deadline: options.deadlines.channel,
            opening: Semaphore::new(OPENING_MAX),
            command_works: Arc::default(),
        }),
    })
}

/// One SSH connection to a machine. Cheap to clone; the connection ends when the last clone and all its streams are dropped.
///
/// As a [`Connector`] it opens streams to the machine's agent: through `direct-streamlocal@openssh.com` to the agent's socket (source:
/// OpenSSH's PROTOCOL, 2.4), and where that is refused, or no agent listens there, through the command `host-runner connect`. A
/// server's `MaxSessions` (10 by default) limits the latter, which is then [`SshError::ChannelRefused`].
#[derive(Debug, Clone)]
pub struct SshSession {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    link: Arc<Link>,
    socket_path: Option<String>,
    host_runner_path: Option<String>,
    deadline: Duration,
    opening: Semaphore,
    /// Set once the command has answered where the socket did not: from then on it comes first.
    command_works: Arc<OnceLock<()>>,
}

impl SshSession {
    /// Waits until the connection has ended, and says why. A peer that falls silent is noticed within 15 s.
    pub async fn closed(&self) -> CloseReason {
        self.shared.link.ended().await
    }

    /// Ends the connection and all its streams.
    pub async fn close(&self) {
        self.shared.link.close().await;
    }

    /// Host and port of the machine.
    pub fn address(&self) -> &str {
        &self.shared.link.address
    }
}

#[async_trait]
impl Connector for SshSession {
    async fn open(&self) -> Result<BoxedStream, ClientError> {
        let shared = &self.shared;
        match tokio::time::timeout(shared.deadline, shared.open()).await {
            Ok(result) => Ok(Box::new(result?)),
            Err(_) => Err(ClientError::from(SshError::DeadlineExceeded {
                address: shared.link.address.clone(),
                step: "opening a channel",
                deadline: shared.deadline,
            })),
        }
    }
}

impl Shared {
    async fn open(&self) -> Result<ChannelStream, SshError> {
        let _permit = self.opening.acquire().await.map_err(|_| self.link.gone())?;
        let mut refused = None;
        if self.command_works.get().is_none() {
            let path = self.socket_path.as_deref().unwrap_or(SYSTEM_SOCKET);
            match self.link.handle.channel_open_direct_streamlocal(path).await {
                Ok(channel) => return Ok(ChannelStream::new(channel, self.link.clone(), Far::Socket)),
                Err(russh::Error::ChannelOpenFailure(failure)) => {
                    debug!(
                        address = self.link.address,
                        path,
                        ?failure,
                        "no way to the socket"
                    );
                    refused = Some(format!("{path}: {}", words(&failure)));
                }
                Err(_) => return Err(self.link.gone()),
            }
        }
        self.open_command(refused).await
    }

    async fn open_command(&self, refused: Option<String>) -> Result<ChannelStream, SshError> {
        let address = self.link.address.clone();
        let mut channel = match self.link.handle.channel_open_session().await {
            Ok(channel) => channel,
            Err(russh::Error::ChannelOpenFailure(failure)) => {
                return Err(SshError::ChannelRefused {
                    address,
                    reason: format!("{} (the server's MaxSessions may be used up)", words(&failure)),
                });
            }
            Err(_) => return Err(self.link.gone()),
        };
        let command = connect_command(self.host_runner_path.as_deref(), self.socket_path.as_deref());
        let tried = move |outcome: String| match refused {
            Some(refused) => format!("{refused}; host-runner connect: {outcome}"),
            None => format!("host-runner connect: {outcome}"),
        };
        if channel.exec(true, command).await.is_err() {
            return Err(self.link.gone());
        }
        if !self.command_started(&mut channel).await? {
            return Err(agent_missing(
                address,
                tried("the server runs no commands".into()),
                false,
            ));
        }
        let missing = move |status: Option<u32>, stderr: &str| {
            let outcome = match (status, stderr) {
                (Some(NOT_FOUND), _) => "no such program".to_owned(),
                (_, "") => format!(
                    "ended with status {}",
                    status.map_or("unknown".into(), |s| s.to_string())
                ),
                (_, stderr) => stderr.to_owned(),
            };
            agent_missing(address, tried(outcome), status != Some(NOT_FOUND))
        };
        let far = Far::Command {
            works: self.command_works.clone(),
            missing: Box::new(missing),
        };
        Ok(ChannelStream::new(channel, self.link.clone(), far))
    }

    /// Waits for the server's word on a command.
    async fn command_started(&self, channel: &mut Channel<Msg>) -> Result<bool, SshError> {
        loop {
            match channel.wait().await {
                Some(ChannelMsg::Success) => return Ok(true),
                Some(ChannelMsg::Failure | ChannelMsg::Close) => return Ok(false),
                Some(_) => {}
                None => return Err(self.link.gone()),
            }
        }
    }
}

/// Finds the program as the remote user's shell would, then in the places that a login without a profile does not search.
fn connect_command(program: Option<&str>, socket: Option<&str>) -> String {
    let arguments = socket.map_or_else(String::new, |path| format!(" --socket {}", quoted(path)));
    let script = match program {
        Some(program) => format!("exec {} connect{arguments}", quoted(program)),
        None => format!(
            "for p in host-runner /usr/local/bin/host-runner /usr/bin/host-runner \"$HOME/.local/bin/host-runner\"; do \
             command -v \"$p\" >/dev/null 2>&1 && exec \"$p\" connect{arguments}; done; exit {NOT_FOUND}"
        ),
    };
    // The login shell may be any; sh is everywhere.
    format!("exec sh -c {}", quoted(&script))
}

/// A word for a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn words(failure: &ChannelOpenFailure) -> &'static str {
    match failure {
        ChannelOpenFailure::AdministrativelyProhibited => "forbidden by the server",
        ChannelOpenFailure::ConnectFailed => "nothing answers, or the server forbids it",
        ChannelOpenFailure::UnknownChannelType => "not supported by the server",
        ChannelOpenFailure::ResourceShortage => "the server is short of resources",
        ChannelOpenFailure::Other { .. } => "refused by the server",
    }
}

fn agent_missing(address: String, tried: String, installed: bool) -> SshError {
    let remedy = if installed {
        "Start the agent there (systemctl start host-runner, or host-runner serve), and see to it that the user may use its socket \
         (group millpond)."
    } else {
        "Install host-runner on that machine and start it with host-runner serve."
    };
    SshError::AgentMissing {
        address,
        tried,
        remedy: remedy.into(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn quoting_survives_a_shell() {
        for text in ["plain", "with space", "it's", "$HOME `id` \"x\" \\ ;&|", "'"] {
            let script = format!("printf %s {}", quoted(text));
            let output = Command::new("sh")
                .args(["-c", &script])
                .output()
                .expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
    }

    #[test]
    fn the_command_is_one_that_a_shell_understands_and_a_missing_program_is_127() {
        let status = Command::new("sh")
            .args(["-c", &connect_command(None, None)])
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", "/nonexistent")
            .status()
            .expect("a shell");
        let installed = std::path::Path::new("/usr/local/bin/host-runner").exists()
            || std::path::Path::new("/usr/bin/host-runner").exists();
        assert!(installed || status.code() == Some(127), "{status}");
        let echo = connect_command(Some("/bin/echo"), Some("/run/it's here"));
        let output = Command::new("sh").args(["-c", &echo]).output().expect("a shell");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "connect --socket /run/it's here\n"
        );
    }
}
