//! What the host's files do to a disk.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

use tempfile::NamedTempFile;

use super::guest::*;
use crate::config::DiskConfig;
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::block::{Block, OpenDiskError};
use crate::devices::virtio::testing::Piece;

/// A disk in memory, whose file system can take space away but not zero it in place.
fn in_memory() -> (File, DiskConfig) {
    let descriptor = rustix::fs::memfd_create("disk", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(descriptor);
    for sector in 0..8192 {
        file.write_all(&sector_of(sector)).unwrap();
    }
    let mut config = config_of("root");
    config.path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
    (file, config)
}

#[test]
fn zeroes_are_written_where_the_file_system_has_no_better_way() {
    for threads in [false, true] {
        let (_file, config) = in_memory();
        let mut guest = Guest::new(open_with(&config, threads));
        // More than is written at once, and no whole number of pages.
        assert_eq!(guest.run(WRITE_ZEROES, 0, &range(3, 7001, 0), 0).0, OK);
        assert_eq!(guest.run(IN, 2, &[], 512).2, sector_of(2));
        for sector in [3, 2050, 2051, 7003] {
            assert_eq!(guest.run(IN, sector, &[], 512).2, [0; 512], "{sector}");
        }
        assert_eq!(guest.run(IN, 7004, &[], 512).2, sector_of(7004));
        assert_eq!(guest.run(FLUSH, 0, &[], 0).0, OK);
    }
}

#[test]
fn a_file_that_was_cut_off_behind_its_back_fails_reads_and_grows_with_writes() {
    for threads in [false, true] {
        let (file, config) = in_memory();
        let mut guest = Guest::new(open_with(&config, threads));
        file.set_len(100 * 512 + 100).unwrap();
        assert_eq!(guest.run(IN, 99, &[], 512).0, OK);
        // Half of it is there.
        assert_eq!(guest.run(IN, 99, &[], 1024).0, FAILED);
        assert_eq!(guest.run(IN, 200, &[], 512).0, FAILED);
        assert_eq!(guest.run(OUT, 200, &[1; 512], 0).0, OK);
        assert_eq!(guest.run(IN, 200, &[], 512).2, [1; 512]);
    }
}

/// A numbered disk of 64 sectors that is opened around the page cache, and its file; `None` where the file system cannot, and says so.
fn direct(threads: bool) -> Option<(NamedTempFile, Guest)> {
    let file = NamedTempFile::new_in(std::env::current_dir().unwrap()).unwrap();
    let bytes: Vec<u8> = (0..64).flat_map(sector_of).collect();
    std::fs::write(file.path(), bytes).unwrap();
    let mut config = config(&file);
    config.direct = true;
    match Block::open(&config, 1, || {}) {
        Ok(disk) => {
            drop(disk);
            Some((file, Guest::new(open_with(&config, threads))))
        }
        Err(OpenDiskError::Open { err, .. }) => {
            assert_eq!(err.raw_os_error(), Some(libc::EINVAL));
            None
        }
        Err(error) => {
            assert!(matches!(error, OpenDiskError::Direct { .. }), "{error}");
            None
        }
    }
}

/// Reads or writes with the data in these pieces: the status.
fn transfer(guest: &mut Guest, kind: u32, sector: u64, data: &[Piece]) -> u8 {
    let header = guest.header(kind, sector);
    let status = guest.driver.place(&[NONE]);
    let mut pieces = vec![Piece::read(header, 16)];
    pieces.extend(data);
    pieces.push(Piece::write(status, 1));
    guest.driver.offer(0, &pieces);
    guest.disk.queue_ready(0);
    guest.wait_for(0, 1);
    guest.driver.bytes(status, 1)[0]
}

#[test]
fn around_the_page_cache_aligned_requests_work() {
    let Some((_file, mut guest)) = direct(false) else {
        return;
    };
    let room = guest.driver.room(3 * 4096).next_multiple_of(4096);
    let status = transfer(&mut guest, IN, 8, &[Piece::write(room, 4096)]);
    assert_eq!((status, guest.driver.bytes(room, 512)), (OK, sector_of(8)));
}

#[test]
fn around_the_page_cache_buffers_may_lie_anywhere() {
    for threads in [false, true] {
        let Some((file, mut guest)) = direct(threads) else {
            return;
        };
        let room = guest.driver.room(64 << 10).next_multiple_of(4096) + 3;
        let pieces = [Piece::write(room, 100), Piece::write(room + 5000, 3 * 512 - 100)];
        assert_eq!(transfer(&mut guest, IN, 8, &pieces), OK);
        assert_eq!(guest.driver.bytes(room, 100), sector_of(8)[..100]);
        let rest = [&sector_of(8)[100..], &sector_of(9), &sector_of(10)].concat();
        assert_eq!(guest.driver.bytes(room + 5000, 3 * 512 - 100), rest);
        // In place, but in pieces that are no whole blocks.
        let odd = [Piece::write(room - 3, 1), Piece::write(room + 4093, 511)];
        assert_eq!(transfer(&mut guest, IN, 20, &odd), OK);
        assert_eq!(guest.driver.bytes(room + 4093, 511), sector_of(20)[1..]);

        let data = guest.driver.place(&[7; 1025]) + 1;
        assert_eq!(transfer(&mut guest, OUT, 5, &[Piece::read(data, 1024)]), OK);
        assert_eq!(guest.run(FLUSH, 0, &[], 0).0, OK);
        assert_eq!(in_file(&file, 5, 2), [7; 1024]);
        assert_eq!(in_file(&file, 7, 1), sector_of(7));
    }
}
