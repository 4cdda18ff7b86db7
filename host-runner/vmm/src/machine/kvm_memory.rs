#![expect(unsafe_code, reason = "KVM is told of memory by its address")]
//! Guest memory, as KVM is told of it.

use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use crate::memory::GuestMemory;

/// Registers each region of memory as a slot; with `log`, KVM notes the pages that vCPUs write.
///
/// Called again with another `log`, it changes the slots in place.
pub(crate) fn register(vm: &VmFd, memory: &GuestMemory, log: bool) -> Result<(), kvm_ioctls::Error> {
    for (slot, region) in (0..).zip(memory.iter()) {
        let address = region
            .get_host_address(MemoryRegionAddress(0))
            .map_err(|_| kvm_ioctls::Error::new(libc::EFAULT))?;
        let slot = kvm_userspace_memory_region {
            slot,
            guest_phys_addr: region.start_addr().raw_value(),
            memory_size: region.len(),
            userspace_addr: address as u64,
            flags: if log { KVM_MEM_LOG_DIRTY_PAGES } else { 0 },
        };
        // SAFETY: the range is one mapping of `memory_size` bytes, which `memory` owns; the machine owns both `memory` and the VM, and
        // drops neither before the process ends, so the mapping outlives every use that KVM makes of it. Regions do not overlap.
        unsafe { vm.set_user_memory_region(slot) }?;
    }
    Ok(())
}
