//! The engine against a monitor that is a few lines of this file: what it says is given, who it is, is real.

use std::fs::File;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use super::*;
use crate::reconcile::GuestStatus;

/// The state of a machine that a full disk holds.
const FULL: &str = "full";

fn engine(dir: &Path) -> Microvm {
    let files = InstanceFiles::open(&dir.join("state"), &dir.join("run")).unwrap();
    Microvm::new(
        files,
        &HardwareVirtualization {
            available: true,
            reason: "AMD-V through KVM".into(),
        },
    )
}

/// An instance whose control socket this process serves, as a machine that is called `says` and is in `state`.
fn served(microvm: &Microvm, says: Uuid, state: &'static str) -> Uuid {
    let id = Uuid::now_v7();
    microvm
        .files
        .make(id, api::Mib::ZERO, &mut |_| std::ops::ControlFlow::Continue(()))
        .unwrap();
    private_dir(&microvm.files.runtime_dir(id)).unwrap();
    let name = if says.is_nil() { id } else { says };
    let listener = UnixListener::bind(microvm.runtime(id, API_SOCKET)).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let length = stream.read(&mut asked).await.unwrap_or(0);
            let body = match asked.get(..length) {
                Some(asked) if asked.starts_with(b"GET /v1/machine ") => {
                    let full_disk = (state == FULL).then_some("disk");
                    let state = if state == FULL { "paused" } else { state };
                    serde_json::json!({"id": name, "state": state, "full_disk": full_disk})
                }
                _ => serde_json::json!({"state": "running"}),
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _client_gone = stream.write_all((head + &body).as_bytes()).await;
        }
    });
    id
}

/// The lock as its guest's process holds it.
fn held_lock(microvm: &Microvm, id: Uuid) -> File {
    let lock = File::options().write(true).open(microvm.files.lock(id)).unwrap();
    lock.try_lock().unwrap();
    lock
}

#[tokio::test]
async fn a_guest_is_adopted_by_its_lock_and_what_it_says_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let microvm = engine(dir.path());
    let id = served(&microvm, Uuid::nil(), "running");
    assert!(microvm.find(id).await.unwrap().is_none(), "nobody holds the lock");
    let _lock = held_lock(&microvm, id);
    let mut guest = microvm.find(id).await.unwrap().unwrap();
    assert_eq!(guest.pid(), std::process::id());
    assert_eq!(guest.status().await, Some(GuestStatus::Running));
}

#[tokio::test]
async fn another_machine_at_the_socket_is_not_adopted() {
    let dir = tempfile::tempdir().unwrap();
    let microvm = engine(dir.path());
    let id = served(&microvm, Uuid::from_u128(7), "running");
    let _lock = held_lock(&microvm, id);
    let error = microvm.find(id).await.unwrap_err();
    assert!(matches!(error, EngineError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn a_lock_whose_holder_is_not_found_is_no_guest_and_not_none() {
    let dir = tempfile::tempdir().unwrap();
    let microvm = engine(dir.path());
    let id = Uuid::now_v7();
    microvm
        .files
        .make(id, api::Mib::ZERO, &mut |_| std::ops::ControlFlow::Continue(()))
        .unwrap();
    let _lock = held_lock(&microvm, id);
    // This process is alive and is no monitor: a number alone is not believed.
    std::fs::write(microvm.files.lock(id), std::process::id().to_string()).unwrap();
    let error = microvm.find(id).await.unwrap_err();
    assert!(matches!(error, EngineError::Hidden { .. }), "{error}");
}

#[tokio::test]
async fn a_guest_that_was_never_set_running_is_held_and_a_paused_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let microvm = engine(dir.path());
    let id = served(&microvm, Uuid::nil(), "paused");
    let _lock = held_lock(&microvm, id);
    let mut guest = microvm.find(id).await.unwrap().unwrap();
    assert_eq!(guest.status().await, Some(GuestStatus::Held));
    guest.power_on().await.unwrap();
    assert_eq!(guest.status().await, Some(GuestStatus::Paused));
}

#[tokio::test]
async fn a_guest_that_a_full_disk_holds_says_so_and_a_paused_one_has_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let microvm = engine(dir.path());
    for (state, trouble) in [(FULL, Some(api::ErrorCode::DiskFull)), ("paused", None)] {
        let id = served(&microvm, Uuid::nil(), state);
        let _lock = held_lock(&microvm, id);
        let mut guest = microvm.find(id).await.unwrap().unwrap();
        guest.power_on().await.unwrap();
        assert_eq!(guest.status().await, Some(GuestStatus::Paused));
        let found = guest.trouble().map(|trouble| trouble.to_api().code);
        assert_eq!(found, trouble, "{state}");
    }
}

#[tokio::test]
async fn the_last_words_are_the_monitors_and_the_guests() {
    let dir = tempfile::tempdir().unwrap();
    let microvm = engine(dir.path());
    let id = Uuid::now_v7();
    let folder = microvm.files.runtime_dir(id);
    private_dir(&folder).unwrap();
    std::fs::write(
        folder.join(STDERR_FILE),
        format!("{}\nmicrovm: the guest reset itself\n", "é".repeat(9_000)),
    )
    .unwrap();
    let mut console = replay::Replay::start(&folder).unwrap();
    console.push(&vec![b'x'; 9_000]);
    console.push(b"\x1b[31mKernel panic - not syncing: Attempted to kill init!\r\n");
    std::fs::write(folder.join(ENDING_FILE), r#"{"ending":"panicked","reason":[]}"#).unwrap();
    let words = microvm.last_words(id);
    assert!(words.len() <= LOG_BYTES_MAX, "{}", words.len());
    assert!(
        words.contains("[31mKernel panic - not syncing: Attempted to kill init!\n"),
        "{words}"
    );
    assert!(words.ends_with("microvm: the guest reset itself"), "{words}");
    assert_eq!(microvm.end_of(id), GuestEnd::Unknown);
    // What its console shows of a panic before that is not what it ended with.
    std::fs::write(folder.join(ENDING_FILE), r#"{"ending":"reset"}"#).unwrap();
    assert_eq!(microvm.end_of(id), GuestEnd::Reset);
}
