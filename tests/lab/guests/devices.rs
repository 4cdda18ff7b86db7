//! Disks and the console, as a guest finds them: names, rights, limits, what is given back, and who does the work.

use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use support::run;

use crate::Facts;
use crate::guest::{DEADLINE, Files, Guest};

const DISK_MIB: u64 = 32;
/// What the limited disk gives in a second, and at once after a pause, in bytes.
const PER_SECOND: u64 = 2 << 20;
const BURST: u64 = 1 << 20;
/// How much is read of it, in MiB.
const READ_MIB: u64 = 6;

/// One guest with a disk of each kind and a virtio console.
pub fn disks_and_console(files: &Files) -> Facts {
    let place = Files::place("devices")?;
    let file = |name: &str| place.file(name);
    for name in ["plain", "fixed", "slow"] {
        fill(&file(name))?;
    }
    File::create(file("tree"))?.set_len(DISK_MIB << 20)?;
    run(Command::new("mkfs.ext4").arg("-q").arg(file("tree")))?;
    let config = json!({
        "console_socket": file("console"),
        "disks": [
            {"id": "plain", "path": file("plain")},
            {"id": "tree", "path": file("tree")},
            {"id": "fixed", "path": file("fixed"), "read_only": true},
            {"id": "slow", "path": file("slow"), "limit": {"bytes": {"per_second": PER_SECOND, "burst": BURST}}},
        ],
    });
    let _not_there = fs::remove_file(file("console"));
    let mut guest = files.start("devices", &config)?;
    Ok(json!({
        "console": console(&mut guest)?,
        "serials": guest.run("for disk in a b c d; do echo $(cat /sys/block/vd$disk/serial); done | tr '\\n' ' '")?,
        "discarded": discarded(&mut guest, &file("plain"))?,
        "trimmed": trimmed(&mut guest, &file("tree"))?,
        "read_only": read_only(&mut guest, &file("fixed"))?,
        "limited": limited(&mut guest)?,
        "rings": rings(&guest)?,
        "stats": guest.stats()?["disks"],
        "log": guest.log(),
    }))
}

/// A disk's work on a host that lets nobody have an `io_uring`, which the kernel's own switch does from Linux 6.6 on: threads do it.
pub fn disk_without_rings(files: &Files) -> Facts {
    let disk = Files::place("no-rings")?.file("disk");
    fill(&disk)?;
    let before = sum(&disk)?;
    let config = json!({"cpus": {"count": 2}, "disks": [{"id": "data", "path": disk}]});
    let mut guest = files.start_without_rings("no-rings", &config)?;
    let read = sum_inside(&mut guest, "/dev/vda")?;
    guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=8 2>&1; cp /tmp/data /dev/vda && sync")?;
    guest.run("echo 3 >/proc/sys/vm/drop_caches; head -c 8388608 /dev/vda | cmp - /tmp/data")?;
    guest.run("blkdiscard -o 16777216 -l 1048576 /dev/vda")?;
    Ok(json!({
        "same_at_first": read == before,
        "rings": rings(&guest)?,
        "bytes_left": guest.number("dd if=/dev/vda bs=1M skip=16 count=1 2>/dev/null | tr -d '\\0' | wc -c")?,
        "stats": guest.stats()?["disks"]["data"],
        "log": guest.log(),
    }))
}

/// A line from the guest, a line to it, over the virtio console.
fn console(guest: &mut Guest) -> Facts {
    let mut stream = UnixStream::connect(guest.place.file("console"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    guest.run("stty -F /dev/hvc0 raw -echo && echo from the guest >/dev/hvc0")?;
    let mut said = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut said)?;
    writeln!(stream, "from the host")?;
    Ok(json!({"said": said.trim(), "heard": guest.run("head -n 1 </dev/hvc0")?}))
}

/// The guest says that it needs a half of a full disk no more.
fn discarded(guest: &mut Guest, disk: &Path) -> Facts {
    let before = kib_on_host(disk)?;
    let half = (DISK_MIB / 2) << 20;
    guest.run(&format!("blkdiscard -o 0 -l {half} /dev/vda"))?;
    let left = guest.number(&format!("head -c {half} /dev/vda | tr -d '\\0' | wc -c"))?;
    Ok(json!({"host_kib": [before, kib_on_host(disk)?], "bytes_left": left}))
}

/// A file is written, removed, and what it took is given back by the file system.
fn trimmed(guest: &mut Guest, disk: &Path) -> Facts {
    guest.run("mkdir -p /mnt/tree && mount -t ext4 /dev/vdb /mnt/tree")?;
    guest.run("dd if=/dev/urandom of=/mnt/tree/large bs=1M count=16 2>&1 && sync")?;
    let before = kib_on_host(disk)?;
    guest.run("rm /mnt/tree/large && sync && fstrim /mnt/tree")?;
    let after = kib_on_host(disk)?;
    guest.run("umount /mnt/tree")?;
    Ok(json!({
        "host_kib": [before, after],
        "is_clean": run(Command::new("fsck.ext4").args(["-fn"]).arg(disk)).is_ok(),
    }))
}

/// The guest knows that it may not write, and cannot.
fn read_only(guest: &mut Guest, disk: &Path) -> Facts {
    let before = sum(disk)?;
    Ok(json!({
        "known": guest.number("cat /sys/block/vdc/ro")?,
        "refused": guest.run("! dd if=/dev/urandom of=/dev/vdc bs=4k count=1 conv=fsync 2>&1")?,
        "same": [sum_inside(guest, "/dev/vdc")? == before, sum(disk)? == before],
    }))
}

/// How long the guest takes for so much of the limited disk, by its own clock.
fn limited(guest: &mut Guest) -> Facts {
    let took = guest.run(&format!(
        "set -- $(cat /proc/uptime); dd if=/dev/vdd of=/dev/null bs=64k count={} 2>/dev/null; echo $1 $(cat /proc/uptime) | awk '{{print int(($2 - $1) * 1000)}}'",
        READ_MIB << 4
    ))?;
    Ok(json!({
        "took_ms": took.parse::<u64>()?,
        "least_ms": ((READ_MIB << 20) - BURST) * 1000 / PER_SECOND,
    }))
}

/// How many `io_uring`s the monitor has.
fn rings(guest: &Guest) -> Result<usize, Box<dyn Error>> {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", guest.monitor.id()))?;
    let of = descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
    Ok(of
        .filter(|target| target.as_os_str() == "anon_inode:[io_uring]")
        .count())
}

/// Fills a disk's file with what is nowhere zero.
fn fill(disk: &Path) -> Result<(), Box<dyn Error>> {
    let mut file = File::create(disk)?;
    for part in 0..DISK_MIB {
        let byte = u8::try_from(part % 251 + 1)?;
        file.write_all(&vec![byte; 1 << 20])?;
    }
    Ok(())
}

fn kib_on_host(disk: &Path) -> Result<u64, Box<dyn Error>> {
    Ok(fs::metadata(disk)?.blocks() / 2)
}

fn sum(file: &Path) -> Result<String, Box<dyn Error>> {
    Ok(first_word(&run(Command::new("md5sum").arg(file))?))
}

/// The sum of what a guest finds on a disk.
fn sum_inside(guest: &mut Guest, disk: &str) -> Result<String, Box<dyn Error>> {
    Ok(first_word(&guest.run(&format!("md5sum <{disk}"))?))
}

/// A sum, without the name of what it is of.
fn first_word(said: &str) -> String {
    said.split_whitespace().next().unwrap_or_default().to_owned()
}
