//! Pause, resume, reset, save, restore, growth and limits.

use virtio_queue::QueueT;
use vm_memory::GuestMemoryBackend as _;
use vm_memory::bitmap::Bitmap as _;

use super::guest::*;
use crate::config::{BucketConfig, DiskFormat, RateLimits};
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::block::{Block, GrowError};

fn capacity_in_space(disk: &Block) -> u64 {
    let mut bytes = [0; 8];
    disk.read_config(0, &mut bytes);
    u64::from_le_bytes(bytes)
}

#[test]
fn a_pause_leaves_each_request_answered_or_not_taken() {
    for mut kind in kinds(4096) {
        let guest = &mut kind.guest;
        let sent: Vec<_> = (0..80)
            .map(|at| guest.prepare(0, IN, at * 8, &[], 4096))
            .collect();
        guest.disk.queue_ready(0);
        guest.disk.pause();
        let used = guest.driver.used(0);
        let queues = guest.disk.queues().unwrap();
        let next: Vec<_> = queues
            .iter()
            .map(|queue| (queue.next_avail(), queue.next_used()))
            .collect();
        assert_eq!(next, [(80, 80)], "{}", kind.name);
        assert_eq!(used.len(), 80);
        for sent in sent {
            assert_eq!(guest.status(sent), OK);
        }
        // Nothing is taken while it is paused.
        guest.prepare(0, GET_ID, 0, &[], 20);
        guest.disk.queue_ready(0);
        guest.disk.source_ready(0);
        assert_eq!(guest.driver.used(0), []);
        assert!(guest.driver.is_kicked(0), "left from the activation");
        guest.disk.resume();
        // The device thread is called, and does what was left.
        assert!(guest.driver.is_kicked(0));
        guest.disk.queue_ready(0);
        assert_eq!(guest.driver.used(0).len(), 1);
    }
}

#[test]
fn after_a_reset_nothing_that_was_under_way_is_written_to_the_guest() {
    for mut kind in kinds(4096) {
        let guest = &mut kind.guest;
        let sent: Vec<_> = (0..80).map(|at| guest.prepare(0, IN, at, &[], 512)).collect();
        guest.disk.queue_ready(0);
        let before = guest.driver.used(0).len();
        guest.disk.reset();
        assert!(guest.disk.queues().is_none());
        assert_eq!(guest.driver.used(0).len(), 0, "{before} answered before");
        let unanswered = sent.iter().filter(|sent| guest.status(**sent) == NONE).count();
        assert_eq!(unanswered + before, 80);
        // Late calls do no harm.
        guest.disk.queue_ready(0);
        guest.disk.source_ready(0);
        guest.disk.pause();
        guest.disk.resume();
        guest.driver.begin_again();
        let features = guest.disk.features();
        guest.disk.activate(guest.driver.activation(features)).unwrap();
        assert_eq!(guest.run(IN, 5, &[], 512).2, sector_of(5), "{}", kind.name);
    }
}

#[test]
fn a_disk_that_is_dropped_in_mid_flight_takes_the_guests_memory_along() {
    for mut kind in kinds(4096) {
        for at in 0..80 {
            kind.guest.prepare(0, IN, at, &[], 4096);
        }
        kind.guest.disk.queue_ready(0);
        drop(kind);
    }
}

#[test]
fn a_saved_disk_is_taken_up_by_the_same_disk_and_by_no_other() {
    let file = numbered(64);
    let mut config = config(&file);
    config.read_only = true;
    let mut first = open(&config);
    first.write_config(32, &[0]);
    let state = first.save().unwrap();
    let mut second = open(&config);
    second.restore(&state).unwrap();
    assert!(!second.writeback);
    config.id = "data".into();
    assert!(open(&config).restore(&state).is_err());
    config.id = "root".into();
    file.as_file().set_len(63 * 512).unwrap();
    let refused = open(&config).restore(&state).unwrap_err().to_string();
    assert_eq!(
        refused,
        "the saved state of disk root is that of a disk of 32768 bytes, and this one has 32256"
    );
    // A file that has grown is still what the guest knows.
    file.as_file().set_len(1 << 20).unwrap();
    let mut third = open(&config);
    third.restore(&state).unwrap();
    assert_eq!(third.capacity_bytes(), 64 * 512);
}

#[test]
fn a_state_that_is_none_is_refused() {
    let file = numbered(64);
    let mut disk = open(&config(&file));
    let state = disk.save().unwrap();
    for length in 0..state.len() {
        assert!(disk.restore(&state[..length]).is_err());
    }
    for bytes in [vec![0xff; 20], vec![0; 4096]] {
        assert!(disk.restore(&bytes).is_err());
    }
    disk.restore(&state).unwrap();
}

#[test]
fn a_disk_grows_while_it_is_used() {
    for mut kind in kinds(64) {
        let guest = &mut kind.guest;
        assert_eq!(capacity_in_space(&guest.disk), 64);
        assert_eq!(guest.run(IN, 100, &[], 512).0, FAILED);
        guest.disk.grow(1 << 20).unwrap();
        assert_eq!(capacity_in_space(&guest.disk), 2048);
        assert_eq!(guest.run(IN, 64, &[], 512).2, [0; 512], "{}", kind.name);
        assert_eq!(guest.run(OUT, 2047, &[7; 512], 0).0, OK);
        assert_eq!(guest.run(IN, 2047, &[], 512).2, [7; 512]);
        assert_eq!(guest.run(IN, 63, &[], 512).2, sector_of(63));
        // The same size again is no error; a smaller one is, and half a sector.
        guest.disk.grow(1 << 20).unwrap();
        for bytes in [512, (1 << 20) + 100] {
            let refused = guest.disk.grow(bytes);
            assert!(matches!(refused, Err(GrowError::Size { now: 0x10_0000, wanted }) if wanted == bytes));
        }
        assert_eq!(guest.run(FLUSH, 0, &[], 0).0, OK);
        let (name, again) = kind.opened_again();
        assert_eq!(again.disk.capacity_bytes(), 1 << 20, "{name}");
    }
}

#[test]
fn what_a_larger_backing_file_has_does_not_show_through_when_a_disk_grows() {
    let files = tempfile::TempDir::new().unwrap();
    std::fs::write(files.path().join("base"), vec![0xbb; 1 << 20]).unwrap();
    let mut config = config_of("root");
    config.path = files.path().join("disk");
    config.format = DiskFormat::Qcow2;
    super::images::overlay(&config.path, 128 << 10, "base", "raw");
    let mut guest = Guest::new(open(&config));
    guest.disk.grow(1 << 20).unwrap();
    assert_eq!(guest.run(IN, 255, &[], 512).2, [0xbb; 512]);
    assert_eq!(guest.run(IN, 256, &[], 512).2, [0; 512]);
    assert_eq!(guest.run(IN, 2047, &[], 512).2, [0; 512]);
}

#[test]
fn a_read_only_disk_does_not_grow_its_file() {
    let file = numbered(64);
    let mut config = config(&file);
    config.read_only = true;
    let mut disk = open(&config);
    assert!(matches!(disk.grow(1 << 20), Err(GrowError::ReadOnly)));
    assert_eq!(disk.capacity_bytes(), 64 * 512);
    // But it sees that somebody else has.
    file.as_file().set_len(1 << 20).unwrap();
    disk.grow(1 << 20).unwrap();
    assert_eq!(disk.capacity_bytes(), 1 << 20);
}

#[test]
fn a_limit_makes_the_guest_wait_and_nothing_is_lost() {
    let file = numbered(64);
    let mut config = config(&file);
    config.limit = RateLimits {
        bytes: Some(BucketConfig {
            per_second: 1 << 20,
            burst: 4096,
        }),
        operations: Some(BucketConfig {
            per_second: 200,
            burst: 4,
        }),
    };
    let mut guest = Guest::new(open(&config));
    let start = std::time::Instant::now();
    let sent: Vec<_> = (0..24).map(|at| guest.prepare(0, IN, at, &[], 512)).collect();
    guest.disk.queue_ready(0);
    let used = guest.wait_for_edges(0, 24);
    assert_eq!(used.len(), 24);
    // 4 at once, and 20 at 200 a second.
    assert!(
        start.elapsed() >= std::time::Duration::from_millis(99),
        "{:?}",
        start.elapsed()
    );
    for (sent, sector) in sent.into_iter().zip(0..) {
        assert_eq!(guest.data(sent), sector_of(sector));
    }
    assert!(guest.disk.stats().throttled > 0);
}

#[test]
fn zeroes_that_may_have_to_be_written_count_as_written() {
    let file = numbered(1024);
    let mut config = config(&file);
    config.limit.bytes = Some(BucketConfig {
        per_second: 1 << 20,
        burst: 4096,
    });
    let mut guest = Guest::new(open(&config));
    // The first leaves a debt, as any request that is larger than what can be had at once.
    for at in 0..2 {
        guest.prepare(0, WRITE_ZEROES, 0, &range(at * 256, 256, 0), 0);
    }
    let start = std::time::Instant::now();
    guest.disk.queue_ready(0);
    guest.wait_for_edges(0, 2);
    assert!(guest.disk.stats().throttled > 0);
    // 128 KiB at 1 MiB a second.
    assert!(start.elapsed() >= std::time::Duration::from_millis(120));
}

#[test]
fn what_was_read_for_a_driver_that_is_gone_is_known_as_written() {
    for mut kind in kinds(4096) {
        let guest = &mut kind.guest;
        let sent: Vec<_> = (0..80)
            .map(|at| guest.prepare(0, IN, at * 16, &[], 8192))
            .collect();
        let region = guest.driver.memory().iter().next().unwrap();
        (**region).bitmap().forget();
        guest.disk.queue_ready(0);
        guest.disk.reset();
        for sent in sent {
            let arrived = guest.data(sent) != [0; 8192];
            // The page in its middle, in which nothing else lies.
            let region = guest.driver.memory().iter().next().unwrap();
            let middle = usize::try_from(sent.data).unwrap() + 4096;
            assert!(!arrived || (**region).bitmap().dirty_at(middle), "{}", kind.name);
        }
    }
}

#[test]
fn the_configuration_space_says_what_the_disk_is_like() {
    let file = numbered(64);
    let disk = open(&config(&file));
    let number = |offset: u64| {
        let mut bytes = [0; 4];
        disk.read_config(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    };
    assert_eq!((number(0), number(4)), (64, 0), "capacity, in sectors");
    assert_eq!(number(8), 256 << 10, "bytes of a piece");
    assert_eq!(number(12), 254, "pieces of a request");
    assert_eq!(number(20), 512, "bytes of a block");
    assert_eq!(number(36), 4 << 20, "sectors of a discard");
    assert_eq!(number(40), 1, "ranges of a discard");
    assert_eq!(number(48), 4 << 20, "sectors of zeroes");
    assert_eq!(number(52), 1, "ranges of zeroes");
    assert_eq!(number(56), 1, "zeroes may give space back");
    for offset in [60, 4096, u64::MAX] {
        assert_eq!(number(offset), 0);
    }
}
