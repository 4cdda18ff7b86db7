//! Tiny worlds whose figures can be worked out on paper.

use super::engine::{Engine, Event, Rules};
use super::policies::Policy;
use super::power::PowerCurve;
use super::report::Report;
use super::time::Millis;
use super::traces::Trace;
use super::world::{InstanceSpec, MachineSpec, MemoryMode, World};

const STEP: Millis = Millis::from_seconds(100);

/// Places instance n on machine `starts[n]`, and moves what it is told when it is told.
#[derive(Default)]
struct Script {
    starts: Vec<usize>,
    moves: Vec<(Millis, usize, usize)>,
}

impl Policy for Script {
    fn place(&mut self, world: &World, instance: usize) -> Option<usize> {
        let wanted = self.starts[instance];
        let failed = world.machine(wanted).is_none_or(|(_, host)| host.failed);
        Some(if failed { wanted + 1 } else { wanted })
    }

    fn decide(&mut self, _: &World, now: Millis) -> Vec<(usize, usize)> {
        self.moves
            .iter()
            .filter(|(at, ..)| *at == now)
            .map(|&(_, instance, to)| (instance, to))
            .collect()
    }
}

/// One core of 1000 MIPS, 1000 MB, 100 W idle and 200 W busy; a migration copies 62.5 MB/s.
fn machine() -> MachineSpec {
    MachineSpec {
        name: "machine".into(),
        cores: 1,
        core_mips: 1000.0,
        memory_mb: 1000.0,
        migration_mb_s: 62.5,
        power: PowerCurve::new(vec![100.0, 200.0]).unwrap(),
    }
}

/// One vCPU that can ask for 1000 MIPS, and 625 MB: a migration takes 10 s.
fn instance() -> InstanceSpec {
    InstanceSpec {
        name: "instance".into(),
        vcpus: 1,
        vcpu_mips: 1000.0,
        memory_mb: 625.0,
    }
}

fn always(fraction: f64) -> Trace {
    Trace::even(Millis::ZERO, vec![fraction])
}

struct Run {
    machines: usize,
    loads: Vec<Trace>,
    memory: MemoryMode,
    script: Script,
    events: Vec<(u64, Event)>,
    seconds: u64,
}

impl Run {
    fn report(mut self) -> Report {
        let world = World::new(
            vec![machine(); self.machines],
            vec![instance(); self.loads.len()],
            self.memory,
        );
        let mut engine = Engine::new(world, &self.loads, &mut self.script, Rules::plain(STEP));
        for index in 0..self.loads.len() {
            engine.schedule(Millis::ZERO, Event::Arrive(index));
        }
        for (at_s, event) in self.events {
            engine.schedule(Millis::from_seconds(at_s), event);
        }
        engine.run(Millis::from_seconds(self.seconds))
    }
}

fn run(machines: usize, loads: Vec<Trace>, moves: &[(u64, usize, usize)], seconds: u64) -> Run {
    let moves = moves
        .iter()
        .map(|&(at_s, instance, to)| (Millis::from_seconds(at_s), instance, to));
    let script = Script {
        starts: (0..loads.len()).collect(),
        moves: moves.collect(),
    };
    Run {
        machines,
        loads,
        memory: MemoryMode::Cloudsim,
        script,
        events: Vec::new(),
        seconds,
    }
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() < 1e-9
}

#[test]
fn a_quiet_pool_draws_by_its_utilization_and_the_unused_machine_sleeps() {
    let report = run(2, vec![always(0.6)], &[], 3600).report();
    assert!(close(report.totals.energy_kwh, 0.160), "{:?}", report.totals);
    assert_eq!(report.totals.host_shutdowns, 1);
    assert!(close(report.totals.active_machines, 1.0));
    assert!(close(report.totals.slav, 0.0));
    assert_eq!(
        report.series.len(),
        36,
        "one at the start, and one every 100 s before the end"
    );
}

#[test]
fn the_energy_between_two_samples_is_the_mean_of_its_ends() {
    // From idle to busy in 100 s: 150 W on average, so 15 kJ.
    let report = run(1, vec![Trace::even(STEP, vec![0.0, 1.0])], &[], 100).report();
    assert!(
        close(report.totals.energy_kwh * 3.6e6, 15_000.0),
        "{:?}",
        report.totals
    );
}

#[test]
fn a_migration_takes_its_memory_over_the_bandwidth_and_withholds_a_tenth() {
    let totals = run(2, vec![always(0.6)], &[(100, 0, 1)], 200).report().totals;
    assert_eq!(totals.migrations, 1);
    // 10 s at 60 MIPS less, of 600 MIPS over 200 s.
    assert!(close(totals.pdm, 600.0 / 120_000.0), "{totals:?}");
    // The source is active for 110 s and gives what it is asked; the target for 100 s, and for 10 s of them it gives a tenth.
    assert!(close(totals.slatah, 10.0 / 210.0), "{totals:?}");
    assert!(close(totals.slav, totals.slatah * totals.pdm));
    let joules = 160.0 * 110.0 + 106.0 * 10.0 + 160.0 * 90.0;
    assert!(close(totals.energy_kwh * 3.6e6, joules), "{totals:?}");
    assert_eq!(
        totals.host_shutdowns, 2,
        "the second machine at the start, the first when it was left"
    );
}

#[test]
fn an_overloaded_machine_gives_everybody_the_same_part() {
    // 800 and 400 MIPS asked on 1000: five sixths each, from 110 s on; before that 400 and 40 of 800 and 400.
    let totals = run(2, vec![always(0.8), always(0.4)], &[(100, 1, 0)], 210)
        .report()
        .totals;
    let asked = 1200.0 * 210.0;
    let while_moving = 40.0 * 10.0;
    let afterwards = 200.0 * 100.0;
    assert!(
        close(totals.withheld, (while_moving + afterwards) / asked),
        "{totals:?}"
    );
    assert!(close(totals.pdm, while_moving / asked), "{totals:?}");
    // Machine 0 is short from 100 s on, machine 1 never, and that one is active until 110 s.
    assert!(close(totals.slatah, 110.0 / 320.0), "{totals:?}");
}

#[test]
fn a_vcpu_never_gets_more_than_one_core() {
    let loads = vec![always(1.0)];
    let mut spec = machine();
    (spec.cores, spec.core_mips) = (4, 500.0);
    let mut script = Script {
        starts: vec![1],
        moves: vec![(STEP, 0, 0)],
    };
    let world = World::new(vec![spec, machine()], vec![instance()], MemoryMode::Cloudsim);
    let mut engine = Engine::new(world, &loads, &mut script, Rules::plain(STEP));
    engine.schedule(Millis::ZERO, Event::Arrive(0));
    let totals = engine.run(Millis::from_seconds(200)).totals;
    // After the move, half of the 1000 MIPS is out of reach although three cores idle.
    let while_moving = 100.0 * 10.0;
    assert!(
        close(totals.withheld, (while_moving + 500.0 * 90.0) / 200_000.0),
        "{totals:?}"
    );
}

#[test]
fn a_migration_needs_the_memory_on_both_sides_where_memory_counts() {
    let mut refused = run(2, vec![always(0.1), always(0.1)], &[(100, 1, 0)], 200);
    refused.memory = MemoryMode::Memory;
    assert_eq!(
        refused.report().totals.migrations,
        0,
        "625 MB are used, and 625 more do not fit in 1000"
    );
    let allowed = run(2, vec![always(0.1), always(0.1)], &[(100, 1, 0)], 200);
    assert_eq!(allowed.report().totals.migrations, 1);
}

#[test]
fn what_ran_on_a_failed_machine_waits_for_the_next_decision() {
    let mut failing = run(2, vec![always(0.5)], &[], 200);
    failing.events = vec![(40, Event::Fail(0)), (150, Event::Recover(0))];
    let report = failing.report();
    assert!(close(report.totals.waiting_s, 60.0), "{:?}", report.totals);
    assert!(close(report.totals.withheld, 60.0 / 200.0), "{:?}", report.totals);
    let last = report.series.last().unwrap();
    assert_eq!((last.active_machines, last.waiting), (1, 0));
}

#[test]
fn a_migration_to_a_machine_that_fails_leaves_the_instance_where_it_is() {
    let mut failing = run(2, vec![always(0.5)], &[(100, 0, 1)], 300);
    failing.events = vec![(105, Event::Fail(1))];
    let totals = failing.report().totals;
    assert!(close(totals.waiting_s, 0.0));
    assert!(close(totals.pdm, 50.0 * 5.0 / (500.0 * 300.0)), "{totals:?}");
}

#[test]
fn an_instance_that_departs_while_it_moves_leaves_nothing_behind() {
    let mut departing = run(2, vec![always(0.5)], &[(100, 0, 1)], 400);
    departing.events = vec![(105, Event::Depart(0))];
    let report = departing.report();
    let last = report.series.last().unwrap();
    assert_eq!((last.active_machines, last.waiting), (0, 0));
    assert!(close(last.watts, 0.0));
}

#[test]
fn of_two_moves_of_one_instance_at_once_the_last_counts() {
    let report = run(3, vec![always(0.5)], &[(100, 0, 1), (100, 0, 2)], 200).report();
    assert_eq!(report.totals.migrations, 2);
    // The third machine, not the second, is active afterwards: nothing else would draw 150 W for the last 90 s.
    assert_eq!(
        report.series.last().unwrap().active_machines,
        2,
        "source and target, just after the decision"
    );
    assert_eq!(
        report.totals.host_shutdowns, 3,
        "two at the start, the source later"
    );
}

/// Knows no machine, and counts how often it is asked.
struct Full(u32);

impl Policy for Full {
    fn place(&mut self, _: &World, _: usize) -> Option<usize> {
        self.0 += 1;
        None
    }

    fn decide(&mut self, _: &World, _: Millis) -> Vec<(usize, usize)> {
        Vec::new()
    }
}

#[test]
fn of_those_that_wait_for_the_same_room_one_is_tried() {
    let mut larger = instance();
    larger.memory_mb *= 2.0;
    let mut instances = vec![instance(); 50];
    instances.extend(vec![larger; 50]);
    let loads = vec![always(0.5); instances.len()];
    let mut policy = Full(0);
    let world = World::new(vec![machine()], instances, MemoryMode::Memory);
    let mut engine = Engine::new(world, &loads, &mut policy, Rules::plain(STEP));
    for index in 0..loads.len() {
        engine.schedule(Millis::ZERO, Event::Arrive(index));
    }
    let report = engine.run(Millis::from_seconds(1_001));
    assert!(
        close(report.totals.waiting_s, 100.0 * 1_001.0),
        "{:?}",
        report.totals
    );
    // Each when it arrives, and one at each of ten decisions.
    assert_eq!(policy.0, 100 + 10);
}
