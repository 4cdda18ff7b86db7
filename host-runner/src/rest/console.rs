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
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Api;
use super::answer::Failure;
use super::extract::InstanceId;
use super::server::Stream;
use crate::console::{Output, Viewer};
use crate::instances::state_word;

/// How long to wait for the console of a guest that is being started.
const APPEAR_DEADLINE: Duration = Duration::from_secs(20);
/// How long one write to a viewer may take before the viewer counts as gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How often one who types no more is looked at.
const HANG_UP_POLL: Duration = Duration::from_secs(1);
/// The largest piece, in either direction.
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
    // What the server was given is what it gives back.
    let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
        tracing::error!("an upgraded connection is of an unknown kind");
        return;
    };
    let (read, write) = parts.io.into_inner().into_inner().into_split();
    let Viewer {
        replay,
        output,
        input,
    } = viewer;
    tokio::select! {
        () = cancel.cancelled() => {}
        () = show_output(write, replay, output) => {}
        () = take_input(read, parts.read_buf, input) => {}
    }
}

async fn show_output(mut write: OwnedWriteHalf, replay: Bytes, mut output: Output) {
    let mut next = Some(replay);
    while let Some(mut rest) = next {
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES_MAX));
            match tokio::time::timeout(WRITE_DEADLINE, write.write_all(&piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
        next = output.recv().await;
    }
    // The viewer has left, or its stream is at its end; that the end cannot be told to one who left is no fault.
    let _ = write.shutdown().await;
}

/// Returns when the viewer is gone or the console takes no more.
async fn take_input(mut read: OwnedReadHalf, early: Bytes, input: mpsc::Sender<Bytes>) {
    if !early.is_empty() && input.send(early).await.is_err() {
        return;
    }
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
    // One who types no more may still watch; one who has hung up must not keep a place on a console that says nothing.
    while !has_hung_up(&read) {
        tokio::time::sleep(HANG_UP_POLL).await;
    }
}

/// Whether the peer has closed both directions: the end of its input alone does not tell.
fn has_hung_up(read: &OwnedReadHalf) -> bool {
    let stream: &UnixStream = read.as_ref();
    // A hang-up is always reported, whatever is asked for.
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let polled = poll(&mut fds, Some(&at_once));
    polled.is_err() || fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn soon<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), work)
            .await
            .expect("within ten seconds")
    }

    #[tokio::test]
    async fn one_who_types_no_more_still_watches() {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let (read, mut write) = ours.into_split();
        peer.shutdown().await.unwrap();
        assert!(!has_hung_up(&read));
        write.write_all(b"shown").await.unwrap();
        let mut shown = [0; 5];
        soon(peer.read_exact(&mut shown)).await.unwrap();
        drop(peer);
        assert!(has_hung_up(&read));
    }

    #[tokio::test]
    async fn a_viewer_who_hangs_up_is_noticed_on_a_silent_console() {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let (read, _write) = ours.into_split();
        let (input, mut typed) = mpsc::channel(1);
        let taking = tokio::spawn(take_input(read, Bytes::from_static(b"early"), input));
        assert_eq!(soon(typed.recv()).await.unwrap(), b"early"[..]);
        peer.write_all(b"last words").await.unwrap();
        peer.shutdown().await.unwrap();
        assert_eq!(soon(typed.recv()).await.unwrap(), b"last words"[..]);
        drop(peer);
        soon(taking).await.unwrap();
    }
}
