//! A guest that tells its state.

use std::path::Path;
use std::process::Command;

use api::{EngineKind, Progress, RunState};
use support::{host_runner, lab_guest, run};

use super::{Lab, instance, run_in_lab};

#[test]
fn a_guest_without_a_login_prompt_tells_over_its_vsock_how_it_is() {
    let (output, state) = (folder(), folder());
    let guest = lab_guest().expect("the guest of the lab");
    run(Command::new(host_runner().expect("the agent is built"))
        .args([
            "image",
            "import",
            "--name",
            "teller",
            "--command-line",
            "console=ttyS0",
        ])
        .arg("--kernel")
        .arg(guest.join("vmlinuz"))
        .arg("--initrd")
        .arg(guest.join("initrd"))
        .arg("--state-dir")
        .arg(state.path()))
    .expect("it is an image");
    let lab = Lab {
        log: "agent.log",
        ..Lab::default()
    };
    run_in_lab(&lab, output.path(), || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/guest-that-tells");
        Ok([script.into(), host_runner()?.into(), state.path().into()].into())
    });
    let seen = |name: &str| instance(&output.path().join(name));

    let silent = seen("silent.json");
    assert_eq!(silent.engine.map(|engine| engine.kind), Some(EngineKind::Microvm));
    assert_eq!((silent.guest_status, silent.boot_ms), (None, None));
    let begun = seen("begun.json");
    assert_eq!(
        begun.progress,
        Some(Progress::Booting),
        "a status alone is no readiness"
    );

    let ready = seen("ready.json");
    assert_eq!(ready.progress, Some(Progress::Ready));
    assert!(ready.boot_ms.is_some(), "{ready:?}");
    let adopted = seen("adopted.json");
    assert_eq!(adopted.state, RunState::Running);
    assert_eq!(
        (adopted.progress, &adopted.guest_status, adopted.boot_ms),
        (ready.progress, &ready.guest_status, ready.boot_ms),
        "the next agent knows it"
    );
    let done = seen("done.json");
    assert_eq!(
        (done.progress, done.boot_ms, done.started_at),
        (ready.progress, ready.boot_ms, ready.started_at)
    );

    let again = seen("again.json");
    assert!(again.started_at > done.started_at);
    assert_eq!(again.guest_status, None, "that was another run's");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}
