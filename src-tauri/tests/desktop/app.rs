//! The app over scripted agents: what a window asks, and what it is told.

use api::{Affinity, AffinityKind, AffinityTarget, ApiError, ErrorCode, EventBody, Instance, Mib, Placement};
use millpond::contract::{
    ActivityKind, AddMachineOutcome, Command, InstanceAction, InstanceRequest, Opening, SavedInventory,
    Settings, Template, ThemeChoice,
};
use pool::Refusal;
use pool::placing::{PolicyName, Preview};
use uuid::Uuid;

use crate::agent::ScriptedAgent;
use crate::desk::{DEADLINE, Desk, add, bench, create, kinds, placed, tiny};

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
async fn commands_out_of_their_range_change_nothing() {
    let bench = bench().await;
    let list = |limit| Command::ActivityList { before: None, limit };
    assert_eq!(bench.desk.refusal(list(0)).await, ErrorCode::OutOfRange);
    assert_eq!(bench.desk.refusal(list(201)).await, ErrorCode::OutOfRange);
    let set = Command::SettingsSet {
        settings: Settings {
            theme: ThemeChoice::Dark,
            language: Some("../en".into()),
            placement: PolicyName::Spread,
        },
    };
    assert_eq!(bench.desk.refusal(set).await, ErrorCode::InvalidName);
    let opening: Opening = bench.desk.ask(Command::WindowOpen {}).await.expect("an opening");
    assert_eq!(
        opening.settings,
        Settings::default(),
        "what was refused is not kept"
    );
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
    let bad_id = bench.desk.ask_as::<Opening>("a b", Command::WindowOpen {}).await;
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
        placement: PolicyName::Pack,
    };
    let set = Command::SettingsSet {
        settings: settings.clone(),
    };
    bench.desk.ask::<Settings>(set).await.expect("set");
    let desk = bench.desk.restart(&bench.dial).await;
    // A window opens with them, with the shelf and with the pool as it is, in one answer.
    let opening: Opening = desk.ask(Command::WindowOpen {}).await.expect("an opening");
    assert_eq!(opening.settings, settings);
    assert!(!opening.templates.is_empty());
    assert_eq!(opening.picture.machines.len(), 1);
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
            disk_limit: api::DiskLimit::default(),
            network_limit: api::NetworkLimit::default(),
            ports: template.ports,
            placement: api::Placement::default(),
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

fn created_on(machine: Option<Uuid>, placement: Placement) -> Command {
    Command::InstanceCreate {
        id: Uuid::now_v7(),
        machine,
        request: InstanceRequest { placement, ..tiny() },
    }
}

#[tokio::test]
async fn a_draining_machine_is_given_nothing_new_neither_by_choice_nor_by_name() {
    let bench = bench().await;
    let machine = bench.desk.this_computer().await.id;
    let drain = Command::MachineDrainSet {
        machine,
        draining: true,
    };
    bench.desk.ask::<serde_json::Value>(drain).await.expect("set");
    let preview = Command::PlacementPreview { request: tiny() };
    let preview: Preview = bench.desk.ask(preview).await.expect("verdicts");
    assert_eq!(preview.verdicts[0].refusals, [Refusal::Draining]);
    for named in [None, Some(machine)] {
        assert_eq!(
            bench.desk.refusal(create(named)).await,
            ErrorCode::PlacementRule,
            "{named:?}"
        );
    }
    let requests = bench.agent.script().requests.clone();
    assert!(
        !requests.iter().any(|(line, _)| line.starts_with("PUT ")),
        "the machine was not even asked"
    );
}

#[tokio::test]
async fn who_keeps_away_from_its_group_is_not_put_beside_it() {
    let bench = bench().await;
    let apart = Placement {
        group: Some("web".into()),
        affinities: vec![Affinity {
            kind: AffinityKind::Apart,
            target: AffinityTarget::Group { name: "web".into() },
            hard: true,
        }],
        ..Placement::default()
    };
    let first: Instance = bench
        .desk
        .ask(created_on(None, apart.clone()))
        .await
        .expect("alone");
    assert_eq!(
        first.spec.placement, apart,
        "the wishes are the machine's to keep"
    );
    let machine = bench.desk.this_computer().await.id;
    for named in [None, Some(machine)] {
        let second = created_on(named, apart.clone());
        assert_eq!(
            bench.desk.refusal(second).await,
            ErrorCode::PlacementRule,
            "{named:?}"
        );
    }
}

#[tokio::test]
async fn an_inventory_is_written_where_it_says() {
    let bench = bench().await;
    bench.desk.ask::<Instance>(create(None)).await.expect("created");
    let saved: SavedInventory = bench.desk.ask(Command::InventorySave {}).await.expect("written");
    let text = std::fs::read_to_string(&saved.path).expect("the file");
    std::fs::remove_file(&saved.path).expect("it can go");
    let inventory = pool::inventory::Inventory::from_json(&text).expect("an inventory");
    assert_eq!((inventory.machines.len(), inventory.instances.len()), (1, 1));
}
