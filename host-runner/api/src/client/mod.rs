//! The typed client: the same over a local socket and over SSH.
//!
//! A [`Connector`] opens byte streams to one agent's HTTP socket: a `LocalConnector` on this computer, an [`ssh::SshSession`] to
//! another. A [`Client`] speaks the contract over them. It never retries by itself: a create is safe to repeat with the same id, and the
//! caller knows best when.
//!
//! What comes from an agent is not trusted: every answer has a size limit, and every call a deadline.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use api::client::ssh::{self, SshOptions, SshTarget};
//! use api::client::{Client, RequestContext};
//! use futures::StreamExt;
//!
//! # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
//! let target = SshTarget { host: "atlas.lan".into(), user: None, port: None, identity_file: None };
//! let session = ssh::connect(&target, &SshOptions::from_environment()).await?;
//! let client = Client::new(Arc::new(session.clone()));
//! let snapshot = client.snapshot(&RequestContext::generate()).await?;
//! let mut events = client.events(&RequestContext::generate(), snapshot.cursor).await?;
//! while let Some(event) = events.next().await {
//!     println!("{:?}", event?.body);
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod connector;
mod context;
pub(crate) mod error;
mod events;
mod http;
mod sse;
pub mod ssh;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use backoff::Backoff;
#[cfg(unix)]
pub use connector::LocalConnector;
pub use connector::{BoxedStream, Connector, Duplex};
pub use context::RequestContext;
pub use error::{BrokenConnection, ClientError};
pub use events::EventStream;
pub use http::ConsoleStream;

use http::{Call, Http};

use crate::{
    API_VERSION, CreateInstance, EventCursor, HostFacts, HostUsage, Image, Instance, Snapshot, StopInstance,
};

/// How long a call may take, from the wait for a connection to the last byte of the answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// The same for a create, which may make a large disk.
const CREATE_DEADLINE: Duration = Duration::from_secs(60);
/// The same for a console, which waits for a guest that is being started.
const CONSOLE_DEADLINE: Duration = Duration::from_secs(30);
/// The largest answer that lists things, in bytes; 1,000 instances are about one MiB.
const LIST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest answer about one thing, in bytes.
const ITEM_BYTES_MAX: usize = 1024 * 1024;

/// Speaks the contract with one agent. Cheap to clone; clones share their connections.
///
/// Each call is documented with its HTTP request; `host-runner openapi` prints the whole contract. Each answers within 10 s (a create
/// within 60 s, a console within 30 s) or fails with [`ClientError::DeadlineExceeded`]. At most four calls are under way at once, and more wait their turn.
#[derive(Debug, Clone)]
pub struct Client {
    http: Arc<Http>,
}

impl Client {
    /// A client over `connector`; nothing is opened before the first call.
    pub fn new(connector: Arc<dyn Connector>) -> Self {
        Self {
            http: Arc::new(Http::new(connector)),
        }
    }

    /// Everything about the host at one moment: `GET /v1/snapshot`.
    ///
    /// # Errors
    /// Besides those of every call, [`ClientError::VersionMismatch`]: begin a session with this call.
    pub async fn snapshot(&self, context: &RequestContext) -> Result<Snapshot, ClientError> {
        const OPERATION: &str = "read the snapshot";
        let body = self
            .http
            .call(context, get(OPERATION, "/v1/snapshot".into(), LIST_BYTES_MAX))
            .await?;
        versioned(OPERATION, &body, |seen: &SnapshotVersion| &seen.host.api_version)
    }

    /// What the machine is: `GET /v1/host`.
    ///
    /// # Errors
    /// Besides those of every call, [`ClientError::VersionMismatch`].
    pub async fn host(&self, context: &RequestContext) -> Result<HostFacts, ClientError> {
        const OPERATION: &str = "read the machine's facts";
        let body = self
            .http
            .call(context, get(OPERATION, "/v1/host".into(), ITEM_BYTES_MAX))
            .await?;
        versioned(OPERATION, &body, |seen: &HostVersion| &seen.api_version)
    }

    /// How loaded the machine is: `GET /v1/usage`.
    pub async fn usage(&self, context: &RequestContext) -> Result<HostUsage, ClientError> {
        self.json(context, get("read the usage", "/v1/usage".into(), ITEM_BYTES_MAX))
            .await
    }

    /// Its images: `GET /v1/images`.
    pub async fn images(&self, context: &RequestContext) -> Result<Vec<Image>, ClientError> {
        self.json(
            context,
            get("list the images", "/v1/images".into(), LIST_BYTES_MAX),
        )
        .await
    }

    /// Its instances: `GET /v1/instances`.
    pub async fn instances(&self, context: &RequestContext) -> Result<Vec<Instance>, ClientError> {
        self.json(
            context,
            get("list the instances", "/v1/instances".into(), LIST_BYTES_MAX),
        )
        .await
    }

    /// One instance: `GET /v1/instances/{id}`.
    ///
    /// # Errors
    /// Refused with [`InstanceNotFound`](crate::ErrorCode::InstanceNotFound) where there is none.
    pub async fn instance(&self, context: &RequestContext, id: Uuid) -> Result<Instance, ClientError> {
        let path = format!("/v1/instances/{id}");
        self.json(context, get("read an instance", path, ITEM_BYTES_MAX))
            .await
    }

    /// Creates an instance, or changes it: `PUT /v1/instances/{id}`. Safe to repeat with the same arguments.
    ///
    /// # Errors
    /// Refused with a code for each rule of [`InstanceSpec`](crate::InstanceSpec) that is broken, and for what the machine lacks:
    /// [`InsufficientMemory`](crate::ErrorCode::InsufficientMemory) and its like, with the numbers.
    pub async fn create(
        &self,
        context: &RequestContext,
        id: Uuid,
        create: &CreateInstance,
    ) -> Result<Instance, ClientError> {
        let call = send(
            "create an instance",
            Method::PUT,
            format!("/v1/instances/{id}"),
            Some(create),
        )?;
        let call = Call {
            deadline: CREATE_DEADLINE,
            ..call
        };
        self.json(context, call).await
    }

    /// Powers an instance on: `POST /v1/instances/{id}/start`. Answers at once; events tell how far it has come.
    ///
    /// # Errors
    /// Refused with [`WrongState`](crate::ErrorCode::WrongState) where it cannot be started, and for what the machine lacks.
    pub async fn start(&self, context: &RequestContext, id: Uuid) -> Result<Instance, ClientError> {
        let path = format!("/v1/instances/{id}/start");
        self.json(
            context,
            send("start an instance", Method::POST, path, None::<&()>)?,
        )
        .await
    }

    /// Stops an instance: `POST /v1/instances/{id}/stop`. Answers at once; events tell when it has stopped.
    ///
    /// # Errors
    /// Refused with [`WrongState`](crate::ErrorCode::WrongState) where it cannot be stopped.
    pub async fn stop(
        &self,
        context: &RequestContext,
        id: Uuid,
        stop: &StopInstance,
    ) -> Result<Instance, ClientError> {
        let path = format!("/v1/instances/{id}/stop");
        self.json(context, send("stop an instance", Method::POST, path, Some(stop))?)
            .await
    }

    /// Stops an instance and powers it on again: `POST /v1/instances/{id}/restart`. Answers at once.
    ///
    /// # Errors
    /// Refused with [`WrongState`](crate::ErrorCode::WrongState) where it does not run.
    pub async fn restart(
        &self,
        context: &RequestContext,
        id: Uuid,
        stop: &StopInstance,
    ) -> Result<Instance, ClientError> {
        let path = format!("/v1/instances/{id}/restart");
        self.json(
            context,
            send("restart an instance", Method::POST, path, Some(stop))?,
        )
        .await
    }

    /// Removes an instance with its disk: `DELETE /v1/instances/{id}`.
    ///
    /// # Errors
    /// Refused with [`InstanceNotFound`](crate::ErrorCode::InstanceNotFound) where there is none.
    pub async fn delete(&self, context: &RequestContext, id: Uuid) -> Result<(), ClientError> {
        let path = format!("/v1/instances/{id}");
        let call = send("delete an instance", Method::DELETE, path, None::<&()>)?;
        self.http.call(context, call).await.map(drop)
    }

    /// The events after `after`: `GET /v1/events`.
    ///
    /// # Errors
    /// Refused with [`EventsLost`](crate::ErrorCode::EventsLost) when the agent no longer holds them: read the snapshot again.
    pub async fn events(
        &self,
        context: &RequestContext,
        after: EventCursor,
    ) -> Result<EventStream, ClientError> {
        let mut call = get("read events", "/v1/events".into(), LIST_BYTES_MAX);
        call.headers
            .push((ACCEPT, HeaderValue::from_static("text/event-stream")));
        // A cursor is two numbers and a dash: always a good header.
        if let Ok(value) = HeaderValue::from_str(&after.to_string()) {
            call.headers
                .push((HeaderName::from_static("last-event-id"), value));
        }
        let (connection, body) = self.http.stream(context, call).await?;
        Ok(EventStream::new(connection, body))
    }

    /// An instance's console as raw bytes: `GET /v1/instances/{id}/console`, upgraded. Begins with a replay of the last 64 KiB.
    ///
    /// # Errors
    /// Refused with [`WrongState`](crate::ErrorCode::WrongState) where the instance does not run.
    pub async fn console(&self, context: &RequestContext, id: Uuid) -> Result<ConsoleStream, ClientError> {
        let path = format!("/v1/instances/{id}/console");
        let call = Call {
            deadline: CONSOLE_DEADLINE,
            ..get("open the console", path, ITEM_BYTES_MAX)
        };
        self.http.upgrade(context, call).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        context: &RequestContext,
        call: Call,
    ) -> Result<T, ClientError> {
        let operation = call.operation;
        parse(operation, &self.http.call(context, call).await?)
    }
}

fn get(operation: &'static str, path: String, answer_bytes_max: usize) -> Call {
    Call {
        operation,
        method: Method::GET,
        path,
        body: Bytes::new(),
        headers: Vec::new(),
        deadline: DEADLINE,
        answer_bytes_max,
    }
}

fn send(
    operation: &'static str,
    method: Method,
    path: String,
    body: Option<&impl Serialize>,
) -> Result<Call, ClientError> {
    let body = body.map_or(Ok(Vec::new()), serde_json::to_vec);
    Ok(Call {
        method,
        body: body.map_err(|err| bad(operation, &err))?.into(),
        ..get(operation, path, ITEM_BYTES_MAX)
    })
}

fn parse<T: DeserializeOwned>(operation: &'static str, body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|err| bad(operation, &err))
}

fn bad(operation: &'static str, err: &serde_json::Error) -> ClientError {
    ClientError::BadAnswer {
        operation,
        reason: err.to_string(),
    }
}

#[derive(Deserialize)]
struct HostVersion {
    api_version: String,
}

#[derive(Deserialize)]
struct SnapshotVersion {
    host: HostVersion,
}

/// Reads an answer after its version: one of another major version may not be readable at all, and that is then not its fault.
fn versioned<V: DeserializeOwned, T: DeserializeOwned>(
    operation: &'static str,
    body: &[u8],
    version: fn(&V) -> &String,
) -> Result<T, ClientError> {
    let seen: V = parse(operation, body)?;
    let host = version(&seen);
    if major(host) != major(API_VERSION) {
        return Err(ClientError::VersionMismatch {
            host: host.chars().filter(|c| !c.is_control()).take(32).collect(),
        });
    }
    parse(operation, body)
}

fn major(version: &str) -> &str {
    version.split_once('.').map_or(version, |(major, _)| major)
}

#[cfg(test)]
mod tests;
