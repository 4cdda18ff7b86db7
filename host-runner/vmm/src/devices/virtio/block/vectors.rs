#![expect(
    unsafe_code,
    reason = "the kernel reads and writes guest memory by address, which no safe interface offers"
)]
//! Guest memory as the kernel is told of it: lists of addresses and lengths.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestMemoryBackend, GuestMemoryError};

use super::task::Segment;
use crate::memory::GuestMemory;

/// The most that one system call is given: below the kernel's `UIO_MAXIOV`, and a bound for what a slot keeps.
const VECTORS_MAX: usize = 1024;
/// How many vectors are kept for the next request.
const VECTORS_KEPT: usize = 8;
/// How many bytes of zeroes there are to write from.
const ZEROES_BYTES: usize = 4096;
/// How many times they are written at once: 1 MiB.
const ZEROES_VECTORS: usize = 256;

/// Zeroes to write, aligned as a host disk may want it.
#[repr(align(4096))]
struct Zeroes([u8; ZEROES_BYTES]);

static ZEROES: Zeroes = Zeroes([0; ZEROES_BYTES]);

/// A list of pieces of memory for the kernel, of which the front is taken away as the kernel gets on.
///
/// The addresses are good for as long as the [`GuestMemory`] that they were made from: who hands them to the kernel keeps that for at
/// least as long.
#[derive(Default)]
pub struct Vectors {
    list: Vec<libc::iovec>,
    /// How many of the list are done.
    done: usize,
}

// SAFETY: the addresses in the list are nothing that belongs to a thread: guest memory is mapped for the whole process, and nothing here
// reads through them.
unsafe impl Send for Vectors {}

impl Vectors {
    /// Takes the place of what was there before: these pieces of guest memory. Fails when one of them is not.
    pub fn fill(&mut self, memory: &GuestMemory, segments: &[Segment]) -> Result<(), GuestMemoryError> {
        self.clear();
        for segment in segments {
            for slice in GuestMemoryBackend::get_slices(memory, segment.address, segment.bytes()) {
                let slice = slice?;
                self.list.push(libc::iovec {
                    iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                    iov_len: slice.len(),
                });
            }
        }
        Ok(())
    }

    /// Takes the place of what was there before: zeroes to be written, at most `length` bytes of them. Says how many.
    pub fn zeroes(&mut self, length: u64) -> u64 {
        self.clear();
        let mut given = 0;
        while given < length && self.list.len() < ZEROES_VECTORS {
            let count = (length - given).min(ZEROES_BYTES as u64);
            self.list.push(libc::iovec {
                // The kernel only reads through the vectors of a write.
                iov_base: std::ptr::from_ref(&ZEROES.0).cast_mut().cast(),
                // At most ZEROES_BYTES.
                iov_len: usize::try_from(count).unwrap_or(ZEROES_BYTES),
            });
            given += count;
        }
        given
    }

    /// Empties the list, and gives back what a large request left.
    pub fn clear(&mut self) {
        self.done = 0;
        self.list.clear();
        self.list.shrink_to(VECTORS_KEPT);
    }

    /// What is not done yet, as much of it as goes into one system call.
    pub fn rest(&self) -> &[libc::iovec] {
        let rest = self.list.get(self.done..).unwrap_or_default();
        rest.get(..VECTORS_MAX).unwrap_or(rest)
    }

    /// Whether all is done.
    pub fn is_done(&self) -> bool {
        self.done == self.list.len()
    }

    /// Takes away `count` bytes from the front.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.list.get_mut(self.done) {
            if count < front.iov_len {
                // Inside the piece: its address stays inside, too.
                front.iov_base = front.iov_base.wrapping_byte_add(count);
                front.iov_len -= count;
                return;
            }
            count -= front.iov_len;
            self.done += 1;
        }
    }

    /// Reads from `offset` of a file until the list is full. Marks nothing ([`mark_written`]).
    pub fn read_from(&mut self, file: &File, mut offset: u64) -> io::Result<()> {
        while !self.is_done() {
            let rest = self.rest();
            // SAFETY: `rest` is a list of as many vectors as is said, and lives across the call. They name memory of the guest that is
            // mapped for as long as the memory that the caller made them from, which it keeps. The kernel writes there, which no
            // reference in this process rules out: guest memory is only accessed as volatile memory.
            let read = unsafe { libc::preadv(file.as_raw_fd(), rest.as_ptr(), count(rest), at(offset)?) };
            offset = self.moved(read, offset, io::ErrorKind::UnexpectedEof)?;
        }
        Ok(())
    }

    /// Writes the whole list to `offset` of a file; durable on return where `durable`.
    pub fn write_to(&mut self, file: &File, mut offset: u64, durable: bool) -> io::Result<()> {
        let flags = if durable { libc::RWF_DSYNC } else { 0 };
        while !self.is_done() {
            let rest = self.rest();
            // SAFETY: as in `read_from`; here the kernel only reads.
            let written =
                unsafe { libc::pwritev2(file.as_raw_fd(), rest.as_ptr(), count(rest), at(offset)?, flags) };
            offset = self.moved(written, offset, io::ErrorKind::WriteZero)?;
        }
        Ok(())
    }

    /// After a system call that moved so many bytes, or failed: where it goes on.
    fn moved(&mut self, result: isize, offset: u64, nothing: io::ErrorKind) -> io::Result<u64> {
        match usize::try_from(result) {
            Err(_) => {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::Interrupted => Ok(offset),
                    _ => Err(error),
                }
            }
            Ok(0) => Err(nothing.into()),
            Ok(count) => {
                self.advance(count);
                Ok(offset + count as u64)
            }
        }
    }
}

/// The number of vectors, which [`Vectors::rest`] bounds.
fn count(vectors: &[libc::iovec]) -> libc::c_int {
    libc::c_int::try_from(vectors.len()).unwrap_or(libc::c_int::MAX)
}

fn at(offset: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Notes in the memory's log that the kernel has written these pieces, behind the memory's back.
pub fn mark_written(memory: &GuestMemory, segments: &[Segment]) {
    for segment in segments {
        for slice in GuestMemoryBackend::get_slices(memory, segment.address, segment.bytes()).flatten() {
            slice.bitmap().mark_dirty(0, slice.len());
        }
    }
}
