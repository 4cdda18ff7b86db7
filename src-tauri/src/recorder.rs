//! Writes down what happens, in one task: lines of the activity list at once, measurements as means over ten seconds.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{ApiError, HostUsage, Mib};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::activity::Observed;
use crate::clock;
use crate::contract::ActivityKind;
use crate::history::{History, NewEntry, UsageSample};
use crate::pool::{Pool, Sight};

/// How many notes wait for the disk. Who tells waits then; measurements are dropped.
const NOTES_WAITING_MAX: usize = 1024;

/// How many requests are remembered, so that what follows from them carries their ids.
const REQUESTS_MAX: usize = 256;

/// What happens to an instance this long after a request no longer follows from it.
const REQUEST_AGE_MAX: Duration = Duration::from_secs(120);

/// The time over which measurements are averaged.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// Takes what there is to tell. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
    requests: Arc<Mutex<VecDeque<Request>>>,
}

#[derive(Debug)]
struct Request {
    instance: Uuid,
    id: String,
    at: Instant,
}

#[derive(Debug)]
enum Note {
    Entry(Box<NewEntry>),
    Usage(Uuid, UsageSample),
    Sights(Vec<Sight>),
}

/// The task's half; see [`RecorderTask::run`].
#[derive(Debug)]
pub struct RecorderTask {
    notes: mpsc::Receiver<Note>,
    history: History,
    pool: Arc<Pool>,
    means: HashMap<Uuid, Mean>,
}

#[derive(Debug)]
struct Mean {
    cpu_percent_sum: f64,
    samples: u32,
    last: UsageSample,
}

impl Recorder {
    /// A recorder and its task, which must be run.
    pub fn new(history: History, pool: Arc<Pool>) -> (Self, RecorderTask) {
        let (sender, notes) = mpsc::channel(NOTES_WAITING_MAX);
        let recorder = Self {
            notes: sender,
            requests: Arc::default(),
        };
        let task = RecorderTask {
            notes,
            history,
            pool,
            means: HashMap::new(),
        };
        (recorder, task)
    }

    /// What soon happens to the instance follows from this request.
    pub fn expect(&self, instance: Uuid, request_id: &str) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.retain(|request| request.instance != instance);
        if requests.len() >= REQUESTS_MAX {
            requests.pop_front();
        }
        requests.push_back(Request {
            instance,
            id: request_id.to_owned(),
            at: Instant::now(),
        });
    }

    /// Tells what was seen to happen to instances of `machine`.
    pub async fn observed(&self, machine: &str, observed: Vec<Observed>) {
        for observed in observed {
            self.tell(NewEntry {
                machine: Some(machine.to_owned()),
                instance: Some(observed.instance),
                instance_id: Some(observed.instance_id),
                took_ms: observed.took_ms,
                error: observed.error,
                request_id: self.cause(observed.instance_id),
                ..entry(observed.kind)
            })
            .await;
        }
    }

    /// Tells where instances were seen.
    pub async fn seen(&self, sights: Vec<Sight>) {
        if !sights.is_empty() {
            self.send(Note::Sights(sights)).await;
        }
    }

    /// Tells about a machine.
    pub async fn machine(&self, kind: ActivityKind, machine: &str, error: Option<ApiError>) {
        self.tell(NewEntry {
            machine: Some(machine.to_owned()),
            error,
            ..entry(kind)
        })
        .await;
    }

    /// Tells that a command was not done.
    pub async fn refused(
        &self,
        machine: Option<String>,
        instance: Option<String>,
        error: ApiError,
        request_id: &str,
    ) {
        self.tell(NewEntry {
            machine,
            instance,
            error: Some(error),
            request_id: Some(request_id.to_owned()),
            ..entry(ActivityKind::CommandRefused)
        })
        .await;
    }

    /// Takes a measurement; drops it where the disk does not keep up.
    pub fn measured(&self, machine: Uuid, usage: &HostUsage, memory_total: Mib) {
        let sample = UsageSample {
            at: clock::now(),
            cpu_percent: usage.cpu_percent.clamp(0.0, 100.0),
            memory_used: usage.memory_used_mib,
            memory_total,
        };
        let _ = self.notes.try_send(Note::Usage(machine, sample));
    }

    async fn tell(&self, entry: NewEntry) {
        self.send(Note::Entry(Box::new(entry))).await;
    }

    async fn send(&self, note: Note) {
        if self.notes.send(note).await.is_err() {
            tracing::debug!("the recorder has ended");
        }
    }

    fn cause(&self, instance: Uuid) -> Option<String> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests
            .iter()
            .find(|request| request.instance == instance && request.at.elapsed() < REQUEST_AGE_MAX)
            .map(|request| request.id.clone())
    }
}

fn entry(kind: ActivityKind) -> NewEntry {
    NewEntry {
        at: clock::now(),
        kind,
        machine: None,
        instance: None,
        instance_id: None,
        took_ms: None,
        error: None,
        request_id: None,
    }
}

impl RecorderTask {
    /// Writes notes down until `stop`, and what was told before it. A disk that fails loses lines, never the pool.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut write_means = tokio::time::interval(SAMPLE_INTERVAL);
        write_means.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                note = self.notes.recv() => match note {
                    Some(note) => self.note(note).await,
                    None => break,
                },
                _ = write_means.tick() => self.write_means().await,
                // Closed, the channel gives what is left in it, then ends.
                () = stop.cancelled(), if !self.notes.is_closed() => self.notes.close(),
            }
        }
        self.write_means().await;
    }

    async fn note(&mut self, note: Note) {
        match note {
            Note::Entry(entry) => self.write(*entry).await,
            Note::Usage(machine, sample) => self.take(machine, sample),
            Note::Sights(sights) => self.write_sights(&sights).await,
        }
    }

    async fn write(&self, entry: NewEntry) {
        match self.history.add_activity(entry).await {
            Ok(entry) => self.pool.announce(entry),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "a line of the activity list is lost"
            ),
        }
    }

    async fn write_sights(&self, sights: &[Sight]) {
        if let Err(error) = self.history.add_sights(sights, clock::now()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "where instances were seen is lost"
            );
        }
    }

    fn take(&mut self, machine: Uuid, sample: UsageSample) {
        let mean = self.means.entry(machine).or_insert(Mean {
            cpu_percent_sum: 0.0,
            samples: 0,
            last: sample,
        });
        mean.cpu_percent_sum += sample.cpu_percent;
        mean.samples += 1;
        mean.last = sample;
    }

    async fn write_means(&mut self) {
        let samples: Vec<(Uuid, UsageSample)> = self
            .means
            .drain()
            .map(|(machine, mean)| {
                let cpu_percent = mean.cpu_percent_sum / f64::from(mean.samples);
                (
                    machine,
                    UsageSample {
                        cpu_percent,
                        ..mean.last
                    },
                )
            })
            .collect();
        if samples.is_empty() {
            return;
        }
        let now = clock::now();
        if let Err(error) = self.history.add_usage(&samples, now).await {
            tracing::error!(error = &error as &dyn std::error::Error, "measurements are lost");
        }
    }
}
