//! How the first vCPU begins: the registers that a boot protocol asks for.
//!
//! Sources: the kernel's `Documentation/arch/x86/boot.rst`, "64-bit Boot Protocol"; Xen's `docs/misc/pvh.pandoc`; Intel SDM volume 3,
//! 3.4.5 (segment descriptors) and 4.5 (four-level paging).

use kvm_bindings::{Msrs, kvm_fpu, kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress};

use crate::memory::GuestMemory;

/// Where the global descriptor table lies.
const GDT: u64 = 0x500;
/// Where the (empty) interrupt descriptor table lies.
const IDT: u64 = 0x520;
/// The first of six pages of page tables: one PML4, one page directory pointer table, four page directories.
const PAGE_TABLES: u64 = 0x9000;
/// The top of the stack.
const STACK: u64 = 0x8ff0;

const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// MTRR default type: enabled, write-back.
const MTRR_WRITE_BACK: u64 = 1 << 11 | 6;
const MSR_MTRR_DEFAULT_TYPE: u32 = 0x2ff;
const MSR_MISC_ENABLE: u32 = 0x1a0;
/// Fast string operations.
const MISC_FAST_STRINGS: u64 = 1;

/// How the kernel is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// In long mode, with the address of the boot parameters in RSI.
    Linux64 {
        /// The first instruction.
        address: GuestAddress,
        /// The boot parameters ("zero page").
        parameters: GuestAddress,
    },
    /// In 32-bit protected mode without paging, with the address of the start information in EBX.
    Pvh {
        /// The first instruction.
        address: GuestAddress,
        /// The start information.
        start_info: GuestAddress,
    },
}

/// Why a vCPU's registers could not be set.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// KVM refused.
    #[error("cannot set the {what} of vCPU {index}")]
    Set {
        /// Which registers.
        what: &'static str,
        /// Of which vCPU.
        index: u8,
        /// What KVM said.
        #[source]
        err: kvm_ioctls::Error,
    },
    /// The tables do not fit into guest memory.
    #[error("cannot write the descriptor and page tables of the first vCPU")]
    Tables(#[source] vm_memory::GuestMemoryError),
}

/// Sets a vCPU's registers: the first one at `entry`, the others where they wait to be woken.
pub fn begin(vcpu: &VcpuFd, index: u8, entry: Entry, memory: &GuestMemory) -> Result<(), RegisterError> {
    let fail = |what| move |err| RegisterError::Set { what, index, err };
    model_specific(vcpu, index)?;
    local_apic(vcpu).map_err(fail("local APIC"))?;
    let fpu = kvm_fpu {
        fcw: 0x37f,
        mxcsr: 0x1f80,
        ..Default::default()
    };
    vcpu.set_fpu(&fpu).map_err(fail("floating-point registers"))?;
    if index != 0 {
        return Ok(());
    }
    let mut special = vcpu.get_sregs().map_err(fail("special registers"))?;
    let mut general = kvm_regs {
        // Bit 1 is always set.
        rflags: 2,
        rsp: STACK,
        rbp: STACK,
        ..Default::default()
    };
    match entry {
        Entry::Linux64 { address, parameters } => {
            long_mode(&mut special);
            write_page_tables(memory).map_err(RegisterError::Tables)?;
            general.rip = address.0;
            general.rsi = parameters.0;
        }
        Entry::Pvh { address, start_info } => {
            protected_mode(&mut special);
            general.rip = address.0;
            general.rbx = start_info.0;
        }
    }
    write_descriptors(memory, entry).map_err(RegisterError::Tables)?;
    vcpu.set_sregs(&special).map_err(fail("special registers"))?;
    vcpu.set_regs(&general).map_err(fail("general registers"))
}

fn model_specific(vcpu: &VcpuFd, index: u8) -> Result<(), RegisterError> {
    let entry = |register, data| kvm_msr_entry {
        index: register,
        data,
        ..Default::default()
    };
    for msr in [
        entry(MSR_MTRR_DEFAULT_TYPE, MTRR_WRITE_BACK),
        entry(MSR_MISC_ENABLE, MISC_FAST_STRINGS),
    ] {
        // Not every processor has each of them; the guest then lives with what it finds.
        if let Ok(msrs) = Msrs::from_entries(&[msr]) {
            vcpu.set_msrs(&msrs).map_err(|err| RegisterError::Set {
                what: "model-specific registers",
                index,
                err,
            })?;
        }
    }
    Ok(())
}

/// LINT0 takes interrupts of the PIC, LINT1 those that cannot be masked, as a firmware leaves them.
fn local_apic(vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
    const LVT_LINT0: usize = 0x350;
    const LVT_LINT1: usize = 0x360;
    const MODE_NMI: u32 = 4 << 8;
    const MODE_EXTINT: u32 = 7 << 8;
    let mut apic = vcpu.get_lapic()?;
    for (register, mode) in [(LVT_LINT0, MODE_EXTINT), (LVT_LINT1, MODE_NMI)] {
        for (target, byte) in apic.regs[register..register + 4]
            .iter_mut()
            .zip(mode.to_le_bytes())
        {
            *target = byte.cast_signed();
        }
    }
    vcpu.set_lapic(&apic)
}

/// A flat segment: base 0, the whole address space.
fn segment(selector: u16, kind: u8, long: bool) -> kvm_segment {
    let code = kind & 0b1000 != 0;
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_: kind,
        present: 1,
        dpl: 0,
        db: u8::from(!(long && code)),
        s: 1,
        l: u8::from(long && code),
        g: 1,
        ..Default::default()
    }
}

/// Execute, read, accessed.
const CODE: u8 = 0b1011;
/// Read, write, accessed.
const DATA: u8 = 0b0011;
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;

fn flat(special: &mut kvm_sregs, long: bool) {
    special.cs = segment(CODE_SELECTOR, CODE, long);
    let data = segment(DATA_SELECTOR, DATA, long);
    (special.ds, special.es, special.fs, special.gs, special.ss) = (data, data, data, data, data);
    // A task state segment must be there, and busy; nothing uses it.
    special.tr = kvm_segment {
        limit: 0x67,
        type_: 0b1011,
        present: 1,
        ..Default::default()
    };
    special.gdt.base = GDT;
    special.gdt.limit = 4 * 8 - 1;
    special.idt.base = IDT;
    special.idt.limit = 7;
}

fn long_mode(special: &mut kvm_sregs) {
    flat(special, true);
    special.cr3 = PAGE_TABLES;
    special.cr4 |= CR4_PAE;
    special.cr0 = CR0_PE | CR0_ET | CR0_PG;
    special.efer |= EFER_LME | EFER_LMA;
}

fn protected_mode(special: &mut kvm_sregs) {
    flat(special, false);
    special.cr0 = CR0_PE | CR0_ET;
    special.cr4 = 0;
}

/// The first four GiB, each address as itself, in pages of 2 MiB.
fn write_page_tables(memory: &GuestMemory) -> Result<(), vm_memory::GuestMemoryError> {
    const PAGE: u64 = 0x1000;
    const PRESENT_WRITABLE: u64 = 0b11;
    const LARGE: u64 = 1 << 7;
    let pointers = PAGE_TABLES + PAGE;
    memory.write_obj(pointers | PRESENT_WRITABLE, GuestAddress(PAGE_TABLES))?;
    for gib in 0..4 {
        let directory = pointers + PAGE * (gib + 1);
        memory.write_obj(directory | PRESENT_WRITABLE, GuestAddress(pointers + gib * 8))?;
        let entries: Vec<u8> = (0..512)
            .flat_map(|entry| (((gib * 512 + entry) << 21) | PRESENT_WRITABLE | LARGE).to_le_bytes())
            .collect();
        memory.write_slice(&entries, GuestAddress(directory))?;
    }
    Ok(())
}

/// The descriptors that the selectors name, for a kernel that loads a segment before it has a table of its own.
fn write_descriptors(memory: &GuestMemory, entry: Entry) -> Result<(), vm_memory::GuestMemoryError> {
    let long = matches!(entry, Entry::Linux64 { .. });
    let descriptor = |segment: kvm_segment| -> u64 {
        let access = u64::from(segment.type_)
            | u64::from(segment.s) << 4
            | u64::from(segment.dpl) << 5
            | u64::from(segment.present) << 7;
        let flags = u64::from(segment.l) << 1 | u64::from(segment.db) << 2 | u64::from(segment.g) << 3;
        0xffff | access << 40 | 0xf << 48 | flags << 52
    };
    let table = [
        0,
        0,
        descriptor(segment(CODE_SELECTOR, CODE, long)),
        descriptor(segment(DATA_SELECTOR, DATA, long)),
    ];
    for (at, entry) in (0..).zip(table) {
        memory.write_obj::<u64>(entry, GuestAddress(GDT + at * 8))?;
    }
    memory.write_obj::<u64>(0, GuestAddress(IDT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_tables_map_four_gib_one_to_one() {
        let memory = crate::memory::create(64, crate::memory::Backing::Shared).unwrap();
        write_page_tables(&memory).unwrap();
        let entry = |table: u64, index: u64| {
            memory
                .read_obj::<u64>(GuestAddress((table & !0xfff) + index * 8))
                .unwrap()
        };
        for address in [0, 0x1000_0000_u64, 0x7fff_ffff, 0xd000_0000, 0xffff_ffff] {
            let pointers = entry(PAGE_TABLES, 0);
            let directory = entry(pointers, address >> 30);
            let page = entry(directory, (address >> 21) & 511);
            assert_eq!((page & !0x1f_ffff) | (address & 0x1f_ffff), address);
        }
    }

    #[test]
    fn the_segments_are_flat_and_of_the_mode() {
        for (entry, expected) in [
            (
                Entry::Linux64 {
                    address: GuestAddress(0),
                    parameters: GuestAddress(0),
                },
                0x00af_9b00_0000_ffff_u64,
            ),
            (
                Entry::Pvh {
                    address: GuestAddress(0),
                    start_info: GuestAddress(0),
                },
                0x00cf_9b00_0000_ffff,
            ),
        ] {
            let memory = crate::memory::create(64, crate::memory::Backing::Shared).unwrap();
            write_descriptors(&memory, entry).unwrap();
            let code: u64 = memory
                .read_obj(GuestAddress(GDT + u64::from(CODE_SELECTOR)))
                .unwrap();
            assert_eq!(code, expected, "{entry:?}");
        }
    }
}
