//! `pool dump`: the live pool as one document.

use std::process::{Command, Output};

use api::{HostFacts, Instance, Mib};
use hyper::StatusCode;
use pool::inventory::{Activity, Inventory};
use uuid::Uuid;

use crate::support::{Agent, Options, PROGRAM, SOON, eventually, tiny};

/// An SSH server that nobody runs.
const NOBODY: &str = "nobody@127.0.0.1:1";

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

async fn run(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_and_its_instances_are_written_as_the_agent_sees_them() {
    let agent = Agent::start(Options::with_tiny()).await;
    let id = Uuid::now_v7();
    let mut create = tiny("web-1");
    create.start = false;
    create.spec.disk_mib = Mib(64);
    agent
        .create(id, &create)
        .await
        .expect::<Instance>(StatusCode::CREATED);
    let facts: HostFacts = agent.get("/v1/host").await;

    // The first samples of usage come two seconds after the start; the one of the start is in the snapshot.
    let inventory = eventually("a sampled machine", SOON, async || {
        let output = run(agent.command(&["pool", "dump"])).await;
        assert!(output.status.success(), "{}", said(&output));
        let inventory = Inventory::from_json(&String::from_utf8(output.stdout).unwrap()).unwrap();
        (inventory.machines[0].usage.is_some()).then_some(inventory)
    })
    .await;

    let [machine] = &inventory.machines[..] else {
        panic!("one machine: {inventory:?}");
    };
    assert_eq!((machine.id, &machine.name), (facts.id, &facts.hostname));
    assert_eq!(
        (machine.threads, machine.memory_mib),
        (facts.threads, facts.memory_total_mib)
    );
    assert_eq!(
        machine.reserved.memory_mib,
        facts.memory_total_mib.saturating_sub(facts.memory_offered_mib)
    );
    assert_eq!(machine.instance_overhead_mib, facts.instance_overhead_mib);
    assert!(machine.reported.is_some());
    assert_eq!(machine.images[0].name, "tiny-linux");
    let usage = machine.usage.as_ref().unwrap();
    assert!(
        usage
            .measured()
            .all(|threads| threads <= f64::from(facts.threads))
    );
    assert!(!pool::inventory::UsageSeries::is_stale(
        usage,
        inventory.taken_at_s
    ));

    let [instance] = &inventory.instances[..] else {
        panic!("one instance: {inventory:?}");
    };
    assert_eq!((instance.id, instance.machine), (id, Some(facts.id)));
    assert_eq!(
        (instance.name.as_str(), instance.activity),
        ("web-1", Activity::Stopped)
    );
    assert_eq!(
        (instance.needs.memory_mib, instance.needs.disk_mib()),
        (Mib(128), Mib(64))
    );
    assert_eq!(instance.needs.image.as_deref(), Some("tiny-linux"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_goes_to_a_file_where_that_is_asked_for() {
    let agent = Agent::start(Options::default()).await;
    let file = agent.state_dir().join("pool.json");
    let mut command = agent.command(&["pool", "dump"]);
    command.arg("--output").arg(&file);
    let output = run(command).await;
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{}",
        said(&output)
    );
    let text = std::fs::read_to_string(file).unwrap();
    assert_eq!(Inventory::from_json(&text).unwrap().machines.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_cannot_be_reached_is_named_and_nothing_is_written_unless_that_is_wanted() {
    let agent = Agent::start(Options::default()).await;
    let arguments = ["pool", "dump", "--local", "--machine", NOBODY];
    let refused = run(agent.command(&arguments)).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty());
    let words = said(&refused);
    assert!(words.contains(&format!("cannot read {NOBODY}")), "{words}");
    assert!(
        words.contains("1 of 2 machines could not be read") && words.contains("--skip-unreachable"),
        "{words}"
    );

    let mut command = agent.command(&arguments);
    command.arg("--skip-unreachable");
    let written = run(command).await;
    assert!(written.status.success(), "{}", said(&written));
    assert!(said(&written).contains(&format!("cannot read {NOBODY}")));
    let inventory = Inventory::from_json(&String::from_utf8(written.stdout).unwrap()).unwrap();
    assert_eq!(inventory.machines.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_gone_away_is_no_error() {
    let agent = Agent::start(Options::default()).await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = agent.command(&["pool", "dump"]);
    command.stdout(writer);
    let output = run(command).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_named_wherever_the_document_goes() {
    let agent = Agent::start(Options::default()).await;
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut to_stdout = agent.command(&["pool", "dump"]);
    to_stdout.stdout(full);
    for command in [
        to_stdout,
        agent.command(&["pool", "dump", "--output", "/dev/full"]),
    ] {
        let output = run(command).await;
        assert_eq!(output.status.code(), Some(1));
        let words = said(&output);
        assert!(
            words.contains("cannot write") && words.contains("No space left"),
            "{words}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_no_half_of_a_file_and_keeps_the_one_that_was_there() {
    let agent = Agent::start(Options::default()).await;
    // A file system of one page, in a mount namespace of its own; what is there is told afterwards.
    let script = r#"
        folder=$1; shift
        mount -t tmpfs -o size=4k,mode=700 tmpfs "$folder"
        printf old > "$folder/pool.json"
        "$@" --output "$folder/pool.json" && exit 9
        printf 'then:%s:%s' "$(ls -A "$folder")" "$(cat "$folder/pool.json")""#;
    let folder = tempfile::tempdir().unwrap();
    let dump = agent.command(&["pool", "dump"]);
    let mut command = Command::new("unshare");
    command
        .args(["-rm", "sh", "-uc", script, "sh"])
        .arg(folder.path());
    command.arg(dump.get_program()).args(dump.get_args());
    command.envs(dump.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = run(command).await;
    let words = said(&output);
    assert!(
        words.contains("cannot write") && words.contains("No space left"),
        "{words}"
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "then:pool.json:old",
        "{words}"
    );
}

#[test]
fn without_an_agent_the_socket_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .args(["pool", "dump", "--runtime-dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("no agent listens on") && output.stdout.is_empty(),
        "{}",
        said(&output)
    );
}

#[test]
fn what_is_no_address_is_a_usage_error() {
    let output = Command::new(PROGRAM)
        .args(["pool", "dump", "--machine", "atlas:70000"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("the port is a number from 1 to 65535"),
        "{}",
        said(&output)
    );
}

#[test]
fn the_schema_is_printed_as_it_is_committed() {
    let output = Command::new(PROGRAM).args(["pool", "schema"]).output().unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout).unwrap() == include_str!("../../docs/inventory.schema.json"),
        "docs/inventory.schema.json has drifted"
    );
}
