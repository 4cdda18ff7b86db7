//! Several queue pairs: a guest of four vCPUs on a tap of several queues, by vhost-net and without, before and after a snapshot.

use std::error::Error;
use std::process::Command;

use serde_json::{Value, json};
use support::run;

use crate::Facts;
use crate::guest::{Files, Guest};
use crate::network::{self, Bridge, config, ip};

const VCPUS: u32 = 4;
/// The number of the first guest's interface; those of the others follow.
const FIRST: u32 = 0x41;
/// How many echoes each vCPU asks for.
const ECHOES: u32 = 20;

/// Each of the two ways that frames go.
pub fn pairs_by_kernel_and_by_monitor(files: &Files) -> Facts {
    let bridge = Bridge::new("pond4", "10.78.0.1/24")?;
    // An address for each vCPU's echoes, so that they are flows of their own.
    for vcpu in 2..=VCPUS {
        ip(&format!("addr add 10.78.0.{vcpu}/24 dev pond4"))?;
    }
    let mut facts = json!({});
    for (number, (name, vhost)) in (0..).zip([("kernel", true), ("monitor", false)]) {
        let tap = bridge.tap_of_several(&format!("pond4{name}"))?;
        let mut config = config(&tap, FIRST + number, vhost);
        config["cpus"] = json!({"count": VCPUS});
        facts[name] = one_guest(files, name, &tap, &config, &format!("10.78.0.{}", 11 + number))?;
    }
    // The same guest on a tap of one queue.
    let tap = bridge.tap("pond4one")?;
    let mut config = config(&tap, FIRST + 2, true);
    config["cpus"] = json!({"count": VCPUS});
    let mut guest = files.start("pairs-one", &config)?;
    facts["one"] = json!({
        "queues": guest.run("ls /sys/class/net/eth0/queues | tr '\\n' ' '")?,
        "stats": guest.stats()?["networks"]["net"],
    });
    facts["moved"] = on_taps_of_another_kind(files, &bridge, guest, &config)?;
    Ok(facts)
}

/// A guest of one queue goes on where the tap has several; one of several where the tap has one cannot.
fn on_taps_of_another_kind(files: &Files, bridge: &Bridge, mut guest: Guest, config: &Value) -> Facts {
    guest.run("ip link set eth0 up; ip addr add 10.78.0.20/24 dev eth0")?;
    let ping = "ping -c 5 -i 0.2 -w 60 10.78.0.1 | awk '/received/ {print $4}'";
    let before = guest.number(ping)?;
    guest.snapshot("one", false)?;
    guest.monitor.kill();
    drop(guest);
    let mut to = config.clone();
    to["networks"][0]["backend"]["tap"]["name"] = bridge.tap_of_several("pond4more")?.into();
    let mut guest = files.restore("pairs-one", &to, &["one"])?;
    let after = guest.number(ping)?;
    let stats = guest.stats()?["networks"]["net"].clone();
    drop(guest);
    // The first guest's interface, which is known by its address.
    let mut to = config.clone();
    to["networks"][0]["mac"] = network::config("", FIRST, true)["networks"][0]["mac"].clone();
    let saved = Files::place("pairs-kernel")?.file("snapshots");
    to["restore"] = json!([saved.join("full"), saved.join("more")]);
    Ok(json!({
        "received": [before, after],
        "queue_pairs": stats["queue_pairs"],
        "refused": files.refusal("pairs-refused", &to)?,
    }))
}

fn one_guest(files: &Files, name: &str, tap: &str, config: &Value, address: &str) -> Facts {
    let name = format!("pairs-{name}");
    let mut guest = files.start(&name, config)?;
    let queues = guest.run("ls /sys/class/net/eth0/queues | tr '\\n' ' '")?;
    guest.run(&format!("ip link set eth0 up; ip addr add {address}/24 dev eth0"))?;
    // A vCPU sends by the queue of its own number.
    guest.run("for q in 0 1 2 3; do echo $((1 << q)) >/sys/class/net/eth0/queues/tx-$q/xps_cpus; done")?;
    let at_first = echoes(&mut guest, tap)?;
    guest.run("lab-guest queue-pairs eth0 2")?;
    let of_two = echoes(&mut guest, tap)?;
    guest.run("lab-guest queue-pairs eth0 4")?;
    guest.run("for q in 0 1 2 3; do echo $((1 << q)) >/sys/class/net/eth0/queues/tx-$q/xps_cpus; done")?;
    let of_four = echoes(&mut guest, tap)?;
    guest.snapshot("full", false)?;
    // What is written from now on by each pair, rings included, is in the increment; else no frame would come after the restore.
    let logged = echoes(&mut guest, tap)?;
    let increment = guest.snapshot("more", true)?;
    guest.monitor.kill();
    drop(guest);
    let left = tap_queues(tap)?;
    let mut guest = files.restore(&name, config, &["full", "more"])?;
    let restored = echoes(&mut guest, tap)?;
    let stats = guest.stats()?["networks"]["net"].clone();
    Ok(json!({
        "queues": queues,
        "at_first": at_first,
        "of_two": of_two,
        "of_four": of_four,
        "logged": logged,
        "increment_mib": increment["memory_mib"],
        "tap_queues_left": left,
        "restored": restored,
        "stats": stats,
        "stalls": guest.run("dmesg | grep -ciE 'soft lockup|stall|hung|NETDEV WATCHDOG' || true")?,
        "log": guest.log(),
    }))
}

/// Lets each vCPU ask for echoes. What came back, what each pair of the guest's driver did for it, and how many queues of the tap are
/// attached, and detached.
fn echoes(guest: &mut Guest, tap: &str) -> Result<Value, Box<dyn Error>> {
    let before = by_pair(guest)?;
    let received = guest.run(&format!(
        "for cpu in 0 1 2 3; do taskset $((1 << cpu)) ping -c {ECHOES} -i 0.1 -s 1000 -w 60 10.78.0.$((cpu + 1)) >/tmp/ping-$cpu & done; \
         wait; cat /tmp/ping-* | awk '/received/ {{print $4}}'"
    ))?;
    let after = by_pair(guest)?;
    let moved = |direction: usize| -> Vec<u64> {
        before
            .iter()
            .zip(&after)
            .map(|(before, after)| after[direction] - before[direction])
            .collect()
    };
    let received: Vec<u32> = received.lines().filter_map(|line| line.parse().ok()).collect();
    Ok(json!({
        "received": received,
        "receive": moved(0),
        "transmit": moved(1),
        "tap_queues": tap_queues(tap)?,
    }))
}

/// The packets that each pair has received and sent, as the guest's driver counts them: `rx_queue_0_packets 12`, or `rx0_packets 12`.
fn by_pair(guest: &mut Guest) -> Result<Vec<[u64; 2]>, Box<dyn Error>> {
    let mut pairs = vec![[0; 2]; VCPUS as usize];
    for line in guest.run("lab-guest queue-stats eth0")?.lines() {
        let Some((name, count)) = line.trim().split_once(' ') else {
            continue;
        };
        for (direction, prefix) in ["rx", "tx"].into_iter().enumerate() {
            let number = name
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_suffix("_packets"))
                .map(|rest| rest.trim_start_matches("_queue_"));
            if let Some(pair) = number.and_then(|number| pairs.get_mut(number.parse::<usize>().ok()?)) {
                pair[direction] = count.parse()?;
            }
        }
    }
    Ok(pairs)
}

/// How many queues of a tap are attached, and how many are detached.
fn tap_queues(tap: &str) -> Result<[u32; 2], Box<dyn Error>> {
    let shown = run(Command::new("ip").args(["-d", "-o", "link", "show", tap]))?;
    let words: Vec<&str> = shown.split_whitespace().collect();
    let number = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    Ok(["numqueues", "numdisabled"].map(|name| number(name).unwrap_or(0)))
}
