//! Engines: what runs a guest. The reconciler knows this port alone; each engine has a folder.

pub mod qemu;

pub use qemu::memory_overhead;

use std::io;
use std::path::PathBuf;

use api::{ApiError, EngineChoice, ErrorCode, Mib, PortRequest, PublishedPort};
use async_trait::async_trait;
use tokio::net::UnixStream;
use uuid::Uuid;

use crate::images::BootFiles;
use crate::instance_files::FileError;
use crate::reconcile::GuestStatus;

/// The most of an engine's log that a failure carries, in bytes.
pub const LOG_BYTES_MAX: usize = 4096;

/// Why an engine did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine's program cannot be run.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// The engine's process ended before its guest could run.
    #[error("QEMU ended while it was starting ({ending})")]
    Died {
        /// How it ended.
        ending: String,
        /// The end of what it wrote.
        log: String,
    },
    /// A port of the machine that was asked for is in use.
    #[error("port {port} on 127.0.0.1 is taken; choose another, or leave the choice to the machine")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// A port of the machine cannot be published.
    #[error("cannot publish port {port} on 127.0.0.1")]
    Port {
        /// The port; 0 where the machine was to choose.
        port: u16,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// The engine did not answer in time.
    #[error("QEMU did not {operation} within {deadline_ms} ms")]
    TimedOut {
        /// What it was told.
        operation: &'static str,
        /// How long it had, in ms.
        deadline_ms: u32,
    },
    /// The engine's control socket failed.
    #[error("cannot {operation} over QMP")]
    Control {
        /// What was attempted.
        operation: &'static str,
        /// What went wrong.
        #[source]
        err: io::Error,
    },
    /// Another guest answers where this one should.
    #[error("the guest behind {} says that it is {found}, not {expected}", path.display())]
    Foreign {
        /// The control socket.
        path: PathBuf,
        /// Whose it should be.
        expected: Uuid,
        /// What it says.
        found: String,
    },
    /// The guest's disk cannot grow: its file system is full.
    #[error(
        "the disk that holds {} is full: the guest is held where it was writing, and goes on by itself once there is room",
        path.display()
    )]
    DiskFull {
        /// The guest's disk.
        path: PathBuf,
    },
    /// A process holds the guest's lock and cannot be found.
    #[error("a process holds {} and cannot be found", path.display())]
    Hidden {
        /// The lock.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl EngineError {
    /// The error as it crosses the wire.
    pub fn to_api(&self) -> ApiError {
        let mut message = self.to_string();
        if let Some(source) = std::error::Error::source(self) {
            message = format!("{message}: {source}");
        }
        let failed = |message: String| ApiError::new(ErrorCode::EngineFailed, message).with("engine", "qemu");
        match self {
            Self::Spawn { err, program } if err.kind() == io::ErrorKind::NotFound => ApiError::new(
                ErrorCode::NoEngine,
                format!("{program} is not installed on this machine"),
            )
            .with("remedy", "install the package qemu-system-x86"),
            Self::Died { log, .. } => {
                let reason = log.lines().last().unwrap_or("it wrote nothing").to_owned();
                failed(format!("{message}: {reason}")).with("log", log.as_str())
            }
            Self::PortTaken { port } => {
                ApiError::new(ErrorCode::PortTaken, message).with("port", u32::from(*port))
            }
            Self::TimedOut { deadline_ms, .. } => {
                ApiError::new(ErrorCode::TimedOut, message).with("deadline_ms", *deadline_ms)
            }
            Self::DiskFull { path } => {
                ApiError::new(ErrorCode::DiskFull, message).with("path", path.display().to_string())
            }
            Self::File(error) => error.to_api(),
            Self::Spawn { .. }
            | Self::Port { .. }
            | Self::Control { .. }
            | Self::Foreign { .. }
            | Self::Hidden { .. } => failed(message),
        }
    }

    /// The end of the engine's log, where the error carries it.
    pub fn log(&self) -> &str {
        match self {
            Self::Died { log, .. } => log,
            _ => "",
        }
    }
}

/// Everything that an engine needs to make a guest.
#[derive(Debug, Clone)]
pub struct LaunchOrder {
    /// The instance.
    pub id: Uuid,
    /// Its name; the guest is told.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory.
    pub memory: Mib,
    /// What to boot.
    pub boot: BootFiles,
    /// The instance's own disk, if it has one.
    pub disk: Option<PathBuf>,
    /// The ports to publish.
    pub ports: Vec<PublishedPort>,
}

/// What runs guests.
///
/// Ordering: [`find`](Engine::find) comes before [`launch`](Engine::launch), and `launch` only follows when it found nothing.
/// A launched guest is held: nothing of it runs before [`Guest::power_on`], so that its console can be listened to from the
/// first byte.
#[async_trait]
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// The engine, and why guests run on it the way they do.
    fn choice(&self) -> EngineChoice;

    /// Chooses a free port of the machine's loopback wherever none is asked for.
    fn choose_ports(&self, wanted: &[PortRequest]) -> Result<Vec<PublishedPort>, EngineError>;

    /// The live guest of an instance, whoever made it; `None` when there certainly is none.
    async fn find(&self, id: Uuid) -> Result<Option<Box<dyn Guest>>, EngineError>;

    /// Whether a process was ever made for the last launch of the instance.
    fn was_spawned(&self, id: Uuid) -> bool;

    /// Forgets the previous launch: until [`launch`](Engine::launch) has made a process, none was made.
    fn prepare(&self, id: Uuid) -> Result<(), EngineError>;

    /// Makes a guest, held.
    async fn launch(&self, order: &LaunchOrder) -> Result<Box<dyn Guest>, EngineError>;

    /// The last lines that the instance's engine wrote, at most [`LOG_BYTES_MAX`].
    fn last_words(&self, id: Uuid) -> String;
}

/// One live guest, owned by the one task that acts for its instance.
#[async_trait]
pub trait Guest: Send + Sync + std::fmt::Debug {
    /// The number of the guest's process.
    fn pid(&self) -> u32;

    /// What the guest does; `None` once its process has ended.
    async fn status(&mut self) -> Option<GuestStatus>;

    /// Why the last [`status`](Self::status) found the vCPUs held, where the engine holds them of its own accord.
    fn trouble(&self) -> Option<EngineError>;

    /// Returns when something happened that is worth a look; it says nothing about what. Safe to cancel.
    async fn changed(&mut self);

    /// A new connection to the serial console.
    async fn console(&self) -> Result<UnixStream, EngineError>;

    /// Sets the vCPUs running.
    async fn power_on(&mut self) -> Result<(), EngineError>;

    /// Presses the power button.
    async fn press_power(&mut self) -> Result<(), EngineError>;

    /// Tells the engine to end.
    async fn quit(&mut self) -> Result<(), EngineError>;

    /// Kills the process.
    fn kill(&mut self) -> Result<(), EngineError>;

    /// How the process ended, in words, where that is known.
    fn ending(&mut self) -> String;
}
