//! What labs take of a host's limits, and what is said when there is too little.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::collections::BTreeMap;

use netloom_model::{Lab, Management, NodeAddresses, OnNetwork};
use netloom_plan::{HostLimits, Level, Limit, Need, Severity, Shortage, shortages};
use proptest::prelude::*;
use serde_json::{Value, json};

fn end(at: &Value, interface: &str, number: usize) -> Value {
    let mac = format!("aa:c1:ab:00:{:02x}:{:02x}", number / 256, number % 256);
    json!({ "at": at, "interface": interface, "mac": mac })
}

fn node(name: &str) -> Value {
    json!({ "kind": "linux", "runtime": "namespace", "hostname": name, "cmd": ["sleep", "1000"] })
}

/// Nodes in a ring.
fn ring(name: &str, count: usize) -> Lab {
    let nodes: serde_json::Map<String, Value> = (0..count).map(|n| (format!("n{n}"), node(&format!("n{n}")))).collect();
    let at = |n: usize| json!({ "node": format!("n{}", n % count) });
    let links: Vec<Value> =
        (0..count).map(|n| json!({ "a": end(&at(n), "e1", 2 * n), "b": end(&at(n + 1), "e2", 2 * n + 1) })).collect();
    serde_json::from_value(json!({ "name": name, "nodes": nodes, "links": links })).unwrap()
}

/// Nodes on one bridge.
fn star(count: usize) -> Lab {
    let mut nodes: serde_json::Map<String, Value> =
        (0..count).map(|n| (format!("n{n}"), node(&format!("n{n}")))).collect();
    nodes.insert("br0".into(), json!({ "kind": "bridge", "hostname": "br0" }));
    let link = |n: usize| {
        let (a, b) = (json!({ "node": format!("n{n}") }), json!({ "bridge": "br0" }));
        json!({ "a": end(&a, "e1", 2 * n), "b": end(&b, &format!("p{n}"), 2 * n + 1) })
    };
    let links: Vec<Value> = (0..count).map(link).collect();
    serde_json::from_value(json!({ "name": "star", "nodes": nodes, "links": links })).unwrap()
}

fn need(labs: &[&Lab]) -> Need {
    Need::of(labs.iter().copied(), |_, _| true, 256)
}

/// A host as Debian has it.
fn host() -> HostLimits {
    let level = |max, used| Level { max, used, place: None };
    let group = Level { place: Some("/sys/fs/cgroup/pids/x/pids.max".into()), ..level(5000, 20) };
    let levels = [
        (Limit::NeighboursV4, level(1024, 4)),
        (Limit::NeighboursV6, level(1024, 6)),
        (Limit::OpenFiles, level(9_000_000, 2000)),
        (Limit::Watchers, level(128, 0)),
        (Limit::Terminals, level(4096, 1024)),
        (Limit::Descriptors, level(1024, 27)),
        (Limit::Pids, level(4_194_304, 300)),
        (Limit::Threads, level(100_000, 300)),
        (Limit::GroupPids, group),
        (Limit::Mounts, level(100_000, 40)),
        (Limit::NetNamespaces, level(50_000, 0)),
    ];
    let companions = ["4", "6"].into_iter().flat_map(|version| {
        [(1, 128), (2, 512)].map(|(n, value)| (format!("net.ipv{version}.neigh.default.gc_thresh{n}"), value))
    });
    HostLimits { levels: levels.into(), companions: companions.collect(), foreign_ports: BTreeMap::new() }
}

fn text(found: &[Shortage]) -> String {
    let lines: Vec<String> = found.iter().map(|shortage| format!("{:?} {shortage}", shortage.severity)).collect();
    lines.join("\n")
}

#[test]
fn a_small_lab_is_short_of_nothing() {
    assert_eq!(shortages(&need(&[&ring("a", 100)]), &Need::default(), &host()), []);
}

#[test]
fn no_more_terminals_are_needed_than_the_agent_runs_sessions() {
    let ring = ring("a", 100);
    let terminals = |sessions| Need::of([&ring], |_, _| true, sessions).amount(Limit::Terminals);
    assert_eq!([10, 99, 1000].map(terminals), [10, 99, 100]);
}

#[test]
fn what_is_short_is_said_with_the_reason_and_the_command() {
    let found = shortages(&need(&[&ring("a", 3000)]), &Need::default(), &host());
    insta::assert_snapshot!(text(&found), @r#"
    Warning net.ipv4.neigh.default.gc_thresh3: this host allows 1024 IPv4 neighbours in all namespaces together, the labs on it would come to up to 12004; beyond that the kernel forgets neighbours that are in use, and packets are lost ("neighbour table overflow"); raise it with `sysctl -w net.ipv4.neigh.default.gc_thresh1=4096 net.ipv4.neigh.default.gc_thresh2=16384 net.ipv4.neigh.default.gc_thresh3=32768`, or deploy with --raise-limits
    Warning net.ipv6.neigh.default.gc_thresh3: this host allows 1024 IPv6 neighbours in all namespaces together, the labs on it would come to up to 24006; beyond that the kernel forgets neighbours that are in use, and packets are lost ("neighbour table overflow"); raise it with `sysctl -w net.ipv6.neigh.default.gc_thresh1=8192 net.ipv6.neigh.default.gc_thresh2=32768 net.ipv6.neigh.default.gc_thresh3=65536`, or deploy with --raise-limits
    Warning fs.inotify.max_user_instances: this host allows 128 inotify instances of one user (a daemon that watches files takes one), the labs on it would come to up to 3000; beyond that daemons that watch files do not start ("too many open files"); raise it with `sysctl -w fs.inotify.max_user_instances=8192`, or deploy with --raise-limits
    Refused RLIMIT_NOFILE: this host allows 1024 descriptors of the agent, the labs on it would come to 3027; beyond that nodes and links cannot be made; start the agent with more: LimitNOFILE=8192 in its systemd unit (`systemctl edit netloom`), or `ulimit -n 8192` before `netloom agent`; labs run on while it is started anew
    Refused /sys/fs/cgroup/pids/x/pids.max: this host allows 5000 threads in the agent's control group, which its nodes share, the labs on it would come to 6020; beyond that nodes and links cannot be made; raise it with `echo 16384 > /sys/fs/cgroup/pids/x/pids.max`, or TasksMax=16384 in the agent's systemd unit
    "#);
}

#[test]
fn a_full_bridge_is_refused_and_ports_of_others_count() {
    let mut host = host();
    let of_bridges = |host: &HostLimits, count| {
        let found = shortages(&need(&[&star(count)]), &Need::default(), host);
        text(&found.into_iter().filter(|shortage| shortage.limit == Limit::BridgePorts).collect::<Vec<_>>())
    };
    assert_eq!(of_bridges(&host, 1023), "");
    insta::assert_snapshot!(of_bridges(&host, 1024), @"Refused bridge br0: this host allows 1023 ports of one bridge, the labs on it would come to 1024; beyond that nodes and links cannot be made; spread the links over several bridges");
    host.foreign_ports.insert("br0".into(), 24);
    assert_ne!(of_bridges(&host, 1000), "");
}

/// Containers on a management network, the first ones of them with a port to publish.
fn managed(count: usize, published: usize) -> Lab {
    let container = |n: usize| {
        let ports = if n < published { json!(["8080:80"]) } else { json!([]) };
        let container = json!({ "ports": ports });
        json!({ "kind": "linux", "runtime": "docker", "image": "x", "hostname": "n", "container": container })
    };
    let nodes: serde_json::Map<String, Value> = (0..count).map(|n| (format!("n{n}"), container(n))).collect();
    let lab: Lab = serde_json::from_value(json!({ "name": "managed", "nodes": nodes })).unwrap();
    let network = Management { bridge: Some("br-1".parse().unwrap()), ..Management::default() };
    let addresses = NodeAddresses { ipv4: Some("172.20.20.2".parse().unwrap()), ipv6: None };
    let nodes = lab.nodes().keys().map(|name| (name.clone(), addresses)).collect();
    lab.on_network(&OnNetwork { network, others_ipv4: None, others_ipv6: None, nodes })
}

#[test]
fn more_nodes_than_the_bridge_of_a_management_network_has_ports_are_refused_with_what_to_set() {
    let mut host = host();
    let said = |host: &HostLimits, count| {
        let found = shortages(&need(&[&managed(count, 10)]), &Need::default(), host);
        text(&found.into_iter().filter(|shortage| shortage.limit == Limit::BridgePorts).collect::<Vec<_>>())
    };
    assert_eq!(said(&host, 1023), "");
    insta::assert_snapshot!(said(&host, 1024), @"Refused bridge br-1 of the management network `clab`: this host allows 1023 ports of one bridge, the labs on it would come to 1024; beyond that nodes and links cannot be made; set another `mgmt.network` in some of the labs on it, or `network-mode: none` for nodes that need none");
    // A container of somebody else's.
    host.foreign_ports.insert("br-1".into(), 1);
    assert_ne!(said(&host, 1023), "");
}

#[test]
fn labs_add_up_and_what_is_there_is_not_counted_twice() {
    let (a, b) = (ring("a", 60), ring("b", 60));
    let mut host = host();
    // 60 nodes of the first lab run: two processes each, as reckoned, beside 20 others.
    host.levels.insert(Limit::Threads, Level { max: 260, used: 140, place: None });
    let there = need(&[&a]);
    assert_eq!(shortages(&need(&[&a, &b]), &there, &host), []);
    host.levels.insert(Limit::Threads, Level { max: 259, used: 140, place: None });
    let found = shortages(&need(&[&a, &b]), &there, &host);
    assert_eq!(
        found.iter().map(|shortage| (shortage.limit, shortage.demand)).collect::<Vec<_>>(),
        [(Limit::Threads, 260)]
    );
    // The nodes have begun more than was reckoned.
    host.levels.insert(Limit::Threads, Level { max: 1000, used: 900, place: None });
    assert_eq!(shortages(&need(&[&a, &b]), &there, &host)[0].demand, 1020);
}

#[test]
fn a_host_that_is_full_refuses_no_change_that_needs_nothing_more() {
    let (big, small) = (ring("a", 60), ring("a", 59));
    let mut host = host();
    host.levels.values_mut().for_each(|level| level.max = 10);
    let there = need(&[&big]);
    for wanted in [&big, &small] {
        let found = shortages(&need(&[wanted]), &there, &host);
        assert!(found.iter().all(|shortage| shortage.severity == Severity::Warning), "{found:?}");
    }
    assert!(shortages(&need(&[&ring("a", 61)]), &there, &host).iter().any(|s| s.severity == Severity::Refused));
}

#[test]
fn more_process_ids_than_a_kernel_can_have_are_not_promised() {
    let mut host = HostLimits::default();
    host.levels.insert(Limit::Pids, Level { max: 4_194_304, used: 4_194_300, place: None });
    let found = shortages(&need(&[&ring("a", 10)]), &Need::default(), &host);
    assert!(found[0].raise.is_empty() && found[0].advice().contains("no kernel has more"), "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_advised_ends_the_shortage_and_lowers_nothing(
        count in 3..200_usize,
        there in 3..200_usize,
        used in 0..2000_u64,
        max in 1..3000_u64,
    ) {
        let (wanted, there) = (need(&[&ring("a", count)]), need(&[&ring("a", there)]));
        let mut host = host();
        host.levels.values_mut().for_each(|level| {
            level.used = used;
            level.max = max;
        });
        let found = shortages(&wanted, &there, &host);
        for shortage in &found {
            prop_assert!(shortage.demand > shortage.max);
            for (name, value) in &shortage.raise {
                if shortage.limit.sysctl() == Some(name) {
                    prop_assert!(*value > shortage.max);
                    host.levels.get_mut(&shortage.limit).unwrap().max = *value;
                } else {
                    prop_assert!(host.companions.insert(name.clone(), *value).unwrap() < *value);
                }
            }
        }
        let left = shortages(&wanted, &there, &host);
        prop_assert!(left.iter().all(|shortage| shortage.raise.is_empty()), "{left:?}");
        prop_assert_eq!(shortages(&there, &there, &host).iter().filter(|s| s.severity == Severity::Refused).count(), 0);
    }
}

#[test]
fn terminals_are_reckoned_up_to_what_the_agent_opens_at_once() {
    let mut host = host();
    host.levels = [(Limit::Terminals, Level { max: 1200, used: 1024, place: None })].into();
    let short = |count| shortages(&need(&[&ring("r", count)]), &Need::default(), &host);
    assert_eq!(short(100), []);
    let [short_of_many] = <[Shortage; 1]>::try_from(short(2000)).unwrap();
    assert_eq!((short_of_many.demand, short_of_many.severity), (1024 + 256, Severity::Warning));
    assert_eq!(short_of_many.raise["kernel.pty.max"], 2048);
}
