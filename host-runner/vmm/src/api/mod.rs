//! The control socket: HTTP/1.1 and JSON on a Unix socket, as `curl --unix-socket` speaks it.
//!
//! | request | does |
//! |---|---|
//! | `GET /v1/machine` | what it is, and what it does; `full_disk` names the disk that it is held for, where there is no room for its writes |
//! | `POST /v1/pause`, `/v1/resume` | holds the vCPUs, lets them run |
//! | `POST /v1/stop` | presses the power button |
//! | `POST /v1/kill` | ends the process |
//! | `POST /v1/snapshots` | `{"name": …, "incremental": false}`: writes a snapshot; a machine that runs is held meanwhile |
//! | `GET /v1/stats` | what the devices have done, and how the guest's memory is |
//! | `PUT /v1/balloon` | `{"size_mib": …}`: how much memory the guest is to give back |
//! | `GET /v1/events` | what happens from now on, an object a line, until either side ends; empty lines now and then |
//! | `PUT /v1/disks` | `{"id": …, "size_mib": …}`: gives a disk more room |
//!
//! A snapshot is where a guest can go on, on this machine or another. One that ran on after its snapshot has acknowledged what its peers do
//! not send again: whoever moves a guest pauses it first, takes the snapshot, and ends it with `kill`; then its connections go on, too.
//! The disks are not in it: what the guest had written to their files is durable when the snapshot is, and where the host does not manage
//! that, there is none.
//!
//! Who can open the socket may do all of this: its folder is the guard. Still, a client must not be able to take the machine down by
//! what it sends, or by sending nothing: requests are bounded, connections are few, and each has a deadline.

mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod http;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::client::Client;
use self::http::Request;
use crate::driver::{Answer, Command, Doing, Event, Refusal};
use crate::error_text::with_causes;
use crate::happenings::{Happening, Listeners};
use crate::machine::DeviceStats;
use crate::snapshot::Taken;

/// The most connections at once.
const CONNECTIONS_MAX: usize = 16;
/// How long a client gets to send its request, and to take the answer.
const CLIENT_DEADLINE: Duration = Duration::from_secs(10);
/// How long until the next look at who connects, where the system had no descriptor for one.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);
/// How long the driver gets to do what it is asked. To pause waits for requests in flight, which a slow disk may hold up.
const DRIVER_DEADLINE: Duration = Duration::from_secs(60);
/// The stack of the socket's threads, in bytes.
const STACK: usize = 128 << 10;

/// What the API says of the machine that does not change.
#[derive(Debug, Clone, Serialize)]
pub struct Identity {
    /// Whose it is.
    pub id: String,
    /// vCPUs.
    pub vcpus: u8,
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// The monitor's version.
    pub version: &'static str,
}

/// What the API answers with.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Body {
    Machine {
        #[serde(flatten)]
        identity: Identity,
        #[serde(flatten)]
        doing: Doing,
    },
    State(Doing),
    Snapshot(Taken),
    Stats(Box<DeviceStats>),
    Error {
        code: &'static str,
        message: String,
    },
}

/// The body of `POST /v1/snapshots`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotRequest {
    name: String,
    #[serde(default)]
    incremental: bool,
}

/// The body of `PUT /v1/disks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskRequest {
    id: String,
    size_mib: u32,
}

/// The body of `PUT /v1/balloon`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BalloonRequest {
    size_mib: u32,
}

/// What is answered with a stream.
const EVENTS: (&str, &str) = ("GET", "/v1/events");
/// How long a stream is silent before an empty line shows whether somebody still reads it.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// What each path takes.
const ROUTES: [(&str, &str); 10] = [
    EVENTS,
    ("GET", "/v1/stats"),
    ("PUT", "/v1/balloon"),
    ("GET", "/v1/machine"),
    ("POST", "/v1/pause"),
    ("POST", "/v1/resume"),
    ("POST", "/v1/stop"),
    ("POST", "/v1/kill"),
    ("POST", "/v1/snapshots"),
    ("PUT", "/v1/disks"),
];

/// The API: what its connections share.
pub struct Api {
    /// What the machine is.
    pub identity: Identity,
    /// Leads to the driver.
    pub events: SyncSender<Event>,
    /// Who is told what happens.
    pub listeners: Arc<Listeners>,
}

impl Api {
    /// Answers on a socket for as long as the process lives. Returns when the socket fails.
    pub fn serve(self, listener: &UnixListener) -> io::Error {
        let api = Arc::new(self);
        let connections = Arc::new(AtomicUsize::new(0));
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(err) if is_momentary(&err) => {
                    // The client that waits would have us look again at once, and again.
                    thread::sleep(ACCEPT_AGAIN);
                    continue;
                }
                Err(err) => return err,
            };
            if connections.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
                connections.fetch_sub(1, Ordering::AcqRel);
                let _client_gone =
                    http::answer(&mut stream, 503, &refused("busy", "too many connections at once"));
                continue;
            }
            let (shared, count) = (Arc::clone(&api), Arc::clone(&connections));
            let spawned = thread::Builder::new()
                .name("api connection".to_owned())
                .stack_size(STACK)
                .spawn(move || {
                    // A client that goes away has no need of an answer.
                    let _client_gone = shared.connection(stream);
                    count.fetch_sub(1, Ordering::AcqRel);
                });
            if spawned.is_err() {
                connections.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }

    fn connection(&self, stream: UnixStream) -> io::Result<()> {
        let mut client = Client::new(stream, CLIENT_DEADLINE);
        let request = match http::read(&mut client) {
            Ok(request) => request,
            Err(error) => {
                let Some(status) = error.status() else {
                    return Ok(());
                };
                return http::answer(&mut client, status, &refused("bad_request", &error.to_string()));
            }
        };
        if (request.method.as_str(), request.path.as_str()) == EVENTS {
            return self.tell_events(&mut client);
        }
        let (status, body) = self.route(&request);
        client.extend(CLIENT_DEADLINE);
        http::answer(&mut client, status, &body)
    }

    /// Tells what happens, until the client is gone, or too slow.
    fn tell_events(&self, client: &mut Client) -> io::Result<()> {
        let listener = self.listeners.listen();
        client.extend(CLIENT_DEADLINE);
        let Some(listener) = listener else {
            return http::answer(client, 503, &refused("busy", "too many listen already"));
        };
        // Asked once this listens: what changes in between is told twice rather than never.
        let Ok(Answer::State(Doing { state, .. })) = self.ask(Command::State) else {
            return http::answer(client, 503, &refused("ended", "the machine is ending"));
        };
        http::begin_lines(client)?;
        http::line(client, &Happening::Listening { state })?;
        loop {
            let next = listener.next(SILENCE_MAX);
            client.extend(CLIENT_DEADLINE);
            match next {
                Ok(happening) => http::line(client, &happening)?,
                Err(RecvTimeoutError::Timeout) => client.write_all(b"\n")?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn route(&self, request: &Request) -> (u16, Body) {
        let command = match command(request) {
            Ok(command) => command,
            Err(refusal) => return refusal,
        };
        let whole = command == Command::State;
        match self.ask(command) {
            Ok(Answer::State(doing)) if whole => (
                200,
                Body::Machine {
                    identity: self.identity.clone(),
                    doing,
                },
            ),
            Ok(Answer::State(doing)) => (200, Body::State(doing)),
            Ok(Answer::Snapshot(taken)) => (200, Body::Snapshot(taken)),
            Ok(Answer::Stats(stats)) => (200, Body::Stats(stats)),
            Err(Ask::Refused(refusal)) => (409, refused(refusal.code(), &with_causes(&refusal))),
            Err(Ask::Busy) => (503, refused("busy", "the machine has much to do; ask again")),
            Err(Ask::Ended) => (503, refused("ended", "the machine is ending")),
        }
    }

    fn ask(&self, command: Command) -> Result<Answer, Ask> {
        let (reply, answer) = sync_channel(1);
        self.events
            .try_send(Event::Request(command, reply))
            .map_err(|_| Ask::Busy)?;
        match answer.recv_timeout(DRIVER_DEADLINE) {
            Ok(answer) => answer.map_err(Ask::Refused),
            Err(RecvTimeoutError::Timeout) => Err(Ask::Busy),
            Err(RecvTimeoutError::Disconnected) => Err(Ask::Ended),
        }
    }
}

/// Whether the next client may be luckier: this one went away, or too much was open for a moment.
fn is_momentary(err: &io::Error) -> bool {
    matches!(
        err.raw_os_error(),
        Some(libc::EINTR | libc::ECONNABORTED | libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

enum Ask {
    Refused(Refusal),
    Busy,
    Ended,
}

/// What a request asks for, or the answer that refuses it.
fn command(request: &Request) -> Result<Command, (u16, Body)> {
    let path = request.path.as_str();
    Ok(match (request.method.as_str(), path) {
        ("GET", "/v1/machine") => Command::State,
        ("POST", "/v1/pause") => Command::Pause,
        ("POST", "/v1/resume") => Command::Resume,
        ("POST", "/v1/stop") => Command::PressPower,
        ("POST", "/v1/kill") => Command::Kill,
        ("POST", "/v1/snapshots") => {
            let SnapshotRequest { name, incremental } = body(request)?;
            Command::Snapshot { name, incremental }
        }
        ("GET", "/v1/stats") => Command::Stats,
        ("PUT", "/v1/balloon") => {
            let BalloonRequest { size_mib } = body(request)?;
            Command::Balloon { size_mib }
        }
        ("PUT", "/v1/disks") => {
            let DiskRequest { id, size_mib } = body(request)?;
            Command::GrowDisk { id, size_mib }
        }
        (method, _) if ROUTES.iter().any(|(_, known)| *known == path) => {
            return Err((
                405,
                refused("method_not_allowed", &format!("{method} does not go with {path}")),
            ));
        }
        _ => return Err((404, refused("not_found", &format!("there is no {path}")))),
    })
}

fn body<T: for<'a> Deserialize<'a>>(request: &Request) -> Result<T, (u16, Body)> {
    serde_json::from_slice(&request.body)
        .map_err(|err| (400, refused("bad_request", &format!("the body: {err}"))))
}

fn refused(code: &'static str, message: &str) -> Body {
    Body::Error {
        code,
        message: message.to_owned(),
    }
}
