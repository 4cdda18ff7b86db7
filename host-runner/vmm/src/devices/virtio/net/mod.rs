//! A network interface (5.1): frames between a guest and a tap interface of the host, or a socket.
//!
//! ```text
//! guest's rings --- receive.rs  <-- readv --  link.rs: tap.rs
//!       |           transmit.rs -- writev -->          stream.rs
//!       |                                       |
//!       +------------ vhost.rs: the kernel -----+      where the host has it
//! ```
//!
//! # Queue pairs
//!
//! A tap that was made with `multi_queue` serves a guest of several vCPUs by several queue pairs (`VIRTIO_NET_F_MQ`): one for each vCPU, at
//! most [`PAIRS_MAX`]. The driver says by the control queue how many it uses; the first alone until then, and after each reset. Each pair is
//! a queue of the tap, attached while the pair is in use, and with vhost-net an instance of it, whose thread in the kernel serves that pair
//! alone. Where this process moves the frames, one thread does for all pairs, in turns of a bounded number of frames
//! (decision 0014). Other taps, and sockets, have one pair.
//!
//! # Threat
//!
//! A guest chooses every byte of its frames, their headers, and where its buffers lie. A frame goes to the kernel as it is, which checks
//! the header for itself; a guest that sends nonsense harms nobody but the network that it is let into. **It can send with any source
//! address**: who must not be lied to filters on the host's side of the tap. What comes from the world is as hostile: its length decides
//! only which buffers of the guest are used.
//!
//! To attach and detach queues takes a lock that all the host's interfaces share: a guest changes its mind a few times a second, and no
//! more often.

mod active;
mod chain;
mod control;
mod device;
#[cfg(any(test, feature = "fuzzing"))]
mod double;
mod error;
mod features;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod half;
mod kernel;
mod link;
mod mac;
mod pairs;
mod pieces;
mod receive;
mod shared_limit;
mod state;
mod stats;
mod stream;
mod tap;
#[cfg(test)]
mod tests;
mod transmit;
mod turns;
mod used;
mod vhost;
mod wakes;

use std::os::fd::OwnedFd;

pub use error::OpenNetworkError;
pub use features::Offloads;
pub use mac::{Mac, MacError};
pub use stats::{BackendKind, NetworkStats, PairTraffic, Path, QueuePairs, Traffic};

use crate::config::{BucketConfig, NetworkBackend, NetworkConfig, RateLimits};
use crate::rate_limit::RateLimiter;
use active::Active;
use link::Link;
use shared_limit::SharedLimit;
use stream::Stream;
use tap::Tap;
use vhost::Vhost;
use wakes::Wakes;

/// The length of the header before each frame, in bytes (5.1.6): the same with and without mergeable buffers since virtio 1.0.
const HEADER: usize = 12;
/// The shortest frame: an Ethernet header.
const FRAME_MIN: usize = 14;
/// The size of each queue.
const QUEUE_SIZE: u16 = 256;
/// The most queue pairs of an interface. Each takes up to four descriptors, and with vhost-net a thread of the kernel, for which a host has
/// only so many processors to spare.
pub const PAIRS_MAX: usize = 8;
/// How often a guest may change the number of its pairs, in the long run and at once.
const CHANGES: BucketConfig = BucketConfig {
    per_second: 2,
    burst: 16,
};
/// The bit of the status field that says that the link is up (`VIRTIO_NET_S_LINK_UP`).
const LINK_UP: u16 = 1;
/// The MTU of Ethernet, where the backend says nothing else.
const MTU_DEFAULT: usize = 1500;

/// A network interface.
pub struct Network {
    id: String,
    mac: Mac,
    mtu: Option<u16>,
    offered: u64,
    link: Link,
    /// How many queue pairs the driver is told of.
    most_pairs: usize,
    /// Why there is one, where there might have been more.
    one_because: Option<&'static str>,
    /// How many pairs a driver that comes next uses: one, but for one that goes on here.
    pairs_at_first: usize,
    wakes: Wakes,
    receive_limit: SharedLimit,
    transmit_limit: SharedLimit,
    change_limit: RateLimiter,
    /// By pair.
    traffic: Vec<PairTraffic>,
    kernel: Option<Vhost>,
    path: Path,
    log_writes: bool,
    active: Option<Active>,
    paused: bool,
}

impl Network {
    /// Opens the backend of a network interface, for a machine with so many vCPUs.
    pub fn open(config: &NetworkConfig, vcpus: u8) -> Result<Self, OpenNetworkError> {
        match &config.backend {
            NetworkBackend::Tap {
                name,
                vhost,
                queue_pairs,
            } => {
                let most = usize::from(queue_pairs.unwrap_or(vcpus)).clamp(1, PAIRS_MAX);
                let tap = Tap::open(name, most)?;
                let one_because = (most > tap.queues())
                    .then_some("the tap has one queue; one with several is made with: multi_queue");
                Self::with_link(config, Link::Tap(tap), *vhost, one_because)
            }
            NetworkBackend::Stream { path } => {
                let link = Link::Stream(Box::new(Stream::open(path)?));
                let one_because = (vcpus > 1).then_some("a stream socket is one way for all frames");
                Self::with_link(config, link, false, one_because)
            }
        }
    }

    /// A network interface whose tap another process has opened: each of `queues` is attached to one interface with `IFF_TAP`, `IFF_NO_PI`
    /// and `IFF_VNET_HDR`, and with `IFF_MULTI_QUEUE` if there are several; there are then as many queue pairs. Of the backend in `config`
    /// only `vhost` counts.
    pub fn with_tap(config: &NetworkConfig, queues: Vec<OwnedFd>) -> Result<Self, OpenNetworkError> {
        let vhost = matches!(config.backend, NetworkBackend::Tap { vhost: true, .. });
        Self::with_link(config, Link::Tap(Tap::adopt(queues)?), vhost, None)
    }

    fn with_link(
        config: &NetworkConfig,
        mut link: Link,
        vhost: bool,
        one_because: Option<&'static str>,
    ) -> Result<Self, OpenNetworkError> {
        let mac = config.mac.parse().map_err(|err| OpenNetworkError::Mac {
            id: config.id.clone(),
            mac: config.mac.clone(),
            err,
        })?;
        let events = |err| OpenNetworkError::Events {
            id: config.id.clone(),
            err,
        };
        let wakes = Wakes::new().map_err(events)?;
        let pairs = link.pairs();
        for pair in 0..pairs {
            if let Some(descriptor) = link.descriptor(pair) {
                wakes.watch(pair, descriptor).map_err(events)?;
            }
        }
        if let Link::Stream(stream) = &link {
            wakes.watch_timer(stream.timer()).map_err(events)?;
        }
        link.use_pairs(1).map_err(events)?;
        let (kernel, path) = if vhost {
            open_kernel(config, pairs)
        } else {
            (None, Path::Own)
        };
        let offered = features::offered(link.offloads(), link.mtu().is_some(), pairs);
        let limiter = |limits: &RateLimits| RateLimiter::new(limits).map_err(events);
        let changes = RateLimits {
            bytes: None,
            operations: (pairs > 1).then_some(CHANGES),
        };
        Ok(Self {
            id: config.id.clone(),
            mac,
            mtu: link.mtu(),
            offered: kernel.as_ref().map_or(offered, |kernel| kernel.able(offered)),
            most_pairs: pairs,
            one_because,
            pairs_at_first: 1,
            wakes,
            receive_limit: SharedLimit::new(limiter(&config.limit)?),
            transmit_limit: SharedLimit::new(limiter(&config.limit)?),
            change_limit: limiter(&changes)?,
            link,
            traffic: vec![PairTraffic::default(); pairs],
            kernel,
            path,
            log_writes: false,
            active: None,
            paused: false,
        })
    }

    /// What it has done since the process started.
    pub fn stats(&self) -> NetworkStats {
        let (reconnects, errors) = match &self.link {
            Link::Stream(stream) => (stream.reconnects(), stream.errors()),
            Link::Tap(_) => (0, 0),
        };
        let before_any_pair = Traffic {
            errors,
            ..Traffic::default()
        };
        let received = self.traffic.iter().map(|pair| pair.received);
        NetworkStats {
            backend: self.link.kind(),
            peer: self.link.peer(),
            path: self.path.clone(),
            link_up: self.link.is_up(),
            reconnects,
            queue_pairs: QueuePairs {
                most: self.most_pairs,
                in_use: self.active.as_ref().map_or(0, |active| active.in_use),
                one_because: self.one_because,
                each: self.traffic.clone(),
            },
            received: received.chain([before_any_pair]).sum(),
            sent: self.traffic.iter().map(|pair| pair.sent).sum(),
        }
    }

    /// The fields of the configuration space (5.1.4). The number of queue pairs, before the MTU, is read with `VIRTIO_NET_F_MQ` alone.
    fn config_space(&self) -> [u8; 12] {
        let status = u16::from(self.link.is_up()) * LINK_UP;
        // At most `PAIRS_MAX`.
        let pairs = u16::try_from(self.most_pairs).unwrap_or(1);
        let mut space = [0; 12];
        let fields = [
            self.mac.bytes().as_slice(),
            &status.to_le_bytes(),
            &pairs.to_le_bytes(),
            &self.mtu.unwrap_or(0).to_le_bytes(),
        ]
        .concat();
        for (place, byte) in space.iter_mut().zip(fields) {
            *place = byte;
        }
        space
    }
}

/// Opens the kernel's path for so many queue pairs, or says why not.
fn open_kernel(config: &NetworkConfig, pairs: usize) -> (Option<Vhost>, Path) {
    if config.limit.bytes.is_some() || config.limit.operations.is_some() {
        let reason = "the kernel's path knows no rate limit".to_owned();
        return (None, Path::OwnBecause(reason));
    }
    match Vhost::open(pairs) {
        Ok(kernel) => (Some(kernel), Path::Kernel),
        Err(error) => (None, Path::OwnBecause(format!("/dev/vhost-net: {error}"))),
    }
}
