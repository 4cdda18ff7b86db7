//! The app in a browser: the same commands over HTTP on loopback, for who has the printed link, and for nobody else's pages.

use std::net::SocketAddr;

use api::{ErrorCode, Instance};
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use millpond::contract::{CommandError, PoolPicture};
use millpond::http::Access;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::agent::ScriptedAgent;
use crate::desk::{DEADLINE, Desk, SocketDial, create};

struct Site {
    desk: Desk,
    address: SocketAddr,
    access: Access,
    _agent: ScriptedAgent,
    _folder: tempfile::TempDir,
}

async fn site() -> Site {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("index.html"), "<title>Millpond</title>").expect("a page");
    let agent = ScriptedAgent::start(folder.path(), "atlas", 1);
    let dial = SocketDial::default();
    dial.know("local", &agent);
    let desk = Desk::start(&dial).await;
    desk.this_computer().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let access = Access::generate(address.port());
    let router = millpond::http::router(desk.app.clone(), folder.path(), access.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Site {
        desk,
        address,
        access,
        _agent: agent,
        _folder: folder,
    }
}

impl Site {
    async fn send(&self, request: Request<Full<Bytes>>) -> hyper::Response<hyper::body::Incoming> {
        let stream = TcpStream::connect(self.address).await.expect("it listens");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("HTTP");
        tokio::spawn(connection);
        sender.send_request(request).await.expect("an answer")
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.access.token())
    }

    async fn post(&self, kind: &str, body: impl Into<Bytes>) -> (StatusCode, Value) {
        let request = Request::post("/api/call")
            .header("host", self.address.to_string())
            .header("authorization", self.bearer())
            .header("content-type", kind)
            .body(Full::new(body.into()))
            .expect("a request");
        let answer = self.send(request).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.send(request.body(Full::default()).expect("a request")).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}

fn refused(answer: Value) -> ErrorCode {
    let error: CommandError = serde_json::from_value(answer).expect("the contract's error");
    assert!(!error.request_id.is_empty());
    error.error.code
}

#[tokio::test]
async fn a_command_is_answered_as_in_the_window() {
    let site = site().await;
    let call = json!({"request_id": "click-1", "command": {"name": "pool_get", "args": {}}});
    let (status, answer) = site.post("application/json", call.to_string()).await;
    assert_eq!(status, StatusCode::OK);
    let picture: PoolPicture = serde_json::from_value(answer).expect("a picture");
    assert_eq!(picture.machines.len(), 1);
}

#[tokio::test]
async fn bad_calls_are_refused_each_with_its_code() {
    let site = site().await;
    let call = |command: Value| json!({"request_id": "r", "command": command}).to_string();
    let unknown_field = call(json!({"name": "pool_get", "args": {"more": 1}}));
    let unknown_command = call(json!({"name": "format_disk", "args": {}}));
    let unknown_beside =
        json!({"request_id": "r", "command": {"name": "pool_get", "args": {}}, "as": "root"});
    let address = json!({"kind": "ssh", "host": "atlas", "proxy_command": "sh"});
    let unknown_in_address = call(json!({"name": "machine_add", "args": {"request": {"address": address}}}));
    let bad_uuid = call(json!({"name": "machine_remove", "args": {"machine": "../1"}}));
    let cases = [
        (
            "application/json",
            "{".to_owned(),
            400,
            ErrorCode::MalformedRequest,
        ),
        (
            "application/json",
            unknown_field,
            400,
            ErrorCode::MalformedRequest,
        ),
        (
            "application/json",
            unknown_command,
            400,
            ErrorCode::MalformedRequest,
        ),
        (
            "application/json",
            unknown_beside.to_string(),
            400,
            ErrorCode::MalformedRequest,
        ),
        (
            "application/json",
            unknown_in_address,
            400,
            ErrorCode::MalformedRequest,
        ),
        ("application/json", bad_uuid, 400, ErrorCode::MalformedRequest),
        (
            "application/json",
            "x".repeat(300 * 1024),
            413,
            ErrorCode::BodyTooLarge,
        ),
        (
            "text/plain",
            call(json!({"name": "pool_get", "args": {}})),
            400,
            ErrorCode::MalformedRequest,
        ),
    ];
    for (kind, body, status, code) in cases {
        let told = body.chars().take(80).collect::<String>();
        let (answered, answer) = site.post(kind, body).await;
        assert_eq!((answered.as_u16(), refused(answer)), (status, code), "{told}");
    }
}

/// Everything below `/api`, as it is asked for.
fn every_endpoint(host: &str) -> Vec<hyper::http::request::Builder> {
    let asked = |method: &str, path: &str| Request::builder().method(method).uri(path).header("host", host);
    vec![
        asked("POST", "/api/call").header("content-type", "application/json"),
        asked("GET", "/api/events"),
        asked("GET", "/api/nothing"),
        asked(
            "GET",
            "/api/console/0190a8e0-0000-7000-8000-000000000001/0190a8e0-0000-7000-8000-000000000002",
        )
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "bWlsbHBvbmQgbWlsbHBvbg=="),
    ]
}

#[tokio::test]
async fn who_reaches_the_port_without_the_token_is_told_nothing_of_the_pool() {
    let site = site().await;
    let host = site.address.to_string();
    let port = site.address.port();
    let token = site.access.token();
    let other = Access::generate(port);
    let guesses = [
        ("accept", "*/*".to_owned()),
        ("authorization", format!("Bearer {}", other.token())),
        ("authorization", format!("Bearer {}", &token[..token.len() - 1])),
        ("authorization", format!("Bearer {token}x")),
        ("authorization", "Bearer ".to_owned()),
        ("authorization", format!("Basic {token}")),
        ("cookie", format!("millpond-{port}={}", other.token())),
        ("cookie", format!("millpond-{port}=")),
        ("cookie", format!("another={token}")),
    ];
    for (name, value) in &guesses {
        for request in every_endpoint(&host) {
            let request = request.header(*name, value).body(Full::default());
            let request = request.expect("a request");
            let told = format!("{} with {name}: {value}", request.uri());
            let answer = site.send(request).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{told}");
            let body = answer.into_body().collect().await.expect("a body").to_bytes();
            let error: CommandError = serde_json::from_slice(&body).expect("the contract's error");
            assert_eq!(error.error.code, ErrorCode::AuthenticationFailed, "{told}");
            assert!(error.error.details.contains_key("remedy"), "{told}");
            assert!(!String::from_utf8_lossy(&body).contains(token), "{told}");
        }
    }
}

#[tokio::test]
async fn the_printed_link_is_traded_for_a_cookie_that_opens_everything() {
    let site = site().await;
    let host = site.address.to_string();
    let link = site.access.link();
    let path = link
        .strip_prefix(&format!("http://{host}"))
        .expect("the link is this server's");
    let request = Request::get(path).header("host", &host);
    let answer = site.send(request.body(Full::default()).expect("a request")).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()["location"], "/", "the token leaves the address");
    let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    let (pair, attributes) = cookie.split_once("; ").expect("a cookie with attributes");
    assert_eq!(attributes, "HttpOnly; SameSite=Strict; Path=/");

    let cookies = format!("theme=dark; {pair}");
    let mut answers = Vec::new();
    for request in every_endpoint(&host) {
        let request = request.header("cookie", &cookies).body(Full::default());
        answers.push(site.send(request.expect("a request")).await.status());
    }
    assert_eq!(
        answers,
        [
            StatusCode::BAD_REQUEST,
            StatusCode::OK,
            StatusCode::NOT_FOUND,
            StatusCode::SWITCHING_PROTOCOLS
        ],
        "each answers as itself"
    );
}

#[tokio::test]
async fn a_link_of_an_earlier_start_opens_nothing() {
    let site = site().await;
    let host = site.address.to_string();
    for token in [Access::generate(site.address.port()).token(), ""] {
        let request = Request::get(format!("/?token={token}")).header("host", &host);
        let answer = site.send(request.body(Full::default()).expect("a request")).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(!answer.headers().contains_key("set-cookie"));
    }
}

#[tokio::test]
async fn pages_of_others_and_rebound_names_get_nothing() {
    let site = site().await;
    let host = site.address.to_string();
    let own = format!("http://{host}");
    let bearer = site.bearer();
    for path in ["/", "/index.html", "/api/events", "/api/console/0/0", "/api/call"] {
        for elsewhere in [
            vec![("host", "evil.example")],
            vec![("host", "127.0.0.1:1")],
            vec![("host", host.as_str()), ("origin", "https://evil.example")],
        ] {
            let headers = [elsewhere, vec![("authorization", bearer.as_str())]].concat();
            let (status, answer) = site.get(path, &headers).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{path} {headers:?}");
            refused(serde_json::from_str(&answer).expect("JSON"));
        }
    }
    let (status, page) = site.get("/", &[("host", &host), ("origin", &own)]).await;
    assert_eq!(
        (status, page.as_str()),
        (StatusCode::OK, "<title>Millpond</title>")
    );
}

#[tokio::test]
async fn every_address_of_the_page_is_the_page_and_the_api_stays_apart() {
    let site = site().await;
    let host = site.address.to_string();
    let (status, page) = site.get("/machines/atlas", &[("host", &host)]).await;
    assert_eq!(
        (status, page.as_str()),
        (StatusCode::OK, "<title>Millpond</title>")
    );
    let headers = [("host", host.as_str()), ("authorization", &site.bearer())];
    let (status, answer) = site.get("/api/nothing", &headers).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(
        refused(serde_json::from_str(&answer).expect("JSON")),
        ErrorCode::NoSuchEndpoint
    );
    let (_, outside) = site.get("/../../etc/passwd", &[("host", &host)]).await;
    assert!(!outside.contains("root:"), "{outside}");
}

#[tokio::test]
async fn events_begin_with_a_call_to_read_and_go_on_with_what_changes() {
    let site = site().await;
    let request = Request::get("/api/events")
        .header("host", site.address.to_string())
        .header("authorization", site.bearer())
        .body(Full::default())
        .expect("a request");
    let mut stream = site.send(request).await.into_body();
    let mut text = String::new();
    let mut created = false;
    let waited = tokio::time::timeout(DEADLINE, async {
        while !(text.contains("\"instance_created\"") && text.contains("\"kind\":\"pool\"")) {
            let frame = stream.frame().await.expect("more").expect("a frame");
            text.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
            if !created {
                created = true;
                site.desk.ask::<Instance>(create(None)).await.expect("created");
            }
        }
    });
    waited.await.expect("in time");
    assert!(text.starts_with("data: {\"kind\":\"read_again\"}\n\n"), "{text}");
}
