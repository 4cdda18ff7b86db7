//! What works on one engine works on the other.

use std::path::Path;

use support::{host_runner, tiny_image_state};

use super::{Lab, run_in_lab};

/// What comes of each action, on either engine.
const EXPECTED: &str = r#"changed at rest: "lake" 1 160
told how long it took to boot: yes
usage is told: yes
changed while it runs: "code":"wrong_state"
started twice: the same run
page: <h1>lake</h1>
its disk is as slow as was asked for: yes
memory that the guest no longer uses: goes back to the machine
its port after a reboot inside: the same
its page after a reboot inside: <h1>lake</h1>
its console shows what was before: yes
after a graceful restart: "running" null
after a force restart: "running" null
held by a full disk: "disk_full"
with room again: "running" null
turned off inside: "stopped" null
stopped by force: "stopped" null
its engine is killed: "engine_failed"
deleted: "code":"instance_not_found"
"#;

#[test]
fn what_a_user_does_with_an_instance_comes_to_the_same_on_both_engines() {
    let output = tempfile::tempdir().expect("a temporary folder");
    let lab = Lab {
        limit_s: 560,
        log: "agent.log",
        ..Lab::default()
    };
    run_in_lab(&lab, output.path(), || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/both-engines");
        Ok([script.into(), host_runner()?.into(), tiny_image_state()?.into()].into())
    });
    for engine in ["qemu", "microvm"] {
        let said = std::fs::read_to_string(output.path().join(format!("{engine}.txt")));
        let said = said.expect("the script noted what came of it");
        let ran_on = format!("engine: \"{engine}\" true\n");
        assert!(said.contains(&ran_on), "{said}");
        assert_eq!(said.replace(&ran_on, ""), EXPECTED, "{engine}");
    }
}
