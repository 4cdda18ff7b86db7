//! The interface as its transport sees it.

use virtio_queue::Queue;

use super::active::Active;
use super::chain::Direction;
use super::receive::FRAME_MAX;
use super::state::NetworkState;
use super::{HEADER, MTU_DEFAULT, Network, QUEUE_SIZE, features};
use crate::devices::virtio::{ActivateError, Activation, DeviceKind, DeviceStateError, Source, VirtioDevice};

/// Tokens of the sources.
pub const WAKES: u32 = 0;
const RECEIVE_LIMIT: u32 = 1;
const TRANSMIT_LIMIT: u32 = 2;
const CHANGE_LIMIT: u32 = 3;

impl Network {
    /// How much of buffers a frame usually needs.
    fn usual_frame(&self, features: u64) -> usize {
        if features::takes_segments(features) {
            FRAME_MAX
        } else {
            HEADER + 18 + self.mtu.map_or(MTU_DEFAULT, usize::from)
        }
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
        // Behind the pairs, where there are several, the control queue; all of one size, since which one it is depends on the features.
        let pairs = self.link.pairs();
        vec![QUEUE_SIZE; 2 * pairs + usize::from(pairs > 1)]
    }

    fn served_elsewhere(&self, queue: usize) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| queue < 2 * active.in_kernel)
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
            self.receive_limit.limiter.source(RECEIVE_LIMIT),
            self.transmit_limit.limiter.source(TRANSMIT_LIMIT),
            self.change_limit.source(CHANGE_LIMIT),
        ];
        [Some(wakes)].into_iter().chain(limits).flatten().collect()
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let device = self.name();
        let refuse = |reason: String| ActivateError { device, reason };
        let features = activation.features;
        // Whoever comes later begins with one.
        let pairs = std::mem::replace(&mut self.pairs_at_first, 1);
        let active = Active::new(
            activation,
            (self.most_pairs, pairs),
            self.usual_frame(features),
            self.link.is_up(),
        );
        let active = match active {
            Ok(active) => active,
            Err(reason) => return Err(refuse(reason)),
        };
        if let Err(err) = self.link.set_features(features) {
            return Err(refuse(format!(
                "the host's interface refuses the offloads ({err})"
            )));
        }
        if let Err(err) = self.link.use_pairs(pairs) {
            return Err(refuse(format!(
                "the host's interface refuses {pairs} queues ({err})"
            )));
        }
        self.active = Some(active);
        self.paused = false;
        self.enter_kernel();
        self.look_at_everything();
        Ok(())
    }

    fn reset(&mut self) {
        // Our own reads and writes are over when they return; the kernel's are when it has given the queues back.
        self.rest();
        self.active = None;
        self.paused = false;
        if let Err(err) = self.link.use_pairs(1) {
            let device = self.name();
            crate::devices::once(
                &device,
                &format_args!("{device}: the host's interface keeps its queues: {err}"),
            );
        }
    }

    fn queue_ready(&mut self, queue: usize) {
        let Some(active) = &self.active else {
            return;
        };
        if queue == active.control_queue() {
            self.serve_control();
        } else if queue.is_multiple_of(2) {
            self.serve(Direction::Receive, queue / 2);
        } else {
            self.serve(Direction::Send, queue / 2);
        }
        self.tell_link();
    }

    fn source_ready(&mut self, token: u32) {
        match token {
            RECEIVE_LIMIT => self.tokens_are_back(Direction::Receive),
            TRANSMIT_LIMIT => self.tokens_are_back(Direction::Send),
            CHANGE_LIMIT => self.serve_control(),
            _ => self.woken(),
        }
    }

    fn pause(&mut self) {
        self.rest();
        self.paused = true;
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
        self.active.as_ref().map(Active::queues)
    }

    fn log_writes(&mut self, log: bool) {
        if self.log_writes != log {
            self.log_writes = log;
            if self.served_elsewhere(0) {
                self.leave_kernel();
                self.enter_kernel();
                self.look_at_everything();
            }
        }
    }

    fn save(&self) -> Result<Vec<u8>, DeviceStateError> {
        let in_use = self.active.as_ref().map_or(1, |active| active.in_use);
        NetworkState::of(self.mac, self.mtu, (self.most_pairs, in_use)).save(&self.name())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceStateError> {
        let device = self.name();
        let state = NetworkState::restore(state, &device)?;
        state.check_mac(self.mac, &device)?;
        state.check_pairs(self.link.pairs(), &device)?;
        // The driver knows the MTU that it was told; the interface here may carry more. So it is with the pairs.
        self.mtu = state.mtu().or(self.mtu);
        self.most_pairs = state.pairs.into();
        self.pairs_at_first = state.pairs_in_use.into();
        Ok(())
    }
}
