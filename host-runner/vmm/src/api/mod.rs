//! The control socket: HTTP/1.1 and JSON on a Unix socket, as `curl --unix-socket` speaks it.
//!
//! | request | does |
//! |---|---|
//! | `GET /v1/machine` | what it is, and what it does |
//! | `GET /v1/console` | the end of what the serial console said |
//! | `POST /v1/pause`, `/v1/resume` | holds the vCPUs, lets them run |
//! | `POST /v1/stop` | presses the power button |
//! | `POST /v1/kill` | ends the process |
//!
//! Who can open the socket may do all of this: its folder is the guard. Still, a client must not be able to take the machine down by
//! what it sends, or by sending nothing: requests are bounded, connections are few, and each has a deadline.

pub mod http;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use self::http::Request;
use crate::driver::{Command, Event, Refusal, RunState};

/// The most connections at once.
const CONNECTIONS_MAX: usize = 16;
/// How long a client gets to send its request, and to take the answer.
const CLIENT_DEADLINE: Duration = Duration::from_secs(10);
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
        state: RunState,
    },
    State {
        state: RunState,
    },
    Error {
        code: &'static str,
        message: String,
    },
}

/// The API: what its connections share.
pub struct Api {
    /// What the machine is.
    pub identity: Identity,
    /// Leads to the driver.
    pub events: SyncSender<Event>,
}

impl Api {
    /// Answers on a socket for as long as the process lives. Returns when the socket fails.
    pub fn serve(self, listener: &UnixListener) -> io::Error {
        let api = Arc::new(self);
        let connections = Arc::new(AtomicUsize::new(0));
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                // A client that went away, or too many descriptors open for a moment.
                Err(err)
                    if matches!(
                        err.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) =>
                {
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

    fn connection(&self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(CLIENT_DEADLINE))?;
        stream.set_write_timeout(Some(CLIENT_DEADLINE))?;
        let request = match http::read(&mut stream) {
            Ok(request) => request,
            Err(error) => {
                let Some(status) = error.status() else {
                    return Ok(());
                };
                return http::answer(&mut stream, status, &refused("bad_request", &error.to_string()));
            }
        };
        let (status, body) = self.route(&request);
        http::answer(&mut stream, status, &body)
    }

    fn route(&self, request: &Request) -> (u16, Body) {
        let command = match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/v1/machine") => Command::State,
            ("POST", "/v1/pause") => Command::Pause,
            ("POST", "/v1/resume") => Command::Resume,
            ("POST", "/v1/stop") => Command::PressPower,
            ("POST", "/v1/kill") => Command::Kill,
            (_, "/v1/machine" | "/v1/pause" | "/v1/resume" | "/v1/stop" | "/v1/kill") => {
                return (
                    405,
                    refused(
                        "method_not_allowed",
                        &format!("{} does not go with {}", request.method, request.path),
                    ),
                );
            }
            _ => {
                return (
                    404,
                    refused("not_found", &format!("there is no {}", request.path)),
                );
            }
        };
        let whole = command == Command::State;
        match self.ask(command) {
            Ok(state) if whole => (
                200,
                Body::Machine {
                    identity: self.identity.clone(),
                    state,
                },
            ),
            Ok(state) => (200, Body::State { state }),
            Err(Ask::Refused(refusal)) => (409, refused("wrong_state", &refusal.to_string())),
            Err(Ask::Busy) => (503, refused("busy", "the machine has much to do; ask again")),
            Err(Ask::Ended) => (503, refused("ended", "the machine is ending")),
        }
    }

    fn ask(&self, command: Command) -> Result<RunState, Ask> {
        let (reply, answer) = sync_channel(1);
        self.events
            .try_send(Event::Request(command, reply))
            .map_err(|_| Ask::Busy)?;
        match answer.recv_timeout(DRIVER_DEADLINE) {
            Ok(answer) => answer.map_err(Ask::Refused),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => Err(Ask::Busy),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => Err(Ask::Ended),
        }
    }
}

enum Ask {
    Refused(Refusal),
    Busy,
    Ended,
}

fn refused(code: &'static str, message: &str) -> Body {
    Body::Error {
        code,
        message: message.to_owned(),
    }
}
