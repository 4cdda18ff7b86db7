//! A guest that tries.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use support::{MachineFolder, run, wait_until};

use crate::Facts;
use crate::guest::{DEADLINE, Files, Guest, MEMORY_MIB};
use crate::machines::guest_begins;
use crate::network::{Bridge, config};

/// Where the guest's kernel leaves memory alone, for rings of the attacker's own.
const MEMORY: &str = "0x8000000";
/// The first device's registers; the others follow in the order of the configuration.
const FIRST: u64 = 0xd000_0000;
/// The victims: a raw disk and an overlay, an interface of the monitor's and one of the kernel's (vhost), the socket, the balloon, the
/// console, the source of randomness. They come after the disk that is to go on working.
const VICTIMS: u64 = 8;
/// Frames that come unasked while the interfaces are attacked: one every few milliseconds.
const FRAME_INTERVAL: Duration = Duration::from_millis(5);

/// All devices but one disk are taken from their drivers and attacked, while that disk is written and read. Then their drivers get them back,
/// and all of them work.
pub fn hostile_guest(files: &Files) -> Facts {
    let place = Files::place("hostile")?;
    let bridge = Bridge::new("pond2", "10.79.0.1/24")?;
    let config = victims(files, &place, &bridge)?;
    let listener = UnixListener::bind(place.file("vsock_700"))?;
    let mut guest = files.start("hostile", &config)?;
    let before_kib = guest.monitor.overhead_kib(MEMORY_MIB)?;
    drivers(&mut guest, "unbind")?;
    work(&mut guest)?;
    let frames = Frames::to("10.79.0.255:9")?;
    let attacked = guest.run(&format!(
        "lab-guest hostile {:#x} {VICTIMS} {MEMORY}",
        FIRST + 0x1000
    ))?;
    drop(frames);
    let after_kib = guest.monitor.overhead_kib(MEMORY_MIB)?;
    let rounds = goes_on(&mut guest)?;
    drivers(&mut guest, "bind")?;
    let again = work_again(&mut guest, &place, listener)?;
    Ok(json!({
        "attacked": attacked.lines().collect::<Vec<_>>(),
        "rounds": rounds,
        "again": again,
        "broken": guest.run("ls /tmp/broken 2>/dev/null || echo no")?,
        "overhead_kib": [before_kib, after_kib],
        "state": guest.ask("GET", "/v1/machine", &Value::Null)?["state"],
        "stats": guest.stats()?,
        "log": guest.log(),
    }))
}

fn victims(files: &Files, place: &MachineFolder, bridge: &Bridge) -> Facts {
    for disk in ["good", "victim", "base"] {
        std::fs::File::create(place.file(disk))?.set_len(64 << 20)?;
    }
    run(Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(place.file("base"))
        .arg(place.file("overlay")))?;
    let mut networks = Vec::new();
    for (number, vhost) in [(1, false), (2, true)] {
        let tap = bridge.tap_of_several(&format!("pond2-{number}"))?;
        let mut interface = config(&tap, number, vhost)["networks"][0].take();
        interface["id"] = json!(format!("net{number}"));
        networks.push(interface);
    }
    Ok(json!({
        "cpus": {"count": 2},
        "boot": files.boot(&format!("iomem=relaxed memmap=4M${MEMORY}")),
        "disks": [
            {"id": "good", "path": place.file("good")},
            {"id": "victim", "path": place.file("victim")},
            {"id": "overlay", "path": place.file("overlay"), "format": "qcow2"},
        ],
        "networks": networks,
        "vsock": {"cid": 3, "path": place.file("vsock")},
        "balloon": {},
        "console_socket": place.file("console"),
    }))
}

/// Takes the victims from their drivers, or gives them back.
fn drivers(guest: &mut Guest, how: &str) -> Result<(), Box<dyn Error>> {
    for device in 1..=VICTIMS {
        guest.run(&format!(
            "echo LNRO0005:{device:02} >/sys/bus/platform/drivers/virtio-mmio/{how}"
        ))?;
    }
    Ok(())
}

/// Writes the good disk and reads it again, for as long as the guest runs.
fn work(guest: &mut Guest) -> Result<(), Box<dyn Error>> {
    guest.run("dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>&1; md5sum </tmp/data >/tmp/sum")?;
    guest.run(
        "{ while cp /tmp/data /dev/vda && sync && echo 3 >/proc/sys/vm/drop_caches && \
         head -c 4194304 /dev/vda | md5sum | cmp - /tmp/sum; do echo >>/tmp/rounds; done; echo >/tmp/broken; } &",
    )?;
    Ok(())
}

/// How often that was done, before and after at least one whole round.
fn goes_on(guest: &mut Guest) -> Result<[u64; 2], Box<dyn Error>> {
    let rounds = "cat /tmp/rounds 2>/dev/null | wc -l";
    let before = guest.number(rounds)?;
    let after = wait_until("the other disk is written and read again", DEADLINE, || {
        guest.number(rounds).ok().filter(|now| *now > before + 1)
    })?;
    Ok([before, after])
}

/// What the victims do for their drivers.
fn work_again(guest: &mut Guest, place: &MachineFolder, listener: UnixListener) -> Facts {
    let mut disks = Vec::new();
    for disk in ["b", "c"] {
        disks.push(guest.run(&format!(
            "head -c 1048576 /tmp/data >/tmp/part; cp /tmp/part /dev/vd{disk}; sync; echo 3 >/proc/sys/vm/drop_caches; \
             head -c 1048576 /dev/vd{disk} | cmp - /tmp/part && echo same"
        ))?);
    }
    let mut echoes = Vec::new();
    for (interface, address) in [("eth0", "10.79.0.2"), ("eth1", "10.79.0.3")] {
        echoes.push(guest.run(&format!(
            "ip link set {interface} up; ip addr add {address}/24 dev {interface}; ping -c 3 -i 0.2 -w 60 10.79.0.1 | grep received; \
             ip link set {interface} down"
        ))?);
    }
    let random = guest.number("head -c 64 /dev/hwrng | wc -c")?;
    let mut console = BufReader::new(UnixStream::connect(place.file("console"))?);
    console.get_ref().set_read_timeout(Some(DEADLINE))?;
    // Its number is another one than before.
    guest.run(
        "for hvc in /dev/hvc*; do stty -F $hvc raw -echo 2>/dev/null && break; done; echo still here >$hvc",
    )?;
    let line = said(&mut console, "still here")?;
    guest.ask("PUT", "/v1/balloon", &json!({"size_mib": 16}))?;
    wait_until("the balloon is full", DEADLINE, || {
        (guest.stats().ok()?["balloon"]["actual_mib"] == 16).then_some(())
    })?;
    let (said, _heard) = guest_begins(guest, listener, "pond")?;
    Ok(json!({
        "disks": disks,
        "echoes": echoes,
        "random_bytes": random,
        "console": line,
        "balloon_mib": 16,
        "vsock": said,
    }))
}

/// Reads lines until one is the word: before it may be what the attacker had the console say.
fn said(console: &mut impl BufRead, word: &str) -> Result<String, Box<dyn Error>> {
    let mut line = Vec::new();
    while console.read_until(b'\n', &mut line)? > 0 {
        if line.trim_ascii().ends_with(word.as_bytes()) {
            return Ok(word.to_owned());
        }
        line.clear();
    }
    Err(format!("the console does not say {word:?}").into())
}

/// Broadcasts by the lab host, so that frames come while nobody's driver waits for them.
struct Frames {
    stopped: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Frames {
    fn to(address: &'static str) -> Result<Self, Box<dyn Error>> {
        let socket = UdpSocket::bind("10.79.0.1:0")?;
        socket.set_broadcast(true)?;
        let stopped = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stopped);
        let sender = std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                let _full_for_now = socket.send_to(&[0; 1000], address);
                std::thread::sleep(FRAME_INTERVAL);
            }
        });
        Ok(Self {
            stopped,
            sender: Some(sender),
        })
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            let _panicked = sender.join();
        }
    }
}

/// Each port and register that a guest can name is read and written on each processor; then the guest is saved and goes on elsewhere, with
/// whatever is in its registers now.
pub fn sweep(files: &Files) -> Facts {
    let disk = Files::place("sweep")?.file("good");
    std::fs::File::create(&disk)?.set_len(64 << 20)?;
    let config = json!({
        "cpus": {"count": 2},
        "boot": files.boot("msr.allow_writes=on"),
        "disks": [{"id": "good", "path": disk}],
    });
    let mut guest = files.start("sweep", &config)?;
    work(&mut guest)?;
    let mut swept = Vec::new();
    for processor in 0..2 {
        let said = guest.run(&format!("taskset {} lab-guest sweep {processor}", 1 << processor))?;
        swept.extend(said.lines().map(str::to_owned));
    }
    let rounds = goes_on(&mut guest)?;
    guest.snapshot("swept", false)?;
    guest.monitor.kill();
    drop(guest);
    let mut guest = files.restore("sweep", &config, &["swept"])?;
    Ok(json!({
        "swept": swept,
        "rounds": rounds,
        "rounds_restored": goes_on(&mut guest)?,
        "broken": guest.run("ls /tmp/broken 2>/dev/null || echo no")?,
        "log": guest.log(),
    }))
}
