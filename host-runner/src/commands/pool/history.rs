//! What an agent still knows of the past: it keeps its latest events, and samples of usage are among them.

use std::collections::HashMap;
use std::time::Duration;

use api::client::{Client, ClientError, EventStream, RequestContext};
use api::{EventBody, EventCursor, Snapshot, Timestamp};
use futures::StreamExt as _;
use pool::inventory::UsageSeries;
use uuid::Uuid;

/// The most events that an agent keeps, and that are read here.
const EVENTS_MAX: u64 = 4096;
/// How long the past may take to read; what has come until then is used.
const DEADLINE: Duration = Duration::from_secs(10);
/// The distance of samples in an inventory, in seconds: an agent samples every two seconds, which is finer than any plan needs.
const STEP_S: u32 = 60;
/// What stands for a minute in which nothing was measured.
const UNMEASURED: f64 = -1.0;

/// CPU in use, in threads, at moments in milliseconds since 1970-01-01 UTC.
#[derive(Debug, Default)]
pub(super) struct Samples(Vec<(i64, f64)>);

impl Samples {
    fn push(&mut self, at: Timestamp, threads: f64) {
        self.0.push((at.unix_ms(), threads));
    }

    /// Means over minutes, ending with the newest sample; `None` where there is none.
    ///
    /// Samples from after the newest are from before a clock was set back, and are left out.
    pub(super) fn series(&self) -> Option<UsageSeries> {
        let (newest_ms, _) = *self.0.last()?;
        let mut minutes: Vec<(f64, f64)> = Vec::new();
        for (at_ms, threads) in &self.0 {
            let Some(minute) = minute_before(newest_ms, *at_ms) else {
                continue;
            };
            if minutes.len() <= minute {
                minutes.resize(minute + 1, (0.0, 0.0));
            }
            if let Some((sum, count)) = minutes.get_mut(minute) {
                *sum += threads;
                *count += 1.0;
            }
        }
        let mean = |(sum, count): (f64, f64)| if count > 0.0 { sum / count } else { UNMEASURED };
        Some(UsageSeries {
            last_at_s: newest_ms.div_euclid(1_000),
            step_s: STEP_S,
            values: minutes.into_iter().rev().map(mean).collect(),
        })
    }
}

/// How many whole minutes lie between; `None` outside of what a series holds.
fn minute_before(newest_ms: i64, at_ms: i64) -> Option<usize> {
    let age_ms = newest_ms.checked_sub(at_ms)?;
    let minute = usize::try_from(age_ms / (i64::from(STEP_S) * 1_000)).ok()?;
    (age_ms >= 0 && minute < UsageSeries::SAMPLES_MAX).then_some(minute)
}

/// The past of a machine and its instances.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) machine: Samples,
    pub(super) instances: HashMap<Uuid, Samples>,
}

impl History {
    fn take(&mut self, body: &EventBody, threads: u32) {
        let EventBody::UsageSampled { host, instances } = body else {
            return;
        };
        let at = host.sampled_at;
        self.machine
            .push(at, host.cpu_percent / 100.0 * f64::from(threads));
        for (id, usage) in instances {
            let samples = self.instances.entry(*id).or_default();
            samples.push(at, usage.cpu_percent / 100.0);
        }
    }
}

/// Reads what the agent still knows. An agent that will not tell has no past: the snapshot is enough to plan with.
pub(super) async fn read(client: &Client, context: &RequestContext, snapshot: &Snapshot) -> History {
    let mut history = History::default();
    let until = snapshot.cursor;
    let reading = async {
        let Some(events) = oldest(client, context, until).await? else {
            return Ok(());
        };
        follow(events, until, |body| history.take(body, snapshot.host.threads)).await
    };
    match tokio::time::timeout(DEADLINE, reading).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(
            machine = snapshot.host.hostname,
            error = &error as &dyn std::error::Error,
            "the past usage cannot be read"
        ),
        Err(_) => tracing::warn!(
            machine = snapshot.host.hostname,
            "the past usage takes too long to read"
        ),
    }
    if history.machine.0.is_empty() {
        let usage = EventBody::UsageSampled {
            host: snapshot.usage.clone(),
            instances: (snapshot.instances.iter())
                .filter_map(|instance| Some((instance.id, instance.usage.clone()?)))
                .collect(),
        };
        history.take(&usage, snapshot.host.threads);
    }
    history
}

/// The events from about the oldest that the agent holds. Which that is it does not say: it refuses what is too old, so less and less
/// is asked for.
async fn oldest(
    client: &Client,
    context: &RequestContext,
    until: EventCursor,
) -> Result<Option<EventStream>, ClientError> {
    let mut back = until.sequence.min(EVENTS_MAX);
    while back > 0 {
        let after = EventCursor {
            sequence: until.sequence - back,
            ..until
        };
        match client.events(context, after).await {
            Ok(events) => return Ok(Some(events)),
            Err(ClientError::Refused { error, .. }) if error.code == api::ErrorCode::EventsLost => {
                // A quarter less each time: at most that much of the past is missed.
                back = back * 3 / 4;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

async fn follow(
    mut events: EventStream,
    until: EventCursor,
    mut take: impl FnMut(&EventBody),
) -> Result<(), ClientError> {
    for _ in 0..EVENTS_MAX {
        let Some(event) = events.next().await else {
            return Ok(());
        };
        let event = event?;
        take(&event.body);
        if event.cursor >= until {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[(i64, f64)]) -> Samples {
        Samples(
            values
                .iter()
                .map(|(at_s, threads)| (at_s * 1_000, *threads))
                .collect(),
        )
    }

    #[test]
    fn samples_become_means_over_minutes_that_end_with_the_newest() {
        let series = samples(&[(0, 1.0), (30, 2.0), (61, 3.0), (100, 5.0)])
            .series()
            .unwrap();
        assert_eq!((series.last_at_s, series.step_s), (100, 60));
        assert_eq!(series.values, [1.5, 4.0]);
    }

    #[test]
    fn a_minute_without_samples_is_marked_as_unmeasured_and_not_as_idle() {
        let series = samples(&[(0, 1.0), (200, 2.0)]).series().unwrap();
        assert_eq!(series.values, [1.0, -1.0, -1.0, 2.0]);
        assert_eq!(series.measured().collect::<Vec<_>>(), [1.0, 2.0]);
    }

    #[test]
    fn what_was_sampled_before_the_clock_was_set_back_is_left_out() {
        let series = samples(&[(5_000, 9.0), (10, 1.0), (20, 3.0)]).series().unwrap();
        assert_eq!((series.last_at_s, series.values), (20, vec![2.0]));
    }

    #[test]
    fn a_clock_that_jumped_ahead_by_years_does_not_make_a_series_of_years() {
        let series = samples(&[(0, 1.0), (2_000_000_000, 2.0)]).series().unwrap();
        assert_eq!(series.values, [2.0]);
        let extremes = Samples(vec![(i64::MIN, 1.0), (i64::MAX, 2.0)]);
        assert_eq!(extremes.series().unwrap().values, [2.0]);
        assert!(Samples::default().series().is_none());
    }
}
