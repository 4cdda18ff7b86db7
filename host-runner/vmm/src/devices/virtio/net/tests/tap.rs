//! On a tap interface of the host, in a network namespace of its own.

use std::os::fd::AsFd as _;

use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_HOST_USO,
    VIRTIO_NET_F_MRG_RXBUF,
};

use super::frames::{data, udp};
use super::guest::{GUEST, Guest, config, wake};
use super::namespace::{TAP, ip, link, segment, socket, wait_until_attached, with_tap};
use crate::config::{BucketConfig, NetworkBackend};
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::net::device::WAKES;
use crate::devices::virtio::net::fuzz::{RECEIVE, TRANSMIT};
use crate::devices::virtio::net::{HEADER, Network, OpenNetworkError, Path};
use crate::devices::virtio::testing::Piece;

const MERGEABLE: u64 = 1 << VIRTIO_NET_F_MRG_RXBUF;

fn backend(name: &str) -> NetworkBackend {
    NetworkBackend::Tap {
        name: name.to_owned(),
        vhost: false,
        queue_pairs: None,
    }
}

fn open() -> Network {
    let network = Network::open(&config(backend(TAP)), 1).unwrap();
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
        let long: Vec<u8> = (0..=250).cycle().take(1400).collect();
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
        let refusal = |name: &str| {
            Network::open(&config(backend(name)), 1)
                .err()
                .unwrap()
                .to_string()
        };
        assert!(refusal("tap7").contains("there is no interface tap7; make it with: ip tuntap add dev tap7"));
        assert!(refusal("lo").contains("lo is no tap interface; make it"));
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
        let descriptor = opened.link.tap(0).unwrap().as_fd().try_clone_to_owned().unwrap();
        let network = Network::with_tap(&config(backend("")), vec![descriptor]).unwrap();
        assert_eq!(network.stats().peer, TAP);
        assert_eq!(network.mtu, None, "its interface may be in another namespace");
        let null = std::fs::File::open("/dev/null").unwrap();
        let refused = Network::with_tap(&config(backend("")), vec![null.into()])
            .err()
            .unwrap();
        assert!(
            matches!(refused, OpenNetworkError::Descriptor { .. }),
            "{refused}"
        );
    });
}

#[test]
fn a_train_of_datagrams_reaches_a_guest_that_cuts_it_itself_as_one_frame() {
    with_tap(|| {
        let (mut guest, mut network, socket) = (Guest::new(64), open(), socket());
        let cuts = 1 << VIRTIO_NET_F_GUEST_CSUM | 1 << VIRTIO_NET_F_GUEST_USO4 | 1 << VIRTIO_NET_F_GUEST_USO6;
        if network.features() & cuts != cuts {
            eprintln!("not tried: the kernel has no UDP segments on taps");
            return;
        }
        guest.give(60, 1536);
        guest.start(&mut network, MERGEABLE | cuts);
        let train: Vec<u8> = (0..=250).cycle().take(20_000).collect();
        segment(&socket, 1000);
        socket.send(&train).unwrap();
        let frames = receive(&mut guest, &mut network, 1);
        assert_eq!(data(&frames[0].frame).unwrap(), train);
        assert_eq!(frames[0].buffers, 14);
        // Needs a checksum; UDP segments of 1000 bytes (5.1.6).
        assert_eq!(frames[0].header[..2], [1, 5]);
        assert_eq!(frames[0].header[4..6], 1000_u16.to_le_bytes());
        // A driver that does not know of it gets them one by one.
        network.reset();
        let mut guest = Guest::new(64);
        guest.give(60, 1536);
        guest.start(&mut network, MERGEABLE);
        socket.send(&train).unwrap();
        let frames = receive(&mut guest, &mut network, 20);
        assert_eq!(data(&frames[19].frame).unwrap(), &train[19_000..]);
    });
}

#[test]
fn a_train_of_datagrams_from_the_guest_is_cut_by_the_host() {
    with_tap(|| {
        let (mut guest, mut network, socket) = (Guest::new(16), open(), socket());
        if network.features() & 1 << VIRTIO_NET_F_HOST_USO == 0 {
            eprintln!("not tried: the kernel has no UDP segments on taps");
            return;
        }
        guest.start(&mut network, MERGEABLE);
        let mut header = [0; HEADER];
        header[..2].copy_from_slice(&[1, 5]);
        header[2..4].copy_from_slice(&42_u16.to_le_bytes());
        header[4..6].copy_from_slice(&1000_u16.to_le_bytes());
        // The checksum begins with the UDP header, and is the latter's fourth field.
        header[6..8].copy_from_slice(&34_u16.to_le_bytes());
        header[8..10].copy_from_slice(&6_u16.to_le_bytes());
        let train = udp(host_mac(), GUEST, (5000, 4000), &[7; 5000]);
        let address = guest.driver.place(&[&header[..], &train].concat());
        let length = u32::try_from(HEADER + train.len()).unwrap();
        guest.driver.offer(TRANSMIT, &[Piece::read(address, length)]);
        network.queue_ready(TRANSMIT);
        assert_eq!(network.stats().sent.dropped, 0);
        let mut buffer = [0; 6000];
        for _ in 0..5 {
            assert_eq!(socket.recv(&mut buffer).unwrap(), 1000);
        }
    });
}

#[test]
fn a_header_that_lies_is_refused_by_the_kernel_and_the_frame_dropped() {
    with_tap(|| {
        let (mut guest, mut network) = (Guest::new(16), open());
        guest.start(&mut network, MERGEABLE);
        let address = guest.driver.place(&[0xff; 200]);
        guest.driver.offer(TRANSMIT, &[Piece::read(address, 200)]);
        network.queue_ready(TRANSMIT);
        assert_eq!(guest.driver.used(TRANSMIT), [(0, 0)]);
        assert_eq!(network.stats().sent.dropped, 1);
    });
}

#[test]
fn without_vhost_net_this_process_moves_the_frames_and_says_why() {
    with_tap(|| {
        let asked = NetworkBackend::Tap {
            name: TAP.to_owned(),
            vhost: true,
            queue_pairs: None,
        };
        let network = Network::open(&config(asked.clone()), 1).unwrap();
        let path = network.stats().path;
        drop(network);
        if std::path::Path::new("/dev/vhost-net").exists() {
            assert_eq!(path, Path::Kernel);
        } else {
            let Path::OwnBecause(reason) = path else {
                panic!("{path:?}");
            };
            assert!(
                reason.starts_with("/dev/vhost-net: failure in opening"),
                "{reason}"
            );
        }
        let mut limited = config(asked);
        limited.limit.bytes = Some(BucketConfig {
            per_second: 1,
            burst: 1,
        });
        let path = Network::open(&limited, 1).unwrap().stats().path;
        assert_eq!(
            path,
            Path::OwnBecause("the kernel's path knows no rate limit".to_owned())
        );
    });
}
