//! On hardware virtualization: the lab host has the kernel's own kvm-amd, under an emulated CPU.

mod engines;
mod guests;
mod images;
mod launches;
mod teller;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use api::{EngineKind, Instance, RunState};
use support::{Trouble, host_runner, run, tiny_image_state};

/// The lab's processors are emulated, and that has defects of its own; a second try tells them from ours.
const TRIES: u32 = 2;

/// What a monitor says that cannot give up all of its rights.
const NOT_CONFINED: [&str; 2] = ["has no Landlock", "may not make namespaces"];

/// What a session in the lab gets.
struct Lab {
    limit_s: u32,
    memory_mib: u32,
    /// QEMU's model of the processor.
    processor: &'static str,
    /// A file in the output that tells of a failure.
    log: &'static str,
}

impl Default for Lab {
    fn default() -> Self {
        Self {
            limit_s: 280,
            memory_mib: 3072,
            processor: "EPYC",
            log: "log",
        }
    }
}

/// Runs a command in the lab, whose output goes to a folder. The command is put together for each try.
fn run_in_lab(lab: &Lab, output: &Path, command: impl Fn() -> Result<Vec<OsString>, Trouble>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/run-in-lab");
    let attempt = || {
        clear(output);
        run(Command::new(&script)
            .args(["-t", &lab.limit_s.to_string(), "-p", lab.processor])
            .args(["-m", &lab.memory_mib.to_string()])
            .arg("-o")
            .arg(output)
            .arg("--")
            .args(command()?))
    };
    let mut tried = 1;
    while let Err(trouble) = attempt() {
        let log = std::fs::read_to_string(output.join(lab.log)).unwrap_or_default();
        assert!(tried < TRIES, "in the lab: {trouble}\nthe log:\n{log}");
        tried += 1;
    }
}

/// Removes what an attempt before has left: facts that are only half of it.
fn clear(folder: &Path) {
    for file in std::fs::read_dir(folder).expect("the output's folder").flatten() {
        let path = file.path();
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(path)
        } else {
            std::fs::remove_file(path)
        };
        removed.expect("a file or a folder of the output");
    }
}

fn instance(file: &Path) -> Instance {
    let text = std::fs::read_to_string(file).expect("the script left the file");
    serde_json::from_str(&text).expect("the agent answers with an instance")
}

#[test]
fn where_there_is_hardware_virtualization_guests_are_microvms_and_outlive_their_agent() {
    let output = tempfile::tempdir().expect("a temporary folder");
    let left = |name: &str| output.path().join(name);
    let lab = Lab {
        log: "agent.log",
        ..Lab::default()
    };
    run_in_lab(&lab, output.path(), || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/guest-on-kvm");
        Ok([script.into(), host_runner()?.into(), tiny_image_state()?.into()].into())
    });

    let at_prompt = instance(&left("at-prompt.json"));
    let engine = at_prompt.engine.clone().expect("it runs on an engine");
    assert_eq!(
        engine.kind,
        EngineKind::Microvm,
        "the agent says: {}",
        engine.reason
    );
    assert!(
        engine.accelerated && engine.reason.contains("AMD-V"),
        "{}",
        engine.reason
    );
    assert!(at_prompt.boot_ms.is_some(), "it has come to its prompt");
    let page = std::fs::read_to_string(left("page.html")).expect("the published port leads to the guest");
    assert!(page.contains("<h1>tiny-1</h1>"), "{page}");

    let users = std::fs::read_to_string(left("users.txt")).expect("the script asked for the monitor's user");
    let words: Vec<&str> = users.split_whitespace().collect();
    let ["Uid:", user, "CapEff:", capabilities, guest_user] = words.as_slice() else {
        panic!("not the status of a process: {users}");
    };
    assert_eq!(user, guest_user, "the monitor has become the guests' user");
    assert!(capabilities.chars().all(|digit| digit == '0'), "{users}");

    its_control_group_is_as_ordered(output.path(), &at_prompt);
    its_monitor_has_namespaces_of_its_own(output.path());

    let adopted = instance(&left("adopted.json"));
    assert_eq!(adopted.started_at, at_prompt.started_at, "the same guest runs on");
    assert_eq!(adopted.ports, at_prompt.ports);
    let console = std::fs::read_to_string(left("console.txt")).expect("the second agent has its console");
    assert!(console.contains("42 is the answer"), "{console}");
    assert_eq!(
        console.matches("Log in as root").count(),
        1,
        "the past is shown once: {console}"
    );

    its_network_is_as_slow_as_was_asked_for(output.path());

    let again = std::fs::read_to_string(left("page-again.html")).expect("the network was made anew");
    assert_eq!(again, page);

    let stopped = instance(&left("stopped.json"));
    assert_eq!((stopped.state, stopped.failure), (RunState::Stopped, None));
    let killed = instance(&left("killed.json"));
    let failure = killed.failure.expect("a monitor that was killed is a failure");
    assert!(
        failure.message.contains("SIGKILL") && !failure.message.contains("QEMU"),
        "{}",
        failure.message
    );

    a_reset_starts_it_again_and_a_panic_is_a_failure(output.path());
}

#[test]
fn a_plain_user_who_was_given_a_control_group_runs_microvms_within_limits() {
    let output = tempfile::tempdir().expect("a temporary folder");
    let left =
        |name: &str| std::fs::read_to_string(output.path().join(name)).expect("the script left the file");
    let lab = Lab {
        log: "agent.log",
        ..Lab::default()
    };
    run_in_lab(&lab, output.path(), || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/plain-user");
        Ok([script.into(), host_runner()?.into(), tiny_image_state()?.into()].into())
    });
    let running = instance(&output.path().join("running.json"));
    let engine = running.engine.clone().expect("it runs on an engine");
    assert_eq!(engine.kind, EngineKind::Microvm, "{}", engine.reason);
    its_control_group_is_as_ordered(output.path(), &running);
    let users = left("users.txt");
    assert!(
        users.lines().count() >= 2 && users.lines().all(|user| user == "pond"),
        "{users}"
    );
    let doctor = left("doctor.txt");
    assert!(
        doctor.contains("(cgroup v2, /sys/fs/cgroup/given/millpond)"),
        "{doctor}"
    );
}

/// 4 MB at a million bytes a second take that many seconds, less what may go at once, and what the guest's clock does not tell of a second.
fn its_network_is_as_slow_as_was_asked_for(output: &Path) {
    let said = std::fs::read_to_string(output.join("network.txt")).expect("the script used the network");
    let times: Vec<f64> = said
        .lines()
        .filter_map(|line| line.strip_suffix(" s for 4000000 bytes")?.parse().ok())
        .collect();
    let [received, sent] = times.as_slice() else {
        panic!("4 MB went neither way, or one: {said}");
    };
    assert!(*received >= 3.0 && *sent >= 3.0, "faster than it may be: {said}");
}

fn its_control_group_is_as_ordered(output: &Path, at_prompt: &Instance) {
    let group =
        std::fs::read_to_string(output.join("group.txt")).expect("the script read the guest's control group");
    let said = |name: &str| -> Vec<&str> {
        let lines = group.lines().filter_map(|line| line.split_once('='));
        lines
            .filter(|(found, _)| *found == name)
            .map(|(_, text)| text)
            .collect()
    };
    assert_eq!(
        said("cpu.max"),
        ["200000 100000"],
        "one vCPU, and one for the engine"
    );
    let memory = u64::from(at_prompt.spec.memory_mib.0);
    let limit = (memory + memory / 32 + 2 * 32 + 64) << 20;
    assert_eq!(said("memory.max"), [limit.to_string()]);
    assert_eq!(
        (said("memory.oom.group"), said("pids.max")),
        (vec!["1"], vec!["513"])
    );
    assert_eq!(
        said("io.weight"),
        ["default 100"],
        "the same share of the disks for each"
    );
    let processes = said("process");
    // A worker of KVM's for this guest is there, too, where the kernel has one.
    for program in ["microvm", "passt"] {
        let is_in = processes.iter().any(|name| name.starts_with(program));
        assert!(is_in, "the monitor and the guest's network: {processes:?}");
    }
}

fn its_monitor_has_namespaces_of_its_own(output: &Path) {
    let left = |name: &str| std::fs::read_to_string(output.join(name)).expect("the script looked");
    let namespaces = left("namespaces.txt");
    assert_eq!(namespaces.lines().count(), 4, "{namespaces}");
    for line in namespaces.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, agents, monitors] = words.as_slice() else {
            panic!("{line}")
        };
        assert!(monitors.starts_with(kind) && agents != monitors, "{line}");
    }
    let said = left("monitor.txt");
    assert!(!NOT_CONFINED.iter().any(|lack| said.contains(lack)), "{said}");
}

fn a_reset_starts_it_again_and_a_panic_is_a_failure(output: &Path) {
    let left = |name: &str| output.join(name);
    let console =
        std::fs::read_to_string(left("console-of-resets.txt")).expect("its console around the reset");
    let (before, after) = (
        instance(&left("before-reset.json")),
        instance(&left("after-reset.json")),
    );
    assert_ne!(
        before.started_at, after.started_at,
        "a guest that resets itself is started again"
    );
    assert_eq!(after.failure, None);
    assert_eq!(before.ports, after.ports, "the one that was chosen, too");
    let (written, kept) = (console.rfind("49 is written"), console.find("25 is kept"));
    assert!(
        written.is_some() && written < kept,
        "its disk keeps what was written, and its console what was shown: {console}"
    );
    let panicked = instance(&left("panicked.json"));
    let failure = panicked.failure.expect("a kernel's panic is a failure");
    assert!(
        failure.message.contains("its kernel panicked"),
        "{}",
        failure.message
    );
    // What Linux says last.
    let log = failure.log;
    assert!(
        log.contains("</TASK>") && log.contains("Kernel Offset: "),
        "with the console's last lines: {log}"
    );
}
