//! The whole desktop without its window, asked as a window asks, against real agents.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::client::ssh::SshOptions;
use api::{Instance, Mib, Progress, RunState};
use millpond::app::App;
use millpond::commands::dispatch;
use millpond::contract::{
    AddMachine, AddMachineOutcome, Call, Command, CommandError, InstanceAction, InstanceRequest, Link,
    MachineAddress, PlacedInstance, PoolMachine, PoolPicture,
};
use millpond::machines::{LocalAgent, Places, RealDial};
use serde::de::DeserializeOwned;
use support::{
    AgentOptions, AgentProcess, Desktop, KeyKind, Machine, Place, SshKey, SshServer, SshServerOptions,
    wait_until, wait_until_async,
};
use uuid::Uuid;

/// Emulated guests share two cores with all other tests.
const BOOT_DEADLINE: Duration = Duration::from_secs(180);
const CALL_DEADLINE: Duration = Duration::from_secs(60);
/// How soon a person is told that a machine has gone silent.
const SILENCE_DEADLINE: Duration = Duration::from_secs(20);

/// One person's app.
struct Person {
    app: Arc<App>,
    _data: tempfile::TempDir,
}

impl Person {
    /// Starts the app with an empty memory; `socket` is where this computer's agent would answer.
    async fn start(socket: PathBuf, ssh: SshOptions) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let places = Places {
            socket: Some(socket),
            ..Places::default()
        };
        let local = LocalAgent::new(places, data.path().join("host-runner.log"));
        let app = App::start(data.path(), Arc::new(RealDial::new(local, ssh)))
            .await
            .expect("the app starts");
        Self { app, _data: data }
    }

    /// At the agent of this computer.
    async fn at(agent: &AgentProcess) -> Self {
        let desktop = Desktop::new().expect("a desktop");
        Self::start(agent.socket(), desktop.options()).await
    }

    async fn ask<T: DeserializeOwned>(&self, request_id: &str, command: Command) -> Result<T, CommandError> {
        let call = Call {
            request_id: request_id.into(),
            command,
        };
        let answer = dispatch(&self.app, call).await?;
        Ok(serde_json::from_value(answer).expect("the answer that the contract promises"))
    }

    async fn picture(&self) -> PoolPicture {
        self.ask("look", Command::PoolGet {}).await.expect("the picture")
    }

    /// Waits until the picture shows what `found` looks for.
    async fn until<T>(&self, what: &str, deadline: Duration, found: impl Fn(&PoolPicture) -> Option<T>) -> T {
        let seen = wait_until_async(what, deadline, async || found(&self.picture().await)).await;
        match seen {
            Ok(seen) => seen,
            Err(err) => panic!("{err}; the picture: {:#?}", self.picture().await),
        }
    }

    /// This computer, once its agent answers.
    async fn this_computer(&self) -> PoolMachine {
        self.until("this computer is connected", CALL_DEADLINE, |picture| {
            let mut machines = picture.machines.iter();
            machines
                .find(|machine| machine.address == MachineAddress::Local && is_connected(machine))
                .cloned()
        })
        .await
    }

    async fn create(&self, request_id: &str, machine: Uuid) -> Instance {
        let command = Command::InstanceCreate {
            id: Uuid::now_v7(),
            machine: Some(machine),
            request: tiny(),
        };
        self.ask(request_id, command).await.expect("created")
    }
}

fn is_connected(machine: &PoolMachine) -> bool {
    matches!(machine.link, Link::Connected { .. })
}

fn machine(picture: &PoolPicture, id: Uuid) -> Option<&PoolMachine> {
    picture.machines.iter().find(|machine| machine.id == id)
}

fn placed(picture: &PoolPicture, id: Uuid) -> Option<&PlacedInstance> {
    picture.instances.iter().find(|placed| placed.instance.id == id)
}

fn tiny() -> InstanceRequest {
    InstanceRequest {
        name: None,
        name_prefix: "tiny".into(),
        image: "tiny-linux".into(),
        vcpus: 1,
        memory_mib: Mib(128),
        disk_mib: Mib::ZERO,
        disk_limit: api::DiskLimit::default(),
        network_limit: api::NetworkLimit::default(),
        ports: Vec::new(),
        placement: api::Placement::default(),
    }
}

fn add(host: &str, accepted_fingerprint: Option<String>) -> Command {
    Command::MachineAdd {
        request: AddMachine {
            address: MachineAddress::Ssh {
                host: host.into(),
                user: None,
                port: None,
                identity_file: None,
            },
            name: Some("atlas".into()),
            accepted_fingerprint,
            password: None,
            passphrase: None,
        },
    }
}

/// The process of an instance's guest, wherever on this computer it runs.
fn guest(instance: Uuid) -> Option<u32> {
    let id = instance.to_string();
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut guests = numbers.filter(|number: &u32| {
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("qemu-system") && line.contains(&id)
    });
    guests.next()
}

/// A machine of its own behind a cable, with an agent and an SSH server that lets `key` in.
struct Remote {
    // Dropped in this order: the machine goes last, and ends what still runs there.
    server: SshServer,
    _agent: AgentProcess,
    machine: Machine,
}

fn remote(key: SshKey) -> Remote {
    let machine = Machine::new().expect("a machine");
    let place = Place::Machine(&machine);
    let program = support::host_runner().expect("a built agent");
    machine.install(&program).expect("installed");
    let options = AgentOptions {
        with_tiny_image: true,
        ..AgentOptions::default()
    };
    let agent = AgentProcess::start(place, options).expect("an agent");
    let options = SshServerOptions {
        authorized: vec![key.public],
        ..SshServerOptions::default()
    };
    let server = SshServer::start(place, &options).expect("an SSH server");
    Remote {
        server,
        _agent: agent,
        machine,
    }
}

fn agent_here() -> AgentProcess {
    let options = AgentOptions {
        with_tiny_image: true,
        ..AgentOptions::default()
    };
    AgentProcess::start(Place::Here, options).expect("an agent")
}

/// Adds the machine as a person does: looks at the fingerprint, compares, accepts.
async fn add_and_accept(person: &Person, remote: &Remote) -> PoolMachine {
    let host = remote.machine.address().to_string();
    let asked = person.ask("add-1", add(&host, None)).await;
    let Ok(AddMachineOutcome::ConfirmHostKey { question }) = asked else {
        panic!("an unknown host key is a question, not {asked:?}");
    };
    let own = remote.server.host_keys[0].fingerprint().expect("a fingerprint");
    assert_eq!(question.fingerprint, own);
    assert_eq!(person.picture().await.machines.len(), 1, "only this computer yet");

    let answered = person.ask("add-2", add(&host, Some(question.fingerprint))).await;
    let Ok(AddMachineOutcome::Added { machine }) = answered else {
        panic!(
            "an accepted machine is added, not {answered:?}\n{}",
            remote.server.log()
        );
    };
    assert!(is_connected(&machine), "{:?}", machine.link);
    machine
}

#[tokio::test]
async fn a_machine_is_added_over_ssh_and_its_instance_lives_through_a_cut_cable() {
    let desktop = Desktop::new().expect("a desktop");
    let key = SshKey::make(&desktop.ssh_path("id_ed25519"), KeyKind::Ed25519, "").expect("a key");
    let remote = remote(key);
    let person = Person::start("/nowhere/api.sock".into(), desktop.options()).await;
    let atlas = add_and_accept(&person, &remote).await.id;

    let id = person.create("create-1", atlas).await.id;
    let before = person
        .until("the guest is ready", BOOT_DEADLINE, |picture| {
            let instance = &placed(picture, id)?.instance;
            assert_ne!(instance.state, RunState::Failed, "{:?}", instance.failure);
            (instance.progress == Some(Progress::Ready)).then(|| instance.clone())
        })
        .await;
    let process = guest(id).expect("the guest's process");

    remote.machine.cut_link().expect("cut");
    let picture = person
        .until(
            "the machine is shown as unreachable",
            SILENCE_DEADLINE,
            |picture| {
                let link = &machine(picture, atlas)?.link;
                matches!(link, Link::Unreachable { .. }).then(|| picture.clone())
            },
        )
        .await;
    let shown = placed(&picture, id).expect("what was last seen stays in the picture");
    assert_eq!((shown.machine, shown.instance.state), (atlas, RunState::Running));
    assert_eq!(guest(id), Some(process), "the guest does not notice");

    remote.machine.restore_link().expect("restored");
    let picture = person
        .until("the machine is connected again", CALL_DEADLINE, |picture| {
            is_connected(machine(picture, atlas)?).then(|| picture.clone())
        })
        .await;
    let after = &placed(&picture, id).expect("found again").instance;
    assert_eq!(after.state, RunState::Running);
    assert_eq!(after.started_at, before.started_at, "the same run of the guest");
    assert_eq!(guest(id), Some(process));
    person.app.shut_down().await;
    assert_eq!(guest(id), Some(process), "the guest outlives the app");
}

#[tokio::test]
async fn two_people_at_one_agent_see_each_others_instances() {
    let agent = agent_here();
    let (anna, bela) = (Person::at(&agent).await, Person::at(&agent).await);
    let annas = anna.this_computer().await.id;
    let belas = bela.this_computer().await.id;
    let first = anna.create("anna-1", annas).await;
    let second = bela.create("bela-1", belas).await;
    for person in [&anna, &bela] {
        person
            .until("both instances are shown", CALL_DEADLINE, |picture| {
                let both = [first.id, second.id].map(|id| placed(picture, id));
                both.iter().all(Option::is_some).then_some(())
            })
            .await;
    }
    assert_ne!(
        first.spec.name, second.spec.name,
        "the second name is chosen beside the first"
    );

    let command = Command::InstanceAct {
        machine: belas,
        instance: first.id,
        action: InstanceAction::Delete,
    };
    let deleted: Result<Option<Instance>, _> = bela.ask("bela-2", command).await;
    deleted.expect("who may use the agent may delete");
    anna.until("the other's deletion is shown", CALL_DEADLINE, |picture| {
        placed(picture, first.id).is_none().then_some(())
    })
    .await;
    anna.app.shut_down().await;
    bela.app.shut_down().await;
}

#[tokio::test]
async fn the_windows_request_id_is_found_in_the_agents_log() {
    let agent = agent_here();
    let person = Person::at(&agent).await;
    let machine = person.this_computer().await.id;
    let request_id = format!("click-{}", Uuid::now_v7());
    person.create(&request_id, machine).await;
    let logged = wait_until("the agent logs the request", CALL_DEADLINE, || {
        agent.log().contains(&request_id).then_some(())
    });
    logged.unwrap_or_else(|err| panic!("{err}: {request_id} is not in:\n{}", agent.log()));
    person.app.shut_down().await;
}
