//! An agent that dies while it launches a microVM.

use std::path::Path;

use support::{host_runner, tiny_image_state};

use super::{Lab, run_in_lab};

#[test]
fn killed_in_the_middle_of_a_launch_the_agent_leaves_a_guest_that_the_next_one_gives_its_network() {
    let output = tempfile::tempdir().expect("a temporary folder");
    let lab = Lab {
        log: "agent.log",
        ..Lab::default()
    };
    run_in_lab(&lab, output.path(), || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/launches");
        Ok([script.into(), host_runner()?.into(), tiny_image_state()?.into()].into())
    });
    let said = std::fs::read_to_string(output.path().join("launches.txt"));
    assert_eq!(
        said.expect("the script noted what came of it"),
        r#"monitor_is_made: "running" null, 1 monitor, <h1>launch-1</h1>
monitor_listens: "running" null, 1 monitor, <h1>launch-2</h1>
network_is_made: "running" null, 1 monitor, <h1>launch-3</h1>
"#
    );
}
