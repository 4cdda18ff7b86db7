//! The state machine of an instance: a pure function from what is meant and what is seen to the one next step.
//!
//! It takes no hints and keeps no memory: the pass after a crash of the agent is the same code as every other pass. What it must
//! not forget (which power-on a guest belongs to) is in the ledger, and what may start anew with the agent (how long a guest has
//! been asked to stop) is in [`StopSoFar`].

use std::time::Duration;

use api::{RunState, StopMode};

use super::resets::{AfterReset, ResetStreak};
use crate::engines::GuestEnd;
use crate::ledger::Intent;

/// A guest that slept through the power button is told again after this long.
pub const PRESS_AGAIN: Duration = Duration::from_secs(10);
/// How long an engine may take to end after it was told to, before its process is killed.
pub const QUIT_GRACE: Duration = Duration::from_secs(5);
/// How long a killed process may take to be gone, before it is killed again.
pub const KILL_GRACE: Duration = Duration::from_secs(2);
/// How often a live guest is looked at when nothing calls for it sooner.
const LOOK_LIVE: Duration = Duration::from_secs(5);
/// How often an instance at rest is looked at when nothing calls for it sooner.
const LOOK_REST: Duration = Duration::from_secs(60);
/// How soon to look again after a step: its effect decides the next one.
const LOOK_NOW: Duration = Duration::ZERO;

/// What a live guest's engine says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestStatus {
    /// Made, and its vCPUs were never set running.
    Held,
    /// Its vCPUs run.
    Running,
    /// Its vCPUs are held.
    Paused,
    /// The guest has powered itself off; the engine waits to be told to end.
    PoweredOff,
    /// The engine's process is alive, and does not answer.
    Silent,
}

/// What is seen of the instance's guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// No process of it is alive.
    Absent,
    /// A process of it is alive.
    Alive(GuestStatus),
}

/// The last power-on that the ledger knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastLaunch {
    /// Its number.
    pub run: u32,
    /// Whether it happened in the host's present boot.
    pub same_boot: bool,
    /// Whether the engine's process was ever made: the agent may have died just before.
    pub spawned: bool,
    /// How its guest came to its end, where it has.
    pub end: GuestEnd,
}

/// How far the stopping of the present guest has come, on the agent's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StopSoFar {
    /// When the guest was first asked.
    pub asked_at: Option<Duration>,
    /// When the power button was last pressed.
    pub pressed_at: Option<Duration>,
    /// When the engine was told to end.
    pub quit_at: Option<Duration>,
    /// When the process was last killed.
    pub killed_at: Option<Duration>,
}

/// What a pass has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Whether the instance's files are there.
    pub files_ready: bool,
    /// Its guest.
    pub guest: Guest,
    /// Its last power-on.
    pub launch: Option<LastLaunch>,
    /// Whether it is marked as failed.
    pub failed: bool,
    /// How far the stopping of its guest has come.
    pub stop: StopSoFar,
    /// How often it has reset itself of late.
    pub resets: ResetStreak,
}

/// The one thing to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All is as it should be, or will be by itself.
    Rest,
    /// Make the instance's folder and disk.
    MakeFiles,
    /// Make the engine's process for the power-on that is asked for, with its vCPUs held.
    Launch,
    /// Set the vCPUs running.
    PowerOn,
    /// Ask the guest to power off.
    PressPower,
    /// Tell the engine to end.
    Quit,
    /// Kill the engine's process.
    Kill,
    /// The guest powered itself off: it is no longer meant to run.
    NotePowerOff,
    /// The guest is gone and should not be: it failed.
    NoteFailure,
    /// Remove the instance's files, and the instance.
    Remove,
}

/// A step, the state that people are shown meanwhile, and when to look again even if nothing calls for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Where the instance is in its life.
    pub state: RunState,
    /// What to do.
    pub step: Step,
    /// Look again after this long; zero for at once.
    pub look_again: Duration,
}

impl Decision {
    fn rest(state: RunState, look_again: Duration) -> Self {
        Self {
            state,
            step: Step::Rest,
            look_again,
        }
    }

    fn act(state: RunState, step: Step) -> Self {
        Self {
            state,
            step,
            look_again: LOOK_NOW,
        }
    }
}

/// Decides the next step. Pure: the same intent, sight and time give the same answer.
pub fn decide(intent: &Intent, seen: &Seen, now: Duration) -> Decision {
    match seen.guest {
        _ if intent.deleting => delete(seen, now),
        Guest::Alive(status) if intent.wanted_running => {
            let current = seen.launch.is_some_and(|launch| launch.run >= intent.run);
            if current {
                keep_alive(status)
            } else {
                stop(intent, status, seen.stop, now)
            }
        }
        Guest::Alive(status) => stop(intent, status, seen.stop, now),
        Guest::Absent if !seen.files_ready && (intent.wanted_running || !seen.failed) => {
            Decision::act(RunState::Creating, Step::MakeFiles)
        }
        Guest::Absent if intent.wanted_running => bring_up(intent, seen, now),
        Guest::Absent if seen.failed => Decision::rest(RunState::Failed, LOOK_REST),
        Guest::Absent => Decision::rest(RunState::Stopped, LOOK_REST),
    }
}

fn delete(seen: &Seen, now: Duration) -> Decision {
    match seen.guest {
        Guest::Absent => Decision::act(RunState::Deleting, Step::Remove),
        Guest::Alive(_) => kill(RunState::Deleting, seen.stop, now),
    }
}

fn keep_alive(status: GuestStatus) -> Decision {
    match status {
        GuestStatus::Held => Decision::act(RunState::Starting, Step::PowerOn),
        // An engine that does not answer may be busy; its guest is not taken from it for that.
        GuestStatus::Running | GuestStatus::Silent => Decision::rest(RunState::Running, LOOK_LIVE),
        GuestStatus::Paused => Decision::rest(RunState::Paused, LOOK_LIVE),
        GuestStatus::PoweredOff => Decision::act(RunState::Stopping, Step::NotePowerOff),
    }
}

fn bring_up(intent: &Intent, seen: &Seen, now: Duration) -> Decision {
    let launched = seen.launch.filter(|launch| launch.run >= intent.run);
    match launched {
        Some(launch) if launch.same_boot && launch.spawned => match launch.end {
            GuestEnd::Unknown => Decision::act(RunState::Failed, Step::NoteFailure),
            GuestEnd::PoweredOff => Decision::act(RunState::Stopping, Step::NotePowerOff),
            // The same power-on goes on: nobody has asked for another.
            GuestEnd::Reset => match seen.resets.next(intent.run, now) {
                AfterReset::PowerOn => Decision::act(RunState::Starting, Step::Launch),
                AfterReset::Wait(left) => Decision::rest(RunState::Starting, left),
                AfterReset::GiveUp => Decision::act(RunState::Failed, Step::NoteFailure),
            },
        },
        Some(_) | None => Decision::act(RunState::Starting, Step::Launch),
    }
}

fn stop(intent: &Intent, status: GuestStatus, so_far: StopSoFar, now: Duration) -> Decision {
    let state = RunState::Stopping;
    let deadline = Duration::from_millis(u64::from(intent.stop.deadline_ms));
    let out_of_time = so_far
        .asked_at
        .is_some_and(|asked| now.saturating_sub(asked) >= deadline);
    match (status, intent.stop.mode) {
        (_, StopMode::Force) => kill(state, so_far, now),
        (GuestStatus::PoweredOff | GuestStatus::Held, StopMode::Graceful) => quit(state, so_far, now),
        (GuestStatus::Running | GuestStatus::Paused, StopMode::Graceful) if out_of_time => {
            quit(state, so_far, now)
        }
        (GuestStatus::Silent, StopMode::Graceful) if out_of_time => kill(state, so_far, now),
        (GuestStatus::Running | GuestStatus::Paused | GuestStatus::Silent, StopMode::Graceful) => {
            let left = so_far
                .asked_at
                .map_or(deadline, |asked| (asked + deadline).saturating_sub(now));
            match so_far.pressed_at {
                Some(pressed) if now.saturating_sub(pressed) < PRESS_AGAIN => {
                    let until_next = (pressed + PRESS_AGAIN).saturating_sub(now);
                    Decision::rest(state, left.min(until_next))
                }
                Some(_) | None => Decision::act(state, Step::PressPower),
            }
        }
    }
}

fn quit(state: RunState, so_far: StopSoFar, now: Duration) -> Decision {
    match so_far.quit_at {
        None => Decision::act(state, Step::Quit),
        Some(quit) if now.saturating_sub(quit) < QUIT_GRACE => {
            Decision::rest(state, (quit + QUIT_GRACE).saturating_sub(now))
        }
        Some(_) => kill(state, so_far, now),
    }
}

fn kill(state: RunState, so_far: StopSoFar, now: Duration) -> Decision {
    match so_far.killed_at {
        Some(killed) if now.saturating_sub(killed) < KILL_GRACE => {
            Decision::rest(state, (killed + KILL_GRACE).saturating_sub(now))
        }
        Some(_) | None => Decision::act(state, Step::Kill),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
