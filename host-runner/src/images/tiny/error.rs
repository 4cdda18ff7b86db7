//! Why Tiny Linux cannot be made, each with what to do about it.

use std::io;
use std::path::PathBuf;

use crate::images::ImageError;

/// Why Tiny Linux could not be made. Nothing of the attempt is left behind, and an older image stays in place.
#[derive(Debug, thiserror::Error)]
pub enum BuildTinyError {
    /// A program that the build needs is not installed.
    #[error("the program `{program}` is not installed")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A program could not be started, for another reason than that it is missing.
    #[error("cannot run `{program}`")]
    Run {
        /// Its name.
        program: String,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed: {said}")]
    Failed {
        /// The program and its arguments.
        command: String,
        /// The end of what it wrote to its standard error.
        said: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A program did not end in time.
    #[error("`{command}` did not end within {deadline_s} s")]
    TimedOut {
        /// The program and its arguments.
        command: String,
        /// The deadline in seconds.
        deadline_s: u64,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The distribution offers no kernel package that is known here.
    #[error("apt knows none of the kernel packages {tried:?}")]
    NoKernelPackage {
        /// The names that were asked for.
        tried: Vec<String>,
    },
    /// The downloaded packages hold no kernel.
    #[error("the packages {packages:?} hold no {missing}")]
    IncompletePackages {
        /// The packages.
        packages: Vec<String>,
        /// What was looked for.
        missing: &'static str,
    },
    /// The kernel's packages lack a module, and it is not built in.
    #[error("the kernel {kernel} has no module {module}")]
    NoModule {
        /// The kernel's release.
        kernel: String,
        /// The module's name.
        module: String,
    },
    /// `BusyBox` lacks a part that the guest needs.
    #[error("the busybox at {} lacks {missing:?}", path.display())]
    WeakBusybox {
        /// The program.
        path: PathBuf,
        /// The applets that it lacks.
        missing: Vec<&'static str>,
    },
    /// A file of the build could not be read or written.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// The image could not be published.
    #[error(transparent)]
    Store(#[from] ImageError),
    /// The process is ending.
    #[error("the build was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}

impl BuildTinyError {
    pub(super) fn io(operation: &'static str, path: impl Into<PathBuf>, err: io::Error) -> Self {
        let path = path.into();
        match err.kind() {
            // One variant for a full disk, whoever meets it.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Store(ImageError::DiskFull { path, err })
            }
            _ => Self::Io { operation, path, err },
        }
    }

    /// What to do about it, in words; `None` where nothing sensible can be advised.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::NoProgram { remedy, .. } | Self::Failed { remedy, .. } | Self::TimedOut { remedy, .. } => {
                Some(remedy)
            }
            Self::NoKernelPackage { .. } => Some(
                "refresh apt's lists with `sudo apt-get update`; Tiny Linux is made from the packages of Debian and Ubuntu",
            ),
            Self::IncompletePackages { .. } | Self::NoModule { .. } => {
                Some("bring the machine's package lists up to date with `sudo apt-get update` and try again")
            }
            Self::WeakBusybox { .. } => {
                Some("install the distribution's own with `sudo apt-get install busybox-static`")
            }
            Self::Store(ImageError::DiskFull { .. }) => Some("free about 250 MB on that disk and try again"),
            Self::Store(ImageError::Busy) => Some("wait for the other build"),
            Self::Io { .. } | Self::Run { .. } | Self::Store(_) | Self::Interrupted(_) => None,
        }
    }
}
