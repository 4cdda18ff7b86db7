//! A real agent and a real guest on a machine that is reached through a real sshd.

use std::sync::Arc;
use std::time::Duration;

use api::client::ssh::{CloseReason, SshOptions, SshSession, connect};
use api::client::{Client, ConsoleStream, RequestContext};
use api::{
    CreateInstance, EngineRequest, ErrorCode, EventBody, Instance, InstanceSpec, Mib, Progress, RunState,
    StopInstance,
};
use futures::StreamExt;
use support::{
    AgentOptions, AgentProcess, Desktop, KeyKind, Machine, Place, Process, SshKey, SshServer,
    SshServerOptions, USER, wait_until_async,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

/// Emulated guests share two cores with all other tests.
const BOOT_DEADLINE: Duration = Duration::from_secs(180);
/// What sshd logs when it runs a command.
const COMMAND: &str = "Starting session: command";
const CALL_DEADLINE: Duration = Duration::from_secs(60);

struct Scene {
    client: Client,
    context: RequestContext,
    session: SshSession,
    // Dropped in this order: the machine goes last, and ends what still runs there.
    server: SshServer,
    agent: AgentProcess,
    machine: Machine,
    desktop: Desktop,
}

async fn scene(sshd_config: &str) -> Scene {
    let desktop = Desktop::new().expect("a desktop");
    let key = SshKey::make(&desktop.ssh_path("id_ed25519"), KeyKind::Ed25519, "").expect("a key");
    let machine = Machine::new().expect("a machine");
    let place = Place::Machine(&machine);
    machine
        .install(&support::host_runner().expect("a built agent"))
        .expect("installed");
    let options = AgentOptions {
        with_tiny_image: true,
        ..AgentOptions::default()
    };
    let agent = AgentProcess::start(place, options).expect("an agent");
    let options = SshServerOptions {
        authorized: vec![key.public],
        config: sshd_config.into(),
        ..SshServerOptions::default()
    };
    let server = SshServer::start(place, &options).expect("an SSH server");
    desktop
        .know(&machine.address().to_string(), &server)
        .expect("known");
    let (session, client) = dial(&desktop, &machine).await;
    Scene {
        client,
        context: RequestContext::new("integration"),
        session,
        server,
        agent,
        machine,
        desktop,
    }
}

async fn dial(desktop: &Desktop, machine: &Machine) -> (SshSession, Client) {
    let target = Desktop::target(machine.address().to_string());
    let session = connect(&target, &desktop.options()).await.expect("connected");
    let client = Client::new(Arc::new(session.clone()));
    (session, client)
}

impl Scene {
    async fn instance(&self, id: Uuid) -> Option<Instance> {
        self.client.instance(&self.context, id).await.ok()
    }

    async fn wait_for(
        &self,
        id: Uuid,
        what: &str,
        deadline: Duration,
        found: impl Fn(&Instance) -> bool,
    ) -> Instance {
        let mut last = None;
        let waited = wait_until_async(what, deadline, async || {
            last = self.instance(id).await;
            last.clone().filter(&found)
        });
        let outcome = waited.await;
        outcome.unwrap_or_else(|err| panic!("{err}; last seen: {last:?}\nagent's log:\n{}", self.agent.log()))
    }

    async fn boot(&self, name: &str) -> Uuid {
        let id = Uuid::now_v7();
        let created = self.client.create(&self.context, id, &tiny(name, true)).await;
        created.unwrap_or_else(|err| panic!("{err:?}\n{}", self.agent.log()));
        self.wait_for(
            id,
            "the guest shows its login prompt",
            BOOT_DEADLINE,
            |instance| {
                assert_ne!(instance.state, RunState::Failed, "{:?}", instance.failure);
                instance.progress == Some(Progress::Ready)
            },
        )
        .await;
        id
    }
}

fn tiny(name: &str, start: bool) -> CreateInstance {
    CreateInstance {
        generation: 1,
        spec: InstanceSpec {
            name: name.into(),
            image: "tiny-linux".into(),
            vcpus: 1,
            memory_mib: Mib(128),
            disk_mib: Mib(0),
            disk_limit: api::DiskLimit::default(),
            network_limit: api::NetworkLimit::default(),
            engine: EngineRequest::Auto,
            ports: Vec::new(),
            placement: api::Placement::default(),
        },
        start,
    }
}

/// Reads a console until it has shown `text`.
async fn read_until(console: &mut ConsoleStream, text: &str) -> String {
    let mut seen = Vec::new();
    let reading = async {
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&seen).contains(text) {
            let count = console.read(&mut piece).await.expect("the console reads");
            assert_ne!(count, 0, "the console ended");
            seen.extend_from_slice(&piece[..count]);
        }
    };
    let outcome = tokio::time::timeout(CALL_DEADLINE, reading).await;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(outcome.is_ok(), "the console never showed {text:?}, but:\n{seen}");
    seen
}

async fn log_in_and_compute(console: &mut ConsoleStream) {
    console.write_all(b"\n").await.expect("typed");
    read_until(console, "login:").await;
    console.write_all(b"root\n").await.expect("typed");
    read_until(console, "# ").await;
    // The answer is not in what is typed, so that the echo alone cannot pass for it.
    console
        .write_all(b"echo mill-$((6*7))-pond\n")
        .await
        .expect("typed");
    read_until(console, "mill-42-pond").await;
}

/// The main job: create, boot, type, stop, delete, with the events that a window lives from.
async fn an_instance_lives_its_whole_life(scene: &Scene) {
    let snapshot = scene.client.snapshot(&scene.context).await.expect("a snapshot");
    assert!(snapshot.instances.is_empty());
    let mut events = scene
        .client
        .events(&scene.context, snapshot.cursor)
        .await
        .expect("events");

    let id = scene.boot("tiny-1").await;
    let mut console = scene.client.console(&scene.context, id).await.expect("a console");
    let replay = read_until(&mut console, "login:").await;
    assert!(!replay.is_empty(), "a newcomer sees what was shown before");
    log_in_and_compute(&mut console).await;

    let stopping = scene
        .client
        .stop(&scene.context, id, &StopInstance::graceful())
        .await;
    stopping.expect("told to stop");
    scene
        .wait_for(id, "the guest has powered off", BOOT_DEADLINE, |instance| {
            instance.state == RunState::Stopped
        })
        .await;
    scene
        .client
        .delete(&scene.context, id)
        .await
        .expect("told to delete");
    let gone = wait_until_async("the instance is gone", CALL_DEADLINE, async || {
        let seen = scene.client.instances(&scene.context).await.ok()?;
        seen.is_empty().then_some(())
    });
    gone.await.expect("gone");

    let log = scene.agent.log();
    assert!(
        log.contains(scene.context.request_id()),
        "the request's id is in the agent's log:\n{log}"
    );

    let mut states = Vec::new();
    let reading = async {
        while let Some(event) = events.next().await {
            match event.expect("an event").body {
                EventBody::InstanceChanged { instance } if instance.id == id => states.push(instance.state),
                EventBody::InstanceDeleted { id: deleted } if deleted == id => return,
                _ => {}
            }
        }
        panic!("events ended");
    };
    tokio::time::timeout(CALL_DEADLINE, reading)
        .await
        .expect("the deletion is told");
    for state in [RunState::Running, RunState::Stopping, RunState::Stopped] {
        assert!(states.contains(&state), "{state:?} was not told: {states:?}");
    }
}

#[tokio::test]
async fn an_instance_lives_its_whole_life_through_the_socket() {
    let scene = scene("").await;
    an_instance_lives_its_whole_life(&scene).await;
    assert!(!scene.server.log().contains(COMMAND), "{}", scene.server.log());
}

#[tokio::test]
async fn an_instance_lives_its_whole_life_where_socket_forwarding_is_forbidden() {
    let scene = scene("AllowStreamLocalForwarding no").await;
    an_instance_lives_its_whole_life(&scene).await;
    assert!(scene.server.log().contains(COMMAND), "{}", scene.server.log());
}

#[tokio::test]
async fn a_guest_lives_through_a_cut_cable_and_is_found_again() {
    let mut scene = scene("").await;
    let id = scene.boot("tiny-1").await;
    let before = scene.instance(id).await.expect("an instance");

    scene.machine.cut_link().expect("cut");
    let reason = tokio::time::timeout(Duration::from_secs(15), scene.session.closed()).await;
    assert_eq!(reason.expect("noticed within 15 s"), CloseReason::Silent);
    let error = scene
        .client
        .instance(&scene.context, id)
        .await
        .expect_err("unreachable");
    assert!(error.is_link(), "{error:?}");

    scene.machine.restore_link().expect("restored");
    (scene.session, scene.client) = dial(&scene.desktop, &scene.machine).await;
    let after = scene.instance(id).await.expect("found again");
    assert_eq!(after.state, RunState::Running);
    assert_eq!(after.started_at, before.started_at, "the same run of the guest");
    let mut console = scene.client.console(&scene.context, id).await.expect("a console");
    log_in_and_compute(&mut console).await;
}

#[tokio::test]
async fn a_guest_outlives_its_agent_and_answers_the_next_one() {
    let mut scene = scene("").await;
    let id = scene.boot("tiny-1").await;
    let before = scene.instance(id).await.expect("an instance");
    scene.agent.kill();
    let error = scene
        .client
        .instance(&scene.context, id)
        .await
        .expect_err("no agent");
    assert!(error.is_link(), "{error:?}");

    scene
        .agent
        .start_again(Place::Machine(&scene.machine))
        .expect("the agent starts again");
    let after = scene
        .wait_for(id, "the guest is adopted", CALL_DEADLINE, |instance| {
            instance.state == RunState::Running
        })
        .await;
    assert_eq!(after.started_at, before.started_at, "the same run of the guest");
    let mut console = scene.client.console(&scene.context, id).await.expect("a console");
    log_in_and_compute(&mut console).await;
}

#[tokio::test]
async fn a_plain_users_agent_is_reached_through_its_command() {
    let desktop = Desktop::new().expect("a desktop");
    let key = SshKey::make(&desktop.ssh_path("id_ed25519"), KeyKind::Ed25519, "").expect("a key");
    let machine = Machine::new().expect("a machine");
    let program = support::host_runner().expect("a built agent");
    machine.install(&program).expect("installed");
    let options = SshServerOptions {
        authorized: vec![key.public],
        ..SshServerOptions::default()
    };
    let server = SshServer::start(Place::Machine(&machine), &options).expect("an SSH server");
    desktop
        .know(&machine.address().to_string(), &server)
        .expect("known");
    let options = SshOptions {
        local_user: USER.into(),
        ..desktop.options()
    };
    let target = Desktop::target(machine.address().to_string());
    let session = connect(&target, &options).await.expect("connected");
    let client = Client::new(Arc::new(session));
    let context = RequestContext::new("integration");

    let error = client.host(&context).await.expect_err("no agent yet");
    assert_eq!(error.to_api().code, ErrorCode::AgentMissing, "{error}");

    let mut command = machine.command("su");
    command.args(["-", USER, "-c", "exec host-runner serve"]);
    let log = machine.folder().join("agent.log");
    let mut agent = Process::start("host-runner", &mut command, &log).expect("started");
    let up = wait_until_async("the agent answers", CALL_DEADLINE, async || {
        client.host(&context).await.ok()
    });
    let host = up
        .await
        .unwrap_or_else(|err| panic!("{err}\n{}\n{}", agent.log(), server.log()));
    assert!(!host.privileged);
    agent.kill();
}
