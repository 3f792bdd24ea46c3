//! What was measured beside a floor, pair by pair.

use std::time::Duration;

use crate::stats::{Sample, seconds};
use crate::table::Line;

/// Pairs of runs, one right after the other.
#[derive(Default)]
pub(crate) struct Pairs {
    floor: Sample,
    netloom: Sample,
    ratio: Sample,
}

impl Pairs {
    pub(crate) fn add(&mut self, floor: Duration, netloom: Duration) {
        self.floor.time(floor);
        self.netloom.time(netloom);
        self.ratio.value(netloom.as_secs_f64() / floor.as_secs_f64());
    }

    /// The median of the ratios.
    pub(crate) fn ratio(&self) -> f64 {
        self.ratio.median()
    }

    /// The line of the pairs, with how many times what the floor takes is the most.
    pub(crate) fn line(&self, what: String, bar: f64) -> Line {
        let ratio = self.ratio();
        Line {
            what,
            floor: seconds(self.floor.median()),
            figure: seconds(self.netloom.median()),
            more: format!("× {ratio:.2} ({:.2} to {:.2})", self.ratio.at(0.0), self.ratio.most()),
            bar: Some((format!("≤ {bar} × floor"), ratio <= bar)),
        }
    }
}
