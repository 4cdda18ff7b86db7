//! On a tap interface of several queues, in a network namespace of its own.

use std::os::fd::AsFd as _;
use std::process::Command;

use super::frames::udp;
use super::guest::{GUEST, config};
use super::many::{CONTROL, FEATURES, OK};
use super::namespace::{HOST, TAP, ip, wait_until_attached, with_tap};
use crate::config::NetworkBackend;
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::net::{HEADER, Network, OpenNetworkError};
use crate::devices::virtio::testing::{Driver, Piece};

fn backend(queue_pairs: Option<u8>) -> NetworkBackend {
    NetworkBackend::Tap {
        name: TAP.to_owned(),
        vhost: false,
        queue_pairs,
    }
}

/// Runs `test` where the interface has several queues.
fn with_queues(test: impl FnOnce() + Send + 'static) {
    with_tap(|| {
        ip(&["link", "del", TAP]);
        ip(&["tuntap", "add", "dev", TAP, "mode", "tap", "multi_queue"]);
        ip(&["addr", "add", &format!("{HOST}/24"), "dev", TAP]);
        ip(&["link", "set", TAP, "up"]);
        test();
    });
}

/// How many queues are attached and detached, as `ip` says.
fn queues() -> (u32, u32) {
    let shown = Command::new("ip")
        .args(["-d", "-o", "link", "show", TAP])
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let words: Vec<&str> = shown.split_whitespace().collect();
    let number = |name: &str| {
        let at = words.iter().position(|word| *word == name);
        // What is not said is none, but for the interface's own name for it.
        at.and_then(|at| words[at + 1].parse().ok()).unwrap_or(0)
    };
    (number("numqueues"), number("numdisabled"))
}

fn command(driver: &mut Driver, network: &mut Network, pairs: u8) -> u8 {
    let (command, answer) = (driver.place(&[4, 0, pairs, 0]), driver.place(&[0x55]));
    driver.offer(CONTROL, &[Piece::read(command, 4), Piece::write(answer, 1)]);
    network.queue_ready(CONTROL);
    driver.bytes(answer, 1)[0]
}

#[test]
fn a_queue_of_the_interface_is_attached_for_each_pair_in_use() {
    with_queues(|| {
        let mut network = Network::open(&config(backend(None)), 4).unwrap();
        assert_eq!(queues(), (1, 3));
        let mut driver = Driver::new(&[16; CONTROL + 1]);
        network.activate(driver.activation(FEATURES)).unwrap();
        for pairs in [4_u8, 2, 3, 1, 4] {
            assert_eq!(command(&mut driver, &mut network, pairs), OK);
            assert_eq!(queues(), (pairs.into(), 4 - u32::from(pairs)));
        }
        network.reset();
        assert_eq!(queues(), (1, 3));
        drop(network);
        assert_eq!(queues(), (0, 0));
    });
}

#[test]
fn what_the_guest_sends_by_any_pair_arrives_at_the_host() {
    with_queues(|| {
        ip(&[
            "neigh",
            "add",
            "10.11.12.2",
            "lladdr",
            "52:54:00:12:34:56",
            "dev",
            TAP,
        ]);
        ip(&["link", "set", TAP, "address", "52:54:00:00:00:01"]);
        let mut network = Network::open(&config(backend(None)), 4).unwrap();
        wait_until_attached();
        let socket = super::namespace::socket();
        let mut driver = Driver::new(&[16; CONTROL + 1]);
        network.activate(driver.activation(FEATURES)).unwrap();
        assert_eq!(command(&mut driver, &mut network, 4), OK);
        for pair in 0..4_u8 {
            let frame = udp([0x52, 0x54, 0, 0, 0, 1], GUEST, (5000, 4000), &[pair; 20]);
            let address = driver.place(&[&[0; HEADER], &frame[..]].concat());
            let queue = 2 * usize::from(pair) + 1;
            let length = u32::try_from(HEADER + frame.len()).unwrap();
            driver.offer(queue, &[Piece::read(address, length)]);
            network.queue_ready(queue);
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(buffer[..length], [pair; 20]);
        }
    });
}

#[test]
fn there_is_a_pair_for_each_vcpu_as_far_as_that_goes() {
    with_queues(|| {
        for (vcpus, asked, pairs) in [
            (1, None, 1),
            (3, None, 3),
            (64, None, 8),
            (4, Some(2), 2),
            (1, Some(5), 5),
        ] {
            let network = Network::open(&config(backend(asked)), vcpus).unwrap();
            let stats = network.stats().queue_pairs;
            assert_eq!((stats.most, stats.one_because), (pairs, None));
        }
    });
}

#[test]
fn an_interface_of_one_queue_serves_and_says_so() {
    with_tap(|| {
        let network = Network::open(&config(backend(None)), 4).unwrap();
        let stats = network.stats().queue_pairs;
        assert_eq!(stats.most, 1);
        assert!(stats.one_because.unwrap().contains("multi_queue"));
        assert_eq!(network.features() & FEATURES, 0);
    });
}

#[test]
fn an_interface_whose_queues_another_process_has_is_refused() {
    with_queues(|| {
        let _first = Network::open(&config(backend(None)), 2).unwrap();
        let refused = Network::open(&config(backend(None)), 2).err().unwrap();
        assert!(matches!(refused, OpenNetworkError::Busy { .. }), "{refused}");
        assert_eq!(queues(), (1, 1), "nothing of the second one is left");
    });
}

#[test]
fn queues_that_another_process_has_opened_serve_as_well() {
    with_queues(|| {
        let opened = Network::open(&config(backend(None)), 2).unwrap();
        let descriptor = |pair| {
            opened
                .link
                .tap(pair)
                .unwrap()
                .as_fd()
                .try_clone_to_owned()
                .unwrap()
        };
        // The second one is detached, as one that serves no pair is.
        let refused = Network::with_tap(&config(backend(None)), vec![descriptor(0), descriptor(1)])
            .err()
            .unwrap();
        assert!(refused.to_string().contains("IFF_ATTACH_QUEUE"), "{refused}");
        let mut opened_whole = opened;
        opened_whole.link.use_pairs(2).unwrap();
        let descriptor = |pair| {
            opened_whole
                .link
                .tap(pair)
                .unwrap()
                .as_fd()
                .try_clone_to_owned()
                .unwrap()
        };
        let network = Network::with_tap(&config(backend(None)), vec![descriptor(0), descriptor(1)]).unwrap();
        assert_eq!((network.stats().peer, network.link.pairs()), (TAP.to_owned(), 2));
        let none = Network::with_tap(&config(backend(None)), Vec::new())
            .err()
            .unwrap();
        assert!(
            matches!(none, OpenNetworkError::Descriptors { count: 0 }),
            "{none}"
        );
    });
}
