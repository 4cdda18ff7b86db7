//! The configuration space (5.2.4).

use super::request::{RANGE_SECTORS_MAX, SEGMENT_BYTES_MAX, SEGMENTS_MAX};
use super::{SECTOR, Traits};

/// Where the switch between write-back and write-through lies.
pub const WRITEBACK: u64 = 32;
const LENGTH: usize = 60;

/// The configuration space of a disk, in the order and little-endian form of the standard.
pub fn bytes(capacity: u64, traits: Traits, writeback: bool, queues: u16) -> [u8; LENGTH] {
    let mut space = [0; LENGTH];
    let blocks = traits.block_bytes;
    let segments = u32::try_from(SEGMENTS_MAX).unwrap_or(u32::MAX);
    // The smallest piece that is written without reading: in logical blocks, and as a power of two of them.
    let physical = (traits.physical_bytes / blocks).max(1);
    put(&mut space, 0, &(capacity / SECTOR).to_le_bytes());
    put(&mut space, 8, &SEGMENT_BYTES_MAX.to_le_bytes());
    put(&mut space, 12, &segments.to_le_bytes());
    put(&mut space, 20, &blocks.to_le_bytes());
    put(&mut space, 24, &[physical.ilog2().to_le_bytes()[0]]);
    put(
        &mut space,
        26,
        &u16::try_from(physical).unwrap_or(u16::MAX).to_le_bytes(),
    );
    put(&mut space, 32, &[u8::from(writeback)]);
    put(&mut space, 34, &queues.to_le_bytes());
    put(&mut space, 36, &RANGE_SECTORS_MAX.to_le_bytes());
    put(&mut space, 40, &1_u32.to_le_bytes());
    put(
        &mut space,
        44,
        &(traits.physical_bytes / 512).max(1).to_le_bytes(),
    );
    put(&mut space, 48, &RANGE_SECTORS_MAX.to_le_bytes());
    put(&mut space, 52, &1_u32.to_le_bytes());
    put(&mut space, 56, &[1]);
    space
}

fn put(space: &mut [u8], at: usize, value: &[u8]) {
    for (byte, value) in space.iter_mut().skip(at).zip(value) {
        *byte = *value;
    }
}

/// Reads what a driver asks for; beyond the end it finds what was there.
pub fn read(space: &[u8], offset: u64, data: &mut [u8]) {
    let Ok(offset) = usize::try_from(offset) else {
        return;
    };
    for (byte, value) in data.iter_mut().zip(space.iter().skip(offset)) {
        *byte = *value;
    }
}
