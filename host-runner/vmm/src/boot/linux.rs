//! The boot parameters of Linux's own 64-bit protocol.
//!
//! Source: the kernel's `Documentation/arch/x86/boot.rst` and `zero-page.rst`.

use std::path::Path;

use linux_loader::loader::KernelLoaderResult;
use linux_loader::loader::bootparam::{boot_params, setup_header};
use vm_memory::{Bytes, GuestAddress};

use super::{BootError, COMMAND_LINE, Initrd, MapEntry, PARAMETERS};
use crate::cpu::Entry;
use crate::memory::GuestMemory;

/// A boot loader without a number of its own.
const LOADER_UNDEFINED: u8 = 0xff;
/// The kernel has a 64-bit entry, 512 bytes behind the 32-bit one.
const XLF_KERNEL_64: u16 = 1;
const ENTRY_64: u64 = 0x200;
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// What is wrong with a kernel, before its file is named.
pub(super) enum Problem {
    NoEntry(&'static str),
    Write(vm_memory::GuestMemoryError),
}

impl Problem {
    pub(super) fn named(self, path: &Path) -> BootError {
        match self {
            Self::NoEntry(reason) => BootError::NoEntry {
                path: path.to_owned(),
                reason,
            },
            Self::Write(err) => BootError::Write(err),
        }
    }
}

/// Where a kernel ends once it has unpacked itself.
pub(super) fn end_in_memory(loaded: &KernelLoaderResult) -> u64 {
    match &loaded.setup_header {
        // It unpacks at its preferred address, or where it was loaded if that is higher.
        Some(header) => {
            let unpacked = header.pref_address.max(loaded.kernel_load.0);
            loaded
                .kernel_end
                .max(unpacked.saturating_add(header.init_size.into()))
        }
        None => loaded.kernel_end,
    }
}

/// Writes the boot parameters.
pub(super) fn write(
    memory: &GuestMemory,
    loaded: &KernelLoaderResult,
    mut header: setup_header,
    initrd: Option<Initrd>,
    rsdp: GuestAddress,
    map: &[MapEntry],
) -> Result<Entry, Problem> {
    // The fields of the header lie unaligned: each is read as a copy.
    if header.version < 0x020c || header.xloadflags & XLF_KERNEL_64 == 0 {
        return Err(Problem::NoEntry(
            "has no 64-bit entry (boot protocol 2.12, CONFIG_X86_64)",
        ));
    }
    header.type_of_loader = LOADER_UNDEFINED;
    header.cmd_line_ptr = low_half(COMMAND_LINE.0);
    if let Some(initrd) = initrd {
        header.ramdisk_image = low_half(initrd.address.0);
        header.ramdisk_size = low_half(initrd.size);
    }
    let mut parameters = boot_params {
        hdr: header,
        acpi_rsdp_addr: rsdp.0,
        ..Default::default()
    };
    for (entry, table) in map.iter().zip(parameters.e820_table.iter_mut()) {
        table.addr = entry.start;
        table.size = entry.size;
        table.r#type = if entry.usable { E820_RAM } else { E820_RESERVED };
        parameters.e820_entries += 1;
    }
    memory.write_obj(parameters, PARAMETERS).map_err(Problem::Write)?;
    Ok(Entry::Linux64 {
        address: GuestAddress(loaded.kernel_load.0 + ENTRY_64),
        parameters: PARAMETERS,
    })
}

/// What lies below 4 GiB by construction.
fn low_half(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
