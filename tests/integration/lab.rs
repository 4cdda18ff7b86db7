//! On hardware virtualization: the lab host has the kernel's own kvm-amd, under an emulated CPU.

use std::path::Path;
use std::process::Command;

use api::{Instance, RunState};
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
fn a_guest_runs_on_the_cpu_itself_where_there_is_hardware_virtualization() {
    let output = tempfile::tempdir().expect("a temporary folder");
    run_in_lab(output.path(), "guest-on-kvm");

    let at_prompt = instance(&output.path().join("at-prompt.json"));
    let engine = at_prompt.engine.expect("it runs on an engine");
    assert!(engine.accelerated, "the engine says: {}", engine.reason);
    assert!(at_prompt.boot_ms.is_some(), "it has come to its prompt");

    let stopped = instance(&output.path().join("stopped.json"));
    assert_eq!(stopped.state, RunState::Stopped);
    assert_eq!(stopped.failure, None);
}
