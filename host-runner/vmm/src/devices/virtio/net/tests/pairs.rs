//! Several queue pairs: who uses them, and what becomes of them.

use virtio_bindings::virtio_net::{VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_MQ};
use virtio_queue::QueueT as _;

use super::many::{CONTROL, FEATURES, Many, OK, PAIRS, switched};
use super::peer::Peer;
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::net::{HEADER, Network};
use crate::devices::virtio::testing::Piece;

#[test]
fn the_driver_is_told_of_all_pairs_and_of_the_control_queue_behind_them() {
    let many = Many::new();
    let mut space = [0; 12];
    many.network.read_config(0, &mut space);
    assert_eq!(space[8..10], [4, 0], "max_virtqueue_pairs");
    assert_eq!(many.network.queue_sizes().len(), 2 * PAIRS + 1);
    assert_eq!(many.network.features() & FEATURES, FEATURES);
}

#[test]
fn a_backend_of_one_pair_offers_no_control_queue_and_says_why() {
    let peer = Peer::new();
    let network = Network::open(&peer.config(), 4).unwrap();
    assert_eq!(network.features() & FEATURES, 0);
    assert_eq!(network.queue_sizes().len(), 2);
    let pairs = network.stats().queue_pairs;
    assert_eq!(
        (pairs.most, pairs.one_because),
        (1, Some("a stream socket is one way for all frames"))
    );
    // A guest of one vCPU has no use for more, and nothing is to be said.
    let network = Network::open(&peer.config(), 1).unwrap();
    assert_eq!(network.stats().queue_pairs.one_because, None);
}

#[test]
fn one_pair_is_in_use_until_the_driver_asks_for_more() {
    let mut many = Many::started();
    assert_eq!(many.in_use(), 1);
    assert_eq!(many.receive(0), 1);
    for pair in 1..PAIRS {
        assert_eq!(many.receive(pair), 0);
        many.send(pair, &[8; 60]);
        assert_eq!(many.sent(pair), None);
    }
    // What waited goes with the command, and no kick is needed.
    assert_eq!(many.set_pairs(4), OK);
    for pair in 1..PAIRS {
        assert_eq!(many.driver.used(2 * pair).len(), 1);
        assert_eq!(many.sent(pair).unwrap(), [8; 60]);
    }
}

#[test]
fn frames_go_both_ways_by_each_pair_and_are_counted_for_it() {
    let mut many = Many::started();
    many.set_pairs(4);
    for pair in 0..PAIRS {
        for _ in 0..=pair {
            assert_eq!(many.receive(pair), 1);
        }
        many.send(pair, &[u8::try_from(pair).unwrap(); 60]);
        assert_eq!(many.sent(pair).unwrap(), [u8::try_from(pair).unwrap(); 60]);
    }
    let stats = many.network.stats();
    let each: Vec<_> = stats.queue_pairs.each;
    let frames: Vec<_> = each
        .iter()
        .map(|pair| (pair.received.frames, pair.sent.frames))
        .collect();
    assert_eq!(frames, [(1, 1), (2, 1), (3, 1), (4, 1)]);
    assert_eq!((stats.received.frames, stats.received.bytes), (10, 600));
    assert_eq!((stats.sent.frames, stats.sent.bytes), (4, 240));
}

#[test]
fn a_pair_that_is_switched_off_sends_what_it_has_and_leaves_its_buffers() {
    let mut many = Many::started();
    many.set_pairs(4);
    // Frames that the driver has put there before the command, and of which the device has not heard.
    let address = many.driver.place(&[9; HEADER + 60]);
    many.driver.offer(7, &[Piece::read(address, 72)]);
    assert_eq!(many.receive(3), 1);
    switched();
    assert_eq!(many.set_pairs(2), OK);
    assert_eq!(switched(), [false, false], "the queues of pairs 3 and 2");
    assert_eq!(many.sent(3).unwrap(), [9; 60]);
    assert_eq!(many.receive(3), 0);
    let queues = many.network.queues().unwrap();
    assert_eq!(
        queues[6].next_avail(),
        1,
        "buffers that were taken ahead are back"
    );
    assert_eq!(many.set_pairs(4), OK);
    assert_eq!(switched(), [true, true]);
    assert_eq!(many.receive(3), 2, "the frame that waited, and the new one");
}

#[test]
fn after_a_reset_one_pair_is_in_use() {
    let mut many = Many::started();
    many.set_pairs(3);
    switched();
    many.network.reset();
    assert_eq!(switched(), [false, false]);
    assert_eq!(many.in_use(), 0);
    let mut fresh = Many::new();
    std::mem::swap(&mut fresh.driver, &mut many.driver);
    many.start();
    assert_eq!((many.in_use(), many.receive(0)), (1, 1));
    assert_eq!(many.receive(2), 0);
}

#[test]
fn a_driver_of_one_pair_uses_the_first_two_queues() {
    for features in [0, 1 << VIRTIO_NET_F_MQ] {
        let mut many = Many::new();
        many.network.activate(many.driver.activation(features)).unwrap();
        assert_eq!(many.set_pairs(2), super::many::UNANSWERED);
        assert_eq!((many.receive(0), many.receive(1)), (1, 0));
        assert_eq!(many.network.queues().unwrap().len(), CONTROL + 1);
    }
}

#[test]
fn a_queue_of_the_tap_that_is_full_stops_no_other_pair() {
    let mut many = Many::started();
    many.set_pairs(2);
    loop {
        many.send(0, &[7; 60]);
        if many.driver.used(1).is_empty() {
            break;
        }
    }
    let stuck = many.network.stats().sent.frames;
    many.send(1, &[8; 60]);
    assert_eq!(many.sent(1).unwrap(), [8; 60]);
    assert_eq!(many.network.stats().sent.frames, stuck + 1);
    // There is room again: the frame that waited goes.
    while many.sent(0).is_some() {}
    super::guest::wake(&mut many.network);
    assert_eq!(many.sent(0).unwrap(), [7; 60]);
}

fn saved(pairs: u16) -> (Many, Vec<u8>) {
    let mut many = Many::started();
    many.set_pairs(pairs);
    many.network.pause();
    let state = many.network.save().unwrap();
    (many, state)
}

#[test]
fn a_restored_device_uses_as_many_pairs_as_the_one_that_was_saved() {
    for pairs in 1..=4 {
        let (saved, state) = saved(pairs);
        let mut many = Many::new();
        many.driver = saved.driver;
        many.network.restore(&state).unwrap();
        many.start();
        many.network.pause();
        many.network.resume();
        let pairs = usize::from(pairs);
        assert_eq!((many.in_use(), switched().len()), (pairs, pairs - 1));
        assert_eq!(many.receive(pairs - 1), 1);
        // The driver that comes after it begins with one.
        many.network.reset();
        assert_eq!(switched().len(), pairs - 1);
        many.start();
        assert_eq!(many.in_use(), 1);
    }
}

#[test]
fn the_state_of_more_pairs_than_there_are_is_refused() {
    let (_, state) = saved(2);
    let peer = Peer::new();
    let (mut network, _socket) = peer.connect();
    let refused = network.restore(&state).unwrap_err().to_string();
    assert!(
        refused.contains("has 4 queue pairs, and what it is connected to here has 1"),
        "{refused}"
    );
}

#[test]
fn a_state_that_uses_pairs_which_its_driver_cannot_is_refused() {
    let (_, state) = saved(3);
    for features in [0, 1 << VIRTIO_NET_F_CTRL_VQ, 1 << VIRTIO_NET_F_MQ] {
        let mut many = Many::new();
        many.network.restore(&state).unwrap();
        let refused = many.network.activate(many.driver.activation(features));
        assert_eq!(
            refused.unwrap_err().to_string(),
            "network net0: 3 queue pairs of 1 cannot be in use"
        );
    }
}

#[test]
fn the_state_of_an_interface_of_one_pair_goes_on_where_there_are_several() {
    let peer = Peer::new();
    let (network, _socket) = peer.connect();
    let state = network.save().unwrap();
    let mut many = Many::new();
    many.network.restore(&state).unwrap();
    many.network.activate(many.driver.activation(0)).unwrap();
    assert_eq!((many.in_use(), many.receive(0)), (1, 1));
    let mut space = [0; 12];
    many.network.read_config(0, &mut space);
    assert_eq!(space[8..10], [1, 0], "its driver was told of one");
}
