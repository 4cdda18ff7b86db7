//! `simulate planetlab-tune`: which settings? Chosen on some days, judged on others.

use std::num::NonZero;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use pool::simulation::BadCurve;
use pool::simulation::planetlab::Day;
use pool::simulation::policies::Settings;
use pool::simulation::tune::{Candidate, Ratios, Tuning, Yardstick, grid, try_out, tune};
use serde::Serialize;

use super::{SimulateError, planetlab};
use crate::cli::SimulateTune;
use crate::commands::CommandError;
use crate::commands::table::{Align, Table};

/// The outcome with the names of the days, in whose order all figures are.
#[derive(Debug, Serialize)]
struct Named {
    days: Vec<String>,
    #[serde(flatten)]
    tuning: Tuning,
}

/// Tries all candidates, and prints what leaving days out says of them.
pub(super) fn run(asked: &SimulateTune) -> Result<ExitCode, CommandError> {
    let mut names = Vec::new();
    let mut days = Vec::new();
    for folder in folders(asked)? {
        let day = Day::new(planetlab::traces(&folder)?);
        let yardstick = Yardstick::of(&day).map_err(SimulateError::Machines)?;
        names.push(
            folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        );
        days.push((day, yardstick));
    }
    let candidates = try_all(&grid(), &days).map_err(SimulateError::Machines)?;
    let tuning = tune(&candidates).ok_or_else(|| SimulateError::TooFewDays {
        dir: asked.dir.clone(),
    })?;
    let named = Named { days: names, tuning };
    if asked.json {
        crate::commands::print(&serde_json::to_string_pretty(&named)?)?;
    } else {
        crate::commands::print(&told(&named))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The days' folders, by name.
fn folders(asked: &SimulateTune) -> Result<Vec<PathBuf>, SimulateError> {
    let failed = |err| SimulateError::Read {
        path: asked.dir.clone(),
        err,
    };
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(&asked.dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// Every candidate on every day, in the candidates' order, on all processors.
fn try_all(settings: &[Settings], days: &[(Day, Yardstick)]) -> Result<Vec<Candidate>, BadCurve> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let share = settings.len().div_ceil(processors).max(1);
    let run = |part: &[Settings]| {
        part.iter()
            .map(|it| try_out(*it, days))
            .collect::<Result<Vec<_>, _>>()
    };
    let parts: Vec<Result<Vec<Candidate>, BadCurve>> = thread::scope(|scope| {
        let started: Vec<_> = settings
            .chunks(share)
            .map(|part| scope.spawn(move || run(part)))
            .collect();
        started
            .into_iter()
            .map(|part| {
                part.join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(parts.into_iter().flatten().collect())
}

fn told(named: &Named) -> String {
    let columns = [[Align::Left; 3].as_slice(), &[Align::Right; 5]].concat();
    let mut table = Table::new(0, &columns);
    table.row([
        "left out",
        "chosen without",
        "day",
        "energy/LR",
        "SLAV/IQR",
        "migr/IQR",
        "energy/floor",
        "withheld",
    ]);
    let day = |index: usize| named.days.get(index).map_or("", String::as_str);
    for fold in &named.tuning.folds {
        let left_out: Vec<&str> = fold.left_out.iter().map(|&index| day(index)).collect();
        for (&index, ratios) in fold.left_out.iter().zip(&fold.judged) {
            let cells = [left_out.join(" "), short(&fold.settings), day(index).to_owned()];
            table.row(cells.into_iter().chain(figures(ratios)));
        }
    }
    for (name, ratios) in named.days.iter().zip(&named.tuning.chosen.days) {
        let cells = ["-".to_owned(), short(&named.tuning.chosen.settings), name.clone()];
        table.row(cells.into_iter().chain(figures(ratios)));
    }
    table.to_string()
}

/// What the candidates differ in.
fn short(settings: &Settings) -> String {
    let Settings { demand, plan, .. } = settings;
    format!(
        "half-life {} share {} hot {} relief {} pack {}",
        demand.fast_half_life, demand.fast_share, plan.hot, plan.relief_z, plan.pack_z
    )
}

fn figures(ratios: &Ratios) -> [String; 5] {
    let Ratios {
        energy_vs_lr,
        slav_vs_iqr,
        migrations_vs_iqr,
        energy_vs_floor,
        withheld,
    } = ratios;
    [
        energy_vs_lr,
        slav_vs_iqr,
        migrations_vs_iqr,
        energy_vs_floor,
        withheld,
    ]
    .map(|ratio| format!("{ratio:.4}"))
}
