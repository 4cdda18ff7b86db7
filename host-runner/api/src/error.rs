//! Errors that cross the wire: a code for programs, a message for people, and the facts.

use std::collections::BTreeMap;
use std::fmt;

use pool::{EngineKind, Refusal};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;

/// What went wrong, as a closed set: a program may match on it exhaustively.
///
/// Codes of the host, of the link to it, and of the desktop share one enum, so that a window has one place to translate them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, TS)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is not valid JSON, or has an unknown or missing field. Details: `field` where known.
    MalformedRequest,
    /// The request's body is larger than the limit. Details: `limit_kib`.
    BodyTooLarge,
    /// A name breaks the naming rules. Details: `field`, `rule`.
    InvalidName,
    /// A number is outside its range. Details: `field`, `value`, `min`, `max`.
    OutOfRange,
    /// No such path, or not with this method.
    NoSuchEndpoint,
    /// No instance has this id. Details: `id`.
    InstanceNotFound,
    /// No image has this name. Details: `image`.
    ImageNotFound,
    /// An image's files are missing or damaged. Details: `image`, `file`, `remedy`.
    ImageCorrupt,
    /// Another instance on this machine has the name. Details: `name`.
    NameTaken,
    /// The spec's generation is older than the one that the host holds. Details: `held`, `given`.
    StaleGeneration,
    /// The same generation arrived with another content, or the id has something on the machine that is no instance. Details:
    /// `generation`, `field` or `path` where one is at fault.
    ConflictingSpec,
    /// The action does not fit the instance's state. Details: `state`, `action`.
    WrongState,
    /// Too little memory to promise. Details: `needed_mib`, `free_mib`.
    InsufficientMemory,
    /// Too little disk to promise. Details: `needed_mib`, `free_mib`.
    InsufficientDisk,
    /// More vCPUs than the machine has threads. Details: `needed`, `threads`.
    TooManyVcpus,
    /// No engine on this machine can run the instance. Details: `remedy`.
    NoEngine,
    /// A rule keeps the instance from the machine: the machine's state, a pin, hardware, tags, sites, neighbours, or room that is kept
    /// for failures. Details: `rule`.
    PlacementRule,
    /// The engine refused or died. Details: `engine`, `log`.
    EngineFailed,
    /// A published port is taken. Details: `port`.
    PortTaken,
    /// The machine's disk is full. Details: `path`.
    DiskFull,
    /// The events asked for are no longer held; read the snapshot again.
    EventsLost,
    /// The operation took longer than its deadline. Details: `deadline_ms`.
    TimedOut,
    /// A defect of the host-runner; its log has the request id.
    Internal,
    /// The machine's address cannot be resolved or reached. Details: `address`.
    Unreachable,
    /// The SSH server's key is not known yet. Details: `address`, `key_type`, `fingerprint`.
    HostKeyUnknown,
    /// The SSH server's key differs from the known one. Details: `address`, `key_type`, `fingerprint`, `known_hosts_line`.
    HostKeyChanged,
    /// The server accepted none of the ways to log in. Details: `user`, `tried`.
    AuthenticationFailed,
    /// A key file is encrypted and its passphrase is missing or wrong. Details: `path`.
    PassphraseNeeded,
    /// A file on the desktop cannot be used (an SSH key, the SSH configuration). Details: `path`.
    BadLocalFile,
    /// The machine answers SSH, but no host-runner. Details: `remedy`.
    AgentMissing,
    /// The host-runner speaks another version of the contract. Details: `desktop`, `host`.
    VersionMismatch,
    /// The machine's answer breaks the contract.
    ProtocolViolation,
    /// The desktop does not know this machine. Details: `id`.
    MachineNotFound,
    /// The pool already has a machine at this address. Details: `address`, `name`.
    MachineKnown,
    /// The desktop's own database failed.
    Storage,
    /// The caller gave up.
    Cancelled,
}

impl ErrorCode {
    /// The HTTP status that goes with the code, 400..=599, whoever answers. Source: RFC 9110, section 15; RFC 4918, section 11.5.
    pub fn http_status(self) -> u16 {
        match self {
            Self::MalformedRequest => 400,
            Self::AuthenticationFailed | Self::PassphraseNeeded => 403,
            Self::NoSuchEndpoint | Self::InstanceNotFound | Self::ImageNotFound | Self::MachineNotFound => {
                404
            }
            Self::ImageCorrupt
            | Self::NameTaken
            | Self::StaleGeneration
            | Self::ConflictingSpec
            | Self::WrongState
            | Self::InsufficientMemory
            | Self::InsufficientDisk
            | Self::TooManyVcpus
            | Self::NoEngine
            | Self::PlacementRule
            | Self::PortTaken
            | Self::MachineKnown
            | Self::Cancelled => 409,
            Self::EventsLost => 410,
            Self::BodyTooLarge => 413,
            Self::InvalidName | Self::OutOfRange => 422,
            Self::EngineFailed | Self::Internal | Self::Storage | Self::BadLocalFile => 500,
            Self::Unreachable
            | Self::HostKeyUnknown
            | Self::HostKeyChanged
            | Self::AgentMissing
            | Self::VersionMismatch
            | Self::ProtocolViolation => 502,
            Self::TimedOut => 504,
            Self::DiskFull => 507,
        }
    }
}

/// A fact beside an error: a text or a small number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS)]
#[serde(untagged)]
pub enum DetailValue {
    /// A count or a size; the key's suffix names the unit.
    Number(u32),
    /// A text.
    Text(String),
}

impl From<u32> for DetailValue {
    fn from(value: u32) -> Self {
        Self::Number(value)
    }
}
impl From<pool::Mib> for DetailValue {
    fn from(value: pool::Mib) -> Self {
        Self::Number(value.0)
    }
}
impl From<&str> for DetailValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for DetailValue {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

/// The body of every refusal. Each code documents its details' keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, TS, thiserror::Error)]
pub struct ApiError {
    /// For programs.
    pub code: ErrorCode,
    /// For people, in English, naming the cause and where there is one the remedy.
    pub message: String,
    /// The facts, by key.
    #[serde(default)]
    pub details: BTreeMap<String, DetailValue>,
}

impl ApiError {
    /// A machine does not take an instance: the code and the facts of one reason, in the caller's words.
    pub fn of_refusal(refusal: &Refusal, message: impl Into<String>) -> Self {
        let coded = |code| Self::new(code, message);
        match refusal {
            Refusal::Unreachable => coded(ErrorCode::Unreachable),
            Refusal::InsufficientMemory { needed_mib, free_mib } => coded(ErrorCode::InsufficientMemory)
                .with("needed_mib", *needed_mib)
                .with("free_mib", *free_mib),
            Refusal::InsufficientDisk { needed_mib, free_mib }
            | Refusal::StorageFull {
                needed_mib, free_mib, ..
            } => coded(ErrorCode::InsufficientDisk)
                .with("needed_mib", *needed_mib)
                .with("free_mib", *free_mib),
            Refusal::TooManyVcpus { needed, threads } => coded(ErrorCode::TooManyVcpus)
                .with("needed", *needed)
                .with("threads", *threads),
            Refusal::ImageMissing { image } => coded(ErrorCode::ImageNotFound).with("image", image.as_str()),
            Refusal::ImageCorrupt { image } => coded(ErrorCode::ImageCorrupt).with("image", image.as_str()),
            Refusal::NoEngine { needed } => coded(ErrorCode::NoEngine).with(
                "remedy",
                match needed {
                    Some(EngineKind::Microvm) => "choose a machine where microVMs run",
                    Some(EngineKind::Qemu) | None => "install qemu-system-x86 and start host-runner again",
                },
            ),
            Refusal::Draining
            | Refusal::Asleep
            | Refusal::PinnedElsewhere { .. }
            | Refusal::WrongHardware { .. }
            | Refusal::StorageMissing { .. }
            | Refusal::TooManyVcpusPromised { .. }
            | Refusal::TooBusy { .. }
            | Refusal::TagMissing { .. }
            | Refusal::TagForbidden { .. }
            | Refusal::SiteWrong { .. }
            | Refusal::SiteForbidden { .. }
            | Refusal::NotTogether { .. }
            | Refusal::NotApart { .. }
            | Refusal::BreaksRecovery { .. } => {
                coded(ErrorCode::PlacementRule).with("rule", refusal.to_string())
            }
        }
    }

    /// An error without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: BTreeMap::new(),
        }
    }

    /// Adds one fact.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<DetailValue>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pool::Mib;

    #[test]
    fn every_refusal_has_its_own_code_and_its_numbers() {
        let all = [
            (Refusal::Unreachable, ErrorCode::Unreachable, 0),
            (
                Refusal::InsufficientMemory {
                    needed_mib: Mib(4096),
                    free_mib: Mib(2560),
                },
                ErrorCode::InsufficientMemory,
                2,
            ),
            (
                Refusal::InsufficientDisk {
                    needed_mib: Mib(2),
                    free_mib: Mib(1),
                },
                ErrorCode::InsufficientDisk,
                2,
            ),
            (
                Refusal::TooManyVcpus {
                    needed: 8,
                    threads: 2,
                },
                ErrorCode::TooManyVcpus,
                2,
            ),
            (
                Refusal::ImageMissing { image: "x".into() },
                ErrorCode::ImageNotFound,
                1,
            ),
            (
                Refusal::ImageCorrupt { image: "x".into() },
                ErrorCode::ImageCorrupt,
                1,
            ),
            (Refusal::NoEngine { needed: None }, ErrorCode::NoEngine, 1),
            (
                Refusal::NoEngine {
                    needed: Some(EngineKind::Microvm),
                },
                ErrorCode::NoEngine,
                1,
            ),
            (
                Refusal::StorageFull {
                    storage: "fast".into(),
                    needed_mib: Mib(2),
                    free_mib: Mib(1),
                },
                ErrorCode::InsufficientDisk,
                2,
            ),
            (
                Refusal::NotApart { from: "db-1".into() },
                ErrorCode::PlacementRule,
                1,
            ),
        ];
        for (refusal, code, facts) in all {
            let error = ApiError::of_refusal(&refusal, "no");
            assert_eq!((error.code, error.details.len()), (code, facts), "{refusal:?}");
        }
    }
}
