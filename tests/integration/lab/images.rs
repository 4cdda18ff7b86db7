//! Instances of an imported image with a root disk.

use std::path::Path;

use api::{EngineKind, RunState};
use support::{DEBIAN_PASSWORD, debian_image_state, host_runner};

use super::{Lab, instance, run_in_lab};

#[test]
fn instances_of_an_image_with_a_root_disk_have_each_a_disk_of_their_own_that_lasts() {
    let output = tempfile::tempdir().expect("a temporary folder");
    let lab = Lab {
        limit_s: 700,
        memory_mib: 4096,
        log: "agent.log",
        ..Lab::default()
    };
    run_in_lab(&lab, output.path(), || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/image-on-kvm");
        let state = debian_image_state()?;
        Ok([
            script.into(),
            host_runner()?.into(),
            state.into(),
            DEBIAN_PASSWORD.into(),
        ]
        .into())
    });
    let seen = |name: &str| instance(&output.path().join(name));
    let said = |name: &str| std::fs::read_to_string(output.path().join(name)).expect("what a console said");

    let (first, again, second) = (seen("first.json"), seen("again.json"), seen("second.json"));
    for instance in [&first, &again, &second] {
        let engine = instance.engine.as_ref().expect("it runs on an engine");
        assert_eq!(engine.kind, EngineKind::Microvm, "{}", engine.reason);
        assert!(instance.boot_ms.is_some(), "it has come to its prompt");
    }
    let written = said("first.txt");
    assert!(
        written.contains("/dev/vda ext4"),
        "the root is its disk: {written}"
    );
    assert_eq!(said("page.txt"), "pond\n", "its port leads to it");
    // The kernel's last word, which a guest does not say that is ended by force.
    assert!(written.contains("reboot: Power down"), "{written}");
    let stopped = seen("stopped.json");
    assert_eq!((stopped.state, stopped.failure), (RunState::Stopped, None));

    assert!(said("again.txt").contains("25 ponds"), "its disk lasts");
    assert_ne!(first.started_at, again.started_at);
    let other = said("second.txt");
    assert!(
        other.contains("'/root/mine': No such file or directory"),
        "what the other one has written is not in the image: {other}"
    );
}
