#![expect(unsafe_code, reason = "a thread leaves the mount namespace of its process")]
//! Writes that find no room on the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::thread::UnshareFlags;

use super::guest::*;
use super::images;
use crate::config::{DiskConfig, DiskFormat};
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::block::{Block, SECTOR};

/// The size of the disk, in sectors: more than the file system holds.
const SECTORS: u64 = 8192;

/// Runs `test` in a thread that has a small file system of its own, and gives it the folder. Where this user may not have one, the test
/// says so and passes.
fn on_a_small_file_system(test: impl FnOnce(&Path) + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not tried: a file system needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::thread::spawn(move || {
        // The namespace goes with the last thread in it.
        // SAFETY: Only what this thread sees of the file system changes; its file descriptors stay the process's.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS).unwrap() };
        let mount = |arguments: &[&str]| {
            let mut command = Command::new("mount");
            command.args(arguments).arg(folder.path());
            assert!(command.status().unwrap().success(), "mount {arguments:?}");
        };
        let status = Command::new("mount").args(["--make-rprivate", "/"]).status();
        assert!(status.unwrap().success());
        mount(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"]);
        test(folder.path());
    })
    .join()
    .unwrap();
}

/// A disk in each way that there is to keep one, with a guest that uses it; and how often the disk has told that it is full.
fn disks(folder: &Path) -> Vec<(&'static str, Guest, Arc<AtomicUsize>)> {
    [
        ("io_uring", false, false),
        ("threads", true, false),
        ("qcow2", false, true),
    ]
    .into_iter()
    .map(|(name, threads, overlay)| {
        let raw = folder.join(name);
        fs::File::create(&raw).unwrap().set_len(SECTORS * SECTOR).unwrap();
        let mut config = DiskConfig {
            path: raw,
            ..config_of("root")
        };
        if overlay {
            config.path = folder.join("overlay");
            config.format = DiskFormat::Qcow2;
            images::overlay(&config.path, SECTORS * SECTOR, name, "raw");
        }
        let mut disk = open_with(&config, threads);
        let told = listen(&mut disk);
        (name, Guest::new(disk), told)
    })
    .collect()
}

fn listen(disk: &mut Block) -> Arc<AtomicUsize> {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    disk.when_full(move || {
        count.fetch_add(1, Ordering::Relaxed);
        true
    });
    told
}

/// Takes all the room that is left.
fn fill(folder: &Path) -> PathBuf {
    use std::io::Write as _;
    let path = folder.join("ballast");
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    path
}

/// Four writes that find no room, until they wait.
fn waiting(guest: &mut Guest, told: &AtomicUsize) -> Vec<Sent> {
    let sent: Vec<_> = (0..4_u8)
        .map(|at| guest.prepare(0, OUT, 1024 + 512 * u64::from(at), &[at + 1; 4096], 0))
        .collect();
    guest.disk.queue_ready(0);
    while told.load(Ordering::Relaxed) == 0 {
        guest.turn();
    }
    // The machine is held.
    guest.disk.pause();
    sent
}

#[test]
fn a_write_that_finds_no_room_waits_for_it_and_is_done_once_there_is() {
    on_a_small_file_system(|folder| {
        for (name, mut guest, told) in disks(folder) {
            let ballast = fill(folder);
            let sent = waiting(&mut guest, &told);
            assert_eq!(guest.driver.used(0), [], "{name}");
            assert!(guest.disk.save().is_err(), "{name}: they would be lost");
            // Set running too early: all wait again, and it is told again.
            guest.disk.resume();
            guest.disk.queue_ready(0);
            while told.load(Ordering::Relaxed) < 2 {
                guest.turn();
            }
            guest.disk.pause();
            assert_eq!(guest.driver.used(0), [], "{name}");
            assert_eq!(told.load(Ordering::Relaxed), 2, "{name}: once for all of them");
            // Set running and paused before the device thread came by: nothing begins behind the pause.
            guest.disk.resume();
            guest.disk.pause();
            guest.disk.queue_ready(0);
            assert_eq!(guest.disk.engine.under_way(), 0, "{name}");
            assert!(guest.disk.waits_for_room(), "{name}");
            assert!(guest.disk.save().is_err(), "{name}: they still wait");

            fs::remove_file(ballast).unwrap();
            guest.disk.resume();
            guest.disk.queue_ready(0);
            guest.wait_for(0, sent.len());
            for sent in sent {
                assert_eq!(guest.status(sent), OK, "{name}");
            }
            for at in 0..4_u8 {
                let (_, _, data) = guest.run(IN, 1024 + 512 * u64::from(at), &[], 4096);
                assert_eq!(data, [at + 1; 4096], "{name}");
            }
            assert_eq!(guest.disk.stats().errors, 0, "{name}");
            guest.disk.save().unwrap();
        }
    });
}

#[test]
fn what_waits_goes_with_its_driver_and_its_places_are_free_again() {
    on_a_small_file_system(|folder| {
        for (name, mut guest, told) in disks(folder) {
            let ballast = fill(folder);
            let sent = waiting(&mut guest, &told);
            guest.disk.reset();
            fs::remove_file(ballast).unwrap();
            guest.driver.begin_again();
            let features = guest.disk.features();
            guest.disk.activate(guest.driver.activation(features)).unwrap();
            assert!(sent.iter().all(|sent| guest.status(*sent) == NONE), "{name}");
            // As many as there are places.
            for sector in 0..128 {
                guest.prepare(0, IN, sector, &[], 512);
            }
            guest.disk.queue_ready(0);
            assert_eq!(guest.wait_for(0, 128).len(), 128, "{name}");
            assert_eq!(guest.run(OUT, 0, &[9; 512], 0).0, OK, "{name}");
        }
    });
}

#[test]
fn a_disk_waits_for_room_until_its_writes_are_done_anew_or_its_driver_is_gone() {
    on_a_small_file_system(|folder| {
        for (name, mut guest, told) in disks(folder) {
            assert!(!guest.disk.waits_for_room(), "{name}");
            let ballast = fill(folder);
            waiting(&mut guest, &told);
            assert!(guest.disk.waits_for_room(), "{name}");
            guest.disk.resume();
            assert!(
                !guest.disk.waits_for_room(),
                "{name}: they are about to be done anew"
            );
            guest.disk.queue_ready(0);
            while told.load(Ordering::Relaxed) < 2 {
                guest.turn();
            }
            guest.disk.pause();
            assert!(guest.disk.waits_for_room(), "{name}: there is no room yet");
            guest.disk.reset();
            assert!(!guest.disk.waits_for_room(), "{name}");
            fs::remove_file(ballast).unwrap();
        }
    });
}

#[test]
fn where_nobody_holds_the_machine_such_a_write_fails() {
    on_a_small_file_system(|folder| {
        for (name, mut guest, _) in disks(folder) {
            guest.disk.when_full(|| false);
            let ballast = fill(folder);
            assert_eq!(guest.run(OUT, 2048, &[5; 4096], 0).0, FAILED, "{name}");
            fs::remove_file(ballast).unwrap();
            assert_eq!(guest.run(OUT, 2048, &[5; 4096], 0).0, OK, "{name}");
        }
    });
}
