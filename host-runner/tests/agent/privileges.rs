//! An agent of root's and its guests: QEMU gives root's rights up, and everything works without them.

use std::os::unix::fs::MetadataExt as _;

use api::{Instance, Mib, RunState};
use hyper::StatusCode;
use uuid::Uuid;

use crate::console::Console;
use crate::support::{Agent, BOOT, Options, eventually, guest_pid, tiny};

/// The user that the machine has only as far as the agent under test can see.
const GUEST_UID: u32 = 64_123;

/// In a mount namespace of its own the agent finds a list of users with `millpond-guest` in it.
fn with_guest_user(dir: &std::path::Path) -> Options {
    let users = dir.join("passwd");
    let mut text = std::fs::read_to_string("/etc/passwd").unwrap();
    text.retain(|c| c != '\r');
    let others: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("millpond-guest:"))
        .collect();
    let line = format!("millpond-guest:x:{GUEST_UID}:{GUEST_UID}::/nonexistent:/usr/sbin/nologin");
    std::fs::write(&users, format!("{}\n{line}\n", others.join("\n"))).unwrap();
    let script = format!("mount --bind '{}' /etc/passwd && exec \"$@\"", users.display());
    Options {
        wrapper: ["unshare", "-m", "sh", "-c", &script, "sh"]
            .map(str::to_owned)
            .to_vec(),
        ..Options::with_tiny()
    }
}

fn assert_powerless(pid: u32) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| -> Vec<&str> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().split_whitespace().collect()
    };
    let uid = GUEST_UID.to_string();
    assert_eq!(field("Uid"), [&uid; 4], "real, effective, saved, and for files");
    assert_eq!(field("Gid"), [&uid; 4]);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
    assert_eq!(field("NoNewPrivs"), ["1"]);
    assert_eq!(field("Seccomp"), ["2"]);
}

#[tokio::test]
async fn a_guest_of_roots_agent_runs_without_roots_rights_and_lives_a_whole_life() {
    if !rustix::process::geteuid().is_root() {
        // A plain user's agent has no rights to give up.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(with_guest_user(dir.path())).await;
    let id = Uuid::now_v7();
    let mut body = tiny("powerless");
    body.spec.disk_mib = Mib(64);
    agent
        .create(id, &body)
        .await
        .expect::<Instance>(StatusCode::CREATED);
    agent.until_ready(id).await;
    assert_powerless(guest_pid(id).unwrap());
    let disk = agent
        .state_dir()
        .join("instances")
        .join(id.to_string())
        .join("disk.raw");
    assert_eq!(
        std::fs::metadata(&disk).unwrap().uid(),
        0,
        "the disk stays root's"
    );

    // The next agent finds it, hears it, and it can still write to its disk and reboot.
    agent.sigkill();
    agent.launch().await;
    agent.until_ready(id).await;
    let mut console = Console::at_the_shell(&agent, id).await;
    console.run("echo pre''cious > /data/note; sync").await;
    console.type_in("reboot\n").await;
    console.until("login:").await;
    console.log_in().await;
    assert!(console.run("cat /data/note").await.contains("precious"));

    agent
        .post(id, "stop", r#"{"mode":"graceful"}"#)
        .await
        .expect::<Instance>(StatusCode::ACCEPTED);
    let stopped = agent.until_state(id, RunState::Stopped).await;
    assert!(stopped.failure.is_none());
    // The sockets that it could not remove stand in nobody's way.
    agent.start_again(id).await;
    let pid = eventually("another guest", BOOT, async || guest_pid(id)).await;
    agent.until_ready(id).await;
    assert_powerless(pid);
}
