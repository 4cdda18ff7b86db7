//! How good forecasts are: on series whose nature is known, and on real traces where `PLANETLAB` names their folder.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where its footing does, and says where"
)]

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::path::{Path, PathBuf};

use pool::forecast::{Accuracy, Effort, Evaluation, Sampling, days_in_a_row, evaluate_traces};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const DAY: usize = 288;

/// Percentages over `days` days of 300 s: a sine over the day, and uniform noise.
fn sine_days(seed: u64, days: usize) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..days * DAY)
        .map(|step| {
            let of_day = f64::from(u32::try_from(step % DAY).expect("small")) / 288.0;
            45.0 + 25.0 * (of_day * TAU).sin() + 20.0 * (random.random::<f64>() - 0.5)
        })
        .collect()
}

fn below(ratio: Option<f64>, bound: f64) -> bool {
    ratio.is_some_and(|ratio| ratio < bound)
}

#[test]
fn a_day_like_a_sine_is_foretold_better_than_by_both_baselines() {
    let traces: Vec<Vec<f64>> = (0..4).map(|seed| sine_days(seed, 5)).collect();
    let evaluation = Evaluation {
        warm_up: 3 * DAY,
        stride: 12,
        ..Evaluation::hour_ahead_of_percent(Effort::Blended)
    };
    let accuracy = evaluate_traces(&traces, &evaluation).expect("a valid sampling");
    assert!(below(accuracy.error_vs_last, 0.75), "{accuracy:?}");
    assert!(below(accuracy.error_vs_seasonal, 0.85), "{accuracy:?}");
    assert!((0.85..=0.97).contains(&accuracy.within_bounds), "{accuracy:?}");
}

#[test]
fn nothing_is_foretold_from_what_comes_later() {
    // Of values without any order, the best honest forecast is their median: wrong by 25 % on average.
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let traces: Vec<Vec<f64>> = (0..20)
        .map(|_| (0..400).map(|_| random.random::<f64>() * 100.0).collect())
        .collect();
    for effort in [Effort::Quick, Effort::Blended] {
        let evaluation = Evaluation {
            stride: 7,
            ..Evaluation::hour_ahead_of_percent(effort)
        };
        let accuracy = evaluate_traces(&traces, &evaluation).expect("a valid sampling");
        assert!((24.0..28.0).contains(&accuracy.error), "{accuracy:?}");
    }
}

#[test]
fn the_result_is_that_of_the_sums() {
    // The last value is wrong by 12 each time, and so is ours at first; a drift is then followed exactly.
    let rise: Vec<f64> = (0..90_u32).map(f64::from).collect();
    let evaluation = Evaluation {
        warm_up: 60,
        ..Evaluation::hour_ahead_of_percent(Effort::Blended)
    };
    let accuracy = evaluate_traces(&[rise], &evaluation).expect("a valid sampling");
    assert_eq!((accuracy.traces, accuracy.forecasts), (1, 90 - 12 - 60 + 1));
    assert!(below(accuracy.error_vs_last, 0.2), "{accuracy:?}");
    assert_eq!(
        accuracy.error_vs_seasonal, None,
        "there is no season in 90 values"
    );
    assert!((accuracy.error - accuracy.total_error_vs_last.expect("compared") * 12.0).abs() < 1e-9);
}

#[test]
fn days_of_one_name_are_put_in_a_row() {
    let days = [("web", [1.0, 2.0]), ("db", [5.0, 6.0]), ("web", [3.0, 4.0])];
    let rows = days_in_a_row(days.iter().map(|(name, day)| (*name, day.as_slice())));
    assert_eq!(rows, [[1.0, 2.0, 3.0, 4.0]]);
}

#[test]
fn empty_and_broken_traces_are_no_evidence() {
    let evaluation = Evaluation::hour_ahead_of_percent(Effort::Quick);
    let traces = [vec![], vec![f64::NAN; 100], vec![-1.0; 100], vec![3.0; 5]];
    let accuracy = evaluate_traces(&traces, &evaluation).expect("a valid sampling");
    assert_eq!(accuracy, Accuracy::default());
    let broken = Evaluation {
        sampling: Sampling {
            step_s: 0,
            ..evaluation.sampling
        },
        ..evaluation
    };
    assert!(evaluate_traces(&traces, &broken).is_err());
}

/// Every eighth VM of the `PlanetLab` archive: the days by themselves, and VMs of several days with their days in a row.
struct Archive {
    days: BTreeMap<String, Vec<Vec<f64>>>,
    joined: Vec<Vec<f64>>,
}

impl Archive {
    /// `None`, with a word about it, where the environment does not name the folder.
    fn open() -> Option<Self> {
        let Some(folder) = std::env::var_os("PLANETLAB").map(PathBuf::from) else {
            println!("skipped: PLANETLAB does not name the folder of the traces");
            return None;
        };
        let mut days: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
        let mut named: Vec<(String, Vec<f64>)> = Vec::new();
        for day in sorted_entries(&folder).into_iter().filter(|path| path.is_dir()) {
            for file in sorted_entries(&day) {
                let trace = read(&file);
                named.push((name(&file), trace.clone()));
                days.entry(name(&day)).or_default().push(trace);
            }
        }
        let joined = days_in_a_row(
            named
                .iter()
                .map(|(name, trace)| (name.as_str(), trace.as_slice())),
        );
        let thinned = |traces: Vec<Vec<f64>>| traces.into_iter().step_by(8).collect();
        Some(Self {
            days: days
                .into_iter()
                .map(|(day, traces)| (day, thinned(traces)))
                .collect(),
            joined: thinned(joined),
        })
    }
}

fn sorted_entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|err| panic!("{}: {err}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn read(file: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
    text.lines()
        .map(|line| {
            line.trim()
                .parse()
                .unwrap_or_else(|err| panic!("{}: {err}", file.display()))
        })
        .collect()
}

#[test]
fn an_hour_ahead_on_real_traces_both_baselines_are_beaten() {
    let Some(archive) = Archive::open() else { return };
    for effort in [Effort::Quick, Effort::Blended] {
        let of_day = Evaluation {
            stride: 24,
            ..Evaluation::hour_ahead_of_percent(effort)
        };
        for (day, traces) in &archive.days {
            let accuracy = evaluate_traces(traces, &of_day).expect("a valid sampling");
            println!("{effort:?} {day}: {accuracy:?}");
            assert!(below(accuracy.error_vs_last, 0.85), "{effort:?} on {day}");
            assert!(below(accuracy.total_error_vs_last, 0.85), "{effort:?} on {day}");
            assert!(
                (0.85..=0.95).contains(&accuracy.within_bounds),
                "{effort:?} on {day}"
            );
        }
        // From the second day on, what was at the same time of the day before is known.
        let of_days = Evaluation {
            warm_up: DAY,
            stride: 48,
            ..of_day
        };
        let accuracy = evaluate_traces(&archive.joined, &of_days).expect("a valid sampling");
        println!("{effort:?} days in a row: {accuracy:?}");
        assert!(
            below(accuracy.error_vs_last, 0.9) && below(accuracy.error_vs_seasonal, 0.8),
            "{effort:?}"
        );
    }
}
