//! A driver that sets up one queue of a virtio device as badly as it is told.

use std::sync::atomic::{Ordering, fence};

use crate::registers::Physical;

/// Registers of virtio over MMIO (4.2.2), as far as they are needed here.
const MAGIC: usize = 0x000;
const DEVICE: usize = 0x008;
const DRIVER_FEATURES: usize = 0x020;
const DRIVER_FEATURES_SELECT: usize = 0x024;
const QUEUE_SELECT: usize = 0x030;
const QUEUE_SIZE_MAX: usize = 0x034;
const QUEUE_SIZE: usize = 0x038;
const QUEUE_READY: usize = 0x044;
const NOTIFY: usize = 0x050;
pub const STATUS: usize = 0x070;
const DESCRIPTORS: usize = 0x080;
const AVAILABLE: usize = 0x090;
const USED: usize = 0x0a0;

/// "virt".
const VIRT: u32 = 0x7472_6976;
pub const NETWORK: u32 = 1;
pub const BLOCK: u32 = 2;

/// Indirect descriptors, and little else that a device may offer.
const INDIRECT: u32 = 1 << 28;
/// What a network interface may offer to have its control queue served.
const CONTROL: u32 = 1 << 17 | 1 << 22;
const VERSION_1: u32 = 1;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT_TABLE: u16 = 4;

/// Where the rings lie in the memory that is left alone, and where data does.
const TABLE_AT: usize = 0;
const AVAILABLE_AT: usize = 0x2000;
const USED_AT: usize = 0x4000;
pub const DATA_AT: usize = 0x10_0000;

/// A descriptor (2.7.5).
#[derive(Clone, Copy)]
pub struct Descriptor {
    pub address: u64,
    pub length: u32,
    pub flags: u16,
    pub next: u16,
}

/// What is written into the registers of a queue.
#[derive(Clone, Copy)]
pub struct Shape {
    pub size: u32,
    pub descriptors: u64,
    pub available: u64,
    pub used: u64,
}

pub struct Device<'a> {
    pub registers: Physical,
    pub memory: &'a Physical,
}

impl<'a> Device<'a> {
    /// `None` where no device is.
    pub fn new(registers: Physical, memory: &'a Physical) -> Option<Self> {
        let there = registers.read32(MAGIC) == VIRT && registers.read32(DEVICE) != 0;
        there.then_some(Self { registers, memory })
    }

    pub fn kind(&self) -> u32 {
        self.registers.read32(DEVICE)
    }

    /// How many queues it has.
    pub fn queues(&self) -> u32 {
        let has = |queue: &u32| {
            self.registers.write32(QUEUE_SELECT, *queue);
            self.registers.read32(QUEUE_SIZE_MAX) != 0
        };
        (0..64).take_while(has).count().try_into().unwrap_or(64)
    }

    /// A shape that nothing is wrong with.
    pub fn good_shape(&self, size: u32) -> Shape {
        let at = |offset: usize| self.memory.address + offset as u64;
        Shape {
            size,
            descriptors: at(TABLE_AT),
            available: at(AVAILABLE_AT),
            used: at(USED_AT),
        }
    }

    pub fn reset(&self) {
        self.registers.write32(STATUS, 0);
    }

    /// Resets the device, agrees on features, and sets up one queue.
    pub fn begin(&self, queue: u32, shape: Shape) {
        let write = |register, value| self.registers.write32(register, value);
        self.reset();
        for offset in [AVAILABLE_AT, AVAILABLE_AT + 2, USED_AT, USED_AT + 2] {
            self.memory.write16(offset, 0);
        }
        write(STATUS, 1);
        write(STATUS, 3);
        let low = match self.kind() {
            NETWORK => INDIRECT | CONTROL,
            _ => INDIRECT,
        };
        for (select, features) in [(0, low), (1, VERSION_1)] {
            write(DRIVER_FEATURES_SELECT, select);
            write(DRIVER_FEATURES, features);
        }
        write(STATUS, 11);
        write(QUEUE_SELECT, queue);
        write(QUEUE_SIZE, shape.size);
        let rings = [
            (DESCRIPTORS, shape.descriptors),
            (AVAILABLE, shape.available),
            (USED, shape.used),
        ];
        for (register, address) in rings {
            write(register, u32::try_from(address & 0xffff_ffff).unwrap_or(0));
            write(register + 4, u32::try_from(address >> 32).unwrap_or(0));
        }
        write(QUEUE_READY, 1);
        write(STATUS, 15);
    }

    pub fn describe(&self, index: usize, descriptor: Descriptor) {
        self.describe_at(TABLE_AT, index, descriptor);
    }

    /// Writes a descriptor of a table elsewhere in the memory.
    pub fn describe_at(&self, table: usize, index: usize, descriptor: Descriptor) {
        let at = table + index * 16;
        self.memory.write64(at, descriptor.address);
        self.memory.write32(at + 8, descriptor.length);
        self.memory.write16(at + 12, descriptor.flags);
        self.memory.write16(at + 14, descriptor.next);
    }

    /// Offers these heads, says that the ring has come to `index`, and rings.
    pub fn offer(&self, queue: u32, heads: &[u16], index: u16) {
        for (place, head) in heads.iter().enumerate() {
            self.memory.write16(AVAILABLE_AT + 4 + place * 2, *head);
        }
        fence(Ordering::SeqCst);
        self.memory.write16(AVAILABLE_AT + 2, index);
        fence(Ordering::SeqCst);
        self.ring(queue);
    }

    pub fn ring(&self, queue: u32) {
        self.registers.write32(NOTIFY, queue);
    }

    /// How many chains the device has given back.
    pub fn used(&self) -> u16 {
        self.memory.read16(USED_AT + 2)
    }
}
