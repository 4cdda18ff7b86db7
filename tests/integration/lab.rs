//! On hardware virtualization: the lab host has the kernel's own kvm-amd, under an emulated CPU.

use std::path::Path;
use std::process::Command;

use api::{EngineKind, Instance, RunState};
use support::{host_runner, run, tiny_image_state};

/// One lab in some thirty hangs with its first CPU stopped, whatever runs there; a second try tells that from a defect of ours.
const TRIES: u32 = 2;
const LAB_LIMIT_S: &str = "240";

fn run_in_lab(output: &Path, script: &str) {
    let lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab");
    let attempt = || {
        run(Command::new(lab.join("run-in-lab"))
            .args(["-t", LAB_LIMIT_S, "-o"])
            .arg(output)
            .arg("--")
            .arg(lab.join(script))
            .arg(host_runner()?)
            .arg(tiny_image_state()?))
    };
    let mut tried = 1;
    while let Err(trouble) = attempt() {
        let log = std::fs::read_to_string(output.join("agent.log")).unwrap_or_default();
        assert!(
            tried < TRIES,
            "{script} in the lab: {trouble}\nthe agent's log:\n{log}"
        );
        tried += 1;
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
    run_in_lab(output.path(), "guest-on-kvm");

    let at_prompt = instance(&left("at-prompt.json"));
    let engine = at_prompt.engine.expect("it runs on an engine");
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

    let group =
        std::fs::read_to_string(left("group.txt")).expect("the script read the guest's control group");
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
    let processes = said("process");
    // A worker of KVM's for this guest is there, too, where the kernel has one.
    for program in ["microvm", "passt"] {
        let is_in = processes.iter().any(|name| name.starts_with(program));
        assert!(is_in, "the monitor and the guest's network: {processes:?}");
    }

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
}
