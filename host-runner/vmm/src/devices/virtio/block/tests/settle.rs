//! What a host did not write: a snapshot is refused, and the guest hears of it.

use std::fs::File;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};

use super::guest::*;
use super::images;
use crate::config::{DiskConfig, DiskFormat};
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::block::image::{Image, RawFile};

/// An empty image in a file that takes no writes any more once it is sealed, and a name to open it by.
fn sealable_image() -> (File, PathBuf) {
    let files = tempfile::TempDir::new().unwrap();
    let image = files.path().join("image");
    images::empty(&image, 1 << 20);
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = File::from(rustix::fs::memfd_create("image", flags).unwrap());
    std::io::copy(&mut File::open(image).unwrap(), &mut &file).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    (file, path.into())
}

/// A file that cannot be synced.
fn unsyncable() -> File {
    let (_, writer) = std::io::pipe().unwrap();
    File::from(OwnedFd::from(writer))
}

#[test]
fn a_disk_whose_tables_cannot_be_written_is_not_saved() {
    let (file, path) = sealable_image();
    let config = DiskConfig {
        path,
        format: DiskFormat::Qcow2,
        ..config_of("root")
    };
    let mut guest = Guest::new(open(&config));
    assert_eq!(guest.run(OUT, 8, &[7; 4096], 0).0, OK);
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE).unwrap();
    guest.disk.pause();
    let said = guest.disk.save().unwrap_err().to_string();
    let expected = "the saved state of disk root is not whole: its tables cannot be written to its file: ";
    assert!(said.starts_with(expected), "{said}");
    assert!(guest.disk.settle().is_err());
}

#[test]
fn tables_that_could_be_written_after_all_are_no_reason_any_more() {
    for mut kind in kinds(64) {
        let disk = &mut kind.guest.disk;
        disk.unsettled.tables = Some(std::io::ErrorKind::StorageFull.into());
        assert!(disk.save().is_err(), "{}", kind.name);
        disk.pause();
        disk.save().unwrap();
    }
}

#[test]
fn a_loss_that_a_snapshot_was_told_of_fails_it_and_the_guests_next_flush() {
    for mut kind in kinds(64) {
        let (name, guest) = (kind.name, &mut kind.guest);
        let image = Arc::clone(&guest.disk.image);
        guest.disk.image = Arc::new(Image::Raw(RawFile {
            file: unsyncable(),
            direct: None,
        }));
        guest.disk.pause();
        let said = guest.disk.settle().unwrap_err().to_string();
        let expected = "the saved state of disk root is not whole: the host has lost writes to it: ";
        assert!(said.starts_with(expected), "{name}: {said}");
        // A host tells of it once; what it says later is no better.
        guest.disk.image = image;
        assert!(guest.disk.settle().is_err(), "{name}");
        assert!(guest.disk.save().is_err(), "{name}");
        guest.disk.resume();
        assert_eq!(guest.run(FLUSH, 0, &[], 0).0, FAILED, "{name}");
        assert_eq!(guest.run(FLUSH, 0, &[], 0).0, OK, "{name}");
        guest.disk.pause();
        guest.disk.settle().unwrap();
        guest.disk.save().unwrap();
    }
}

#[test]
fn a_disk_that_is_only_read_has_nothing_to_lose() {
    let file = numbered(64);
    let mut config = config(&file);
    config.read_only = true;
    let mut disk = open(&config);
    disk.image = Arc::new(Image::Raw(RawFile {
        file: unsyncable(),
        direct: None,
    }));
    disk.settle().unwrap();
}
