//! Processors, being held, and the socket between guest and host.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use serde_json::{Value, json};
use support::wait_until;

use crate::Facts;
use crate::guest::{DEADLINE, Files, Guest};

const VCPUS: u32 = 4;
/// As many as a configuration takes.
const VCPUS_MAX: u32 = 64;
/// How long each of four processors computes at least, in nanoseconds.
const BUSY_NS: u64 = 50_000_000;
/// How often it is held.
const TIMES: u32 = 5;
/// A counter that a guest goes on with for ever.
pub const COUNT: &str = "{ i=0; while true; do i=$((i + 1)); echo $i >/tmp/next; mv /tmp/next /tmp/count; usleep 20000; done; } &";

/// Four processors, each with work to do.
pub fn processors(files: &Files) -> Facts {
    let mut guest = files.start("processors", &json!({"cpus": {"count": VCPUS}}))?;
    let seen = guest.number("nproc")?;
    let topology = guest.run("cat /sys/devices/system/cpu/cpu*/topology/core_id | tr '\\n' ' '")?;
    guest.run(
        "for cpu in 0 1 2 3; do taskset $((1 << cpu)) sh -c 'while true; do :; done' >/dev/null 2>&1 & echo $! >>/tmp/loops; done",
    )?;
    // What each has had is in nanoseconds there. Ticks are few where four processors share an emulated one.
    guest.run(&format!(
        "busy() {{ while read loop; do read ran rest </proc/$loop/schedstat; [ $ran -lt {BUSY_NS} ] || echo $loop; done </tmp/loops; }}; \
         for second in $(seq 60); do [ $(busy | wc -l) -lt {VCPUS} ] || break; sleep 1; done"
    ))?;
    let busy = guest.run("while read loop; do cut -d' ' -f1 /proc/$loop/schedstat; done </tmp/loops")?;
    let busy: Vec<u64> = busy.lines().filter_map(|line| line.parse().ok()).collect();
    let on =
        guest.run("while read loop; do cut -d' ' -f39 /proc/$loop/stat; done </tmp/loops | tr '\\n' ' '")?;
    Ok(json!({"seen": seen, "cores": topology, "busy_ns": busy, "on": on}))
}

/// As many processors as a machine may have: all come up, and each runs what it is given.
pub fn most_processors(files: &Files) -> Facts {
    let mut guest = files.start("most-processors", &json!({"cpus": {"count": VCPUS_MAX}}))?;
    let run = format!(
        "for cpu in $(seq 0 {}); do taskset -c $cpu cut -d' ' -f 39 /proc/self/stat; done | sort -un | wc -l",
        VCPUS_MAX - 1
    );
    Ok(json!({
        "online": guest.run("cat /sys/devices/system/cpu/online")?,
        "ran_on": guest.number(&run)?,
        "packages": guest.number("sort -u /sys/devices/system/cpu/cpu*/topology/physical_package_id | wc -l")?,
        "log": guest.log(),
    }))
}

/// Held and let go, again and again, while it computes, writes and counts.
pub fn held_under_load(files: &Files) -> Facts {
    let disk = Files::place("held")?.file("disk");
    std::fs::File::create(&disk)?.set_len(64 << 20)?;
    let config = json!({"cpus": {"count": 2}, "disks": [{"id": "data", "path": disk}]});
    let mut guest = files.start("held", &config)?;
    guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>&1; md5sum </tmp/data >/tmp/sum")?;
    guest.run(COUNT)?;
    guest.run(
        "{ while cp /tmp/data /dev/vda && sync && echo 3 >/proc/sys/vm/drop_caches && \
         head -c 4194304 /dev/vda | md5sum | cmp - /tmp/sum; do echo >>/tmp/rounds; done; echo >/tmp/broken; } &",
    )?;
    let mut moved_while_held = Vec::new();
    let mut went_on = 0;
    for _ in 0..TIMES {
        let before = guest.number("cat /tmp/count")?;
        guest.post("/v1/pause")?;
        let held = guest.monitor.cpu()?;
        std::thread::sleep(Duration::from_secs(1));
        moved_while_held.push(guest.monitor.cpu()?.saturating_sub(held).as_millis());
        guest.post("/v1/resume")?;
        let counts = wait_until("the guest counts on", DEADLINE, || {
            guest.number("cat /tmp/count").ok().filter(|now| *now > before)
        });
        went_on += u32::from(counts.is_ok());
    }
    // At least one whole round after the last pause.
    let rounds = guest.number("cat /tmp/rounds 2>/dev/null | wc -l")?;
    let more = wait_until("the disk is written and read again", DEADLINE, || {
        guest
            .number("cat /tmp/rounds 2>/dev/null | wc -l")
            .ok()
            .filter(|now| *now > rounds + 1)
    })?;
    let moved: Vec<u64> = moved_while_held
        .into_iter()
        .map(u64::try_from)
        .collect::<Result<_, _>>()?;
    Ok(json!({
        "moved_while_held_ms": moved,
        "went_on": went_on,
        "times": TIMES,
        "rounds": more,
        "broken": guest.run("ls /tmp/broken 2>/dev/null || echo no")?,
        "stalls": guest.run("dmesg | grep -ciE 'soft lockup|stall|hung' || true")?,
    }))
}

/// Words between guest and host, begun by either side; the balloon is moved, too: all under the filters that kill.
pub fn vsock(files: &Files) -> Facts {
    let socket = Files::place("vsock")?.file("vsock");
    // What an earlier monitor has left.
    let _not_there = std::fs::remove_file(&socket);
    let from_guest = UnixListener::bind(Files::place("vsock")?.file("vsock_700"))?;
    let config = json!({"vsock": {"cid": 3, "path": socket}, "balloon": {}});
    let mut guest = files.start("vsock", &config)?;
    guest.run(
        "lab-guest vsock-echo 600 >/tmp/echo 2>&1 & until grep -q listening /tmp/echo; do usleep 50000; done",
    )?;
    let (answer, megabyte) = host_begins(&guest)?;
    let (said, heard) = guest_begins(&mut guest, from_guest, "water")?;
    guest.ask("PUT", "/v1/balloon", &json!({"size_mib": 32}))?;
    wait_until("the balloon is full", DEADLINE, || {
        (guest.stats().ok()?["balloon"]["actual_mib"] == 32).then_some(())
    })?;
    Ok(json!({
        "answer": answer,
        "megabyte_came_back": megabyte,
        "guest_said": said,
        "guest_heard": heard,
        "seccomp": seccomp_modes(&guest)?,
        "log": guest.log(),
    }))
}

/// A connection that the guest begins, to its host's port 700, where the listener is: a word, and the answer that it hears.
pub fn guest_begins(
    guest: &mut Guest,
    listener: UnixListener,
    word: &str,
) -> Result<(String, String), Box<dyn std::error::Error>> {
    let listener = std::thread::spawn(move || -> std::io::Result<String> {
        let (mut stream, _) = listener.accept()?;
        let mut word = String::new();
        BufReader::new(stream.try_clone()?).read_line(&mut word)?;
        stream.write_all(b"heard ")?;
        stream.write_all(word.as_bytes())?;
        Ok(word)
    });
    let heard = guest.run(&format!("lab-guest vsock-say 700 {word}"))?;
    let said = listener.join().map_err(|_| "the listener panicked")??;
    Ok((said.trim().to_owned(), heard))
}

/// A connection that the host begins: a word, and more than any buffer holds.
fn host_begins(guest: &Guest) -> Result<(String, bool), Box<dyn std::error::Error>> {
    let mut stream = UnixStream::connect(guest.place.file("vsock"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    writeln!(stream, "CONNECT 600")?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.starts_with("OK ") {
        return Err(format!("the guest does not take the connection: {line}").into());
    }
    writeln!(stream, "pond")?;
    let mut answer = String::new();
    reader.read_line(&mut answer)?;
    let sent = vec![b'w'; 1 << 20];
    let writer = std::thread::spawn({
        let sent = sent.clone();
        move || {
            stream
                .write_all(&sent)
                .and_then(|()| stream.shutdown(Shutdown::Write))
        }
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received)?;
    writer.join().map_err(|_| "the writer panicked")??;
    Ok((answer.trim().to_owned(), received == sent.to_ascii_uppercase()))
}

/// What the kernel says about the filters of the monitor's threads: 2 is a filter.
fn seccomp_modes(guest: &Guest) -> Result<Vec<Value>, Box<dyn std::error::Error>> {
    let mut modes = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{}/task", guest.monitor.id()))? {
        // The thread of a connection may have ended since.
        let Ok(status) = std::fs::read_to_string(task?.path().join("status")) else {
            continue;
        };
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        modes.push(mode.unwrap_or_default().trim().into());
    }
    Ok(modes)
}
