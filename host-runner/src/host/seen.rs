//! Looking at the machine: everything that the findings of `doctor` rest on, read once.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use api::{ImageState, Mib};

use super::error::read_text;
use super::facts::{HostProbeSettings, cpu};
use super::proc::{Cpu, has_group, qemu_version};
use super::sampler::disk;
use crate::engines::guest_user;
use crate::engines::limits::Limits;
use crate::engines::microvm::{Lack, Programs, installed};
use crate::images::{ImageStore, tiny};

const VERSION_DEADLINE: Duration = Duration::from_secs(10);

/// The QEMU program that runs guests of this machine's own architecture.
pub fn qemu_program() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "qemu-system-aarch64",
        _ => "qemu-system-x86_64",
    }
}

/// Whether `/dev/kvm` can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KvmDevice {
    Opens,
    Absent,
    Denied,
    Fails(String),
}

/// Whether a program is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProgramFound {
    Absent,
    /// It does not run, in the system's words.
    Fails(String),
    Version(u32, u32),
}

/// Whether a folder takes files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FolderFound {
    pub(super) path: PathBuf,
    /// Why nothing can be written there.
    pub(super) refusal: Option<String>,
    /// The room on its file system; `None` where it cannot be measured.
    pub(super) available: Option<Mib>,
}

/// The state of the image of Tiny Linux.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TinyFound {
    Ready,
    Absent,
    Corrupt(String),
}

/// Whether an SSH server lets a desktop reach the agent's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SshDoor {
    NoServer,
    /// It forwards to sockets, or its configuration may not be read.
    Open,
    /// Its configuration forbids forwarding to sockets.
    StreamsForbidden,
}

/// Everything that was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) cpu: Cpu,
    pub(super) arch: &'static str,
    pub(super) kvm: KvmDevice,
    pub(super) qemu: ProgramFound,
    /// What microVMs are run with, whatever the CPU can do.
    pub(super) microvm: Result<Programs, Lack>,
    pub(super) state: FolderFound,
    pub(super) runtime: FolderFound,
    pub(super) tiny: TinyFound,
    pub(super) ssh: SshDoor,
    pub(super) privileged: bool,
    pub(super) group: bool,
    /// What limits guests.
    pub(super) limits: Limits,
    /// Whether there is a user without rights for QEMU to become.
    pub(super) guest_user: bool,
}

impl Seen {
    pub(super) async fn look(settings: &HostProbeSettings, images: &ImageStore) -> Self {
        let (qemu, tiny) = tokio::join!(version(qemu_program()), tiny_image(images));
        Self {
            cpu: cpu(),
            arch: std::env::consts::ARCH,
            kvm: kvm_device(),
            qemu,
            microvm: installed(),
            state: folder(&settings.state_dir),
            runtime: folder(&settings.runtime_dir),
            tiny,
            ssh: ssh_door(),
            limits: Limits::look(),
            privileged: rustix::process::geteuid().is_root(),
            guest_user: guest_user().is_some(),
            group: read_text(Path::new("/etc/group")).is_ok_and(|text| has_group(&text, "millpond")),
        }
    }
}

fn kvm_device() -> KvmDevice {
    match File::options().read(true).write(true).open("/dev/kvm") {
        Ok(_) => KvmDevice::Opens,
        Err(err) => match err.kind() {
            io::ErrorKind::NotFound => KvmDevice::Absent,
            io::ErrorKind::PermissionDenied => KvmDevice::Denied,
            _ => KvmDevice::Fails(err.to_string()),
        },
    }
}

async fn version(program: &str) -> ProgramFound {
    let command = tokio::process::Command::new(program)
        .arg("--version")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(VERSION_DEADLINE, command).await {
        Err(_) => ProgramFound::Fails(format!(
            "it did not tell its version within {} s",
            VERSION_DEADLINE.as_secs()
        )),
        Ok(Err(err)) if err.kind() == io::ErrorKind::NotFound => ProgramFound::Absent,
        Ok(Err(err)) => ProgramFound::Fails(err.to_string()),
        Ok(Ok(output)) => match qemu_version(&String::from_utf8_lossy(&output.stdout)) {
            Some((major, minor)) if output.status.success() => ProgramFound::Version(major, minor),
            _ => ProgramFound::Fails(format!("`{program} --version` ended with {}", output.status)),
        },
    }
}

async fn tiny_image(images: &ImageStore) -> TinyFound {
    match images.list().await {
        Ok(images) => match images.into_iter().find(|image| image.name == tiny::NAME) {
            None => TinyFound::Absent,
            Some(image) if image.state == ImageState::Ready => TinyFound::Ready,
            Some(image) => TinyFound::Corrupt(image.problem.unwrap_or_default()),
        },
        Err(err) => TinyFound::Corrupt(err.to_string()),
    }
}

/// Tries to write below the folder, or below its nearest parent that is there; leaves nothing behind.
fn folder(path: &Path) -> FolderFound {
    let nearest = path.ancestors().find(|folder| folder.exists()).unwrap_or(path);
    let refusal = match fs::metadata(nearest) {
        Ok(metadata) if !metadata.is_dir() => Some(format!("{} is not a folder", nearest.display())),
        Ok(_) => tempfile::tempfile_in(nearest).err().map(|err| err.to_string()),
        Err(err) => Some(err.to_string()),
    };
    FolderFound {
        path: path.to_owned(),
        refusal,
        available: disk(nearest).ok().map(|disk| disk.available),
    }
}

fn ssh_door() -> SshDoor {
    let programs = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];
    if !programs.iter().any(|path| Path::new(path).exists()) {
        return SshDoor::NoServer;
    }
    // The server itself could be asked only by root. Of several settings of a word the first counts, and distributions
    // include the folder at the top of the file.
    let mut files: Vec<PathBuf> = fs::read_dir("/etc/ssh/sshd_config.d")
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    files.push(PathBuf::from("/etc/ssh/sshd_config"));
    let text: Vec<String> = files.iter().filter_map(|path| read_text(path).ok()).collect();
    if streams_forbidden(&text.join("\n")) {
        SshDoor::StreamsForbidden
    } else {
        SshDoor::Open
    }
}

/// Whether the part of an sshd configuration that is for everyone forbids forwarding to sockets.
fn streams_forbidden(config: &str) -> bool {
    let first = |word: &str| {
        config
            .lines()
            .map(|line| line.trim().replace('=', " ").to_ascii_lowercase())
            // What follows is for some users or addresses only.
            .take_while(|line| !line.starts_with("match "))
            .find_map(|line| {
                let (name, value) = line.split_once(char::is_whitespace)?;
                (name == word).then(|| value.trim().trim_matches('"').to_owned())
            })
    };
    first("disableforwarding").is_some_and(|value| value == "yes")
        || first("allowstreamlocalforwarding").is_some_and(|value| value == "no" || value == "remote")
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_first_setting_of_the_ssh_server_counts() {
        assert!(!streams_forbidden(""));
        assert!(streams_forbidden("AllowStreamLocalForwarding no"));
        assert!(streams_forbidden("  allowstreamlocalforwarding=remote\n"));
        assert!(streams_forbidden("DisableForwarding yes"));
        assert!(!streams_forbidden("#AllowStreamLocalForwarding no"));
        assert!(!streams_forbidden(
            "AllowStreamLocalForwarding yes\nAllowStreamLocalForwarding no"
        ));
        assert!(!streams_forbidden(
            "Match User bob\nAllowStreamLocalForwarding no"
        ));
    }

    #[test]
    fn looking_at_a_folder_leaves_nothing_behind() {
        let root = TempDir::new().unwrap();
        let found = folder(&root.path().join("a/b"));
        assert_eq!(found.refusal, None);
        assert!(found.available.is_some());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_place_of_a_folder_is_told() {
        let root = TempDir::new().unwrap();
        let file = root.path().join("state");
        fs::write(&file, "x").unwrap();
        assert!(folder(&file).refusal.unwrap().contains("is not a folder"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_absent() {
        assert_eq!(version("no-such-program-here").await, ProgramFound::Absent);
        assert!(matches!(version("false").await, ProgramFound::Fails(_)));
    }
}
