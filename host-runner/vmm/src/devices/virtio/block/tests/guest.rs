//! A disk in a file of its own, and a guest that drives it.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tempfile::{NamedTempFile, TempDir};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::images;
use crate::config::{DiskConfig, DiskFormat, RateLimits};
use crate::devices::virtio::VirtioDevice;
use crate::devices::virtio::block::engine::Engine;
use crate::devices::virtio::block::{Block, SECTOR};
use crate::devices::virtio::testing::{Driver, Piece};

/// The status of a request that worked.
pub const OK: u8 = 0;
/// The status of one that did not.
pub const FAILED: u8 = 1;
/// The status of one that this device does not know.
pub const UNSUPPORTED: u8 = 2;
/// A status that has not been written.
pub const NONE: u8 = 0xaa;

pub const IN: u32 = 0;
pub const OUT: u32 = 1;
pub const FLUSH: u32 = 4;
pub const GET_ID: u32 = 8;
pub const DISCARD: u32 = 11;
pub const WRITE_ZEROES: u32 = 13;

/// How long a test waits for a disk before it fails, in milliseconds.
const PATIENCE_MS: i32 = 30_000;

/// A file of so many sectors; each sector is full of its number, from 1.
pub fn numbered(sectors: u64) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    for sector in 0..sectors {
        file.write_all(&sector_of(sector)).unwrap();
    }
    file
}

/// What is in a sector of [`numbered`].
pub fn sector_of(sector: u64) -> Vec<u8> {
    vec![u8::try_from(sector % 250).unwrap() + 1; usize::try_from(SECTOR).unwrap()]
}

pub fn config(file: &NamedTempFile) -> DiskConfig {
    DiskConfig {
        path: file.path().into(),
        ..config_of("root")
    }
}

pub fn config_of(id: &str) -> DiskConfig {
    DiskConfig {
        id: id.into(),
        path: "/nonexistent".into(),
        format: DiskFormat::Raw,
        read_only: false,
        direct: false,
        limit: RateLimits::default(),
    }
}

pub fn open(config: &DiskConfig) -> Block {
    Block::open(config, 1, || {}).unwrap()
}

/// Opens a disk; with `threads`, as where the kernel has no `io_uring`.
pub fn open_with(config: &DiskConfig, threads: bool) -> Block {
    let mut disk = open(config);
    if threads {
        disk.engine = Engine::new(Arc::clone(&disk.image), false, "threads".into(), || {}).unwrap();
    }
    disk
}

/// A guest with one disk.
pub struct Guest {
    pub disk: Block,
    pub driver: Driver,
}

/// A request on its way.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    pub head: u16,
    pub status: u64,
    pub data: u64,
    pub length: u32,
}

impl Guest {
    /// A guest whose driver has agreed to all that the disk offers.
    pub fn new(disk: Block) -> Self {
        let features = disk.features();
        Self::with_features(disk, features)
    }

    pub fn with_features(mut disk: Block, features: u64) -> Self {
        let driver = Driver::new(&disk.queue_sizes());
        disk.activate(driver.activation(features)).unwrap();
        Self { disk, driver }
    }

    /// Puts a request into a queue without telling the device.
    pub fn prepare(&mut self, queue: usize, kind: u32, sector: u64, readable: &[u8], writable: u32) -> Sent {
        let header = self.header(kind, sector);
        let status = self.driver.place(&[NONE]);
        let mut pieces = vec![Piece::read(header, 16)];
        let mut data = 0;
        if !readable.is_empty() {
            data = self.driver.place(readable);
            pieces.push(Piece::read(data, u32::try_from(readable.len()).unwrap()));
        }
        if writable > 0 {
            data = self.driver.room(writable);
            pieces.push(Piece::write(data, writable));
        }
        pieces.push(Piece::write(status, 1));
        let head = self.driver.offer(queue, &pieces);
        Sent {
            head,
            status,
            data,
            length: writable,
        }
    }

    pub fn header(&mut self, kind: u32, sector: u64) -> u64 {
        let mut header = kind.to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(sector.to_le_bytes());
        self.driver.place(&header)
    }

    /// Lets the device thread's part happen until the queue has given back this many more chains.
    pub fn wait_for(&mut self, queue: usize, count: usize) -> Vec<(u16, u32)> {
        let mut used = Vec::new();
        loop {
            used.extend(self.driver.used(queue));
            if used.len() >= count {
                return used;
            }
            self.turn();
        }
    }

    /// As [`wait_for`](Self::wait_for), with each source's edges as the device thread sees them.
    pub fn wait_for_edges(&mut self, queue: usize, count: usize) -> Vec<(u16, u32)> {
        let epoll = self.sources();
        let mut used = Vec::new();
        loop {
            used.extend(self.driver.used(queue));
            if used.len() >= count {
                return used;
            }
            self.take_turn(&epoll);
        }
    }

    /// Waits for one of the device's sources, and lets the device see to it.
    pub fn turn(&mut self) {
        let epoll = self.sources();
        self.take_turn(&epoll);
    }

    fn sources(&self) -> Epoll {
        let epoll = Epoll::new().unwrap();
        for source in self.disk.sources() {
            let edge = if source.edge {
                EventSet::EDGE_TRIGGERED
            } else {
                EventSet::empty()
            };
            let event = EpollEvent::new(EventSet::IN | edge, source.token.into());
            epoll
                .ctl(ControlOperation::Add, source.descriptor, event)
                .unwrap();
        }
        epoll
    }

    fn take_turn(&mut self, epoll: &Epoll) {
        let mut events = [EpollEvent::default(); 4];
        let count = loop {
            match epoll.wait(PATIENCE_MS, &mut events) {
                // The kernel did some work of the ring's in this thread.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                waited => break waited.unwrap(),
            }
        };
        assert!(count > 0, "the disk does not answer");
        for event in &events[..count] {
            self.disk.source_ready(u32::try_from(event.data()).unwrap());
        }
    }

    /// One request from beginning to end: its status, and how many bytes are said to be written.
    pub fn run(&mut self, kind: u32, sector: u64, readable: &[u8], writable: u32) -> (u8, u32, Vec<u8>) {
        let sent = self.prepare(0, kind, sector, readable, writable);
        self.disk.queue_ready(0);
        let used = self.wait_for(0, 1);
        assert_eq!(used.len(), 1);
        assert_eq!(used[0].0, sent.head);
        (self.status(sent), used[0].1, self.data(sent))
    }

    pub fn status(&self, sent: Sent) -> u8 {
        self.driver.bytes(sent.status, 1)[0]
    }

    pub fn data(&self, sent: Sent) -> Vec<u8> {
        self.driver
            .bytes(sent.data, usize::try_from(sent.length).unwrap())
    }
}

/// Bytes of the file behind a disk.
pub fn in_file(file: &NamedTempFile, sector: u64, sectors: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(sectors * SECTOR).unwrap()];
    file.as_file().read_exact_at(&mut bytes, sector * SECTOR).unwrap();
    bytes
}

/// The one range of a discard, or of zeroes.
pub fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut range = sector.to_le_bytes().to_vec();
    range.extend(sectors.to_le_bytes());
    range.extend(flags.to_le_bytes());
    range
}

/// A way to keep a disk, with a guest that uses it.
pub struct Kind {
    pub name: &'static str,
    pub guest: Guest,
    config: DiskConfig,
    files: TempDir,
}

impl Kind {
    /// The machine ends, and another one opens the disk.
    pub fn opened_again(self) -> (&'static str, Guest) {
        let Self {
            name,
            guest,
            config,
            files,
        } = self;
        drop(guest);
        let guest = Guest::new(open(&config));
        // Open files stay.
        drop(files);
        (name, guest)
    }
}

/// A disk of so many sectors that [`sector_of`] describes, in each way that there is to keep one.
pub fn kinds(sectors: u64) -> Vec<Kind> {
    vec![
        kind("io_uring", sectors, false, false),
        kind("threads", sectors, true, false),
        kind("qcow2", sectors, false, true),
    ]
}

fn kind(name: &'static str, sectors: u64, threads: bool, overlay: bool) -> Kind {
    let files = TempDir::new().unwrap();
    let raw = files.path().join("disk");
    let bytes: Vec<u8> = (0..sectors).flat_map(sector_of).collect();
    std::fs::write(&raw, bytes).unwrap();
    let mut config = DiskConfig {
        path: raw,
        ..config_of("root")
    };
    if overlay {
        config.path = files.path().join("disk.qcow2");
        config.format = DiskFormat::Qcow2;
        images::overlay(&config.path, sectors * SECTOR, "disk", "raw");
    }
    Kind {
        name,
        guest: Guest::new(open_with(&config, threads)),
        config,
        files,
    }
}
