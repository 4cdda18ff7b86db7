//! A disk (5.2).
//!
//! ```text
//!            take                begin              completion
//! available ------> request.rs --------> engine.rs ------------> used
//!   ring            (checked)            ring.rs: io_uring       ring
//!                                        pool.rs: threads
//! ```
//!
//! Raw files and block devices go through `io_uring` where it is permitted, straight between the file and guest memory; everything else,
//! and what the kernel would only hand to threads of its own, through two threads. At most [`SLOTS`] requests are under way, with no more
//! data than [`LOAD_MAX`] together, or one alone; more wait in the available ring. So a pause, a reset and a snapshot, which wait for what
//! is under way, have an end.
//!
//! A driver that has several requests at a time is given way, so that an interrupt answers more than one of them
//! (`give_way.rs`).
//!
//! A write that finds no room on the host waits for it, where somebody holds the machine meanwhile (full.rs).
//!
//! Order: requests end in any order, as the standard has it. A flush is handed on when it is taken, and what had been answered before
//! that is durable when it is answered: the guest cannot know of a write's end before its write has ended in the kernel, which is what
//! `fdatasync` looks at. Without a flush in the agreement with the driver, or when it turns the write cache off, each write is durable
//! when it is answered.

mod counts;
mod engine;
mod full;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod give_way;
mod image;
mod lock;
mod open;
mod pool;
mod qcow2;
mod request;
mod ring;
mod scratch;
mod service;
mod settle;
mod space;
mod state;
mod stats;
mod task;
mod vectors;

use std::sync::Arc;

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_MQ, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_SIZE_MAX, VIRTIO_BLK_F_TOPOLOGY,
    VIRTIO_BLK_F_WRITE_ZEROES,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::Queue;

use super::{ActivateError, Activation, DeviceKind, DeviceStateError, Source, VirtioDevice};
use crate::config::DiskConfig;
use crate::rate_limit::RateLimiter;
use engine::Engine;
use full::Waiting;
use give_way::{GiveWay, Host};
use image::Image;
use request::Rules;
use service::{Active, Flight, Lane};
use settle::Unsettled;

pub use image::GrowError;
pub use open::OpenDiskError;
pub use pool::ThreadStart;
pub use qcow2::Qcow2Error;
pub use stats::BlockStats;

/// The unit in which a driver counts, in bytes, whatever the blocks of the disk are.
pub const SECTOR: u64 = 512;
/// How many requests may be under way.
pub const SLOTS: u16 = 128;
/// How many bytes the requests under way may have to move, in all, but for one that is alone: 512 KiB for each slot.
const LOAD_MAX: u64 = 64 << 20;
/// The most queues of a disk.
pub const QUEUES_MAX: u16 = 4;
/// How many entries a queue has, at most.
const QUEUE_SIZE: u16 = 256;

const DONE: u32 = 0;
const TOKENS: u32 = 1;

/// What a disk is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Traits {
    /// The smallest piece that can be addressed, in bytes: a power of two, from [`SECTOR`].
    block_bytes: u32,
    /// The smallest piece that is written without reading first, in bytes: a power of two, from `block_bytes`.
    physical_bytes: u32,
}

/// A disk.
pub struct Block {
    id: String,
    /// As in [`VirtioDevice::name`].
    name: Arc<str>,
    read_only: bool,
    queues: u16,
    image: Arc<Image>,
    traits: Traits,
    /// In bytes, whole sectors.
    capacity: u64,
    /// What the driver has set; it counts only where this was agreed upon.
    writeback: bool,
    engine: Engine,
    limiter: RateLimiter,
    stats: BlockStats,
    /// The slots that nothing is under way in.
    free: Vec<u16>,
    /// What is under way in each slot, or waits there.
    flights: Vec<Option<Flight>>,
    /// What is under way, in bytes ([`Request::load`](request::Request::load)).
    load: u64,
    waiting: Waiting,
    unsettled: Unsettled,
    give_way: GiveWay,
    /// What it does that with.
    host: Host,
    active: Option<Active>,
}

impl Block {
    /// Opens a disk, and locks its file against other machines.
    ///
    /// It offers `queues` queues, from 1 to [`QUEUES_MAX`]; the number of vCPUs is a good one. Where the disk needs threads, they are
    /// started with its first request, and each calls `start` first.
    pub fn open(config: &DiskConfig, queues: u16, start: ThreadStart) -> Result<Self, OpenDiskError> {
        let opened = open::open(config)?;
        let capacity = opened.bytes - opened.bytes % SECTOR;
        if capacity == 0 {
            return Err(OpenDiskError::Empty {
                id: config.id.clone(),
                path: config.path.clone(),
                bytes: opened.bytes,
            });
        }
        let events = |err| OpenDiskError::Events {
            id: config.id.clone(),
            err,
        };
        let image = Arc::new(opened.image);
        let engine = Engine::new(Arc::clone(&image), true, format!("disk-{}", config.id), start);
        let engine = engine.map_err(events)?;
        Ok(Self {
            id: config.id.clone(),
            name: format!("disk {}", config.id).into(),
            read_only: config.read_only,
            queues: queues.clamp(1, QUEUES_MAX),
            image,
            traits: opened.traits,
            capacity,
            writeback: true,
            engine,
            limiter: RateLimiter::new(&config.limit).map_err(events)?,
            stats: BlockStats::default(),
            free: (0..SLOTS).rev().collect(),
            flights: (0..SLOTS).map(|_| None).collect(),
            load: 0,
            waiting: Waiting::default(),
            unsettled: Unsettled::default(),
            give_way: GiveWay::default(),
            host: Host::default(),
            active: None,
        })
    }

    /// The size of the disk, in bytes.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity
    }

    /// What it has done so far.
    pub fn stats(&self) -> BlockStats {
        self.stats
    }

    /// Makes the disk larger while it is in use. The driver is then to be told
    /// ([`configuration_changed`](super::mmio::Transport::configuration_changed)).
    pub fn grow(&mut self, bytes: u64) -> Result<(), GrowError> {
        if !bytes.is_multiple_of(SECTOR) || bytes < self.capacity {
            return Err(GrowError::Size {
                now: self.capacity,
                wanted: bytes,
            });
        }
        self.image.grow(bytes, self.read_only)?;
        self.capacity = bytes;
        Ok(())
    }

    fn agreed(&self, feature: u32) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| active.features & 1 << feature != 0)
    }

    fn rules(&self) -> Rules {
        let writeback = !self.agreed(VIRTIO_BLK_F_CONFIG_WCE) || self.writeback;
        Rules {
            capacity: self.capacity,
            read_only: self.read_only,
            features: self.active.as_ref().map_or(0, |active| active.features),
            durable: !(self.agreed(VIRTIO_BLK_F_FLUSH) && writeback),
        }
    }
}

impl VirtioDevice for Block {
    fn kind(&self) -> DeviceKind {
        DeviceKind::Block
    }

    fn name(&self) -> String {
        self.name.to_string()
    }

    fn features(&self) -> u64 {
        let mut features = vec![
            VIRTIO_BLK_F_SIZE_MAX,
            VIRTIO_BLK_F_SEG_MAX,
            VIRTIO_BLK_F_BLK_SIZE,
            VIRTIO_BLK_F_TOPOLOGY,
            VIRTIO_BLK_F_FLUSH,
            VIRTIO_BLK_F_CONFIG_WCE,
            VIRTIO_RING_F_EVENT_IDX,
            VIRTIO_RING_F_INDIRECT_DESC,
        ];
        if self.read_only {
            features.push(VIRTIO_BLK_F_RO);
        } else {
            features.extend([VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES]);
        }
        if self.queues > 1 {
            features.push(VIRTIO_BLK_F_MQ);
        }
        features.into_iter().fold(0, |bits, feature| bits | 1 << feature)
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; usize::from(self.queues)]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let space = space::bytes(self.capacity, self.traits, self.writeback, self.queues);
        space::read(&space, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let (space::WRITEBACK, [value]) = (offset, data) {
            self.writeback = value & 1 != 0;
        }
    }

    fn sources(&self) -> Vec<Source> {
        let done = Source {
            descriptor: self.engine.descriptor(),
            token: DONE,
            edge: false,
        };
        std::iter::once(done).chain(self.limiter.source(TOKENS)).collect()
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        self.drop_driver();
        self.engine.set_memory(Some(activation.memory.clone()));
        let lanes = activation
            .queues
            .into_iter()
            .zip(activation.queue_events)
            .map(|(queue, event)| Lane::new(queue, event));
        self.active = Some(Active {
            memory: Arc::new(activation.memory),
            interrupt: activation.interrupt,
            lanes: lanes.collect(),
            features: activation.features,
            paused: false,
            throttled: false,
            crowded: false,
        });
        self.look_everywhere();
        Ok(())
    }

    fn reset(&mut self) {
        self.drop_driver();
        self.writeback = true;
    }

    fn queue_ready(&mut self, queue: usize) {
        if let Some(lane) = self
            .active
            .as_mut()
            .and_then(|active| active.lanes.get_mut(queue))
        {
            lane.look();
            self.work();
        }
    }

    fn source_ready(&mut self, token: u32) {
        match token {
            DONE => self.engine.acknowledge(),
            TOKENS => {
                if let Some(active) = &mut self.active {
                    active.throttled = false;
                }
            }
            _ => return,
        }
        self.work();
    }

    fn pause(&mut self) {
        if let Some(active) = &mut self.active {
            active.paused = true;
        }
        // Of a machine that is paused again before the device thread came by.
        self.waiting.again(false);
        self.drain();
        // Another process that opens the file, as for a move to another machine, finds the tables there.
        self.leave();
    }

    fn resume(&mut self) {
        if let Some(active) = &mut self.active {
            active.paused = false;
            active.throttled = false;
        }
        // They change again; the next pause writes them.
        self.unsettled.tables = None;
        self.waiting.again(true);
        self.look_everywhere();
    }

    fn queues(&self) -> Option<Vec<&Queue>> {
        let active = self.active.as_ref()?;
        Some(active.lanes.iter().map(|lane| &lane.queue).collect())
    }

    fn save(&self) -> Result<Vec<u8>, DeviceStateError> {
        state::save(self)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceStateError> {
        state::restore(self, state)
    }
}

impl Block {
    /// Has the device thread look at all queues: what moves data runs there alone.
    fn look_everywhere(&mut self) {
        for lane in self.active.iter_mut().flat_map(|active| &mut active.lanes) {
            lane.look();
            lane.kick();
        }
    }

    /// Lets go of the driver's memory, when nothing is under way there any more. Its requests are not answered.
    fn drop_driver(&mut self) {
        self.active = None;
        self.drain();
        self.forget_waiting();
        self.engine.set_memory(None);
    }
}

#[cfg(test)]
mod tests;
