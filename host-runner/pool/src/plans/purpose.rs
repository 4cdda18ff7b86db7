//! Why each move of a drain or a recovery is made.

use super::draft::Moment;
use super::homes::{is_marked, marked};
use super::plan::MoveReason;
use crate::Pool;
use crate::state::InstanceIndex;

/// Tells those that had to move from those that make room for them.
#[derive(Debug)]
pub(super) struct Purpose {
    wanted: Vec<bool>,
    reason: MoveReason,
    /// For each machine, what comes to it and why something else has to leave: first of all what had to move.
    newcomers: Vec<Option<InstanceIndex>>,
    /// What moves at all, so far as this is why.
    moving: Vec<bool>,
}

impl Purpose {
    /// From where everything was and where it should be; what is `wanted` moves for this reason.
    pub(super) fn of(start: &Pool, goal: &Pool, wanted: &[InstanceIndex], reason: MoveReason) -> Self {
        let wanted = marked(start, wanted);
        let newcomers = goal
            .machines()
            .map(|(machine, seat)| {
                seat.instances
                    .iter()
                    .copied()
                    .filter(|instance| start.instance(*instance).machine != Some(machine))
                    .min_by_key(|instance| (!is_marked(&wanted, *instance), *instance))
            })
            .collect();
        let moving = start
            .instances()
            .map(|(index, seat)| seat.machine != goal.instance(index).machine)
            .collect();
        Self {
            wanted,
            reason,
            newcomers,
            moving,
        }
    }

    pub(super) fn reason(&self, moment: &Moment<'_>) -> MoveReason {
        if is_marked(&self.wanted, moment.hop.instance) {
            return self.reason.clone();
        }
        let newcomer = moment
            .from
            .filter(|_| is_marked(&self.moving, moment.hop.instance))
            .and_then(|from| self.newcomers.get(from.0 as usize).copied().flatten());
        match newcomer {
            Some(instance) => MoveReason::MakesRoom {
                instance: moment.pool.instance(instance).id,
            },
            None => MoveReason::Balance { gain: moment.gain },
        }
    }
}
