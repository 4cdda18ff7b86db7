//! What the ledger holds of an instance.

use api::{
    EngineChoice, Failure, Instance, InstanceSpec, InstanceUsage, Mib, Progress, PublishedPort, RunState,
    StopInstance, Timestamp,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What an instance is meant to do. Only requests change it, and a guest that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Whether it is meant to run.
    pub wanted_running: bool,
    /// How many power-ons were asked for so far. A guest of an earlier power-on has to go before this one is launched.
    pub run: u32,
    /// How a guest that is not meant to run is made to stop.
    pub stop: StopInstance,
    /// Whether the instance is to be removed; overrides everything else.
    pub deleting: bool,
}

impl Intent {
    /// Meant to lie still.
    pub fn at_rest() -> Self {
        Self {
            wanted_running: false,
            run: 0,
            stop: StopInstance::graceful(),
            deleting: false,
        }
    }

    /// Asks for a power-on.
    pub fn power_on(&mut self) {
        self.wanted_running = true;
        self.run = self.run.saturating_add(1);
    }
}

/// The last power-on, written down before the engine's process is made, so that a crash in between is seen afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Which of the power-ons that were asked for.
    pub run: u32,
    /// The host's boot in which it happened: a guest that is gone after a reboot of the host did not fail.
    pub boot_id: String,
    /// The engine.
    pub engine: EngineChoice,
    /// The published ports.
    pub ports: Vec<PublishedPort>,
    /// When the guest's vCPUs were set running; absent until then.
    pub started_at: Option<Timestamp>,
    /// How far the guest has come.
    pub progress: Progress,
    /// Milliseconds from power-on to the login prompt, or to the guest's own word that it is ready.
    pub boot_ms: Option<u32>,
    /// What the guest last said that it is at.
    #[serde(default)]
    pub guest_status: Option<String>,
    /// Whether the guest is known to be gone. Until then its memory counts as promised.
    pub ended: bool,
}

/// What was last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where the instance is in its life.
    pub state: RunState,
    /// Why it failed, or why it is held though nobody asked for it; present in state `failed`, and in `paused` with a full disk.
    pub failure: Option<Failure>,
}

/// What is known of a live guest and not worth writing down.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Live {
    /// The engine's process.
    pub pid: Option<u32>,
    /// The last sample.
    pub usage: Option<InstanceUsage>,
    /// How much of its image's disk has been copied, in hundredths, while that is under way.
    pub copied_percent: Option<u8>,
}

/// An instance, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// `UUIDv7`, made by the caller.
    pub id: Uuid,
    /// The spec's generation, from 1.
    pub generation: u32,
    /// What it is meant to be.
    pub spec: InstanceSpec,
    /// What it is meant to do.
    pub intent: Intent,
    /// Its last power-on; absent before the first.
    pub launch: Option<Launch>,
    /// What was last seen.
    pub status: Status,
    /// When it was created.
    pub created_at: Timestamp,
    /// What is only held in memory.
    pub live: Live,
}

/// Now, in whole milliseconds: what the ledger keeps, so that a time reads the same before and after a restart.
pub fn now() -> Timestamp {
    let now = jiff::Timestamp::now();
    Timestamp::from_unix_ms(now.as_millisecond()).unwrap_or(Timestamp(now))
}

impl Record {
    /// Whether a guest of it may still be alive.
    pub fn may_be_alive(&self) -> bool {
        self.launch.as_ref().is_some_and(|launch| !launch.ended)
    }

    /// The memory that is promised to it: all of it while it is meant to run or its guest may be alive, else none.
    pub fn memory_promised(&self) -> Mib {
        if self.intent.wanted_running || self.may_be_alive() {
            self.spec.memory_mib
        } else {
            Mib::ZERO
        }
    }

    /// The instance as it crosses the wire.
    pub fn to_api(&self) -> Instance {
        let running = matches!(
            self.status.state,
            RunState::Running | RunState::Paused | RunState::Stopping
        );
        let launch = self.launch.as_ref().filter(|_| running);
        Instance {
            id: self.id,
            generation: self.generation,
            spec: self.spec.clone(),
            wanted_running: self.intent.wanted_running,
            state: self.status.state,
            progress: launch.map(|launch| launch.progress),
            failure: self.status.failure.clone(),
            engine: self.launch.as_ref().map(|launch| launch.engine.clone()),
            ports: launch.map(|launch| launch.ports.clone()).unwrap_or_default(),
            usage: self.live.usage.clone().filter(|_| running),
            copied_percent: (self.live.copied_percent).filter(|_| self.status.state == RunState::Creating),
            created_at: self.created_at,
            started_at: launch.and_then(|launch| launch.started_at),
            boot_ms: launch.and_then(|launch| launch.boot_ms),
            guest_status: launch.and_then(|launch| launch.guest_status.clone()),
        }
    }
}
