//! Guests on the microVM monitor, each scenario on the lab's kvm-amd. `lab-guests` performs them inside the lab and leaves what it saw;
//! here is what must be true of it.

mod attacks;
mod devices;
mod shapes;
mod troubles;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;
use support::{debian, lab_guest, program};

use super::{Lab, NOT_CONFINED, run_in_lab};

/// What the scenarios of a session saw.
struct Session {
    output: tempfile::TempDir,
}

impl Session {
    fn run(session: &str, lab: &Lab) -> Self {
        Self::run_with(session, lab, &lab_guest().expect("the guest's files"))
    }

    fn run_with(session: &str, lab: &Lab, files: &Path) -> Self {
        let output = tempfile::tempdir().expect("a temporary folder");
        run_in_lab(lab, output.path(), || {
            let program = program("lab-guests")?;
            Ok([program.into(), session.into(), files.into()].into())
        });
        let session = Self { output };
        session.monitors_gave_up_their_rights();
        session
    }

    fn read(&self, name: &str) -> Value {
        let file = self.output.path().join(name);
        let text = std::fs::read_to_string(file).expect("the session left the file");
        serde_json::from_str(&text).expect("facts are JSON")
    }

    /// The lab's kernel has all that a monitor confines itself with: none says that something is missing.
    fn monitors_gave_up_their_rights(&self) {
        let logs = self.read("logs.json");
        let logs = logs.as_object().expect("a log for each guest");
        for (guest, log) in logs {
            for complaint in NOT_CONFINED {
                assert!(!text(log).contains(complaint), "{guest}: {log}");
            }
        }
    }

    /// A session that finds what another one has left.
    fn run_after(session: &str, lab: &Lab, before: &Self) -> Self {
        let files = lab_guest().expect("the guest's files");
        let output = tempfile::tempdir().expect("a temporary folder");
        let mut from = OsString::from("FROM=");
        from.push(before.output.path());
        run_in_lab(lab, output.path(), || {
            let program = program("lab-guests")?;
            Ok([
                "env".into(),
                from.clone(),
                program.into(),
                session.into(),
                files.clone().into(),
            ]
            .into())
        });
        Self { output }
    }

    /// What a scenario saw. One that failed is a failure.
    fn facts(&self, scenario: &str) -> Value {
        let facts = self.read(&format!("{scenario}.json"));
        assert!(facts["error"].is_null(), "{scenario}: {}", facts["error"]);
        facts
    }
}

/// For sessions of many scenarios.
fn long() -> Lab {
    Lab {
        limit_s: 420,
        ..Lab::default()
    }
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is a number"))
}

fn numbers(value: &Value) -> Vec<i64> {
    let list = value.as_array().unwrap_or_else(|| panic!("{value} is a list"));
    list.iter().map(number).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is text"))
}

#[test]
fn a_machine_computes_keeps_its_data_and_is_held_grown_and_deflated_while_it_works() {
    let session = Session::run("machine", &long());
    assert!(
        session.read("logs.json")["processors"].is_string(),
        "logs are looked at"
    );
    four_processors_are_seen_and_busy(&session.facts("processors"));
    all_of_64_processors_run_what_they_are_given(&session.facts("most_processors"));
    disks_keep_their_data_over_a_reset_and_grow_while_mounted(&session.facts("disks"));
    a_held_guest_does_nothing_and_then_goes_on(&session.facts("held"));
    the_balloon_takes_memory_and_gives_it_back_under_load(&session.facts("balloon"));
    guest_and_host_talk_over_vsock_under_the_filters(&session.facts("vsock"));
}

#[test]
fn devices_do_what_they_offer_and_their_driver_reaches_no_file_of_the_machine() {
    let session = Session::run("devices", &long());
    shapes::a_guest_gives_back_what_it_frees_and_takes_what_it_needs(&session.facts("by_itself"));
    troubles::a_guest_is_told_what_its_disk_did_not_keep_and_goes_on(&session.facts("failing"));
    troubles::a_guest_whose_kernels_file_is_cut_short_ends_and_says_why(&session.facts("cut_short"));
    let devices = session.facts("devices");
    devices::disks_have_names_rights_and_limits_and_give_back_what_is_not_needed(&devices);
    devices::the_virtio_console_carries_lines_both_ways(&devices);
    a_driver_reaches_its_snapshots_and_no_other_file(&session.facts("confined"));
    devices::a_disk_needs_no_rings_of_the_kernel(&devices, &session.facts("no_rings"));
}

fn a_driver_reaches_its_snapshots_and_no_other_file(facts: &Value) {
    assert_eq!(text(&facts["snapshot"]), "open", "{facts}");
    assert_eq!(text(&facts["outside"]), "permission denied", "{facts}");
    assert_eq!(text(&facts["system"]), "permission denied", "{facts}");
}

fn all_of_64_processors_run_what_they_are_given(facts: &Value) {
    assert_eq!(text(&facts["online"]), "0-63", "{facts}");
    assert_eq!(facts["ran_on"], 64, "{facts}");
    assert_eq!(facts["packages"], 1, "all are cores of one package: {facts}");
}

fn four_processors_are_seen_and_busy(facts: &Value) {
    assert_eq!(facts["seen"], 4, "{facts}");
    assert_eq!(text(&facts["cores"]), "0 1 2 3", "each is a core");
    assert_eq!(text(&facts["on"]), "0 1 2 3", "each has a loop of its own");
    let busy = numbers(&facts["busy_ns"]);
    assert!(
        busy.len() == 4 && busy.iter().all(|ns| *ns >= 50_000_000),
        "each had work: {busy:?}"
    );
}

fn disks_keep_their_data_over_a_reset_and_grow_while_mounted(facts: &Value) {
    assert_eq!(facts["ending"]["ending"], "reset", "{facts}");
    assert_eq!(facts["ending"]["code"], 10, "{facts}");
    assert_eq!(facts["ending_of_sysrq"]["ending"], "reset", "{facts}");
    assert_eq!(facts["written"], facts["read"], "both disks, after the reset");
    let sums: BTreeSet<&str> = [&facts["written"][0], &facts["written"][1]].map(text).into();
    assert_eq!(sums.len(), 2, "each disk has data of its own: {facts}");
    assert_eq!(
        text(&facts["errors"]),
        "0",
        "the guest's kernel complains of nothing"
    );
    assert_eq!(facts["base_untouched"], true, "the overlay's base");
    assert_eq!(facts["overlay_is_clean"], true, "qemu-img check");
    assert_eq!(facts["raw_is_clean"], true, "fsck");
    assert_eq!(
        facts["grown"]["sectors"],
        160 * 2048,
        "the size that the guest sees"
    );
    // More than the whole disk was before.
    assert!(number(&facts["grown"]["free_kib"]) > 64 << 10, "{facts}");
    assert_eq!(
        facts["grown"]["same"], true,
        "what was written beyond the old end"
    );
}

fn a_held_guest_does_nothing_and_then_goes_on(facts: &Value) {
    // Answering on the control socket is all that a monitor does for a guest that is held.
    let moved = numbers(&facts["moved_while_held_ms"]);
    assert!(moved.iter().all(|ms| *ms < 100), "in a second each: {moved:?}");
    assert_eq!(facts["went_on"], facts["times"], "after each pause");
    assert_eq!(text(&facts["broken"]), "no", "what the disk holds");
    assert_eq!(text(&facts["stalls"]), "0", "the guest's watchdogs");
}

fn the_balloon_takes_memory_and_gives_it_back_under_load(facts: &Value) {
    assert_eq!(
        numbers(&facts["taken_kib"]),
        [96 << 10; 2],
        "what the guest's kernel gave"
    );
    assert_eq!(facts["left_kib"], 0, "all of it comes back");
    for held in numbers(&facts["held_kib"]) {
        assert!(held < (256 - 96 + 8) << 10, "the host has it: {facts}");
    }
    let stats = &facts["stats"];
    assert_eq!(
        (&stats["target_mib"], &stats["actual_mib"]),
        (&0.into(), &0.into())
    );
    assert!(number(&stats["given_back_bytes"]) >= (2 * 96) << 20, "{stats}");
    assert!(
        number(&stats["guest"]["total_bytes"]) > 200 << 20,
        "what the guest tells: {stats}"
    );
    assert_eq!(text(&facts["broken"]), "no", "the guest's data");
    assert_eq!(text(&facts["killed"]), "0", "the guest had enough left");
}

fn guest_and_host_talk_over_vsock_under_the_filters(facts: &Value) {
    assert_eq!(text(&facts["answer"]), "POND", "the guest answers the host");
    assert_eq!(facts["megabyte_came_back"], true, "{facts}");
    assert_eq!(text(&facts["guest_said"]), "water");
    assert_eq!(
        text(&facts["guest_heard"]),
        "heard water",
        "the host answers the guest"
    );
    let modes = facts["seccomp"].as_array().expect("a mode for each thread");
    assert!(
        modes.len() >= 4 && modes.iter().all(|mode| mode == "2"),
        "each thread has a filter: {modes:?}"
    );
}

#[test]
fn guests_go_on_from_their_snapshots_and_keep_their_connections() {
    let session = Session::run("moves", &long());
    a_chain_of_snapshots_goes_on_where_it_ends(&session.facts("chain"));
    shapes::memory_can_lie_beyond_the_gap_in_a_file_and_in_huge_pages(&session.facts("kinds_of_memory"));
    a_connection_outlives_the_end_that_was_killed(&session.facts("connection"));
    a_clock_of_the_time_stamp_counter_is_right_after_an_absence(&session.facts("counter"));
    troubles::a_snapshot_without_room_leaves_nothing_and_harms_nobody(&session.facts("no_room"));
}

fn a_chain_of_snapshots_goes_on_where_it_ends(facts: &Value) {
    let taken = numbers(&facts["taken_mib"]);
    assert!(taken.iter().all(|mib| *mib > 0), "{taken:?}");
    assert!(
        taken.last() < taken.first(),
        "an increment is less than the whole: {taken:?}"
    );
    assert_eq!(facts["written"], facts["found"], "what each link has in memory");
    assert_eq!(
        facts["on_disk"], facts["written"][2],
        "what the disk has of the last one"
    );
    let counted = numbers(&facts["counted"]);
    assert!(counted[0] < counted[1], "the counter goes on: {counted:?}");
    // The guest was gone for four seconds; its clock is as far off as before.
    let ahead = numbers(&facts["clock_ahead_ms"]);
    assert!(
        (ahead[1] - ahead[0]).abs() < 1500,
        "its clock is right: {ahead:?}"
    );
    let longer = &facts["longer"];
    assert!(
        number(&longer["added_mib"]) < taken[0],
        "what was written since: {longer}"
    );
    let expected = serde_json::json!([facts["written"][0], facts["written"][2], longer["written"]]);
    assert_eq!(
        longer["found"], expected,
        "the chain goes on where it was restored"
    );
    assert!(
        text(&longer["refused"]).contains("no snapshot that this one could add to"),
        "{longer}"
    );
    assert!(number(&longer["again_mib"]) > 0, "it can be saved again");
    assert_eq!(text(&facts["stalls"]), "0", "the guest's watchdogs");
    assert!(
        text(&facts["refused"]).contains("does not add to the snapshot before it"),
        "{facts}"
    );
}

fn a_clock_of_the_time_stamp_counter_is_right_after_an_absence(facts: &Value) {
    assert_eq!(facts["sources"], serde_json::json!(["tsc", "tsc"]), "{facts}");
    // The guest was gone for four seconds, by which its clock would be late.
    let ahead = numbers(&facts["clock_ahead_ms"]);
    assert!((ahead[1] - ahead[0]).abs() < 1500, "its clock is right: {facts}");
    assert_eq!(text(&facts["stalls"]), "0", "the guest's watchdogs: {facts}");
}

/// A processor without AVX2 and BMI2, but otherwise that of the other labs.
const LESSER: &str = "EPYC,-avx2,-bmi2";

#[test]
fn a_guest_goes_on_on_a_lesser_processor_where_it_was_shown_no_more_and_is_refused_where_it_was() {
    let (greater, lesser) = (
        Lab::default(),
        Lab {
            processor: LESSER,
            ..Lab::default()
        },
    );
    let features = Session::run("features", &lesser);
    let left = Session::run_after("leave", &greater, &features);
    let facts = left.facts("leave");
    assert_eq!(
        facts["words"],
        features.facts("features")["offered"],
        "the lesser one has no more than the other"
    );
    assert_eq!(
        text(&facts["host"]["different"]),
        "2",
        "both vCPUs: {}",
        facts["host"]
    );
    assert_eq!(text(&facts["pool"]["different"]), "0", "{}", facts["pool"]);
    let facts = Session::run_after("arrive", &lesser, &left).facts("arrive");
    let counted = numbers(&facts["counted"]);
    assert!(counted[0] < counted[1], "the counter goes on: {counted:?}");
    let refused = text(&facts["refused"]);
    assert!(
        refused.contains("lacks what the guest was shown")
            && refused.contains("avx2")
            && refused.contains("bmi2"),
        "{refused}"
    );
}

#[test]
fn guests_have_the_network_and_a_queue_pair_for_each_vcpu() {
    let session = Session::run("network", &Lab::default());
    frames_go_by_the_kernel_and_by_the_monitor(&session.facts("network"));
    each_vcpu_has_a_queue_pair_of_its_own_before_and_after_a_snapshot(&session.facts("pairs"));
}

fn frames_go_by_the_kernel_and_by_the_monitor(facts: &Value) {
    for way in ["kernel", "monitor"] {
        let seen = &facts[way];
        assert!(text(&seen["address"]).starts_with("10.77.0.1"), "by DHCP: {seen}");
        assert!(text(&seen["ping"]).contains("5 packets received"), "{seen}");
        assert_eq!(seen["page_bytes"], 3 << 20, "from the host");
        assert_eq!(text(&seen["served"]), "a pond", "to the host");
    }
    assert_eq!(facts["kernel"]["stats"]["path"], "kernel", "{facts}");
    assert_eq!(facts["monitor"]["stats"]["path"], "own", "{facts}");
    assert_eq!(facts["leases"], 2);
}

fn a_connection_outlives_the_end_that_was_killed(facts: &Value) {
    for (way, path) in [("kernel", "kernel"), ("monitor", "own")] {
        let seen = &facts[way];
        assert_eq!(
            seen["missing"],
            serde_json::json!([0, 0]),
            "each end hears every line, in order: {seen}"
        );
        assert_eq!(
            seen["port"][0], seen["port"][1],
            "it is the same connection: {seen}"
        );
        assert!(!text(&seen["port"][0]).is_empty(), "{seen}");
        assert_eq!(seen["path"], path, "{seen}");
    }
    assert_eq!(text(&facts["stalls"]), "0", "the peer's watchdogs: {facts}");
}

fn each_vcpu_has_a_queue_pair_of_its_own_before_and_after_a_snapshot(facts: &Value) {
    for way in ["kernel", "monitor"] {
        let seen = &facts[way];
        assert_eq!(
            text(&seen["queues"]),
            "rx-0 rx-1 rx-2 rx-3 tx-0 tx-1 tx-2 tx-3",
            "{seen}"
        );
        for (when, pairs) in [
            ("at_first", 4),
            ("of_two", 2),
            ("of_four", 4),
            ("logged", 4),
            ("restored", 4),
        ] {
            frames_go_by_so_many_pairs(&seen[when], pairs, &format!("{way}, {when}"));
        }
        assert_eq!(numbers(&seen["tap_queues_left"]), [0, 0], "no process, no queues");
        assert!(number(&seen["increment_mib"]) > 0, "{seen}");
        assert_eq!(seen["stats"]["queue_pairs"]["most"], 4, "{seen}");
        assert_eq!(seen["stats"]["queue_pairs"]["in_use"], 4, "{seen}");
        assert_eq!(text(&seen["stalls"]), "0", "the guest's watchdogs");
    }
    assert_eq!(facts["kernel"]["stats"]["path"], "kernel", "{facts}");
    assert_eq!(facts["monitor"]["stats"]["path"], "own", "{facts}");
    // The monitor has moved, since the restore, what the guest's driver has counted.
    let each = facts["monitor"]["stats"]["queue_pairs"]["each"]
        .as_array()
        .expect("a list");
    assert!(
        each.iter()
            .all(|pair| number(&pair["sent"]["frames"]) >= 15 && number(&pair["received"]["frames"]) >= 15),
        "{each:?}"
    );
    assert_eq!(text(&facts["one"]["queues"]), "rx-0 tx-0", "a tap of one queue");
    assert!(
        text(&facts["one"]["stats"]["queue_pairs"]["one_because"]).contains("multi_queue"),
        "{facts}"
    );
    let moved = &facts["moved"];
    assert_eq!(
        numbers(&moved["received"]),
        [5, 5],
        "a guest of one pair goes on where there are several: {moved}"
    );
    let refused = text(&moved["refused"]);
    assert!(
        refused.contains("has 4 queue pairs, and what it is connected to here has 1")
            && refused.contains("multi_queue"),
        "one of four pairs needs four: {refused}"
    );
}

/// Each vCPU's echoes go by its own pair; where there are less pairs, each has those of two.
fn frames_go_by_so_many_pairs(round: &Value, pairs: usize, when: &str) {
    assert_eq!(numbers(&round["received"]), [20; 4], "{when}: all come back");
    for direction in ["receive", "transmit"] {
        let frames = numbers(&round[direction]);
        let (used, unused) = frames.split_at(pairs);
        assert!(used.iter().all(|frames| *frames >= 15), "{when}: {round}");
        assert!(unused.iter().all(|frames| *frames == 0), "{when}: {round}");
    }
    let attached = i64::try_from(pairs).expect("a few");
    assert_eq!(numbers(&round["tap_queues"]), [attached, 4 - attached], "{when}");
}

#[test]
fn thirty_guests_run_at_once_and_all_answer() {
    let lab = Lab {
        memory_mib: 6144,
        ..long()
    };
    thirty_guests_answer(&Session::run("crowd", &lab).facts("thirty"));
}

#[test]
fn a_guest_that_tries_harms_itself_alone() {
    let session = Session::run("attacks", &long());
    attacks::devices_outlive_what_is_done_to_them(&session.facts("hostile"));
    attacks::ports_and_registers_lead_nowhere(&session.facts("sweep"));
}

fn thirty_guests_answer(facts: &Value) {
    let answers: Vec<&str> = facts["answers"]
        .as_array()
        .expect("pages")
        .iter()
        .map(text)
        .collect();
    let expected: Vec<String> = (1..=30).map(|guest| format!("guest {guest}")).collect();
    assert_eq!(answers, expected);
    // What explains their kernels, the host has once: a page that a guest has written to is the guest's own.
    let (each, all) = (
        &facts["of_the_kernel_kib_each"],
        &facts["of_the_kernel_kib_in_all"],
    );
    assert!(number(each) > 512, "each guest has looked at some of it: {facts}");
    assert!(
        number(all) < 15 * number(each),
        "thirty guests have half of it in common at least: {facts}"
    );
}

#[test]
fn debian_boots_from_its_own_disk_with_its_stock_kernel_as_it_is_and_as_an_elf_file() {
    let lab = Lab {
        limit_s: 500,
        ..Lab::default()
    };
    let files = debian().expect("Debian's files");
    let facts = Session::run_with("debian", &lab, &files).facts("debian");
    // PVH's stub in the kernel calls itself 0xb; a loader that has no number of its own is 0xf.
    for (boot, loader) in [("image", 0xff), ("elf", 0xb0)] {
        let seen = &facts[boot];
        assert_eq!(number(&seen["loader"]), loader, "{facts}");
        let release = text(&seen["release"]);
        assert!(release.ends_with("-cloud-amd64"), "{facts}");
        let package = format!("linux-image-{release}: ");
        assert!(text(&seen["packaged"]).starts_with(&package), "{facts}");
        assert!(text(&seen["system"]).ends_with("systemd"), "{facts}");
        let root: Vec<&str> = text(&seen["root"]).split_whitespace().collect();
        assert_eq!(root[..2], ["/dev/vda", "ext4"], "{facts}");
        assert_eq!(root[2].split(',').next(), Some("rw"), "{facts}");
        assert_eq!(text(&seen["failed"]), "", "systemd has started what it should");
        let end = &seen["end"]["end"];
        assert_eq!(
            (&end["ending"], &end["code"]),
            (&"powered_off".into(), &0.into()),
            "{facts}"
        );
    }
    assert_eq!(facts["image"]["written"], facts["elf"]["read"], "{facts}");
    assert_eq!(facts["elf"]["recovered"], "0", "it was unmounted: {facts}");
    let open = facts["image"]["base_is_open"]
        .as_array()
        .expect("the base's descriptors");
    let is_read_only = |flags: &Value| text(flags).ends_with('0');
    assert!(!open.is_empty() && open.iter().all(is_read_only), "{facts}");
    assert!(facts["base_samples"].as_u64() > Some(50), "{facts}");
    assert_eq!(facts["base_untouched"], true, "the overlay's base");
    assert_eq!(facts["overlay_is_clean"], true, "qemu-img check");
}
