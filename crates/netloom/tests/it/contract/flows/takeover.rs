//! An agent that takes the place of another one on a host where labs run.

use serde_json::{Value, json};

use crate::contract::predecessor::Predecessor;
use crate::contract::rig::{Machine, Rig, container, text};
use crate::contract::steps::{H1, H2, H3, LAB, OTHER, R1, link, node, recorded_link};
use crate::contract::traffic::Traffic;
use crate::sandbox::Ended;

/// The link to another host, and what is made of its name and that of the lab.
const FAR: &str = "far:eth1-r1:eth2";
const VNI: u32 = 9_598_047;

fn tunnel() -> String {
    netloom_model::tunnel_name(&LAB.parse().unwrap(), &netloom_model::LinkId::from_text(FAR)).to_string()
}

/// A lab of two nodes that are joined, one of which is joined to another host too, and of one that is alone; beside it a node
/// that has ended and a port that nothing is behind.
fn leave(machine: &mut Machine) {
    let there = Predecessor::on(machine);
    for node in [R1, H1, H2] {
        there.node(LAB, &node);
    }
    there.cable(LAB, "r1", "eth1", 2050);
    there.cable(LAB, "h1", "eth1", 2050);
    there.cable(LAB, "r1", "eth2", 2055);
    there.cable(LAB, "r1", "eth3", 100);
    there.cable(LAB, "h2", "eth1", 101);
    there.tunnel(&tunnel(), VNI, 2055);
    there.told(LAB, FAR);
    let ended = there.node(LAB, &H3);
    machine.docker(&format!("kill {ended}"));
    machine.sh("ip link add vhstray type veth peer name vhstray1").code(0);
    let stray =
        format!("add-port arch-ovs vhstray tag=102 -- set interface vhstray external_ids:archetype.lab_id={LAB}");
    machine.ovs.vsctl(stray.split(' '));
    machine.address(&container(LAB, "r1"), "eth1", "10.0.1.1/24");
    machine.address(&container(LAB, "h1"), "eth1", "10.0.1.2/24");
    let workspace = machine.labs.path().display().to_string();
    machine.host.environment().push(("NETLOOM_PREDECESSOR", workspace));
}

/// Everything of the interfaces of host and nodes and of the ports that must stay as it is: numbers, names, addresses, tags.
fn wiring(machine: &Machine) -> Vec<String> {
    let looked =
        ["r1", "h1", "h2"].map(|node| format!("nsenter --target {} --net ", machine.pid_of(&container(LAB, node))));
    let shown = looked.iter().map(String::as_str).chain([""]).flat_map(|inside| {
        let all: Value = serde_json::from_str(&machine.sh(&format!("{inside}ip -json address")).code(0).out).unwrap();
        let shown = all.as_array().unwrap().iter().map(|link| {
            let of = ["ifindex", "link_index", "ifname", "flags", "mtu", "address"].map(|key| link[key].to_string());
            let v4 = link["addr_info"].as_array().unwrap().iter().filter(|address| address["family"] == "inet");
            format!("{} {:?}", of.join(" "), v4.map(|address| &address["local"]).collect::<Vec<_>>())
        });
        shown.collect::<Vec<_>>()
    });
    let ports = machine.ovs.vsctl(["--columns=_uuid,name,ofport", "list", "interface"]);
    shown.chain(machine.ports()).chain([ports]).collect()
}

/// What the controller says of the tunnel.
fn declared() -> Value {
    let tunnel = json!({ "link_id": FAR, "lab_id": LAB, "vni": VNI, "local_ip": "10.0.0.11", "remote_ip": "10.0.0.12",
        "expected_vlan": 2055, "port_name": tunnel(), "mtu": 1450 });
    json!({ "tunnels": [tunnel], "declared_labs": [LAB] })
}

fn adopt(rig: &Rig, arguments: &[&str]) -> Ended {
    rig.netloom(&[&["adopt"], arguments].concat())
}

#[test]
fn a_lab_of_the_agent_before_is_adopted_without_a_packet_lost_and_goes_on_as_one_of_ours() {
    let mut before = Vec::new();
    let made = Rig::after(|machine| {
        before = machine.leavings();
        leave(machine);
    });
    let Some(rig) = made else { return };
    let agent = &rig.agent;
    let [r1, h1] = ["r1", "h1"].map(|node| container(LAB, node));
    assert_eq!(agent.states(LAB), []);

    // First it is only shown.
    let (as_it_was, marks) = (wiring(&rig), rig.sh("ip -details link; ovs-vsctl --version").out);
    let shown = adopt(&rig, &["--dry-run", LAB]).code(0);
    for said in [
        "node     r1",
        "port     r1:eth3  is vhr10f3, tag 100",
        "segment  h1:eth1-r1:eth1  tag 2050",
        "vhstray",
        "not run",
    ] {
        assert!(shown.out.contains(said), "not said: {said}\n{}", shown.out);
    }
    let json: Value = serde_json::from_str(&adopt(&rig, &["--dry-run", "--all", "--json"]).code(0).out).unwrap();
    assert_eq!((json["lab"].as_str(), json["ports"].as_array().unwrap().len()), (Some(LAB), 5));
    assert_eq!((&json["tunnels"][0]["link"], &json["tunnels"][0]["tag"]), (&json!(FAR), &json!(2055)));
    assert_eq!((wiring(&rig), rig.sh("ip -details link; ovs-vsctl --version").out), (as_it_was.clone(), marks));

    let traffic = Traffic::start(&rig, &h1, "10.0.1.1");
    adopt(&rig, &[LAB]).code(0).says("3 nodes, 6 links");
    assert_eq!(wiring(&rig), as_it_was);
    // Once more is nothing more.
    adopt(&rig, &[LAB]).code(2).says("nothing to adopt");
    adopt(&rig, &["--all"]).code(0).says("no lab");
    assert_eq!(wiring(&rig), as_it_was);
    traffic.lost_nothing();

    // What the controller asks for it is told.
    let (traffic, status) = (Traffic::start(&rig, &h1, "10.0.1.1"), agent.status(LAB));
    assert_eq!(node(&status, "r1").unwrap()["node_definition_id"], R1.definition);
    assert_eq!(
        text(node(&status, "r1").unwrap(), "runtime_id"),
        rig.docker(&format!("inspect --format {{{{.Id}}}} {r1}"))
    );
    let ports = agent.maps_ports(LAB);
    assert_eq!(ports.len(), 5);
    assert!(ports.contains(&("r1".into(), "eth1".into(), "vhr10f1".into(), 2050)), "{ports:?}");
    assert_eq!(agent.links(LAB, &recorded_link()), 2050, "it is there already");
    let answer = agent.post("/overlay/declare-state", &declared());
    assert_eq!(answer["results"][0]["status"], "converged", "{answer:#}");
    assert_eq!(wiring(&rig), as_it_was);

    // The next life knows it too.
    rig.kill_agent();
    rig.start_agent();
    assert_eq!(agent.get(&format!("/labs/{LAB}/status")), status);
    assert_eq!(agent.maps_ports(LAB), ports);
    assert_eq!(wiring(&rig), as_it_was);
    traffic.lost_nothing();

    // Links are cut and made by tags alone.
    agent.unlinks(LAB, "h1:eth1-r1:eth1");
    assert!(!rig.reaches(&h1, "10.0.1.1", 56));
    agent.links(LAB, &recorded_link());
    rig.until("it is reached again", |_| rig.reaches(&h1, "10.0.1.1", 56));
    let other = link(("h2", "eth1"), ("r1", "eth3"));
    agent.links(LAB, &other);

    // A node that is started again is made as ours.
    assert_eq!(agent.reconcile(LAB, &container(LAB, "h2"), "stopped")["action"], "removed");
    agent.brings_up(LAB, &H2);
    agent.waits_for(LAB, &H2);
    let labels = rig.docker(&format!("inspect --format '{{{{json .Config.Labels}}}}' {}", container(LAB, "h2")));
    assert!(labels.contains("netloom.instance"), "{labels}");
    agent.links(LAB, &other);
    // So is one that had ended before, and one that ends by itself.
    agent.brings_up(LAB, &H3);
    rig.docker(&format!("kill {h1}"));
    rig.until("it is seen to have ended", |_| {
        node(&agent.status(LAB), "h1").is_some_and(|h1| h1["status"] == "stopped")
    });
    let started = agent.start(LAB, &H1);
    assert_eq!(started["success"], true, "{started:#}");
    rig.address(&h1, "eth1", "10.0.1.2/24");
    rig.until("it is reached again", |_| rig.reaches(&h1, "10.0.1.1", 56));

    // All of it goes, also what was never adopted.
    agent.destroys(LAB);
    rig.until("nothing is left", |_| rig.leavings() == before);
}

/// As if the agent had ended in the middle of it: some marks are there, and nothing is stored.
fn undo_half(rig: &Rig) {
    rig.kill_agent();
    rig.sh(&format!("cd $NETLOOM_ROOT/var/lib/netloom && rm state.redb containers/{LAB}/h1.json")).code(0);
    rig.sh("ip link set vhr10f1 alias ''").code(0);
    rig.ovs.vsctl("remove port vhh10f1 external_ids netloom-instance netloom-lab netloom-link netloom-end".split(' '));
    rig.ovs.vsctl("remove bridge arch-ovs external_ids netloom-tag-2050".split(' '));
    rig.start_agent();
}

#[test]
fn what_an_adoption_that_was_cut_off_has_begun_the_next_one_finishes() {
    let Some(rig) = Rig::after(leave) else { return };
    let h1 = container(LAB, "h1");
    let as_it_was = wiring(&rig);
    // A controller that was too early is refused, and what it asked for is no lab.
    let answer = rig.agent.post("/overlay/declare-state", &declared());
    assert_eq!(answer["results"][0]["status"], "error", "{answer:#}");
    let traffic = Traffic::start(&rig, &h1, "10.0.1.1");
    rig.until("it is adopted all the same", |_| adopt(&rig, &[LAB]).code == 0);
    assert_eq!(wiring(&rig), as_it_was);
    traffic.lost_nothing();
    let marks = || rig.ovs.vsctl(["--columns=name,external_ids", "list", "port"]);
    let (traffic, marked) = (Traffic::start(&rig, &h1, "10.0.1.1"), marks());
    undo_half(&rig);
    assert_ne!(marks(), marked);
    adopt(&rig, &["--dry-run", LAB]).code(0).says("node     h1");
    adopt(&rig, &[LAB]).code(0).says("3 nodes, 6 links");
    assert_eq!((wiring(&rig), marks()), (as_it_was, marked));
    traffic.lost_nothing();
}

#[test]
fn a_lab_that_is_joined_to_another_is_not_adopted_and_says_why() {
    let made = Rig::after(|machine| {
        leave(machine);
        let there = Predecessor::again(machine);
        there.node(OTHER, &H1);
        there.cable(OTHER, "h1", "eth7", 2050);
    });
    let Some(rig) = made else { return };
    let as_it_was = wiring(&rig);
    adopt(&rig, &["--dry-run", LAB]).code(2).says("the two labs are joined");
    adopt(&rig, &[LAB]).code(2).says("the two labs are joined");
    assert_eq!(wiring(&rig), as_it_was);
    adopt(&rig, &["no-such-lab"]).code(2).says("there is no lab");
}
