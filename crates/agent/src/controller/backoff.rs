//! How long to wait between tries: longer each time, and never for as long as others that began to wait with us.

use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};

/// The pause after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const MOST: Duration = Duration::from_secs(60);

/// How often something has failed in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure: how long to wait now. Doubles up to a minute, and is shorter by a random part of up to a half.
    pub(super) fn next(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(6)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(1.0 - chance() / 2.0)
    }

    /// It works.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Whether it failed the last time.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

/// A number from 0 to 1.
fn chance() -> f64 {
    let mut byte = [0_u8; 1];
    // Without randomness the pause is only not spread.
    let _ = getrandom(&mut byte, GetRandomFlags::empty());
    f64::from(byte[0]) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        for whole in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let (pause, whole) = (backoff.next(), Duration::from_secs(whole));
            assert!(whole / 2 <= pause && pause <= whole, "{pause:?} of {whole:?}");
        }
        assert!(backoff.is_failing());
        backoff.reset();
        assert!(!backoff.is_failing() && backoff.next() <= FIRST);
    }
}
