//! The reconciler: for each instance one task that makes reality what the ledger says is meant.
//!
//! Level-triggered: a wake-up says "look", never what has changed. The decisions are in [`decide`]; the tasks only see and act.

mod creation;
mod decide;
mod failure;
mod owner;
mod resets;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use decide::{
    Decision, Guest, GuestStatus, KILL_GRACE, LastLaunch, PRESS_AGAIN, QUIT_GRACE, Seen, Step, StopSoFar,
    decide,
};

use self::owner::Owner;
pub use self::resets::ResetStreak;
use crate::console::ConsoleHub;
use crate::engines::Engines;
use crate::engines::limits::Limits;
use crate::images::ImageStore;
use crate::instance_files::InstanceFiles;
use crate::registry::Registry;

/// How many disks are copied at a time.
pub const COPIES_MAX: usize = 2;

/// What the tasks act on.
#[derive(Debug)]
pub struct World {
    /// What is meant, and what was seen.
    pub registry: Arc<Registry>,
    /// What runs guests.
    pub engines: Arc<Engines>,
    /// What guests boot from.
    pub images: Arc<ImageStore>,
    /// Where instances' files are.
    pub files: InstanceFiles,
    /// What limits guests.
    pub limits: Limits,
    /// This boot of the host.
    pub boot_id: String,
    /// A turn for each disk that is copied at a time: more at once would only be slower together.
    pub copies: Semaphore,
}

/// All instances' tasks.
#[derive(Debug)]
pub struct Reconciler {
    world: Arc<World>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    bells: Mutex<HashMap<Uuid, Arc<Notify>>>,
    consoles: Arc<Consoles>,
}

impl Reconciler {
    /// A reconciler without tasks. They end when `cancel` does, after the pass that they are in; guests stay as they are.
    pub fn new(world: World, cancel: CancellationToken) -> Self {
        Self {
            world: Arc::new(world),
            tasks: TaskTracker::new(),
            cancel,
            bells: Mutex::new(HashMap::new()),
            consoles: Arc::new(Consoles::default()),
        }
    }

    fn bells(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Notify>>> {
        // The map is whole between any two statements that could panic, so a poisoned lock is still good.
        self.bells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the instance is worth a look, and gives it a task where it has none.
    pub fn wake(self: &Arc<Self>, id: Uuid) {
        let mut bells = self.bells();
        if let Some(bell) = bells.get(&id) {
            bell.notify_one();
            return;
        }
        if self.cancel.is_cancelled() {
            return;
        }
        let bell = Arc::new(Notify::new());
        bells.insert(id, Arc::clone(&bell));
        let this = Arc::clone(self);
        self.tasks.spawn(async move { this.own(id, bell).await });
    }

    /// Owns the instance until it is gone. Its bell may have been rung between the last look and the end: by somebody who made an
    /// instance with the same id, and who would wait for ever for a task that takes no more looks.
    async fn own(&self, id: Uuid, bell: Arc<Notify>) {
        loop {
            let (world, consoles) = (Arc::clone(&self.world), Arc::clone(&self.consoles));
            let owner = Owner::new(id, world, Arc::clone(&bell), consoles, self.cancel.clone());
            owner.run().await;
            self.consoles.remove(id);
            let mut bells = self.bells();
            if self.cancel.is_cancelled() || !was_rung(&bell) {
                bells.remove(&id);
                return;
            }
        }
    }

    /// The consoles of live guests.
    pub fn consoles(&self) -> &Consoles {
        &self.consoles
    }

    /// Returns when every task has ended; `cancel` must have been called.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Whether a bell was rung and nobody has heard it yet; hears it.
fn was_rung(bell: &Notify) -> bool {
    std::pin::pin!(bell.notified()).enable()
}

/// The consoles of live guests, by instance.
#[derive(Debug)]
pub struct Consoles {
    hubs: watch::Sender<HashMap<Uuid, Arc<ConsoleHub>>>,
}

impl Default for Consoles {
    fn default() -> Self {
        Self {
            hubs: watch::Sender::new(HashMap::new()),
        }
    }
}

impl Consoles {
    /// The console of an instance's guest, as soon as there is one. Has no deadline of its own.
    pub async fn wait_for(&self, id: Uuid) -> Option<Arc<ConsoleHub>> {
        let mut hubs = self.hubs.subscribe();
        let found = hubs.wait_for(|hubs| hubs.contains_key(&id)).await.ok()?;
        found.get(&id).cloned()
    }

    fn put(&self, id: Uuid, hub: Arc<ConsoleHub>) {
        self.hubs.send_modify(|hubs| {
            hubs.insert(id, hub);
        });
    }

    fn remove(&self, id: Uuid) {
        self.hubs.send_if_modified(|hubs| hubs.remove(&id).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_that_rang_while_nobody_listened_is_heard_once() {
        let bell = Notify::new();
        assert!(!was_rung(&bell));
        bell.notify_one();
        assert!(was_rung(&bell));
        assert!(!was_rung(&bell));
    }
}
