//! The one owner of a machine's life.
//!
//! ```text
//!            resume             pause
//!  paused ----------> running ----------> paused
//!    |                   |
//!    +-------------------+--> ended{powered off, reset, killed, failed}
//! ```
//!
//! Everything that changes the machine goes through one queue, and is done by one thread, one after the other. What cannot be done in
//! the present state is refused with a reason before anything has changed.

use std::sync::mpsc::{Receiver, SyncSender};

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
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
    /// Somebody asks.
    Request(Command, SyncSender<Result<RunState, Refusal>>),
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
    /// To end at once.
    Kill,
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

/// Why a machine does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is in another state.
    #[error("the machine is {0:?} already")]
    Already(RunState),
    /// Nobody would notice the button.
    #[error("the machine is paused: its guest cannot see the power button")]
    PausedButton,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ending", content = "reason")]
pub enum Ending {
    /// The guest turned itself off.
    PoweredOff,
    /// The guest reset itself: whoever started the machine starts it again.
    Reset,
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
        }
    }
}

/// Drives a machine to its end.
pub fn drive(machine: &Machine, mut state: RunState, events: &Receiver<Event>) -> Ending {
    if state == RunState::Running {
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
            ) => return Ending::Reset,
            Ok(Event::VcpuEnded {
                index,
                end: VcpuEnd::Failed(reason),
            }) => {
                return Ending::Failed(format!("vCPU {index}: {reason}"));
            }
            Ok(Event::DevicesFailed(reason)) => return Ending::Failed(reason),
            Ok(Event::Request(Command::Kill, reply)) => {
                let _gone = reply.try_send(Ok(state));
                return Ending::Killed;
            }
            Ok(Event::Request(command, reply)) => {
                let answer = answer(machine, &mut state, &command);
                // Who asked may have stopped waiting.
                let _gone = reply.try_send(answer);
            }
            // Every sender is gone: nothing can happen any more.
            Err(_) => return Ending::Failed("nothing drives the machine".to_owned()),
        }
    }
}

fn answer(machine: &Machine, state: &mut RunState, command: &Command) -> Result<RunState, Refusal> {
    match (command, *state) {
        (Command::State | Command::Kill, _) => {}
        (Command::Pause, RunState::Running) => {
            machine.pause();
            *state = RunState::Paused;
        }
        (Command::Resume, RunState::Paused) => {
            machine.tell_clock();
            machine.resume();
            *state = RunState::Running;
        }
        (Command::Pause | Command::Resume, already) => return Err(Refusal::Already(already)),
        (Command::PressPower, RunState::Running) => machine.press_power(),
        (Command::PressPower, RunState::Paused) => return Err(Refusal::PausedButton),
    }
    Ok(*state)
}
