//! Engines: what runs a guest. The reconciler knows this port alone; each engine has a folder.

mod choice;
mod error;
mod full_disk;
pub mod limits;
pub mod microvm;
mod ports;
mod process;
pub mod qemu;
mod user;

pub use choice::Engines;
pub use error::{EngineError, word_of};
pub use ports::choose_ports;
pub use user::{GuestUser, guest_user};

use std::path::PathBuf;

use api::{DiskLimit, EngineChoice, EngineKind, Mib, NetworkLimit, PublishedPort};
use async_trait::async_trait;
use tokio::net::UnixStream;
use tokio::time::Instant;
use uuid::Uuid;

use self::limits::GuestGroup;
use crate::images::BootFiles;
use crate::reconcile::GuestStatus;

/// The most of an engine's log that a failure carries, in bytes.
pub const LOG_BYTES_MAX: usize = 4096;

/// What a Linux kernel under KVM is told about its clock, before its image's own wishes.
///
/// Where the guest's time-stamp counter is not invariant, the kernel keeps its time by kvm-clock, and yet compares the counter with it twice a
/// second, lest somebody use it: more than a quarter of what a sleeping guest exits for. Where the counter is invariant, the kernel
/// compares nothing by itself.
///
/// Source: the kernel's `Documentation/admin-guide/kernel-parameters.txt`, `tsc=`.
pub const CLOCK_PARAMETERS: &str = "tsc=nowatchdog";

/// An engine's name in a sentence.
pub fn name_of(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Qemu => "QEMU",
        EngineKind::Microvm => "the microVM monitor",
    }
}

/// What an engine needs of the machine's memory beside a guest's own: a bound on what was measured, with the guest's network.
pub fn memory_overhead(engine: EngineKind, accelerated: bool) -> Mib {
    match engine {
        EngineKind::Qemu => qemu::memory_overhead(accelerated),
        EngineKind::Microvm => microvm::MEMORY_OVERHEAD,
    }
}

/// How a guest came to its end, as far as its engine has left word of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GuestEnd {
    /// Nobody knows: its process is gone, and should not be.
    #[default]
    Unknown,
    /// The guest turned itself off.
    PoweredOff,
    /// The guest reset itself, and waits to be powered on again.
    Reset,
}

/// Everything that an engine needs to make a guest.
#[derive(Debug, Clone)]
pub struct LaunchOrder {
    /// The instance.
    pub id: Uuid,
    /// Its name; the guest is told.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory.
    pub memory: Mib,
    /// What to boot.
    pub boot: BootFiles,
    /// The instance's own disk, if it has one.
    pub disk: Option<PathBuf>,
    /// How fast it may be used.
    pub disk_limit: DiskLimit,
    /// How fast its network may be. Only an engine that keeps to it is ever given one.
    pub network_limit: NetworkLimit,
    /// The ports to publish.
    pub ports: Vec<PublishedPort>,
    /// The control group for the guest's processes.
    pub group: GuestGroup,
}

/// What a guest has told of its own state. It is the guest's word: to be shown, and trusted with nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// When it first said that it has started all that it is there for.
    pub ready_at: Option<Instant>,
    /// One line on what it is at, of at most [`api::GUEST_STATUS_CHARS_MAX`] characters and without control characters; empty where it took
    /// back what it had said.
    pub status: Option<String>,
}

/// What runs guests.
///
/// Ordering: [`find`](Engine::find) comes before [`launch`](Engine::launch), and `launch` only follows when it found nothing.
/// A launched guest is held: nothing of it runs before [`Guest::power_on`], so that its console can be listened to from the
/// first byte.
#[async_trait]
pub trait Engine: Send + Sync + std::fmt::Debug {
    /// The engine, and why guests run on it the way they do.
    fn choice(&self) -> EngineChoice;

    /// The live guest of an instance, whoever made it; `None` when there certainly is none.
    async fn find(&self, id: Uuid) -> Result<Option<Box<dyn Guest>>, EngineError>;

    /// Whether a process was ever made for the last launch of the instance.
    fn was_spawned(&self, id: Uuid) -> bool;

    /// Forgets the previous launch: until [`launch`](Engine::launch) has made a process, none was made.
    fn prepare(&self, id: Uuid) -> Result<(), EngineError>;

    /// Makes a guest, held.
    async fn launch(&self, order: &LaunchOrder) -> Result<Box<dyn Guest>, EngineError>;

    /// The last lines that the instance's engine wrote, at most [`LOG_BYTES_MAX`].
    fn last_words(&self, id: Uuid) -> String;

    /// How the last guest of the instance came to its end; only worth asking when no guest is alive.
    fn end_of(&self, id: Uuid) -> GuestEnd;
}

/// One live guest, owned by the one task that acts for its instance.
#[async_trait]
pub trait Guest: Send + Sync + std::fmt::Debug {
    /// The number of the guest's process.
    fn pid(&self) -> u32;

    /// What the guest does; `None` once its process has ended.
    async fn status(&mut self) -> Option<GuestStatus>;

    /// What the last [`status`](Self::status) found the guest to lack: why the engine holds its vCPUs of its own accord, or what it runs
    /// without.
    fn trouble(&self) -> Option<EngineError>;

    /// What the guest has told of its own state since it is watched; nothing on an engine that has no way for it.
    fn told(&self) -> Told {
        Told::default()
    }

    /// Returns when something happened that is worth a look; it says nothing about what. Safe to cancel.
    async fn changed(&mut self);

    /// Whether each new connection to the console begins with what it showed before.
    fn console_replays(&self) -> bool;

    /// A new connection to the serial console.
    async fn console(&self) -> Result<UnixStream, EngineError>;

    /// Sets the vCPUs running.
    async fn power_on(&mut self) -> Result<(), EngineError>;

    /// Presses the power button.
    async fn press_power(&mut self) -> Result<(), EngineError>;

    /// Tells the engine to end.
    async fn quit(&mut self) -> Result<(), EngineError>;

    /// Kills the process.
    fn kill(&mut self) -> Result<(), EngineError>;

    /// How the process ended, in words, where that is known.
    fn ending(&mut self) -> String;
}
