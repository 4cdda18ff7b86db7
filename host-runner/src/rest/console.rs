//! The console: an HTTP Upgrade to the raw bytes of the guest's serial line.

use std::time::Duration;

use api::{ApiError, CONSOLE_PROTOCOL, ErrorCode, RunState};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Api;
use super::answer::Failure;
use super::extract::InstanceId;
use crate::console::Viewer;
use crate::instances::state_word;

/// How long to wait for the console of a guest that is being started.
const APPEAR_DEADLINE: Duration = Duration::from_secs(20);
/// How long one write to a viewer may take before the viewer counts as gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// The largest piece of input.
const PIECE_BYTES_MAX: usize = 4096;

/// The guest's serial console: the last 64 KiB, then what follows; what is sent is typed.
#[utoipa::path(
    get, path = "/v1/instances/{id}/console",
    params(
        ("id" = uuid::Uuid, Path, description = "The instance's id"),
        ("Upgrade" = String, Header, description = "`millpond-console`"),
    ),
    responses(
        (status = 101, description = "Raw bytes in both directions from here on"),
        (status = 400, body = ApiError, description = "Not an upgrade to `millpond-console`"),
        (status = 404, body = ApiError),
        (status = 409, body = ApiError, description = "The instance does not run"),
    )
)]
pub async fn open(
    State(api): State<Api>,
    InstanceId(id): InstanceId,
    mut request: Request,
) -> Result<Response, Failure> {
    if !asks_for_console(request.headers()) {
        let message = format!("a console is an HTTP upgrade to {CONSOLE_PROTOCOL}");
        return Err(ApiError::new(ErrorCode::MalformedRequest, message)
            .with("field", "upgrade")
            .into());
    }
    let instance = api.instances.get(id).await?;
    let not_running = || {
        let state = state_word(instance.state);
        ApiError::new(
            ErrorCode::WrongState,
            format!("the instance is {state}; it has a console while it runs"),
        )
        .with("state", state)
        .with("action", "console")
    };
    let wait = match instance.state {
        RunState::Creating | RunState::Starting if instance.wanted_running => APPEAR_DEADLINE,
        RunState::Running | RunState::Paused | RunState::Stopping => Duration::from_secs(2),
        _ => return Err(not_running().into()),
    };
    let hub = tokio::time::timeout(wait, api.instances.reconciler.consoles().wait_for(id))
        .await
        .ok()
        .flatten()
        .ok_or_else(not_running)?;
    let viewer = hub.join().await.ok_or_else(not_running)?;
    let upgrade = hyper::upgrade::on(&mut request);
    let cancel = api.cancel.clone();
    api.tasks.spawn(async move {
        match upgrade.await {
            Ok(upgraded) => show(upgraded, viewer, cancel).await,
            Err(error) => tracing::debug!(%error, "a console was not upgraded"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
    headers.insert(
        header::UPGRADE,
        header::HeaderValue::from_static(CONSOLE_PROTOCOL),
    );
    Ok(response)
}

fn asks_for_console(headers: &HeaderMap) -> bool {
    let has = |name: header::HeaderName, wanted: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                value
                    .split(',')
                    .any(|part| part.trim().eq_ignore_ascii_case(wanted))
            })
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, CONSOLE_PROTOCOL)
}

/// Joins a viewer to the console until either end is gone.
async fn show(upgraded: Upgraded, viewer: Viewer, cancel: CancellationToken) {
    let (read, write) = tokio::io::split(TokioIo::new(upgraded));
    let Viewer {
        replay,
        output,
        input,
    } = viewer;
    tokio::select! {
        () = cancel.cancelled() => {}
        () = show_output(write, replay, output) => {}
        () = take_input(read, input) => {}
    }
}

async fn show_output(
    mut write: WriteHalf<TokioIo<Upgraded>>,
    replay: Bytes,
    mut output: mpsc::Receiver<Bytes>,
) {
    let mut next = Some(replay);
    while let Some(piece) = next {
        match tokio::time::timeout(WRITE_DEADLINE, write.write_all(&piece)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
        next = output.recv().await;
    }
    // The viewer has left, or its stream is at its end; that the end cannot be told to one who left is no fault.
    let _ = write.shutdown().await;
}

async fn take_input(mut read: ReadHalf<TokioIo<Upgraded>>, input: mpsc::Sender<Bytes>) {
    let mut buffer = BytesMut::with_capacity(PIECE_BYTES_MAX);
    loop {
        match read.read_buf(&mut buffer).await {
            Ok(0) => break,
            Ok(_) => {
                if input.send(buffer.split().freeze()).await.is_err() {
                    return;
                }
                buffer.reserve(PIECE_BYTES_MAX);
            }
            Err(_) => return,
        }
    }
    // One who types no more may still watch.
    std::future::pending::<()>().await;
}
