//! The numbers of the ioctls that threads need while a guest runs.
//!
//! Source: `asm-generic/ioctl.h`, `linux/kvm.h`, `linux/vhost.h`, `linux/if_tun.h`. `kvm-ioctls` keeps its numbers to itself.

use std::ffi::c_ulong;

use kvm_bindings::{
    KVMIO, kvm_clock_data, kvm_cpuid2, kvm_debugregs, kvm_dirty_log, kvm_irqchip, kvm_lapic_state,
    kvm_mp_state, kvm_msr_list, kvm_msrs, kvm_pit_state2, kvm_regs, kvm_sregs, kvm_userspace_memory_region,
    kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use vhost::vhost_kern::vhost_binding as vhost;
use vmm_sys_util::ioctl::{_IOC_NONE, _IOC_READ, _IOC_WRITE, ioctl_expr};

fn plain(number: u32) -> c_ulong {
    ioctl_expr(_IOC_NONE, KVMIO, number, 0)
}

fn sized<T>(direction: u32, number: u32) -> c_ulong {
    // KVM's structures have at most 4 KiB; the field has 14 bits.
    let size = u32::try_from(size_of::<T>()).unwrap_or(u32::MAX);
    ioctl_expr(direction, KVMIO, number, size)
}

/// Sockets that never wait, a tap's offloads and queues, and vhost-net, which a guest's driver starts and stops.
pub fn of_devices() -> Vec<c_ulong> {
    vec![
        libc::FIONBIO,
        libc::TUNSETOFFLOAD,
        libc::TUNSETQUEUE,
        vhost::VHOST_SET_FEATURES(),
        vhost::VHOST_SET_MEM_TABLE(),
        vhost::VHOST_SET_LOG_BASE(),
        vhost::VHOST_SET_VRING_NUM(),
        vhost::VHOST_SET_VRING_ADDR(),
        vhost::VHOST_SET_VRING_BASE(),
        vhost::VHOST_GET_VRING_BASE(),
        vhost::VHOST_SET_VRING_KICK(),
        vhost::VHOST_SET_VRING_CALL(),
        vhost::VHOST_NET_SET_BACKEND(),
    ]
}

/// Running the guest.
pub fn of_vcpus() -> Vec<c_ulong> {
    const RUN: u32 = 0x80;
    vec![plain(RUN)]
}

/// Reading a machine's state, noting the pages that it writes, and telling its clock of a pause. To set a state is for the start of a
/// machine, which is over when the driver is confined.
pub fn of_driver() -> Vec<c_ulong> {
    const BOTH: u32 = _IOC_READ | _IOC_WRITE;
    vec![
        sized::<kvm_msr_list>(BOTH, 0x02),
        // KVM_CHECK_EXTENSION
        plain(0x03),
        sized::<kvm_dirty_log>(_IOC_WRITE, 0x42),
        sized::<kvm_userspace_memory_region>(_IOC_WRITE, 0x46),
        sized::<kvm_irqchip>(BOTH, 0x62),
        sized::<kvm_clock_data>(_IOC_READ, 0x7c),
        sized::<kvm_regs>(_IOC_READ, 0x81),
        sized::<kvm_sregs>(_IOC_READ, 0x83),
        sized::<kvm_msrs>(BOTH, 0x88),
        sized::<kvm_lapic_state>(_IOC_READ, 0x8e),
        sized::<kvm_cpuid2>(BOTH, 0x91),
        sized::<kvm_mp_state>(_IOC_READ, 0x98),
        sized::<kvm_pit_state2>(_IOC_READ, 0x9f),
        sized::<kvm_vcpu_events>(_IOC_READ, 0x9f),
        sized::<kvm_debugregs>(_IOC_READ, 0xa1),
        // KVM_GET_TSC_KHZ
        plain(0xa3),
        sized::<kvm_xsave>(_IOC_READ, 0xa4),
        sized::<kvm_xcrs>(_IOC_READ, 0xa6),
        // KVM_KVMCLOCK_CTRL
        plain(0xad),
        sized::<kvm_xsave>(_IOC_READ, 0xcf),
    ]
}
