//! A guest that resets itself is powered on again at once; one that does nothing else is not, for ever. Pure.

use std::time::Duration;

/// A guest that ran for this long got past its boot: its reset is a reboot like any other.
pub const SETTLED: Duration = Duration::from_secs(60);
/// Resets in a row, none after [`SETTLED`], that are followed at once: whoever sets a machine up may reboot it twice in a minute.
const AT_ONCE: u32 = 2;
/// The longest wait before the next power-on.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// After as many in a row the guest has failed.
pub const RESETS_MAX: u32 = 8;

/// The resets of one power-on that came one after the other, none of them after the guest had settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResetStreak {
    /// The power-on that somebody asked for; another one begins anew.
    run: u32,
    count: u32,
    /// Whether there was any.
    any: bool,
    /// When the last one was, on the agent's own clock.
    at: Duration,
}

/// What follows a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterReset {
    /// The guest goes on now.
    PowerOn,
    /// It goes on after this long.
    Wait(Duration),
    /// It does not get past its boot.
    GiveUp,
}

impl ResetStreak {
    /// Adds a reset of a guest that had run for `ran`; unknown for one that an earlier agent powered on, which then counts as settled.
    pub fn add(&mut self, run: u32, ran: Option<Duration>, now: Duration) {
        let early = ran.is_some_and(|ran| ran < SETTLED);
        let before = if self.run == run { self.count } else { 0 };
        *self = Self {
            run,
            count: if early { before.saturating_add(1) } else { 0 },
            any: true,
            at: now,
        };
    }

    /// Whether the guest of this power-on is one that has reset itself.
    pub fn goes_on(self, run: u32) -> bool {
        self.any && self.run == run
    }

    /// What follows, for the power-on that is meant.
    pub fn next(self, run: u32, now: Duration) -> AfterReset {
        if self.run != run || self.count <= AT_ONCE {
            return AfterReset::PowerOn;
        }
        if self.count >= RESETS_MAX {
            return AfterReset::GiveUp;
        }
        let doubled = Duration::from_secs(1 << (self.count - AT_ONCE - 1).min(16));
        let left = (self.at + doubled.min(WAIT_MAX)).saturating_sub(now);
        if left.is_zero() {
            AfterReset::PowerOn
        } else {
            AfterReset::Wait(left)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Lets a guest reset itself `SECOND` after each power-on; how long each power-on was waited for.
    fn waits(streak: &mut ResetStreak, now: &mut Duration) -> Vec<Duration> {
        let mut waits = Vec::new();
        loop {
            *now += SECOND;
            streak.add(1, Some(SECOND), *now);
            match streak.next(1, *now) {
                AfterReset::GiveUp => return waits,
                AfterReset::PowerOn => waits.push(Duration::ZERO),
                AfterReset::Wait(left) => {
                    assert_eq!(streak.next(1, *now + left / 2), AfterReset::Wait(left / 2));
                    *now += left;
                    assert_eq!(streak.next(1, *now), AfterReset::PowerOn);
                    waits.push(left);
                }
            }
        }
    }

    #[test]
    fn a_guest_that_does_nothing_but_reset_itself_is_waited_for_longer_and_longer_and_then_given_up() {
        let (mut streak, mut now) = (ResetStreak::default(), Duration::ZERO);
        let waited = waits(&mut streak, &mut now);
        assert_eq!(
            waited.iter().map(Duration::as_secs).collect::<Vec<_>>(),
            [0, 0, 1, 2, 4, 8, 16]
        );
    }

    #[test]
    fn a_guest_that_had_settled_reboots_at_once_however_often() {
        let mut streak = ResetStreak::default();
        for day in 1..100 {
            let now = Duration::from_secs(86_400 * day);
            streak.add(1, Some(SETTLED), now);
            assert_eq!(streak.next(1, now), AfterReset::PowerOn);
            assert!(streak.goes_on(1) && !streak.goes_on(2));
        }
        assert!(!ResetStreak::default().goes_on(0));
    }

    #[test]
    fn one_settled_run_and_one_of_an_earlier_agents_end_the_streak() {
        for ran in [Some(SETTLED), None] {
            let (mut streak, mut now) = (ResetStreak::default(), Duration::ZERO);
            waits(&mut streak, &mut now);
            streak.add(1, ran, now);
            assert_eq!(streak.next(1, now), AfterReset::PowerOn);
            assert_eq!(waits(&mut streak, &mut now).len(), 7, "{ran:?}");
        }
    }

    #[test]
    fn a_power_on_that_somebody_asks_for_is_another_try() {
        let (mut streak, mut now) = (ResetStreak::default(), Duration::ZERO);
        waits(&mut streak, &mut now);
        assert_eq!(streak.next(1, now), AfterReset::GiveUp);
        assert_eq!(streak.next(2, now), AfterReset::PowerOn);
        streak.add(2, Some(SECOND), now);
        assert_eq!(streak.next(2, now), AfterReset::PowerOn);
    }
}
