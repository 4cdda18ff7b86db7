use std::io::{Read as _, Write as _};
use std::sync::mpsc::sync_channel;

use super::*;
use crate::driver::{Refusal, RunState};

fn api() -> (Api, std::sync::mpsc::Receiver<Event>) {
    let (events, driver) = sync_channel(4);
    let identity = Identity {
        id: "i".to_owned(),
        vcpus: 2,
        memory_mib: 64,
        version: "1",
    };
    let api = Api {
        identity,
        events,
        listeners: Arc::default(),
        end: Arc::default(),
        leave: |_| {},
    };
    (api, driver)
}

/// What a client that sends this is answered.
fn answer(api: &Api, request: &str) -> String {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(request.as_bytes()).unwrap();
    api.connection(ours).unwrap();
    let mut answer = String::new();
    theirs.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn what_nobody_could_do_never_reaches_the_driver() {
    let (api, driver) = api();
    for (request, status) in [
        ("GET /v1/nothing HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /v1/pause HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        (
            "PUT /v1/balloon HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
            "400 Bad Request",
        ),
        ("nonsense\r\n\r\n", "400 Bad Request"),
    ] {
        let answer = answer(&api, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
    }
    assert!(driver.try_recv().is_err());
}

#[test]
fn a_driver_that_has_too_much_to_do_or_is_gone_is_said_to() {
    let (api, driver) = api();
    for _ in 0..4 {
        api.events.try_send(Event::Reset).unwrap();
    }
    assert!(answer(&api, "GET /v1/machine HTTP/1.1\r\n\r\n").contains("\"busy\""));
    drop(driver);
    assert!(answer(&api, "GET /v1/machine HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_machine_is_killed_whatever_its_driver_is_at_and_only_once() {
    static LEFT: AtomicUsize = AtomicUsize::new(0);
    let (mut api, driver) = api();
    api.leave = |ending| {
        assert_eq!(*ending, Ending::Killed);
        LEFT.fetch_add(1, Ordering::Relaxed);
    };
    for _ in 0..4 {
        api.events.try_send(Event::Reset).unwrap();
    }
    let killed = answer(&api, "POST /v1/kill HTTP/1.1\r\n\r\n");
    assert!(killed.starts_with("HTTP/1.1 200 OK\r\n"), "{killed}");
    assert!(killed.ends_with(r#"{"ending":"killed"}"#), "{killed}");
    let again = answer(&api, "POST /v1/kill HTTP/1.1\r\n\r\n");
    assert!(
        again.starts_with("HTTP/1.1 503 ") && again.contains("\"ended\""),
        "{again}"
    );
    assert_eq!(LEFT.load(Ordering::Relaxed), 1);
    drop(driver);
}

#[test]
fn a_machine_that_ends_by_itself_is_not_said_to_have_been_killed() {
    let (mut api, _driver) = api();
    api.leave = |_| panic!("another thread ends the process");
    api.end.write(&Ending::PoweredOff).unwrap();
    let refused = answer(&api, "POST /v1/kill HTTP/1.1\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
}

fn doing(state: RunState, full_disk: Option<&str>) -> Answer {
    let full_disk = full_disk.map(str::to_owned);
    Answer::State(Doing { state, full_disk })
}

#[test]
fn what_the_driver_answers_is_passed_on() {
    let (api, driver) = api();
    let drive = thread::spawn(move || {
        while let Ok(Event::Request(asked)) = driver.recv() {
            let (command, reply) = asked.begin().unwrap();
            let answer = match command {
                Command::State => Ok(doing(RunState::Running, None)),
                Command::Pause => Ok(doing(RunState::Paused, Some("disk"))),
                _ => Err(Refusal::NoBalloon),
            };
            reply.send(answer).unwrap();
        }
    });
    let machine = answer(&api, "GET /v1/machine HTTP/1.1\r\n\r\n");
    let expected = r#"{"id":"i","vcpus":2,"memory_mib":64,"version":"1","state":"running"}"#;
    assert!(machine.ends_with(expected), "{machine}");
    let paused = answer(&api, "POST /v1/pause HTTP/1.1\r\n\r\n");
    assert!(
        paused.ends_with(r#"{"state":"paused","full_disk":"disk"}"#),
        "{paused}"
    );
    let body = r#"{"size_mib":1}"#;
    let balloon = format!(
        "PUT /v1/balloon HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let refused = answer(&api, &balloon);
    assert!(refused.starts_with("HTTP/1.1 409 Conflict\r\n") && refused.contains("no_balloon"));
    drop(api);
    drive.join().unwrap();
}

#[test]
fn who_listens_hears_what_the_machine_does_and_then_what_happens() {
    let (api, driver) = api();
    let listeners = Arc::clone(&api.listeners);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"GET /v1/events HTTP/1.1\r\n\r\n").unwrap();
    let connection = thread::spawn(move || api.connection(ours));
    let Ok(Event::Request(asked)) = driver.recv() else {
        panic!("it asks for the state first");
    };
    let (command, reply) = asked.begin().unwrap();
    assert_eq!(command, Command::State);
    // Told before the answer: it listens already, and hears it after the state.
    listeners.tell(&Happening::Resumed);
    reply.send(Ok(doing(RunState::Paused, None))).unwrap();
    let expected = "\r\n\r\n{\"event\":\"listening\",\"state\":\"paused\"}\n{\"event\":\"resumed\"}\n";
    let mut heard = String::new();
    let mut byte = [0];
    while !heard.ends_with(expected) {
        assert_eq!(theirs.read(&mut byte).unwrap(), 1, "it went on: {heard}");
        heard.push(char::from(byte[0]));
    }
    assert!(heard.starts_with("HTTP/1.1 200 OK\r\n"), "{heard}");
    // Who is gone is noticed with the next that happens.
    drop(theirs);
    listeners.tell(&Happening::Paused);
    assert!(connection.join().unwrap().is_err());
}

#[test]
fn more_than_a_few_do_not_listen() {
    let (api, _driver) = api();
    let _all: Vec<_> = std::iter::from_fn(|| api.listeners.listen()).collect();
    assert!(answer(&api, "GET /v1/events HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
}

#[test]
fn only_what_ends_the_socket_ends_the_service() {
    let momentary = [
        libc::EINTR,
        libc::ECONNABORTED,
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
    ];
    for errno in momentary {
        assert!(is_momentary(&io::Error::from_raw_os_error(errno)), "{errno}");
    }
    assert!(!is_momentary(&io::Error::from_raw_os_error(libc::EBADF)));
}
