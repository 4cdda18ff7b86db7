//! `simulate planetlab`: one day of the experiment that consolidation policies are compared by.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use pool::simulation::MemoryMode;
use pool::simulation::planetlab::{Day, MACHINES};
use pool::simulation::policies::{PolicyName, Settings};
use pool::simulation::traces::{Trace, read_planetlab};
use serde::Serialize;

use super::SimulateError;
use crate::cli::{MemoryBinds, SimulatePlanetlab};
use crate::commands::CommandError;

/// How many instances one day may have.
const FILES_MAX: usize = 100_000;
/// The largest file that is read, in bytes: a year of lines, and some.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// What a day came to. Its members are a promise to scripts: no others, and no other names.
#[derive(Debug, Serialize)]
struct DayResult {
    vms: usize,
    hosts: usize,
    energy_kwh: f64,
    migrations: u64,
    slatah: f64,
    pdm: f64,
    slav: f64,
    host_shutdowns: u64,
    wall_s: f64,
}

/// Runs the day.
pub(super) fn run(asked: &SimulatePlanetlab) -> Result<ExitCode, CommandError> {
    let started = Instant::now();
    let day = Day::new(traces(&asked.dir)?);
    let policy = PolicyName::from(asked.policy);
    let report = if policy.is_reference() {
        day.run_as_cloudsim(policy)
    } else {
        let memory = match asked.memory {
            MemoryBinds::Cloudsim => MemoryMode::Cloudsim,
            MemoryBinds::Memory => MemoryMode::Memory,
        };
        day.run(Settings::default(), memory)
    };
    let totals = report.map_err(SimulateError::Machines)?.totals;
    let result = DayResult {
        vms: day.instances(),
        hosts: MACHINES,
        energy_kwh: totals.energy_kwh,
        migrations: totals.migrations,
        slatah: totals.slatah,
        pdm: totals.pdm,
        slav: totals.slav,
        host_shutdowns: totals.host_shutdowns,
        wall_s: started.elapsed().as_secs_f64(),
    };
    if asked.json {
        crate::commands::print(&serde_json::to_string_pretty(&result)?)?;
    } else {
        crate::commands::print(&told(&result))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The same as the JSON, a line for each member.
fn told(result: &DayResult) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<14} {value}");
    };
    line("vms", &result.vms);
    line("hosts", &result.hosts);
    line("energy_kwh", &format_args!("{:.2}", result.energy_kwh));
    line("migrations", &result.migrations);
    line("slatah", &format_args!("{:.6}", result.slatah));
    line("pdm", &format_args!("{:.6}", result.pdm));
    line("slav", &format_args!("{:.8}", result.slav));
    line("host_shutdowns", &result.host_shutdowns);
    line("wall_s", &format_args!("{:.2}", result.wall_s));
    text
}

/// Every file of the folder; what begins with a dot is none of the day's.
pub(super) fn traces(dir: &Path) -> Result<Vec<(String, Trace)>, SimulateError> {
    let failed = |path: &Path, err| SimulateError::Read {
        path: path.to_owned(),
        err,
    };
    let mut traces = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|err| failed(dir, err))? {
        let entry = entry.map_err(|err| failed(dir, err))?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || !path.is_file() {
            continue;
        }
        if traces.len() == FILES_MAX {
            return Err(SimulateError::TooManyFiles {
                dir: dir.to_owned(),
                most: FILES_MAX,
            });
        }
        let text = super::read_bounded(&path, FILE_BYTES_MAX)?;
        let trace = read_planetlab(&path.display().to_string(), &text)?;
        traces.push((name, trace));
    }
    if traces.is_empty() {
        return Err(SimulateError::NoTraces { dir: dir.to_owned() });
    }
    Ok(traces)
}
