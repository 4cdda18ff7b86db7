//! Debian as it is installed, from a disk of its own.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::{DEBIAN_COMMAND_LINE, DEBIAN_PASSWORD, run};

use crate::Facts;
use crate::guest::{Files, Guest, READY};

const MEMORY_MIB: u32 = 512;
/// How much is read at once of the disk that the overlay lies on, and how far apart these parts begin, in bytes.
const SAMPLE: usize = 256 << 10;
const SAMPLE_EVERY: usize = 8 << 20;

/// Its stock kernel as it is and as the ELF file in it, each with the stock initial RAM file system and the same overlay on Debian's disk.
/// Each time the power button ends it.
pub fn boots_from_its_disk(files: &Files) -> Facts {
    let place = Files::place("debian")?;
    let (base, overlay) = (files.file("disk"), place.file("overlay"));
    run(Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(&base)
        .arg(&overlay))?;
    let before = samples(&base)?;
    let mut guest = start(files, "vmlinuz", &overlay)?;
    let mut image = facts(&mut guest)?;
    image["written"] = guest
        .run("dd if=/dev/urandom of=/root/data bs=1M count=8 2>/dev/null && sha256sum </root/data")?
        .into();
    image["base_is_open"] = flags_of(&guest, &base)?.into();
    image["end"] = turn_off(guest)?;

    let mut guest = start(files, "vmlinux", &overlay)?;
    let mut elf = facts(&mut guest)?;
    elf["read"] = guest.run("sha256sum </root/data")?.into();
    elf["recovered"] = guest.run("dmesg | grep -ciE 'recover|orphan' || true")?.into();
    elf["end"] = turn_off(guest)?;
    Ok(json!({
        "image": image,
        "elf": elf,
        "base_samples": before.len(),
        "base_untouched": before == samples(&base)?,
        "overlay_is_clean": run(Command::new("qemu-img").args(["check", "-q"]).arg(&overlay)).is_ok(),
    }))
}

/// Boots it, and logs in.
fn start(files: &Files, kernel: &str, overlay: &Path) -> Result<Guest, Box<dyn Error>> {
    let config = json!({
        "cpus": {"count": 2},
        "memory": {"size_mib": MEMORY_MIB},
        "boot": {"kernel": files.file(kernel), "initrd": files.file("initrd"), "command_line": DEBIAN_COMMAND_LINE},
        "disks": [{"id": "root", "path": overlay, "format": "qcow2"}],
    });
    let mut guest = files.launch("debian", &config)?;
    guest.until("login: ")?;
    guest.send("root")?;
    guest.until("Password: ")?;
    guest.send(DEBIAN_PASSWORD)?;
    guest.until("# ")?;
    // A shell that says no more than its commands do. The mark is put together by the guest, so that it is not in the command.
    guest.send("exec sh")?;
    guest.until("# ")?;
    let mark = READY.trim_end();
    let (head, tail) = mark.split_at(mark.len() / 2);
    guest.send(&format!("stty -echo -onlcr; PS1=; echo {head}''{tail}"))?;
    guest.wait_ready()?;
    Ok(guest)
}

/// What there is to see from inside.
fn facts(guest: &mut Guest) -> Facts {
    Ok(json!({
        "release": guest.run("uname -r")?,
        "packaged": guest.run("dpkg -S /boot/vmlinuz-$(uname -r)")?,
        "root": guest.run("findmnt --noheadings --output SOURCE,FSTYPE,OPTIONS /")?,
        "system": guest.run("cat /etc/debian_version; cat /proc/1/comm")?,
        // The number by which whoever loads a kernel calls itself.
        "loader": guest.number("cat /proc/sys/kernel/bootloader_type")?,
        "failed": guest.run("systemctl --failed --no-legend")?,
    }))
}

/// Presses the power button, and waits for the end.
fn turn_off(mut guest: Guest) -> Facts {
    guest.post("/v1/stop")?;
    let end = guest.ending()?;
    Ok(json!({"end": end, "log": guest.log()}))
}

/// The beginning of every eighth MiB of a file, and its end: to read all of Debian's disk would take the lab a minute. Among it is the super
/// block, which whoever mounts the disk writes.
fn samples(file: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let file = File::open(file)?;
    let length = file.metadata()?.len();
    let mut samples = Vec::new();
    for start in (0..length).step_by(SAMPLE_EVERY).chain([length - SAMPLE as u64]) {
        let mut sample = vec![0; SAMPLE];
        file.read_exact_at(&mut sample, start)?;
        samples.push(sample);
    }
    Ok(samples)
}

/// How the monitor has a file open.
fn flags_of(guest: &Guest, file: &Path) -> Result<Vec<Value>, Box<dyn Error>> {
    let process = Path::new("/proc").join(guest.monitor.id().to_string());
    let mut found = Vec::new();
    for descriptor in std::fs::read_dir(process.join("fd"))? {
        let descriptor = descriptor?;
        // One that was closed since leads nowhere.
        if std::fs::read_link(descriptor.path()).is_ok_and(|path| path == file) {
            let said = std::fs::read_to_string(process.join("fdinfo").join(descriptor.file_name()))?;
            let flags = said.lines().find_map(|line| line.strip_prefix("flags:"));
            found.push(flags.unwrap_or_default().trim().into());
        }
    }
    Ok(found)
}
