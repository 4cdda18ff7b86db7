//! The document that tells the monitor what its machine is made of. Pure.
//!
//! Sockets are named relative to the guest's runtime folder, which is the monitor's working directory: a socket's path may have 107
//! bytes, and a state directory may be anywhere.

use api::{DiskLimit, NetworkLimit};
use serde_json::{Value, json};
use uuid::Uuid;

use super::notify::NOTIFY_PORT;
use crate::engines::{CLOCK_PARAMETERS, LaunchOrder};
use crate::images::KernelFiles;

/// The document, in the runtime folder.
pub const CONFIG_FILE: &str = "config.json";
/// The control socket.
pub const API_SOCKET: &str = "api.sock";
/// The serial console's socket.
pub const SERIAL_SOCKET: &str = "serial.sock";
/// Where the monitor finds the guest's network.
pub const NETWORK_SOCKET: &str = "net.sock";
/// Where the monitor's end of its guest's vsock is; a guest that connects to port P of the host arrives at this name with `_P` behind it.
pub const VSOCK_SOCKET: &str = "vsock";
/// What the monitor leaves of its guest's end.
pub const ENDING_FILE: &str = "ending.json";

/// The guest's address on its vsock: the first that means nothing else.
const GUEST_ADDRESS: u32 = 3;

/// What the monitor is told of one guest, which this kernel starts.
pub fn document(order: &LaunchOrder, kernel: &KernelFiles) -> Value {
    let limit = disk_limit(order.disk_limit);
    let disks: Vec<Value> = (order.disk.iter())
        .map(|path| json!({ "id": "disk", "path": path, "format": "raw", "limit": limit }))
        .collect();
    json!({
        "id": order.id.to_string(),
        "cpus": { "count": order.vcpus },
        "memory": { "size_mib": order.memory.0 },
        "boot": {
            "kernel": kernel.path,
            "initrd": kernel.initrd,
            "command_line": command_line(order, kernel),
        },
        "disks": disks,
        "networks": [{
            "id": "net",
            "mac": mac(order.id),
            "backend": { "stream": { "path": NETWORK_SOCKET } },
            "limit": network_limit(order.network_limit),
        }],
        // Each monitor has a vsock of its own: their guests may all have the same address.
        "vsock": { "cid": GUEST_ADDRESS, "path": VSOCK_SOCKET },
        // Nothing is taken from the guest: what it does not use goes back to the machine by itself.
        "balloon": { "size_mib": 0 },
        "serial_socket": SERIAL_SOCKET,
        "api_socket": API_SOCKET,
        "ending_file": ENDING_FILE,
        "paused": true,
    })
}

/// A limit, of which a tenth of a second's worth can be used at once, as with QEMU.
fn bucket(per_second: u64) -> Value {
    json!({ "per_second": per_second, "burst": per_second.div_ceil(10) })
}

/// The limits of a disk.
fn disk_limit(limit: DiskLimit) -> Value {
    json!({
        "bytes": limit.mib_per_second.map(|mib| bucket(u64::from(mib) << 20)),
        "operations": limit.requests_per_second.map(|requests| bucket(requests.into())),
    })
}

/// The limits of a network interface: each direction has them.
fn network_limit(limit: NetworkLimit) -> Value {
    const BYTES_PER_MBIT: u64 = 125_000;
    json!({
        "bytes": limit.mbit_per_second.map(|mbit| bucket(u64::from(mbit) * BYTES_PER_MBIT)),
        "operations": limit.frames_per_second.map(|frames| bucket(frames.into())),
    })
}

/// The image's own command line and the guest's name. A kernel that panics ends its machine at once, so that the agent learns of it, and
/// has one clock to look at; an image that has its own wish keeps it, since what comes later on a kernel's command line counts. A systemd learns
/// where it can tell that it has started all; other guests do not mind.
fn command_line(order: &LaunchOrder, kernel: &KernelFiles) -> String {
    let notify = format!("systemd.set_credential=vmm.notify_socket:vsock-stream:2:{NOTIFY_PORT}");
    let text = format!(
        "panic=-1 {CLOCK_PARAMETERS} {notify} {} millpond.name={}",
        kernel.command_line, order.name
    );
    text.trim().to_owned()
}

/// The guest's hardware address: its own at every start, from the part of the id that is random. In QEMU's range for such addresses.
fn mac(id: Uuid) -> String {
    let [.., a, b, c] = *id.as_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use api::Mib;

    use super::*;
    use crate::images::BootFiles;

    fn order() -> LaunchOrder {
        LaunchOrder {
            id: Uuid::from_u128(0x000a_0b0c),
            name: "tiny-1".into(),
            vcpus: 2,
            memory: Mib(128),
            boot: BootFiles {
                kernel: None,
                disk: None,
                memory_min: Mib(64),
                digest: "00".into(),
            },
            disk: None,
            disk_limit: DiskLimit::default(),
            network_limit: NetworkLimit::default(),
            ports: Vec::new(),
            group: crate::engines::limits::GuestGroup::default(),
        }
    }

    fn kernel() -> KernelFiles {
        KernelFiles {
            path: "/images/vmlinuz".into(),
            initrd: None,
            command_line: "console=ttyS0 quiet".into(),
        }
    }

    #[test]
    fn the_machine_is_as_ordered_and_held() {
        let document = document(&order(), &kernel());
        assert_eq!(document["cpus"]["count"], 2);
        assert_eq!(document["memory"]["size_mib"], 128);
        assert_eq!(document["boot"]["initrd"], Value::Null);
        assert_eq!(document["paused"], true);
        assert_eq!(document["balloon"]["size_mib"], 0);
        assert_eq!(document["vsock"], json!({ "cid": 3, "path": "vsock" }));
        assert_eq!(document["disks"], json!([]));
        assert_eq!(document["networks"][0]["mac"], "52:54:00:0a:0b:0c");
    }

    #[test]
    fn the_guest_is_told_its_name_and_an_images_wish_about_panics_comes_later() {
        let kernel = KernelFiles {
            command_line: "console=ttyS0 panic=5".into(),
            ..kernel()
        };
        assert_eq!(
            document(&order(), &kernel)["boot"]["command_line"],
            "panic=-1 tsc=nowatchdog systemd.set_credential=vmm.notify_socket:vsock-stream:2:1024 console=ttyS0 panic=5 millpond.name=tiny-1"
        );
    }

    #[test]
    fn a_disk_is_raw_and_its_path_only_a_path() {
        let mut order = order();
        order.disk = Some(PathBuf::from("/state/a,\"b\"/disk.raw"));
        let document = document(&order, &kernel());
        assert_eq!(document["disks"][0]["path"], "/state/a,\"b\"/disk.raw");
        assert_eq!(document["disks"][0]["format"], "raw");
    }

    #[test]
    fn a_disk_is_as_fast_as_it_may_be() {
        let mut order = order();
        order.disk = Some(PathBuf::from("/state/disk.raw"));
        let limit = |order: &LaunchOrder| document(order, &kernel())["disks"][0]["limit"].clone();
        assert_eq!(limit(&order), json!({ "bytes": null, "operations": null }));
        order.disk_limit = DiskLimit {
            mib_per_second: Some(20),
            requests_per_second: Some(7),
        };
        let expected = json!({
            "bytes": { "per_second": 20 << 20, "burst": 2 << 20 },
            "operations": { "per_second": 7, "burst": 1 },
        });
        assert_eq!(limit(&order), expected);
    }

    #[test]
    fn a_network_is_as_fast_as_it_may_be() {
        let mut order = order();
        let limit = |order: &LaunchOrder| document(order, &kernel())["networks"][0]["limit"].clone();
        assert_eq!(limit(&order), json!({ "bytes": null, "operations": null }));
        order.network_limit = NetworkLimit {
            mbit_per_second: Some(8),
            frames_per_second: Some(7),
        };
        let expected = json!({
            "bytes": { "per_second": 1_000_000, "burst": 100_000 },
            "operations": { "per_second": 7, "burst": 1 },
        });
        assert_eq!(limit(&order), expected);
    }
}
