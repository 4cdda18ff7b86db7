//! What can go wrong on the way to a machine over SSH.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::CloseReason;
use crate::client::error::chain;
use crate::{ApiError, DetailValue, ErrorCode};

/// Why an SSH link could not be made, or broke.
///
/// Where an error names an `address`, it is that of the hop that failed: with `ProxyJump` this may be a jump host.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A file on this computer cannot be read.
    #[error("cannot read {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        err: io::Error,
    },
    /// A line of the SSH configuration makes no sense.
    #[error("{}:{line}: {reason}", path.display())]
    BadConfig {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u32,
        /// What is wrong with it.
        reason: String,
    },
    /// The target cannot be used as it is.
    #[error("cannot connect to \"{host}\": {reason}")]
    BadTarget {
        /// The host that was asked for.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key file holds no key that can be used.
    #[error("{} holds no private key that can be used", path.display())]
    BadKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        err: russh::keys::Error,
    },
    /// The host name has no address, or nothing answers there.
    #[error("cannot reach {address}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        err: io::Error,
    },
    /// A step took too long.
    #[error("{address}: {step} took longer than {} ms", deadline.as_millis())]
    DeadlineExceeded {
        /// Host and port.
        address: String,
        /// The step, such as `connecting`.
        step: &'static str,
        /// How long was waited.
        deadline: Duration,
    },
    /// Nobody has vouched for the server's key yet.
    #[error("{address} shows a host key that is not known yet: {key_type} {fingerprint}")]
    HostKeyUnknown {
        /// Host and port.
        address: String,
        /// The key's type, such as `ssh-ed25519`.
        key_type: String,
        /// `SHA256:` and the unpadded base64 of the digest, as `ssh-keygen -lf` prints it.
        fingerprint: String,
    },
    /// The server's key is not the known one: somebody may be in the middle.
    #[error(
        "{address} shows another host key than the known one: {key_type} {fingerprint}, against {}:{line}. Either the machine was \
         installed anew, or somebody is in the middle. If you are sure, remove that line and connect again",
        known_hosts.display()
    )]
    HostKeyChanged {
        /// Host and port.
        address: String,
        /// The shown key's type.
        key_type: String,
        /// The shown key's fingerprint.
        fingerprint: String,
        /// The file that holds the known key.
        known_hosts: PathBuf,
        /// The known key's line, from 1.
        line: u32,
    },
    /// The server's key is marked `@revoked`.
    #[error("{address} shows a host key that is revoked in {}:{line}: {key_type} {fingerprint}", known_hosts.display())]
    HostKeyRevoked {
        /// Host and port.
        address: String,
        /// The shown key's type.
        key_type: String,
        /// The shown key's fingerprint.
        fingerprint: String,
        /// The file that revokes it.
        known_hosts: PathBuf,
        /// The line that revokes it, from 1.
        line: u32,
    },
    /// The accepted key cannot be written down.
    #[error("cannot add the host key to {}", path.display())]
    SaveHostKey {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        err: io::Error,
    },
    /// A key file is encrypted; its passphrase is missing or wrong.
    #[error("{} is encrypted, and {}", path.display(), if *refused { "the passphrase is wrong" } else { "needs its passphrase" })]
    PassphraseNeeded {
        /// The key file.
        path: PathBuf,
        /// True when a passphrase was given and is wrong.
        refused: bool,
    },
    /// The server accepted none of the ways to log in.
    #[error("{address} does not let {user} log in; tried: {}", if tried.is_empty() { "nothing".into() } else { tried.join(", ") })]
    AuthenticationFailed {
        /// Host and port.
        address: String,
        /// Who tried to log in.
        user: String,
        /// What was tried, in order, such as `key ~/.ssh/id_ed25519` or `password`.
        tried: Vec<String>,
        /// True when the server would look at a password.
        password_possible: bool,
        /// True when a password was given and refused.
        password_refused: bool,
    },
    /// The SSH protocol failed.
    #[error("{address}: the SSH connection failed")]
    Protocol {
        /// Host and port.
        address: String,
        /// How.
        #[source]
        err: russh::Error,
    },
    /// The connection is closed.
    #[error("the SSH connection to {address} is closed: {reason}")]
    Closed {
        /// Host and port.
        address: String,
        /// Why.
        reason: CloseReason,
    },
    /// The server refuses another channel.
    #[error("{address} refuses another channel: {reason}")]
    ChannelRefused {
        /// Host and port.
        address: String,
        /// Why, in the server's words.
        reason: String,
    },
    /// SSH works, but no agent answers there.
    #[error("{address} answers SSH, but no host-runner answers there ({tried}). {remedy}")]
    AgentMissing {
        /// Host and port.
        address: String,
        /// What was tried and what came of it.
        tried: String,
        /// What to do.
        remedy: String,
    },
}

impl SshError {
    /// True when the link is no longer of use: build a new session, then ask again.
    pub fn is_link(&self) -> bool {
        match self {
            Self::ReadFile { .. }
            | Self::BadConfig { .. }
            | Self::BadTarget { .. }
            | Self::BadKey { .. }
            | Self::Unreachable { .. }
            | Self::DeadlineExceeded { .. }
            | Self::HostKeyUnknown { .. }
            | Self::HostKeyChanged { .. }
            | Self::HostKeyRevoked { .. }
            | Self::SaveHostKey { .. }
            | Self::PassphraseNeeded { .. }
            | Self::AuthenticationFailed { .. }
            | Self::Protocol { .. }
            | Self::Closed { .. }
            | Self::AgentMissing { .. } => true,
            Self::ChannelRefused { .. } => false,
        }
    }

    /// True when trying again changes nothing until somebody has done something.
    pub fn needs_a_person(&self) -> bool {
        match self {
            Self::ReadFile { .. }
            | Self::BadConfig { .. }
            | Self::BadTarget { .. }
            | Self::BadKey { .. }
            | Self::HostKeyUnknown { .. }
            | Self::HostKeyChanged { .. }
            | Self::HostKeyRevoked { .. }
            | Self::SaveHostKey { .. }
            | Self::PassphraseNeeded { .. }
            | Self::AuthenticationFailed { .. } => true,
            Self::Unreachable { .. }
            | Self::DeadlineExceeded { .. }
            | Self::Protocol { .. }
            | Self::Closed { .. }
            | Self::ChannelRefused { .. }
            // An agent that is being upgraded is missing for a moment.
            | Self::AgentMissing { .. } => false,
        }
    }

    /// The same error for programs and windows: a code, the words with all their causes, and the facts.
    pub fn to_api(&self) -> ApiError {
        let error = ApiError::new(self.code(), chain(self));
        let text = |path: &PathBuf| DetailValue::from(path.display().to_string());
        match self {
            Self::ReadFile { path, .. }
            | Self::BadConfig { path, .. }
            | Self::BadKey { path, .. }
            | Self::SaveHostKey { path, .. }
            | Self::PassphraseNeeded { path, .. } => error.with("path", text(path)),
            Self::BadTarget { host, .. } => error.with("address", host.as_str()),
            Self::HostKeyUnknown {
                address,
                key_type,
                fingerprint,
            } => error
                .with("address", address.as_str())
                .with("key_type", key_type.as_str())
                .with("fingerprint", fingerprint.as_str()),
            Self::HostKeyChanged {
                address,
                key_type,
                fingerprint,
                known_hosts,
                line,
            }
            | Self::HostKeyRevoked {
                address,
                key_type,
                fingerprint,
                known_hosts,
                line,
            } => error
                .with("address", address.as_str())
                .with("key_type", key_type.as_str())
                .with("fingerprint", fingerprint.as_str())
                .with("known_hosts_line", format!("{}:{line}", known_hosts.display())),
            Self::AuthenticationFailed { user, tried, .. } => {
                error.with("user", user.as_str()).with("tried", tried.join(", "))
            }
            Self::AgentMissing { remedy, .. } => error.with("remedy", remedy.as_str()),
            Self::DeadlineExceeded {
                address, deadline, ..
            } => error.with("address", address.as_str()).with(
                "deadline_ms",
                u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
            ),
            Self::Unreachable { address, .. }
            | Self::Protocol { address, .. }
            | Self::Closed { address, .. }
            | Self::ChannelRefused { address, .. } => error.with("address", address.as_str()),
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::ReadFile { .. }
            | Self::BadConfig { .. }
            | Self::BadKey { .. }
            | Self::SaveHostKey { .. } => ErrorCode::BadLocalFile,
            Self::BadTarget { .. }
            | Self::Unreachable { .. }
            | Self::Protocol { .. }
            | Self::Closed { .. }
            | Self::ChannelRefused { .. } => ErrorCode::Unreachable,
            Self::DeadlineExceeded { .. } => ErrorCode::TimedOut,
            Self::HostKeyUnknown { .. } => ErrorCode::HostKeyUnknown,
            Self::HostKeyChanged { .. } | Self::HostKeyRevoked { .. } => ErrorCode::HostKeyChanged,
            Self::PassphraseNeeded { .. } => ErrorCode::PassphraseNeeded,
            Self::AuthenticationFailed { .. } => ErrorCode::AuthenticationFailed,
            Self::AgentMissing { .. } => ErrorCode::AgentMissing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> String {
        "atlas.lan:22".into()
    }

    #[test]
    fn what_a_person_has_to_settle_is_told_apart_from_what_time_may_heal() {
        let path = || PathBuf::from("/home/me/.ssh/known_hosts");
        let changed = SshError::HostKeyChanged {
            address: address(),
            key_type: "ssh-ed25519".into(),
            fingerprint: "SHA256:x".into(),
            known_hosts: path(),
            line: 7,
        };
        let refused = SshError::AuthenticationFailed {
            address: address(),
            user: "me".into(),
            tried: vec!["key a".into(), "password".into()],
            password_possible: true,
            password_refused: true,
        };
        let unreachable = SshError::Unreachable {
            address: address(),
            err: io::Error::other("no route"),
        };
        for (error, code, person) in [
            (&changed, ErrorCode::HostKeyChanged, true),
            (&refused, ErrorCode::AuthenticationFailed, true),
            (&unreachable, ErrorCode::Unreachable, false),
        ] {
            assert_eq!(error.to_api().code, code);
            assert_eq!(error.needs_a_person(), person, "{error}");
            assert!(error.is_link());
        }
        assert_eq!(
            changed.to_api().details["known_hosts_line"],
            DetailValue::from("/home/me/.ssh/known_hosts:7")
        );
        assert_eq!(
            refused.to_api().details["tried"],
            DetailValue::from("key a, password")
        );
        assert_eq!(
            unreachable.to_api().message,
            "cannot reach atlas.lan:22: no route"
        );
    }

    #[test]
    fn a_refused_channel_leaves_the_link_alone() {
        let error = SshError::ChannelRefused {
            address: address(),
            reason: "MaxSessions".into(),
        };
        assert!(!error.is_link() && !error.needs_a_person());
    }
}
