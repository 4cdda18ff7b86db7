//! QEMU's command line. Pure.
//!
//! Sockets are named relative to the guest's runtime folder, which is QEMU's working directory: no path of the machine's can then
//! hold a comma that QEMU would read as the next option.

use std::ffi::OsString;
use std::path::Path;

use api::{DiskLimit, Mib, PublishedPort};

use crate::engines::{CLOCK_PARAMETERS, LaunchOrder};

/// The control socket, in the runtime folder.
pub const QMP_SOCKET: &str = "qmp.sock";
/// The serial console's socket, in the runtime folder.
pub const CONSOLE_SOCKET: &str = "console.sock";

/// How much of the guest's translated code QEMU keeps, in MiB. Its own default is up to a gigabyte; more than this boots no faster.
const TRANSLATION_CACHE_MIB: u32 = 64;
/// What QEMU needs beside the guest's memory and translated code, in MiB; measured as proportional set size with all our devices.
const PROCESS_MIB: u32 = 48;

/// What QEMU needs of the machine's memory beside the guest's own.
pub fn memory_overhead(accelerated: bool) -> Mib {
    Mib(if accelerated {
        PROCESS_MIB
    } else {
        PROCESS_MIB + TRANSLATION_CACHE_MIB
    })
}

/// How guest code is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// By the CPU.
    Kvm,
    /// By QEMU's translator.
    Tcg,
}

/// All arguments of QEMU for one guest. As `user`, where one is given, QEMU runs once it has opened all that it needs.
pub fn arguments(order: &LaunchOrder, accelerator: Accelerator, user: Option<&str>) -> Vec<OsString> {
    let mut line = Line(Vec::new());
    // The machine: nothing that was not asked for, and no files of the user's.
    line.flag("-nodefaults").flag("-no-user-config");
    line.pair("-name", format!("guest={}", order.name));
    line.pair("-uuid", order.id.to_string());
    line.pair("-machine", "q35,usb=off,vmport=off,hpet=off");
    let (accel, cpu) = match accelerator {
        Accelerator::Kvm => ("kvm".to_owned(), "host"),
        // The x86-64-v2 level that today's distributions ask for; more of a CPU than that only makes the translator slower.
        Accelerator::Tcg => (
            format!("tcg,thread=multi,tb-size={TRANSLATION_CACHE_MIB}"),
            "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt",
        ),
    };
    line.pair("-accel", accel).pair("-cpu", cpu);
    line.pair("-smp", order.vcpus.to_string());
    line.pair("-m", format!("size={}M", order.memory.0));
    line.pair("-display", "none").pair("-rtc", "base=utc");
    // Held until the agent listens to the console. A guest that powers itself off leaves QEMU waiting, so that the agent can tell
    // a power-off from a crash even when it was not there at the time.
    line.flag("-S").pair("-action", "shutdown=pause");
    sandbox(&mut line, user);
    line.pair(
        "-chardev",
        format!("socket,id=qmp,path={QMP_SOCKET},server=on,wait=off"),
    );
    line.pair("-mon", "chardev=qmp,mode=control");
    line.pair(
        "-chardev",
        format!("socket,id=console,path={CONSOLE_SOCKET},server=on,wait=off"),
    );
    line.pair("-serial", "chardev:console");
    boot(&mut line, order, accelerator);
    line.pair("-netdev", network(&order.ports));
    // Without an option ROM: nothing boots from the network, and the ROM is another package.
    line.pair("-device", "virtio-net-pci,netdev=net,romfile=");
    line.pair("-object", "rng-builtin,id=rng")
        .pair("-device", "virtio-rng-pci,rng=rng");
    // Nothing is taken from the guest: what it does not use goes back to the machine by itself.
    line.pair(
        "-device",
        "virtio-balloon-pci,free-page-reporting=on,deflate-on-oom=on",
    );
    if let Some(path) = &order.disk {
        disk(&mut line, path, order.disk_limit);
    }
    line.0
}

/// A guest that breaks out of QEMU finds no other program to start, and no way to more rights than QEMU has.
fn sandbox(line: &mut Line, user: Option<&str>) {
    const ALWAYS: &str = "on,obsolete=deny,spawn=deny,resourcecontrol=deny";
    match user {
        // The change of user comes after the filter, which therefore has to let it pass. Past it there is nothing left to gain: the
        // process has no capability, and the filter forbids new ones (`no_new_privs`).
        Some(user) => line.pair("-sandbox", ALWAYS).pair("-runas", user),
        None => line.pair("-sandbox", format!("{ALWAYS},elevateprivileges=deny")),
    };
}

/// A kernel that QEMU loads; without one, its firmware starts from the disk.
fn boot(line: &mut Line, order: &LaunchOrder, accelerator: Accelerator) {
    let Some(kernel) = &order.boot.kernel else {
        return;
    };
    line.pair("-kernel", kernel.path.as_os_str());
    if let Some(initrd) = &kernel.initrd {
        line.pair("-initrd", initrd.as_os_str());
    }
    let clock = match accelerator {
        Accelerator::Kvm => CLOCK_PARAMETERS,
        // No kvm-clock: the counter is the guest's clock, and is to be watched.
        Accelerator::Tcg => "",
    };
    let command_line = format!("{clock} {} millpond.name={}", kernel.command_line, order.name);
    line.pair("-append", command_line.trim_start());
}

fn network(ports: &[PublishedPort]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("user,id=net");
    for PublishedPort { guest, host } in ports {
        // Writing to a String cannot fail.
        let _ = write!(text, ",hostfwd=tcp:127.0.0.1:{host}-:{guest}");
    }
    text
}

fn disk(line: &mut Line, path: &Path, limit: DiskLimit) {
    // JSON, where a comma in the path is only a comma. Blocks that the guest discards or zeroes go back to the machine.
    let mut node = serde_json::json!({
        "driver": "raw", "discard": "unmap", "detect-zeroes": "unmap",
        "file": { "driver": "file", "filename": path.to_string_lossy(), "discard": "unmap" },
    });
    if !limit.is_none() {
        // 0 is no limit. A tenth of a second's worth can be used at once, which is what QEMU does by itself.
        let limits = serde_json::json!({
            "bps-total": u64::from(limit.mib_per_second.unwrap_or(0)) << 20,
            "iops-total": limit.requests_per_second.unwrap_or(0),
        });
        let group = serde_json::json!({ "qom-type": "throttle-group", "id": "limit", "limits": limits });
        line.pair("-object", group.to_string());
        node = serde_json::json!({
            "driver": "throttle", "throttle-group": "limit", "discard": "unmap", "detect-zeroes": "unmap", "file": node,
        });
    }
    node["node-name"] = "disk".into();
    line.pair("-blockdev", node.to_string());
    line.pair("-device", "virtio-blk-pci,drive=disk");
}

struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, flag: &str) -> &mut Self {
        self.0.push(flag.into());
        self
    }

    fn pair(&mut self, flag: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.push(flag.into());
        self.0.push(value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::{BootFiles, KernelFiles};
    use std::path::PathBuf;
    use uuid::Uuid;

    fn order() -> LaunchOrder {
        LaunchOrder {
            id: Uuid::from_u128(7),
            name: "tiny-1".into(),
            vcpus: 2,
            memory: Mib(128),
            boot: BootFiles {
                kernel: Some(KernelFiles {
                    path: "/images/vmlinuz".into(),
                    initrd: Some("/images/initrd".into()),
                    command_line: "console=ttyS0 quiet".into(),
                }),
                disk: None,
                memory_min: Mib(64),
                digest: "00".into(),
            },
            disk: None,
            disk_limit: DiskLimit::default(),
            network_limit: api::NetworkLimit::default(),
            ports: Vec::new(),
            group: crate::engines::limits::GuestGroup::default(),
        }
    }

    fn values(order: &LaunchOrder, accelerator: Accelerator, flag: &str) -> Vec<String> {
        let line = arguments(order, accelerator, None);
        line.windows(2)
            .filter(|pair| pair[0] == flag)
            .map(|pair| pair[1].to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn the_guest_is_told_its_name_after_the_images_own_command_line() {
        assert_eq!(
            values(&order(), Accelerator::Tcg, "-append"),
            ["console=ttyS0 quiet millpond.name=tiny-1"]
        );
    }

    #[test]
    fn a_guest_that_has_kvm_clock_looks_at_no_other_clock_unless_its_image_says_so() {
        assert_eq!(
            values(&order(), Accelerator::Kvm, "-append"),
            ["tsc=nowatchdog console=ttyS0 quiet millpond.name=tiny-1"]
        );
    }

    #[test]
    fn without_a_kernel_the_firmware_starts_from_the_disk() {
        let mut order = order();
        order.boot.kernel = None;
        order.disk = Some("/state/disk.raw".into());
        for flag in ["-kernel", "-initrd", "-append"] {
            assert_eq!(values(&order, Accelerator::Tcg, flag), [""; 0], "{flag}");
        }
        let devices = values(&order, Accelerator::Tcg, "-device");
        assert!(
            devices.contains(&"virtio-blk-pci,drive=disk".to_owned()),
            "{devices:?}"
        );
    }

    #[test]
    fn the_cpu_runs_the_guest_only_where_it_can() {
        assert_eq!(values(&order(), Accelerator::Kvm, "-accel"), ["kvm"]);
        assert_eq!(
            values(&order(), Accelerator::Tcg, "-accel"),
            ["tcg,thread=multi,tb-size=64"]
        );
    }

    #[test]
    fn ports_are_published_on_loopback_alone() {
        let mut order = order();
        order.ports = vec![
            PublishedPort {
                guest: 80,
                host: 8080,
            },
            PublishedPort {
                guest: 22,
                host: 2222,
            },
        ];
        assert_eq!(
            values(&order, Accelerator::Tcg, "-netdev"),
            ["user,id=net,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=tcp:127.0.0.1:2222-:22"]
        );
    }

    #[test]
    fn a_disks_path_may_hold_what_qemu_would_take_for_options() {
        let mut order = order();
        order.disk = Some(PathBuf::from("/state/a,b=\"c\"/disk.raw"));
        let nodes = values(&order, Accelerator::Tcg, "-blockdev");
        let node: serde_json::Value = serde_json::from_str(&nodes[0]).unwrap();
        assert_eq!(node["file"]["filename"], "/state/a,b=\"c\"/disk.raw");
    }

    #[test]
    fn a_disk_is_limited_where_that_was_asked_for() {
        let mut order = order();
        order.disk = Some(PathBuf::from("/state/disk.raw"));
        let parsed = |order: &LaunchOrder, flag| -> Vec<serde_json::Value> {
            let values = values(order, Accelerator::Tcg, flag);
            values
                .iter()
                .filter_map(|value| serde_json::from_str(value).ok())
                .collect()
        };
        assert_eq!(parsed(&order, "-blockdev")[0]["driver"], "raw");
        assert!(parsed(&order, "-object").is_empty());
        order.disk_limit.mib_per_second = Some(20);
        let (node, group) = (&parsed(&order, "-blockdev")[0], &parsed(&order, "-object")[0]);
        assert_eq!(
            (&node["node-name"], &node["driver"]),
            (&"disk".into(), &"throttle".into())
        );
        assert_eq!(node["file"]["file"]["filename"], "/state/disk.raw");
        assert_eq!(node["throttle-group"], group["id"]);
        assert_eq!(
            group["limits"],
            serde_json::json!({ "bps-total": 20 << 20, "iops-total": 0 })
        );
    }

    #[test]
    fn every_guest_is_sandboxed_held_and_says_who_it_is() {
        assert_eq!(
            values(&order(), Accelerator::Tcg, "-uuid"),
            [Uuid::from_u128(7).to_string()]
        );
        assert!(values(&order(), Accelerator::Tcg, "-sandbox")[0].starts_with("on,"));
        let line = arguments(&order(), Accelerator::Tcg, None);
        for flag in ["-S", "-nodefaults", "-no-user-config"] {
            assert!(line.iter().any(|argument| argument == flag), "{flag}");
        }
    }
}
