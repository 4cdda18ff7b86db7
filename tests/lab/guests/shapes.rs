//! The kinds of memory that a machine can have: on both sides of the gap for devices, in a file, and in huge pages. With each it goes on from
//! a snapshot.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;

use serde_json::{Value, json};
use support::{Mapping, wait_until};

use crate::Facts;
use crate::guest::{DEADLINE, Files, Guest, MEMORY_MIB};

/// So much that 512 MiB of it lie above the gap. The lab host has less: what a guest does not touch is not there.
const MEMORY_BEYOND_THE_GAP_MIB: u32 = 3584;
/// How much of its memory a guest fills, in MiB.
const DATA_MIB: u32 = 24;
const HUGE_PAGE_MIB: u32 = 2;
const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

/// Memory on both sides of the gap, in a file, and in huge pages; each holds data, before and after a snapshot. At last a machine for which
/// there are too few huge pages.
pub fn kinds_of_memory(files: &Files) -> Facts {
    let with = |memory: Value| json!({"memory": memory});
    let beyond = with(json!({"size_mib": MEMORY_BEYOND_THE_GAP_MIB}));
    let shared = with(json!({"size_mib": MEMORY_MIB, "shared": true}));
    let huge = with(json!({"size_mib": MEMORY_MIB, "huge_pages": true}));
    let mut facts = json!({
        "beyond_the_gap": one_kind(files, "memory-beyond-the-gap", &beyond)?,
        "shared": one_kind(files, "memory-shared", &shared)?,
    });
    // The monitor that is restored comes after the one that was saved is gone.
    reserve_huge_pages(MEMORY_MIB / HUGE_PAGE_MIB)?;
    facts["huge_pages"] = one_kind(files, "memory-huge", &huge)?;
    reserve_huge_pages(MEMORY_MIB / HUGE_PAGE_MIB - 1)?;
    facts["too_few_huge_pages"] = files.refusal("memory-too-few", &huge)?.into();
    reserve_huge_pages(0)?;
    Ok(facts)
}

fn one_kind(files: &Files, name: &str, config: &Value) -> Facts {
    let mut guest = files.start(name, config)?;
    guest.run(&format!(
        "dd if=/dev/urandom of=/tmp/data bs=1M count={DATA_MIB} 2>&1"
    ))?;
    let see = |guest: &mut Guest| -> Facts {
        Ok(json!({
            "sum": guest.run("md5sum </tmp/data")?,
            "frames": guest.run("lab-guest frames /tmp/data")?,
            "ram_kib": guest.number("awk '/MemTotal/ {print $2}' /proc/meminfo")?,
            "mappings": mappings(guest)?,
        }))
    };
    before_and_after(files, (guest, name), config, see)
}

/// What is seen of a guest, and what is seen of it after it was saved, killed and restored.
fn before_and_after(
    files: &Files,
    (mut guest, name): (Guest, &str),
    config: &Value,
    see: impl Fn(&mut Guest) -> Facts,
) -> Facts {
    let before = see(&mut guest)?;
    guest.run("echo $((6 * 7)) >/tmp/mark")?;
    let taken = guest.snapshot("whole", false)?;
    guest.monitor.kill();
    drop(guest);
    let mut guest = files.restore(name, config, &["whole"])?;
    let mark = guest.number("cat /tmp/mark")?;
    let after = see(&mut guest)?;
    // It takes of the lab host's memory, as all files do there.
    fs::remove_dir_all(guest.place.file("snapshots"))?;
    Ok(json!({
        "before": before,
        "after": after,
        "mark": mark,
        "snapshot_mib": taken["memory_mib"],
        "stalls": guest.run("dmesg | grep -ciE 'soft lockup|stall|hung' || true")?,
        "log": guest.log(),
    }))
}

/// What the guest's memory is of, on each side of the gap: the kinds of its mappings, and the size of their pages.
fn mappings(guest: &Guest) -> Result<Vec<BTreeSet<String>>, Box<dyn Error>> {
    let mut found = Vec::new();
    for size_mib in [MEMORY_MIB, 3072, MEMORY_BEYOND_THE_GAP_MIB - 3072] {
        for row in guest.monitor.rows(size_mib)? {
            let kind = |one: &Mapping| {
                let of = one.of.rsplit('/').next().filter(|name| !name.is_empty());
                format!("{}, {} KiB", of.unwrap_or("nobody else's"), one.page_kib)
            };
            found.push(row.iter().map(kind).collect());
        }
    }
    Ok(found)
}

/// Has the lab host set huge pages aside, and waits until it has as many.
fn reserve_huge_pages(pages: u32) -> Result<(), Box<dyn Error>> {
    wait_until("the host has huge pages", DEADLINE, || {
        // The kernel gives as many as it finds room for; asked again, it finds more.
        fs::write(HUGE_PAGES, pages.to_string()).ok()?;
        let has = fs::read_to_string(HUGE_PAGES).ok()?;
        (has.trim() == pages.to_string()).then_some(())
    })?;
    Ok(())
}
