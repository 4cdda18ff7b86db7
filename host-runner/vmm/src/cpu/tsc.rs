//! The time-stamp counter of a machine that was away.
//!
//! A guest that is shown an invariant counter keeps its time by it: Linux then prefers it to kvm-clock. KVM gives a new vCPU the counter's
//! saved value and lets it run on from there, so that such a guest would be late by as long as it was away. Here the saved value is moved on
//! first, as the machine moves kvm-clock on.
//!
//! All counters of a machine move by the same number of ticks: a thread that a guest moves from one vCPU to another must not see time go
//! back. The deadline of the local APIC's timer is a value of the counter, and stays: one that has passed meanwhile is due at once.
//!
//! Sources: Intel SDM volume 3, 18.17 (time-stamp counter) and 11.5.4.1 (TSC-deadline mode); AMD64 Architecture Programmer's Manual volume 2,
//! 13.2.4; the kernel's `arch/x86/kernel/kvmclock.c` (which clock is preferred) and `Documentation/virt/kvm/api.rst`, 4.55 and 4.56.

use kvm_bindings::kvm_msr_entry;

/// The counter's register.
pub(super) const IA32_TSC: u32 = 0x10;
/// The register with the value of the counter at which the local APIC's timer is due.
const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// The whole ticks of a counter of `khz` in `passed_ns`, or as many as fit.
fn ticks(passed_ns: u64, khz: u32) -> u64 {
    const NS_IN_MS: u128 = 1_000_000;
    let ticks = u128::from(passed_ns) * u128::from(khz) / NS_IN_MS;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// By how many ticks all of a machine's counters move on, which held these values `passed_ns` ago and count `khz`.
///
/// Pure. No counter goes past its end, whatever a file says of the values, the frequency and the time: the highest of them sets the bound.
pub fn advance(passed_ns: u64, khz: u32, counters: impl IntoIterator<Item = u64>) -> u64 {
    let highest = counters.into_iter().max().unwrap_or(0);
    ticks(passed_ns, khz).min(u64::MAX - highest)
}

/// The registers in the order in which KVM is to have them, with the counter moved on: the counter is first, as what follows may be compared
/// with it; the timer's deadline, which KVM compares with the counter when it is set, is last.
pub(super) fn in_order(msrs: &[kvm_msr_entry], advance: u64) -> Vec<kvm_msr_entry> {
    let mut ordered = msrs.to_vec();
    for msr in &mut ordered {
        if msr.index == IA32_TSC {
            msr.data = msr.data.saturating_add(advance);
        }
    }
    // Stable: all others stay as they were.
    ordered.sort_by_key(|msr| match msr.index {
        IA32_TSC => 0,
        IA32_TSC_DEADLINE => 2,
        _ => 1,
    });
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR_NS: u64 = 3_600_000_000_000;

    fn msr(index: u32, data: u64) -> kvm_msr_entry {
        kvm_msr_entry {
            index,
            data,
            ..Default::default()
        }
    }

    #[test]
    fn a_counter_moves_on_by_its_frequency_times_the_time() {
        assert_eq!(advance(HOUR_NS, 2_500_000, [7]), 3600 * 2_500_000_000);
        assert_eq!(advance(0, 2_500_000, [7]), 0, "no time has passed");
        assert_eq!(advance(HOUR_NS, 0, [7]), 0, "of a frequency that nobody knows");
        assert_eq!(advance(999_999, 1, [7]), 0, "a tick is not yet whole");
        assert_eq!(advance(1_000_000, 1, []), 1);
    }

    #[test]
    fn the_counter_is_set_first_and_the_deadline_stays_and_is_set_last() {
        let saved = [
            msr(IA32_TSC_DEADLINE, 900),
            msr(0x174, 1),
            msr(IA32_TSC, 500),
            msr(0x175, 2),
        ];
        let ordered = in_order(&saved, 1000);
        let expected = [
            msr(IA32_TSC, 1500),
            msr(0x174, 1),
            msr(0x175, 2),
            msr(IA32_TSC_DEADLINE, 900),
        ];
        assert_eq!(ordered, expected);
    }

    proptest! {
        #[test]
        fn no_counter_goes_back_or_past_its_end_and_their_distances_stay(
            passed_ns: u64, khz: u32, counters in proptest::collection::vec(any::<u64>(), 1..8)
        ) {
            let ticks = advance(passed_ns, khz, counters.iter().copied());
            for counter in &counters {
                prop_assert!(counter.checked_add(ticks).is_some());
            }
            let registers: Vec<_> = counters.iter().map(|counter| msr(IA32_TSC, *counter)).collect();
            for (moved, saved) in in_order(&registers, ticks).iter().zip(&counters) {
                prop_assert_eq!(moved.data - saved, ticks, "the same for each");
            }
        }

        #[test]
        fn a_longer_time_never_moves_a_counter_less(a: u64, b: u64, khz: u32, counter: u64) {
            let (less, more) = (a.min(b), a.max(b));
            prop_assert!(advance(less, khz, [counter]) <= advance(more, khz, [counter]));
        }

        #[test]
        fn ticks_are_time_again_to_the_tick(passed_ns in 0..100 * 365 * 24 * HOUR_NS, khz in 1_000_000_u32..6_000_000) {
            // A century at 6 GHz has more ticks than the counter has values; what fits is exact.
            let ticks = u128::from(advance(passed_ns, khz, [0]));
            prop_assume!(ticks < u128::from(u64::MAX));
            let back = ticks * 1_000_000 / u128::from(khz);
            prop_assert!(u128::from(passed_ns) - back <= 1);
        }
    }
}
