//! The serial port's entry for fuzzing.

use std::sync::Arc;

use vm_device::DevicePio as _;
use vm_device::bus::PioAddress;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{PORT, Serial, SerialState};
use crate::devices::hub::Hub;

const BASE: PioAddress = PioAddress(PORT);

/// Lets a guest, and somebody who types, do what the bytes say: three a step.
///
/// # Panics
///
/// Where the port does not take what it saves: that is what this looks for.
pub fn fuzz(data: &[u8]) {
    let (Ok(hub), Ok(line)) = (Hub::quiet(), EventFd::new(EFD_NONBLOCK)) else {
        return;
    };
    let serial = Serial::new(line, Arc::new(hub));
    let (steps, rest) = data.as_chunks::<3>();
    for [what, register, value] in steps {
        let offset = u16::from(register % 9);
        match what % 8 {
            0..=3 => serial.pio_write(BASE, offset, &[*value]),
            4 | 5 => serial.pio_read(BASE, offset, &mut [0]),
            6 => serial.hub().type_in(&[*register; 100]),
            _ => {
                let mut wide = [*value; 4];
                serial.pio_read(BASE, offset, &mut wide);
                serial.pio_write(BASE, offset, &wide);
            }
        }
    }
    let state = serial.save();
    // What it saves it takes.
    assert!(serial.restore(&state).is_ok());
    for bytes in [data, rest] {
        if let Ok(state) = postcard::from_bytes::<SerialState>(bytes) {
            let _refused = serial.restore(&state);
            serial.pio_write(BASE, 0, b"x");
            serial.pio_read(BASE, 0, &mut [0]);
        }
    }
}
