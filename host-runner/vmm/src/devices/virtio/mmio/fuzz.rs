//! The register interface's entry for fuzzing, with a device behind it.

use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_mmio as register;
use vm_device::DeviceMmio as _;
use vm_device::bus::MmioAddress;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{Transport, TransportState};
use crate::config::BalloonConfig;
use crate::devices::event_loop::{Shared, lock};
use crate::devices::hub::Hub;
use crate::devices::virtio::balloon::Balloon;
use crate::devices::virtio::console::Console;
use crate::devices::virtio::entropy::Entropy;
use crate::devices::virtio::testing::{Driver, Script, play_chain};

const BASE: MmioAddress = MmioAddress(0xd000_0000);
/// The size of each queue of the driver.
const SIZE: u16 = 64;
/// How many queues the devices have: those of [`transport`].
const QUEUES: [usize; 3] = [1, 2, 4];
/// The steps to a driver that is ready.
const STATUS: [u32; 4] = [1, 3, 11, 15];

/// Lets a guest do with a device's registers, and with its queues, what the bytes say; saves it, and puts it before another one.
pub fn fuzz(data: &[u8]) {
    let mut script = Script::new(data);
    let kind = script.byte();
    let mut driver = Driver::new(&vec![SIZE; QUEUES[usize::from(kind % 3)]]);
    let Some(transport) = transport(kind, &driver) else {
        return;
    };
    while !script.is_over() {
        step(&mut script, &mut driver, &transport);
    }
    transport.pause();
    if let Ok(state) = transport.save() {
        let bytes = postcard::to_stdvec(&state).unwrap_or_default();
        move_on(kind, &driver, &bytes);
        move_on(kind, &driver, &mixed(&bytes, data));
    }
    move_on(kind, &driver, data);
}

fn step(script: &mut Script<'_>, driver: &mut Driver, transport: &Transport) {
    match script.byte() % 8 {
        0 => {
            let (offset, value) = (script.number(2) % 0x1000, script.number(4));
            let width = usize::from(script.byte() % 9);
            let bytes = value.to_le_bytes();
            transport.mmio_write(BASE, offset, bytes.get(..width).unwrap_or_default());
        }
        1 => {
            let width = usize::from(script.byte() % 17);
            let mut bytes = [0; 16];
            transport.mmio_read(
                BASE,
                script.number(2) % 0x1000,
                bytes.get_mut(..width).unwrap_or_default(),
            );
        }
        2 => set_up(script, transport),
        3 | 4 => play_chain(script, driver),
        5 => {
            let queue = usize::from(script.byte() % 8);
            lock(&**transport.device()).queue_ready(queue);
        }
        6 => {
            transport.pause();
            let _state = transport.save();
            transport.resume();
        }
        _ => transport.configuration_changed(),
    }
}

/// What a driver does, as far as the bytes let it.
fn set_up(script: &mut Script<'_>, transport: &Transport) {
    let write = |offset: u32, value: u32| {
        transport.mmio_write(BASE, offset.into(), &value.to_le_bytes());
    };
    let mistakes = script.byte();
    write(register::VIRTIO_MMIO_STATUS, 0);
    write(register::VIRTIO_MMIO_STATUS, STATUS[0]);
    write(register::VIRTIO_MMIO_STATUS, STATUS[1]);
    for half in [0, 1] {
        write(register::VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
        let features = if mistakes & 1 == 0 {
            u64::MAX
        } else {
            script.number(4)
        };
        write(
            register::VIRTIO_MMIO_DRIVER_FEATURES,
            u32::try_from(features & 0xffff_ffff).unwrap_or(0),
        );
    }
    write(register::VIRTIO_MMIO_STATUS, STATUS[2]);
    for queue in 0..transport.queue_events().len() {
        write(register::VIRTIO_MMIO_QUEUE_SEL, u32::try_from(queue).unwrap_or(0));
        let size = if mistakes & 2 == 0 {
            SIZE.into()
        } else {
            script.number(2)
        };
        write(register::VIRTIO_MMIO_QUEUE_NUM, u32::try_from(size).unwrap_or(0));
        let registers = [
            (
                register::VIRTIO_MMIO_QUEUE_DESC_LOW,
                register::VIRTIO_MMIO_QUEUE_DESC_HIGH,
            ),
            (
                register::VIRTIO_MMIO_QUEUE_AVAIL_LOW,
                register::VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
            ),
            (
                register::VIRTIO_MMIO_QUEUE_USED_LOW,
                register::VIRTIO_MMIO_QUEUE_USED_HIGH,
            ),
        ];
        for ((low, high), address) in registers.into_iter().zip(Driver::rings(queue)) {
            let address = if mistakes & 4 == 0 {
                address
            } else {
                script.number(5)
            };
            write(low, u32::try_from(address & 0xffff_ffff).unwrap_or(0));
            write(high, u32::try_from(address >> 32).unwrap_or(0));
        }
        let ready = mistakes & 8 == 0 || script.byte().is_multiple_of(2);
        write(register::VIRTIO_MMIO_QUEUE_READY, ready.into());
    }
    write(register::VIRTIO_MMIO_STATUS, STATUS[3]);
}

/// Puts a saved state before a new device, which may refuse it.
fn move_on(kind: u8, driver: &Driver, bytes: &[u8]) {
    let Ok(state) = postcard::from_bytes::<TransportState>(bytes) else {
        return;
    };
    let Some(transport) = transport(kind, driver) else {
        return;
    };
    if transport.restore(&state).is_ok() {
        transport.resume();
        lock(&**transport.device()).queue_ready(0);
        transport.mmio_write(BASE, register::VIRTIO_MMIO_STATUS.into(), &[0; 4]);
    }
}

/// A saved state with bytes changed, as others say: which, and to what.
fn mixed(state: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut mixed = state.to_vec();
    for [at, value] in changes.as_chunks::<2>().0.iter().rev().take(4) {
        let length = mixed.len().max(1);
        if let Some(byte) = mixed.get_mut(usize::from(*at) % length) {
            *byte = *value;
        }
    }
    mixed
}

fn transport(kind: u8, driver: &Driver) -> Option<Transport> {
    let device: Shared = match kind % 3 {
        0 => Arc::new(Mutex::new(Entropy::new().ok()?)),
        1 => {
            let hub = Arc::new(Hub::quiet().ok()?);
            hub.type_in(b"typed");
            Arc::new(Mutex::new(Console::new(hub)))
        }
        _ => Arc::new(Mutex::new(Balloon::new(&BalloonConfig::default(), 32).ok()?)),
    };
    let line = EventFd::new(EFD_NONBLOCK).ok()?;
    Transport::new(device, driver.memory().clone(), line).ok()
}
