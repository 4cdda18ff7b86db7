//! What a disk is told to do, once a request has been found to make sense.

use std::io;

use vm_memory::GuestAddress;

/// A piece of guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins.
    pub address: GuestAddress,
    /// How many bytes it has.
    pub length: u32,
}

impl Segment {
    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        // There is no target with KVM whose addresses are shorter.
        self.length as usize
    }

    /// Takes away the first `count` bytes. `None`, and nothing done, when there are fewer.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        let count = u32::try_from(count).ok()?;
        let length = self.length.checked_sub(count)?;
        self.address = GuestAddress(self.address.0.checked_add(u64::from(count))?);
        self.length = length;
        Some(())
    }
}

/// What is to be done. Offsets and lengths are in bytes, in whole sectors, and lie on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// From the disk into guest memory.
    Read {
        /// From where.
        offset: u64,
    },
    /// From guest memory to the disk.
    Write {
        /// To where.
        offset: u64,
        /// Whether it is durable when it is done.
        durable: bool,
    },
    /// What has been written and answered before becomes durable.
    Flush,
    /// The range is of no more use. A hint: what it reads as afterwards is open.
    Discard {
        /// From where.
        offset: u64,
        /// How much.
        length: u64,
        /// Whether it is durable when it is done.
        durable: bool,
    },
    /// The range reads as zeroes.
    Zero {
        /// From where.
        offset: u64,
        /// How much.
        length: u64,
        /// Whether its space may be given back to the host.
        unmap: bool,
        /// Whether it is durable when it is done.
        durable: bool,
    },
}

/// A task that has ended.
#[derive(Debug)]
pub struct Completion {
    /// The slot that it was begun in.
    pub slot: u16,
    /// How.
    pub result: io::Result<()>,
}
