//! A disk without room: what is refused leaves nothing, neither in the ledger nor in a folder, and does not come to life later.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use api::{CreateInstance, ErrorCode, Instance};
use hyper::StatusCode;
use uuid::Uuid;

use crate::support::{Agent, Options, SOON, eventually, tiny};

/// What a small file system has room for: files, and the pages of a tmpfs.
const INODES: u32 = 400;
const PAGE: u64 = 4096;

/// An agent whose state is on a small file system, inside a mount namespace of its own, and that file system as seen from here.
pub async fn agent_on_a_small_disk() -> (Agent, PathBuf) {
    let allowed = std::process::Command::new("unshare")
        .args(["-rm", "true"])
        .output();
    assert!(
        allowed.is_ok_and(|output| output.status.success()),
        "these tests need a mount namespace: run them as root, or allow user namespaces \
         (sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0)"
    );
    // The wrapper mounts on the state directory, which is the argument after `--state-dir`, and copies the image in.
    let script = format!(
        r#"
        while [ $# -gt 0 ]; do case "$1" in --) shift; break;; esac; shift; done
        for argument in "$@"; do [ "$last" = --state-dir ] && state=$argument; last=$argument; done
        cp -a "$state" "$state.copy"
        mount -t tmpfs -o size=64m,nr_inodes={INODES} tmpfs "$state" && cp -a "$state.copy/." "$state/"
        exec "$@""#
    );
    let wrapper = ["unshare", "-rm", "sh", "-ec", &script, "sh", "--"]
        .map(str::to_owned)
        .to_vec();
    let agent = Agent::start(Options {
        wrapper,
        ..Options::with_tiny()
    })
    .await;
    let inside = format!("/proc/{}/root{}", agent.pid(), agent.state_dir().display());
    (agent, inside.into())
}

/// Takes all that is left, to the last byte.
pub fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        let piece = vec![b'x'; size];
        while file.write_all(&piece).is_ok() {}
    }
}

/// Takes every file that can still be made.
fn take_all_inodes(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    for number in 0..=INODES {
        if std::fs::File::create(folder.join(number.to_string())).is_err() {
            return;
        }
    }
    panic!("the file system has more than {INODES} inodes");
}

/// What an agent that is started now would find.
async fn in_the_ledger(state: &Path) -> Vec<Uuid> {
    let copy = tempfile::tempdir().unwrap();
    for name in ["ledger.sqlite", "ledger.sqlite-wal"] {
        std::fs::copy(state.join(name), copy.path().join(name)).unwrap();
    }
    let ledger = host_runner::ledger::Ledger::open(copy.path()).await.unwrap();
    let loaded = ledger.load().await.unwrap();
    ledger.close().await;
    loaded.records.iter().map(|record| record.id).collect()
}

async fn assert_nothing_is_held(agent: &Agent, state: &Path) {
    let instances: Vec<Instance> = agent.get("/v1/instances").await;
    assert!(instances.is_empty(), "{instances:?}");
    assert_eq!(in_the_ledger(state).await, Vec::<Uuid>::new());
    let left = std::fs::read_dir(state.join("instances")).unwrap().count();
    assert_eq!(left, 0);
}

pub async fn created_once_there_is_room(agent: &Agent, body: &CreateInstance) -> Uuid {
    let id = Uuid::now_v7();
    eventually("room again", SOON, async || {
        let answer = agent.create(id, body).await;
        (answer.status.is_success()).then_some(())
    })
    .await;
    id
}

fn lying_still() -> CreateInstance {
    let mut body = tiny("tiny-1");
    body.start = false;
    body
}

#[tokio::test]
async fn a_full_disk_refuses_a_create_and_leaves_nothing() {
    let (agent, state) = agent_on_a_small_disk().await;
    let filler = state.join("filler");
    fill(&filler);
    let answer = agent.create(Uuid::now_v7(), &lying_still()).await;
    let error = answer.refused(StatusCode::INSUFFICIENT_STORAGE, ErrorCode::DiskFull);
    assert!(error.details.contains_key("path"), "{error:?}");
    assert_nothing_is_held(&agent, &state).await;

    std::fs::remove_file(&filler).unwrap();
    created_once_there_is_room(&agent, &lying_still()).await;
}

/// At each page that is freed, another of the steps of a create is the first that finds no room: the row, the folder, and what
/// takes the row back.
#[tokio::test]
async fn whichever_step_of_a_create_finds_no_room_the_refused_instance_does_not_come_to_life() {
    let (agent, state) = agent_on_a_small_disk().await;
    let (filler, inodes) = (state.join("filler"), state.join("inodes"));
    fill(&filler);
    take_all_inodes_beside(&filler, &inodes);
    let file = std::fs::File::options().write(true).open(&filler).unwrap();
    for _ in 0..24 {
        let answer = agent.create(Uuid::now_v7(), &tiny("tiny-1")).await;
        answer.refused(StatusCode::INSUFFICIENT_STORAGE, ErrorCode::DiskFull);
        assert_nothing_is_held(&agent, &state).await;
        file.set_len(file.metadata().unwrap().len() - PAGE).unwrap();
    }
    let usage: api::HostUsage = agent.get("/v1/usage").await;
    assert_eq!(usage.memory_promised_mib, api::Mib::ZERO);

    std::fs::remove_dir_all(&inodes).unwrap();
    std::fs::remove_file(&filler).unwrap();
    let id = created_once_there_is_room(&agent, &lying_still()).await;
    assert_eq!(in_the_ledger(&state).await, [id]);
}

/// The folder of the files needs an inode itself, and pages where the kernel counts them: room is made for it first.
fn take_all_inodes_beside(filler: &Path, folder: &Path) {
    let file = std::fs::File::options().write(true).open(filler).unwrap();
    let full = file.metadata().unwrap().len();
    file.set_len(full - 64 * PAGE).unwrap();
    take_all_inodes(folder);
    let mut file = std::fs::File::options().append(true).open(filler).unwrap();
    while file.write_all(b"x").is_ok() {}
}
