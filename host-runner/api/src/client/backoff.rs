//! When to try again.

use std::time::Duration;

/// Waiting times between attempts: they double up to a cap, and each is drawn evenly from zero to its bound ("full jitter"), so that
/// many desktops do not return to a machine in step.
///
/// Pure: the randomness is handed in. Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// The first bound is `base`, no bound exceeds `cap`; a `cap` below `base` is both.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base: base.min(cap),
            cap,
            failures: 0,
        }
    }

    /// How many attempts have failed since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The longest wait after the next failure.
    pub fn bound(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }

    /// Counts a failure and answers how long to wait before the next attempt: `unit` of [`bound`](Self::bound).
    ///
    /// `unit` is random, even over 0..1; what lies outside, or is not a number, is taken as the nearer end, or 1.
    pub fn after_failure(&mut self, unit: f64) -> Duration {
        let unit = if unit.is_nan() { 1.0 } else { unit.clamp(0.0, 1.0) };
        let wait = self.bound().mul_f64(unit);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// Forgets the failures.
    pub fn after_success(&mut self) {
        self.failures = 0;
    }
}

impl Default for Backoff {
    /// From one second to half a minute.
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(10));
        let waits: Vec<u64> = (0..6).map(|_| backoff.after_failure(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10]);
        backoff.after_success();
        assert_eq!(backoff.bound(), Duration::from_secs(1));
    }

    #[test]
    fn the_whole_range_down_to_zero_is_used() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.after_failure(0.0), Duration::ZERO);
        assert_eq!(backoff.after_failure(0.5), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn no_wait_exceeds_its_bound_or_the_cap(
            base_ms in 0_u64..100_000, cap_ms in 0_u64..1_000_000, failures in 0_u32..100, unit in prop::num::f64::ANY,
        ) {
            let mut backoff = Backoff::new(Duration::from_millis(base_ms), Duration::from_millis(cap_ms));
            for _ in 0..failures {
                backoff.after_failure(unit);
            }
            let bound = backoff.bound();
            prop_assert!(bound <= Duration::from_millis(cap_ms));
            let wait = backoff.after_failure(unit);
            prop_assert!(wait <= bound);
            prop_assert!(backoff.bound() >= bound, "bounds never shrink while attempts fail");
        }
    }
}
