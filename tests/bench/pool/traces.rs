//! What real traces say: how well consolidation does beside CloudSim's policies, and how near forecasts come.
//!
//! `PLANETLAB=DIR` names a folder with one folder a day and one file an instance. The traces are no part of the product.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pool::forecast::{Effort, Evaluation, days_in_a_row, evaluate_traces};
use pool::simulation::MemoryMode;
use pool::simulation::planetlab::Day;
use pool::simulation::policies::Settings;
use pool::simulation::traces::{Trace, read_planetlab};
use pool::simulation::tune::Yardstick;

/// A forecast is made at every so many points: more would tell the same, and take minutes.
const STRIDE: usize = 6;

/// Prints the figures of traces, or that there are none.
pub fn run() -> Result<(), Box<dyn Error>> {
    let Some(folder) = std::env::var_os("PLANETLAB").map(PathBuf::from) else {
        println!(
            "skipped: consolidation and forecasts on traces; PLANETLAB=DIR names the folder of the PlanetLab days"
        );
        return Ok(());
    };
    let days: Vec<Archived> = entries(&folder)?
        .iter()
        .filter(|path| path.is_dir())
        .map(|path| Archived::read(path))
        .collect::<Result<_, _>>()?;
    if days.is_empty() {
        return Err(format!("PLANETLAB={} holds no folder of a day", folder.display()).into());
    }
    consolidation(&days)?;
    forecasts(&days)
}

/// A day of the archive.
struct Archived {
    name: String,
    /// Each instance's file name, and its text.
    files: Vec<(String, String)>,
}

impl Archived {
    fn read(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let files = entries(folder)?
            .iter()
            .map(|path| Ok((name(path), std::fs::read_to_string(path)?)))
            .collect::<Result<_, Box<dyn Error>>>()?;
        Ok(Self {
            name: name(folder),
            files,
        })
    }

    fn traces(&self) -> Result<Vec<(String, Trace)>, Box<dyn Error>> {
        let trace = |(name, text): &(String, String)| Ok((name.clone(), read_planetlab(name, text)?));
        self.files.iter().map(trace).collect()
    }

    fn percentages(&self) -> Result<Vec<Vec<f64>>, Box<dyn Error>> {
        let values = |(_, text): &(String, String)| {
            let lines = text.split_whitespace().map(str::parse);
            Ok(lines.collect::<Result<_, _>>()?)
        };
        self.files.iter().map(values).collect()
    }
}

fn consolidation(days: &[Archived]) -> Result<(), Box<dyn Error>> {
    let mut slowest_s: f64 = 0.0;
    for archived in days {
        let start = Instant::now();
        let day = Day::new(archived.traces()?);
        let totals = day.run(Settings::default(), MemoryMode::Cloudsim)?.totals;
        slowest_s = slowest_s.max(start.elapsed().as_secs_f64());
        let ratios = Yardstick::of(&day)?.ratios(&totals);
        let figure = |what: &str, value: f64| {
            println!("bench planetlab_{}_{what} {value:.3} ratio", archived.name);
        };
        figure("energy_vs_lr", ratios.energy_vs_lr);
        figure("slav_vs_iqr", ratios.slav_vs_iqr);
        figure("migrations_vs_iqr", ratios.migrations_vs_iqr);
        figure("energy_vs_floor", ratios.energy_vs_floor);
        println!(
            "{}: {:.2} kWh, {} migrations, SLATAH {:.4}, PDM {:.6}, {:.2} % of the CPU that was asked for withheld",
            archived.name,
            totals.energy_kwh,
            totals.migrations,
            totals.slatah,
            totals.pdm,
            totals.withheld * 100.0
        );
    }
    println!("bench planetlab_day_s {slowest_s:.2} s");
    Ok(())
}

/// One hour ahead. The seasonal baseline needs a day before, so those instances count whose name stands in more than one day.
fn forecasts(days: &[Archived]) -> Result<(), Box<dyn Error>> {
    let mut named = Vec::new();
    for day in days {
        let names = day.files.iter().map(|(name, _)| name.as_str());
        named.extend(names.zip(day.percentages()?));
    }
    let evaluation = Evaluation {
        stride: STRIDE,
        ..Evaluation::hour_ahead_of_percent(Effort::Blended)
    };
    let alone: Vec<&[f64]> = named.iter().map(|(_, day)| day.as_slice()).collect();
    if let Some(error) = evaluate_traces(&alone, &evaluation)?.error_vs_last {
        println!("bench forecast_error_vs_last {error:.3} ratio");
    }
    let joined = days_in_a_row(named.iter().map(|(name, day)| (*name, day.as_slice())));
    match evaluate_traces(&joined, &evaluation)?.error_vs_seasonal {
        Some(error) => println!("bench forecast_error_vs_seasonal {error:.3} ratio"),
        None => println!("skipped: forecast_error_vs_seasonal; no instance is there on two days"),
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let entries = std::fs::read_dir(folder).map_err(|err| format!("{}: {err}", folder.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
