//! The sessions with the machines: one owned task each, which connects, follows, reconnects and backs off.

mod add;
mod dial;
mod local;
mod session;
mod task;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use api::client::Client;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use dial::{Answers, Connection, Dial, LinkError, RealDial};
#[cfg(target_os = "linux")]
pub use local::Places;
pub use local::{BINARY_VARIABLE, LocalAgent, LocalAgentError, SOCKET_VARIABLE};
pub use session::{GOOD_LINK, Input, Next, Phase, Session};
pub use task::Established;

use crate::contract::{Link, PoolMachine};
use crate::error::AppError;
use crate::history::SavedMachine;
use crate::pool::Pool;
use crate::recorder::Recorder;
use task::{SessionTask, Shared};

pub(crate) use add::{add, remove, told};

/// How many connections are made at once.
const DIALS_AT_ONCE: usize = 32;

/// The sessions of all machines of the pool.
pub struct Machines {
    shared: Arc<Shared>,
    sessions: Mutex<HashMap<Uuid, Handle>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// One machine joins at a time, so that two cannot join under one name or address.
    joining: tokio::sync::Mutex<()>,
}

struct Handle {
    asks: mpsc::Sender<Answers>,
    client: watch::Receiver<Option<Client>>,
    stop: CancellationToken,
}

impl Machines {
    /// No sessions yet.
    pub fn new(pool: Arc<Pool>, recorder: Recorder, dial: Arc<dyn Dial>) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool,
                recorder,
                dial,
                dials: Semaphore::new(DIALS_AT_ONCE),
            }),
            sessions: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            joining: tokio::sync::Mutex::default(),
        }
    }

    /// Shows the machine and keeps it connected from now on; begins with `first` where somebody has connected already.
    pub fn join(&self, machine: SavedMachine, answers: Answers, first: Option<Established>) {
        let id = machine.id;
        self.shared.pool.change(|picture| {
            picture.add_machine(PoolMachine {
                id,
                name: machine.name.clone(),
                address: machine.address.clone(),
                link: Link::Connecting,
                host: None,
                usage: None,
                images: Vec::new(),
                draining: machine.draining,
            });
        });
        let (ask, asks) = mpsc::channel(4);
        let (client_sender, client) = watch::channel(None);
        let stop = self.stop.child_token();
        let task = SessionTask {
            machine,
            answers,
            client: client_sender,
            shared: Arc::clone(&self.shared),
        };
        let stopped = stop.clone().cancelled_owned();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopped => {}
                () = task.run(asks, first) => {}
            }
        });
        let handle = Handle {
            asks: ask,
            client,
            stop,
        };
        if let Some(earlier) = self.lock().insert(id, handle) {
            earlier.stop.cancel();
        }
    }

    /// Ends the session and takes the machine out of the picture.
    pub fn leave(&self, id: Uuid) {
        if let Some(handle) = self.lock().remove(&id) {
            handle.stop.cancel();
        }
        self.shared.pool.change(|picture| picture.remove_machine(id));
    }

    /// The client of a machine that is connected.
    ///
    /// # Errors
    /// The machine is not of this pool, or there is no link to it now; the error says why.
    pub fn client(&self, id: Uuid) -> Result<Client, AppError> {
        let client = match self.lock().get(&id) {
            Some(handle) => handle.client.borrow().clone(),
            None => return Err(AppError::UnknownMachine { id }),
        };
        client.ok_or_else(|| {
            let machine = self.shared.pool.read(|picture| picture.machine(id).cloned());
            match machine {
                Some(machine) => AppError::NotConnected {
                    machine: machine.name,
                    link: machine.link,
                },
                None => AppError::UnknownMachine { id },
            }
        })
    }

    /// The client of a machine that is connected, or will be within `wait`.
    pub async fn client_within(&self, id: Uuid, wait: Duration) -> Result<Client, AppError> {
        let watched = self.lock().get(&id).map(|handle| handle.client.clone());
        if let Some(mut watched) = watched {
            // Whether it came in time is asked below.
            let _ = tokio::time::timeout(wait, watched.wait_for(Option::is_some)).await;
        }
        self.client(id)
    }

    /// Connects now instead of waiting for the next try; does nothing where it is connected.
    pub fn ask(&self, id: Uuid, answers: Answers) -> Result<(), AppError> {
        match self.lock().get(&id) {
            // Full means that it was asked several times within a moment: it will try.
            Some(handle) => {
                let _ = handle.asks.try_send(answers);
                Ok(())
            }
            None => Err(AppError::UnknownMachine { id }),
        }
    }

    /// A machine as it is shown, once its session has a client or `deadline` is over.
    async fn shown(&self, id: Uuid, deadline: Duration) -> Result<PoolMachine, AppError> {
        // Too slow, or gone again: the picture says what is so.
        let _ = self.client_within(id, deadline).await;
        self.shared
            .pool
            .read(|picture| picture.machine(id).cloned())
            .ok_or(AppError::UnknownMachine { id })
    }

    /// Ends all sessions and waits until their tasks are gone.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Handle>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
