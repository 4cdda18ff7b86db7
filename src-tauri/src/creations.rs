//! The creates under way: which name and machine were chosen for an id, so that a repeated create asks for the same thing.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use api::InstanceSpec;
use uuid::Uuid;

use crate::contract::InstanceRequest;

/// How many choices are remembered; the oldest go first.
const CREATIONS_MAX: usize = 256;

/// What was chosen for a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Creation {
    /// The instance's id.
    pub(crate) id: Uuid,
    /// The machine that is asked.
    pub(crate) machine: Uuid,
    /// What it is asked for.
    pub(crate) spec: InstanceSpec,
    /// What the person asked for.
    pub(crate) request: InstanceRequest,
    /// The machine that the person named.
    pub(crate) named: Option<Uuid>,
}

/// The choices so far.
#[derive(Debug, Default)]
pub(crate) struct Creations {
    choices: Mutex<VecDeque<Creation>>,
}

impl Creations {
    /// What was chosen for this id and question before, or what `choose` chooses now. `choose` is told the names that other creates
    /// have chosen; no two choices are made at once, so no name is chosen twice.
    pub(crate) fn remember<E>(
        &self,
        id: Uuid,
        request: &InstanceRequest,
        named: Option<Uuid>,
        choose: impl FnOnce(&[&str]) -> Result<Creation, E>,
    ) -> Result<Creation, E> {
        let mut choices = self.lock();
        let before = choices
            .iter()
            .find(|choice| choice.id == id && choice.request == *request && choice.named == named);
        if let Some(before) = before {
            return Ok(before.clone());
        }
        let names: Vec<&str> = choices.iter().map(|choice| choice.spec.name.as_str()).collect();
        let creation = choose(&names)?;
        if choices.len() >= CREATIONS_MAX {
            choices.pop_front();
        }
        choices.push_back(creation.clone());
        Ok(creation)
    }

    /// The create is over: its instance is in the picture, or was refused for certain.
    pub(crate) fn forget(&self, id: Uuid) {
        self.lock().retain(|choice| choice.id != id);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Creation>> {
        self.choices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
