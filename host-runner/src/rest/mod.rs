//! The REST server on the Unix socket.

mod answer;
mod console;
mod events;
mod extract;
mod handlers;
mod openapi;
mod request_id;
mod server;
mod write_deadline;

use std::sync::Arc;
use std::time::Duration;

use api::{ApiError, ErrorCode};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, http::Uri};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::answer::Failure;
use crate::events::EventLog;
use crate::images::ImageStore;
use crate::instances::Instances;
use crate::usage::Usage;

pub use openapi::document;
pub use server::serve;

/// How long a request may take until its answer begins: reading its body included, streams and consoles excluded.
const DEADLINE: Duration = Duration::from_secs(30);

/// The most event streams at a time. Far fewer than connections: whoever leaves streams open takes no place from calls.
pub const STREAMS_MAX: u8 = 64;

/// What handlers work with.
#[derive(Debug, Clone)]
pub struct Api {
    /// The instances.
    pub instances: Arc<Instances>,
    /// The images.
    pub images: Arc<ImageStore>,
    /// The event stream.
    pub events: Arc<EventLog>,
    /// The latest samples.
    pub usage: Arc<Usage>,
    /// One place for each open event stream, [`STREAMS_MAX`] in all.
    pub streams: Arc<Semaphore>,
    /// Owns what outlasts a request: consoles, and writes whose callers hung up.
    pub tasks: TaskTracker,
    /// Ends streams and consoles.
    pub cancel: CancellationToken,
}

/// All endpoints.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/v1/host", get(handlers::host))
        .route("/v1/usage", get(handlers::usage))
        .route("/v1/snapshot", get(handlers::snapshot))
        .route("/v1/images", get(handlers::images))
        .route("/v1/images/{name}", get(handlers::image))
        .route("/v1/instances", get(handlers::instances))
        .route(
            "/v1/instances/{id}",
            get(handlers::instance)
                .put(handlers::create)
                .delete(handlers::delete),
        )
        .route("/v1/instances/{id}/start", post(handlers::start))
        .route("/v1/instances/{id}/stop", post(handlers::stop))
        .route("/v1/instances/{id}/restart", post(handlers::restart))
        .route("/v1/instances/{id}/console", get(console::open))
        .route("/v1/events", get(events::stream))
        .route("/v1/openapi.json", get(openapi::serve))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(from_fn(in_time))
        .layer(from_fn(request_id::trace))
        .with_state(api)
}

async fn no_such_path(uri: Uri) -> Failure {
    let message = format!("there is nothing at {}", uri.path());
    ApiError::new(ErrorCode::NoSuchEndpoint, message).into()
}

async fn no_such_method(request: Request) -> Failure {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    Failure::with_status(
        StatusCode::METHOD_NOT_ALLOWED,
        ApiError::new(ErrorCode::NoSuchEndpoint, message),
    )
}

async fn in_time(request: Request, next: Next) -> Response {
    if let Ok(response) = tokio::time::timeout(DEADLINE, next.run(request)).await {
        return response;
    }
    let deadline_ms = u32::try_from(DEADLINE.as_millis()).unwrap_or(u32::MAX);
    let message = format!("the request took longer than {} s", DEADLINE.as_secs());
    Failure::from(ApiError::new(ErrorCode::TimedOut, message).with("deadline_ms", deadline_ms))
        .into_response()
}
