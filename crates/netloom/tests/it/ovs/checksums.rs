//! TCP and UDP over the datapath in user space, which passes on what veth leaves unfinished: whatever made the ends, or mended
//! their ports, they send whole packets.

use super::{ON_OVS, OvsHost, WAYS, ring};

impl OvsHost {
    #[track_caller]
    fn all_ways_carry(&self) {
        for ((from, address), to) in WAYS.into_iter().zip(["b", "c", "a"]) {
            let [from, to] = [from, to].map(|node| format!("x/{node}"));
            self.until(&format!("{from} talks to {to}"), |host| host.carries(&from, &to, address));
        }
    }
}

#[test]
fn tcp_and_udp_pass_a_switch_in_user_space_whatever_made_the_ends_and_their_ports() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 links up");
    assert_eq!(host.vsctl("get bridge arch-ovs datapath_type").code(0).out, "netdev\n");
    host.all_ways_carry();

    let add = ["link", "add", "x", "a:eth5", "b:eth5", "--ipv4", "10.9.0.1/30,10.9.0.2/30"];
    host.netloom(&add).code(0).says("is up");
    host.until("the new link carries", |host| host.carries("x/a", "x/b", "10.9.0.2"));

    host.netloom(&["node", "restart", "x/b"]).code(0);
    host.all_ways_carry();
    host.until("so does the new link", |host| host.carries("x/a", "x/b", "10.9.0.2"));
    host.netloom(&["node", "stop", "x/c"]).code(0);
    host.netloom(&["node", "start", "x/c"]).code(0);
    host.all_ways_carry();

    let before = host.ports();
    for port in &before {
        host.vsctl(&format!("del-port arch-ovs {}", port.split(' ').next().unwrap())).code(0);
    }
    host.until("the ports are back", |_| host.ports() == before);
    host.all_ways_carry();
    host.vsctl("del-br arch-ovs").code(0);
    host.until("the bridge is back with all ports", |_| host.ports() == before);
    host.all_ways_carry();
}

#[test]
fn so_they_do_from_the_host_and_over_a_bridge_of_the_lab_that_somebody_made_so() {
    let Some(host) = OvsHost::new() else { return };
    host.vsctl("add-br sw -- set bridge sw datapath_type=netdev").code(0);
    let text = format!(
        "name: x
{ON_OVS}
topology:
  defaults: {{ kind: linux, runtime: namespace }}
  nodes: {{ a: , b: , sw: {{ kind: ovs-bridge }} }}
  links:
    - {{ endpoints: [\"a:eth1\", \"sw:p1\"], ipv4: [10.0.1.1/24] }}
    - {{ endpoints: [\"b:eth1\", \"sw:p2\"], ipv4: [10.0.1.2/24] }}
    - {{ endpoints: [\"a:eth2\", \"host:to-a\"], ipv4: [10.0.2.1/24, 10.0.2.2/24] }}
"
    );
    let file = host.topology("x", &text);
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 links up");
    host.until("over the bridge of the lab", |host| host.carries("x/a", "x/b", "10.0.1.2"));
    host.until("from the host", |host| host.carries("", "x/a", "10.0.2.1"));
    host.until("to the host", |host| host.carries("x/a", "", "10.0.2.2"));
}
