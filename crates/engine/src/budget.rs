//! How often something that panics is begun again, and how soon. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// So many panics within [`WITHIN`] are too many.
pub(crate) const PANICS: usize = 5;
/// A panic counts for so long.
pub(crate) const WITHIN: Duration = Duration::from_secs(600);
/// The pause after the first panic; after each one more twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// What follows from a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is begun again after a pause.
    Again(Duration),
    /// It was begun again often enough.
    Spent,
}

/// The panics of one task that still count.
#[derive(Debug, Default)]
pub(crate) struct Panics(VecDeque<Instant>);

impl Panics {
    /// One more.
    pub(crate) fn note(&mut self, now: Instant) -> Verdict {
        self.0.retain(|at| now.saturating_duration_since(*at) < WITHIN);
        self.0.push_back(now);
        let many = self.0.len();
        if many >= PANICS {
            // More of them say nothing more.
            self.0.drain(..many - PANICS);
            return Verdict::Spent;
        }
        Verdict::Again(FIRST_PAUSE * (1 << (many - 1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fifth_panic_in_ten_minutes_is_one_too_many() {
        let (mut panics, start) = (Panics::default(), Instant::now());
        let verdicts: Vec<Verdict> = (0..6).map(|at| panics.note(start + Duration::from_secs(at * 100))).collect();
        let again = |seconds| Verdict::Again(Duration::from_secs(seconds));
        assert_eq!(verdicts, [again(2), again(4), again(8), again(16), Verdict::Spent, Verdict::Spent]);
        assert_eq!(panics.note(start + WITHIN * 3), again(2), "what is long ago is forgotten");
    }

    proptest! {
        /// It is spent just when five panics fall into ten minutes.
        #[test]
        fn it_is_spent_just_when_too_many_fall_into_its_time(gaps in prop::collection::vec(0_u64..400, 1..40)) {
            let (mut panics, start) = (Panics::default(), Instant::now());
            let mut times: Vec<Instant> = Vec::new();
            for gap in gaps {
                let now = times.last().copied().unwrap_or(start) + Duration::from_secs(gap);
                times.push(now);
                let within = times.iter().filter(|at| now.duration_since(**at) < WITHIN).count();
                prop_assert_eq!(panics.note(now) == Verdict::Spent, within >= PANICS);
            }
        }
    }
}
