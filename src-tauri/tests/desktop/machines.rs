//! The machines of the pool: joining, leaving, going away and coming back.

use std::time::Duration;

use api::{ErrorCode, Failure, Instance, RunState};
use millpond::contract::{ActivityKind, AddMachine, AddMachineOutcome, Command, Link};
use pool::{Preview, Refusal};

use crate::agent::{ScriptedAgent, now};
use crate::desk::{add, bench, create, kinds, placed, ssh, tiny};

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
        accepted_fingerprint: None,
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
