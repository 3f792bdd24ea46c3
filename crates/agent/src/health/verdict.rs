//! When a capability counts as degraded, as down, and as well again. Pure: looks go in, a standing comes out.
//!
//! One bad look is no verdict, and one good look is no recovery: daemons stumble, and a verdict that flaps is worse than
//! one that comes two seconds later. Time is counted as the agent had it: while the agent itself was stopped or starved
//! nothing is learned of others, so [`Slot`] says how much of the time between two looks counts.
//!
//! ```text
//!             2 of 3 looks bad               bad for 30 s, or hopeless
//!   ok ───────────────────────────▶ degraded ──────────────────────────▶ down
//!    ▲                                  │                                  │
//!    └──── 3 good looks in a row, the last bad one 10 s ago ───────────────┘
//! ```
//!
//! What runs short is counted, not guessed: it is degraded by the first look that says so, never down for it, and well by
//! the first that does not.

use std::time::{Duration, SystemTime};

use crate::wire::{Capability, Ready};

/// How many of the last [`WINDOW`] looks must be bad before it counts.
const BAD: u32 = 2;
/// How many looks are kept in mind.
const WINDOW: u32 = 3;
/// How many good looks in a row it takes to be well again.
const GOOD: u32 = 3;

/// How long things take to be believed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How long it must have been good to be well again: longer than a daemon that stumbles is well in between.
    calm: Duration,
    /// For how long it may be bad before it counts as down.
    dwell: Duration,
}

impl Patience {
    /// For an agent whose loops may be this late: 10 s and 30 s with the usual 10 s.
    pub(crate) fn of(limit: Duration) -> Self {
        Self { calm: limit, dwell: limit * 3 }
    }
}

/// What one look shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// It works.
    Good,
    /// It works, and something of it runs short.
    Strained(String),
    /// It does not; what is known of it may be old.
    Bad(String),
    /// It does not, and nothing can be done with it meanwhile.
    Hopeless(String),
}

/// What a look is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// So much time has passed since the last look, and the agent had it.
    Fair(Duration),
    /// The agent itself was stopped or starved: it may not have heard what it was told.
    Void,
}

/// How a capability stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How well it works.
    pub(crate) status: Ready,
    /// Why it is not ok.
    pub(crate) reason: Option<String>,
    /// Since when it stands so.
    pub(crate) since: SystemTime,
    /// Whether it has worked since the start.
    worked: bool,
    /// The last looks, the newest in the lowest bit; set: bad.
    looks: u32,
    /// Good looks in a row.
    good: u32,
    /// How long it has been bad, until it is well again.
    bad_for: Duration,
    /// How long ago the last bad look was.
    calm: Duration,
}

impl Standing {
    /// Before anything was seen: it is down until a look is good.
    pub(crate) fn new(reason: &str, now: SystemTime) -> Self {
        Self {
            status: Ready::Down,
            reason: Some(reason.to_owned()),
            since: now,
            worked: false,
            looks: 0,
            good: 0,
            bad_for: Duration::ZERO,
            calm: Duration::ZERO,
        }
    }

    /// How it stands after one more look. What has never worked works with the first look that is not bad.
    pub(crate) fn after(&self, look: &Look, slot: Slot, now: SystemTime, patience: Patience) -> Self {
        let mut next = self.clone();
        let (bad, reason) = match look {
            Look::Good => (false, None),
            Look::Strained(reason) => (false, Some(reason)),
            Look::Bad(reason) | Look::Hopeless(reason) => (true, Some(reason)),
        };
        // How it stands when it is not ill.
        let well = if reason.is_none() { Ready::Ok } else { Ready::Degraded };
        if !self.worked {
            next.worked = !bad;
            return next.turn(if bad { Ready::Down } else { well }, reason, now);
        }
        let Slot::Fair(passed) = slot else { return next };
        next.looks = (next.looks << 1 | u32::from(bad)) & ((1 << WINDOW) - 1);
        next.good = if bad { 0 } else { next.good.saturating_add(1) };
        next.calm = if bad { Duration::ZERO } else { next.calm.saturating_add(passed) };
        match self.status {
            Ready::Ok if next.looks.count_ones() >= BAD => {
                next.bad_for = Duration::ZERO;
                next.turn(if matches!(look, Look::Hopeless(_)) { Ready::Down } else { Ready::Degraded }, reason, now)
            }
            Ready::Ok if !bad => {
                next.bad_for = Duration::ZERO;
                next.turn(well, reason, now)
            }
            Ready::Ok => next,
            Ready::Degraded | Ready::Down if next.good >= GOOD && next.calm >= patience.calm => {
                next.bad_for = Duration::ZERO;
                next.turn(well, reason, now)
            }
            Ready::Degraded | Ready::Down => {
                next.bad_for = next.bad_for.saturating_add(passed);
                let hopeless = bad && (matches!(look, Look::Hopeless(_)) || next.bad_for > patience.dwell);
                let status = if hopeless { Ready::Down } else { self.status };
                next.turn(status, reason.or(self.reason.as_ref()), now)
            }
        }
    }

    /// Whether it has worked since the start.
    pub(crate) fn has_worked(&self) -> bool {
        self.worked
    }

    /// The same, as readers see it.
    pub(crate) fn capability(&self, name: &str, last_good: Option<SystemTime>, queue: usize) -> Capability {
        let (status, reason, since) = (self.status, self.reason.clone(), self.since);
        Capability { name: name.to_owned(), status, reason, since, last_good, queue }
    }

    fn turn(mut self, status: Ready, reason: Option<&String>, now: SystemTime) -> Self {
        if self.status != status {
            self.since = now;
        }
        self.status = status;
        self.reason = reason.cloned();
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERIOD: Slot = Slot::Fair(Duration::from_secs(2));

    fn bad() -> Look {
        Look::Bad("no answer".into())
    }

    /// How it stands after each of these looks, which come at even intervals.
    fn run(looks: impl IntoIterator<Item = (Look, Slot)>) -> Vec<Ready> {
        let mut standing = Standing::new("it has not been looked at yet", SystemTime::UNIX_EPOCH);
        let look = |(look, slot): (Look, Slot)| {
            standing = standing.after(&look, slot, SystemTime::UNIX_EPOCH, Patience::of(Duration::from_secs(10)));
            assert_eq!(standing.status == Ready::Ok, standing.reason.is_none(), "what is not ok says why");
            standing.status
        };
        looks.into_iter().map(look).collect()
    }

    fn times(many: usize, look: Look) -> impl Iterator<Item = (Look, Slot)> {
        std::iter::repeat_n((look, PERIOD), many)
    }

    /// How often it stopped being ok, and how often it became ok again.
    fn turns(states: &[Ready]) -> (usize, usize) {
        let well = |pair: &[Ready]| (pair[0] == Ready::Ok, pair[1] == Ready::Ok);
        let left = states.windows(2).filter(|pair| well(pair) == (true, false)).count();
        let back = states.windows(2).filter(|pair| well(pair) == (false, true)).count();
        (left, back)
    }

    #[test]
    fn what_was_never_seen_to_work_is_down_and_works_with_the_first_good_look() {
        let states = run(times(3, bad()).chain(times(1, Look::Good)));
        assert_eq!(states, [Ready::Down, Ready::Down, Ready::Down, Ready::Ok]);
    }

    #[test]
    fn it_is_degraded_by_the_second_bad_look_and_down_after_half_a_minute() {
        let states = run(times(1, Look::Good).chain(times(20, bad())));
        assert_eq!(states[..3], [Ready::Ok, Ready::Ok, Ready::Degraded]);
        let down = states.iter().position(|state| *state == Ready::Down).unwrap();
        assert_eq!(down, 2 + 16, "30 s after it was degraded");
    }

    #[test]
    fn what_leaves_nothing_to_be_done_is_down_at_once() {
        let states = run(times(1, Look::Good).chain(times(2, Look::Hopeless("no space left".into()))));
        assert_eq!(states, [Ready::Ok, Ready::Ok, Ready::Down]);
    }

    #[test]
    fn what_runs_short_is_degraded_as_long_as_it_does_and_never_down_for_it() {
        let short = || Look::Strained("nine in ten are taken".into());
        let states = run(times(1, Look::Good).chain(times(100, short())).chain(times(1, Look::Good)));
        assert_eq!((states[0], states[101]), (Ready::Ok, Ready::Ok));
        assert!(states[1..101].iter().all(|state| *state == Ready::Degraded), "{states:?}");
        let from_the_start = run(times(9, short()).chain(times(1, Look::Good)));
        assert_eq!((from_the_start[0], from_the_start[9]), (Ready::Degraded, Ready::Ok));
        let stumbles = (0..40).flat_map(|_| times(1, bad()).chain(times(9, short())));
        let states = run(times(1, Look::Good).chain(times(1, short())).chain(stumbles));
        assert!(
            states.iter().all(|state| *state != Ready::Down),
            "one bad look now and then is no verdict: {states:?}"
        );
        let ill = run(times(1, Look::Good).chain(times(1, short())).chain(times(20, bad())).chain(times(9, short())));
        assert_eq!((ill[20], ill[30]), (Ready::Down, Ready::Degraded), "{ill:?}");
    }

    #[test]
    fn looks_of_an_agent_that_was_stopped_accuse_nobody() {
        let void = std::iter::repeat_n((bad(), Slot::Void), 100);
        let states = run(times(1, Look::Good).chain(void).chain(times(1, Look::Good)));
        assert!(states.iter().all(|state| *state == Ready::Ok), "{states:?}");
    }

    proptest! {
        /// Within a fault looks are bad and good in turns, but never good for as long as it takes to be well; outside
        /// of it one in eight stumbles.
        #[test]
        fn one_fault_gives_at_most_one_degrade_and_one_recover(
            before in 5_usize..50, fault in prop::collection::vec((1_usize..5, 0_usize..5), 1..20), after in 10_usize..60,
        ) {
            let stumbles = |many: usize| (0..many).map(|at| (if at % 8 == 3 { bad() } else { Look::Good }, PERIOD));
            let within = fault.iter().flat_map(|(ill, well)| times(*ill, bad()).chain(times(*well, Look::Good)));
            let states = run(stumbles(before).chain(within).chain(stumbles(after)));
            let (left, back) = turns(&states);
            prop_assert!(left <= 1 && back <= 1, "{left} {back} {states:?}");
            prop_assert_eq!(*states.last().unwrap(), Ready::Ok, "it is well in the end");
        }

        #[test]
        fn a_single_bad_look_now_and_then_is_no_verdict(gaps in prop::collection::vec(2_usize..9, 1..30)) {
            let looks = gaps.iter().flat_map(|gap| times(*gap, Look::Good).chain(times(1, bad())));
            let states = run(times(1, Look::Good).chain(looks));
            prop_assert_eq!(turns(&states), (0, 0));
        }
    }
}
