//! A guest that tries.

use serde_json::json;

use crate::Facts;
use crate::guest::Files;

/// Where the guest's kernel leaves memory alone, for rings of the attacker's own.
const MEMORY: &str = "0x8000000";
/// The first device's registers; the others follow in the order of the configuration.
const FIRST: u64 = 0xd000_0000;
/// The victims: a disk, a network interface, the socket, the balloon, the console, the source of randomness. They come after the disk
/// that is to go on working.
const VICTIMS: u64 = 6;

/// All devices but one disk are taken from their drivers and attacked, while that disk is written and read.
pub fn hostile_guest(files: &Files) -> Facts {
    let place = Files::place("hostile")?;
    for disk in ["good", "victim"] {
        std::fs::File::create(place.file(disk))?.set_len(64 << 20)?;
    }
    let bridge = crate::network::Bridge::new("pond2", "10.79.0.1/24")?;
    let mut config = crate::network::config(&bridge.tap_of_several("pond2a")?, 1, false);
    let more = json!({
        "cpus": {"count": 2},
        "boot": files.boot(&format!("iomem=relaxed memmap=4M${MEMORY}")),
        "disks": [{"id": "good", "path": place.file("good")}, {"id": "victim", "path": place.file("victim")}],
        "vsock": {"cid": 3, "path": place.file("vsock")},
        "balloon": {},
        "console_socket": place.file("console"),
    });
    if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
        config.extend(more.clone());
    }
    let mut guest = files.start("hostile", &config)?;
    let before_kib = guest.monitor.overhead_kib(crate::guest::MEMORY_MIB)?;
    for device in 1..=VICTIMS {
        guest.run(&format!(
            "echo LNRO0005:{device:02} >/sys/bus/platform/drivers/virtio-mmio/unbind"
        ))?;
    }
    guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>&1; md5sum </tmp/data >/tmp/sum")?;
    guest.run(
        "{ while cp /tmp/data /dev/vda && sync && echo 3 >/proc/sys/vm/drop_caches && \
         head -c 4194304 /dev/vda | md5sum | cmp - /tmp/sum; do echo >>/tmp/rounds; done; echo >/tmp/broken; } &",
    )?;
    let attacked = guest.run(&format!(
        "lab-guest hostile {:#x} {VICTIMS} {MEMORY}",
        FIRST + 0x1000
    ))?;
    let rounds = "cat /tmp/rounds | wc -l";
    let during = guest.number(rounds)?;
    let after = support::wait_until(
        "the other disk is written and read again",
        crate::guest::DEADLINE,
        || guest.number(rounds).ok().filter(|now| *now > during + 1),
    )?;
    Ok(json!({
        "attacked": attacked.lines().collect::<Vec<_>>(),
        "rounds": [during, after],
        "broken": guest.run("ls /tmp/broken 2>/dev/null || echo no")?,
        "overhead_kib": [before_kib, guest.monitor.overhead_kib(crate::guest::MEMORY_MIB)?],
        "state": guest.ask("GET", "/v1/machine", &serde_json::Value::Null)?["state"],
        "stats": guest.stats()?,
        "log": guest.log(),
    }))
}
