//! An instance's disk begins with its image's, and copying that may take longer than any request may: it is done while the instance is
//! `creating`, and everything else goes on meanwhile.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use api::{CreateInstance, ErrorCode, Instance, Mib, RunState};
use hyper::StatusCode;
use uuid::Uuid;

use crate::boot_loader;
use crate::full_disk::{agent_on_a_small_disk, created_once_there_is_room, fill};
use crate::support::{Agent, Options, tiny};

/// The image's disk, held so that whoever opens it waits: a write lease (fcntl(2)), which the kernel breaks by force only after 45 s. It is
/// let go when this is dropped.
struct HeldDisk(Child);

impl HeldDisk {
    fn new(disk: &Path) -> Self {
        const HOLD: &str = r#"$SIG{IO} = "IGNORE"; open(my $disk, "+<", $ARGV[0]) or die "open: $!";
            fcntl($disk, 1024, 1) or die "lease: $!"; $| = 1; print "held\n"; <STDIN>;"#;
        let mut child = Command::new("perl")
            .args(["-e", HOLD])
            .arg(disk)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("perl");
        let mut said = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut said).expect("a line");
        assert_eq!(said, "held\n", "nobody else has the disk open");
        Self(child)
    }
}

impl Drop for HeldDisk {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An agent with an image that has a disk, and that disk.
async fn agent_with_disk_image() -> (Agent, PathBuf) {
    let agent = Agent::start(Options::default()).await;
    boot_loader::import(boot_loader::disk().path(), &agent.state_dir());
    // The agent has looked at the image, and need not read it again before it admits an instance.
    let images: Vec<api::Image> = agent.get("/v1/images").await;
    let [image] = images.as_slice() else {
        panic!("{images:?}")
    };
    assert_eq!((image.has_kernel, image.disk_min_mib), (false, Mib(1)));
    let blobs = std::fs::read_dir(agent.state_dir().join("images/blobs")).unwrap();
    let [blob] = blobs
        .map(|entry| entry.unwrap().path())
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    (agent, blob)
}

fn wanted(name: &str) -> CreateInstance {
    let mut body = tiny(name);
    body.start = false;
    body.spec.image = "by-itself".into();
    body.spec.memory_mib = Mib(256);
    body.spec.disk_mib = Mib(2);
    body
}

async fn create(agent: &Agent, body: &CreateInstance) -> Uuid {
    let id = Uuid::now_v7();
    let made: Instance = agent.create(id, body).await.expect(StatusCode::CREATED);
    assert_eq!(made.state, RunState::Creating);
    id
}

fn assert_disk_is_whole(agent: &Agent, id: Uuid) {
    let folder = agent.state_dir().join("instances").join(id.to_string());
    let disk = std::fs::read(folder.join("disk.raw")).unwrap();
    assert_eq!(disk.len(), 2 << 20);
    assert_eq!(&disk[510..512], [0x55, 0xaa], "it begins with the image's");
}

#[tokio::test]
async fn a_request_does_not_wait_for_the_disk_to_be_copied_nor_do_others() {
    let (agent, blob) = agent_with_disk_image().await;
    let held = HeldDisk::new(&blob);
    let first = create(&agent, &wanted("first")).await;
    let second = create(&agent, &wanted("second")).await;
    let all: Vec<Instance> = agent.get("/v1/instances").await;
    assert!(all.iter().all(|one| one.state == RunState::Creating), "{all:?}");
    drop(held);
    for id in [first, second] {
        let made = agent.until_state(id, RunState::Stopped).await;
        assert_eq!(made.copied_percent, None, "it is copied");
        assert_disk_is_whole(&agent, id);
    }
}

#[tokio::test]
async fn an_instance_is_deleted_while_its_disk_is_copied() {
    let (agent, blob) = agent_with_disk_image().await;
    let held = HeldDisk::new(&blob);
    let id = create(&agent, &wanted("gone")).await;
    agent.delete(id).await.expect::<Instance>(StatusCode::ACCEPTED);
    drop(held);
    agent.until_gone(id).await;
    agent.assert_nothing_is_left().await;
}

#[tokio::test]
async fn the_next_agent_copies_the_disk_that_a_killed_one_had_begun() {
    let (mut agent, blob) = agent_with_disk_image().await;
    let held = HeldDisk::new(&blob);
    let id = create(&agent, &wanted("survivor")).await;
    agent.sigkill();
    drop(held);
    agent.launch().await;
    agent.until_state(id, RunState::Stopped).await;
    assert_disk_is_whole(&agent, id);
}

/// A disk of 4 MiB without a hole, as an image of the agent with this state.
fn import_full_disk(state: &Path) -> PathBuf {
    const BYTES: u64 = 4 << 20;
    let disk = boot_loader::disk();
    let rest = vec![7; usize::try_from(BYTES).unwrap() - 512];
    disk.as_file().write_all_at(&rest, 512).unwrap();
    boot_loader::import(disk.path(), state);
    let blobs = std::fs::read_dir(state.join("images/blobs")).unwrap();
    let mut paths = blobs.map(|entry| entry.unwrap().path());
    let is_disk = |path: &PathBuf| path.metadata().unwrap().len() == BYTES;
    paths.find(is_disk).expect("the image's disk")
}

#[tokio::test]
async fn a_machine_whose_disk_fills_during_the_copy_says_so_and_has_the_room_back() {
    let (agent, state) = agent_on_a_small_disk().await;
    let blob = import_full_disk(&state);
    let _looked_at: Vec<api::Image> = agent.get("/v1/images").await;
    let mut body = wanted("first");
    body.spec.disk_mib = Mib(4);

    let held = HeldDisk::new(&blob);
    let id = create(&agent, &body).await;
    let filler = state.join("filler");
    fill(&filler);
    // Room for half of it, and for what is written down.
    let half = std::fs::File::options().write(true).open(&filler).unwrap();
    half.set_len(half.metadata().unwrap().len() - (2 << 20)).unwrap();
    drop((half, held));
    let failed = agent.until_state(id, RunState::Failed).await;
    let failure = failed.failure.expect("a reason");
    assert_eq!(failure.code, ErrorCode::DiskFull, "{failure:?}");
    assert!(failure.message.contains("free some space"), "{failure:?}");

    std::fs::remove_file(&filler).unwrap();
    agent.delete(id).await.expect::<Instance>(StatusCode::ACCEPTED);
    agent.until_gone(id).await;
    let left = std::fs::read_dir(state.join("instances")).unwrap().count();
    assert_eq!(left, 0, "half a disk is no use to anybody");
    let again = created_once_there_is_room(&agent, &body).await;
    agent.until_state(again, RunState::Stopped).await;
}
