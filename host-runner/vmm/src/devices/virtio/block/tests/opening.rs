//! What can be opened, what cannot, and what is said then.

use std::os::unix::net::UnixListener;

use super::guest::*;
use crate::config::DiskConfig;
use crate::devices::virtio::block::{Block, OpenDiskError};

fn refused(config: &DiskConfig) -> OpenDiskError {
    match Block::open(config, 1, || {}) {
        Ok(_) => panic!("{} was opened", config.path.display()),
        Err(error) => error,
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let config = config_of("root");
    assert_eq!(
        refused(&config).to_string(),
        "disk root: cannot open /nonexistent; does it exist, and may this user write it?"
    );
}

#[test]
fn only_files_and_block_devices_are_disks() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut config = config_of("root");
    config.read_only = true;
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for (path, kind) in [
        (folder.path().to_owned(), "a folder"),
        (pipe, "a named pipe"),
        ("/dev/null".into(), "a character device"),
    ] {
        config.path = path;
        assert!(matches!(refused(&config), OpenDiskError::Kind { kind: said, .. } if said == kind));
    }
    config.path = folder.path().join("socket");
    let _listener = UnixListener::bind(&config.path).unwrap();
    assert!(matches!(refused(&config), OpenDiskError::Open { .. }));
}

#[test]
fn less_than_a_sector_is_no_disk() {
    let file = numbered(1);
    file.as_file().set_len(511).unwrap();
    assert!(matches!(
        refused(&config(&file)),
        OpenDiskError::Empty { bytes: 511, .. }
    ));
    // What is beyond the last whole sector does not count.
    file.as_file().set_len(1000).unwrap();
    assert_eq!(open(&config(&file)).capacity_bytes(), 512);
}

#[test]
fn no_two_machines_have_a_disk_that_one_of_them_writes() {
    let file = numbered(8);
    let writer = config(&file);
    let mut reader = writer.clone();
    reader.read_only = true;
    let first = open(&writer);
    assert!(matches!(
        refused(&writer),
        OpenDiskError::InUse { written: true, .. }
    ));
    assert!(matches!(
        refused(&reader),
        OpenDiskError::InUse { written: false, .. }
    ));
    drop(first);
    let readers = (open(&reader), open(&reader));
    let said = refused(&writer).to_string();
    assert!(
        said.ends_with("is in use by another machine or program; stop that first"),
        "{said}"
    );
    drop(readers);
    open(&writer);
}
