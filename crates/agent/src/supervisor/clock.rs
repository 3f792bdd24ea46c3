//! Time as the agent had it.
//!
//! A process that was stopped, or starved by others, learns nothing meanwhile, and owes nothing for it: what was asked of
//! it at one end of such a gap has waited for the host, not for a loop that is stuck. So ages and dwell times are counted by
//! a clock that runs only while the supervisor gets its turns.

use std::time::{Duration, Instant};

use crate::health::Slot;

/// A turn that comes this many periods late was not the agent's.
const TOLERANCE: u32 = 3;

/// The clock.
#[derive(Debug)]
pub(super) struct Clock {
    last: Instant,
    had: Duration,
    period: Duration,
}

impl Clock {
    pub(super) fn new(now: Instant, period: Duration) -> Self {
        Self { last: now, had: Duration::ZERO, period }
    }

    /// One more turn, which should have come a period after the last one. Of a gap only a period counts.
    pub(super) fn turn(&mut self, now: Instant) -> Slot {
        let passed = now.saturating_duration_since(self.last);
        self.last = now;
        if passed > self.period * TOLERANCE {
            self.had += self.period;
            return Slot::Void;
        }
        self.had += passed;
        Slot::Fair(passed)
    }

    /// How much time the agent has had since it was started.
    pub(super) fn had(&self) -> Duration {
        self.had
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(2);

    #[test]
    fn time_in_which_the_agent_was_stopped_does_not_count() {
        let start = Instant::now();
        let mut clock = Clock::new(start, PERIOD);
        assert_eq!(clock.turn(start + PERIOD), Slot::Fair(PERIOD));
        assert_eq!(clock.turn(start + PERIOD + Duration::from_secs(30)), Slot::Void);
        assert_eq!(clock.had(), PERIOD * 2);
        assert_eq!(clock.turn(start + PERIOD * 2 + Duration::from_secs(30)), Slot::Fair(PERIOD));
        assert_eq!(clock.had(), PERIOD * 3);
    }
}
