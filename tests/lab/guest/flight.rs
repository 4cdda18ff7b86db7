//! Resets while a device works: what it has begun must not reach memory that is the guest's own again, nor leave the device in disorder.

use std::error::Error;
use std::time::{Duration, Instant};

use crate::ring::{BLOCK, DATA_AT, Descriptor, Device, NEXT, WRITE};

/// How often each queue's device is reset while it works.
const RESETS: u32 = 20;
/// The size of a ring here: as many buffers are on their way.
const RING: u32 = 8;
/// How long a buffer is: a frame, a packet, a list of pages that a balloon takes.
const BUFFER_BYTES: u32 = 2048;
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// Has each queue work, and resets the device in the midst of it. Returns how often.
pub fn resets(device: &Device, queues: u32) -> u32 {
    for queue in 0..queues {
        for _ in 0..RESETS {
            device.begin(queue, device.good_shape(RING));
            if device.kind() == BLOCK {
                describe_read(device, 1 << 20);
                device.offer(queue, &[0; RING as usize], 8);
            } else {
                buffers_of_both_kinds(device, queue);
            }
            device.reset();
        }
    }
    queues * RESETS
}

/// Buffers that the device reads and buffers that it writes, by turns: whichever the queue is for, it finds some.
fn buffers_of_both_kinds(device: &Device, queue: u32) {
    let first = device.memory.address + DATA_AT as u64;
    // To a balloon, they are the numbers of pages: of these themselves, which nobody needs.
    let page = u32::try_from(first >> 12).unwrap_or(0);
    for word in 0..RING * BUFFER_BYTES / 4 {
        device
            .memory
            .write32(DATA_AT + word as usize * 4, page + word % 4);
    }
    for index in 0..RING {
        let buffer = Descriptor {
            address: first + u64::from(index * BUFFER_BYTES),
            length: BUFFER_BYTES,
            flags: if index % 2 == 0 { 0 } else { WRITE },
            next: 0,
        };
        device.describe(index as usize, buffer);
    }
    device.offer(queue, &[0, 1, 2, 3, 4, 5, 6, 7], 8);
}

/// The head and the status of a request to a disk (5.2.6): the first sector is read.
fn describe_read(device: &Device, length: u32) {
    device.memory.write32(DATA_AT, 0);
    device.memory.write32(DATA_AT + 4, 0);
    device.memory.write64(DATA_AT + 8, 0);
    device.memory.write8(DATA_AT + 16, 0xff);
    let base = device.memory.address + DATA_AT as u64;
    let part = |address, length, flags, next| Descriptor {
        address,
        length,
        flags,
        next,
    };
    device.describe(0, part(base, 16, NEXT, 1));
    device.describe(1, part(base + 0x1000, length, NEXT | WRITE, 2));
    device.describe(2, part(base + 16, 1, WRITE, 0));
}

/// A read that nothing is wrong with.
pub fn read_sector(device: &Device) -> Result<(), Box<dyn Error>> {
    device.begin(0, device.good_shape(RING));
    describe_read(device, 512);
    device.offer(0, &[0], 1);
    let begun = Instant::now();
    while device.used() == 0 {
        if begun.elapsed() > ANSWER_DEADLINE {
            return Err("the disk does not answer any more".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = device.memory.read32(DATA_AT + 16) & 0xff;
    if status == 0 {
        Ok(())
    } else {
        Err(format!("the disk says {status}").into())
    }
}
