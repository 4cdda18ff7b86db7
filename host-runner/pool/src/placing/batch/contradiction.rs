use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::Pool;
use crate::inventory::AffinityKind;
use crate::state::{AskedTarget, InstanceIndex};

/// Wishes that cannot be met together, whatever the pool. Instances are named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, TS, thiserror::Error)]
#[serde(tag = "contradiction", rename_all = "snake_case")]
pub enum Contradiction {
    /// Two must be on one machine, directly or through others, and also apart.
    #[error("{one} and {other} must be on one machine, and {one} must keep away from {other}")]
    TogetherAndApart {
        /// Who must keep away.
        one: String,
        /// From whom.
        other: String,
    },
    /// Two must be on one machine, and are tied to different ones.
    #[error("{one} and {other} must be on one machine, and are tied to different ones")]
    TiedToTwo {
        /// The one.
        one: String,
        /// The other.
        other: String,
    },
}

/// The instances in clusters that must be on one machine, each cluster and all clusters in the order of the instances.
///
/// # Errors
/// A contradiction within a cluster.
pub(super) fn clusters(
    pool: &Pool,
    instances: &[InstanceIndex],
) -> Result<Vec<Vec<InstanceIndex>>, Contradiction> {
    let places: BTreeMap<InstanceIndex, usize> = instances.iter().copied().zip(0..).collect();
    let mut cluster_of: Vec<usize> = (0..instances.len()).collect();
    for (instance, place) in &places {
        for affinity in pool.instance(*instance).asked.hard_affinities() {
            if let (AffinityKind::Together, AskedTarget::Instance(id)) = (affinity.kind, affinity.target)
                && let Some(other) = pool.instance_of_id(id).and_then(|other| places.get(&other))
            {
                join(&mut cluster_of, *place, *other);
            }
        }
    }
    let mut clusters: BTreeMap<usize, Vec<InstanceIndex>> = BTreeMap::new();
    for (instance, place) in &places {
        clusters
            .entry(root(&cluster_of, *place))
            .or_default()
            .push(*instance);
    }
    let clusters: Vec<_> = clusters.into_values().collect();
    clusters.iter().try_for_each(|cluster| check(pool, cluster))?;
    Ok(clusters)
}

fn root(cluster_of: &[usize], place: usize) -> usize {
    let mut at = place;
    // Each link leads to a smaller place or to itself, so that this ends.
    while let Some(next) = cluster_of.get(at).copied().filter(|next| *next < at) {
        at = next;
    }
    at
}

fn join(cluster_of: &mut [usize], one: usize, other: usize) {
    let (one, other) = (root(cluster_of, one), root(cluster_of, other));
    if let Some(link) = cluster_of.get_mut(one.max(other)) {
        *link = one.min(other);
    }
}

fn check(pool: &Pool, cluster: &[InstanceIndex]) -> Result<(), Contradiction> {
    let name = |instance: InstanceIndex| (*pool.instance(instance).name).to_owned();
    let mut tied: Option<(InstanceIndex, uuid::Uuid)> = None;
    for instance in cluster {
        let asked = &pool.instance(*instance).asked;
        if let Some(pin) = asked.pin {
            match tied {
                Some((one, id)) if id != pin.id => {
                    return Err(Contradiction::TiedToTwo {
                        one: name(one),
                        other: name(*instance),
                    });
                }
                Some(_) | None => tied = Some((*instance, pin.id)),
            }
        }
        for affinity in asked.hard_affinities() {
            if affinity.kind != AffinityKind::Apart {
                continue;
            }
            let from = cluster.iter().find(|other| {
                let seat = pool.instance(**other);
                let is_meant = match affinity.target {
                    AskedTarget::Instance(id) => seat.id == id,
                    AskedTarget::Group(group) => seat.asked.group == Some(group),
                    AskedTarget::Tag(_) | AskedTarget::Site(_) => false,
                };
                is_meant && *other != instance
            });
            if let Some(from) = from {
                return Err(Contradiction::TogetherAndApart {
                    one: name(*instance),
                    other: name(*from),
                });
            }
        }
    }
    Ok(())
}
