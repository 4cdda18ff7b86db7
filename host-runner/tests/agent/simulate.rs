//! `simulate`: a scenario's report, and a day of traces.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::PROGRAM;

/// The scenario of the manual.
fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/day.json")
}

fn simulate(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .arg("simulate")
        .args(arguments)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with a file for each instance: `loads` are percentages, repeated over a day.
fn day_of(loads: Loads<'_>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, percents) in loads {
        let lines: Vec<String> = percents.iter().cycle().take(288).map(u8::to_string).collect();
        std::fs::write(dir.path().join(name), lines.join("\n")).unwrap();
    }
    dir
}

fn planetlab(dir: &Path, arguments: &[&str]) -> Output {
    let dir = dir.to_str().unwrap();
    simulate(&[&["planetlab", "--dir", dir], arguments].concat())
}

#[test]
fn a_day_of_traces_prints_exactly_the_promised_keys() {
    let day = day_of(&[("a", &[10, 20]), ("b", &[90]), ("c", &[0]), ("d", &[50, 5])]);
    let promised = [
        "vms",
        "hosts",
        "energy_kwh",
        "migrations",
        "slatah",
        "pdm",
        "slav",
        "host_shutdowns",
        "wall_s",
    ];
    let output = planetlab(day.path(), &["--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let keys: BTreeSet<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(promised));
    assert_eq!((&result["vms"], &result["hosts"]), (&4.into(), &800.into()));
    for share in ["slatah", "pdm", "slav"] {
        assert!((0.0..=1.0).contains(&result[share].as_f64().unwrap()), "{result}");
    }
    let lines = String::from_utf8(planetlab(day.path(), &[]).stdout).unwrap();
    let words: Vec<&str> = lines
        .lines()
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(words, promised);
}

#[test]
fn the_same_day_and_seed_have_the_same_result_and_policies_differ() {
    let loads: Vec<(String, Vec<u8>)> = (0..40_u8)
        .map(|number| (format!("vm-{number:02}"), vec![number * 2, 90 - number * 2, 5]))
        .collect();
    let borrowed: Vec<(&str, &[u8])> = loads
        .iter()
        .map(|(name, load)| (name.as_str(), load.as_slice()))
        .collect();
    let day = day_of(&borrowed);
    let result = |policy: &str, seed: &str| {
        let output = planetlab(day.path(), &["--json", "--policy", policy, "--seed", seed]);
        let mut result: Value = serde_json::from_slice(&output.stdout).unwrap();
        result.as_object_mut().unwrap().remove("wall_s");
        result
    };
    assert_eq!(result("consolidate", "1"), result("consolidate", "1"));
    let energy = |policy: &str| result(policy, "1")["energy_kwh"].as_f64().unwrap();
    assert!(energy("consolidate") < energy("stay"));
    assert_eq!(result("stay", "1")["migrations"], 0);
    assert!(
        result("iqr-mmt", "1")["migrations"].as_u64() > result("consolidate", "1")["migrations"].as_u64()
    );
}

#[test]
fn a_broken_trace_is_named_by_file_and_line() {
    let day = day_of(&[("good", &[1])]);
    std::fs::write(day.path().join("bad"), "10\n101\n").unwrap();
    let output = planetlab(day.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let words = said(&output);
    assert!(
        words.contains("/bad:2: CPU use must be a whole percentage from 0 to 100, not \"101\""),
        "{words}"
    );

    let empty = tempfile::tempdir().unwrap();
    assert!(said(&planetlab(empty.path(), &[])).contains("there is no trace in"));
    let missing = said(&planetlab(Path::new("/no/such/day"), &[]));
    assert!(
        missing.contains("cannot read /no/such/day: No such file"),
        "{missing}"
    );
}

#[test]
fn a_scenarios_report_has_tables_and_charts() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("report");
    let arguments = [
        example().to_str().unwrap().to_owned(),
        "--output".into(),
        folder.to_str().unwrap().into(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = simulate(&[&arguments[..], &["--policy", "consolidate", "--policy", "stay"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    for words in [
        "day: 12 machines, 44 instances",
        "Energy",
        "kWh",
        "Migrations",
        "consolidate",
        "stay",
        "The report is in",
    ] {
        assert!(told.contains(words), "{words:?} is not in:\n{told}");
    }
    let report: Value = serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap();
    let [consolidate, stay] = &report["runs"].as_array().unwrap()[..] else {
        panic!("two runs: {report}");
    };
    let energy = |run: &Value| run["totals"]["energy_kwh"].as_f64().unwrap();
    assert!(energy(consolidate) < energy(stay));
    assert_eq!(stay["totals"]["migrations"], 0);
    assert_eq!(stay["series"].as_array().unwrap().len(), 288);
    let text = std::fs::read_to_string(folder.join("report.txt")).unwrap();
    assert!(told.starts_with(&text));
    for chart in ["power", "cpu", "machines", "short", "migrations"] {
        let svg = std::fs::read_to_string(folder.join(format!("{chart}.svg"))).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("24 h"), "{chart}");
        let png = std::fs::read(folder.join(format!("{chart}.png"))).unwrap();
        assert!(
            png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() > 5_000,
            "{chart}"
        );
    }
}

#[test]
fn the_same_scenario_and_seed_are_the_same_files_and_another_seed_is_another_day() {
    let dir = tempfile::tempdir().unwrap();
    let files = |folder: &str, seed: &str| {
        let folder = dir.path().join(folder);
        let example = example();
        let output = simulate(&[
            example.to_str().unwrap(),
            "--seed",
            seed,
            "--output",
            folder.to_str().unwrap(),
        ]);
        assert!(output.status.success(), "{}", said(&output));
        ["report.txt", "report.json", "power.svg", "power.png"]
            .map(|file| std::fs::read(folder.join(file)).unwrap())
    };
    assert_eq!(files("a", "1"), files("b", "1"));
    assert_ne!(files("a", "1")[1], files("c", "2")[1]);
}

#[test]
fn a_scenario_that_cannot_be_run_says_what_is_wrong_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("scenario.json");
    let run = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let output = simulate(&[
            file.to_str().unwrap(),
            "--output",
            dir.path().join("r").to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(1));
        said(&output)
    };
    let example = std::fs::read_to_string(example()).unwrap();
    let broken = run("{\n  \"seed\": 1,\n  \"machine\": []\n}");
    assert!(
        broken.contains("as a scenario") && broken.contains("line 3"),
        "{broken}"
    );
    // The traces are looked for beside the scenario.
    let missing = run(&example);
    assert!(missing.contains("day.csv: No such file"), "{missing}");
    std::fs::write(
        dir.path().join("day.csv"),
        "time_s,instance,cpu_percent\n0,database,10\n",
    )
    .unwrap();
    let no_trace = run(&example);
    assert!(
        no_trace.contains("backup: there is no trace \"day.csv/backup\""),
        "{no_trace}"
    );
    let traces = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples/day.csv");
    std::fs::copy(traces, dir.path().join("day.csv")).unwrap();
    let unknown = run(&example.replace("large-1", "large-9"));
    assert!(unknown.contains("\"large-9\""), "{unknown}");
    let nothing = simulate(&[]);
    assert_eq!(nothing.status.code(), Some(2), "{}", said(&nothing));
}

/// Instances by name, each with its percentages.
type Loads<'a> = &'a [(&'a str, &'a [u8])];

/// Days of a few instances each, by name.
fn days_of(days: &[(&str, Loads<'_>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (day, loads) in days {
        std::fs::rename(day_of(loads).keep(), dir.path().join(day)).unwrap();
    }
    dir
}

fn tuned(dir: &Path, arguments: &[&str]) -> Output {
    let dir = dir.to_str().unwrap();
    simulate(&[&["planetlab-tune", "--dir", dir], arguments].concat())
}

#[test]
fn settings_are_chosen_on_some_days_and_judged_on_those_that_were_left_out() {
    let days = days_of(&[
        ("monday", &[("a", &[10, 90, 20]), ("b", &[80, 5]), ("c", &[30])]),
        ("tuesday", &[("a", &[95, 15]), ("b", &[40, 60, 5])]),
    ]);
    let output = tuned(days.path(), &["--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let tuning: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(tuning["days"], serde_json::json!(["monday", "tuesday"]));
    let folds = tuning["folds"].as_array().unwrap();
    let left_out: Vec<&Value> = folds.iter().map(|fold| &fold["left_out"]).collect();
    assert_eq!(left_out, [&serde_json::json!([0]), &serde_json::json!([1])]);
    for fold in folds {
        assert_eq!(fold["judged"].as_array().unwrap().len(), 1, "{fold}");
        assert!(
            fold["judged"][0]["energy_vs_floor"].as_f64().unwrap() >= 1.0,
            "{fold}"
        );
    }
    assert_eq!(tuning["chosen"]["days"].as_array().unwrap().len(), 2);
}

#[test]
fn without_two_days_or_with_a_broken_line_nothing_is_chosen() {
    let alone = days_of(&[("monday", &[("a", &[10])])]);
    let output = tuned(alone.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("a folder for each of two days or more"),
        "{}",
        said(&output)
    );
    let broken = days_of(&[("monday", &[("a", &[10])]), ("tuesday", &[("b", &[10])])]);
    std::fs::write(broken.path().join("tuesday/b"), "10\nten\n").unwrap();
    let output = tuned(broken.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let words = said(&output);
    assert!(
        words.contains("tuesday/b") && words.contains('2') && output.stdout.is_empty(),
        "{words}"
    );
}
