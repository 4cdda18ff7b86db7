//! The event stream as server-sent events. A reader pulls from the ring at its own pace; one that falls behind is cut off and, when
//! it asks to resume, told that its events are lost.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use api::{ApiError, ErrorCode, EventCursor};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::answer::Failure;
use super::{Api, STREAMS_MAX};
use crate::events::{Entry, EventLog, EventsLost};

/// Comments on a quiet stream, so that both ends notice a dead peer.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Where to resume.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    after: Option<String>,
}

impl From<EventsLost> for Failure {
    fn from(lost: EventsLost) -> Self {
        ApiError::new(ErrorCode::EventsLost, lost.to_string()).into()
    }
}

/// What happens on the machine, from now on or after the event named by `Last-Event-ID` or `after`.
#[utoipa::path(
    get, path = "/v1/events",
    params(
        ("after" = Option<EventCursor>, Query, description = "Resume after this event"),
        ("Last-Event-ID" = Option<EventCursor>, Header, description = "The same; takes precedence"),
    ),
    responses(
        (status = 200, body = api::EventBody, content_type = "text/event-stream",
            description = "Each event's id is an EventCursor, its data an EventBody"),
        (status = 400, body = ApiError, description = "The id is malformed"),
        (status = 410, body = ApiError, description = "The events after it are no longer held"),
        (status = 429, body = ApiError, description = "As many streams as there may be are open"),
    )
)]
pub async fn stream(
    State(api): State<Api>,
    headers: HeaderMap,
    query: Result<Query<After>, axum::extract::rejection::QueryRejection>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let Query(After { after }) = query.map_err(|rejection| malformed(rejection.body_text()))?;
    let header = match headers.get("last-event-id") {
        None => None,
        Some(value) => Some(
            value
                .to_str()
                .map_err(|_| malformed("Last-Event-ID is not text".into()))?
                .to_owned(),
        ),
    };
    let cursor = match header.or(after) {
        None => api.events.cursor(),
        Some(text) => text
            .parse::<EventCursor>()
            .map_err(|error| malformed(error.to_string()))?,
    };
    let place = Arc::clone(&api.streams)
        .try_acquire_owned()
        .map_err(|_| too_many())?;
    let bell = api.events.bell();
    // Refused here, where it can still be an answer.
    let pending = api.events.read(cursor)?.into();
    let reader = Reader {
        log: api.events,
        cursor,
        bell,
        pending,
        cancel: api.cancel,
        _place: place,
    };
    let events = futures::stream::unfold(reader, |mut reader| async move {
        let entry = reader.next().await?;
        let event = Event::default().id(entry.cursor.to_string()).data(&*entry.json);
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn malformed(message: String) -> Failure {
    ApiError::new(ErrorCode::MalformedRequest, message)
        .with("field", "after")
        .into()
}

fn too_many() -> Failure {
    let most = u32::from(STREAMS_MAX);
    let message = format!("{most} event streams are open, and no more can be; close one and try again");
    let error = ApiError::new(ErrorCode::OutOfRange, message)
        .with("field", "streams")
        .with("value", most + 1)
        .with("min", 0)
        .with("max", most);
    Failure::with_status(StatusCode::TOO_MANY_REQUESTS, error)
}

struct Reader {
    log: Arc<EventLog>,
    cursor: EventCursor,
    bell: watch::Receiver<u64>,
    pending: VecDeque<Entry>,
    cancel: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Reader {
    /// The next event; `None` when this reader fell behind, and when the agent ends.
    async fn next(&mut self) -> Option<Entry> {
        loop {
            if let Some(entry) = self.pending.pop_front() {
                self.cursor = entry.cursor;
                return Some(entry);
            }
            self.bell.mark_unchanged();
            self.pending = self.log.read(self.cursor).ok()?.into();
            if !self.pending.is_empty() {
                continue;
            }
            tokio::select! {
                () = self.cancel.cancelled() => return None,
                rang = self.bell.changed() => rang.ok()?,
            }
        }
    }
}
