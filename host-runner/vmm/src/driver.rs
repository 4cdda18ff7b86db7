//! The one owner of a machine's life.
//!
//! ```text
//!            resume             pause
//!  paused ----------> running ----------> paused
//!    |                   |
//!    +-------------------+--> ended{powered off, reset, panicked, killed, failed}
//! ```
//!
//! Everything that changes the machine goes through one queue, and is done by one thread, one after the other. What cannot be done in
//! the present state is refused with a reason before anything has changed. Only to kill the machine does not wait for its turn there
//! ([`ending`](crate::ending)).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use rand::TryRng as _;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};

use crate::ask::Asked;
use crate::devices::event_loop::lock;
use crate::devices::virtio::balloon::TargetError;
use crate::devices::virtio::block::GrowError;
use crate::happenings::{Happening, Listeners};
use crate::machine::{DeviceStats, Machine};
use crate::snapshot::{self, PartError, SaveError, Taken};
use crate::vcpu::VcpuEnd;

/// How many events may wait: more than there are sources of them.
pub const EVENTS_MAX: usize = 64;

/// What happened, or is asked for.
#[derive(Debug)]
pub enum Event {
    /// The guest turned itself off.
    PoweredOff,
    /// The guest wrote the reset register.
    Reset,
    /// A vCPU stopped for good.
    VcpuEnded {
        /// Which.
        index: u8,
        /// Why.
        end: VcpuEnd,
    },
    /// The device thread cannot go on.
    DevicesFailed(String),
    /// What a guest wrote to a disk waits for room on the host's.
    DiskFull {
        /// Which, by its name in the configuration.
        id: String,
    },
    /// Somebody asks.
    Request(Asked),
}

/// What can be asked of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// What it does.
    State,
    /// To hold its vCPUs.
    Pause,
    /// To let them run.
    Resume,
    /// To press the power button.
    PressPower,
    /// To write a snapshot; a machine that runs is held for as long as that takes.
    Snapshot {
        /// Its name: a folder below the one that the machine was started with.
        name: String,
        /// Whether it adds to the one before it.
        incremental: bool,
    },
    /// What its devices have done.
    Stats,
    /// To take memory from the guest with the balloon, or to give it back.
    Balloon {
        /// How much the balloon is to hold, in MiB.
        size_mib: u32,
    },
    /// To give a disk more room.
    GrowDisk {
        /// Which, by its name in the configuration.
        id: String,
        /// Its new size, in MiB.
        size_mib: u32,
    },
}

/// What a machine answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What it does now.
    State(Doing),
    /// The snapshot that was taken.
    Snapshot(Taken),
    /// What the devices have done.
    Stats(Box<DeviceStats>),
}

/// What a machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its vCPUs are held.
    Paused,
    /// Its vCPUs run.
    Running,
}

/// What a machine does, and why it does nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Doing {
    /// What it does.
    pub state: RunState,
    /// The disk whose writes wait for room on the host's, by its name in the configuration: that is why the machine is held. It is to be set
    /// running again where there may be room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_disk: Option<String>,
}

/// Why a machine does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is in another state.
    #[error("the machine is {0:?} already")]
    Already(RunState),
    /// Nobody would notice the button.
    #[error("the machine is paused: its guest cannot see the power button")]
    PausedButton,
    /// A snapshot could not be taken.
    #[error(transparent)]
    Snapshot(#[from] SaveError),
    /// No balloon.
    #[error("the machine was started without a balloon")]
    NoBalloon,
    /// A balloon of that size.
    #[error(transparent)]
    Balloon(#[from] TargetError),
    /// No such disk.
    #[error("the machine has no disk {0}")]
    NoDisk(String),
    /// A disk that does not grow.
    #[error(transparent)]
    Grow(#[from] GrowError),
}

impl Refusal {
    /// The code that crosses the wire.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Already(_) | Self::PausedButton => "wrong_state",
            Self::Snapshot(_) => "snapshot_failed",
            Self::NoBalloon => "no_balloon",
            Self::Balloon(_) => "out_of_range",
            Self::NoDisk(_) => "no_disk",
            Self::Grow(_) => "cannot_grow",
        }
    }
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ending", content = "reason")]
pub enum Ending {
    /// The guest turned itself off.
    PoweredOff,
    /// The guest reset itself: whoever started the machine starts it again.
    Reset,
    /// Its kernel panicked: the end of what the console said.
    Panicked(Vec<String>),
    /// It was told to end.
    Killed,
    /// It could not go on.
    Failed(String),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PoweredOff => f.write_str("the guest turned itself off"),
            Self::Reset => f.write_str("the guest reset itself"),
            Self::Panicked(_) => f.write_str("the guest's kernel panicked"),
            Self::Killed => f.write_str("told to end"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}

impl Ending {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::PoweredOff | Self::Killed => 0,
            Self::Failed(_) => 1,
            Self::Reset => 10,
            Self::Panicked(_) => 11,
        }
    }
}

/// The driver of a machine.
pub struct Driver {
    /// What the machine does.
    pub state: RunState,
    /// The disk that it is held for, where it is.
    pub full_disk: Option<String>,
    /// Where snapshots are written.
    pub snapshot_directory: Option<PathBuf>,
    /// The snapshot that an increment would add to.
    pub last_snapshot: Option<[u8; 16]>,
    /// Who is told what happens.
    pub listeners: Arc<Listeners>,
}

impl Driver {
    /// Drives a machine to its end.
    pub fn drive(&mut self, machine: &Machine, events: &Receiver<Event>) -> Ending {
        if self.state == RunState::Running {
            machine.resume();
        }
        loop {
            match events.recv() {
                Ok(Event::PoweredOff) => return Ending::PoweredOff,
                Ok(
                    Event::Reset
                    | Event::VcpuEnded {
                        end: VcpuEnd::Reset, ..
                    },
                ) => return after_reset(machine),
                Ok(Event::VcpuEnded {
                    index,
                    end: VcpuEnd::Failed(reason),
                }) => {
                    return Ending::Failed(format!("vCPU {index}: {reason}"));
                }
                Ok(Event::DevicesFailed(reason)) => return Ending::Failed(reason),
                Ok(Event::DiskFull { id }) => self.hold(machine, id),
                Ok(Event::Request(asked)) => {
                    // Who gave up was told that nothing is done.
                    let Some((command, reply)) = asked.begin() else {
                        continue;
                    };
                    let answer = self.answer(machine, &command);
                    if let (Ok(_), Some(happened)) = (&answer, happening(command)) {
                        self.listeners.tell(&happened);
                    }
                    // Who asked may have stopped waiting.
                    let _gone = reply.try_send(answer);
                }
                // Every sender is gone: nothing can happen any more.
                Err(_) => return Ending::Failed("nothing drives the machine".to_owned()),
            }
        }
    }

    fn answer(&mut self, machine: &Machine, command: &Command) -> Result<Answer, Refusal> {
        match (command, self.state) {
            (Command::State, _) => {}
            (Command::Pause, RunState::Running) => {
                machine.pause();
                self.state = RunState::Paused;
            }
            (Command::Resume, RunState::Paused) => {
                machine.tell_clock();
                machine.resume();
                self.state = RunState::Running;
                self.full_disk = None;
            }
            (Command::Pause | Command::Resume, already) => return Err(Refusal::Already(already)),
            (Command::PressPower, RunState::Running) => machine.press_power(),
            (Command::PressPower, RunState::Paused) => return Err(Refusal::PausedButton),
            (Command::Snapshot { name, incremental }, _) => {
                return Ok(Answer::Snapshot(self.snapshot(machine, name, *incremental)?));
            }
            (Command::Stats, _) => return Ok(Answer::Stats(Box::new(machine.devices.stats()))),
            (Command::Balloon { size_mib }, _) => {
                let balloon = machine.devices.balloon.as_ref().ok_or(Refusal::NoBalloon)?;
                lock(balloon).set_target_mib(*size_mib)?;
                machine.configuration_changed(balloon);
            }
            (Command::GrowDisk { id, size_mib }, _) => grow(machine, id, *size_mib)?,
        }
        Ok(Answer::State(self.doing()))
    }

    fn doing(&self) -> Doing {
        Doing {
            state: self.state,
            full_disk: self.full_disk.clone(),
        }
    }

    /// Holds the machine: each write to the disk would only wait behind those that wait already, and the guest would take it for a disk
    /// that does not answer.
    fn hold(&mut self, machine: &Machine, id: String) {
        // What is told may be over by now: the machine was held for something else and set running again, or its guest let the disk go.
        let mut disks = machine.devices.disks.iter();
        let waits = disks.any(|(name, disk)| *name == id && lock(disk).waits_for_room());
        if !waits {
            return;
        }
        if self.state == RunState::Running {
            machine.pause();
            self.state = RunState::Paused;
        }
        self.full_disk = Some(id.clone());
        self.listeners.tell(&Happening::DiskFull { id });
    }

    fn snapshot(&mut self, machine: &Machine, name: &str, incremental: bool) -> Result<Taken, SaveError> {
        let folder = snapshot::folder(self.snapshot_directory.as_deref(), name)?;
        let parent = match (incremental, self.last_snapshot) {
            (false, _) => None,
            (true, None) => return Err(SaveError::NoParent),
            (true, parent) => parent,
        };
        if self.state == RunState::Running {
            machine.pause();
        }
        let taken = take(machine, &folder, parent);
        // Whatever was read of the pages' log is read: an increment that failed leaves nothing that another could add to.
        self.last_snapshot = taken.as_ref().ok().map(|(id, _)| *id);
        if self.state == RunState::Running {
            machine.tell_clock();
            machine.resume();
        }
        taken.map(|(_, taken)| taken)
    }
}

fn take(machine: &Machine, folder: &Path, parent: Option<[u8; 16]>) -> Result<([u8; 16], Taken), SaveError> {
    let mut id = [0; 16];
    SysRng.try_fill_bytes(&mut id).map_err(|err| PartError::File {
        operation: "draw a number for",
        path: folder.to_owned(),
        err: io::Error::other(err),
    })?;
    let state = machine.save(id, parent)?;
    Ok((id, snapshot::write(folder, &state, &machine.memory)?))
}

/// What has happened where a command was obeyed.
fn happening(command: Command) -> Option<Happening> {
    Some(match command {
        Command::Pause => Happening::Paused,
        Command::Resume => Happening::Resumed,
        Command::PressPower => Happening::PowerPressed,
        Command::Snapshot { name, .. } => Happening::SnapshotWritten { name },
        Command::Balloon { size_mib } => Happening::BalloonChanged { size_mib },
        Command::GrowDisk { id, size_mib } => Happening::DiskGrown { id, size_mib },
        Command::State | Command::Stats => return None,
    })
}

fn grow(machine: &Machine, id: &str, size_mib: u32) -> Result<(), Refusal> {
    let found = machine.devices.disks.iter().find(|(name, _)| name == id);
    let (_, disk) = found.ok_or_else(|| Refusal::NoDisk(id.to_owned()))?;
    lock(disk).grow(u64::from(size_mib) << 20)?;
    machine.configuration_changed(disk);
    Ok(())
}

/// What the kernel says before it resets itself because it cannot go on.
const PANIC: &str = "Kernel panic - not syncing";
/// What it says, as loudly, before a reset that somebody asked for.
const RESTART: &str = "reboot: Restarting system";
/// How many lines of the console tell of a panic: a deep stack takes more than a hundred of them after the first.
const PANIC_LINES: usize = 200;

fn after_reset(machine: &Machine) -> Ending {
    let lines = machine.devices.serial.hub().last_lines(PANIC_LINES);
    if ends_in_panic(&lines) {
        Ending::Panicked(lines)
    } else {
        Ending::Reset
    }
}

/// A reset is a panic's where the console ends with one: somebody may have read an old one there before a restart. A guest that only
/// pretends hurts itself alone.
fn ends_in_panic(lines: &[String]) -> bool {
    let last = |words: &str| lines.iter().rposition(|line| line.contains(words));
    last(PANIC) > last(RESTART)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_panic_is_what_the_console_ends_with_and_not_what_was_read_there_before_a_restart() {
        let panic =
            "[    1.204500] Kernel panic - not syncing: Attempted to kill init!\n[    1.20] Call Trace:\n";
        let restart = "[   30.104500] reboot: Restarting system\n";
        assert!(!ends_in_panic(&[]));
        assert!(!ends_in_panic(&console("login: ")));
        assert!(ends_in_panic(&console(panic)));
        assert!(!ends_in_panic(&console(&format!(
            "# grep panic log\n{panic}{restart}"
        ))));
        assert!(ends_in_panic(&console(&format!("{restart}{panic}"))));
    }
}
