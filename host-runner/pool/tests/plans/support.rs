//! Pools to plan for, and a ledger that carries plans out step by step and checks every moment. It knows nothing of how plans are made.

use std::collections::{BTreeMap, BTreeSet};

use pool::inventory::{
    Activity, Affinity, AffinityKind, AffinityTarget, DiskNeed, Instance, Inventory, Machine, Mobility,
    Needs, Storage, UsageSeries,
};
use pool::plans::{BalanceOptions, Move, MoveReason, Plan, PowerChange, Recovery};
use pool::{Mib, Pool};
use proptest::test_runner::Config as ProptestConfig;
use uuid::Uuid;

pub const NOW_S: i64 = 1_800_000_000;

/// How a property is tried: on so many pools unless `PROPTEST_CASES` asks for more, other ones in each run unless `PROPTEST_RNG_SEED` names
/// them.
pub fn tried_on(usually: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: cases.and_then(|cases| cases.parse().ok()).unwrap_or(usually),
        // A run prints the pool that it failed on as a document; what it was about becomes a test of its own.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub fn machine_id(number: usize) -> Uuid {
    Uuid::from_u128(0x1000_0000 + number as u128)
}

pub fn instance_id(number: usize) -> Uuid {
    Uuid::from_u128(0x2000_0000 + number as u128)
}

pub fn machine(number: usize, threads: u32, memory_gib: u32) -> Machine {
    Machine::new(
        machine_id(number),
        format!("machine-{number}"),
        threads,
        Mib(memory_gib * 1024),
    )
}

/// An instance on a machine, which uses some CPU all the time.
pub fn instance(number: usize, on: usize, vcpus: u32, memory_gib: u32, threads_used: f64) -> Instance {
    Instance {
        id: instance_id(number),
        name: format!("instance-{number}"),
        machine: Some(machine_id(on)),
        activity: Activity::Running,
        needs: Needs::new(vcpus, Mib(memory_gib * 1024)),
        usage: Some(usage(threads_used)),
        moved_at_s: None,
    }
}

pub fn usage(threads_used: f64) -> UsageSeries {
    UsageSeries {
        last_at_s: NOW_S - 60,
        step_s: 300,
        values: vec![threads_used; 48],
    }
}

pub fn inventory(machines: Vec<Machine>, instances: Vec<Instance>) -> Inventory {
    Inventory {
        version: 7,
        taken_at_s: NOW_S,
        machines,
        instances,
        ..Inventory::empty()
    }
}

pub fn pool(inventory: &Inventory) -> Pool {
    Pool::new(inventory, NOW_S).expect("an inventory without faults")
}

/// A disk of a size in GiB, in the storage unless the machine may choose.
pub fn disk(size_gib: u32, storage: Option<&str>) -> DiskNeed {
    DiskNeed {
        size_mib: Mib(size_gib * 1024),
        storage: storage.map(str::to_owned),
    }
}

pub fn apart_from_group(group: &str) -> Affinity {
    Affinity {
        kind: AffinityKind::Apart,
        target: AffinityTarget::Group { name: group.into() },
        hard: true,
    }
}

pub fn affinity_to(kind: AffinityKind, number: usize) -> Affinity {
    Affinity {
        kind,
        target: AffinityTarget::Instance {
            id: instance_id(number),
        },
        hard: true,
    }
}

/// The inventory after a plan was carried out.
pub fn applied(before: &Inventory, plan: &Plan) -> Inventory {
    let mut after = before.clone();
    for made in plan.steps.iter().flat_map(|step| &step.moves) {
        let moved = after
            .instances
            .iter_mut()
            .find(|instance| instance.id == made.instance)
            .expect("a plan moves what is there");
        assert_eq!(moved.machine, made.from, "{} is elsewhere", made.name);
        moved.machine = Some(made.to);
    }
    for change in &plan.power {
        let (machine, state) = match change {
            PowerChange::Wake { machine } => (machine, pool::inventory::MachineState::Ready),
            PowerChange::Sleep { machine } => (machine, pool::inventory::MachineState::Asleep),
        };
        for seen in after.machines.iter_mut().filter(|seen| seen.id == *machine) {
            seen.state = state;
        }
    }
    after
}

pub fn moves(plan: &Plan) -> usize {
    plan.steps.iter().map(|step| step.moves.len()).sum()
}

/// The moves of a balance that nothing forced, detours among them.
#[derive(Debug, Default)]
pub struct ChosenMoves {
    pub moves: u32,
    /// By how much less even the pool would be without them.
    gain: f64,
    duration_s: f64,
    /// What would be in the way of the others without them, if anything.
    make_room: Option<String>,
}

impl ChosenMoves {
    pub fn of(inventory: &Inventory, plan: &Plan) -> Self {
        let mut chosen = Self::default();
        let mut without = pool(inventory);
        for made in plan.steps.iter().flat_map(|step| &step.moves) {
            if is_chosen(made) {
                chosen.moves += 1;
                chosen.duration_s += made.duration_s;
            } else {
                let instance = without.instance_of_id(made.instance).unwrap();
                let to = without.machine_of_id(made.to).unwrap();
                without.seat(instance, to);
            }
        }
        chosen.gain = without.imbalance().value() - plan.after.imbalance;
        chosen.make_room = Ledger::new(inventory, BalanceOptions::default().cpu.load_max)
            .carry_out_where(plan, |made| !is_chosen(made))
            .err();
        chosen
    }

    /// Whether what had to be done could not be done without them, or that is more than what they cost.
    pub fn are_paid_for(&self, inventory: &Inventory, options: &BalanceOptions) -> bool {
        let machines = u32::try_from(inventory.machines.len()).unwrap();
        let gain = self.gain * f64::from(machines);
        let minutes = self.duration_s / 60.0;
        let cost = f64::from(self.moves) * options.cost.per_move + minutes * options.cost.per_minute;
        self.moves == 0 || self.make_room.is_some() || gain > cost
    }
}

fn is_chosen(made: &Move) -> bool {
    matches!(
        made.reason,
        MoveReason::Balance { .. } | MoveReason::Exchange { .. } | MoveReason::MakesRoom { .. }
    )
}

/// An instance that comes back to where it was, though it had not left to let another go.
pub fn goes_to_and_fro(plan: &Plan) -> Option<Uuid> {
    let mut left: BTreeSet<(Uuid, Uuid)> = BTreeSet::new();
    for made in plan.steps.iter().flat_map(|step| &step.moves) {
        if left.contains(&(made.instance, made.to)) {
            return Some(made.instance);
        }
        if !matches!(made.reason, MoveReason::MakesRoom { .. }) {
            left.extend(made.from.map(|from| (made.instance, from)));
        }
    }
    None
}

/// How many machines' failures could not be recovered.
pub fn failures(recovery: &Recovery) -> u32 {
    match recovery {
        Recovery::Recoverable => 0,
        Recovery::Stranding { failures, .. } => *failures,
        Recovery::NotJudged => u32::MAX,
    }
}

/// Who holds what, move by move: an instance under way holds room on both its machines.
pub struct Ledger<'a> {
    inventory: &'a Inventory,
    /// What share of its threads a machine may use after something has come to it; absent for no limit.
    cpu_load_max: Option<f64>,
    held: BTreeMap<Uuid, BTreeSet<Uuid>>,
}

impl<'a> Ledger<'a> {
    pub fn new(inventory: &'a Inventory, cpu_load_max: Option<f64>) -> Self {
        let mut held: BTreeMap<Uuid, BTreeSet<Uuid>> = BTreeMap::new();
        for instance in &inventory.instances {
            if let Some(machine) = instance.machine {
                held.entry(machine).or_default().insert(instance.id);
            }
        }
        Self {
            inventory,
            cpu_load_max,
            held,
        }
    }

    /// Carries the plan out; `order` says for each step in which order its moves begin, and then in which they end.
    pub fn carry_out(&mut self, plan: &Plan, mut order: impl FnMut(usize) -> (Vec<usize>, Vec<usize>)) {
        for step in &plan.steps {
            let (begin, end) = order(step.moves.len());
            let in_order =
                |numbers: Vec<usize>| numbers.into_iter().map(|number| &step.moves[number]).collect();
            self.carry_out_step(in_order(begin), in_order(end))
                .expect("every moment of a plan keeps the rules");
        }
    }

    /// Carries out some moves of the plan, those of a step all at once, and says what they break.
    fn carry_out_where(&mut self, plan: &Plan, is_made: impl Fn(&Move) -> bool) -> Result<(), String> {
        for step in &plan.steps {
            let made: Vec<&Move> = step.moves.iter().filter(|made| is_made(made)).collect();
            self.carry_out_step(made.clone(), made)?;
        }
        Ok(())
    }

    fn carry_out_step(&mut self, begin: Vec<&Move>, end: Vec<&Move>) -> Result<(), String> {
        for made in begin {
            self.held.entry(made.to).or_default().insert(made.instance);
            self.check(made.to)?;
        }
        for made in end {
            if let Some(from) = made.from {
                self.held.entry(from).or_default().remove(&made.instance);
            }
        }
        self.check_together()
    }

    fn needs(&self, id: Uuid) -> &Instance {
        self.inventory
            .instances
            .iter()
            .find(|instance| instance.id == id)
            .expect("the ledger holds instances of the inventory")
    }

    /// The machine that has just got something more.
    fn check(&self, id: Uuid) -> Result<(), String> {
        let machine = self
            .inventory
            .machines
            .iter()
            .find(|machine| machine.id == id)
            .expect("moves go to machines of the inventory");
        let held: Vec<&Instance> = self.held[&id].iter().map(|id| self.needs(*id)).collect();
        let running = || {
            held.iter()
                .filter(|instance| instance.activity == Activity::Running)
        };
        let memory: u64 = running()
            .map(|instance| u64::from(instance.needs.memory_mib.0 + machine.instance_overhead_mib.0))
            .sum();
        holds(memory <= u64::from(machine.memory_mib.0), || {
            format!("{} promises {memory} MiB", machine.name)
        })?;
        if let Some(ratio) = machine.overcommit.cpu {
            let vcpus: u32 = running().map(|instance| instance.needs.vcpus).sum();
            let most = f64::from(machine.threads) * ratio;
            holds(f64::from(vcpus) <= most, || {
                format!("{} promises {vcpus} vCPUs", machine.name)
            })?;
        }
        disks_fit(machine, &held)?;
        self.cpu_suffices(machine, &held)?;
        for one in &held {
            for other in held.iter().filter(|other| other.id != one.id) {
                holds(!keeps_away(one, other), || {
                    format!("{} is with {} on {}", one.name, other.name, machine.name)
                })?;
            }
        }
        Ok(())
    }

    /// That of the machines that get something: whoever has too much of it already may keep that.
    fn cpu_suffices(&self, machine: &Machine, held: &[&Instance]) -> Result<(), String> {
        let Some(limit) = self.cpu_load_max else {
            return Ok(());
        };
        let used: f64 = held
            .iter()
            .filter(|instance| instance.activity == Activity::Running)
            .map(|instance| instance.usage.as_ref().map_or(0.0, |usage| usage.values[0]))
            .sum();
        let most = (f64::from(machine.threads) - machine.reserved.threads) * limit;
        holds(used <= most + 1e-6, || {
            format!("{} would use {used} of {most} threads", machine.name)
        })
    }

    /// Between steps, those that belong together are together, if they were so at first.
    fn check_together(&self) -> Result<(), String> {
        let place = |id: Uuid| {
            self.held
                .iter()
                .find(|(_, held)| held.contains(&id))
                .map(|(id, _)| *id)
        };
        for one in &self.inventory.instances {
            for wish in &one.needs.affinities {
                if let (AffinityKind::Together, AffinityTarget::Instance { id }, true) =
                    (wish.kind, &wish.target, wish.hard)
                    && self.needs(*id).machine == one.machine
                {
                    holds(place(*id) == place(one.id), || {
                        format!("{} has lost its companion", one.name)
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Each disk that names a storage in that one; and all of them together.
fn disks_fit(machine: &Machine, held: &[&Instance]) -> Result<(), String> {
    let disks = || held.iter().flat_map(|instance| &instance.needs.disks);
    for storage in &machine.storages {
        let named = disks().filter(|disk| disk.storage.as_ref() == Some(&storage.name));
        let promised: u64 = named.map(|disk| u64::from(disk.size_mib.0)).sum();
        holds(promised <= u64::from(storage.capacity_mib.0), || {
            format!("{} promises {promised} MiB of {}", machine.name, storage.name)
        })?;
    }
    let named = disks().filter_map(|disk| disk.storage.as_ref());
    for name in named {
        let has = machine.storages.iter().any(|storage| storage.name == *name);
        holds(has, || format!("{} has no {name}", machine.name))?;
    }
    let promised: u64 = disks().map(|disk| u64::from(disk.size_mib.0)).sum();
    let capacity: u64 = machine
        .storages
        .iter()
        .map(|storage| u64::from(storage.capacity_mib.0))
        .sum();
    holds(promised <= capacity, || {
        format!("{} promises {promised} MiB of disk", machine.name)
    })
}

/// What holds, or else what is broken.
fn holds(it_does: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if it_does { Ok(()) } else { Err(broken()) }
}

fn keeps_away(one: &Instance, other: &Instance) -> bool {
    one.needs.affinities.iter().any(|wish| {
        wish.hard
            && wish.kind == AffinityKind::Apart
            && match &wish.target {
                AffinityTarget::Group { name } => other.needs.group.as_deref() == Some(name),
                AffinityTarget::Instance { id } => *id == other.id,
                AffinityTarget::Tag { .. } | AffinityTarget::Site { .. } => false,
            }
    })
}

/// Random pools: a few machines, filled to some degree, with groups that keep apart, with fixed and pinned instances.
pub mod random {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Wanted {
        memory_gib: u32,
        vcpus: u32,
        used: f64,
        group: Option<u8>,
        kind: u8,
        on: usize,
        disk: Option<(u32, Option<&'static str>)>,
    }

    fn wanted(with_disks: bool) -> impl Strategy<Value = Wanted> {
        (
            1..=12_u32,
            1..=4_u32,
            0.0..1.0_f64,
            proptest::option::weighted(0.2, 0..3_u8),
            0..24_u8,
            any::<prop::sample::Index>(),
            proptest::option::weighted(0.6, disk()),
        )
            .prop_map(move |(memory_gib, vcpus, share, group, kind, on, disk)| Wanted {
                memory_gib,
                vcpus,
                used: share * f64::from(vcpus),
                group,
                kind,
                on: on.index(64),
                disk: disk.filter(|_| with_disks),
            })
    }

    /// A size in GiB, and the storage; some are left to the machine.
    fn disk() -> impl Strategy<Value = (u32, Option<&'static str>)> {
        (
            1..=60_u32,
            prop_oneof![Just(Some("fast")), Just(Some("large")), Just(None)],
        )
    }

    /// An inventory that is printed as its document, so that a failing one can be kept.
    #[derive(Clone)]
    pub struct Made(pub Inventory);

    impl std::fmt::Debug for Made {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(&serde_json::to_string(&self.0).expect("plain values"))
        }
    }

    /// A pool in which every instance is where it may be.
    pub fn inventories() -> impl Strategy<Value = Made> {
        made_of(false)
    }

    /// The same where most instances have a disk in one of two storages.
    pub fn inventories_with_disks() -> impl Strategy<Value = Made> {
        made_of(true)
    }

    fn made_of(with_disks: bool) -> impl Strategy<Value = Made> {
        (
            prop::collection::vec((prop_oneof![Just(8_u32), Just(16), Just(24)], 16..=48_u32), 2..=7),
            prop::collection::vec(wanted(with_disks), 0..=40),
        )
            .prop_map(|(machines, wanted)| Made(build(&machines, &wanted)))
    }

    fn build(machines: &[(u32, u32)], wanted: &[Wanted]) -> Inventory {
        let machines: Vec<Machine> = machines
            .iter()
            .enumerate()
            .map(|(number, (threads, memory_gib))| {
                let mut machine = machine(number, *threads, *memory_gib);
                machine.overcommit.cpu = Some(2.0);
                machine.instance_overhead_mib = Mib(64);
                // Not every machine has both.
                machine.storages = [("fast", 100), ("large", 200)]
                    .into_iter()
                    .take(if number % 3 == 2 { 1 } else { 2 })
                    .map(|(name, capacity_gib)| Storage {
                        name: name.into(),
                        capacity_mib: Mib(capacity_gib * 1024),
                    })
                    .collect();
                machine
            })
            .collect();
        let instances = wanted
            .iter()
            .enumerate()
            .map(|(number, wanted)| made(number, wanted))
            .collect();
        let mut inventory = inventory(machines, instances);
        let mut pool = pool(&inventory);
        for (number, wanted) in wanted.iter().enumerate() {
            inventory.instances[number].machine = place(&mut pool, number, wanted.on);
        }
        inventory.instances.retain(|instance| instance.machine.is_some());
        for instance in &mut inventory.instances {
            if instance.name.ends_with("-pinned") {
                instance.needs.pin = instance.machine;
            }
        }
        inventory
    }

    fn made(number: usize, wanted: &Wanted) -> Instance {
        let mut made = instance(number, 0, wanted.vcpus, wanted.memory_gib, wanted.used);
        made.machine = None;
        let disk = wanted
            .disk
            .map(|(size_gib, storage)| super::disk(size_gib, storage));
        made.needs.disks.extend(disk);
        if let Some(group) = wanted.group {
            let group = format!("group-{group}");
            made.needs.affinities.push(apart_from_group(&group));
            made.needs.group = Some(group);
        }
        made.needs.mobility = match wanted.kind {
            0 => Mobility::Fixed,
            1 | 2 => Mobility::Cold,
            _ => Mobility::Live,
        };
        if wanted.kind == 3 {
            made.name.push_str("-pinned");
        }
        made.needs.priority = i32::from(wanted.kind % 3);
        made
    }

    /// Puts it on the first machine, from some one on, that takes it.
    fn place(pool: &mut Pool, number: usize, first: usize) -> Option<Uuid> {
        let index = pool.instance_of_id(instance_id(number))?;
        let machines: Vec<_> = pool.machines().map(|(index, seat)| (index, seat.id)).collect();
        let offset = first % machines.len();
        let from_first = machines.iter().cycle().skip(offset).take(machines.len());
        for (machine, id) in from_first {
            let subject = pool::placing::Subject::of(pool, index);
            if pool::placing::passes(&subject.on(*machine)) {
                pool.seat(index, *machine);
                return Some(*id);
            }
        }
        None
    }
}
