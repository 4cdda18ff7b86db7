//! The desktop without its front: everything that a window needs, owned in one place, started and ended in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::client::ClientError;
use api::{Instance, Timestamp};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::clock;
use crate::contract::{MachineAddress, Opening, Settings};
use crate::creations::Creations;
use crate::error::{AppError, with_causes};
use crate::history::{History, HistoryError, SavedMachine, USAGE_KEPT};
use crate::machines::{Answers, Dial, Machines};
use crate::plans::RecentPlans;
use crate::pool::{Pool, STEP_S};
use crate::recorder::Recorder;
use crate::templates::shelf;

/// The desktop's running half.
pub struct App {
    data_dir: PathBuf,
    pool: Arc<Pool>,
    history: History,
    recorder: Recorder,
    machines: Machines,
    creations: Creations,
    plans: RecentPlans,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl App {
    /// Opens the memory in `data_dir` and starts a session with each machine; this computer is always one of them, and the first.
    pub async fn start(data_dir: &Path, dial: Arc<dyn Dial>) -> Result<Arc<Self>, HistoryError> {
        let history = History::open(data_dir).await?;
        let saved = with_this_computer(&history).await?;
        let pool = Arc::new(Pool::new());
        let (recorder, recorder_task) = Recorder::new(history.clone(), Arc::clone(&pool));
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let app = Arc::new(Self {
            data_dir: data_dir.to_owned(),
            machines: Machines::new(Arc::clone(&pool), recorder.clone(), dial),
            pool: Arc::clone(&pool),
            history,
            recorder,
            creations: Creations::default(),
            plans: RecentPlans::default(),
            tasks,
            stop: stop.clone(),
        });
        app.tasks.spawn(recorder_task.run(stop.clone()));
        app.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = pool.push_changes() => {}
            }
        });
        app.recall_loads(&saved).await?;
        app.recall_sights().await?;
        for machine in saved {
            app.machines.join(machine, Answers::default(), None);
        }
        Ok(app)
    }

    /// How busy the machines were before this start: what decisions begin with.
    async fn recall_loads(&self, machines: &[SavedMachine]) -> Result<(), HistoryError> {
        let now = clock::now();
        let kept_ms = i64::try_from(USAGE_KEPT.as_millis()).unwrap_or(i64::MAX);
        let since = Timestamp::from_unix_ms(now.unix_ms().saturating_sub(kept_ms)).unwrap_or(now);
        let loads = self.history.loads(since, STEP_S).await?;
        self.pool.change(|picture| {
            for (machine, at, share) in loads {
                if machines.iter().any(|known| known.id == machine) {
                    picture.remember_machine_load(machine, at, share);
                }
            }
        });
        Ok(())
    }

    /// Where instances were before this start: one that was moved meanwhile is known by it.
    async fn recall_sights(&self) -> Result<(), HistoryError> {
        let sights = self.history.sights().await?;
        self.pool.change(|picture| {
            for sight in sights {
                picture.recall_sight(sight);
            }
        });
        Ok(())
    }

    /// Where this desktop keeps its own data.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The live picture.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The desktop's memory.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The sessions with the machines.
    pub fn machines(&self) -> &Machines {
        &self.machines
    }

    pub(crate) fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    pub(crate) fn creations(&self) -> &Creations {
        &self.creations
    }

    /// What a window shows first. Settings that cannot be read keep no window from opening.
    pub async fn opening(&self) -> Opening {
        let settings = self.history.settings().await.unwrap_or_else(|error| {
            tracing::warn!(
                error = with_causes(&error),
                "the window opens with the default settings"
            );
            Settings::default()
        });
        Opening {
            settings,
            templates: shelf(),
            picture: self.pool.picture(),
        }
    }

    pub(crate) fn plans(&self) -> &RecentPlans {
        &self.plans
    }

    /// Cancelled when the app ends.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs a task of a front's that ends by itself when [`stopping`](Self::stopping) is cancelled.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Ends all sessions and consoles, writes everything down, and closes the memory. Guests and agents go on.
    pub async fn shut_down(&self) {
        self.machines.shut_down().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.history.close().await;
    }

    /// Names the machine in an agent's error.
    pub(crate) fn agent_error(&self, machine: Uuid, err: ClientError) -> AppError {
        AppError::Agent {
            machine: self.machine_name(machine).unwrap_or_default(),
            err,
        }
    }

    /// The name that people know a machine by.
    pub(crate) fn machine_name(&self, machine: Uuid) -> Option<String> {
        self.pool
            .read(|picture| picture.machine(machine).map(|machine| machine.name.clone()))
    }

    /// Shows an instance that a host has just said yes to, unless its events were faster.
    pub(crate) async fn show_created(&self, machine: Uuid, instance: &Instance) {
        let (observed, sights) = self.pool.change(|picture| {
            let observed = picture.show_created(machine, instance, clock::now());
            (observed, picture.take_sights())
        });
        self.recorder.seen(sights).await;
        if let Some(name) = self.machine_name(machine) {
            self.recorder.observed(&name, observed).await;
        }
    }
}

/// The machines that are remembered; this computer joins them at the first start.
async fn with_this_computer(history: &History) -> Result<Vec<SavedMachine>, HistoryError> {
    let mut saved = history.machines().await?;
    let is_local = |machine: &SavedMachine| machine.address == MachineAddress::Local;
    if let Some(position) = saved.iter().position(is_local) {
        // First, whatever was remembered.
        saved[..=position].rotate_right(1);
        return Ok(saved);
    }
    let machine = SavedMachine {
        id: Uuid::now_v7(),
        name: this_computers_name(),
        address: MachineAddress::Local,
        draining: false,
    };
    history.add_machine(&machine, clock::now()).await?;
    saved.insert(0, machine);
    Ok(saved)
}

fn this_computers_name() -> String {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    let name: String = name.chars().filter(|character| !character.is_control()).collect();
    if name.is_empty() {
        "this-computer".to_owned()
    } else {
        name
    }
}
