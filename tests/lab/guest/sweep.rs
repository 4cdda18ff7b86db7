#![expect(unsafe_code, reason = "ports are reached by instructions of their own")]
//! Every port and register that a guest can name: most lead nowhere, and none may lead out of the machine.

use std::arch::asm;
use std::error::Error;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Up to here lie the ports of a PC's own devices, and the machine's registers for power: each is tried.
const NEAR: u16 = 0x610;
/// Of the others, each so-manieth is.
const STEP: usize = 257;
/// And with each so-manieth, string instructions, which cost as much as their values are many.
const STRING_STEP: u16 = 64;
/// What is written into ports: nothing that turns the machine off, or resets it.
const VALUE: u32 = 0xa5a5_a5a5;
/// How many values a string instruction moves.
const STRING: usize = 64;

/// Where the guest would only harm its own console, clock or interrupts: both interrupt controllers, the timer, and the serial port's own
/// registers but its scratch register.
const ITS_OWN: [std::ops::RangeInclusive<u16>; 5] = [
    0x20..=0x21,
    0x40..=0x43,
    0xa0..=0xa1,
    0x3f8..=0x3fe,
    0x4d0..=0x4d1,
];

/// Model-specific registers, as ranges: the architecture's, those of KVM, AMD's two ranges.
const REGISTERS: [std::ops::Range<u32>; 5] = [
    0..0x400,
    0x800..0x840,
    0x4b56_4d00..0x4b56_4d10,
    0xc000_0080..0xc000_0110,
    0xc001_0000..0xc001_0150,
];

/// Registers without which this program would not go on to tell: the time-stamp counter and its kin, the APIC's place, the clock's page, the
/// kernel's entry points and the bases of its segments.
const NEEDED: [u32; 18] = [
    0x10,
    0x11,
    0x12,
    0x1b,
    0x3b,
    0x6e0,
    0x4b56_4d01,
    0x4b56_4d02,
    0x4b56_4d04,
    0x4b56_4d06,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0100,
    0xc000_0101,
    0xc000_0102,
];

/// The APIC's own, for the same reason: its timer would stop.
const APIC: std::ops::Range<u32> = 0x800..0x840;

/// Values that mean something in few registers: all bits, an address beyond memory with the lowest bit on, nothing.
const SENSELESS: [u64; 3] = [u64::MAX, 1 << 45 | 1, 0];

/// Reads and writes all of them on one processor, and says how many took what they were given.
pub fn sweep(processor: u32) -> Result<(), Box<dyn Error>> {
    // SAFETY: it gives this process the right to use port instructions, and touches no memory.
    if unsafe { libc::iopl(3) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    let far = (NEAR..=u16::MAX).step_by(STEP);
    let mut ports = 0_u32;
    for port in (0..NEAR).chain(far).filter(|port| !is_its_own(*port)) {
        read(port);
        write(port);
        if port % STRING_STEP == 0 {
            strings(port);
        }
        ports += 1;
    }
    println!("swept ports={ports}");
    let registers = File::options()
        .read(true)
        .write(true)
        .open(format!("/dev/cpu/{processor}/msr"))?;
    let (mut known, mut taken) = (0, 0);
    for register in REGISTERS.into_iter().flatten() {
        let mut value = [0; 8];
        known += u32::from(registers.read_at(&mut value, u64::from(register)).is_ok());
        if NEEDED.contains(&register) || APIC.contains(&register) {
            continue;
        }
        for senseless in SENSELESS {
            let written = registers.write_at(&senseless.to_le_bytes(), u64::from(register));
            taken += u32::from(written.is_ok());
        }
    }
    println!("swept registers={known} taken={taken}");
    Ok(())
}

fn is_its_own(port: u16) -> bool {
    ITS_OWN.iter().any(|range| range.contains(&port))
}

/// In each width. What is read is of no interest.
fn read(port: u16) {
    let (mut byte, mut word, mut long): (u8, u16, u32);
    // SAFETY: `iopl` allowed the instructions, and they change nothing but these registers.
    unsafe {
        asm!("in al, dx", in("dx") port, out("al") byte, options(nomem, nostack));
        asm!("in ax, dx", in("dx") port, out("ax") word, options(nomem, nostack));
        asm!("in eax, dx", in("dx") port, out("eax") long, options(nomem, nostack));
    }
    std::hint::black_box((&mut byte, &mut word, &mut long));
}

/// In each width.
fn write(port: u16) {
    let [byte, ..] = VALUE.to_le_bytes();
    let word = u16::from_le_bytes([byte, byte]);
    // SAFETY: `iopl` allowed the instructions, and the machine has no device that writes memory on a port's behalf.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") byte, options(nomem, nostack));
        asm!("out dx, ax", in("dx") port, in("ax") word, options(nomem, nostack));
        asm!("out dx, eax", in("dx") port, in("eax") VALUE, options(nomem, nostack));
    }
}

/// Many values by one instruction, each way.
fn strings(port: u16) {
    let mut values = [0xa5_u8; STRING];
    // SAFETY: `iopl` allowed the instructions, which move as many bytes as the buffer has; the direction flag is clear by the calling convention.
    unsafe {
        asm!("rep outsb", in("dx") port, inout("rcx") STRING => _, inout("rsi") values.as_ptr() => _, options(nostack, readonly));
        asm!("rep insb", in("dx") port, inout("rcx") STRING => _, inout("rdi") values.as_mut_ptr() => _, options(nostack));
    }
    std::hint::black_box(&mut values);
}
