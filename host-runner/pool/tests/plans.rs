//! What a plan promises: it says beforehand whether it can be carried out, carries nothing out that hurts on the way, and says why it does
//! what it does, and why not more.

#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    clippy::unwrap_used,
    reason = "a test ends where what it was given is not what it must be; options are compared with what they were set to"
)]

#[path = "plans/support.rs"]
mod support;

#[path = "plans/asking.rs"]
mod asking;
#[path = "plans/balancing.rs"]
mod balancing;
#[path = "plans/consolidating.rs"]
mod consolidating;
#[path = "plans/draining.rs"]
mod draining;
#[cfg(feature = "optimal")]
#[path = "plans/optimum.rs"]
mod optimum;
#[path = "plans/properties.rs"]
mod properties;
#[path = "plans/reasons.rs"]
mod reasons;
#[path = "plans/recovering.rs"]
mod recovering;
#[path = "plans/settling.rs"]
mod settling;
#[path = "plans/validity.rs"]
mod validity;
