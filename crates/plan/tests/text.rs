//! What people and programs read of a plan.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::collections::{BTreeMap, BTreeSet};

use insta::{assert_json_snapshot, assert_snapshot};
use netloom_model::{Lab, LinkId, NodeName, RuntimeKind};
use netloom_plan::{Desired, Live, LiveMark, NodeState, Observed, Obstacle, Plan, Side, apply, obstacles, plan};
use serde_json::{Value, json};

/// Two routers, a switch between them and a port of it.
fn lab(cpu: u32, mtu: u32) -> Lab {
    let linux = |name: &str| json!({ "kind": "linux", "runtime": "namespace", "hostname": name });
    let mut r1 = linux("r1");
    r1["exec"] = json!([["ip", "route"]]);
    r1["cpu_millis"] = cpu.into();
    let end = |at: Value, interface: &str, mac: u8| json!({ "at": at, "interface": interface, "mac": format!("02:00:00:00:00:{mac:02x}") });
    let links = json!([
        { "a": end(json!({ "node": "r1" }), "eth1", 1), "b": end(json!({ "node": "r2" }), "eth1", 2), "mtu": mtu },
        { "a": end(json!({ "node": "r2" }), "eth2", 3), "b": end(json!({ "bridge": "sw" }), "sw-r2", 4) },
    ]);
    let nodes = json!({ "r1": r1, "r2": linux("r2"), "sw": { "kind": "bridge", "hostname": "sw" } });
    serde_json::from_value(json!({ "name": "lab", "nodes": nodes, "links": links })).unwrap()
}

fn way(lab: Option<&Lab>, observed: &Observed) -> Plan {
    way_with(lab, observed, &Hand::default())
}

/// What a person asked for beside the lab.
#[derive(Default)]
struct Hand {
    stopped: BTreeSet<NodeName>,
    restarts: BTreeMap<NodeName, u64>,
    due: BTreeSet<NodeName>,
    down: BTreeSet<(LinkId, Side)>,
}

impl Hand {
    fn desired<'a>(&'a self, lab: Option<&'a Lab>) -> Desired<'a> {
        let Self { stopped, restarts, due, down } = self;
        Desired { lab, rebuild: 0, down, stopped, restarts, restart_due: due, prints: None, network: None }
    }
}

fn way_with(lab: Option<&Lab>, observed: &Observed, hand: &Hand) -> Plan {
    plan(&"lab".parse().unwrap(), &hand.desired(lab), observed)
}

fn carried_out(lab: &Lab, observed: &Observed, hand: &Hand) -> Observed {
    let mut after = observed.clone();
    for step in way_with(Some(lab), observed, hand).steps {
        apply(&step.action, &hand.desired(Some(lab)), &mut after);
    }
    after
}

fn made(lab: &Lab) -> Observed {
    carried_out(lab, &Observed::default(), &Hand::default())
}

#[test]
fn a_deploy_reads_well() {
    assert_snapshot!(way(Some(&lab(500, 9500)), &Observed::default()), @r#"
    lab lab: 9 steps
      1. ensure bridge sw              (a node of kind bridge)
      2. write names of nodes          (the lab's nodes or addresses changed)
      3. create node r1                (not there)
      4. create node r2                (not there)
      5. create link r1:eth1-r2:eth1   (not there)
      6. create link r2:eth2-sw:sw-r2  (not there)
      7. start node r1                 (its namespace is new)
      8. start node r2                 (its namespace is new)
      9. exec on r1: ip route          (once for each start of the node)
    "#);
}

/// A switch in a router, that two others are plugged into, in containers or not.
fn lab_with_a_bridge_in_a_node(runtime: &str) -> Lab {
    let linux = |name: &str| json!({ "kind": "linux", "runtime": runtime, "hostname": name, "image": "x" });
    let mut sw = linux("sw");
    sw["exec"] = json!([["ip", "address", "add", "10.0.0.1/24", "dev", "lan"]]);
    let end = |at: Value, interface: &str, mac: u8| json!({ "at": at, "interface": interface, "mac": format!("02:00:00:00:00:{mac:02x}") });
    let links = json!([
        { "a": end(json!({ "node": "r1" }), "eth1", 1), "b": end(json!({ "bridge": "lan|sw" }), "p1", 2) },
    ]);
    let nodes = json!({ "r1": linux("r1"), "sw": sw, "lan|sw": { "kind": "bridge", "hostname": "lan" } });
    serde_json::from_value(json!({ "name": "lab", "nodes": nodes, "links": links })).unwrap()
}

#[test]
fn a_bridge_in_a_node_is_made_before_what_is_plugged_into_it_and_before_its_node_uses_it() {
    let namespaces = lab_with_a_bridge_in_a_node("namespace");
    assert_snapshot!(way(Some(&namespaces), &Observed::default()), @r"
    lab lab: 8 steps
      1. write names of nodes                            (the lab's nodes or addresses changed)
      2. create node r1                                  (not there)
      3. create node sw                                  (not there)
      4. add bridge lan to node sw                       (a bridge of the lab is in this node)
      5. create link lan|sw:p1-r1:eth1                   (not there)
      6. start node r1                                   (its namespace is new)
      7. start node sw                                   (its namespace is new)
      8. exec on sw: ip address add 10.0.0.1/24 dev lan  (once for each start of the node)
    ");
    let containers = lab_with_a_bridge_in_a_node("docker");
    assert_snapshot!(way(Some(&containers), &Observed::default()), @r"
    lab lab: 8 steps
      1. write names of nodes                            (the lab's nodes or addresses changed)
      2. create node r1                                  (not there)
      3. create node sw                                  (not there)
      4. start node r1                                   (it is new)
      5. start node sw                                   (it is new)
      6. add bridge lan to node sw                       (a bridge of the lab is in this node)
      7. create link lan|sw:p1-r1:eth1                   (not there)
      8. exec on sw: ip address add 10.0.0.1/24 dev lan  (once for each start of the node)
    ");
    let there = made(&containers);
    assert!(way(Some(&containers), &there).is_empty());

    // Somebody deletes it, or nobody wants it any more.
    let gone = Observed { inner_bridges: BTreeSet::new(), links: BTreeMap::new(), ..there.clone() };
    assert_snapshot!(way(Some(&containers), &gone), @r"
    lab lab: 2 steps
      1. add bridge lan to node sw      (a bridge of the lab is in this node)
      2. create link lan|sw:p1-r1:eth1  (not there)
    ");
    let mut parts = containers.into_parts();
    parts.nodes.remove(&"lan|sw".parse::<NodeName>().unwrap());
    parts.links.clear();
    assert_snapshot!(way(Some(&Lab::new(parts).unwrap()), &there), @r"
    lab lab: 2 steps
      1. delete link lan|sw:p1-r1:eth1   (not in the topology)
      2. remove bridge lan from node sw  (not in the topology)
    ");
}

#[test]
fn an_edited_field_changes_only_what_it_means() {
    let there = made(&lab(500, 9500));
    assert_snapshot!(way(Some(&lab(500, 9500)), &there), @r#"
    lab lab: nothing to change
    "#);
    assert_snapshot!(way(Some(&lab(700, 1500)), &there), @r#"
    lab lab: 2 steps
      1. update node r1               (limits or labels changed)
      2. update link r1:eth1-r2:eth1  (MTU, addresses or VLANs changed)
    "#);
}

#[test]
fn a_destroy_reads_well() {
    assert_snapshot!(way(None, &made(&lab(500, 9500))), @r#"
    lab lab: 4 steps
      1. delete link r2:eth2-sw:sw-r2  (the lab is destroyed)
      2. delete node r1                (the lab is destroyed)
      3. delete node r2                (the lab is destroyed)
      4. release bridge sw             (the lab needs it no longer)
    "#);
}

#[test]
fn steps_that_undo_live_edits_say_so() {
    let (before, mut after) = (made(&lab(500, 1500)), lab(500, 9000).into_parts());
    after.nodes.remove(&"r1".parse::<NodeName>().unwrap());
    after.links.retain(|link| link.id().as_str() == "r2:eth2-sw:sw-r2");
    let mut plan = way(Some(&Lab::new(after).unwrap()), &before);
    let live = Live {
        nodes: [("r1".parse().unwrap(), LiveMark::Added)].into(),
        links: [(LinkId::from_text("r1:eth1-r2:eth1"), LiveMark::Added)].into(),
    };
    plan.name_live_edits(&live);
    let undone = plan.steps.iter().filter(|step| step.reason == "added live, not in the file");
    assert_eq!(
        undone.map(|step| step.id.as_str()).collect::<Vec<_>>(),
        ["link/r1:eth1-r2:eth1/delete", "node/r1/delete"]
    );
}

#[test]
fn a_plan_on_the_wire_says_step_owner_reason_and_order() {
    assert_json_snapshot!(way(Some(&lab(700, 9500)), &made(&lab(500, 9500))), @r#"
    {
      "lab": "lab",
      "steps": [
        {
          "id": "node/r1/update",
          "action": "update-node",
          "node": "r1",
          "runtime": "namespace",
          "owner": {
            "runtime": "namespace"
          },
          "reason": "limits or labels changed",
          "after": []
        }
      ]
    }
    "#);
}

fn of(names: &[&str]) -> BTreeSet<NodeName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn a_node_that_is_stopped_is_switched_off_and_one_that_starts_switched_on_before() {
    let lab = lab(500, 9500);
    let stopped = Hand { stopped: of(&["r2"]), ..Hand::default() };
    assert_snapshot!(way_with(Some(&lab), &made(&lab), &stopped), @r#"
    lab lab: 3 steps
      1. stop node r2                             (stopped by a person)
      2. set end b of link r1:eth1-r2:eth1 down   (its node is stopped)
      3. set end a of link r2:eth2-sw:sw-r2 down  (its node is stopped)
    "#);
    let off = carried_out(&lab, &made(&lab), &stopped);
    assert_snapshot!(way_with(Some(&lab), &off, &stopped), @r#"
    lab lab: nothing to change
    "#);
    assert_snapshot!(way(Some(&lab), &off), @r#"
    lab lab: 3 steps
      1. set end b of link r1:eth1-r2:eth1 up   (its node is started)
      2. set end a of link r2:eth2-sw:sw-r2 up  (its node is started)
      3. start node r2                          (it does not run)
    "#);
    // One that is new is made and wired like any other.
    assert_snapshot!(way_with(Some(&lab), &Observed::default(), &stopped), @r#"
    lab lab: 10 steps
       1. ensure bridge sw                         (a node of kind bridge)
       2. write names of nodes                     (the lab's nodes or addresses changed)
       3. create node r1                           (not there)
       4. create node r2                           (not there)
       5. create link r1:eth1-r2:eth1              (not there)
       6. create link r2:eth2-sw:sw-r2             (not there)
       7. set end b of link r1:eth1-r2:eth1 down   (its node is stopped)
       8. set end a of link r2:eth2-sw:sw-r2 down  (its node is stopped)
       9. start node r1                            (its namespace is new)
      10. exec on r1: ip route                     (once for each start of the node)
    "#);
}

#[test]
fn a_restart_that_was_asked_for_says_so_and_passes_through_being_off() {
    let lab = lab(500, 9500);
    let once = Hand { restarts: BTreeMap::from([("r1".parse().unwrap(), 1)]), ..Hand::default() };
    assert_snapshot!(way_with(Some(&lab), &made(&lab), &once), @r#"
    lab lab: 5 steps
      1. stop node r1                            (a restart was asked for)
      2. set end a of link r1:eth1-r2:eth1 down  (its node is started again)
      3. set end a of link r1:eth1-r2:eth1 up    (its node is started again)
      4. start node r1                           (a restart was asked for)
      5. exec on r1: ip route                    (once for each start of the node)
    "#);
    let again = carried_out(&lab, &made(&lab), &once);
    assert!(way_with(Some(&lab), &again, &once).is_empty());
    // An end that a person cut stays off.
    let cut = (lab.links()[0].id(), Side::A);
    let cut = Hand { down: BTreeSet::from([cut]), ..once };
    assert_snapshot!(way_with(Some(&lab), &made(&lab), &cut), @r#"
    lab lab: 4 steps
      1. stop node r1                            (a restart was asked for)
      2. set end a of link r1:eth1-r2:eth1 down  (switched off by a person)
      3. start node r1                           (a restart was asked for)
      4. exec on r1: ip route                    (once for each start of the node)
    "#);
}

#[test]
fn a_node_that_ended_is_off_until_its_policy_starts_it() {
    let lab = lab(500, 9500);
    let mut there = made(&lab);
    there.nodes.get_mut(&"r2".parse().unwrap()).unwrap().state = NodeState::Exited { code: 1 };
    assert_snapshot!(way(Some(&lab), &there), @r#"
    lab lab: 2 steps
      1. set end b of link r1:eth1-r2:eth1 down   (its node has ended)
      2. set end a of link r2:eth2-sw:sw-r2 down  (its node has ended)
    "#);
    let off = carried_out(&lab, &there, &Hand::default());
    let due = Hand { due: of(&["r2"]), ..Hand::default() };
    assert_snapshot!(way_with(Some(&lab), &off, &due), @r#"
    lab lab: 3 steps
      1. set end b of link r1:eth1-r2:eth1 up   (its node is started)
      2. set end a of link r2:eth2-sw:sw-r2 up  (its node is started)
      3. start node r2                          (it ended; its restart policy starts it again)
    "#);
    // Never one that was stopped.
    let stopped = Hand { stopped: of(&["r2"]), due: of(&["r2"]), ..Hand::default() };
    assert_snapshot!(way_with(Some(&lab), &off, &stopped), @r#"
    lab lab: 1 step
      1. stop node r2  (stopped by a person)
    "#);
}

/// The lab on another runtime.
fn on_docker(lab: Lab) -> Lab {
    let mut parts = lab.into_parts();
    for node in parts.nodes.values_mut().filter(|node| node.runtime.is_some()) {
        node.runtime = Some(RuntimeKind::Docker);
    }
    Lab::new(parts).unwrap()
}

#[test]
fn a_container_takes_its_links_after_its_start_and_its_commands_after_those() {
    let lab = on_docker(lab(500, 9500));
    assert_snapshot!(way(Some(&lab), &Observed::default()), @r#"
    lab lab: 9 steps
      1. ensure bridge sw              (a node of kind bridge)
      2. write names of nodes          (the lab's nodes or addresses changed)
      3. create node r1                (not there)
      4. create node r2                (not there)
      5. start node r1                 (it is new)
      6. start node r2                 (it is new)
      7. create link r1:eth1-r2:eth1   (not there)
      8. create link r2:eth2-sw:sw-r2  (not there)
      9. exec on r1: ip route          (once for each start of the node)
    "#);
    // One that has run keeps its namespace.
    let mut there = made(&lab);
    there.nodes.get_mut(&"r2".parse().unwrap()).unwrap().state = NodeState::Exited { code: 1 };
    there.links.clear();
    assert_snapshot!(way(Some(&lab), &there), @r#"
    lab lab: 4 steps
      1. create link r1:eth1-r2:eth1              (not there)
      2. create link r2:eth2-sw:sw-r2             (not there)
      3. set end b of link r1:eth1-r2:eth1 down   (its node has ended)
      4. set end a of link r2:eth2-sw:sw-r2 down  (its node has ended)
    "#);
}

#[test]
fn a_container_that_has_never_run_gets_its_links_when_it_is_started() {
    let lab = on_docker(lab(500, 9500));
    let stopped = Hand { stopped: of(&["r2"]), ..Hand::default() };
    assert_snapshot!(way_with(Some(&lab), &Observed::default(), &stopped), @r#"
    lab lab: 6 steps
      1. ensure bridge sw      (a node of kind bridge)
      2. write names of nodes  (the lab's nodes or addresses changed)
      3. create node r1        (not there)
      4. create node r2        (not there)
      5. start node r1         (it is new)
      6. exec on r1: ip route  (once for each start of the node)
    "#);
    let off = carried_out(&lab, &Observed::default(), &stopped);
    assert_snapshot!(way_with(Some(&lab), &off, &stopped), @r#"
    lab lab: nothing to change
    "#);
    assert_snapshot!(way(Some(&lab), &off), @r#"
    lab lab: 3 steps
      1. start node r2                 (it does not run)
      2. create link r1:eth1-r2:eth1   (not there)
      3. create link r2:eth2-sw:sw-r2  (not there)
    "#);
}

fn from<T: serde::de::DeserializeOwned>(wire: Value) -> T {
    serde_json::from_value(wire).unwrap()
}

/// A router with a link to another, one to a bridge of Open vSwitch in itself, and a bridge in the router with a port.
fn lab_with_more_than_can_be_made() -> Lab {
    let linux = |name: &str| json!({ "kind": "linux", "runtime": "namespace", "hostname": name });
    let still = |kind: &str, name: &str| json!({ "kind": kind, "hostname": name });
    let end = |at: Value, interface: &str, mac: u8| json!({ "at": at, "interface": interface, "mac": format!("02:00:00:00:00:{mac:02x}") });
    let links = json!([
        { "a": end(json!({ "node": "r1" }), "eth1", 1), "b": end(json!({ "node": "r2" }), "eth1", 2) },
        { "a": end(json!({ "node": "r1" }), "eth2", 3), "b": end(json!({ "bridge": "ovs0|r1" }), "p1", 4) },
        { "a": end(json!({ "node": "r2" }), "eth2", 7), "b": end(json!({ "bridge": "lan|r1" }), "p2", 8) },
    ]);
    let nodes = json!({
        "r1": linux("r1"), "r2": linux("r2"), "ovs0|r1": still("ovs-bridge", "ovs0"),
        "lan|r1": still("bridge", "lan"),
    });
    serde_json::from_value(json!({ "name": "lab", "nodes": nodes, "links": links })).unwrap()
}

#[test]
fn what_cannot_be_made_is_left_out_with_its_reason_and_the_rest_is_made() {
    let lab = lab_with_more_than_can_be_made();
    let plan = way(Some(&lab), &Observed::default());
    assert_snapshot!(plan, @r"
    lab lab: 8 steps
      1. write names of nodes           (the lab's nodes or addresses changed)
      2. create node r1                 (not there)
      3. create node r2                 (not there)
      4. create link r1:eth1-r2:eth1    (not there)
      5. add bridge lan to node r1      (a bridge of the lab is in this node)
      6. create link lan|r1:p2-r2:eth2  (not there)
      7. start node r1                  (its namespace is new)
      8. start node r2                  (its namespace is new)
      node ovs0|r1 is left out: it needs Open vSwitch in a node; its bridges are on the host
      link ovs0|r1:p1-r1:eth2 is left out: node ovs0|r1 is not made
    ");
    let after = made(&lab);
    assert!(way(Some(&lab), &after).is_empty());
    assert_snapshot!(way(Some(&lab), &after), @r"
    lab lab: nothing to change
      node ovs0|r1 is left out: it needs Open vSwitch in a node; its bridges are on the host
      link ovs0|r1:p1-r1:eth2 is left out: node ovs0|r1 is not made
    ");
    let wire = serde_json::to_value(&plan).unwrap();
    let first = json!({ "left-out": "node", "node": "ovs0|r1", "needs": "open-vswitch" });
    assert_eq!(wire["left_out"][0], first);
    assert_eq!(serde_json::from_value::<Plan>(wire).unwrap(), plan);
}

#[test]
fn links_that_cannot_be_made_are_left_out_with_the_reason() {
    let mut parts = lab(500, 9500).into_parts();
    parts.links.push(from(json!({
        "a": { "at": { "node": "r1" }, "interface": "eth5", "mac": "02:00:00:00:00:05" },
        "b": { "at": "host", "interface": "r1-oob", "mac": "02:00:00:00:00:06" },
        "kind": "management-net",
    })));
    let with = Lab::new(parts).unwrap();
    let plan = way(Some(&with), &Observed::default());
    let said: Vec<String> = plan.left_out.iter().map(ToString::to_string).collect();
    assert_snapshot!(said.join("\n"), @"link host:r1-oob-r1:eth5 is left out: it needs the management network, which Docker keeps, and there is no Docker here");
    assert_eq!(plan.steps, way(Some(&lab(500, 9500)), &Observed::default()).steps);
}

#[test]
fn a_name_that_something_foreign_has_is_an_obstacle() {
    let lab = lab(500, 9500);
    let hand = Hand::default();
    let desired = hand.desired(Some(&lab));
    let taken = ["sw", "sw-r2", "eth1"].map(|name| name.parse().unwrap());
    let mut observed = Observed { taken: taken.into(), ..Observed::default() };
    let found: Vec<String> = obstacles(&desired, &observed).iter().map(Obstacle::to_string).collect();
    assert_snapshot!(found.join("\n"), @r#"
    link r2:eth2-sw:sw-r2: the host already has an interface `sw-r2` that is not of this lab; choose another name, or remove it (`ip link show sw-r2`)
    bridge sw: the host has an interface of that name that is not a bridge; choose another name
    "#);

    // A bridge that is there already is used, whoever made it.
    let there = netloom_plan::ObservedBridge { exists: true, held: false };
    observed.bridges.insert("sw".parse().unwrap(), there);
    assert_eq!(obstacles(&desired, &observed).len(), 1);
}

#[test]
fn what_a_link_hangs_on_has_to_be_there_or_to_come_with_the_lab() {
    let mut parts = lab(500, 9500).into_parts();
    for (interface, kind) in [
        ("eth5", json!({ "macvlan": { "parent": "eno1" } })),
        ("eth6", json!({ "macvlan": { "parent": "sw" } })),
        ("eth7", json!({ "vxlan-stitch": { "remote": "192.0.2.7", "vni": 7, "dst_port": 4789, "parent": "eno2" } })),
    ] {
        let mac = format!("02:00:00:00:00:a{}", &interface[3..]);
        let end = json!({ "at": { "node": "r1" }, "interface": interface, "mac": mac });
        parts.links.push(from(json!({ "a": end, "kind": kind })));
    }
    let lab = Lab::new(parts).unwrap();
    let hand = Hand::default();
    let taken = ["eno2", "vx-r1_eth7"].map(|name| name.parse().unwrap());
    let observed = Observed { taken: taken.into(), ..Observed::default() };
    let found: Vec<String> = obstacles(&hand.desired(Some(&lab)), &observed).iter().map(Obstacle::to_string).collect();
    assert_snapshot!(found.join("\n"), @"
    link r1:eth5: the host has no interface `eno1`, which it hangs on; write the name of one that `ip link` shows
    link r1:eth7: the host already has an interface `vx-r1_eth7` that is not of this lab; choose another name, or remove it (`ip link show vx-r1_eth7`)
    ");
}

#[test]
fn commands_of_a_container_that_came_back_by_itself_wait_until_its_ends_are_on() {
    let lab = lab_with_a_bridge_in_a_node("docker");
    let mut there = made(&lab);
    // It had ended, which switched its end off; Docker has started it again, and nothing was run in it yet.
    for link in there.links.values_mut() {
        link.down = [Side::A, Side::B].into();
    }
    there.nodes.get_mut(&"sw".parse::<NodeName>().unwrap()).unwrap().execs_done = 0;
    let plan = way(Some(&lab), &there);
    let exec = plan.steps.iter().find(|step| step.id.as_str() == "node/sw/exec/0").unwrap();
    let after: Vec<&str> = exec.after.iter().map(netloom_plan::StepId::as_str).collect();
    assert_eq!(after, ["link/lan|sw:p1-r1:eth1/up-b"], "{plan}");
}
