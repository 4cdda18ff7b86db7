//! What the store promises, checked on real files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use api::{DetailValue, ErrorCode, ImageState};
use tempfile::TempDir;

use super::manifest::{Manifest, tests::sample};
use super::{ImageError, ImageStore};

fn publish(store: &ImageStore, name: &str, kernel: &[u8]) -> PathBuf {
    let staging = store.stage().unwrap();
    let file = staging.folder().join("kernel");
    fs::write(&file, kernel).unwrap();
    let kernel = staging.add(&file).unwrap();
    let path = store.folders().blobs.join(kernel.sha256.blob_name());
    staging
        .publish(&Manifest {
            kernel: Some(kernel),
            ..sample(name)
        })
        .unwrap();
    path
}

fn open() -> (TempDir, ImageStore) {
    let state = TempDir::new().unwrap();
    let store = ImageStore::open(state.path()).unwrap();
    (state, store)
}

/// Replaces a read-only file's content the way that damage would.
fn overwrite(path: &Path, content: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_published_image_is_listed_and_resolves_to_read_only_files() {
    let (_state, store) = open();
    let kernel = publish(&store, "tiny", b"kernel");

    let images = store.list().await.unwrap();
    assert_eq!(images.len(), 1);
    assert_eq!((images[0].state, &images[0].problem), (ImageState::Ready, &None));

    let boot = store.resolve("tiny").await.unwrap();
    assert_eq!(boot.kernel.unwrap().path, kernel);
    assert_eq!(boot.digest, images[0].digest);
    assert_eq!(fs::metadata(&kernel).unwrap().permissions().mode() & 0o777, 0o444);
}

#[tokio::test]
async fn the_same_image_has_the_same_digest_in_another_store() {
    let (_a, first) = open();
    let (_b, second) = open();
    publish(&first, "tiny", b"kernel");
    publish(&second, "tiny", b"kernel");
    let digest = |images: Vec<api::Image>| images[0].digest.clone();
    assert_eq!(
        digest(first.list().await.unwrap()),
        digest(second.list().await.unwrap())
    );
}

#[tokio::test]
async fn damage_is_found_after_a_first_look_found_none() {
    let (_state, store) = open();
    let kernel = publish(&store, "tiny-linux", b"kernel");
    store.resolve("tiny-linux").await.unwrap();

    for (damage, problem) in [
        (&b"KERNEL"[..], "content of one of its files has changed"),
        (b"short", "has 5 bytes instead of 6"),
    ] {
        overwrite(&kernel, damage);
        let images = store.list().await.unwrap();
        assert_eq!(images[0].state, ImageState::Corrupt);
        let told = images[0].problem.clone().unwrap();
        assert!(
            told.contains(problem) && told.contains("host-runner image build-tiny"),
            "{told}"
        );
    }

    fs::remove_file(&kernel).unwrap();
    let refused = store.resolve("tiny-linux").await.unwrap_err().to_api();
    assert_eq!(refused.code, ErrorCode::ImageCorrupt);
    assert_eq!(
        refused.details["file"],
        DetailValue::Text(kernel.display().to_string())
    );
    assert!(refused.details.contains_key("remedy"));
}

#[tokio::test]
async fn publishing_again_mends_a_damaged_image() {
    let (_state, store) = open();
    let kernel = publish(&store, "tiny", b"kernel");
    overwrite(&kernel, b"KERNEL");
    assert!(store.resolve("tiny").await.is_err());
    publish(&store, "tiny", b"kernel");
    store.resolve("tiny").await.unwrap();
}

#[tokio::test]
async fn a_symbolic_link_in_place_of_a_file_is_damage() {
    let (state, store) = open();
    let kernel = publish(&store, "tiny", b"kernel");
    let elsewhere = state.path().join("elsewhere");
    fs::rename(&kernel, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &kernel).unwrap();
    let err = store.resolve("tiny").await.unwrap_err();
    assert!(matches!(err, ImageError::Corrupt { .. }), "{err}");
}

#[tokio::test]
async fn an_unreadable_manifest_is_one_corrupt_image_beside_the_good_ones() {
    let (_state, store) = open();
    publish(&store, "good", b"kernel");
    fs::write(store.folders().manifest("bad"), b"{").unwrap();
    fs::write(store.folders().manifest("huge"), vec![b' '; 70_000]).unwrap();
    let states: Vec<_> = store
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|image| (image.name, image.state))
        .collect();
    assert_eq!(
        states,
        [
            ("bad".to_owned(), ImageState::Corrupt),
            ("good".to_owned(), ImageState::Ready),
            ("huge".to_owned(), ImageState::Corrupt),
        ]
    );
}

#[tokio::test]
async fn names_that_could_leave_the_folder_are_refused() {
    let (_state, store) = open();
    for name in ["", "../tiny", "a/b", "a\0b", "Tiny", "a\n"] {
        let refused = store.resolve(name).await.unwrap_err().to_api();
        assert_eq!(refused.code, ErrorCode::InvalidName, "{name:?}");
    }
    let missing = store.resolve("absent").await.unwrap_err().to_api();
    assert_eq!(missing.code, ErrorCode::ImageNotFound);
}

#[test]
fn opening_removes_what_a_crashed_build_left_and_keeps_the_rest() {
    let (state, store) = open();
    let kept = publish(&store, "tiny", b"kernel");
    let staged = store.folders().staging.join("build-x");
    fs::create_dir(&staged).unwrap();
    fs::write(staged.join("half"), b"x").unwrap();
    let orphan = store.folders().blobs.join(format!("sha256-{}", "0".repeat(64)));
    fs::write(&orphan, b"x").unwrap();

    ImageStore::open(state.path()).unwrap();
    assert!(!staged.exists() && !orphan.exists() && kept.exists());
}

#[test]
fn opening_leaves_a_build_that_runs_alone() {
    let (state, store) = open();
    let staging = store.stage().unwrap();
    ImageStore::open(state.path()).unwrap();
    assert!(staging.folder().exists());
    assert!(matches!(store.stage(), Err(ImageError::Busy)));
    let folder = staging.folder().to_owned();
    drop(staging);
    assert!(
        !folder.exists(),
        "a build that was given up leaves nothing behind"
    );
}

#[test]
fn no_blob_is_removed_while_a_manifest_cannot_be_read() {
    let (state, store) = open();
    let kernel = publish(&store, "tiny", b"kernel");
    fs::remove_file(store.folders().manifest("tiny")).unwrap();
    fs::write(store.folders().manifest("tiny"), b"{").unwrap();
    ImageStore::open(state.path()).unwrap();
    assert!(kernel.exists());
}

/// Somebody's slip, or worse: nothing in the folder of manifests may hide the images beside it, nor keep the agent waiting.
#[tokio::test]
async fn odd_files_among_the_manifests_are_damaged_images_and_hide_no_other() {
    let (state, store) = open();
    publish(&store, "tiny", b"kernel");
    let manifests = store.folders().manifest("x").parent().unwrap().to_owned();
    fs::create_dir(manifests.join("folder.json")).unwrap();
    std::os::unix::fs::symlink(manifests.join("tiny.json"), manifests.join("link.json")).unwrap();
    let fifo = std::process::Command::new("mkfifo")
        .arg(manifests.join("pipe.json"))
        .status();
    assert!(fifo.unwrap().success());
    let listed = tokio::time::timeout(std::time::Duration::from_secs(20), store.list())
        .await
        .expect("nothing is waited for");
    let states: Vec<_> = listed
        .unwrap()
        .into_iter()
        .map(|image| (image.name, image.state))
        .collect();
    let damaged = |name: &str| (name.to_owned(), ImageState::Corrupt);
    assert_eq!(
        states,
        [
            damaged("folder"),
            damaged("link"),
            damaged("pipe"),
            ("tiny".to_owned(), ImageState::Ready)
        ]
    );
    // Nor do they keep the next agent from starting, or make it forget what they may name.
    let store = ImageStore::open(state.path()).unwrap();
    store.resolve("tiny").await.unwrap();
}

#[tokio::test]
async fn looking_makes_nothing() {
    let state = TempDir::new().unwrap();
    assert!(ImageStore::look(state.path()).list().await.unwrap().is_empty());
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
}
