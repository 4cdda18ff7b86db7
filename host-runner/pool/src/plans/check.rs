//! Whether options are in their ranges.

use super::error::{PlanError, within};
use super::options::{
    BalanceOptions, ConsolidateOptions, CpuLimit, DrainOptions, How, MoveCost, RecoverOptions, WhatIfOptions,
};

impl How {
    fn check(&self) -> Result<(), PlanError> {
        within("how.solver_seconds_max", self.solver_seconds_max, 0.1, 600.0)
    }
}

impl CpuLimit {
    fn check(&self) -> Result<(), PlanError> {
        if let Some(load_max) = self.load_max {
            within("cpu.load_max", load_max, 0.05, 64.0)?;
        }
        within("cpu.deviations", self.deviations, 0.0, 10.0)
    }
}

impl MoveCost {
    fn check(&self) -> Result<(), PlanError> {
        within("cost.per_move", self.per_move, 0.0, 1_000.0)?;
        within("cost.per_minute", self.per_minute, 0.0, 1_000.0)
    }
}

impl DrainOptions {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        self.how.check()?;
        self.cpu.check()?;
        self.cost.check()
    }
}

impl RecoverOptions {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        self.how.check()?;
        self.cpu.check()?;
        self.cost.check()
    }
}

impl BalanceOptions {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        self.how.check()?;
        self.cpu.check()?;
        self.cost.check()?;
        within("begin", self.begin, 0.0, 10.0)?;
        within("end", self.end, 0.0, self.begin)?;
        within("overload", self.overload, 0.05, 64.0)?;
        within("moves_max", f64::from(self.moves_max), 1.0, 100_000.0)
    }
}

impl ConsolidateOptions {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        self.how.check()?;
        self.cpu.check()?;
        within("watts_per_minute", self.watts_per_minute, 0.0, 10_000.0)?;
        within("awake_min", f64::from(self.awake_min), 1.0, 100_000.0)
    }
}

impl WhatIfOptions {
    pub(super) fn check(&self) -> Result<(), PlanError> {
        self.recover.check()?;
        self.balance.as_ref().map_or(Ok(()), BalanceOptions::check)
    }
}
