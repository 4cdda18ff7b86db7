//! A guest that tries.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;

use super::guest::Guest;
use super::peer::{Peer, get, put};
use crate::config::BucketConfig;
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::net::Network;
use crate::devices::virtio::net::device::WAKES;
use crate::devices::virtio::net::fuzz::{self, RECEIVE, TRANSMIT};
use crate::devices::virtio::testing::{Driver, Piece};
use virtio_queue::QueueT as _;
use vm_memory::GuestAddress;

const MERGEABLE: u64 = 1 << VIRTIO_NET_F_MRG_RXBUF;
const NEXT: u16 = 1;
const WRITE: u16 = 2;

fn machine(size: u16) -> (Guest, Network, UnixStream, Peer) {
    let peer = Peer::new();
    let (network, socket) = peer.connect();
    (Guest::new(size), network, socket, peer)
}

fn send_works(guest: &mut Guest, network: &mut Network, socket: &mut UnixStream) {
    guest.send(network, &[7; 60]);
    assert_eq!(get(socket), [7; 60]);
}

#[test]
fn chains_that_make_no_sense_go_back_and_the_next_frame_is_sent() {
    let (mut guest, mut network, mut socket, _peer) = machine(16);
    guest.start(&mut network, 0);
    let far = [u64::MAX, u64::MAX - 7, 1 << 52, 33 << 20, (32 << 20) - 8];
    let mut heads = Vec::new();
    for address in far {
        heads.push((guest.driver.offer(TRANSMIT, &[Piece::read(address, 64)]), 0));
    }
    let address = guest.driver.place(&[0; 64]);
    heads.push((guest.driver.offer(TRANSMIT, &[Piece::write(address, 64)]), 0));
    heads.push((
        guest
            .driver
            .offer(TRANSMIT, &[Piece::read(address, 64), Piece::write(address, 1)]),
        0,
    ));
    heads.push((guest.driver.offer_indirect_twice(TRANSMIT), 0));
    network.queue_ready(TRANSMIT);
    // A loop, and a chain that leads out of its table.
    guest.driver.write_descriptor(TRANSMIT, 14, address, 20, NEXT, 14);
    guest.driver.write_descriptor(TRANSMIT, 15, address, 20, NEXT, 16);
    for head in [14, 15] {
        guest.driver.offer_head(TRANSMIT, head);
        heads.push((head, 0));
    }
    network.queue_ready(TRANSMIT);
    assert_eq!(guest.driver.used(TRANSMIT), heads);
    assert_eq!(network.stats().sent.errors, heads.len() as u64);
    assert_eq!(network.stats().sent.frames, 0);
    send_works(&mut guest, &mut network, &mut socket);
}

#[test]
fn a_guest_that_adds_bad_buffers_as_fast_as_they_go_back_has_its_turn_and_no_more() {
    let (mut guest, mut network, _socket, _peer) = machine(16);
    // Descriptor 0 is for the other direction. The rings lie over each other: what is given back is available once more.
    guest.driver.write_descriptor(RECEIVE, 0, 0x10_0000, 64, 0, 0);
    let mut activation = guest.driver.activation(0);
    let [_, available, _] = Driver::rings(RECEIVE);
    activation.queues[RECEIVE]
        .try_set_used_ring_address(GuestAddress(available))
        .unwrap();
    activation.queues[RECEIVE].set_next_used(1);
    guest.driver.set_available_index(RECEIVE, 1);
    network.activate(activation).unwrap();
    assert_eq!(network.stats().received.errors, 16);
    network.queue_ready(RECEIVE);
    assert_eq!(network.stats().received.errors, 32);
}

#[test]
fn an_indirect_table_of_nothing_but_empty_buffers_goes_back() {
    let (mut guest, mut network, mut socket, _peer) = machine(16);
    guest.start(&mut network, 0);
    let address = guest.driver.place(&[0; 64]);
    let empty = vec![Piece::read(address, 0); 60_000];
    let head = guest.driver.offer_indirect(TRANSMIT, &empty);
    network.queue_ready(TRANSMIT);
    assert_eq!(guest.driver.used(TRANSMIT), [(head, 0)]);
    let table = [Piece::read(address, 12), Piece::read(address, 40)];
    guest.driver.offer_indirect(TRANSMIT, &table);
    network.queue_ready(TRANSMIT);
    assert_eq!(get(&mut socket), [0; 40]);
}

#[test]
fn buffers_that_cannot_hold_a_frame_go_back_empty() {
    let (mut guest, mut network, mut socket, _peer) = machine(16);
    let address = guest.driver.room(4096);
    let mut heads = Vec::new();
    for piece in [
        Piece::write(address, 11),
        Piece::read(address, 2048),
        Piece::write(u64::MAX - 7, 2048),
        Piece::write(address, 0),
    ] {
        heads.push((guest.driver.offer(RECEIVE, &[piece]), 0));
    }
    guest
        .driver
        .write_descriptor(RECEIVE, 15, address, 100, NEXT | WRITE, 15);
    guest.driver.offer_head(RECEIVE, 15);
    heads.push((15, 0));
    guest.start(&mut network, MERGEABLE);
    assert_eq!(guest.driver.used(RECEIVE), heads);
    guest.give(2, 2048);
    put(&mut socket, &[7; 60]);
    network.source_ready(WAKES);
    assert_eq!(guest.received()[0].frame, [7; 60]);
}

#[test]
fn a_bad_buffer_between_good_ones_does_not_tear_a_frame() {
    let (mut guest, mut network, mut socket, _peer) = machine(16);
    guest.give(1, 100);
    let bad = guest.driver.offer(RECEIVE, &[Piece::write(u64::MAX, 100)]);
    guest.give(1, 100);
    guest.start(&mut network, MERGEABLE);
    put(&mut socket, &[7; 150]);
    network.source_ready(WAKES);
    let used = guest.driver.used(RECEIVE);
    assert_eq!(used, [(bad, 0), (0, 100), (2, 62)]);
}

#[test]
fn a_ring_that_makes_no_sense_stops_until_the_next_reset() {
    for queue in [RECEIVE, TRANSMIT] {
        let (mut guest, mut network, mut socket, _peer) = machine(16);
        guest.start(&mut network, MERGEABLE);
        guest.driver.set_available_index(queue, 1000);
        network.queue_ready(queue);
        guest.driver.set_available_index(queue, 0);
        network.queue_ready(queue);
        assert!(guest.driver.used(queue).is_empty());
        network.reset();
        guest.start(&mut network, MERGEABLE);
        guest.give(1, 2048);
        network.queue_ready(RECEIVE);
        put(&mut socket, &[7; 60]);
        network.source_ready(WAKES);
        assert_eq!(guest.received().len(), 1);
        send_works(&mut guest, &mut network, &mut socket);
    }
}

#[test]
fn a_head_beyond_the_table_stops_the_queue() {
    for queue in [RECEIVE, TRANSMIT] {
        let (mut guest, mut network, _socket, _peer) = machine(16);
        guest.start(&mut network, MERGEABLE);
        guest.driver.offer_head(queue, 16);
        network.queue_ready(queue);
        assert!(guest.driver.used(queue).is_empty());
    }
}

#[test]
fn a_flood_from_outside_wakes_nobody_twice_while_the_guest_has_no_room() {
    let (mut guest, mut network, mut socket, _peer) = machine(16);
    guest.give(3, 2048);
    guest.start(&mut network, MERGEABLE);
    for _ in 0..40 {
        put(&mut socket, &[7; 1000]);
    }
    network.source_ready(WAKES);
    assert_eq!(guest.received().len(), 3);
    assert_eq!(network.wakes.take().next(), None);
    guest.give(10, 2048);
    network.queue_ready(RECEIVE);
    assert_eq!(guest.received().len(), 10);
}

#[test]
fn one_turn_is_bounded_and_another_follows() {
    let (mut guest, mut network, mut socket, _peer) = machine(512);
    guest.give(400, 128);
    guest.start(&mut network, MERGEABLE);
    // In one piece: a socket holds fewer small messages than bytes.
    socket
        .write_all(&[&60_u32.to_be_bytes()[..], &[7; 60]].concat().repeat(400))
        .unwrap();
    network.source_ready(WAKES);
    assert_eq!(guest.received().len(), 256);
    network.source_ready(WAKES);
    assert_eq!(guest.received().len(), 144);
}

#[test]
fn a_paused_device_leaves_the_rings_alone_and_its_queues_say_where_they_are() {
    let (mut guest, mut network, mut socket, _peer) = machine(16);
    guest.give(8, 2048);
    guest.start(&mut network, MERGEABLE);
    put(&mut socket, &[1; 60]);
    network.source_ready(WAKES);
    network.pause();
    put(&mut socket, &[2; 60]);
    network.source_ready(WAKES);
    guest.send(&mut network, &[3; 60]);
    let places: Vec<_> = network
        .queues()
        .unwrap()
        .iter()
        .map(|queue| (queue.next_avail(), queue.next_used()))
        .collect();
    assert_eq!(
        places,
        [(1, 1), (0, 0)],
        "buffers that were taken ahead are back in the ring"
    );
    assert_eq!(guest.received().len(), 1);
    network.resume();
    assert_eq!(guest.received()[0].frame, [2; 60]);
    assert_eq!(get(&mut socket), [3; 60]);
}

#[test]
fn a_restored_device_goes_on_with_the_same_rings() {
    let (mut guest, mut network, mut socket, peer) = machine(16);
    guest.give(8, 2048);
    guest.start(&mut network, MERGEABLE);
    put(&mut socket, &[1; 60]);
    network.source_ready(WAKES);
    assert_eq!(guest.received().len(), 1);
    network.pause();
    let state = network.save().unwrap();
    drop(network);
    let (mut network, mut socket) = peer.connect();
    network.restore(&state).unwrap();
    guest.start(&mut network, MERGEABLE);
    network.pause();
    put(&mut socket, &[2; 60]);
    network.source_ready(WAKES);
    assert!(guest.received().is_empty());
    network.resume();
    assert_eq!(guest.received()[0].frame, [2; 60]);
}

#[test]
fn the_state_of_another_interface_is_refused() {
    let (_guest, network, _socket, peer) = machine(16);
    let state = network.save().unwrap();
    let mut config = peer.config();
    config.mac = "52:54:00:00:00:01".to_owned();
    let mut other = Network::open(&config, 1).unwrap();
    let refused = other.restore(&state).unwrap_err().to_string();
    assert_eq!(
        refused,
        "the saved state of network net0 is of the interface 52:54:00:12:34:56, and this one is 52:54:00:00:00:01"
    );
    for length in 0..state.len() {
        assert!(other.restore(&state[..length]).is_err());
    }
    assert!(other.restore(&[&state[..], &[0]].concat()).is_err());
    assert!(other.restore(&[0; 100]).is_err());
}

#[test]
fn a_limit_holds_in_both_directions() {
    let peer = Peer::new();
    let mut config = peer.config();
    config.limit.operations = Some(BucketConfig {
        per_second: 1,
        burst: 3,
    });
    let (mut network, mut socket) = peer.connect_with(&config);
    let mut guest = Guest::new(16);
    guest.give(8, 2048);
    guest.start(&mut network, MERGEABLE);
    for _ in 0..6 {
        put(&mut socket, &[7; 60]);
        guest.send(&mut network, &[8; 60]);
    }
    network.source_ready(WAKES);
    // What is received is paid for when the next frame is wanted.
    assert_eq!(guest.received().len(), 4);
    assert_eq!(guest.driver.used(TRANSMIT).len(), 3);
    assert_eq!(network.sources().len(), 3);
}

#[test]
fn what_is_received_is_marked_for_the_next_snapshot() {
    use vm_memory::bitmap::Bitmap as _;
    use vm_memory::{GuestAddress, GuestMemoryBackend as _};
    let (mut guest, mut network, mut socket, _peer) = machine(16);
    let address = guest.driver.room(3 * 4096).next_multiple_of(4096);
    guest.driver.offer(RECEIVE, &[Piece::write(address, 2 * 4096)]);
    guest.start(&mut network, 0);
    let dirty = |at: u64| {
        let slice = guest.driver.memory().get_slice(GuestAddress(at), 1).unwrap();
        slice.bitmap().dirty_at(0)
    };
    assert!(!dirty(address));
    put(&mut socket, &[7; 1000]);
    network.source_ready(WAKES);
    assert!(dirty(address));
    assert!(!dirty(address + 4096));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn no_bytes_break_it(data in prop::collection::vec(any::<u8>(), 0..1200)) {
        fuzz::fuzz(&data);
        fuzz::fuzz_pairs(&data);
    }
}
