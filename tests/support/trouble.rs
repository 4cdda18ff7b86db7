use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a test could not be set up, or what it waited for in vain.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Network namespaces need root.
    #[error("these tests make network namespaces and mounts, and need root: run them as root")]
    NotRoot,
    /// A program is not there.
    #[error("{program} is not there: {remedy}")]
    Missing {
        /// Its name or path.
        program: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file operation or the start of a program failed.
    #[error("cannot {what}: {err}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        err: io::Error,
    },
    /// A program ran and failed.
    #[error("{command} failed ({status}): {output}")]
    Failed {
        /// The program and its arguments.
        command: String,
        /// How it ended.
        status: String,
        /// What it wrote.
        output: String,
    },
    /// Something else than what was wanted.
    #[error("wanted {what}, and found: {found}")]
    Unexpected {
        /// What was wanted.
        what: String,
        /// What there was.
        found: String,
    },
    /// Something did not happen in time.
    #[error("waited {} ms in vain until {what}", deadline.as_millis())]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        deadline: Duration,
    },
    /// A long-running program ended or never came up.
    #[error("{program} did not come up; its log, {}, ends: {end}", log.display())]
    NotUp {
        /// Its name.
        program: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        end: String,
    },
}

impl Trouble {
    /// For `map_err`: what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |err| Self::Io { what, err }
    }
}
