//! Loading a kernel, and telling it what it needs to know.

#[cfg(test)]
mod elf;
mod explaining;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod holes;
mod linux;
mod pvh;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use linux_loader::loader::{BzImage, Elf, KernelLoader, KernelLoaderResult, PvhBootCapability};
use vm_memory::{Bytes, GuestAddress};

use crate::config::BootConfig;
use crate::cpu::Entry;
use crate::memory::{self, GuestMemory, HIGH_MEMORY_START, LOW_MEMORY_END};

use self::holes::Sparse;

/// Where the command line lies.
const COMMAND_LINE: GuestAddress = GuestAddress(0x2_0000);
/// The most bytes of a command line, with the zero at its end: what the kernel keeps.
pub const COMMAND_LINE_MAX: usize = 2048;
/// Where the kernel's parameters lie: the boot parameters, or the PVH start information.
const PARAMETERS: GuestAddress = GuestAddress(0x7000);

/// Why a machine cannot boot what it was given.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file cannot be opened or read.
    #[error("cannot read {what} {}", path.display())]
    Read {
        /// The kernel, or the initial RAM file system.
        what: &'static str,
        /// Its file.
        path: PathBuf,
        /// What the system said.
        #[source]
        err: io::Error,
    },
    /// The kernel's file is none.
    #[error("{} is neither a bzImage nor an ELF kernel", path.display())]
    NoKernel {
        /// The file.
        path: PathBuf,
    },
    /// The kernel cannot be loaded.
    #[error("cannot load the kernel {}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        err: linux_loader::loader::Error,
    },
    /// The kernel cannot be entered.
    #[error("the kernel {} {reason}", path.display())]
    NoEntry {
        /// The file.
        path: PathBuf,
        /// What it lacks, as the end of a sentence.
        reason: &'static str,
    },
    /// The initial RAM file system does not fit.
    #[error("{} ({} MiB) does not fit beside the kernel into {memory_mib} MiB of memory", path.display(), size.div_ceil(1 << 20))]
    InitrdTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The machine's memory.
        memory_mib: u32,
    },
    /// The command line is too long.
    #[error("the command line has {0} bytes; the kernel takes {max}", max = COMMAND_LINE_MAX - 1)]
    CommandLineTooLong(usize),
    /// The command line has a zero byte.
    #[error("the command line has a zero byte")]
    CommandLineZero,
    /// Guest memory does not take it.
    #[error("cannot write the kernel's parameters")]
    Write(#[source] vm_memory::GuestMemoryError),
}

/// A stretch of guest-physical addresses, as the kernel is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MapEntry {
    /// Where it begins.
    pub start: u64,
    /// How long it is.
    pub size: u64,
    /// Whether it is memory to use; reserved otherwise.
    pub usable: bool,
}

/// An initial RAM file system in guest memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Initrd {
    pub address: GuestAddress,
    pub size: u64,
}

/// Puts the kernel, its initial RAM file system and its command line into guest memory.
///
/// `rsdp` is where the ACPI tables begin. Returns how the first vCPU enters the kernel.
pub fn load(boot: &BootConfig, memory: &GuestMemory, rsdp: GuestAddress) -> Result<Entry, BootError> {
    write_command_line(&boot.command_line, memory)?;
    let mut kernel = open("the kernel", &boot.kernel)?;
    let loaded = load_kernel(&mut kernel, boot, memory)?;
    let initrd_limit = loaded
        .setup_header
        .map_or(u64::from(u32::MAX), |header| header.initrd_addr_max.into());
    let kernel_end = linux::end_in_memory(&loaded);
    let initrd = match &boot.initrd {
        Some(path) => {
            let mut file = open("the initial RAM file system", path)?;
            Some(load_initrd(path, &mut file, memory, kernel_end, initrd_limit)?)
        }
        None => None,
    };
    enter(boot, memory, &loaded, initrd, rsdp)
}

/// Tells the kernel what it must know, by the protocol that it speaks.
fn enter(
    boot: &BootConfig,
    memory: &GuestMemory,
    loaded: &KernelLoaderResult,
    initrd: Option<Initrd>,
    rsdp: GuestAddress,
) -> Result<Entry, BootError> {
    let map = memory_map(memory);
    match (loaded.setup_header, loaded.pvh_boot_cap) {
        (Some(header), _) => linux::write(memory, loaded, header, initrd, rsdp, &map)
            .map_err(|problem| problem.named(&boot.kernel)),
        (None, PvhBootCapability::PvhEntryPresent(address)) => {
            let start_info = pvh::write(memory, initrd, rsdp, &map).map_err(BootError::Write)?;
            Ok(Entry::Pvh { address, start_info })
        }
        (None, _) => Err(BootError::NoEntry {
            path: boot.kernel.clone(),
            reason: "has no PVH entry (CONFIG_PVH); use its bzImage",
        }),
    }
}

fn open(what: &'static str, path: &Path) -> Result<File, BootError> {
    File::open(path).map_err(|err| BootError::Read {
        what,
        path: path.to_owned(),
        err,
    })
}

fn load_kernel(
    kernel: &mut File,
    boot: &BootConfig,
    memory: &GuestMemory,
) -> Result<KernelLoaderResult, BootError> {
    const ELF_MAGIC: [u8; 4] = *b"\x7fELF";
    let path = &boot.kernel;
    let read = |err| BootError::Read {
        what: "the kernel",
        path: path.clone(),
        err,
    };
    let mut magic = [0; 4];
    kernel.read_exact(&mut magic).map_err(read)?;
    kernel.seek(SeekFrom::Start(0)).map_err(read)?;
    let start = GuestAddress(HIGH_MEMORY_START);
    if magic == ELF_MAGIC {
        let shown = show_what_explains(kernel, memory);
        let mut kernel = Sparse::new(kernel, shown);
        return Elf::load(memory, None, &mut kernel, Some(start)).map_err(|err| BootError::Load {
            path: path.clone(),
            err,
        });
    }
    match BzImage::load(memory, None, kernel, Some(start)) {
        Ok(loaded) => Ok(loaded),
        Err(linux_loader::loader::Error::Bzimage(linux_loader::loader::bzimage::Error::InvalidBzImage)) => {
            Err(BootError::NoKernel { path: path.clone() })
        }
        Err(err) => Err(BootError::Load {
            path: path.clone(),
            err,
        }),
    }
}

/// Has the guest see, in its place, the file itself where the kernel explains itself. Returns which parts of the file.
///
/// Where that is not possible, in memory that others share for example, it is copied like the rest.
fn show_what_explains(kernel: &File, memory: &GuestMemory) -> Vec<Range<u64>> {
    let stretches = explaining::stretches(kernel).into_iter();
    stretches
        .filter(|one| memory::show(memory, GuestAddress(one.address), kernel, &one.file).is_ok())
        .map(|one| one.file)
        .collect()
}

fn write_command_line(text: &str, memory: &GuestMemory) -> Result<(), BootError> {
    if text.len() >= COMMAND_LINE_MAX {
        return Err(BootError::CommandLineTooLong(text.len()));
    }
    if text.contains('\0') {
        return Err(BootError::CommandLineZero);
    }
    memory
        .write_slice(text.as_bytes(), COMMAND_LINE)
        .map_err(BootError::Write)?;
    memory
        .write_obj(0_u8, GuestAddress(COMMAND_LINE.0 + text.len() as u64))
        .map_err(BootError::Write)
}

/// As high as the kernel can reach, so that the kernel has room to unpack below.
fn load_initrd(
    path: &Path,
    file: &mut File,
    memory: &GuestMemory,
    kernel_end: u64,
    limit: u64,
) -> Result<Initrd, BootError> {
    const PAGE: u64 = 4096;
    let read = |err| BootError::Read {
        what: "the initial RAM file system",
        path: path.to_owned(),
        err,
    };
    let size = file.seek(SeekFrom::End(0)).map_err(read)?;
    file.seek(SeekFrom::Start(0)).map_err(read)?;
    let too_large = || BootError::InitrdTooLarge {
        path: path.to_owned(),
        size,
        memory_mib: memory::size_mib(memory),
    };
    let low_end = memory::layout(memory::size_mib(memory))
        .first()
        .map_or(0, |range| range.end);
    let end = low_end.min(limit.saturating_add(1));
    let start = end
        .checked_sub(size)
        .map(|start| start & !(PAGE - 1))
        .ok_or_else(too_large)?;
    if start < kernel_end {
        return Err(too_large());
    }
    let length = usize::try_from(size).map_err(|_| too_large())?;
    let address = GuestAddress(start);
    memory
        .read_exact_volatile_from(address, file, length)
        .map_err(|err| read(io::Error::other(err)))?;
    Ok(Initrd { address, size })
}

/// What of the guest's addresses is memory that it may use.
fn memory_map(memory: &GuestMemory) -> Vec<MapEntry> {
    let mut map = vec![
        MapEntry {
            start: 0,
            size: LOW_MEMORY_END,
            usable: true,
        },
        MapEntry {
            start: LOW_MEMORY_END,
            size: HIGH_MEMORY_START - LOW_MEMORY_END,
            usable: false,
        },
    ];
    for range in memory::layout(memory::size_mib(memory)) {
        let start = range.start.max(HIGH_MEMORY_START);
        map.push(MapEntry {
            start,
            size: range.end - start,
            usable: true,
        });
    }
    map
}

#[cfg(test)]
mod tests;
