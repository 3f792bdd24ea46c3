//! Which scenario passes which points, and the cases that are run every time.
//!
//! What is not in the table cannot be, for lack of what the point is about: no node is made by a cut of a cable, nothing
//! is stored by an agent that only stops. Each scenario leads to the same points every time, whatever falls together.

use netloom_failpoint::ALL;

use crate::case::{Case, Event, Random, Scenario};
use Scenario::{Adopt, Change, Deploy, Destroy, Halt, Link, Mend, Recover, Repin, Restart, Stop, Undo, Wake};

/// Each point with the scenarios that pass it.
const PASSED: &[(&str, &[Scenario])] = &[
    ("agent.start.socket-made", &[Deploy, Repin, Recover, Mend, Undo]),
    ("agent.stop.socket-removed", &[Stop]),
    ("agent.start.token-written", &[Deploy]),
    ("agent.start.probed", &[Deploy, Repin, Recover, Mend, Undo]),
    ("agent.start.ready", &[Deploy, Repin, Recover, Mend, Undo]),
    ("agent.stop.begun", &[Stop]),
    ("agent.stop.done", &[Stop]),
    ("agent.start.listening", &[Deploy, Repin, Recover, Mend, Undo]),
    ("agent.start.composed", &[Deploy, Repin, Recover, Mend, Undo]),
    ("agent.start.engine-started", &[Deploy, Repin, Recover, Mend, Undo]),
    ("agent.stop.drained", &[Stop]),
    ("store.before-commit", &[Deploy, Change, Link, Restart, Halt, Wake, Destroy, Adopt, Recover, Mend, Undo]),
    ("store.after-commit", &[Deploy, Change, Link, Restart, Halt, Wake, Destroy, Adopt, Recover, Mend, Undo]),
    ("store.file-made", &[Deploy, Repin, Recover, Mend, Undo]),
    ("store.schema-made", &[Deploy]),
    ("operation.before-store", &[Deploy, Change, Link, Restart, Halt, Wake]),
    ("operation.stored", &[Deploy, Change, Link, Restart, Halt, Wake]),
    ("operation.destroy.before-store", &[Destroy]),
    ("operation.destroy.stored", &[Destroy]),
    ("operation.adopt.before-store", &[Adopt]),
    ("operation.adopt.stored", &[Adopt]),
    ("operation.adopt.concluded", &[Adopt]),
    ("operation.accepted", &[Deploy, Change, Link, Restart, Halt, Wake, Destroy]),
    ("operation.executing", &[Deploy, Change, Link, Restart, Halt, Wake, Destroy, Recover, Mend, Undo]),
    ("operation.step-done", &[Deploy, Change, Link, Restart, Halt, Wake, Destroy, Recover, Mend, Undo]),
    ("operation.concluded", &[Deploy, Change, Link, Restart, Halt, Wake]),
    ("operation.destroy.concluded", &[Destroy, Undo]),
    ("operation.destroy.forgotten", &[Destroy, Undo]),
    ("exec.before", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("exec.ran", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("exec.recorded", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("node.create.directory-made", &[Deploy, Change, Recover]),
    ("node.create.recorded", &[Deploy, Change, Recover]),
    ("node.create.layer-emptied", &[Deploy, Change, Recover]),
    ("node.create.layer-made", &[Deploy, Change, Recover]),
    ("node.create.pinned", &[Deploy, Change, Recover]),
    ("node.create.linked", &[Deploy, Change, Recover]),
    ("node.create.done", &[Deploy, Change, Recover]),
    ("node.start.recorded", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("node.start.prepared", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("node.update.limited", &[Change]),
    ("node.update.recorded", &[Change]),
    ("node.stop.recorded", &[Change, Restart, Halt]),
    ("node.delete.unlinked", &[Change, Destroy, Undo]),
    ("node.delete.unpinned", &[Change, Destroy, Undo]),
    ("node.delete.group-removed", &[Change, Destroy, Undo]),
    ("node.delete.layer-removed", &[Change, Destroy, Undo]),
    ("node.delete.record-removed", &[Change, Destroy, Undo]),
    ("node.delete.done", &[Change, Destroy, Undo]),
    ("node.start.spawned", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("node.start.answered", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("node.start.done", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("node.stop.asked", &[Change, Restart, Halt]),
    ("node.stop.ended", &[Change, Restart, Halt]),
    ("node.delete.killed", &[Change, Destroy, Undo]),
    ("node.delete.ended", &[Change, Destroy, Undo]),
    ("node.mend.linked", &[Repin]),
    ("record.opened", &[Deploy, Change, Restart, Halt, Wake, Recover]),
    ("record.written", &[Deploy, Change, Restart, Halt, Wake, Recover]),
    ("names.directory-made", &[Deploy, Change, Recover]),
    ("names.opened", &[Deploy, Change, Recover]),
    ("names.written", &[Deploy, Change, Recover]),
    ("names.removed", &[Destroy, Undo]),
    ("names.forgotten", &[Destroy, Undo]),
    ("netns.watched", &[Deploy, Change, Link, Restart, Halt, Wake, Destroy, Repin, Recover, Mend, Undo]),
    ("netns.made", &[Deploy, Change, Recover]),
    ("netns.settled", &[Deploy, Change, Recover]),
    ("netns.file-made", &[Deploy, Change, Recover]),
    ("netns.pinned", &[Deploy, Change, Recover]),
    ("netns.pin.file-there", &[Repin]),
    ("netns.pin.pinned", &[Repin]),
    ("netns.unmounted", &[Change, Destroy, Undo]),
    ("netns.directory-mounted", &[Deploy]),
    ("spawn.before", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("spawn.after", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("cgroup.limited", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("cgroup.group-removed", &[Change, Destroy, Undo]),
    ("cgroup.parent-removed", &[Destroy, Undo]),
    ("cgroup.others-moved", &[Destroy]),
    ("cgroup.directory-made", &[Deploy, Change, Recover]),
    ("cgroup.before-write", &[Deploy, Change, Restart, Wake, Recover, Mend]),
    ("link.before-update", &[Change]),
    ("link.updated", &[Change]),
    ("link.before-switch", &[Change, Link, Restart, Halt, Wake]),
    ("link.switched", &[Change, Link, Restart, Halt, Wake]),
    ("link.created", &[Deploy, Change, Recover, Mend]),
    ("link.way-freed", &[Mend]),
    ("link.finished", &[Deploy, Change, Recover, Mend]),
    ("link.before-remembered", &[Change]),
    ("link.remembered", &[Change]),
    ("link.before-delete", &[Change, Destroy, Undo]),
    ("link.deleted", &[Change, Destroy, Undo]),
    ("link.doomed", &[Change, Destroy, Undo]),
    ("link.group-deleted", &[Change, Destroy, Undo]),
    ("links.before-batch", &[Deploy, Change, Link, Restart, Halt, Wake, Destroy, Recover, Mend, Undo]),
    ("links.after-batch", &[Deploy, Change, Link, Restart, Halt, Wake, Destroy, Recover, Mend, Undo]),
    ("links.datagram", &[Deploy, Change, Link, Restart, Halt, Wake, Destroy, Recover, Mend, Undo]),
    ("bridge.created", &[Deploy, Change, Recover]),
    ("bridge.finished", &[Deploy, Change, Recover]),
    ("bridge.removed", &[Change, Destroy, Undo]),
    ("bridge.before-ensure", &[Deploy, Change, Recover]),
    ("bridge.before-release", &[Change, Destroy, Undo]),
    ("bridge.let-go", &[Change, Destroy, Undo]),
];

/// The points that a scenario passes.
pub(crate) fn passed_in(scenario: Scenario) -> impl Iterator<Item = &'static str> {
    PASSED.iter().filter(move |(_, scenarios)| scenarios.contains(&scenario)).map(|(name, _)| *name)
}

/// The pairs of scenario and point that cannot be: what is never passed there.
pub(crate) fn impossible() -> Vec<(Scenario, &'static str)> {
    let passes = |scenario, name: &str| passed_in(scenario).any(|passed| passed == name);
    let of = |scenario| ALL.iter().filter(move |name| !passes(scenario, name)).map(move |name| (scenario, *name));
    Scenario::ALL.into_iter().flat_map(of).collect()
}

/// Twenty cases of all kinds.
pub(crate) fn few(seed: u64) -> Vec<Case> {
    let points: [(Scenario, &str, usize); 15] = [
        (Deploy, "store.schema-made", 1),
        (Deploy, "store.after-commit", 1),
        (Halt, "link.switched", 1),
        (Deploy, "node.create.recorded", 3),
        (Deploy, "spawn.after", 2),
        (Deploy, "bridge.created", 1),
        (Change, "operation.before-store", 1),
        (Change, "operation.stored", 1),
        (Change, "link.group-deleted", 1),
        (Restart, "node.stop.asked", 1),
        (Change, "link.finished", 1),
        (Link, "operation.stored", 1),
        (Destroy, "netns.unmounted", 2),
        (Recover, "node.start.spawned", 2),
        (Mend, "link.way-freed", 1),
    ];
    let mut random = Random::new(seed);
    let point = |(scenario, name, passage): (Scenario, &str, usize)| Case {
        scenario,
        event: Event::Point { name: name.to_owned(), passage },
        seed,
    };
    let mut cases: Vec<Case> = points.map(point).into();
    for scenario in [Change, Undo] {
        cases.push(Case { scenario, event: Event::Moment { after: random.below(300_000) }, seed });
    }
    cases.push(Case { scenario: Change, event: Event::Node { after: random.below(300_000) }, seed });
    cases.push(Case { scenario: Stop, event: Event::Nothing, seed });
    cases.push(Case { scenario: Stop, event: Event::Upgrade, seed });
    cases
}
