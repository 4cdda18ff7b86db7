//! How much a guest may do: token buckets for bytes and operations, and the timer that wakes a device when tokens are back.
//!
//! The buckets are pure: they are told the time. [`RateLimiter`] gives them a clock.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use vmm_sys_util::timerfd::TimerFd;

use crate::config::{BucketConfig, RateLimits};
use crate::devices::virtio::Source;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// The longest a timer sleeps before the buckets are asked again.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// The shortest: below, a guest would turn its limit into a storm of timers.
const SLEEP_MIN: Duration = Duration::from_micros(100);

/// A token bucket: it fills with time, to its burst, and each thing done takes from it.
///
/// What is asked for is given while there is as much of it in the bucket, or while the bucket is full: a request larger than the burst
/// goes as soon as a request of the burst's size would, and leaves a debt that time pays off. So nothing starves, and in no window of
/// time is more given than `max(burst, largest request) + per_second * window`.
///
/// The arithmetic is exact: a balance is counted in billionths of a token, in which a nanosecond brings `per_second`.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    per_second: i128,
    burst: i128,
    /// In billionths of a token; negative while there is a debt.
    balance: i128,
    /// When the balance was right.
    at: Duration,
}

impl TokenBucket {
    /// A full bucket at the time `now`, which is counted from any moment that does not change.
    ///
    /// A rate of 0 counts as 1: a guest whose disk never answers does not learn that it is limited, it hangs.
    pub fn new(config: BucketConfig, now: Duration) -> Self {
        let burst = i128::from(config.burst) * NANOS_PER_SECOND;
        Self {
            per_second: i128::from(config.per_second.max(1)),
            burst,
            balance: burst,
            at: now,
        }
    }

    /// How long until `tokens` can be taken: zero when they can be taken now. A clock that stands still or goes back brings nothing.
    pub fn wait(&mut self, tokens: u64, now: Duration) -> Duration {
        self.fill(now);
        let missing = self.needed(tokens) - self.balance;
        if missing <= 0 {
            return Duration::ZERO;
        }
        let nanos = (missing - 1) / self.per_second + 1;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Takes `tokens`, whether there are as many or not: for what has been [waited](Self::wait) for.
    fn take(&mut self, tokens: u64) {
        self.balance -= i128::from(tokens) * NANOS_PER_SECOND;
    }

    fn needed(&self, tokens: u64) -> i128 {
        (i128::from(tokens) * NANOS_PER_SECOND).min(self.burst)
    }

    fn fill(&mut self, now: Duration) {
        let Some(passed) = now.checked_sub(self.at) else {
            return;
        };
        let nanos = i128::try_from(passed.as_nanos()).unwrap_or(i128::MAX);
        let brought = nanos.saturating_mul(self.per_second);
        self.balance = self.balance.saturating_add(brought).min(self.burst);
        self.at = now;
    }
}

/// The buckets of one device: bytes and operations, of which each may be without limit.
#[derive(Debug, Clone)]
pub struct Buckets {
    bytes: Option<TokenBucket>,
    operations: Option<TokenBucket>,
}

impl Buckets {
    /// Full buckets at the time `now`.
    pub fn new(limits: &RateLimits, now: Duration) -> Self {
        Self {
            bytes: limits.bytes.map(|config| TokenBucket::new(config, now)),
            operations: limits.operations.map(|config| TokenBucket::new(config, now)),
        }
    }

    /// Takes from both, or from neither; then the error says how long it is until both can give.
    pub fn take(&mut self, operations: u64, bytes: u64, now: Duration) -> Result<(), Duration> {
        let waits = [
            self.bytes.as_mut().map(|bucket| bucket.wait(bytes, now)),
            self.operations
                .as_mut()
                .map(|bucket| bucket.wait(operations, now)),
        ];
        let wait = waits.into_iter().flatten().max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes);
        }
        if let Some(bucket) = &mut self.operations {
            bucket.take(operations);
        }
        Ok(())
    }
}

/// The limit of a device, with a clock and a timer.
///
/// A device asks [`take`](Self::take) before it does something. When that says no, it leaves the rest where it is (in the ring, in the
/// socket) and goes on when [`source`](Self::source) wakes it. Without limits it costs nothing: no timer, no look at a clock.
#[derive(Debug)]
pub struct RateLimiter {
    limited: Option<Limited>,
}

#[derive(Debug)]
struct Limited {
    buckets: Buckets,
    epoch: Instant,
    timer: TimerFd,
}

impl RateLimiter {
    /// A limiter with full buckets. Fails when the system gives no timer.
    pub fn new(limits: &RateLimits) -> io::Result<Self> {
        if limits.bytes.is_none() && limits.operations.is_none() {
            return Ok(Self { limited: None });
        }
        let timer = TimerFd::new().map_err(io::Error::from)?;
        Ok(Self {
            limited: Some(Limited {
                buckets: Buckets::new(limits, Duration::ZERO),
                epoch: Instant::now(),
                timer,
            }),
        })
    }

    /// Whether the guest may do `operations` of together `bytes` now. If not, the timer is set for when it may.
    pub fn take(&mut self, operations: u64, bytes: u64) -> bool {
        let Some(limited) = &mut self.limited else {
            return true;
        };
        let now = limited.epoch.elapsed();
        match limited.buckets.take(operations, bytes, now) {
            Ok(()) => true,
            Err(wait) => {
                let armed = limited.timer.reset(wait.clamp(SLEEP_MIN, SLEEP_MAX), None);
                // A timer that cannot be set would never wake the device: then the guest goes unlimited, rather than dead.
                armed.is_err()
            }
        }
    }

    /// What wakes the device when tokens are back; `None` without limits. There is nothing to read from it: it is edge-triggered, and
    /// each setting of the timer gives one edge.
    pub fn source(&self, token: u32) -> Option<Source> {
        self.limited.as_ref().map(|limited| Source {
            descriptor: limited.timer.as_raw_fd(),
            token,
            edge: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(per_second: u64, burst: u64) -> TokenBucket {
        TokenBucket::new(BucketConfig { per_second, burst }, Duration::ZERO)
    }

    fn try_take(bucket: &mut TokenBucket, tokens: u64, now: Duration) -> bool {
        let granted = bucket.wait(tokens, now).is_zero();
        if granted {
            bucket.take(tokens);
        }
        granted
    }

    fn limits(bytes: Option<(u64, u64)>, operations: Option<(u64, u64)>) -> RateLimits {
        let config = |(per_second, burst)| BucketConfig { per_second, burst };
        RateLimits {
            bytes: bytes.map(config),
            operations: operations.map(config),
        }
    }

    proptest! {
        #[test]
        fn no_window_gives_more_than_the_burst_and_what_time_brought(
            per_second in 1_u64..1_000_000_000, burst in 0_u64..1_000_000,
            asked in prop::collection::vec((0_u64..50_000_000, 0_u64..2_000_000), 1..60),
        ) {
            let mut bucket = bucket(per_second, burst);
            let mut now = Duration::ZERO;
            let mut given = Vec::new();
            for (nanos, tokens) in asked {
                now += Duration::from_nanos(nanos);
                if try_take(&mut bucket, tokens, now) {
                    given.push((now, tokens));
                }
            }
            for (from, (start, _)) in given.iter().enumerate() {
                let (mut sum, mut largest) = (0_u128, 0);
                for (end, tokens) in &given[from..] {
                    sum += u128::from(*tokens);
                    largest = largest.max(*tokens);
                    let billionths = end.saturating_sub(*start).as_nanos() * u128::from(per_second);
                    prop_assert!((sum - u128::from(burst.max(largest)).min(sum)) * 1_000_000_000 <= billionths);
                }
            }
        }

        #[test]
        fn who_waits_as_long_as_was_said_gets_it(
            per_second in 0_u64..u64::MAX, burst: u64, before in prop::collection::vec(any::<u32>(), 0..5), tokens: u32,
        ) {
            let mut bucket = bucket(per_second, burst);
            let mut now = Duration::ZERO;
            for tokens in before.into_iter().chain([tokens]) {
                let wait = bucket.wait(tokens.into(), now);
                now += wait;
                prop_assert!(try_take(&mut bucket, tokens.into(), now));
            }
        }

        #[test]
        fn a_wait_is_not_longer_than_needed(per_second in 1_u64..u64::MAX, burst in 1_u64..u64::MAX, first in 1_u64.., second in 1_u64..) {
            let mut bucket = bucket(per_second, burst);
            bucket.take(first);
            let wait = bucket.wait(second, Duration::ZERO);
            if let Some(sooner) = wait.checked_sub(Duration::from_nanos(1)) && wait < Duration::from_nanos(u64::MAX) {
                prop_assert!(!bucket.wait(second, sooner).is_zero());
            }
        }

        #[test]
        fn no_clock_and_no_amount_breaks_it(
            per_second: u64, burst: u64, asked in prop::collection::vec((any::<u64>(), any::<u64>()), 0..50),
        ) {
            let mut buckets = Buckets::new(&limits(Some((per_second, burst)), Some((per_second, burst))), Duration::ZERO);
            for (seconds, amount) in asked {
                let _granted = buckets.take(amount, amount, Duration::from_secs(seconds));
            }
        }

        #[test]
        fn a_clock_that_stands_or_goes_back_brings_no_more_than_the_burst(
            burst in 1_u64..10_000, asked in prop::collection::vec((0_u64..1000, 1_u64..500), 1..100),
        ) {
            let start = Duration::from_secs(1000);
            let mut bucket = TokenBucket::new(BucketConfig { per_second: 1_000_000, burst }, start);
            let (mut sum, mut largest) = (0, 0);
            for (back, tokens) in asked {
                if try_take(&mut bucket, tokens, start.saturating_sub(Duration::from_secs(back))) {
                    sum += tokens;
                    largest = largest.max(tokens);
                }
            }
            prop_assert!(sum <= burst.max(largest));
        }
    }

    #[test]
    fn a_request_larger_than_the_burst_goes_when_the_bucket_is_full_and_is_paid_off_later() {
        let mut bucket = bucket(100, 10);
        assert!(try_take(&mut bucket, 110, Duration::ZERO));
        assert_eq!(bucket.wait(1, Duration::ZERO), Duration::from_millis(1010));
        assert!(!try_take(&mut bucket, 1, Duration::from_millis(1009)));
        assert!(try_take(&mut bucket, 1, Duration::from_millis(1010)));
    }

    #[test]
    fn both_buckets_give_or_neither() {
        let mut buckets = Buckets::new(&limits(Some((1000, 1000)), Some((1, 1))), Duration::ZERO);
        assert_eq!(buckets.take(1, 600, Duration::ZERO), Ok(()));
        assert_eq!(buckets.take(1, 400, Duration::ZERO), Err(Duration::from_secs(1)));
        // The bytes of the refused request have not been taken.
        assert_eq!(buckets.take(0, 400, Duration::ZERO), Ok(()));
    }

    #[test]
    fn without_limits_everything_goes_and_nothing_wakes() {
        let mut limiter = RateLimiter::new(&RateLimits::default()).unwrap();
        assert!(limiter.take(u64::MAX, u64::MAX));
        assert!(limiter.source(1).is_none());
    }

    #[test]
    fn the_timer_wakes_the_device_when_the_tokens_are_back() {
        use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
        let mut limiter = RateLimiter::new(&limits(None, Some((200, 1)))).unwrap();
        let source = limiter.source(7).unwrap();
        assert_eq!((source.token, source.edge), (7, true));
        let epoll = Epoll::new().unwrap();
        let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, 7);
        epoll
            .ctl(ControlOperation::Add, source.descriptor, event)
            .unwrap();
        assert!(limiter.take(1, 0));
        for _ in 0..3 {
            assert!(!limiter.take(1, 0));
            assert_eq!(epoll.wait(10_000, &mut [EpollEvent::default()]).unwrap(), 1);
            assert!(limiter.take(1, 0));
        }
    }
}
