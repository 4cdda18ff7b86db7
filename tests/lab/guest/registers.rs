#![expect(
    unsafe_code,
    reason = "registers and rings are reached through a mapping of /dev/mem"
)]
//! Physical memory of the guest: a device's registers, or memory that the kernel leaves alone.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr;

/// A part of physical memory, mapped for as long as the process lives.
pub struct Physical {
    start: *mut libc::c_void,
    length: usize,
    /// Its physical address.
    pub address: u64,
}

impl Physical {
    pub fn map(address: u64, length: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/mem")?;
        let offset = libc::off_t::try_from(address).map_err(io::Error::other)?;
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at an address of the kernel's choice; it overlaps nothing of this process.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                rights,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start,
            length,
            address,
        })
    }

    /// The place of a value of `size` bytes: inside the mapping and aligned.
    fn place(&self, offset: usize, size: usize) -> *mut libc::c_void {
        assert!(
            offset.is_multiple_of(size) && offset + size <= self.length,
            "{offset:#x} is no place for {size} bytes"
        );
        // SAFETY: the offset was just found to be inside the mapping.
        unsafe { self.start.byte_add(offset) }
    }

    pub fn read32(&self, offset: usize) -> u32 {
        // SAFETY: inside the mapping and aligned, see `place`; devices change it, hence volatile.
        unsafe { self.place(offset, 4).cast::<u32>().read_volatile() }
    }

    pub fn write8(&self, offset: usize, value: u8) {
        // SAFETY: as in `read32`.
        unsafe { self.place(offset, 1).cast::<u8>().write_volatile(value) }
    }

    pub fn write16(&self, offset: usize, value: u16) {
        // SAFETY: as in `read32`.
        unsafe { self.place(offset, 2).cast::<u16>().write_volatile(value) }
    }

    pub fn read16(&self, offset: usize) -> u16 {
        // SAFETY: as in `read32`.
        unsafe { self.place(offset, 2).cast::<u16>().read_volatile() }
    }

    pub fn write32(&self, offset: usize, value: u32) {
        // SAFETY: as in `read32`.
        unsafe { self.place(offset, 4).cast::<u32>().write_volatile(value) }
    }

    pub fn write64(&self, offset: usize, value: u64) {
        // SAFETY: as in `read32`.
        unsafe { self.place(offset, 8).cast::<u64>().write_volatile(value) }
    }
}
