//! Large labs: the time of a plan grows with the size, not with its square.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use netloom_model::Lab;
use netloom_plan::{Desired, Observed, Step, apply, plan};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

/// A ring with addresses.
fn ring(size: usize) -> Lab {
    let mut nodes = Map::new();
    let mut links = Vec::new();
    for n in 0..size {
        nodes.insert(format!("r{n}"), json!({ "kind": "linux", "runtime": "namespace", "hostname": "r" }));
        let end = |node: usize, interface: &str, host: usize| {
            let octets = |high: u8| format!("{high:02x}:00:00:{:02x}:{:02x}:{host:02x}", n >> 8, n & 255);
            let address = format!("10.{}.{}.{host}/30", n >> 8, n & 255);
            json!({ "at": { "node": format!("r{node}") }, "interface": interface, "mac": octets(2), "ipv4": address })
        };
        links.push(json!({ "a": end(n, "eth1", 1), "b": end((n + 1) % size, "eth2", 2), "mtu": 1500 }));
    }
    serde_json::from_value(json!({ "name": "lab", "nodes": Value::Object(nodes), "links": links })).unwrap()
}

/// Holds that work on something ten times as large takes about ten times as long, and not a hundred times as a square
/// would. What counts is the time that this thread had: of a busy machine it has the larger one interrupted more often.
fn grows_with_the_size<T>(one: &T, ten: &T, work: impl Fn(&T)) {
    let had = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(time).expect("it counts up from 0")
    };
    let measure = |input| {
        let begun = had();
        work(input);
        had().saturating_sub(begun)
    };
    let (mut small, mut large) = (Duration::MAX, Duration::MAX);
    for _ in 0..5 {
        small = small.min(measure(one));
        large = large.min(measure(ten));
        if large <= 25 * small {
            return;
        }
    }
    panic!("{small:?}, and {large:?} for ten times as much");
}

/// The steps of a lab's plan.
fn steps(lab: &Lab, observed: &Observed) -> Vec<Step> {
    with_desired(lab, |desired| plan(lab.name(), desired, observed).steps)
}

fn with_desired<T>(lab: &Lab, work: impl FnOnce(&Desired) -> T) -> T {
    let (down, stopped, due) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let restarts = BTreeMap::new();
    let desired = Desired {
        lab: Some(lab),
        rebuild: 0,
        down: &down,
        stopped: &stopped,
        restarts: &restarts,
        restart_due: &due,
        prints: None,
        network: None,
    };
    work(&desired)
}

/// A lab that is there, but for its names.
fn there(lab: &Lab) -> Observed {
    let mut observed = Observed::default();
    let steps = steps(lab, &observed);
    for step in steps.iter().filter(|step| step.id.as_str() != "names/write") {
        with_desired(lab, |desired| apply(&step.action, desired, &mut observed));
    }
    observed
}

#[test]
fn the_time_of_a_plan_grows_with_the_size_of_the_lab() {
    let rings = [500, 5000].map(ring);
    let nothing = Observed::default();
    assert_eq!(steps(&rings[1], &nothing).len(), 15_001);
    grows_with_the_size(&rings[0], &rings[1], |lab| drop(steps(lab, &nothing)));

    let [small, large] = rings.map(|lab| (there(&lab), lab));
    grows_with_the_size(&small, &large, |(observed, lab)| assert_eq!(steps(lab, observed).len(), 1));
}
