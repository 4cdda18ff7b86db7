//! The life of a session with a machine, as a pure function.
//!
//! ```text
//!  start ──▶ Connecting ──Up──▶ Connected ◀──Up──┐
//!              │    ▲               │            │
//!             Down  Asked          Down          │
//!              ▼    │               │            │
//!             Waiting ◀─────────────┘            │
//!              ▲    └──RetryDue──▶ Retrying ─────┘
//!              └────────Down───────────┘
//!
//!  any of these ──Down, and a person is needed──▶ Refused ──Asked──▶ Connecting
//! ```
//!
//! `Waiting` and `Retrying` look the same from outside: unreachable, with the time of the next try. Only the first connection, and one
//! that somebody asked for, shows as connecting. `Refused` stays until somebody asks.

use std::time::Duration;

use api::client::Backoff;
use api::{ApiError, Timestamp};

use crate::contract::Link;

/// A link that held this long was a good one: its loss starts the waiting times anew. A machine that accepts and drops at once stays in
/// the back-off.
pub const GOOD_LINK: Duration = Duration::from_secs(10);

/// Where a session is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// A first connection, or one that was asked for, is being made.
    Connecting,
    /// Events flow.
    Connected {
        /// Since when.
        since: Timestamp,
    },
    /// The next try is not due yet.
    Waiting {
        /// Since when the machine has not been reachable.
        since: Timestamp,
        /// Why the last try failed, or the link broke.
        error: ApiError,
        /// When the next try is due.
        retry_at: Timestamp,
    },
    /// Another try is being made.
    Retrying {
        /// Since when the machine has not been reachable.
        since: Timestamp,
        /// Why the last try failed, or the link broke.
        error: ApiError,
        /// When this try was due.
        retry_at: Timestamp,
    },
    /// Nothing is tried until somebody asks.
    Refused {
        /// Why.
        error: ApiError,
    },
}

/// What happens to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The link is up and the first snapshot has been read.
    Up,
    /// A try failed, or the link broke.
    Down {
        /// Why.
        error: ApiError,
        /// Trying again would change nothing.
        needs_a_person: bool,
    },
    /// The waiting time is over.
    RetryDue,
    /// Somebody wants a connection now.
    Asked,
}

/// What the owner of a session does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Make a connection.
    Dial,
    /// Follow the events until the link breaks.
    Follow,
    /// Wait this long, then [`Input::RetryDue`].
    Wait(Duration),
    /// Wait for somebody to ask.
    WaitForPerson,
}

/// A session's state: its phase, and how often it has failed in a row.
#[derive(Debug, Clone)]
pub struct Session {
    phase: Phase,
    backoff: Backoff,
}

impl Session {
    /// A session that is about to dial for the first time.
    pub fn new(backoff: Backoff) -> Self {
        Self {
            phase: Phase::Connecting,
            backoff,
        }
    }

    /// Where it is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// How it looks from outside.
    pub fn link(&self) -> Link {
        match &self.phase {
            Phase::Connecting => Link::Connecting,
            Phase::Connected { since } => Link::Connected { since: *since },
            Phase::Waiting {
                since,
                error,
                retry_at,
            }
            | Phase::Retrying {
                since,
                error,
                retry_at,
            } => Link::Unreachable {
                since: *since,
                error: error.clone(),
                retry_at: *retry_at,
            },
            Phase::Refused { error } => Link::Refused { error: error.clone() },
        }
    }

    /// Takes one input. Pure but for its own state: the clock and the randomness (`unit`, even over 0..1) are handed in.
    ///
    /// An input that does not fit the phase, such as a timer that fires after somebody asked, changes nothing.
    pub fn step(&mut self, input: Input, now: Timestamp, unit: f64) -> Next {
        match input {
            Input::Up => self.phase = Phase::Connected { since: now },
            Input::Down {
                error,
                needs_a_person: true,
            } => self.phase = Phase::Refused { error },
            Input::Down {
                error,
                needs_a_person: false,
            } => self.fall(error, now, unit),
            Input::RetryDue => {
                if let Phase::Waiting {
                    since,
                    error,
                    retry_at,
                } = &self.phase
                {
                    self.phase = Phase::Retrying {
                        since: *since,
                        error: error.clone(),
                        retry_at: *retry_at,
                    };
                }
            }
            Input::Asked => {
                if !matches!(self.phase, Phase::Connected { .. }) {
                    self.phase = Phase::Connecting;
                    self.backoff.after_success();
                }
            }
        }
        self.next(now)
    }

    /// What to do in the present phase.
    pub fn next(&self, now: Timestamp) -> Next {
        match &self.phase {
            Phase::Connecting | Phase::Retrying { .. } => Next::Dial,
            Phase::Connected { .. } => Next::Follow,
            Phase::Waiting { retry_at, .. } => Next::Wait(until(now, *retry_at)),
            Phase::Refused { .. } => Next::WaitForPerson,
        }
    }

    fn fall(&mut self, error: ApiError, now: Timestamp, unit: f64) {
        let since = match &self.phase {
            Phase::Waiting { since, .. } | Phase::Retrying { since, .. } => *since,
            Phase::Connected { since } => {
                if until(*since, now) >= GOOD_LINK {
                    self.backoff.after_success();
                }
                now
            }
            Phase::Connecting | Phase::Refused { .. } => now,
        };
        let wait = self.backoff.after_failure(unit);
        self.phase = Phase::Waiting {
            since,
            error,
            retry_at: later(now, wait),
        };
    }
}

/// How long from `from` to `to`; zero where `to` is earlier.
fn until(from: Timestamp, to: Timestamp) -> Duration {
    let ms = to.unix_ms().saturating_sub(from.unix_ms());
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// The moment `wait` after `from`; `from` itself at the end of the calendar.
fn later(from: Timestamp, wait: Duration) -> Timestamp {
    let ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(from.unix_ms().saturating_add(ms)).unwrap_or(from)
}
