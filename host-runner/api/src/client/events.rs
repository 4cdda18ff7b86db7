//! The stream of events.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tracing::debug;

use super::error::{BrokenConnection, ClientError};
use super::http::{Connection, broken};
use super::sse::{EVENT_BYTES_MAX, Parser, RawEvent};
use crate::{Event, EventBody};

/// An agent samples its usage every two seconds: one that says nothing for this long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const OPERATION: &str = "read events";

/// The events of one agent, as they happen.
///
/// Never ends well: the last item is an error, after which nothing follows. An agent that restarts ends the stream
/// ([`BrokenConnection::Ended`]), and so does one that is silent for 15 s ([`ClientError::DeadlineExceeded`]).
pub struct EventStream {
    events: BoxStream<'static, Result<Event, ClientError>>,
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

impl Stream for EventStream {
    type Item = Result<Event, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(cx)
    }
}

struct Reading {
    body: Incoming,
    /// Ends with the stream.
    _connection: Connection,
    parser: Parser,
    ready: std::vec::IntoIter<RawEvent>,
    failed: bool,
}

impl EventStream {
    pub(super) fn new(connection: Connection, body: Incoming) -> Self {
        let reading = Reading {
            body,
            _connection: connection,
            parser: Parser::default(),
            ready: Vec::new().into_iter(),
            failed: false,
        };
        let events = futures::stream::unfold(reading, |mut reading| async move {
            if reading.failed {
                return None;
            }
            let item = reading.next().await;
            reading.failed = item.is_err();
            Some((item, reading))
        });
        Self {
            events: events.boxed(),
        }
    }
}

impl Reading {
    async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            for raw in self.ready.by_ref() {
                if let Some(event) = decode(&raw)? {
                    return Ok(event);
                }
            }
            let piece = self.piece().await?;
            let events = self
                .parser
                .push(&piece)
                .map_err(|_| ClientError::AnswerTooLarge {
                    operation: OPERATION,
                    limit_bytes: EVENT_BYTES_MAX,
                })?;
            self.ready = events.into_iter();
        }
    }

    async fn piece(&mut self) -> Result<bytes::Bytes, ClientError> {
        loop {
            let frame = tokio::time::timeout(SILENCE_MAX, self.body.frame()).await;
            let frame = frame.map_err(|_| ClientError::DeadlineExceeded {
                operation: OPERATION,
                deadline: SILENCE_MAX,
            })?;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(data);
                    }
                }
                Some(Err(err)) => return Err(broken(OPERATION, err)),
                None => {
                    return Err(ClientError::Broken {
                        operation: OPERATION,
                        err: BrokenConnection::Ended,
                    });
                }
            }
        }
    }
}

/// `None` for an event of a kind that a later agent has and this desktop does not know.
fn decode(raw: &RawEvent) -> Result<Option<Event>, ClientError> {
    let bad = |reason: String| ClientError::BadAnswer {
        operation: OPERATION,
        reason,
    };
    let cursor = raw
        .id
        .parse()
        .map_err(|err| bad(format!("an event's id: {err}")))?;
    match serde_json::from_str::<EventBody>(&raw.data) {
        Ok(body) => Ok(Some(Event { cursor, body })),
        Err(err) => match serde_json::from_str::<Kind>(&raw.data) {
            Ok(Kind { kind }) if !KINDS.contains(&kind.as_str()) => {
                debug!(kind, "passing over an event of an unknown kind");
                Ok(None)
            }
            _ => Err(bad(format!("an event: {err}"))),
        },
    }
}

/// Every kind of [`EventBody`].
const KINDS: [&str; 4] = [
    "instance_changed",
    "instance_deleted",
    "usage_sampled",
    "images_changed",
];

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(id: &str, data: &str) -> RawEvent {
        RawEvent {
            id: id.into(),
            data: data.into(),
        }
    }

    #[test]
    fn events_are_read_with_their_place() {
        let data = r#"{"kind":"instance_deleted","id":"01900000-0000-7000-8000-000000000000"}"#;
        let event = decode(&raw("5-9", data)).expect("good").expect("known");
        assert_eq!(event.cursor.to_string(), "5-9");
        assert!(matches!(event.body, EventBody::InstanceDeleted { .. }));
    }

    #[test]
    fn a_kind_of_the_future_is_passed_over_and_a_broken_known_one_is_not() {
        assert!(
            decode(&raw("1-1", r#"{"kind":"comet_seen"}"#))
                .expect("good")
                .is_none()
        );
        for kind in KINDS {
            let broken = format!(r#"{{"kind":"{kind}","id":1,"images":1,"instance":1,"host":1}}"#);
            assert!(
                matches!(decode(&raw("1-1", &broken)), Err(ClientError::BadAnswer { .. })),
                "{kind}"
            );
        }
        assert!(decode(&raw("1-1", "x")).is_err());
        assert!(decode(&raw("x", r#"{"kind":"comet_seen"}"#)).is_err());
    }
}
