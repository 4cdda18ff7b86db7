//! On which machine each instance was seen last: one that turns up on another was moved, by whomever.

use std::collections::{BTreeMap, HashMap, VecDeque};

use api::Timestamp;
use uuid::Uuid;

/// How many instances that are gone are still waited for; of more, those that went first are forgotten.
const GONE_MAX: usize = 10_000;

/// Where an instance was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The instance.
    pub instance: Uuid,
    /// The machine's own identity, [`HostFacts::id`](api::HostFacts::id): the pool's changes where a machine leaves and comes back.
    pub host: Uuid,
    /// When it was first seen there after it had been on another machine; `None` where it was never seen on another. The move itself
    /// may be older: nobody looked while the app was closed.
    pub moved_at: Option<Timestamp>,
}

/// The last sights of all instances, and which of them have not been written down yet. Pure.
#[derive(Debug, Default)]
pub(super) struct Whereabouts {
    known: HashMap<Uuid, Known>,
    /// In the order in which they went. One that came back may still be in it.
    gone: VecDeque<Uuid>,
    /// At most one of each instance that is known.
    unwritten: BTreeMap<Uuid, Sight>,
}

#[derive(Debug)]
struct Known {
    sight: Sight,
    here: bool,
}

impl Whereabouts {
    /// Takes what was written down by an earlier run. What is known better already stays.
    pub(super) fn recall(&mut self, sight: Sight) {
        self.known
            .entry(sight.instance)
            .or_insert(Known { sight, here: false });
    }

    /// An instance is on a machine.
    pub(super) fn saw(&mut self, instance: Uuid, host: Uuid, at: Timestamp) {
        let before = self.known.get(&instance).map(|known| known.sight);
        let moved_at = match before {
            None => None,
            Some(sight) if sight.host == host => sight.moved_at,
            Some(_) => Some(at),
        };
        let sight = Sight {
            instance,
            host,
            moved_at,
        };
        self.known.insert(instance, Known { sight, here: true });
        self.unwritten.insert(instance, sight);
    }

    /// An instance is gone from its machine: deleted, or on its way to another.
    pub(super) fn lost(&mut self, instance: Uuid) {
        let Some(known) = self.known.get_mut(&instance) else {
            return;
        };
        known.here = false;
        self.gone.push_back(instance);
        while self.gone.len() > GONE_MAX {
            let first = self.gone.pop_front();
            if let Some(first) = first.filter(|first| self.known.get(first).is_some_and(|known| !known.here))
            {
                self.known.remove(&first);
                self.unwritten.remove(&first);
            }
        }
    }

    /// See [`Sight::moved_at`].
    pub(super) fn moved_at(&self, instance: Uuid) -> Option<Timestamp> {
        self.known.get(&instance)?.sight.moved_at
    }

    /// What was seen since the last call.
    pub(super) fn take_unwritten(&mut self) -> Vec<Sight> {
        std::mem::take(&mut self.unwritten).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Uuid = Uuid::from_u128(1);
    const ATLAS: Uuid = Uuid::from_u128(10);
    const BOREAS: Uuid = Uuid::from_u128(11);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1000).unwrap()
    }

    #[test]
    fn an_instance_that_was_only_ever_seen_on_one_machine_was_not_moved() {
        let mut whereabouts = Whereabouts::default();
        whereabouts.saw(WEB, ATLAS, at(1));
        whereabouts.lost(WEB);
        whereabouts.saw(WEB, ATLAS, at(2));
        assert_eq!(whereabouts.moved_at(WEB), None);
        assert_eq!(whereabouts.moved_at(Uuid::from_u128(2)), None);
    }

    #[test]
    fn one_that_turns_up_elsewhere_was_moved_when_it_was_first_seen_there() {
        let mut whereabouts = Whereabouts::default();
        whereabouts.saw(WEB, ATLAS, at(1));
        whereabouts.lost(WEB);
        whereabouts.saw(WEB, BOREAS, at(5));
        whereabouts.saw(WEB, BOREAS, at(9));
        assert_eq!(whereabouts.moved_at(WEB), Some(at(5)));
        whereabouts.saw(WEB, ATLAS, at(20));
        assert_eq!(whereabouts.moved_at(WEB), Some(at(20)));
    }

    #[test]
    fn an_earlier_run_knows_where_it_was_and_never_better_than_this_one() {
        let earlier = |host| Sight {
            instance: WEB,
            host,
            moved_at: Some(at(1)),
        };
        let mut whereabouts = Whereabouts::default();
        whereabouts.recall(earlier(ATLAS));
        whereabouts.saw(WEB, ATLAS, at(5));
        assert_eq!(whereabouts.moved_at(WEB), Some(at(1)));
        whereabouts.recall(earlier(BOREAS));
        whereabouts.saw(WEB, ATLAS, at(6));
        assert_eq!(whereabouts.moved_at(WEB), Some(at(1)));
    }

    #[test]
    fn what_was_seen_is_written_down_once() {
        let mut whereabouts = Whereabouts::default();
        whereabouts.saw(WEB, ATLAS, at(1));
        whereabouts.saw(WEB, BOREAS, at(2));
        let written = whereabouts.take_unwritten();
        assert_eq!(
            written,
            [Sight {
                instance: WEB,
                host: BOREAS,
                moved_at: Some(at(2))
            }]
        );
        assert_eq!(whereabouts.take_unwritten(), []);
    }

    #[test]
    fn of_those_that_are_gone_the_first_are_forgotten_but_none_that_is_here() {
        let mut whereabouts = Whereabouts::default();
        let instances =
            (0..GONE_MAX + 2).map(|number| Uuid::from_u128(100 + u128::try_from(number).unwrap()));
        for (number, instance) in instances.clone().enumerate() {
            whereabouts.saw(instance, ATLAS, at(1));
            whereabouts.lost(instance);
            if number == 0 {
                whereabouts.saw(instance, BOREAS, at(2));
            }
        }
        let known: Vec<bool> = instances
            .take(3)
            .map(|instance| whereabouts.known.contains_key(&instance))
            .collect();
        assert_eq!(known, [true, false, true]);
        assert_eq!(whereabouts.known.len(), GONE_MAX + 1);
    }
}
