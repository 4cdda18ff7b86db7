//! How fast and how well the pool decides: each figure a line `bench NAME VALUE UNIT`. Pure code, one core, nothing to start.
//!
//! Run in release mode: `make bench SUITE=pool`. The traces are no part of the product: `PLANETLAB=DIR` says where they are.

mod placing;
mod plans;
#[path = "../../../host-runner/pool/benches/synthetic/mod.rs"]
mod synthetic;
mod traces;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    placing::run()?;
    plans::run()?;
    traces::run()
}
