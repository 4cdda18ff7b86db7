//! A limit that all queue pairs of an interface share, in one direction.
//!
//! Who is refused waits in line, and who comes while others wait goes to its end: else a pair of small frames, for which there are always
//! tokens enough, would keep one of large frames from ever having them.

use std::collections::VecDeque;

use crate::rate_limit::RateLimiter;

/// A limit, and the pairs that wait for it.
pub struct SharedLimit {
    /// What gives tokens. Its timer tells when the first in line may try again.
    pub limiter: RateLimiter,
    line: VecDeque<usize>,
}

impl SharedLimit {
    /// Nobody waits yet.
    pub fn new(limiter: RateLimiter) -> Self {
        Self {
            limiter,
            line: VecDeque::new(),
        }
    }

    /// Whether a pair may try now. If not, it waits at the end of the line.
    pub fn may_try(&mut self, pair: usize) -> bool {
        if self.line.is_empty() {
            return true;
        }
        self.wait(pair);
        false
    }

    /// A pair was refused: it waits at the end of the line, if it is not in it.
    pub fn wait(&mut self, pair: usize) {
        if !self.line.contains(&pair) {
            self.line.push_back(pair);
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    /// Takes the first of the line, who may try again.
    pub fn first(&mut self) -> Option<usize> {
        self.line.pop_front()
    }

    /// Who tried again was refused at once, and is the first as before.
    pub fn still_first(&mut self, pair: usize) {
        self.line.push_front(pair);
    }

    /// Only pairs below `count` wait any longer.
    pub fn keep(&mut self, count: usize) {
        self.line.retain(|pair| *pair < count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RateLimits;

    fn limit() -> SharedLimit {
        SharedLimit::new(RateLimiter::new(&RateLimits::default()).unwrap())
    }

    #[test]
    fn who_comes_while_others_wait_waits_behind_them() {
        let mut limit = limit();
        assert!(limit.may_try(3), "nobody waits");
        limit.wait(3);
        assert!(!limit.may_try(1));
        assert!(!limit.may_try(3), "and is in the line once");
        assert_eq!((limit.waiting(), limit.first()), (2, Some(3)));
        limit.still_first(3);
        assert_eq!(
            (limit.first(), limit.first(), limit.first()),
            (Some(3), Some(1), None)
        );
        assert!(limit.may_try(1));
    }

    #[test]
    fn pairs_that_are_switched_off_wait_no_longer() {
        let mut limit = limit();
        for pair in [2, 0, 3] {
            limit.wait(pair);
        }
        limit.keep(2);
        assert_eq!((limit.first(), limit.first()), (Some(0), None));
    }
}
