use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::Pool;
use crate::placing::filters::passes;
use crate::placing::policy::Policy;
use crate::placing::question::Subject;
use crate::placing::verdict::{best_machines, choose_machine};
use crate::state::{InstanceIndex, MachineIndex};

/// How often another order is tried.
const ORDERS_MAX: u32 = 16;
/// For how many clusters other machines are tried, before the search gives up.
const TURNS_MAX: u32 = 2_000;
/// The same where many failures are tried, one after the other.
const TURNS_OF_A_FAILURE_MAX: u32 = 200;
/// How many machines are tried for one cluster before those before it are moved.
const MACHINES_MAX: usize = 8;
/// Among how many machines, best first, one is sought that can hold a whole cluster, before all are looked at.
const MACHINES_FIRST: usize = 64;

pub(super) enum Outcome {
    Placed,
    Failed { proven: bool },
}

/// Instances that must be on one machine, the largest first.
type Cluster = Vec<InstanceIndex>;

pub(super) struct Search<'a> {
    pool: &'a mut Pool,
    policy: &'a Policy,
    /// In the order in which they are placed.
    clusters: Vec<Cluster>,
    /// Whether the CPU that is foretold must suffice.
    within_cpu: bool,
    /// The policy without its bound on candidates: who drew a few machines by chance cannot say that no other would do.
    of_all: Policy,
}

/// One cluster's machines in a search that can go back.
struct Turn {
    machines: Vec<MachineIndex>,
    next: usize,
}

impl<'a> Search<'a> {
    pub fn new(pool: &'a mut Pool, policy: &'a Policy, mut clusters: Vec<Cluster>, within_cpu: bool) -> Self {
        for cluster in &mut clusters {
            // Stable: equals keep their order.
            cluster.sort_by(|a, b| size(pool, *b).total_cmp(&size(pool, *a)));
        }
        // The hardest first: what is tied, what has most wishes, what is largest.
        clusters.sort_by(|a, b| {
            let (a, b) = (hardness(pool, a), hardness(pool, b));
            (b.0, b.1).cmp(&(a.0, a.1)).then(b.2.total_cmp(&a.2))
        });
        Self {
            pool,
            policy,
            clusters,
            within_cpu,
            of_all: Policy {
                candidates_max: None,
                ..policy.clone()
            },
        }
    }

    fn subject(&self, instance: InstanceIndex) -> Subject<'_> {
        Subject::of(self.pool, instance)
            .waking(self.policy.may_wake)
            .within_cpu(self.within_cpu)
    }

    /// Places all clusters, or none.
    pub fn run(&mut self) -> Outcome {
        let mut chance = ChaCha8Rng::seed_from_u64(u64::from(self.policy.seed));
        for _ in 0..ORDERS_MAX {
            let Some(failed) = self.place_in_order() else {
                return Outcome::Placed;
            };
            if self.clusters.len() == 1 {
                return Outcome::Failed { proven: true };
            }
            // Whoever found no place comes first; if it was first, the others' order is at fault.
            match failed {
                0 => {
                    if let Some(others) = self.clusters.get_mut(1..) {
                        others.shuffle(&mut chance);
                    }
                }
                failed => {
                    if let Some(up_to) = self.clusters.get_mut(..=failed) {
                        up_to.rotate_right(1);
                    }
                }
            }
        }
        self.place_going_back()
    }

    /// Places one after the other, each on its best machine. Returns the place of the first that finds none, with nothing placed; `None`
    /// when all are placed.
    fn place_in_order(&mut self) -> Option<usize> {
        for at in 0..self.clusters.len() {
            if !self.place_at_best(at) {
                for before in 0..at {
                    self.unseat(before);
                }
                return Some(at);
            }
        }
        None
    }

    fn place_at_best(&mut self, at: usize) -> bool {
        if let Some([instance]) = self.clusters.get(at).map(Vec::as_slice) {
            let instance = *instance;
            self.pool.refresh_index();
            let machine = choose_machine(&self.subject(instance), self.policy);
            if let Some(machine) = machine {
                self.pool.seat(instance, machine);
            }
            return machine.is_some();
        }
        let machines = self.machines_for(at, 1);
        machines.first().is_some_and(|machine| self.seat(at, *machine))
    }

    /// Places one after the other, and where one finds no machine, tries the next machine for the one before it.
    fn place_going_back(&mut self) -> Outcome {
        let mut turns: Vec<Turn> = Vec::new();
        let mut complete = true;
        let turns_max = if self.within_cpu {
            TURNS_OF_A_FAILURE_MAX
        } else {
            TURNS_MAX
        };
        for _ in 0..turns_max {
            if turns.len() == self.clusters.len() {
                return Outcome::Placed;
            }
            let machines = self.machines_for(turns.len(), MACHINES_MAX);
            complete &= machines.len() < MACHINES_MAX;
            turns.push(Turn { machines, next: 0 });
            while !self.take_next(&mut turns) {
                turns.pop();
                if turns.is_empty() {
                    return Outcome::Failed { proven: complete };
                }
                self.unseat(turns.len() - 1);
            }
        }
        for at in 0..turns.len() {
            self.unseat(at);
        }
        Outcome::Failed { proven: false }
    }

    /// Puts the last cluster on the next of its machines; false where there is none left.
    fn take_next(&mut self, turns: &mut [Turn]) -> bool {
        let at = turns.len().saturating_sub(1);
        let Some(turn) = turns.last_mut() else {
            return false;
        };
        while let Some(machine) = turn.machines.get(turn.next).copied() {
            turn.next += 1;
            if self.seat(at, machine) {
                return true;
            }
        }
        false
    }

    /// The best machines that can hold a whole cluster, best first, at most `most`.
    fn machines_for(&mut self, at: usize, most: usize) -> Vec<MachineIndex> {
        let Some(leader) = self.clusters.get(at).and_then(|cluster| cluster.first()).copied() else {
            return Vec::new();
        };
        let alone = self.clusters.get(at).is_none_or(|cluster| cluster.len() == 1);
        let mut found = Vec::new();
        for among in [MACHINES_FIRST.max(most), usize::MAX] {
            self.pool.refresh_index();
            let machines = best_machines(&self.subject(leader), &self.of_all, among);
            let all = machines.len() < among;
            found = machines;
            if !alone {
                found.retain(|machine| {
                    let holds = self.seat(at, *machine);
                    if holds {
                        self.unseat(at);
                    }
                    holds
                });
            }
            if all || found.len() >= most {
                break;
            }
        }
        found.truncate(most);
        found
    }

    /// Puts a whole cluster on a machine; false, and nothing changed, where it does not fit.
    fn seat(&mut self, at: usize, machine: MachineIndex) -> bool {
        let cluster = self.clusters.get(at).cloned().unwrap_or_default();
        for instance in &cluster {
            if !passes(&self.subject(*instance).on(machine)) {
                self.unseat(at);
                return false;
            }
            self.pool.seat(*instance, machine);
        }
        true
    }

    fn unseat(&mut self, at: usize) {
        for instance in self.clusters.get(at).into_iter().flatten() {
            self.pool.unseat(*instance);
        }
    }

    /// After a failure: places whatever fits, in order, and returns who finds no place. Of those that must be together, as many as one
    /// machine holds are placed: the others find none beside them.
    pub fn place_what_fits(&mut self) -> Vec<InstanceIndex> {
        let mut left = Vec::new();
        let mut waiting: Vec<usize> = (0..self.clusters.len()).collect();
        loop {
            let before = waiting.len();
            // Again as long as that goes on: whoever must be with others finds a place only once these have theirs.
            waiting.retain(|at| !self.place_at_best(*at));
            if waiting.len() < before {
                continue;
            }
            let is_whole = |at: &usize| self.clusters.get(*at).is_none_or(|cluster| cluster.len() == 1);
            let Some(parted) = waiting.iter().position(|at| !is_whole(at)) else {
                break;
            };
            let at = waiting.remove(parted);
            left.extend(self.place_most_of(at));
        }
        left.extend(waiting.iter().filter_map(|at| self.clusters.get(*at)).flatten());
        left.sort_unstable();
        left
    }

    /// Puts as many of a cluster as possible on one of the best machines for its largest that has any, and returns the others.
    fn place_most_of(&mut self, at: usize) -> Vec<InstanceIndex> {
        let cluster = self.clusters.get(at).cloned().unwrap_or_default();
        self.pool.refresh_index();
        let machines = cluster
            .iter()
            .map(|leader| best_machines(&self.subject(*leader), &self.of_all, MACHINES_FIRST))
            .find(|machines| !machines.is_empty())
            .unwrap_or_default();
        let mut best: Option<(usize, MachineIndex)> = None;
        for machine in machines {
            let held = self.seat_some(&cluster, machine);
            self.unseat(at);
            if held > best.map_or(0, |(most, _)| most) {
                best = Some((held, machine));
            }
        }
        if let Some((_, machine)) = best {
            self.seat_some(&cluster, machine);
        }
        let is_left = |instance: &InstanceIndex| self.pool.instance(*instance).machine.is_none();
        cluster.into_iter().filter(is_left).collect()
    }

    /// Puts each of a cluster on a machine that fits beside those before it, and says how many do.
    fn seat_some(&mut self, cluster: &[InstanceIndex], machine: MachineIndex) -> usize {
        let mut held = 0;
        for instance in cluster {
            if passes(&self.subject(*instance).on(machine)) {
                self.pool.seat(*instance, machine);
                held += 1;
            }
        }
        held
    }
}

/// Whether it is tied, how many hard wishes it has, how large it is.
fn hardness(pool: &Pool, cluster: &Cluster) -> (bool, usize, f64) {
    let asked = || cluster.iter().map(|instance| &pool.instance(*instance).asked);
    (
        asked().any(|asked| asked.pin.is_some()),
        asked().map(|asked| asked.hard_affinities().count()).sum(),
        cluster.iter().map(|instance| size(pool, *instance)).sum(),
    )
}

/// The largest share that it needs of what the pool's mean machine offers.
#[expect(clippy::cast_precision_loss, reason = "MiB of a pool are far below 2^52")]
fn size(pool: &Pool, instance: InstanceIndex) -> f64 {
    let asked = &pool.instance(instance).asked;
    let offered = pool.offered();
    let share = |needed: f64, offered: f64| if offered > 0.0 { needed / offered } else { needed };
    share(f64::from(asked.vcpus), offered.threads)
        .max(share(asked.memory_mib as f64, offered.memory_mib as f64))
        .max(share(asked.disk_mib() as f64, offered.disk_mib as f64))
}
