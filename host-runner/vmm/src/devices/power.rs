//! The registers by which the guest turns itself off, or resets itself (ACPI 6.5, 4.8.3.6 and 4.8.3.7).

use std::sync::mpsc::SyncSender;

use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};

use crate::acpi::{RESET, RESET_VALUE, SLEEP_CONTROL, SLEEP_STATUS, SLEEP_TYPE_OFF};
use crate::driver::Event;

/// The first of the registers' ports.
pub const BASE: u16 = SLEEP_CONTROL;
/// How many ports they take.
pub const LENGTH: u16 = RESET - SLEEP_CONTROL + 1;

/// Sleep enable, in the sleep control register.
const ENABLE: u8 = 1 << 5;
/// Where the sleep type lies in it.
const TYPE_SHIFT: u8 = 2;

/// The registers.
pub struct PowerRegisters {
    events: SyncSender<Event>,
}

impl PowerRegisters {
    /// Registers that tell the driver.
    pub fn new(events: SyncSender<Event>) -> Self {
        Self { events }
    }
}

impl DevicePio for PowerRegisters {
    fn pio_read(&self, _base: PioAddress, _offset: PioAddressOffset, data: &mut [u8]) {
        data.fill(0);
    }

    fn pio_write(&self, base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        let [value] = *data else { return };
        let port = u64::from(base.0) + u64::from(offset);
        let event = if port == u64::from(SLEEP_CONTROL) && value == ENABLE | SLEEP_TYPE_OFF << TYPE_SHIFT {
            Event::PoweredOff
        } else if port == u64::from(RESET) && value == RESET_VALUE {
            Event::Reset
        } else {
            debug_assert!(port <= u64::from(RESET) && port >= u64::from(SLEEP_CONTROL.min(SLEEP_STATUS)));
            return;
        };
        // A full queue already holds an end; a second one changes nothing.
        let _told = self.events.try_send(event);
    }
}
