//! Control groups: what a guest's processes may have, on whatever version of them this machine has.

use std::path::{Path, PathBuf};

use api::{Capability, CapabilityState, Instance, Mib, RunState, StopInstance};
use hyper::StatusCode;
use uuid::Uuid;

use crate::console::Console;
use crate::support::{Agent, Options, SOON, eventually, groups_of, guest_pid, tiny};

/// The first of these files that one of the guest's groups has.
fn file(id: Uuid, names: &[&str]) -> PathBuf {
    let groups = groups_of(&id.to_string());
    let mut files = groups
        .iter()
        .flat_map(|group| names.iter().map(move |name| group.join(name)));
    files
        .find(|file| file.exists())
        .unwrap_or_else(|| panic!("none of {names:?} in {groups:?}"))
}

fn number(file: &Path) -> u64 {
    std::fs::read_to_string(file).unwrap().trim().parse().unwrap()
}

const LIMIT: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];

/// Whether this machine lets the agent make groups; `doctor` is asked, and tests elsewhere say what follows where it does not.
async fn are_there(agent: &Agent) -> bool {
    let findings: Vec<Capability> = agent.get::<api::HostFacts>("/v1/host").await.capabilities;
    let limits = findings.iter().find(|found| found.name == "limits").unwrap();
    assert_eq!(
        limits.state == CapabilityState::Ok,
        limits.remedy.is_none(),
        "{limits:?}"
    );
    limits.state == CapabilityState::Ok
}

#[tokio::test]
async fn a_guest_is_in_a_group_of_its_own_from_its_start_to_its_end_whatever_becomes_of_the_agent() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    if !are_there(&agent).await {
        return;
    }
    let id = agent.boot("limited").await.id;
    let pid = guest_pid(id).unwrap().to_string();
    for group in groups_of(&id.to_string()) {
        let processes = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
        assert!(
            processes.lines().any(|line| line == pid),
            "{}: {processes}",
            group.display()
        );
    }
    let limit = number(&file(id, &LIMIT));
    let memory = agent.instance(id).await.spec.memory_mib;
    assert!(
        limit > memory.bytes() && limit < Mib(memory.0 + 512).bytes(),
        "{limit}"
    );
    assert_eq!(number(&file(id, &["pids.max"])), 513);
    let processors = std::fs::read_to_string(file(id, &["cpu.max", "cpu.cfs_quota_us"])).unwrap();
    assert!(processors.starts_with("200000"), "its own and one: {processors}");

    agent.sigkill();
    agent.launch().await;
    agent.until_state(id, RunState::Running).await;
    agent
        .stop(
            id,
            &StopInstance {
                mode: api::StopMode::Force,
                ..StopInstance::graceful()
            },
        )
        .await;
    eventually("its groups are gone", SOON, async || {
        groups_of(&id.to_string()).is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_guest_that_takes_more_memory_than_its_group_may_have_failed_for_that() {
    let agent = Agent::start(Options::with_tiny()).await;
    if !are_there(&agent).await {
        return;
    }
    let id = Uuid::now_v7();
    let mut body = tiny("greedy");
    body.spec.memory_mib = Mib(256);
    agent
        .create(id, &body)
        .await
        .expect::<Instance>(StatusCode::CREATED);
    agent.until_ready(id).await;
    let mut console = Console::at_the_shell(&agent, id).await;
    // The engine is sound, so its limit has to come to it: the next few MiB that the guest fills are one too many.
    let limit = file(id, &LIMIT);
    let used = number(&file(id, &["memory.current", "memory.usage_in_bytes"]));
    std::fs::write(&limit, (used + (4 << 20)).to_string()).unwrap();
    console
        .type_in(
            "mkdir /fill; mount -t tmpfs -o size=200m none /fill; dd if=/dev/urandom of=/fill/all bs=1M\n",
        )
        .await;
    let failed = agent.until_state(id, RunState::Failed).await;
    let failure = failed.failure.unwrap();
    assert!(
        failure
            .message
            .contains("more memory than its control group may have"),
        "{failure:?}"
    );
    eventually("its groups are gone", SOON, async || {
        groups_of(&id.to_string()).is_empty().then_some(())
    })
    .await;
    // The next one has its own limit again.
    agent.start_again(id).await;
    agent.until_ready(id).await;
    assert!(number(&file(id, &LIMIT)) > Mib(256).bytes());
}
