//! Disks: what is written is there after a reset, an overlay's base stays as it is, and a disk grows while it is mounted.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::{run, wait_until};

use crate::Facts;
use crate::guest::{DEADLINE, Files, Guest};

const SIZE_MIB: u64 = 64;
const GROWN_MIB: u64 = 160;

/// A file system on a raw disk and one on an overlay, both with data; a reset; the data again; then the raw disk grows.
pub fn survive_a_reset(files: &Files) -> Facts {
    let place = Files::place("disks")?;
    let (raw, base, overlay) = (place.file("raw"), place.file("base"), place.file("overlay"));
    for disk in [&raw, &base] {
        File::create(disk)?.set_len(SIZE_MIB << 20)?;
        run(Command::new("mkfs.ext4").arg("-q").arg(disk))?;
    }
    run(Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(&base)
        .arg(&overlay))?;
    let base_before = sum(&base)?;
    let config = json!({"cpus": {"count": 2}, "disks": [
        {"id": "raw", "path": raw},
        {"id": "overlay", "path": overlay, "format": "qcow2"},
    ]});
    let mut guest = files.start("disks", &config)?;
    mount(&mut guest)?;
    let mut written = Vec::new();
    for disk in ["a", "b"] {
        guest.run(&format!(
            "dd if=/dev/urandom of=/mnt/{disk}/data bs=64k count=320 2>&1"
        ))?;
        written.push(guest.run(&format!("sha256sum </mnt/{disk}/data"))?);
    }
    // No unmounting: the journals have work to do.
    guest.run("sync")?;
    guest.send("reboot -f")?;
    let ending = guest.ending()?;
    drop(guest);

    let mut guest = files.start("disks", &config)?;
    mount(&mut guest)?;
    let mut read = Vec::new();
    for disk in ["a", "b"] {
        read.push(guest.run(&format!("sha256sum </mnt/{disk}/data"))?);
    }
    let errors = guest.run("dmesg | grep -ciE 'I/O error|EXT4-fs error' || true")?;
    let grown = grow(&mut guest)?;
    guest.run("umount /mnt/a /mnt/b")?;
    let triple_fault = {
        guest.send("echo b >/proc/sysrq-trigger")?;
        guest.ending()?
    };
    drop(guest);
    Ok(json!({
        "written": written,
        "ending": ending,
        "ending_of_sysrq": triple_fault,
        "read": read,
        "errors": errors,
        "grown": grown,
        "base_untouched": base_before == sum(&base)?,
        "overlay_is_clean": run(Command::new("qemu-img").args(["check", "-q"]).arg(&overlay)).is_ok(),
        "raw_is_clean": run(Command::new("fsck.ext4").args(["-fn"]).arg(&raw)).is_ok(),
    }))
}

fn mount(guest: &mut Guest) -> Result<(), Box<dyn Error>> {
    guest.run("mkdir -p /mnt/a /mnt/b; mount -t ext4 /dev/vda /mnt/a && mount -t ext4 /dev/vdb /mnt/b")?;
    Ok(())
}

/// Gives the mounted disk more room, and fills it.
fn grow(guest: &mut Guest) -> Facts {
    guest.ask("PUT", "/v1/disks", &json!({"id": "raw", "size_mib": GROWN_MIB}))?;
    let seen = wait_until("the guest sees the disk's new size", DEADLINE, || {
        let sectors = guest.number("cat /sys/block/vda/size").ok()?;
        (sectors == GROWN_MIB * 2048).then_some(sectors)
    })?;
    guest.run("resize2fs /dev/vda 2>&1")?;
    let free_kib = guest.number("df -k /mnt/a | awk 'END {print $4}'")?;
    let before =
        guest.run("dd if=/dev/urandom of=/mnt/a/more bs=1M count=60 2>&1 && sha256sum </mnt/a/more")?;
    guest.run("sync; echo 3 >/proc/sys/vm/drop_caches")?;
    let after = guest.run("sha256sum </mnt/a/more")?;
    Ok(json!({
        "sectors": seen,
        "free_kib": free_kib,
        "same": before.ends_with(&after),
    }))
}

fn sum(file: &Path) -> Result<String, Box<dyn Error>> {
    Ok(run(Command::new("sha256sum").arg(file))?)
}
