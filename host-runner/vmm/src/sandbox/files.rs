//! Landlock: files, network ports and other processes, out of reach whatever the user may do.
//!
//! What is open stays open. It counts for the calling thread and those that it starts.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::fs::{Mode, OFlags};

use super::SandboxError;
use crate::config::{MachineConfig, NetworkBackend};

/// The newest that is known here; what a kernel does not have of it, it does not forbid.
const NEWEST: ABI = ABI::V10;

/// Takes all files away but those that the configuration names for later. `false` where the kernel has no Landlock.
pub fn restrict(config: &MachineConfig) -> Result<bool, SandboxError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for (path, access) in within_reach(config) {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty()).map_err(|err| SandboxError::Folder {
            path,
            err: err.into(),
        })?;
        rules = rules.add_rule(PathBeneath::new(folder, access))?;
    }
    Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// The folders that a configuration names for later, and what may be done below them. Pure.
fn within_reach(config: &MachineConfig) -> Vec<(PathBuf, BitFlags<AccessFs>)> {
    let mut folders = Vec::new();
    if let Some(snapshots) = &config.snapshot_directory {
        let access = AccessFs::ReadFile
            | AccessFs::ReadDir
            | AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir;
        folders.push((snapshots.clone(), access));
    }
    for snapshot in &config.restore {
        folders.push((snapshot.clone(), AccessFs::ReadFile | AccessFs::ReadDir));
    }
    if let Some(vsock) = &config.vsock {
        // Who listens for the guest does so at names beside the socket.
        folders.push((folder_of(&vsock.path), AccessFs::ResolveUnix.into()));
    }
    for network in &config.networks {
        if let NetworkBackend::Stream { path } = &network.backend {
            // The other side may end and come back, and is then connected to again.
            folders.push((folder_of(path), AccessFs::ResolveUnix.into()));
        }
    }
    folders
}
/// The folder that a file is in.
fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
