//! The state of a vCPU, to be saved and taken up elsewhere.
//!
//! Order matters, and is that of the kernel's `Documentation/virt/kvm/api.rst`: events are read last and written last, as reading other
//! registers may deliver them; the local APIC follows the special registers (its base is one); TSC deadline follows the APIC.

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_cpuid_entry2, kvm_debugregs, kvm_lapic_state, kvm_mp_state,
    kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd};
use serde::{Deserialize, Serialize};

/// KVM takes at most this many registers in one call.
const MSRS_AT_ONCE: usize = 128;

/// All of a vCPU but its memory.
#[derive(Debug, Serialize, Deserialize)]
pub struct VcpuState {
    cpuid: Vec<kvm_cpuid_entry2>,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    debug: kvm_debugregs,
    lapic: kvm_lapic_state,
    msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
    mp_state: kvm_mp_state,
    tsc_khz: u32,
}

/// Why a vCPU's state could not be saved or taken up.
#[derive(Debug, thiserror::Error)]
pub enum VcpuStateError {
    /// KVM refused.
    #[error("cannot {operation}")]
    Kvm {
        /// What was attempted.
        operation: &'static str,
        /// What KVM said.
        #[source]
        err: kvm_ioctls::Error,
    },
    /// KVM does not take a register.
    #[error("this machine does not take the saved value of register {register:#x}")]
    Register {
        /// The model-specific register.
        register: u32,
    },
    /// More rows than KVM takes.
    #[error("the saved state has too many rows")]
    TooMany,
}

fn fail(operation: &'static str) -> impl Fn(kvm_ioctls::Error) -> VcpuStateError {
    move |err| VcpuStateError::Kvm { operation, err }
}

/// Reads the state of a vCPU that does not run.
pub fn save(kvm: &Kvm, vcpu: &VcpuFd) -> Result<VcpuState, VcpuStateError> {
    let mp_state = vcpu.get_mp_state().map_err(fail("read the run state"))?;
    let regs = vcpu.get_regs().map_err(fail("read the general registers"))?;
    let sregs = vcpu.get_sregs().map_err(fail("read the special registers"))?;
    let xsave = vcpu.get_xsave().map_err(fail("read the extended state"))?;
    let xcrs = vcpu
        .get_xcrs()
        .map_err(fail("read the extended control registers"))?;
    let debug = vcpu.get_debug_regs().map_err(fail("read the debug registers"))?;
    let lapic = vcpu.get_lapic().map_err(fail("read the local APIC"))?;
    let cpuid = vcpu
        .get_cpuid2(KVM_MAX_CPUID_ENTRIES)
        .map_err(fail("read CPUID"))?;
    let msrs = read_msrs(kvm, vcpu)?;
    let events = vcpu.get_vcpu_events().map_err(fail("read the pending events"))?;
    Ok(VcpuState {
        cpuid: cpuid.as_slice().to_vec(),
        regs,
        sregs,
        xsave,
        xcrs,
        debug,
        lapic,
        msrs,
        events,
        mp_state,
        // Not every KVM knows; 0 then means "whatever it is there".
        tsc_khz: vcpu.get_tsc_khz().unwrap_or(0),
    })
}

/// Gives a new vCPU a saved state. What is wrong with it, KVM finds: it checks each register.
pub fn restore(vcpu: &VcpuFd, state: &VcpuState) -> Result<(), VcpuStateError> {
    let cpuid = CpuId::from_entries(&state.cpuid).map_err(|_| VcpuStateError::TooMany)?;
    vcpu.set_cpuid2(&cpuid).map_err(fail("set CPUID"))?;
    if state.tsc_khz != 0 && vcpu.get_tsc_khz().is_ok_and(|here| here != state.tsc_khz) {
        // Without TSC scaling this cannot be had; the guest's kvm-clock carries on all the same.
        let _unscaled = vcpu.set_tsc_khz(state.tsc_khz);
    }
    vcpu.set_mp_state(state.mp_state)
        .map_err(fail("set the run state"))?;
    vcpu.set_regs(&state.regs)
        .map_err(fail("set the general registers"))?;
    vcpu.set_sregs(&state.sregs)
        .map_err(fail("set the special registers"))?;
    set_xsave(vcpu, &state.xsave).map_err(fail("set the extended state"))?;
    vcpu.set_xcrs(&state.xcrs)
        .map_err(fail("set the extended control registers"))?;
    vcpu.set_debug_regs(&state.debug)
        .map_err(fail("set the debug registers"))?;
    vcpu.set_lapic(&state.lapic).map_err(fail("set the local APIC"))?;
    write_msrs(vcpu, &state.msrs)?;
    vcpu.set_vcpu_events(&state.events)
        .map_err(fail("set the pending events"))
}

#[expect(
    unsafe_code,
    reason = "KVM_SET_XSAVE is unsafe in kvm-ioctls, as a guest with AMX has more state than the structure holds"
)]
fn set_xsave(vcpu: &VcpuFd, xsave: &kvm_xsave) -> Result<(), kvm_ioctls::Error> {
    // SAFETY: the kernel reads at most the 4096 bytes of `kvm_xsave` unless the process has asked for dynamic features
    // (`ARCH_REQ_XCOMP_GUEST_PERM`), which nothing here does; `xsave` is a whole structure.
    unsafe { vcpu.set_xsave(xsave) }
}

fn read_msrs(kvm: &Kvm, vcpu: &VcpuFd) -> Result<Vec<kvm_msr_entry>, VcpuStateError> {
    let list = kvm
        .get_msr_index_list()
        .map_err(fail("list the model-specific registers"))?;
    let mut msrs = Vec::new();
    for wanted in list.as_slice().chunks(MSRS_AT_ONCE) {
        let mut wanted: Vec<kvm_msr_entry> = wanted
            .iter()
            .map(|index| kvm_msr_entry {
                index: *index,
                ..Default::default()
            })
            .collect();
        // KVM stops at the first register that this guest does not have: that one is left out.
        while !wanted.is_empty() {
            let mut asked = Msrs::from_entries(&wanted).map_err(|_| VcpuStateError::TooMany)?;
            let read = vcpu
                .get_msrs(&mut asked)
                .map_err(fail("read the model-specific registers"))?;
            msrs.extend_from_slice(asked.as_slice().get(..read).unwrap_or_default());
            wanted.drain(..(read + 1).min(wanted.len()));
        }
    }
    Ok(msrs)
}

fn write_msrs(vcpu: &VcpuFd, msrs: &[kvm_msr_entry]) -> Result<(), VcpuStateError> {
    for mut part in msrs.chunks(MSRS_AT_ONCE) {
        while !part.is_empty() {
            let given = Msrs::from_entries(part).map_err(|_| VcpuStateError::TooMany)?;
            let written = vcpu
                .set_msrs(&given)
                .map_err(fail("set the model-specific registers"))?;
            let Some(refused) = part.get(written) else { break };
            // A register that only holds what it holds after power-on need not be written.
            if refused.data != 0 {
                return Err(VcpuStateError::Register {
                    register: refused.index,
                });
            }
            part = &part[written + 1..];
        }
    }
    Ok(())
}
