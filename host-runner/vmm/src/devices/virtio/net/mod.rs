//! A network interface (5.1): frames between a guest and a tap interface of the host, or a socket.
//!
//! ```text
//! guest's rings --- receive.rs  <-- readv --  link.rs: tap.rs
//!       |           transmit.rs -- writev -->          stream.rs
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
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod half;
mod link;
mod mac;
mod pieces;
mod receive;
mod state;
mod stats;
mod stream;
mod tap;
#[cfg(test)]
mod tests;
mod transmit;
mod used;
mod vhost;
mod wakes;

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use virtio_bindings::virtio_net::VIRTIO_NET_F_STATUS;
use virtio_queue::{Queue, QueueT as _};
use vmm_sys_util::eventfd::EventFd;

pub use error::OpenNetworkError;
pub use features::Offloads;
pub use mac::{Mac, MacError};
pub use stats::{BackendKind, NetworkStats, Path, Traffic};

use super::{ActivateError, Activation, DeviceKind, DeviceStateError, Interrupt, Source, VirtioDevice};
use crate::config::{NetworkBackend, NetworkConfig};
use crate::memory::GuestMemory;
use crate::rate_limit::RateLimiter;
use half::Turn;
use link::Link;
use receive::{FRAME_MAX, Receive};
use state::NetworkState;
use stream::Stream;
use tap::Tap;
use transmit::Transmit;
use vhost::{Served, Vhost};
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
/// The bit of the status field that says that the link is up (`VIRTIO_NET_S_LINK_UP`).
const LINK_UP: u16 = 1;
/// The MTU of Ethernet, where the backend says nothing else.
const MTU_DEFAULT: usize = 1500;

/// Tokens of the sources.
const WAKES: u32 = 0;
const RECEIVE_LIMIT: u32 = 1;
const TRANSMIT_LIMIT: u32 = 2;

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
    kernel: Option<Vhost>,
    path: Path,
    log_writes: bool,
    active: Option<Active>,
    paused: bool,
}

/// What there is while a driver is.
struct Active {
    memory: GuestMemory,
    receive: Receive,
    transmit: Transmit,
    queue_events: Vec<Arc<EventFd>>,
    interrupt: Arc<Interrupt>,
    features: u64,
    /// Whether the kernel serves the queues now.
    in_kernel: bool,
    /// What the driver was told of the link.
    link_up: bool,
}

impl Network {
    /// Opens the backend of a network interface.
    pub fn open(config: &NetworkConfig) -> Result<Self, OpenNetworkError> {
        match &config.backend {
            NetworkBackend::Tap { name, vhost } => {
                Self::with_link(config, Link::Tap(Tap::open(name)?), *vhost)
            }
            NetworkBackend::Stream { path } => {
                Self::with_link(config, Link::Stream(Box::new(Stream::open(path)?)), false)
            }
        }
    }

    /// A network interface whose tap another process has opened: `tap` is attached to an interface with `IFF_TAP`, `IFF_NO_PI` and
    /// `IFF_VNET_HDR`. Of the backend in `config` only `vhost` counts.
    pub fn with_tap(config: &NetworkConfig, tap: OwnedFd) -> Result<Self, OpenNetworkError> {
        let vhost = matches!(config.backend, NetworkBackend::Tap { vhost: true, .. });
        Self::with_link(config, Link::Tap(Tap::adopt(tap)?), vhost)
    }

    fn with_link(config: &NetworkConfig, link: Link, vhost: bool) -> Result<Self, OpenNetworkError> {
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
        if let Some(descriptor) = link.descriptor() {
            wakes.watch(descriptor).map_err(events)?;
        }
        if let Link::Stream(stream) = &link {
            wakes.watch_timer(stream.timer()).map_err(events)?;
        }
        let (kernel, path) = if vhost {
            open_kernel(config)
        } else {
            (None, Path::Own)
        };
        let offered = features::offered(link.offloads(), link.mtu().is_some());
        Ok(Self {
            id: config.id.clone(),
            mac,
            mtu: link.mtu(),
            offered: kernel.as_ref().map_or(offered, |kernel| kernel.able(offered)),
            wakes,
            receive_limit: RateLimiter::new(&config.limit).map_err(events)?,
            transmit_limit: RateLimiter::new(&config.limit).map_err(events)?,
            link,
            received: Traffic::default(),
            sent: Traffic::default(),
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
        NetworkStats {
            backend: self.link.kind(),
            peer: self.link.peer(),
            path: self.path.clone(),
            link_up: self.link.is_up(),
            reconnects,
            received: Traffic {
                errors: self.received.errors + errors,
                ..self.received
            },
            sent: self.sent,
        }
    }

    /// Moves what has come, unless there is no driver, or the kernel does.
    fn receive(&mut self) {
        let Some(active) = self.active.as_mut().filter(|active| !active.in_kernel) else {
            return;
        };
        if self.paused {
            return;
        }
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

    /// Sends what the guest has, unless there is no driver, or the kernel does.
    fn transmit(&mut self) {
        let Some(active) = self.active.as_mut().filter(|active| !active.in_kernel) else {
            return;
        };
        if self.paused {
            return;
        }
        let turn = active.transmit.run(
            &mut self.link,
            &mut self.transmit_limit,
            &mut self.sent,
            &active.interrupt,
        );
        if turn == Turn::More {
            self.wakes.again();
        }
        if turn == Turn::Full || self.link.has_unsent() {
            self.wait_for_room(true);
        }
    }

    fn wait_for_room(&mut self, wait: bool) {
        let Some(descriptor) = self.link.descriptor() else {
            return;
        };
        if self.wakes.when_writable(descriptor, wait).is_err() {
            // Rather a turn too many than a queue that stands still.
            self.wakes.again();
        }
    }

    /// The link has gone, or come back: the driver reads it in the configuration space.
    fn tell_link(&mut self) {
        let up = self.link.is_up();
        let Some(active) = self.active.as_mut().filter(|active| active.link_up != up) else {
            return;
        };
        if !self.paused {
            active.link_up = up;
            if active.features & 1 << VIRTIO_NET_F_STATUS != 0 {
                active.interrupt.configuration_changed();
            }
            // What waited for the link to take it is lost now, or may go.
            self.transmit();
        }
    }

    fn reconnect(&mut self) {
        if let Link::Stream(stream) = &mut self.link
            && let Some(socket) = stream.reconnect()
            && self.wakes.watch(socket).is_err()
        {
            stream.disconnect();
        }
    }

    /// Does all that there may be to do.
    fn look_at_everything(&mut self) {
        let _errors_have_ended_the_connection = self.link.flush();
        self.receive();
        self.transmit();
        self.tell_link();
    }

    /// How much of buffers a frame usually needs.
    fn usual_frame(&self, features: u64) -> usize {
        if features::takes_segments(features) {
            FRAME_MAX
        } else {
            HEADER + 18 + self.mtu.map_or(MTU_DEFAULT, usize::from)
        }
    }

    /// The fields of the configuration space (5.1.4). The number of queue pairs, in the middle, is there with `VIRTIO_NET_F_MQ` alone.
    fn config_space(&self) -> [u8; 12] {
        let status = u16::from(self.link.is_up()) * LINK_UP;
        let mut space = [0; 12];
        let fields = [
            self.mac.bytes().as_slice(),
            &status.to_le_bytes(),
            &[0; 2],
            &self.mtu.unwrap_or(0).to_le_bytes(),
        ]
        .concat();
        for (place, byte) in space.iter_mut().zip(fields) {
            *place = byte;
        }
        space
    }

    /// Lets the kernel serve the queues, if it can; if it refuses, this process does, for good.
    fn enter_kernel(&mut self) {
        let (Some(kernel), Some(active), Some(tap)) =
            (self.kernel.as_mut(), self.active.as_mut(), self.link.tap())
        else {
            return;
        };
        let Active {
            memory,
            receive,
            transmit,
            queue_events,
            interrupt,
            features,
            in_kernel,
            ..
        } = active;
        if !(receive.half.queue.ready() && transmit.half.queue.ready())
            || (self.log_writes && !kernel.can_log())
        {
            return;
        }
        let Some(mut served) = served(&mut receive.half.queue, &mut transmit.half.queue, queue_events) else {
            return;
        };
        // Before the kernel raises the line for the first time.
        interrupt.always_used(true);
        match kernel.start(memory, *features, &mut served, tap, interrupt, self.log_writes) {
            Ok(()) => {
                *in_kernel = true;
                // Its frames are not for this process any more: they would wake it one by one.
                let _watched_in_vain = self.wakes.ignore(tap.as_raw_fd());
            }
            Err(error) => {
                let _stopped_as_far_as_started = kernel.stop(memory, &mut served);
                interrupt.always_used(false);
                interrupt.used();
                self.path = Path::OwnBecause(format!("vhost-net refuses the queues: {error}"));
                self.kernel = None;
            }
        }
    }

    /// Takes the queues back from the kernel, if it has them.
    fn leave_kernel(&mut self) {
        let (Some(kernel), Some(active)) = (self.kernel.as_mut(), self.active.as_mut()) else {
            return;
        };
        if !std::mem::take(&mut active.in_kernel) {
            return;
        }
        let queues = (&mut active.receive.half.queue, &mut active.transmit.half.queue);
        if let Some(mut served) = served(queues.0, queues.1, &active.queue_events)
            && let Err(error) = kernel.stop(&active.memory, &mut served)
        {
            crate::devices::once(
                &self.id,
                &format!("network {}: vhost-net does not stop: {error}", self.id),
            );
        }
        active.receive.half.taken_over();
        active.transmit.half.taken_over();
        if let Some(descriptor) = self.link.descriptor() {
            let _watched = self.wakes.when_writable(descriptor, false);
        }
    }
}

/// Opens the kernel's path, or says why not.
fn open_kernel(config: &NetworkConfig) -> (Option<Vhost>, Path) {
    if config.limit.bytes.is_some() || config.limit.operations.is_some() {
        let reason = "the kernel's path knows no rate limit".to_owned();
        return (None, Path::OwnBecause(reason));
    }
    match Vhost::open() {
        Ok(kernel) => (Some(kernel), Path::Kernel),
        Err(error) => (None, Path::OwnBecause(format!("/dev/vhost-net: {error}"))),
    }
}

fn served<'a>(
    receive: &'a mut Queue,
    transmit: &'a mut Queue,
    events: &'a [Arc<EventFd>],
) -> Option<[Served<'a>; 2]> {
    let [kick_receive, kick_transmit] = events else {
        return None;
    };
    Some([
        Served {
            queue: receive,
            kick: kick_receive,
        },
        Served {
            queue: transmit,
            kick: kick_transmit,
        },
    ])
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

    fn served_elsewhere(&self, _queue: usize) -> bool {
        self.active.as_ref().is_some_and(|active| active.in_kernel)
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
        // The link is behind the wakes: a socket changes when it is connected again, and a kernel that serves the queues empties the tap
        // without our looking. Each event there comes once, so that frames for which a guest has no room wake nobody.
        let wakes = Source {
            descriptor: self.wakes.descriptor(),
            token: WAKES,
            edge: false,
        };
        let limits = [
            self.receive_limit.source(RECEIVE_LIMIT),
            self.transmit_limit.source(TRANSMIT_LIMIT),
        ];
        [Some(wakes)].into_iter().chain(limits).flatten().collect()
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let device = self.name();
        let refuse = |reason: String| ActivateError { device, reason };
        let Activation {
            memory,
            queues,
            queue_events,
            interrupt,
            features,
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
            transmit: Transmit::new(transmit, memory.clone()),
            memory,
            queue_events,
            interrupt,
            features,
            in_kernel: false,
            link_up: self.link.is_up(),
        });
        self.paused = false;
        self.enter_kernel();
        self.look_at_everything();
        Ok(())
    }

    fn reset(&mut self) {
        // Our own reads and writes are over when they return; the kernel's are when it has given the queues back.
        self.leave_kernel();
        if let Some(mut active) = self.active.take() {
            active.receive.give_back(&mut self.received);
        }
        self.paused = false;
    }

    fn queue_ready(&mut self, queue: usize) {
        match queue {
            RECEIVE => self.receive(),
            TRANSMIT => self.transmit(),
            _ => return,
        }
        self.tell_link();
    }

    fn source_ready(&mut self, token: u32) {
        match token {
            RECEIVE_LIMIT => self.receive(),
            TRANSMIT_LIMIT => self.transmit(),
            _ => {
                let woken = self.wakes.take();
                if woken.timer {
                    self.reconnect();
                }
                if woken.writable {
                    self.wait_for_room(false);
                    let _errors_have_ended_the_connection = self.link.flush();
                }
                if woken.readable || woken.again {
                    self.receive();
                }
                if woken.writable || woken.again {
                    self.transmit();
                }
                if woken.hung_up {
                    // What it had sent was read above, as far as the guest had room.
                    self.link.hang_up();
                }
                self.tell_link();
            }
        }
    }

    fn pause(&mut self) {
        self.leave_kernel();
        self.paused = true;
        if let Some(active) = &mut self.active {
            active.receive.give_back(&mut self.received);
        }
    }

    fn resume(&mut self) {
        self.paused = false;
        self.enter_kernel();
        if let Some(active) = &self.active {
            // The edge of an interrupt may have been lost on the way; one too many does no harm.
            active.interrupt.used();
        }
        self.look_at_everything();
    }

    fn queues(&self) -> Option<Vec<&Queue>> {
        let active = self.active.as_ref()?;
        Some(vec![&active.receive.half.queue, &active.transmit.half.queue])
    }

    fn log_writes(&mut self, log: bool) {
        if self.log_writes != log {
            self.log_writes = log;
            let in_kernel = self.served_elsewhere(RECEIVE);
            self.leave_kernel();
            if in_kernel {
                self.enter_kernel();
                self.look_at_everything();
            }
        }
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
