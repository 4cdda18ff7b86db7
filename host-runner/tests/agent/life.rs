//! Lives of real guests: booted, stopped, restarted, adopted, and seen to die.

use api::{ErrorCode, Instance, Mib, RunState, StopInstance};
use hyper::StatusCode;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use crate::console::Console;
use crate::support::{Agent, BOOT, Options, SOON, eventually, guest_pid, guest_pids, signal, tiny};

/// The page that Tiny Linux serves, as soon as its network is up.
async fn page(port: u16) -> String {
    eventually("the guest's page", BOOT, async || {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.ok()?;
        let mut text = String::new();
        let read = stream.read_to_string(&mut text);
        tokio::time::timeout(SOON, read).await.ok()?.ok()?;
        text.contains("200 OK").then_some(text)
    })
    .await
}

#[tokio::test]
async fn a_guest_boots_serves_its_page_stops_gracefully_and_is_deleted() {
    let agent = Agent::start(Options::with_tiny()).await;
    let id = Uuid::now_v7();
    let mut body = tiny("whole-life");
    body.spec.disk_mib = Mib(64);
    agent
        .create(id, &body)
        .await
        .expect::<Instance>(StatusCode::CREATED);
    let ready = agent.until_ready(id).await;
    assert_eq!(ready.state, RunState::Running);
    assert!(ready.boot_ms.is_some_and(|ms| ms > 0), "{ready:?}");
    assert!(ready.engine.is_some() && ready.started_at.is_some());
    assert!(page(ready.ports[0].host).await.contains("whole-life"));
    eventually("a sample of the guest", SOON, async || {
        agent.instance(id).await.usage
    })
    .await;

    let told: Instance = agent
        .post(id, "stop", r#"{"mode":"graceful"}"#)
        .await
        .expect(StatusCode::ACCEPTED);
    assert_eq!((told.state, told.wanted_running), (RunState::Stopping, false));
    let stopped = agent.until_state(id, RunState::Stopped).await;
    assert!(!stopped.wanted_running && stopped.failure.is_none() && stopped.ports.is_empty());
    assert_eq!(guest_pid(id), None);
    // A stop of what is stopped, and a start of what is deleted.
    agent
        .post(id, "stop", r#"{"mode":"graceful"}"#)
        .await
        .expect::<Instance>(StatusCode::ACCEPTED);
    assert_eq!(agent.instance(id).await.state, RunState::Stopped);

    agent.delete(id).await.expect::<Instance>(StatusCode::ACCEPTED);
    agent.until_gone(id).await;
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn the_agent_killed_and_started_again_finds_its_guest() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    let before = agent.boot("survivor").await;
    let pid = guest_pid(before.id).unwrap();
    agent.sigkill();
    assert_eq!(guest_pid(before.id), Some(pid), "the guest outlives the agent");
    agent.launch().await;
    let after = agent.until_ready(before.id).await;
    assert_eq!(guest_pid(before.id), Some(pid), "the same process");
    assert_eq!(
        (after.started_at, after.boot_ms, &after.ports),
        (before.started_at, before.boot_ms, &before.ports)
    );
    let mut console = Console::at_the_shell(&agent, before.id).await;
    assert!(console.run("hostname").await.contains("survivor"));
    // And it still obeys.
    agent.stop(before.id, &StopInstance::graceful()).await;
}

/// The agent is killed at many moments of a launch; whatever it had done by then, the next one ends with one guest, not two.
#[tokio::test]
async fn killed_in_the_middle_of_a_launch_the_agent_ends_with_one_guest() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    for delay_ms in [0, 1, 2, 4, 6, 8, 10, 15, 20, 30, 40, 60, 80, 120] {
        let id = Uuid::now_v7();
        let mut body = tiny(&format!("launch-{delay_ms}"));
        body.start = false;
        agent
            .create(id, &body)
            .await
            .expect::<Instance>(StatusCode::CREATED);
        agent.start_again(id).await;
        tokio::time::sleep(std::time::Duration::from_millis(delay_ms)).await;
        agent.sigkill();
        agent.launch().await;
        let running = eventually("a guest", BOOT, async || {
            let instance = agent.instance(id).await;
            assert_ne!(
                instance.state,
                RunState::Failed,
                "after {delay_ms} ms: {:?}",
                instance.failure
            );
            (instance.state == RunState::Running && instance.started_at.is_some()).then_some(instance)
        })
        .await;
        assert_eq!(guest_pids(running.id).len(), 1, "after {delay_ms} ms");
        agent.delete(id).await.expect::<Instance>(StatusCode::ACCEPTED);
        agent.until_gone(id).await;
        assert_eq!(guest_pids(running.id).len(), 0, "after {delay_ms} ms");
    }
}

/// The same for a stop and for a delete: what was answered with "accepted" is done by whichever agent comes next.
#[tokio::test]
async fn killed_in_the_middle_of_a_stop_or_a_delete_the_agent_finishes_it() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    for delay_ms in [0, 1, 2, 4, 8, 15] {
        let id = Uuid::now_v7();
        agent
            .create(id, &tiny(&format!("end-{delay_ms}")))
            .await
            .expect::<Instance>(StatusCode::CREATED);
        agent.until_state(id, RunState::Running).await;
        agent
            .post(id, "stop", r#"{"mode":"force"}"#)
            .await
            .expect::<Instance>(StatusCode::ACCEPTED);
        tokio::time::sleep(std::time::Duration::from_millis(delay_ms)).await;
        agent.sigkill();
        agent.launch().await;
        let stopped = agent.until_state(id, RunState::Stopped).await;
        assert!(stopped.failure.is_none() && !stopped.wanted_running);
        agent.delete(id).await.expect::<Instance>(StatusCode::ACCEPTED);
        tokio::time::sleep(std::time::Duration::from_millis(delay_ms)).await;
        agent.sigkill();
        agent.launch().await;
        agent.until_gone(id).await;
        agent.assert_nothing_is_left().await;
    }
}

#[tokio::test]
async fn an_orderly_end_of_the_agent_leaves_guests_running() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    let instance = agent.boot("stays").await;
    let pid = guest_pid(instance.id);
    agent.sigterm().await;
    assert!(!agent.socket().exists(), "the socket is gone with the agent");
    assert_eq!(guest_pid(instance.id), pid);
    agent.launch().await;
    assert_eq!(
        agent.until_state(instance.id, RunState::Running).await.id,
        instance.id
    );
}

#[tokio::test]
async fn a_killed_engine_is_a_failure_with_a_reason_and_can_be_started_again() {
    let agent = Agent::start(Options::with_tiny()).await;
    let instance = agent.boot("victim").await;
    signal(guest_pid(instance.id).unwrap(), Signal::KILL);
    let failed = agent.until_state(instance.id, RunState::Failed).await;
    let failure = failed.failure.unwrap();
    assert_eq!(failure.code, ErrorCode::EngineFailed);
    assert!(failure.message.contains("SIGKILL"), "{}", failure.message);
    assert!(!failed.wanted_running && failed.ports.is_empty());
    agent.start_again(instance.id).await;
    let again = agent.until_ready(instance.id).await;
    assert!(again.failure.is_none());
}

#[tokio::test]
async fn an_engine_that_does_not_start_is_a_failure_with_its_last_words() {
    let agent = Agent::start(Options {
        qemu: Some(
            "#!/bin/sh\ncase \"$*\" in *-uuid*) echo 'boom: no such device' >&2; exit 3;; esac\nexec /usr/bin/qemu-system-x86_64 \"$@\"\n",
        ),
        ..Options::with_tiny()
    })
    .await;
    let id = Uuid::now_v7();
    agent
        .create(id, &tiny("stillborn"))
        .await
        .expect::<Instance>(StatusCode::CREATED);
    let failed = agent.until_state(id, RunState::Failed).await;
    let failure = failed.failure.unwrap();
    assert_eq!(failure.code, ErrorCode::EngineFailed);
    assert!(failure.message.contains("exit code 3"), "{}", failure.message);
    assert!(
        failure.message.contains("boom: no such device"),
        "{}",
        failure.message
    );
    assert_eq!(failure.log, "boom: no such device");
    let usage: api::HostUsage = agent.get("/v1/usage").await;
    assert_eq!(
        usage.memory_promised_mib,
        Mib::ZERO,
        "a failed start holds no memory"
    );
}

#[tokio::test]
async fn an_engine_that_takes_its_time_to_start_is_waited_for() {
    // As on a slow machine: it has its control socket, and says nothing there for longer than a command may take.
    let agent = Agent::start(Options {
        qemu: Some(
            "#!/bin/sh\ncase \"$*\" in *-uuid*) (until [ -S qmp.sock ]; do sleep 0.01; done; kill -STOP $$; sleep 4; kill -CONT $$) & ;; esac\nexec /usr/bin/qemu-system-x86_64 \"$@\"\n",
        ),
        ..Options::with_tiny()
    })
    .await;
    let instance = agent.boot("slow-to-start").await;
    assert_eq!(instance.state, RunState::Running);
    assert!(instance.failure.is_none());
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_left_alone_and_can_still_be_stopped() {
    let agent = Agent::start(Options::with_tiny()).await;
    let instance = agent.boot("mute").await;
    let pid = guest_pid(instance.id).unwrap();
    signal(pid, Signal::STOP);
    agent
        .post(instance.id, "stop", r#"{"mode":"graceful","deadline_ms":1000}"#)
        .await
        .expect::<Instance>(StatusCode::ACCEPTED);
    let stopped = agent.until_state(instance.id, RunState::Stopped).await;
    assert!(stopped.failure.is_none());
    assert_eq!(guest_pid(instance.id), None);
}

#[tokio::test]
async fn an_engine_killed_while_the_agent_was_away_is_a_failure_too() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    let instance = agent.boot("alone").await;
    agent.sigkill();
    signal(guest_pid(instance.id).unwrap(), Signal::KILL);
    agent.launch().await;
    let failed = agent.until_state(instance.id, RunState::Failed).await;
    assert_eq!(failed.failure.unwrap().code, ErrorCode::EngineFailed);
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_is_stopped_and_stays_so() {
    let agent = Agent::start(Options::with_tiny()).await;
    let instance = agent.boot("tired").await;
    let mut console = Console::at_the_shell(&agent, instance.id).await;
    console.type_in("poweroff\n").await;
    console.until_end().await;
    let stopped = agent.until_state(instance.id, RunState::Stopped).await;
    assert!(!stopped.wanted_running && stopped.failure.is_none());
}

#[tokio::test]
async fn a_guest_that_powered_itself_off_while_the_agent_was_away_is_no_failure() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    let instance = agent.boot("discreet").await;
    let mut console = Console::at_the_shell(&agent, instance.id).await;
    console.type_in("(sleep 2; poweroff) & echo dis''owned\n").await;
    console.until("disowned").await;
    agent.sigkill();
    let stderr = agent
        .runtime_dir()
        .join("instances")
        .join(instance.id.to_string());
    eventually("the guest is off", BOOT, async || {
        paused_by_power_off(&stderr).await.then_some(())
    })
    .await;
    agent.launch().await;
    let stopped = agent.until_state(instance.id, RunState::Stopped).await;
    assert!(!stopped.wanted_running && stopped.failure.is_none());
}

/// Asks QEMU itself, as nobody else is there to.
async fn paused_by_power_off(folder: &std::path::Path) -> bool {
    let ask = async {
        let mut stream = tokio::net::UnixStream::connect(folder.join("qmp.sock")).await?;
        stream
            .write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"query-status\"}\n")
            .await?;
        let mut text = Vec::new();
        while !text.ends_with(b"\n") || !String::from_utf8_lossy(&text).contains("\"status\"") {
            if stream.read_buf(&mut text).await? == 0 {
                break;
            }
        }
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&text).into_owned())
    };
    ask.await.is_ok_and(|text| text.contains("\"shutdown\""))
}

#[tokio::test]
async fn a_restart_is_a_new_guest_and_a_forced_stop_is_quick() {
    let agent = Agent::start(Options::with_tiny()).await;
    let first = agent.boot("twice").await;
    let pid = guest_pid(first.id).unwrap();
    agent
        .post(first.id, "restart", r#"{"mode":"force"}"#)
        .await
        .expect::<Instance>(StatusCode::ACCEPTED);
    eventually("another guest", BOOT, async || {
        guest_pid(first.id).filter(|now| *now != pid)
    })
    .await;
    let second = agent.until_ready(first.id).await;
    assert!(second.started_at > first.started_at);
    agent
        .post(first.id, "stop", r#"{"mode":"force"}"#)
        .await
        .expect::<Instance>(StatusCode::ACCEPTED);
    let stopped = agent.until_state(first.id, RunState::Stopped).await;
    assert!(stopped.failure.is_none());
}

#[tokio::test]
async fn a_fixed_port_that_is_taken_fails_the_start_by_name() {
    let agent = Agent::start(Options::with_tiny()).await;
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let id = Uuid::now_v7();
    let mut body = tiny("port");
    body.spec.ports[0].host = Some(port);
    agent
        .create(id, &body)
        .await
        .expect::<Instance>(StatusCode::CREATED);
    let failure = agent.until_state(id, RunState::Failed).await.failure.unwrap();
    assert_eq!(failure.code, ErrorCode::PortTaken);
    assert!(failure.message.contains(&port.to_string()), "{}", failure.message);
}

#[tokio::test]
async fn a_fixed_port_belongs_to_one_instance_until_that_is_stopped() {
    let agent = Agent::start(Options::with_tiny()).await;
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut body = tiny("holder");
    body.spec.ports[0].host = Some(port);
    let holder = Uuid::now_v7();
    agent
        .create(holder, &body)
        .await
        .expect::<Instance>(StatusCode::CREATED);

    let taken = |answer: &crate::support::Answer| {
        let error = answer.refused(StatusCode::CONFLICT, ErrorCode::PortTaken);
        assert_eq!(error.details["port"], u32::from(port).into());
        assert!(error.message.contains("holder"), "{}", error.message);
    };
    let second = Uuid::now_v7();
    body.spec.name = "second".into();
    taken(&agent.create(second, &body).await);
    body.start = false;
    agent
        .create(second, &body)
        .await
        .expect::<Instance>(StatusCode::CREATED);
    taken(&agent.post(second, "start", "").await);
    body.start = true;
    body.generation = 2;
    taken(&agent.create(second, &body).await);

    agent.stop(holder, &StopInstance::force()).await;
    agent.start_again(second).await;
    agent.until_state(second, RunState::Running).await;
    taken_by_second(&agent.post(holder, "start", "").await);
}

fn taken_by_second(answer: &crate::support::Answer) {
    let error = answer.refused(StatusCode::CONFLICT, ErrorCode::PortTaken);
    assert!(error.message.contains("second"), "{}", error.message);
}

/// A logout or a shutdown ends QEMU and the agent with the same breath, and QEMU may be the first to go.
#[tokio::test]
async fn guests_that_end_with_the_agent_have_not_failed_and_run_again_after_the_reboot() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    let meant = agent.boot("meant").await;
    signal(guest_pid(meant.id).unwrap(), Signal::TERM);
    eventually("the agent has seen it", SOON, async || {
        agent.log().contains("the guest is gone").then_some(())
    })
    .await;
    agent.sigterm().await;
    std::fs::remove_dir_all(agent.runtime_dir()).unwrap();
    pretend_another_boot(&agent, meant.id).await;
    agent.launch().await;
    let again = agent.until_ready(meant.id).await;
    assert!(again.wanted_running && again.failure.is_none());
    assert!(again.started_at > meant.started_at);
}

#[tokio::test]
async fn after_a_reboot_of_the_host_what_was_meant_to_run_runs_again() {
    let mut agent = Agent::start(Options::with_tiny()).await;
    let meant = agent.boot("meant").await;
    let id = agent.create_stopped("still").await;
    agent.until_state(id, RunState::Stopped).await;
    agent.sigkill();
    // A reboot, as far as the agent can tell: no process, an empty runtime directory, another boot id in the ledger.
    signal(guest_pid(meant.id).unwrap(), Signal::KILL);
    eventually("the guest is gone", SOON, async || {
        guest_pid(meant.id).is_none().then_some(())
    })
    .await;
    std::fs::remove_dir_all(agent.runtime_dir()).unwrap();
    pretend_another_boot(&agent, meant.id).await;
    agent.launch().await;
    let again = eventually("a new guest at its prompt", BOOT, async || {
        let again = agent.instance(meant.id).await;
        (again.started_at > meant.started_at && again.boot_ms.is_some()).then_some(again)
    })
    .await;
    assert!(again.wanted_running && again.failure.is_none());
    assert_eq!(agent.instance(id).await.state, RunState::Stopped);
}

async fn pretend_another_boot(agent: &Agent, id: Uuid) {
    let ledger = host_runner::ledger::Ledger::open(&agent.state_dir())
        .await
        .unwrap();
    let mut records = ledger.load().await.unwrap().records;
    let record = records.iter_mut().find(|record| record.id == id).unwrap();
    record.launch.as_mut().unwrap().boot_id = "an earlier boot".into();
    ledger.save(record).await.unwrap();
    ledger.close().await;
}
