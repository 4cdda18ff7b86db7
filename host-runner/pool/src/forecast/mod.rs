//! Forecasts of load: what a series will do in the next hour, how sure that is, and why it was foretold in this way.
//!
//! [`forecast`] answers for one [`History`]; [`predict_load`] puts the answer into the form that plans need, and
//! [`predict_loads`] does so for a whole pool, with no more work a series than the pool's size leaves room for.
//! Pure: no clock (`now` is passed in), no I/O, no randomness; no input makes it panic.

mod accuracy;
mod blend;
mod choose;
mod history;
mod load;
mod season;
mod stats;
mod trend;
mod types;

pub use accuracy::{Accuracy, Evaluation, days_in_a_row, evaluate_traces};
pub use choose::forecast;
pub use history::{
    BACKWARD_RUN_MAX, History, HistoryError, Irregularities, SAMPLES_MAX, STEP_S_MAX, SampleRefused, Sampling,
};
pub use load::{AGE_S_MAX, effort_for, predict_load, predict_load_with, predict_loads};
pub use types::{Effort, Forecast, HORIZON_STEPS_MAX, LEVEL_DEFAULT, Method, Note, PredictedLoad};
