//! Every bad input gets its own clear error, changes nothing, and leaves nothing behind.

use api::{BODY_BYTES_MAX, CreateInstance, ErrorCode, Instance, Mib};
use hyper::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use uuid::Uuid;

use crate::support::{Agent, Options, SOON, damage, tiny};

async fn refuse(agent: &Agent, change: impl FnOnce(&mut CreateInstance)) -> crate::support::Answer {
    let mut body = tiny("tiny-1");
    change(&mut body);
    agent.create(Uuid::now_v7(), &body).await
}

#[tokio::test]
async fn unknown_fields_are_named() {
    let agent = Agent::start(Options::with_tiny()).await;
    let mut body = serde_json::to_value(tiny("tiny-1")).unwrap();
    body["spec"]["colour"] = "red".into();
    let path = format!("/v1/instances/{}", Uuid::now_v7());
    let error = agent
        .call(Method::PUT, &path, body.to_string())
        .await
        .refused(StatusCode::BAD_REQUEST, ErrorCode::MalformedRequest);
    assert_eq!(error.details["field"], "colour".into());
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn names_that_leave_their_folder_or_their_line_are_refused() {
    let agent = Agent::start(Options::with_tiny()).await;
    for name in [
        "../escape",
        "a/b",
        "a\nb",
        "a\u{0}b",
        "\u{1b}[2J",
        "",
        "UPPER",
        &"a".repeat(64),
    ] {
        let error = refuse(&agent, |body| body.spec.name = name.to_owned())
            .await
            .refused(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::InvalidName);
        assert_eq!(error.details["field"], "name".into());
        assert!(
            error.message.chars().all(|c| !c.is_control()),
            "{:?}",
            error.message
        );
    }
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn numbers_outside_their_range_are_told_the_range() {
    let agent = Agent::start(Options::with_tiny()).await;
    let error = refuse(&agent, |body| body.spec.vcpus = 0)
        .await
        .refused(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::OutOfRange);
    assert_eq!(error.details["field"], "vcpus".into());
    assert_eq!(
        (&error.details["min"], &error.details["max"]),
        (&1.into(), &64.into())
    );
    let error = refuse(&agent, |body| body.spec.memory_mib = Mib(16))
        .await
        .refused(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::OutOfRange);
    assert_eq!(error.details["field"], "memory_mib".into());
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn more_than_the_machine_has_is_refused_with_the_numbers() {
    let agent = Agent::start(Options {
        offer_memory: Some(200),
        offer_disk: Some(1_000),
        ..Options::with_tiny()
    })
    .await;
    for start in [true, false] {
        let error = refuse(&agent, |body| {
            body.spec.memory_mib = Mib(201);
            body.start = start;
        })
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::InsufficientMemory);
        assert_eq!(
            (&error.details["needed_mib"], &error.details["free_mib"]),
            (&201.into(), &200.into())
        );
    }
    let error = refuse(&agent, |body| body.spec.disk_mib = Mib(1_001))
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::InsufficientDisk);
    assert_eq!(
        (&error.details["needed_mib"], &error.details["free_mib"]),
        (&1_001.into(), &1_000.into())
    );
    let threads = agent.get::<api::HostFacts>("/v1/host").await.threads;
    if threads < 64 {
        let error = refuse(&agent, |body| body.spec.vcpus = threads + 1)
            .await
            .refused(StatusCode::CONFLICT, ErrorCode::TooManyVcpus);
        assert_eq!(error.details["threads"], threads.into());
    }
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn a_newer_generation_is_held_to_the_same_bounds_as_a_new_instance() {
    let agent = Agent::start(Options {
        offer_memory: Some(200),
        ..Options::with_tiny()
    })
    .await;
    let id = Uuid::now_v7();
    let mut body = tiny("tiny-1");
    body.start = false;
    let first: Instance = agent.create(id, &body).await.expect(StatusCode::CREATED);
    let newer = async |change: fn(&mut CreateInstance)| {
        let mut body = body.clone();
        body.generation = 2;
        change(&mut body);
        agent.create(id, &body).await
    };
    newer(|body| body.spec.memory_mib = Mib(16))
        .await
        .refused(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::OutOfRange);
    newer(|body| body.spec.memory_mib = Mib(16_000_000))
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::InsufficientMemory);
    if agent.get::<api::HostFacts>("/v1/host").await.threads < 64 {
        newer(|body| body.spec.vcpus = 64)
            .await
            .refused(StatusCode::CONFLICT, ErrorCode::TooManyVcpus);
    }
    let held = agent.instance(id).await;
    assert_eq!((held.generation, &held.spec), (1, &first.spec));
    let grown: Instance = newer(|body| body.spec.memory_mib = Mib(150))
        .await
        .expect(StatusCode::OK);
    assert_eq!((grown.generation, grown.spec.memory_mib), (2, Mib(150)));
}

#[tokio::test]
async fn a_missing_image_is_named() {
    let agent = Agent::start(Options::default()).await;
    let error = refuse(&agent, |_| {})
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::ImageNotFound);
    assert_eq!(error.details["image"], "tiny-linux".into());
    agent
        .call(Method::GET, "/v1/images/tiny-linux", "")
        .await
        .refused(StatusCode::NOT_FOUND, ErrorCode::ImageNotFound);
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn a_damaged_image_is_refused_even_when_it_was_sound_before() {
    let agent = Agent::start(Options::with_tiny()).await;
    let images: Vec<api::Image> = agent.get("/v1/images").await;
    assert_eq!(images[0].state, api::ImageState::Ready);
    damage(&agent.state_dir().join("images/blobs"));
    let error = refuse(&agent, |_| {})
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::ImageCorrupt);
    assert_eq!(error.details["image"], "tiny-linux".into());
    assert!(
        error.details.contains_key("file") && error.details.contains_key("remedy"),
        "{error:?}"
    );
    let image: api::Image = agent.get("/v1/images/tiny-linux").await;
    assert_eq!(image.state, api::ImageState::Corrupt);
    assert!(image.problem.is_some());
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn what_is_no_json_is_said_to_be_none() {
    let agent = Agent::start(Options::default()).await;
    let path = format!("/v1/instances/{}", Uuid::now_v7());
    for body in [
        "",
        "{",
        "[]",
        "null",
        "{\"generation\":1}",
        "\u{0}",
        "{\"generation\":-1,\"spec\":{},\"start\":true}",
    ] {
        agent
            .call(Method::PUT, &path, body)
            .await
            .refused(StatusCode::BAD_REQUEST, ErrorCode::MalformedRequest);
    }
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn ids_that_are_none_are_refused() {
    let agent = Agent::start(Options::with_tiny()).await;
    let body = serde_json::to_string(&tiny("tiny-1")).unwrap();
    for id in [
        "1",
        "..%2f..%2fetc",
        "%ff",
        "00000000-0000-4000-8000-000000000000",
        "0198c0de00007000800000000000000f",
    ] {
        agent
            .call(Method::PUT, &format!("/v1/instances/{id}"), body.clone())
            .await
            .refused(StatusCode::BAD_REQUEST, ErrorCode::MalformedRequest);
    }
    let unknown = format!("/v1/instances/{}", Uuid::now_v7());
    for (method, path) in [
        (Method::GET, unknown.clone()),
        (Method::DELETE, unknown.clone()),
        (Method::POST, format!("{unknown}/start")),
    ] {
        agent
            .call(method, &path, "")
            .await
            .refused(StatusCode::NOT_FOUND, ErrorCode::InstanceNotFound);
    }
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn paths_and_methods_that_are_none_are_refused_in_the_contracts_shape() {
    let agent = Agent::start(Options::default()).await;
    agent
        .call(Method::GET, "/v2/host", "")
        .await
        .refused(StatusCode::NOT_FOUND, ErrorCode::NoSuchEndpoint);
    agent
        .call(Method::GET, "/v1/images/%ff", "")
        .await
        .refused(StatusCode::BAD_REQUEST, ErrorCode::MalformedRequest);
    agent
        .call(Method::POST, "/v1/host", "")
        .await
        .refused(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::NoSuchEndpoint);
}

/// What the agent answers to a request whose body is announced and not, or not wholly, sent.
async fn answer_to_raw(agent: &Agent, head: &str, mut send: impl AsyncFnMut(&mut UnixStream)) -> String {
    let mut stream = UnixStream::connect(agent.socket()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    send(&mut stream).await;
    let mut answer = Vec::new();
    // The agent hangs up with unread bytes in its queue, which can reach us as a reset after the answer.
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut answer))
        .await
        .expect("the agent answers and hangs up");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_body_of_100_mb_is_refused_unread() {
    let agent = Agent::start(Options::default()).await;
    let path = format!("/v1/instances/{}", Uuid::now_v7());
    let announced = format!("PUT {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 104857600\r\n\r\n");
    let answer = answer_to_raw(&agent, &announced, async |_| {}).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.contains("\"body_too_large\"") && answer.contains("\"limit_kib\":256"),
        "{answer}"
    );

    let chunked = format!("PUT {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    let answer = answer_to_raw(&agent, &chunked, async |stream| {
        let chunk = vec![b' '; 64 * 1024];
        for _ in 0..=(BODY_BYTES_MAX / chunk.len()) {
            let mut piece = format!("{:x}\r\n", chunk.len()).into_bytes();
            piece.extend_from_slice(&chunk);
            piece.extend_from_slice(b"\r\n");
            // The agent may have answered and hung up before it had the last byte.
            if stream.write_all(&piece).await.is_err() {
                return;
            }
        }
    })
    .await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn a_stop_with_a_senseless_deadline_is_refused() {
    let agent = Agent::start(Options::with_tiny()).await;
    let id = agent.create_stopped("tiny-1").await;
    agent
        .post(id, "stop", r#"{"mode":"graceful","deadline_ms":1}"#)
        .await
        .refused(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::OutOfRange);
    agent
        .post(id, "stop", r#"{"mode":"gently"}"#)
        .await
        .refused(StatusCode::BAD_REQUEST, ErrorCode::MalformedRequest);
    agent
        .post(id, "restart", r#"{"mode":"force"}"#)
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::WrongState);
}

#[tokio::test]
async fn a_second_agent_is_refused_and_the_first_works_on() {
    let agent = Agent::start(Options::default()).await;
    let second = agent.command(&["serve"]).output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(
        said.contains("another host-runner") && said.contains(&agent.pid().to_string()),
        "{said}"
    );

    // With a state of its own it is refused too, on the same socket as well as over the same guests.
    let elsewhere = tempfile::tempdir().unwrap();
    let places = [
        (elsewhere.path().join("r"), agent.socket()),
        (agent.runtime_dir(), elsewhere.path().join("api.sock")),
    ];
    for (runtime_dir, socket) in places {
        let second = std::process::Command::new(crate::support::PROGRAM)
            .args(["serve", "--state-dir"])
            .arg(elsewhere.path().join("s"))
            .arg("--runtime-dir")
            .arg(runtime_dir)
            .arg("--socket")
            .arg(socket)
            .output()
            .unwrap();
        assert!(!second.status.success());
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(said.contains("another host-runner"), "{said}");
    }
    let facts: api::HostFacts = agent.get("/v1/host").await;
    assert!(!facts.hostname.is_empty());
}

#[tokio::test]
async fn a_request_id_is_echoed_where_it_is_well_formed_and_made_where_it_is_not() {
    let agent = Agent::start(Options::default()).await;
    let with = async |id: &str| {
        let request = hyper::Request::get("/v1/host")
            .header("host", "x")
            .header("x-request-id", id)
            .body(http_body_util::Full::default())
            .unwrap();
        let response = agent.send(request).await;
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(with("click-7").await, "click-7");
    let made = with("a b").await;
    assert!(Uuid::parse_str(&made).is_ok(), "{made}");
}
