use super::Marks;
use crate::state::{MachineIndex, MachineSeat};

/// A machine, as a search sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Its load: CPU, memory, disk.
    pub load: [f64; 3],
    /// What a thread, a MiB of memory and a MiB of disk add to its load.
    pub per_unit: [f64; 3],
    /// What each instance's engine needs beside its guest, MiB.
    pub overhead_mib: f64,
    /// Memory that it can still promise, MiB.
    pub memory_free_mib: u64,
    /// Disk that it can still promise, MiB.
    pub disk_free_mib: u64,
    /// vCPUs that it can still promise.
    pub vcpus_left: u64,
    /// Hardware threads.
    pub threads: u32,
    /// What kind of machine it is.
    pub marks: Marks,
    /// Its loads, weighed in each of [`DIRECTIONS`].
    pub weighed: [f64; DIRECTIONS.len()],
}

/// Directions in which a box is measured beside its sides, as weights of CPU, memory and disk. In an even pool the machines lie about a
/// plane: the sides of a box around some of them say little about how far it reaches across that plane, and one of these says it.
pub const DIRECTIONS: [[f64; 3]; 4] = [
    [0.4, 0.4, 0.2],
    [0.6, 0.3, 0.1],
    [0.3, 0.6, 0.1],
    [0.3, 0.35, 0.35],
];

/// Loads weighed in each of [`DIRECTIONS`].
pub fn weighed(load: [f64; 3]) -> [f64; DIRECTIONS.len()] {
    let [cpu, memory, disk] = load;
    DIRECTIONS.map(|[of_cpu, of_memory, of_disk]| cpu * of_cpu + memory * of_memory + disk * of_disk)
}

impl Point {
    /// Looks at a machine.
    pub fn of(seat: &MachineSeat) -> Self {
        let capacity_mib: u64 = seat.storages.iter().map(|storage| storage.capacity_mib).sum();
        let load = seat.load().dimensions();
        Self {
            load,
            weighed: weighed(load),
            per_unit: [
                per_unit(seat.offered_threads),
                per_mib(seat.memory_offered_mib),
                per_mib(capacity_mib),
            ],
            overhead_mib: to_f64(seat.overhead_mib),
            memory_free_mib: seat.memory_free_mib(),
            disk_free_mib: seat.disk_free_mib(),
            vcpus_left: seat
                .vcpus_max
                .map_or(u64::MAX, |most| most.saturating_sub(seat.vcpus_promised)),
            threads: seat.threads,
            marks: Marks::of(seat),
        }
    }
}

/// What is offered for what is asked: nothing offered is full at once.
fn per_unit(offered: f64) -> f64 {
    if offered > 0.0 { 1.0 / offered } else { 1.0 }
}

fn per_mib(offered_mib: u64) -> f64 {
    per_unit(to_f64(offered_mib))
}

#[expect(clippy::cast_precision_loss, reason = "MiB of a machine are far below 2^52")]
fn to_f64(mib: u64) -> f64 {
    mib as f64
}

/// A box around machines: the least and the most of what they have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reach {
    /// The least of each load, weighed load, addition, and of the overhead; the most of the room, the threads and the marks.
    pub low: Point,
    /// The most of each load, weighed load, addition, and of the overhead. Its other fields mean nothing.
    pub high: Point,
    /// The first of the machines.
    pub first: MachineIndex,
}

impl Reach {
    /// The box around one machine.
    pub fn around(machine: MachineIndex, point: &Point) -> Self {
        Self {
            low: *point,
            high: *point,
            first: machine,
        }
    }

    /// The box around two boxes.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        let (mut low, mut high) = (self.low, self.high);
        lower(&mut low.load, &other.low.load);
        lower(&mut low.per_unit, &other.low.per_unit);
        lower(&mut low.weighed, &other.low.weighed);
        raise(&mut high.load, &other.high.load);
        raise(&mut high.per_unit, &other.high.per_unit);
        raise(&mut high.weighed, &other.high.weighed);
        low.overhead_mib = low.overhead_mib.min(other.low.overhead_mib);
        high.overhead_mib = high.overhead_mib.max(other.high.overhead_mib);
        low.memory_free_mib = low.memory_free_mib.max(other.low.memory_free_mib);
        low.disk_free_mib = low.disk_free_mib.max(other.low.disk_free_mib);
        low.vcpus_left = low.vcpus_left.max(other.low.vcpus_left);
        low.threads = low.threads.max(other.low.threads);
        low.marks = low.marks.with(other.low.marks);
        Self {
            low,
            high,
            first: self.first.min(other.first),
        }
    }
}

fn lower<const N: usize>(values: &mut [f64; N], others: &[f64; N]) {
    for (value, other) in values.iter_mut().zip(others) {
        *value = value.min(*other);
    }
}

fn raise<const N: usize>(values: &mut [f64; N], others: &[f64; N]) {
    for (value, other) in values.iter_mut().zip(others) {
        *value = value.max(*other);
    }
}
