//! `plan`: questions answered from an inventory file alone. The file is the one of the manual, `docs/examples/office.json`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pool::Mib;
use pool::inventory::{Inventory, Mobility, Needs};
use serde_json::Value;

use crate::support::PROGRAM;

/// The exit code where something finds no place.
const STRANDED: i32 = 3;

fn office() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/office.json")
}

fn inventory() -> Inventory {
    Inventory::from_json(&std::fs::read_to_string(office()).unwrap()).unwrap()
}

pub fn plan_from(file: &Path, arguments: &[&str]) -> Output {
    let (kind, rest) = arguments.split_first().unwrap();
    Command::new(PROGRAM)
        .args(["plan", kind, "--inventory"])
        .arg(file)
        .args(rest)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

pub fn plan(arguments: &[&str]) -> Output {
    plan_from(&office(), arguments)
}

pub fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
pub fn refused(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
    assert!(output.stdout.is_empty(), "{}", text(output));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
pub fn json(arguments: &[&str], code: i32) -> Value {
    let output = plan(&[arguments, &["--json"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn moves(plan: &Value) -> Vec<&Value> {
    let steps = plan["steps"].as_array().unwrap();
    steps
        .iter()
        .flat_map(|step| step["moves"].as_array().unwrap())
        .collect()
}

fn id_of(name: &str) -> String {
    let inventory = inventory();
    let found = inventory.machines.iter().find(|machine| machine.name == name);
    found.unwrap().id.to_string()
}

/// A file that is gone with the test.
pub fn file_of(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_drain_moves_everything_off_the_machine_and_says_why_and_what_the_pool_is_afterwards() {
    let plan_json = json(&["drain", "--machine", "atlas"], 0);
    let atlas = id_of("atlas");
    let held = inventory()
        .instances
        .iter()
        .filter(|held| held.machine.unwrap().to_string() == atlas)
        .count();
    let away: Vec<&Value> = moves(&plan_json)
        .into_iter()
        .filter(|made| made["from"] == *atlas)
        .collect();
    assert_eq!(away.len(), held);
    assert!(
        away.iter()
            .all(|made| made["to"] != *atlas && made["reason"]["reason"] == "drain")
    );
    assert_eq!(plan_json["kind"], "drain");
    assert_eq!(plan_json["version"], inventory().version);
    assert_eq!(
        plan_json["before"]["instances_placed"],
        plan_json["after"]["instances_placed"]
    );
    assert!(plan_json["took_ms"].as_f64().unwrap() > 0.0);

    let told = text(&plan(&["drain", "--machine", "atlas"]));
    for words in [
        "Drain atlas: ",
        "its machine is being emptied",
        "before",
        "after",
        "Imbalance",
        "If a machine failed",
        "Found by a local search in ",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
}

#[test]
fn a_machine_may_be_named_by_its_id() {
    let by_name = json(&["drain", "--machine", "atlas"], 0);
    let by_id = json(&["drain", "--machine", &id_of("atlas")], 0);
    assert_eq!(by_name["steps"], by_id["steps"]);
}

#[test]
fn a_drain_that_cannot_be_done_moves_nothing_and_names_what_would_be_stranded() {
    let plan_json = json(&["drain", "--machine", "cygnus"], STRANDED);
    assert!(moves(&plan_json).is_empty());
    assert_eq!(plan_json["stranded"][0]["name"], "renderer");
    let output = plan(&["drain", "--machine", "cygnus"]);
    assert_eq!(output.status.code(), Some(STRANDED));
    let told = text(&output);
    assert!(
        told.contains("it cannot be done") && told.contains("renderer finds no place; the nearest, "),
        "{told}"
    );
    assert!(told.contains("is not cygnus, which it is tied to"), "{told}");
}

#[test]
fn balance_makes_the_pool_more_even_and_says_what_each_move_gains() {
    let plan_json = json(&["balance"], 0);
    let imbalance = |when: &str| plan_json[when]["imbalance"].as_f64().unwrap();
    assert!(!moves(&plan_json).is_empty());
    assert!(imbalance("after") < imbalance("before"), "{plan_json}");
    let told = text(&plan(&["balance"]));
    assert!(told.contains("lowers the imbalance by 0."), "{told}");
}

#[test]
fn policies_that_want_full_machines_relieve_only_overloaded_ones() {
    for policy in ["pack", "save-power"] {
        assert!(
            moves(&json(&["balance", "--policy", policy], 0)).is_empty(),
            "{policy}"
        );
    }
    let told = text(&plan(&["balance", "--policy", "pack"]));
    assert!(
        told.contains("nothing moves") && told.contains("the pool: even enough"),
        "{told}"
    );
}

#[test]
fn consolidation_lets_machines_sleep_and_saves_power() {
    let plan_json = json(&["consolidate", "--give-up-recovery"], 0);
    let figure = |when: &str, what: &str| plan_json[when][what].as_f64().unwrap();
    assert!(
        figure("after", "machines_awake") < figure("before", "machines_awake"),
        "{plan_json}"
    );
    assert!(figure("after", "power_w") < figure("before", "power_w"));
    let told = text(&plan(&["consolidate", "--give-up-recovery"]));
    assert!(told.contains(" to sleep"), "{told}");
}

#[test]
fn no_machine_sleeps_that_another_ones_failure_would_need() {
    let told = text(&plan(&["consolidate"]));
    assert!(
        told.contains("nothing moves") && told.contains("another machine's failure could not be recovered"),
        "{told}"
    );
}

#[test]
fn what_ran_on_a_lost_machine_is_started_elsewhere() {
    let plan_json = json(&["recover", "--machine", "borea"], 0);
    assert!(
        moves(&plan_json)
            .iter()
            .any(|made| made["name"] == "db-2" && made["how"] == "cold")
    );
    let told = text(&plan(&["recover", "--machine", "borea"]));
    assert!(
        told.contains("its machine is gone") && told.contains("old-crm: does not run"),
        "{told}"
    );
}

#[test]
fn a_what_if_question_edits_the_pool_first() {
    let removed = json(&["what-if", "--remove", "borea"], 0);
    assert!(moves(&removed).iter().any(|made| made["name"] == "db-2"));
    let more = json(&["what-if", "--add", "2=atlas", "--balance"], 0);
    assert_eq!(more["after"]["machines_awake"], 6);
    let busier = json(&["what-if", "--scale-load", "1.2"], 0);
    let calm = json(&["what-if", "--scale-load", "1"], 0);
    let load = |plan: &Value| plan["after"]["mean_load"]["cpu"].as_f64().unwrap();
    assert!(
        load(&busier) > load(&calm) * 1.1,
        "{} {}",
        load(&busier),
        load(&calm)
    );
    // Added machines have names that tell what they are like.
    let told = text(&plan(&["what-if", "--add", "1=atlas", "--balance"]));
    assert!(told.contains("atlas-2"), "{told}");
    let nothing = refused(&plan(&["what-if"]), 2);
    assert!(nothing.contains("--scale-load"), "{nothing}");
}

#[test]
fn edits_can_come_from_a_file() {
    let edits = file_of(&format!(
        r#"[{{"edit": "remove_machine", "machine": "{}"}}, {{"edit": "scale_load", "factor": 0.5}}]"#,
        id_of("borea")
    ));
    let path = edits.path().to_str().unwrap();
    let plan_json = json(&["what-if", "--edits", path], 0);
    assert!(moves(&plan_json).iter().any(|made| made["name"] == "db-2"));
}

#[test]
fn a_place_is_explained_term_by_term_and_so_is_any_other_machine() {
    let arguments = [
        "place",
        "--vcpus",
        "2",
        "--memory",
        "4GiB",
        "--disk",
        "20GiB",
        "--machine",
        "draco",
    ];
    let placed = json(&arguments, 0);
    let explanation = &placed["placed"][0]["explanation"];
    assert_eq!(explanation["fits"], true);
    assert!(explanation["terms"].as_array().unwrap().len() > 2);
    assert!(
        explanation["compared_with"]["score"].as_f64().unwrap() <= explanation["score"].as_f64().unwrap()
    );
    let asleep = &placed["explained"][0];
    assert_eq!(
        (&asleep["name"], &asleep["fits"]),
        (&"draco".into(), &false.into())
    );
    let told = text(&plan(&arguments));
    assert!(
        told.contains("draco cannot take it: is asleep") && told.contains("evenness"),
        "{told}"
    );
}

#[test]
fn another_policy_chooses_another_machine() {
    let chosen = |policy: &str| {
        let arguments = ["place", "--vcpus", "1", "--memory", "1GiB", "--policy", policy];
        json(&arguments, 0)["placed"][0]["machine"].clone()
    };
    assert_eq!(chosen("pack"), id_of("atlas"), "the fullest");
    assert_ne!(chosen("spread"), id_of("atlas"));
}

#[test]
fn several_are_placed_together_or_not_at_all() {
    let apart = [
        "place", "--vcpus", "1", "--memory", "1GiB", "--group", "api", "--apart", "--name", "api",
    ];
    let four = json(&[&apart[..], &["--count", "4"]].concat(), 0);
    let machines: std::collections::BTreeSet<&str> = four["placed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|placed| placed["machine"].as_str().unwrap())
        .collect();
    assert_eq!(machines.len(), 4, "four machines are awake");
    let five = json(&[&apart[..], &["--count", "5"]].concat(), STRANDED);
    assert!(five["placed"].as_array().unwrap().is_empty());
    assert_eq!(five["before"], five["after"]);
    let told = text(&plan(&[&apart[..], &["--count", "5"]].concat()));
    assert!(
        told.contains("it cannot be done") && told.contains("api-"),
        "{told}"
    );
}

#[test]
fn wishes_that_contradict_each_other_are_named() {
    let mut needs = Needs::new(1, Mib(1_024));
    needs.pin = Some(id_of("atlas").parse().unwrap());
    needs.affinities.push(pool::inventory::Affinity {
        kind: pool::inventory::AffinityKind::Apart,
        target: pool::inventory::AffinityTarget::Group { name: "web".into() },
        hard: true,
    });
    let file = file_of(&serde_json::to_string(&needs).unwrap());
    let arguments = ["place", "--request", file.path().to_str().unwrap()];
    let output = plan(&arguments);
    assert_eq!(output.status.code(), Some(STRANDED));
    let told = text(&output);
    assert!(
        told.contains("it cannot be done") && told.contains("web-1"),
        "{told}"
    );
}

#[test]
fn a_placement_that_gives_up_recovery_is_refused_where_that_is_wanted() {
    let mut tight = inventory();
    // Two machines of which each can just hold what is on both.
    tight.machines.truncate(2);
    tight
        .instances
        .retain(|held| ["mail", "git"].contains(&held.name.as_str()));
    for machine in &mut tight.machines {
        machine.memory_mib = Mib(14_336);
        machine.usage = None;
    }
    let file = file_of(&serde_json::to_string(&tight).unwrap());
    let asked = ["place", "--vcpus", "1", "--memory", "4GiB"];
    let allowed = plan_from(file.path(), &asked);
    assert_eq!(allowed.status.code(), Some(0), "{}", text(&allowed));
    let refused = plan_from(file.path(), &[&asked[..], &["--recovery", "refuse"]].concat());
    assert_eq!(refused.status.code(), Some(STRANDED), "{}", text(&refused));
    assert!(
        text(&refused).contains("would find no place"),
        "{}",
        text(&refused)
    );
    let small = plan_from(
        file.path(),
        &[
            "place",
            "--vcpus",
            "1",
            "--memory",
            "512MiB",
            "--recovery",
            "refuse",
        ],
    );
    assert_eq!(small.status.code(), Some(0), "{}", text(&small));
    // One failure cannot be recovered anyway: that is no leave to add another.
    for held in tight.instances.iter_mut().filter(|held| held.name == "git") {
        held.needs.mobility = Mobility::Fixed;
    }
    let file = file_of(&serde_json::to_string(&tight).unwrap());
    let refused = plan_from(
        file.path(),
        &[&asked[..], &["--count", "2", "--recovery", "refuse"]].concat(),
    );
    assert_eq!(refused.status.code(), Some(STRANDED), "{}", text(&refused));
}

#[test]
fn what_is_needed_can_come_from_a_file_of_the_documented_form() {
    let mut needs = Needs::new(1, Mib(1_024));
    needs.pin = Some(id_of("borea").parse().unwrap());
    let file = file_of(&serde_json::to_string(&needs).unwrap());
    let placed = json(&["place", "--request", file.path().to_str().unwrap()], 0);
    assert_eq!(placed["placed"][0]["machine"], id_of("borea"));

    let broken = file_of("{\"vcpus\": 1,\n \"memory\": 4}");
    let said = refused(&plan(&["place", "--request", broken.path().to_str().unwrap()]), 1);
    assert!(
        said.contains("as what an instance needs") && said.contains("line 2"),
        "{said}"
    );
    let too_many = refused(&plan(&["place", "--vcpus", "2000", "--memory", "1GiB"]), 2);
    assert!(too_many.contains("1..=1024"), "{too_many}");
}

#[test]
fn the_same_file_has_the_same_answer() {
    for question in [
        &["drain", "--machine", "atlas"][..],
        &["balance"],
        &["consolidate"],
        &["place", "--vcpus", "1", "--memory", "1G"],
    ] {
        let answer = || {
            let mut answer = json(question, 0);
            answer.as_object_mut().unwrap().remove("took_ms");
            answer
        };
        assert_eq!(answer(), answer(), "{question:?}");
    }
}

#[test]
fn the_inventory_can_come_from_stdin() {
    let mut child = Command::new(PROGRAM)
        .args(["plan", "balance", "--json", "--inventory", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&std::fs::read(office()).unwrap()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["kind"],
        "balance"
    );
}

#[test]
fn a_question_that_cannot_be_answered_says_what_is_wrong_and_what_to_do() {
    let missing = refused(&plan_from(Path::new("/no/such/pool.json"), &["balance"]), 1);
    assert!(
        missing.contains("cannot read /no/such/pool.json: No such file"),
        "{missing}"
    );

    let broken = file_of("{\n  \"format\": 1,\n  \"version\": oops\n}");
    let said = refused(&plan_from(broken.path(), &["balance"]), 1);
    assert!(
        said.contains("line 3 column") && said.contains(broken.path().to_str().unwrap()),
        "{said}"
    );

    let mut impossible = inventory();
    impossible.machines[0].threads = 0;
    let file = file_of(&serde_json::to_string(&impossible).unwrap());
    let said = refused(&plan_from(file.path(), &["balance"]), 1);
    assert!(
        said.contains("machine atlas") && said.contains("threads 0 is not within 1..=65536"),
        "{said}"
    );

    let unknown = refused(&plan(&["drain", "--machine", "altas"]), 1);
    assert!(
        unknown.contains("there is no machine \"altas\" in the inventory; there is atlas"),
        "{unknown}"
    );

    let seconds = refused(&plan(&["balance", "--solver-seconds", "0"]), 1);
    assert!(
        seconds.contains("solver_seconds_max = 0: it must be 0.1 to 600"),
        "{seconds}"
    );
    let policy = refused(&plan(&["balance", "--policy", "chaos"]), 2);
    assert!(
        policy.contains("spread") && policy.contains("save-power"),
        "{policy}"
    );
}

#[test]
fn a_hostile_name_does_not_reach_the_terminal_as_it_is() {
    let mut hostile = inventory();
    hostile.instances[0].name = "\u{1b}[2Jweb".into();
    let file = file_of(&serde_json::to_string(&hostile).unwrap());
    let output = plan_from(file.path(), &["drain", "--machine", "atlas"]);
    assert!(
        output.status.success() && !output.stdout.contains(&0x1b),
        "{}",
        text(&output)
    );
}
