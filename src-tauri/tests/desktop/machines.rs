//! The machines of the pool: joining, leaving, going away and coming back.

use std::time::Duration;

use api::client::ssh::SshError;
use api::{ErrorCode, Failure, Instance, RunState};
use millpond::contract::{ActivityKind, AddMachine, AddMachineOutcome, Command, Link};
use pool::Refusal;
use pool::placing::Preview;

use millpond::machines::{LocalAgent, LocalAgentError, Places};

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

#[tokio::test]
async fn what_a_person_can_answer_is_asked_one_question_after_the_other() {
    let bench = bench().await;
    let boreas = ScriptedAgent::start(bench.folder.path(), "boreas", 2);
    bench.dial.know("boreas", &boreas);
    bench.dial.fail("boreas", |answers| {
        if answers.accepted_fingerprint.as_deref() != Some("SHA256:good") {
            return Some(SshError::HostKeyUnknown {
                address: "boreas:22".into(),
                key_type: "ssh-ed25519".into(),
                fingerprint: "SHA256:good".into(),
            });
        }
        if answers
            .passphrase
            .as_ref()
            .is_none_or(|passphrase| passphrase.as_str() != "open")
        {
            return Some(SshError::PassphraseNeeded {
                path: "/home/a/.ssh/id".into(),
                refused: answers.passphrase.is_some(),
            });
        }
        let refused = answers.password.is_some();
        answers
            .password
            .as_ref()
            .is_none_or(|password| password.as_str() != "horse")
            .then(|| SshError::AuthenticationFailed {
                address: "boreas:22".into(),
                user: "ada".into(),
                tried: vec!["key /home/a/.ssh/id".into()],
                password_possible: true,
                password_refused: refused,
            })
    });
    let request =
        |fingerprint: Option<&str>, passphrase: Option<&str>, password: Option<&str>| Command::MachineAdd {
            request: AddMachine {
                address: ssh("boreas"),
                name: None,
                accepted_fingerprint: fingerprint.map(str::to_owned),
                password: password.map(str::to_owned),
                passphrase: passphrase.map(str::to_owned),
            },
        };
    let good = Some("SHA256:good");
    let asked = [
        (request(None, None, None), "confirm_host_key"),
        (request(Some("SHA256:other"), None, None), "confirm_host_key"),
        (request(good, None, None), "passphrase_needed"),
        (request(good, Some("shut"), None), "passphrase_needed refused"),
        (request(good, Some("open"), None), "password_needed"),
        (
            request(good, Some("open"), Some("cow")),
            "password_needed refused",
        ),
        (request(good, Some("open"), Some("horse")), "added"),
    ];
    for (command, expected) in asked {
        let outcome: AddMachineOutcome = bench.desk.ask(command).await.expect("an outcome");
        let told = match &outcome {
            AddMachineOutcome::Added { .. } => "added",
            AddMachineOutcome::ConfirmHostKey { question } => {
                assert_eq!(question.fingerprint, "SHA256:good");
                "confirm_host_key"
            }
            AddMachineOutcome::PasswordNeeded { user, refused } => {
                assert_eq!(user, "ada");
                if *refused {
                    "password_needed refused"
                } else {
                    "password_needed"
                }
            }
            AddMachineOutcome::PassphraseNeeded { refused: true, .. } => "passphrase_needed refused",
            AddMachineOutcome::PassphraseNeeded { refused: false, .. } => "passphrase_needed",
        };
        assert_eq!(told, expected);
        let machines = bench.desk.picture().await.machines.len();
        assert_eq!(
            machines,
            if told == "added" { 2 } else { 1 },
            "nothing is added before {told}"
        );
    }
}

#[tokio::test]
async fn a_machine_that_wants_its_password_again_gets_it_from_the_person_and_no_file() {
    let bench = bench().await;
    let boreas = ScriptedAgent::start(bench.folder.path(), "boreas", 2);
    bench.dial.know("boreas", &boreas);
    bench
        .desk
        .ask::<AddMachineOutcome>(add("boreas", Some("horse")))
        .await
        .expect("added");
    bench.dial.fail("boreas", |answers| {
        answers
            .password
            .is_none()
            .then(|| SshError::AuthenticationFailed {
                address: "boreas:22".into(),
                user: "ada".into(),
                tried: Vec::new(),
                password_possible: true,
                password_refused: false,
            })
    });
    let desk = bench.desk.restart(&bench.dial).await;
    let refused =
        |picture: &millpond::contract::PoolPicture| matches!(picture.machines[1].link, Link::Refused { .. });
    let picture = desk.until("refused", refused).await;
    let reconnect = Command::MachineReconnect {
        machine: picture.machines[1].id,
        password: Some("horse".into()),
        passphrase: None,
        accepted_fingerprint: None,
    };
    desk.ask::<()>(reconnect).await.expect("asked");
    desk.connected("boreas").await;
}

#[tokio::test]
async fn two_machines_never_share_a_name() {
    let bench = bench().await;
    for (number, host) in [(2, "b1"), (3, "b2")] {
        let agent = ScriptedAgent::start(bench.folder.path(), host, number);
        agent.script().host.hostname = "debian".into();
        bench.dial.know(host, &agent);
        bench
            .desk
            .ask::<AddMachineOutcome>(add(host, None))
            .await
            .expect("added");
    }
    let names: Vec<String> = bench
        .desk
        .picture()
        .await
        .machines
        .into_iter()
        .map(|machine| machine.name)
        .collect();
    assert_eq!(names[1..], ["debian", "debian-2"]);
    let third = ScriptedAgent::start(bench.folder.path(), "b3", 4);
    bench.dial.know("b3", &third);
    let named = Command::MachineAdd {
        request: AddMachine {
            address: ssh("b3"),
            name: Some("debian".into()),
            accepted_fingerprint: None,
            password: None,
            passphrase: None,
        },
    };
    assert_eq!(bench.desk.refusal(named).await, ErrorCode::NameTaken);
}

#[tokio::test]
async fn an_agent_that_cannot_be_found_or_started_is_told_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("host-runner.log");
    let places = |binary: Option<&str>| Places {
        socket: Some(folder.path().join("api.sock")),
        runtime_dir: None,
        binary: binary.map(Into::into),
    };
    let looked = LocalAgent::new(places(None), log.clone())
        .connect()
        .await
        .expect_err("none");
    assert!(matches!(looked, LocalAgentError::NotRunning { .. }), "{looked:?}");
    let told = looked.to_api();
    assert_eq!(told.code, ErrorCode::AgentMissing);
    assert_eq!(told.details["remedy"], "host-runner serve".into());
    assert!(told.message.contains("api.sock"), "{}", told.message);

    let missing = LocalAgent::new(places(Some("/nowhere/host-runner")), log.clone());
    let missing = missing.connect().await.expect_err("no such program");
    assert!(matches!(missing, LocalAgentError::Start { .. }), "{missing:?}");

    let ends = LocalAgent::new(places(Some("/bin/false")), log.clone());
    let ended = ends.connect().await.expect_err("it ends");
    assert!(matches!(ended, LocalAgentError::Ended { .. }), "{ended:?}");
    let again = ends.connect().await.expect_err("not again so soon");
    assert!(matches!(again, LocalAgentError::NotRunning { .. }), "{again:?}");
}
