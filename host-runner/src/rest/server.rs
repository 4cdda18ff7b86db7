//! Connections: accepted in bounded number, each with deadlines for its headers and for reading the answer, all ended in order.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::write_deadline::WriteDeadline;
use crate::agent::Door;

/// The most connections at a time; more wait in the socket's backlog.
const CONNECTIONS_MAX: usize = 512;
/// How long a request's headers may take, on a new connection and on a kept one.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// How long a peer may read nothing of an answer that waits for it.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// The largest request head, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long to wait after the system could not accept a connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long open requests may take to end when the agent does.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// A connection as an upgraded one is given to whoever asked for it.
pub(super) type Stream = WriteDeadline<UnixStream>;

/// Serves until `cancel`, then lets open requests end.
pub async fn serve(mut door: Door, router: Router, cancel: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((door.accept().await, slot))
        };
        let (accepted, slot) = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = accepted => match accepted {
                Some(accepted) => accepted,
                None => break,
            },
        };
        match accepted {
            Ok(stream) => {
                let (router, cancel, abort) = (router.clone(), cancel.clone(), abort.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = abort.cancelled() => {}
                        () = connection(stream, router, cancel) => {}
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    door.close();
    tasks.close();
    if tokio::time::timeout(DRAIN_DEADLINE, tasks.wait()).await.is_err() {
        tracing::info!("cutting requests off that did not end");
        abort.cancel();
        tasks.wait().await;
    }
}

async fn connection(stream: UnixStream, router: Router, cancel: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(true)
        .serve_connection(
            TokioIo::new(Stream::new(stream, WRITE_DEADLINE)),
            TowerToHyperService::new(router),
        )
        .with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
    }
}
