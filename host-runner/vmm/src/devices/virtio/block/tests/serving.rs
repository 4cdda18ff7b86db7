//! Requests that make sense: each of them on `io_uring`, on threads, and on qcow2.

use std::os::unix::fs::MetadataExt;

use virtio_queue::QueueT;

use super::guest::*;
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::block::{BlockStats, LOAD_MAX, QUEUES_MAX};
use crate::devices::virtio::testing::Piece;

#[test]
fn a_read_brings_what_is_on_the_disk() {
    for mut kind in kinds(64) {
        let (status, written, data) = kind.guest.run(IN, 7, &[], 1024);
        assert_eq!((status, written), (OK, 1025), "{}", kind.name);
        assert_eq!(data, [sector_of(7), sector_of(8)].concat(), "{}", kind.name);
    }
}

#[test]
fn a_write_is_read_again_and_touches_nothing_else() {
    for mut kind in kinds(64) {
        let (status, written, _) = kind.guest.run(OUT, 3, &[0x5a; 1024], 0);
        assert_eq!((status, written), (OK, 1), "{}", kind.name);
        let (_, _, data) = kind.guest.run(IN, 2, &[], 4 * 512);
        let expected = [sector_of(2), vec![0x5a; 1024], sector_of(5)].concat();
        assert_eq!(data, expected, "{}", kind.name);
    }
}

#[test]
fn what_was_written_and_flushed_is_found_by_the_next_machine() {
    for mut kind in kinds(64) {
        assert_eq!(kind.guest.run(OUT, 9, &[0x77; 512], 0).0, OK);
        assert_eq!(kind.guest.run(FLUSH, 0, &[], 0).0, OK);
        let (name, mut next) = kind.opened_again();
        assert_eq!(next.run(IN, 9, &[], 512).2, [0x77; 512], "{name}");
        assert_eq!(next.run(IN, 10, &[], 512).2, sector_of(10), "{name}");
    }
}

#[test]
fn without_a_flush_in_the_agreement_each_write_is_durable_and_works() {
    for kind in kinds(64) {
        let mut guest = kind.guest;
        guest.disk.reset();
        guest.driver.begin_again();
        let ranges = 1 << 13 | 1 << 14;
        guest.disk.activate(guest.driver.activation(ranges)).unwrap();
        assert_eq!(guest.run(OUT, 9, &[0x77; 512], 0).0, OK, "{}", kind.name);
        assert_eq!(guest.run(DISCARD, 0, &range(8, 8, 0), 0).0, OK, "{}", kind.name);
        assert_eq!(
            guest.run(WRITE_ZEROES, 0, &range(8, 8, 0), 0).0,
            OK,
            "{}",
            kind.name
        );
        assert_eq!(guest.run(IN, 9, &[], 512).2, [0; 512], "{}", kind.name);
    }
}

#[test]
fn the_driver_turns_the_write_cache_off_and_on() {
    let file = numbered(64);
    let mut guest = Guest::new(open(&config(&file)));
    let cache = |guest: &Guest| {
        let mut byte = [9];
        guest.disk.read_config(32, &mut byte);
        byte[0]
    };
    assert_eq!(cache(&guest), 1);
    assert!(!guest.disk.rules().durable);
    guest.disk.write_config(32, &[0]);
    assert_eq!(cache(&guest), 0);
    assert!(guest.disk.rules().durable);
    assert_eq!(guest.run(OUT, 1, &[1; 512], 0).0, OK);
    guest.disk.write_config(32, &[1]);
    assert!(!guest.disk.rules().durable);
    guest.disk.write_config(32, &[0]);
    guest.disk.reset();
    assert_eq!(cache(&guest), 1);
}

#[test]
fn zeroes_are_read_as_zeroes_whether_their_space_is_given_back_or_not() {
    for flags in [0, 1] {
        for mut kind in kinds(2048) {
            let (name, guest) = (kind.name, &mut kind.guest);
            // Neither end on a block or cluster of the host.
            assert_eq!(
                guest.run(WRITE_ZEROES, 0, &range(5, 1500, flags), 0).0,
                OK,
                "{name}"
            );
            assert_eq!(guest.run(IN, 4, &[], 512).2, sector_of(4), "{name}");
            for sector in [5, 700, 1504] {
                assert_eq!(guest.run(IN, sector, &[], 512).2, [0; 512], "{name}");
            }
            assert_eq!(guest.run(IN, 1505, &[], 512).2, sector_of(1505), "{name}");
        }
    }
}

#[test]
fn a_discard_gives_space_back_to_the_host_and_leaves_the_rest_alone() {
    let file = numbered(4096);
    file.as_file().sync_all().unwrap();
    let before = file.as_file().metadata().unwrap().blocks();
    let mut guest = Guest::new(open(&config(&file)));
    assert_eq!(guest.run(DISCARD, 0, &range(8, 4000, 0), 0).0, OK);
    assert_eq!(guest.run(IN, 7, &[], 512).2, sector_of(7));
    assert_eq!(guest.run(IN, 4008, &[], 512).2, sector_of(4008));
    let metadata = file.as_file().metadata().unwrap();
    assert!(
        metadata.blocks() + 3000 < before,
        "{before} blocks, then {}",
        metadata.blocks()
    );
    assert_eq!(metadata.len(), 4096 * 512);
}

#[test]
fn the_serial_number_is_the_name_of_the_disk() {
    let file = numbered(8);
    let mut guest = Guest::new(open(&config(&file)));
    let (status, written, data) = guest.run(GET_ID, 0, &[], 20);
    assert_eq!((status, written), (OK, 21));
    assert_eq!(&data, b"root\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    // A driver with less room gets what goes into it, and nothing behind it is written.
    assert_eq!(guest.run(GET_ID, 0, &[], 2).2, b"ro");
    assert_eq!(guest.run(GET_ID, 0, &[], 22).2[20..], [0, 0]);
}

#[test]
fn a_request_may_be_spread_over_descriptors_in_any_way() {
    for mut kind in kinds(64) {
        let guest = &mut kind.guest;
        let header = guest.header(IN, 1);
        let room = guest.driver.room(2000);
        let pieces = [
            Piece::read(header, 5),
            Piece::read(header + 5, 11),
            Piece::write(room, 1),
            Piece::write(room + 1, 700),
            Piece::write(room + 701, 0),
            // The last data and the status in one.
            Piece::write(room + 701, 324),
        ];
        for indirect in [false, true] {
            let head = if indirect {
                guest.driver.offer_indirect(0, &pieces)
            } else {
                guest.driver.offer(0, &pieces)
            };
            guest.disk.queue_ready(0);
            assert_eq!(guest.wait_for(0, 1), [(head, 1025)], "{}", kind.name);
            let expected = [sector_of(1), sector_of(2), vec![OK]].concat();
            assert_eq!(guest.driver.bytes(room, 1025), expected, "{}", kind.name);
        }
    }
}

#[test]
fn a_large_request_in_many_pieces_is_done_whole() {
    for mut kind in kinds(4096) {
        let guest = &mut kind.guest;
        let header = guest.header(IN, 100);
        let room = guest.driver.room(254 * 4608);
        let status = guest.driver.place(&[NONE]);
        let mut pieces = vec![Piece::read(header, 16)];
        pieces.extend((0..254).map(|at| Piece::write(room + at * 4608, 4608)));
        pieces.push(Piece::write(status, 1));
        let head = guest.driver.offer(0, &pieces);
        guest.disk.queue_ready(0);
        assert_eq!(guest.wait_for(0, 1), [(head, 254 * 4608 + 1)]);
        let expected: Vec<u8> = (100..100 + 254 * 9).flat_map(sector_of).collect();
        assert!(guest.driver.bytes(room, 254 * 4608) == expected, "{}", kind.name);
        assert_eq!(guest.driver.bytes(status, 1), [OK]);
    }
}

#[test]
fn more_requests_than_slots_all_end_and_each_once() {
    for mut kind in kinds(4096) {
        let guest = &mut kind.guest;
        let mut sent = Vec::new();
        for round in 0..3 {
            // Three descriptors each, of 256.
            let batch: Vec<_> = (0..85)
                .map(|at| guest.prepare(0, IN, round * 85 + at, &[], 512))
                .collect();
            guest.disk.queue_ready(0);
            let used = guest.wait_for(0, batch.len());
            assert_eq!(used.len(), batch.len());
            sent.extend(
                batch
                    .into_iter()
                    .zip(0..)
                    .map(|(sent, at)| (sent, round * 85 + at)),
            );
        }
        for (sent, sector) in sent {
            assert_eq!(guest.status(sent), OK, "{}", kind.name);
            assert_eq!(guest.data(sent), sector_of(sector), "{}", kind.name);
        }
        assert_eq!(guest.disk.stats().reads, 255);
    }
}

#[test]
fn a_request_that_has_too_much_data_for_what_is_under_way_waits_in_the_ring() {
    for mut kind in kinds(64) {
        let (name, guest) = (kind.name, &mut kind.guest);
        // As if so much were under way.
        guest.disk.load = LOAD_MAX;
        let flush = guest.prepare(0, FLUSH, 0, &[], 0);
        let read = guest.prepare(0, IN, 5, &[], 512);
        guest.disk.queue_ready(0);
        assert_eq!(guest.wait_for(0, 1), [(flush.head, 1)], "{name}: it has no data");
        assert_eq!(guest.disk.queues().unwrap()[0].next_avail(), 1, "{name}");
        // And as if it had ended.
        guest.disk.load = 0;
        guest.disk.active.as_mut().unwrap().crowded = false;
        guest.disk.queue_ready(0);
        assert_eq!(guest.wait_for(0, 1), [(read.head, 513)], "{name}");
        assert_eq!(guest.data(read), sector_of(5), "{name}");
        assert_eq!(guest.disk.load, 0, "{name}");
    }
}

#[test]
fn requests_with_more_data_than_may_be_under_way_all_end() {
    const PIECE: u32 = 12 << 20;
    for mut kind in kinds(u64::from(PIECE) / 512) {
        let (name, guest) = (kind.name, &mut kind.guest);
        let header = guest.header(IN, 0);
        let into = guest.driver.room(PIECE);
        let mut statuses = Vec::new();
        for _ in 0..8 {
            let status = guest.driver.place(&[NONE]);
            let pieces = [
                Piece::read(header, 16),
                Piece::write(into, PIECE),
                Piece::write(status, 1),
            ];
            guest.driver.offer(0, &pieces);
            statuses.push(status);
        }
        guest.disk.queue_ready(0);
        let mut used = guest.driver.used(0).len();
        while used < statuses.len() {
            assert!(guest.disk.load <= LOAD_MAX, "{name}");
            // What the device has to come back for by itself, or something that it waits for.
            if guest.driver.is_kicked(0) {
                guest.disk.queue_ready(0);
            } else {
                guest.turn();
            }
            used += guest.driver.used(0).len();
        }
        for status in statuses {
            assert_eq!(guest.driver.bytes(status, 1), [OK], "{name}");
        }
        assert_eq!(guest.disk.load, 0, "{name}");
    }
}

#[test]
fn with_indirect_chains_the_whole_ring_is_more_than_the_slots_and_still_ends() {
    for mut kind in kinds(64) {
        let guest = &mut kind.guest;
        let header = guest.header(IN, 3);
        let mut statuses = Vec::new();
        for _ in 0..256 {
            let status = guest.driver.place(&[NONE]);
            let room = guest.driver.room(512);
            let pieces = [
                Piece::read(header, 16),
                Piece::write(room, 512),
                Piece::write(status, 1),
            ];
            guest.driver.offer_indirect(0, &pieces);
            statuses.push(status);
        }
        guest.disk.queue_ready(0);
        assert_eq!(guest.wait_for(0, 256).len(), 256, "{}", kind.name);
        for status in statuses {
            assert_eq!(guest.driver.bytes(status, 1), [OK]);
        }
    }
}

#[test]
fn every_queue_is_served() {
    let file = numbered(64);
    let disk = crate::devices::virtio::block::Block::open(&config(&file), 9, || {}).unwrap();
    assert_eq!(disk.queue_sizes(), vec![256; usize::from(QUEUES_MAX)]);
    assert_ne!(disk.features() & 1 << 12, 0);
    let mut number = [0; 2];
    disk.read_config(34, &mut number);
    assert_eq!(u16::from_le_bytes(number), QUEUES_MAX);
    let mut guest = Guest::new(disk);
    for queue in 0..usize::from(QUEUES_MAX) {
        let sent = guest.prepare(queue, IN, queue as u64, &[], 512);
        guest.disk.queue_ready(queue);
        assert_eq!(guest.wait_for(queue, 1), [(sent.head, 513)]);
        assert_eq!(guest.data(sent), sector_of(queue as u64));
    }
}

#[test]
fn many_answers_at_once_are_one_interrupt_and_none_that_is_not_wanted() {
    let file = numbered(64);
    let mut guest = Guest::new(open(&config(&file)));
    for _ in 0..20 {
        guest.prepare(0, GET_ID, 0, &[], 20);
    }
    guest.disk.queue_ready(0);
    assert_eq!(guest.driver.used(0).len(), 20);
    assert_eq!(guest.driver.interrupts(), 1);
    guest.driver.want_interrupts(0, false);
    guest.prepare(0, GET_ID, 0, &[], 20);
    guest.disk.queue_ready(0);
    assert_eq!(guest.driver.used(0).len(), 1);
    assert_eq!(guest.driver.interrupts(), 0);
}

#[test]
fn it_counts_what_it_does() {
    for mut kind in kinds(64) {
        let guest = &mut kind.guest;
        guest.run(IN, 0, &[], 1024);
        guest.run(OUT, 0, &[1; 512], 0);
        guest.run(OUT, 1, &[1; 512], 0);
        guest.run(FLUSH, 0, &[], 0);
        guest.run(DISCARD, 0, &range(0, 8, 0), 0);
        guest.run(99, 0, &[], 0);
        guest.run(IN, 1 << 50, &[], 512);
        let expected = BlockStats {
            reads: 1,
            writes: 2,
            read_bytes: 1024,
            written_bytes: 1024,
            flushes: 1,
            discards: 1,
            errors: 2,
            throttled: 0,
        };
        assert_eq!(guest.disk.stats(), expected, "{}", kind.name);
    }
}

#[test]
fn pages_that_were_read_into_are_in_the_log_of_writes() {
    use vm_memory::bitmap::Bitmap;
    use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};
    for mut kind in kinds(64) {
        let guest = &mut kind.guest;
        // Pages that nobody has written, with one before and one behind them.
        guest.driver.room(8192);
        let sent = guest.prepare(0, IN, 0, &[], 20 * 512);
        guest.driver.room(8192);
        let first = usize::try_from(sent.data).unwrap();
        let logged = |guest: &Guest, from: usize| -> Vec<bool> {
            let region = guest.driver.memory().iter().next().unwrap();
            let pages = (first + from..first + 20 * 512).step_by(512);
            pages.map(|at| region.bitmap().dirty_at(at)).collect()
        };
        // What the driver wrote itself lies in the pages at the two ends.
        assert!(
            logged(guest, 4096)[..8].iter().any(|logged| !logged),
            "{}",
            kind.name
        );
        guest.disk.queue_ready(0);
        guest.wait_for(0, 1);
        assert!(logged(guest, 0).iter().all(|logged| *logged), "{}", kind.name);
    }
}
