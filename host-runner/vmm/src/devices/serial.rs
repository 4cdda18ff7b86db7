//! The serial port, a 16550.
//!
//! Threat: each access comes from the guest. An output byte costs it an exit, and us a lock and a byte in the hub's ring; nothing waits.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::{Arc, Mutex};

use event_manager::{EventOps, EventSubscriber, Events};
use serde::{Deserialize, Serialize};
use vm_device::DevicePio;
use vm_device::bus::{PioAddress, PioAddressOffset};
use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, SerialState as Registers};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

use super::event_loop::lock;
use super::hub::{Hub, HubWriter};
use crate::log::say;

/// Its first port: that of COM1.
pub const PORT: u16 = 0x3f8;
/// How many ports it has.
pub const PORTS: u16 = 8;
/// Its interrupt line.
pub const LINE: u32 = 4;

/// The data register.
const DATA: u8 = 0;
/// The modem control register.
const MODEM_CONTROL: u8 = 4;
const MODEM_CONTROL_LOOP: u8 = 0x10;
/// How many bytes the FIFO holds.
const FIFO_BYTES: usize = 64;

/// Why the saved state of the serial port cannot be taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the saved state of the serial port has {0} bytes in its FIFO, which holds {FIFO_BYTES}")]
pub struct SerialStateError(usize);

/// What of the serial port is saved: its registers, as the 16550 has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SerialState {
    baud_divisor_low: u8,
    baud_divisor_high: u8,
    interrupt_enable: u8,
    interrupt_identification: u8,
    line_control: u8,
    line_status: u8,
    modem_control: u8,
    modem_status: u8,
    scratch: u8,
    received: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Line(Arc<EventFd>);

impl Trigger for Line {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

type Port = vm_superio::Serial<Line, NoEvents, HubWriter>;

/// The serial port. It answers register accesses, and on the device thread serves those who look at it.
pub struct Serial {
    port: Mutex<Port>,
    line: Line,
    hub: Arc<Hub>,
}

impl Serial {
    /// A serial port whose interrupt rises when `line`, an eventfd that KVM knows, is written.
    pub fn new(line: EventFd, hub: Arc<Hub>) -> Self {
        let line = Line(Arc::new(line));
        let port = vm_superio::Serial::new(line.clone(), HubWriter(Arc::clone(&hub)));
        Self {
            port: Mutex::new(port),
            line,
            hub,
        }
    }

    /// Its output and input.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Its state. Only while no vCPU runs.
    pub fn save(&self) -> SerialState {
        let Registers {
            baud_divisor_low,
            baud_divisor_high,
            interrupt_enable,
            interrupt_identification,
            line_control,
            line_status,
            modem_control,
            modem_status,
            scratch,
            in_buffer,
        } = lock(&self.port).state();
        SerialState {
            baud_divisor_low,
            baud_divisor_high,
            interrupt_enable,
            interrupt_identification,
            line_control,
            line_status,
            modem_control,
            modem_status,
            scratch,
            received: in_buffer,
        }
    }

    /// Takes a saved state, which is as hostile as any file. Raises the line for an interrupt that waited.
    pub fn restore(&self, state: &SerialState) -> Result<(), SerialStateError> {
        let registers = Registers {
            baud_divisor_low: state.baud_divisor_low,
            baud_divisor_high: state.baud_divisor_high,
            interrupt_enable: state.interrupt_enable,
            interrupt_identification: state.interrupt_identification,
            line_control: state.line_control,
            line_status: state.line_status,
            modem_control: state.modem_control,
            modem_status: state.modem_status,
            scratch: state.scratch,
            in_buffer: state.received.clone(),
        };
        let writer = HubWriter(Arc::clone(&self.hub));
        let restored = Port::from_state(&registers, self.line.clone(), NoEvents, writer)
            .map_err(|_| SerialStateError(state.received.len()))?;
        *lock(&self.port) = restored;
        Ok(())
    }

    /// Moves what was typed into the FIFO, as far as that has room.
    fn feed(&self, port: &mut Port) {
        // In loop mode the port hears only itself: what is typed waits.
        let looped = port.read(MODEM_CONTROL) & MODEM_CONTROL_LOOP != 0;
        if looped || !self.hub.has_typed() {
            return;
        }
        let mut buffer = [0; FIFO_BYTES];
        let room = port.fifo_capacity().min(buffer.len());
        let (place, _) = buffer.split_at_mut(room);
        let count = self.hub.take(place);
        let (typed, _) = place.split_at(count);
        // Cannot fail for want of room; where the line could not be raised, it is up already.
        let _raised = port.enqueue_raw_bytes(typed);
    }

    fn read(&self, register: u8) -> u8 {
        let mut port = lock(&self.port);
        let value = port.read(register);
        // A whole FIFO at a time: each time costs the guest an interrupt.
        if register == DATA && port.fifo_capacity() == FIFO_BYTES {
            self.feed(&mut port);
        }
        value
    }

    fn write(&self, register: u8, value: u8) {
        let mut port = lock(&self.port);
        // The hub takes every byte; where the line could not be raised, it is up already.
        let _raised = port.write(register, value);
        if register == MODEM_CONTROL {
            self.feed(&mut port);
        }
    }
}

impl DevicePio for Serial {
    fn pio_read(&self, _base: PioAddress, offset: PioAddressOffset, data: &mut [u8]) {
        match (u8::try_from(offset), data) {
            (Ok(register), [value]) => *value = self.read(register),
            // The registers are bytes; wider reads find an empty bus.
            (_, data) => data.fill(0xff),
        }
    }

    fn pio_write(&self, _base: PioAddress, offset: PioAddressOffset, data: &[u8]) {
        if let (Ok(register), [value]) = (u8::try_from(offset), data) {
            self.write(register, *value);
        }
    }
}

impl EventSubscriber for Serial {
    fn process(&self, _events: Events, _ops: &mut EventOps) {
        if self.hub.serve() {
            self.feed(&mut lock(&self.port));
        }
    }

    fn init(&self, ops: &mut EventOps) {
        if let Err(err) = ops.add(Events::new_raw(self.hub.as_raw_fd(), EventSet::IN)) {
            say(&format_args!("serial port: cannot wait for its viewers: {err}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    use event_manager::{EventManager, SubscriberOps as _};
    use proptest::prelude::*;
    use vmm_sys_util::eventfd::EFD_NONBLOCK;

    use super::*;

    const BASE: PioAddress = PioAddress(PORT);
    const INTERRUPT_ENABLE: u16 = 1;
    const LINE_STATUS: u16 = 5;
    const DATA_READY: u8 = 1;

    struct Lab {
        _folder: tempfile::TempDir,
        serial: Arc<Serial>,
        line: EventFd,
        viewer: UnixStream,
        loop_: EventManager<Arc<Serial>>,
    }

    fn lab() -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serial");
        let hub = Arc::new(Hub::listening(&path).unwrap());
        let line = EventFd::new(EFD_NONBLOCK).unwrap();
        let serial = Arc::new(Serial::new(line.try_clone().unwrap(), hub));
        let mut loop_ = EventManager::new().unwrap();
        loop_.add_subscriber(Arc::clone(&serial));
        let viewer = UnixStream::connect(path).unwrap();
        Lab {
            _folder: folder,
            serial,
            line,
            viewer,
            loop_,
        }
    }

    impl Lab {
        fn quiet(&mut self) {
            while self.loop_.run_with_timeout(50).unwrap() > 0 {}
        }

        fn read(&self, offset: u16) -> u8 {
            let mut data = [0];
            self.serial.pio_read(BASE, offset, &mut data);
            data[0]
        }

        fn write(&self, offset: u16, value: u8) {
            self.serial.pio_write(BASE, offset, &[value]);
        }
    }

    #[test]
    fn what_the_guest_writes_is_seen() {
        let mut lab = lab();
        for byte in b"login: " {
            lab.write(0, *byte);
        }
        lab.quiet();
        let mut seen = [0; 7];
        io::Read::read_exact(&mut lab.viewer, &mut seen).unwrap();
        assert_eq!(&seen, b"login: ");
    }

    #[test]
    fn what_is_typed_fills_the_fifo_again_and_again_until_all_is_read() {
        let mut lab = lab();
        lab.write(INTERRUPT_ENABLE, 1);
        let typed: Vec<u8> = (0..=250).cycle().take(1000).collect();
        lab.viewer.write_all(&typed).unwrap();
        lab.quiet();
        assert!(lab.line.read().is_ok(), "an interrupt");
        let mut read = Vec::new();
        while lab.read(LINE_STATUS) & DATA_READY != 0 {
            read.push(lab.read(0));
        }
        assert_eq!(read, typed);
    }

    #[test]
    fn in_loop_mode_what_is_typed_waits() {
        let mut lab = lab();
        lab.write(u16::from(MODEM_CONTROL), MODEM_CONTROL_LOOP);
        lab.viewer.write_all(b"x").unwrap();
        lab.quiet();
        assert_eq!(lab.read(LINE_STATUS) & DATA_READY, 0);
        lab.write(u16::from(MODEM_CONTROL), 0);
        assert_eq!(lab.read(0), b'x');
    }

    #[test]
    fn registers_are_bytes() {
        let mut lab = lab();
        let mut wide = [0; 4];
        lab.serial.pio_read(BASE, 0, &mut wide);
        assert_eq!(wide, [0xff; 4]);
        lab.serial.pio_write(BASE, 0, b"wide");
        lab.quiet();
        assert_eq!(lab.serial.hub().stats().written_bytes, 0);
    }

    #[test]
    fn a_saved_port_goes_on_as_it_was() {
        let mut lab = lab();
        lab.write(INTERRUPT_ENABLE, 1);
        lab.write(7, 0x5a);
        lab.viewer.write_all(b"typed").unwrap();
        lab.quiet();
        let saved = postcard::to_stdvec(&lab.serial.save()).unwrap();

        let other = self::lab();
        other
            .serial
            .restore(&postcard::from_bytes(&saved).unwrap())
            .unwrap();
        assert_eq!(other.serial.save(), lab.serial.save());
        assert!(other.line.read().is_ok(), "the interrupt that waited");
        assert_eq!(other.read(7), 0x5a);
        assert_eq!(other.read(0), b't');
    }

    #[test]
    fn a_state_whose_fifo_is_too_long_is_refused() {
        let lab = lab();
        let mut state = lab.serial.save();
        state.received = vec![0; FIFO_BYTES + 1];
        assert_eq!(lab.serial.restore(&state), Err(SerialStateError(FIFO_BYTES + 1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn no_access_does_harm(accesses in prop::collection::vec((any::<bool>(), 0..16u16, any::<u8>()), 0..200)) {
            let mut lab = lab();
            lab.viewer.write_all(&[7; 300]).unwrap();
            lab.serial.hub().serve();
            for (write, register, value) in accesses {
                if write {
                    lab.write(register, value);
                } else {
                    lab.read(register);
                }
            }
            let state = lab.serial.save();
            prop_assert!(state.received.len() <= FIFO_BYTES);
            prop_assert!(lab.serial.restore(&state).is_ok());
        }
    }
}
