//! What placement promises, whatever the pool and whatever is asked.

mod bad_input;
mod batches;
mod choices;
mod made_up;
mod recoveries;
mod rules;
mod scenarios;
mod sums;
