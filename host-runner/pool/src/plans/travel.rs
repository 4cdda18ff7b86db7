//! How long an instance is under way.

use crate::Pool;
use crate::inventory::Activity;
use crate::state::{InstanceIndex, MachineIndex};

/// How long a move takes, in seconds: what must be copied at the slower machine's rate. Whoever runs takes its memory along; a recovery and
/// a start of what was nowhere copy nothing.
pub(super) fn seconds(pool: &Pool, instance: InstanceIndex, to: MachineIndex) -> f64 {
    let Some(from) = pool.instance(instance).machine else {
        return 0.0;
    };
    let rate = pool
        .machine(from)
        .migration_mib_per_s
        .min(pool.machine(to).migration_mib_per_s);
    copied_mib(pool, instance) / rate.max(RATE_MIN)
}

/// How long an instance needs to leave its machine, wherever it goes.
pub(super) fn seconds_out(pool: &Pool, instance: InstanceIndex) -> f64 {
    pool.instance(instance)
        .machine
        .map_or(0.0, |from| seconds(pool, instance, from))
}

/// No inventory has a slower rate; a division by zero would make a plan's figures useless.
const RATE_MIN: f64 = 0.001;

#[expect(clippy::cast_precision_loss, reason = "MiB of an instance are far below 2^52")]
fn copied_mib(pool: &Pool, instance: InstanceIndex) -> f64 {
    let held = pool.instance(instance);
    match held.activity {
        Activity::Running => held.asked.memory_mib as f64,
        Activity::Stopped => 0.0,
    }
}
