//! An interface of several queue pairs for tests and for fuzzing: in the place of its tap are sockets, whose messages are frames with their
//! headers. What attaches and detaches queues is given.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use super::Network;
use super::link::Link;
use super::tap::Tap;
use crate::config::{NetworkBackend, NetworkConfig, RateLimits};

/// The interface, and the other sides of its queues.
pub fn interface(
    pairs: usize,
    limit: RateLimits,
    switch: fn(&File, bool) -> io::Result<()>,
) -> io::Result<(Network, Vec<UnixDatagram>)> {
    let mut queues = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..pairs {
        let (ours, peer) = UnixDatagram::pair()?;
        ours.set_nonblocking(true)?;
        peer.set_nonblocking(true)?;
        queues.push(File::from(OwnedFd::from(ours)));
        peers.push(peer);
    }
    let config = NetworkConfig {
        id: "net0".to_owned(),
        mac: "52:54:00:12:34:56".to_owned(),
        backend: NetworkBackend::Tap {
            name: String::new(),
            vhost: false,
            queue_pairs: None,
        },
        limit,
    };
    let link = Link::Tap(Tap::double(queues, switch));
    let network = Network::with_link(&config, link, false, None).map_err(io::Error::other)?;
    Ok((network, peers))
}
