//! From what was seen to findings: pure, one function for each thing that `doctor` looks at.

use api::{Capability, CapabilityState, HardwareVirtualization, Mib};

use super::limits::limits;
use super::proc::CpuVirtualization;
use super::seen::{FolderFound, KvmDevice, ProgramFound, Seen, SshDoor, TinyFound, qemu_program};

/// The name of the finding that decides whether the QEMU engine works.
pub(super) const QEMU: &str = "qemu";
/// The name of the finding that decides whether the microVM monitor works.
pub(super) const MICROVM: &str = "microvm";

/// The oldest QEMU whose options the agent uses.
const QEMU_MIN: (u32, u32) = (5, 2);
/// Below this a disk fills with the first instance.
const SPACE_COMFORTABLE: Mib = Mib(2_048);
/// A Unix socket's path has at most 107 bytes; below the runtime folder comes `/instances/UUID/console.sock`.
const RUNTIME_PATH_BYTES_MAX: usize = 107 - 60;

/// Everything that `doctor` reports, the most important first.
pub(super) fn capabilities(seen: &Seen) -> Vec<Capability> {
    let mut found = vec![
        qemu(seen),
        hardware_virtualization(seen),
        microvm(seen),
        state_folder(&seen.state),
        runtime_folder(&seen.runtime),
        tiny_linux(&seen.tiny),
        network(),
        limits(&seen.limits, seen.privileged),
        ssh(seen.ssh),
    ];
    if seen.privileged {
        found.push(group(seen.group));
        found.push(guest_user(seen.guest_user));
    }
    found
}

pub(super) fn capability(
    name: &str,
    state: CapabilityState,
    finding: impl Into<String>,
    remedy: Option<&str>,
) -> Capability {
    Capability {
        name: name.to_owned(),
        state,
        finding: finding.into(),
        remedy: remedy.map(str::to_owned),
    }
}

impl Seen {
    /// Whether guests run on the CPU itself, and why not.
    pub(super) fn hardware_virtualization(&self) -> HardwareVirtualization {
        let (available, finding, remedy) = self.virtualization();
        HardwareVirtualization {
            available,
            reason: match remedy {
                Some(remedy) => format!("{finding}; {remedy}"),
                None => finding,
            },
        }
    }

    fn virtualization(&self) -> (bool, String, Option<&'static str>) {
        let cpu = match self.cpu.virtualization {
            Some(CpuVirtualization::Vmx) => "Intel VT-x",
            Some(CpuVirtualization::Svm) => "AMD-V",
            // ARM's CPUs do not show it among their flags: the device is the proof.
            None if self.arch == "aarch64" => "ARM virtualization",
            None => return self.no_virtualization(),
        };
        match &self.kvm {
            KvmDevice::Opens => (true, format!("{cpu} through KVM"), None),
            KvmDevice::Absent => (
                false,
                format!("the CPU has {cpu}, but /dev/kvm is missing"),
                Some("load the module: `sudo modprobe kvm_intel` or `sudo modprobe kvm_amd`"),
            ),
            KvmDevice::Denied => (
                false,
                format!("the CPU has {cpu}, but this user may not open /dev/kvm"),
                Some("join its group, `sudo usermod -aG kvm \"$USER\"`, and log in again"),
            ),
            KvmDevice::Fails(said) => (
                false,
                format!("the CPU has {cpu}, but /dev/kvm does not open: {said}"),
                None,
            ),
        }
    }

    fn no_virtualization(&self) -> (bool, String, Option<&'static str>) {
        let also = match self.kvm {
            KvmDevice::Opens => " (its /dev/kvm interprets guests in software)",
            _ => "",
        };
        let remedy = if self.cpu.is_guest {
            "this machine is a virtual one: switch nested virtualization on in the one that runs it"
        } else {
            "switch virtualization on in the firmware's set-up, where the CPU has it"
        };
        (
            false,
            format!("the CPU shows neither VT-x nor AMD-V{also}; guests are emulated, which is slower"),
            Some(remedy),
        )
    }
}

fn hardware_virtualization(seen: &Seen) -> Capability {
    let (available, finding, remedy) = seen.virtualization();
    let state = if available {
        CapabilityState::Ok
    } else {
        CapabilityState::Limited
    };
    capability("hardware_virtualization", state, finding, remedy)
}

fn qemu(seen: &Seen) -> Capability {
    let program = qemu_program();
    let (state, finding, remedy) = match &seen.qemu {
        ProgramFound::Version(major, minor) if (*major, *minor) >= QEMU_MIN => {
            (CapabilityState::Ok, format!("QEMU {major}.{minor}"), None)
        }
        ProgramFound::Version(major, minor) => (
            CapabilityState::Missing,
            format!("QEMU {major}.{minor} is older than {}.{}", QEMU_MIN.0, QEMU_MIN.1),
            Some("bring the distribution up to date"),
        ),
        ProgramFound::Absent => (
            CapabilityState::Missing,
            format!("`{program}` is not installed, so no instance can run"),
            Some("install it: `sudo apt-get install qemu-system-x86` (on ARM: qemu-system-arm)"),
        ),
        ProgramFound::Fails(said) => (
            CapabilityState::Missing,
            format!("`{program}` does not run: {said}"),
            Some("install it anew: `sudo apt-get install --reinstall qemu-system-x86`"),
        ),
    };
    capability(QEMU, state, finding, remedy)
}

fn microvm(seen: &Seen) -> Capability {
    let (hardware, ..) = seen.virtualization();
    let (state, finding, remedy) = match &seen.microvm {
        _ if !hardware => (
            CapabilityState::Limited,
            "microVMs need hardware virtualization; instances run on QEMU".to_owned(),
            Some("see hardware virtualization, above"),
        ),
        Ok(programs) => (
            CapabilityState::Ok,
            format!(
                "instances run as microVMs, with {} and passt",
                programs.monitor.display()
            ),
            None,
        ),
        Err(lack) => (
            CapabilityState::Limited,
            format!("{lack}; instances run on QEMU"),
            Some(lack.remedy()),
        ),
    };
    capability(MICROVM, state, finding, remedy)
}

fn state_folder(found: &FolderFound) -> Capability {
    let path = found.path.display();
    let (state, finding, remedy) = match (&found.refusal, found.available) {
        (Some(refusal), _) => (
            CapabilityState::Missing,
            format!("nothing can be written to {path}: {refusal}"),
            Some("give this user the folder, or choose another with --state-dir"),
        ),
        (None, Some(available)) if available < SPACE_COMFORTABLE => (
            CapabilityState::Limited,
            format!("{path} has {available} free, which a few instances fill"),
            Some("free some space, or choose another folder with --state-dir"),
        ),
        (None, Some(available)) => (CapabilityState::Ok, format!("{path}, {available} free"), None),
        (None, None) => (
            CapabilityState::Limited,
            format!("{path}, whose free space cannot be measured"),
            None,
        ),
    };
    capability("state_folder", state, finding, remedy)
}

fn runtime_folder(found: &FolderFound) -> Capability {
    let path = found.path.display();
    let (state, finding, remedy) = match &found.refusal {
        Some(refusal) => (
            CapabilityState::Missing,
            format!("nothing can be written to {path}: {refusal}"),
            Some("give this user the folder, or choose another with --runtime-dir"),
        ),
        None if found.path.as_os_str().len() > RUNTIME_PATH_BYTES_MAX => (
            CapabilityState::Missing,
            format!("{path} is too long for the sockets in it (at most {RUNTIME_PATH_BYTES_MAX} bytes)"),
            Some("choose a shorter folder with --runtime-dir"),
        ),
        None => (CapabilityState::Ok, path.to_string(), None),
    };
    capability("runtime_folder", state, finding, remedy)
}

fn tiny_linux(found: &TinyFound) -> Capability {
    const REMEDY: Option<&str> = Some("make it: `host-runner image build-tiny`");
    let (state, finding, remedy) = match found {
        TinyFound::Ready => (CapabilityState::Ok, "the image is ready".to_owned(), None),
        TinyFound::Absent => (
            CapabilityState::Limited,
            "the image is not made yet".to_owned(),
            REMEDY,
        ),
        TinyFound::Corrupt(problem) => (
            CapabilityState::Limited,
            format!("the image is damaged: {problem}"),
            REMEDY,
        ),
    };
    capability("tiny_linux", state, finding, remedy)
}

fn network() -> Capability {
    capability(
        "network",
        CapabilityState::Ok,
        "user-mode network: instances reach out to anywhere, this machine's own 127.0.0.1 included (as 10.0.2.2), and are reached \
         through published ports on 127.0.0.1",
        None,
    )
}

fn ssh(found: SshDoor) -> Capability {
    let (state, finding, remedy) = match found {
        SshDoor::Open => (CapabilityState::Ok, "an SSH server lets desktops in", None),
        SshDoor::StreamsForbidden => (
            CapabilityState::Ok,
            "an SSH server lets desktops in; it forbids socket forwarding, so they use `host-runner connect`",
            None,
        ),
        SshDoor::NoServer => (
            CapabilityState::Limited,
            "no SSH server is installed; only a desktop on this machine can manage it",
            Some("to manage it from elsewhere: `sudo apt-get install openssh-server`"),
        ),
    };
    capability("ssh", state, finding, remedy)
}

fn group(present: bool) -> Capability {
    if present {
        capability(
            "group",
            CapabilityState::Ok,
            "members of the group millpond may manage this machine",
            None,
        )
    } else {
        capability(
            "group",
            CapabilityState::Limited,
            "there is no group millpond; only root may manage this machine",
            Some("make it: `sudo groupadd --system millpond`, then `sudo usermod -aG millpond NAME`"),
        )
    }
}

fn guest_user(present: bool) -> Capability {
    if present {
        capability(
            "guest_user",
            CapabilityState::Ok,
            "each guest's engine runs as the user millpond-guest, without any right of root's",
            None,
        )
    } else {
        capability(
            "guest_user",
            CapabilityState::Limited,
            "there is no user millpond-guest, so each guest's engine runs as root: a guest that breaks out of it is root on this machine",
            Some(
                "make it: `sudo useradd --system --no-create-home --shell /usr/sbin/nologin millpond-guest`, then restart the guests",
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::engines::limits::{Controller, Holder, Limits, Version};
    use crate::engines::microvm::{Lack, Programs};
    use crate::host::proc::Cpu;

    fn seen() -> Seen {
        let folder = |path: &str| FolderFound {
            path: PathBuf::from(path),
            refusal: None,
            available: Some(Mib(10_240)),
        };
        Seen {
            cpu: Cpu {
                virtualization: Some(CpuVirtualization::Svm),
                ..Cpu::default()
            },
            arch: "x86_64",
            kvm: KvmDevice::Opens,
            qemu: ProgramFound::Version(7, 2),
            microvm: Ok(Programs {
                monitor: PathBuf::from("/usr/bin/microvm"),
                passt: PathBuf::from("/usr/bin/passt"),
            }),
            state: folder("/var/lib/host-runner"),
            runtime: folder("/run/host-runner"),
            tiny: TinyFound::Ready,
            ssh: SshDoor::Open,
            limits: Limits::from(vec![Holder {
                version: Version::Two,
                folder: PathBuf::from("/sys/fs/cgroup"),
                controllers: Controller::ALL.to_vec(),
            }]),
            privileged: true,
            group: true,
            guest_user: true,
        }
    }

    fn found(seen: &Seen, name: &str) -> Capability {
        capabilities(seen)
            .into_iter()
            .find(|capability| capability.name == name)
            .unwrap()
    }

    #[test]
    fn a_machine_that_lacks_nothing_needs_no_remedy() {
        for capability in capabilities(&seen()) {
            assert_eq!(
                (capability.state, capability.remedy),
                (CapabilityState::Ok, None),
                "{}",
                capability.name
            );
        }
    }

    #[test]
    fn an_open_kvm_device_alone_is_not_hardware_virtualization() {
        let software = Seen {
            cpu: Cpu {
                is_guest: true,
                ..Cpu::default()
            },
            ..seen()
        };
        let verdict = software.hardware_virtualization();
        assert!(!verdict.available);
        assert!(
            verdict.reason.contains("interprets guests in software")
                && verdict.reason.contains("nested virtualization"),
            "{}",
            verdict.reason
        );
        assert_eq!(
            found(&software, "hardware_virtualization").state,
            CapabilityState::Limited
        );
    }

    #[test]
    fn a_cpu_alone_is_not_hardware_virtualization_either() {
        for (kvm, remedy) in [
            (KvmDevice::Absent, "modprobe"),
            (KvmDevice::Denied, "usermod -aG kvm"),
        ] {
            let verdict = Seen { kvm, ..seen() }.hardware_virtualization();
            assert!(
                !verdict.available && verdict.reason.contains(remedy),
                "{}",
                verdict.reason
            );
        }
        assert!(seen().hardware_virtualization().available);
    }

    #[test]
    fn without_a_recent_qemu_nothing_runs() {
        for qemu in [
            ProgramFound::Absent,
            ProgramFound::Fails("x".to_owned()),
            ProgramFound::Version(4, 2),
        ] {
            let finding = found(&Seen { qemu, ..seen() }, QEMU);
            assert_eq!(finding.state, CapabilityState::Missing);
            assert!(finding.remedy.is_some());
        }
        let newer = Seen {
            qemu: ProgramFound::Version(10, 0),
            ..seen()
        };
        assert_eq!(found(&newer, QEMU).state, CapabilityState::Ok);
    }

    #[test]
    fn what_a_microvm_lacks_is_named_with_its_remedy() {
        for (lack, said, remedy) in [
            (Lack::Monitor, "program microvm", "cargo build -p microvm"),
            (Lack::Passt, "passt is not installed", "apt-get install passt"),
        ] {
            let finding = found(
                &Seen {
                    microvm: Err(lack),
                    ..seen()
                },
                MICROVM,
            );
            assert_eq!(finding.state, CapabilityState::Limited);
            assert!(finding.finding.contains(said), "{}", finding.finding);
            assert!(finding.remedy.unwrap().contains(remedy));
        }
        let without = found(
            &Seen {
                cpu: Cpu::default(),
                ..seen()
            },
            MICROVM,
        );
        assert!(
            without.finding.contains("hardware virtualization"),
            "{}",
            without.finding
        );
    }

    #[test]
    fn everything_that_is_missing_has_a_remedy() {
        let refused = FolderFound {
            path: PathBuf::from("/x"),
            refusal: Some("read-only file system".to_owned()),
            available: None,
        };
        let poor = Seen {
            cpu: Cpu::default(),
            kvm: KvmDevice::Absent,
            qemu: ProgramFound::Absent,
            microvm: Err(Lack::Passt),
            state: refused.clone(),
            runtime: refused,
            tiny: TinyFound::Absent,
            ssh: SshDoor::NoServer,
            group: false,
            guest_user: false,
            ..seen()
        };
        for capability in capabilities(&poor) {
            let is_ok = capability.state == CapabilityState::Ok;
            assert_eq!(is_ok, capability.remedy.is_none(), "{}", capability.name);
        }
    }

    #[test]
    fn a_runtime_folder_too_long_for_sockets_is_told_before_a_socket_fails() {
        let mut long = seen();
        long.runtime.path = PathBuf::from(format!("/tmp/{}", "x".repeat(60)));
        assert_eq!(found(&long, "runtime_folder").state, CapabilityState::Missing);
    }

    #[test]
    fn a_plain_user_needs_no_group_and_no_user_for_guests() {
        let user = Seen {
            privileged: false,
            group: false,
            guest_user: false,
            ..seen()
        };
        assert!(
            capabilities(&user)
                .iter()
                .all(|capability| !["group", "guest_user"].contains(&&*capability.name))
        );
    }
}
