//! The simulator from outside: scenario files, traces that are broken, and runs that repeat.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers fail the test that calls them"
)]

use std::collections::BTreeMap;

use pool::simulation::planetlab::Day;
use pool::simulation::policies::{PolicyName, Settings};
use pool::simulation::traces::{Generator, Trace, TraceError, read_csv, read_planetlab};
use pool::simulation::{BadCurve, MemoryMode, Millis, PowerCurve, Report, Scenario, ScenarioError, run};

/// Twelve instances by day and night on four machines, one of which fails for an hour.
const OFFICE: &str = r#"{
    "seed": 7, "duration_s": 86400, "interval_s": 300,
    "machines": [{
        "name": "rack", "count": 4, "cores": 8, "core_mips": 3000, "memory_mb": 32768,
        "migration_mb_s": 100, "power_watts": [40, 70, 90]
    }],
    "instances": [{
        "name": "web", "count": 12, "vcpus": 2, "vcpu_mips": 3000, "memory_mb": 2048,
        "load": {"generated": {
            "kind": "day", "mean_percent": 25, "swing_percent": 15, "peak_hour": 14, "noise_percent": 5
        }}
    }, {
        "name": "night-job", "vcpus": 4, "vcpu_mips": 3000, "memory_mb": 8192,
        "load": {"trace": "backup"}, "arrives_s": 7200, "departs_s": 14400
    }],
    "failures": [{"machine": "rack-0", "at_s": 36000, "until_s": 39600}]
}"#;

fn office() -> Scenario {
    serde_json::from_str(OFFICE).unwrap()
}

fn backup() -> BTreeMap<String, Trace> {
    read_csv("backup.csv", "time_s,instance,cpu_percent\n0,backup,90\n").unwrap()
}

fn report_of(policy: PolicyName) -> Report {
    run(&Scenario { policy, ..office() }, &backup()).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_seed_another() {
    let again = |seed| run(&Scenario { seed, ..office() }, &backup()).unwrap();
    assert_eq!(again(7), again(7));
    assert_ne!(again(7).totals, again(8).totals);
}

#[test]
fn consolidation_saves_energy_and_everybody_is_placed() {
    let stay = report_of(PolicyName::Stay);
    let ours = report_of(PolicyName::Consolidate);
    assert!(
        ours.totals.energy_kwh < stay.totals.energy_kwh,
        "{:?} {:?}",
        ours.totals,
        stay.totals
    );
    assert!(
        ours.series.iter().skip(1).all(|point| point.waiting == 0),
        "there is room for all, always"
    );
}

#[test]
fn every_policy_survives_the_failure_of_a_machine() {
    for policy in PolicyName::ALL {
        let totals = report_of(policy).totals;
        assert!(totals.waiting_s <= 13.0 * 300.0, "{policy}: {totals:?}");
        assert!(
            (0.0..=1.0).contains(&totals.slatah) && totals.energy_kwh > 0.0,
            "{policy}: {totals:?}"
        );
    }
}

#[test]
fn the_totals_have_the_names_that_scripts_read() {
    let totals = serde_json::to_value(report_of(PolicyName::Stay).totals).unwrap();
    for name in [
        "energy_kwh",
        "migrations",
        "slatah",
        "pdm",
        "slav",
        "host_shutdowns",
    ] {
        assert!(totals[name].is_number(), "{name}: {totals}");
    }
}

#[test]
fn a_scenario_with_a_field_that_nobody_knows_is_refused() {
    let text = OFFICE.replace("\"seed\": 7", "\"seed\": 7, \"sed\": 8");
    let error = serde_json::from_str::<Scenario>(&text).unwrap_err().to_string();
    assert!(error.contains("unknown field `sed`"), "{error}");
}

#[test]
fn what_cannot_be_simulated_is_refused_by_name() {
    let refused = |change: &dyn Fn(&mut Scenario)| {
        let mut scenario = office();
        change(&mut scenario);
        run(&scenario, &backup()).unwrap_err()
    };
    let cases: [(ScenarioError, &str); 9] = [
        (
            refused(&|it| it.interval_s = 0),
            "the scenario: interval_s must be 1 or more, not 0",
        ),
        (
            refused(&|it| it.machines[0].count = 10_001),
            "machines: 10001 is more than 10000",
        ),
        (
            refused(&|it| it.duration_s = 1_000_000_000_000),
            "events × (machines + instances): 56666667137 is more than 2000000000",
        ),
        (
            refused(&|it| {
                it.instances[0].count = 20_000 - 1;
                it.duration_s = 20_000 * it.interval_s;
                it.machines.truncate(1);
                it.machines[0].count = 1;
            }),
            "samples of generated loads: 399999999 is more than 100000000",
        ),
        (
            refused(&|it| it.instances[0].vcpu_mips = f64::NAN),
            "web: vcpu_mips must be more than 0 and at most 10^12, not NaN",
        ),
        (
            refused(&|it| it.instances[1].name = "web-3".into()),
            "the name \"web-3\" is there twice",
        ),
        (
            refused(&|it| it.instances[1].departs_s = Some(7200)),
            "night-job: 7200 s is not after 7200 s",
        ),
        (
            refused(&|it| it.failures[0].machine = "rack-9".into()),
            "a failure names the machine \"rack-9\", which is not there",
        ),
        (
            run(&office(), &BTreeMap::new()).unwrap_err(),
            "night-job: there is no trace \"backup\"",
        ),
    ];
    for (error, text) in cases {
        assert_eq!(error.to_string(), text);
    }
}

/// Of two failures at once, the first to end leaves the machine as broken as it was.
#[test]
fn a_machine_works_again_when_the_last_of_its_failures_has_ended() {
    let mut scenario = office();
    scenario.duration_s = 3_000;
    scenario.machines[0].count = 1;
    scenario.instances.truncate(1);
    scenario.instances[0].count = 1;
    let failure = |at_s, until_s| pool::simulation::Failure {
        machine: "rack".into(),
        at_s,
        until_s: Some(until_s),
    };
    for failures in [
        vec![failure(300, 1_500), failure(600, 900)],
        vec![failure(300, 900), failure(600, 1_500)],
        vec![failure(300, 900), failure(900, 1_500)],
    ] {
        let report = run(
            &Scenario {
                failures,
                ..scenario.clone()
            },
            &BTreeMap::new(),
        )
        .unwrap();
        assert!(
            (report.totals.waiting_s - 1_200.0).abs() < 1e-9,
            "{:?}",
            report.totals
        );
    }
}

/// Fifteen times 0.1 is 1.5, whatever floats say.
#[test]
fn a_machine_takes_what_fits_in_whatever_unit_it_is_measured() {
    let mut scenario = office();
    scenario.failures.clear();
    scenario.machines[0].count = 1;
    scenario.machines[0].cores = 15;
    scenario.machines[0].core_mips = 0.1;
    scenario.machines[0].memory_mb = 0.3 * 5.0;
    scenario.instances.truncate(1);
    scenario.instances[0].count = 15;
    scenario.instances[0].vcpus = 1;
    scenario.instances[0].vcpu_mips = 0.1;
    scenario.instances[0].memory_mb = 0.1;
    for policy in PolicyName::ALL {
        let report = run(
            &Scenario {
                policy,
                ..scenario.clone()
            },
            &BTreeMap::new(),
        )
        .unwrap();
        assert!(report.totals.waiting_s <= 0.0, "{policy}: {:?}", report.totals);
    }
}

#[test]
fn power_is_linear_between_the_points() {
    let curve = PowerCurve::new(vec![86.0, 89.4, 92.6]).unwrap();
    for (utilization, watts) in [
        (0.0, 86.0),
        (0.25, 87.7),
        (0.5, 89.4),
        (0.75, 91.0),
        (1.0, 92.6),
        (-1.0, 86.0),
        (7.0, 92.6),
        (f64::NAN, 86.0),
    ] {
        assert!((curve.watts(utilization) - watts).abs() < 1e-9, "{utilization}");
    }
    assert_eq!(PowerCurve::new(vec![86.0]), Err(BadCurve::Count { count: 1 }));
    assert_eq!(
        PowerCurve::new(vec![86.0, -1.0]),
        Err(BadCurve::Watts {
            index: 1,
            watts: -1.0
        })
    );
}

#[test]
fn a_planetlab_trace_is_linear_between_its_lines_and_holds_its_last() {
    let trace = read_planetlab("vm", "0\n50\n100\n").unwrap();
    for (seconds, load) in [
        (0, 0.0),
        (150, 0.25),
        (300, 0.5),
        (450, 0.75),
        (600, 1.0),
        (90_000, 1.0),
    ] {
        assert!(
            (trace.at(Millis::from_seconds(seconds)) - load).abs() < 1e-9,
            "{seconds} s"
        );
    }
}

#[test]
fn a_broken_line_is_named_with_its_file() {
    let planetlab = |text: &str| read_planetlab("vm_7", text).unwrap_err().to_string();
    assert_eq!(planetlab(""), "vm_7: no samples");
    assert_eq!(
        planetlab("12\n101\n"),
        "vm_7:2: CPU use must be a whole percentage from 0 to 100, not \"101\""
    );
    assert_eq!(
        planetlab("12\n\n13\n"),
        "vm_7:2: CPU use must be a whole percentage from 0 to 100, not \"\""
    );
    assert_eq!(
        planetlab("-1\n"),
        "vm_7:1: CPU use must be a whole percentage from 0 to 100, not \"-1\""
    );

    let csv = |line: &str| {
        let text = format!("time_s,instance,cpu_percent\n0,web,1\n{line}\n");
        read_csv("load.csv", &text).unwrap_err().to_string()
    };
    assert_eq!(csv("60,web"), "load.csv:3: 2 fields where 3 are needed");
    assert_eq!(
        csv("0,web,2"),
        "load.csv:3: the time of \"web\" is not later than in the line before"
    );
    assert_eq!(
        csv("60,web,NaN"),
        "load.csv:3: cpu_percent must be a percentage from 0 to 100, not \"NaN\""
    );
    assert_eq!(
        csv("60,web,-0.5"),
        "load.csv:3: cpu_percent must be a percentage from 0 to 100, not \"-0.5\""
    );
    assert_eq!(
        csv("inf,web,1"),
        "load.csv:3: time_s must be seconds, 0 or more, not \"inf\""
    );
    assert_eq!(csv("60,,1"), "load.csv:3: instance must be a name, not \"\"");
    assert_eq!(
        read_csv("load.csv", "time,vm,cpu\n").unwrap_err(),
        TraceError::Header {
            file: "load.csv".into(),
            wanted: "time_s,instance,cpu_percent",
            found: "time,vm,cpu".into(),
        }
    );
}

#[test]
fn a_csv_holds_several_instances_mixed() {
    let text = "time_s,instance,cpu_percent\n0,a,0\n0,b,50\n10,a,100\n\n20,b,50\n";
    let traces = read_csv("load.csv", text).unwrap();
    assert!((traces["a"].at(Millis(5000)) - 0.5).abs() < 1e-9);
    assert!((traces["b"].at(Millis(5000)) - 0.5).abs() < 1e-9);
}

#[test]
fn a_day_is_busiest_at_its_peak_and_bursts_last_as_long_as_they_should() {
    let hour = |hours: u64| Millis::from_seconds(hours * 3600);
    let day = Generator::Day {
        mean_percent: 40.0,
        swing_percent: 30.0,
        peak_hour: 14.0,
        noise_percent: 0.0,
    };
    let day = day.trace(hour(24), hour(1), 1, 0);
    assert!((day.at(hour(14)) - 0.7).abs() < 1e-9 && (day.at(hour(2)) - 0.1).abs() < 1e-9);

    let bursts = Generator::Bursts {
        quiet_percent: 5.0,
        burst_percent: 90.0,
        chance: 0.1,
        samples: 3,
    };
    let bursts = bursts.trace(hour(500), hour(1), 1, 0);
    let busy: Vec<bool> = (0..500).map(|at| bursts.at(hour(at)) > 0.5).collect();
    let lengths: Vec<usize> = busy
        .chunk_by(|a, b| a == b)
        .filter(|run| run[0])
        .map(<[bool]>::len)
        .collect();
    assert!(lengths.len() > 10);
    // Two bursts may touch; the last may be cut off.
    assert!(
        lengths.iter().rev().skip(1).all(|length| length % 3 == 0),
        "{lengths:?}"
    );
}

/// Forty instances that are busy a quarter of the time each, in turn.
fn rota() -> Day {
    let lines = |shift: usize| {
        let line = |step: usize| {
            if (step / 6 + shift).is_multiple_of(4) {
                "80\n"
            } else {
                "10\n"
            }
        };
        (0..288).map(line).collect::<String>()
    };
    let traces = (0..40).map(|index| {
        let name = format!("vm-{index:02}");
        let trace = read_planetlab(&name, &lines(index)).unwrap();
        (name, trace)
    });
    Day::new(traces.collect())
}

#[test]
fn the_reference_policies_save_most_of_what_staying_costs_and_ours_moves_less() {
    let day = rota();
    let reference = |policy| day.run_as_cloudsim(policy).unwrap().totals;
    let stay = reference(PolicyName::Stay);
    assert_eq!((stay.migrations, stay.slav), (0, 0.0));
    let ours = day.run(Settings::default(), MemoryMode::Cloudsim).unwrap().totals;
    for policy in [PolicyName::ThrMmt, PolicyName::IqrMmt, PolicyName::LrMmt] {
        let totals = reference(policy);
        assert!(totals.energy_kwh < 0.6 * stay.energy_kwh, "{policy}: {totals:?}");
        assert!(
            totals.migrations > ours.migrations,
            "{policy}: {totals:?} {ours:?}"
        );
        assert!(totals.slatah > 0.0 && totals.pdm > 0.0, "{policy}: {totals:?}");
    }
    assert!(
        ours.energy_kwh > day.floor_kwh(),
        "nobody can be cheaper than the floor"
    );
}

#[test]
fn memory_that_always_counts_keeps_more_machines_awake() {
    let day = rota();
    let active = |memory| {
        day.run(Settings::default(), memory)
            .unwrap()
            .totals
            .active_machines
    };
    // 40 instances of 1241 MB on average, 4096 MB each: 13 machines at least.
    assert!(active(MemoryMode::Memory) >= 13.0);
    assert!(active(MemoryMode::Cloudsim) < active(MemoryMode::Memory));
}
