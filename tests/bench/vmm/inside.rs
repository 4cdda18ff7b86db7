//! What is measured, on the lab host.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{MachineFolder, Monitor, QUIET_COMMAND_LINE, Trouble, ask};

use crate::data;
use crate::guest::MARK;
use crate::qemu::{QemuParts, qemu};

/// How often each launch is measured; the two monitors take turns.
const ROUNDS: usize = 7;
/// How often a monitor is started that runs nothing: that is quick, and some are slow for finding memory that nobody has used before.
const FIRST_ROUNDS: usize = 21;
const MEMORY_MIB: u32 = 256;
/// How long a guest gets to become quiet before it is measured, how long it is watched, and how many are.
const SETTLE: Duration = Duration::from_secs(5);
const WATCH: Duration = Duration::from_secs(10);
const WATCHES: usize = 5;
/// The kernel's command line of a guest as the agent starts it.
const AS_THE_AGENT: &str = "panic=-1 tsc=nowatchdog console=ttyS0 quiet";
/// The guests of the growth table, each smaller, so that fifty fit.
const GROWTH: [u32; 5] = [1, 5, 10, 25, 50];
const GROWTH_MEMORY_MIB: u32 = 128;

/// What can be measured by itself, by its name.
pub const PARTS: [&str; 4] = ["launch", "disks", "network", "growth"];

/// Measures one part; the lines go to `$OUT/bench`, and what stood in the way to `$OUT/trouble`.
pub fn run(files: &Path, part: &str) -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT")?);
    let mut lines = File::create(out.join("bench"))?;
    let measured = measure(files, part, &mut lines);
    let trouble = measured.as_ref().err().map(ToString::to_string);
    fs::write(out.join("trouble"), trouble.unwrap_or_default())?;
    measured
}

fn measure(files: &Path, part: &str, lines: &mut File) -> Result<(), Box<dyn Error>> {
    // Both monitors find the files in the page cache.
    for name in ["vmlinux", "initrd"] {
        fs::read(files.join(name))?;
    }
    match part {
        "launch" => {
            let boot = launch(files, lines)?;
            first_instruction(files, "vmm_first_instruction_lab_cpu_ms", lines)?;
            idle(files, lines)?;
            restore(files, boot, lines)
        }
        "disks" => data::disks(files, lines),
        "network" => data::network(files, lines),
        "growth" => growth(files, lines),
        other => Err(format!("no part {other}; there are: {}", PARTS.join(", ")).into()),
    }
}

/// Where a machine of the benchmark keeps its files.
pub fn machine_folder(name: &str) -> Result<MachineFolder, Trouble> {
    MachineFolder::new(Path::new("/run/bench").join(name))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// What QEMU's guest boots, as ours does.
fn parts(files: &Path, command_line: &str) -> QemuParts {
    QemuParts {
        initrd: files.join("initrd"),
        command_line: command_line.to_owned(),
    }
}

/// Launch to init, ours and QEMU's by turns. Returns our median.
fn launch(files: &Path, lines: &mut File) -> Result<Duration, Box<dyn Error>> {
    let place = machine_folder("launch")?;
    let parts = parts(files, QUIET_COMMAND_LINE);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(Monitor::start(&mut place.monitor(files, MEMORY_MIB, &json!({}))?)?.until_it_says(MARK)?);
        theirs.push(Monitor::start(&mut qemu(files, MEMORY_MIB, &parts))?.until_it_says(MARK)?);
    }
    writeln!(
        lines,
        "launch to init, in ms: ours {:?}, QEMU {:?}",
        millis(&ours),
        millis(&theirs)
    )?;
    let (ours, theirs) = (median(ours), median(theirs));
    writeln!(
        lines,
        "bench vmm_init_vs_qemu {:.3} ratio",
        ours.as_secs_f64() / theirs.as_secs_f64()
    )?;
    Ok(ours)
}

fn millis(times: &[Duration]) -> Vec<u128> {
    times.iter().map(Duration::as_millis).collect()
}

/// The CPU time of a monitor whose machine is whole and has not run, as user and system time together.
///
/// Needs a `/dev/kvm` that makes machines, and no more: no instruction of a guest runs.
pub fn first_instruction(
    files: &Path,
    name: &str,
    lines: &mut impl std::io::Write,
) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    for round in 0..FIRST_ROUNDS {
        let place = machine_folder(&format!("first-{round}"))?;
        let socket = place.file("api");
        let more = json!({"paused": true, "api_socket": socket});
        let monitor = Monitor::start(&mut place.monitor(files, MEMORY_MIB, &more)?)?;
        ask(&socket, "GET", "/v1/machine", &Value::Null)?;
        times.push(monitor.cpu()?);
    }
    writeln!(
        lines,
        "CPU time before the first instruction, in ms: {:?}",
        millis(&times)
    )?;
    writeln!(lines, "bench {name} {:.1} ms", median(times).as_secs_f64() * 1e3)?;
    Ok(())
}

/// Memory beyond the guest's, and CPU time, of a monitor whose guest sleeps; with the devices that an instance has. QEMU's guests sleep by turns
/// with ours: how much a guest's own timers cost depends on the machine, and is the same for both. So do guests that compare their counter with
/// kvm-clock, as a kernel does by itself on a machine whose counter is not invariant: the lab's is not. Each sleeps alone: QEMU's takes a tenth of a
/// processor meanwhile, and the processors of the lab are slower for their neighbours, which would be counted as ours.
fn idle(files: &Path, lines: &mut File) -> Result<(), Box<dyn Error>> {
    let place = machine_folder("idle")?;
    let machine = |command_line: &str| {
        json!({
            "boot": {
                "kernel": files.join("vmlinux"), "initrd": files.join("initrd"), "command_line": command_line,
            },
            "disks": [{"id": "disk", "path": files.join("tools"), "read_only": true}],
            "balloon": {},
        })
    };
    let (mut ours, mut theirs, mut overheads) = (Vec::new(), Vec::new(), Vec::new());
    let mut with_two_clocks = Vec::new();
    for _ in 0..WATCHES {
        let (monitor, busy) = asleep(&mut place.monitor(files, MEMORY_MIB, &machine(AS_THE_AGENT))?)?;
        ours.push(busy);
        overheads.push(monitor.overhead_kib(MEMORY_MIB)?);
        drop(monitor);
        theirs.push(asleep(&mut qemu(files, MEMORY_MIB, &parts(files, AS_THE_AGENT)))?.1);
        let machine = machine(QUIET_COMMAND_LINE);
        with_two_clocks.push(asleep(&mut place.monitor(files, MEMORY_MIB, &machine)?)?.1);
    }
    writeln!(
        lines,
        "CPU time of ten seconds asleep, in ms: ours {:?}, QEMU {:?}, ours with two clocks to look at {:?}",
        millis(&ours),
        millis(&theirs),
        millis(&with_two_clocks)
    )?;
    let (busy, busy_of_qemu) = (median(ours).as_secs_f64(), median(theirs).as_secs_f64());
    let percent = |busy: f64| busy / WATCH.as_secs_f64() * 100.0;
    overheads.sort_unstable();
    let overhead = overheads.get(WATCHES / 2).copied().unwrap_or_default();
    writeln!(
        lines,
        "bench vmm_overhead_mib {:.2} MiB",
        f64::from(overhead) / 1024.0
    )?;
    writeln!(lines, "bench vmm_idle_cpu_percent {:.2} percent", percent(busy))?;
    writeln!(
        lines,
        "bench vmm_idle_two_clocks_cpu_percent {:.2} percent",
        percent(median(with_two_clocks).as_secs_f64())
    )?;
    writeln!(lines, "bench vmm_idle_vs_qemu {:.2} ratio", busy / busy_of_qemu)?;
    Ok(())
}

/// Starts a guest, and lets it sleep. Returns it, and the CPU time that it took meanwhile.
fn asleep(command: &mut Command) -> Result<(Monitor, Duration), Box<dyn Error>> {
    let mut monitor = Monitor::start(command)?;
    monitor.until_it_says(MARK)?;
    std::thread::sleep(SETTLE);
    let before = monitor.cpu()?;
    std::thread::sleep(WATCH);
    let busy = monitor.cpu()?.saturating_sub(before);
    Ok((monitor, busy))
}

/// A snapshot, and how long it takes from a new process to a guest that goes on: it counts on its console.
fn restore(files: &Path, boot: Duration, lines: &mut File) -> Result<(), Box<dyn Error>> {
    let place = machine_folder("restore")?;
    let snapshots = place.file("snapshots");
    fs::create_dir_all(&snapshots)?;
    let socket = place.file("api");
    let more = json!({
        "api_socket": socket,
        "snapshot_directory": snapshots,
        "boot": {
            "kernel": files.join("vmlinux"), "initrd": files.join("initrd"),
            "command_line": "console=ttyS0 quiet panic=-1 count",
        },
    });
    {
        let mut monitor = Monitor::start(&mut place.monitor(files, MEMORY_MIB, &more)?)?;
        monitor.until_it_says(MARK)?;
        std::thread::sleep(SETTLE);
        ask(&socket, "POST", "/v1/snapshots", &json!({"name": "one"}))?;
    }
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let more = json!({"restore": [snapshots.join("one")]});
        let mut monitor = Monitor::start(&mut place.monitor(files, MEMORY_MIB, &more)?)?;
        times.push(monitor.until_it_counts()?);
    }
    writeln!(lines, "a snapshot's guest goes on, in ms: {:?}", millis(&times))?;
    writeln!(
        lines,
        "bench vmm_restore_vs_boot {:.3} ratio",
        median(times).as_secs_f64() / boot.as_secs_f64()
    )?;
    Ok(())
}

/// How launch time and memory grow with the number of guests, started at once.
fn growth(files: &Path, lines: &mut File) -> Result<(), Box<dyn Error>> {
    writeln!(
        lines,
        "{:>8} {:>22} {:>22}",
        "guests", "all at init, in s", "overhead each, in MiB"
    )?;
    for count in GROWTH {
        let begun = Instant::now();
        let mut monitors = Vec::new();
        for guest in 0..count {
            let place = machine_folder(&format!("growth-{count}-{guest}"))?;
            monitors.push(Monitor::start(&mut place.monitor(
                files,
                GROWTH_MEMORY_MIB,
                &json!({}),
            )?)?);
        }
        for monitor in &mut monitors {
            monitor.until_it_says(MARK)?;
        }
        let all = begun.elapsed().as_secs_f64();
        let mut overhead = 0_u32;
        for monitor in &monitors {
            overhead += monitor.overhead_kib(GROWTH_MEMORY_MIB)?;
        }
        writeln!(
            lines,
            "{count:>8} {all:>22.1} {:>22.2}",
            f64::from(overhead) / 1024.0 / f64::from(count)
        )?;
    }
    Ok(())
}
