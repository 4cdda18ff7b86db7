//! The state of a vCPU, to be saved and taken up elsewhere.
//!
//! Order matters, and is that of the kernel's `Documentation/virt/kvm/api.rst`: events are read last and written last, as reading other
//! registers may deliver them; the local APIC follows the special registers (its base is one); TSC deadline follows the APIC and the TSC
//! when they are written. It is read before the APIC: a timer that is due in between is then raised twice, where it would else be lost.

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_cpuid_entry2, kvm_debugregs, kvm_lapic_state, kvm_mp_state,
    kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, VcpuFd};
use serde::{Deserialize, Serialize};

use super::elsewhere::{self, ElsewhereError};
use super::tsc;

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
    /// Another processor.
    #[error(transparent)]
    Elsewhere(#[from] ElsewhereError),
    /// A counter that cannot run as fast as the guest was told.
    #[error(
        "the guest keeps its time by a time-stamp counter of {saved_khz} kHz, as which this machine's ({}) cannot run: let it go on where \
         there is one of the same frequency; with the `pool` CPU model, leaf 0x80000007 left out of its words, it would use another clock",
        here_khz.map_or("of unknown frequency".to_owned(), |khz| format!("{khz} kHz"))
    )]
    TscRate {
        /// The counter's frequency where the state was saved, in kHz.
        saved_khz: u32,
        /// Its frequency here, in kHz, where KVM says it.
        here_khz: Option<u32>,
        /// What KVM said.
        #[source]
        err: kvm_ioctls::Error,
    },
    /// The guest has guests.
    #[error(
        "the guest has turned virtualization on for guests of its own, and no snapshot has what the processor knows of those: unload kvm in \
         it first (`modprobe -r kvm_intel` or `kvm_amd`); with the `pool` CPU model it would have none"
    )]
    Nested,
    /// More rows than KVM takes.
    #[error("the saved state has too many rows")]
    TooMany,
}

fn fail(operation: &'static str) -> impl Fn(kvm_ioctls::Error) -> VcpuStateError {
    move |err| VcpuStateError::Kvm { operation, err }
}

/// Whether the guest has turned on what it would run guests of its own with: Intel's VMX, or AMD's SVM. While such a guest runs, too: the
/// registers are then that guest's, and both must be set in it.
///
/// Sources: Intel SDM volume 3, 25.7 and 28.3.1.1; AMD64 Architecture Programmer's Manual volume 2, 15.4 and 15.5.1.
fn has_guests_of_its_own(sregs: &kvm_sregs) -> bool {
    const CR4_VMXE: u64 = 1 << 13;
    const EFER_SVME: u64 = 1 << 12;
    sregs.cr4 & CR4_VMXE != 0 || sregs.efer & EFER_SVME != 0
}

/// Reads the state of a vCPU that does not run.
pub fn save(kvm: &Kvm, vcpu: &VcpuFd) -> Result<VcpuState, VcpuStateError> {
    let mp_state = vcpu.get_mp_state().map_err(fail("read the run state"))?;
    let regs = vcpu.get_regs().map_err(fail("read the general registers"))?;
    let sregs = vcpu.get_sregs().map_err(fail("read the special registers"))?;
    if has_guests_of_its_own(&sregs) {
        return Err(VcpuStateError::Nested);
    }
    let xsave = vcpu.get_xsave().map_err(fail("read the extended state"))?;
    let xcrs = vcpu
        .get_xcrs()
        .map_err(fail("read the extended control registers"))?;
    let debug = vcpu.get_debug_regs().map_err(fail("read the debug registers"))?;
    let msrs = read_msrs(kvm, vcpu)?;
    let lapic = vcpu.get_lapic().map_err(fail("read the local APIC"))?;
    let cpuid = vcpu
        .get_cpuid2(KVM_MAX_CPUID_ENTRIES)
        .map_err(fail("read CPUID"))?;
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

/// Whether all that the guest was shown is on this machine, which supports `here`. Nothing is changed.
pub fn check(state: &VcpuState, here: &[kvm_cpuid_entry2]) -> Result<(), VcpuStateError> {
    Ok(elsewhere::check(&state.cpuid, here)?)
}

/// By how many ticks the counters of a machine's vCPUs move on, which were saved `passed_ns` ago. The first vCPU's frequency counts for all.
pub fn tsc_advance(vcpus: &[VcpuState], passed_ns: u64) -> u64 {
    let khz = vcpus.first().map_or(0, |vcpu| vcpu.tsc_khz);
    let registers = vcpus.iter().flat_map(|vcpu| &vcpu.msrs);
    let counters = registers.filter(|msr| msr.index == tsc::IA32_TSC);
    tsc::advance(passed_ns, khz, counters.map(|msr| msr.data))
}

/// Gives a new vCPU a saved state, whose time-stamp counter is moved on by so many ticks. What is wrong with the state, KVM finds: it checks
/// each register.
pub fn restore(vcpu: &VcpuFd, state: &VcpuState, tsc_advance: u64) -> Result<(), VcpuStateError> {
    let cpuid = CpuId::from_entries(&state.cpuid).map_err(|_| VcpuStateError::TooMany)?;
    vcpu.set_cpuid2(&cpuid).map_err(fail("set CPUID"))?;
    set_tsc_rate(vcpu, state)?;
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
    write_msrs(vcpu, &tsc::in_order(&state.msrs, tsc_advance))?;
    vcpu.set_vcpu_events(&state.events)
        .map_err(fail("set the pending events"))
}

/// Has the counter run as fast as it did.
fn set_tsc_rate(vcpu: &VcpuFd, state: &VcpuState) -> Result<(), VcpuStateError> {
    let here_khz = vcpu.get_tsc_khz().ok();
    let saved_khz = state.tsc_khz;
    if saved_khz == 0 || here_khz == Some(saved_khz) {
        return Ok(());
    }
    match vcpu.set_tsc_khz(saved_khz) {
        Err(err) if has_invariant_tsc(&state.cpuid) => Err(VcpuStateError::TscRate {
            saved_khz,
            here_khz,
            err,
        }),
        // Who was shown no invariant counter expects it to change its pace, and keeps its time by kvm-clock.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Whether a guest with these answers takes the time-stamp counter for one that always runs, and always as fast.
fn has_invariant_tsc(cpuid: &[kvm_cpuid_entry2]) -> bool {
    const INVARIANT: u32 = 1 << 8;
    cpuid
        .iter()
        .any(|entry| entry.function == 0x8000_0007 && entry.edx & INVARIANT != 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_can_have_guests_is_told_from_one_that_cannot() {
        // What Linux sets by itself: paging, SSE, SMEP; and long mode, system calls, no-execute.
        let linux = kvm_sregs {
            cr4: 0x0037_06f0,
            efer: 0xd01,
            ..Default::default()
        };
        assert!(!has_guests_of_its_own(&linux));
        let intel = kvm_sregs {
            cr4: linux.cr4 | 0x2000,
            ..linux
        };
        let amd = kvm_sregs {
            efer: 0x1d01,
            ..linux
        };
        assert!(has_guests_of_its_own(&intel) && has_guests_of_its_own(&amd));
    }
}
