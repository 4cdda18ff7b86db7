//! The driver's side of queues in real guest memory, for tests and for fuzzing.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a double of the guest: what it cannot set up ends the test"
)]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::MemfdFlags;
use virtio_queue::{Queue, QueueT as _};
use vm_memory::{Bytes as _, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{Activation, Interrupt, VirtioDevice};
use crate::memory::{self, GuestMemory, HIGH_MEMORY_START};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
/// Where the rings of queue 0 lie; those of the next one follow after [`RINGS_STRIDE`].
const RINGS: u64 = HIGH_MEMORY_START;
const RINGS_STRIDE: u64 = 0x1_0000;
const AVAILABLE: u64 = 0x8000;
const USED: u64 = 0xc000;
/// Where data is placed.
const HEAP: u64 = 8 << 20;

/// A buffer that a driver offers.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    address: u64,
    length: u32,
    flags: u16,
}

impl Piece {
    /// What the device may read.
    pub fn read(address: u64, length: u32) -> Self {
        Self {
            address,
            length,
            flags: 0,
        }
    }

    /// What the device may write.
    pub fn write(address: u64, length: u32) -> Self {
        Self {
            address,
            length,
            flags: WRITE,
        }
    }
}

#[derive(Debug, Default)]
struct Ring {
    size: u16,
    next_descriptor: u16,
    available: u16,
    used: u16,
}

/// A driver in a guest with 32 MiB of memory.
pub struct Driver {
    memory: GuestMemory,
    rings: Vec<Ring>,
    heap: u64,
    line: EventFd,
    interrupt: Arc<Interrupt>,
    kicks: Vec<Arc<EventFd>>,
    event_index: bool,
}

impl Driver {
    /// A driver with queues of these sizes, at most 1024 each.
    pub fn new(sizes: &[u16]) -> Self {
        let line = EventFd::new(EFD_NONBLOCK).unwrap();
        Self {
            memory: memory::create(32, crate::memory::Backing::Shared).unwrap(),
            rings: sizes
                .iter()
                .map(|size| Ring {
                    size: *size,
                    ..Ring::default()
                })
                .collect(),
            heap: HEAP,
            interrupt: Arc::new(Interrupt::new(line.try_clone().unwrap())),
            line,
            kicks: sizes
                .iter()
                .map(|_| Arc::new(EventFd::new(EFD_NONBLOCK).unwrap()))
                .collect(),
            event_index: false,
        }
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Whether the next activation uses the event index.
    pub fn use_event_index(&mut self, uses: bool) {
        self.event_index = uses;
    }

    /// What the device is given. The queues begin where the driver's are not yet used: at index 0.
    pub fn activation(&self, features: u64) -> Activation {
        let queue = |(ring, number): (&Ring, usize)| {
            let [descriptors, available, used] = Self::rings(number);
            let mut queue = Queue::new(ring.size).unwrap();
            queue.set_size(ring.size);
            queue
                .try_set_desc_table_address(GuestAddress(descriptors))
                .unwrap();
            queue.try_set_avail_ring_address(GuestAddress(available)).unwrap();
            queue.try_set_used_ring_address(GuestAddress(used)).unwrap();
            queue.set_event_idx(self.event_index);
            queue.set_next_avail(ring.used);
            queue.set_next_used(ring.used);
            queue.set_ready(true);
            queue
        };
        Activation {
            memory: self.memory.clone(),
            queues: self.rings.iter().zip(0..).map(queue).collect(),
            queue_events: self.kicks.clone(),
            interrupt: Arc::clone(&self.interrupt),
            features,
        }
    }

    /// Where the descriptors, the available ring and the used ring of a queue lie.
    pub fn rings(queue: usize) -> [u64; 3] {
        let base = RINGS + queue as u64 * RINGS_STRIDE;
        [base, base + AVAILABLE, base + USED]
    }

    /// Puts bytes somewhere: where.
    pub fn place(&mut self, bytes: &[u8]) -> u64 {
        let address = self.heap;
        self.memory.write_slice(bytes, GuestAddress(address)).unwrap();
        self.heap += (bytes.len() as u64).next_multiple_of(16);
        address
    }

    /// Room for so many bytes: where.
    pub fn room(&mut self, length: u32) -> u64 {
        let address = self.heap;
        self.heap += u64::from(length).next_multiple_of(16);
        address
    }

    /// Where the next data is placed.
    pub fn mark(&self) -> u64 {
        self.heap
    }

    /// Takes back the room of all that was placed since a mark: nobody looks at it any more.
    pub fn forget(&mut self, mark: u64) {
        self.heap = mark;
    }

    /// Bytes of the guest's memory.
    pub fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    /// Makes a chain available: its head.
    pub fn offer(&mut self, queue: usize, pieces: &[Piece]) -> u16 {
        let size = self.rings[queue].size;
        let first = self.rings[queue].next_descriptor;
        let count = u16::try_from(pieces.len()).unwrap();
        for (piece, at) in pieces.iter().zip(0..) {
            let (index, next) = ((first + at) % size, (first + at + 1) % size);
            let flags = if at + 1 < count {
                piece.flags | NEXT
            } else {
                piece.flags
            };
            self.write_descriptor(queue, index, piece.address, piece.length, flags, next);
        }
        self.rings[queue].next_descriptor = (first + count) % size;
        self.offer_head(queue, first);
        first
    }

    /// Makes a chain available that lies in an indirect table: its head.
    pub fn offer_indirect(&mut self, queue: usize, pieces: &[Piece]) -> u16 {
        let mut table = Vec::new();
        for (piece, at) in pieces.iter().zip(1_u16..) {
            let last = usize::from(at) == pieces.len();
            let flags = if last { piece.flags } else { piece.flags | NEXT };
            table.extend(descriptor(piece.address, piece.length, flags, at));
        }
        let address = self.place(&table);
        let length = u32::try_from(table.len()).unwrap();
        self.offer_flagged(queue, address, length, INDIRECT)
    }

    /// Makes a chain available that lies in an indirect table of an indirect table: its head.
    pub fn offer_indirect_twice(&mut self, queue: usize) -> u16 {
        let inner = self.place(&descriptor(HEAP, 4, 0, 0));
        let outer = self.place(&descriptor(inner, 16, INDIRECT, 0));
        self.offer_flagged(queue, outer, 16, INDIRECT)
    }

    fn offer_flagged(&mut self, queue: usize, address: u64, length: u32, flags: u16) -> u16 {
        self.offer(
            queue,
            &[Piece {
                address,
                length,
                flags,
            }],
        )
    }

    /// Makes a head available, whatever it leads to.
    pub fn offer_head(&mut self, queue: usize, head: u16) {
        let ring = &mut self.rings[queue];
        let slot = u64::from(ring.available % ring.size);
        ring.available = ring.available.wrapping_add(1);
        let available = ring.available;
        let address = Self::rings(queue)[1] + 4 + 2 * slot;
        self.memory
            .write_obj(head.to_le(), GuestAddress(address))
            .unwrap();
        self.set_available_index(queue, available);
    }

    /// Says how much is available, whatever is.
    pub fn set_available_index(&mut self, queue: usize, index: u16) {
        let address = GuestAddress(Self::rings(queue)[1] + 2);
        self.memory.write_obj(index.to_le(), address).unwrap();
    }

    /// Whether the driver wants to be interrupted.
    pub fn want_interrupts(&mut self, queue: usize, wants: bool) {
        let address = GuestAddress(Self::rings(queue)[1]);
        self.memory.write_obj(u16::from(!wants).to_le(), address).unwrap();
    }

    /// Writes a descriptor, whatever it says.
    pub fn write_descriptor(
        &mut self,
        queue: usize,
        index: u16,
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    ) {
        let at = Self::rings(queue)[0] + 16 * u64::from(index);
        let bytes = descriptor(address, length, flags, next);
        self.memory.write_slice(&bytes, GuestAddress(at)).unwrap();
    }

    /// What the device gave back since the last call: heads, and how many bytes it wrote.
    pub fn used(&mut self, queue: usize) -> Vec<(u16, u32)> {
        let base = Self::rings(queue)[2];
        let index: u16 = self.memory.read_obj(GuestAddress(base + 2)).unwrap();
        let ring = &mut self.rings[queue];
        let mut used = Vec::new();
        while ring.used != index {
            let at = GuestAddress(base + 4 + 8 * u64::from(ring.used % ring.size));
            let entry: [u32; 2] = self.memory.read_obj(at).unwrap();
            used.push((u16::try_from(entry[0]).unwrap(), entry[1]));
            ring.used = ring.used.wrapping_add(1);
        }
        used
    }

    /// How many interrupts there were since the last call.
    pub fn interrupts(&self) -> u64 {
        self.line.read().unwrap_or(0)
    }

    /// Whether the device asked to be called again for a queue.
    pub fn is_kicked(&self, queue: usize) -> bool {
        self.kicks[queue].read().is_ok()
    }

    /// As after a reset of the device: all indices are 0 again.
    pub fn begin_again(&mut self) {
        for queue in 0..self.rings.len() {
            self.rings[queue] = Ring {
                size: self.rings[queue].size,
                ..Ring::default()
            };
            self.set_available_index(queue, 0);
            let used = Self::rings(queue)[2] + 2;
            self.memory.write_obj(0_u16, GuestAddress(used)).unwrap();
        }
    }
}

fn descriptor(address: u64, length: u32, flags: u16, next: u16) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&address.to_le_bytes());
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    bytes[12..14].copy_from_slice(&flags.to_le_bytes());
    bytes[14..].copy_from_slice(&next.to_le_bytes());
    bytes
}

/// A file that is only in memory, and a name to open it by.
pub fn file(contents: &[u8]) -> (File, PathBuf) {
    let descriptor: OwnedFd = rustix::fs::memfd_create("fuzzed", MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(descriptor);
    file.write_all(contents).unwrap();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    (file, path.into())
}

/// Lets a driver do what fuzzed bytes say: each step is a byte that says what, and bytes that say how. Numbers that make sense are as
/// likely as those that do not.
pub fn play(data: &[u8], driver: &mut Driver, device: &mut dyn VirtioDevice) {
    let mut script = Script::new(data);
    if script.byte().is_multiple_of(4) {
        let length = usize::from(script.byte());
        let _refused = device.restore(script.bytes(length));
    }
    let features = device.features() & script.number(8);
    driver.use_event_index(script.byte().is_multiple_of(2));
    // What a device does with its first look at the queues belongs to it.
    for _ in 0..script.byte() % 8 {
        play_chain(&mut script, driver);
    }
    let mut active = device.activate(driver.activation(features)).is_ok();
    while !script.is_over() {
        let queue = usize::from(script.byte()) % driver.rings.len();
        match script.byte() % 12 {
            0..=3 => play_chain(&mut script, driver),
            4..=6 => device.queue_ready(queue),
            7 => device.source_ready(u32::from(script.byte() % 4)),
            8 => {
                let offset = u64::from(script.byte());
                let mut config = [0; 8];
                device.read_config(offset, &mut config);
                device.write_config(offset, &script.number(8).to_le_bytes());
            }
            9 => driver.set_available_index(queue, script.byte().into()),
            10 if active => {
                device.pause();
                let _state = device.save();
                device.resume();
            }
            _ => {
                if active {
                    device.reset();
                }
                driver.begin_again();
                active = device.activate(driver.activation(features)).is_ok();
            }
        }
    }
    if active {
        device.reset();
    }
}

/// Makes a chain available, of buffers that make sense or not.
pub fn play_chain(script: &mut Script<'_>, driver: &mut Driver) {
    let queue = usize::from(script.byte()) % driver.rings.len();
    let size = driver.rings[queue].size;
    let pieces: Vec<Piece> = (0..script.byte() % 5)
        .map(|_| play_piece(script, driver))
        .collect();
    match script.byte() % 8 {
        0 => {
            let (index, next) = (u16::from(script.byte()), u16::from(script.byte()));
            let (address, flags) = (script.number(8), u16::from(script.byte() % 8));
            let length = u32::from(script.byte()) * 16;
            driver.write_descriptor(queue, index % size, address, length, flags, next);
            driver.offer_head(queue, index);
        }
        1 if !pieces.is_empty() => {
            driver.offer_indirect(queue, &pieces);
        }
        _ if !pieces.is_empty() => {
            driver.offer(queue, &pieces);
        }
        _ => {}
    }
}

fn play_piece(script: &mut Script<'_>, driver: &mut Driver) -> Piece {
    let kind = script.byte();
    let length = match kind % 4 {
        0 => u32::from(script.byte()),
        1 => 44,
        2 => 4096,
        _ => u32::try_from(script.number(4)).unwrap(),
    };
    let address = match kind / 4 % 4 {
        0 if kind & 32 == 0 => script.number(8),
        0 => u64::MAX - u64::from(script.byte()),
        1 => (32 << 20) - u64::from(script.byte()),
        _ => {
            let bytes: Vec<u8> = script.0.iter().copied().take(length.min(64) as usize).collect();
            driver.heap = HEAP;
            driver.place(&bytes)
        }
    };
    let flags = if kind & 16 == 0 { 0 } else { WRITE };
    Piece {
        address,
        length,
        flags,
    }
}

/// Fuzzed bytes; zeroes when there are no more.
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// All of these.
    pub fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Whether there are no more.
    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The next one.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// The next ones, as far as there are so many.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (now, later) = self.0.split_at(count.min(self.0.len()));
        self.0 = later;
        now
    }

    /// A little-endian number of so many bytes.
    pub fn number(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |number, at| number | u64::from(self.byte()) << (8 * at))
    }
}
