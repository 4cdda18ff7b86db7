//! The console over the socket: shared, replayed, and alive after the agent was killed.

use std::time::Duration;

use api::{CONSOLE_PROTOCOL, CONSOLE_REPLAY_BYTES, ErrorCode};
use bytes::Bytes;
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use crate::support::{Agent, BOOT, Options, SOON};

pub struct Console {
    io: TokioIo<Upgraded>,
    seen: Vec<u8>,
}

impl Console {
    pub async fn open(agent: &Agent, id: Uuid) -> Self {
        let request = Request::get(format!("/v1/instances/{id}/console"))
            .header("host", "x")
            .header("connection", "upgrade")
            .header("upgrade", CONSOLE_PROTOCOL)
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = agent.send(request).await;
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()["upgrade"], CONSOLE_PROTOCOL);
        Self {
            io: TokioIo::new(hyper::upgrade::on(response).await.unwrap()),
            seen: Vec::new(),
        }
    }

    /// Opens it, waits for the login prompt, and logs in.
    pub async fn at_the_shell(agent: &Agent, id: Uuid) -> Self {
        let mut console = Self::open(agent, id).await;
        console.until("login:").await;
        console.log_in().await;
        console
    }

    pub async fn type_in(&mut self, text: &str) {
        self.io.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until `text` has been shown, and forgets everything up to it.
    pub async fn until(&mut self, text: &str) -> String {
        let read = async {
            loop {
                let found = self
                    .seen
                    .windows(text.len())
                    .position(|window| window == text.as_bytes());
                if let Some(at) = found {
                    let before: Vec<u8> = self.seen.drain(..at + text.len()).collect();
                    return String::from_utf8_lossy(&before).into_owned();
                }
                let count = self.io.read_buf(&mut self.seen).await.unwrap();
                assert_ne!(
                    count,
                    0,
                    "the console ended: {}",
                    String::from_utf8_lossy(&self.seen)
                );
            }
        };
        tokio::time::timeout(BOOT, read)
            .await
            .unwrap_or_else(|_| panic!("{text:?} was not shown"))
    }

    pub async fn log_in(&mut self) {
        self.type_in("root\n").await;
        self.until("# ").await;
    }

    /// Runs a command in the guest's shell; the marker cannot be met in the echo of what is typed.
    pub async fn run(&mut self, command: &str) -> String {
        self.type_in(&format!("{command}; echo fini''shed\n")).await;
        self.until("finished").await
    }

    pub async fn until_end(&mut self) {
        tokio::time::timeout(BOOT, async {
            while self
                .io
                .read_buf(&mut self.seen)
                .await
                .is_ok_and(|count| count > 0)
            {}
        })
        .await
        .expect("the console ends");
    }
}

#[tokio::test]
async fn several_viewers_share_a_console_and_a_newcomer_sees_the_past() {
    let agent = Agent::start(Options::with_tiny()).await;
    let instance = agent.boot("shared").await;
    let mut first = Console::open(&agent, instance.id).await;
    first.until("login:").await;
    let mut second = Console::open(&agent, instance.id).await;
    second.until("login:").await;
    first.log_in().await;
    second.until("# ").await;
    // Either types, both see.
    second.type_in("echo tw''ice\n").await;
    first.until("twice").await;
    second.until("twice").await;
    // One who leaves takes nothing with them.
    drop(second);
    assert!(first.run("hostname").await.contains("shared"));
    let mut third = Console::open(&agent, instance.id).await;
    third.until("twice").await;
}

#[tokio::test]
async fn the_past_is_bounded_and_survives_the_agent() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    let instance = agent.boot("past").await;
    let mut console = Console::at_the_shell(&agent, instance.id).await;
    console
        .run("i=0; while [ $i -lt 2500 ]; do echo line-$i-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; i=$((i+1)); done")
        .await;
    drop(console);
    agent.sigkill();
    agent.launch().await;
    agent.until_ready(instance.id).await;
    let mut again = Console::open(&agent, instance.id).await;
    let past = again.until("finished").await;
    assert!(past.contains("line-2499-"), "the end of the past is there");
    assert!(!past.contains("line-0-"), "the beginning is not");
    assert!(past.len() <= CONSOLE_REPLAY_BYTES);
    assert!(again.run("hostname").await.contains("past"));
}

#[tokio::test]
async fn a_viewer_who_does_not_read_disturbs_nobody() {
    let agent = Agent::start(Options::with_tiny()).await;
    let instance = agent.boot("slow").await;
    let _lazy = Console::open(&agent, instance.id).await;
    let mut keen = Console::at_the_shell(&agent, instance.id).await;
    for _ in 0..4 {
        tokio::time::timeout(
            BOOT,
            keen.run(
                "i=0; while [ $i -lt 2000 ]; do echo $i-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; i=$((i+1)); done",
            ),
        )
        .await
        .expect("the guest never waits for a viewer");
    }
}

#[tokio::test]
async fn an_instance_that_does_not_run_has_no_console() {
    let agent = Agent::start(Options::with_tiny()).await;
    let id = agent.create_stopped("still").await;
    let path = format!("/v1/instances/{id}/console");
    agent
        .call(Method::GET, &path, "")
        .await
        .refused(StatusCode::BAD_REQUEST, ErrorCode::MalformedRequest);
    let request = Request::get(path)
        .header("host", "x")
        .header("connection", "upgrade")
        .header("upgrade", CONSOLE_PROTOCOL)
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer = tokio::time::timeout(SOON + Duration::from_secs(1), agent.send(request))
        .await
        .unwrap();
    crate::support::Answer::read(answer)
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::WrongState);
}
