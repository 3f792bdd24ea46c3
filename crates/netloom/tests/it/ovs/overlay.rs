//! Links to another host: two hosts with an agent and an Open vSwitch each, joined by a network of 1500 bytes.

use super::OvsHost;
use super::carry::carry;

/// Two hosts that reach each other as 10.99.0.1 and 10.99.0.2.
pub(super) fn hosts() -> Option<[OvsHost; 2]> {
    let hosts = [OvsHost::new()?, OvsHost::new()?];
    hosts[0].join(&hosts[1], "under");
    for (at, host) in (1..).zip(&hosts) {
        host.sh(&format!("ip address add 10.99.0.{at}/24 dev under && ip link set under up")).code(0);
    }
    Some(hosts)
}

/// The half of a lab that is on one of them: a node with a link to the other half for each of these identifiers and MTUs.
fn half(own: usize, fabric: &str, links: &[(u32, Option<u32>)]) -> String {
    let link = |(at, (vni, mtu)): (usize, &(u32, Option<u32>))| {
        let mtu = mtu.map(|mtu| format!(", mtu: {mtu}")).unwrap_or_default();
        let end = format!("{{ node: r{own}, interface: eth{at}, ipv4: 10.0.{at}.{own}/24 }}");
        let remote = format!("10.99.0.{}", 3 - own);
        format!("    - {{ type: vxlan-stitch, endpoint: {end}, remote: {remote}, vni: {vni}, dst-port: 4789{mtu} }}\n")
    };
    let links: String = (1..).zip(links).map(link).collect();
    format!(
        "name: x\nsettings: {{ fabric: {fabric} }}\ntopology:\n  nodes: {{ r{own}: {{ kind: linux, runtime: namespace }} }}\n  \
         links:\n{links}"
    )
}

fn deploy(hosts: &[OvsHost; 2], links: &[(u32, Option<u32>)]) {
    deploy_on("ovs", hosts, links);
}

fn deploy_on(fabric: &str, hosts: &[OvsHost; 2], links: &[(u32, Option<u32>)]) {
    for (own, host) in (1..).zip(hosts) {
        host.netloom(&["deploy", "-t", &host.topology("x", &half(own, fabric, links))]).code(0);
    }
}

impl OvsHost {
    /// Whether a packet of this size, which may not be cut up, reaches the other node and comes back.
    fn passes(&self, own: usize, link: usize, size: usize) -> bool {
        let (node, to) = (format!("x/r{own}"), format!("10.0.{link}.{}", 3 - own));
        let payload = (size - 28).to_string();
        self.netloom(&["exec", &node, "--", "ping", "-c", "1", "-W", "1", "-M", "do", "-s", &payload, &to]).code == 0
    }

    fn tunnels(&self) -> Vec<String> {
        let links = self.sh("ip -oneline link").code(0).out;
        let names = links.lines().filter_map(|line| line.split(": ").nth(1));
        names.filter(|name| name.starts_with("vxlan-")).map(str::to_owned).collect()
    }
}

#[test]
fn links_to_another_host_carry_what_was_promised_both_ways_and_go_without_a_trace() {
    let Some(hosts) = hosts() else { return };
    let before = hosts.each_ref().map(|host| host.traces());
    // What the way carries in one piece, less than that, and more.
    deploy(&hosts, &[(9_598_047, None), (7, Some(1300)), (8, Some(1500))]);
    for (own, host) in (1..).zip(&hosts) {
        for (link, most) in [(1, 1450), (2, 1300), (3, 1500)] {
            host.until(&format!("{most} bytes pass over link {link}"), |_| host.passes(own, link, most));
            assert!(!host.passes(own, link, most + 1), "link {link} of host {own}");
        }
    }
    let (one, two) = (hosts[0].node_netns("x/r1").unwrap(), hosts[1].node_netns("x/r2").unwrap());
    hosts[0].until("TCP and UDP pass", |_| carry(&one, &two, "10.0.1.2"));
    drop((one, two));
    let log = hosts[0].log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("are cut up between the hosts")).collect();
    assert!(
        said.iter().all(|line| line.contains("link=r1:eth3") && line.contains("promised=1500 carries=1450")),
        "{log}"
    );
    assert!(!said.is_empty(), "{log}");
    let links = hosts[0].links("x");
    assert_eq!(links[0]["far"], "remote:10.99.0.2 vni 9598047");
    let ports = links[0]["switch"].as_array().unwrap();
    assert_eq!(ports.len(), 2);
    assert_eq!(ports[0]["tag"], ports[1]["tag"]);
    assert!(ports.iter().any(|port| port["port"].as_str().unwrap().starts_with("vxlan-")));
    for (host, before) in hosts.iter().zip(&before) {
        host.netloom(&["destroy", "--name", "x"]).code(0);
        host.vsctl("del-br arch-ovs").code(0);
        host.until("its interface is gone", |host| !host.sh("ip link show arch-ovs").out.contains("arch-ovs"));
        before.are_all(host);
    }
}

#[test]
fn a_tunnel_that_somebody_removes_or_changes_comes_back_and_others_are_left_alone() {
    let Some(hosts) = hosts() else { return };
    let host = &hosts[0];
    host.sh("ip link add vxlan-00000000 type vxlan id 99 remote 10.99.0.2 dstport 4789").code(0);
    deploy(&hosts, &[(7, None)]);
    host.vsctl("-- add-port arch-ovs vxlan-00000000 tag=100").code(0);
    host.until("it is reached", |_| host.passes(1, 1, 1450));
    let own = host.tunnels().into_iter().find(|name| name != "vxlan-00000000").unwrap();
    host.sh(&format!("ip link delete {own}")).code(0);
    host.until("the interface is back", |_| host.passes(1, 1, 1450));
    let cable = host.ports()[0].split(' ').next().unwrap().to_owned();
    host.sh(&format!("ip link delete {cable}")).code(0);
    host.until("the cable is back", |_| host.passes(1, 1, 1450));
    host.vsctl(&format!("-- del-port {own}")).code(0);
    host.until("the port is back", |_| host.is_up("x") && host.passes(1, 1, 1450));
    host.vsctl(&format!("-- set port {own} tag=55")).code(0);
    host.until("the tag is back", |_| host.passes(1, 1, 1450));
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(host.tunnels(), ["vxlan-00000000"]);
    assert_eq!(host.vsctl("-- get port vxlan-00000000 tag").out.trim(), "100");
}

#[test]
fn a_tunnel_that_somebody_switches_off_on_the_host_is_switched_on_again() {
    let Some(hosts) = hosts() else { return };
    let host = &hosts[0];
    for fabric in ["ovs", "kernel"] {
        deploy_on(fabric, &hosts, &[(7, None)]);
        host.until(fabric, |_| host.is_up("x") && host.passes(1, 1, 1400));
        let tunnel = |host: &OvsHost| {
            let shown = host.sh("ip -oneline link show type vxlan").code(0).out;
            let mut parts = shown.split(": ").map(str::to_owned);
            (parts.next().unwrap(), parts.next().unwrap())
        };
        let before = tunnel(host);
        host.sh(&format!("ip link set {} down", before.1)).code(0);
        host.until("it is on again", |_| host.is_up("x") && host.passes(1, 1, 1400));
        assert_eq!(tunnel(host), before, "it was not made anew");
    }
}

#[test]
fn an_identifier_that_is_taken_on_the_host_is_said_with_what_has_it_and_all_else_stands() {
    let Some(hosts) = hosts() else { return };
    let host = &hosts[0];
    host.sh("ip link add theirs type vxlan id 7 remote 10.99.0.2 dstport 4789").code(0);
    let file = host.topology("x", &half(1, "ovs", &[(7, None), (8, None)]));
    let ended = host.netloom(&["deploy", "-t", &file, "--timeout", "5s"]);
    assert_ne!(ended.code, 0);
    assert!((ended.out + &ended.err).contains("theirs"));
    let states: Vec<_> = host.links("x").iter().map(|link| link["state"].as_str().unwrap().to_owned()).collect();
    assert_eq!(states, ["absent", "up"]);
    host.sh("ip link delete theirs").code(0);
    host.until("it is made as soon as it can be", |_| host.is_up("x"));
}

/// Whether `ip link` says this of the end of the link on one of the hosts.
fn end_is(hosts: &[OvsHost; 2], at: usize, what: &str) -> bool {
    let node = format!("x/r{}", at + 1);
    hosts[at].netloom(&["exec", &node, "--", "ip", "link", "show", "eth1"]).out.contains(what)
}

fn set_end(hosts: &[OvsHost; 2], at: usize, state: &str) {
    let node = format!("x/r{}", at + 1);
    hosts[at].netloom(&["exec", &node, "--", "ip", "link", "set", "eth1", state]).code(0);
}

fn until_both_are_on(hosts: &[OvsHost; 2], when: &str) {
    hosts[0].until(when, |_| (0..2).all(|at| end_is(hosts, at, "state UP")) && hosts[0].passes(1, 1, 1400));
}

#[test]
fn an_end_that_is_off_takes_the_carrier_of_the_end_on_the_other_host_and_both_come_back_in_any_order() {
    let Some(hosts) = hosts() else { return };
    for fabric in ["ovs", "kernel"] {
        deploy_on(fabric, &hosts, &[(7, None)]);
        until_both_are_on(&hosts, fabric);
        for (one, other) in [(0, 1), (1, 0)] {
            set_end(&hosts, one, "down");
            hosts[other].until("the end there has no carrier", |_| end_is(&hosts, other, "NO-CARRIER"));
            assert!(end_is(&hosts, other, ",UP"), "nobody touched the end itself");
            hosts[other].netloom(&["inspect", "--name", "x"]).code(0).says("down (off at the far end)");
            set_end(&hosts, one, "up");
            until_both_are_on(&hosts, "both are back");
            set_end(&hosts, one, "down");
            set_end(&hosts, other, "down");
            hosts[other].until("both are off", |_| hosts.iter().all(|host| !host.is_up("x")));
            set_end(&hosts, one, "up");
            set_end(&hosts, other, "up");
            until_both_are_on(&hosts, "both are back, after both were off");
        }
    }
}

#[test]
fn a_host_whose_agent_is_gone_is_forgotten_and_one_that_starts_goes_on_telling() {
    let Some(hosts) = hosts() else { return };
    deploy(&hosts, &[(7, None)]);
    until_both_are_on(&hosts, "it is reached");
    hosts[0].netloom(&["link", "down", "x", "r1:eth1"]).code(0);
    hosts[1].until("the end there has no carrier", |_| end_is(&hosts, 1, "NO-CARRIER"));
    hosts[0].netloom(&["agent", "stop"]).code(0);
    hosts[1].until("a host that says nothing is forgotten", |_| end_is(&hosts, 1, "state UP"));
    hosts[0].netloom(&["agent", "--background"]).code(0);
    hosts[1].until("the end there has no carrier again", |_| end_is(&hosts, 1, "NO-CARRIER"));
    hosts[0].netloom(&["link", "up", "x", "r1:eth1"]).code(0);
    until_both_are_on(&hosts, "both are back, after a restart");
}

#[test]
fn a_link_to_another_host_is_attached_and_detached_while_its_lab_runs() {
    let Some(hosts) = hosts() else { return };
    deploy(&hosts, &[(7, None)]);
    until_both_are_on(&hosts, "it is reached");
    let ports = hosts[0].vsctl("list-ports arch-ovs").code(0).out;
    let add = |at: usize, more: &[&str]| {
        let (end, remote) = (format!("r{}:eth2", at + 1), format!("remote:10.99.0.{}", 2 - at));
        let address = format!("10.0.2.{}/24", at + 1);
        let link = ["link", "add", "x", &end, &remote, "--ipv4", &address];
        hosts[at].netloom(&[&link, more].concat())
    };
    add(0, &["--vni", "16777216"]).code(2).says("24 bits");
    add(0, &[]).code(2).says("remote");
    hosts[0].netloom(&["link", "add", "x", "r1:eth2", "r1:eth3", "--vni", "8"]).code(2).says("write remote:ADDRESS");
    assert_eq!(hosts[0].vsctl("list-ports arch-ovs").out, ports, "nothing was touched");
    for at in 0..2 {
        add(at, &["--vni", "8", "--dst-port", "4789"]).code(0);
    }
    hosts[0].until("the new one carries", |_| hosts[0].passes(1, 2, 1450));
    add(0, &["--vni", "9"]).code(2).says("has a link at r1:eth2 already");
    hosts[0].netloom(&["link", "rm", "x", "r1:eth2"]).code(0);
    assert_eq!(hosts[0].vsctl("list-ports arch-ovs").out, ports, "as before");
    assert!(hosts[0].passes(1, 1, 1450));
}
