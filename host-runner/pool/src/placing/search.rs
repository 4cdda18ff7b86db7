use std::collections::HashMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::filters::passes;
use super::policy::Policy;
use super::scoring::Scoring;
use crate::inventory::AffinityKind;
use crate::state::{AskedTarget, Index, MachineIndex, Marks, Node, Pool, Presence, Reach};

/// How much more than full a box may look: its loads are rounded in another way than a machine's filters.
const CPU_TOLERANCE: f64 = 1e-6;

/// Up to so many machines are kept on a list in order; more are sorted once.
const LISTED_MAX: usize = 256;

/// A machine that can take the instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub machine: MachineIndex,
    pub score: f64,
}

impl Candidate {
    /// Higher scores come first, and of equal ones the earlier machine.
    fn beats(&self, other: &Self) -> bool {
        self.score > other.score || (self.score >= other.score && self.machine < other.machine)
    }
}

/// The best of the machines that can take the instance, best first, at most `most` (at least 1) of them.
///
/// With an index that is up to date (see [`Pool::refresh_index`]), and without a bound on candidates, it looks at few machines, and
/// still finds exactly those that scoring every machine would find.
pub(super) fn shortlist(scoring: &Scoring<'_>, policy: &Policy, most: usize) -> Vec<Candidate> {
    let pool = scoring.subject.pool;
    let mut search = Search {
        scoring,
        most: most.max(1),
        list: Vec::new(),
    };
    if most > LISTED_MAX && policy.candidates_max.is_none() {
        return search.all_that_pass();
    }
    if let Some(few) = the_only_ones(scoring) {
        search.consider_all(few.into_iter());
    } else if let Some(bound) = policy.candidates_max {
        search.consider_drawn(policy.seed, bound.get());
    } else if let Some(index) = pool.index() {
        let tied = scoring.tied_machines();
        search.consider_all(tied.iter().copied());
        search.walk(index, &tied);
    } else {
        search.consider_all(pool.machines().map(|(machine, _)| machine));
    }
    search.list
}

/// The machines that come into question where a pin or a neighbour leaves only few; `None` where it is any.
fn the_only_ones(scoring: &Scoring<'_>) -> Option<Vec<MachineIndex>> {
    let subject = scoring.subject;
    let pool = subject.pool;
    let holding = |presence: &Presence| {
        let others = presence.seats().filter(|(_, one)| Some(*one) != subject.instance);
        let mut machines: Vec<MachineIndex> = others.map(|(machine, _)| machine).collect();
        machines.dedup();
        (!machines.is_empty()).then_some(machines)
    };
    if let Some(pin) = subject.asked.pin {
        return Some(pin.machine.into_iter().collect());
    }
    let together = subject.asked.hard_affinities();
    let wanted = together
        .filter(|affinity| affinity.kind == AffinityKind::Together)
        .find_map(|affinity| match affinity.target {
            AskedTarget::Instance(id) => pool
                .instance_of_id(id)
                .filter(|with| Some(*with) != subject.instance)
                .and_then(|with| pool.instance(with).machine)
                .map(|machine| vec![machine]),
            AskedTarget::Group(group) => pool.group(group).and_then(holding),
            AskedTarget::Tag(_) | AskedTarget::Site(_) => None,
        });
    wanted.or_else(|| subject.watchers.and_then(|watchers| holding(&watchers.together)))
}

struct Search<'a> {
    scoring: &'a Scoring<'a>,
    most: usize,
    /// Best first.
    list: Vec<Candidate>,
}

impl Search<'_> {
    /// Whether there would be a place on the list for it.
    fn is_wanted(&self, candidate: &Candidate) -> bool {
        match self.list.last() {
            Some(last) if self.list.len() >= self.most => candidate.beats(last),
            Some(_) | None => true,
        }
    }

    fn put(&mut self, candidate: Candidate) {
        let place = self.list.partition_point(|listed| listed.beats(&candidate));
        self.list.insert(place, candidate);
        self.list.truncate(self.most);
    }

    /// Puts the machine on the list, if its score suffices and it can take the instance.
    fn consider(&mut self, machine: MachineIndex) {
        let question = self.scoring.subject.on(machine);
        let score = self.scoring.score(&self.scoring.outlook(&question));
        let candidate = Candidate { machine, score };
        if self.is_wanted(&candidate) && passes(&question) {
            self.put(candidate);
        }
    }

    fn all_that_pass(self) -> Vec<Candidate> {
        let Self { scoring, most, .. } = self;
        let questions = scoring
            .subject
            .pool
            .machines()
            .map(|(machine, _)| scoring.subject.on(machine));
        let mut list: Vec<Candidate> = questions
            .filter(passes)
            .map(|question| Candidate {
                machine: question.machine,
                score: scoring.score(&scoring.outlook(&question)),
            })
            .collect();
        list.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.machine.cmp(&b.machine)));
        list.truncate(most);
        list
    }

    fn consider_all(&mut self, machines: impl Iterator<Item = MachineIndex>) {
        for machine in machines {
            self.consider(machine);
        }
    }

    /// Draws machines without putting any back until `bound` of them can take the instance: each has the same chance to be among them.
    fn consider_drawn(&mut self, seed: u32, bound: u32) {
        let pool = self.scoring.subject.pool;
        let mut left = bound;
        for machine in Draws::new(pool, self.scoring, seed) {
            if left == 0 {
                return;
            }
            let question = self.scoring.subject.on(machine);
            if passes(&question) {
                let score = self.scoring.score(&self.scoring.outlook(&question));
                self.put(Candidate { machine, score });
                left -= 1;
            }
        }
    }

    /// Goes through the tree, the more promising half first, and skips what cannot hold the instance or cannot be on the list.
    fn walk(&mut self, index: &Index, tied: &[MachineIndex]) {
        let needed = Marks::needed_by(self.scoring.subject.asked);
        let Some(root) = index.root() else { return };
        let mut open: Vec<(Candidate, &Node)> = Vec::with_capacity(64);
        open.extend(self.open(root, needed));
        while let Some((promise, node)) = open.pop() {
            if !self.is_wanted(&promise) {
                continue;
            }
            match node.halves {
                Some(halves) => {
                    let half = |place: usize| index.node(place).and_then(|half| self.open(half, needed));
                    let [left, right] = halves.map(half);
                    match (left, right) {
                        (Some(left), Some(right)) if left.0.beats(&right.0) => open.extend([right, left]),
                        (left, right) => open.extend(left.into_iter().chain(right)),
                    }
                }
                None => {
                    for (machine, point) in index.machines(node) {
                        let outlook = self.scoring.outlook_of(*machine, point);
                        let candidate = Candidate {
                            machine: *machine,
                            score: self.scoring.score(&outlook),
                        };
                        if self.is_wanted(&candidate)
                            && tied.binary_search(machine).is_err()
                            && passes(&self.scoring.subject.on(*machine))
                        {
                            self.put(candidate);
                        }
                    }
                }
            }
        }
    }

    /// The best that could come of a node; `None` where nothing can, or nothing that is wanted.
    fn open<'n>(&self, node: &'n Node, needed: Marks) -> Option<(Candidate, &'n Node)> {
        if !self.may_hold(&node.reach, needed) {
            return None;
        }
        let promise = Candidate {
            machine: node.reach.first,
            score: self.scoring.score_most(&node.reach),
        };
        self.is_wanted(&promise).then_some((promise, node))
    }

    /// Whether any machine in the box may pass the filters, as far as a box can tell.
    fn may_hold(&self, reach: &Reach, needed: Marks) -> bool {
        let subject = self.scoring.subject;
        let asked = subject.asked;
        let most = &reach.low;
        let takes = most.marks.has(Marks::READY) || (subject.may_wake && most.marks.has(Marks::ASLEEP));
        let vcpus = u64::from(asked.vcpus);
        let has_room =
            !subject.is_running() || (asked.memory_mib <= most.memory_free_mib && vcpus <= most.vcpus_left);
        let has_cpu = !subject.minds_cpu()
            || most.load[0] + subject.demand.mean * most.per_unit[0] <= 1.0 + CPU_TOLERANCE;
        takes
            && has_room
            && has_cpu
            && most.marks.has(needed)
            && asked.vcpus <= most.threads
            && asked.disk_mib() <= most.disk_free_mib
    }
}

/// All machines in an order by chance. It differs from instance to instance, and as the pool fills, and is the same for the same pool.
///
/// Whoever needs few draws few: only the places that were drawn are remembered, as in a shuffle that stops early.
struct Draws {
    chance: ChaCha8Rng,
    /// Whom a draw has put in another place.
    moved: HashMap<u32, u32>,
    next: u32,
    count: u32,
}

impl Draws {
    fn new(pool: &Pool, scoring: &Scoring<'_>, seed: u32) -> Self {
        let mut material = [0_u8; 32];
        let instance = scoring.subject.instance.map_or(u32::MAX, |instance| instance.0);
        let promised: u64 = u64::from(pool.placed());
        let words = [
            u64::from(seed),
            u64::from(instance),
            promised,
            u64::from(pool.version()),
        ];
        for (bytes, word) in material.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self {
            chance: ChaCha8Rng::from_seed(material),
            moved: HashMap::new(),
            next: 0,
            count: u32::try_from(pool.machines().len()).unwrap_or(u32::MAX),
        }
    }
}

impl Iterator for Draws {
    type Item = MachineIndex;

    fn next(&mut self) -> Option<MachineIndex> {
        if self.next >= self.count {
            return None;
        }
        let place = self.chance.random_range(self.next..self.count);
        let drawn = self.moved.get(&place).copied().unwrap_or(place);
        let first = self.moved.remove(&self.next).unwrap_or(self.next);
        if place > self.next {
            self.moved.insert(place, first);
        }
        self.next += 1;
        Some(MachineIndex(drawn))
    }
}
