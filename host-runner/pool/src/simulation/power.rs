//! What a machine draws, by how busy it is.

use serde::{Deserialize, Serialize};

/// Points that a curve may have; a measured one has eleven.
pub const POINTS_MAX: usize = 101;

/// Why points are no power curve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BadCurve {
    /// A line needs two ends.
    #[error("a power curve needs 2 to {POINTS_MAX} points, this one has {count}")]
    Count {
        /// The points that were given.
        count: usize,
    },
    /// A point is negative or no number.
    #[error("point {index} of the power curve is {watts} W; it must be 0 or more")]
    Watts {
        /// The point's place in the list, from 0.
        index: usize,
        /// What it says.
        watts: f64,
    },
}

/// Power by utilization: points at equal distances from 0 to 100 %, linear between them.
///
/// A machine that sleeps is not on its curve: it draws 0 W.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct PowerCurve {
    watts: Vec<f64>,
}

impl PowerCurve {
    /// A curve through `watts`, the first at 0 %, the last at 100 %, the others at equal distances between.
    pub fn new(watts: Vec<f64>) -> Result<Self, BadCurve> {
        if watts.len() < 2 || watts.len() > POINTS_MAX {
            return Err(BadCurve::Count { count: watts.len() });
        }
        if let Some((index, &bad)) = watts
            .iter()
            .enumerate()
            .find(|(_, watts)| !watts.is_finite() || **watts < 0.0)
        {
            return Err(BadCurve::Watts { index, watts: bad });
        }
        Ok(Self { watts })
    }

    /// What is drawn at `utilization`, in W. Below 0 (and NaN) counts as 0, above 1 as 1.
    pub fn watts(&self, utilization: f64) -> f64 {
        let last = self.watts.len().saturating_sub(1);
        #[expect(clippy::cast_precision_loss, reason = "at most 101 points")]
        let along = if utilization.is_nan() {
            0.0
        } else {
            utilization.clamp(0.0, 1.0) * last as f64
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 ..= 100"
        )]
        let below = along as usize;
        let from = self.watts.get(below).copied().unwrap_or_default();
        let Some(to) = self.watts.get(below + 1) else {
            return from;
        };
        from + (to - from) * along.fract()
    }

    /// What is drawn at 100 %, in W.
    pub fn full_watts(&self) -> f64 {
        self.watts(1.0)
    }
}

impl TryFrom<Vec<f64>> for PowerCurve {
    type Error = BadCurve;
    fn try_from(watts: Vec<f64>) -> Result<Self, BadCurve> {
        Self::new(watts)
    }
}

impl From<PowerCurve> for Vec<f64> {
    fn from(curve: PowerCurve) -> Self {
        curve.watts
    }
}
