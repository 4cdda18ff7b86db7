//! What the ledger and the folders hold is not trusted: a bad row, a stray folder and a half-made disk each get their own answer.

use api::{ErrorCode, HostUsage, Instance, Mib, RunState};
use hyper::StatusCode;
use uuid::Uuid;

use crate::support::{Agent, Options, eventually, guest_pid, tiny};

async fn lying_still(agent: &Agent, name: &str) -> Uuid {
    let id = agent.create_stopped(name).await;
    agent.until_state(id, RunState::Stopped).await;
    id
}

/// Changes a row of an agent that is not running, as a defect or an editor might.
async fn change_row(agent: &Agent, id: Uuid, assignment: &str) {
    use sqlx::Connection as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(agent.state_dir().join("ledger.sqlite"));
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let statement = format!("UPDATE instances SET {assignment} WHERE id = ?");
    let done = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(id.to_string())
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 1);
    connection.close().await.unwrap();
}

#[tokio::test]
async fn one_bad_row_is_set_aside_by_name_and_the_others_work_on() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    let bad = lying_still(&agent, "bad").await;
    let good = lying_still(&agent, "good").await;
    for assignment in [
        "status = '{}'",
        "created_at_ms = 9223372036854775807",
        "spec = json_set(spec, '$.image', '../../etc')",
        "spec = json_set(spec, '$.memory_mib', 1)",
        "spec = '[]'",
    ] {
        agent.sigterm().await;
        change_row(&agent, bad, assignment).await;
        agent.launch().await;
        let instances: Vec<Instance> = agent.get("/v1/instances").await;
        let ids: Vec<Uuid> = instances.iter().map(|instance| instance.id).collect();
        assert_eq!(ids, [good], "{assignment}");
        let log = agent.log();
        assert!(
            log.contains(&bad.to_string()) && log.contains("ledger.sqlite") && log.contains("remedy"),
            "{log}"
        );
    }
    // It still has its name, its id and its files.
    agent
        .create(Uuid::now_v7(), &tiny("bad"))
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::NameTaken);
    agent
        .create(bad, &tiny("other"))
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::ConflictingSpec);
    assert!(agent.state_dir().join("instances").join(bad.to_string()).exists());
}

#[tokio::test]
async fn the_guest_of_a_bad_row_holds_its_memory_as_long_as_it_lives() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    let instance = agent.boot("unknown").await;
    agent.sigterm().await;
    change_row(&agent, instance.id, "status = '{}'").await;
    agent.launch().await;
    let promised = async || agent.get::<HostUsage>("/v1/usage").await.memory_promised_mib;
    assert!(promised().await >= Mib(128), "{:?}", promised().await);
    let pid = guest_pid(instance.id).unwrap();
    crate::support::signal(pid, rustix::process::Signal::KILL);
    eventually("the memory is free", crate::support::SOON, async || {
        (promised().await == Mib::ZERO).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_folder_that_no_instance_belongs_to_is_not_adopted() {
    let agent = Agent::start(Options::with_tiny()).await;
    let id = Uuid::now_v7();
    let stray = agent.state_dir().join("instances").join(id.to_string());
    std::fs::create_dir(&stray).unwrap();
    std::fs::write(stray.join("disk.raw"), "precious").unwrap();
    let mut body = tiny("tiny-1");
    body.spec.disk_mib = Mib(1);
    let error = agent
        .create(id, &body)
        .await
        .refused(StatusCode::CONFLICT, ErrorCode::ConflictingSpec);
    assert!(error.details.contains_key("path"), "{error:?}");
    assert_eq!(std::fs::read(stray.join("disk.raw")).unwrap(), b"precious");
    let instances: Vec<Instance> = agent.get("/v1/instances").await;
    assert!(instances.is_empty(), "{instances:?}");
}

#[tokio::test]
async fn a_disk_that_has_lost_its_length_is_not_booted_from() {
    let agent = Agent::start(Options::with_tiny()).await;
    let id = Uuid::now_v7();
    let mut body = tiny("tiny-1");
    body.start = false;
    body.spec.disk_mib = Mib(1);
    agent
        .create(id, &body)
        .await
        .expect::<Instance>(StatusCode::CREATED);
    agent.until_state(id, RunState::Stopped).await;
    let disk = agent
        .state_dir()
        .join("instances")
        .join(id.to_string())
        .join("disk.raw");
    std::fs::write(&disk, "").unwrap();
    agent.start_again(id).await;
    let failed = agent.until_state(id, RunState::Failed).await;
    assert!(failed.failure.unwrap().message.contains("disk.raw"));
}

#[tokio::test]
async fn a_start_is_held_to_the_least_memory_of_the_image() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    let id = lying_still(&agent, "thin").await;
    agent.sigterm().await;
    change_row(&agent, id, "spec = json_set(spec, '$.memory_mib', 16)").await;
    agent.launch().await;
    let error = agent
        .post(id, "start", "")
        .await
        .refused(StatusCode::UNPROCESSABLE_ENTITY, ErrorCode::OutOfRange);
    assert_eq!(error.details["field"], "memory_mib".into());
    assert!(!agent.instance(id).await.wanted_running);
}
