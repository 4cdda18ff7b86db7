//! The app over scripted agents: what a window asks, and what it is told.

use std::time::Duration;

use api::{ApiError, ErrorCode, EventBody, Failure, Instance, Mib, RunState};
use millpond::contract::{
    ActivityKind, AddMachine, AddMachineOutcome, Command, InstanceAction, InstanceRequest, Link,
    PlacedInstance, Settings, Template, ThemeChoice,
};
use pool::{Preview, Refusal};
use uuid::Uuid;

use crate::agent::{ScriptedAgent, now};
use crate::desk::{DEADLINE, Desk, SocketDial, create, ssh, tiny};

struct Bench {
    desk: Desk,
    dial: SocketDial,
    agent: ScriptedAgent,
    /// Holds the agents' sockets.
    folder: tempfile::TempDir,
}

/// A desktop whose computer has an agent, connected.
async fn bench() -> Bench {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = ScriptedAgent::start(folder.path(), "atlas", 1);
    let dial = SocketDial::default();
    dial.know("local", &agent);
    let desk = Desk::start(&dial).await;
    desk.this_computer().await;
    Bench {
        desk,
        dial,
        agent,
        folder,
    }
}

fn add(host: &str, password: Option<&str>) -> Command {
    Command::MachineAdd {
        request: AddMachine {
            address: ssh(host),
            name: None,
            accepted_fingerprint: None,
            password: password.map(str::to_owned),
            passphrase: None,
        },
    }
}

fn kinds(entries: &[millpond::contract::ActivityEntry]) -> Vec<ActivityKind> {
    entries.iter().rev().map(|entry| entry.kind).collect()
}

fn placed<'a>(instances: &'a [PlacedInstance], name: &str) -> Option<&'a PlacedInstance> {
    instances.iter().find(|placed| placed.instance.spec.name == name)
}

#[tokio::test]
async fn an_instance_lives_its_life_in_the_window_and_in_the_activity_list() {
    let bench = bench().await;
    let machine = bench.desk.this_computer().await.id;
    let created: Instance = bench
        .desk
        .ask_as("click-1", create(Some(machine)))
        .await
        .expect("created");
    assert_eq!(created.spec.name, "tiny-1");
    let id = created.id;
    bench.agent.boot(id);
    bench
        .desk
        .until("running", |picture| {
            placed(&picture.instances, "tiny-1").is_some_and(|placed| placed.instance.boot_ms == Some(4200))
        })
        .await;
    for action in [InstanceAction::Stop, InstanceAction::Delete] {
        let act = Command::InstanceAct {
            machine,
            instance: id,
            action,
        };
        let answer: Option<Instance> = bench.desk.ask_as("click-2", act).await.expect("done");
        assert_eq!(answer.is_none(), action == InstanceAction::Delete);
    }
    let entries = bench
        .desk
        .activity_until("deleted", |entry| entry.kind == ActivityKind::InstanceDeleted)
        .await;
    assert_eq!(
        kinds(&entries),
        [
            ActivityKind::MachineConnected,
            ActivityKind::InstanceCreated,
            ActivityKind::InstanceStarted,
            ActivityKind::InstanceReady,
            ActivityKind::InstanceStopped,
            ActivityKind::InstanceDeleted,
        ]
    );
    let ready = entries
        .iter()
        .find(|entry| entry.kind == ActivityKind::InstanceReady)
        .expect("ready");
    assert_eq!(ready.took_ms, Some(4200));
    assert_eq!(ready.instance.as_deref(), Some("tiny-1"));
    assert_eq!(ready.request_id.as_deref(), Some("click-1"));
    assert_eq!(entries[0].request_id.as_deref(), Some("click-2"));
    assert!(bench.desk.picture().await.instances.is_empty());
}

#[tokio::test]
async fn the_request_id_goes_from_the_click_to_the_agent() {
    let bench = bench().await;
    bench
        .desk
        .ask_as::<Instance>("click-77", create(None))
        .await
        .expect("created");
    let requests = bench.agent.script().requests.clone();
    let put = requests
        .iter()
        .find(|(line, _)| line.starts_with("PUT "))
        .expect("a create");
    assert_eq!(put.1, "click-77");
}

#[tokio::test]
async fn a_machine_that_goes_away_keeps_its_last_picture_and_comes_back_with_what_was_missed() {
    let mut bench = bench().await;
    let created: Instance = bench.desk.ask(create(None)).await.expect("created");
    bench.agent.boot(created.id);
    bench
        .desk
        .activity_until("ready", |entry| entry.kind == ActivityKind::InstanceReady)
        .await;
    bench.agent.stop().await;
    let away = bench
        .desk
        .until("unreachable", |picture| {
            matches!(picture.machines[0].link, Link::Unreachable { .. })
        })
        .await;
    assert_eq!(
        away.instances[0].instance.state,
        RunState::Running,
        "the last picture stays"
    );
    assert!(away.machines[0].host.is_some());
    let preview: Preview = bench
        .desk
        .ask(Command::PlacementPreview { request: tiny() })
        .await
        .expect("a preview");
    assert_eq!(preview.verdicts[0].refusals, [Refusal::Unreachable]);
    assert_eq!(
        bench.desk.refusal(create(Some(away.machines[0].id))).await,
        ErrorCode::Unreachable
    );

    bench
        .agent
        .script()
        .instances
        .get_mut(&created.id)
        .expect("it is there")
        .state = RunState::Failed;
    bench
        .agent
        .script()
        .instances
        .get_mut(&created.id)
        .expect("it is there")
        .failure = Some(Failure {
        code: ErrorCode::EngineFailed,
        message: "qemu ended".into(),
        log: String::new(),
        at: now(),
    });
    bench.agent.restart();
    let entries = bench
        .desk
        .activity_until("failed", |entry| entry.kind == ActivityKind::InstanceFailed)
        .await;
    let failed = entries
        .iter()
        .find(|entry| entry.kind == ActivityKind::InstanceFailed)
        .expect("failed");
    assert_eq!(
        failed.error.as_ref().map(|error| error.code),
        Some(ErrorCode::EngineFailed)
    );
    bench.desk.this_computer().await;
    let lost: Vec<_> = entries
        .iter()
        .filter(|entry| entry.kind == ActivityKind::MachineUnreachable)
        .collect();
    assert_eq!(lost.len(), 1, "one line for one loss, however many tries");
}

#[tokio::test]
async fn nobody_waits_for_the_next_try_who_asks_for_one() {
    let mut bench = bench().await;
    bench.agent.stop().await;
    let unreachable = |picture: &millpond::contract::PoolPicture| match &picture.machines[0].link {
        Link::Unreachable { retry_at, since, .. } => retry_at.unix_ms() - since.unix_ms() > 5_000,
        _ => false,
    };
    let away = bench.desk.until("waiting for long", unreachable).await;
    bench.agent.restart();
    let reconnect = Command::MachineReconnect {
        machine: away.machines[0].id,
        password: None,
        passphrase: None,
    };
    let asked = tokio::time::Instant::now();
    bench.desk.ask::<()>(reconnect).await.expect("asked");
    bench.desk.this_computer().await;
    assert!(asked.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn events_that_are_lost_are_made_up_for_by_a_new_snapshot() {
    let bench = bench().await;
    let created: Instance = bench.desk.ask(create(None)).await.expect("created");
    {
        // Changed without an event, and the stream's past forgotten: only a new snapshot can tell.
        let mut script = bench.agent.script();
        script.instances.get_mut(&created.id).expect("it is there").state = RunState::Stopped;
        script.forget_events();
        script.epoch += 1;
    }
    bench.agent.sample(10.0);
    bench
        .desk
        .until("stopped", |picture| {
            placed(&picture.instances, "tiny-1")
                .is_some_and(|placed| placed.instance.state == RunState::Stopped)
        })
        .await;
}

#[tokio::test]
async fn two_desktops_see_one_pool() {
    let bench = bench().await;
    let other = Desk::start(&bench.dial).await;
    other.this_computer().await;
    let created: Instance = bench.desk.ask(create(None)).await.expect("created");
    other
        .until("it is seen there too", |picture| {
            placed(&picture.instances, "tiny-1").is_some()
        })
        .await;
    let second: Instance = other.ask(create(None)).await.expect("created");
    assert_eq!(second.spec.name, "tiny-2", "names are chosen across the pool");
    bench
        .desk
        .until("it is seen here too", |picture| {
            placed(&picture.instances, "tiny-2").is_some()
        })
        .await;
    let entries = other
        .activity_until("created", |entry| entry.instance_id == Some(created.id))
        .await;
    assert!(
        entries
            .iter()
            .any(|entry| entry.kind == ActivityKind::InstanceCreated)
    );
}

#[tokio::test]
async fn a_name_that_another_desktop_took_is_passed_over() {
    let bench = bench().await;
    let taken = ApiError::new(ErrorCode::NameTaken, "taken");
    bench.agent.script().refuse.push_back(taken.clone());
    let created: Instance = bench.desk.ask(create(None)).await.expect("created");
    assert_eq!(created.spec.name, "tiny-2");
    bench.agent.script().refuse.push_back(taken);
    let named = Command::InstanceCreate {
        id: Uuid::now_v7(),
        machine: None,
        request: InstanceRequest {
            name: Some("web".into()),
            ..tiny()
        },
    };
    assert_eq!(
        bench.desk.refusal(named).await,
        ErrorCode::NameTaken,
        "a name that a person chose is theirs to change"
    );
}

#[tokio::test]
async fn a_create_without_an_answer_is_repeated_and_makes_one_instance() {
    let bench = bench().await;
    bench.agent.script().swallow_answers = 1;
    let command = create(None);
    let created: Instance = bench.desk.ask(command.clone()).await.expect("created");
    let again: Instance = bench.desk.ask(command).await.expect("the same");
    assert_eq!((created.id, &created.spec), (again.id, &again.spec));
    let script = bench.agent.script();
    assert_eq!(script.instances.len(), 1);
    let asked = script
        .requests
        .iter()
        .filter(|(line, _)| line.starts_with("PUT "));
    assert_eq!(
        asked.count(),
        3,
        "the lost one, its repetition, and the second command"
    );
}

#[tokio::test]
async fn creates_at_the_same_moment_get_names_of_their_own() {
    let bench = bench().await;
    let creates = (0..8).map(|_| bench.desk.ask::<Instance>(create(None)));
    let mut names: Vec<String> = futures::future::join_all(creates)
        .await
        .into_iter()
        .map(|created| created.expect("created").spec.name)
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 8);
}

#[tokio::test]
async fn the_best_machine_is_taken_and_the_next_when_it_says_no() {
    let bench = bench().await;
    let boreas = ScriptedAgent::start(bench.folder.path(), "boreas", 2);
    boreas.script().usage.memory_free_mib = Mib(7000);
    bench.dial.know("boreas", &boreas);
    bench
        .desk
        .ask::<AddMachineOutcome>(add("boreas", None))
        .await
        .expect("added");
    bench.desk.connected("boreas").await;
    bench.desk.ask::<Instance>(create(None)).await.expect("created");
    assert_eq!(boreas.script().instances.len(), 1, "it has more memory left");
    let full = ApiError::new(ErrorCode::InsufficientMemory, "somebody was faster");
    boreas.script().refuse.push_back(full);
    bench.desk.ask::<Instance>(create(None)).await.expect("created");
    assert_eq!(bench.agent.script().instances.len(), 1);
}

#[tokio::test]
async fn what_fits_nowhere_is_refused_with_the_numbers_of_each_machine() {
    let bench = bench().await;
    let big = Command::InstanceCreate {
        id: Uuid::now_v7(),
        machine: None,
        request: InstanceRequest {
            memory_mib: Mib(6144),
            ..tiny()
        },
    };
    let error = bench.desk.ask::<Instance>(big).await.expect_err("too big").error;
    assert_eq!(error.code, ErrorCode::InsufficientMemory);
    assert_eq!(error.details["needed_mib"], 6144.into());
    assert_eq!(error.details["free_mib"], 4096.into());
    assert!(
        error.message.contains("needs 6 GiB of memory, 4 GiB free"),
        "{}",
        error.message
    );
    let entries = bench
        .desk
        .activity_until("refused", |entry| entry.kind == ActivityKind::CommandRefused)
        .await;
    assert_eq!(
        entries[0].error.as_ref().map(|error| error.code),
        Some(ErrorCode::InsufficientMemory)
    );
    assert_eq!(entries[0].request_id.as_deref(), Some("test-1"));
}

#[tokio::test]
async fn machines_are_remembered_and_this_computer_is_always_the_first() {
    let bench = bench().await;
    let boreas = ScriptedAgent::start(bench.folder.path(), "boreas", 2);
    bench.dial.know("boreas", &boreas);
    let outcome: AddMachineOutcome = bench.desk.ask(add("boreas", None)).await.expect("added");
    let AddMachineOutcome::Added { machine } = outcome else {
        panic!("added: {outcome:?}")
    };
    assert_eq!(machine.name, "boreas", "the host's own name");
    assert!(matches!(machine.link, Link::Connected { .. }));
    assert_eq!(
        bench.desk.refusal(add("boreas", None)).await,
        ErrorCode::MachineKnown,
        "the same address"
    );
    bench.dial.know("boreas.lan", &boreas);
    assert_eq!(
        bench.desk.refusal(add("boreas.lan", None)).await,
        ErrorCode::MachineKnown,
        "the same host"
    );

    let desk = bench.desk.restart(&bench.dial).await;
    let again = desk.connected("boreas").await;
    assert_eq!(again.id, machine.id);
    let picture = desk.picture().await;
    assert_eq!(picture.machines.len(), 2);
    let this_computer = picture.machines[0].id;
    assert_ne!(this_computer, machine.id);

    let remove = |machine| Command::MachineRemove { machine };
    desk.ask::<()>(remove(machine.id)).await.expect("removed");
    assert_eq!(desk.refusal(remove(machine.id)).await, ErrorCode::MachineNotFound);
    assert_eq!(desk.refusal(remove(this_computer)).await, ErrorCode::WrongState);
    assert!(
        boreas.script().host.hostname == "boreas",
        "nothing changes on the machine"
    );
    let desk = desk.restart(&bench.dial).await;
    assert_eq!(desk.picture().await.machines.len(), 1);
    assert!(kinds(&desk.activity().await).contains(&ActivityKind::MachineRemoved));
}

#[tokio::test]
async fn no_secret_is_ever_written_down() {
    let bench = bench().await;
    let boreas = ScriptedAgent::start(bench.folder.path(), "boreas", 2);
    bench.dial.know("boreas", &boreas);
    let secret = "correct-horse-battery";
    bench
        .desk
        .ask::<AddMachineOutcome>(add("boreas", Some(secret)))
        .await
        .expect("added");
    assert_eq!(
        bench.desk.refusal(add("nowhere", Some(secret))).await,
        ErrorCode::AgentMissing
    );
    let given = bench
        .dial
        .dialled
        .lock()
        .expect("no panic")
        .iter()
        .any(|answers| {
            answers
                .password
                .as_ref()
                .is_some_and(|password| password.as_str() == secret)
        });
    assert!(given, "it was used");
    bench
        .desk
        .activity_until("refused", |entry| entry.kind == ActivityKind::CommandRefused)
        .await;
    bench.desk.app.shut_down().await;
    let mut files = 0;
    for file in std::fs::read_dir(bench.desk.folder.path().join("data")).expect("the folder") {
        let bytes = std::fs::read(file.expect("a file").path()).expect("its bytes");
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "the password is in a file");
        files += 1;
    }
    assert!(files > 0);
}

#[tokio::test]
async fn bad_machines_are_refused_before_anything_is_dialled() {
    let bench = bench().await;
    let dialled = bench.dial.dialled.lock().expect("no panic").len();
    for host in ["", "-oProxyCommand=x", "a b", "a\nb", &"x".repeat(256)] {
        assert_eq!(
            bench.desk.refusal(add(host, None)).await,
            ErrorCode::InvalidName,
            "{host:?}"
        );
    }
    let named = |name: &str| Command::MachineAdd {
        request: AddMachine {
            address: ssh("boreas"),
            name: Some(name.into()),
            accepted_fingerprint: None,
            password: None,
            passphrase: None,
        },
    };
    assert_eq!(bench.desk.refusal(named(" ")).await, ErrorCode::InvalidName);
    assert_eq!(bench.desk.refusal(named("a\u{7}")).await, ErrorCode::InvalidName);
    assert_eq!(bench.dial.dialled.lock().expect("no panic").len(), dialled);
}

#[tokio::test]
async fn commands_out_of_their_range_change_nothing() {
    let bench = bench().await;
    let list = |limit| Command::ActivityList { before: None, limit };
    assert_eq!(bench.desk.refusal(list(0)).await, ErrorCode::OutOfRange);
    assert_eq!(bench.desk.refusal(list(201)).await, ErrorCode::OutOfRange);
    let set = Command::SettingsSet {
        settings: Settings {
            theme: ThemeChoice::Dark,
            language: Some("../en".into()),
        },
    };
    assert_eq!(bench.desk.refusal(set).await, ErrorCode::InvalidName);
    let settings: Settings = bench.desk.ask(Command::SettingsGet {}).await.expect("settings");
    assert_eq!(settings, Settings::default());
    let act = Command::InstanceAct {
        machine: Uuid::from_u128(9),
        instance: Uuid::from_u128(9),
        action: InstanceAction::Start,
    };
    assert_eq!(bench.desk.refusal(act).await, ErrorCode::MachineNotFound);
    let machine = bench.desk.this_computer().await.id;
    let act = Command::InstanceAct {
        machine,
        instance: Uuid::from_u128(9),
        action: InstanceAction::Start,
    };
    assert_eq!(bench.desk.refusal(act).await, ErrorCode::InstanceNotFound);
    let bad_id = bench
        .desk
        .ask_as::<Settings>("a b", Command::SettingsGet {})
        .await;
    assert_eq!(
        bad_id.expect_err("refused").error.code,
        ErrorCode::MalformedRequest
    );
}

#[tokio::test]
async fn settings_are_remembered() {
    let bench = bench().await;
    let settings = Settings {
        theme: ThemeChoice::Dark,
        language: Some("zh-CN".into()),
    };
    let set = Command::SettingsSet {
        settings: settings.clone(),
    };
    bench.desk.ask::<Settings>(set).await.expect("set");
    let desk = bench.desk.restart(&bench.dial).await;
    assert_eq!(
        desk.ask::<Settings>(Command::SettingsGet {})
            .await
            .expect("settings"),
        settings
    );
}

#[tokio::test]
async fn every_template_of_the_shelf_names_an_image_and_fits_a_machine_of_the_test() {
    let bench = bench().await;
    let shelf: Vec<Template> = bench
        .desk
        .ask(Command::TemplatesList {})
        .await
        .expect("the shelf");
    assert!(!shelf.is_empty());
    for template in shelf {
        let request = InstanceRequest {
            name: None,
            name_prefix: template.name_prefix,
            image: template.image,
            vcpus: template.vcpus,
            memory_mib: template.memory_mib,
            disk_mib: template.disk_mib,
            ports: template.ports,
        };
        let preview: Preview = bench
            .desk
            .ask(Command::PlacementPreview { request })
            .await
            .expect("a preview");
        assert!(preview.best.is_some(), "{}", template.id);
    }
}

#[tokio::test]
async fn a_console_carries_bytes_both_ways_and_several_at_once() {
    let bench = bench().await;
    let created: Instance = bench.desk.ask(create(None)).await.expect("created");
    let machine = bench.desk.this_computer().await.id;
    let context = api::client::RequestContext::generate();
    for _ in 0..3 {
        let mut console = millpond::console::open(&bench.desk.app, &context, machine, created.id)
            .await
            .expect("a console");
        console.input.send("root\n".into()).await.expect("typed");
        let mut printed = Vec::new();
        while !printed.ends_with(b"root\n") {
            let piece = tokio::time::timeout(DEADLINE, console.output.next())
                .await
                .expect("in time");
            printed.extend_from_slice(&piece.expect("more"));
        }
        assert_eq!(printed, b"login: root\n");
    }
    let refused = millpond::console::open(&bench.desk.app, &context, machine, Uuid::from_u128(9)).await;
    assert_eq!(
        refused.expect_err("no such instance").to_api().code,
        ErrorCode::InstanceNotFound
    );
}

#[tokio::test]
async fn a_chart_is_drawn_in_either_ink_and_says_in_words_what_it_shows() {
    let bench = bench().await;
    bench.agent.sample(42.0);
    let machine = bench.desk.this_computer().await;
    for dark in [false, true] {
        let chart = Command::MachineChart {
            machine: machine.id,
            dark,
        };
        let svg: String = bench.desk.ask(chart).await.expect("a chart");
        assert!(svg.contains("<svg") && svg.contains("role=\"img\""), "{svg}");
        assert!(
            svg.contains(&format!("<title>CPU and memory of {}", machine.name)),
            "{svg}"
        );
    }
}

#[tokio::test]
async fn images_and_samples_reach_the_window() {
    let bench = bench().await;
    bench.agent.sample(73.0);
    bench
        .desk
        .until("sampled", |picture| {
            picture.machines[0]
                .usage
                .as_ref()
                .is_some_and(|usage| usage.cpu_percent > 72.0)
        })
        .await;
    bench.agent.emit(EventBody::ImagesChanged { images: vec![] });
    bench
        .desk
        .until("no images", |picture| picture.machines[0].images.is_empty())
        .await;
}
