//! The typed client: the same over a local socket and over SSH.
//!
//! A [`Connector`] opens byte streams to one agent's HTTP socket: a `LocalConnector` on this computer, an [`ssh::SshSession`] to
//! another. A [`Client`] speaks the contract over them. It never retries by itself: a create is safe to repeat with the same id, and the
//! caller knows best when.
//!
//! What comes from an agent is not trusted: every answer has a size limit, and every call a deadline.

mod backoff;
mod connector;
mod context;
mod error;
mod events;
mod http;
pub mod ssh;

use std::sync::Arc;

use uuid::Uuid;

pub use backoff::Backoff;
#[cfg(unix)]
pub use connector::LocalConnector;
pub use connector::{BoxedStream, Connector, Duplex};
pub use context::RequestContext;
pub use error::{BrokenConnection, ClientError};
pub use events::EventStream;
pub use http::ConsoleStream;

use crate::{CreateInstance, EventCursor, HostFacts, HostUsage, Image, Instance, Snapshot, StopInstance};

/// Speaks the contract with one agent. Cheap to clone; clones share their connections.
///
/// Each call is documented with its HTTP request; `host-runner openapi` prints the whole contract.
#[derive(Debug, Clone)]
pub struct Client {
    http: Arc<http::Http>,
}

impl Client {
    /// A client over `connector`; nothing is opened before the first call.
    pub fn new(connector: Arc<dyn Connector>) -> Self {
        todo!()
    }

    /// Everything about the host at one moment: `GET /v1/snapshot`.
    pub async fn snapshot(&self, context: &RequestContext) -> Result<Snapshot, ClientError> {
        todo!()
    }

    /// What the machine is: `GET /v1/host`.
    pub async fn host(&self, context: &RequestContext) -> Result<HostFacts, ClientError> {
        todo!()
    }

    /// How loaded the machine is: `GET /v1/usage`.
    pub async fn usage(&self, context: &RequestContext) -> Result<HostUsage, ClientError> {
        todo!()
    }

    /// Its images: `GET /v1/images`.
    pub async fn images(&self, context: &RequestContext) -> Result<Vec<Image>, ClientError> {
        todo!()
    }

    /// Its instances: `GET /v1/instances`.
    pub async fn instances(&self, context: &RequestContext) -> Result<Vec<Instance>, ClientError> {
        todo!()
    }

    /// One instance: `GET /v1/instances/{id}`.
    pub async fn instance(&self, context: &RequestContext, id: Uuid) -> Result<Instance, ClientError> {
        todo!()
    }

    /// Creates an instance, or changes it: `PUT /v1/instances/{id}`. Safe to repeat with the same arguments.
    pub async fn create(
        &self,
        context: &RequestContext,
        id: Uuid,
        create: &CreateInstance,
    ) -> Result<Instance, ClientError> {
        todo!()
    }

    /// Powers an instance on: `POST /v1/instances/{id}/start`.
    pub async fn start(&self, context: &RequestContext, id: Uuid) -> Result<Instance, ClientError> {
        todo!()
    }

    /// Stops an instance: `POST /v1/instances/{id}/stop`. Answers at once; events tell when it has stopped.
    pub async fn stop(
        &self,
        context: &RequestContext,
        id: Uuid,
        stop: &StopInstance,
    ) -> Result<Instance, ClientError> {
        todo!()
    }

    /// Stops an instance and powers it on again: `POST /v1/instances/{id}/restart`. Answers at once.
    pub async fn restart(
        &self,
        context: &RequestContext,
        id: Uuid,
        stop: &StopInstance,
    ) -> Result<Instance, ClientError> {
        todo!()
    }

    /// Removes an instance with its disk: `DELETE /v1/instances/{id}`.
    pub async fn delete(&self, context: &RequestContext, id: Uuid) -> Result<(), ClientError> {
        todo!()
    }

    /// The events after `after`: `GET /v1/events`.
    ///
    /// # Errors
    /// [`ErrorCode::EventsLost`](crate::ErrorCode::EventsLost) when the agent no longer holds them: read the snapshot again.
    pub async fn events(
        &self,
        context: &RequestContext,
        after: EventCursor,
    ) -> Result<EventStream, ClientError> {
        todo!()
    }

    /// An instance's console as raw bytes: `GET /v1/instances/{id}/console`, upgraded. Begins with a replay of the last 64 KiB.
    pub async fn console(&self, context: &RequestContext, id: Uuid) -> Result<ConsoleStream, ClientError> {
        todo!()
    }
}
