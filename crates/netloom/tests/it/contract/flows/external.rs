//! Networks outside: an interface of the host that nodes are joined to.

use serde_json::{Value, json};

use crate::contract::client::Client;
use crate::contract::rig::{Machine, Rig, container, number, text};
use crate::contract::steps::{H1, H2, LAB, OTHER, R1};
use crate::contract::traffic::Traffic;
use crate::sandbox::Sandbox;

/// What a controller attaches a link to a network outside by.
const NUMBER: &str = "5b0c5b36-6a6e-4f0e-9d3a-6a1f3a1f0c11";
/// What is outside, and has this address.
const OUTSIDE: &str = "10.0.9.1";

/// Gives a host an interface `out0`, at the other end of which somebody else is.
fn outside(machine: &Machine) -> Sandbox {
    let outside = Sandbox::new().expect("there was one before");
    machine.join(&outside, "out0");
    machine.sh("ip link set out0 up").code(0);
    outside.sh(&format!("ip address add {OUTSIDE}/24 dev out0 && ip link set out0 up")).code(0);
    outside
}

fn connect(node: &str, interface: &str, external: &str) -> Value {
    json!({ "node_name": node, "container_name": null, "interface_name": interface, "external_interface": external,
        "vlan_tag": null })
}

fn connects(agent: &Client, lab: &str, node: &str, external: &str) -> u64 {
    let answer = agent.post(&format!("/labs/{lab}/external/connect"), &connect(node, "eth1", external));
    assert_eq!((&answer["success"], &answer["error"]), (&json!(true), &Value::Null), "{answer:#}");
    number(&answer, "vlan_tag")
}

#[test]
fn nodes_are_joined_to_a_network_outside_and_leave_it_without_a_trace() {
    let Some(rig) = Rig::new() else { return };
    let _outside = outside(&rig);
    rig.sh("ip link add there0 type veth peer name there1 && ip link set there0 up && ip address add 192.0.2.1/24 dev there0")
        .code(0);
    let agent = &rig.agent;
    let before = rig.leavings();
    agent.deploys(LAB, &[R1, H1], &[]);
    let refused = |external: &str, why: &str| {
        let (held, ports) = (rig.leavings(), rig.ports());
        let answer = agent.post(&format!("/labs/{LAB}/external/connect"), &connect("r1", "eth1", external));
        assert_eq!((&answer["success"], &answer["vlan_tag"]), (&json!(false), &Value::Null), "{answer:#}");
        assert!(text(&answer, "error").contains(why), "{answer:#}");
        assert_eq!((rig.leavings(), rig.ports()), (held, ports));
    };
    refused("nothere0", "there is no interface nothere0");
    refused("there0", "has the address 192.0.2.1/24");
    refused("there1", "`ip link set there1 up`");
    refused("arch-ovs", "");
    let unknown = agent.post(&format!("/labs/{LAB}/external/connect"), &connect("r9", "eth1", "out0"));
    assert!(text(&unknown, "error").contains("Cannot find OVS port for r9:eth1"), "{unknown:#}");

    let own = agent.vlan(LAB, "r1", "eth1").0;
    let tag = connects(agent, LAB, "r1", "out0");
    assert!(tag != own && agent.vlan(LAB, "r1", "eth1").0 == tag);
    rig.address(&container(LAB, "r1"), "eth1", "10.0.9.2/24");
    rig.until("what is outside is reached", |_| rig.reaches(&container(LAB, "r1"), OUTSIDE, 1472));
    let traffic = Traffic::start(&rig, &container(LAB, "r1"), OUTSIDE);
    assert_eq!(connects(agent, LAB, "r1", "out0"), tag);
    assert_eq!(connects(agent, LAB, "h1", "out0"), tag, "all that are joined to it share it");
    rig.address(&container(LAB, "h1"), "eth1", "10.0.9.3/24");
    rig.until("both are in it", |_| rig.reaches(&container(LAB, "h1"), "10.0.9.2", 56));
    assert!(rig.reaches(&container(LAB, "h1"), OUTSIDE, 56));
    let shown = json!({ "connections": [
        { "external_interface": "out0", "vlan_tag": tag, "connected_ports": ["h1:eth1", "r1:eth1"] }] });
    assert_eq!(agent.get(&format!("/labs/{LAB}/external")), shown);
    agent.deploys(OTHER, &[H1], &[]);
    let other = agent.post(&format!("/labs/{OTHER}/external/connect"), &connect("h1", "eth1", "out0"));
    assert!(text(&other, "error").contains(&format!("is joined to lab {LAB}")), "{other:#}");
    agent.destroys(OTHER);

    let ports = rig.ports();
    rig.kill_agent();
    rig.start_agent();
    assert_eq!((connects(agent, LAB, "r1", "out0"), rig.ports()), (tag, ports));
    traffic.lost_nothing();

    // What the controller sends when it takes labs down: its name for the host is no lab's.
    let gone = agent.delete("/ovs-plugin/labs/_global/external/out0");
    assert_eq!((&gone["success"], &gone["error"]), (&json!(true), &Value::Null), "{gone:#}");
    assert_eq!(agent.vlan(LAB, "r1", "eth1").0, own, "it has its own tag again");
    assert!(!rig.reaches(&container(LAB, "r1"), OUTSIDE, 56));
    assert_eq!(agent.get(&format!("/labs/{LAB}/external"))["connections"], json!([]));
    connects(agent, LAB, "r1", "out0");
    rig.until("it is reached again", |_| rig.reaches(&container(LAB, "r1"), OUTSIDE, 56));
    agent.destroys(LAB);
    assert_eq!(rig.leavings(), before);
}

#[test]
fn a_network_outside_of_one_host_is_joined_to_a_node_on_another() {
    let Some(hosts) = super::two_hosts::Hosts::new() else { return };
    let [one, two] = &hosts.machines;
    let _outside = outside(two);
    let before = two.leavings();
    hosts.agents[0].deploys(LAB, &[R1], &[]);
    let attach = |container: &str, interface: &str, at: usize| {
        let addresses = ["10.99.0.1", "10.99.0.2"];
        json!({ "lab_id": LAB, "container_name": container, "interface_name": interface, "vni": 178_410,
            "local_ip": addresses[at], "remote_ip": addresses[1 - at], "link_id": NUMBER, "tenant_mtu": 1450 })
    };
    let of_node = hosts.agents[0].post("/overlay/attach-link", &attach("r1", "eth1", 0));
    assert_eq!(of_node["success"], true, "{of_node:#}");
    let external = attach("_ext:out0", "_external", 1);
    let joined = hosts.agents[1].post("/overlay/attach-link", &external);
    assert_eq!((&joined["success"], &joined["error"]), (&json!(true), &Value::Null), "{joined:#}");
    one.address(&container(LAB, "r1"), "eth1", "10.0.9.2/24");
    one.until("what is outside of the other host is reached", |_| one.reaches(&container(LAB, "r1"), OUTSIDE, 1422));
    let again = hosts.agents[1].post("/overlay/attach-link", &external);
    assert_eq!(again["local_vlan"], joined["local_vlan"]);
    // It is declared and listed by the name of its ends.
    for (at, agent) in hosts.agents.iter().enumerate() {
        let declared = json!({ "link_id": "_ext:out0:out0-r1:eth1", "lab_id": LAB, "vni": 178_410, "port_name": "vxlan-00000001",
            "local_ip": "192.0.2.101", "remote_ip": "192.0.2.102", "expected_vlan": 0, "mtu": 1450 });
        let answer = agent.post("/overlay/declare-state", &json!({ "tunnels": [declared], "declared_labs": [LAB] }));
        assert_eq!(
            (&answer["results"][0]["status"], &answer["orphans_removed"]),
            (&json!("converged"), &json!([])),
            "{at}: {answer:#}"
        );
        let valid =
            json!({ "valid_port_names": ["vxlan-00000001"], "force": false, "confirm": false, "allow_empty": false });
        assert_eq!(agent.post("/overlay/reconcile-ports", &valid)["removed_ports"], json!([]));
    }
    assert!(one.reaches(&container(LAB, "r1"), OUTSIDE, 1422));
    // What it is called where its tag is compared with that of the tunnel: by its interface, or by a number of the controller's.
    for name in ["_ext:out0", "_ext:8f6c1d30"] {
        let tag = hosts.agents[1].get(&format!("/labs/{LAB}/interfaces/{name}/_external/vlan?read_from_ovs=true"));
        assert_eq!((&tag["vlan_tag"], &tag["error"]), (&joined["local_vlan"], &Value::Null), "{tag:#}");
    }
    let detached = hosts.agents[1].post("/overlay/detach-link", &external);
    assert_eq!((&detached["success"], &detached["tunnel_deleted"]), (&json!(true), &json!(true)), "{detached:#}");
    assert_eq!(two.leavings(), before, "a lab with nothing in it is none");
    hosts.agents[0].destroys(LAB);
}

/// A number of the controller's for the interface outside.
const INTERFACE: &str = "_ext:8f6c1d30-2f4e-4b41-9a57-0c5f2b0e4d11";

/// What a controller does once such links are made: it asks for them, and removes them, as for links between nodes.
#[test]
fn links_to_a_network_outside_are_asked_for_and_removed_by_the_number_of_its_interface() {
    let Some(rig) = Rig::new() else { return };
    let _outside = outside(&rig);
    let agent = &rig.agent;
    agent.deploys(LAB, &[R1, H1, H2], &[]);
    let own = ["r1", "h1"].map(|node| agent.vlan(LAB, node, "eth1").0);
    let links = |node: &str| {
        let body = json!({ "source_node": node, "source_interface": "eth1", "target_node": INTERFACE,
            "target_interface": "_external" });
        agent.post(&format!("/labs/{LAB}/links"), &body)
    };
    let early = links("r1");
    assert!(text(&early, "error").starts_with("Endpoint not found"), "it is tried again then: {early:#}");
    let tag = connects(agent, LAB, "r1", "out0");
    // One that is there, and one that comes to the one network that there is.
    for node in ["r1", "h1"] {
        let linked = links(node);
        let link = &linked["link"];
        assert_eq!(
            (&linked["success"], &link["vlan_tag"], text(link, "state")),
            (&json!(true), &json!(tag), "connected")
        );
        assert_eq!((text(link, "source_node"), text(link, "target_node")), (node, INTERFACE), "{linked:#}");
        assert_eq!(text(link, "source_ovs_port"), agent.vlan(LAB, node, "eth1").1);
        assert!(text(link, "target_ovs_port").starts_with("ext-"), "{linked:#}");
        assert_eq!(agent.vlan(LAB, node, "eth1").0, tag);
    }
    assert_eq!(agent.get(&format!("/labs/{LAB}/interfaces/{INTERFACE}/_external/vlan"))["vlan_tag"], json!(tag));

    // By the number, and by what the controller calls the network.
    let removes = |link: &str| {
        let gone = agent.delete(&format!("/labs/{LAB}/links/{link}"));
        assert_eq!((&gone["success"], &gone["error"]), (&json!(true), &Value::Null), "{gone:#}");
    };
    removes("h1:eth1-h2:eth1");
    removes(&format!("r1:eth1-{INTERFACE}:_external"));
    assert_eq!((agent.vlan(LAB, "r1", "eth1").0, agent.vlan(LAB, "h1", "eth1").0), (own[0], tag));
    removes("ext1:eth0-h1:eth1");
    assert_eq!(agent.vlan(LAB, "h1", "eth1").0, own[1]);
    assert_eq!(agent.get(&format!("/labs/{LAB}/external"))["connections"], json!([]));
    agent.destroys(LAB);
}

/// What a controller that has attached by a number does when it looks for the link by its name: it does not find it, and attaches it
/// once more, by that name, with an identifier of that, and by its own number for the interface outside.
#[test]
fn a_link_to_a_network_outside_that_is_attached_by_its_name_too_stays_the_one_that_it_is() {
    let Some(hosts) = super::two_hosts::Hosts::new() else { return };
    let [one, two] = &hosts.machines;
    let [near, _] = &hosts.agents;
    let _outside = outside(two);
    let before = two.leavings();
    near.deploys(LAB, &[R1, H1], &[]);
    let attach = |link: &str, vni: u32, of: [&str; 2], at: usize| {
        let addresses = ["10.99.0.1", "10.99.0.2"];
        let interface = if at == 0 { "eth1" } else { "_external" };
        json!({ "lab_id": LAB, "container_name": of[at], "interface_name": interface, "vni": vni,
            "local_ip": addresses[at], "remote_ip": addresses[1 - at], "link_id": link, "tenant_mtu": 1450 })
    };
    let attaches = |link: &str, vni: u32, of: [&str; 2]| {
        let answers = [0, 1].map(|at| hosts.agents[at].post("/overlay/attach-link", &attach(link, vni, of, at)));
        answers.map(|answer| {
            assert_eq!((&answer["success"], &answer["error"]), (&json!(true), &Value::Null), "{answer:#}");
            (number(&answer, "local_vlan"), number(&answer, "vni"))
        })
    };
    let by_number = attaches(NUMBER, 178_410, ["r1", "_ext:out0"]);
    one.address(&container(LAB, "r1"), "eth1", "10.0.9.2/24");
    one.until("what is outside is reached", |_| one.reaches(&container(LAB, "r1"), OUTSIDE, 1422));
    let traffic = Traffic::start(one, &container(LAB, "r1"), OUTSIDE);
    let ports = [one, two].map(Machine::ports);
    let name = "ext1:eth0-r1:eth1";
    let told = |agent: &Client, name: &str| {
        let tunnels = agent.get("/overlay/status")["link_tunnels"].clone();
        let of_name = |tunnel: &&Value| tunnel["link_id"] == name;
        tunnels
            .as_array()
            .unwrap()
            .iter()
            .find(of_name)
            .map(|tunnel| (tunnel["vni"].clone(), tunnel["local_vlan"].clone()))
    };
    assert_eq!(told(near, name), None);
    for _ in 0..2 {
        assert_eq!(attaches(name, 178_411, ["r1", INTERFACE]), by_number, "it leads by the identifier that it has");
    }
    assert_eq!([one, two].map(Machine::ports), ports);
    two.kill_agent();
    two.start_agent();
    for (agent, (tag, vni)) in hosts.agents.iter().zip(by_number) {
        for name in [name, NUMBER] {
            assert_eq!(told(agent, name), Some((json!(vni), json!(tag))), "the name is kept as the number is");
        }
        let declared = json!({ "link_id": name, "lab_id": LAB, "vni": 178_411, "port_name": "vxlan-00000001", "mtu": 1450,
            "local_ip": "192.0.2.101", "remote_ip": "192.0.2.102", "expected_vlan": tag });
        let answer = agent.post("/overlay/declare-state", &json!({ "tunnels": [declared], "declared_labs": [LAB] }));
        let became =
            (&answer["results"][0]["status"], &answer["results"][0]["actual_vlan"], &answer["orphans_removed"]);
        assert_eq!(became, (&json!("converged"), &json!(tag), &json!([])), "{answer:#}");
    }

    // Another one to the same host: which of both a name means nobody can tell there, and to remove one never cuts the other.
    let other = "ext1:eth0-h1:eth1";
    let by_number = attaches("178412", 178_412, ["h1", "_ext:out0"]);
    assert_eq!(attaches(other, 178_413, ["h1", INTERFACE]), by_number);
    one.address(&container(LAB, "h1"), "eth1", "10.0.9.3/24");
    one.until("it is reached from there too", |_| one.reaches(&container(LAB, "h1"), OUTSIDE, 1422));
    traffic.lost_nothing();
    let detaches = |link: &str, node: &str| {
        for (agent, body) in hosts.agents.iter().zip([0, 1].map(|at| attach(link, 1, [node, INTERFACE], at))) {
            let gone = agent.post("/overlay/detach-link", &body);
            assert_eq!((&gone["success"], &gone["error"]), (&json!(true), &Value::Null), "{gone:#}");
            assert_eq!(told(agent, link), None);
        }
    };
    detaches(name, "r1");
    assert!(!one.reaches(&container(LAB, "r1"), OUTSIDE, 56));
    assert!(one.reaches(&container(LAB, "h1"), OUTSIDE, 1422));
    detaches(other, "h1");
    assert_eq!(two.leavings(), before, "it goes with the last that leads to it");
    // Before anybody has said its name, the port knows which one it is; the rest goes when that is not declared, or by its number.
    attaches(NUMBER, 178_410, ["r1", "_ext:out0"]);
    detaches(name, "r1");
    assert!(!one.reaches(&container(LAB, "r1"), OUTSIDE, 56));
    assert_eq!(told(near, NUMBER), None);
    for container in ["", INTERFACE, "_ext:"] {
        let body = json!({ "lab_id": LAB, "container_name": container, "interface_name": "", "link_id": NUMBER });
        assert_eq!(hosts.agents[1].post("/overlay/detach-link", &body)["success"], true);
    }
    assert_eq!(two.leavings(), before);
    near.destroys(LAB);
}

#[test]
fn a_network_outside_is_one_for_nodes_on_all_hosts() {
    let Some(hosts) = super::two_hosts::Hosts::new() else { return };
    let [one, two] = &hosts.machines;
    let [near, far] = &hosts.agents;
    let _outside = outside(two);
    let before = two.leavings();
    near.deploys(LAB, &[R1, H1], &[]);
    far.deploys(LAB, &[H2], &[]);
    let links = [("r1", "178410", 178_410), ("h1", "178411", 178_411)];
    let attach = |(node, number, vni): (&str, &str, u32), at: usize| {
        let addresses = ["10.99.0.1", "10.99.0.2"];
        let (container, interface) = if at == 0 { (node, "eth1") } else { ("_ext:out0", "_external") };
        json!({ "lab_id": LAB, "container_name": container, "interface_name": interface, "vni": vni,
            "local_ip": addresses[at], "remote_ip": addresses[1 - at], "link_id": number, "tenant_mtu": 1450 })
    };
    let attaches = |link: (&str, &str, u32)| {
        for (at, agent) in hosts.agents.iter().enumerate() {
            let answer = agent.post("/overlay/attach-link", &attach(link, at));
            assert_eq!((&answer["success"], &answer["error"]), (&json!(true), &Value::Null), "{answer:#}");
        }
    };
    let reaches = |node: &str| one.reaches(&container(LAB, node), OUTSIDE, 1422);
    // One on its own host, and then two on another.
    let tag = connects(far, LAB, "h2", "out0");
    two.address(&container(LAB, "h2"), "eth1", "10.0.9.2/24");
    for (link, address) in links.into_iter().zip(["10.0.9.3/24", "10.0.9.4/24"]) {
        attaches(link);
        one.address(&container(LAB, link.0), "eth1", address);
    }
    for (node, ..) in links {
        one.until("what is outside of the other host is reached", |_| reaches(node));
    }
    assert!(two.reaches(&container(LAB, "h2"), OUTSIDE, 1422));
    let traffic = Traffic::start(one, &container(LAB, "r1"), OUTSIDE);
    attaches(links[0]);
    assert_eq!(connects(far, LAB, "h2", "out0"), tag, "the one with the other");
    let tunnels = far.get("/overlay/status")["link_tunnels"].clone();
    let told: Vec<_> = tunnels.as_array().unwrap().iter().map(|of| (text(of, "link_id"), &of["local_vlan"])).collect();
    assert_eq!(told, [("178410", &json!(tag)), ("178411", &json!(tag))]);

    // A declaration that has another MTU for one changes that alone.
    let declared = |(node, _, vni): (&str, &str, u32), mtu: u32| {
        json!({ "link_id": format!("_ext:out0:out0-{node}:eth1"), "lab_id": LAB, "vni": vni, "mtu": mtu,
            "port_name": format!("vxlan-{vni:08}"), "local_ip": "192.0.2.102", "remote_ip": "192.0.2.101", "expected_vlan": tag })
    };
    let body = json!({ "tunnels": [declared(links[0], 1450), declared(links[1], 1440)], "declared_labs": [LAB] });
    let answer = far.post("/overlay/declare-state", &body);
    let became = |at: usize| (&answer["results"][at]["status"], &answer["results"][at]["actual_vlan"]);
    assert_eq!([became(0), became(1)], [(&json!("converged"), &json!(tag)), (&json!("updated"), &json!(tag))]);
    assert_eq!(answer["orphans_removed"], json!([]));

    // One goes; the others stay in it, and it with the last.
    let detach = |link| {
        let gone = far.post("/overlay/detach-link", &attach(link, 1));
        assert_eq!((&gone["success"], &gone["tunnel_deleted"]), (&json!(true), &json!(true)), "{gone:#}");
    };
    detach(links[1]);
    assert!(!reaches("h1"));
    traffic.went_on();
    assert!(two.reaches(&container(LAB, "h2"), OUTSIDE, 1422));
    far.destroys(LAB);
    assert_eq!(two.leavings(), before);
    near.destroys(LAB);
}
