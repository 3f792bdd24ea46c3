//! The timers of one tunnel: what is said in it when, and what was heard last. Pure.

use std::time::{Duration, Instant};

/// A signal goes again after this (period 4 of the recommendation)…
const PERIOD: Duration = Duration::from_secs(1);
/// … and is taken for cleared when it was not heard for three and a half of these.
const LOST: Duration = Duration::from_millis(3500);
/// The first ones come faster, in case one is lost: so many, so far apart.
const FIRST: u8 = 3;
const FAST: Duration = Duration::from_millis(100);

/// One tunnel.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Whether what is behind this end is off.
    fails: bool,
    /// How many of the first ones have not gone yet.
    first: u8,
    /// When something is to be said next.
    say: Option<Instant>,
    /// Until when the far end counts as off, if it does.
    far: Option<Instant>,
}

impl Line {
    /// What is behind this end is off, or on.
    pub(super) fn signal(&mut self, fails: bool, now: Instant) {
        if self.fails != fails {
            *self = Self { fails, first: FIRST, say: Some(now), far: self.far };
        }
    }

    /// What is to be said now, if anything is: whether this end is off.
    pub(super) fn due(&mut self, now: Instant) -> Option<bool> {
        self.say.filter(|say| *say <= now)?;
        self.first = self.first.saturating_sub(1);
        self.say = match (self.first, self.fails) {
            (1.., _) => Some(now + FAST),
            (0, true) => Some(now + PERIOD),
            (0, false) => None,
        };
        Some(self.fails)
    }

    /// The far end says that it is off, or on; whether it did not say so before.
    pub(super) fn hear(&mut self, fails: bool, now: Instant) -> bool {
        let before = self.far.is_some();
        self.far = fails.then(|| now + LOST);
        before != fails
    }

    /// Whether the far end, which said that it is off, has not said so for too long.
    pub(super) fn expires(&mut self, now: Instant) -> bool {
        self.far.take_if(|far| *far <= now).is_some()
    }

    /// When there is something to do next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.say.into_iter().chain(self.far).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said from `start` on within a time, with the milliseconds at which it is.
    fn said(line: &mut Line, start: Instant, within: Duration) -> Vec<(u128, bool)> {
        let mut said = Vec::new();
        while let Some(next) = line.next().filter(|next| *next < start + within) {
            said.extend(line.due(next).map(|fails| ((next - start).as_millis(), fails)));
            line.expires(next);
        }
        said
    }

    #[test]
    fn an_end_that_is_off_is_said_thrice_at_once_and_then_each_second_and_its_return_thrice() {
        let (mut line, start) = (Line::default(), Instant::now());
        assert_eq!(line.next(), None);
        line.signal(false, start);
        assert_eq!(line.next(), None, "nothing is said of an end that was never off");
        line.signal(true, start);
        line.signal(true, start);
        let off = said(&mut line, start, Duration::from_millis(2500));
        assert_eq!(off, [0, 100, 200, 1200, 2200].map(|at| (at, true)));
        line.signal(false, start);
        assert_eq!(said(&mut line, start, Duration::from_secs(60)), [0, 100, 200].map(|at| (at, false)));
        assert_eq!(line.next(), None);
    }

    #[test]
    fn a_far_end_is_off_until_it_says_otherwise_or_nothing_for_too_long() {
        let (mut line, start) = (Line::default(), Instant::now());
        assert!(line.hear(true, start));
        assert!(!line.hear(true, start + PERIOD));
        assert!(!line.expires(start + LOST));
        assert!(line.hear(false, start + LOST));
        assert!(!line.hear(false, start + LOST));
        assert_eq!(line.next(), None);
        assert!(line.hear(true, start));
        assert!(line.expires(start + LOST));
        assert!(!line.expires(start + LOST));
        assert!(line.hear(true, start + LOST), "it is news again");
    }

    #[test]
    fn both_ends_may_be_off_at_once() {
        let (mut line, start) = (Line::default(), Instant::now());
        line.hear(true, start);
        line.signal(true, start);
        assert_eq!(said(&mut line, start, PERIOD).len(), 3);
        line.signal(false, start + PERIOD);
        assert!(line.expires(start + LOST), "what this end says changes nothing of the far one");
    }
}
