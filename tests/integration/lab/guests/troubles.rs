//! What must be true where a host's disk has no room, or fails, and where a kernel's file is cut short.

use serde_json::{Value, json};

use super::text;

pub fn a_snapshot_without_room_leaves_nothing_and_harms_nobody(facts: &Value) {
    for (what, left) in [("full", json!([])), ("increment", json!(["ballast", "full"]))] {
        let refused = text(&facts[what]);
        assert!(
            refused.contains("snapshot_failed") && refused.contains("No space left on device"),
            "{what}: {refused}"
        );
        assert_eq!(facts[format!("left_of_{what}")], left, "what was begun is gone");
    }
    assert_eq!(facts["went_on"], true, "the guest, after its snapshot failed");
    assert!(
        text(&facts["orphan"]).contains("no snapshot that this one could add to"),
        "what was written since the whole one is not known any more: {facts}"
    );
    assert_eq!(facts["restored"], true, "{facts}");
    assert_eq!(facts["written"], facts["found"], "{facts}");
    assert_eq!(text(&facts["stalls"]), "0", "the guest's watchdogs: {facts}");
}

pub fn a_guest_is_told_what_its_disk_did_not_keep_and_goes_on(facts: &Value) {
    assert_eq!(facts["kept"], true, "while there is room: {facts}");
    let failed = text(&facts["failed"]);
    assert!(
        failed.contains("Input/output error") || failed.contains("I/O error"),
        "{facts}"
    );
    assert_ne!(text(&facts["in_guest"]), "0", "its kernel knows, too: {facts}");
    assert!(facts["kept_again"]["Ok"].is_string(), "with room again: {facts}");
    assert_eq!(facts["state"], "running", "{facts}");
}

pub fn a_guest_whose_kernels_file_is_cut_short_ends_and_says_why(facts: &Value) {
    assert_eq!(facts["whole"], true, "before that it reads there: {facts}");
    let ending = &facts["ending"];
    assert_eq!(
        (&ending["ending"], &ending["code"]),
        (&Value::from("failed"), &Value::from(1)),
        "{facts}"
    );
    let reason = text(&ending["reason"]);
    assert!(
        reason.contains("was the file of its kernel cut short?"),
        "{facts}"
    );
}
