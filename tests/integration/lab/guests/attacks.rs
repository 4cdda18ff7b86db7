//! What must be true of a guest that tries, and of what it tried on.

use serde_json::Value;

use super::{number, numbers, text};

fn lines(value: &Value) -> Vec<&str> {
    value.as_array().expect("lines").iter().map(text).collect()
}

pub fn devices_outlive_what_is_done_to_them(facts: &Value) {
    let attacked = lines(&facts["attacked"]);
    // Two disks, two interfaces with two pairs and a control queue, and one of each other kind.
    let victims = [
        (1, "queues=5", 2),
        (2, "queues=2", 2),
        (3, "", 1),
        (4, "", 1),
        (5, "", 1),
        (19, "", 1),
    ];
    for (kind, queues, count) in victims {
        let said = |start: &str| attacked.iter().filter(|line| line.starts_with(start)).count();
        assert_eq!(
            said(&format!("attacked kind={kind} {queues}")),
            count,
            "{attacked:?}"
        );
        assert_eq!(said(&format!("resets kind={kind} ")), count, "{attacked:?}");
    }
    let works = attacked.iter().filter(|line| **line == "works kind=2").count();
    assert_eq!(works, 2, "each disk, after its resets: {attacked:?}");
    assert!(
        attacked.last().is_some_and(|said| said.starts_with("survived")),
        "{attacked:?}"
    );
    let again = &facts["again"];
    assert_eq!(lines(&again["disks"]), ["same", "same"]);
    for echoes in lines(&again["echoes"]) {
        assert!(echoes.contains("3 packets received"), "{echoes}");
    }
    assert_eq!(number(&again["random_bytes"]), 64);
    assert_eq!(text(&again["vsock"]), "pond");
    assert_eq!(text(&facts["broken"]), "no", "the other disk");
    assert_eq!(facts["state"], "running");
    let overhead = numbers(&facts["overhead_kib"]);
    assert!(
        overhead[1] < overhead[0] + 4096,
        "no memory for the attacker: {overhead:?}"
    );
    the_log_is_not_flooded(facts);
}

pub fn ports_and_registers_lead_nowhere(facts: &Value) {
    let swept = lines(&facts["swept"]);
    let of = |what: &str| swept.iter().filter(|line| line.starts_with(what)).count();
    assert_eq!((of("swept ports="), of("swept registers=")), (2, 2), "{swept:?}");
    let (before, after) = (numbers(&facts["rounds"]), numbers(&facts["rounds_restored"]));
    assert!(
        after[1] > before[1],
        "it goes on after the restore: {before:?} {after:?}"
    );
    assert_eq!(text(&facts["broken"]), "no", "its disk");
    the_log_is_not_flooded(facts);
}

fn the_log_is_not_flooded(facts: &Value) {
    let log = text(&facts["log"]);
    assert!(log.lines().count() < 40, "{log}");
}
