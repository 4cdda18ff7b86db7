//! Guests that the engine holds of its own accord: people see why, and what can go on does.

use api::{ErrorCode, Instance, Mib, RunState};
use hyper::StatusCode;
use uuid::Uuid;

use crate::console::Console;
use crate::full_disk::{agent_on_a_small_disk, fill};
use crate::support::tiny;

#[tokio::test]
async fn a_guest_that_meets_a_full_disk_says_why_it_is_held_and_goes_on_when_there_is_room() {
    let (agent, state) = agent_on_a_small_disk().await;
    let id = Uuid::now_v7();
    let mut body = tiny("held");
    body.spec.disk_mib = Mib(24);
    agent
        .create(id, &body)
        .await
        .expect::<Instance>(StatusCode::CREATED);
    agent.until_ready(id).await;
    let mut console = Console::at_the_shell(&agent, id).await;
    let ballast = state.join("ballast");
    fill(&ballast);
    console
        .type_in("dd if=/dev/urandom of=/data/big bs=64k count=128 && sync && echo wri''tten\n")
        .await;
    let held = agent.until_state(id, RunState::Paused).await;
    let failure = held.failure.unwrap();
    assert_eq!(failure.code, ErrorCode::DiskFull);
    assert!(
        failure.message.contains("once there is room"),
        "{}",
        failure.message
    );

    std::fs::remove_file(&ballast).unwrap();
    let running = agent.until_state(id, RunState::Running).await;
    assert_eq!(running.failure, None);
    console.until("written").await;
}
