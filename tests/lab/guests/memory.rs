//! The balloon: under load, on its own account, and where the guest has no memory left.

use std::error::Error;

use serde_json::json;
use support::wait_until;

use crate::Facts;
use crate::guest::{DEADLINE, Files, Guest};

const MEMORY_MIB: u32 = 256;
const BALLOON_MIB: u32 = 96;
/// Written and read again for ever, in the guest's memory.
const LOAD: &str = "dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>&1; md5sum </tmp/data >/tmp/sum; \
    { while cp /tmp/data /tmp/copy && md5sum </tmp/copy | cmp - /tmp/sum; do echo >>/tmp/rounds; done; echo >/tmp/broken; } &";

/// Memory taken and given back twice, while the guest uses it.
pub fn balloon_under_load(files: &Files) -> Facts {
    let config = json!({"cpus": {"count": 2}, "memory": {"size_mib": MEMORY_MIB}, "balloon": {}});
    let mut guest = files.start("balloon", &config)?;
    guest.run(LOAD)?;
    rounds(&mut guest, 2)?;
    let mut held_kib = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..2 {
        set(&guest, BALLOON_MIB)?;
        rounds(&mut guest, 2)?;
        held_kib.push(guest_memory_kib(&guest)?);
        taken.push(in_balloon_kib(&mut guest)?);
        set(&guest, 0)?;
        rounds(&mut guest, 2)?;
    }
    let left_kib = in_balloon_kib(&mut guest)?;
    let at_rest_kib = guest_memory_kib(&guest)?;
    let said = wait_until("the guest tells of its memory", DEADLINE, || {
        let balloon = guest.stats().ok()?["balloon"].clone();
        balloon["guest"]["total_bytes"].is_u64().then_some(balloon)
    })?;
    Ok(json!({
        "left_kib": left_kib,
        "taken_kib": taken,
        "held_kib": held_kib,
        "at_rest_kib": at_rest_kib,
        "stats": said,
        "broken": guest.run("ls /tmp/broken 2>/dev/null || echo no")?,
        "killed": guest.run("dmesg | grep -ci 'killed process' || true")?,
        "log": guest.log(),
    }))
}

/// How much a guest writes and removes again, in MiB.
const FILE_MIB: u32 = 96;
/// How much of the guest's memory is left to it, in MiB, and how much it then takes.
const LEFT_MIB: u32 = 24;
const TAKEN_MIB: u32 = 64;

/// A guest that frees memory and is not asked for it; then one that needs more than the balloon has left it.
pub fn memory_by_itself(files: &Files) -> Facts {
    let config = json!({"memory": {"size_mib": MEMORY_MIB}, "balloon": {}});
    let mut guest = files.start("by-itself", &config)?;
    let reported = reports_what_it_frees(&mut guest)?;
    let deflated = deflates_when_memory_runs_out(&mut guest)?;
    Ok(json!({"reported": reported, "deflated": deflated, "log": guest.log()}))
}

/// A file of tmpfs is written and removed, with an empty balloon: what the guest takes of the host with it, and without it.
fn reports_what_it_frees(guest: &mut Guest) -> Facts {
    let size = FILE_MIB;
    guest.run(&format!(
        "dd if=/dev/urandom of=/tmp/large bs=1M count={size} 2>&1"
    ))?;
    let with_file_kib = guest_memory_kib(guest)?;
    guest.run("rm /tmp/large")?;
    let without_file_kib = wait_until("the host has most of it back", DEADLINE, || {
        let now_kib = guest_memory_kib(guest).ok()?;
        (now_kib + (size << 10) / 4 * 3 < with_file_kib).then_some(now_kib)
    });
    let stats = guest.stats()?["balloon"].clone();
    let without_file_kib = without_file_kib
        .map_err(|late| format!("{late}: {with_file_kib} KiB with the file; the balloon: {stats}"))?;
    Ok(json!({
        "file_kib": size << 10,
        "with_file_kib": with_file_kib,
        "without_file_kib": without_file_kib,
        "inflated_kib": guest.number("awk '/^balloon_inflate/ {print $2 * 4}' /proc/vmstat")?,
        "stats": stats,
    }))
}

/// The balloon takes nearly all, and then a file of tmpfs needs more than is left.
fn deflates_when_memory_runs_out(guest: &mut Guest) -> Facts {
    let available_mib = guest.number("awk '/MemAvailable/ {print int($2 / 1024)}' /proc/meminfo")?;
    let size_mib = u32::try_from(available_mib)?.saturating_sub(LEFT_MIB);
    set(guest, size_mib)?;
    let before_kib = in_balloon_kib(guest)?;
    let written = guest.run(&format!(
        "dd if=/dev/urandom bs=1M count={TAKEN_MIB} 2>/dev/null | tee /tmp/needed | md5sum"
    ))?;
    let after_kib = in_balloon_kib(guest)?;
    let actual_mib = guest.stats()?["balloon"]["actual_mib"].clone();
    Ok(json!({
        "size_mib": size_mib,
        "actual_mib": actual_mib,
        "in_balloon_kib": [before_kib, after_kib],
        "written": written,
        "read": guest.run("md5sum </tmp/needed")?,
        "killed": guest.number("awk '/^oom_kill / {print $2}' /proc/vmstat")?,
    }))
}

/// What the guest's kernel has in the balloon. `MemTotal` does not tell: a balloon that lets go when memory runs out counts as used.
fn in_balloon_kib(guest: &mut Guest) -> Result<u64, Box<dyn Error>> {
    guest.number(
        "awk '/^balloon_inflate/ {i = $2} /^balloon_deflate/ {d = $2} END {print (i - d) * 4}' /proc/vmstat",
    )
}

/// Waits until the guest's load has come round so many times more.
fn rounds(guest: &mut Guest, more: u64) -> Result<(), Box<dyn Error>> {
    let command = "cat /tmp/rounds 2>/dev/null | wc -l";
    let begun = guest.number(command)?;
    wait_until("the guest works on", DEADLINE, || {
        guest.number(command).ok().filter(|now| *now >= begun + more)
    })?;
    Ok(())
}

/// Sets the balloon's size, and waits until it has it.
fn set(guest: &Guest, size_mib: u32) -> Result<(), Box<dyn Error>> {
    guest.ask("PUT", "/v1/balloon", &json!({"size_mib": size_mib}))?;
    wait_until("the balloon has its size", DEADLINE, || {
        (guest.stats().ok()?["balloon"]["actual_mib"] == size_mib).then_some(())
    })?;
    Ok(())
}

/// What the guest's memory takes of the host's.
fn guest_memory_kib(guest: &Guest) -> Result<u32, Box<dyn Error>> {
    Ok(guest.monitor.guest_share_kib(MEMORY_MIB)?)
}
