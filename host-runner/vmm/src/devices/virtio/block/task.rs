//! What a disk is told to do, once a request has been found to make sense.

use std::io;

use vm_memory::{Bytes, GuestAddress};

use crate::memory::GuestMemory;

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

/// Pieces of guest memory, as one run of bytes that is gone through from its beginning.
#[derive(Debug, Clone, Copy)]
pub struct Segments<'a> {
    rest: &'a [Segment],
    /// How much of the first of them is gone, in bytes.
    gone: u32,
}

impl<'a> Segments<'a> {
    /// All of these.
    pub fn new(segments: &'a [Segment]) -> Self {
        Self {
            rest: segments,
            gone: 0,
        }
    }

    /// How many bytes are left.
    pub fn left(&self) -> u64 {
        let all: u64 = self.rest.iter().map(|segment| u64::from(segment.length)).sum();
        all - u64::from(self.gone)
    }

    /// Fills `bytes` from guest memory.
    pub fn read(&mut self, memory: &GuestMemory, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (address, count) = self.next(bytes.len())?;
            let (now, later) = bytes.split_at_mut(count);
            memory.read_slice(now, address).map_err(io::Error::other)?;
            bytes = later;
        }
        Ok(())
    }

    /// Writes `bytes` to guest memory.
    pub fn write(&mut self, memory: &GuestMemory, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (address, count) = self.next(bytes.len())?;
            let (now, later) = bytes.split_at(count);
            memory.write_slice(now, address).map_err(io::Error::other)?;
            bytes = later;
        }
        Ok(())
    }

    /// Goes on by up to `most` bytes that lie in one piece: where they are, and how many.
    fn next(&mut self, most: usize) -> io::Result<(GuestAddress, usize)> {
        while let Some((first, rest)) = self.rest.split_first() {
            let mut left = *first;
            // No more is ever gone than there was.
            let gone = self.gone as usize;
            if left.skip(gone).is_some() && left.length > 0 {
                let count = left.bytes().min(most);
                self.gone += u32::try_from(count).map_err(io::Error::other)?;
                return Ok((left.address, count));
            }
            self.rest = rest;
            self.gone = 0;
        }
        Err(io::ErrorKind::UnexpectedEof.into())
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
