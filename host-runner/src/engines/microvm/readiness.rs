//! Whether microVMs can run on this machine, and what is missing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use api::HardwareVirtualization;

/// The monitor's program: beside the agent's own, or on the `PATH`.
pub const MONITOR: &str = "microvm";
/// The program that is each guest's network, found on the `PATH`.
pub const PASST: &str = "passt";

/// What a microVM is run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The monitor.
    pub monitor: PathBuf,
    /// Its guest's network.
    pub passt: PathBuf,
}

/// Why no microVM can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// The CPU does not run guests.
    #[error("{reason}")]
    Hardware {
        /// What stands in the way.
        reason: String,
    },
    /// The monitor is not made for this CPU.
    #[error("the microVM monitor runs on x86-64 only")]
    Architecture,
    /// The monitor's program is not there.
    #[error("the program microvm is neither beside host-runner nor on the PATH")]
    Monitor,
    /// The guests' network is not there.
    #[error("passt is not installed")]
    Passt,
    /// There is no firmware in a microVM that would look for a boot loader.
    #[error("the image has no kernel, and starts from the boot loader on its disk")]
    Kernel,
}

impl Lack {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Hardware { .. } => "let QEMU run it: ask for the engine auto",
            Self::Architecture => "let QEMU run it",
            Self::Monitor => "put the program microvm beside host-runner (`cargo build -p microvm`)",
            Self::Kernel => "let QEMU run it, or import the image with its --kernel",
            Self::Passt => "install it: `sudo apt-get install passt`",
        }
    }
}

/// What microVMs are run with here; else the first thing that is missing.
pub fn readiness(hardware: &HardwareVirtualization) -> Result<Programs, Lack> {
    if hardware.available {
        return installed();
    }
    Err(Lack::Hardware {
        reason: hardware.reason.clone(),
    })
}

/// The programs on this machine, whatever its CPU can do.
pub fn installed() -> Result<Programs, Lack> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(Lack::Architecture);
    }
    // The program of an agent that was replaced while it runs reads as deleted; its folder is still right.
    let own = std::env::current_exe().ok();
    let path = std::env::var_os("PATH").unwrap_or_default();
    programs(own.as_deref().and_then(Path::parent), &path)
}

fn programs(own_folder: Option<&Path>, path: &OsStr) -> Result<Programs, Lack> {
    let beside = own_folder
        .map(|folder| folder.join(MONITOR))
        .filter(|file| is_program(file));
    Ok(Programs {
        monitor: beside.or_else(|| on_path(MONITOR, path)).ok_or(Lack::Monitor)?,
        passt: on_path(PASST, path).ok_or(Lack::Passt)?,
    })
}

fn on_path(program: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        // An empty or relative entry means wherever the agent happens to be started.
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn put(folder: &Path, name: &str) {
        let file = folder.join(name);
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn the_monitor_beside_the_agent_comes_before_that_on_the_path() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(other.path(), PASST);
        put(other.path(), MONITOR);
        let path = other.path().as_os_str();
        let found = programs(Some(own.path()), path).unwrap();
        assert_eq!(found.monitor, other.path().join(MONITOR));
        put(own.path(), MONITOR);
        let found = programs(Some(own.path()), path).unwrap();
        assert_eq!(found.monitor, own.path().join(MONITOR));
        assert_eq!(found.passt, other.path().join(PASST));
    }

    #[test]
    fn what_is_missing_is_named() {
        let own = tempfile::tempdir().unwrap();
        assert_eq!(programs(Some(own.path()), OsStr::new("")), Err(Lack::Monitor));
        put(own.path(), MONITOR);
        assert_eq!(programs(Some(own.path()), OsStr::new("")), Err(Lack::Passt));
        let without = HardwareVirtualization {
            available: false,
            reason: "no vmx or svm".into(),
        };
        assert_eq!(readiness(&without).unwrap_err().to_string(), "no vmx or svm");
    }

    #[test]
    fn a_file_that_cannot_be_run_is_no_program() {
        let own = tempfile::tempdir().unwrap();
        std::fs::write(own.path().join(MONITOR), "").unwrap();
        assert_eq!(programs(Some(own.path()), OsStr::new("")), Err(Lack::Monitor));
    }
}
