//! Containers that end and begin again, by whomever, and what their neighbours see of it.

use super::host::{DockerHost, IMAGE};
use crate::lab::node;

fn pair() -> String {
    format!(
        "name: x
topology:
  defaults: {{ kind: linux, image: \"{IMAGE}\", network-mode: none }}
  nodes:
    a:
    b: {{ cmd: \"sh -c 'trap exit TERM; echo begun; sleep 100000 & wait'\", exec: [\"ip route add 10.9.0.0/24 via 10.0.0.1\"] }}
    over: {{ cmd: \"sleep 100000\", restart-policy: \"no\" }}
    kept: {{ restart-policy: unless-stopped }}
  links:
    - {{ endpoints: [\"a:eth1\", \"b:eth1\"], ipv4: [10.0.0.1/24, 10.0.0.2/24] }}
    - {{ endpoints: [\"a:eth2\", \"over:eth1\"] }}
"
    )
}

/// What nothing may change of an end: ifindex, MAC address, addresses.
fn end(host: &DockerHost, of: &str, interface: &str) -> String {
    host.inside(
        of,
        &format!(
            "cd /sys/class/net/{interface}; cat ifindex address mtu; ip -o -4 addr show {interface} | awk '{{ print $4 }}'"
        ),
    )
}

#[test]
fn a_container_that_docker_restarts_has_its_links_and_its_neighbour_keeps_its_own() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let file = host.topology("x", &pair());
    host.netloom(&["deploy", "-t", &file]).code(0).says("4 of 4 nodes running");
    let was = [end(&host, "a", "eth1"), end(&host, "b", "eth1")];
    for _ in 0..3 {
        host.docker("restart -t 0 clab-x-b");
        assert_eq!(end(&host, "a", "eth1"), was[0]);
        // It may be seen to have ended for a moment yet.
        let routes = |host: &DockerHost| host.netloom(&["exec", "x/b", "--", "ip", "route"]).out;
        host.wait("its commands were run in its new life", |host| routes(host).contains("10.9.0.0/24"));
        assert_eq!(end(&host, "b", "eth1"), was[1]);
        host.sh("nsenter --net=$NETLOOM_ROOT/run/netns/clab-x-b ip link show eth1").code(0);
    }

    // It ends by itself, and Docker starts it as its policy says.
    let pid = node(&host.lab("x"), "b")["pid"].clone();
    host.sh(&format!("kill -KILL {pid}")).code(0);
    host.wait("it is back", |host| {
        let lab = host.lab("x");
        node(&lab, "b")["ready"] == true && node(&lab, "b")["pid"] != pid
    });
    assert!(host.pings("a", "10.0.0.2"));
    assert_eq!([end(&host, "a", "eth1"), end(&host, "b", "eth1")], was);
    let logs = host.netloom(&["logs", "x/b"]).code(0).out;
    assert_eq!(logs.matches("begun").count(), 5, "{logs}");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_container_that_somebody_removes_comes_back_with_its_links() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let file = host.topology("x", &pair());
    host.netloom(&["deploy", "-t", &file]).code(0);
    let id = host.docker("inspect -f '{{.Id}}' clab-x-b");
    host.docker("rm -f clab-x-b");
    host.wait("it is back", |host| {
        node(&host.lab("x"), "b")["ready"] == true && host.netloom(&["inspect"]).out.contains("4/4    2/2")
    });
    assert_ne!(host.docker("inspect -f '{{.Id}}' clab-x-b"), id);
    assert!(host.pings("a", "10.0.0.2") && host.pings("b", "10.0.0.1"));
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");

    // What ends for good stays so, and says with what.
    host.docker("kill clab-x-over");
    host.wait("it has ended", |host| node(&host.lab("x"), "over")["state"]["code"] == 137);
    host.netloom(&["inspect", "--name", "x"]).code(0).says("exited(137)").says("3 of 4 nodes running");
    host.docker("kill clab-x-kept");
    host.wait("it has ended", |host| node(&host.lab("x"), "kept")["state"]["code"] == 137);
    // With its policy one that was killed by hand runs again.
    host.docker("kill clab-x-b");
    host.wait("it is back", |host| node(&host.lab("x"), "b")["ready"] == true && host.pings("a", "10.0.0.2"));
    // By then the others would be back too: by their policies Docker leaves them, and so do we.
    for ended in ["over", "kept"] {
        assert_eq!(host.docker(&format!("inspect -f '{{{{.State.Status}}}}' clab-x-{ended}")), "exited");
    }
    // The agent does not run when it happens.
    host.netloom(&["agent", "stop"]).code(0);
    host.docker("rm -f clab-x-b");
    host.netloom(&["agent", "--background"]).code(0);
    host.wait("it is back", |host| node(&host.lab("x"), "b")["ready"] == true && host.pings("a", "10.0.0.2"));
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_container_is_stopped_started_and_restarted_by_its_name() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let file = host.topology("x", &pair());
    host.netloom(&["deploy", "-t", &file]).code(0);
    let (was, id) = (end(&host, "a", "eth1"), host.docker("inspect -f '{{.Id}}' clab-x-b"));
    assert_eq!(host.netloom(&["node", "stop", "x/b"]).code(0).out, "lab x: node b is stopped\n");
    assert_eq!(host.docker("inspect -f '{{.State.Status}}' clab-x-b"), "exited");
    assert_eq!(host.inside("a", "cat /sys/class/net/eth1/carrier"), "0\n", "its neighbour sees that it is off");
    assert_eq!(end(&host, "a", "eth1"), was);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change; stopped until");
    host.netloom(&["exec", "x/b", "--", "true"]).code(125).says("is stopped");
    // It stays so, also for another life of the agent.
    host.netloom(&["agent", "stop"]).code(0);
    host.netloom(&["agent", "--background"]).code(0);
    host.wait("all of it is seen", |host| host.netloom(&["inspect"]).out.contains("ready  3/4"));
    host.netloom(&["node", "start", "x/b"]).code(0);
    host.wait("traffic passes", |host| host.pings("a", "10.0.0.2"));
    assert_eq!(end(&host, "a", "eth1"), was);
    let pid = node(&host.lab("x"), "b")["pid"].clone();
    host.netloom(&["node", "restart", "x/b"]).code(0);
    host.wait("traffic passes", |host| host.pings("a", "10.0.0.2"));
    assert_ne!(node(&host.lab("x"), "b")["pid"], pid);
    assert_eq!(host.docker("inspect -f '{{.Id}}' clab-x-b"), id, "it is the same container all the time");
    assert!(host.inside("b", "ip route").contains("10.9.0.0/24"), "its commands were run in each life");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}
