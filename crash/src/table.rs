//! Which scenario passes which points, and the cases that are run every time.
//!
//! What is not in the table cannot be, for lack of what the point is about: no node is made by a cut of a cable, nothing
//! is stored by an agent that only stops. Each scenario leads to the same points every time, whatever falls together, but for a
//! few that are named as such.

use netloom_failpoint::ALL;

use crate::case::Fault::{self, DiskFull, DockerHangs, DockerLate};
use crate::case::{Case, Event, Random};
use crate::scenario::{
    ADOPT, AROUND_DEPLOY, AROUND_DESTROY, CHANGE, DEPLOY, DESTROY, DOCKER_CHANGE, DOCKER_DEPLOY, DOCKER_DESTROY,
    DOCKER_RESTART, HALT, HOST_CUT, HOST_PROVISION, HOST_RECONFIGURE, HOST_RELEASE, HOST_REPLUG, INHERITED_ADOPT,
    INHERITED_DESTROY, LINK, MANY_CHANGE, MEND, MGMT_DEPLOY, MGMT_DESTROY, MGMT_REBRIDGE, OVS_CHANGE, OVS_DEPLOY,
    OVS_DESTROY, RECOVER, REPIN, RESTART, STOP, Scenario, UNDO, WAKE,
};

/// Scenarios that have something in common.
type Group = &'static [Scenario];

/// The first agent of a host starts.
const FIRST: Group = &[DEPLOY, DOCKER_DEPLOY, MGMT_DEPLOY, AROUND_DEPLOY, OVS_DEPLOY];
/// An agent starts.
const STARTS: Group = &[
    DEPLOY,
    REPIN,
    RECOVER,
    MEND,
    UNDO,
    DOCKER_DEPLOY,
    MGMT_DEPLOY,
    MGMT_REBRIDGE,
    AROUND_DEPLOY,
    OVS_DEPLOY,
    HOST_REPLUG,
    HOST_RECONFIGURE,
];
/// It goes on with what an earlier one had stored.
const RESUMES: Group = &[RECOVER, MEND, UNDO];
/// What is desired of a lab is changed.
const EDITS: Group = &[
    DEPLOY,
    CHANGE,
    LINK,
    RESTART,
    HALT,
    WAKE,
    DOCKER_DEPLOY,
    DOCKER_CHANGE,
    DOCKER_RESTART,
    MGMT_DEPLOY,
    AROUND_DEPLOY,
    OVS_DEPLOY,
    OVS_CHANGE,
];
/// A lab is not desired any more.
const DESTROYS: Group = &[DESTROY, DOCKER_DESTROY, MGMT_DESTROY, AROUND_DESTROY, OVS_DESTROY, INHERITED_DESTROY];
/// Nodes in namespaces are made,
const NODES_MADE: Group = &[DEPLOY, CHANGE, RECOVER, OVS_DEPLOY, OVS_CHANGE];
/// started,
const NODES_STARTED: Group = &[DEPLOY, CHANGE, RESTART, WAKE, RECOVER, MEND, OVS_DEPLOY, OVS_CHANGE];
/// stopped,
const NODES_STOPPED: Group = &[CHANGE, RESTART, HALT, OVS_CHANGE];
/// removed.
const NODES_REMOVED: Group = &[CHANGE, DESTROY, UNDO, OVS_CHANGE, OVS_DESTROY];
/// Containers are made,
const CONTAINERS_MADE: Group = &[DOCKER_DEPLOY, DOCKER_CHANGE, MGMT_DEPLOY, AROUND_DEPLOY];
/// started,
const CONTAINERS_STARTED: Group = &[DOCKER_DEPLOY, DOCKER_CHANGE, DOCKER_RESTART, MGMT_DEPLOY, AROUND_DEPLOY];
/// removed.
const CONTAINERS_REMOVED: Group = &[DOCKER_CHANGE, DOCKER_DESTROY, MGMT_DESTROY, AROUND_DESTROY, INHERITED_DESTROY];
/// Bridges of the kernel are made,
const BRIDGES_MADE: Group = &[DEPLOY, CHANGE, RECOVER, MGMT_REBRIDGE];
/// removed.
const BRIDGES_REMOVED: Group = &[CHANGE, DESTROY, UNDO];
/// Links on a switch are made,
const PLUGGED: Group = &[OVS_DEPLOY, OVS_CHANGE];
/// removed.
const UNPLUGGED: Group = &[OVS_CHANGE, OVS_DESTROY];
/// What runs and the store does not know is wanted again.
const ADOPTS: Group = &[ADOPT, INHERITED_ADOPT];
/// A controller asks for an interface of the host,
const ASKED: Group = &[HOST_PROVISION, HOST_RELEASE, HOST_CUT];
/// or an agent that starts has it as it is wanted.
const UPLINKS: Group = &[HOST_REPLUG, HOST_RECONFIGURE];
/// A management network is made.
const NETWORKS_MADE: Group = &[MGMT_DEPLOY, MGMT_REBRIDGE];

/// What another agent has left is taken over, or goes.
const INHERITED: Group = &[INHERITED_ADOPT, INHERITED_DESTROY];
/// Beside edits and starts links change in these.
const OTHERS_WIRED: Group = &[DESTROY, OVS_DESTROY, MGMT_REBRIDGE, MGMT_DESTROY, AROUND_DESTROY];
/// Requests go to the kernel in batches.
const BATCHES: &[Group] = &[EDITS, RESUMES, OTHERS_WIRED, ASKED, UPLINKS, INHERITED];

/// Each point with the scenarios that pass it.
const PASSED: &[(&str, &[Group])] = &[
    ("agent.start.socket-made", &[STARTS]),
    ("agent.stop.socket-removed", &[&[STOP]]),
    ("agent.start.token-written", &[FIRST]),
    ("agent.start.probed", &[STARTS]),
    ("agent.start.ready", &[STARTS]),
    ("agent.stop.begun", &[&[STOP]]),
    ("agent.stop.done", &[&[STOP]]),
    ("agent.start.listening", &[STARTS]),
    ("agent.start.composed", &[STARTS]),
    ("agent.start.engine-started", &[STARTS]),
    ("agent.stop.drained", &[&[STOP]]),
    ("store.before-commit", &[EDITS, DESTROYS, RESUMES, ADOPTS, ASKED, UPLINKS]),
    ("store.after-commit", &[EDITS, DESTROYS, RESUMES, ADOPTS, ASKED, UPLINKS]),
    ("store.file-made", &[STARTS]),
    ("store.schema-made", &[FIRST]),
    ("operation.before-store", &[EDITS]),
    ("operation.stored", &[EDITS]),
    ("operation.destroy.before-store", &[DESTROYS]),
    ("operation.destroy.stored", &[DESTROYS]),
    ("operation.adopt.before-store", &[ADOPTS]),
    ("operation.adopt.stored", &[ADOPTS]),
    ("operation.adopt.concluded", &[ADOPTS]),
    ("operation.accepted", &[EDITS, DESTROYS]),
    ("operation.executing", &[EDITS, DESTROYS, RESUMES, &[MGMT_REBRIDGE]]),
    ("operation.step-done", &[EDITS, DESTROYS, RESUMES, &[MGMT_REBRIDGE]]),
    ("operation.concluded", &[EDITS]),
    ("operation.destroy.concluded", &[DESTROYS, &[UNDO]]),
    ("operation.destroy.forgotten", &[DESTROYS, &[UNDO]]),
    ("exec.before", &[NODES_STARTED, &[DOCKER_DEPLOY, MGMT_DEPLOY, AROUND_DEPLOY]]),
    ("exec.ran", &[NODES_STARTED, &[DOCKER_DEPLOY, MGMT_DEPLOY, AROUND_DEPLOY]]),
    ("exec.recorded", &[NODES_STARTED, &[DOCKER_DEPLOY, MGMT_DEPLOY, AROUND_DEPLOY]]),
    ("node.create.directory-made", &[NODES_MADE]),
    ("node.create.recorded", &[NODES_MADE]),
    ("node.create.layer-emptied", &[NODES_MADE]),
    ("node.create.layer-made", &[NODES_MADE]),
    ("node.create.pinned", &[NODES_MADE]),
    ("node.create.linked", &[NODES_MADE]),
    ("node.create.done", &[NODES_MADE]),
    ("node.start.recorded", &[NODES_STARTED]),
    ("node.start.prepared", &[NODES_STARTED]),
    ("node.update.limited", &[&[CHANGE, OVS_CHANGE]]),
    ("node.update.recorded", &[&[CHANGE, OVS_CHANGE]]),
    ("node.stop.recorded", &[NODES_STOPPED]),
    ("node.delete.unlinked", &[NODES_REMOVED]),
    ("node.delete.unpinned", &[NODES_REMOVED]),
    ("node.delete.group-removed", &[NODES_REMOVED]),
    ("node.delete.layer-removed", &[NODES_REMOVED]),
    ("node.delete.record-removed", &[NODES_REMOVED]),
    ("node.delete.done", &[NODES_REMOVED]),
    ("node.start.spawned", &[NODES_STARTED]),
    ("node.start.answered", &[NODES_STARTED]),
    ("node.start.done", &[NODES_STARTED]),
    ("node.stop.asked", &[NODES_STOPPED]),
    ("node.stop.ended", &[NODES_STOPPED]),
    ("node.delete.killed", &[NODES_REMOVED]),
    ("node.delete.ended", &[NODES_REMOVED]),
    ("node.mend.linked", &[&[REPIN]]),
    ("record.opened", &[PLUGGED, &[DEPLOY, CHANGE, RESTART, HALT, WAKE, RECOVER]]),
    ("record.written", &[PLUGGED, &[DEPLOY, CHANGE, RESTART, HALT, WAKE, RECOVER]]),
    ("names.directory-made", &[NODES_MADE, CONTAINERS_MADE]),
    ("names.opened", &[NODES_MADE, CONTAINERS_MADE]),
    ("names.written", &[NODES_MADE, CONTAINERS_MADE]),
    ("names.removed", &[DESTROYS, &[UNDO]]),
    ("names.forgotten", &[DESTROYS, &[UNDO]]),
    ("netns.watched", &[EDITS, RESUMES, OTHERS_WIRED, &[REPIN], UPLINKS, INHERITED]),
    ("netns.made", &[NODES_MADE, &[DOCKER_DEPLOY]]),
    ("netns.settled", &[NODES_MADE, &[DOCKER_DEPLOY]]),
    ("netns.file-made", &[NODES_MADE, &[DOCKER_DEPLOY]]),
    ("netns.pinned", &[NODES_MADE, &[DOCKER_DEPLOY]]),
    ("netns.pin.file-there", &[CONTAINERS_STARTED, &[REPIN], &[INHERITED_ADOPT]]),
    ("netns.pin.pinned", &[CONTAINERS_STARTED, &[REPIN], &[INHERITED_ADOPT]]),
    ("netns.unmounted", &[NODES_REMOVED, CONTAINERS_REMOVED]),
    ("netns.directory-mounted", &[FIRST]),
    ("spawn.before", &[NODES_STARTED, &[DOCKER_DEPLOY, MGMT_DEPLOY, AROUND_DEPLOY]]),
    ("spawn.after", &[NODES_STARTED, &[DOCKER_DEPLOY, MGMT_DEPLOY, AROUND_DEPLOY]]),
    ("cgroup.limited", &[NODES_STARTED]),
    ("cgroup.group-removed", &[NODES_REMOVED]),
    ("cgroup.parent-removed", &[&[DESTROY, OVS_DESTROY, UNDO]]),
    ("cgroup.others-moved", &[&[DESTROY, OVS_DESTROY]]),
    ("cgroup.directory-made", &[NODES_MADE]),
    ("cgroup.before-write", &[NODES_STARTED]),
    ("link.before-update", &[&[CHANGE, OVS_CHANGE]]),
    ("link.updated", &[&[CHANGE, OVS_CHANGE]]),
    ("link.before-switch", &[&[CHANGE, OVS_CHANGE, LINK, RESTART, HALT, WAKE, DOCKER_RESTART]]),
    ("link.switched", &[&[CHANGE, OVS_CHANGE, LINK, RESTART, HALT, WAKE, DOCKER_RESTART]]),
    ("link.created", &[NODES_MADE, CONTAINERS_MADE, &[MEND, MGMT_REBRIDGE]]),
    ("link.way-freed", &[&[MEND, MGMT_REBRIDGE, AROUND_DEPLOY]]),
    ("link.finished", &[NODES_MADE, CONTAINERS_MADE, &[MEND, MGMT_REBRIDGE]]),
    ("link.before-remembered", &[&[CHANGE]]),
    ("link.remembered", &[&[CHANGE]]),
    ("link.before-delete", &[NODES_REMOVED, &[DOCKER_CHANGE, MGMT_DESTROY, AROUND_DESTROY], &[INHERITED_DESTROY]]),
    ("link.deleted", &[NODES_REMOVED, &[DOCKER_CHANGE, MGMT_DESTROY, AROUND_DESTROY], &[INHERITED_DESTROY]]),
    ("link.doomed", &[NODES_REMOVED, &[MGMT_DESTROY, MANY_CHANGE], &[INHERITED_DESTROY]]),
    ("link.group-deleted", &[NODES_REMOVED, &[MGMT_DESTROY, MANY_CHANGE], &[INHERITED_DESTROY]]),
    ("tags.claimed", &[PLUGGED]),
    ("tags.noted", &[PLUGGED]),
    ("tags.released", &[UNPLUGGED, &[INHERITED_DESTROY]]),
    ("link.before-plug", &[PLUGGED, &[INHERITED_ADOPT]]),
    ("link.unplugged", &[UNPLUGGED, &[INHERITED_DESTROY]]),
    ("ports.before-commit", &[PLUGGED, UNPLUGGED, INHERITED]),
    ("ports.committed", &[PLUGGED, UNPLUGGED, INHERITED]),
    ("ports.taken", &[PLUGGED, UNPLUGGED, INHERITED]),
    ("switch.bridge-made", &[PLUGGED]),
    ("switch.bridge-removed", &[UNPLUGGED]),
    ("links.before-batch", BATCHES),
    ("links.after-batch", BATCHES),
    ("links.datagram", BATCHES),
    ("bridge.created", &[BRIDGES_MADE]),
    ("bridge.finished", &[BRIDGES_MADE]),
    ("bridge.removed", &[BRIDGES_REMOVED]),
    ("bridge.before-ensure", &[NODES_MADE]),
    ("bridge.before-release", &[NODES_REMOVED]),
    ("bridge.let-go", &[NODES_REMOVED]),
    ("container.attached", &[CONTAINERS_STARTED, &[MGMT_REBRIDGE], &[INHERITED_ADOPT]]),
    ("container.created", &[CONTAINERS_MADE]),
    ("container.record.opened", &[&[DOCKER_CHANGE, DOCKER_RESTART], &[INHERITED_ADOPT]]),
    ("container.record.written", &[&[DOCKER_CHANGE, DOCKER_RESTART], &[INHERITED_ADOPT]]),
    ("container.removed", &[CONTAINERS_REMOVED]),
    ("container.reserve.noted", &[&[DOCKER_DEPLOY]]),
    ("container.start.recorded", &[CONTAINERS_STARTED]),
    ("container.started", &[CONTAINERS_STARTED]),
    ("container.stop.recorded", &[&[DOCKER_RESTART]]),
    ("container.unlinked", &[CONTAINERS_REMOVED]),
    ("container.unpinned", &[CONTAINERS_REMOVED]),
    ("container.updated", &[&[DOCKER_CHANGE]]),
    ("hold.program.opened", &[&[AROUND_DEPLOY]]),
    ("hold.program.written", &[&[AROUND_DEPLOY]]),
    ("container.external.noted", &[&[AROUND_DEPLOY]]),
    ("container.external.cleared", &[&[AROUND_DESTROY]]),
    ("link.tunnel-made", &[&[AROUND_DEPLOY]]),
    ("link.tunnel-moved", &[&[AROUND_DEPLOY]]),
    ("link.stitched", &[&[AROUND_DEPLOY]]),
    ("link.carried", &[&[DOCKER_DEPLOY, DOCKER_RESTART]]),
    ("link.moved", &[&[DOCKER_DEPLOY, DOCKER_RESTART]]),
    ("hosts.before-rename", &[&[MGMT_DEPLOY]]),
    ("hosts.noted", &[&[MGMT_DESTROY]]),
    ("hosts.written", &[&[MGMT_DESTROY]]),
    ("ssh.before-rename", &[&[MGMT_DEPLOY]]),
    ("network.admitted", &[NETWORKS_MADE]),
    ("network.before-ensure", &[NETWORKS_MADE]),
    ("network.before-release", &[&[MGMT_DESTROY]]),
    ("network.bridge-restored", &[&[MGMT_REBRIDGE]]),
    ("network.closed", &[&[MGMT_DESTROY]]),
    ("network.created", &[NETWORKS_MADE]),
    ("network.let-go", &[&[MGMT_DESTROY]]),
    ("network.removed", &[&[MGMT_DESTROY]]),
    ("network.rule-changed", &[NETWORKS_MADE, &[MGMT_DESTROY]]),
    ("takeover.before-mark", &[&[INHERITED_ADOPT]]),
    ("takeover.node-marked", &[&[INHERITED_ADOPT]]),
    ("takeover.links-marked", &[&[INHERITED_ADOPT]]),
    ("takeover.tags-claimed", &[&[INHERITED_ADOPT]]),
    ("takeover.seen", &[&[INHERITED_ADOPT]]),
    ("container.adopted.noted", &[&[INHERITED_ADOPT]]),
    ("link.marked", &[&[INHERITED_ADOPT]]),
    ("inherited.container-removed", &[&[INHERITED_DESTROY]]),
    ("inherited.interfaces-removed", &[&[INHERITED_DESTROY]]),
    ("inherited.ports-removed", &[&[INHERITED_DESTROY]]),
    ("transport.before-note", &[ASKED]),
    ("transport.noted", &[ASKED]),
    ("transport.step-done", &[ASKED, UPLINKS]),
    ("transport.before-store", &[&[HOST_PROVISION, HOST_RELEASE]]),
    ("transport.stored", &[&[HOST_PROVISION, HOST_RELEASE]]),
    ("transport.step-undone", &[&[HOST_CUT]]),
    ("transport.let-go", &[&[HOST_RECONFIGURE]]),
    ("underlay.before-change", &[ASKED, UPLINKS]),
    ("underlay.changed", &[ASKED, UPLINKS]),
    ("netns.repin.unpinned", &[CONTAINERS_STARTED, &[INHERITED_ADOPT]]),
];

/// The points that a scenario passes.
pub(crate) fn passed_in(scenario: Scenario) -> impl Iterator<Item = &'static str> {
    let has = move |group: &Group| group.contains(&scenario) || group.contains(&scenario.with_few());
    PASSED.iter().filter(move |(_, groups)| groups.iter().any(has)).map(|(name, _)| *name)
}

/// Whether a scenario passes a point or not by what happens to fall together.
pub(crate) fn is_open(scenario: Scenario, name: &str) -> bool {
    // Its two links go in one message if the steps before have ended at the same moment.
    let at_once = ["link.doomed", "link.group-deleted"].contains(&name);
    // Its nodes are told their names when the command has ended, perhaps.
    let told = ["operation.executing", "operation.step-done", "names.directory-made", "names.opened", "names.written"];
    match scenario {
        AROUND_DESTROY | INHERITED_DESTROY => at_once,
        INHERITED_ADOPT => told.contains(&name),
        _ => false,
    }
}

/// Whether a point is about links, or about when operations are stored and done.
pub(crate) fn is_of_links(name: &str) -> bool {
    let words = ["tags", "ports", "switch", "link", "links", "bridge", "operation"];
    name.split('.').next().is_some_and(|word| words.contains(&word))
}

/// The pairs of scenario and point that cannot be: what is never passed there.
pub(crate) fn impossible() -> Vec<(Scenario, &'static str)> {
    let passes = |scenario, name: &str| passed_in(scenario).any(|passed| passed == name);
    let may = move |scenario, name: &str| passes(scenario, name) || is_open(scenario, name);
    let of = |scenario| ALL.iter().filter(move |name| !may(scenario, name)).map(move |name| (scenario, *name));
    Scenario::ALL.into_iter().flat_map(of).collect()
}

/// The points at which the agent is killed with something wrong with the host, each scenario with those of its own.
const WITH_FAULTS: &[(Fault, Scenario, &[&str])] = &[
    (
        DockerHangs,
        DOCKER_DEPLOY,
        &[
            "operation.stored",
            "container.created",
            "container.reserve.noted",
            "container.start.recorded",
            "container.started",
            "container.attached",
            "link.finished",
            "link.moved",
            "exec.ran",
        ],
    ),
    (
        DockerHangs,
        DOCKER_CHANGE,
        &["operation.stored", "container.updated", "container.unlinked", "container.removed", "container.started"],
    ),
    (DockerHangs, DOCKER_RESTART, &["container.stop.recorded", "container.started", "link.moved"]),
    (DockerHangs, DOCKER_DESTROY, &["operation.destroy.stored", "container.unlinked", "container.removed"]),
    (DockerHangs, MGMT_DEPLOY, &["network.before-ensure", "network.created", "container.started"]),
    (DockerHangs, MGMT_DESTROY, &["container.removed", "network.before-release", "network.removed"]),
    (DockerHangs, AROUND_DEPLOY, &["container.external.noted", "container.started", "link.stitched"]),
    (DockerLate, DOCKER_DEPLOY, &["container.created", "container.started"]),
    (DockerLate, DOCKER_CHANGE, &["container.removed"]),
    (DockerLate, DOCKER_RESTART, &["container.started"]),
    (DockerLate, DOCKER_DESTROY, &["container.unlinked"]),
    (DockerLate, MGMT_DEPLOY, &["network.created"]),
    (DiskFull, DEPLOY, &["operation.before-store", "store.after-commit", "node.create.recorded", "exec.ran"]),
    (DiskFull, CHANGE, &["operation.stored", "node.stop.asked", "link.created", "operation.concluded"]),
    (DiskFull, DESTROY, &["operation.destroy.before-store", "operation.destroy.stored", "node.delete.done"]),
    (DiskFull, DOCKER_DEPLOY, &["operation.stored", "container.created", "exec.ran"]),
    (DiskFull, DOCKER_CHANGE, &["container.record.opened", "container.removed"]),
    (DiskFull, DOCKER_DESTROY, &["container.removed"]),
];

/// The faults of a scenario, each with a point at which the agent is killed.
pub(crate) fn with_faults(scenario: Scenario) -> impl Iterator<Item = (Fault, &'static str)> {
    let of = WITH_FAULTS.iter().filter(move |(_, of, _)| *of == scenario);
    of.flat_map(|(fault, _, points)| points.iter().map(|point| (*fault, *point)))
}

/// Twenty-four cases of all kinds.
pub(crate) fn few(seed: u64) -> Vec<Case> {
    let points: [(Scenario, &str, usize); 17] = [
        (DOCKER_DEPLOY, "container.reserve.noted", 1),
        (DEPLOY, "store.after-commit", 1),
        (DOCKER_DESTROY, "container.removed", 2),
        (DEPLOY, "node.create.recorded", 3),
        (DOCKER_RESTART, "link.carried", 1),
        (INHERITED_ADOPT, "takeover.links-marked", 1),
        (DOCKER_CHANGE, "container.updated", 1),
        (HOST_CUT, "transport.step-done", 3),
        (CHANGE, "link.group-deleted", 1),
        (RESTART, "node.stop.asked", 1),
        (CHANGE, "link.finished", 1),
        (LINK, "operation.stored", 1),
        (DESTROY, "netns.unmounted", 2),
        (RECOVER, "node.start.spawned", 2),
        (MEND, "link.way-freed", 1),
        (OVS_CHANGE, "tags.released", 1),
        (OVS_DEPLOY, "tags.claimed", 1),
    ];
    let mut random = Random::new(seed);
    let point = |(scenario, name, passage): (_, &str, _)| Case::new(scenario, Event::point(name, passage), seed);
    let mut cases: Vec<Case> = points.map(point).into();
    for scenario in [CHANGE, UNDO] {
        cases.push(Case::new(scenario, Event::Moment { after: random.below(300_000) }, seed));
    }
    cases.push(Case::new(DOCKER_DEPLOY, Event::point("container.started", 2), seed).with(DockerHangs));
    cases.push(Case::new(CHANGE, Event::point("operation.stored", 1), seed).with(DiskFull));
    cases.push(Case::new(CHANGE, Event::Node { after: random.below(300_000) }, seed));
    cases.push(Case::new(STOP, Event::Nothing, seed));
    cases.push(Case::new(STOP, Event::Upgrade, seed));
    cases
}
