use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// A machine's or a pool's load in the three things that run out, each as a share of what is offered: 0 is idle, 1 is full. With
/// overcommitted CPU it may exceed 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, TS)]
pub struct Load {
    /// Predicted CPU demand to offered threads.
    pub cpu: f64,
    /// Promised to offered memory.
    pub memory: f64,
    /// Promised to offered disk; 0 where no disk is offered.
    pub disk: f64,
}

impl Load {
    /// As an array, CPU first.
    pub fn dimensions(self) -> [f64; 3] {
        [self.cpu, self.memory, self.disk]
    }

    /// The fullest of the three.
    pub fn highest(self) -> f64 {
        self.cpu.max(self.memory).max(self.disk)
    }
}

/// How uneven the loads of many machines are: the weighted sum of the standard deviations of CPU, memory and disk load. 0 is even.
///
/// Kept as sums, so that a machine's change costs the same however many machines there are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Imbalance {
    machines: u32,
    sums: [f64; 3],
    squares: [f64; 3],
}

impl Imbalance {
    /// What each dimension counts: CPU, memory, disk. Disk hardly moves and hurts least when it is uneven.
    pub const WEIGHTS: [f64; 3] = [0.4, 0.4, 0.2];

    /// Counts a machine.
    pub fn add(&mut self, load: Load) {
        self.machines = self.machines.saturating_add(1);
        self.shift(load, 1.0);
    }

    /// Counts a machine no more; it must have been counted with this load.
    pub fn remove(&mut self, load: Load) {
        self.machines = self.machines.saturating_sub(1);
        self.shift(load, -1.0);
    }

    /// How many machines are counted.
    pub fn machines(&self) -> u32 {
        self.machines
    }

    /// A machine's load has changed.
    pub fn change(&mut self, before: Load, after: Load) {
        self.shift(before, -1.0);
        self.shift(after, 1.0);
    }

    fn shift(&mut self, load: Load, sign: f64) {
        for ((sum, square), value) in self.sums.iter_mut().zip(&mut self.squares).zip(load.dimensions()) {
            *sum += sign * value;
            *square += sign * value * value;
        }
    }

    /// The mean load over all machines.
    pub fn mean(&self) -> Load {
        if self.machines == 0 {
            return Load::default();
        }
        let count = f64::from(self.machines);
        let [cpu, memory, disk] = self.sums.map(|sum| sum / count);
        Load { cpu, memory, disk }
    }

    /// The standard deviation in each dimension, CPU first.
    pub fn deviations(&self) -> [f64; 3] {
        if self.machines == 0 {
            return [0.0; 3];
        }
        let count = f64::from(self.machines);
        let mut deviations = [0.0; 3];
        for (deviation, (sum, square)) in deviations.iter_mut().zip(self.sums.iter().zip(self.squares)) {
            let mean = sum / count;
            // Rounding may leave a little less than nothing.
            *deviation = (square / count - mean * mean).max(0.0).sqrt();
        }
        deviations
    }

    /// The figure that a balance plan makes smaller.
    pub fn value(&self) -> f64 {
        self.deviations()
            .iter()
            .zip(Self::WEIGHTS)
            .map(|(deviation, weight)| deviation * weight)
            .sum()
    }
}
