//! The control socket: HTTP/1.1 and JSON on a Unix socket, as `curl --unix-socket` speaks it.
//!
//! | request | does |
//! |---|---|
//! | `GET /v1/machine` | what it is, and what it does; `full_disk` names the disk that it is held for, where there is no room for its writes |
//! | `POST /v1/pause`, `/v1/resume` | holds the vCPUs, lets them run |
//! | `POST /v1/stop` | presses the power button |
//! | `POST /v1/kill` | ends the process at once, whatever it is at; a snapshot that is being written stays without its state, and is none |
//! | `POST /v1/snapshots` | `{"name": …, "incremental": false}`: writes a snapshot; a machine that runs is held meanwhile |
//! | `GET /v1/stats` | what the devices have done, and how the guest's memory is |
//! | `PUT /v1/balloon` | `{"size_mib": …}`: how much memory the guest is to give back |
//! | `GET /v1/events` | what happens from now on, an object a line, until either side ends; empty lines now and then |
//! | `PUT /v1/disks` | `{"id": …, "size_mib": …}`: gives a disk more room; an image up to 64 TiB |
//!
//! An incremental snapshot adds to the last one that was written; before there is one, to that which the machine went on from, where it was
//! started with `log_writes`. Otherwise it is refused.
//!
//! A snapshot is where a guest can go on, on this machine or another. One that ran on after its snapshot has acknowledged what its peers do
//! not send again: whoever moves a guest pauses it first, takes the snapshot, and ends it with `kill`; then its connections go on, too.
//! The disks are not in it: what the guest had written to their files is durable when the snapshot is, and where the host does not manage
//! that, there is none.
//!
//! What changes the machine is done one after the other, and an answer comes within a minute or so. Where it is the error `busy`, nothing was
//! done, and nothing will be; where it is `unfinished`, it is being done, and takes effect. Nothing is begun for a client that has hung up.
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
use std::sync::mpsc::{RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::client::Client;
use self::http::Request;
use crate::ask::{IsGone, NoOutcome, Outcome, ask};
use crate::driver::{Answer, Command, Doing, Ending, Event};
use crate::ending::EndNote;
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
    Ended(Ending),
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

/// What is done without the driver, which may be busy.
const KILL: (&str, &str) = ("POST", "/v1/kill");
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
    KILL,
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
    /// Where it is noted that the machine was told to end.
    pub end: Arc<EndNote>,
    /// Ends the process; the end has been noted.
    pub leave: fn(&Ending),
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
        let (status, body) = self.route(&request, client.is_gone());
        client.extend(CLIENT_DEADLINE);
        let answered = http::answer(&mut client, status, &body);
        if let Body::Ended(ending) = &body {
            (self.leave)(ending);
        }
        answered
    }

    /// Tells what happens, until the client is gone, or too slow.
    fn tell_events(&self, client: &mut Client) -> io::Result<()> {
        let listener = self.listeners.listen();
        client.extend(CLIENT_DEADLINE);
        let Some(listener) = listener else {
            return http::answer(client, 503, &refused("busy", "too many listen already"));
        };
        // Asked once this listens: what changes in between is told twice rather than never.
        let Ok(Ok(Answer::State(Doing { state, .. }))) = self.ask(Command::State, client.is_gone()) else {
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

    fn route(&self, request: &Request, is_gone: IsGone) -> (u16, Body) {
        if (request.method.as_str(), request.path.as_str()) == KILL {
            return self.kill();
        }
        let command = match command(request) {
            Ok(command) => command,
            Err(refusal) => return refusal,
        };
        let whole = command == Command::State;
        match self.ask(command, is_gone) {
            Ok(Ok(Answer::State(doing))) if whole => (
                200,
                Body::Machine {
                    identity: self.identity.clone(),
                    doing,
                },
            ),
            Ok(Ok(Answer::State(doing))) => (200, Body::State(doing)),
            Ok(Ok(Answer::Snapshot(taken))) => (200, Body::Snapshot(taken)),
            Ok(Ok(Answer::Stats(stats))) => (200, Body::Stats(stats)),
            Ok(Err(refusal)) => (409, refused(refusal.code(), &with_causes(&refusal))),
            Err(none) => (503, refused(code(none), &none.to_string())),
        }
    }

    /// Notes that the machine was told to end. The process ends with the answer.
    fn kill(&self) -> (u16, Body) {
        match self.end.write(&Ending::Killed) {
            Ok(()) => (200, Body::Ended(Ending::Killed)),
            Err(_otherwise) => (
                503,
                refused(code(NoOutcome::Ended), &NoOutcome::Ended.to_string()),
            ),
        }
    }

    fn ask(&self, command: Command, is_gone: IsGone) -> Result<Outcome, NoOutcome> {
        let (asked, awaited) = ask(command, is_gone);
        match self.events.try_send(Event::Request(asked)) {
            Ok(()) => awaited.wait(DRIVER_DEADLINE),
            Err(TrySendError::Full(_)) => Err(NoOutcome::NotBegun),
            Err(TrySendError::Disconnected(_)) => Err(NoOutcome::Ended),
        }
    }
}

/// The code that crosses the wire.
fn code(none: NoOutcome) -> &'static str {
    match none {
        NoOutcome::NotBegun => "busy",
        NoOutcome::Unfinished => "unfinished",
        NoOutcome::Ended => "ended",
    }
}

/// Whether the next client may be luckier: this one went away, or too much was open for a moment.
fn is_momentary(err: &io::Error) -> bool {
    matches!(
        err.raw_os_error(),
        Some(libc::EINTR | libc::ECONNABORTED | libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// What a request asks for, or the answer that refuses it.
fn command(request: &Request) -> Result<Command, (u16, Body)> {
    let path = request.path.as_str();
    Ok(match (request.method.as_str(), path) {
        ("GET", "/v1/machine") => Command::State,
        ("POST", "/v1/pause") => Command::Pause,
        ("POST", "/v1/resume") => Command::Resume,
        ("POST", "/v1/stop") => Command::PressPower,
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
