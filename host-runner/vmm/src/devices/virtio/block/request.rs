//! What a driver asks for, read out of a descriptor chain (5.2.6).
//!
//! ```text
//! readable: type (4) reserved (4) sector (8) | data of a write, ranges of a discard …
//! writable: data of a read, identity …       | status (1)
//! ```
//!
//! How these bytes are spread over descriptors is the driver's choice (2.7.4).
//!
//! Threat: the chain, and what it points to, can be anything, and can change while it is read. Each descriptor and each field is read
//! once, and kept; a chain is walked for at most [`SEGMENTS_MAX`] + 2 descriptors. Its pieces may lie over each other, so their number is no
//! bound for the data: [`REQUEST_BYTES_MAX`] is.

use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK,
    VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_IN,
    VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};
use virtio_queue::DescriptorChain;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::SECTOR;
use super::task::{Segment, Task};
use crate::memory::GuestMemory;

/// The most pieces that the data of a request may be in (`seg_max`).
pub const SEGMENTS_MAX: usize = 254;
/// The most bytes that one of these pieces has (`size_max`), where a driver keeps to it.
pub const SEGMENT_BYTES_MAX: u32 = 256 << 10;
/// The most data of a request, in bytes: all that a driver can send that keeps to what it was told. One that knows no `size_max` sends less as
/// well: a Linux guest at most 1.25 or 4 MiB at once, by its version, unless its administrator wants it otherwise (`max_sectors_kb`).
pub const REQUEST_BYTES_MAX: u64 = 64 << 20;
// What a driver is told must not lead to what it is refused for.
const _: () = assert!((SEGMENTS_MAX * SEGMENT_BYTES_MAX as usize) as u64 <= REQUEST_BYTES_MAX);
/// The most sectors of a discard or of zeroes: 2 GiB.
pub const RANGE_SECTORS_MAX: u32 = 4 << 20;

const HEADER: usize = 16;

/// How a request ended, for the driver (5.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Not done: it makes no sense for this disk, or the disk failed.
    Failed,
    /// Not done: this device does not do such things.
    Unsupported,
}

impl Status {
    /// The byte that the driver reads.
    pub fn byte(self) -> u8 {
        let status = match self {
            Self::Ok => VIRTIO_BLK_S_OK,
            Self::Failed => VIRTIO_BLK_S_IOERR,
            Self::Unsupported => VIRTIO_BLK_S_UNSUPP,
        };
        // All of them are below 3.
        status.to_le_bytes()[0]
    }
}

/// What of the disk and of the agreement with the driver decides whether a request makes sense.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The size of the disk, in bytes: a multiple of [`SECTOR`].
    pub capacity: u64,
    /// Whether nothing may be written.
    pub read_only: bool,
    /// The features that were agreed upon, as bits.
    pub features: u64,
    /// Whether each write is to be durable when it is answered.
    pub durable: bool,
}

impl Rules {
    fn agreed(&self, feature: u32) -> bool {
        self.features & 1 << feature != 0
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Something that the disk does.
    Run(Task),
    /// The serial number goes into the data.
    Identify,
    /// The answer is already clear.
    Answer(Status),
}

/// A request.
#[derive(Debug)]
pub struct Request {
    /// What is to be done.
    pub command: Command,
    /// What is read from or written to; all of it lies in guest memory.
    pub data: Vec<Segment>,
    /// How many bytes the data has.
    pub length: u64,
    /// Where the status goes; it lies in guest memory.
    pub status: GuestAddress,
}

/// Why a chain is no request, and has no place for a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadChain {
    /// It does not end, or leads out of its table.
    #[error("a chain of descriptors does not end")]
    Endless,
    /// It has more pieces than were agreed upon.
    #[error("a chain has more than {SEGMENTS_MAX} pieces of data")]
    TooLong,
    /// What the device may write comes before what it may read (2.7.4.2).
    #[error("a chain has a readable descriptor behind a writable one")]
    Order,
    /// There is no header, or it is not in guest memory.
    #[error("a chain has no header")]
    NoHeader,
    /// There is no place for a status, or it is not in guest memory.
    #[error("a chain has no place for a status")]
    NoStatus,
}

/// Reads a request.
pub fn parse(
    chain: DescriptorChain<&GuestMemory>,
    memory: &GuestMemory,
    rules: &Rules,
) -> Result<Request, BadChain> {
    let Parts {
        mut readable,
        mut writable,
    } = walk(chain)?;
    let status = take_status(&mut writable, memory)?;
    let header = take_front::<HEADER>(&mut readable, memory).ok_or(BadChain::NoHeader)?;
    let (kind, sector) = read_header(&header);
    let mut request = Request {
        command: Command::Answer(Status::Failed),
        data: Vec::new(),
        length: 0,
        status,
    };
    match kind {
        VIRTIO_BLK_T_IN => request.transfer(writable, memory, sector, rules, false),
        VIRTIO_BLK_T_OUT => request.transfer(readable, memory, sector, rules, true),
        VIRTIO_BLK_T_FLUSH => request.command = Command::Run(Task::Flush),
        VIRTIO_BLK_T_GET_ID => {
            request.command = Command::Identify;
            request.take(writable, memory);
        }
        VIRTIO_BLK_T_DISCARD if rules.agreed(VIRTIO_BLK_F_DISCARD) => {
            request.command = range(&mut readable, memory, rules, false);
        }
        VIRTIO_BLK_T_WRITE_ZEROES if rules.agreed(VIRTIO_BLK_F_WRITE_ZEROES) => {
            request.command = range(&mut readable, memory, rules, true);
        }
        _ => request.command = Command::Answer(Status::Unsupported),
    }
    Ok(request)
}

impl Request {
    /// How many bytes may have to be moved for it. Zeroes are written where the host's file system has no better way.
    pub fn load(&self) -> u64 {
        match self.command {
            Command::Run(Task::Read { .. } | Task::Write { .. }) => self.length,
            Command::Run(Task::Zero { length, .. }) => length,
            Command::Run(Task::Flush | Task::Discard { .. }) | Command::Identify | Command::Answer(_) => 0,
        }
    }

    /// Keeps the data, if all of it lies in guest memory.
    fn take(&mut self, data: Vec<Segment>, memory: &GuestMemory) {
        let inside =
            |segment: &Segment| GuestMemoryBackend::check_range(memory, segment.address, segment.bytes());
        if !data.iter().all(inside) {
            self.command = Command::Answer(Status::Failed);
            return;
        }
        self.length = data.iter().map(|segment| u64::from(segment.length)).sum();
        self.data = data;
    }

    fn transfer(
        &mut self,
        data: Vec<Segment>,
        memory: &GuestMemory,
        sector: u64,
        rules: &Rules,
        write: bool,
    ) {
        self.command = Command::Answer(Status::Ok);
        self.take(data, memory);
        if self.command != Command::Answer(Status::Ok) {
            return;
        }
        self.command = match place(sector, self.length, rules) {
            None => Command::Answer(Status::Failed),
            Some(_) if write && rules.read_only => Command::Answer(Status::Failed),
            Some(_) if self.length > REQUEST_BYTES_MAX => Command::Answer(Status::Failed),
            Some(_) if self.length == 0 => Command::Answer(Status::Ok),
            Some(offset) if write => Command::Run(Task::Write {
                offset,
                durable: rules.durable,
            }),
            Some(offset) => Command::Run(Task::Read { offset }),
        };
    }
}

struct Parts {
    readable: Vec<Segment>,
    writable: Vec<Segment>,
}

/// Walks a chain once.
fn walk(chain: DescriptorChain<&GuestMemory>) -> Result<Parts, BadChain> {
    let (mut readable, mut writable) = (Vec::new(), Vec::new());
    let mut ended = false;
    for (seen, descriptor) in chain.enumerate() {
        // Beside the data, the header and the status.
        if seen == SEGMENTS_MAX + 2 {
            return Err(BadChain::TooLong);
        }
        ended = !descriptor.has_next();
        let segment = Segment {
            address: descriptor.addr(),
            length: descriptor.len(),
        };
        if descriptor.is_write_only() {
            writable.push(segment);
        } else if writable.is_empty() {
            readable.push(segment);
        } else {
            return Err(BadChain::Order);
        }
    }
    // The iterator ends where a chain breaks off, too.
    if ended {
        Ok(Parts { readable, writable })
    } else {
        Err(BadChain::Endless)
    }
}

/// The last writable byte.
fn take_status(writable: &mut Vec<Segment>, memory: &GuestMemory) -> Result<GuestAddress, BadChain> {
    while let Some(last) = writable.last_mut() {
        let Some(before) = last.length.checked_sub(1) else {
            writable.pop();
            continue;
        };
        let address = last.address.0.checked_add(u64::from(before)).map(GuestAddress);
        let address = address.filter(|address| GuestMemoryBackend::address_in_range(memory, *address));
        last.length = before;
        if before == 0 {
            writable.pop();
        }
        return address.ok_or(BadChain::NoStatus);
    }
    Err(BadChain::NoStatus)
}

/// Reads the first `N` bytes of the segments, and takes them away. `None` when there are fewer, or they are not in guest memory.
fn take_front<const N: usize>(segments: &mut Vec<Segment>, memory: &GuestMemory) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let segment = segments.first_mut()?;
        let rest = bytes.get_mut(filled..)?;
        let count = rest.len().min(segment.bytes());
        memory.read_slice(rest.get_mut(..count)?, segment.address).ok()?;
        filled += count;
        segment.skip(count)?;
        if segment.length == 0 {
            segments.remove(0);
        }
    }
    Some(bytes)
}

fn read_header(header: &[u8; HEADER]) -> (u32, u64) {
    let [a, b, c, d, _, _, _, _, sector @ ..] = *header;
    (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(sector))
}

/// Where a range begins, in bytes, if all of it lies on the disk and in whole sectors.
fn place(sector: u64, length: u64, rules: &Rules) -> Option<u64> {
    let offset = sector.checked_mul(SECTOR)?;
    let end = offset.checked_add(length)?;
    (length.is_multiple_of(SECTOR) && end <= rules.capacity).then_some(offset)
}

/// The one range of a discard, or of zeroes (5.2.6).
fn range(readable: &mut Vec<Segment>, memory: &GuestMemory, rules: &Rules, zeroes: bool) -> Command {
    let Some(bytes) = take_front::<16>(readable, memory) else {
        return Command::Answer(Status::Failed);
    };
    // One range at most (max_discard_seg, max_write_zeroes_seg).
    if rules.read_only || readable.iter().any(|segment| segment.length > 0) {
        return Command::Answer(Status::Failed);
    }
    let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = bytes;
    let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
    let flags = u32::from_le_bytes(flags);
    let known = if zeroes {
        VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
    } else {
        0
    };
    if flags & !known != 0 {
        return Command::Answer(Status::Unsupported);
    }
    let length = u64::from(sectors) * SECTOR;
    let durable = rules.durable;
    match place(sector, length, rules) {
        Some(_) if sectors > RANGE_SECTORS_MAX => Command::Answer(Status::Failed),
        None => Command::Answer(Status::Failed),
        Some(_) if sectors == 0 => Command::Answer(Status::Ok),
        Some(offset) if zeroes => Command::Run(Task::Zero {
            offset,
            length,
            unmap: flags != 0,
            durable,
        }),
        Some(offset) => Command::Run(Task::Discard {
            offset,
            length,
            durable,
        }),
    }
}
