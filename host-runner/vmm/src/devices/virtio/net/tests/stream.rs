//! On a stream socket.

use std::io::{Read as _, Write as _};

use virtio_bindings::virtio_net::{VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_STATUS};

use super::guest::{Guest, wake};
use super::peer::{Peer, get, put};
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::net::device::WAKES;
use crate::devices::virtio::net::fuzz::{RECEIVE, TRANSMIT};
use crate::devices::virtio::net::{FRAME_MIN, HEADER, Network, OpenNetworkError, features};

const MERGEABLE: u64 = 1 << VIRTIO_NET_F_MRG_RXBUF;

fn frame(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

#[test]
fn frames_go_both_ways_behind_their_length() {
    let (peer, mut guest) = (Peer::new(), Guest::new(16));
    let (mut network, mut socket) = peer.connect();
    guest.give(4, 2048);
    guest.start(&mut network, MERGEABLE);
    let head = guest.send(&mut network, &frame(1514));
    assert_eq!(get(&mut socket), frame(1514));
    assert_eq!(guest.driver.used(TRANSMIT), [(head, 0)]);
    put(&mut socket, &frame(60));
    put(&mut socket, &frame(1514));
    wake(&mut network);
    let received = guest.received();
    assert_eq!(
        received
            .iter()
            .map(|received| received.frame.clone())
            .collect::<Vec<_>>(),
        [frame(60), frame(1514)]
    );
    assert_eq!(received[0].header, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    let stats = network.stats();
    assert_eq!((stats.received.frames, stats.received.bytes), (2, 1574));
    assert_eq!((stats.sent.frames, stats.sent.bytes), (1, 1514));
}

#[test]
fn no_offload_is_offered_for_the_wire_has_no_header() {
    let peer = Peer::new();
    let (network, _socket) = peer.connect();
    assert_eq!(
        network.features(),
        features::offered(features::Offloads::default(), false, 1)
    );
    assert!(!features::takes_segments(network.features()));
}

#[test]
fn a_frame_that_comes_in_pieces_is_put_together() {
    let (peer, mut guest) = (Peer::new(), Guest::new(16));
    let (mut network, mut socket) = peer.connect();
    guest.give(8, 512);
    guest.start(&mut network, MERGEABLE);
    let bytes = [
        &1000_u32.to_be_bytes()[..],
        &frame(1000),
        &20_u32.to_be_bytes(),
        &frame(20),
    ]
    .concat();
    for piece in bytes.chunks(7) {
        socket.write_all(piece).unwrap();
        wake(&mut network);
    }
    let received = guest.received();
    assert_eq!(received.len(), 2);
    assert_eq!((&received[0].frame, received[0].buffers), (&frame(1000), 2));
    assert_eq!(received[1].frame, frame(20));
}

#[test]
fn a_frame_waits_until_the_guest_has_given_enough_buffers() {
    let (peer, mut guest) = (Peer::new(), Guest::new(16));
    let (mut network, mut socket) = peer.connect();
    guest.give(2, 300);
    guest.start(&mut network, MERGEABLE);
    put(&mut socket, &frame(1000));
    wake(&mut network);
    assert!(guest.received().is_empty());
    guest.give(3, 300);
    network.queue_ready(RECEIVE);
    let received = guest.received();
    assert_eq!((&received[0].frame, received[0].buffers), (&frame(1000), 4));
    assert_eq!(network.stats().received.dropped, 0);
}

#[test]
fn a_frame_that_no_buffer_of_the_guest_can_hold_is_dropped_and_the_next_one_arrives() {
    for (features, size, length) in [(0, 4, 300), (MERGEABLE, 2, 300)] {
        let (peer, mut guest) = (Peer::new(), Guest::new(size));
        let (mut network, mut socket) = peer.connect();
        guest.give(2, length);
        guest.start(&mut network, features);
        put(&mut socket, &frame(1000));
        put(&mut socket, &frame(200));
        wake(&mut network);
        let received = guest.received();
        assert_eq!(received.len(), 1, "{features:#x}");
        assert_eq!(received[0].frame, frame(200));
        assert_eq!(network.stats().received.dropped, 1);
    }
}

#[test]
fn a_length_out_of_range_ends_the_connection_which_comes_back() {
    let (peer, mut guest) = (Peer::new(), Guest::new(16));
    let (mut network, mut socket) = peer.connect();
    guest.give(4, 2048);
    guest.start(&mut network, MERGEABLE);
    socket.write_all(&65536_u32.to_be_bytes()).unwrap();
    wake(&mut network);
    assert_eq!(socket.read(&mut [0]).unwrap(), 0, "it hangs up");
    assert_eq!(network.stats().received.errors, 1);
    wake(&mut network);
    let mut socket = peer.accept();
    put(&mut socket, &frame(100));
    wake(&mut network);
    assert_eq!(guest.received()[0].frame, frame(100));
}

#[test]
fn a_frame_too_short_for_ethernet_is_left_out() {
    let (peer, mut guest) = (Peer::new(), Guest::new(16));
    let (mut network, mut socket) = peer.connect();
    guest.give(4, 2048);
    guest.start(&mut network, MERGEABLE);
    for length in [0, FRAME_MIN - 1, FRAME_MIN] {
        put(&mut socket, &frame(length));
    }
    wake(&mut network);
    let received = guest.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].frame, frame(FRAME_MIN));
    assert_eq!(network.stats().received.errors, 2);
}

#[test]
fn a_peer_that_sends_frames_of_no_use_without_end_is_hung_up_on() {
    let (peer, mut guest) = (Peer::new(), Guest::new(16));
    let (mut network, mut socket) = peer.connect();
    guest.give(4, 2048);
    guest.start(&mut network, MERGEABLE);
    socket.write_all(&[0; 4 * 1000]).unwrap();
    wake(&mut network);
    // What it had not read is lost with the connection, which the other side may hear as an error.
    assert!(matches!(socket.read(&mut [0]), Ok(0) | Err(_)));
    assert!(network.stats().received.errors < 100);
    wake(&mut network);
    let mut socket = peer.accept();
    put(&mut socket, &frame(100));
    wake(&mut network);
    assert_eq!(guest.received()[0].frame, frame(100));
}

#[test]
fn the_longest_frame_passes() {
    let (peer, mut guest) = (Peer::new(), Guest::new(64));
    let (mut network, mut socket) = peer.connect();
    guest.give(40, 2048);
    guest.start(&mut network, MERGEABLE);
    let long = frame(65535);
    let sender = std::thread::spawn({
        let long = long.clone();
        move || {
            put(&mut socket, &long);
            get(&mut socket)
        }
    });
    let mut received = guest.received();
    while received.is_empty() {
        wake(&mut network);
        received = guest.received();
    }
    assert_eq!((&received[0].frame, received[0].buffers), (&long, 33));
    guest.send(&mut network, &long);
    while network.link.has_unsent() {
        wake(&mut network);
    }
    assert_eq!(sender.join().unwrap(), long);
}

#[test]
fn a_peer_that_does_not_read_holds_the_guest_up_and_no_memory() {
    let (peer, mut guest) = (Peer::new(), Guest::new(256));
    let (mut network, mut socket) = peer.connect();
    guest.start(&mut network, 0);
    for _ in 0..200 {
        guest.send(&mut network, &frame(9000));
    }
    let sent = guest.driver.used(TRANSMIT).len();
    assert!(sent < 200, "all went into the socket");
    for _ in 0..200 {
        assert_eq!(get(&mut socket), frame(9000));
        network.source_ready(WAKES);
    }
    assert_eq!(guest.driver.used(TRANSMIT).len(), 200 - sent);
    assert_eq!(network.stats().sent.dropped, 0);
}

#[test]
fn when_the_other_side_goes_the_link_is_down_until_it_is_back() {
    let (mut peer, mut guest) = (Peer::new(), Guest::new(16));
    let (mut network, socket) = peer.connect();
    guest.give(4, 2048);
    guest.start(&mut network, MERGEABLE | 1 << VIRTIO_NET_F_STATUS);
    let status = |network: &Network| {
        let mut status = [9; 2];
        network.read_config(6, &mut status);
        status
    };
    assert_eq!(status(&network), [1, 0]);
    peer.stop();
    drop(socket);
    wake(&mut network);
    assert_eq!(status(&network), [0, 0]);
    assert_eq!(guest.driver.interrupts(), 1, "the driver is told");
    guest.send(&mut network, &frame(100));
    assert_eq!(network.stats().sent.dropped, 1);
    wake(&mut network);
    assert!(!network.stats().link_up, "nobody listens yet");
    peer.start();
    while !network.stats().link_up {
        wake(&mut network);
    }
    let mut socket = peer.accept();
    assert_eq!(status(&network), [1, 0]);
    guest.send(&mut network, &frame(77));
    assert_eq!(get(&mut socket), frame(77));
    assert_eq!(network.stats().reconnects, 1);
}

#[test]
fn a_machine_starts_without_the_other_side_where_that_has_just_died() {
    let (mut peer, mut guest) = (Peer::new(), Guest::new(16));
    peer.die();
    let mut network = Network::open(&peer.config(), 1).unwrap();
    guest.start(&mut network, MERGEABLE | 1 << VIRTIO_NET_F_STATUS);
    assert!(!network.stats().link_up);
    guest.send(&mut network, &frame(100));
    assert_eq!(network.stats().sent.dropped, 1);
    peer.stop();
    peer.start();
    while !network.stats().link_up {
        wake(&mut network);
    }
    let mut socket = peer.accept();
    guest.send(&mut network, &frame(77));
    assert_eq!(get(&mut socket), frame(77));
}

#[test]
fn what_waited_for_a_peer_that_goes_is_given_back_to_the_guest() {
    let (peer, mut guest) = (Peer::new(), Guest::new(256));
    let (mut network, socket) = peer.connect();
    guest.start(&mut network, 0);
    for _ in 0..200 {
        guest.send(&mut network, &frame(9000));
    }
    let sent = guest.driver.used(TRANSMIT).len();
    assert!(sent < 200);
    drop(socket);
    while network.stats().link_up {
        wake(&mut network);
    }
    assert_eq!(guest.driver.used(TRANSMIT).len(), 200 - sent);
}

#[test]
fn a_peer_that_goes_while_the_guest_has_no_room_is_noticed() {
    let (peer, mut guest) = (Peer::new(), Guest::new(16));
    let (mut network, mut socket) = peer.connect();
    guest.start(&mut network, MERGEABLE);
    put(&mut socket, &frame(100));
    drop(socket);
    wake(&mut network);
    assert!(!network.stats().link_up);
}

#[test]
fn nobody_there_is_an_error_that_names_the_socket() {
    let mut peer = Peer::new();
    peer.stop();
    let refused = Network::open(&peer.config(), 1).err().unwrap();
    assert!(
        refused
            .to_string()
            .starts_with(&format!("nobody listens on {}", peer.path().display()))
    );
    let mut config = peer.config();
    config.backend = crate::config::NetworkBackend::Stream {
        path: "x".repeat(200).into(),
    };
    let refused = Network::open(&config, 1).err().unwrap();
    assert!(
        matches!(refused, OpenNetworkError::SocketPath { .. }),
        "{refused}"
    );
    config.mac = "53:54:00:12:34:56".to_owned();
    config.backend = peer.config().backend;
    peer.start();
    let refused = Network::open(&config, 1).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "53:54:00:12:34:56 is no hardware address for network net0"
    );
}

#[test]
fn what_the_guest_sends_has_a_header_and_a_frame_or_goes_back_unsent() {
    use crate::devices::virtio::testing::Piece;
    let (peer, mut guest) = (Peer::new(), Guest::new(16));
    let (mut network, mut socket) = peer.connect();
    guest.start(&mut network, 0);
    let address = guest.driver.place(&frame(80000));
    let short = u32::try_from(HEADER).unwrap();
    let mut heads = Vec::new();
    for length in [0, 1, short - 1, short, short + 13, short + 65536, 80000, u32::MAX] {
        heads.push((guest.driver.offer(TRANSMIT, &[Piece::read(address, length)]), 0));
    }
    network.queue_ready(TRANSMIT);
    assert_eq!(guest.driver.used(TRANSMIT), heads);
    // 64 KiB fit a tap, but not this wire.
    assert_eq!(
        (network.stats().sent.errors, network.stats().sent.dropped),
        (7, 1)
    );
    // A header that is spread over three buffers is one all the same.
    let pieces = [
        Piece::read(address, 5),
        Piece::read(address, 6),
        Piece::read(address + 88, 21),
    ];
    guest.driver.offer(TRANSMIT, &pieces);
    network.queue_ready(TRANSMIT);
    assert_eq!(get(&mut socket), frame(80000)[89..109]);
}
