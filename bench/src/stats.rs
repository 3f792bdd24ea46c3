//! Medians, percentiles, and how they are written.

use std::time::Duration;

/// Durations or ratios that were measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    values: Vec<f64>,
}

impl Sample {
    /// Adds a time, in seconds.
    pub(crate) fn time(&mut self, time: Duration) {
        self.value(time.as_secs_f64());
    }

    pub(crate) fn value(&mut self, value: f64) {
        self.values.push(value);
    }

    /// The value that this share of all does not exceed; not a number if there is none.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of a list that fits into memory"
        )]
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub(crate) fn count(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn most(&self) -> f64 {
        self.at(1.0)
    }
}

/// Seconds as people read them.
pub(crate) fn seconds(value: f64) -> String {
    if value < 1.0 { milliseconds(value) } else { format!("{value:.2} s") }
}

/// Seconds as milliseconds.
pub(crate) fn milliseconds(value: f64) -> String {
    format!("{:.1} ms", value * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let mut sample = Sample::default();
        (1..=1000).rev().for_each(|value| sample.value(f64::from(value)));
        let found = [0.5, 0.99, 0.999, 1.0].map(|share| seconds(sample.at(share)));
        assert_eq!(found, ["500.00 s", "990.00 s", "999.00 s", "1000.00 s"]);
        assert!(Sample::default().median().is_nan());
    }
}
