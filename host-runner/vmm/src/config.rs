//! What a machine is made of: the document that `microvm run` is given.
//!
//! Trusted: it comes from who starts the process. It is checked for sense, with errors that name the field.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::devices::virtio::net::PAIRS_MAX;
use crate::memory::Backing;

/// The most vCPUs of a machine.
pub const VCPUS_MAX: u8 = 64;
/// The most disks of a machine.
pub const DISKS_MAX: usize = 6;
/// The most network interfaces of a machine.
pub const NETWORKS_MAX: usize = 4;

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineConfig {
    /// Whose it is: who finds the process asks for this. Free text, at most 64 characters.
    pub id: String,
    /// The processors.
    pub cpus: CpusConfig,
    /// The memory.
    pub memory: MemoryConfig,
    /// What it boots.
    pub boot: BootConfig,
    /// Its disks, in the order in which the guest finds them (`vda`, `vdb` …).
    #[serde(default)]
    pub disks: Vec<DiskConfig>,
    /// Its network interfaces, in the order in which the guest finds them.
    #[serde(default)]
    pub networks: Vec<NetworkConfig>,
    /// Where the serial console listens, a Unix socket. Without it, the console goes to standard output.
    #[serde(default)]
    pub serial_socket: Option<PathBuf>,
    /// Where the virtio console (`hvc0`) listens, a Unix socket; without it there is none.
    #[serde(default)]
    pub console_socket: Option<PathBuf>,
    /// A socket between guest and host; without it there is none.
    #[serde(default)]
    pub vsock: Option<VsockConfig>,
    /// A balloon: memory that the guest gives back.
    #[serde(default)]
    pub balloon: Option<BalloonConfig>,
    /// A source of randomness for the guest.
    #[serde(default = "yes")]
    pub entropy: bool,
    /// Where the control API listens, a Unix socket; without it there is none.
    #[serde(default)]
    pub api_socket: Option<PathBuf>,
    /// Where the machine's end is written, as JSON, for who was not there to see the process end.
    #[serde(default)]
    pub ending_file: Option<PathBuf>,
    /// Where snapshots are written, each in a folder of its own; without it there are none.
    #[serde(default)]
    pub snapshot_directory: Option<PathBuf>,
    /// Goes on where a snapshot was taken, instead of booting: the folders of a full snapshot and of the increments that follow it, in
    /// order. The machine must be of the same shape as the one that was saved; files may lie elsewhere.
    #[serde(default)]
    pub restore: Vec<PathBuf>,
    /// Of a machine that goes on from a snapshot: notes from the start on which pages are written, so that an increment can add to that
    /// snapshot. It costs: each page of 4 KiB is a fault of its own when it is first written, and huge pages are split. Without it, and in
    /// a machine that boots, pages are noted from the first full snapshot on.
    #[serde(default)]
    pub log_writes: bool,
    /// The machine waits, with no vCPU running, for `resume`.
    #[serde(default)]
    pub paused: bool,
}

/// The processors of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpusConfig {
    /// How many vCPUs, 1 to [`VCPUS_MAX`].
    pub count: u8,
    /// What they can do.
    #[serde(default)]
    pub model: CpuModel,
}

/// What a vCPU can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CpuModel {
    /// All that this machine's KVM offers. A snapshot goes on where there is at least as much.
    #[default]
    Host,
    /// What each of several machines offers, so that a snapshot can go on at any of them: what `microvm cpu-pool` prints of the files that
    /// `microvm cpu-features` printed on each. [`cpu`](crate::cpu) has the whole.
    Pool(crate::cpu::FeatureWords),
}

/// The memory of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// How much, in MiB.
    pub size_mib: u32,
    /// Whether it lies in huge pages of 2 MiB, which the machine must have reserved. All of them are taken when the guest is started, which
    /// fails where there are too few; none is given back before its end, by a balloon neither.
    #[serde(default)]
    pub huge_pages: bool,
    /// Whether another process will share it: it then lies in a memory file. Otherwise it is the monitor's own, in huge pages where the
    /// kernel has some to give.
    #[serde(default)]
    pub shared: bool,
}

impl MemoryConfig {
    /// What it is to be.
    pub fn backing(&self) -> Backing {
        match (self.huge_pages, self.shared) {
            (true, _) => Backing::Reserved,
            (false, true) => Backing::Shared,
            (false, false) => Backing::Private,
        }
    }
}

/// What a machine boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootConfig {
    /// The kernel: a bzImage, or an ELF vmlinux with a PVH entry.
    pub kernel: PathBuf,
    /// The initial RAM file system.
    #[serde(default)]
    pub initrd: Option<PathBuf>,
    /// The kernel's command line, at most 2047 bytes.
    #[serde(default)]
    pub command_line: String,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskConfig {
    /// Its name in the API: letters, digits, `-` and `_`, at most 20; also its serial number (`/dev/disk/by-id/virtio-ID`).
    pub id: String,
    /// The file, or a block device.
    pub path: PathBuf,
    /// Its format.
    #[serde(default)]
    pub format: DiskFormat,
    /// Whether the guest may only read.
    #[serde(default)]
    pub read_only: bool,
    /// Whether the host's page cache is bypassed (`O_DIRECT`).
    #[serde(default)]
    pub direct: bool,
    /// How much the guest may do.
    #[serde(default)]
    pub limit: RateLimits,
}

/// The format of a disk's file. Never guessed: a guest that writes a header into its raw disk must not gain another file by it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    /// The bytes themselves.
    #[default]
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3, with backing files.
    Qcow2,
}

/// Limits of a disk or a network interface; what is absent is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimits {
    /// Bytes.
    #[serde(default)]
    pub bytes: Option<BucketConfig>,
    /// Requests of a disk, frames of a network interface.
    #[serde(default)]
    pub operations: Option<BucketConfig>,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// Tokens a second, in the long run.
    pub per_second: u64,
    /// Tokens that can be taken at once after a pause.
    pub burst: u64,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Its name in the API, as a disk's.
    pub id: String,
    /// Its hardware address, as `52:54:00:12:34:56`.
    pub mac: String,
    /// What it is connected to.
    pub backend: NetworkBackend,
    /// How much the guest may send, and how much it receives.
    #[serde(default)]
    pub limit: RateLimits,
}

/// What a network interface is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkBackend {
    /// A tap interface of the host.
    Tap {
        /// Its name.
        name: String,
        /// Whether the kernel moves the frames (vhost-net) where it can.
        #[serde(default = "yes")]
        vhost: bool,
        /// How many queue pairs the guest may use at most, 1 to [`PAIRS_MAX`]. Without it, one for each vCPU, as far as that goes. A tap
        /// that was not made with `multi_queue` has one pair, whatever is said here.
        #[serde(default)]
        queue_pairs: Option<u8>,
    },
    /// A Unix stream socket that carries each frame behind its length (four bytes, big-endian), as passt and QEMU's `-netdev stream` do.
    /// It is one way for all frames: the guest has one queue pair.
    Stream {
        /// The socket, which the other side listens on.
        path: PathBuf,
    },
}

/// A socket between guest and host (virtio 1.2, 5.10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VsockConfig {
    /// The guest's address, from 3.
    pub cid: u32,
    /// Host side. Who connects writes `CONNECT PORT\n` and reads `OK PORT\n`; a guest that connects to port P of the host reaches
    /// `PATH_P`.
    pub path: PathBuf,
}

/// A balloon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonConfig {
    /// How much memory the guest is to give back from the start, in MiB.
    #[serde(default)]
    pub size_mib: u32,
}

fn yes() -> bool {
    true
}

/// What is wrong with a machine's configuration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{field}: {reason}")]
pub struct ConfigError {
    /// The field, as `disks[1].id`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl MachineConfig {
    /// Whether the document makes sense; the files that it names are looked at later.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse = |field: String, reason: String| Err(ConfigError { field, reason });
        if self.id.chars().count() > 64 || self.id.chars().any(char::is_control) {
            return refuse(
                "id".into(),
                "at most 64 characters, none of them a control character".into(),
            );
        }
        if !(1..=VCPUS_MAX).contains(&self.cpus.count) {
            return refuse(
                "cpus.count".into(),
                format!("1 to {VCPUS_MAX} vCPUs, not {}", self.cpus.count),
            );
        }
        if self.disks.len() > DISKS_MAX {
            return refuse(
                "disks".into(),
                format!("at most {DISKS_MAX}, not {}", self.disks.len()),
            );
        }
        if self.networks.len() > NETWORKS_MAX {
            return refuse(
                "networks".into(),
                format!("at most {NETWORKS_MAX}, not {}", self.networks.len()),
            );
        }
        for (at, network) in self.networks.iter().enumerate() {
            if let NetworkBackend::Tap {
                queue_pairs: Some(pairs),
                ..
            } = network.backend
                && !(1..=PAIRS_MAX).contains(&pairs.into())
            {
                return refuse(
                    format!("networks[{at}].backend.tap.queue_pairs"),
                    format!("1 to {PAIRS_MAX} pairs, not {pairs}"),
                );
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        let disks = self
            .disks
            .iter()
            .enumerate()
            .map(|(at, disk)| (format!("disks[{at}].id"), &disk.id));
        let networks = (self.networks.iter().enumerate())
            .map(|(at, network)| (format!("networks[{at}].id"), &network.id));
        for (field, id) in disks.chain(networks) {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if id.is_empty() || id.len() > 20 || !id.chars().all(plain) {
                return refuse(field, "1 to 20 letters, digits, - or _".into());
            }
            if !seen.insert(id) {
                return refuse(field, format!("{id} is there twice"));
            }
        }
        if let Some(vsock) = &self.vsock
            && (vsock.cid < 3 || vsock.cid == u32::MAX)
        {
            return refuse(
                "vsock.cid".into(),
                "3 or more; 0 to 2 have meanings of their own".into(),
            );
        }
        if let Some(balloon) = &self.balloon
            && balloon.size_mib >= self.memory.size_mib
        {
            return refuse("balloon.size_mib".into(), "less than the machine's memory".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_tap(more: &str) -> Result<MachineConfig, serde_json::Error> {
        serde_json::from_str(&format!(
            r#"{{"id": "m", "cpus": {{"count": 4}}, "memory": {{"size_mib": 64}}, "boot": {{"kernel": "/k"}}, "networks":
                [{{"id": "net", "mac": "52:54:00:12:34:56", "backend": {{"tap": {{"name": "tap0"{more}}}}}}}]}}"#
        ))
    }

    #[test]
    fn an_interface_has_queue_pairs_as_far_as_there_can_be() {
        assert_eq!(with_tap("").unwrap().check(), Ok(()));
        for pairs in [1, 8] {
            let config = with_tap(&format!(r#", "queue_pairs": {pairs}"#)).unwrap();
            assert_eq!(config.check(), Ok(()));
        }
        for pairs in [0, 9, 255] {
            let config = with_tap(&format!(r#", "queue_pairs": {pairs}"#)).unwrap();
            assert_eq!(
                config.check().unwrap_err().to_string(),
                format!("networks[0].backend.tap.queue_pairs: 1 to 8 pairs, not {pairs}")
            );
        }
        assert!(with_tap(r#", "queue_pairs": 256"#).is_err());
    }
}
