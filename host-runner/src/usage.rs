//! Samples the machine and its guests every two seconds, and notices images that come and go.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{EventBody, HostUsage, Image, InstanceUsage};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::admission;
use crate::events::EventLog;
use crate::host::{HostError, HostSample, ProcessSampler, UsageSampler};
use crate::instances::{InstanceError, Instances};

/// Time between two samples.
pub const PERIOD: Duration = Duration::from_secs(2);

/// Why there is no usage to tell.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The machine cannot be sampled.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What is promised cannot be told.
    #[error(transparent)]
    Instances(#[from] InstanceError),
}

/// The latest sample of the machine.
#[derive(Debug)]
pub struct Usage {
    sampler: Mutex<UsageSampler>,
    latest: Mutex<HostSample>,
}

impl Usage {
    /// Takes the first sample.
    pub fn new(state_dir: &Path) -> Result<Self, HostError> {
        let mut sampler = UsageSampler::new(state_dir);
        let first = sampler.sample()?;
        Ok(Self {
            sampler: Mutex::new(sampler),
            latest: Mutex::new(first),
        })
    }

    /// The latest sample, with the promises as they are at this moment.
    pub async fn now(&self, instances: &Instances) -> Result<HostUsage, UsageError> {
        let room = instances.present_room().await?;
        let sample = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(admission::usage(&sample, room))
    }

    fn take(&self) -> Result<(), HostError> {
        let sample = self
            .sampler
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .sample()?;
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = sample;
        Ok(())
    }
}

/// Samples until `cancel`.
pub async fn sample_forever(
    usage: Arc<Usage>,
    instances: Arc<Instances>,
    events: Arc<EventLog>,
    cancel: CancellationToken,
) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut guests: HashMap<u32, ProcessSampler> = HashMap::new();
    let mut images: Option<Vec<Image>> = None;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let live = live_guests(&instances).await;
        let sampled = Arc::clone(&usage);
        // The kernel's files are read where it may take its time: a busy machine's requests are answered meanwhile.
        let work = tokio::task::spawn_blocking(move || {
            let samples = sample_guests(&mut guests, live);
            (guests, samples, sampled.take())
        });
        let Ok((kept, samples, taken)) = work.await else {
            tracing::error!("the sampling broke off");
            return;
        };
        guests = kept;
        instances.registry.keep_usage(&samples).await;
        if let Err(error) = taken {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the machine cannot be sampled"
            );
            continue;
        }
        match usage.now(&instances).await {
            Ok(host) => events.publish(&EventBody::UsageSampled {
                host,
                instances: samples,
            }),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the machine cannot be sampled"
                );
            }
        }
        notice_images(&mut images, &instances, &events).await;
    }
}

async fn live_guests(instances: &Instances) -> Vec<(Uuid, u32)> {
    instances
        .registry
        .read(|records| {
            records
                .values()
                .filter_map(|record| record.live.pid.map(|pid| (record.id, pid)))
                .collect()
        })
        .await
}

fn sample_guests(
    guests: &mut HashMap<u32, ProcessSampler>,
    live: Vec<(Uuid, u32)>,
) -> Vec<(Uuid, InstanceUsage)> {
    guests.retain(|pid, _| live.iter().any(|(_, alive)| alive == pid));
    let mut samples = Vec::with_capacity(live.len());
    for (id, pid) in live {
        let sampler = guests.entry(pid).or_insert_with(|| ProcessSampler::new(pid));
        match sampler.sample() {
            Ok(Some(sample)) => samples.push((id, sample)),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(instance = %id, error = &error as &dyn std::error::Error, "a guest cannot be sampled");
            }
        }
    }
    samples
}

/// Images are built and removed by other processes: the folder is looked at, and a change is told.
async fn notice_images(known: &mut Option<Vec<Image>>, instances: &Instances, events: &EventLog) {
    match instances.images.list().await {
        Ok(now) => {
            if known.as_ref().is_some_and(|known| *known != now) {
                events.publish(&EventBody::ImagesChanged { images: now.clone() });
            }
            *known = Some(now);
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the images cannot be listed"
            );
        }
    }
}
