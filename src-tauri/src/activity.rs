//! What there is to tell: derived from what was seen on the machines, whoever caused it.

use api::{ApiError, Instance, Progress, RunState};
use uuid::Uuid;

use crate::contract::ActivityKind;

/// Something that happened to an instance, before it has a time and a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// What.
    pub kind: ActivityKind,
    /// The instance's name.
    pub instance: String,
    /// The instance's id.
    pub instance_id: Uuid,
    /// Milliseconds from power-on to the login prompt, for [`ActivityKind::InstanceReady`].
    pub took_ms: Option<u32>,
    /// Why, for [`ActivityKind::InstanceFailed`].
    pub error: Option<ApiError>,
}

/// What lies between two sights of an instance. Pure; what was missed in between is told too, in the order in which it must have been.
///
/// Moves that a person would not call an event (`creating → stopped`, the states on the way) tell nothing.
pub fn observe(before: Option<&Instance>, after: &Instance) -> Vec<Observed> {
    let mut observed = Vec::new();
    let mut tell = |kind| observed.push(Observed::of(kind, after));
    let was = before.map(|instance| instance.state);
    if before.is_none() {
        tell(ActivityKind::InstanceCreated);
    }
    let started_before = before.and_then(|instance| instance.started_at);
    let new_run = after.started_at.is_some() && after.started_at != started_before;
    if new_run {
        tell(ActivityKind::InstanceStarted);
    }
    let ready_before = before.is_some_and(|instance| instance.progress == Some(Progress::Ready));
    if after.progress == Some(Progress::Ready) && (new_run || !ready_before) {
        tell(ActivityKind::InstanceReady);
    }
    let rested = matches!(was, None | Some(RunState::Creating | RunState::Stopped));
    if after.state == RunState::Stopped && !rested {
        tell(ActivityKind::InstanceStopped);
    }
    if after.state == RunState::Failed && was != Some(RunState::Failed) {
        tell(ActivityKind::InstanceFailed);
    }
    observed
}

/// An instance is gone.
pub fn observe_deleted(last: &Instance) -> Observed {
    Observed::of(ActivityKind::InstanceDeleted, last)
}

impl Observed {
    fn of(kind: ActivityKind, instance: &Instance) -> Self {
        let failure = instance
            .failure
            .as_ref()
            .filter(|_| kind == ActivityKind::InstanceFailed);
        Self {
            kind,
            instance: instance.spec.name.clone(),
            instance_id: instance.id,
            took_ms: instance.boot_ms.filter(|_| kind == ActivityKind::InstanceReady),
            error: failure.map(|failure| ApiError::new(failure.code, failure.message.clone())),
        }
    }
}
