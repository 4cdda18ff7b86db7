//! When a disk gives way to its driver, so that requests come in crowds.
//!
//! A kick brings the devices' thread to a processor; what the page cache has is at hand, and the thread is done with a request before the
//! driver has added the next one. So each request costs the guest an exit and an interrupt, and the thread a way to its sleep and back, and
//! a quick disk is a slow one: QEMU's, which takes its time, finds several requests at once. Where vCPU and thread share a processor, the
//! kick has even stopped the driver. If the thread gives way before it looks at the rings for the last time, while no kicks are wanted, the
//! driver adds all that it has, and one interrupt answers all of it (decision record 0017 has the measurements).
//!
//! That pays only if a request takes less time so. A driver that waits for its only request adds nothing; a guest that has something else to
//! compute, or another one on this processor, keeps it for a slice of time. So giving way is tried now and then, and kept up while it pays.
//!
//! ```text
//!               paid
//!      .-----------------------.
//!      v                       |
//!   crowds ----------------> alone --.  did not pay: the rest until the
//!  (each turn)  three times   ^      |  next try doubles
//!              did not pay    '------'
//! ```

use std::time::{Duration, Instant};

/// How many turns pass until giving way is tried again, at first and at most.
const REST_MIN: u32 = 16;
const REST_MAX: u32 = 1024;
/// How often in a row it may fail to pay before it is given up.
const MISSES_MAX: u32 = 3;
/// After so long without a request, the time between two turns says how much the guest has to do, and nothing of the disk.
const PAUSE: Duration = Duration::from_millis(20);
/// How long it is given way at most without another request.
const PATIENCE_MAX: Duration = Duration::from_micros(500);
/// A turn counts as the eighth part in what is usual.
const WEIGHT: u32 = 8;

/// What giving way takes of the host.
pub struct Host {
    pub now: fn() -> Instant,
    /// Lets other threads have this one's processor for once.
    pub give_way: Box<dyn FnMut() + Send>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            now: Instant::now,
            give_way: Box::new(std::thread::yield_now),
        }
    }
}

/// Decides when to give way, from how long requests take with and without it.
///
/// A turn is a look at the rings that found requests. It takes from its beginning to that of the next one: so the guest's part is in it.
#[derive(Debug)]
pub struct GiveWay {
    state: State,
    last: Option<Turn>,
    /// How long a request usually takes in turns that do not give way. Unknown until there were two in a row.
    usual: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Each turn gives way.
    Crowds { misses: u32 },
    /// The turn after `left` more does.
    Alone { rest: u32, left: u32 },
}

#[derive(Debug, Clone, Copy)]
struct Turn {
    began: Instant,
    requests: u32,
    gave_way: bool,
}

impl Default for GiveWay {
    fn default() -> Self {
        Self {
            state: State::Alone {
                rest: REST_MIN,
                left: REST_MIN,
            },
            last: None,
            usual: None,
        }
    }
}

impl GiveWay {
    /// A turn begins that has found so many requests, at least one. True if the thread is to give way now; [`added`](Self::added) is to be
    /// called after that.
    pub fn begin(&mut self, now: Instant, requests: u32) -> bool {
        let last = self.last.take();
        let took = last.map(|last| now.saturating_duration_since(last.began));
        if let (Some(last), Some(took)) = (last, took.filter(|took| *took < PAUSE)) {
            self.learn(last.gave_way, took / last.requests.max(1));
        }
        let gives_way = self.is_due();
        self.last = Some(Turn {
            began: now,
            requests,
            gave_way: gives_way,
        });
        gives_way
    }

    /// How long it is given way without another request: half of what one usually takes.
    pub fn patience(&self) -> Duration {
        (self.usual.unwrap_or_default() / 2).min(PATIENCE_MAX)
    }

    /// What the driver has added while the thread gave way.
    pub fn added(&mut self, requests: u32) {
        if requests == 0 {
            // The turn was like any other, but for the time that was given away for nothing.
            self.last = None;
            self.missed();
        } else if let Some(last) = &mut self.last {
            last.requests = last.requests.saturating_add(requests);
        }
    }

    fn is_due(&mut self) -> bool {
        match &mut self.state {
            State::Crowds { .. } => true,
            State::Alone { left, .. } => {
                *left = left.saturating_sub(1);
                *left == 0 && self.usual.is_some()
            }
        }
    }

    /// Takes note of how long each request of a turn took. Less by an eighth is a gain, less than that may be luck.
    fn learn(&mut self, gave_way: bool, each: Duration) {
        match self.usual {
            Some(usual) if gave_way && each <= usual * 7 / 8 => self.state = State::Crowds { misses: 0 },
            _ if gave_way => self.missed(),
            Some(usual) => self.usual = Some((usual * (WEIGHT - 1) + each) / WEIGHT),
            None => self.usual = Some(each),
        }
    }

    fn missed(&mut self) {
        self.state = match self.state {
            State::Crowds { misses } if misses + 1 < MISSES_MAX => State::Crowds { misses: misses + 1 },
            State::Crowds { .. } => State::Alone {
                rest: REST_MIN,
                left: REST_MIN,
            },
            State::Alone { rest, .. } => {
                let rest = rest.saturating_mul(2).min(REST_MAX);
                State::Alone { rest, left: rest }
            }
        };
    }
}
