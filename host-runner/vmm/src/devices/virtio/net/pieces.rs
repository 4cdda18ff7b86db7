#![expect(
    unsafe_code,
    reason = "readv and writev take addresses: the kernel moves a frame straight between the backend and guest memory"
)]
//! Pieces of guest memory that one system call fills or empties: a frame is never copied on its way.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use vm_memory::bitmap::Bitmap as _;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryBackend as _};

use crate::memory::GuestMemory;

/// The most pieces of one transfer: the kernel takes 1024 (`UIO_MAXIOV`), of which one stays for what is not guest memory.
pub const PIECES_MAX: usize = 1023;

/// A range of addresses is not (all) guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a buffer lies outside the guest's memory")]
pub struct OutsideMemory;

/// One contiguous piece, in both address spaces.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Where this process has it. Never dereferenced here: only the kernel follows it.
    host: *mut u8,
    guest: GuestAddress,
    length: usize,
}

/// Pieces of guest memory, in order.
pub struct Pieces {
    /// Keeps the mappings that the pieces point into.
    memory: GuestMemory,
    list: VecDeque<Piece>,
    bytes: usize,
    /// What the kernel is given, kept between calls for its allocation alone.
    vectors: Vec<libc::iovec>,
}

// SAFETY: The addresses point into mappings that `memory` keeps alive, which are the same for every thread; `vectors` is only read in the
// call that fills it. Nothing here is tied to the thread that made it.
unsafe impl Send for Pieces {}

impl Pieces {
    /// No pieces yet, of this memory.
    pub fn new(memory: GuestMemory) -> Self {
        Self {
            memory,
            list: VecDeque::new(),
            bytes: 0,
            vectors: Vec::new(),
        }
    }

    /// The memory that the pieces are of.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// How many bytes the pieces have together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many pieces there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Adds a buffer at the end. All of it must be guest memory; otherwise pieces of it may have been added, which the caller
    /// [drops](Self::drop_back).
    pub fn push(&mut self, guest: GuestAddress, length: u32) -> Result<(), OutsideMemory> {
        let mut at = guest;
        for slice in self.memory.get_slices(guest, length as usize) {
            let slice = slice.map_err(|_| OutsideMemory)?;
            let length = slice.len();
            let host = slice.ptr_guard_mut().as_ptr();
            self.list.push_back(Piece {
                host,
                guest: at,
                length,
            });
            self.bytes += length;
            // `get_slices` would have refused a range that wraps; the sum after the last piece is not used.
            at = GuestAddress(at.0.wrapping_add(length as u64));
        }
        Ok(())
    }

    /// Keeps the first `count` pieces.
    pub fn drop_back(&mut self, count: usize) {
        for piece in self.list.drain(count.min(self.list.len())..) {
            self.bytes -= piece.length;
        }
    }

    /// Lets the first `count` pieces go.
    pub fn drop_front(&mut self, count: usize) {
        for piece in self.list.drain(..count.min(self.list.len())) {
            self.bytes -= piece.length;
        }
    }

    /// Lets all go.
    pub fn clear(&mut self) {
        self.list.clear();
        self.bytes = 0;
    }

    /// Reads one datagram into the first `count` pieces, and what does not fit there into `spill`, up to the capacity that it has.
    ///
    /// Returns the length of the datagram. What the kernel wrote is marked dirty.
    pub fn read_from(
        &mut self,
        file: BorrowedFd<'_>,
        count: usize,
        spill: &mut Vec<u8>,
    ) -> io::Result<usize> {
        spill.clear();
        self.vectors.clear();
        let mut room = 0;
        for piece in self.list.iter().take(count.min(PIECES_MAX)) {
            room += piece.length;
            self.vectors.push(vector(piece.host, piece.length));
        }
        let spare = spill.spare_capacity_mut();
        self.vectors
            .push(vector(spare.as_mut_ptr().cast::<u8>(), spare.len()));
        // At most PIECES_MAX + 1.
        let vectors = libc::c_int::try_from(self.vectors.len()).map_err(io::Error::other)?;
        // SAFETY: Each vector is either a piece, which lies in a mapping that `self.memory` keeps, or the spare capacity of `spill`, which
        // is borrowed for the call. The guest may use its memory at the same time: no reference to it exists in this process.
        let read = unsafe { libc::readv(file.as_raw_fd(), self.vectors.as_ptr(), vectors) };
        let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
        self.mark_dirty(read.min(room));
        let spilt = read.saturating_sub(room).min(spill.capacity());
        // SAFETY: The kernel has filled the vectors in order, so the first `spilt` bytes of the spare capacity are initialised.
        unsafe { spill.set_len(spilt) };
        Ok(read)
    }

    /// Writes `prefix` and then the pieces, but for their first `skip` bytes, in one call. Returns how many bytes were written.
    pub fn write_to(&mut self, file: BorrowedFd<'_>, prefix: &[u8], skip: usize) -> io::Result<usize> {
        self.vectors.clear();
        if !prefix.is_empty() {
            self.vectors
                .push(vector(prefix.as_ptr().cast_mut(), prefix.len()));
        }
        let mut skip = skip;
        for piece in self.list.iter().take(PIECES_MAX) {
            let skipped = skip.min(piece.length);
            skip -= skipped;
            if skipped < piece.length {
                self.vectors
                    .push(vector(piece.host.wrapping_add(skipped), piece.length - skipped));
            }
        }
        let vectors = libc::c_int::try_from(self.vectors.len()).map_err(io::Error::other)?;
        // SAFETY: As in `read_from`; the kernel only reads, and `prefix` is borrowed for the call.
        let written = unsafe { libc::writev(file.as_raw_fd(), self.vectors.as_ptr(), vectors) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    /// Copies `data` into the pieces, `offset` bytes from their start; what does not fit is left out.
    pub fn copy_in(&self, offset: usize, data: &[u8]) -> Result<(), OutsideMemory> {
        let mut data = data;
        for (guest, length) in self.ranges(offset, data.len()) {
            let (now, later) = data.split_at(length.min(data.len()));
            self.memory.write_slice(now, guest).map_err(|_| OutsideMemory)?;
            data = later;
        }
        Ok(())
    }

    /// Appends `length` bytes of the pieces to `data`, from `offset` bytes after their start.
    pub fn copy_out(&self, offset: usize, length: usize, data: &mut Vec<u8>) -> Result<(), OutsideMemory> {
        for (guest, length) in self.ranges(offset, length) {
            let start = data.len();
            data.resize(start + length, 0);
            if let Some(place) = data.get_mut(start..) {
                self.memory.read_slice(place, guest).map_err(|_| OutsideMemory)?;
            }
        }
        Ok(())
    }

    /// The ranges of guest memory that hold `length` bytes from `offset` on.
    fn ranges(&self, offset: usize, length: usize) -> impl Iterator<Item = (GuestAddress, usize)> {
        let (mut skip, mut rest) = (offset, length);
        self.list
            .iter()
            .map_while(move |piece| {
                if rest == 0 {
                    return None;
                }
                let skipped = skip.min(piece.length);
                skip -= skipped;
                let taken = rest.min(piece.length - skipped);
                rest -= taken;
                Some((GuestAddress(piece.guest.0.wrapping_add(skipped as u64)), taken))
            })
            .filter(|(_, length)| *length > 0)
    }

    /// The kernel wrote the first `bytes`: a snapshot must know.
    fn mark_dirty(&self, bytes: usize) {
        for (guest, length) in self.ranges(0, bytes) {
            if let Ok(slice) = self.memory.get_slice(guest, length) {
                slice.bitmap().mark_dirty(0, length);
            }
        }
    }
}

fn vector(base: *mut u8, length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: base.cast(),
        iov_len: length,
    }
}
