//! Admission is atomic: whatever races, the machine never promises more than it has.

use api::{EngineRequest, ErrorCode, HostUsage, Instance, Mib};
use hyper::StatusCode;
use uuid::Uuid;

use crate::support::{Agent, Options, tiny};

/// Two clients want the last memory at the same moment, 200 times.
#[tokio::test]
async fn of_two_creates_that_race_for_the_last_memory_one_wins() {
    let agent = Agent::start(Options {
        offer_memory: Some(200),
        ..Options::with_tiny()
    })
    .await;
    for round in 0..200 {
        let ids = [Uuid::now_v7(), Uuid::now_v7()];
        let bodies = [tiny(&format!("left-{round}")), tiny(&format!("right-{round}"))];
        let (left, right) = tokio::join!(agent.create(ids[0], &bodies[0]), agent.create(ids[1], &bodies[1]));
        let usage: HostUsage = agent.get("/v1/usage").await;
        assert_eq!(usage.memory_promised_mib, Mib(128), "round {round}");
        assert_eq!(usage.memory_free_mib, Mib(72), "round {round}");
        let (winner, loser, id) = if left.status.is_success() {
            (left, right, ids[0])
        } else {
            (right, left, ids[1])
        };
        winner.expect::<Instance>(StatusCode::CREATED);
        let error = loser.refused(StatusCode::CONFLICT, ErrorCode::InsufficientMemory);
        assert_eq!(error.details["needed_mib"], 128.into());
        assert_eq!(error.details["free_mib"], 72.into());
        // The guest is removed in whatever moment of its launch it is.
        agent.delete(id).await.expect::<Instance>(StatusCode::ACCEPTED);
        agent.until_gone(id).await;
    }
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn of_two_starts_that_race_for_the_last_memory_one_wins() {
    let agent = Agent::start(Options {
        offer_memory: Some(200),
        ..Options::with_tiny()
    })
    .await;
    let ids = [Uuid::now_v7(), Uuid::now_v7()];
    for (number, id) in ids.iter().enumerate() {
        let mut body = tiny(&format!("tiny-{number}"));
        body.start = false;
        agent
            .create(*id, &body)
            .await
            .expect::<Instance>(StatusCode::CREATED);
    }
    let (left, right) = tokio::join!(agent.post(ids[0], "start", ""), agent.post(ids[1], "start", ""));
    let mut statuses = [left.status, right.status];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::ACCEPTED, StatusCode::CONFLICT]);
}

#[tokio::test]
async fn a_delete_that_races_with_its_create_leaves_nothing() {
    let agent = Agent::start(Options::with_tiny()).await;
    for round in 0..50 {
        let id = Uuid::now_v7();
        let body = tiny(&format!("short-{round}"));
        let (created, deleted) = tokio::join!(agent.create(id, &body), agent.delete(id));
        created.expect::<Instance>(StatusCode::CREATED);
        if !deleted.status.is_success() {
            deleted.refused(StatusCode::NOT_FOUND, ErrorCode::InstanceNotFound);
            agent.delete(id).await.expect::<Instance>(StatusCode::ACCEPTED);
        }
        agent.until_gone(id).await;
    }
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn repeats_change_nothing_and_generations_fence() {
    let agent = Agent::start(Options::with_tiny()).await;
    let id = Uuid::now_v7();
    let mut body = tiny("tiny-1");
    body.start = false;
    body.generation = 2;
    let first: Instance = agent.create(id, &body).await.expect(StatusCode::CREATED);
    let again: Instance = agent.create(id, &body).await.expect(StatusCode::OK);
    assert_eq!((first.id, first.created_at), (again.id, again.created_at));

    let mut older = body.clone();
    older.generation = 1;
    let error = agent
        .create(id, &older)
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::StaleGeneration);
    assert_eq!(
        (&error.details["held"], &error.details["given"]),
        (&2.into(), &1.into())
    );

    let mut other = body.clone();
    other.spec.vcpus = 2;
    agent
        .create(id, &other)
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::ConflictingSpec);

    other.generation = 3;
    let newer: Instance = agent.create(id, &other).await.expect(StatusCode::OK);
    assert_eq!((newer.generation, newer.spec.vcpus), (3, 2));

    agent
        .create(Uuid::now_v7(), &body)
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::NameTaken);
}

#[tokio::test]
async fn wishes_about_the_place_are_kept_and_may_change_while_it_runs() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    let id = Uuid::now_v7();
    let mut body = tiny("tiny-1");
    body.spec.placement.group = Some("web".into());
    agent
        .create(id, &body)
        .await
        .expect::<Instance>(StatusCode::CREATED);
    body.generation = 2;
    body.spec.placement.priority = 5;
    let renewed: Instance = agent.create(id, &body).await.expect(StatusCode::OK);
    assert_eq!(renewed.spec.placement, body.spec.placement);

    let mut larger = body.clone();
    larger.generation = 3;
    larger.spec.memory_mib = Mib(256);
    agent
        .create(id, &larger)
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::WrongState);

    agent.sigterm().await;
    agent.launch().await;
    assert_eq!(agent.instance(id).await.spec.placement, body.spec.placement);
}

#[tokio::test]
async fn an_engine_that_cannot_run_here_is_refused_with_what_is_missing_and_the_remedy() {
    let agent = Agent::start(Options::with_tiny()).await;
    let facts: api::HostFacts = agent.get("/v1/host").await;
    if facts.engines.contains(&api::EngineKind::Microvm) {
        // Here it can.
        return;
    }
    let mut body = tiny("micro");
    body.spec.engine = EngineRequest::Microvm;
    let answer = agent.create(Uuid::now_v7(), &body).await;
    let error = answer.refused(StatusCode::CONFLICT, ErrorCode::NoEngine);
    assert!(
        error
            .message
            .starts_with("the microVM monitor cannot run it here: "),
        "{error}"
    );
    if !facts.hardware_virtualization.available {
        assert!(
            error.message.contains(&facts.hardware_virtualization.reason),
            "{error}"
        );
    }
    assert!(error.details.contains_key("remedy"), "{error:?}");

    // QEMU could run this one, but not as it is wanted.
    body.spec.engine = EngineRequest::Auto;
    body.spec.network_limit.mbit_per_second = Some(100);
    let answer = agent.create(Uuid::now_v7(), &body).await;
    let error = answer.refused(StatusCode::CONFLICT, ErrorCode::NoEngine);
    assert!(
        error
            .message
            .ends_with("; and QEMU cannot limit an instance's network"),
        "{error}"
    );
    assert!(error.details.contains_key("remedy"), "{error:?}");
    agent.assert_nothing_is_left().await;
}
