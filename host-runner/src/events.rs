//! The event stream: a bounded ring that readers pull from, each at its own pace.
//!
//! A reader that falls behind the ring is told so and reads the snapshot again; it can never hold the agent up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use api::{EventBody, EventCursor};
use tokio::sync::watch;

/// The most events that are held.
const EVENTS_MAX: usize = 4096;
/// The most bytes of JSON that are held.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// The most events that one read returns.
const BATCH_MAX: usize = 64;

/// The events after the cursor are no longer held, or are of another run of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the events after {after} are no longer held; read the snapshot again")]
pub struct EventsLost {
    /// What was asked for.
    pub after: EventCursor,
}

/// An event as it is sent: its place, and its body in JSON, encoded once for all readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub cursor: EventCursor,
    /// The [`EventBody`] in JSON.
    pub json: Arc<str>,
}

#[derive(Debug)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// The number of the last event; 0 before the first.
    last: u64,
}

/// The ring and the bell that rings when it grows.
#[derive(Debug)]
pub struct EventLog {
    epoch: u64,
    ring: Mutex<Ring>,
    last: watch::Sender<u64>,
}

impl EventLog {
    /// An empty log; `epoch` tells this run of the agent from all others.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            ring: Mutex::new(Ring {
                entries: VecDeque::new(),
                bytes: 0,
                last: 0,
            }),
            last: watch::Sender::new(0),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // The ring is consistent between any two statements that could panic, so a poisoned lock is still good.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends an event and wakes the readers.
    pub fn publish(&self, body: &EventBody) {
        let json: Arc<str> = match serde_json::to_string(body) {
            Ok(json) => json.into(),
            Err(error) => {
                tracing::error!(%error, "an event cannot be encoded and is left out");
                return;
            }
        };
        let mut ring = self.ring();
        ring.last += 1;
        ring.bytes += json.len();
        let cursor = EventCursor {
            epoch: self.epoch,
            sequence: ring.last,
        };
        ring.entries.push_back(Entry { cursor, json });
        while ring.entries.len() > EVENTS_MAX || ring.bytes > BYTES_MAX {
            let Some(oldest) = ring.entries.pop_front() else {
                break;
            };
            ring.bytes -= oldest.json.len();
        }
        let last = ring.last;
        drop(ring);
        self.last.send_replace(last);
    }

    /// The place after the newest event.
    pub fn cursor(&self) -> EventCursor {
        EventCursor {
            epoch: self.epoch,
            sequence: self.ring().last,
        }
    }

    /// The next events after `after`, at most 64; empty when there are none yet.
    pub fn read(&self, after: EventCursor) -> Result<Vec<Entry>, EventsLost> {
        let ring = self.ring();
        let first_held = ring
            .entries
            .front()
            .map_or(ring.last + 1, |entry| entry.cursor.sequence);
        if after.epoch != self.epoch || after.sequence > ring.last || after.sequence + 1 < first_held {
            return Err(EventsLost { after });
        }
        let skip = usize::try_from(after.sequence + 1 - first_held).unwrap_or(usize::MAX);
        Ok(ring.entries.iter().skip(skip).take(BATCH_MAX).cloned().collect())
    }

    /// A bell that changes with every event.
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn deleted(number: u128) -> EventBody {
        EventBody::InstanceDeleted {
            id: Uuid::from_u128(number),
        }
    }

    #[test]
    fn a_reader_gets_what_follows_its_cursor_in_order() {
        let log = EventLog::new(7);
        let start = log.cursor();
        for number in 0..3 {
            log.publish(&deleted(number));
        }
        let sequences: Vec<u64> = log
            .read(start)
            .unwrap()
            .iter()
            .map(|entry| entry.cursor.sequence)
            .collect();
        assert_eq!(sequences, [1, 2, 3]);
        assert_eq!(log.read(log.cursor()), Ok(Vec::new()));
    }

    #[test]
    fn a_cursor_of_another_run_or_of_the_future_is_lost() {
        let log = EventLog::new(7);
        log.publish(&deleted(1));
        for (epoch, sequence) in [(8, 0), (7, 2)] {
            let after = EventCursor { epoch, sequence };
            assert_eq!(log.read(after), Err(EventsLost { after }));
        }
    }

    #[test]
    fn the_ring_is_bounded_and_says_so_to_those_who_fell_behind() {
        let log = EventLog::new(1);
        let start = log.cursor();
        for number in 0..=EVENTS_MAX as u128 {
            log.publish(&deleted(number));
        }
        assert_eq!(log.read(start), Err(EventsLost { after: start }));
        let held = EventCursor {
            epoch: 1,
            sequence: 1,
        };
        assert_eq!(log.read(held).unwrap().len(), BATCH_MAX);
        assert_eq!(log.ring().entries.len(), EVENTS_MAX);
    }

    #[test]
    fn large_events_push_out_old_ones_by_their_size() {
        let log = EventLog::new(1);
        let instances = vec![
            (
                Uuid::nil(),
                api::InstanceUsage {
                    cpu_percent: 1.0,
                    memory_mib: api::Mib(1)
                }
            );
            8000
        ];
        let host = crate::admission::tests::usage();
        for _ in 0..20 {
            log.publish(&EventBody::UsageSampled {
                host: host.clone(),
                instances: instances.clone(),
            });
        }
        assert!(log.ring().bytes <= BYTES_MAX);
        assert!(log.ring().entries.len() < 20);
    }
}
