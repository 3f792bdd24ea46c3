//! How long to wait before the next session.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Pauses that double, up to a longest one. Each is shortened by up to a half, by chance, so that the clients of a server
/// that comes back do not all come at once.
#[derive(Debug)]
pub(super) struct Pauses {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Pauses {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first.min(longest) }
    }

    /// A session was well: the next pause is the first again.
    pub(super) fn reset(&mut self) {
        self.next = self.first.min(self.longest);
    }

    pub(super) fn next(&mut self) -> Duration {
        // The seeds of the standard library's hashes are random.
        let chance = u32::try_from(RandomState::new().hash_one(()) % 1000).unwrap_or_default();
        // From a half of it, in thousandths of the other half.
        let pause = self.next / 2 + self.next * (1000 - chance) / 2000;
        self.next = (self.next * 2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_good_session() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut pauses = Pauses::new(first, longest);
        for most in [100, 200, 400, 800, 1000, 1000] {
            let (pause, most) = (pauses.next(), Duration::from_millis(most));
            assert!(pause > most / 2 && pause <= most, "{pause:?} of {most:?}");
        }
        pauses.reset();
        assert!(pauses.next() <= first);
    }
}
