//! A network interface (5.1): frames between a guest and a tap interface of the host.
//!
//! ```text
//! guest's rings --- receive.rs  <-- readv --  link.rs: tap.rs
//!       |           transmit.rs -- writev -->
//!       |                                       |
//!       +------------ vhost.rs: the kernel -----+      where the host has it
//! ```
//!
//! # Threat
//!
//! A guest chooses every byte of its frames, their headers, and where its buffers lie. A frame goes to the kernel as it is, which checks
//! the header for itself; a guest that sends nonsense harms nobody but the network that it is let into. **It can send with any source
//! address**: who must not be lied to filters on the host's side of the tap. What comes from the world is as hostile: its length decides
//! only which buffers of the guest are used.

mod chain;
mod error;
mod features;
mod link;
mod mac;
mod pieces;
mod receive;
mod state;
mod stats;
mod tap;
#[cfg(test)]
mod tests;
mod transmit;
mod used;
mod wakes;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use virtio_bindings::virtio_net::VIRTIO_NET_S_LINK_UP;
use virtio_queue::Queue;

pub use error::OpenNetworkError;
pub use features::Offloads;
pub use mac::{Mac, MacError};
pub use stats::{BackendKind, NetworkStats, Path, Traffic};

use super::{ActivateError, Activation, DeviceKind, DeviceStateError, Interrupt, Source, VirtioDevice};
use crate::config::{NetworkBackend, NetworkConfig};
use crate::rate_limit::RateLimiter;
use link::Link;
use receive::{FRAME_MAX, Receive, Turn};
use state::NetworkState;
use tap::Tap;
use transmit::Transmit;
use wakes::Wakes;

/// The length of the header before each frame, in bytes (5.1.6): the same with and without mergeable buffers since virtio 1.0.
const HEADER: usize = 12;
/// The shortest frame: an Ethernet header.
const FRAME_MIN: usize = 14;
/// The size of each queue.
const QUEUE_SIZE: u16 = 256;
/// The queue from which the guest receives (5.1.2).
const RECEIVE: usize = 0;
/// The queue with what the guest sends.
const TRANSMIT: usize = 1;
/// The MTU of Ethernet, where the backend says nothing else.
const MTU_DEFAULT: usize = 1500;

/// Tokens of the sources.
const LINK: u32 = 0;
const WAKES: u32 = 1;
const RECEIVE_LIMIT: u32 = 2;
const TRANSMIT_LIMIT: u32 = 3;

/// A network interface.
pub struct Network {
    id: String,
    mac: Mac,
    mtu: Option<u16>,
    offered: u64,
    link: Link,
    wakes: Wakes,
    receive_limit: RateLimiter,
    transmit_limit: RateLimiter,
    received: Traffic,
    sent: Traffic,
    active: Option<Active>,
    paused: bool,
}

/// What there is while a driver is.
struct Active {
    receive: Receive,
    transmit: Transmit,
    interrupt: Arc<Interrupt>,
}

impl Network {
    /// Opens the backend of a network interface.
    pub fn open(config: &NetworkConfig) -> Result<Self, OpenNetworkError> {
        let link = match &config.backend {
            NetworkBackend::Tap { name, .. } => Link::Tap(Tap::open(name)?),
            NetworkBackend::Stream { path } => {
                return Err(OpenNetworkError::SocketPath { path: path.clone() });
            }
        };
        Self::with_link(config, link)
    }

    /// A network interface whose tap another process has opened: `tap` is attached to an interface with `IFF_TAP`, `IFF_NO_PI` and
    /// `IFF_VNET_HDR`. The backend's name in `config` is not looked at.
    pub fn with_tap(config: &NetworkConfig, tap: OwnedFd) -> Result<Self, OpenNetworkError> {
        Self::with_link(config, Link::Tap(Tap::adopt(tap)?))
    }

    fn with_link(config: &NetworkConfig, link: Link) -> Result<Self, OpenNetworkError> {
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
        wakes.watch(link.descriptor()).map_err(events)?;
        Ok(Self {
            id: config.id.clone(),
            mac,
            mtu: link.mtu(),
            offered: features::offered(link.offloads(), link.mtu().is_some()),
            wakes,
            receive_limit: RateLimiter::new(&config.limit).map_err(events)?,
            transmit_limit: RateLimiter::new(&config.limit).map_err(events)?,
            link,
            received: Traffic::default(),
            sent: Traffic::default(),
            active: None,
            paused: false,
        })
    }

    /// What it has done since the process started.
    pub fn stats(&self) -> NetworkStats {
        NetworkStats {
            backend: self.link.kind(),
            peer: self.link.peer(),
            path: Path::Own,
            link_up: self.link.is_up(),
            reconnects: 0,
            received: self.received,
            sent: self.sent,
        }
    }

    fn receive(&mut self) {
        let Some(active) = self.active.as_mut().filter(|_| !self.paused) else {
            return;
        };
        let turn = active.receive.run(
            &mut self.link,
            &mut self.receive_limit,
            &mut self.received,
            &active.interrupt,
        );
        if turn == Turn::More {
            self.wakes.again();
        }
    }

    fn transmit(&mut self) {
        let Some(active) = self.active.as_mut().filter(|_| !self.paused) else {
            return;
        };
        let turn = active.transmit.run(
            &mut self.link,
            &mut self.transmit_limit,
            &mut self.sent,
            &active.interrupt,
        );
        match turn {
            Turn::More => self.wakes.again(),
            Turn::Full => {
                if self.wakes.when_writable(self.link.descriptor()).is_err() {
                    // Rather a turn too many than a queue that stands still.
                    self.wakes.again();
                }
            }
            Turn::Done | Turn::Limited => {}
        }
    }

    /// How much of buffers a frame usually needs.
    fn usual_frame(&self, features: u64) -> usize {
        if features::takes_segments(features) {
            FRAME_MAX
        } else {
            HEADER + 18 + self.mtu.map_or(MTU_DEFAULT, usize::from)
        }
    }

    fn config_space(&self) -> [u8; 12] {
        let [a, b, c, d, e, f] = self.mac.bytes();
        let status: u16 = if self.link.is_up() {
            VIRTIO_NET_S_LINK_UP as u16
        } else {
            0
        };
        let [status_low, status_high] = status.to_le_bytes();
        let [mtu_low, mtu_high] = self.mtu.unwrap_or(0).to_le_bytes();
        // max_virtqueue_pairs, in the middle, is there with VIRTIO_NET_F_MQ alone.
        [a, b, c, d, e, f, status_low, status_high, 0, 0, mtu_low, mtu_high]
    }
}

impl VirtioDevice for Network {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Network
    }

    fn name(&self) -> String {
        format!("network {}", self.id)
    }

    fn features(&self) -> u64 {
        self.offered
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE, QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let space = self.config_space();
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| space.get(offset..));
        for (place, byte) in data.iter_mut().zip(rest.unwrap_or_default()) {
            *place = *byte;
        }
    }

    fn sources(&self) -> Vec<Source> {
        let mut sources = vec![Source {
            descriptor: self.wakes.descriptor(),
            token: WAKES,
            edge: false,
        }];
        // With an edge: frames that the guest has no room for stay in the interface, and must not wake us for ever.
        sources.push(Source {
            descriptor: self.link.descriptor(),
            token: LINK,
            edge: true,
        });
        sources.extend(self.receive_limit.source(RECEIVE_LIMIT));
        sources.extend(self.transmit_limit.source(TRANSMIT_LIMIT));
        sources
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let device = self.name();
        let refuse = |reason: String| ActivateError { device, reason };
        let Activation {
            memory,
            queues,
            interrupt,
            features,
            ..
        } = activation;
        let Ok([receive, transmit]) = <[Queue; 2]>::try_from(queues) else {
            return Err(refuse("it has two queues".to_owned()));
        };
        if let Err(err) = self.link.set_features(features) {
            return Err(refuse(format!(
                "the host's interface refuses the offloads ({err})"
            )));
        }
        self.active = Some(Active {
            receive: Receive::new(receive, memory.clone(), features, self.usual_frame(features)),
            transmit: Transmit::new(transmit, memory),
            interrupt,
        });
        self.paused = false;
        self.receive();
        self.transmit();
        Ok(())
    }

    fn reset(&mut self) {
        // Reads and writes are over when they return: nothing is in flight.
        if let Some(mut active) = self.active.take() {
            active.receive.give_back(&mut self.received);
        }
        self.paused = false;
    }

    fn queue_ready(&mut self, queue: usize) {
        match queue {
            RECEIVE => self.receive(),
            TRANSMIT => self.transmit(),
            _ => {}
        }
    }

    fn source_ready(&mut self, token: u32) {
        match token {
            LINK | RECEIVE_LIMIT => self.receive(),
            TRANSMIT_LIMIT => self.transmit(),
            _ => {
                let woken = self.wakes.take();
                if woken.again {
                    self.receive();
                }
                if woken.again || woken.link {
                    self.transmit();
                }
            }
        }
    }

    fn pause(&mut self) {
        self.paused = true;
        if let Some(active) = &mut self.active {
            active.receive.give_back(&mut self.received);
        }
    }

    fn resume(&mut self) {
        self.paused = false;
        self.receive();
        self.transmit();
    }

    fn queues(&self) -> Option<Vec<&Queue>> {
        let active = self.active.as_ref()?;
        Some(vec![active.receive.queue(), active.transmit.queue()])
    }

    fn save(&self) -> Result<Vec<u8>, DeviceStateError> {
        NetworkState::of(self.mac, self.mtu).save(&self.name())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceStateError> {
        let state = NetworkState::restore(state, &self.name())?;
        state.check(self.mac, &self.name())?;
        // The driver knows the MTU that it was told; the interface here may carry more.
        self.mtu = state.mtu.or(self.mtu);
        Ok(())
    }
}
