//! The link itself: streams through it, and its end.

use std::time::{Duration, Instant};

use api::client::Connector;
use api::client::ssh::{CloseReason, SshError, SshOptions, SshSession, connect};
use support::{Desktop, KeyKind, Machine, Place, SshKey, SshServer, SshServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

struct Scene {
    session: SshSession,
    machine: Machine,
    server: SshServer,
    _desktop: Desktop,
}

async fn scene(config: &str) -> Scene {
    let desktop = Desktop::new().expect("a desktop");
    let key = SshKey::make(&desktop.ssh_path("id_ed25519"), KeyKind::Ed25519, "").expect("a key");
    let machine = Machine::new().expect("a machine");
    let options = SshServerOptions {
        authorized: vec![key.public],
        config: config.into(),
        ..SshServerOptions::default()
    };
    let server = SshServer::start(Place::Machine(&machine), &options).expect("an SSH server");
    desktop
        .know(&machine.address().to_string(), &server)
        .expect("known");
    let session = connect(
        &Desktop::target(machine.address().to_string()),
        &desktop.options(),
    )
    .await
    .expect("connected");
    Scene {
        session,
        machine,
        server,
        _desktop: desktop,
    }
}

/// Gives every byte back that arrives at the machine's agent socket.
fn echo_at_the_agents_socket(machine: &Machine) {
    std::fs::create_dir_all(machine.run_path("host-runner")).expect("a folder");
    let listener = UnixListener::bind(machine.run_path("host-runner/api.sock")).expect("a socket");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
}

#[tokio::test]
async fn streams_carry_bytes_both_ways_and_side_by_side() {
    let scene = scene("").await;
    echo_at_the_agents_socket(&scene.machine);
    let streams = (0..12_u8).map(|index| {
        let session = scene.session.clone();
        async move {
            let stream = session.open().await.expect("a stream");
            let (mut from, mut to) = tokio::io::split(stream);
            let sent = vec![index; 1024 * 1024];
            let copy = sent.clone();
            let sending = async move {
                to.write_all(&copy).await.expect("sent");
                to.shutdown().await.expect("ended");
            };
            let mut received = Vec::new();
            let receiving = from.read_to_end(&mut received);
            let ((), result) = futures::future::join(sending, receiving).await;
            result.expect("received");
            assert!(received == sent, "stream {index} came back changed");
        }
    });
    let all = futures::future::join_all(streams);
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("in time");
}

#[tokio::test]
async fn a_reader_that_stands_still_loses_its_stream_and_no_other() {
    let scene = scene("").await;
    echo_at_the_agents_socket(&scene.machine);
    let (mut from_stuck, mut to_stuck) = tokio::io::split(scene.session.open().await.expect("a stream"));
    // More than all buffers on the way hold: nobody reads what comes back.
    let flood = tokio::spawn(async move {
        let piece = vec![0; 64 * 1024];
        while to_stuck.write_all(&piece).await.is_ok() {}
    });
    let mut lively = scene.session.open().await.expect("another stream");
    let start = Instant::now();
    let mut answers = 0;
    while !flood.is_finished() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "the stuck stream lives on"
        );
        lively.write_all(b"ping").await.expect("sent");
        let mut answer = [0; 4];
        let reading = tokio::time::timeout(Duration::from_secs(10), lively.read_exact(&mut answer));
        reading.await.expect("in time").expect("received");
        answers += 1;
    }
    assert!(answers > 0);
    let mut rest = Vec::new();
    let _ = from_stuck.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn a_machine_without_an_agent_is_told_apart_with_the_remedy() {
    let scene = scene("").await;
    let mut stream = scene.session.open().await.expect("a stream");
    let error = stream.read_u8().await.expect_err("nobody answers");
    let text = error.to_string();
    assert!(text.contains("no host-runner answers"), "{text}");
    assert!(text.contains("Install host-runner"), "{text}");
}

#[tokio::test]
async fn a_cut_cable_is_noticed_within_15_s() {
    let scene = scene("").await;
    echo_at_the_agents_socket(&scene.machine);
    let mut stream = scene.session.open().await.expect("a stream");
    stream.write_all(b"x").await.expect("sent");
    assert_eq!(stream.read_u8().await.expect("received"), b'x');

    scene.machine.cut_link().expect("cut");
    let start = Instant::now();
    let reason = tokio::time::timeout(Duration::from_secs(15), scene.session.closed())
        .await
        .expect("noticed");
    assert_eq!(reason, CloseReason::Silent, "after {:?}", start.elapsed());
    let error = stream.read_u8().await.expect_err("the stream ends with the link");
    assert!(error.to_string().contains("no longer answers"), "{error}");
    let error = scene.session.open().await.err().expect("no more streams");
    assert!(error.is_link(), "{error}");
}

#[tokio::test]
async fn a_cut_cable_is_noticed_even_while_much_is_being_sent() {
    let scene = scene("").await;
    echo_at_the_agents_socket(&scene.machine);
    let (mut from, mut to) = tokio::io::split(scene.session.open().await.expect("a stream"));
    let sending = tokio::spawn(async move {
        let piece = vec![0; 64 * 1024];
        while to.write_all(&piece).await.is_ok() {}
    });
    let reading = tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
    scene.machine.cut_link().expect("cut");
    tokio::time::timeout(Duration::from_secs(15), scene.session.closed())
        .await
        .expect("noticed");
    sending.await.expect("ends");
    let _ = reading.await.expect("ends");
}

#[tokio::test]
async fn an_idle_link_stays_up() {
    let scene = scene("").await;
    let outcome = tokio::time::timeout(Duration::from_secs(20), scene.session.closed()).await;
    assert!(outcome.is_err(), "it ended: {outcome:?}");
}

#[tokio::test]
async fn a_server_that_is_stopped_ends_the_link() {
    let scene = scene("").await;
    let sessions = std::process::Command::new("pkill")
        .args(["-KILL", "-P", &scene.server.id().to_string()])
        .status()
        .expect("pkill");
    assert!(sessions.success());
    let reason = tokio::time::timeout(Duration::from_secs(5), scene.session.closed())
        .await
        .expect("noticed");
    assert!(
        matches!(reason, CloseReason::Broken(_) | CloseReason::Remote(_)),
        "{reason:?}"
    );
}

#[tokio::test]
async fn closing_ends_the_link_and_its_streams() {
    let scene = scene("").await;
    echo_at_the_agents_socket(&scene.machine);
    let mut stream = scene.session.open().await.expect("a stream");
    scene.session.close().await;
    assert_eq!(scene.session.closed().await, CloseReason::Local);
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_u8()).await;
    assert!(ended.expect("in time").is_err());
}

#[tokio::test]
async fn what_cannot_be_reached_says_so_in_time() {
    let desktop = Desktop::new().expect("a desktop");
    let options = || SshOptions {
        deadlines: api::client::ssh::SshDeadlines {
            connect: Duration::from_secs(2),
            ..Default::default()
        },
        ..desktop.options()
    };
    let name = connect(&Desktop::target("no-such-host.invalid"), &options())
        .await
        .expect_err("no name");
    assert!(matches!(name, SshError::Unreachable { .. }), "{name:?}");

    let machine = Machine::new().expect("a machine");
    let refused = connect(&Desktop::target(machine.address().to_string()), &options())
        .await
        .expect_err("no server");
    assert!(matches!(refused, SshError::Unreachable { .. }), "{refused:?}");

    // A listener that never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = api::client::ssh::SshTarget {
        port: Some(silent.local_addr().expect("an address").port()),
        ..Desktop::target("127.0.0.1")
    };
    let silence = connect(&target, &options()).await.expect_err("no SSH");
    assert!(
        matches!(silence, SshError::DeadlineExceeded { .. }),
        "{silence:?}"
    );
    assert_eq!(silence.to_api().code, api::ErrorCode::TimedOut);
}

#[tokio::test]
async fn a_server_that_allows_no_more_sessions_says_so_and_the_link_lives_on() {
    let scene = scene("AllowStreamLocalForwarding no\nMaxSessions 2").await;
    let program = scene.machine.folder().join("host-runner");
    std::fs::write(&program, "#!/bin/sh\nexec cat\n").expect("a program");
    support::run(std::process::Command::new("chmod").arg("755").arg(&program)).expect("executable");
    scene.machine.install(&program).expect("installed");

    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = scene.session.open().await.expect("a stream");
        stream.write_all(b"x").await.expect("sent");
        assert_eq!(stream.read_u8().await.expect("received"), b'x');
        streams.push(stream);
    }
    let error = scene.session.open().await.err().expect("one too many");
    assert!(error.to_string().contains("MaxSessions"), "{error}");
    assert!(!error.is_link(), "the link is good: {error}");

    // A stream that is dropped makes room.
    streams.pop();
    let again = support::wait_until_async("there is room again", Duration::from_secs(10), async || {
        scene.session.open().await.ok()
    });
    again.await.expect("a stream");
}
