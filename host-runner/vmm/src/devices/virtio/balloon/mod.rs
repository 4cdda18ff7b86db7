//! The balloon (5.5): memory that a guest gives back.
//!
//! It gives back on request (inflation, up to a target that the API sets), and by itself what it does not use (free page reporting). In
//! both cases the pages go to the host at once, and read as zeroes when the guest takes them again.
//!
//! Threat: page numbers and addresses come from the guest. Only its own memory can be given back, and giving it back harms nobody but
//! itself. How much of a chain is looked at is bounded, and how much memory is gone through in one turn, and in how many pieces: buffers may
//! lie over each other, and a ring full of them is a thousand times the guest's memory.

mod discard;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use virtio_queue::Queue;

use discard::{discard, runs};
use stats::GuestStats;

use super::ring::{self, Chain, Done, Ring};
use super::{ActivateError, Activation, DeviceKind, DeviceStateError, Interrupt, VirtioDevice};
use crate::config::BalloonConfig;
use crate::memory::GuestMemory;

const QUEUE_SIZE: u16 = 128;
const QUEUES: usize = 4;
const INFLATE: usize = 0;
const DEFLATE: usize = 1;

/// The features that matter here, by their bit (5.5.3).
const FEATURE_STATS: u64 = 1 << 1;
const FEATURE_DEFLATE_ON_OOM: u64 = 1 << 2;
const FEATURE_POISON: u64 = 1 << 4;
const FEATURE_REPORTING: u64 = 1 << 5;

/// Where the fields of the configuration lie (5.5.4).
const CONFIG_ACTUAL: u64 = 4;
const CONFIG_POISON: u64 = 12;
const CONFIG_BYTES: usize = 16;

/// The balloon's pages in a MiB.
const PAGES_PER_MIB: u32 = 256;
/// How many page numbers of one chain are looked at; drivers send 256 or 1024.
const PAGES_MAX: usize = 1024;
/// How many bytes are given back before other devices have their turn, and the most that one chain of reported buffers gives back: each
/// costs the host a walk through that much of its page tables, and a note that it was written. A Linux guest reports 32 blocks of 4 MiB at
/// once (`PAGE_REPORTING_CAPACITY`, `MAX_PAGE_ORDER`).
const TURN_BYTES: u64 = 1 << 30;
/// In how many ranges: each is a system call, after which all processors forget what they knew of those pages.
const TURN_RANGES: usize = 2048;
/// How many page numbers are read, sorted and put together at once.
const PAGES_AT_ONCE: usize = 256;

/// The target leaves the guest nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the balloon can have less than the machine's {memory_mib} MiB, not {target_mib} MiB")]
pub struct TargetError {
    /// What was asked for.
    pub target_mib: u32,
    /// The machine's memory.
    pub memory_mib: u32,
}

/// The balloon, for the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BalloonStats {
    /// How much the guest is to give back, in MiB.
    pub target_mib: u32,
    /// How much it has given back, as it says, in MiB.
    pub actual_mib: u32,
    /// How many bytes went to the host since the start, by inflation and by reporting; the guest may have taken them again.
    pub given_back_bytes: u64,
    /// How often the guest has told its statistics: what follows is new when this has risen.
    pub told: u64,
    /// What the guest last said about its memory, by name; empty where it says nothing.
    pub guest: BTreeMap<&'static str, u64>,
}

/// The balloon.
pub struct Balloon {
    memory_mib: u32,
    registers: Registers,
    given_back_bytes: u64,
    told: u64,
    guest: GuestStats,
    active: Option<Active>,
    paused: bool,
}

/// The configuration space, which is all that is saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Registers {
    /// In pages.
    target: u32,
    /// In pages.
    actual: u32,
    /// What the guest fills free pages with.
    poison: u32,
}

struct Active {
    memory: GuestMemory,
    interrupt: Arc<Interrupt>,
    /// All of them, in their order.
    rings: [Ring; QUEUES],
    features: u64,
}

impl Active {
    /// Which queue holds the statistics. Queues of features that the driver did not accept take no number (5.5.2).
    fn stats(&self) -> Option<usize> {
        (self.features & FEATURE_STATS != 0).then_some(2)
    }

    /// Which queue holds the free pages that the guest reports.
    fn reporting(&self) -> Option<usize> {
        let before = if self.stats().is_some() { 3 } else { 2 };
        (self.features & FEATURE_REPORTING != 0).then_some(before)
    }
}

impl Balloon {
    /// The balloon of a machine with so much memory.
    pub fn new(config: &BalloonConfig, memory_mib: u32) -> Result<Self, TargetError> {
        let mut balloon = Self {
            memory_mib,
            registers: Registers::default(),
            given_back_bytes: 0,
            told: 0,
            guest: GuestStats::default(),
            active: None,
            paused: false,
        };
        balloon.set_target_mib(config.size_mib)?;
        Ok(balloon)
    }

    /// Sets how much the guest is to give back, in MiB. It learns of it when the transport says that the
    /// [configuration changed](super::mmio::Transport::configuration_changed), which the caller sees to, and without this device's lock.
    pub fn set_target_mib(&mut self, target_mib: u32) -> Result<(), TargetError> {
        if target_mib >= self.memory_mib {
            return Err(TargetError {
                target_mib,
                memory_mib: self.memory_mib,
            });
        }
        // A machine has at most 2^30 pages.
        self.registers.target = target_mib.saturating_mul(PAGES_PER_MIB);
        Ok(())
    }

    /// How much the guest is to give back, in MiB.
    pub fn target_mib(&self) -> u32 {
        self.registers.target / PAGES_PER_MIB
    }

    /// How much the guest says it has given back, in MiB.
    pub fn actual_mib(&self) -> u32 {
        self.registers.actual / PAGES_PER_MIB
    }

    /// What is known of it. The guest's own figures are as old as the last [request](Self::request_stats).
    pub fn stats(&self) -> BalloonStats {
        BalloonStats {
            target_mib: self.target_mib(),
            actual_mib: self.actual_mib(),
            given_back_bytes: self.given_back_bytes,
            told: self.told,
            guest: self.guest.named(),
        }
    }

    /// Asks the guest for new statistics, which come some milliseconds later. Does nothing while there is no driver, or while it has not
    /// yet answered the last request.
    pub fn request_stats(&mut self) {
        let Some(active) = self.active.as_mut().filter(|_| !self.paused) else {
            return;
        };
        let Some(ring) = active.stats().and_then(|stats| active.rings.get_mut(stats)) else {
            return;
        };
        // The driver's buffer stays in the ring until now: giving it back is the request (5.5.6.3).
        if let Some(chain) = ring.next(&active.memory) {
            ring.give_back(&active.memory, &chain, 0);
            let _more = ring.ask_for_kicks(&active.memory);
            ring.tell(&active.memory, &active.interrupt);
        }
    }

    /// How many bytes a turn gives back at most, or a chain: no more than there are.
    fn turn_bytes(&self) -> u64 {
        (u64::from(self.memory_mib) << 20).min(TURN_BYTES)
    }

    fn serve(&mut self, queue: usize, mut work: impl FnMut(&Chain, &GuestMemory) -> Given) {
        let most = self.turn_bytes();
        let mut given_back = Given::default();
        if let Some(active) = self.active.as_mut().filter(|_| !self.paused)
            && let Some(ring) = active.rings.get_mut(queue)
        {
            let memory = &active.memory;
            ring.serve(memory, &active.interrupt, |chain| {
                given_back.and(work(chain, memory));
                if given_back.bytes < most && given_back.ranges < TURN_RANGES {
                    Done::Used(0)
                } else {
                    Done::Enough(0)
                }
            });
        }
        self.given_back_bytes = self.given_back_bytes.saturating_add(given_back.bytes);
    }

    /// Reads the statistics that wait in the ring, and leaves them there: see [`request_stats`](Self::request_stats).
    fn read_stats(&mut self) {
        let Some(active) = self.active.as_mut().filter(|_| !self.paused) else {
            return;
        };
        let Some(ring) = active.stats().and_then(|stats| active.rings.get_mut(stats)) else {
            return;
        };
        if let Some(chain) = ring.next(&active.memory) {
            ring.put_back();
            self.guest.take(&active.memory, &chain.readable);
            self.told += 1;
        } else {
            // Buffers that made no sense have gone back, if there were any.
            let _more = ring.ask_for_kicks(&active.memory);
            ring.tell(&active.memory, &active.interrupt);
        }
    }

    /// Whether a page that was given back reads as the guest expects of a free page: as zeroes, unless it fills them with something else.
    fn zeroes_will_do(&self) -> bool {
        let features = self.active.as_ref().map_or(0, |active| active.features);
        features & FEATURE_POISON == 0 || self.registers.poison == 0
    }
}

/// What went to the host.
#[derive(Debug, Clone, Copy, Default)]
struct Given {
    bytes: u64,
    /// In how many ranges, each of them a system call.
    ranges: usize,
}

impl Given {
    fn and(&mut self, more: Self) {
        self.bytes = self.bytes.saturating_add(more.bytes);
        self.ranges = self.ranges.saturating_add(more.ranges);
    }

    /// Gives back a range.
    fn back(&mut self, memory: &GuestMemory, range: &Range<u64>) {
        self.and(Self {
            bytes: discard(memory, range),
            ranges: 1,
        });
    }
}

/// Gives back the pages whose numbers a chain holds.
fn inflate(chain: &Chain, memory: &GuestMemory) -> Given {
    let mut given = Given::default();
    let count = usize::try_from(chain.readable.bytes() / 4)
        .unwrap_or(PAGES_MAX)
        .min(PAGES_MAX);
    let mut numbers = [0; PAGES_AT_ONCE * 4];
    let mut pages = [0; PAGES_AT_ONCE];
    let mut done = 0;
    while done < count {
        let now = (count - done).min(PAGES_AT_ONCE);
        let (numbers, _) = numbers.split_at_mut(now * 4);
        if chain.readable.read(memory, done as u64 * 4, numbers).is_err() {
            break;
        }
        let (pages, _) = pages.split_at_mut(now);
        for (page, number) in pages.iter_mut().zip(numbers.as_chunks::<4>().0) {
            *page = u32::from_le_bytes(*number);
        }
        runs(pages).for_each(|run| given.back(memory, &run));
        done += now;
    }
    given
}

/// Gives back the free pages that a chain's buffers are, `most` bytes at most. What is beyond stays the guest's: a report is a hint.
fn report(chain: &Chain, memory: &GuestMemory, most: u64) -> Given {
    let mut given = Given::default();
    for segment in chain.writable.iter() {
        let length = u64::from(segment.length).min(most.saturating_sub(given.bytes));
        if let Some(end) = segment.address.checked_add(length) {
            given.back(memory, &(segment.address..end));
        }
    }
    given
}

impl VirtioDevice for Balloon {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Balloon
    }

    fn name(&self) -> String {
        "balloon".to_owned()
    }

    fn features(&self) -> u64 {
        ring::FEATURES | FEATURE_STATS | FEATURE_DEFLATE_ON_OOM | FEATURE_POISON | FEATURE_REPORTING
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; QUEUES]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let Registers {
            target,
            actual,
            poison,
        } = self.registers;
        let mut config = [0; CONFIG_BYTES];
        // Between them: the command of free page hinting, which is not offered.
        for (place, value) in config
            .as_chunks_mut::<4>()
            .0
            .iter_mut()
            .zip([target, actual, 0, poison])
        {
            *place = value.to_le_bytes();
        }
        let from = usize::try_from(offset).unwrap_or(CONFIG_BYTES).min(CONFIG_BYTES);
        for (byte, value) in data.iter_mut().zip(config.iter().skip(from)) {
            *byte = *value;
        }
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let Ok(value) = <[u8; 4]>::try_from(data).map(u32::from_le_bytes) else {
            return;
        };
        match offset {
            CONFIG_ACTUAL => self.registers.actual = value,
            CONFIG_POISON => self.registers.poison = value,
            _ => {}
        }
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let rings = Ring::take_all(&mut activation, &self.name())?;
        self.active = Some(Active {
            memory: activation.memory,
            interrupt: activation.interrupt,
            rings,
            features: activation.features,
        });
        self.resume();
        Ok(())
    }

    fn reset(&mut self) {
        self.active = None;
        self.paused = false;
        // Its driver is gone, and with it what the driver held.
        self.registers.actual = 0;
        self.registers.poison = 0;
        self.guest = GuestStats::default();
    }

    fn queue_ready(&mut self, queue: usize) {
        let special = self
            .active
            .as_ref()
            .map(|active| (active.stats(), active.reporting()));
        let (stats, reporting) = special.unwrap_or_default();
        if queue == INFLATE {
            self.serve(queue, inflate);
        } else if queue == DEFLATE {
            // Nothing to do: a page comes back when it is touched.
            self.serve(queue, |_, _| Given::default());
        } else if stats == Some(queue) {
            self.read_stats();
        } else if reporting == Some(queue) {
            let most = if self.zeroes_will_do() {
                self.turn_bytes()
            } else {
                0
            };
            self.serve(queue, |chain, memory| report(chain, memory, most));
        }
    }

    fn pause(&mut self) {
        self.paused = true;
    }

    fn resume(&mut self) {
        self.paused = false;
        for queue in 0..QUEUES {
            self.queue_ready(queue);
        }
    }

    fn queues(&self) -> Option<Vec<&Queue>> {
        let active = self.active.as_ref()?;
        Some(active.rings.iter().map(Ring::queue).collect())
    }

    fn save(&self) -> Result<Vec<u8>, DeviceStateError> {
        postcard::to_stdvec(&self.registers).map_err(|_| DeviceStateError {
            device: self.name(),
            reason: "cannot be written".to_owned(),
        })
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceStateError> {
        let refuse = |reason: &str| DeviceStateError {
            device: "balloon".to_owned(),
            reason: reason.to_owned(),
        };
        let (registers, rest): (Registers, _) =
            postcard::take_from_bytes(state).map_err(|_| refuse("is of another format"))?;
        if !rest.is_empty() {
            return Err(refuse("is too long"));
        }
        if registers.target / PAGES_PER_MIB >= self.memory_mib {
            return Err(refuse("wants more memory back than the machine has"));
        }
        self.registers = registers;
        Ok(())
    }
}
