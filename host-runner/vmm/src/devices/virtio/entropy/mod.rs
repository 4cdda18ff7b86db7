//! The entropy device (5.4): randomness for the guest.
//!
//! Threat: a guest that asks for ever. A request is bounded, and so are the bytes of a second: what is beyond waits in the queue.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use rand::TryRng as _;
use rand::rngs::SysRng;
use virtio_queue::Queue;

use super::ring::{self, Done, Ring, Segments};
use super::{ActivateError, Activation, DeviceKind, Interrupt, Source, VirtioDevice};
use crate::config::{BucketConfig, RateLimits};
use crate::memory::GuestMemory;
use crate::rate_limit::RateLimiter;

const QUEUE_SIZE: u16 = 64;
/// The most bytes that one request gets; drivers take less for an answer (5.4.6).
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// How much is taken from the system at once.
const PIECE_BYTES: usize = 1 << 10;
/// How many bytes a guest gets in a second, in the long run; a kernel wants a few dozen.
const BYTES_PER_SECOND: u64 = 4 << 20;
/// How many it gets at once after a pause.
const BURST_BYTES: u64 = 1 << 20;
/// How many requests: an empty one costs us as well.
const REQUESTS_PER_SECOND: u64 = 10_000;

/// The entropy device.
pub struct Entropy {
    limiter: RateLimiter,
    active: Option<Active>,
    paused: bool,
    given_bytes: u64,
}

struct Active {
    memory: GuestMemory,
    interrupt: Arc<Interrupt>,
    requests: Ring,
}

impl Entropy {
    /// A source of randomness, which is the system's. Fails when the system gives no timer.
    pub fn new() -> io::Result<Self> {
        let limits = RateLimits {
            bytes: Some(BucketConfig {
                per_second: BYTES_PER_SECOND,
                burst: BURST_BYTES,
            }),
            operations: Some(BucketConfig {
                per_second: REQUESTS_PER_SECOND,
                burst: REQUESTS_PER_SECOND,
            }),
        };
        Ok(Self {
            limiter: RateLimiter::new(&limits)?,
            active: None,
            paused: false,
            given_bytes: 0,
        })
    }

    /// How many bytes the guest got.
    pub fn given_bytes(&self) -> u64 {
        self.given_bytes
    }

    fn serve(&mut self) {
        let Some(active) = self.active.as_mut().filter(|_| !self.paused) else {
            return;
        };
        let (limiter, given_bytes) = (&mut self.limiter, &mut self.given_bytes);
        let memory = &active.memory;
        active.requests.serve(memory, &active.interrupt, |chain| {
            let bytes = chain.writable.bytes().min(REQUEST_BYTES_MAX);
            if !limiter.take(1, bytes) {
                return Done::Later;
            }
            let given = fill(&chain.writable, memory, bytes);
            *given_bytes += u64::from(given);
            Done::Used(given)
        });
    }
}

/// How many bytes were filled: all but where the buffers lie outside memory, or the system gives no more.
fn fill(buffers: &Segments, memory: &GuestMemory, bytes: u64) -> u32 {
    let mut piece = [0; PIECE_BYTES];
    let mut done: u32 = 0;
    while u64::from(done) < bytes {
        let left = usize::try_from(bytes - u64::from(done))
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        let (now, _) = piece.split_at_mut(left);
        if SysRng.try_fill_bytes(now).is_err() || buffers.write(memory, done.into(), now).is_err() {
            break;
        }
        // At most REQUEST_BYTES_MAX in all.
        done += u32::try_from(left).unwrap_or(0);
    }
    done
}

impl VirtioDevice for Entropy {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Entropy
    }

    fn name(&self) -> String {
        "entropy".to_owned()
    }

    fn features(&self) -> u64 {
        ring::FEATURES
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE]
    }

    // It has no configuration (5.4.4).
    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    fn sources(&self) -> Vec<Source> {
        self.limiter.source(0).into_iter().collect()
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let [requests] = Ring::take_all(&mut activation, &self.name())?;
        self.active = Some(Active {
            memory: activation.memory,
            interrupt: activation.interrupt,
            requests,
        });
        self.resume();
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
        self.paused = false;
    }

    fn queue_ready(&mut self, _queue: usize) {
        self.serve();
    }

    fn source_ready(&mut self, _token: u32) {
        self.serve();
    }

    fn pause(&mut self) {
        self.paused = true;
    }

    fn resume(&mut self) {
        self.paused = false;
        self.serve();
    }

    fn queues(&self) -> Option<Vec<&Queue>> {
        self.active.as_ref().map(|active| vec![active.requests.queue()])
    }
}
