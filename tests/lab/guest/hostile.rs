//! A guest that tries: rings and registers as no driver sets them up. Whatever the device makes of it, this program goes on.

use std::error::Error;

use crate::flight;
use crate::registers::Physical;
use crate::ring::{BLOCK, DATA_AT, Descriptor, Device, INDIRECT_TABLE, NEXT, Shape, WRITE};

const WINDOW: usize = 0x1000;
/// How much memory the kernel leaves alone.
const MEMORY: usize = 4 << 20;
/// How often each attack is made on each queue.
const TIMES: u32 = 3;
/// How many registers are written without any sense.
const SENSELESS: u32 = 1_000;

/// Where no memory is: in the gap, just below the end of the address space, and so that an addition would overflow.
const NOWHERE: [u64; 4] = [0xd000_0000, 0xffff_ffff_ffff_f000, u64::MAX - 7, 1 << 52];

type Attack = (&'static str, fn(&Device, u32));

const ATTACKS: [Attack; 9] = [
    ("loop", descriptor_loop),
    ("indirect", indirect_loop),
    ("beyond", beyond_memory),
    ("size", sizes),
    ("ahead", far_ahead),
    ("heads", heads_beyond),
    ("rings", rings_nowhere),
    ("chains", overlapping_chains),
    ("pairs", numbers_of_pairs),
];

/// Makes each attack on each queue of each device, then says what has become of the devices.
pub fn attack(first: u64, count: u64, memory: u64) -> Result<(), Box<dyn Error>> {
    let memory = Physical::map(memory, MEMORY)?;
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    for index in 0..count {
        let registers = Physical::map(first + index * WINDOW as u64, WINDOW)?;
        let device = Device::new(registers, &memory).ok_or("there is no such device")?;
        let queues = device.queues();
        for (_, attack) in ATTACKS {
            for queue in 0..queues {
                for _ in 0..TIMES {
                    attack(&device, queue);
                }
            }
        }
        senseless(&device, &mut seed);
        device.reset();
        let kind = device.kind();
        println!("attacked kind={kind} queues={queues}");
        let resets = flight::resets(&device, queues);
        println!("resets kind={kind} times={resets}");
        if kind == BLOCK {
            flight::read_sector(&device)?;
            println!("works kind={kind}");
        }
        device.reset();
    }
    println!("survived attacks={}", ATTACKS.len());
    Ok(())
}

fn data(device: &Device, length: u32, flags: u16, next: u16) -> Descriptor {
    Descriptor {
        address: device.memory.address + DATA_AT as u64,
        length,
        flags,
        next,
    }
}

/// Two descriptors that follow each other for ever.
fn descriptor_loop(device: &Device, queue: u32) {
    device.begin(queue, device.good_shape(8));
    device.describe(0, data(device, 512, NEXT, 1));
    device.describe(1, data(device, 512, NEXT | WRITE, 0));
    device.offer(queue, &[0], 1);
}

/// An indirect table that is in itself, one of a length that is no multiple, and one as long as memory.
fn indirect_loop(device: &Device, queue: u32) {
    device.begin(queue, device.good_shape(8));
    let table = |length| Descriptor {
        flags: INDIRECT_TABLE,
        ..data(device, length, 0, 0)
    };
    for (index, length) in [(0, 32), (1, 17), (2, u32::MAX - 15)] {
        device.describe(index, table(length));
    }
    device.describe_at(DATA_AT, 0, table(32));
    device.describe_at(DATA_AT, 1, data(device, 512, NEXT, 1));
    device.offer(queue, &[0, 1, 2], 3);
}

/// Buffers where no memory is, and one that begins in memory and ends far beyond.
fn beyond_memory(device: &Device, queue: u32) {
    device.begin(queue, device.good_shape(8));
    for (index, address) in NOWHERE.into_iter().enumerate() {
        device.describe(
            index,
            Descriptor {
                address,
                ..data(device, u32::MAX, WRITE, 0)
            },
        );
    }
    device.describe(4, data(device, u32::MAX, 0, 0));
    device.offer(queue, &[0, 1, 2, 3, 4], 5);
}

/// Queues of no size, of sizes that are no powers of two, and larger than the device has.
fn sizes(device: &Device, queue: u32) {
    for size in [0, 3, 65535, 65536, u32::MAX] {
        device.begin(queue, device.good_shape(size));
        device.describe(0, data(device, 512, WRITE, 0));
        device.offer(queue, &[0], 1);
    }
}

/// More chains than the ring holds.
fn far_ahead(device: &Device, queue: u32) {
    device.begin(queue, device.good_shape(8));
    device.describe(0, data(device, 512, WRITE, 0));
    device.offer(queue, &[0; 8], 60_000);
}

/// Chains whose first descriptor, or next one, is outside of the table.
fn heads_beyond(device: &Device, queue: u32) {
    device.begin(queue, device.good_shape(8));
    device.describe(0, data(device, 512, NEXT, 8));
    device.describe(1, data(device, 512, NEXT, 65535));
    device.offer(queue, &[0, 1, 8, 65535], 4);
}

/// Rings where no memory is, and at addresses that are not aligned.
fn rings_nowhere(device: &Device, queue: u32) {
    let good = device.good_shape(8);
    for nowhere in NOWHERE {
        let shapes = [
            Shape {
                descriptors: nowhere,
                ..good
            },
            Shape {
                available: nowhere,
                ..good
            },
            Shape {
                used: nowhere,
                ..good
            },
            Shape {
                descriptors: good.descriptors + 1,
                available: good.available + 1,
                used: good.used + 1,
                ..good
            },
        ];
        for shape in shapes {
            device.begin(queue, shape);
            device.offer(queue, &[0], 1);
        }
    }
}

/// One head many times, with buffers of no length, in the wrong order, and over the rings themselves.
fn overlapping_chains(device: &Device, queue: u32) {
    device.begin(queue, device.good_shape(8));
    device.describe(0, data(device, 0, NEXT | WRITE, 1));
    device.describe(1, data(device, 16, NEXT, 2));
    let over_the_rings = Descriptor {
        address: device.memory.address,
        ..data(device, 0x8000, WRITE, 0)
    };
    device.describe(2, over_the_rings);
    device.offer(queue, &[0, 0, 0, 2, 2, 1, 1, 0], 8);
}

/// What a network interface's control queue takes for a number of queue pairs: none, those whose queues are not set up, and far too many.
/// The reset comes at once.
fn numbers_of_pairs(device: &Device, queue: u32) {
    for pairs in [0, 1, 2, 3, 0x8000, 0xffff] {
        device.begin(queue, device.good_shape(8));
        // Class 4 and command 0, before the number.
        device.memory.write32(DATA_AT, 4 | pairs << 16);
        device.describe(0, data(device, 4, NEXT, 1));
        device.describe(1, data(device, 1, WRITE, 0));
        device.offer(queue, &[0], 1);
    }
}

/// Registers in any order, with any value, in any width.
fn senseless(device: &Device, seed: &mut u64) {
    for _ in 0..SENSELESS {
        // Xorshift: the same values in every run.
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        let [low, high, which, width, ..] = seed.to_le_bytes();
        let offset = usize::from(low) << 2 & 0x1fc;
        let value = u32::from_le_bytes([high, low, which, width]) >> (which % 33).min(31);
        match width % 4 {
            0 => device.registers.write8(offset, high),
            1 => device.registers.write16(offset, u16::from(high)),
            2 => drop(device.registers.read32(offset)),
            _ => device.registers.write32(offset, value),
        }
    }
}
