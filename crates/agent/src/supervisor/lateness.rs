//! How long each loop and thread has been at the same work, by the agent's own [clock](super::clock). Pure.

use std::collections::BTreeMap;
use std::time::Duration;

/// What would help a loop that is late.
///
/// No task is aborted and begun anew for being late. Loops that may begin at any time (relists, the listeners of Docker) wait
/// only with a limit of their own and begin anew after a panic; the others own the only end of a queue, or a lab's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mend {
    /// A new process: it is stuck in itself.
    Restart,
    /// Nothing that is done here: it waits for the kernel, a disk or a daemon, which this capability suffers from.
    Wait(&'static str),
}

/// A loop or thread, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loop {
    /// Its name.
    pub(super) name: String,
    /// Which work is its oldest, if it has any: another number means that it gets on.
    pub(super) at: Option<u64>,
    /// What would help if it is late.
    pub(super) mend: Mend,
    /// How old its oldest work may be.
    pub(super) limit: Duration,
    /// The threads that work for it; empty: those of the main runtime.
    pub(super) threads: Vec<i32>,
}

/// A loop that is late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lagging {
    /// Which one.
    pub(super) of: Loop,
    /// How long it has been at the same work.
    pub(super) age: Duration,
}

/// Since when each loop is at the work that it is at.
#[derive(Debug, Default)]
pub(super) struct Lateness {
    seen: BTreeMap<String, (u64, Duration)>,
}

impl Lateness {
    /// Looks at all loops; `had` is the agent's clock. Gives those that are late.
    pub(super) fn look(&mut self, loops: Vec<Loop>, had: Duration) -> Vec<Lagging> {
        let mut seen = BTreeMap::new();
        let mut late = Vec::new();
        for of in loops {
            let Some(at) = of.at else { continue };
            let since = match self.seen.get(&of.name) {
                Some((before, since)) if *before == at => *since,
                _ => had,
            };
            seen.insert(of.name.clone(), (at, since));
            let age = had.saturating_sub(since);
            if age > of.limit {
                late.push(Lagging { of, age });
            }
        }
        self.seen = seen;
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(at: Option<u64>) -> Vec<Loop> {
        vec![Loop { name: "x".into(), at, mend: Mend::Restart, limit: seconds(10), threads: Vec::new() }]
    }

    #[test]
    fn a_loop_is_late_when_it_stays_at_the_same_work() {
        let mut lateness = Lateness::default();
        assert!(lateness.look(at(Some(1)), seconds(0)).is_empty());
        assert!(lateness.look(at(Some(1)), seconds(10)).is_empty());
        assert_eq!(lateness.look(at(Some(1)), seconds(12))[0].age, seconds(12));
        assert!(lateness.look(at(Some(2)), seconds(14)).is_empty(), "it got on");
        assert!(lateness.look(at(Some(2)), seconds(24)).is_empty());
        assert_eq!(lateness.look(at(Some(2)), seconds(26)).len(), 1);
    }

    #[test]
    fn a_loop_without_work_is_never_late() {
        let mut lateness = Lateness::default();
        for turn in 0..100 {
            assert!(lateness.look(at(None), seconds(turn)).is_empty());
        }
        lateness.look(at(Some(1)), seconds(100));
        lateness.look(at(None), seconds(105));
        assert!(lateness.look(at(Some(1)), seconds(120)).is_empty(), "what was done meanwhile is forgotten");
    }
}
