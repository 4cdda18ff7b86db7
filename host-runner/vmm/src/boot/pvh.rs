//! The start information of the PVH protocol, by which an ELF kernel is entered without unpacking.
//!
//! Source: Xen's `docs/misc/pvh.pandoc` and `xen/include/public/arch-x86/hvm/start_info.h`.

use linux_loader::loader::elf::start_info::{
    XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_MEMMAP_TYPE_RESERVED, XEN_HVM_START_MAGIC_VALUE,
};
use linux_loader::loader::elf::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::{COMMAND_LINE, Initrd, MapEntry, PARAMETERS};
use crate::memory::GuestMemory;

const MODULES: GuestAddress = GuestAddress(PARAMETERS.0 + 0x100);
const MEMORY_MAP: GuestAddress = GuestAddress(PARAMETERS.0 + 0x200);

/// Writes the start information.
pub(super) fn write(
    memory: &GuestMemory,
    initrd: Option<Initrd>,
    rsdp: GuestAddress,
    map: &[MapEntry],
) -> Result<GuestAddress, GuestMemoryError> {
    let mut info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        cmdline_paddr: COMMAND_LINE.0,
        rsdp_paddr: rsdp.0,
        memmap_paddr: MEMORY_MAP.0,
        ..Default::default()
    };
    for (entry, at) in map
        .iter()
        .zip((MEMORY_MAP.0..).step_by(size_of::<hvm_memmap_table_entry>()))
    {
        let row = hvm_memmap_table_entry {
            addr: entry.start,
            size: entry.size,
            type_: if entry.usable {
                XEN_HVM_MEMMAP_TYPE_RAM
            } else {
                XEN_HVM_MEMMAP_TYPE_RESERVED
            },
            reserved: 0,
        };
        memory.write_obj(row, GuestAddress(at))?;
        info.memmap_entries += 1;
    }
    if let Some(initrd) = initrd {
        let module = hvm_modlist_entry {
            paddr: initrd.address.0,
            size: initrd.size,
            ..Default::default()
        };
        memory.write_obj(module, MODULES)?;
        info.nr_modules = 1;
        info.modlist_paddr = MODULES.0;
    }
    memory.write_obj(info, PARAMETERS)?;
    Ok(PARAMETERS)
}
