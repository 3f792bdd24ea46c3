//! Laws of what counts as left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use netloom_engine::{Found, FoundNode, Leftover, Lives, Moment, Source, Thing, Trace, TraceKind, Wanted, leftovers};
use netloom_model::{InterfaceName, LabName, LinkId, NodeName, RuntimeKind};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

const NOW: u64 = 1_000_000;
const GRACE: u64 = 120;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn moment() -> Moment {
    Moment { now: at(NOW), began: at(NOW - 1000), grace: Duration::from_secs(GRACE) }
}

fn lab() -> impl Strategy<Value = LabName> {
    "[ab]".prop_map(|name| name.parse().expect("it is a name"))
}

fn node() -> impl Strategy<Value = NodeName> {
    "[rs]".prop_map(|name| name.parse().expect("it is a name"))
}

fn bridge() -> impl Strategy<Value = InterfaceName> {
    "br[0-2]".prop_map(|name| name.parse().expect("it is a name"))
}

fn trace() -> impl Strategy<Value = Trace> {
    use TraceKind::{Directory, Group, Layer, Mount, Names, Namespace, NamespaceLink, Record};
    let kind = prop_oneof![
        Just(Mount),
        Just(NamespaceLink),
        Just(Namespace),
        Just(Group),
        Just(Layer),
        Just(Directory),
        Just(Record),
        Just(Names)
    ];
    let runtime = prop_oneof![Just(None), Just(Some(RuntimeKind::Namespace)), Just(Some(RuntimeKind::Docker))];
    let age = prop_oneof![Just(None), (0..300_u64).prop_map(Some)];
    (kind, lab(), prop::option::of(node()), runtime, age).prop_map(|(kind, lab, node, of, age)| {
        let place = node.as_ref().map_or(String::new(), ToString::to_string);
        Trace { kind, at: format!("{kind}/{lab}/{place}"), lab, node, of, changed: age.map(|age| at(NOW - age)) }
    })
}

fn found() -> impl Strategy<Value = Found> {
    let runtime = || prop_oneof![Just(RuntimeKind::Namespace), Just(RuntimeKind::Docker)];
    let lives = prop_oneof![Just(Lives::Yes), Just(Lives::No), Just(Lives::No)];
    let there = (runtime(), lives).prop_map(|(runtime, lives)| FoundNode { runtime, lives });
    let link = Just(LinkId::from_text("r:e-s:e"));
    let sources = || {
        let source = prop_oneof![
            Just(Source::Fabric),
            Just(Source::Runtime(RuntimeKind::Namespace)),
            Just(Source::Runtime(RuntimeKind::Docker))
        ];
        prop_oneof![3 => Just(BTreeSet::new()), 1 => btree_set(source, 0..2)]
    };
    let nodes = btree_map((lab(), node()), there, 0..4);
    let links = btree_map((lab(), link), Just(vec!["e".to_owned()]), 0..2);
    (nodes, links, btree_set(bridge(), 0..3), btree_set("n[0-1]", 0..2), vec(trace(), 0..12), sources(), sources())
        .prop_map(|(nodes, links, bridges, networks, traces, silent, absent)| Found {
            nodes,
            links,
            bridges,
            networks,
            traces,
            silent,
            absent,
        })
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let labs = btree_map(lab(), btree_set(node(), 0..3), 0..3);
    (labs, btree_set(lab(), 0..2), btree_set(bridge(), 0..2), btree_set("n[0-1]", 0..2))
        .prop_map(|(labs, busy, bridges, networks)| Wanted { labs, busy, bridges, networks })
}

fn without(found: &Found, gone: &[Leftover]) -> Found {
    let mut left = found.clone();
    for Leftover { thing, .. } in gone {
        match thing {
            Thing::Node(lab, node) => drop(left.nodes.remove(&(lab.clone(), node.clone()))),
            Thing::Link(lab, link, _) => drop(left.links.remove(&(lab.clone(), link.clone()))),
            Thing::Bridge(bridge) => drop(left.bridges.remove(bridge)),
            Thing::Network(network) => drop(left.networks.remove(network)),
            Thing::Trace(trace) => left.traces.retain(|other| other != trace),
        }
    }
    left
}

proptest! {
    #[test]
    fn nothing_that_anybody_has_counts(wanted in wanted(), found in found()) {
        let lives = |lab: &LabName| found.nodes.iter().any(|((of, _), node)| of == lab && node.lives == Lives::Yes);
        for Leftover { thing, .. } in leftovers(&wanted, &found, moment()) {
            if let Some(lab) = thing.lab() {
                prop_assert!(!wanted.busy.contains(lab));
                prop_assert!(wanted.labs.contains_key(lab) || !lives(lab));
            }
            match &thing {
                Thing::Node(lab, _) | Thing::Link(lab, ..) => prop_assert!(!wanted.labs.contains_key(lab)),
                Thing::Bridge(bridge) => prop_assert!(!wanted.bridges.contains(bridge)),
                Thing::Network(network) => prop_assert!(!wanted.networks.contains(network)),
                Thing::Trace(trace) => {
                    let node = trace.node.as_ref();
                    let is_wanted = wanted.labs.get(&trace.lab).is_some_and(|nodes| node.is_none_or(|node| nodes.contains(node)));
                    prop_assert!(!is_wanted);
                    let is_there = node.is_some_and(|node| found.nodes.contains_key(&(trace.lab.clone(), node.clone())));
                    prop_assert!(!is_there, "it goes with its node");
                    let age = trace.changed.map(|changed| at(NOW).duration_since(changed).unwrap());
                    prop_assert!(age.is_none_or(|age| age.as_secs() >= GRACE));
                }
            }
        }
    }

    #[test]
    fn what_only_a_silent_source_knows_of_does_not_count(wanted in wanted(), found in found()) {
        for Leftover { thing, .. } in leftovers(&wanted, &found, moment()) {
            match thing {
                Thing::Trace(Trace { of: Some(runtime), .. }) => {
                    let source = Source::Runtime(runtime);
                    prop_assert!(!found.silent.contains(&source) && !found.absent.contains(&source));
                }
                _ => prop_assert!(found.silent.is_empty()),
            }
        }
    }

    #[test]
    fn of_what_is_old_and_nobodys_all_counts(mut found in found()) {
        for trace in &mut found.traces {
            trace.changed = None;
        }
        for node in found.nodes.values_mut() {
            node.lives = Lives::No;
        }
        (found.silent, found.absent) = (BTreeSet::new(), BTreeSet::new());
        let gone = leftovers(&Wanted::default(), &found, moment());
        let left = without(&found, &gone);
        let of_nodes = |trace: &&Trace| !trace.node.as_ref().is_some_and(|node| found.nodes.contains_key(&(trace.lab.clone(), node.clone())));
        prop_assert_eq!(left.traces.iter().filter(of_nodes).count(), 0);
        prop_assert!(left.links.is_empty() && left.nodes.is_empty() && left.bridges.is_empty() && left.networks.is_empty());
        // And with them gone, also what was theirs.
        let rest = leftovers(&Wanted::default(), &left, moment());
        prop_assert_eq!(without(&left, &rest).traces, []);
    }

    #[test]
    fn the_same_is_judged_the_same_whatever_its_order(wanted in wanted(), found in found()) {
        let mut turned = found.clone();
        turned.traces.reverse();
        prop_assert_eq!(leftovers(&wanted, &found, moment()), leftovers(&wanted, &turned, moment()));
    }

    #[test]
    fn whoever_begins_to_want_a_lab_keeps_what_is_there_of_it(found in found(), lab in lab()) {
        let nodes: BTreeSet<NodeName> = ["r", "s"].map(|name| name.parse().unwrap()).into();
        let wanted = Wanted { labs: BTreeMap::from([(lab.clone(), nodes)]), ..Wanted::default() };
        let left = leftovers(&wanted, &found, moment());
        prop_assert!(left.iter().all(|left| left.thing.lab() != Some(&lab)));
    }
}

#[test]
fn after_a_start_nothing_without_an_age_counts_for_a_while() {
    let lab: LabName = "a".parse().unwrap();
    let dead = FoundNode { runtime: RuntimeKind::Namespace, lives: Lives::No };
    let nodes = BTreeMap::from([((lab, "r".parse().unwrap()), dead)]);
    let found = Found { nodes, ..Found::default() };
    let just = Moment { began: at(NOW - 10), ..moment() };
    assert_eq!(leftovers(&Wanted::default(), &found, just), []);
    assert_eq!(leftovers(&Wanted::default(), &found, moment()).len(), 1);
    // A clock that was set back makes nothing old.
    let back = Moment { now: at(NOW - 5000), ..moment() };
    assert_eq!(leftovers(&Wanted::default(), &found, back), []);
}
