//! The control queue (5.1.6.5), and a guest that tries.

use std::io;

use proptest::prelude::*;
use virtio_bindings::virtio_net::VIRTIO_NET_F_CTRL_VQ;
use virtio_queue::QueueT as _;

use super::guest::wake;
use super::many::{CONTROL, ERR, FEATURES, Many, OK, PAIRS, UNANSWERED, switched};
use crate::config::RateLimits;
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::testing::Piece;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

#[test]
fn the_command_vq_pairs_set_is_answered_in_one_byte_and_tells_the_driver() {
    let mut many = Many::started();
    let answer = many.put(4, 0, &[2, 0]);
    many.driver.interrupts();
    many.network.queue_ready(CONTROL);
    assert_eq!(many.driver.used(CONTROL), [(0, 1)]);
    assert_eq!(many.driver.bytes(answer, 1), [OK]);
    assert_eq!((many.in_use(), many.driver.interrupts()), (2, 1));
}

#[test]
fn a_number_of_pairs_that_there_cannot_be_is_refused_and_nothing_changes() {
    let mut many = Many::started();
    assert_eq!(many.set_pairs(3), OK);
    switched();
    let beyond = u16::try_from(PAIRS + 1).unwrap();
    for pairs in [0, beyond, 0x7fff, 0x8000, 0x8001, 0xffff] {
        assert_eq!(many.set_pairs(pairs), ERR, "{pairs:#x}");
        assert_eq!(many.in_use(), 3);
    }
    assert!(switched().is_empty());
    assert_eq!(many.receive(2), 1, "the pairs go on");
}

#[test]
fn classes_and_commands_of_features_that_are_not_offered_are_refused() {
    let mut many = Many::started();
    for class in (0..=8).chain([0x7f, 0xff]) {
        for command in [0, 1, 2, 0xff] {
            if (class, command) == (4, 0) {
                continue;
            }
            for data in [&[][..], &[1], &[1, 0], &[1, 0, 0, 0, 0, 0]] {
                assert_eq!(many.command(class, command, data), ERR, "{class} {command}");
            }
        }
    }
    assert_eq!(many.in_use(), 1);
}

#[test]
fn a_command_of_another_length_is_refused() {
    let mut many = Many::started();
    for data in [&[][..], &[2], &[2, 0, 0], &[2; 1000]] {
        assert_eq!(many.command(4, 0, data), ERR, "{} bytes", data.len());
    }
    assert_eq!(many.in_use(), 1);
}

#[test]
fn the_layout_of_a_command_is_the_drivers_to_choose() {
    let mut many = Many::started();
    let command = many.driver.place(&[4, 0, 2, 0]);
    let answer = many.driver.place(&[UNANSWERED; 8]);
    // In one buffer, byte by byte with an empty one between, and in a table of its own; the answer has more room than it needs.
    let bytes = [0, 1, 2, 3].map(|at| Piece::read(command + at, 1));
    let split = [&bytes[..2], &[Piece::read(command, 0)], &bytes[2..]].concat();
    for (layout, pairs) in [(vec![Piece::read(command, 4)], 2), (split, 2)] {
        let chain = [&layout[..], &[Piece::write(answer, 8)]].concat();
        many.driver.offer(CONTROL, &chain);
        many.network.queue_ready(CONTROL);
        assert_eq!(many.driver.used(CONTROL).pop().unwrap().1, 1);
        assert_eq!(many.driver.bytes(answer, 3), [OK, UNANSWERED, UNANSWERED]);
        assert_eq!(many.in_use(), pairs);
        assert_eq!(many.set_pairs(1), OK);
    }
    let indirect = [Piece::read(command, 4), Piece::write(answer, 1)];
    many.driver.offer_indirect(CONTROL, &indirect);
    many.network.queue_ready(CONTROL);
    assert_eq!(many.in_use(), 2);
}

#[test]
fn a_chain_without_a_place_for_the_answer_goes_back_undone() {
    let mut many = Many::started();
    let command = many.driver.place(&[4, 0, 2, 0]);
    let shapes = [
        // Nothing to write to, an empty place, one beyond memory, and one where only what comes after it is memory.
        vec![Piece::read(command, 4)],
        vec![Piece::read(command, 4), Piece::write(command, 0)],
        vec![Piece::read(command, 4), Piece::write(u64::MAX, 1)],
        vec![
            Piece::read(command, 4),
            Piece::write(1 << 40, 1),
            Piece::write(command + 4, 1),
        ],
    ];
    for shape in shapes {
        let head = many.driver.offer(CONTROL, &shape);
        many.network.queue_ready(CONTROL);
        assert_eq!(many.driver.used(CONTROL), [(head, 0)]);
        assert_eq!(many.in_use(), 1);
    }
    assert_eq!(many.set_pairs(2), OK, "the queue goes on");
}

#[test]
fn chains_that_make_no_sense_are_refused_or_go_back() {
    let mut many = Many::started();
    let command = many.driver.place(&[4, 0, 2, 0]);
    let answer = many.driver.place(&[UNANSWERED]);
    let place = Piece::write(answer, 1);
    // No command, one outside of memory, one that says to be longer than all memory.
    for pieces in [
        &[place][..],
        &[Piece::read(u64::MAX - 1, 4), place],
        &[Piece::read(1 << 40, 4), place],
        &[Piece::read(command, u32::MAX - 8), Piece::read(command, 4), place],
    ] {
        many.driver.offer(CONTROL, pieces);
        many.network.queue_ready(CONTROL);
        assert_eq!(many.driver.used(CONTROL).pop().unwrap().1, 1, "{pieces:?}");
        assert_eq!(many.driver.bytes(answer, 1), [ERR]);
    }
    // The command where it should be written, or behind the answer; a loop; a table in a table.
    let head = many.driver.offer(CONTROL, &[Piece::write(command, 4), place]);
    many.network.queue_ready(CONTROL);
    assert_eq!(many.driver.used(CONTROL), [(head, 1)]);
    assert_eq!(
        many.driver.bytes(command, 4),
        [ERR, 0, 2, 0],
        "it was taken for the answer"
    );
    let command = many.driver.place(&[4, 0, 2, 0]);
    let head = many.driver.offer(CONTROL, &[place, Piece::read(command, 4)]);
    many.driver.write_descriptor(CONTROL, 14, command, 4, NEXT, 15);
    many.driver
        .write_descriptor(CONTROL, 15, answer, 1, NEXT | WRITE, 14);
    many.driver.offer_head(CONTROL, 14);
    many.network.queue_ready(CONTROL);
    assert_eq!(many.driver.used(CONTROL), [(head, 0), (14, 0)]);
    let head = many.driver.offer_indirect_twice(CONTROL);
    many.network.queue_ready(CONTROL);
    assert_eq!(many.driver.used(CONTROL), [(head, 0)]);
    assert_eq!(many.in_use(), 1);
}

#[test]
fn a_control_ring_that_makes_no_sense_stops_alone_and_until_the_reset() {
    let mut many = Many::started();
    assert_eq!(many.set_pairs(2), OK);
    many.driver.set_available_index(CONTROL, 1000);
    many.network.queue_ready(CONTROL);
    many.driver.set_available_index(CONTROL, 1);
    assert_eq!(many.set_pairs(3), UNANSWERED);
    assert_eq!((many.in_use(), many.receive(1)), (2, 1), "frames go on");
    many.network.reset();
    let mut driver = Many::new().driver;
    std::mem::swap(&mut driver, &mut many.driver);
    many.start();
    assert_eq!(many.set_pairs(3), OK);
}

#[test]
fn pairs_that_the_driver_has_not_set_up_are_not_switched_on() {
    let mut many = Many::new();
    let mut activation = many.driver.activation(FEATURES);
    activation.queues[5].set_ready(false);
    many.network.activate(activation).unwrap();
    assert_eq!(many.set_pairs(3), ERR);
    assert_eq!(many.set_pairs(2), OK);
}

#[test]
fn without_the_feature_the_control_queue_is_the_third_and_refuses_pairs() {
    let mut many = Many::new();
    let activation = many.driver.activation(1 << VIRTIO_NET_F_CTRL_VQ);
    many.network.activate(activation).unwrap();
    let command = many.driver.place(&[4, 0, 2, 0]);
    let answer = many.driver.place(&[UNANSWERED]);
    // There are buffers of the second pair in that queue: they hold no command.
    many.network.queue_ready(2);
    assert_eq!(many.driver.used(2).len(), 4);
    many.driver
        .offer(2, &[Piece::read(command, 4), Piece::write(answer, 1)]);
    many.network.queue_ready(2);
    assert_eq!(many.driver.bytes(answer, 1), [ERR]);
    assert_eq!(many.in_use(), 1);
    let count = many.network.queues().unwrap().len();
    assert_eq!(count, CONTROL + 1);
}

#[test]
fn a_host_that_refuses_leaves_all_as_it_was() {
    fn grudging(queue: &std::fs::File, attached: bool) -> io::Result<()> {
        if attached {
            Err(io::ErrorKind::PermissionDenied.into())
        } else {
            super::many::switch(queue, attached)
        }
    }
    let mut many = Many::with(RateLimits::default(), grudging);
    many.start();
    assert_eq!(many.set_pairs(4), ERR);
    assert_eq!((many.in_use(), many.receive(0)), (1, 1));
}

#[test]
fn a_guest_that_changes_its_mind_all_the_time_waits_and_others_do_not() {
    let mut many = Many::started();
    for at in 0..16 {
        assert_eq!(many.set_pairs(2 - at % 2), OK);
    }
    let answer = many.put(4, 0, &[4, 0]);
    many.network.queue_ready(CONTROL);
    assert!(many.driver.used(CONTROL).is_empty(), "it stays in the ring");
    assert_eq!((many.in_use(), many.receive(0)), (1, 1), "frames do not wait");
    wake(&mut many.network);
    assert_eq!(many.driver.bytes(answer, 1), [OK]);
    assert_eq!(many.in_use(), 4);
}

#[test]
fn a_reset_while_a_command_waits_forgets_it() {
    let mut many = Many::started();
    for at in 0..16 {
        many.set_pairs(2 - at % 2);
    }
    many.put(4, 0, &[4, 0]);
    many.network.queue_ready(CONTROL);
    many.network.reset();
    wake(&mut many.network);
    assert_eq!(many.in_use(), 0);
    many.network.queue_ready(CONTROL);
    assert!(many.driver.used(CONTROL).is_empty());
}

#[test]
fn a_paused_device_obeys_when_it_goes_on() {
    let mut many = Many::started();
    many.network.pause();
    let answer = many.put(4, 0, &[3, 0]);
    many.network.queue_ready(CONTROL);
    assert_eq!(many.driver.bytes(answer, 1), [UNANSWERED]);
    many.network.resume();
    assert_eq!(many.driver.bytes(answer, 1), [OK]);
    assert_eq!(many.in_use(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    /// Fewer changes than may be made at once, so that none waits.
    #[test]
    fn in_use_is_what_was_last_answered_with_ok(
        asked in prop::collection::vec((prop_oneof![4 => Just(4_u8), 1 => any::<u8>()], 0..2_u8, 0..7_u16), 0..16),
    ) {
        let mut many = Many::started();
        let mut expected = 1;
        let mut attached = 1;
        for (class, command, pairs) in asked {
            let possible = (class, command) == (4, 0) && (1..=4).contains(&pairs);
            let answer = many.command(class, command, &pairs.to_le_bytes());
            prop_assert_eq!(answer, if possible { OK } else { ERR });
            if possible {
                expected = pairs.into();
            }
            prop_assert_eq!(many.in_use(), expected);
            for attach in switched() {
                attached = if attach { attached + 1 } else { attached - 1 };
            }
            prop_assert_eq!(attached, expected, "what the host has attached");
        }
    }
}
