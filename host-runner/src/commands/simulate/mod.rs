//! `simulate`: the pool's decisions over virtual time.

mod charts;
mod planetlab;
mod report;
mod scenario;
mod tune;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pool::simulation::traces::TraceError;
use pool::simulation::{BadCurve, ScenarioError};

use charts::PaintError;

use super::CommandError;
use crate::cli::{Simulate, SimulateCommand};

/// Why nothing was simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// Neither a scenario nor traces; the command line asks for one of them.
    #[error("a scenario file or `planetlab` is needed")]
    NothingAsked,
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        err: io::Error,
    },
    /// A file is too large to be what it should be.
    #[error("{} is larger than {bytes_max} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        bytes_max: u64,
    },
    /// A folder has too many files.
    #[error("{} has more than {most} files", dir.display())]
    TooManyFiles {
        /// The folder.
        dir: PathBuf,
        /// The most that are read.
        most: usize,
    },
    /// A folder has no trace.
    #[error("there is no trace in {}; it should have a file for each instance", dir.display())]
    NoTraces {
        /// The folder.
        dir: PathBuf,
    },
    /// Nothing is left to judge by.
    #[error("{} needs a folder for each of two days or more", dir.display())]
    TooFewDays {
        /// The folder.
        dir: PathBuf,
    },
    /// A trace is broken; the words name file and line.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// A scenario is no JSON of the form that is needed.
    #[error("cannot use {} as a scenario", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        #[source]
        err: serde_json::Error,
    },
    /// A scenario contradicts itself, or is too much.
    #[error("cannot run {}", path.display())]
    Scenario {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        err: ScenarioError,
    },
    /// A file of the report cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        err: io::Error,
    },
    /// The report cannot be encoded.
    #[error("cannot encode the report")]
    Encode {
        /// Why.
        #[source]
        err: serde_json::Error,
    },
    /// A chart cannot be drawn.
    #[error(transparent)]
    Chart(#[from] PaintError),
    /// The experiment's machines are broken.
    #[error("cannot make the machines")]
    Machines(#[source] BadCurve),
}

/// Runs what was asked for.
pub fn run(asked: &Simulate) -> Result<ExitCode, CommandError> {
    match (&asked.command, &asked.planned.scenario) {
        (Some(SimulateCommand::Planetlab(asked)), _) => planetlab::run(asked),
        (Some(SimulateCommand::PlanetlabTune(asked)), _) => tune::run(asked),
        (None, Some(file)) => scenario::simulate(&asked.planned, file),
        (None, None) => Err(SimulateError::NothingAsked.into()),
    }
}

/// A file's text, if it is not larger than that.
fn read_bounded(path: &Path, bytes_max: u64) -> Result<String, SimulateError> {
    let failed = |err| SimulateError::Read {
        path: path.to_owned(),
        err,
    };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    let read = file
        .take(bytes_max + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if read as u64 > bytes_max {
        return Err(SimulateError::TooLarge {
            path: path.to_owned(),
            bytes_max,
        });
    }
    Ok(text)
}
