//! Which settings? Chosen on some days, judged on others.
//!
//! Every candidate runs every day once. For each way to leave out some of the days, the cheapest candidate on the days that are
//! kept is judged on those that were left out: those figures are what to expect of a day that nobody has seen. The settings
//! to use are the cheapest on all days.

use serde::{Deserialize, Serialize};

use super::metrics::Totals;
use super::planetlab::Day;
use super::policies::{PolicyName, Settings};
use super::power::BadCurve;
use super::world::MemoryMode;

/// What CPU that is withheld costs: one part in a hundred of what was asked for is worth five parts in a hundred of the energy.
const WITHHELD_PRICE: f64 = 5.0;
/// What a candidate must keep on each day that it is chosen by. Tighter than the targets (1, 1, 0.2, 1.25): days differ.
const MARGINS: Ratios = Ratios {
    energy_vs_lr: 0.95,
    slav_vs_iqr: 0.5,
    migrations_vs_iqr: 0.15,
    energy_vs_floor: 1.2,
    withheld: 0.02,
};

/// A policy's day beside the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratios {
    /// Its energy ÷ that of LR-MMT 1.2.
    pub energy_vs_lr: f64,
    /// Its SLA violation ÷ that of IQR-MMT 1.5.
    pub slav_vs_iqr: f64,
    /// Its migrations ÷ those of IQR-MMT 1.5.
    pub migrations_vs_iqr: f64,
    /// Its energy ÷ the least that the day can cost.
    pub energy_vs_floor: f64,
    /// CPU that was asked for and not given ÷ asked.
    pub withheld: f64,
}

impl Ratios {
    /// What counts when candidates are compared: the lower, the better.
    pub fn cost(&self) -> f64 {
        self.energy_vs_floor + WITHHELD_PRICE * self.withheld
    }

    fn within(&self, most: &Self) -> bool {
        self.energy_vs_lr <= most.energy_vs_lr
            && self.slav_vs_iqr <= most.slav_vs_iqr
            && self.migrations_vs_iqr <= most.migrations_vs_iqr
            && self.energy_vs_floor <= most.energy_vs_floor
            && self.withheld <= most.withheld
    }
}

/// What a day costs under the policies that ours is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Yardstick {
    /// CloudSim's IQR-MMT 1.5.
    pub iqr: Totals,
    /// CloudSim's LR-MMT 1.2.
    pub lr: Totals,
    /// The least energy that the day can cost, in kWh.
    pub floor_kwh: f64,
}

impl Yardstick {
    /// Runs the reference policies on `day`.
    pub fn of(day: &Day) -> Result<Self, BadCurve> {
        Ok(Self {
            iqr: day.run_as_cloudsim(PolicyName::IqrMmt)?.totals,
            lr: day.run_as_cloudsim(PolicyName::LrMmt)?.totals,
            floor_kwh: day.floor_kwh(),
        })
    }

    /// `totals` beside these.
    pub fn ratios(&self, totals: &Totals) -> Ratios {
        // A day has far fewer than 2^52 migrations.
        #[expect(clippy::cast_precision_loss, reason = "exact for all counts that occur")]
        let migrations = |totals: &Totals| totals.migrations as f64;
        Ratios {
            energy_vs_lr: totals.energy_kwh / self.lr.energy_kwh,
            slav_vs_iqr: totals.slav / self.iqr.slav,
            migrations_vs_iqr: migrations(totals) / migrations(&self.iqr),
            energy_vs_floor: totals.energy_kwh / self.floor_kwh,
            withheld: totals.withheld,
        }
    }
}

/// One candidate on every day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its settings.
    pub settings: Settings,
    /// Its figures, in the order of the days.
    pub days: Vec<Ratios>,
}

impl Candidate {
    /// Whether it keeps the margins on all of `days`, and its mean cost there.
    fn on(&self, days: &[usize]) -> (bool, f64) {
        let figures = || days.iter().filter_map(|&day| self.days.get(day));
        let sum: f64 = figures().map(Ratios::cost).sum();
        #[expect(clippy::cast_precision_loss, reason = "a handful of days")]
        let count = days.len() as f64;
        (figures().all(|ratios| ratios.within(&MARGINS)), sum / count)
    }
}

/// One way to leave days out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    /// The days that were left out, by their places.
    pub left_out: Vec<usize>,
    /// What was chosen without them.
    pub settings: Settings,
    /// How that does on them, in their order.
    pub judged: Vec<Ratios>,
}

/// The outcome of tuning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuning {
    /// Every way to leave out days.
    pub folds: Vec<Fold>,
    /// The cheapest candidate on all days.
    pub chosen: Candidate,
}

/// The settings that are tried: every combination of these, the others as in [`Settings::default`].
pub fn grid() -> Vec<Settings> {
    let mut grid = Vec::new();
    for fast_half_life in [2.0, 3.0, 6.0] {
        for fast_share in [0.4, 0.6, 0.8] {
            for hot in [0.85, 0.9, 0.95] {
                for relief_z in [0.5, 1.0] {
                    for pack_z in [0.8, 1.0, 1.2, 1.4] {
                        let mut settings = Settings::default();
                        settings.demand.fast_half_life = fast_half_life;
                        settings.demand.fast_share = fast_share;
                        settings.plan.hot = hot;
                        settings.plan.relief_z = relief_z;
                        settings.plan.pack_z = pack_z;
                        grid.push(settings);
                    }
                }
            }
        }
    }
    grid
}

/// One candidate's figures on every day.
pub fn try_out(settings: Settings, days: &[(Day, Yardstick)]) -> Result<Candidate, BadCurve> {
    let figures = days.iter().map(|(day, yardstick)| {
        let report = day.run(settings, MemoryMode::Cloudsim)?;
        Ok(yardstick.ratios(&report.totals))
    });
    Ok(Candidate {
        settings,
        days: figures.collect::<Result<_, _>>()?,
    })
}

/// Chooses among `candidates`, which have run the same days, and judges the choice by leaving out every two of the days
/// (every one of fewer than four). `None` where there are no candidates, or fewer than two days.
pub fn tune(candidates: &[Candidate]) -> Option<Tuning> {
    let days = candidates.first()?.days.len();
    if days < 2 {
        return None;
    }
    let all: Vec<usize> = (0..days).collect();
    let mut folds = Vec::new();
    for left_out in left_out(days) {
        let kept: Vec<usize> = all
            .iter()
            .copied()
            .filter(|day| !left_out.contains(day))
            .collect();
        let chosen = cheapest(candidates, &kept)?;
        let judged = left_out
            .iter()
            .filter_map(|&day| chosen.days.get(day).copied())
            .collect();
        folds.push(Fold {
            left_out,
            settings: chosen.settings,
            judged,
        });
    }
    Some(Tuning {
        folds,
        chosen: cheapest(candidates, &all)?.clone(),
    })
}

fn left_out(days: usize) -> Vec<Vec<usize>> {
    if days < 4 {
        return (0..days).map(|day| vec![day]).collect();
    }
    (0..days)
        .flat_map(|first| (first + 1..days).map(move |second| vec![first, second]))
        .collect()
}

/// The cheapest of those that keep the margins; of all, where none does.
fn cheapest<'a>(candidates: &'a [Candidate], days: &[usize]) -> Option<&'a Candidate> {
    candidates.iter().min_by(|a, b| {
        let ((a_keeps, a_cost), (b_keeps, b_cost)) = (a.on(days), b.on(days));
        b_keeps.cmp(&a_keeps).then(a_cost.total_cmp(&b_cost))
    })
}
