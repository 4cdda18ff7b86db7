//! The reference counts of a qcow2 image, looked at before it is written.
//!
//! imago takes its counts on trust. Where they deny the clusters that the image's own tables are in, it would give those away to the
//! guest's data; and where even the first block of counts is missing, it looks for room for one without end.
//!
//! Source: QEMU, `docs/interop/qcow2.txt`; all numbers are big-endian.

use std::io;

use imago::StorageExt as _;
use imago::file::File as Storage;

use super::qcow2::Qcow2Error;

/// The bytes of the header that matter here; version 2 ends before.
const HEADER_BYTES: usize = 104;
/// How an image begins.
const MAGIC: &[u8] = b"QFI\xfb";
/// Clusters have from 512 bytes to 2 MiB.
const CLUSTER_BITS: std::ops::RangeInclusive<u32> = 9..=21;
/// A count has from 1 bit to 64.
const ORDER_MAX: u32 = 6;
/// The count's width in version 2, as a power of two of bits.
const ORDER_V2: u32 = 4;

/// The counts of the first clusters: those that one block of counts is about, 64 at least.
struct Counts<'a> {
    storage: &'a Storage,
    cluster_bits: u32,
    /// The width of a count, as a power of two of bits.
    order: u32,
    /// Where the block is, in bytes.
    block: u64,
}

/// Whether the clusters of the header, the tables of counts and the first table of clusters are counted.
pub fn check(storage: &Storage) -> Result<(), Qcow2Error> {
    let mut header = [0; HEADER_BYTES];
    storage
        .read(header.as_mut_slice(), 0)
        .map_err(Qcow2Error::Image)?;
    let (version, cluster_bits) = (number(&header, 4), number(&header, 20));
    let order = if version == 2 {
        ORDER_V2
    } else {
        number(&header, 96)
    };
    if !header.starts_with(MAGIC) || !CLUSTER_BITS.contains(&cluster_bits) || order > ORDER_MAX {
        // imago says what is wrong.
        return Ok(());
    }
    let (clusters, table) = (long(&header, 40), long(&header, 48));
    if number(&header, 56) == 0 {
        return Err(Qcow2Error::Counts);
    }
    let mut entry = [0; 8];
    storage
        .read(entry.as_mut_slice(), table)
        .map_err(Qcow2Error::Image)?;
    // The lower bits are reserved.
    let block = u64::from_be_bytes(entry) & !0x1ff;
    if block == 0 {
        return Err(Qcow2Error::Counts);
    }
    let counts = Counts {
        storage,
        cluster_bits,
        order,
        block,
    };
    for place in [0, table, block, clusters] {
        if !counts.is_counted(place).map_err(Qcow2Error::Image)? {
            return Err(Qcow2Error::Counts);
        }
    }
    Ok(())
}

impl Counts<'_> {
    /// Whether something is known to be at this offset. True for what another block is about.
    fn is_counted(&self, offset: u64) -> io::Result<bool> {
        let cluster = offset >> self.cluster_bits;
        if cluster >= (8 << self.cluster_bits) >> self.order {
            return Ok(true);
        }
        // In the block: less than a cluster has bits.
        let bit = cluster << self.order;
        let mut bytes = [0; 8];
        let width = usize::try_from((1_u64 << self.order).div_ceil(8)).map_err(io::Error::other)?;
        let place = self
            .block
            .checked_add(bit / 8)
            .ok_or(io::ErrorKind::InvalidData)?;
        if let Some(bytes) = bytes.get_mut(..width) {
            self.storage.read(bytes, place)?;
        }
        if self.order >= 3 {
            return Ok(bytes.iter().any(|byte| *byte != 0));
        }
        let mask = (1_u16 << (1 << self.order)) - 1;
        Ok(u16::from(bytes[0]) >> (bit % 8) & mask != 0)
    }
}

fn number(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    let bytes = header.get(at..).and_then(|rest| rest.first_chunk());
    u32::from_be_bytes(bytes.copied().unwrap_or_default())
}

fn long(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    let bytes = header.get(at..).and_then(|rest| rest.first_chunk());
    u64::from_be_bytes(bytes.copied().unwrap_or_default())
}
