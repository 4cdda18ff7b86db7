//! The PlanetLab days, where their folder is given as `PLANETLAB`: the reference policies come out as CloudSim's own do, and
//! the pool's own policy does better. The traces are no part of the repository; without them these tests say so and pass.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers fail the test that calls them"
)]

use std::fs;
use std::path::Path;

use pool::simulation::MemoryMode;
use pool::simulation::planetlab::Day;
use pool::simulation::policies::{PolicyName, Settings};
use pool::simulation::traces::read_planetlab;
use pool::simulation::tune::Yardstick;

/// Energy in kWh, migrations and shutdowns that CloudSim 3.0.3 itself counts.
type Measured = (PolicyName, f64, u32, u32);
const CLOUDSIM: [(&str, [Measured; 4]); 5] = [
    (
        "20110303",
        [
            (PolicyName::Stay, 802.75, 0, 455),
            (PolicyName::ThrMmt, 192.62, 26_711, 5_885),
            (PolicyName::IqrMmt, 189.98, 26_282, 5_868),
            (PolicyName::LrMmt, 163.48, 27_859, 5_053),
        ],
    ),
    (
        "20110306",
        [
            (PolicyName::Stay, 625.53, 0, 544),
            (PolicyName::ThrMmt, 144.74, 20_908, 4_682),
            (PolicyName::IqrMmt, 143.97, 20_742, 4_703),
            (PolicyName::LrMmt, 123.28, 20_878, 4_018),
        ],
    ),
    (
        "20110309",
        [
            (PolicyName::Stay, 704.93, 0, 584),
            (PolicyName::ThrMmt, 165.27, 23_475, 5_139),
            (PolicyName::IqrMmt, 166.75, 23_772, 5_222),
            (PolicyName::LrMmt, 142.09, 24_959, 4_563),
        ],
    ),
    (
        "20110322",
        [
            (PolicyName::Stay, 1011.14, 0, 386),
            (PolicyName::ThrMmt, 201.70, 28_902, 5_950),
            (PolicyName::IqrMmt, 200.87, 29_058, 6_067),
            (PolicyName::LrMmt, 177.48, 32_038, 5_506),
        ],
    ),
    (
        "20110325",
        [
            (PolicyName::Stay, 789.25, 0, 466),
            (PolicyName::ThrMmt, 175.24, 24_883, 5_449),
            (PolicyName::IqrMmt, 174.07, 24_864, 5_479),
            (PolicyName::LrMmt, 152.58, 26_513, 4_846),
        ],
    ),
];

fn float(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// Every day that is there, by its name.
fn days() -> Vec<(String, Day)> {
    let Some(folder) = std::env::var_os("PLANETLAB") else {
        eprintln!("skipped: PLANETLAB does not name the folder of the traces");
        return Vec::new();
    };
    let mut days: Vec<(String, Day)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                day(&path),
            )
        })
        .collect();
    days.sort_by(|a, b| a.0.cmp(&b.0));
    days
}

fn day(folder: &Path) -> Day {
    let traces = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let trace = read_planetlab(&name, &fs::read_to_string(&path).unwrap()).unwrap();
        (name, trace)
    });
    Day::new(traces.collect())
}

#[test]
fn the_reference_policies_come_out_as_in_cloudsim() {
    for (name, day) in days() {
        let Some((_, measured)) = CLOUDSIM.iter().find(|(known, _)| *known == name) else {
            continue;
        };
        for &(policy, energy_kwh, migrations, shutdowns) in measured {
            let totals = day.run_as_cloudsim(policy).unwrap().totals;
            let off = |ours: f64, theirs: f64| (ours - theirs).abs() / theirs.max(1.0);
            assert!(
                off(totals.energy_kwh, energy_kwh) < 0.02,
                "{name} {policy}: {totals:?}"
            );
            assert!(
                off(float(totals.migrations), f64::from(migrations)) < 0.05,
                "{name} {policy}: {totals:?}"
            );
            assert!(
                off(float(totals.host_shutdowns), f64::from(shutdowns)) < 0.05,
                "{name} {policy}: {totals:?}"
            );
        }
    }
}

#[test]
fn consolidation_costs_less_energy_and_fewer_promises_with_a_fifth_of_the_migrations() {
    for (name, day) in days() {
        let report = day.run(Settings::default(), MemoryMode::Cloudsim).unwrap();
        let ratios = Yardstick::of(&day).unwrap().ratios(&report.totals);
        eprintln!("{name}: {ratios:?}");
        assert!(ratios.energy_vs_lr < 1.0, "{name}: {ratios:?}");
        assert!(ratios.slav_vs_iqr < 1.0, "{name}: {ratios:?}");
        assert!(ratios.migrations_vs_iqr <= 0.2, "{name}: {ratios:?}");
        assert!(
            ratios.energy_vs_floor > 1.0 && ratios.energy_vs_floor <= 1.25,
            "{name}: {ratios:?}"
        );
    }
}
