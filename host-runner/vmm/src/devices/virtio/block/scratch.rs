//! Memory that data is copied through, where it cannot go straight between a file and guest memory.

use std::io;

use imago::io_buffers::{IoBuffer, IoBufferMut, IoBufferRef};

use super::task::Segments;
use crate::memory::GuestMemory;

/// How much is read or written at once, in bytes.
pub const PIECE_BYTES: usize = 64 << 10;

/// The memory that a thread copies through.
#[derive(Default)]
pub struct Scratch(Option<IoBuffer>);

impl Scratch {
    /// The buffer of [`PIECE_BYTES`], made at its first use.
    pub fn buffer(&mut self, alignment: usize) -> io::Result<&mut IoBuffer> {
        let buffer = match self.0.take() {
            Some(buffer) => buffer,
            None => IoBuffer::new(PIECE_BYTES, alignment.max(512))?,
        };
        Ok(self.0.insert(buffer))
    }

    /// Fills guest memory piece by piece with what `read` finds at each offset.
    pub fn fill(
        &mut self,
        alignment: usize,
        mut offset: u64,
        mut data: Segments<'_>,
        memory: &GuestMemory,
        mut read: impl FnMut(IoBufferMut<'_>, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let buffer = self.buffer(alignment)?;
        while data.left() > 0 {
            let count = data.left().min(PIECE_BYTES as u64);
            read(buffer.as_mut_range(0..cut(count)), offset)?;
            data.write(memory, buffer.as_ref_range(0..cut(count)).into_slice())?;
            offset += count;
        }
        Ok(())
    }

    /// Has `write` put guest memory piece by piece at each offset.
    pub fn drain(
        &mut self,
        alignment: usize,
        mut offset: u64,
        mut data: Segments<'_>,
        memory: &GuestMemory,
        mut write: impl FnMut(IoBufferRef<'_>, u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let buffer = self.buffer(alignment)?;
        while data.left() > 0 {
            let count = data.left().min(PIECE_BYTES as u64);
            data.read(memory, buffer.as_mut_range(0..cut(count)).into_slice())?;
            write(buffer.as_ref_range(0..cut(count)), offset)?;
            offset += count;
        }
        Ok(())
    }
}

/// What is at most [`PIECE_BYTES`].
pub fn cut(count: u64) -> usize {
    usize::try_from(count).unwrap_or(PIECE_BYTES)
}
