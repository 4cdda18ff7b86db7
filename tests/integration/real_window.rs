//! The main job in the app's real window, over a real SSH session: what `make demo` plays.

use std::process::Command;

#[test]
fn a_template_dragged_onto_a_machine_in_the_real_window_boots_there() {
    let played = Command::new(env!("CARGO_BIN_EXE_demo")).output().unwrap();
    assert!(
        played.status.success(),
        "{}{}",
        String::from_utf8_lossy(&played.stdout),
        String::from_utf8_lossy(&played.stderr)
    );
}
