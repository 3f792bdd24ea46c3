//! VLANs of a lab's own bridge of Open vSwitch.

use super::OvsHost;

/// Four nodes on one bridge, in one network; the last is a trunk's, with VLAN 10 without tags.
fn lab(vlan_of_c: u16) -> String {
    let link = |node: &str, address: u8, port: &str, vars: &str| {
        format!(
            "    - {{ type: veth, endpoints: [{{ node: {node}, interface: eth1, ipv4: 10.0.0.{address}/24 }}, \
             {{ node: sw, interface: {port}, vars: {vars} }}] }}\n"
        )
    };
    format!(
        "name: x
topology:
  defaults: {{ kind: linux, runtime: namespace }}
  nodes: {{ a: , b: , c: , t: , sw: {{ kind: ovs-bridge }} }}
  links:
{}{}{}{}",
        link("a", 1, "p1", "{ vlan: 10 }"),
        link("b", 2, "p2", "{ vlan: 10 }"),
        link("c", 3, "p3", &format!("{{ vlan: {vlan_of_c} }}")),
        link("t", 4, "p4", "{ vlan: 10, trunks: [20, 30] }"),
    )
}

impl OvsHost {
    fn port(&self, port: &str) -> String {
        self.vsctl(&format!("get port {port} _uuid tag trunks vlan_mode")).code(0).out.replace('\n', " ")
    }
}

#[test]
fn ports_of_one_vlan_reach_each_other_and_no_others_and_a_change_is_set_live() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &lab(20));
    host.netloom(&["deploy", "-t", &file]).code(0).says("5 of 5 nodes running, 4 of 4 links up");
    host.netloom(&["inspect", "--name", "x"])
        .says("sw tag 10: p1")
        .says("sw tag 20: p3")
        .says("sw tag 10 trunks 20,30: p4");
    host.until("one of the same VLAN is reached", |_| host.pings("x/a", "10.0.0.2"));
    host.until("so is what is native there", |_| host.pings("x/t", "10.0.0.1"));
    for other in ["10.0.0.1", "10.0.0.2", "10.0.0.4"] {
        assert!(!host.pings("x/c", other), "{other} is in another VLAN");
    }
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");

    // What somebody else sets is set back.
    let ports = ["p1", "p2", "p3", "p4"];
    let before = ports.map(|port| host.port(port));
    for set in ["p1 tag=20", "p3 trunks=10", "p4 vlan_mode=native-tagged", "p4 trunks=20"] {
        host.vsctl(&format!("set port {set}")).code(0);
        host.until(&format!("{set} is set back"), |_| ports.map(|port| host.port(port)) == before);
    }

    let moved = host.topology("x", &lab(10));
    let plan = host.netloom(&["deploy", "-t", &moved, "--dry-run"]).code(0).out;
    assert!(plan.contains("c:eth1-sw:p3") && !plan.contains("sw:p1"), "{plan}");
    host.netloom(&["deploy", "-t", &moved]).code(0).says("4 of 4 links up");
    host.until("it is reached in its new VLAN", |_| host.pings("x/c", "10.0.0.1"));
    let now = ports.map(|port| host.port(port));
    let uuid = |port: &str| port.split(' ').next().unwrap().to_owned();
    assert_eq!([&now[0], &now[1], &now[3]], [&before[0], &before[1], &before[3]], "no other port is touched");
    assert_eq!(uuid(&now[2]), uuid(&before[2]), "it is the same port");
    host.netloom(&["deploy", "-t", &moved]).code(0).says("nothing to change");

    // What is exported is the same lab.
    let text = host.netloom(&["export", "x"]).code(0).out;
    assert!(text.contains("trunks"), "{text}");
    let exported = host.topology("x", &text);
    host.netloom(&["deploy", "-t", &exported]).code(0).says("nothing to change");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(host.vsctl("list-br").code(0).out, "");
}
