use pool::inventory::{Affinity, Mobility};
use serde::{Deserialize, Serialize};
use ts_rs::TS;
use utoipa::ToSchema;
use uuid::Uuid;

/// What an instance wishes of the machine that holds it. The wishes travel with the instance, so that every desktop that manages it
/// decides alike; they bind whoever chooses a machine, and change nothing on the machine itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema, TS)]
#[serde(deny_unknown_fields, default)]
pub struct Placement {
    /// The group that it belongs to, a label like a name; instances may wish to be near or far from a group's others.
    pub group: Option<String>,
    /// Near what, and far from what, at most [`AFFINITIES_MAX`](Self::AFFINITIES_MAX).
    pub affinities: Vec<Affinity>,
    /// Who comes first where not all find room, higher before lower.
    pub priority: i32,
    /// How it may move.
    pub mobility: Mobility,
    /// A host that would be liked, by [`HostFacts::id`](super::HostFacts::id): better than others, all else equal. It binds nobody.
    pub hint: Option<Uuid>,
    /// The only host that may hold it, by [`HostFacts::id`](super::HostFacts::id): every other is refused, and no plan moves it.
    pub pin: Option<Uuid>,
}

impl Placement {
    /// How many wishes about its neighbourhood one instance may have.
    pub const AFFINITIES_MAX: usize = 16;

    /// Whether it wishes nothing: any machine will do.
    pub fn is_indifferent(&self) -> bool {
        *self == Self::default()
    }
}
