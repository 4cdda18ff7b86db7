//! The `pool` model: what CPUID answers where a guest is to be at home on several machines.
//!
//! Three kinds of leaves are told apart. Those of [`FEATURE_LEAVES`] keep the bits that the model names. Those that describe the processor
//! or KVM without promising an instruction or a register ([`DESCRIPTIVE`]) stay as they are here. All others are taken away: what they
//! describe differs from machine to machine, or is no part of a snapshot.

use kvm_bindings::kvm_cpuid_entry2;

use super::CpuidError;
use super::features::{FEATURE_LEAVES, FeatureWords, Missing, WIDTHS_LEAF, Widths, registers_of};

/// Leaves that describe: the vendor, caches, topology, frequencies, the layout of the extended state, KVM's own and the brand. Leaf 6 is
/// among them as KVM makes its answer up.
const DESCRIPTIVE: [u32; 18] = [
    0x0,
    0x2,
    0x4,
    0x6,
    0xb,
    EXTENDED_STATE,
    0x15,
    0x16,
    0x1f,
    0x4000_0000,
    0x8000_0000,
    0x8000_0002,
    0x8000_0003,
    0x8000_0004,
    0x8000_0005,
    0x8000_0006,
    0x8000_001d,
    0x8000_001e,
];
/// The leaf of the extended state: sub-leaf N, from 2 on, has the size and the place of component N.
const EXTENDED_STATE: u32 = 0xd;

/// Features that no pool has, as they need a leaf that is taken away, or a state that a snapshot does not have: guests that are hosts
/// (VMX, SVM), performance counters and tracing (PDCM, PT, LBR, IBS), enclaves (SGX), the key locker, AMX with its tiles, AVX10.
const NEVER: [(u32, u32, [u32; 4]); 5] = [
    (0x1, 0, [0, 0, 1 << 5 | 1 << 15, 0]),
    (
        0x7,
        0,
        [
            0,
            1 << 2 | 1 << 25,
            1 << 23 | 1 << 30,
            1 << 19 | 1 << 22 | 1 << 24 | 1 << 25,
        ],
    ),
    (0x7, 1, [1 << 21, 0, 0, 1 << 8 | 1 << 19]),
    (EXTENDED_STATE, 0, [1 << 17 | 1 << 18, 0, 0, 0]),
    (0x8000_0001, 0, [0, 0, 1 << 2 | 1 << 10, 0]),
];

/// Limits the answers to a pool's model.
///
/// # Errors
/// [`CpuidError::Missing`] where this machine lacks what the model names; [`CpuidError::Addresses`] where its addresses are narrower.
pub(super) fn limit(entries: &mut Vec<kvm_cpuid_entry2>, words: &FeatureWords) -> Result<(), CpuidError> {
    if let Some(missing) = Missing::find(|leaf, subleaf| words.bits(leaf, subleaf), entries) {
        return Err(CpuidError::Missing { missing });
    }
    entries.retain(|entry| is_kept(entry.function, entry.index));
    for entry in entries.iter_mut() {
        let row = FEATURE_LEAVES
            .iter()
            .find(|row| (row.0, row.1) == (entry.function, entry.index));
        let Some((leaf, subleaf, registers)) = row else {
            continue;
        };
        let (here, wanted, never) = (
            registers_of(entry),
            words.bits(*leaf, *subleaf),
            never(*leaf, *subleaf),
        );
        let limited: [u32; 4] = std::array::from_fn(|register| {
            if registers[register] {
                here[register] & wanted[register] & !never[register]
            } else {
                here[register]
            }
        });
        [entry.eax, entry.ebx, entry.ecx, entry.edx] = limited;
        if *leaf == WIDTHS_LEAF {
            entry.eax = narrowed(here[0], wanted[0])?;
        }
    }
    extended_state(entries);
    Ok(())
}

fn is_kept(leaf: u32, subleaf: u32) -> bool {
    DESCRIPTIVE.contains(&leaf) || FEATURE_LEAVES.iter().any(|row| (row.0, row.1) == (leaf, subleaf))
}

fn never(leaf: u32, subleaf: u32) -> [u32; 4] {
    let found = NEVER.iter().find(|row| (row.0, row.1) == (leaf, subleaf));
    found.map_or([0; 4], |row| row.2)
}

/// The widths of addresses that the model has; this machine's where it says nothing of them.
fn narrowed(here: u32, wanted: u32) -> Result<u32, CpuidError> {
    let (here, wanted) = (Widths(here), Widths(wanted));
    if wanted.physical() == 0 {
        return Ok(here.0);
    }
    if wanted.physical() > here.physical() {
        return Err(CpuidError::Addresses {
            wanted: wanted.physical(),
            here: here.physical(),
        });
    }
    Ok(here.least(wanted).0)
}

/// Takes the components away that the model's words leave out, and says how large the rest is.
fn extended_state(entries: &mut Vec<kvm_cpuid_entry2>) {
    /// The region of x87 and SSE state, and the header, in bytes: they are always there.
    const LEAST: u32 = 512 + 64;
    let state =
        |subleaf| move |entry: &&kvm_cpuid_entry2| (entry.function, entry.index) == (EXTENDED_STATE, subleaf);
    let by_xsave = entries.iter().find(state(0)).map_or(0, |entry| entry.eax);
    let by_xsaves = entries.iter().find(state(1)).map_or(0, |entry| entry.ecx);
    let has = |components: u32, component: u32| components.checked_shr(component).unwrap_or(0) & 1 == 1;
    entries.retain(|entry| {
        entry.function != EXTENDED_STATE || entry.index < 2 || has(by_xsave | by_xsaves, entry.index)
    });
    let end = |entry: &kvm_cpuid_entry2| entry.ebx.saturating_add(entry.eax);
    let components = entries
        .iter()
        .filter(|entry| entry.function == EXTENDED_STATE && entry.index >= 2 && has(by_xsave, entry.index));
    let size = components.map(end).max().unwrap_or(0).max(LEAST);
    for entry in entries.iter_mut() {
        if (entry.function, entry.index) == (EXTENDED_STATE, 0) {
            entry.ecx = size;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::features::FeatureWord;
    use super::super::row;
    use super::*;

    fn model(words: &[(u32, u32, [u32; 4])]) -> FeatureWords {
        let words = words.iter().map(|(leaf, subleaf, bits)| FeatureWord {
            leaf: *leaf,
            subleaf: *subleaf,
            bits: *bits,
        });
        FeatureWords(words.collect())
    }

    #[test]
    fn a_machine_that_lacks_a_feature_of_the_model_says_which() {
        let mut here = vec![row(7, 0, [0, 0b01, 0, 0])];
        let error = limit(&mut here, &model(&[(7, 0, [0, 0b1001, 0, 0])])).unwrap_err();
        assert!(error.to_string().ends_with(": bmi1"), "{error}");
    }

    #[test]
    fn features_beyond_the_model_are_taken_away_and_the_rest_of_the_leaf_stays() {
        let mut here = vec![row(1, 0, [77, 0, 0b11, 0])];
        limit(&mut here, &model(&[(1, 0, [0, 0, 0b01, 0])])).unwrap();
        assert_eq!((here[0].eax, here[0].ecx), (77, 0b01));
    }

    #[test]
    fn leaves_that_the_model_knows_nothing_of_are_taken_away_and_those_that_describe_stay() {
        let described = [0, 4, 0x1f, 0x4000_0000, 0x8000_001d];
        let unknown = [
            3,
            5,
            0xa,
            0x14,
            0x1d,
            0x1e,
            0x24,
            0x8000_000a,
            0x8000_001f,
            0x8000_0022,
            0xc000_0001,
        ];
        let mut here: Vec<_> = described
            .iter()
            .chain(&unknown)
            .map(|leaf| row(*leaf, 0, [1; 4]))
            .collect();
        // A sub-leaf of a leaf that is known is not known by that.
        here.push(row(7, 3, [1; 4]));
        limit(&mut here, &model(&[])).unwrap();
        let kept: Vec<u32> = here.iter().map(|entry| entry.function).collect();
        assert_eq!(kept, described);
    }

    #[test]
    fn what_a_snapshot_does_not_have_is_in_no_pool_even_where_every_machine_offers_it() {
        let all = [(1, 0, [0, 0, !0, !0]), (0x8000_0001, 0, [0, 0, !0, !0])];
        let mut here: Vec<_> = all
            .iter()
            .map(|(leaf, subleaf, bits)| row(*leaf, *subleaf, *bits))
            .collect();
        limit(&mut here, &model(&all)).unwrap();
        assert_eq!(here[0].ecx & 1 << 5, 0, "VMX");
        assert_eq!(here[1].ecx & 1 << 2, 0, "SVM");
        assert_eq!(here[0].edx, !0);
    }

    #[test]
    fn addresses_are_as_wide_as_the_model_has_them_and_no_machine_pretends() {
        let widths = |eax| [row(WIDTHS_LEAF, 0, [eax, 0, 0, 0])].to_vec();
        let wanted = |eax| model(&[(WIDTHS_LEAF, 0, [eax, 0, 0, 0])]);
        let mut here = widths(0x3030);
        limit(&mut here, &wanted(0x3027)).unwrap();
        assert_eq!(here[0].eax, 0x3027);
        let mut here = widths(0x3030);
        limit(&mut here, &model(&[])).unwrap();
        assert_eq!(here[0].eax, 0x3030, "a model that says nothing of them");
        assert!(matches!(
            limit(&mut widths(0x3027), &wanted(0x3030)),
            Err(CpuidError::Addresses { wanted: 48, here: 39 })
        ));
    }

    #[test]
    fn the_extended_state_is_as_large_as_what_is_left_of_it() {
        const AVX: u32 = 0b111;
        let mut here = vec![
            row(EXTENDED_STATE, 0, [AVX | 1 << 9, 2696, 2696, 0]),
            row(EXTENDED_STATE, 1, [1, 0, 1 << 11, 0]),
            row(EXTENDED_STATE, 2, [256, 576, 0, 0]),
            row(EXTENDED_STATE, 9, [8, 2688, 0, 0]),
            row(EXTENDED_STATE, 11, [16, 0, 1, 0]),
        ];
        limit(&mut here, &model(&[(EXTENDED_STATE, 0, [AVX, 0, 0, 0])])).unwrap();
        let left: Vec<u32> = here.iter().map(|entry| entry.index).collect();
        assert_eq!(left, [0, 1, 2]);
        assert_eq!((here[0].eax, here[0].ecx), (AVX, 576 + 256));
        limit(&mut here, &model(&[])).unwrap();
        assert_eq!(here[0].ecx, 576);
    }

    proptest! {
        #[test]
        fn nothing_is_offered_that_the_model_does_not_name(
            answers in proptest::collection::vec(any::<[u32; 4]>(), FEATURE_LEAVES.len()), mask: [u32; 4]
        ) {
            let mut here: Vec<_> = FEATURE_LEAVES.iter().zip(&answers)
                .map(|((leaf, subleaf, _), answer)| row(*leaf, *subleaf, *answer)).collect();
            let mut words = FeatureWords::of(&here);
            for word in &mut words.0 {
                if word.leaf != WIDTHS_LEAF {
                    word.bits = std::array::from_fn(|register| word.bits[register] & mask[register]);
                }
            }
            limit(&mut here, &words).unwrap();
            for word in FeatureWords::of(&here).0 {
                let named = words.bits(word.leaf, word.subleaf);
                for (register, named) in named.into_iter().enumerate() {
                    if (word.leaf, register) != (WIDTHS_LEAF, 0) {
                        prop_assert_eq!(word.bits[register] & !named, 0, "{:#x}.{}", word.leaf, word.subleaf);
                    }
                }
            }
        }
    }
}
