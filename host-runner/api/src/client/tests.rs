//! The client against servers that are right, wrong, slow and hostile, over in-memory streams.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::{ApiError, ErrorCode, EventBody};

/// Answers each request of a connection with the next of its texts, and closes the connection after the last.
#[derive(Debug)]
struct Scripted {
    connections: Mutex<VecDeque<Vec<String>>>,
    opened: AtomicUsize,
    requests: Arc<Mutex<Vec<String>>>,
}

#[async_trait::async_trait]
impl Connector for Scripted {
    async fn open(&self) -> Result<BoxedStream, ClientError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let answers = self.connections.lock().expect("not poisoned").pop_front();
        let answers = answers.ok_or_else(|| ClientError::OpenSocket {
            path: "/run/scripted.sock".into(),
            err: std::io::ErrorKind::ConnectionRefused.into(),
        })?;
        let (near, far) = duplex(1024 * 1024);
        tokio::spawn(serve(far, answers, self.requests.clone()));
        Ok(Box::new(near))
    }
}

async fn serve(mut far: DuplexStream, answers: Vec<String>, requests: Arc<Mutex<Vec<String>>>) {
    for answer in answers {
        let Some(request) = read_request(&mut far).await else {
            return;
        };
        requests.lock().expect("not poisoned").push(request);
        let _ = far.write_all(answer.as_bytes()).await;
    }
}

/// The head and, where there is one, the body.
async fn read_request(far: &mut DuplexStream) -> Option<String> {
    let mut text = String::new();
    while !text.contains("\r\n\r\n") {
        text.push(char::from(far.read_u8().await.ok()?));
    }
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |digits| digits.parse().expect("a length"));
    let mut body = vec![0; length];
    far.read_exact(&mut body).await.ok()?;
    Some(text + &String::from_utf8(body).expect("JSON is UTF-8"))
}

struct Bench {
    client: Client,
    server: Arc<Scripted>,
    context: RequestContext,
}

/// A client and what its connections answer, in the order in which they are opened.
fn bench(connections: &[&[&str]]) -> Bench {
    let connections = connections
        .iter()
        .map(|answers| answers.iter().map(|&answer| answer.to_owned()).collect())
        .collect();
    let server = Arc::new(Scripted {
        connections: Mutex::new(connections),
        opened: AtomicUsize::new(0),
        requests: Arc::default(),
    });
    Bench {
        client: Client::new(server.clone()),
        server,
        context: RequestContext::new("click-1"),
    }
}

impl Bench {
    fn requests(&self) -> Vec<String> {
        self.server.requests.lock().expect("not poisoned").clone()
    }

    fn opened(&self) -> usize {
        self.server.opened.load(Ordering::SeqCst)
    }
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn ok(body: &str) -> String {
    answer("200 OK", body)
}

fn code(error: &ClientError) -> ErrorCode {
    error.to_api().code
}

#[tokio::test]
async fn a_call_names_its_request_and_the_connection_is_used_again() {
    let bench = bench(&[&[&ok("[]"), &ok("[]")]]);
    for _ in 0..2 {
        assert_eq!(bench.client.images(&bench.context).await.expect("an answer"), []);
    }
    assert_eq!(bench.opened(), 1);
    let request = &bench.requests()[0];
    assert!(request.starts_with("GET /v1/images HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("x-request-id: click-1\r\n"), "{request}");
}

#[tokio::test]
async fn a_connection_that_the_agent_closed_meanwhile_is_replaced() {
    let bench = bench(&[&[&ok("[]")], &[&ok("[]")]]);
    for _ in 0..2 {
        bench.client.instances(&bench.context).await.expect("an answer");
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.opened(), 2);
}

#[tokio::test]
async fn bodies_are_sent_as_json() {
    let bench = bench(&[&[&answer("204 No Content", "")]]);
    let stop = StopInstance::force();
    let error = bench.client.stop(&bench.context, Uuid::nil(), &stop).await;
    assert!(
        matches!(error, Err(ClientError::BadAnswer { .. })),
        "nothing is not an instance"
    );
    let request = &bench.requests()[0];
    assert!(request.starts_with("POST /v1/instances/00000000-0000-0000-0000-000000000000/stop "));
    assert!(
        request.contains("content-type: application/json\r\n"),
        "{request}"
    );
    assert!(
        request.ends_with(r#"{"mode":"force","deadline_ms":60000}"#),
        "{request}"
    );
}

#[tokio::test]
async fn a_refusal_keeps_its_code_and_its_facts() {
    let refusal = ApiError::new(ErrorCode::InsufficientMemory, "needs 4 GiB, has 2.5 GiB free")
        .with("needed_mib", 4096)
        .with("free_mib", 2560);
    let body = serde_json::to_string(&refusal).expect("JSON");
    let bench = bench(&[&[&answer("409 Conflict", &body)]]);
    let error = bench
        .client
        .start(&bench.context, Uuid::nil())
        .await
        .expect_err("refused");
    assert!(matches!(error, ClientError::Refused { status: 409, .. }));
    assert_eq!(error.to_api(), refusal);
    assert!(!error.is_link());
}

#[tokio::test]
async fn a_refusals_words_cannot_forge_a_log_line_or_fill_a_screen() {
    let message = format!("no\n2026-01-01 INFO all is well\u{1b}[2J{}", "x".repeat(10_000));
    let body = serde_json::to_string(&ApiError::new(ErrorCode::Internal, message)).expect("JSON");
    let bench = bench(&[&[&answer("500 Oops", &body)]]);
    let error = bench
        .client
        .usage(&bench.context)
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        !error.contains(char::is_control) && error.chars().count() <= 2_000,
        "{error}"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_the_contract_is_named_as_such() {
    for text in [
        ok("not JSON"),
        ok("{}"),
        answer("500 Oops", "<html>"),
        answer("302 Found", "{}"),
    ] {
        let bench = bench(&[&[&text]]);
        let error = bench.client.usage(&bench.context).await.expect_err("no usage");
        assert_eq!(code(&error), ErrorCode::ProtocolViolation, "{text}");
        assert!(!error.is_link());
    }
}

#[tokio::test]
async fn another_major_version_is_named_even_where_the_rest_cannot_be_read() {
    let bench = bench(&[&[&ok(r#"{"host":{"api_version":"2.0"},"all":"new"}"#)], &[]]);
    let error = bench
        .client
        .snapshot(&bench.context)
        .await
        .expect_err("another version");
    assert_eq!(code(&error), ErrorCode::VersionMismatch);
    assert!(error.needs_a_person() && !error.is_link());
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let huge = format!("[\"{}\"]", "x".repeat(ITEM_BYTES_MAX));
    let bench = bench(&[&[&ok(&huge)]]);
    let error = bench.client.usage(&bench.context).await.expect_err("too large");
    assert!(
        matches!(
            error,
            ClientError::AnswerTooLarge {
                limit_bytes: ITEM_BYTES_MAX,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_or_cannot_be_opened_is_a_broken_link() {
    for answers in [
        &[][..],
        &["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n["][..],
        &["\0\0\0\0"][..],
    ] {
        let bench = bench(&[answers]);
        let error = bench.client.images(&bench.context).await.expect_err("broken");
        assert!(error.is_link(), "{error}");
        assert_eq!(code(&error), ErrorCode::Unreachable);
    }
    let closed = bench(&[]);
    let error = closed.client.images(&closed.context).await.expect_err("closed");
    assert!(
        matches!(error, ClientError::OpenSocket { .. }) && error.is_link(),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_answer_is_not_waited_for_longer_than_the_deadline() {
    let bench = bench(&[&["HTTP/1.1 200 OK\r\n", "never sent"]]);
    let error = bench.client.host(&bench.context).await.expect_err("too late");
    assert!(
        matches!(
            error,
            ClientError::DeadlineExceeded {
                deadline: DEADLINE,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(code(&error), ErrorCode::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_wait_their_turn() {
    let silent: &[&str] = &["HTTP/1.1 200 OK\r\n", "never sent"];
    let bench = bench(&[silent; 8]);
    let calls = futures::future::join_all((0..8).map(|_| bench.client.usage(&bench.context)));
    let answered = tokio::time::timeout(DEADLINE / 2, calls).await;
    assert!(answered.is_err(), "nobody answers");
    assert_eq!(bench.opened(), 4);
}

#[tokio::test]
async fn events_flow_until_the_agent_ends_them() {
    let event = r#"{"kind":"instance_deleted","id":"01900000-0000-7000-8000-000000000000"}"#;
    let text = format!("HTTP/1.1 200 OK\r\n\r\n:hello\n\nid: 3-8\ndata: {event}\n\n");
    let bench = bench(&[&[&text]]);
    let after = EventCursor {
        epoch: 3,
        sequence: 7,
    };
    let mut events = bench
        .client
        .events(&bench.context, after)
        .await
        .expect("a stream");
    assert!(bench.requests()[0].contains("last-event-id: 3-7\r\n"));
    let event = events.next().await.expect("one").expect("good");
    assert_eq!(event.cursor.sequence, 8);
    assert!(matches!(event.body, EventBody::InstanceDeleted { .. }));
    let end = events.next().await.expect("an end").expect_err("an error");
    assert!(
        matches!(
            end,
            ClientError::Broken {
                err: BrokenConnection::Ended,
                ..
            }
        ) && end.is_link()
    );
    assert!(events.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_that_falls_silent_ends() {
    let bench = bench(&[&["HTTP/1.1 200 OK\r\n\r\n:hello\n\n", "never sent"]]);
    let after = EventCursor {
        epoch: 0,
        sequence: 0,
    };
    let mut events = bench
        .client
        .events(&bench.context, after)
        .await
        .expect("a stream");
    let end = events.next().await.expect("an end").expect_err("an error");
    assert!(matches!(end, ClientError::DeadlineExceeded { .. }), "{end}");
}

#[tokio::test]
async fn lost_events_are_told_apart() {
    let body = serde_json::to_string(&ApiError::new(ErrorCode::EventsLost, "gone")).expect("JSON");
    let bench = bench(&[&[&answer("410 Gone", &body)]]);
    let after = EventCursor {
        epoch: 1,
        sequence: 1,
    };
    let error = bench
        .client
        .events(&bench.context, after)
        .await
        .expect_err("lost");
    assert_eq!(code(&error), ErrorCode::EventsLost);
}

#[tokio::test]
async fn a_console_is_raw_bytes_both_ways() {
    let switched =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: millpond-console\r\n\r\nlogin: ";
    let bench = bench(&[&[switched, "unused"]]);
    let mut console = bench
        .client
        .console(&bench.context, Uuid::nil())
        .await
        .expect("a console");
    let mut seen = [0; 7];
    console.read_exact(&mut seen).await.expect("the replay");
    assert_eq!(&seen, b"login: ");
    // The scripted server reads on up to the next blank line.
    console.write_all(b"\x00\xffroot\r\n\r\n").await.expect("sent");
    let mut rest = [0; 6];
    console.read_exact(&mut rest).await.expect("answered");
    assert_eq!(&rest, b"unused");
}

#[tokio::test]
async fn a_console_of_another_protocol_or_without_a_switch_is_refused() {
    let other = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    for text in [other.to_owned(), ok("{}")] {
        let bench = bench(&[&[&text]]);
        let error = bench
            .client
            .console(&bench.context, Uuid::nil())
            .await
            .expect_err("refused");
        assert_eq!(code(&error), ErrorCode::ProtocolViolation, "{error}");
    }
}

#[test]
fn messages_name_every_cause_once() {
    let error = ClientError::OpenSocket {
        path: "/run/x.sock".into(),
        err: std::io::Error::other("no luck"),
    };
    assert_eq!(
        error.to_api().message,
        "the host-runner's socket /run/x.sock does not answer: no luck"
    );
}
