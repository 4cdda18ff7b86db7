//! Several instances as one decision: all of them find a place, or none is placed.

mod contradiction;
mod search;

use serde::{Deserialize, Serialize};
use ts_rs::TS;
use uuid::Uuid;

pub use contradiction::Contradiction;

use super::policy::Policy;
use super::question::Subject;
use super::verdict::{NoPlace, no_place};
use crate::Pool;
use crate::state::{InstanceIndex, MachineIndex};
use search::{Outcome, Search};

/// An instance of a batch that finds no place beside the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS)]
pub struct Unplaced {
    /// The instance.
    pub instance: Uuid,
    /// Its name.
    pub name: String,
    /// Who keeps it out.
    pub why: NoPlace,
}

/// A batch that cannot be placed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, TS, thiserror::Error)]
#[serde(tag = "failure", rename_all = "snake_case")]
pub enum BatchFailure {
    /// The instances' wishes contradict each other: no pool could hold them.
    #[error("the instances' wishes contradict each other: {contradiction}")]
    Contradiction {
        /// Which ones.
        contradiction: Contradiction,
    },
    /// Not all of them find a place.
    #[error("{} of {asked} instances {} no place: {}", unplaced.len(), finds(unplaced), told(unplaced))]
    NoPlace {
        /// How many were asked for.
        asked: u32,
        /// Which ones find no place once the others have theirs.
        unplaced: Vec<Unplaced>,
        /// True where every way to place them was tried; false where the search ended at its bound, and a way may have been missed.
        proven: bool,
    },
}

fn finds(unplaced: &[Unplaced]) -> &'static str {
    if unplaced.len() == 1 { "finds" } else { "find" }
}

fn told(unplaced: &[Unplaced]) -> String {
    let told: Vec<String> = unplaced
        .iter()
        .map(|one| format!("{}: {}", one.name, one.why))
        .collect();
    told.join("; ")
}

/// Places instances of the pool that have no machine yet, all or none. On success they are on the machines that are returned, in the
/// order in which they were asked for; on failure the pool is as it was.
///
/// The hardest to place come first, those that must be together as one. Where one finds no place, the order is changed, and in the end
/// other machines are tried for those before it. The search is bounded and follows the policy's seed: it always ends, always with the
/// same answer, and may miss a way where there is one ([`BatchFailure::NoPlace`] says so).
///
/// # Errors
/// Wishes that contradict each other; instances that find no place.
///
/// # Panics
/// On an index of another pool.
pub fn place_batch(
    pool: &mut Pool,
    instances: &[InstanceIndex],
    policy: &Policy,
) -> Result<Vec<(InstanceIndex, MachineIndex)>, Box<BatchFailure>> {
    let waiting = waiting(pool, instances);
    let mut search = search_for(pool, &waiting, policy, false)
        .map_err(|contradiction| Box::new(BatchFailure::Contradiction { contradiction }))?;
    match search.run() {
        Outcome::Placed => Ok(places(pool, instances)),
        Outcome::Failed { proven } => {
            let left = search.place_what_fits();
            let unplaced = left
                .iter()
                .map(|instance| unplaced(pool, *instance, policy))
                .collect();
            for instance in &waiting {
                pool.unseat(*instance);
            }
            Err(Box::new(BatchFailure::NoPlace {
                asked: u32::try_from(instances.len()).unwrap_or(u32::MAX),
                unplaced,
                proven,
            }))
        }
    }
}

/// The same search where CPU must be expected to suffice, too, and where nobody asks why not. On failure the pool is as it was.
pub(super) fn place_all_within_cpu(
    pool: &mut Pool,
    instances: &[InstanceIndex],
    policy: &Policy,
) -> Option<Vec<(InstanceIndex, MachineIndex)>> {
    let waiting = waiting(pool, instances);
    let mut search = search_for(pool, &waiting, policy, true).ok()?;
    match search.run() {
        Outcome::Placed => Some(places(pool, instances)),
        Outcome::Failed { .. } => None,
    }
}

/// Those that have no machine, each once.
fn waiting(pool: &Pool, instances: &[InstanceIndex]) -> Vec<InstanceIndex> {
    let mut waiting: Vec<InstanceIndex> = instances.to_vec();
    waiting.retain(|instance| pool.instance(*instance).machine.is_none());
    waiting.sort_unstable();
    waiting.dedup();
    waiting
}

fn search_for<'a>(
    pool: &'a mut Pool,
    waiting: &[InstanceIndex],
    policy: &'a Policy,
    within_cpu: bool,
) -> Result<Search<'a>, Contradiction> {
    let clusters = contradiction::clusters(pool, waiting)?;
    Ok(Search::new(pool, policy, clusters, within_cpu))
}

fn places(pool: &Pool, instances: &[InstanceIndex]) -> Vec<(InstanceIndex, MachineIndex)> {
    let place = |instance: &InstanceIndex| Some((*instance, pool.instance(*instance).machine?));
    instances.iter().filter_map(place).collect()
}

fn unplaced(pool: &Pool, instance: InstanceIndex, policy: &Policy) -> Unplaced {
    let seat = pool.instance(instance);
    Unplaced {
        instance: seat.id,
        name: (*seat.name).to_owned(),
        why: no_place(&Subject::of(pool, instance).waking(policy.may_wake)),
    }
}
