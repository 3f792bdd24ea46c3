//! Labs on Open vSwitch: the same topologies, over ports of one bridge; and what happens when its daemons do not.

mod adoption;
mod carry;
mod checksums;
mod containers;
mod crowd;
mod doctor;
mod edits;
mod figures;
mod frozen;
mod host;
mod overlay;
mod short;
mod vlans;

use netloom_ovs_fixture::Daemon;

use crate::sandbox::Sandbox;
use host::{ON_OVS, OvsHost, WAYS, ports, ring};

#[test]
fn a_lab_on_open_vswitch_carries_traffic_shows_its_ports_and_goes_without_a_trace() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    let before = host.traces();
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 nodes running, 3 of 3 links up");
    for (node, address) in WAYS {
        host.until("it is reached", |_| host.pings(&format!("x/{node}"), address));
    }
    let ports = host.ports();
    assert_eq!(ports.len(), 6, "{ports:?}");
    let tags: Vec<&str> = ports.iter().map(|port| port.split(' ').nth(1).unwrap()).collect();
    for link in host.links("x") {
        let tag = link["switch"][0]["tag"].to_string();
        assert_eq!(tags.iter().filter(|other| **other == tag).count(), 2, "{link} {ports:?}");
    }
    host.netloom(&["inspect", "--name", "x"]).code(0).says("arch-ovs tag 2050: vh");
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");

    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(host.ports(), [""; 0]);
    assert_eq!(host.vsctl("get bridge arch-ovs external_ids").code(0).out.matches("netloom-tag").count(), 0);
    host.vsctl("del-br arch-ovs").code(0);
    host.until("its interface is gone", |host| !host.sh("ip link show arch-ovs").out.contains("arch-ovs"));
    before.are_all(&host);
}

#[test]
fn the_same_topology_goes_from_the_kernel_to_open_vswitch_and_back() {
    let Some(host) = OvsHost::new() else { return };
    let plain = host.topology("x", &ring("x", ""));
    host.netloom(&["deploy", "-t", &plain]).code(0).says("3 of 3 links up");
    assert!(host.pings("x/a", "10.0.1.2"));
    let switched = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &switched]).code(0).says("3 of 3 links up");
    host.until("it is reached", |_| host.pings("x/a", "10.0.1.2"));
    assert_eq!(host.ports().len(), 6);
    let plain = host.topology("x", &ring("x", "settings: { fabric: kernel }"));
    host.netloom(&["deploy", "-t", &plain]).code(0).says("3 of 3 links up");
    assert!(host.pings("x/a", "10.0.1.2"));
    assert_eq!(host.ports(), [""; 0]);
}

#[test]
fn a_bridge_of_open_vswitch_is_a_node_of_a_lab_beside_links_of_the_kernel() {
    let Some(host) = OvsHost::new() else { return };
    let text = "name: x
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes: { a: , b: , c: , sw: { kind: ovs-bridge } }
  links:
    - { endpoints: [\"a:eth1\", \"sw:p1\"], ipv4: [10.0.1.1/24] }
    - { endpoints: [\"b:eth1\", \"sw:p2\"], ipv4: [10.0.1.2/24] }
    - { endpoints: [\"b:eth2\", \"c:eth1\"], ipv4: [10.0.2.1/24, 10.0.2.2/24] }
";
    let file = host.topology("x", text);
    host.netloom(&["deploy", "-t", &file]).code(0).says("4 of 4 nodes running, 3 of 3 links up");
    host.until("they reach each other over the bridge", |_| host.pings("x/a", "10.0.1.2"));
    assert!(host.pings("x/b", "10.0.2.2"));
    assert_eq!(host.vsctl("list-ports sw").code(0).out, "p1\np2\n");
    assert_eq!(host.vsctl("get bridge sw fail_mode").code(0).out, "standalone\n");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(host.vsctl("list-br").code(0).out, "");
}

#[test]
fn what_somebody_changes_on_the_bridge_is_set_back_and_what_is_not_ours_is_left_alone() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.sh("ip link add foreign type veth peer name foreign-peer").code(0);
    host.vsctl("add-port arch-ovs foreign tag=77").code(0);
    let before = host.ports();
    let port = before[0].split(' ').next().unwrap();

    host.vsctl(&format!("set port {port} tag=99")).code(0);
    host.until("the tag is back", |_| host.ports() == before);
    host.vsctl(&format!("del-port arch-ovs {port}")).code(0);
    host.until("the port is back", |_| host.ports() == before);
    host.vsctl("del-br arch-ovs").code(0);
    host.until("the bridge is back with all ports", |_| host.ports() == before);
    for (node, address) in WAYS {
        host.until("it is reached", |_| host.pings(&format!("x/{node}"), address));
    }
    host.vsctl("add-port arch-ovs foreign tag=77").code(0);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(host.vsctl("get port foreign tag").code(0).out, "77\n");
}

#[test]
fn a_database_that_is_killed_or_emptied_gets_the_same_tags_and_labs_of_the_kernel_do_not_notice() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let plain = host.topology("plain", &ring("plain", ""));
    host.netloom(&["deploy", "-t", &plain]).code(0);
    let before = host.ports();

    host.ovs.kill(Daemon::Database);
    host.until("it is said", |_| host.capability() != "ok");
    host.netloom(&["inspect", "--name", "plain"]).code(0).says("3 of 3 nodes running, 3 of 3 links up");
    let other = host.topology("other", &ring("other", ""));
    host.netloom(&["deploy", "-t", &other]).code(0).says("3 of 3 links up");
    host.ovs.start_again(Daemon::Database);
    host.until("it is seen again", |_| host.capability() == "ok");
    assert_eq!(host.ports(), before);
    host.until("it is whole", |_| host.is_up("x"));

    host.ovs.start_empty();
    host.until("it has its ports again", |_| host.ports() == before);
    for (node, address) in WAYS {
        host.until("it is reached", |_| host.pings(&format!("x/{node}"), address));
    }
    host.netloom(&["destroy", "--all", "--yes"]).code(0);
    assert_eq!(host.ports(), [""; 0]);
}

#[test]
fn an_end_that_its_node_shuts_takes_the_carrier_of_the_far_end_and_both_come_back_in_any_order() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let pids = host.lab("x")["nodes"].as_array().unwrap().clone();
    let inside = |node: &str, script: &str| {
        let pid = &pids.iter().find(|one| one["name"] == node).unwrap()["pid"];
        host.sh(&format!("nsenter --target {pid} --net {script}")).code(0).out
    };
    let is_up = |node: &str| inside(node, "ip link show eth1").contains("LOWER_UP");
    inside("a", "ip link set eth1 down");
    host.until("the far end has no carrier", |_| !is_up("b"));
    assert!(inside("b", "ip link show eth1").contains(",UP"), "nobody touched the end itself");
    assert!(host.pings("x/b", "10.0.2.2"), "other links carry on");
    inside("a", "ip link set eth1 up");
    host.until("it has one again", |_| is_up("a") && is_up("b"));
    for (first, second) in [("a", "b"), ("b", "a")] {
        inside("a", "ip link set eth1 down");
        inside("b", "ip link set eth1 down");
        inside(first, "ip link set eth1 up");
        inside(second, "ip link set eth1 up");
        host.until("both are back", |_| is_up("a") && is_up("b"));
    }
    host.until("it is reached", |_| host.pings("x/a", "10.0.1.2"));

    host.netloom(&["link", "down", "x", "a:eth1"]).code(0);
    host.until("a cut end takes it too", |_| !is_up("b"));
    host.netloom(&["link", "up", "x", "a:eth1"]).code(0);
    host.until("and gives it back", |_| is_up("a") && is_up("b"));
    host.netloom(&["node", "stop", "x/b"]).code(0);
    host.until("a node that is stopped takes it", |_| !is_up("a"));
    host.netloom(&["node", "start", "x/b"]).code(0);
    host.until("and gives it back", |_| is_up("a"));
}

#[test]
fn ports_outlive_ovs_vswitchd_and_traffic_comes_back_with_it() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let before = host.ports();
    host.ovs.kill(Daemon::Switch);
    host.until("nothing passes", |_| !host.pings("x/a", "10.0.1.2"));
    assert_eq!(host.ports(), before);
    host.ovs.start_again(Daemon::Switch);
    for (node, address) in WAYS {
        host.until("it is reached", |_| host.pings(&format!("x/{node}"), address));
    }
    assert_eq!(host.ports(), before);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
}

#[test]
fn an_agent_that_is_killed_cuts_no_link_and_its_next_life_finds_all_of_it() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.until("it is reached", |_| host.pings("x/a", "10.0.1.2"));
    let before = host.ports();
    let pid = host.netloom(&["agent", "status", "--json"]).code(0).json()["pid"].to_string();
    let node = host.lab("x")["nodes"][0]["pid"].to_string();
    let ping = format!("nsenter --target {node} --net ping -q -i 0.01 -c 300 10.0.1.2");
    let traffic = host.command("sh").args(["-c", &ping]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    host.sh(&format!("kill -KILL {pid}")).code(0);
    host.until("it is gone", |host| host.netloom(&["agent", "status"]).code == 3);
    host.netloom(&["agent", "--background"]).code(0);
    host.until("it is whole", |_| host.netloom(&["inspect", "--name", "x"]).code == 0 && host.is_up("x"));
    let said = String::from_utf8(traffic.wait_with_output().unwrap().stdout).unwrap();
    assert!(said.contains(" 0% packet loss"), "{said}");
    assert_eq!(host.ports(), before);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
}

#[test]
fn without_open_vswitch_a_lab_on_it_is_refused_with_what_to_do_and_nothing_is_touched() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    let before = host.traces();
    let refused = host.netloom(&["deploy", "-t", &file]).code(2);
    for said in ["Open vSwitch", "/run/openvswitch/db.sock", "systemctl start openvswitch-switch", "fabric: kernel"] {
        assert!(refused.err.contains(said), "{said} is not in {}", refused.err);
    }
    before.are_all(&host);
    let plain = host.topology("x", &ring("x", ""));
    host.netloom(&["deploy", "-t", &plain]).code(0).says("3 of 3 links up");
    host.netloom(&["status"]).code(0);
}
