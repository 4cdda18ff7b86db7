//! Snapshots: a chain of them.

use std::error::Error;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::wait_until;

use crate::Facts;
use crate::guest::{DEADLINE, Files, Guest};
use crate::machines::COUNT;

/// How long a guest that was saved is gone, so that its clock has something to catch up with.
const GONE: Duration = Duration::from_secs(4);

/// How far the guest's clock is ahead of the host's, in ms; negative where it is behind. What the question takes counts as error.
fn clock_ahead_ms(guest: &mut Guest) -> Result<i64, Box<dyn Error>> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH);
    let before = now()?;
    let said =
        guest.run("adjtimex | awk '/time.tv_sec/ {s = $2} /time.tv_usec/ {u = $2} END {print s, u}'")?;
    let after = now()?;
    let mut words = said.split_whitespace().map(str::parse::<i64>);
    let (Some(Ok(seconds)), Some(Ok(micros))) = (words.next(), words.next()) else {
        return Err(format!("no time: {said}").into());
    };
    let host = i64::try_from(u128::midpoint(before.as_millis(), after.as_millis()))?;
    Ok(seconds * 1000 + micros / 1000 - host)
}

/// A full snapshot and two that add to it, each with data in memory and on the disk that the one before does not have.
pub fn chain_of_snapshots(files: &Files) -> Facts {
    let disk = Files::place("chain")?.file("disk");
    fs::File::create(&disk)?.set_len(64 << 20)?;
    let config = json!({
        "cpus": {"count": 2},
        "disks": [{"id": "data", "path": disk}],
        "balloon": {},
        "vsock": {"cid": 4, "path": Files::place("chain")?.file("vsock")},
    });
    let mut guest = files.start("chain", &config)?;
    let clock_before = clock_ahead_ms(&mut guest)?;
    guest.run(COUNT)?;
    let mut taken = Vec::new();
    let mut sums = Vec::new();
    for (link, name) in ["full", "one", "two"].into_iter().enumerate() {
        guest.run(&format!(
            "dd if=/dev/urandom of=/tmp/data-{name} bs=1M count=6 2>&1"
        ))?;
        guest.run(&format!(
            "dd if=/tmp/data-{name} of=/dev/vda bs=1M seek={} 2>&1; sync",
            link * 8
        ))?;
        sums.push(guest.run(&format!("md5sum </tmp/data-{name}"))?);
        taken.push(guest.snapshot(name, link > 0)?["memory_mib"].clone());
    }
    let counted = guest.number("cat /tmp/count")?;
    guest.monitor.kill();
    drop(guest);
    std::thread::sleep(GONE);

    let chain = ["full", "one", "two"];
    let mut guest = files.restore("chain", &config, &chain)?;
    let goes_on = wait_until("the guest counts on", DEADLINE, || {
        guest.number("cat /tmp/count").ok().filter(|now| *now > counted)
    })?;
    let clock_after = clock_ahead_ms(&mut guest)?;
    let mut found = Vec::new();
    for name in chain {
        found.push(guest.run(&format!("md5sum </tmp/data-{name}"))?);
    }
    guest.run("echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/urandom of=/dev/vda bs=1M count=4 2>&1; sync")?;
    let on_disk = guest.run("dd if=/dev/vda bs=1M skip=16 count=6 2>/dev/null | md5sum")?;
    // It can be saved again, as the first link of a new chain.
    let again = guest.snapshot("again", false)?["memory_mib"].clone();
    let stalls = guest.run("dmesg | grep -ciE 'soft lockup|stall|hung' || true")?;
    drop(guest);
    Ok(json!({
        "taken_mib": taken,
        "counted": [counted, goes_on],
        "written": sums,
        "found": found,
        "on_disk": on_disk,
        "clock_ahead_ms": [clock_before, clock_after],
        "again_mib": again,
        "stalls": stalls,
        "refused": refused(files, &config)?,
    }))
}

/// A chain with a link missing.
fn refused(files: &Files, config: &Value) -> Result<String, Box<dyn Error>> {
    let place = Files::place("chain")?;
    let before = fs::read_to_string(place.file("log"))?.len();
    // The monitor may be gone before its console is reached.
    if let Ok(mut guest) = files.restore("chain", config, &["full", "two"]) {
        guest.monitor.wait(DEADLINE)?;
    }
    let log = fs::read_to_string(place.file("log"))?;
    Ok(log.get(before..).unwrap_or_default().trim().to_owned())
}
