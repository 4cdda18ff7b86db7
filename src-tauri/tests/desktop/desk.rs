//! A desktop for tests: the app over scripted agents, asked as a window asks.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::client::ssh::SshError;
use api::client::{Client, LocalConnector};
use api::{ErrorCode, Mib};
use async_trait::async_trait;
use futures::FutureExt as _;
use millpond::app::App;
use millpond::commands::dispatch;
use millpond::contract::{
    ActivityEntry, ActivityKind, ActivityPage, AddMachine, AddMachineOutcome, Call, Command, CommandError,
    InstanceRequest, Link, MachineAddress, PlacedInstance, PoolMachine, PoolPicture,
};
use millpond::machines::{Answers, Connection, Dial, LinkError, LocalAgentError};
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use uuid::Uuid;

use crate::agent::{ScriptedAgent, now};

/// How long a test waits for what must happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Dials sockets instead of hosts: `local` for this computer, and the SSH host's name for the others.
#[derive(Default, Clone)]
pub struct SocketDial {
    sockets: Arc<Mutex<HashMap<String, PathBuf>>>,
    failures: Arc<Mutex<HashMap<String, Failing>>>,
    pub dialled: Arc<Mutex<Vec<Answers>>>,
}

/// Makes the error with which a host refuses; `None` lets it in.
type Failing = fn(&Answers) -> Option<SshError>;

impl SocketDial {
    pub fn know(&self, host: &str, agent: &ScriptedAgent) {
        let mut sockets = self.sockets.lock().expect("no test panics with the sockets");
        sockets.insert(host.to_owned(), agent.socket.clone());
    }

    /// From now on the host answers as `failing` says.
    pub fn fail(&self, host: &str, failing: Failing) {
        self.failures
            .lock()
            .expect("no panic")
            .insert(host.to_owned(), failing);
    }
}

#[async_trait]
impl Dial for SocketDial {
    async fn dial(&self, address: &MachineAddress, answers: &Answers) -> Result<Connection, LinkError> {
        self.dialled.lock().expect("no panic").push(answers.clone());
        let host = match address {
            MachineAddress::Local => "local",
            MachineAddress::Ssh { host, .. } => host,
        };
        let failing = self.failures.lock().expect("no panic").get(host).copied();
        if let Some(error) = failing.and_then(|failing| failing(answers)) {
            return Err(error.into());
        }
        let socket = self.sockets.lock().expect("no panic").get(host).cloned();
        let nowhere = || LocalAgentError::NotRunning {
            looked_at: vec![PathBuf::from("/nowhere")],
        };
        let socket = socket.ok_or_else(nowhere)?;
        Ok(Connection {
            client: Client::new(Arc::new(LocalConnector { socket })),
            closed: futures::future::pending().boxed(),
        })
    }
}

/// The app with a folder of its own.
pub struct Desk {
    pub app: Arc<App>,
    pub folder: TempDir,
}

impl Desk {
    pub async fn start(dial: &SocketDial) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let app = App::start(&folder.path().join("data"), Arc::new(dial.clone()))
            .await
            .expect("the app starts");
        Self { app, folder }
    }

    /// Ends the app and starts it anew on the same folder.
    pub async fn restart(self, dial: &SocketDial) -> Self {
        self.app.shut_down().await;
        let app = App::start(&self.folder.path().join("data"), Arc::new(dial.clone()))
            .await
            .expect("the app starts");
        Self {
            app,
            folder: self.folder,
        }
    }

    pub async fn ask<T: DeserializeOwned>(&self, command: Command) -> Result<T, CommandError> {
        self.ask_as("test-1", command).await
    }

    pub async fn ask_as<T: DeserializeOwned>(
        &self,
        request_id: &str,
        command: Command,
    ) -> Result<T, CommandError> {
        let call = Call {
            request_id: request_id.into(),
            command,
        };
        // The way over the wire and back, as a window's call goes.
        let call = serde_json::from_value(serde_json::to_value(call).expect("JSON")).expect("a call");
        let answer = dispatch(&self.app, call).await?;
        Ok(serde_json::from_value(answer).expect("the answer that the contract promises"))
    }

    pub async fn refusal(&self, command: Command) -> ErrorCode {
        match self.ask::<serde_json::Value>(command).await {
            Ok(answer) => panic!("was done: {answer}"),
            Err(error) => error.error.code,
        }
    }

    pub async fn picture(&self) -> PoolPicture {
        self.ask(Command::PoolGet {}).await.expect("the picture")
    }

    /// Waits until the picture is as `told`.
    pub async fn until(&self, told: &str, mut is_so: impl FnMut(&PoolPicture) -> bool) -> PoolPicture {
        let mut events = self.app.pool().subscribe();
        let waited = tokio::time::timeout(DEADLINE, async {
            loop {
                let picture = self.picture().await;
                if is_so(&picture) {
                    return picture;
                }
                events.next().await;
            }
        });
        let Ok(picture) = waited.await else {
            panic!("never {told}: {:#?}", self.picture().await)
        };
        picture
    }

    pub async fn connected(&self, name: &str) -> PoolMachine {
        let is_so =
            |machine: &PoolMachine| machine.name == name && matches!(machine.link, Link::Connected { .. });
        let picture = self
            .until("connected", |picture| picture.machines.iter().any(is_so))
            .await;
        picture.machines.into_iter().find(is_so).expect("it is there")
    }

    /// This computer's machine once it is connected.
    pub async fn this_computer(&self) -> PoolMachine {
        let is_so = |machine: &PoolMachine| {
            machine.address == MachineAddress::Local && matches!(machine.link, Link::Connected { .. })
        };
        let picture = self
            .until("this computer is connected", |picture| {
                picture.machines.iter().any(is_so)
            })
            .await;
        picture.machines.into_iter().find(is_so).expect("it is there")
    }

    /// Waits until the activity list has a line as `told`, and answers the list, newest first.
    pub async fn activity_until(
        &self,
        told: &str,
        is_so: impl Fn(&ActivityEntry) -> bool,
    ) -> Vec<ActivityEntry> {
        let mut events = self.app.pool().subscribe();
        let waited = tokio::time::timeout(DEADLINE, async {
            loop {
                let entries = self.activity().await;
                if entries.iter().any(&is_so) {
                    return entries;
                }
                events.next().await;
            }
        });
        let Ok(entries) = waited.await else {
            panic!("never {told}: {:#?}", self.activity().await)
        };
        entries
    }

    pub async fn activity(&self) -> Vec<ActivityEntry> {
        let list = Command::ActivityList {
            before: None,
            limit: 200,
        };
        self.ask::<ActivityPage>(list).await.expect("the list").entries
    }
}

pub fn tiny() -> InstanceRequest {
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

pub fn create(machine: Option<Uuid>) -> Command {
    Command::InstanceCreate {
        id: Uuid::now_v7(),
        machine,
        request: tiny(),
    }
}

/// A machine of the pool that nobody has seen yet.
pub fn unseen(id: Uuid, name: &str) -> PoolMachine {
    PoolMachine {
        id,
        name: name.into(),
        address: MachineAddress::Local,
        link: Link::Connecting,
        host: None,
        usage: None,
        images: Vec::new(),
        draining: false,
    }
}

/// A link that holds.
pub fn connected() -> Link {
    Link::Connected { since: now() }
}

pub fn ssh(host: &str) -> MachineAddress {
    MachineAddress::Ssh {
        host: host.into(),
        user: None,
        port: None,
        identity_file: None,
    }
}

/// A desktop and the agents that it knows.
pub struct Bench {
    pub desk: Desk,
    pub dial: SocketDial,
    pub agent: ScriptedAgent,
    /// Holds the agents' sockets.
    pub folder: TempDir,
}

impl Bench {
    /// A second machine for the pool, connected; it answers as long as its agent lives.
    pub async fn with_boreas(&self) -> ScriptedAgent {
        let agent = ScriptedAgent::start(self.folder.path(), "boreas", 2);
        self.dial.know("boreas", &agent);
        let outcome: AddMachineOutcome = self.desk.ask(add("boreas", None)).await.expect("an outcome");
        assert!(matches!(outcome, AddMachineOutcome::Added { .. }));
        self.desk.connected("boreas").await;
        agent
    }
}

/// A desktop whose computer has an agent, connected.
pub async fn bench() -> Bench {
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

pub fn add(host: &str, password: Option<&str>) -> Command {
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

/// What happened, oldest first.
pub fn kinds(entries: &[ActivityEntry]) -> Vec<ActivityKind> {
    entries.iter().rev().map(|entry| entry.kind).collect()
}

pub fn placed<'a>(instances: &'a [PlacedInstance], name: &str) -> Option<&'a PlacedInstance> {
    instances.iter().find(|placed| placed.instance.spec.name == name)
}
