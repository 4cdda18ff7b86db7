use super::{DIRECTIONS, Marks, Point, Reach};
use crate::state::MachineIndex;

/// How many machines a leaf holds at most.
const LEAF_MACHINES_MAX: usize = 8;

/// From how few machines on kinds are told apart. Most instances may be on machines of many kinds: telling them apart further up would
/// make a search look into each kind.
const KINDS_APART_FROM: usize = 32;

/// A node of the tree.
#[derive(Debug, Clone)]
pub struct Node {
    /// The box around its machines.
    pub reach: Reach,
    /// Its two halves, as places among the nodes; `None` for a leaf.
    pub halves: Option<[usize; 2]>,
    /// Its machines, as a range of places among the points.
    pub places: std::ops::Range<usize>,
    parent: Option<usize>,
}

/// The tree over all machines.
#[derive(Debug, Clone)]
pub struct Index {
    nodes: Vec<Node>,
    /// The machines in the tree's order.
    points: Vec<(MachineIndex, Point)>,
    /// By machine: its place among the points, and its leaf.
    homes: Vec<(usize, usize)>,
    changes: usize,
}

impl Index {
    /// Builds the tree over machines, which are numbered from 0.
    pub fn new(points: impl Iterator<Item = Point>) -> Self {
        let points: Vec<_> = (0..).map(MachineIndex).zip(points).collect();
        let mut index = Self {
            nodes: Vec::with_capacity(points.len() / 2 + 1),
            homes: vec![(0, 0); points.len()],
            points,
            changes: 0,
        };
        index.build();
        index
    }

    /// The root; `None` for a pool without machines.
    pub fn root(&self) -> Option<&Node> {
        self.nodes.first()
    }

    /// A node; `None` for a place of another tree.
    pub fn node(&self, place: usize) -> Option<&Node> {
        self.nodes.get(place)
    }

    /// A leaf's machines.
    pub fn machines(&self, node: &Node) -> &[(MachineIndex, Point)] {
        self.points.get(node.places.clone()).unwrap_or_default()
    }

    /// How many machines it is over.
    pub fn machines_count(&self) -> usize {
        self.points.len()
    }

    /// A machine has changed.
    pub fn change(&mut self, machine: MachineIndex, point: Point) {
        let Some((place, leaf)) = self.homes.get(machine.0 as usize).copied() else {
            return;
        };
        if let Some((_, held)) = self.points.get_mut(place) {
            if *held == point {
                return;
            }
            *held = point;
        }
        self.changes += 1;
        let mut at = Some(leaf);
        while let Some(place) = at {
            let Some(reach) = self.reach_of(place) else { return };
            let Some(node) = self.nodes.get_mut(place) else {
                return;
            };
            if node.reach == reach {
                return;
            }
            node.reach = reach;
            at = node.parent;
        }
    }

    /// Builds the tree anew if so much has changed that it pays.
    pub fn settle(&mut self) {
        if self.changes > self.points.len() / 2 + 64 {
            self.build();
        }
    }

    fn reach_of(&self, place: usize) -> Option<Reach> {
        let node = self.nodes.get(place)?;
        match node.halves {
            Some([left, right]) => Some(self.nodes.get(left)?.reach.joined(&self.nodes.get(right)?.reach)),
            None => around(self.machines(node)),
        }
    }

    fn build(&mut self) {
        self.nodes.clear();
        self.changes = 0;
        self.points
            .sort_by_cached_key(|(machine, point)| (Likeness::of(point), *machine));
        let all = 0..self.points.len();
        if !all.is_empty() {
            self.grow(all, None);
        }
    }

    /// Makes the node of a range, and all beneath it. Halving bounds the depth, but for kinds, of which each cut takes at least one.
    fn grow(&mut self, places: std::ops::Range<usize>, parent: Option<usize>) -> Option<usize> {
        let points = self.points.get_mut(places.clone())?;
        let reach = around(points)?;
        let place = self.nodes.len();
        let cut = (points.len() > LEAF_MACHINES_MAX).then(|| cut(points, &reach));
        self.nodes.push(Node {
            reach,
            halves: None,
            places: places.clone(),
            parent,
        });
        match cut {
            Some(cut) => {
                let middle = places.start + cut;
                let left = self.grow(places.start..middle, Some(place))?;
                let right = self.grow(middle..places.end, Some(place))?;
                self.nodes.get_mut(place)?.halves = Some([left, right]);
            }
            None => {
                for at in places {
                    let (machine, _) = self.points.get(at)?;
                    *self.homes.get_mut(machine.0 as usize)? = (at, place);
                }
            }
        }
        Some(place)
    }
}

/// What makes machines neighbours in the tree before their loads do.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Likeness {
    /// Ready or asleep.
    state: Marks,
    /// What it offers of CPU, memory and disk, in steps of about 4 %: among machines of a size, the loads alone say which is better.
    size: [i32; 3],
}

impl Likeness {
    fn of(point: &Point) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a logarithm of a finite number is small"
        )]
        let step = |per_unit: f64| (per_unit.log2() * 16.0).floor() as i32;
        Self {
            state: point.marks.of_state(),
            size: point.per_unit.map(step),
        }
    }
}

fn around(points: &[(MachineIndex, Point)]) -> Option<Reach> {
    let mut reaches = points
        .iter()
        .map(|(machine, point)| Reach::around(*machine, point));
    let first = reaches.next()?;
    Some(reaches.fold(first, |all, one| all.joined(&one)))
}

/// Puts the points in an order, and says where to cut them in two: between machines unlike each other if there are such, near the
/// middle; else at the middle of the widest measure of their loads.
fn cut(points: &mut [(MachineIndex, Point)], reach: &Reach) -> usize {
    let middle = points.len() / 2;
    // Still in the order of likeness, as only ranges of like machines are put in another order.
    if let Some(place) = boundary(points, |a, b| Likeness::of(a) == Likeness::of(b)) {
        return place;
    }
    if points.len() <= KINDS_APART_FROM {
        points.sort_unstable_by_key(|(machine, point)| (point.marks, *machine));
        if let Some(place) = boundary(points, |a, b| a.marks == b.marks) {
            return place;
        }
    }
    let [of_cpu, of_memory, of_disk] = DIRECTIONS[0];
    let measures: [fn(&Point) -> f64; 4] = [
        |point| point.load[0],
        |point| point.load[1],
        |point| point.load[2],
        |point| point.weighed[0],
    ];
    let width =
        |(measure, weight): &(fn(&Point) -> f64, f64)| (measure(&reach.high) - measure(&reach.low)) * weight;
    let widest = measures
        .into_iter()
        .zip([of_cpu, of_memory, of_disk, 1.0])
        .max_by(|a, b| width(a).total_cmp(&width(b)));
    if let Some((measure, _)) = widest {
        points.select_nth_unstable_by(middle, |(a, left), (b, right)| {
            measure(left).total_cmp(&measure(right)).then(a.cmp(b))
        });
    }
    middle
}

/// The place nearest to the middle before which one and after which another sort of points lies; `None` where all are of a sort.
fn boundary(points: &[(MachineIndex, Point)], same: fn(&Point, &Point) -> bool) -> Option<usize> {
    if let (Some((_, first)), Some((_, last))) = (points.first(), points.last())
        && same(first, last)
    {
        return None;
    }
    let middle = points.len() / 2;
    let is_boundary = |at: &usize| {
        let pair = points.get(at.wrapping_sub(1)).zip(points.get(*at));
        pair.is_some_and(|((_, before), (_, after))| !same(before, after))
    };
    let after = (middle..points.len()).find(is_boundary);
    let before = (1..middle).rev().find(is_boundary);
    match (before, after) {
        (Some(before), Some(after)) if middle - before < after - middle => Some(before),
        (before, after) => after.or(before),
    }
}
