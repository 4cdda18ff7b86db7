//! The machine: its parts, put together.

mod build;
mod devices;
pub(crate) mod kvm_memory;
mod save;

use std::fs::File;
use std::sync::{Arc, Mutex};

use kvm_ioctls::{Kvm, VmFd};
use vmm_sys_util::eventfd::EventFd;

pub use build::{BuildError, build};
pub use devices::{DeviceStats, Devices, OpenDeviceError};

use crate::devices::virtio::mmio::Transport;
use crate::memory::GuestMemory;
use crate::vcpu::Vcpu;

/// Where the first virtio device's registers begin: in the gap.
const VIRTIO_BASE: u32 = 0xd000_0000;
/// The interrupt line of the first virtio device; the others follow.
const VIRTIO_LINE: u32 = 6;
/// The IO APIC's lines end before this.
const LINES_END: u32 = 24;

/// A machine, whole, with its vCPUs parked.
pub struct Machine {
    /// KVM.
    pub kvm: Kvm,
    /// Its VM.
    pub vm: VmFd,
    /// Its memory.
    pub memory: GuestMemory,
    /// `/proc/self/pagemap`: which of its pages hold anything. No thread can open it later.
    pub page_map: File,
    /// Its vCPUs.
    pub vcpus: Vec<Vcpu>,
    /// Its virtio devices, in the order of their windows.
    pub transports: Vec<Arc<Transport>>,
    /// Its devices, by what they are.
    pub devices: Devices,
    /// Raises the power button's line.
    pub power_button: EventFd,
    /// The number of the snapshot that it went on from, where what was written since is noted: an increment can add to that.
    pub went_on_from: Option<[u8; 16]>,
}

impl Machine {
    /// Parks all vCPUs, then stops the devices: a vCPU that runs could change what a device has already put away.
    pub fn pause(&self) {
        for vcpu in &self.vcpus {
            vcpu.pause();
        }
        for vcpu in &self.vcpus {
            vcpu.wait_until_parked();
        }
        for transport in &self.transports {
            transport.pause();
        }
    }

    /// Devices first: they are ready when the first vCPU asks.
    pub fn resume(&self) {
        for transport in &self.transports {
            transport.resume();
        }
        for vcpu in &self.vcpus {
            vcpu.resume();
        }
    }

    /// Tells the driver of a device that its configuration changed.
    pub fn configuration_changed<D>(&self, device: &Arc<Mutex<D>>) {
        let this = Arc::as_ptr(device).cast::<()>();
        let is_its = |transport: &&Arc<Transport>| Arc::as_ptr(transport.device()).cast::<()>() == this;
        if let Some(transport) = self.transports.iter().find(is_its) {
            transport.configuration_changed();
        }
    }

    /// Presses the power button.
    pub fn press_power(&self) {
        // A full counter has been pressed often enough.
        let _pressed = self.power_button.write(1);
    }

    /// Tells the guest's kvm-clock that it was paused, so that its watchdogs do not bark.
    pub fn tell_clock(&self) {
        for vcpu in &self.vcpus {
            // A guest that does not use kvm-clock has nothing to be told.
            let _without_clock = vcpu.descriptor().kvmclock_ctrl();
        }
    }
}
