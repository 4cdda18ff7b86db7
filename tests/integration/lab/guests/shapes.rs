//! What must be true of the kinds of memory that a machine can have, and of memory that comes and goes.

use serde_json::{Value, json};

use super::{number, numbers, text};

/// It is the same guest that goes on, not one that was booted anew.
fn it_went_on(facts: &Value) {
    assert_eq!(facts["mark"], 42, "{facts}");
    assert!(number(&facts["snapshot_mib"]) > 0, "{facts}");
    assert_eq!(text(&facts["stalls"]), "0", "the guest's watchdogs: {facts}");
}

pub fn memory_can_lie_beyond_the_gap_in_a_file_and_in_huge_pages(facts: &Value) {
    for kind in ["beyond_the_gap", "shared", "huge_pages"] {
        let seen = &facts[kind];
        it_went_on(seen);
        for what in ["sum", "frames"] {
            assert_eq!(seen["before"][what], seen["after"][what], "{kind}: {seen}");
        }
    }
    let beyond = &facts["beyond_the_gap"]["after"];
    assert!(
        number(&beyond["ram_kib"]) > 3400 << 10,
        "the guest has it all: {beyond}"
    );
    let (pages, above) = frames(beyond);
    assert_eq!(pages, 24 << 8, "{beyond}");
    assert!(above > pages / 2, "the data lies above 4 GiB: {beyond}");
    let mappings = |kind: &str, when: &str| facts[kind][when]["mappings"].clone();
    let own = "nobody else's, 4 KiB";
    assert_eq!(
        mappings("beyond_the_gap", "before"),
        json!([[own, "vmlinux, 4 KiB"], [own]]),
        "on either side of the gap; what explains the kernel is its file"
    );
    assert_eq!(
        mappings("beyond_the_gap", "after"),
        json!([[own], [own]]),
        "a guest that goes on has no kernel's file"
    );
    for when in ["before", "after"] {
        assert_eq!(mappings("shared", when), json!([["memfd:guest-memory, 4 KiB"]]));
        assert_eq!(
            mappings("huge_pages", when),
            json!([["memfd:guest-memory, 2048 KiB"]])
        );
    }
    let refused = text(&facts["too_few_huge_pages"]);
    assert!(
        refused.contains("cannot reserve 192 MiB for the guest in huge pages")
            && refused.ends_with("exit status: 1"),
        "it is refused before it runs: {refused}"
    );
}

/// How many pages the data has, and how many of them lie above 4 GiB.
fn frames(seen: &Value) -> (i64, i64) {
    let said = text(&seen["frames"]);
    let numbers: Vec<i64> = said
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    let [pages, above] = numbers.as_slice() else {
        panic!("not two numbers: {said}");
    };
    (*pages, *above)
}

pub fn a_guest_gives_back_what_it_frees_and_takes_what_it_needs(facts: &Value) {
    let reported = &facts["reported"];
    let fell = number(&reported["with_file_kib"]) - number(&reported["without_file_kib"]);
    assert!(
        fell > number(&reported["file_kib"]) / 4 * 3,
        "most of a removed file is the host's again: {reported}"
    );
    assert_eq!(
        (&reported["inflated_kib"], &reported["stats"]["target_mib"]),
        (&0.into(), &0.into()),
        "nobody asked for it: {reported}"
    );
    let deflated = &facts["deflated"];
    let held = numbers(&deflated["in_balloon_kib"]);
    assert!(
        held[1] + (16 << 10) < held[0],
        "the guest took from the balloon what it needed: {deflated}"
    );
    assert!(
        number(&deflated["actual_mib"]) < number(&deflated["size_mib"]),
        "and says so: {deflated}"
    );
    assert_eq!(deflated["killed"], 0, "nothing was killed for it: {deflated}");
    assert_eq!(deflated["written"], deflated["read"], "{deflated}");
}
