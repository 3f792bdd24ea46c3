//! The inventory: what events and relists make of each other.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use netloom_engine::testing::Sketch;
use netloom_engine::{
    Fact, FailSignals, Inventory, NodeFact, OperationState, Place, PortFact, PortKind, Report, Reporter, SeenLink,
    Source, channel, task,
};
use netloom_model::RuntimeKind;
use netloom_plan::{LinkFingerprint, NodeState};

use crate::bench::{Bench, end, lab_name, until};

fn port(ifindex: u32, seen: SystemTime) -> PortFact {
    PortFact {
        place: Place::Host,
        ifindex,
        name: format!("p{ifindex}").parse().unwrap(),
        altnames: Vec::new(),
        kind: PortKind::Other,
        admin_up: true,
        carrier: true,
        mtu: 1500,
        mac: None,
        addresses: Vec::new(),
        given: Vec::new(),
        master: None,
        signals: FailSignals::default(),
        mark: None,
        seen,
    }
}

#[test]
fn a_link_carries_when_all_its_ends_are_on_and_one_of_them_is_known_to_have_a_carrier() {
    let fingerprint: LinkFingerprint = serde_json::from_value(serde_json::json!("00000000.00000000")).unwrap();
    let link = |ends: [(bool, bool); 2]| {
        let end = |(admin_up, carrier)| PortFact { admin_up, carrier, ..port(1, SystemTime::now()) }.into();
        SeenLink { fingerprint: fingerprint.clone(), ports: ends.map(end).to_vec() }.has_carrier()
    };
    assert!(link([(true, true), (true, true)]));
    // The kernel tells late of the end that was switched on first.
    assert!(link([(true, false), (true, true)]));
    // And late of the end whose far one was switched off.
    assert!(!link([(true, true), (false, false)]));
    assert!(!link([(true, false), (true, false)]));
}

fn relist(started: SystemTime, ports: &[u32]) -> Report {
    let facts = ports.iter().map(|ifindex| Fact::Port(port(*ifindex, started))).collect();
    Report::Relist { source: Source::Fabric, started, facts, unseen: BTreeMap::new() }
}

fn event(fact: Fact) -> Report {
    Report::Events(Source::Fabric, vec![fact])
}

struct Fed {
    reporter: Reporter,
    inventory: Inventory,
}

impl Fed {
    fn new() -> Self {
        let (reporter, inventory, writer) = channel();
        task::spawn("inventory", writer.run());
        Self { reporter, inventory }
    }

    /// Reports and waits until it is in; answers with the interfaces that there are then.
    async fn report(&self, report: Report) -> Vec<u32> {
        let before = self.inventory.snapshot().version;
        self.reporter.send(report);
        until("it is in", || self.inventory.snapshot().version > before).await;
        self.inventory.snapshot().host.keys().copied().collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_could_not_be_looked_at_stays_as_it_was_known() {
    const SOURCE: Source = Source::Runtime(RuntimeKind::Namespace);
    let fed = Fed::new();
    let node = |node: &str, seen| {
        Fact::Node(NodeFact {
            lab: "lab".parse().unwrap(),
            node: node.parse().unwrap(),
            runtime: RuntimeKind::Namespace,
            health: None,
            reserved: false,
            namespace: None,
            left_behind: false,
            restarting: false,
            state: NodeState::Running,
            pid: None,
            incarnation: None,
            fingerprint: "1.2.3".parse().unwrap(),
            container: node.to_owned(),
            runtime_id: None,
            image: None,
            last_output: None,
            note: None,
            seen,
        })
    };
    let relist = |seen: &[&str], unseen: &[&str]| {
        let started = SystemTime::now();
        let facts = seen.iter().map(|name| node(name, started)).collect();
        let unseen = unseen.iter().map(|name| (("lab".parse().unwrap(), name.parse().unwrap()), "no".to_owned()));
        Report::Relist { source: SOURCE, started, facts, unseen: unseen.collect() }
    };
    let known = || {
        let snapshot = fed.inventory.snapshot();
        let nodes: Vec<String> =
            snapshot.labs.values().flat_map(|lab| lab.nodes.keys()).map(ToString::to_string).collect();
        (nodes.join(" "), snapshot.sources[&SOURCE].error.clone())
    };
    fed.report(relist(&["a", "b", "c"], &[])).await;
    assert_eq!(known(), ("a b c".into(), None));
    fed.report(relist(&["a"], &["b"])).await;
    assert_eq!(known(), ("a b".into(), Some("node b of lab lab: no".into())));
    fed.report(relist(&[], &["a", "b"])).await;
    assert_eq!(known(), ("a b".into(), Some("node a of lab lab: no (and 1 more)".into())));
    fed.report(relist(&["a"], &[])).await;
    assert_eq!(known(), ("a".into(), None));
}

#[tokio::test(start_paused = true)]
async fn what_one_runtime_keeps_of_a_lab_stays_known_when_another_one_looks() {
    let fed = Fed::new();
    let relist = |kind, facts| {
        let (source, started) = (Source::Runtime(kind), SystemTime::now() + Duration::from_secs(1));
        Report::Relist { source, started, facts, unseen: BTreeMap::new() }
    };
    let names = || {
        let snapshot = fed.inventory.snapshot();
        snapshot.labs.get(&lab_name("lab")).and_then(|lab| lab.names.clone())
    };
    let kept = || vec![Fact::Names(lab_name("lab"), Some("hash".into()))];
    fed.report(relist(RuntimeKind::Namespace, kept())).await;
    fed.report(relist(RuntimeKind::Docker, Vec::new())).await;
    assert_eq!(names().as_deref(), Some("hash"));
    fed.report(relist(RuntimeKind::Namespace, Vec::new())).await;
    assert_eq!(names(), None);
}

#[tokio::test(start_paused = true)]
async fn a_relist_that_began_before_a_lab_was_gone_brings_nothing_of_it_back() {
    let fed = Fed::new();
    let names = |names: Option<&str>| Fact::Names(lab_name("lab"), names.map(str::to_owned));
    let began = SystemTime::now();
    fed.report(event(names(Some("hash")))).await;
    fed.report(event(names(None))).await;
    assert!(!fed.inventory.snapshot().labs.contains_key(&lab_name("lab")));
    let (source, facts) = (Source::Runtime(RuntimeKind::Namespace), vec![names(Some("hash"))]);
    let relist = |started| Report::Relist { source, started, facts: facts.clone(), unseen: BTreeMap::new() };
    fed.report(relist(began)).await;
    assert!(!fed.inventory.snapshot().labs.contains_key(&lab_name("lab")), "it was seen before it went");
    fed.report(relist(SystemTime::now() + Duration::from_secs(1))).await;
    assert!(fed.inventory.snapshot().labs.contains_key(&lab_name("lab")), "it is there again");
}

#[tokio::test(start_paused = true)]
async fn an_event_wins_over_a_relist_that_began_before_it() {
    let fed = Fed::new();
    let start = SystemTime::now();
    assert_eq!(fed.report(relist(start, &[1, 2])).await, [1, 2]);
    let began = SystemTime::now();
    assert_eq!(fed.report(event(Fact::PortGone(Place::Host, 1))).await, [2]);
    let later = SystemTime::now();
    assert_eq!(fed.report(event(Fact::Port(port(3, later)))).await, [2, 3]);
    // It still saw the first one and did not see the third one yet.
    assert_eq!(fed.report(relist(began, &[1, 2])).await, [2, 3]);
    assert_eq!(fed.inventory.snapshot().sources[&Source::Fabric].mended, 0);
    // The next one is right again, also about what came back without an event.
    let again = SystemTime::now() + Duration::from_secs(1);
    assert_eq!(fed.report(relist(again, &[1, 2])).await, [1, 2]);
    assert_eq!(fed.inventory.snapshot().sources[&Source::Fabric].mended, 2);
}

#[tokio::test(start_paused = true)]
async fn each_change_of_the_host_is_told_by_a_number_of_its_own() {
    let fed = Fed::new();
    let mut seen = std::collections::BTreeSet::new();
    for ifindex in 1..50 {
        fed.report(event(Fact::Port(port(ifindex, SystemTime::now())))).await;
        assert!(seen.insert(fed.inventory.snapshot().host_changed));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_labs_on_many_threads_go_up_and_down() {
    let bench = Bench::new().await;
    bench.ready().await;
    let lab = |n: usize| Sketch::pair(&format!("lab{n}")).bridge("br0").link("r1:eth2", &format!("br0:p{n}")).lab();
    for _ in 0..3 {
        let mut operations = Vec::new();
        for n in 0..30 {
            operations.push(bench.begin(&lab(n)).await.unwrap());
        }
        for operation in &operations {
            assert_eq!(end(operation).await.state, OperationState::Succeeded, "{:#?}", operation.view());
        }
        let mut operations = Vec::new();
        for n in 0..30 {
            operations.push(bench.engine.destroy(lab(n).name()).await.unwrap());
        }
        for operation in &operations {
            assert_eq!(end(operation).await.state, OperationState::Succeeded, "{:#?}", operation.view());
        }
        assert_eq!(bench.world.host(), ["lo", "uplink"]);
        assert_eq!(bench.store.keys(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn relists_are_believed_also_after_the_clock_was_set_back() {
    let fed = Fed::new();
    let now = SystemTime::now();
    let ahead = now + Duration::from_secs(3600);
    assert_eq!(fed.report(relist(ahead, &[1, 2])).await, [1, 2]);
    assert_eq!(fed.report(event(Fact::Port(port(3, ahead)))).await, [1, 2, 3]);
    // An hour earlier by the clock, two of them are gone and one has come.
    assert_eq!(fed.report(relist(now, &[2, 4])).await, [2, 4]);
    assert!(fed.inventory.snapshot().host.values().all(|port| port.seen == now));
}
