//! What a processor can do, as words of bits, and the names of the bits.
//!
//! Sources: Intel SDM volume 2, CPUID; AMD64 Architecture Programmer's Manual volume 3, appendix E; the kernel's
//! `Documentation/virt/kvm/x86/cpuid.rst`, and for the names its `arch/x86/include/asm/cpufeatures.h`, which `/proc/cpuinfo` shows.

use std::collections::BTreeMap;
use std::fmt;

use kvm_bindings::kvm_cpuid_entry2;
use serde::{Deserialize, Serialize};

/// The feature words of a processor, as KVM offers them: CPUID leaf, sub-leaf, and the bits of EAX, EBX, ECX and EDX.
///
/// Not all is bits: EAX of leaf `0x8000_0008` holds the widths of addresses. What a list does not name, it does not offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureWords(pub Vec<FeatureWord>);

/// One row of [`FeatureWords`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureWord {
    /// The leaf (EAX of the question).
    pub leaf: u32,
    /// The sub-leaf (ECX of the question).
    pub subleaf: u32,
    /// EAX, EBX, ECX, EDX of the answer.
    pub bits: [u32; 4],
}

/// Leaves whose bits say what a processor can do, and the registers of each (EAX, EBX, ECX, EDX) that hold such bits.
pub(super) const FEATURE_LEAVES: [(u32, u32, [bool; 4]); 11] = [
    (0x1, 0, [false, false, true, true]),
    (0x7, 0, [false, true, true, true]),
    (0x7, 1, [true, true, true, true]),
    (0x7, 2, [false, false, false, true]),
    (0xd, 0, [true, false, false, true]),
    (0xd, 1, [true, false, true, true]),
    (0x4000_0001, 0, [true, false, false, false]),
    (0x8000_0001, 0, [false, false, true, true]),
    (0x8000_0007, 0, [false, false, false, true]),
    (WIDTHS_LEAF, 0, [false, true, false, false]),
    (0x8000_0021, 0, [true, false, false, false]),
];

/// The leaf whose EAX holds the widths of addresses.
pub(super) const WIDTHS_LEAF: u32 = 0x8000_0008;

/// Bits of feature leaves that say nothing of the processor: they follow the machine's topology (HTT, `CMP_LEGACY`), or what the guest has
/// switched on (OSXSAVE, MONITOR, OSPKE).
const NOT_THE_PROCESSORS: [(u32, u32, [u32; 4]); 3] = [
    (0x1, 0, [0, 0, 1 << 27 | 1 << 3, 1 << 28]),
    (0x7, 0, [0, 0, 1 << 4, 0]),
    (0x8000_0001, 0, [0, 0, 1 << 1, 0]),
];

/// The names of the bits of a register, lowest first, `-` where there is none; by leaf, sub-leaf and register.
const NAMES: [(u32, u32, usize, &str); 14] = [
    (
        0x1,
        0,
        2,
        "sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 sse4_2 x2apic movbe \
         popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor",
    ),
    (
        0x1,
        0,
        3,
        "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 \
         pbe",
    ),
    (
        0x7,
        0,
        1,
        "fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm zero_fcs_fds mpx rdt_a avx512f avx512dq \
         rdseed adx smap avx512ifma - clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl",
    ),
    (
        0x7,
        0,
        2,
        "prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme \
         avx512_vpopcntdq - la57 - - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc pks",
    ),
    (
        0x7,
        0,
        3,
        "- - avx512_4vnniw avx512_4fmaps fsrm uintr - - avx512_vp2intersect srbds_ctrl md_clear rtm_always_abort - tsx_force_abort \
         serialize hybrid tsxldtrk - pconfig arch_lbr ibt - amx_bf16 avx512_fp16 amx_tile amx_int8 spec_ctrl intel_stibp flush_l1d \
         arch_capabilities core_capabilities ssbd",
    ),
    (
        0x7,
        1,
        0,
        "- - - - avx_vnni avx512_bf16 - cmpccxadd - - fzrm fsrs fsrc - - - - - - - - amx_fp16 - avx_ifma - - lam",
    ),
    (
        0xd,
        0,
        0,
        "xcr0_x87 xcr0_sse xcr0_avx - - xcr0_opmask xcr0_zmm xcr0_hi16_zmm - xcr0_pkru",
    ),
    (0xd, 1, 0, "xsaveopt xsavec xgetbv1 xsaves xfd"),
    (
        0x4000_0001,
        0,
        0,
        "kvmclock kvm_nopiodelay kvm_mmu kvmclock2 kvm_asyncpf kvm_steal_time kvm_pv_eoi kvm_pv_unhalt - kvm_pv_tlb_flush \
         kvm_asyncpf_vmexit kvm_pv_send_ipi kvm_poll_control kvm_pv_sched_yield kvm_asyncpf_int kvm_msi_ext_dest_id",
    ),
    (
        0x8000_0001,
        0,
        2,
        "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp fma4 tce - nodeid_msr \
         - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx",
    ),
    (
        0x8000_0001,
        0,
        3,
        "fpu vme de pse tsc msr pae mce cx8 apic - syscall mtrr pge mca cmov pat pse36 - mp nx - mmxext mmx fxsr fxsr_opt pdpe1gb rdtscp - \
         lm 3dnowext 3dnow",
    ),
    (0x8000_0007, 0, 3, "- - - - - - - - invariant_tsc"),
    (
        WIDTHS_LEAF,
        0,
        1,
        "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - amd_ibpb - amd_ibrs amd_stibp - amd_stibp_always_on - - - - - amd_ppin \
         amd_ssbd virt_ssbd amd_ssb_no - amd_psfd btc_no",
    ),
    (
        0x8000_0021,
        0,
        0,
        "no_nested_data_bp - lfence_rdtsc - - - null_sel_clr_base - auto_ibrs",
    ),
];

/// The widths of addresses, of which the least of several machines is what all have: bits 7:0 physical addresses, 15:8 linear addresses,
/// 23:16 physical addresses of a guest. 0 where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Widths(pub u32);

impl Widths {
    /// Of both, the smaller of each; nothing where one of them says nothing.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        let (one, other) = (self.0.to_le_bytes(), other.0.to_le_bytes());
        Self(u32::from_le_bytes(std::array::from_fn(|at| {
            if at < 3 { one[at].min(other[at]) } else { 0 }
        })))
    }

    /// Bits of a physical address.
    pub fn physical(self) -> u32 {
        self.0 & 0xff
    }
}

impl FeatureWords {
    /// What a machine offers, of the answers that KVM supports there.
    pub(super) fn of(supported: &[kvm_cpuid_entry2]) -> Self {
        let words = FEATURE_LEAVES.map(|(leaf, subleaf, registers)| {
            let here = answer(supported, leaf, subleaf);
            let mut bits = masked(here, registers);
            if leaf == WIDTHS_LEAF {
                bits[0] = here[0];
            }
            FeatureWord { leaf, subleaf, bits }
        });
        Self(words.to_vec())
    }

    /// What both machines offer: the bits that both have, and the smaller widths of addresses, in the order of their leaves.
    ///
    /// Pure, and the same whichever comes first.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let (ours, theirs) = (self.by_leaf(), other.by_leaf());
        let both = ours.iter().filter_map(|(key, ours)| {
            let theirs = theirs.get(key)?;
            let mut bits: [u32; 4] = std::array::from_fn(|register| ours[register] & theirs[register]);
            if key.0 == WIDTHS_LEAF {
                bits[0] = Widths(ours[0]).least(Widths(theirs[0])).0;
            }
            let (leaf, subleaf) = *key;
            Some(FeatureWord { leaf, subleaf, bits })
        });
        Self(both.collect())
    }

    /// What each of several machines offers: the words of the `pool` model. `None` of no machine.
    pub fn common(machines: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut machines = machines.into_iter();
        let first = machines.next()?;
        // With itself: in order even where it is the only one.
        let first = first.intersection(&first);
        Some(machines.fold(first, |all, one| all.intersection(&one)))
    }

    /// The first row of each leaf, in order.
    fn by_leaf(&self) -> BTreeMap<(u32, u32), [u32; 4]> {
        let rows = self.0.iter().rev();
        rows.map(|word| ((word.leaf, word.subleaf), word.bits)).collect()
    }

    /// The bits of a leaf: none, of one that is not listed.
    pub(super) fn bits(&self, leaf: u32, subleaf: u32) -> [u32; 4] {
        let is_it = |word: &&FeatureWord| word.leaf == leaf && word.subleaf == subleaf;
        self.0.iter().find(is_it).map_or([0; 4], |word| word.bits)
    }
}

/// Features that are wanted and not there. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing(Vec<FeatureWord>);

impl Missing {
    /// What of the wanted bits a machine does not have that offers this; `None` where it has all.
    pub(super) fn find(wanted: impl Fn(u32, u32) -> [u32; 4], here: &[kvm_cpuid_entry2]) -> Option<Self> {
        let mut missing = Vec::new();
        for (leaf, subleaf, registers) in FEATURE_LEAVES {
            let (wanted, here) = (wanted(leaf, subleaf), answer(here, leaf, subleaf));
            let ignored = ignored(leaf, subleaf);
            let bits =
                std::array::from_fn(|register| wanted[register] & !here[register] & !ignored[register]);
            let bits = masked(bits, registers);
            if bits != [0; 4] {
                missing.push(FeatureWord { leaf, subleaf, bits });
            }
        }
        (!missing.is_empty()).then_some(Self(missing))
    }

    /// The words, with the bits that are missing.
    pub fn words(&self) -> &[FeatureWord] {
        &self.0
    }
}

/// The features by name, as `avx2, bmi2`; those without one by their place.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const REGISTERS: [&str; 4] = ["EAX", "EBX", "ECX", "EDX"];
        let mut separator = "";
        for word in &self.0 {
            for (register, bits) in word.bits.into_iter().enumerate() {
                for bit in (0..32).filter(|bit| bits >> bit & 1 == 1) {
                    f.write_str(separator)?;
                    separator = ", ";
                    match name(word.leaf, word.subleaf, register, bit) {
                        Some(name) => f.write_str(name)?,
                        None => write!(
                            f,
                            "bit {bit} of {} in leaf {:#x}.{}",
                            REGISTERS.get(register).copied().unwrap_or_default(),
                            word.leaf,
                            word.subleaf
                        )?,
                    }
                }
            }
        }
        Ok(())
    }
}

fn name(leaf: u32, subleaf: u32, register: usize, bit: usize) -> Option<&'static str> {
    let names = NAMES
        .iter()
        .find(|names| (names.0, names.1, names.2) == (leaf, subleaf, register))?
        .3;
    names.split_whitespace().nth(bit).filter(|name| *name != "-")
}

fn ignored(leaf: u32, subleaf: u32) -> [u32; 4] {
    let found = NOT_THE_PROCESSORS
        .iter()
        .find(|row| (row.0, row.1) == (leaf, subleaf));
    found.map_or([0; 4], |row| row.2)
}

/// The answer of a leaf; zeroes where there is none, as of a processor.
pub(super) fn answer(entries: &[kvm_cpuid_entry2], leaf: u32, subleaf: u32) -> [u32; 4] {
    let is_it = |entry: &&kvm_cpuid_entry2| entry.function == leaf && entry.index == subleaf;
    entries.iter().find(is_it).map_or([0; 4], registers_of)
}

pub(super) fn registers_of(entry: &kvm_cpuid_entry2) -> [u32; 4] {
    [entry.eax, entry.ebx, entry.ecx, entry.edx]
}

fn masked(bits: [u32; 4], registers: [bool; 4]) -> [u32; 4] {
    std::array::from_fn(|register| if registers[register] { bits[register] } else { 0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn word(leaf: u32, bits: [u32; 4]) -> FeatureWord {
        FeatureWord {
            leaf,
            subleaf: 0,
            bits,
        }
    }

    #[test]
    fn a_pool_model_is_what_every_machine_offers() {
        let one = FeatureWords(vec![word(7, [0, 0b1110, 1, 0]), word(1, [0, 0, 1, 0])]);
        let other = FeatureWords(vec![word(7, [0, 0b0111, 0, 9])]);
        assert_eq!(
            one.intersection(&other),
            FeatureWords(vec![word(7, [0, 0b0110, 0, 0])])
        );
        let three = FeatureWords::common([one, other, FeatureWords(vec![word(7, [!0; 4])])]);
        assert_eq!(three, Some(FeatureWords(vec![word(7, [0, 0b0110, 0, 0])])));
        assert_eq!(FeatureWords::common([]), None);
    }

    #[test]
    fn addresses_are_as_wide_as_every_machine_has_them() {
        let words = |widths| FeatureWords(vec![word(WIDTHS_LEAF, [widths, 0, 0, 0])]);
        let both = words(0x0030_3930).intersection(&words(0x0000_3027));
        assert_eq!(both, words(0x0000_3027));
        assert_eq!(Widths(0x0000_3027).physical(), 39);
    }

    #[test]
    fn what_a_machine_offers_is_what_is_said_of_it() {
        let entry = |function, ebx| kvm_cpuid_entry2 {
            function,
            eax: 0x3028,
            ebx,
            ..Default::default()
        };
        let words = FeatureWords::of(&[entry(7, 0b101), entry(WIDTHS_LEAF, 1)]);
        assert_eq!(
            words.bits(7, 0),
            [0, 0b101, 0, 0],
            "its EAX is the highest sub-leaf"
        );
        assert_eq!(words.bits(WIDTHS_LEAF, 0), [0x3028, 1, 0, 0]);
        let text = serde_json::to_string(&words).unwrap();
        assert_eq!(serde_json::from_str::<FeatureWords>(&text).unwrap(), words);
    }

    #[test]
    fn what_is_missing_is_said_by_name_or_by_place() {
        let wanted = |leaf, _| match leaf {
            7 => [!0, 1 << 5 | 1 << 22, 1 << 4, 0],
            1 => [0, 0, 1 << 27, 1 << 28],
            _ => [0; 4],
        };
        let missing = Missing::find(wanted, &[]).unwrap();
        // The other sub-leaves of 7 want the same; OSXSAVE, HTT and OSPKE are of no processor.
        let first = missing.words()[0];
        assert_eq!((first.leaf, first.bits), (7, [0, 1 << 5 | 1 << 22, 0, 0]));
        let said = missing.to_string();
        assert!(said.starts_with("avx2, bit 22 of EBX in leaf 0x7.0, "), "{said}");
    }

    #[test]
    fn each_table_of_names_has_at_most_a_register() {
        for (leaf, _, register, names) in NAMES {
            assert!(names.split_whitespace().count() <= 32, "{leaf:#x} {register}");
        }
        assert_eq!(name(1, 0, 2, 31), Some("hypervisor"));
        assert_eq!(name(7, 0, 1, 31), Some("avx512vl"));
        assert_eq!(name(7, 0, 2, 31), Some("pks"));
        assert_eq!(name(7, 0, 3, 31), Some("ssbd"));
        assert_eq!(name(0x8000_0001, 0, 2, 29), Some("mwaitx"));
        assert_eq!(name(0x8000_0001, 0, 3, 29), Some("lm"));
        assert_eq!(name(WIDTHS_LEAF, 0, 1, 28), Some("amd_psfd"));
    }

    /// Words of leaves that are known and of others, some of them twice.
    fn words() -> impl Strategy<Value = FeatureWords> {
        let leaf = prop_oneof![Just(1_u32), Just(7), Just(WIDTHS_LEAF), 0..9_u32];
        let row = (leaf, 0..3_u32, any::<[u32; 4]>());
        let row = row.prop_map(|(leaf, subleaf, bits)| FeatureWord { leaf, subleaf, bits });
        proptest::collection::vec(row, 0..12).prop_map(FeatureWords)
    }

    proptest! {
        #[test]
        fn an_intersection_is_the_same_in_any_order_and_when_made_again(a in words(), b in words(), c in words()) {
            let both = a.intersection(&b);
            prop_assert_eq!(&both, &b.intersection(&a));
            prop_assert_eq!(&both, &both.intersection(&both));
            prop_assert_eq!(&both, &both.intersection(&a));
            prop_assert_eq!(both.intersection(&c), a.intersection(&b.intersection(&c)));
        }

        #[test]
        fn an_intersection_names_nothing_that_one_of_them_lacks(a in words(), b in words()) {
            for word in a.intersection(&b).0 {
                for input in [&a, &b] {
                    let has = input.bits(word.leaf, word.subleaf);
                    for register in 0..4 {
                        if word.leaf == WIDTHS_LEAF && register == 0 {
                            let (all, one) = (Widths(word.bits[0]), Widths(has[0]));
                            prop_assert_eq!(all.least(one), all);
                        } else {
                            prop_assert_eq!(word.bits[register] & !has[register], 0);
                        }
                    }
                }
            }
        }
    }
}
