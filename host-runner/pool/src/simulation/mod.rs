//! The simulator: the pool's decisions over virtual time.
//!
//! Machines, instances with loads, arrivals and departures, failures and recoveries, migrations and their cost, and power
//! from utilization. The same input gives the same report, always: no clock, no I/O; all chance comes from seeds.

mod engine;
mod metrics;
pub mod planetlab;
pub mod policies;
mod power;
mod report;
mod scenario;
#[cfg(test)]
mod tests;
mod time;
pub mod traces;
pub mod tune;
mod world;

pub use metrics::Totals;
pub use power::{BadCurve, POINTS_MAX, PowerCurve};
pub use report::{Point, Report};
pub use scenario::{
    Failure, INSTANCES_MAX, Instances, Load, MACHINES_MAX, Machines, Scenario, ScenarioError, WORK_MAX, run,
};
pub use time::Millis;
pub use world::{Guest, HISTORY_MIN, Host, InstanceSpec, MachineSpec, MemoryMode, Migration, World};
