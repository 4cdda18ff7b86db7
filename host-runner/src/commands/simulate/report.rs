//! What a scenario's runs came to: tables as text and JSON, and charts.

use std::path::Path;

use pool::simulation::policies::PolicyName;
use pool::simulation::{Point, Report, Scenario, Totals};
use serde::Serialize;

use super::SimulateError;
use super::charts::{Chart, Line};
use crate::commands::table::{Align, Table};
use crate::commands::words::{counted, duration, percent};

/// One policy's run.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) policy: PolicyName,
    #[serde(flatten)]
    pub(super) report: Report,
}

/// The runs of one scenario.
#[derive(Debug, Serialize)]
struct Whole<'a> {
    scenario: &'a str,
    seed: u64,
    duration_s: u64,
    interval_s: u64,
    runs: &'a [Run],
}

/// The figures of each run, without the series.
#[derive(Debug, Serialize)]
struct Figures<'a> {
    scenario: &'a str,
    seed: u64,
    runs: Vec<RunFigures>,
}

#[derive(Debug, Serialize)]
struct RunFigures {
    policy: PolicyName,
    machines: usize,
    instances: usize,
    #[serde(flatten)]
    totals: Totals,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    /// The tables for a terminal.
    pub(super) text: String,
    /// The same for programs.
    pub(super) tables_json: String,
    /// The files' names.
    pub(super) files: Vec<String>,
}

/// Writes the report into a folder, which is made where it is missing. The same runs are the same bytes.
pub(super) fn write(
    folder: &Path,
    name: &str,
    scenario: &Scenario,
    runs: &[Run],
) -> Result<Written, SimulateError> {
    std::fs::create_dir_all(folder).map_err(|err| SimulateError::Write {
        path: folder.to_owned(),
        err,
    })?;
    let text = told(name, scenario, runs);
    let figures = Figures {
        scenario: name,
        seed: scenario.seed,
        runs: (runs.iter())
            .map(|run| RunFigures {
                policy: run.policy,
                machines: run.report.machines,
                instances: run.report.instances,
                totals: run.report.totals,
            })
            .collect(),
    };
    let whole = Whole {
        scenario: name,
        seed: scenario.seed,
        duration_s: scenario.duration_s,
        interval_s: scenario.interval_s,
        runs,
    };
    let encoded = |err| SimulateError::Encode { err };
    let mut json = serde_json::to_string_pretty(&whole).map_err(encoded)?;
    json.push('\n');
    let mut files = Vec::new();
    let mut save = |file: String, bytes: &[u8]| {
        let path = folder.join(&file);
        crate::commands::save::save(&path, bytes).map_err(|err| SimulateError::Write { path, err })?;
        files.push(file);
        Ok::<(), SimulateError>(())
    };
    save("report.txt".to_owned(), text.as_bytes())?;
    save("report.json".to_owned(), json.as_bytes())?;
    for (file, chart) in charts(runs) {
        save(format!("{file}.svg"), chart.svg()?.as_bytes())?;
        save(format!("{file}.png"), &chart.png()?)?;
    }
    Ok(Written {
        text,
        tables_json: serde_json::to_string_pretty(&figures).map_err(encoded)?,
        files,
    })
}

fn told(name: &str, scenario: &Scenario, runs: &[Run]) -> String {
    let (machines, instances) =
        (runs.first()).map_or((0, 0), |run| (run.report.machines, run.report.instances));
    #[expect(clippy::cast_precision_loss, reason = "a length for a person")]
    let length = duration(scenario.duration_s as f64);
    let head = format!(
        "{name}: {}, {}, {length}, a decision every {} s, seed {}\n\n",
        counted(machines, "machine"),
        counted(instances, "instance"),
        scenario.interval_s,
        scenario.seed
    );
    let columns: Vec<Align> = std::iter::once(Align::Left)
        .chain(runs.iter().map(|_| Align::Right))
        .collect();
    let mut table = Table::new(0, &columns);
    let mut row = |what: &str, value: &dyn Fn(&Run) -> String| {
        table.row(std::iter::once(what.to_owned()).chain(runs.iter().map(value)));
    };
    row("", &|run| run.policy.to_string());
    row("Energy", &|run| {
        format!("{:.2} kWh", run.report.totals.energy_kwh)
    });
    row("Machines awake, mean", &|run| {
        format!("{:.1}", run.report.totals.active_machines)
    });
    row("Machines put to sleep", &|run| {
        run.report.totals.host_shutdowns.to_string()
    });
    row("Migrations", &|run| run.report.totals.migrations.to_string());
    row("CPU asked for and not given", &|run| {
        small(run.report.totals.withheld)
    });
    row("Time that machines were short of CPU (SLATAH)", &|run| {
        small(run.report.totals.slatah)
    });
    row("CPU withheld by migrations (PDM)", &|run| {
        small(run.report.totals.pdm)
    });
    row("SLA violation (SLATAH × PDM)", &|run| {
        violation(run.report.totals.slav)
    });
    row("Waiting for a machine", &|run| {
        duration(run.report.totals.waiting_s)
    });
    format!("{head}{table}")
}

/// A product of two small shares.
fn violation(share: f64) -> String {
    if share > 0.0 {
        format!("{share:.2e}")
    } else {
        "0".to_owned()
    }
}

/// A share that may be very small.
fn small(share: f64) -> String {
    if share > 0.0 && share < 0.001 {
        format!("{:.4} %", share * 100.0)
    } else {
        percent(share)
    }
}

/// The charts, each with its file's name.
fn charts(runs: &[Run]) -> Vec<(&'static str, Chart)> {
    let line = |run: &Run, name: String, value: &dyn Fn(&Point) -> f64| Line {
        name,
        points: run
            .report
            .series
            .iter()
            .map(|point| (point.at.seconds(), value(point)))
            .collect(),
    };
    let by_policy = |value: &dyn Fn(&Point) -> f64| -> Vec<Line> {
        runs.iter()
            .map(|run| line(run, run.policy.to_string(), value))
            .collect()
    };
    let chart = |title: &str, unit: &'static str, lines: Vec<Line>| Chart {
        title: title.to_owned(),
        unit,
        lines,
    };
    // What is asked for is the same under every policy.
    let asked = runs
        .first()
        .map(|run| line(run, "asked for".to_owned(), &|point| point.asked_mips));
    let awake = runs.iter().map(|run| {
        let name = if runs.len() == 1 {
            "of machines that are awake".to_owned()
        } else {
            format!("awake, {}", run.policy)
        };
        line(run, name, &|point| point.awake_mips)
    });
    #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
    let migrations = |point: &Point| point.migrations as f64;
    vec![
        (
            "power",
            chart("Power of all machines", "W", by_policy(&|point| point.watts)),
        ),
        (
            "cpu",
            chart(
                "CPU that is asked for, and CPU that is there",
                "MIPS",
                asked.into_iter().chain(awake).collect(),
            ),
        ),
        (
            "machines",
            chart(
                "Machines that are awake",
                "",
                by_policy(&|point| f64::from(point.active_machines)),
            ),
        ),
        (
            "short",
            chart(
                "Machines that give less than they are asked for",
                "",
                by_policy(&|point| f64::from(point.short_machines)),
            ),
        ),
        (
            "migrations",
            chart("Migrations since the start", "", by_policy(&migrations)),
        ),
    ]
}
