//! On a tap interface of the host, in a network namespace of its own.

use std::os::fd::AsFd as _;

use virtio_bindings::virtio_net::{VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_MRG_RXBUF};

use super::frames::{data, udp};
use super::guest::{GUEST, Guest, config, wake};
use super::namespace::{TAP, ip, link, socket, wait_until_attached, with_tap};
use crate::config::NetworkBackend;
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::net::{Network, OpenNetworkError, RECEIVE, WAKES};

const MERGEABLE: u64 = 1 << VIRTIO_NET_F_MRG_RXBUF;

fn backend(name: &str) -> NetworkBackend {
    NetworkBackend::Tap {
        name: name.to_owned(),
        vhost: false,
    }
}

fn open() -> Network {
    let network = Network::open(&config(backend(TAP))).unwrap();
    wait_until_attached();
    network
}

/// Waits until the interface has a frame, as the device thread does, and lets the device see it, until `count` datagrams have come.
fn receive(guest: &mut Guest, network: &mut Network, count: usize) -> Vec<super::guest::Received> {
    let mut frames = Vec::new();
    loop {
        // The host's IPv6 has things to say as well.
        frames.extend(
            guest
                .received()
                .into_iter()
                .filter(|received| data(&received.frame).is_some()),
        );
        if frames.len() >= count {
            return frames;
        }
        wake(network);
    }
}

fn host_mac() -> [u8; 6] {
    let words = link();
    let at = words.iter().position(|word| word == "link/ether").unwrap();
    let mut bytes = words[at + 1]
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap());
    std::array::from_fn(|_| bytes.next().unwrap())
}

#[test]
fn what_the_guest_sends_arrives_at_the_host() {
    with_tap(|| {
        let (mut guest, mut network, socket) = (Guest::new(16), open(), socket());
        guest.start(&mut network, MERGEABLE);
        let head = guest.send(
            &mut network,
            &udp(host_mac(), GUEST, (5000, 4000), b"from the guest"),
        );
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"from the guest");
        assert_eq!(guest.driver.used(1), [(head, 0)]);
        assert_eq!(guest.driver.interrupts(), 1);
        assert_eq!((network.stats().sent.frames, network.stats().sent.bytes), (1, 56));
    });
}

#[test]
fn what_the_host_sends_arrives_at_the_guest_in_as_many_buffers_as_it_needs() {
    with_tap(|| {
        let (mut guest, mut network, socket) = (Guest::new(64), open(), socket());
        guest.give(60, 256);
        guest.start(&mut network, MERGEABLE | 1 << VIRTIO_NET_F_GUEST_CSUM);
        let long: Vec<u8> = (0..1400).map(|at| (at % 251) as u8).collect();
        socket.send(b"short").unwrap();
        socket.send(&long).unwrap();
        let frames = receive(&mut guest, &mut network, 2);
        assert_eq!(data(&frames[0].frame).unwrap(), b"short");
        assert_eq!(frames[0].buffers, 1);
        assert_eq!(data(&frames[1].frame).unwrap(), long);
        assert_eq!(frames[1].buffers, 6);
        assert_eq!(frames[1].frame[..6], GUEST);
    });
}

#[test]
fn frames_wait_in_the_interface_until_the_guest_has_room() {
    with_tap(|| {
        let (mut guest, mut network, socket) = (Guest::new(16), open(), socket());
        guest.start(&mut network, MERGEABLE);
        socket.send(b"early").unwrap();
        network.source_ready(WAKES);
        assert!(guest.received().is_empty());
        guest.give(4, 2048);
        network.queue_ready(RECEIVE);
        let frames = receive(&mut guest, &mut network, 1);
        assert_eq!(data(&frames[0].frame).unwrap(), b"early");
    });
}

#[test]
fn the_guest_learns_the_mtu_of_the_interface() {
    with_tap(|| {
        ip(&["link", "set", TAP, "mtu", "1400"]);
        let mut space = [0; 16];
        open().read_config(0, &mut space);
        assert_eq!(space[..6], GUEST);
        assert_eq!(space[6..8], [1, 0], "the link is up");
        assert_eq!(space[10..12], 1400_u16.to_le_bytes());
        assert_eq!(space[12..], [0; 4]);
    });
}

#[test]
fn an_interface_that_cannot_serve_is_refused_with_what_would_help() {
    with_tap(|| {
        let refusal = |name: &str| Network::open(&config(backend(name))).err().unwrap().to_string();
        assert!(refusal("tap7").contains("there is no interface tap7; make it with: ip tuntap add dev tap7"));
        assert!(refusal("lo").contains("lo is no tap interface with one queue"));
        assert!(refusal("a/b").contains("cannot be the name"));
        assert!(refusal("a-name-of-sixteen").contains("cannot be the name"));
        let _first = open();
        assert!(refusal(TAP).contains("another process is attached to the interface tap0"));
    });
}

#[test]
fn a_tap_that_another_process_has_opened_serves_as_well() {
    with_tap(|| {
        let opened = open();
        let descriptor = opened.link.tap().unwrap().as_fd().try_clone_to_owned().unwrap();
        let network = Network::with_tap(&config(backend("")), descriptor).unwrap();
        assert_eq!(network.stats().peer, TAP);
        assert_eq!(network.mtu, None, "its interface may be in another namespace");
        let null = std::fs::File::open("/dev/null").unwrap();
        let refused = Network::with_tap(&config(backend("")), null.into())
            .err()
            .unwrap();
        assert!(
            matches!(refused, OpenNetworkError::Descriptor { .. }),
            "{refused}"
        );
    });
}
