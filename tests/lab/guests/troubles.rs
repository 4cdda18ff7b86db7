//! What befalls a host's disks and files: no room for a snapshot, a disk that fails when it is to keep what was written, and a kernel's file
//! that is cut short.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use support::{run, wait_until};

use crate::Facts;
use crate::guest::{DEADLINE, Files, Guest};
use crate::machines::COUNT;

/// Room for less than a guest holds, and for more, in MiB.
const TOO_LITTLE_MIB: u64 = 16;
const ENOUGH_MIB: u64 = 400;
/// Has a guest look at its kernel's types.
const READ_TYPES: &str = "cat /sys/kernel/btf/vmlinux >/dev/null";
/// How large the disk is that fails, in MiB.
const DISK_MIB: u64 = 48;

/// A file system in memory that can be given more room.
struct Room {
    folder: PathBuf,
}

impl Room {
    fn new(folder: PathBuf, mib: u64) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(&folder)?;
        let size = format!("size={mib}m,mode=1777");
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&folder))?;
        Ok(Self { folder })
    }

    fn grow(&self, mib: u64) -> Result<(), Box<dyn Error>> {
        let size = format!("remount,size={mib}m");
        run(Command::new("mount").args(["-o", &size]).arg(&self.folder))?;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What still has a file open there keeps it, and only it.
        let _busy = run(Command::new("umount").arg("--lazy").arg(&self.folder));
    }
}

/// A full snapshot and an increment for which there is no room; each time a full one once there is.
pub fn snapshot_without_room(files: &Files) -> Facts {
    let snapshots = Files::place("no-room")?.file("snapshots");
    let room = Room::new(snapshots.clone(), TOO_LITTLE_MIB)?;
    let config = json!({});
    let mut guest = files.start("no-room", &config)?;
    guest.run(COUNT)?;
    let counted = guest.number("cat /tmp/count")?;
    let full = guest.snapshot("full", false).err().map(|error| error.to_string());
    let left_of_full = names(&snapshots)?;
    let went_on = counts_on(&mut guest, counted)?;
    room.grow(ENOUGH_MIB)?;
    guest.snapshot("full", false)?;

    // Less than what the guest writes now.
    let ballast = File::create(snapshots.join("ballast"))?;
    rustix::fs::fallocate(
        &ballast,
        rustix::fs::FallocateFlags::empty(),
        0,
        free_bytes(&snapshots)? - (4 << 20),
    )?;
    guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=24 2>&1")?;
    let written = guest.run("md5sum </tmp/data")?;
    let increment = guest.snapshot("more", true).err().map(|error| error.to_string());
    let left_of_increment = names(&snapshots)?;
    fs::remove_file(snapshots.join("ballast"))?;
    drop(ballast);
    // What was written since the last whole one is no longer known.
    let orphan = guest.snapshot("more", true).err().map(|error| error.to_string());
    fs::remove_dir_all(snapshots.join("full"))?;
    guest.snapshot("again", false)?;
    let counted = guest.number("cat /tmp/count")?;
    guest.monitor.kill();
    drop(guest);
    let mut guest = files.restore("no-room", &config, &["again"])?;
    Ok(json!({
        "full": full,
        "left_of_full": left_of_full,
        "went_on": went_on,
        "increment": increment,
        "left_of_increment": left_of_increment,
        "orphan": orphan,
        "restored": counts_on(&mut guest, counted)?,
        "written": written,
        "found": guest.run("md5sum </tmp/data")?,
        "stalls": guest.run("dmesg | grep -ciE 'soft lockup|stall|hung' || true")?,
    }))
}

/// Waits until the guest has counted further than this.
fn counts_on(guest: &mut Guest, than: u64) -> Result<bool, Box<dyn Error>> {
    wait_until("the guest counts on", DEADLINE, || {
        guest.number("cat /tmp/count").ok().filter(|now| *now > than)
    })?;
    Ok(true)
}

fn names(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn free_bytes(folder: &Path) -> Result<u64, Box<dyn Error>> {
    let free = rustix::fs::statvfs(folder)?;
    Ok(free.f_bavail * free.f_frsize)
}

/// A disk in a file whose host's own disk fails once it has taken a part of it: what is behind has less room than it says. The host finds that
/// out when it writes its page cache back, so a guest finds it out when it asks for what it wrote to be kept.
pub fn disk_that_keeps_nothing(files: &Files) -> Facts {
    let place = Files::place("failing")?;
    let room = Room::new(place.file("behind"), TOO_LITTLE_MIB)?;
    let behind = room.folder.join("device");
    File::create(&behind)?.set_len((DISK_MIB + 8) << 20)?;
    // Without a journal, which would fail as a whole.
    run(Command::new("mkfs.ext4")
        .args(["-q", "-O", "^has_journal"])
        .arg(&behind))?;
    let folder = place.file("host");
    fs::create_dir_all(&folder)?;
    run(Command::new("mount")
        .args(["-o", "loop"])
        .arg(&behind)
        .arg(&folder))?;
    let disk = folder.join("disk");
    run(Command::new("fallocate")
        .args(["-l", &format!("{DISK_MIB}M")])
        .arg(&disk))?;
    rustix::fs::sync();
    let mut guest = files.start("failing", &json!({"disks": [{"id": "data", "path": disk}]}))?;
    let write = |mib: u64, seek: u64| {
        format!("dd if=/dev/urandom of=/dev/vda bs=1M count={mib} seek={seek} conv=fsync 2>&1")
    };
    let kept = guest.run(&write(2, 0)).is_ok();
    let failed = guest
        .run(&write(DISK_MIB - 2, 2))
        .err()
        .map(|error| error.to_string());
    let in_guest = guest.run("dmesg | grep -cE 'I/O error, dev vda' || true")?;
    room.grow(ENOUGH_MIB)?;
    let kept_again = guest.run(&write(8, 2));
    let facts = json!({
        "kept": kept,
        "failed": failed,
        "in_guest": in_guest,
        "kept_again": kept_again.map_err(|error| error.to_string()),
        "state": guest.ask("GET", "/v1/machine", &serde_json::Value::Null)?["state"],
        "log": guest.log(),
    });
    drop(guest);
    run(Command::new("umount").arg(&folder))?;
    Ok(facts)
}

/// A guest whose kernel's file is cut short while it runs, and that then reads its types, which it sees in the file.
pub fn kernel_cut_short(files: &Files) -> Facts {
    const NAME: &str = "cut-short";
    let kernel = Files::place(NAME)?.file("kernel");
    fs::copy(files.file("vmlinux"), &kernel)?;
    let mut boot = files.boot("");
    boot["kernel"] = json!(kernel);
    let mut guest = files.start(NAME, &json!({"boot": boot}))?;
    let whole = guest.run(READ_TYPES).is_ok();
    File::options().write(true).open(&kernel)?.set_len(4096)?;
    guest.send(READ_TYPES)?;
    Ok(json!({"whole": whole, "ending": guest.ending()?, "log": guest.log()}))
}
