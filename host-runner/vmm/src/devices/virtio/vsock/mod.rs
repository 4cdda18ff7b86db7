//! The socket device (5.10): connections between processes of the guest and Unix sockets of the host.
//!
//! Threat: headers, ports and credit come from the guest. It has at most [`CONNECTIONS_MAX`](host::CONNECTIONS_MAX) connections; what it
//! sends and the host does not read is bounded for each, and it is told so beforehand: who sends more loses the connection. A host
//! process that does not read, or a guest that does not, stops its own connection and no other.

mod connection;
mod credit;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod host;
mod packet;
#[cfg(test)]
mod tests;

use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use virtio_queue::Queue;

use host::Host;
pub use host::VsockStats;

use super::ring::{self, Done, Ring};
use super::{ActivateError, Activation, DeviceKind, DeviceStateError, Interrupt, Source, VirtioDevice};
use crate::config::VsockConfig;
use crate::devices::hub::ListenError;
use crate::memory::GuestMemory;

const QUEUE_SIZE: u16 = 128;
const QUEUES: usize = 3;
/// The event that says that all connections are gone: the guest was restored from a snapshot (5.10.6.7).
const TRANSPORT_RESET: [u8; 4] = [0; 4];

/// The socket device.
pub struct Vsock {
    guest: u32,
    host: Host,
    active: Option<Active>,
    paused: bool,
    /// The guest is to learn that its connections are gone.
    reset_due: bool,
}

struct Active {
    memory: GuestMemory,
    interrupt: Arc<Interrupt>,
    receive: Ring,
    transmit: Ring,
    events: Ring,
}

impl Vsock {
    /// The device of a guest, with the host's side listening.
    pub fn new(config: &VsockConfig) -> Result<Self, ListenError> {
        Ok(Self::with(config.cid, Host::new(config.cid, &config.path)?))
    }

    fn with(guest: u32, host: Host) -> Self {
        Self {
            guest,
            host,
            active: None,
            paused: false,
            reset_due: false,
        }
    }

    /// What the sockets did.
    pub fn stats(&self) -> VsockStats {
        self.host.stats()
    }

    /// Moves all that can be moved: from the guest first, whose packets may give credit.
    fn work(&mut self) {
        let Some(active) = self.active.as_mut().filter(|_| !self.paused) else {
            return;
        };
        let (host, memory, interrupt) = (&mut self.host, &active.memory, &active.interrupt);
        let more = host.poll();
        active.transmit.serve(memory, interrupt, |chain| {
            host.take(chain, memory);
            Done::Used(0)
        });
        if host.has_something() {
            active.receive.serve(memory, interrupt, |chain| {
                host.give(chain, memory).map_or(Done::Later, Done::Used)
            });
        }
        if self.reset_due {
            let due = &mut self.reset_due;
            active.events.serve(memory, interrupt, |chain| {
                if !*due {
                    return Done::Later;
                }
                let told = chain.writable.write(memory, 0, &TRANSPORT_RESET).is_ok();
                *due = !told;
                Done::Used(if told { 4 } else { 0 })
            });
        }
        if more {
            active.transmit.come_again();
        }
    }
}

impl VirtioDevice for Vsock {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Socket
    }

    fn name(&self) -> String {
        "vsock".to_owned()
    }

    fn features(&self) -> u64 {
        ring::FEATURES
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; QUEUES]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let address = u64::from(self.guest).to_le_bytes();
        let from = usize::try_from(offset).unwrap_or(address.len());
        for (byte, value) in data.iter_mut().zip(address.iter().skip(from)) {
            *byte = *value;
        }
    }

    fn sources(&self) -> Vec<Source> {
        // With edges: who connects before there is a driver, or while the guest is paused, waits without keeping us awake.
        vec![Source {
            descriptor: self.host.as_raw_fd(),
            token: 0,
            edge: true,
        }]
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let [receive, transmit, events] = Ring::take_all(&mut activation, &self.name())?;
        self.active = Some(Active {
            memory: activation.memory,
            interrupt: activation.interrupt,
            receive,
            transmit,
            events,
        });
        self.resume();
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
        self.paused = false;
        self.reset_due = false;
        self.host.clear();
    }

    fn queue_ready(&mut self, _queue: usize) {
        self.work();
    }

    fn source_ready(&mut self, _token: u32) {
        self.work();
    }

    fn pause(&mut self) {
        self.paused = true;
    }

    fn resume(&mut self) {
        self.paused = false;
        self.work();
    }

    fn queues(&self) -> Option<Vec<&Queue>> {
        let active = self.active.as_ref()?;
        let rings = [&active.receive, &active.transmit, &active.events];
        Some(rings.map(Ring::queue).to_vec())
    }

    // Its state is empty: connections do not survive, as their other ends are in processes of this host.
    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceStateError> {
        if !state.is_empty() {
            return Err(DeviceStateError::format(self));
        }
        self.reset_due = true;
        Ok(())
    }
}
