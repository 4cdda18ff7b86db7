//! Loads of many instances in one CSV file.
//!
//! ```csv
//! time_s,instance,cpu_percent
//! 0,web-1,12.5
//! 60,web-1,14
//! 0,db,80
//! ```
//!
//! The header is required. A line is one sample: seconds since the start, the instance's name, and how much of its CPU it
//! uses, 0 to 100. Each instance's times must ascend; instances may be mixed. Fields are not quoted, so a name holds no comma.

use std::collections::BTreeMap;

use super::{SAMPLES_MAX, Trace, TraceError, quoted};
use crate::simulation::time::Millis;

const HEADER: &str = "time_s,instance,cpu_percent";

/// Reads every instance's load, by the instances' names. `file` is the name that errors carry.
pub fn read_csv(file: &str, text: &str) -> Result<BTreeMap<String, Trace>, TraceError> {
    let mut lines = text.lines();
    let header = lines.next().unwrap_or_default().trim();
    if header != HEADER {
        return Err(TraceError::Header {
            file: file.into(),
            wanted: HEADER,
            found: quoted(header),
        });
    }
    let mut series: BTreeMap<String, Vec<(Millis, f64)>> = BTreeMap::new();
    for (index, text) in lines.enumerate() {
        if text.trim().is_empty() {
            continue;
        }
        // The header is line 1.
        let line = Line {
            file,
            number: index + 2,
        };
        let (instance, at, load) = line.read(text)?;
        let points = series.entry(instance.to_owned()).or_default();
        if points.last().is_some_and(|&(last, _)| at <= last) {
            return Err(TraceError::Backwards {
                file: file.into(),
                line: line.number,
                instance: quoted(instance),
            });
        }
        if points.len() == SAMPLES_MAX {
            return Err(TraceError::TooLong {
                file: file.into(),
                line: line.number,
            });
        }
        points.push((at, load));
    }
    if series.is_empty() {
        return Err(TraceError::Empty { file: file.into() });
    }
    Ok(series
        .into_iter()
        .map(|(name, points)| (name, Trace::timed(points)))
        .collect())
}

/// Where an error stands.
#[derive(Clone, Copy)]
struct Line<'a> {
    file: &'a str,
    number: usize,
}

impl Line<'_> {
    fn read(self, text: &str) -> Result<(&str, Millis, f64), TraceError> {
        let fields: Vec<&str> = text.split(',').map(str::trim).collect();
        let [time, instance, cpu] = fields.as_slice() else {
            return Err(TraceError::Fields {
                file: self.file.into(),
                line: self.number,
                found: fields.len(),
                wanted: 3,
            });
        };
        // 10^12 s are 31,000 years: beyond that a time is a mistake, and below it milliseconds are exact.
        let time_s = self.number(time, "time_s", 0.0..=1e12, "seconds, 0 or more")?;
        if instance.is_empty() {
            return Err(self.bad_value("instance", "a name", instance));
        }
        let percent = self.number(cpu, "cpu_percent", 0.0..=100.0, "a percentage from 0 to 100")?;
        Ok((*instance, Millis::rounded_from_seconds(time_s), percent / 100.0))
    }

    fn number(
        self,
        text: &str,
        field: &'static str,
        range: std::ops::RangeInclusive<f64>,
        wanted: &'static str,
    ) -> Result<f64, TraceError> {
        match text.parse::<f64>() {
            // NaN is in no range.
            Ok(value) if range.contains(&value) => Ok(value),
            Ok(_) | Err(_) => Err(self.bad_value(field, wanted, text)),
        }
    }

    fn bad_value(self, field: &'static str, wanted: &'static str, found: &str) -> TraceError {
        TraceError::Value {
            file: self.file.into(),
            line: self.number,
            field,
            wanted,
            found: quoted(found),
        }
    }
}
