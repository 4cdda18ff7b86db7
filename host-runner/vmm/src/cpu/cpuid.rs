//! What the CPUID instruction answers in the guest.
//!
//! Sources: AMD64 Architecture Programmer's Manual volume 3, appendix E; Intel SDM volume 2, CPUID; the kernel's
//! `Documentation/virt/kvm/x86/cpuid.rst`.

use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::Kvm;

use super::FeatureWords;
use super::features::{Missing, registers_of};
use super::pool::limit;
use crate::config::{CpuModel, CpusConfig};

/// CPUID.1:ECX, "a hypervisor is present".
const HYPERVISOR: u32 = 1 << 31;
/// CPUID.1:ECX, the local APIC's timer counts to a value of the time-stamp counter.
const TSC_DEADLINE: u32 = 1 << 24;
/// CPUID.1:EDX, several logical processors in the package.
const HTT: u32 = 1 << 28;
/// `CPUID.8000_0001:ECX`, the cores of the package are what 1:EBX counts.
const CMP_LEGACY: u32 = 1 << 1;

/// Why CPUID cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum CpuidError {
    /// KVM does not say what it offers.
    #[error("cannot ask KVM what this processor offers")]
    Supported(#[source] kvm_ioctls::Error),
    /// The pool model asks for what is not here.
    #[error("this machine's processor lacks features of the pool's CPU model: {missing}")]
    Missing {
        /// What is missing.
        missing: Missing,
    },
    /// The pool model has wider addresses than there are here.
    #[error("the pool's CPU model has physical addresses of {wanted} bits, and this machine {here}")]
    Addresses {
        /// Bits of the model.
        wanted: u32,
        /// Bits here.
        here: u32,
    },
    /// More rows than KVM takes.
    #[error("too many rows of CPUID")]
    TooMany,
}

/// What this machine offers to guests.
pub fn feature_words(kvm: &Kvm) -> Result<FeatureWords, CpuidError> {
    Ok(FeatureWords::of(&supported(kvm)?))
}

/// The answers of one vCPU, by the machine's model and topology: one socket, a core for each vCPU, one thread in each.
pub fn for_vcpu(kvm: &Kvm, cpus: &CpusConfig, index: u8) -> Result<CpuId, CpuidError> {
    let mut entries = supported(kvm)?;
    if let CpuModel::Pool(words) = &cpus.model {
        limit(&mut entries, words)?;
    }
    for entry in &mut entries {
        topology(entry, cpus.count, index);
    }
    extended_topology(&mut entries, cpus.count, index);
    brand(&mut entries);
    CpuId::from_entries(&entries).map_err(|_| CpuidError::TooMany)
}

/// What KVM supports on this machine, with what it leaves to the monitor to say.
pub fn supported(kvm: &Kvm) -> Result<Vec<kvm_cpuid_entry2>, CpuidError> {
    let mut entries = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(CpuidError::Supported)?
        .as_slice()
        .to_vec();
    for entry in &mut entries {
        if entry.function == 1 {
            // KVM emulates both, and leaves it to the monitor to say so.
            entry.ecx |= HYPERVISOR;
            if kvm.check_extension(kvm_ioctls::Cap::TscDeadlineTimer) {
                entry.ecx |= TSC_DEADLINE;
            }
        }
    }
    Ok(entries)
}

/// The bits that it takes to number `count` processors.
fn width(count: u32) -> u32 {
    count.next_power_of_two().trailing_zeros()
}

fn topology(entry: &mut kvm_cpuid_entry2, count: u8, index: u8) {
    let (count, index) = (u32::from(count), u32::from(index));
    match entry.function {
        0x1 => {
            entry.ebx = (entry.ebx & 0xffff) | (count << 16) | (index << 24);
            entry.edx = if count > 1 {
                entry.edx | HTT
            } else {
                entry.edx & !HTT
            };
        }
        // Intel's caches: each level says how many share it; the last is shared by all cores.
        0x4 => {
            let level = (entry.eax >> 5) & 7;
            let sharing = if level >= 3 { count - 1 } else { 0 };
            entry.eax = (entry.eax & 0x3fff) | (sharing << 14) | ((count - 1).min(63) << 26);
        }
        0x8000_0001 => {
            entry.ecx = if count > 1 {
                entry.ecx | CMP_LEGACY
            } else {
                entry.ecx & !CMP_LEGACY
            };
        }
        0x8000_0008 => entry.ecx = (entry.ecx & !0xf0ff) | (count - 1) | (width(count) << 12),
        // AMD's caches, as Intel's.
        0x8000_001d => {
            let level = (entry.eax >> 5) & 7;
            let sharing = if level >= 3 { count - 1 } else { 0 };
            entry.eax = (entry.eax & 0x3fff) | (sharing << 14);
        }
        0x8000_001e => {
            entry.eax = index;
            entry.ebx = index;
            entry.ecx = 0;
        }
        _ => {}
    }
}

/// Leaves 0xb and 0x1f: threads in a core, then cores in the package.
fn extended_topology(entries: &mut Vec<kvm_cpuid_entry2>, count: u8, index: u8) {
    /// KVM tells the rows of a leaf apart by their index.
    const SIGNIFICANT_INDEX: u32 = 1;
    let highest = entries
        .iter()
        .find(|entry| entry.function == 0)
        .map_or(0, |entry| entry.eax);
    for leaf in [0xb_u32, 0x1f] {
        entries.retain(|entry| entry.function != leaf);
        if leaf > highest.max(0xb) {
            continue;
        }
        let levels = [
            (0_u32, 1_u32, 1_u32),
            (width(count.into()), u32::from(count), 2),
            (0, 0, 0),
        ];
        for (level, (shift, logical, kind)) in (0_u32..).zip(levels) {
            entries.push(kvm_cpuid_entry2 {
                function: leaf,
                index: level,
                flags: SIGNIFICANT_INDEX,
                eax: shift,
                ebx: logical,
                ecx: level | (kind << 8),
                edx: u32::from(index),
                ..Default::default()
            });
        }
    }
    for entry in entries.iter_mut().filter(|entry| entry.function == 0) {
        entry.eax = entry.eax.max(0xb);
    }
}

/// A name for the processor where KVM has none.
fn brand(entries: &mut Vec<kvm_cpuid_entry2>) {
    let said = |entry: &kvm_cpuid_entry2| (0x8000_0002..=0x8000_0004).contains(&entry.function);
    if entries
        .iter()
        .any(|entry| said(entry) && registers_of(entry) != [0; 4])
    {
        return;
    }
    entries.retain(|entry| !said(entry));
    let mut name = [0_u8; 48];
    let text = b"Millpond vCPU";
    name[..text.len()].copy_from_slice(text);
    for (function, bytes) in (0x8000_0002..).zip(name.chunks_exact(16)) {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        entries.push(kvm_cpuid_entry2 {
            function,
            eax: word(0),
            ebx: word(4),
            ecx: word(8),
            edx: word(12),
            ..Default::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 {
            function,
            ..Default::default()
        }
    }

    #[test]
    fn every_vcpu_has_a_number_of_its_own_and_all_are_cores_of_one_package() {
        for count in [1_u8, 2, 3, 4, 64] {
            for index in 0..count {
                let mut entries = vec![leaf(0), leaf(1)];
                extended_topology(&mut entries, count, index);
                let cores = entries
                    .iter()
                    .find(|entry| entry.function == 0xb && entry.index == 1)
                    .unwrap();
                assert_eq!((cores.ebx, cores.edx), (count.into(), index.into()));
                assert!(
                    u32::from(count) <= 1 << cores.eax,
                    "the numbers of {count} fit {} bits",
                    cores.eax
                );
                topology(&mut entries[1], count, index);
                assert_eq!(entries[1].ebx >> 24, u32::from(index));
            }
        }
    }
}
