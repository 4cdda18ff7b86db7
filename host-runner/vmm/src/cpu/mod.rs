//! The processors: what they can do, and how they begin.
//!
//! # CPU models
//!
//! A machine's configuration says in `cpus.model` what its guest is shown:
//!
//! - `"host"`, where nothing is said: all that this machine's processor and its KVM offer. A snapshot of such a guest goes on where there is
//!   at least as much; elsewhere it is refused, with the names of what is missing.
//! - `{"pool": [...]}`: what each of several machines offers, so that the guest can go on at any of them. The list comes from
//!
//!   ```text
//!   microvm cpu-features >NAME.json            on each machine
//!   microvm cpu-pool NAME.json... >pool.json   anywhere, of all these files
//!   ```
//!
//!   Leaves of CPUID that describe neither such features nor the processor itself are empty, and nobody in a pool is offered what is no part
//!   of a snapshot: nested virtualization, performance counters, enclaves, AMX. A list may be made shorter by hand: without leaf
//!   `0x80000007` the guest does not take the time-stamp counter for one that is the same everywhere, and keeps its time by kvm-clock,
//!   as it must where machines differ in frequency and cannot scale.
//!
//! Vendors do not mix: no guest goes from a processor of one to one of another, whatever its model.

mod cpuid;
mod elsewhere;
mod features;
mod pool;
mod registers;
mod state;
mod tsc;

pub use cpuid::{CpuidError, feature_words, for_vcpu, supported};
pub use elsewhere::ElsewhereError;
pub use features::{FeatureWord, FeatureWords, Missing};
pub use registers::{Entry, RegisterError, begin};
pub use state::{VcpuState, VcpuStateError, check, restore, save, tsc_advance};

/// A row of CPUID, for tests: what a leaf and its part answer in EAX, EBX, ECX and EDX.
#[cfg(test)]
fn row(function: u32, index: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> kvm_bindings::kvm_cpuid_entry2 {
    kvm_bindings::kvm_cpuid_entry2 {
        function,
        index,
        eax,
        ebx,
        ecx,
        edx,
        ..Default::default()
    }
}
