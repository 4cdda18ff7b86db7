//! Guests and peers that do what bytes say: on a stream socket, and on an interface of several queue pairs.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::SocketAddrUnix;
use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;

use super::device::WAKES;
use super::link::Link;
use super::stats::NetworkStats;
use super::stream::Stream;
use super::{Network, QUEUE_SIZE, double};
use crate::config::{NetworkBackend, NetworkConfig, RateLimits};
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::testing::{Driver, play};

/// The queue from which the guest receives (5.1.2), where there is one pair.
pub const RECEIVE: usize = 0;
/// The queue with what the guest sends.
pub const TRANSMIT: usize = 1;
/// How many pairs an interface of several has here.
const PAIRS: usize = 3;
/// The size of both queues.
const SIZE: u16 = 16;
/// Where guests put things, among them places that are no memory.
const PLACES: [u64; 8] = [
    0,
    0x10_0000,
    0x10_8000,
    0x10_c000,
    0x80_0000,
    (32 << 20) - 6,
    0x1_0000_0000,
    u64::MAX - 5,
];

/// Lets a guest and a peer do what `data` says, eight bytes a step, and the device answer.
///
/// # Panics
///
/// Where the device does, which is what it looks for; and where the system has no sockets.
#[expect(
    clippy::many_single_char_names,
    reason = "bytes that mean something else in each step"
)]
pub fn fuzz(data: &[u8]) {
    let Some((mut network, mut peer)) = pair() else {
        return;
    };
    let mut driver = Driver::new(&[SIZE, SIZE]);
    for step in data.chunks_exact(8) {
        let [what, a, b, c, d, e, f, g] = *step else {
            return;
        };
        let queue = usize::from(a & 1);
        match what % 12 {
            0 => {
                let address = PLACES
                    .get(usize::from(c) % PLACES.len())
                    .copied()
                    .unwrap_or(0)
                    .wrapping_add(u64::from(d) << 4);
                let length = u32::from(e) << (f % 32);
                driver.write_descriptor(
                    queue,
                    u16::from(b) % 20,
                    address,
                    length,
                    (g % 8).into(),
                    u16::from(f) % 18,
                );
            }
            1 | 2 => driver.offer_head(queue, u16::from(b) % 17),
            3 => driver.set_available_index(queue, u16::from_le_bytes([b, c])),
            4 => {
                driver.place(step);
            }
            5 => {
                driver.use_event_index(a & 2 != 0);
                let features = u64::from(a & 4) << (VIRTIO_NET_F_MRG_RXBUF - 2)
                    | u64::from(a & 8) << (VIRTIO_RING_F_INDIRECT_DESC - 3);
                network.reset();
                // Refused, it stays inactive.
                let _active = network.activate(driver.activation(features));
            }
            6 => network.pause(),
            7 => network.resume(),
            8 => {
                let length = usize::from(u16::from_le_bytes([b, c])) % 3000;
                let prefix = u32::try_from(length).unwrap_or(0).to_be_bytes();
                let _full = peer.write(&[&prefix[..], &vec![d; length]].concat());
            }
            9 => {
                let _full = peer.write(step);
            }
            10 => {
                let _empty = peer.read(&mut [0; 4096]);
            }
            _ => {
                let mut space = [0; 8];
                network.read_config(u64::from(b) << (c % 56), &mut space);
            }
        }
        network.queue_ready(RECEIVE);
        network.queue_ready(TRANSMIT);
        network.source_ready(WAKES);
    }
    network.pause();
    if let Ok(state) = network.save() {
        let _same = network.restore(&state);
    }
    let _nonsense = network.restore(data);
}

fn pair() -> Option<(Network, UnixStream)> {
    let (ours, peer) = UnixStream::pair().ok()?;
    ours.set_nonblocking(true).ok()?;
    peer.set_nonblocking(true).ok()?;
    // Nobody listens there: a connection that ends stays away.
    let path = Path::new("/nonexistent/socket");
    let stream = Stream::new(path, SocketAddrUnix::new(path).ok()?, OwnedFd::from(ours)).ok()?;
    let config = NetworkConfig {
        id: "fuzz".to_owned(),
        mac: "52:54:00:12:34:56".to_owned(),
        backend: NetworkBackend::Stream {
            path: path.to_owned(),
        },
        limit: RateLimits::default(),
    };
    let network = Network::with_link(&config, Link::Stream(Box::new(stream)), false, None).ok()?;
    Some((network, peer))
}

/// Lets a driver of an interface with several queue pairs do what `data` says. Frames wait in each queue.
pub fn fuzz_pairs(data: &[u8]) {
    let _stats = play_pairs(data);
}

fn play_pairs(data: &[u8]) -> Option<NetworkStats> {
    let (mut network, peers) = double::interface(PAIRS, RateLimits::default(), |_, _| Ok(())).ok()?;
    for peer in &peers {
        for length in [13, 72, 1526] {
            let _full = peer.send(&vec![7; length]);
        }
    }
    let mut driver = Driver::new(&[QUEUE_SIZE; 2 * PAIRS + 1]);
    play(data, &mut driver, &mut network);
    Some(network.stats())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(seed: &str) -> Vec<(u64, u64)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/net_pairs");
        let stats = play_pairs(&std::fs::read(folder.join(seed)).unwrap()).unwrap();
        let each = stats.queue_pairs.each.iter();
        each.map(|pair| (pair.received.frames, pair.sent.frames))
            .collect()
    }

    /// What a fuzzer would hardly come by: a command that makes sense, and a state.
    #[test]
    fn the_seeds_switch_pairs_on() {
        let [.., (received, sent)] = frames("up")[..] else {
            panic!("no pairs");
        };
        assert!(received > 0 && sent > 0, "{received} {sent}");
        assert!(frames("up-and-down")[1].0 > 0);
        assert!(frames("restored")[1].0 > 0);
        assert_eq!(frames("too-many")[1..], [(0, 0); 2]);
        assert_eq!(frames("one-pair-and-control")[1..], [(0, 0); 2]);
    }
}
