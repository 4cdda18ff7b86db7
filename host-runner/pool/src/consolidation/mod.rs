//! Fewer machines for the same load: what moves where, so that machines can sleep and none is too busy for long.
//!
//! Pure: the same machines, instances and parameters give the same outcome. The simulator's policy and the pool's own plan for
//! saving power both call [`consolidate`]; what one of them knows beyond CPU and memory it says through [`Constraints`].
//!
//! How it decides. An instance's demand is a mean and a deviation ([`expect`]); a machine holds the sum of the means and, as
//! instances are busy at different times, the root of the sum of the squared deviations. Then
//! 1. *relieve*: where the mean alone exceeds [`Parameters::hot`] of the CPU, instances leave until `relief_z` deviations fit, too;
//! 2. *empty*: machine after machine, the least efficient and then the one with the fewest instances first, if all of its
//!    instances fit on others that keep `pack_z` deviations free.
//!
//! Between the two lies the hysteresis: a machine that was packed has to grow before it is relieved. An instance that has just
//! moved stays for a while (the caller's `movable`), and nothing wakes a machine but relief that finds no room elsewhere.

mod demand;
mod empty;
mod relieve;
mod seats;

use serde::{Deserialize, Serialize};

pub use demand::{Demand, DemandParameters, expect};

use seats::Seats;

/// A machine, as consolidation sees it. Machines and instances are named by their places in the slices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// CPU that it gives, in any unit that all machines and instances share. Not positive: it takes nothing.
    pub cpu: f64,
    /// Memory that it can promise to the instances in the list, in any shared unit; infinite where memory does not count.
    pub memory: f64,
    /// What it draws when all its CPU is used, in W: by this and `cpu` machines are told apart as more or less efficient.
    pub full_watts: f64,
    /// Whether it is awake.
    pub awake: bool,
    /// Whether it may take instances: not while it drains, and not where it cannot be reached.
    pub open: bool,
}

/// An instance, as consolidation sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Instance {
    /// The machine that it runs on; one that is not in the list of machines takes part in nothing.
    pub machine: usize,
    /// What it is expected to ask for.
    pub demand: Demand,
    /// Memory that it needs.
    pub memory: f64,
    /// Whether it may move now: not where it is pinned, and not while it cools down after a move.
    pub movable: bool,
}

/// When a machine is too busy, and how much room a busy machine keeps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// A machine is relieved when the mean of its load exceeds this part of its CPU, 0..=1.
    pub hot: f64,
    /// Relief ends, and takes place elsewhere, where this many deviations fit beside the mean.
    pub relief_z: f64,
    /// A machine takes what others are emptied of while this many deviations fit beside the mean.
    pub pack_z: f64,
}

/// What only the caller knows.
///
/// `consolidate` tries moves and takes some of them back; it says so, so that the caller can keep sums of its own.
pub trait Constraints {
    /// Whether `instance` may run on `machine`, given all moves that were made until now.
    fn allows(&self, instance: usize, machine: usize) -> bool;

    /// `instance` is now on `to`, and no longer on `from`. Moves that are taken back come the other way round.
    fn moved(&mut self, _instance: usize, _from: usize, _to: usize) {}
}

/// Why an instance moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Its machine is too busy.
    Relieve,
    /// Its machine can sleep without it.
    Empty,
}

/// One instance moves, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Which one.
    pub instance: usize,
    /// The machine that it is on.
    pub from: usize,
    /// The machine that it goes to.
    pub to: usize,
    /// Why.
    pub reason: Reason,
}

/// What was wanted and could not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "left", rename_all = "snake_case")]
pub enum Left {
    /// The machine stays too busy: what could leave it finds no room, or nothing may leave.
    TooBusy {
        /// The machine.
        machine: usize,
    },
    /// The machine stays awake, because this instance may not move now.
    HeldBy {
        /// The machine.
        machine: usize,
        /// The instance.
        instance: usize,
    },
    /// The machine stays awake, because this instance finds no room elsewhere.
    NoRoomFor {
        /// The machine.
        machine: usize,
        /// The instance.
        instance: usize,
    },
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The moves; each instance at most once. They were found in this order, and are meant to happen together.
    pub moves: Vec<Move>,
    /// Machines that must be awake before the moves.
    pub wake: Vec<usize>,
    /// Machines that can sleep after the moves.
    pub sleep: Vec<usize>,
    /// What was wanted and could not be.
    pub left: Vec<Left>,
}

/// Decides what moves, and which machines wake and sleep.
///
/// Takes time in the order of instances that move × machines that are awake.
pub fn consolidate(
    machines: &[Machine],
    instances: &[Instance],
    parameters: &Parameters,
    constraints: &mut dyn Constraints,
) -> Outcome {
    let mut seats = Seats::new(machines, instances, constraints);
    let mut left = Vec::new();
    let relieved = relieve::relieve(&mut seats, parameters, &mut left);
    let sleep = empty::empty(&mut seats, parameters, relieved, &mut left);
    Outcome {
        moves: seats.moves(),
        wake: seats.woken(),
        sleep,
        left,
    }
}
