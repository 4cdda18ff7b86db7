//! The virtio console (5.3): one port, `hvc0`.
//!
//! What the guest writes goes to a [`Hub`], which never waits; what viewers type waits there until the guest offers buffers.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
#[cfg(test)]
mod tests;

use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use virtio_queue::Queue;

use super::ring::{self, Chain, Done, Ring, Segments};
use super::{ActivateError, Activation, DeviceKind, Interrupt, Source, VirtioDevice};
use crate::devices::hub::{Hub, KEPT_BYTES};
use crate::memory::GuestMemory;

const QUEUE_SIZE: u16 = 64;
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// How much of one chain is shown: more would only push itself out of the hub's ring.
const CHAIN_BYTES_MAX: u64 = KEPT_BYTES as u64;
/// After so many bytes the viewers are served before more is taken: one that reads then misses nothing.
const SHOW_BYTES: u64 = KEPT_BYTES as u64 / 2;
/// How much is copied at once.
const PIECE_BYTES: usize = 1 << 10;

/// The console.
pub struct Console {
    hub: Arc<Hub>,
    active: Option<Active>,
    paused: bool,
}

struct Active {
    memory: GuestMemory,
    interrupt: Arc<Interrupt>,
    receive: Ring,
    transmit: Ring,
}

impl Console {
    /// A console with its viewers.
    pub fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            active: None,
            paused: false,
        }
    }

    /// Its output and input.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    fn running(&mut self) -> Option<&mut Active> {
        self.active.as_mut().filter(|_| !self.paused)
    }

    /// Shows what the guest wrote.
    fn transmit(&mut self) {
        let hub = Arc::clone(&self.hub);
        let Some(active) = self.running() else {
            return;
        };
        let mut shown = 0;
        let memory = &active.memory;
        active.transmit.serve(memory, &active.interrupt, |chain| {
            shown += show(&chain.readable, memory, &hub);
            if shown >= SHOW_BYTES {
                hub.serve();
                shown = 0;
            }
            Done::Used(0)
        });
    }

    /// Gives the guest what was typed, as far as it has buffers for it.
    fn receive(&mut self) {
        let hub = Arc::clone(&self.hub);
        let Some(active) = self.running() else {
            return;
        };
        let memory = &active.memory;
        active.receive.serve(memory, &active.interrupt, |chain| {
            if hub.has_typed() {
                Done::Used(give(chain, memory, &hub))
            } else {
                Done::Later
            }
        });
    }
}

/// How many bytes of a chain were shown.
fn show(buffers: &Segments, memory: &GuestMemory, hub: &Hub) -> u64 {
    let bytes = buffers.bytes().min(CHAIN_BYTES_MAX);
    let mut piece = [0; PIECE_BYTES];
    let mut done = 0;
    while done < bytes {
        let left = usize::try_from(bytes - done)
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        let (now, _) = piece.split_at_mut(left);
        // What lies outside memory ends it: the format has no way to complain.
        if buffers.read(memory, done, now).is_err() {
            break;
        }
        hub.append(now);
        done += left as u64;
    }
    done
}

/// How many bytes of what was typed went into a chain.
fn give(chain: &Chain, memory: &GuestMemory, hub: &Hub) -> u32 {
    let room = chain.writable.bytes();
    let mut piece = [0; PIECE_BYTES];
    let mut done = 0;
    loop {
        let left = usize::try_from(room - u64::from(done))
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        let (place, _) = piece.split_at_mut(left);
        let count = hub.take(place);
        let (typed, _) = place.split_at(count);
        if typed.is_empty() || chain.writable.write(memory, done.into(), typed).is_err() {
            return done;
        }
        // At most what a hub holds.
        done += u32::try_from(count).unwrap_or(0);
    }
}

impl VirtioDevice for Console {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Console
    }

    fn name(&self) -> String {
        "console".to_owned()
    }

    fn features(&self) -> u64 {
        ring::FEATURES
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; 2]
    }

    // Without its features (size, several ports, emergency write) no field of the configuration is valid.
    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn sources(&self) -> Vec<Source> {
        vec![Source {
            descriptor: self.hub.as_raw_fd(),
            token: 0,
            edge: false,
        }]
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let [receive, transmit] = Ring::take_all(&mut activation, &self.name())?;
        self.active = Some(Active {
            memory: activation.memory,
            interrupt: activation.interrupt,
            receive,
            transmit,
        });
        self.resume();
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
        self.paused = false;
    }

    fn queue_ready(&mut self, queue: usize) {
        match queue {
            RECEIVE => self.receive(),
            TRANSMIT => self.transmit(),
            _ => {}
        }
    }

    fn source_ready(&mut self, _token: u32) {
        if self.hub.serve() {
            self.receive();
        }
    }

    fn pause(&mut self) {
        self.paused = true;
    }

    fn resume(&mut self) {
        self.paused = false;
        self.transmit();
        self.receive();
    }

    fn queues(&self) -> Option<Vec<&Queue>> {
        let active = self.active.as_ref()?;
        Some(vec![active.receive.queue(), active.transmit.queue()])
    }
}
