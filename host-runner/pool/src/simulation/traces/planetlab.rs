//! The PlanetLab CPU format: one file per instance, one whole percentage per line, one line every 300 s.

use super::{SAMPLES_MAX, Trace, TraceError, quoted};
use crate::simulation::time::Millis;

/// The time between two lines.
pub const PLANETLAB_STEP: Millis = Millis::from_seconds(300);

/// Reads one instance's file. `file` is the name that errors carry.
///
/// Every line must be a whole number from 0 to 100; empty lines may stand at the end alone.
pub fn read_planetlab(file: &str, text: &str) -> Result<Trace, TraceError> {
    let mut values = Vec::new();
    for (index, line) in text.trim_end().lines().enumerate() {
        if index == SAMPLES_MAX {
            return Err(TraceError::TooLong {
                file: file.into(),
                line: index + 1,
            });
        }
        match line.trim().parse::<u8>() {
            Ok(percent @ 0..=100) => values.push(f64::from(percent) / 100.0),
            Ok(_) | Err(_) => {
                return Err(TraceError::Value {
                    file: file.into(),
                    line: index + 1,
                    field: "CPU use",
                    wanted: "a whole percentage from 0 to 100",
                    found: quoted(line),
                });
            }
        }
    }
    if values.is_empty() {
        return Err(TraceError::Empty { file: file.into() });
    }
    Ok(Trace::even(PLANETLAB_STEP, values))
}
