//! The ACPI tables: what the guest finds in its machine, and how it turns it off.
//!
//! Hardware-reduced ACPI: no legacy power management, and a generic event device for the power button.
//! Source: Advanced Configuration and Power Interface 6.5; sections below are of that document.

use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use acpi_tables::madt::{EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};
use vm_memory::{Bytes, GuestAddress};

use crate::devices::serial;
use crate::memory::GuestMemory;
use crate::reset_vector;

/// Where the tables begin, and with them the RSDP: in what a PC keeps for its firmware.
pub const TABLES: GuestAddress = GuestAddress(0xe_0000);
/// Where they must end.
const TABLES_END: u64 = reset_vector::VECTOR.0;
/// The port that the guest writes to be turned off (the sleep control register, 4.8.3.7).
pub const SLEEP_CONTROL: u16 = 0x600;
/// The sleep status register, which says nothing here.
pub const SLEEP_STATUS: u16 = 0x601;
/// The port that the guest writes to be reset (4.8.3.6).
pub const RESET: u16 = 0x602;
/// What it writes there.
pub const RESET_VALUE: u8 = 1;
/// The sleep type of "off" (S5), as the sleep control register has it.
pub const SLEEP_TYPE_OFF: u8 = 5;
/// The interrupt line of the power button.
pub const POWER_BUTTON_LINE: u32 = 5;

/// How many ports of the serial port, as the resource's byte says it.
const SERIAL_PORTS: u8 = 8;
const _: () = assert!(serial::PORTS == SERIAL_PORTS as u16);
const IO_APIC: u32 = 0xfec0_0000;
const LOCAL_APIC: u32 = 0xfee0_0000;
const OEM: [u8; 6] = *b"MILLPD";
const OEM_TABLE: [u8; 8] = *b"MICROVM ";

/// A virtio device as the guest finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioWindow {
    /// Where its registers begin.
    pub base: u32,
    /// How long they are.
    pub length: u32,
    /// Its interrupt line.
    pub line: u32,
}

/// Why the tables cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AcpiError {
    /// They do not fit.
    #[error("the ACPI tables take {0} bytes, which is more than their place holds")]
    TooLarge(u64),
    /// Guest memory does not take them.
    #[error("cannot write the ACPI tables")]
    Write(#[source] vm_memory::GuestMemoryError),
}

/// Writes the tables. Returns where the RSDP lies.
pub fn write(memory: &GuestMemory, vcpus: u8, devices: &[VirtioWindow]) -> Result<GuestAddress, AcpiError> {
    let mut writer = Writer {
        memory,
        // The RSDP is written last, and lies first.
        at: TABLES.0 + Rsdp::len() as u64,
    };
    let dsdt = writer.put(&dsdt(devices))?;
    let fadt = writer.put(&fadt(dsdt))?;
    let madt = writer.put(&madt(vcpus))?;
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, 1);
    xsdt.add_entry(fadt);
    xsdt.add_entry(madt);
    let xsdt = writer.put(&xsdt)?;
    let mut rsdp = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut rsdp);
    memory.write_slice(&rsdp, TABLES).map_err(AcpiError::Write)?;
    Ok(TABLES)
}

struct Writer<'a> {
    memory: &'a GuestMemory,
    at: u64,
}

impl Writer<'_> {
    fn put(&mut self, table: &dyn Aml) -> Result<u64, AcpiError> {
        let mut bytes = Vec::new();
        table.to_aml_bytes(&mut bytes);
        let start = self.at.next_multiple_of(16);
        let end = start + bytes.len() as u64;
        if end > TABLES_END {
            return Err(AcpiError::TooLarge(end - TABLES.0));
        }
        self.memory
            .write_slice(&bytes, GuestAddress(start))
            .map_err(AcpiError::Write)?;
        self.at = end;
        Ok(start)
    }
}

fn fadt(dsdt: u64) -> impl Aml {
    /// No VGA (bit 2), no PCI Express power states (bit 4), no CMOS clock (bit 5); no 8042 either (bit 1 clear).
    const BOOT_ARCHITECTURE: u16 = 1 << 2 | 1 << 4 | 1 << 5;
    let port = |address: u16| {
        GAS::new(
            AddressSpace::SystemIo,
            8,
            0,
            AccessSize::ByteAccess,
            address.into(),
        )
    };
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, 1)
        .dsdt_64(dsdt)
        .flag(Flags::HwReducedAcpi)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless);
    fadt.iapc_boot_arch = BOOT_ARCHITECTURE.into();
    fadt.reset_reg = port(RESET);
    fadt.reset_value = RESET_VALUE;
    fadt.sleep_control_reg = port(SLEEP_CONTROL);
    fadt.sleep_status_reg = port(SLEEP_STATUS);
    fadt.finalize()
}

fn madt(vcpus: u8) -> MADT {
    let mut madt = MADT::new(OEM, OEM_TABLE, 1, LocalInterruptController::Address(LOCAL_APIC));
    for index in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(index, index, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(vcpus, IO_APIC, 0));
    madt
}

fn dsdt(devices: &[VirtioWindow]) -> Sdt {
    let mut body = Vec::new();
    off(&mut body);
    serial_port(&mut body);
    power_button(&mut body);
    for (index, device) in (0_u32..).zip(devices) {
        virtio(&mut body, index, *device);
    }
    let mut dsdt = Sdt::new(*b"DSDT", 36, 2, OEM, OEM_TABLE, 1);
    dsdt.append_slice(&body);
    dsdt
}

/// How to turn off (7.4.2.6, `\_S5`).
fn off(body: &mut Vec<u8>) {
    aml::Name::new("_S5_".into(), &aml::Package::new(vec![&SLEEP_TYPE_OFF])).to_aml_bytes(body);
}

fn serial_port(body: &mut Vec<u8>) {
    aml::Device::new(
        "_SB_.COM1".into(),
        vec![
            &aml::Name::new("_HID".into(), &aml::EISAName::new("PNP0501")),
            &aml::Name::new("_UID".into(), &aml::ZERO),
            &aml::Name::new(
                "_CRS".into(),
                &aml::ResourceTemplate::new(vec![
                    &aml::Interrupt::new(true, true, false, false, serial::LINE),
                    &aml::IO::new(serial::PORT, serial::PORT, 1, SERIAL_PORTS),
                ]),
            ),
        ],
    )
    .to_aml_bytes(body);
}

/// The button (PNP0C0C), and the event device whose one interrupt presses it (5.6.9).
fn power_button(body: &mut Vec<u8>) {
    const PRESSED: u8 = 0x80;
    aml::Device::new(
        "_SB_.PWRB".into(),
        vec![
            &aml::Name::new("_HID".into(), &aml::EISAName::new("PNP0C0C")),
            &aml::Name::new("_UID".into(), &aml::ZERO),
        ],
    )
    .to_aml_bytes(body);
    aml::Device::new(
        "_SB_.GED_".into(),
        vec![
            &aml::Name::new("_HID".into(), &"ACPI0013"),
            &aml::Name::new("_UID".into(), &aml::ZERO),
            &aml::Name::new(
                "_CRS".into(),
                &aml::ResourceTemplate::new(vec![&aml::Interrupt::new(
                    true,
                    true,
                    false,
                    false,
                    POWER_BUTTON_LINE,
                )]),
            ),
            &aml::Method::new(
                "_EVT".into(),
                1,
                true,
                vec![&aml::Notify::new(&aml::Path::new("\\_SB_.PWRB"), &PRESSED)],
            ),
        ],
    )
    .to_aml_bytes(body);
}

fn virtio(body: &mut Vec<u8>, index: u32, device: VirtioWindow) {
    aml::Device::new(
        aml::Path::new(&format!("_SB_.V{index:03}")),
        vec![
            &aml::Name::new("_HID".into(), &"LNRO0005"),
            &aml::Name::new("_UID".into(), &index),
            &aml::Name::new("_CCA".into(), &aml::ONE),
            &aml::Name::new(
                "_CRS".into(),
                &aml::ResourceTemplate::new(vec![
                    &aml::Memory32Fixed::new(true, device.base, device.length),
                    &aml::Interrupt::new(true, true, false, false, device.line),
                ]),
            ),
        ],
    )
    .to_aml_bytes(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(memory: &GuestMemory, at: u64) -> Vec<u8> {
        let length: u32 = memory.read_obj(GuestAddress(at + 4)).unwrap();
        let mut bytes = vec![0; length as usize];
        memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }

    #[test]
    fn from_the_root_every_table_is_found_and_its_bytes_add_up_to_zero() {
        let memory = crate::memory::create(64, crate::memory::Backing::Shared).unwrap();
        let windows: Vec<VirtioWindow> = (0..16)
            .map(|at| VirtioWindow {
                base: 0xd000_0000 + at * 0x1000,
                length: 0x1000,
                line: 6 + at,
            })
            .collect();
        let rsdp = write(&memory, 64, &windows).unwrap();
        let xsdt: u64 = memory.read_obj(GuestAddress(rsdp.0 + 24)).unwrap();
        let xsdt = table(&memory, xsdt);
        let mut found = Vec::new();
        for entry in xsdt[36..].chunks_exact(8) {
            let table = table(&memory, u64::from_le_bytes(entry.try_into().unwrap()));
            assert_eq!(table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
            found.push(String::from_utf8(table[..4].to_vec()).unwrap());
        }
        assert_eq!(found, ["FACP", "APIC"]);
    }
}
