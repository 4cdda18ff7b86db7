//! Places for instances that need one: in the order in which they are hardest to place, making room by moving others where that is what
//! it takes, and again in other orders where some are left over.

use std::cmp::Reverse;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::bonds::{belong_together, fit_together, is_bound};
use super::options::MoveCost;
use super::room::{Offer, Room};
use super::rules::Rules;
use super::trail::Trail;
use super::travel;
use crate::Pool;
use crate::inventory::{Activity, MachineState};
use crate::state::{InstanceIndex, MachineIndex};

/// How many orders are tried at most.
const ATTEMPTS_MAX: u32 = 10;

/// How often one attempt may try to make room.
const TRIES_MAX: u32 = 400;

/// How many machines are looked at for room in all: each attempt may use half of what is left. Where a large pool is full, a no must not
/// take longer than a yes.
const LOOKS_MAX: usize = 24_000;

/// With fewer left no other order is tried.
const LOOKS_FEW: usize = 1_000;

/// How long a chain of "this makes room for that" may be.
const CHAIN_MAX: u32 = 3;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search {
    pub(super) rules: Rules,
    pub(super) cost: MoveCost,
    pub(super) make_room: bool,
    pub(super) wake: bool,
    pub(super) seed: u64,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The pool afterwards, with the machines awake that had to be woken.
    pub(super) pool: Pool,
    pub(super) woken: Vec<MachineIndex>,
    /// What found no place, hardest to place first.
    pub(super) homeless: Vec<InstanceIndex>,
}

/// Which of the machines that fit is taken.
#[derive(Debug, Clone, Copy)]
enum Taste {
    /// The one that leaves the pool most even.
    Spread,
    /// The fullest, so that large room stays in one piece.
    Pack,
}

/// Finds places for all that are `wanted` on ready machines, or for as many as it can, higher priorities first. Each may have a machine
/// yet; none goes back to it unless it is ready. Others move only to make room.
pub(super) fn find_homes(start: &Pool, wanted: &[InstanceIndex], search: &Search) -> Found {
    let mut best: Option<(Merit, Found)> = None;
    let hardest_first = hardest_first(start, wanted, &search.rules);
    let is_wanted = marked(start, wanted);
    let mut random = ChaCha8Rng::seed_from_u64(search.seed);
    let mut looks_left = LOOKS_MAX;
    for attempt in 0..ATTEMPTS_MAX {
        // The second still has another taste.
        if attempt >= 2 && looks_left < LOOKS_FEW {
            break;
        }
        let mut order = hardest_first.clone();
        if attempt >= 2 {
            order.shuffle(&mut random);
            order.sort_by_key(|instance| Reverse(start.instance(*instance).asked.priority));
        }
        let taste = if attempt % 2 == 0 {
            Taste::Spread
        } else {
            Taste::Pack
        };
        let tried = Attempt::new(start, search, taste, &is_wanted, looks_left / 2);
        let (found, looks) = tried.run(&order, &bound_together(start, &order));
        looks_left = looks_left.saturating_sub(looks);
        let merit = Merit::of(start, &is_wanted, &found, &search.cost);
        let is_ideal = merit.is_ideal();
        if best.as_ref().is_none_or(|(least, _)| merit.is_better_than(least)) {
            best = Some((merit, found));
        }
        if is_ideal {
            break;
        }
    }
    best.map_or_else(
        || Found {
            pool: start.clone(),
            woken: Vec::new(),
            homeless: wanted.to_vec(),
        },
        |(_, found)| found,
    )
}

/// How good a finding is; what comes first counts most.
#[derive(Debug)]
struct Merit {
    /// The priorities of what found no place, highest first.
    homeless: Vec<i32>,
    woken: usize,
    /// What moving others costs.
    others: f64,
}

impl Merit {
    fn of(start: &Pool, is_wanted: &[bool], found: &Found, cost: &MoveCost) -> Self {
        let mut homeless: Vec<i32> = found
            .homeless
            .iter()
            .map(|instance| start.instance(*instance).asked.priority)
            .collect();
        homeless.sort_unstable_by_key(|priority| Reverse(*priority));
        let others = start
            .instances()
            .filter(|(index, _)| !is_marked(is_wanted, *index))
            .filter_map(|(index, before)| {
                let (from, to) = (before.machine?, found.pool.instance(index).machine?);
                (from != to).then(|| cost.of_duration(travel::seconds(start, index, to)))
            })
            .sum();
        Self {
            homeless,
            woken: found.woken.len(),
            others,
        }
    }

    fn is_better_than(&self, other: &Self) -> bool {
        (&self.homeless, self.woken)
            .cmp(&(&other.homeless, other.woken))
            .then(self.others.total_cmp(&other.others))
            .is_lt()
    }

    fn is_ideal(&self) -> bool {
        self.homeless.is_empty() && self.woken == 0 && self.others == 0.0
    }
}

/// Higher priorities first; among equals what has the fewest machines to choose from, then the largest.
fn hardest_first(pool: &Pool, wanted: &[InstanceIndex], rules: &Rules) -> Vec<InstanceIndex> {
    const FEW: usize = 8;
    let mut keyed: Vec<_> = wanted
        .iter()
        .map(|instance| {
            let choices = ready(pool)
                .filter(|machine| rules.fits(pool, *instance, *machine))
                .take(FEW)
                .count();
            let asked = &pool.instance(*instance).asked;
            let key = (
                Reverse(asked.priority),
                choices,
                Reverse(asked.memory_mib),
                Reverse(asked.vcpus),
            );
            (key, *instance)
        })
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, instance)| instance).collect()
}

/// The order with those side by side that must be on one machine and are on one now.
fn bound_together(pool: &Pool, order: &[InstanceIndex]) -> Vec<Vec<InstanceIndex>> {
    let mut together: Vec<Vec<InstanceIndex>> = Vec::with_capacity(order.len());
    let mut bound: Vec<usize> = Vec::new();
    for instance in order.iter().copied() {
        if !is_bound(pool, instance) {
            together.push(vec![instance]);
            continue;
        }
        let goes_with = |place: &usize| {
            together.get(*place).is_some_and(|members| {
                members
                    .iter()
                    .any(|other| belong_together(pool, instance, *other))
            })
        };
        let found = bound.iter().copied().find(goes_with);
        if let Some(members) = found.and_then(|place| together.get_mut(place)) {
            members.push(instance);
        } else {
            bound.push(together.len());
            together.push(vec![instance]);
        }
    }
    together
}

/// For each instance of the pool, whether it is one of these.
pub(super) fn marked(pool: &Pool, these: &[InstanceIndex]) -> Vec<bool> {
    let mut marks = vec![false; pool.instances().len()];
    for instance in these {
        if let Some(mark) = marks.get_mut(instance.0 as usize) {
            *mark = true;
        }
    }
    marks
}

pub(super) fn is_marked(marks: &[bool], instance: InstanceIndex) -> bool {
    marks.get(instance.0 as usize).copied().unwrap_or(false)
}

fn ready(pool: &Pool) -> impl Iterator<Item = MachineIndex> + '_ {
    pool.machines()
        .filter(|(_, seat)| seat.state == MachineState::Ready)
        .map(|(index, _)| index)
}

struct Attempt<'a> {
    search: &'a Search,
    taste: Taste,
    trail: Trail,
    /// What is to be placed: moving it once more costs nothing.
    wanted: &'a [bool],
    /// What the present chain has already moved: it makes no room a second time.
    chain: Vec<InstanceIndex>,
    tries_left: u32,
    looks: usize,
    looks_max: usize,
}

impl<'a> Attempt<'a> {
    fn new(start: &Pool, search: &'a Search, taste: Taste, wanted: &'a [bool], looks_max: usize) -> Self {
        Self {
            search,
            taste,
            trail: Trail::new(start.clone()),
            wanted,
            chain: Vec::new(),
            tries_left: TRIES_MAX,
            looks: 0,
            looks_max,
        }
    }

    /// What it finds, and how many machines it has looked at for room.
    fn run(mut self, order: &[InstanceIndex], together: &[Vec<InstanceIndex>]) -> (Found, usize) {
        // Without a place they do not stand in each other's way: those that belong together can go together.
        for instance in order {
            self.trail.unseat(*instance);
        }
        let mut homeless: Vec<InstanceIndex> = Vec::new();
        for members in together {
            if let &[alone] = members.as_slice() {
                if !self.settle_first(alone) {
                    homeless.push(alone);
                }
            } else if !self.settle_together(members) {
                homeless.extend(members);
            }
        }
        let mut woken = Vec::new();
        if self.search.wake && !homeless.is_empty() {
            (homeless, woken) = self.wake_for(homeless);
        }
        self.settle_late(&mut homeless);
        let found = Found {
            pool: self.trail.into_pool(),
            woken,
            homeless,
        };
        (found, self.looks)
    }

    /// What was moved for others may have made room for those before them, too.
    fn settle_late(&mut self, homeless: &mut Vec<InstanceIndex>) {
        loop {
            let before = homeless.len();
            homeless.retain(|instance| {
                let is_bound = is_bound(self.trail.pool(), *instance);
                let found = if is_bound { None } else { self.choose(*instance) };
                if let Some(machine) = found {
                    self.trail.seat(*instance, machine);
                }
                found.is_none()
            });
            if homeless.len() == before {
                return;
            }
        }
    }

    /// One machine for all of them, without moving others.
    fn settle_together(&mut self, members: &[InstanceIndex]) -> bool {
        let mut machines: Vec<(f64, MachineIndex)> = self
            .trail
            .pool()
            .machines()
            .filter(|(_, seat)| seat.state == MachineState::Ready)
            .map(|(machine, seat)| (seat.load().highest(), machine))
            .collect();
        machines.sort_by(|a, b| match self.taste {
            Taste::Spread => a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)),
            Taste::Pack => b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)),
        });
        let rules = &self.search.rules;
        let found = machines
            .iter()
            .find(|(_, machine)| fit_together(self.trail.scratch(), rules, members, *machine));
        let Some((_, machine)) = found else {
            return false;
        };
        for instance in members {
            self.trail.seat(*instance, *machine);
        }
        true
    }

    fn settle_first(&mut self, instance: InstanceIndex) -> bool {
        self.chain.clear();
        self.settle(instance, CHAIN_MAX)
    }

    /// Gives the instance a place, if need be by moving others; changes nothing where that fails.
    fn settle(&mut self, instance: InstanceIndex, chain_left: u32) -> bool {
        if let Some(machine) = self.choose(instance) {
            self.trail.seat(instance, machine);
            return true;
        }
        if !self.search.make_room || chain_left == 0 || self.looks >= self.looks_max {
            return false;
        }
        self.chain.push(instance);
        let room = Room {
            rules: &self.search.rules,
            cost: &self.search.cost,
            free: self.wanted,
            staying: &self.chain,
        };
        let (offers, looks) = room.offers(self.trail.scratch(), instance);
        self.looks = self.looks.saturating_add(looks);
        for offer in offers {
            if self.tries_left == 0 {
                break;
            }
            self.tries_left -= 1;
            let (mark, chained) = (self.trail.mark(), self.chain.len());
            if self.take(&offer, instance, chain_left - 1) {
                return true;
            }
            self.trail.back_to(mark);
            self.chain.truncate(chained);
        }
        self.chain.pop();
        false
    }

    fn take(&mut self, offer: &Offer, instance: InstanceIndex, chain_left: u32) -> bool {
        for other in &offer.leaving {
            self.trail.unseat(*other);
        }
        if !self.search.rules.fits(self.trail.pool(), instance, offer.machine) {
            return false;
        }
        self.trail.seat(instance, offer.machine);
        self.chain.extend(&offer.leaving);
        offer.leaving.iter().all(|other| self.settle(*other, chain_left))
    }

    /// The best machine that takes the instance as things are.
    fn choose(&self, instance: InstanceIndex) -> Option<MachineIndex> {
        let pool = self.trail.pool();
        let held = pool.instance(instance);
        let mut best: Option<(f64, MachineIndex)> = None;
        for (machine, seat) in pool.machines() {
            if seat.state != MachineState::Ready || held.machine == Some(machine) {
                continue;
            }
            // A full pool is told by this alone.
            if held.activity == Activity::Running && held.asked.memory_mib > seat.memory_free_mib() {
                continue;
            }
            let before = seat.load();
            let after = seat.load_with(&held.asked, held.activity, held.demand);
            let badness = match self.taste {
                Taste::Spread => {
                    let mut imbalance = *pool.imbalance();
                    imbalance.change(before, after);
                    imbalance.value()
                }
                Taste::Pack => -after.highest(),
            };
            let is_better = best.is_none_or(|(least, _)| badness < least);
            if is_better && self.search.rules.fits(pool, instance, machine) {
                best = Some((badness, machine));
            }
        }
        best.map(|(_, machine)| machine)
    }

    /// Wakes machines one by one, each for the first that it can take, and tries the others again.
    fn wake_for(&mut self, homeless: Vec<InstanceIndex>) -> (Vec<InstanceIndex>, Vec<MachineIndex>) {
        let mut woken = Vec::new();
        let mut left = Vec::new();
        for instance in homeless {
            if self.settle_first(instance) {
                continue;
            }
            match self.wake_one_for(instance) {
                Some(machine) => {
                    woken.push(machine);
                    self.trail.seat(instance, machine);
                }
                None => left.push(instance),
            }
        }
        (left, woken)
    }

    /// Of the sleeping machines that would take the instance, the one that needs least power.
    fn wake_one_for(&mut self, instance: InstanceIndex) -> Option<MachineIndex> {
        let mut asleep: Vec<(MachineIndex, f64)> = self
            .trail
            .pool()
            .machines()
            .filter(|(_, seat)| seat.state == MachineState::Asleep)
            .map(|(index, seat)| (index, seat.power.at(0.0)))
            .collect();
        asleep.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        for (machine, _) in asleep {
            self.trail.set_state(machine, MachineState::Ready);
            if self.search.rules.fits(self.trail.pool(), instance, machine) {
                return Some(machine);
            }
            self.trail.set_state(machine, MachineState::Asleep);
        }
        None
    }
}
