//! The agent as a whole: everything is made, wired, and ended in order here.

mod lock;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use api::Mib;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::engines::Engines;
use crate::engines::limits::Limits;
use crate::events::EventLog;
use crate::host::{HostError, HostProbe, HostProbeSettings};
use crate::images::{ImageError, ImageStore};
use crate::instance_files::{FileError, InstanceFiles};
use crate::instances::{Instances, WRITES_MAX};
use crate::ledger::{Ledger, LedgerError};
use crate::paths::{PathError, Places};
use crate::reconcile::{COPIES_MAX, Reconciler, World};
use crate::registry::Registry;
use crate::rest;
use crate::usage::{Usage, sample_forever};

pub use lock::LockError;
pub use socket::{Door, SocketError};

/// How long the tasks may take to end the step that they are in.
const TASKS_DEADLINE: Duration = Duration::from_secs(10);
/// Where the kernel tells this boot from all others.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What the agent is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where things are kept.
    pub places: Places,
    /// The most memory that is offered to instances; `None` leaves it to the probe.
    pub offer_memory: Option<Mib>,
    /// The most disk that is offered to instances; `None` for all there is.
    pub offer_disk: Option<Mib>,
}

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A directory cannot be used.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Another agent is at work, or the lock cannot be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The socket cannot be bound.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The image store cannot be opened.
    #[error(transparent)]
    Images(#[from] ImageError),
    /// The instances' folders cannot be made.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The machine cannot be looked at.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A file of the kernel's cannot be read, or signals cannot be caught.
    #[error("cannot {operation}")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// What the system said.
        #[source]
        err: std::io::Error,
    },
}

/// Runs the agent until SIGTERM or SIGINT. Guests keep running after it.
pub async fn run(settings: Settings) -> Result<(), AgentError> {
    let files_max = raise_file_limit();
    let stop = CancellationToken::new();
    let signals = cancel_on_signal(stop.clone())?;
    let places = &settings.places;
    places.make()?;
    // With the socket's own all three: two agents must share neither a ledger, nor guests' sockets, nor their own.
    let _locks = (
        lock::take(&places.state_dir.join("agent.lock")).await?,
        lock::take(&places.runtime_dir.join("agent.lock")).await?,
    );
    let door = Door::open(&places.socket).await?;
    let (router, running) = start(&settings, &stop).await?;
    tracing::info!(socket = %places.socket.display(), state = %places.state_dir.display(), files_max, "listening");
    rest::serve(door, router, stop.clone()).await;
    tracing::info!("ending; guests keep running");
    running.end().await;
    signals.abort();
    Ok(())
}

/// What has to end in order.
struct Running {
    reconciler: Arc<Reconciler>,
    registry: Arc<Registry>,
    /// The sampler, consoles, and writes whose callers hung up.
    tasks: TaskTracker,
}

impl Running {
    async fn end(self) {
        self.tasks.close();
        let tasks = async {
            self.reconciler.ended().await;
            self.tasks.wait().await;
        };
        if tokio::time::timeout(TASKS_DEADLINE, tasks).await.is_err() {
            tracing::warn!("some tasks did not end; what they were doing is taken up at the next start");
        }
        self.registry.close().await;
    }
}

async fn start(settings: &Settings, stop: &CancellationToken) -> Result<(axum::Router, Running), AgentError> {
    let places = &settings.places;
    let files = InstanceFiles::open(&places.state_dir, &places.runtime_dir)?;
    let images = Arc::new(ImageStore::open(&places.state_dir)?);
    let probe = HostProbe::new(HostProbeSettings {
        state_dir: places.state_dir.clone(),
        runtime_dir: places.runtime_dir.clone(),
        offer_memory: settings.offer_memory,
    });
    let facts = probe.facts(&images).await?;
    let events = Arc::new(EventLog::new(epoch()));
    let ledger = Ledger::open(&places.state_dir).await?;
    let registry = Arc::new(Registry::load(ledger, Arc::clone(&events)).await?);
    let known: Vec<Uuid> = registry.read(|records| records.keys().copied().collect()).await;
    let ours = |id: Uuid| {
        let set_aside = registry.set_aside();
        known.contains(&id) || set_aside.iter().any(|row| row.uuid() == Some(id))
    };
    for stray in files.strays(ours)? {
        tracing::warn!(path = %stray.display(), "belongs to no instance of the ledger; it is left alone");
    }
    let engines = Arc::new(Engines::new(&files, &facts.hardware_virtualization));
    let world = World {
        registry: Arc::clone(&registry),
        engines: Arc::clone(&engines),
        images: Arc::clone(&images),
        files: files.clone(),
        limits: Limits::look(),
        boot_id: boot_id()?,
        copies: Semaphore::new(COPIES_MAX),
    };
    let reconciler = Arc::new(Reconciler::new(world, stop.clone()));
    let instances = Arc::new(Instances {
        registry: Arc::clone(&registry),
        reconciler: Arc::clone(&reconciler),
        engines,
        images: Arc::clone(&images),
        facts,
        files,
        offer_disk: settings.offer_disk,
        writes: Arc::new(Semaphore::new(WRITES_MAX)),
    });
    for id in known {
        reconciler.wake(id);
    }
    let usage = Arc::new(Usage::new(&places.state_dir)?);
    let tasks = TaskTracker::new();
    tasks.spawn(sample_forever(
        Arc::clone(&usage),
        Arc::clone(&instances),
        Arc::clone(&events),
        stop.clone(),
    ));
    let router = rest::router(rest::Api {
        instances,
        images,
        events,
        usage,
        streams: Arc::new(Semaphore::new(usize::from(rest::STREAMS_MAX))),
        tasks: tasks.clone(),
        cancel: stop.clone(),
    });
    let running = Running {
        reconciler,
        registry,
        tasks,
    };
    Ok((router, running))
}

/// Allows this process as many open files as it may have: by default that is 1024, and each connection, console and guest takes some.
fn raise_file_limit() -> Option<u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    getrlimit(Resource::Nofile).current
}

/// A number that tells this run of the agent from all others: the random half of a `UUIDv7`.
fn epoch() -> u64 {
    Uuid::now_v7().as_u64_pair().1
}

fn boot_id() -> Result<String, AgentError> {
    let text = std::fs::read_to_string(BOOT_ID).map_err(|err| AgentError::System {
        operation: "read the kernel's boot id",
        err,
    })?;
    Ok(text.trim().to_owned())
}

fn cancel_on_signal(stop: CancellationToken) -> Result<tokio::task::AbortHandle, AgentError> {
    let catch = |kind| {
        signal(kind).map_err(|err| AgentError::System {
            operation: "catch signals",
            err,
        })
    };
    let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    let task = tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM"),
            _ = interrupt.recv() => tracing::info!("SIGINT"),
        }
        stop.cancel();
    });
    Ok(task.abort_handle())
}
