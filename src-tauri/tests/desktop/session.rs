//! The session's state machine, driven by hand and at random.

use std::time::Duration;

use api::client::Backoff;
use api::{ApiError, ErrorCode, Timestamp};
use millpond::contract::Link;
use millpond::machines::{Input, Next, Phase, Session};
use proptest::prelude::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_000_000 + ms).expect("a time")
}

fn down(needs_a_person: bool) -> Input {
    Input::Down {
        error: ApiError::new(ErrorCode::Unreachable, "no route"),
        needs_a_person,
    }
}

fn session() -> Session {
    Session::new(Backoff::default())
}

#[test]
fn a_machine_that_cannot_be_reached_is_tried_again_after_ever_longer_waits() {
    let mut session = session();
    let mut now = 0;
    let mut waits = Vec::new();
    for _ in 0..7 {
        let Next::Wait(wait) = session.step(down(false), at(now), 1.0) else {
            panic!("it waits")
        };
        waits.push(wait.as_secs());
        now += i64::try_from(wait.as_millis()).expect("short");
        assert_eq!(session.step(Input::RetryDue, at(now), 1.0), Next::Dial);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
}

#[test]
fn the_window_sees_since_when_why_and_when_again_while_retries_go_on() {
    let mut session = session();
    session.step(down(false), at(0), 1.0);
    session.step(Input::RetryDue, at(1000), 1.0);
    assert!(
        matches!(session.link(), Link::Unreachable { since, .. } if since == at(0)),
        "a retry does not flicker"
    );
    session.step(down(false), at(1500), 1.0);
    let Link::Unreachable {
        since,
        retry_at,
        error,
    } = session.link()
    else {
        panic!("unreachable")
    };
    assert_eq!((since, retry_at), (at(0), at(3500)));
    assert_eq!(error.code, ErrorCode::Unreachable);
}

#[test]
fn a_link_that_held_starts_the_waits_anew_and_one_that_flaps_does_not() {
    let mut session = session();
    for _ in 0..4 {
        session.step(down(false), at(0), 1.0);
        session.step(Input::RetryDue, at(0), 1.0);
    }
    session.step(Input::Up, at(0), 0.0);
    assert_eq!(
        session.step(down(false), at(500), 1.0),
        Next::Wait(Duration::from_secs(16))
    );
    session.step(Input::RetryDue, at(0), 1.0);
    session.step(Input::Up, at(0), 0.0);
    assert_eq!(
        session.step(down(false), at(10_000), 1.0),
        Next::Wait(Duration::from_secs(1))
    );
}

#[test]
fn what_needs_a_person_is_not_tried_again_until_somebody_asks() {
    let mut session = session();
    assert_eq!(session.step(down(true), at(0), 0.0), Next::WaitForPerson);
    assert!(matches!(session.link(), Link::Refused { .. }));
    assert_eq!(
        session.step(Input::RetryDue, at(0), 0.0),
        Next::WaitForPerson,
        "a late timer changes nothing"
    );
    assert_eq!(session.step(Input::Asked, at(0), 0.0), Next::Dial);
    assert_eq!(session.link(), Link::Connecting);
}

#[test]
fn who_asks_does_not_wait_and_who_is_connected_is_left_alone() {
    let mut session = session();
    session.step(down(false), at(0), 1.0);
    assert_eq!(session.step(Input::Asked, at(10), 1.0), Next::Dial);
    session.step(Input::Up, at(20), 1.0);
    assert_eq!(session.step(Input::Asked, at(30), 1.0), Next::Follow);
    assert_eq!(session.link(), Link::Connected { since: at(20) });
}

fn inputs() -> impl Strategy<Value = Vec<(u8, bool, u32, f64)>> {
    prop::collection::vec((0..4_u8, any::<bool>(), 0..60_000_u32, 0.0..1.0), 0..80)
}

proptest! {
    #[test]
    fn whatever_happens_it_dials_only_when_due_or_asked_and_never_waits_longer_than_the_cap(inputs in inputs()) {
        let mut session = session();
        let mut now = 0_i64;
        for (kind, person, passed, unit) in inputs {
            now += i64::from(passed);
            let before = session.phase().clone();
            let input = match kind {
                // What cannot happen in a phase is not tried: a link comes up only from a dial, and breaks only where there is one.
                0 if matches!(before, Phase::Connecting | Phase::Retrying { .. }) => Input::Up,
                1 if !matches!(before, Phase::Waiting { .. } | Phase::Refused { .. }) => down(person),
                2 => Input::RetryDue,
                _ => Input::Asked,
            };
            let next = session.step(input.clone(), at(now), unit);
            match (session.phase(), next) {
                (Phase::Connecting | Phase::Retrying { .. }, Next::Dial)
                | (Phase::Connected { .. }, Next::Follow)
                | (Phase::Refused { .. }, Next::WaitForPerson) => {}
                (Phase::Waiting { .. }, Next::Wait(wait)) => prop_assert!(wait <= Duration::from_secs(30)),
                other => prop_assert!(false, "{:?}", other),
            }
            if matches!(before, Phase::Refused { .. }) {
                prop_assert!(input == Input::Asked || session.phase() == &before, "no retry storm: {input:?}");
            }
            if let Link::Unreachable { since, retry_at, .. } = session.link() {
                prop_assert!(since <= at(now));
                prop_assert!(retry_at >= since);
            }
        }
    }
}
