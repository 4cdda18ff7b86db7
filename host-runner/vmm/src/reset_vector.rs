//! What a guest runs that resets itself through its firmware, which it does not have.
//!
//! Linux on a machine with hardware-reduced ACPI does not write the reset register: it asks UEFI, and where there is none, it goes back to
//! real mode and jumps to where a PC's firmware begins (`BOOT_EFI`, then `BOOT_BIOS`, in `arch/x86/kernel/reboot.c`). Without anything
//! there it would run through zeros for ever; a kernel that panics takes the same way.

use vm_memory::{Bytes as _, GuestAddress, GuestMemoryError};

use crate::acpi::{RESET, RESET_VALUE};
use crate::memory::GuestMemory;

/// Where it begins: `F000:FFF0`. The ACPI tables end before it.
pub const VECTOR: GuestAddress = GuestAddress(0xf_fff0);

/// Writes what stands in for the firmware: it writes the reset register, and waits for the end.
pub fn write(memory: &GuestMemory) -> Result<(), GuestMemoryError> {
    memory.write_slice(&code(), VECTOR)
}

/// In 16-bit code. Pure.
fn code() -> [u8; 9] {
    const MOV_DX: u8 = 0xba;
    const MOV_AL: u8 = 0xb0;
    const OUT_DX_AL: u8 = 0xee;
    const HLT: u8 = 0xf4;
    const JMP_SHORT: u8 = 0xeb;
    /// Back to `hlt`: from behind the jump, three bytes.
    const TO_HLT: u8 = 0xfd;
    let [low, high] = RESET.to_le_bytes();
    [
        MOV_DX,
        low,
        high,
        MOV_AL,
        RESET_VALUE,
        OUT_DX_AL,
        HLT,
        JMP_SHORT,
        TO_HLT,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_writes_the_reset_register_and_ends_with_the_first_mebibyte() {
        let memory = crate::memory::create(64, crate::memory::Backing::Private).unwrap();
        write(&memory).unwrap();
        let mut found = [0; 16];
        memory.read_slice(&mut found, VECTOR).unwrap();
        // mov dx, 0x602; mov al, 1; out dx, al; hlt; jmp to hlt
        assert_eq!(
            found,
            [
                0xba, 0x02, 0x06, 0xb0, 0x01, 0xee, 0xf4, 0xeb, 0xfd, 0, 0, 0, 0, 0, 0, 0
            ]
        );
        assert_eq!(VECTOR.0 + 16, 1 << 20, "a PC's firmware begins there");
    }
}
