//! Containers, whose links are ports of Open vSwitch.

use netloom_ovs_fixture::Ovs;

use super::ports;
use crate::docker::host::{DockerHost, IMAGE};

const WAYS: [(&str, &str); 3] = [("a", "10.0.1.2"), ("b", "10.0.2.2"), ("c", "10.0.3.2")];

/// Three containers in a ring.
fn ring() -> String {
    format!(
        "name: x
settings: {{ fabric: ovs }}
topology:
  defaults: {{ kind: linux, image: \"{IMAGE}\" }}
  nodes: {{ a: , b: , c: }}
  links:
    - {{ endpoints: [\"a:eth1\", \"b:eth1\"], ipv4: [10.0.1.1/24, 10.0.1.2/24] }}
    - {{ endpoints: [\"b:eth2\", \"c:eth1\"], ipv4: [10.0.2.1/24, 10.0.2.2/24] }}
    - {{ endpoints: [\"c:eth2\", \"a:eth2\"], ipv4: [10.0.3.1/24, 10.0.3.2/24], mtu: 1400 }}
"
    )
}

#[test]
fn containers_on_open_vswitch_keep_the_tags_of_their_ports_through_restarts() {
    let Some(host) = DockerHost::new() else { return };
    let Some(ovs) = Ovs::start_with_switch_by(&mut host.command("env")) else { return };
    let host = host.agent_with_switch(&ovs.socket());
    let before = host.all_traces();
    let file = host.topology("x", &ring());
    let ping = |host: &DockerHost| WAYS.iter().all(|(node, address)| host.pings(node, address));
    // The database may be seen a moment later than the daemon.
    host.wait("it is deployed", |host| host.netloom(&["deploy", "-t", &file]).code == 0);
    host.netloom(&["inspect", "--name", "x"]).code(0).says("3 of 3 nodes running, 3 of 3 links up");
    host.wait("all are reached", ping);
    let talk = |host: &DockerHost| {
        WAYS.iter()
            .zip(["b", "c", "a"])
            .all(|((from, address), to)| host.carries(&format!("x/{from}"), &format!("x/{to}"), address))
    };
    host.wait("TCP and UDP pass", talk);
    let tagged = ports(&ovs);
    assert_eq!(tagged.len(), 6, "{tagged:?}");

    for node in ["clab-x-a", "clab-x-b"] {
        host.docker(&format!("restart -t 0 {node}"));
        host.wait("all are reached again", ping);
        host.wait("TCP and UDP pass again", talk);
        assert_eq!(ports(&ovs), tagged);
    }
    host.docker("restart -t 0 clab-x-a clab-x-b clab-x-c");
    host.wait("all are reached again", ping);
    assert_eq!(ports(&ovs), tagged);
    // Nobody has pinged over the management network, whose links come back in their own time.
    let is_whole =
        |host: &DockerHost| host.netloom(&["deploy", "-t", &file, "--dry-run"]).out.contains("nothing to change");
    host.wait("all is as it is wanted", is_whole);

    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(ports(&ovs), [""; 0]);
    ovs.vsctl(["del-br", "arch-ovs"]);
    before.are_all(&host);
    // It goes before the host that it is on.
    drop(ovs);
}
