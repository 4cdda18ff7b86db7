//! Requests that make no sense, from a driver that means harm.

use proptest::prelude::*;

use super::guest::*;
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::testing::Piece;

const MEMORY: u64 = 32 << 20;

fn guest() -> Guest {
    let file = numbered(64);
    let guest = Guest::new(open(&config(&file)));
    // The disk has it open.
    drop(file);
    guest
}

/// Offers a chain, and says what the device says it wrote.
fn offer(guest: &mut Guest, pieces: &[Piece]) -> u32 {
    let head = guest.driver.offer(0, pieces);
    guest.disk.queue_ready(0);
    let used = guest.wait_for(0, 1);
    assert_eq!(used.len(), 1);
    assert_eq!(used[0].0, head);
    used[0].1
}

/// The disk still does what it should.
fn assert_alive(guest: &mut Guest) {
    assert_eq!(guest.run(IN, 7, &[], 512), (OK, 513, sector_of(7)));
}

#[test]
fn what_lies_beyond_the_end_is_neither_read_nor_written() {
    for mut kind in kinds(64) {
        let guest = &mut kind.guest;
        for sector in [
            63,
            64,
            65,
            1 << 40,
            u64::MAX / 512,
            u64::MAX / 512 + 1,
            u64::MAX - 1,
            u64::MAX,
        ] {
            assert_eq!(guest.run(IN, sector, &[], 1024).0, FAILED, "{sector}");
            assert_eq!(guest.run(OUT, sector, &[1; 1024], 0).0, FAILED, "{sector}");
            assert_eq!(guest.run(DISCARD, 0, &range(sector, 2, 0), 0).0, FAILED);
            assert_eq!(guest.run(WRITE_ZEROES, 0, &range(sector, 2, 1), 0).0, FAILED);
        }
        assert_eq!(guest.run(IN, 63, &[], 512).2, sector_of(63), "{}", kind.name);
    }
}

#[test]
fn half_a_sector_is_no_sector() {
    let mut guest = guest();
    for length in [1, 511, 513] {
        assert_eq!(guest.run(IN, 0, &[], length).0, FAILED);
    }
    assert_eq!(guest.run(OUT, 0, &[0; 100], 0).0, FAILED);
    assert_eq!(guest.run(IN, 0, &[], 0).0, OK);
    assert_alive(&mut guest);
}

#[test]
fn a_read_only_disk_is_only_read() {
    let file = numbered(64);
    let mut config = config(&file);
    config.read_only = true;
    let mut guest = Guest::new(open(&config));
    assert_ne!(guest.disk.features() & 1 << 5, 0);
    assert_eq!(guest.run(OUT, 0, &[0; 512], 0).0, FAILED);
    for kind in [DISCARD, WRITE_ZEROES] {
        assert_eq!(guest.run(kind, 0, &range(0, 8, 0), 0).0, UNSUPPORTED);
    }
    assert_eq!(guest.run(FLUSH, 0, &[], 0).0, OK);
    assert_eq!(in_file(&file, 0, 1), sector_of(0));
    assert_alive(&mut guest);
}

#[test]
fn what_it_does_not_know_is_unsupported() {
    let mut guest = guest();
    for kind in [2, 3, 5, 9, 10, 12, 14, 15, 1 << 31, u32::MAX] {
        assert_eq!(guest.run(kind, 0, &[0; 16], 0).0, UNSUPPORTED, "{kind}");
    }
    // What a driver did not agree to, it does not get.
    let features = guest.disk.features() & !(1 << 13 | 1 << 14);
    guest.disk.reset();
    guest.driver.begin_again();
    guest.disk.activate(guest.driver.activation(features)).unwrap();
    for kind in [DISCARD, WRITE_ZEROES] {
        assert_eq!(guest.run(kind, 0, &range(0, 8, 0), 0).0, UNSUPPORTED);
    }
}

#[test]
fn ranges_that_break_the_rules_are_refused() {
    let mut guest = guest();
    // Too short, too many, too large.
    assert_eq!(guest.run(DISCARD, 0, &[0; 15], 0).0, FAILED);
    let two = [range(0, 8, 0), range(8, 8, 0)].concat();
    assert_eq!(guest.run(DISCARD, 0, &two, 0).0, FAILED);
    assert_eq!(guest.run(WRITE_ZEROES, 0, &range(0, u32::MAX, 0), 0).0, FAILED);
    // Flags: none for a discard, one for zeroes.
    assert_eq!(guest.run(DISCARD, 0, &range(0, 8, 1), 0).0, UNSUPPORTED);
    assert_eq!(guest.run(WRITE_ZEROES, 0, &range(0, 8, 2), 0).0, UNSUPPORTED);
    assert_eq!(guest.run(DISCARD, 0, &range(0, 0, 0), 0).0, OK);
    assert_eq!(guest.run(IN, 0, &[], 512).2, sector_of(0));
}

#[test]
fn a_chain_without_a_place_for_the_status_goes_back_empty() {
    let mut guest = guest();
    let header = guest.header(IN, 0);
    assert_eq!(offer(&mut guest, &[Piece::read(header, 16)]), 0);
    assert_eq!(
        offer(&mut guest, &[Piece::read(header, 16), Piece::write(header, 0)]),
        0
    );
    for status in [MEMORY, u64::MAX, u64::MAX - 511] {
        assert_eq!(
            offer(&mut guest, &[Piece::read(header, 16), Piece::write(status, 512)]),
            0
        );
    }
    assert_alive(&mut guest);
    assert_eq!(guest.disk.stats().errors, 5);
}

#[test]
fn a_chain_without_a_whole_header_goes_back_empty() {
    let mut guest = guest();
    let header = guest.header(IN, 0);
    let status = guest.driver.room(1);
    assert_eq!(offer(&mut guest, &[Piece::write(status, 1)]), 0);
    assert_eq!(
        offer(&mut guest, &[Piece::read(header, 15), Piece::write(status, 1)]),
        0
    );
    for address in [MEMORY - 8, MEMORY, u64::MAX - 3] {
        assert_eq!(
            offer(&mut guest, &[Piece::read(address, 16), Piece::write(status, 1)]),
            0
        );
    }
    assert_alive(&mut guest);
}

#[test]
fn readable_behind_writable_goes_back_empty() {
    let mut guest = guest();
    let header = guest.header(IN, 0);
    let status = guest.driver.room(1);
    let pieces = [
        Piece::write(status, 1),
        Piece::read(header, 16),
        Piece::write(status, 1),
    ];
    assert_eq!(offer(&mut guest, &pieces), 0);
    assert_alive(&mut guest);
}

#[test]
fn data_beyond_memory_fails_and_is_not_touched() {
    for mut kind in kinds(64) {
        let guest = &mut kind.guest;
        let status = guest.driver.place(&[NONE]);
        for (address, length) in [
            (MEMORY - 511, 512),
            (MEMORY, 512),
            (u64::MAX - 511, 512),
            (0, u32::MAX - 1023),
        ] {
            for (command, piece) in [
                (IN, Piece::write(address, length)),
                (OUT, Piece::read(address, length)),
                (GET_ID, Piece::write(address, length)),
            ] {
                let header = guest.header(command, 0);
                let pieces = [Piece::read(header, 16), piece, Piece::write(status, 1)];
                assert_eq!(offer(guest, &pieces), 1, "{}: {address:x}", kind.name);
                assert_eq!(guest.driver.bytes(status, 1), [FAILED]);
            }
        }
        assert_alive(guest);
    }
}

#[test]
fn pieces_that_lie_over_each_other_do_not_make_a_request_without_end() {
    const PIECE: u32 = 16 << 20;
    let file = numbered(64);
    file.as_file().set_len(1 << 30).unwrap();
    let mut guest = Guest::new(open(&config(&file)));
    let status = guest.driver.place(&[NONE]);
    // The upper half of the memory, again and again: 64 MiB, and a sector more.
    for (more, expected) in [(0, OK), (512, FAILED)] {
        let header = guest.header(IN, 0);
        let mut pieces = vec![Piece::read(header, 16)];
        pieces.extend([Piece::write(MEMORY / 2, PIECE); 4]);
        pieces.push(Piece::write(MEMORY / 2, more));
        pieces.push(Piece::write(status, 1));
        offer(&mut guest, &pieces);
        assert_eq!(guest.driver.bytes(status, 1), [expected], "{more}");
    }
    assert_alive(&mut guest);
}

#[test]
fn a_chain_that_bites_its_tail_ends() {
    let mut guest = guest();
    let header = guest.header(IN, 0);
    // 0 -> 1 -> 0 …
    guest.driver.write_descriptor(0, 0, header, 16, 1, 1);
    guest.driver.write_descriptor(0, 1, header, 16, 1, 0);
    guest.driver.offer_head(0, 0);
    guest.disk.queue_ready(0);
    assert_eq!(guest.driver.used(0), [(0, 0)]);
    // One that leads out of the table.
    guest.driver.write_descriptor(0, 0, header, 16, 1, 5000);
    guest.driver.offer_head(0, 0);
    guest.disk.queue_ready(0);
    assert_eq!(guest.driver.used(0), [(0, 0)]);
    guest.driver.offer_indirect_twice(0);
    guest.disk.queue_ready(0);
    assert_eq!(guest.driver.used(0).len(), 1);
}

#[test]
fn more_pieces_than_agreed_go_back_empty() {
    let mut guest = guest();
    let header = guest.header(IN, 0);
    let room = guest.driver.room(1);
    let mut pieces = vec![Piece::read(header, 16)];
    pieces.extend((0..300).map(|_| Piece::write(room, 512)));
    let head = guest.driver.offer_indirect(0, &pieces);
    guest.disk.queue_ready(0);
    assert_eq!(guest.driver.used(0), [(head, 0)]);
    assert_alive(&mut guest);
}

#[test]
fn a_ring_that_makes_no_sense_is_left_alone_until_a_reset() {
    let mut guest = guest();
    guest.driver.set_available_index(0, 300);
    guest.disk.queue_ready(0);
    assert_eq!(guest.driver.used(0), []);
    guest.driver.set_available_index(0, 0);
    guest.prepare(0, GET_ID, 0, &[], 20);
    guest.disk.queue_ready(0);
    assert_eq!(guest.driver.used(0), []);
    guest.disk.reset();
    guest.driver.begin_again();
    let features = guest.disk.features();
    guest.disk.activate(guest.driver.activation(features)).unwrap();
    assert_alive(&mut guest);
}

#[test]
fn a_head_that_is_no_descriptor_stops_the_queue() {
    let mut guest = guest();
    guest.driver.offer_head(0, 256);
    guest.disk.queue_ready(0);
    assert_eq!(guest.driver.used(0), []);
}

#[test]
fn a_guest_that_never_stops_asking_does_not_keep_the_thread() {
    let mut guest = guest();
    let header = guest.header(77, 0);
    let status = guest.driver.room(1);
    let pieces = [Piece::read(header, 16), Piece::write(status, 1)];
    // Each answer makes room for one more: the double cannot write while the device works, so the ring is just full.
    for _ in 0..256 {
        guest.driver.offer_indirect(0, &pieces);
    }
    guest.disk.queue_ready(0);
    assert_eq!(guest.driver.used(0).len(), 256);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn nothing_that_a_driver_does_breaks_it(script in prop::collection::vec(any::<u8>(), 0..400)) {
        crate::devices::virtio::block::fuzz::fuzz(&script);
    }

    #[test]
    fn a_read_is_right_or_fails_wherever_it_is(sector in 0_u64..80, sectors in 0_u32..80) {
        let mut guest = guest();
        let (status, written, data) = guest.run(IN, sector, &[], sectors * 512);
        if sector + u64::from(sectors) <= 64 {
            prop_assert_eq!((status, written), (OK, sectors * 512 + 1));
            let expected: Vec<u8> = (sector..sector + u64::from(sectors)).flat_map(sector_of).collect();
            prop_assert_eq!(data, expected);
        } else {
            prop_assert_eq!((status, written), (FAILED, 1));
        }
    }
}
