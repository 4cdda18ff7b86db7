//! Snapshots: a chain of them, and a connection that outlives its end.

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use support::wait_until;

use crate::Facts;
use crate::guest::{DEADLINE, Files, Guest};
use crate::machines::COUNT;
use crate::network::{self, Bridge};

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
    let mut logging = config.clone();
    logging["log_writes"] = true.into();
    let mut guest = files.restore("chain", &logging, &chain)?;
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
    let stalls = guest.run("dmesg | grep -ciE 'soft lockup|stall|hung' || true")?;
    let longer = longer_chain(files, &config, guest)?;
    Ok(json!({
        "taken_mib": taken,
        "counted": [counted, goes_on],
        "written": sums,
        "found": found,
        "on_disk": on_disk,
        "clock_ahead_ms": [clock_before, clock_after],
        "longer": longer,
        "stalls": stalls,
        "refused": refused(files, &config)?,
    }))
}

/// A restored machine adds to the chain that it went on from, and one that goes on from that is saved as the first link of a new one.
fn longer_chain(files: &Files, config: &Value, mut guest: Guest) -> Facts {
    guest.run("dd if=/dev/urandom of=/tmp/data-three bs=1M count=6 2>&1")?;
    let written = guest.run("md5sum </tmp/data-three")?;
    let added = guest.snapshot("three", true)?["memory_mib"].clone();
    drop(guest);
    let mut guest = files.restore("chain", config, &["full", "one", "two", "three"])?;
    let mut found = Vec::new();
    for name in ["full", "two", "three"] {
        found.push(guest.run(&format!("md5sum </tmp/data-{name}"))?);
    }
    // This one was started without a log.
    let refused = guest.snapshot("four", true).err().map(|error| error.to_string());
    Ok(json!({
        "added_mib": added,
        "written": written,
        "found": found,
        "refused": refused,
        "again_mib": guest.snapshot("again", false)?["memory_mib"],
    }))
}

/// A guest that keeps its time by the time-stamp counter, as where that is invariant, which an emulated processor's is not: the guest is told
/// that it may rely on it.
pub fn clock_of_the_counter(files: &Files) -> Facts {
    let config = json!({"cpus": {"count": 1}, "boot": files.boot("clocksource=tsc tsc=reliable")});
    let mut guest = files.start("counter", &config)?;
    let clock = "cat /sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = guest.run(clock)?;
    let before = clock_ahead_ms(&mut guest)?;
    // A timer that is due while the guest is gone, and one that is due after.
    guest.run("{ sleep 2; echo >/tmp/early; } & { sleep 8; echo >/tmp/late; } &")?;
    guest.snapshot("ticking", false)?;
    guest.monitor.kill();
    drop(guest);
    std::thread::sleep(GONE);
    let mut guest = files.restore("counter", &config, &["ticking"])?;
    // Its memory is being read: what the first answer takes is no error of its clock.
    guest.run("true")?;
    let after = clock_ahead_ms(&mut guest)?;
    for timer in ["early", "late"] {
        wait_until("the guest's timer fires", DEADLINE, || {
            guest.run(&format!("cat /tmp/{timer}")).ok()
        })?;
    }
    Ok(json!({
        "sources": [source, guest.run(clock)?],
        "clock_ahead_ms": [before, after],
        "later": clock_ahead_ms(&mut guest)?,
        "stalls": guest.run("dmesg | grep -ciE 'soft lockup|stall|hung' || true")?,
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

/// What both ends of a connection run: it counts to the other end, and keeps what it hears.
const TALK: &str =
    "exec 3<&0; cat <&3 >/tmp/heard-$1 & i=0; while echo $i; do i=$((i + 1)); usleep 50000; done";
/// How long each end may take to hear them.
const PATIENCE: Duration = Duration::from_secs(90);
/// How many lines each end is to hear after the restore.
const MORE_LINES: u64 = 20;

/// A TCP connection between two guests, one of which is held, saved, killed and restored while both talk; by vhost-net and without.
pub fn connection(files: &Files) -> Facts {
    let bridge = Bridge::new("pond1", "10.78.0.1/24")?;
    let mut peer = files.start(
        "connection-peer",
        &network::config(&bridge.tap("pond1peer")?, 2, false),
    )?;
    peer.run("ip addr add 10.78.0.2/24 dev eth0; ip link set eth0 up")?;
    peer.run(&format!("echo '{TALK}' >/bin/talk"))?;
    let mut facts = json!({});
    for (number, (name, vhost)) in (3..).zip([("kernel", true), ("monitor", false)]) {
        let config = network::config(&bridge.tap(&format!("pond1{name}"))?, number, vhost);
        let address = format!("10.78.0.{number}/24");
        facts[name] = saved_while_it_talks(files, &config, (name, &address), &mut peer)?;
    }
    facts["stalls"] = peer
        .run("dmesg | grep -ciE 'soft lockup|stall|hung' || true")?
        .into();
    Ok(facts)
}

fn saved_while_it_talks(
    files: &Files,
    config: &Value,
    (name, address): (&str, &str),
    peer: &mut Guest,
) -> Facts {
    let machine = format!("connection-{name}");
    peer.run(&format!(
        "nc -l -p 99 -e sh /bin/talk {name} >/tmp/said-{name} 2>&1 &"
    ))?;
    let mut guest = files.start(&machine, config)?;
    guest.run(&format!("ip addr add {address} dev eth0; ip link set eth0 up"))?;
    guest.run("ping -c 1 -w 60 10.78.0.2")?;
    guest.run(&format!(
        "echo '{TALK}' >/bin/talk; mkfifo /tmp/said; \
         {{ sh /bin/talk {name} </tmp/said | nc 10.78.0.2 99 >/tmp/said; }} 2>/dev/null &"
    ))?;
    let lines = format!("wc -l </tmp/heard-{name}");
    let before = both_hear([&mut guest, peer], &lines, [0, 0])?;
    let port = guest.run(PORT)?;
    // It is held to its end: what it acknowledged after the snapshot, nobody would send it again.
    guest.post("/v1/pause")?;
    guest.snapshot("talking", false)?;
    guest.monitor.kill();
    drop(guest);
    std::thread::sleep(GONE);

    let mut guest = files.restore(&machine, config, &["talking"])?;
    let after = both_hear([&mut guest, peer], &lines, before.map(|lines| lines + MORE_LINES))?;
    let missing = format!("awk '$1 != NR - 1 {{ bad++ }} END {{ print bad + 0 }}' /tmp/heard-{name}");
    Ok(json!({
        "lines": [before, after],
        "missing": [guest.number(&missing)?, peer.number(&missing)?],
        "port": [port, guest.run(PORT)?],
        "path": guest.stats()?["networks"]["net"]["path"],
        "log": guest.log(),
    }))
}

/// The guest's end of its connection to port 99.
const PORT: &str = "netstat -tn | awk '$5 ~ /:99$/ && $6 == \"ESTABLISHED\" {print $4}'";

/// Waits until both ends of the connection, this guest and its peer, have heard more than so many lines. Where one does not, it says what
/// is known of both.
fn both_hear(ends: [&mut Guest; 2], lines: &str, than: [u64; 2]) -> Result<[u64; 2], Box<dyn Error>> {
    let mut heard = [Ok(0), Ok(0)];
    let [guest, peer] = ends;
    let all = wait_until("both ends hear the other", PATIENCE, || {
        heard = [guest.number(lines), peer.number(lines)];
        match &heard {
            [Ok(here), Ok(there)] if *here > than[0] && *there > than[1] => Some([*here, *there]),
            _ => None,
        }
    });
    all.map_err(|late| {
        let accounts = [account(guest), account(peer)];
        format!(
            "{late}: {heard:?} lines heard, more than {than:?} wanted; {}",
            accounts.join("; the peer: ")
        )
        .into()
    })
}

/// What a guest and its monitor know of a connection that stands still.
fn account(guest: &mut Guest) -> String {
    let begun = Instant::now();
    let slept = guest.run("cat /proc/uptime; sleep 1; cat /proc/uptime");
    let took = begun.elapsed();
    let state = guest
        .run("ps; netstat -tn; ip neigh; cat /proc/net/dev /proc/interrupts /proc/net/snmp; dmesg | tail");
    format!(
        "a second took {took:?}: {slept:?}; {state:?}; the monitor: {:?}; its threads:\n{}",
        guest.stats(),
        guest.monitor.threads()
    )
}
