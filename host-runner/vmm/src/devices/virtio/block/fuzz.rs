//! For fuzzing: a disk whose driver, or whose image, does what bytes say.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what cannot be set up ends the run"
)]

use std::path::PathBuf;
use std::sync::Arc;

use super::Block;
use super::engine::Engine;
use crate::config::{DiskConfig, DiskFormat, RateLimits};
use crate::devices::virtio::VirtioDevice as _;
use crate::devices::virtio::testing::{self, Driver, Piece, file};

fn config(path: PathBuf, format: DiskFormat) -> DiskConfig {
    DiskConfig {
        id: "fuzz".into(),
        path,
        format,
        read_only: false,
        direct: false,
        limit: RateLimits::default(),
    }
}

/// A driver that does what the bytes say, to a small raw disk: through `io_uring` where the kernel lets it, or through threads, as the
/// first bit has it.
pub fn fuzz(data: &[u8]) {
    let (_file, path) = file(&[0x11; 16 << 10]);
    let mut disk = Block::open(&config(path, DiskFormat::Raw), 2, || {}).unwrap();
    let (threads, data) = match data.split_first() {
        Some((first, rest)) => (first & 1 == 1, rest),
        None => (false, data),
    };
    if threads {
        disk.engine = Engine::new(Arc::clone(&disk.image), false, "fuzz".into(), || {}).unwrap();
    }
    let mut driver = Driver::new(&disk.queue_sizes());
    testing::play(data, &mut driver, &mut disk);
}

/// The name, beside the image, of a file that it may lie over: what is beside it are this process's descriptors.
const BASE: i32 = 90;

/// An image that consists of these bytes: opened, read, written, zeroed and grown where it can be. One whose backing file is called `90`
/// lies over a raw disk.
pub fn fuzz_qcow2(image: &[u8]) {
    let (base, _) = file(&vec![0x22; 32 << 10]);
    let _base = rustix::io::fcntl_dupfd_cloexec(&base, BASE).unwrap();
    let (_file, path) = file(image);
    let Ok(mut disk) = Block::open(&config(path, DiskFormat::Qcow2), 1, || {}) else {
        return;
    };
    let mut driver = Driver::new(&disk.queue_sizes());
    let features = disk.features();
    disk.activate(driver.activation(features)).unwrap();
    let last = (disk.capacity_bytes() / super::SECTOR).saturating_sub(8);
    for sector in [0, 8, 1000, last] {
        // Reads, writes, zeroes that keep and that give back, discards, a flush.
        for (kind, flags) in [(0, 0), (1, 0), (13, 0), (13, 1), (11, 0), (4, 0), (0, 0)] {
            send(&mut driver, kind, sector, flags);
        }
        disk.queue_ready(0);
        disk.pause();
        disk.resume();
        let _answers = driver.used(0);
    }
    let _refused = disk.grow(disk.capacity_bytes() + (1 << 20));
}

fn send(driver: &mut Driver, kind: u32, sector: u64, flags: u32) {
    let mut header = kind.to_le_bytes().to_vec();
    header.extend([0; 4]);
    header.extend(sector.to_le_bytes());
    let header = Piece::read(driver.place(&header), 16);
    let status = Piece::write(driver.room(1), 1);
    let data = driver.room(4096);
    let mut range = sector.to_le_bytes().to_vec();
    range.extend(8_u32.to_le_bytes());
    range.extend(flags.to_le_bytes());
    let middle = match kind {
        0 => Piece::write(data, 4096),
        1 => Piece::read(data, 4096),
        _ => Piece::read(driver.place(&range), 16),
    };
    driver.offer(0, &[header, middle, status]);
}
