//! What must be true of disks and of the console.

use serde_json::Value;

use super::{number, numbers, text};

const DISK_KIB: i64 = 32 << 10;

pub fn disks_have_names_rights_and_limits_and_give_back_what_is_not_needed(facts: &Value) {
    assert_eq!(text(&facts["serials"]), "plain tree fixed slow", "{facts}");
    let discarded = &facts["discarded"];
    let on_host = numbers(&discarded["host_kib"]);
    assert!(
        on_host[0] >= DISK_KIB && on_host[1] <= DISK_KIB / 2,
        "the half of a full file: {discarded}"
    );
    assert_eq!(discarded["bytes_left"], 0, "it reads as zeroes: {discarded}");
    let trimmed = &facts["trimmed"];
    let on_host = numbers(&trimmed["host_kib"]);
    assert!(on_host[0] - on_host[1] > 12 << 10, "of 16 MiB: {trimmed}");
    assert_eq!(trimmed["is_clean"], true, "fsck");
    let read_only = &facts["read_only"];
    assert_eq!(read_only["known"], 1, "{read_only}");
    assert_eq!(
        read_only["same"],
        serde_json::json!([true, true]),
        "what the guest reads, and what is on the host after it tried: {read_only}"
    );
    assert!(!text(&read_only["refused"]).is_empty(), "{read_only}");
    let limited = &facts["limited"];
    assert!(number(&limited["least_ms"]) >= 2000, "{limited}");
    // The guest's clock and the host's are read at different moments.
    assert!(
        number(&limited["took_ms"]) + 50 >= number(&limited["least_ms"]),
        "{limited}"
    );
    assert!(number(&facts["stats"]["slow"]["throttled"]) > 0, "{facts}");
    for disk in ["plain", "tree", "slow"] {
        assert_eq!(facts["stats"][disk]["errors"], 0, "{facts}");
    }
}

pub fn the_virtio_console_carries_lines_both_ways(facts: &Value) {
    assert_eq!(text(&facts["console"]["said"]), "from the guest", "{facts}");
    assert_eq!(text(&facts["console"]["heard"]), "from the host", "{facts}");
}

/// Each kind of work is done by the kernel's rings where there are some, and by threads where there are none.
pub fn a_disk_needs_no_rings_of_the_kernel(with: &Value, without: &Value) {
    assert!(number(&with["rings"]) > 0, "{with}");
    assert_eq!(without["rings"], 0, "{without}");
    assert_eq!(without["same_at_first"], true, "{without}");
    assert_eq!(without["bytes_left"], 0, "what was discarded: {without}");
    let stats = &without["stats"];
    assert_eq!(stats["errors"], 0, "{stats}");
    for done in ["reads", "writes", "discards"] {
        assert!(number(&stats[done]) > 0, "{done}: {stats}");
    }
}
