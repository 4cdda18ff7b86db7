//! The event stream: complete, in order, resumable, and honest where it is not.

use api::{ErrorCode, EventBody, EventCursor, RunState, Snapshot};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};

use crate::support::{Agent, Options, SOON, eventually};

/// A reader of server-sent events.
struct Stream {
    body: Incoming,
    text: String,
}

impl Stream {
    async fn open(agent: &Agent, after: Option<EventCursor>) -> Self {
        let mut request = Request::get("/v1/events").header("host", "x");
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let response = agent.send(request.body(Full::<Bytes>::default()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        Self {
            body: response.into_body(),
            text: String::new(),
        }
    }

    async fn next(&mut self) -> (EventCursor, EventBody) {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                };
                if let (Some(id), Some(data)) = (field("id"), field("data")) {
                    return (id.parse().unwrap(), serde_json::from_str(data).unwrap());
                }
            }
            let frame = tokio::time::timeout(SOON, self.body.frame())
                .await
                .expect("an event in time")
                .expect("an open stream")
                .unwrap();
            self.text
                .push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    }

    async fn until(&mut self, mut wanted: impl FnMut(&EventBody) -> bool) -> (EventCursor, EventBody) {
        loop {
            let (cursor, body) = self.next().await;
            if wanted(&body) {
                return (cursor, body);
            }
        }
    }
}

#[tokio::test]
async fn events_follow_the_snapshot_without_a_gap_and_resume_where_they_broke_off() {
    let agent = Agent::start(Options::with_tiny()).await;
    let snapshot: Snapshot = agent.get("/v1/snapshot").await;
    // What happens before the stream is opened is in it: it starts where the snapshot ends.
    let first = agent.create_stopped("first").await;
    let mut stream = Stream::open(&agent, Some(snapshot.cursor)).await;
    let (cursor, _) = stream
        .until(|body| matches!(body, EventBody::InstanceChanged { instance } if instance.id == first && instance.state == RunState::Stopped))
        .await;
    drop(stream);
    let second = agent.create_stopped("second").await;
    agent.delete(first).await;
    let mut resumed = Stream::open(&agent, Some(cursor)).await;
    let mut last = cursor;
    let mut seen_second = false;
    loop {
        let (cursor, body) = resumed.next().await;
        assert_eq!(cursor.sequence, last.sequence + 1, "no event is left out");
        last = cursor;
        match body {
            EventBody::InstanceChanged { instance } => seen_second |= instance.id == second,
            EventBody::InstanceDeleted { id } if id == first => break,
            _ => {}
        }
    }
    assert!(seen_second);
}

#[tokio::test]
async fn usage_is_sampled_for_the_machine() {
    let agent = Agent::start(Options::default()).await;
    let mut stream = Stream::open(&agent, None).await;
    let (_, body) = stream
        .until(|body| matches!(body, EventBody::UsageSampled { .. }))
        .await;
    let EventBody::UsageSampled { host, instances } = body else {
        unreachable!()
    };
    assert!((0.0..=100.0).contains(&host.cpu_percent));
    assert!(instances.is_empty());
}

#[tokio::test]
async fn what_cannot_be_resumed_is_said_to_be_lost() {
    let mut agent = Agent::start(Options::default()).await;
    let before = agent.get::<Snapshot>("/v1/snapshot").await.cursor;
    agent.sigkill();
    agent.launch().await;
    agent
        .call(Method::GET, &format!("/v1/events?after={before}"), "")
        .await
        .refused(StatusCode::GONE, ErrorCode::EventsLost);
    for query in ["after=x", "after=1-", "after=-1-1", "before=1-1"] {
        agent
            .call(Method::GET, &format!("/v1/events?{query}"), "")
            .await
            .refused(StatusCode::BAD_REQUEST, ErrorCode::MalformedRequest);
    }
}

#[tokio::test]
async fn an_image_that_comes_is_told() {
    let agent = Agent::start(Options::with_tiny()).await;
    let manifests = agent.state_dir().join("images/manifests");
    let aside = agent.state_dir().join("aside.json");
    let mut stream = Stream::open(&agent, None).await;
    // The agent has looked once: it knows the image.
    stream
        .until(|body| matches!(body, EventBody::UsageSampled { .. }))
        .await;
    stream
        .until(|body| matches!(body, EventBody::UsageSampled { .. }))
        .await;
    std::fs::rename(manifests.join("tiny-linux.json"), &aside).unwrap();
    stream
        .until(|body| matches!(body, EventBody::ImagesChanged { images } if images.is_empty()))
        .await;
    std::fs::rename(&aside, manifests.join("tiny-linux.json")).unwrap();
    stream
        .until(|body| matches!(body, EventBody::ImagesChanged { images } if images.len() == 1))
        .await;
}

/// As many streams as there may be, none of them read: they take no place from calls, nor for ever from each other.
#[tokio::test]
async fn streams_that_nobody_reads_lock_nobody_out() {
    const STREAMS_MAX: usize = 64;
    let agent = Agent::start(Options::default()).await;
    let mut open = Vec::new();
    for _ in 0..STREAMS_MAX {
        open.push(Stream::open(&agent, None).await);
    }
    let refusal = agent
        .call(Method::GET, "/v1/events", "")
        .await
        .refused(StatusCode::TOO_MANY_REQUESTS, ErrorCode::OutOfRange);
    assert_eq!(refusal.details["max"], 64.into());
    agent.get::<Snapshot>("/v1/snapshot").await;
    open.pop();
    eventually("a place for another stream", SOON, async || {
        let request = Request::get("/v1/events").header("host", "x");
        let response = agent.send(request.body(Full::<Bytes>::default()).unwrap()).await;
        (response.status() == StatusCode::OK).then_some(())
    })
    .await;
}
