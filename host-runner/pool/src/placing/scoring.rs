use super::policy::Policy;
use super::question::{Question, Subject};
use super::terms::{Slope, TERMS, Term, TermRule};
use crate::inventory::{Activity, AffinityKind};
use crate::state::{
    Asked, AskedTarget, DIRECTIONS, Demand, MachineIndex, Marks, Name, Point, Presence, Reach, Sites, Tags,
    weighed,
};

/// A soft wish, looked up once for all machines.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wish<'a> {
    Tag(AffinityKind, Name<Tags>),
    Site(AffinityKind, Name<Sites>),
    Machine(AffinityKind, MachineIndex),
    Group(AffinityKind, &'a Presence),
    /// Whom it is about has no machine yet.
    Met,
}

/// What is the same for all machines that are scored for one instance.
pub(super) struct Scoring<'a> {
    pub subject: &'a Subject<'a>,
    /// The terms that say something here, and their shares in the score, which add up to 1.
    counting: Vec<(&'static TermRule, f64)>,
    /// What it brings: threads, MiB of memory before the overhead, MiB of disk.
    pub needs: [f64; 3],
    /// The mean load of the ready machines.
    pub mean: [f64; 3],
    pub wishes: Vec<Wish<'a>>,
    /// The machine that holds it now.
    pub current: Option<MachineIndex>,
}

/// A machine with the instance on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlook {
    pub machine: MachineIndex,
    pub marks: Marks,
    pub before: [f64; 3],
    pub after: [f64; 3],
    /// What the instance adds to each load.
    pub added: [f64; 3],
}

/// What machines in a box would be at best with the instance on them, if none of them is one that the instance has ties to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlooks {
    pub marks: Marks,
    pub before_least: [f64; 3],
    pub after_least: [f64; 3],
    pub after_most: [f64; 3],
    pub added_least: [f64; 3],
    pub added_most: [f64; 3],
}

impl<'a> Scoring<'a> {
    pub fn new(subject: &'a Subject<'a>, policy: &Policy) -> Self {
        let (pool, asked) = (subject.pool, subject.asked);
        let running = subject.is_running();
        let mut scoring = Self {
            subject,
            counting: Vec::new(),
            needs: needs(asked, subject.demand, running),
            mean: pool.imbalance().mean().dimensions(),
            wishes: soft_wishes(subject),
            current: subject
                .instance
                .and_then(|instance| pool.instance(instance).machine),
        };
        let weights = TERMS.iter().zip(policy.weights.by_term());
        let counting = weights.filter(|(rule, weight)| *weight > 0.0 && (rule.applies)(&scoring));
        let mut counting: Vec<(&TermRule, f64)> = counting.collect();
        let total: f64 = counting.iter().map(|(_, weight)| weight).sum();
        for (_, weight) in &mut counting {
            *weight /= total;
        }
        scoring.counting = counting;
        scoring
    }

    /// How the machine would be with the instance on it. An instance that is there already is looked at as if it came anew.
    pub fn outlook(&self, question: &Question<'_>) -> Outlook {
        let mut point = Point::of(question.seat);
        if question.here
            && let Some(instance) = self.subject.instance
        {
            let own = self.subject.pool.instance(instance);
            let running = own.activity == Activity::Running;
            let added = added(&point, needs(&own.asked, own.demand, running), running);
            for (load, added) in point.load.iter_mut().zip(added) {
                *load = (*load - added).max(0.0);
            }
            if question.seat.instances.len() == 1 {
                point.marks = point.marks.without(Marks::OCCUPIED);
            }
        }
        self.outlook_of(question.machine, &point)
    }

    /// How the machine would be with the instance on it, if it is not there already.
    pub fn outlook_of(&self, machine: MachineIndex, point: &Point) -> Outlook {
        let added = added(point, self.needs, self.subject.is_running());
        Outlook {
            machine,
            marks: point.marks,
            before: point.load,
            after: sums(point.load, added),
            added,
        }
    }

    fn outlooks(&self, reach: &Reach) -> Outlooks {
        let running = self.subject.is_running();
        let added_least = added(&reach.low, self.needs, running);
        let added_most = added(&reach.high, self.needs, running);
        Outlooks {
            marks: reach.low.marks,
            before_least: reach.low.load,
            after_least: sums(reach.low.load, added_least),
            after_most: sums(reach.high.load, added_most),
            added_least,
            added_most,
        }
    }

    /// 0..=1: all terms' values by their shares.
    pub fn score(&self, outlook: &Outlook) -> f64 {
        self.counting.iter().fold(0.0, |score, (rule, share)| {
            score + share * (rule.value)(self, outlook)
        })
    }

    /// No machine in the box scores more, if it is none that the instance has ties to. The sum is taken in the same order as in
    /// [`score`](Self::score), so that no rounding makes it less.
    pub fn score_most(&self, reach: &Reach) -> f64 {
        let outlooks = self.outlooks(reach);
        let (mut score, mut rising, mut falling) = (0.0, [0.0; 3], [0.0; 3]);
        for (rule, share) in &self.counting {
            score += share * (rule.most)(self, &outlooks);
            let (sum, slope) = match (rule.slope)(self, &outlooks) {
                Slope::None => continue,
                Slope::FromLeast(slope) => (&mut falling, slope),
                Slope::FromMost(slope) => (&mut rising, slope),
            };
            for (sum, slope) in sum.iter_mut().zip(slope) {
                *sum += share * slope;
            }
        }
        // No machine need be at the box's best corner: all of them keep away from it in some direction.
        let (least, most) = (weighed(reach.low.load), weighed(reach.high.load));
        let mut away: [f64; 2] = [0.0; 2];
        for (at, direction) in DIRECTIONS.iter().enumerate() {
            let along = |slopes: [f64; 3]| {
                let ratios = slopes.iter().zip(direction).map(|(slope, weight)| slope / weight);
                ratios.fold(f64::INFINITY, f64::min)
            };
            away[0] = away[0].max(along(falling) * (reach.low.weighed[at] - least[at]));
            away[1] = away[1].max(along(rising) * (most[at] - reach.high.weighed[at]));
        }
        // Less a little: these sums are rounded in another order, and equal machines must stay equal.
        score - away.iter().map(|away| (away - 1e-12).max(0.0)).sum::<f64>()
    }

    /// What the score is made of: the terms that count here.
    pub fn terms(&self, outlook: &Outlook) -> Vec<Term> {
        let rules = self.counting.iter();
        rules
            .map(|(rule, weight)| Term {
                name: rule.name,
                value: (rule.value)(self, outlook),
                weight: *weight,
            })
            .collect()
    }

    /// Machines that a term prefers for what they are to this instance: a box says nothing about them.
    pub fn tied_machines(&self) -> Vec<MachineIndex> {
        let mut tied: Vec<MachineIndex> = self.current.into_iter().chain(self.subject.asked.hint).collect();
        for wish in &self.wishes {
            match wish {
                Wish::Machine(AffinityKind::Together, machine) => tied.push(*machine),
                Wish::Group(AffinityKind::Together, members) => {
                    tied.extend(members.seats().map(|(machine, _)| machine));
                }
                Wish::Tag(..) | Wish::Site(..) | Wish::Machine(..) | Wish::Group(..) | Wish::Met => {}
            }
        }
        tied.sort_unstable();
        tied.dedup();
        tied
    }
}

/// What an instance's needs add to a machine's load.
fn added(point: &Point, needs: [f64; 3], running: bool) -> [f64; 3] {
    let [cpu, memory, disk] = needs;
    let overhead = if running { point.overhead_mib } else { 0.0 };
    let [per_thread, per_memory, per_disk] = point.per_unit;
    [
        cpu * per_thread,
        (memory + overhead) * per_memory,
        disk * per_disk,
    ]
}

/// Threads, MiB of memory before the overhead, MiB of disk.
#[expect(clippy::cast_precision_loss, reason = "MiB of an instance are far below 2^52")]
fn needs(asked: &Asked, demand: Demand, running: bool) -> [f64; 3] {
    let disk = asked.disk_mib() as f64;
    if running {
        [demand.mean, asked.memory_mib as f64, disk]
    } else {
        [0.0, 0.0, disk]
    }
}

fn sums(one: [f64; 3], other: [f64; 3]) -> [f64; 3] {
    [one[0] + other[0], one[1] + other[1], one[2] + other[2]]
}

fn soft_wishes<'a>(subject: &Subject<'a>) -> Vec<Wish<'a>> {
    let pool = subject.pool;
    let soft = subject.asked.affinities.iter().filter(|affinity| !affinity.hard);
    soft.map(|affinity| match affinity.target {
        AskedTarget::Tag(tag) => Wish::Tag(affinity.kind, tag),
        AskedTarget::Site(site) => Wish::Site(affinity.kind, site),
        AskedTarget::Instance(id) => pool
            .instance_of_id(id)
            .filter(|with| Some(*with) != subject.instance)
            .and_then(|with| pool.instance(with).machine)
            .map_or(Wish::Met, |machine| Wish::Machine(affinity.kind, machine)),
        AskedTarget::Group(group) => pool
            .group(group)
            .filter(|members| members.any(subject.instance))
            .map_or(Wish::Met, |members| Wish::Group(affinity.kind, members)),
    })
    .collect()
}
