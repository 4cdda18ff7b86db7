//! `simulate SCENARIO`: one or more policies on the same scenario.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use pool::simulation::policies::PolicyName;
use pool::simulation::traces::{Trace, read_csv, read_planetlab};
use pool::simulation::{Load, Scenario, run};

use super::report::{self, Run};
use super::{SimulateError, read_bounded};
use crate::cli::SimulateScenario;
use crate::commands::CommandError;
use crate::commands::words::{duration, listed, presentable};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// What a report's folder is called after the scenario.
const FOLDER_ENDING: &str = "-report";
/// In the name of a trace: what comes after is an instance of that file.
const CSV_ENDING: &str = ".csv/";

/// Runs the scenario, and writes the report.
pub(super) fn simulate(asked: &SimulateScenario, file: &Path) -> Result<ExitCode, CommandError> {
    let mut scenario = read(file)?;
    scenario.seed = asked.seed.unwrap_or(scenario.seed);
    let traces = traces(&scenario, file.parent().unwrap_or(Path::new("")))?;
    let mut policies: Vec<PolicyName> = asked.policies.iter().map(|policy| (*policy).into()).collect();
    if policies.is_empty() {
        policies.push(scenario.policy);
    }
    let started = Instant::now();
    let mut runs: Vec<Run> = Vec::with_capacity(policies.len());
    for policy in policies {
        if runs.iter().any(|run| run.policy == policy) {
            continue;
        }
        scenario.policy = policy;
        let report = run(&scenario, &traces).map_err(|err| SimulateError::Scenario {
            path: file.to_owned(),
            err,
        })?;
        runs.push(Run { policy, report });
    }
    let took = started.elapsed();
    let name = file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let folder = asked
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}{FOLDER_ENDING}")));
    let written = report::write(&folder, &name, &scenario, &runs)?;
    if asked.json {
        crate::commands::print(&written.tables_json)?;
    } else {
        let text = format!(
            "{}\nRan in {}. The report is in {}: {}\n",
            written.text,
            duration(took.as_secs_f64()),
            folder.display(),
            listed(&written.files, usize::MAX)
        );
        crate::commands::print(&presentable(&text))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<Scenario, SimulateError> {
    let text = read_bounded(file, FILE_BYTES_MAX)?;
    serde_json::from_str(&text).map_err(|err| SimulateError::Malformed {
        path: file.to_owned(),
        err,
    })
}

/// The traces that the scenario names: files beside it, in the PlanetLab format, or `FILE.csv/INSTANCE` for one of a CSV file.
fn traces(scenario: &Scenario, folder: &Path) -> Result<BTreeMap<String, Trace>, SimulateError> {
    let mut traces = BTreeMap::new();
    let mut tables: BTreeMap<PathBuf, BTreeMap<String, Trace>> = BTreeMap::new();
    for kind in &scenario.instances {
        let Load::Trace(name) = &kind.load else { continue };
        if traces.contains_key(name) {
            continue;
        }
        let trace = match name.split_once(CSV_ENDING) {
            None => {
                let path = folder.join(name);
                let text = read_bounded(&path, FILE_BYTES_MAX)?;
                read_planetlab(&path.display().to_string(), &text)?
            }
            Some((stem, instance)) => {
                let path = folder.join(format!("{stem}.csv"));
                let table = match tables.entry(path.clone()) {
                    std::collections::btree_map::Entry::Occupied(held) => held.into_mut(),
                    std::collections::btree_map::Entry::Vacant(free) => {
                        let text = read_bounded(&path, FILE_BYTES_MAX)?;
                        free.insert(read_csv(&path.display().to_string(), &text)?)
                    }
                };
                // What is not in the table is told by the run, with the instance that wants it.
                let Some(trace) = table.get(instance) else {
                    continue;
                };
                trace.clone()
            }
        };
        traces.insert(name.clone(), trace);
    }
    Ok(traces)
}
