//! What this machine is.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use api::{API_VERSION, Capability, CapabilityState, EngineKind, EngineRequest, HostFacts, Mib, NetworkMode};
use uuid::Uuid;

use super::HostError;
use super::checks::{MICROVM, QEMU, capabilities};
use super::error::read_text;
use super::proc::{Cpu, Memory, os_name, printable};
use super::seen::Seen;
use crate::admission::Overheads;
use crate::images::ImageStore;

/// Memory that is always kept for the machine itself.
const KEPT_MIN: Mib = Mib(512);

/// Where to look, and what was asked for.
#[derive(Debug, Clone)]
pub struct HostProbeSettings {
    /// The agent's state folder; the host id is kept in `STATE/host-id`.
    pub state_dir: PathBuf,
    /// The folder that holds the guests' runtime folders and the agent's socket.
    pub runtime_dir: PathBuf,
    /// The cap of `--offer-memory`; `None` offers all but what is kept for the machine.
    pub offer_memory: Option<Mib>,
}

/// Looks at this machine.
#[derive(Debug, Clone)]
pub struct HostProbe {
    settings: HostProbeSettings,
}

impl HostProbe {
    /// A probe that will look where `settings` say. Reads nothing yet.
    pub fn new(settings: HostProbeSettings) -> Self {
        Self { settings }
    }

    /// Everything about this machine; makes and keeps the host id at the first call.
    ///
    /// # Errors
    /// `Io` or `Unreadable` for the host id and for what the kernel must tell (memory, its release).
    pub async fn facts(&self, images: &ImageStore) -> Result<HostFacts, HostError> {
        let id = host_id(&self.settings.state_dir)?;
        let seen = Seen::look(&self.settings, images).await;
        let capabilities = capabilities(&seen);
        let engines = engines(&capabilities);
        let meminfo = Path::new("/proc/meminfo");
        let memory = Memory::parse(&read_text(meminfo)?).ok_or_else(|| HostError::Unreadable {
            path: meminfo.to_owned(),
            expected: "memory counters",
        })?;
        let memory_total = Mib::floor_from_bytes(memory.total_kib.saturating_mul(1_024));
        let word = |path: &str| read_text(Path::new(path)).map(|text| printable(text.trim()));
        let memory_offered_mib = memory_offered(memory_total, self.settings.offer_memory);
        let hardware_virtualization = seen.hardware_virtualization();
        Ok(HostFacts {
            id,
            hostname: word("/proc/sys/kernel/hostname")?,
            os: operating_system(),
            kernel: word("/proc/sys/kernel/osrelease")?,
            arch: std::env::consts::ARCH.to_owned(),
            cpu_model: seen.cpu.model.clone(),
            threads: threads(),
            memory_total_mib: memory_total,
            memory_offered_mib,
            instance_overhead_mib: if memory_offered_mib == memory_usable(memory_total) {
                Overheads::of(&engines, hardware_virtualization.available).asked(EngineRequest::Auto)
            } else {
                Mib::ZERO
            },
            hardware_virtualization,
            engines,
            network: NetworkMode::User,
            privileged: seen.privileged,
            capabilities,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            api_version: API_VERSION.to_owned(),
        })
    }

    /// What this machine can do and lacks, each with the remedy. Changes nothing.
    pub async fn doctor(&self, images: &ImageStore) -> Vec<Capability> {
        capabilities(&Seen::look(&self.settings, images).await)
    }
}

/// The engines that work, the one that is preferred first.
fn engines(capabilities: &[Capability]) -> Vec<EngineKind> {
    let state = |name| {
        capabilities
            .iter()
            .find(|found| found.name == name)
            .map(|found| found.state)
    };
    let microvm = (state(MICROVM) == Some(CapabilityState::Ok)).then_some(EngineKind::Microvm);
    let qemu = (state(QEMU) != Some(CapabilityState::Missing)).then_some(EngineKind::Qemu);
    microvm.into_iter().chain(qemu).collect()
}

/// What guests and their engines may have of `total`: all but what the machine keeps for itself, 512 MiB or a tenth, whichever is more.
pub fn memory_usable(total: Mib) -> Mib {
    total.saturating_sub(KEPT_MIN.max(Mib(total.0 / 10)))
}

/// What is left of `total` for instances, and at most the cap.
fn memory_offered(total: Mib, cap: Option<Mib>) -> Mib {
    let usable = memory_usable(total);
    cap.map_or(usable, |cap| cap.min(usable))
}

fn threads() -> u32 {
    std::thread::available_parallelism().map_or(1, |threads| u32::try_from(threads.get()).unwrap_or(u32::MAX))
}

fn operating_system() -> String {
    ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| os_name(&read_text(Path::new(path)).ok()?))
        .unwrap_or_else(|| "Linux".to_owned())
}

/// Of the first CPU; unknown where the kernel does not tell.
pub(super) fn cpu() -> Cpu {
    read_text(Path::new("/proc/cpuinfo"))
        .map(|text| Cpu::parse(&text))
        .unwrap_or_default()
}

/// The machine's identity: read, or made and kept.
fn host_id(state_dir: &Path) -> Result<Uuid, HostError> {
    let path = state_dir.join("host-id");
    if let Some(id) = read_host_id(&path)? {
        return Ok(id);
    }
    let failed = |operation| {
        let path = path.clone();
        move |err| HostError::Io { operation, path, err }
    };
    fs::create_dir_all(state_dir).map_err(failed("make the folder of"))?;
    let mut staged = tempfile::NamedTempFile::new_in(state_dir).map_err(failed("create"))?;
    let id = Uuid::now_v7();
    writeln!(staged, "{id}")
        .and_then(|()| staged.as_file().sync_all())
        .map_err(failed("write"))?;
    match staged.persist_noclobber(&path) {
        Ok(_) => Ok(id),
        // Another process of this machine was first; its id is the machine's.
        Err(err) if err.error.kind() == io::ErrorKind::AlreadyExists => {
            read_host_id(&path)?.ok_or(HostError::Unreadable {
                path,
                expected: "the machine's id",
            })
        }
        Err(err) => Err(failed("create")(err.error)),
    }
}

fn read_host_id(path: &Path) -> Result<Option<Uuid>, HostError> {
    match read_text(path) {
        // A damaged id is not replaced: desktops know the machine by it.
        Ok(text) => match Uuid::parse_str(text.trim()) {
            Ok(id) => Ok(Some(id)),
            Err(_) => Err(HostError::Unreadable {
                path: path.to_owned(),
                expected: "the machine's id, a UUID; remove it to give the machine a new one",
            }),
        },
        Err(HostError::Io { err, .. }) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_tenth_or_half_a_gib_is_kept_for_the_machine() {
        assert_eq!(memory_offered(Mib(2_048), None), Mib(1_536));
        assert_eq!(memory_offered(Mib(20_480), None), Mib(18_432));
        assert_eq!(memory_offered(Mib(256), None), Mib::ZERO);
    }

    #[test]
    fn an_offer_caps_but_never_exceeds_what_is_left() {
        assert_eq!(memory_offered(Mib(2_048), Some(Mib(300))), Mib(300));
        assert_eq!(memory_offered(Mib(2_048), Some(Mib(9_999))), Mib(1_536));
    }

    #[test]
    fn the_host_id_is_kept() {
        let state = TempDir::new().unwrap();
        let folder = state.path().join("not/yet/there");
        let first = host_id(&folder).unwrap();
        assert_eq!(host_id(&folder).unwrap(), first);
    }

    #[test]
    fn a_damaged_host_id_is_told_and_left() {
        let state = TempDir::new().unwrap();
        let path = state.path().join("host-id");
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(host_id(state.path()), Err(HostError::Unreadable { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "nonsense");
    }

    #[tokio::test]
    async fn this_machine_can_be_described() {
        let state = TempDir::new().unwrap();
        let images = ImageStore::open(state.path()).unwrap();
        let probe = HostProbe::new(HostProbeSettings {
            state_dir: state.path().to_owned(),
            runtime_dir: state.path().join("run"),
            offer_memory: Some(Mib(64)),
        });
        let facts = probe.facts(&images).await.unwrap();
        assert!(!facts.hostname.is_empty() && facts.threads > 0);
        assert!(facts.memory_offered_mib <= Mib(64) && facts.memory_total_mib > Mib(64));
        assert_eq!(facts.capabilities, probe.doctor(&images).await);
        // The agent decides by the capability, and the facts by the same one.
        assert_eq!(facts.engines, engines(&facts.capabilities));
    }

    #[test]
    fn an_engine_works_where_its_finding_says_so_and_the_monitor_is_preferred() {
        let finding = |name: &str, state| Capability {
            name: name.to_owned(),
            state,
            finding: String::new(),
            remedy: None,
        };
        let of = |qemu, microvm| engines(&[finding(QEMU, qemu), finding(MICROVM, microvm)]);
        let (ok, limited, missing) = (
            CapabilityState::Ok,
            CapabilityState::Limited,
            CapabilityState::Missing,
        );
        assert_eq!(of(ok, ok), [EngineKind::Microvm, EngineKind::Qemu]);
        assert_eq!(of(missing, ok), [EngineKind::Microvm]);
        assert_eq!(of(limited, limited), [EngineKind::Qemu]);
        assert_eq!(of(missing, limited), []);
    }
}
