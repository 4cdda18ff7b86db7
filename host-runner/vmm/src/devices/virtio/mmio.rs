//! The register interface of a virtio device: virtio over MMIO (4.2), version 2.
//!
//! ```text
//! status:  0 --ACKNOWLEDGE--> 1 --DRIVER--> 3 --FEATURES_OK--> 11 --DRIVER_OK--> 15
//!          ^                                                                    |
//!          +------------------------------- 0 (reset) -------------------------+
//! ```
//!
//! Threat: every access comes from the guest, at any moment, in any order, with any value, from several vCPUs at once. What is not
//! allowed in the present state does nothing; no access waits for anything but a device that lets go of what it has in flight.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_config::VIRTIO_CONFIG_S_NEEDS_RESET;
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_FAILED,
};
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_mmio as register;
use virtio_queue::{Queue, QueueT};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{Activation, DeviceStateError, Interrupt};
use crate::devices::event_loop::{Shared, Watched, lock};
use crate::memory::GuestMemory;

/// How many bytes of address space a device takes.
pub const WINDOW: u32 = 0x1000;
/// Where the guest writes the number of a queue that has work, from the start of the window.
pub const NOTIFY: u64 = register::VIRTIO_MMIO_QUEUE_NOTIFY as u64;
/// "virt" in little-endian.
const MAGIC: u32 = 0x7472_6976;
/// "mill": who made the device; informative.
const VENDOR: u32 = 0x6c6c_696d;

/// What the driver has set up so far.
struct Setup {
    status: u32,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
    queues: Vec<Queue>,
}

/// What of the transport is saved.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TransportState {
    status: u32,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
    interrupt_status: u32,
    config_generation: u32,
    queues: Vec<QueueState>,
    device: Vec<u8>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct QueueState {
    size: u16,
    ready: bool,
    event_index: bool,
    descriptors: u64,
    available: u64,
    used: u64,
    next_available: u16,
    next_used: u16,
}

/// A device with its registers.
pub struct Transport {
    device: Shared,
    kind: u32,
    offered: u64,
    memory: GuestMemory,
    interrupt: Arc<Interrupt>,
    queue_events: Vec<Arc<EventFd>>,
    setup: Mutex<Setup>,
    /// Tells the device thread that the device serves its queues in another way now, perhaps.
    renewed: Arc<EventFd>,
    /// Rises with each change of the configuration space (4.2.2.1).
    generation: std::sync::atomic::AtomicU32,
}

impl Transport {
    /// Gives a device its registers. `line` raises its interrupt.
    pub fn new(device: Shared, memory: GuestMemory, line: EventFd) -> io::Result<Self> {
        let (kind, offered, sizes) = {
            let device = lock(&*device);
            (device.kind() as u32, device.features(), device.queue_sizes())
        };
        let queues = sizes
            .iter()
            .map(|size| Queue::new(*size).map_err(io::Error::other))
            .collect::<Result<_, _>>()?;
        let queue_events = sizes
            .iter()
            .map(|_| EventFd::new(EFD_NONBLOCK).map(Arc::new))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            device,
            kind,
            offered: offered | 1 << VIRTIO_F_VERSION_1,
            memory,
            interrupt: Arc::new(Interrupt::new(line)),
            queue_events,
            renewed: Arc::new(EventFd::new(EFD_NONBLOCK)?),
            setup: Mutex::new(Setup {
                status: 0,
                device_features_select: 0,
                driver_features_select: 0,
                driver_features: 0,
                queue_select: 0,
                queues,
            }),
            generation: std::sync::atomic::AtomicU32::new(0),
        })
    }

    /// The device.
    pub fn device(&self) -> &Shared {
        &self.device
    }

    /// Its interrupt.
    pub fn interrupt(&self) -> &Arc<Interrupt> {
        &self.interrupt
    }

    /// What the guest kicks, one for each queue.
    pub fn queue_events(&self) -> &[Arc<EventFd>] {
        &self.queue_events
    }

    /// The device, for the device thread.
    pub fn watched(&self) -> Watched {
        Watched::new(
            Arc::clone(&self.device),
            self.queue_events.clone(),
            Arc::clone(&self.renewed),
        )
    }

    /// Tells the driver, if there is one, to read the configuration space again.
    pub fn configuration_changed(&self) {
        self.generation.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        if lock(&self.setup).status & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            self.interrupt.configuration_changed();
        }
    }

    /// Stops the device, with nothing in flight.
    pub fn pause(&self) {
        if self.is_active() {
            lock(&*self.device).pause();
        }
    }

    /// Lets the device go on.
    pub fn resume(&self) {
        if self.is_active() {
            lock(&*self.device).resume();
            self.renew();
            self.interrupt.repeat();
        }
    }

    fn renew(&self) {
        // A full counter has been heard of.
        let _full = self.renewed.write(1);
    }

    fn is_active(&self) -> bool {
        lock(&self.setup).works()
    }

    /// The state of the transport and its device, which must be paused.
    pub fn save(&self) -> Result<TransportState, DeviceStateError> {
        let setup = lock(&self.setup);
        let device = lock(&*self.device);
        let active = setup.status & VIRTIO_CONFIG_S_DRIVER_OK != 0;
        Ok(TransportState {
            status: setup.status,
            device_features_select: setup.device_features_select,
            driver_features_select: setup.driver_features_select,
            driver_features: setup.driver_features,
            queue_select: setup.queue_select,
            interrupt_status: self.interrupt.status(),
            config_generation: self.generation.load(std::sync::atomic::Ordering::Acquire),
            // An active device owns its queues, and has moved on in them.
            queues: match device.queues() {
                Some(queues) if active => queues.into_iter().map(saved).collect(),
                _ => setup.queues.iter().map(saved).collect(),
            },
            device: device.save()?,
        })
    }

    /// Takes a saved state; the device is then as it was, and paused. Only once, before the guest runs.
    pub fn restore(&self, state: &TransportState) -> Result<(), DeviceStateError> {
        let name = lock(&*self.device).name();
        let refuse = |reason: &str| DeviceStateError {
            device: name.clone(),
            reason: reason.to_owned(),
        };
        // First, since a device can say best what is not to its liking.
        lock(&*self.device).restore(&state.device)?;
        let mut setup = lock(&self.setup);
        // One that has more here than where it was saved: its driver knows nothing of them, and has set up none.
        if state.queues.len() > setup.queues.len() {
            return Err(refuse("has more queues than there are here"));
        }
        if state.driver_features & !self.offered != 0 {
            return Err(refuse("uses features that this device does not have"));
        }
        for (queue, saved) in setup.queues.iter_mut().zip(&state.queues) {
            restore_queue(queue, saved).map_err(|_| refuse("has a queue that makes no sense"))?;
        }
        setup.status = state.status;
        setup.device_features_select = state.device_features_select;
        setup.driver_features_select = state.driver_features_select;
        setup.driver_features = state.driver_features;
        setup.queue_select = state.queue_select;
        self.interrupt.set(state.interrupt_status);
        self.generation
            .store(state.config_generation, std::sync::atomic::Ordering::Release);
        if setup.works() {
            if !self.activate(&mut setup) {
                return Err(refuse("cannot be put to work"));
            }
            lock(&*self.device).pause();
        }
        Ok(())
    }

    fn read_register(&self, offset: u32) -> u32 {
        let setup = lock(&self.setup);
        match offset {
            register::VIRTIO_MMIO_MAGIC_VALUE => MAGIC,
            register::VIRTIO_MMIO_VERSION => 2,
            register::VIRTIO_MMIO_DEVICE_ID => self.kind,
            register::VIRTIO_MMIO_VENDOR_ID => VENDOR,
            register::VIRTIO_MMIO_DEVICE_FEATURES => half(self.offered, setup.device_features_select),
            register::VIRTIO_MMIO_QUEUE_NUM_MAX => {
                setup.selected().map_or(0, |queue| queue.max_size().into())
            }
            register::VIRTIO_MMIO_QUEUE_READY => setup.selected().is_some_and(QueueT::ready).into(),
            register::VIRTIO_MMIO_STATUS => setup.status,
            register::VIRTIO_MMIO_CONFIG_GENERATION => {
                self.generation.load(std::sync::atomic::Ordering::Acquire)
            }
            // No shared memory regions: a length of all ones (4.2.2).
            register::VIRTIO_MMIO_SHM_LEN_LOW
            | register::VIRTIO_MMIO_SHM_LEN_HIGH
            | register::VIRTIO_MMIO_SHM_BASE_LOW
            | register::VIRTIO_MMIO_SHM_BASE_HIGH => u32::MAX,
            _ => 0,
        }
    }

    fn write_register(&self, offset: u32, value: u32) {
        let mut setup = lock(&self.setup);
        match offset {
            register::VIRTIO_MMIO_DEVICE_FEATURES_SEL => setup.device_features_select = value,
            register::VIRTIO_MMIO_DRIVER_FEATURES_SEL => setup.driver_features_select = value,
            register::VIRTIO_MMIO_QUEUE_SEL => setup.queue_select = value,
            register::VIRTIO_MMIO_DRIVER_FEATURES => setup.accept(value, self.offered),
            register::VIRTIO_MMIO_STATUS => self.write_status(&mut setup, value),
            _ => setup.write_queue(offset, value),
        }
    }

    fn write_status(&self, setup: &mut Setup, value: u32) {
        if value == 0 {
            self.reset(setup);
            return;
        }
        let steps = VIRTIO_CONFIG_S_ACKNOWLEDGE
            | VIRTIO_CONFIG_S_DRIVER
            | VIRTIO_CONFIG_S_FEATURES_OK
            | VIRTIO_CONFIG_S_DRIVER_OK
            | VIRTIO_CONFIG_S_FAILED;
        let added = value & steps & !setup.status;
        // The driver never takes back a step but by a reset (2.1.1).
        setup.status |= added & !(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
        if added & VIRTIO_CONFIG_S_FEATURES_OK != 0 && setup.driver_features & 1 << VIRTIO_F_VERSION_1 != 0 {
            setup.status |= VIRTIO_CONFIG_S_FEATURES_OK;
        }
        if added & VIRTIO_CONFIG_S_DRIVER_OK != 0 && setup.status & VIRTIO_CONFIG_S_FEATURES_OK != 0 {
            setup.status |= VIRTIO_CONFIG_S_DRIVER_OK;
            if !self.activate(setup) {
                setup.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
                self.interrupt.configuration_changed();
            }
        }
    }

    fn reset(&self, setup: &mut Setup) {
        if setup.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            lock(&*self.device).reset();
            self.renew();
        }
        setup.status = 0;
        setup.driver_features = 0;
        setup.device_features_select = 0;
        setup.driver_features_select = 0;
        setup.queue_select = 0;
        for queue in &mut setup.queues {
            queue.reset();
        }
        self.interrupt.set(0);
        self.interrupt.always_used(false);
    }

    /// Whether the device took its queues.
    fn activate(&self, setup: &mut Setup) -> bool {
        let ready_and_wrong = |queue: &Queue| queue.ready() && !queue.is_valid(&self.memory);
        if setup.queues.iter().any(ready_and_wrong) {
            return false;
        }
        let mut queues = Vec::new();
        for queue in &setup.queues {
            match copy(queue) {
                Ok(queue) => queues.push(queue),
                Err(_) => return false,
            }
        }
        let activation = Activation {
            memory: self.memory.clone(),
            queues,
            queue_events: self.queue_events.clone(),
            interrupt: Arc::clone(&self.interrupt),
            features: setup.driver_features,
        };
        let activated = lock(&*self.device).activate(activation);
        self.renew();
        match activated {
            Ok(()) => true,
            Err(error) => {
                crate::devices::once(&error.device, &error);
                false
            }
        }
    }
}

impl Setup {
    /// Whether the device has its queues: one that did not take them waits for a reset.
    fn works(&self) -> bool {
        self.status & VIRTIO_CONFIG_S_DRIVER_OK != 0 && self.status & VIRTIO_CONFIG_S_NEEDS_RESET == 0
    }

    fn selected(&self) -> Option<&Queue> {
        self.queues.get(self.queue_select as usize)
    }

    fn accept(&mut self, value: u32, offered: u64) {
        let negotiating =
            self.status & VIRTIO_CONFIG_S_DRIVER != 0 && self.status & VIRTIO_CONFIG_S_FEATURES_OK == 0;
        if !negotiating || self.driver_features_select > 1 {
            return;
        }
        let shift = 32 * self.driver_features_select;
        self.driver_features &= !(u64::from(u32::MAX) << shift);
        self.driver_features |= (u64::from(value) << shift) & offered;
    }

    /// Queues are set up after the features are agreed and before the driver is ready (3.1.1).
    fn write_queue(&mut self, offset: u32, value: u32) {
        use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
        let event_index = self.driver_features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
        let setting_up =
            self.status & VIRTIO_CONFIG_S_FEATURES_OK != 0 && self.status & VIRTIO_CONFIG_S_DRIVER_OK == 0;
        if !setting_up {
            return;
        }
        let Some(queue) = self.queues.get_mut(self.queue_select as usize) else {
            return;
        };
        match offset {
            // What does not fit 16 bits, or is no power of two, leaves the size as it is, as does 0.
            register::VIRTIO_MMIO_QUEUE_NUM => queue.set_size(u16::try_from(value).unwrap_or(0)),
            register::VIRTIO_MMIO_QUEUE_READY => {
                queue.set_event_idx(event_index);
                queue.set_ready(value == 1);
            }
            register::VIRTIO_MMIO_QUEUE_DESC_LOW => queue.set_desc_table_address(Some(value), None),
            register::VIRTIO_MMIO_QUEUE_DESC_HIGH => queue.set_desc_table_address(None, Some(value)),
            register::VIRTIO_MMIO_QUEUE_AVAIL_LOW => queue.set_avail_ring_address(Some(value), None),
            register::VIRTIO_MMIO_QUEUE_AVAIL_HIGH => queue.set_avail_ring_address(None, Some(value)),
            register::VIRTIO_MMIO_QUEUE_USED_LOW => queue.set_used_ring_address(Some(value), None),
            register::VIRTIO_MMIO_QUEUE_USED_HIGH => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }
}

impl DeviceMmio for Transport {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        data.fill(0);
        if offset >= u64::from(register::VIRTIO_MMIO_CONFIG) {
            lock(&*self.device).read_config(offset - u64::from(register::VIRTIO_MMIO_CONFIG), data);
            return;
        }
        // All registers are 32 bits wide, and accessed as such (4.2.2.2).
        let (Ok(offset), 4) = (u32::try_from(offset), data.len()) else {
            return;
        };
        let value = match offset {
            // With each interrupt: without the lock that a slow set-up might hold.
            register::VIRTIO_MMIO_INTERRUPT_STATUS => self.interrupt.status(),
            _ => self.read_register(offset),
        };
        data.copy_from_slice(&value.to_le_bytes());
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        if offset >= u64::from(register::VIRTIO_MMIO_CONFIG) {
            lock(&*self.device).write_config(offset - u64::from(register::VIRTIO_MMIO_CONFIG), data);
            return;
        }
        let (Ok(offset), Ok(bytes)) = (u32::try_from(offset), <[u8; 4]>::try_from(data)) else {
            return;
        };
        let value = u32::from_le_bytes(bytes);
        match offset {
            register::VIRTIO_MMIO_INTERRUPT_ACK => self.interrupt.acknowledge(value),
            // KVM takes these by itself, but for a value that names no queue.
            register::VIRTIO_MMIO_QUEUE_NOTIFY => {
                if let Some(event) = self.queue_events.get(value as usize) {
                    let _full_counter_is_a_kick_too = event.write(1);
                }
            }
            _ => self.write_register(offset, value),
        }
    }
}

fn half(features: u64, select: u32) -> u32 {
    let [low, high] =
        [features, features >> 32].map(|half| u32::try_from(half & u64::from(u32::MAX)).unwrap_or(0));
    match select {
        0 => low,
        1 => high,
        _ => 0,
    }
}

fn saved(queue: &Queue) -> QueueState {
    QueueState {
        size: queue.size(),
        ready: queue.ready(),
        event_index: queue.event_idx_enabled(),
        descriptors: queue.desc_table(),
        available: queue.avail_ring(),
        used: queue.used_ring(),
        next_available: queue.next_avail(),
        next_used: queue.next_used(),
    }
}

fn restore_queue(queue: &mut Queue, state: &QueueState) -> Result<(), virtio_queue::Error> {
    use vm_memory::GuestAddress;
    queue.reset();
    queue.try_set_size(state.size)?;
    queue.try_set_desc_table_address(GuestAddress(state.descriptors))?;
    queue.try_set_avail_ring_address(GuestAddress(state.available))?;
    queue.try_set_used_ring_address(GuestAddress(state.used))?;
    queue.set_event_idx(state.event_index);
    queue.set_next_avail(state.next_available);
    queue.set_next_used(state.next_used);
    queue.set_ready(state.ready);
    Ok(())
}

/// The same queue once more: the transport keeps what the driver set, the device what it does with it.
fn copy(queue: &Queue) -> Result<Queue, virtio_queue::Error> {
    let mut copy = Queue::new(queue.max_size())?;
    restore_queue(&mut copy, &saved(queue))?;
    Ok(copy)
}
