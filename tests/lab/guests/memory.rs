//! The balloon, under load.

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
    // MemTotal stays: a balloon that lets go when memory runs out counts as used.
    let in_balloon = |guest: &mut Guest| {
        guest.number("awk '/^balloon_inflate/ {i = $2} /^balloon_deflate/ {d = $2} END {print (i - d) * 4}' /proc/vmstat")
    };
    let mut held_kib = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..2 {
        set(&guest, BALLOON_MIB)?;
        rounds(&mut guest, 2)?;
        held_kib.push(guest_memory_kib(&guest)?);
        taken.push(in_balloon(&mut guest)?);
        set(&guest, 0)?;
        rounds(&mut guest, 2)?;
    }
    let left_kib = in_balloon(&mut guest)?;
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
