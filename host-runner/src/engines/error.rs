//! Why an engine did not do what it was told.

use std::io;
use std::path::PathBuf;

use api::{ApiError, EngineKind, ErrorCode};
use uuid::Uuid;

use super::microvm::Lack;
use super::name_of;
use crate::instance_files::FileError;

/// Why an engine did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A program of the engine's cannot be run.
    #[error("cannot run {program}")]
    Spawn {
        /// The engine.
        engine: EngineKind,
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// The engine that was asked for cannot run this instance here.
    #[error("{} cannot run it here: {reason}", name_of(*engine))]
    Unavailable {
        /// The engine.
        engine: EngineKind,
        /// Why not.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// The engine's process ended before its guest could run.
    #[error("{} ended while it was starting ({ending})", name_of(*engine))]
    Died {
        /// The engine.
        engine: EngineKind,
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
    /// The guest's network did not come up.
    #[error("passt, the guest's network, ended while it was starting ({ending})")]
    Network {
        /// How it ended.
        ending: String,
        /// The end of what it wrote.
        log: String,
    },
    /// The engine did not answer in time.
    #[error("{} did not {operation} within {deadline_ms} ms", name_of(*engine))]
    TimedOut {
        /// The engine.
        engine: EngineKind,
        /// What it was told.
        operation: &'static str,
        /// How long it had, in ms.
        deadline_ms: u32,
    },
    /// The engine cannot be controlled.
    #[error("cannot {operation} ({})", name_of(*engine))]
    Control {
        /// The engine.
        engine: EngineKind,
        /// What was attempted.
        operation: &'static str,
        /// What went wrong.
        #[source]
        err: io::Error,
    },
    /// The engine refused what it was told.
    #[error("{} refused to {operation}: {said}", name_of(*engine))]
    Refused {
        /// The engine.
        engine: EngineKind,
        /// What it was told.
        operation: &'static str,
        /// What it said.
        said: String,
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
    /// The guest runs and has no network.
    #[error(
        "passt, the guest's network, has ended and could not be started again yet: the guest runs and is cut off; restart the instance \
         if this stays"
    )]
    CutOff,
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

impl From<Lack> for EngineError {
    fn from(lack: Lack) -> Self {
        Self::Unavailable {
            engine: EngineKind::Microvm,
            reason: lack.to_string(),
            remedy: lack.remedy().to_owned(),
        }
    }
}

impl EngineError {
    /// The error as it crosses the wire.
    pub fn to_api(&self) -> ApiError {
        let mut message = self.to_string();
        if let Some(source) = std::error::Error::source(self) {
            message = format!("{message}: {source}");
        }
        let failed = |message: String| {
            let error = ApiError::new(ErrorCode::EngineFailed, message);
            match self.engine() {
                Some(engine) => error.with("engine", word_of(engine)),
                None => error,
            }
        };
        match self {
            Self::Spawn { err, program, engine } if err.kind() == io::ErrorKind::NotFound => ApiError::new(
                ErrorCode::NoEngine,
                format!("{program} is not installed on this machine"),
            )
            .with("remedy", remedy(*engine, program)),
            Self::Unavailable { remedy, .. } => {
                ApiError::new(ErrorCode::NoEngine, message).with("remedy", remedy.as_str())
            }
            Self::Died { log, .. } | Self::Network { log, .. } => {
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
            | Self::Refused { .. }
            | Self::Foreign { .. }
            | Self::CutOff
            | Self::Hidden { .. } => failed(message),
        }
    }

    /// The engine that it is about, where it is about one.
    fn engine(&self) -> Option<EngineKind> {
        match self {
            Self::Spawn { engine, .. }
            | Self::Unavailable { engine, .. }
            | Self::Died { engine, .. }
            | Self::TimedOut { engine, .. }
            | Self::Control { engine, .. }
            | Self::Refused { engine, .. } => Some(*engine),
            Self::Network { .. } | Self::CutOff => Some(EngineKind::Microvm),
            Self::PortTaken { .. }
            | Self::Port { .. }
            | Self::Foreign { .. }
            | Self::DiskFull { .. }
            | Self::Hidden { .. }
            | Self::File(_) => None,
        }
    }
}

/// An engine as the contract writes it.
pub fn word_of(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Qemu => "qemu",
        EngineKind::Microvm => "microvm",
    }
}

/// What to do about a program that is not there.
fn remedy(engine: EngineKind, program: &str) -> String {
    match engine {
        EngineKind::Qemu => "install the package qemu-system-x86".to_owned(),
        EngineKind::Microvm if program == super::microvm::PASST => "install the package passt".to_owned(),
        EngineKind::Microvm => "put the program microvm beside host-runner".to_owned(),
    }
}
