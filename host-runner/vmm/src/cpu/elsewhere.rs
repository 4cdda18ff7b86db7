//! Whether a guest that was saved on one processor can go on on another.
//!
//! KVM takes any answers of CPUID that it is given, and a guest that was shown an instruction uses it. So it is for the monitor to see that
//! this machine has what the guest was shown, before any of its state is set.
//!
//! What is compared is what a running kernel builds on: the vendor (other model-specific registers, other faults), the feature words, the
//! width of physical addresses (a page table may use them all), and the places of the parts of the extended state, in which it is saved.
//! Caches, topology, the model's number and the brand may differ: they are what they were, and nothing breaks by them.

use kvm_bindings::kvm_cpuid_entry2;

use super::features::{Missing, WIDTHS_LEAF, Widths, answer};

/// Why a guest cannot go on here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElsewhereError {
    /// Another vendor's processor.
    #[error("the guest was saved on a processor of {saved}, and this machine's is of {here}")]
    Vendor {
        /// The vendor where it was saved, as its processors say.
        saved: String,
        /// The vendor here.
        here: String,
    },
    /// Features that are not here.
    #[error(
        "this machine's processor lacks what the guest was shown: {missing}; let it go on where there is all of it, and start guests that are \
         to move between such machines with the `pool` CPU model"
    )]
    Missing {
        /// What is missing.
        missing: Missing,
    },
    /// Narrower addresses.
    #[error("the guest was shown physical addresses of {saved} bits, and this machine has {here}")]
    Addresses {
        /// Bits where it was saved.
        saved: u32,
        /// Bits here.
        here: u32,
    },
    /// Another layout.
    #[error(
        "this machine's processor has part {component} of the extended state in another place than where the guest was saved"
    )]
    Layout {
        /// The component's number: the bit of XCR0.
        component: u32,
    },
}

/// Compares what a guest was shown with what this machine supports. Pure; hostile as any file, `saved` may hold anything.
pub(super) fn check(saved: &[kvm_cpuid_entry2], here: &[kvm_cpuid_entry2]) -> Result<(), ElsewhereError> {
    let (was, is) = (vendor(saved), vendor(here));
    if was != is {
        return Err(ElsewhereError::Vendor { saved: was, here: is });
    }
    if let Some(missing) = Missing::find(|leaf, subleaf| answer(saved, leaf, subleaf), here) {
        return Err(ElsewhereError::Missing { missing });
    }
    let widths = |entries| Widths(answer(entries, WIDTHS_LEAF, 0)[0]).physical();
    let (was, is) = (widths(saved), widths(here));
    if was > is {
        return Err(ElsewhereError::Addresses { saved: was, here: is });
    }
    layout(saved, here)
}

/// Each part of the extended state that the guest may have must be as long, and lie where it lay.
fn layout(saved: &[kvm_cpuid_entry2], here: &[kvm_cpuid_entry2]) -> Result<(), ElsewhereError> {
    const EXTENDED_STATE: u32 = 0xd;
    let components = answer(saved, EXTENDED_STATE, 0)[0];
    for component in (2..32).filter(|component| components >> component & 1 == 1) {
        let place = |entries| {
            let [size, offset, ..] = answer(entries, EXTENDED_STATE, component);
            (size, offset)
        };
        if place(saved) != place(here) {
            return Err(ElsewhereError::Layout { component });
        }
    }
    Ok(())
}

/// The vendor's name: EBX, EDX and ECX of leaf 0. What is no text is shown as such.
fn vendor(entries: &[kvm_cpuid_entry2]) -> String {
    let [_, ebx, ecx, edx] = answer(entries, 0, 0);
    let name: Vec<u8> = [ebx, edx, ecx].into_iter().flat_map(u32::to_le_bytes).collect();
    name.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::row;
    use super::*;

    fn vendor_row(name: [u8; 12]) -> kvm_cpuid_entry2 {
        let word = |at: usize| u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]);
        row(0, 0, [0xd, word(0), word(8), word(4)])
    }

    /// A processor of AMD's with AVX2, 48 bits of address and AVX's state at 576.
    fn processor() -> Vec<kvm_cpuid_entry2> {
        vec![
            vendor_row(*b"AuthenticAMD"),
            row(7, 0, [0, 1 << 5, 0, 0]),
            row(0xd, 0, [0b111, 832, 832, 0]),
            row(0xd, 2, [256, 576, 0, 0]),
            row(WIDTHS_LEAF, 0, [0x3030, 0, 0, 0]),
        ]
    }

    fn changed(at: usize, other: kvm_cpuid_entry2) -> Vec<kvm_cpuid_entry2> {
        let mut entries = processor();
        entries[at] = other;
        entries
    }

    #[test]
    fn a_guest_goes_on_where_it_was_and_where_there_is_more() {
        let more = [
            changed(1, row(7, 0, [0, 1 << 5 | 1 << 8, 0, 0])),
            changed(4, row(WIDTHS_LEAF, 0, [0x3034, 0, 0, 0])),
        ];
        for here in [vec![processor()], more.to_vec()].concat() {
            assert_eq!(check(&processor(), &here), Ok(()));
        }
    }

    #[test]
    fn what_this_machine_lacks_is_named() {
        let without = changed(1, row(7, 0, [0; 4]));
        let error = check(&processor(), &without).unwrap_err().to_string();
        assert!(
            error.contains("was shown: avx2;") && error.contains("`pool`"),
            "{error}"
        );
        assert_eq!(check(&without, &processor()), Ok(()), "the other way it has more");
    }

    #[test]
    fn another_vendor_narrower_addresses_and_another_layout_are_each_refused_for_what_they_are() {
        let vendor = check(&processor(), &changed(0, vendor_row(*b"GenuineIntel")));
        assert_eq!(
            vendor,
            Err(ElsewhereError::Vendor {
                saved: "AuthenticAMD".to_owned(),
                here: "GenuineIntel".to_owned()
            })
        );
        let narrow = check(&processor(), &changed(4, row(WIDTHS_LEAF, 0, [0x302b, 0, 0, 0])));
        assert_eq!(narrow, Err(ElsewhereError::Addresses { saved: 48, here: 43 }));
        let moved = check(&processor(), &changed(3, row(0xd, 2, [256, 640, 0, 0])));
        assert_eq!(moved, Err(ElsewhereError::Layout { component: 2 }));
    }

    #[test]
    fn what_a_running_guest_has_switched_on_is_no_feature_that_is_missing() {
        // OSXSAVE and OSPKE follow CR4; several vCPUs set HTT and CMP_LEGACY.
        let running = [
            processor(),
            vec![
                row(1, 0, [0, 0, 1 << 27, 1 << 28]),
                row(0x8000_0001, 0, [0, 0, 1 << 1, 0]),
            ],
        ];
        assert_eq!(check(&running.concat(), &processor()), Ok(()));
    }

    proptest! {
        #[test]
        fn no_answers_break_the_comparison(
            saved in proptest::collection::vec((0..40_u32, 0..4_u32, any::<[u32; 4]>()), 0..40),
            extended: bool,
        ) {
            let base = if extended { 0x8000_0000 } else { 0 };
            let saved: Vec<_> = saved.into_iter().map(|(leaf, index, bits)| row(base + leaf, index, bits)).collect();
            // What was saved here goes on here.
            prop_assert_eq!(check(&saved, &saved), Ok(()));
            let _verdict = check(&saved, &processor()).map_err(|error| error.to_string());
        }
    }
}
