//! Networks that nodes share: bridges inside of nodes, and links of containers that have the network of another one.

use super::host::{DockerHost, IMAGE};
use crate::lab::node;

/// A switch in `sw` with two hosts, one of them without Docker.
fn switch() -> String {
    format!(
        "name: x
topology:
  defaults: {{ kind: linux, image: \"{IMAGE}\", network-mode: none }}
  nodes:
    sw: {{ exec: [\"ip address add 10.0.0.1/24 dev lan\"] }}
    lan|sw: {{ kind: bridge, network-mode: \"container:sw\" }}
    a:
    b: {{ runtime: namespace, image: \"\" }}
  links:
    - {{ endpoints: [\"a:eth1\", \"lan|sw:p1\"], ipv4: [10.0.0.2/24] }}
    - {{ endpoints: [\"b:eth1\", \"lan|sw:p2\"], ipv4: [10.0.0.3/24] }}
    - {{ endpoints: [\"a:eth2\", \"sw:eth1\"] }}
"
    )
}

fn ports(host: &DockerHost) -> String {
    host.inside("sw", "ls /sys/class/net/lan/brif | sort | xargs")
}

/// Whether the switch leads packets between its hosts, and its own address is on it.
fn switches(host: &DockerHost) -> bool {
    host.pings("a", "10.0.0.3") && host.pings("b", "10.0.0.1")
}

#[test]
fn a_bridge_in_a_node_leads_between_its_ports_in_each_life_of_the_node_and_goes_with_it() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let file = host.topology("x", &switch());
    host.netloom(&["deploy", "-t", &file]).code(0).says("4 of 4 nodes running");
    assert_eq!(ports(&host), "p1 p2\n");
    assert!(switches(&host));
    host.sh("test ! -e /sys/class/net/lan").code(0);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");

    // Its neighbours see no more of it than their carrier.
    let end = |host: &DockerHost| host.inside("a", "cat /sys/class/net/eth1/ifindex /sys/class/net/eth1/address");
    let was = end(&host);
    for restart in ["docker restart -t 0 clab-x-sw", "node restart", "docker rm -f clab-x-sw"] {
        if restart.starts_with("docker") {
            host.sh(restart).code(0);
        } else {
            host.netloom(&["node", "restart", "x/sw"]).code(0);
        }
        host.wait("it switches again", |host| node(&host.lab("x"), "sw")["ready"] == true && switches(host));
        assert_eq!(ports(&host), "p1 p2\n", "after {restart}");
        if !restart.contains("rm") {
            assert_eq!(end(&host), was, "after {restart}");
        }
    }
    // What somebody deletes comes back.
    host.inside("sw", "ip link delete lan");
    host.wait("it switches again", |host| host.pings("a", "10.0.0.3"));
    // And without its wish it goes, alone.
    let without: Vec<String> = switch().lines().filter(|line| !line.contains("lan|")).map(str::to_owned).collect();
    let file = host.topology("x", &(without.join("\n") + "\n"));
    host.netloom(&["deploy", "-t", &file]).code(0);
    assert_eq!(host.inside("sw", "ls /sys/class/net | sort | xargs"), "eth1 lo\n");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

fn sharing() -> String {
    format!(
        "name: x
topology:
  defaults: {{ kind: linux, image: \"{IMAGE}\", network-mode: none }}
  nodes:
    sw: {{ cmd: \"sh -c 'trap exit TERM; sleep 100000 & wait'\" }}
    side: {{ network-mode: \"container:sw\", exec: [\"ip route add 10.9.0.0/24 via 10.0.0.2\"] }}
    beside: {{ pid-mode: \"container:sw\" }}
    far:
  links:
    - {{ endpoints: [\"side:eth1\", \"far:eth1\"], ipv4: [10.0.0.1/24, 10.0.0.2/24] }}
    - {{ endpoints: [\"sw:eth2\", \"far:a-name-that-is-rather-long\"], ipv4: [10.0.1.1/24, 10.0.1.2/24] }}
"
    )
}

#[test]
fn links_end_in_the_network_of_a_container_outside_of_the_lab_and_follow_it_into_its_next_one() {
    let Some(host) = DockerHost::with_agent() else { return };
    let empty = host.all_traces();
    let run = |host: &DockerHost| host.docker(&format!("run -d --name worker --network none {IMAGE} sleep 100000"));
    run(&host);
    let lab = format!(
        "name: x
topology:
  defaults: {{ kind: linux, image: \"{IMAGE}\" }}
  nodes: {{ far: {{ network-mode: none }}, side: {{ network-mode: \"container:worker\" }} }}
  links:
    - {{ endpoints: [\"far:eth1\", \"side:net0\"], ipv4: [10.0.0.1/24, 10.0.0.2/24] }}
"
    );
    let file = host.topology("x", &lab);
    host.netloom(&["deploy", "-t", &file]).code(0).says("1 of 1 link up");
    let in_worker = |host: &DockerHost| host.sh("docker exec worker ls /sys/class/net").out.contains("net0");
    assert!(in_worker(&host) && host.pings("far", "10.0.0.2"));
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    let index = host.inside("far", "cat /sys/class/net/eth1/ifindex");
    host.docker("restart -t 0 worker");
    host.wait("they are in its next life", |host| in_worker(host) && host.pings("far", "10.0.0.2"));
    assert_eq!(host.inside("far", "cat /sys/class/net/eth1/ifindex"), index);
    host.docker("rm -f worker");
    run(&host);
    host.wait("they are in the one that took its place", |host| in_worker(host) && host.pings("far", "10.0.0.2"));
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(host.docker("exec worker ls /sys/class/net"), "lo");
    host.docker("rm -f worker");
    empty.are_all(&host);
}

#[test]
fn a_container_with_the_network_of_another_has_its_links_there_and_follows_it_into_its_next_life() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let file = host.topology("x", &sharing());
    host.netloom(&["deploy", "-t", &file]).code(0).says("4 of 4 nodes running").says("2 of 2 links up");
    // Any of them may be between two lives.
    let says = |host: &DockerHost, of: &str, script: &str| {
        host.netloom(&["exec", &format!("x/{of}"), "--", "sh", "-c", script]).out
    };
    let wired = |host: &DockerHost| {
        let lab = host.lab("x");
        let namespace = |of: &str| says(host, of, "readlink /proc/self/ns/net");
        ["sw", "side", "beside", "far"].iter().all(|name| node(&lab, name)["ready"] == true)
            && namespace("side") == namespace("sw")
            && says(host, "side", "ls /sys/class/net | xargs") == "eth1 eth2 lo\n"
            && says(host, "side", "ip route").contains("10.9.0.0/24")
            && host.pings("far", "10.0.0.1")
            && host.pings("side", "10.0.1.2")
    };
    assert!(wired(&host));
    assert_eq!(host.inside("beside", "readlink /proc/self/ns/pid"), host.inside("sw", "readlink /proc/self/ns/pid"));
    host.sh("nsenter --net=$NETLOOM_ROOT/run/netns/clab-x-far ip link show dev a-name-that-is-rather-long").code(0);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    let far = |host: &DockerHost| host.inside("far", "cat /sys/class/net/*/ifindex | xargs");
    let was = far(&host);
    let pid = node(&host.lab("x"), "sw")["pid"].clone();
    host.docker("restart -t 1 clab-x-sw");
    host.wait("both follow it", |host| node(&host.lab("x"), "sw")["pid"] != pid && wired(host));
    assert_eq!(far(&host), was);
    // The one that shares ends and comes back alone.
    let pid = node(&host.lab("x"), "side")["pid"].clone();
    host.docker("restart -t 0 clab-x-side");
    host.wait("it is back", |host| node(&host.lab("x"), "side")["pid"] != pid && wired(host));
    assert_eq!(far(&host), was);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}
