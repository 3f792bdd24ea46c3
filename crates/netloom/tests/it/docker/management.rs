//! The management network with a real daemon: who is on it, who shares it, and what of it comes back.

use std::fs;

use super::host::{DockerHost, IMAGE, docker_is};
use crate::sandbox::Ended;

/// Two nodes that are linked to the bridge and one that Docker connects to it, all three found by name.
fn lab(name: &str, port: u16) -> String {
    format!(
        "name: {name}
mgmt: {{ bridge: br-test }}
topology:
  defaults: {{ kind: linux, image: \"{IMAGE}\" }}
  nodes:
    a:
    b: {{ mgmt-ipv6: \"3fff:172:20:20::b\" }}
    web: {{ cmd: \"httpd -f -p 80 -h /etc\", ports: [\"127.0.0.1:{port}:80\"] }}
"
    )
}

/// What each node of a lab has on the network, in the order of their names.
fn addresses(host: &DockerHost, lab: &str) -> Vec<String> {
    let view = host.lab(lab);
    let nodes = view["nodes"].as_array().unwrap().iter();
    nodes.map(|node| format!("{} {}", node["management"]["ipv4"], node["management"]["ipv6"])).collect()
}

/// What the host reads at a port that a node publishes.
fn published(host: &DockerHost, port: u16) -> String {
    let ask = format!("exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET /passwd HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    host.sh(&format!("timeout 10 bash -c \"{ask}\"")).out
}

#[test]
fn a_bridge_that_is_deleted_by_hand_comes_back_with_everything_on_it() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let file = host.topology("x", &lab("x", 8080));
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 nodes running");
    host.docker(&format!("run -d --name theirs --network clab {IMAGE} sleep 100000"));
    let theirs = host.docker("inspect -f '{{.NetworkSettings.Networks.clab.IPAddress}}' theirs");
    let (had, pids) = (addresses(&host, "x"), host.docker("ps -q | xargs docker inspect -f '{{.State.Pid}}'"));
    assert!(published(&host, 8080).contains("nobody"));
    let is_whole = |host: &DockerHost| {
        host.pings("a", "web") && host.pings("web", "b") && host.pings("b", &theirs) && host.pings("a", "172.20.20.1")
    };
    assert!(is_whole(&host));

    for script in ["ip link delete br-test", "ip link set br-test down"] {
        host.sh(script).code(0);
        host.wait("the network is whole again", is_whole);
        // For a moment a new IPv6 address is used by nobody.
        let by_ipv6 =
            |host: &DockerHost| host.pings("a", "3fff:172:20:20::b") && host.pings("web", "3fff:172:20:20::1");
        host.wait("it is whole for IPv6", by_ipv6);
        assert!(published(&host, 8080).contains("nobody"), "{script}");
        assert_eq!(addresses(&host, "x"), had);
        host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    }
    assert_eq!(host.docker("ps -q | xargs docker inspect -f '{{.State.Pid}}'"), pids, "nobody was started again");

    host.docker("rm -f theirs");
    host.netloom(&["destroy", "-t", &file]).code(0);
    before.are_all(&host);
}

#[test]
fn labs_share_a_network_that_goes_with_the_last_of_them() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let (x, y) = (host.topology("x", &lab("x", 8080)), host.topology("y", &lab("y", 8081).replace("::b", "::bb")));
    let deploys = [&x, &y].map(|file| host.start(&["deploy", "-t", file]));
    for deploy in deploys {
        Ended::from(&deploy.wait_with_output().unwrap()).code(0).says("3 of 3 nodes running");
    }
    assert_eq!(host.docker("network ls -q -f name=clab").lines().count(), 1);
    let had = [addresses(&host, "x"), addresses(&host, "y")];
    let mut all = had.concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6, "{had:?}");
    let other = host.lab("y")["nodes"][2]["management"]["ipv4"].as_str().unwrap().to_owned();
    assert!(host.pings("a", &other) && host.pings("web", &other));

    // A node more, before the others; and all of them made anew.
    let more = lab("x", 8080).replace("    a:\n", "    a:\n    a0:\n");
    let file = host.topology("x", &more);
    host.netloom(&["deploy", "-t", &file]).code(0).says("4 of 4 nodes running");
    let kept = |now: Vec<String>| [&now[..1], &now[2..]].concat();
    assert_eq!(kept(addresses(&host, "x")), had[0]);
    host.netloom(&["deploy", "-t", &file, "--reconfigure"]).code(0);
    assert_eq!(kept(addresses(&host, "x")), had[0]);
    assert!(host.pings("a", "web") && host.pings("a0", "web"));

    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(host.docker("network ls -q -f name=clab").lines().count(), 1);
    host.netloom(&["destroy", "--name", "y"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_network_of_somebody_else_is_used_as_it_is_and_left() {
    let Some(host) = DockerHost::with_agent() else { return };
    host.docker("network create --subnet 10.9.0.0/24 -o com.docker.network.bridge.name=br-own oob");
    host.docker(&format!("run -d --name theirs --network oob {IMAGE} sleep 100000"));
    let before = host.all_traces();
    let on = |mgmt: &str| {
        lab("x", 8080).replace("bridge: br-test", mgmt).replace("{ mgmt-ipv6: \"3fff:172:20:20::b\" }", "")
    };

    let other = host.topology("x", &on("network: oob, ipv4-subnet: 10.8.0.0/24"));
    host.netloom(&["deploy", "-t", &other]).code(2).says("10.9.0.0/24").says("10.8.0.0/24").says("mgmt.network");
    before.are_all(&host);
    let file = host.topology("x", &on("network: oob"));
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 nodes running");
    let had = addresses(&host, "x");
    assert!(
        had.iter().all(|address| address.contains("\"10.9.0.25")),
        "from the end that Docker comes to last: {had:?}"
    );
    assert!(host.pings("a", "10.9.0.2") && host.pings("web", "10.9.0.2") && host.pings("b", "web"));
    host.netloom(&["destroy", "-t", &file]).code(0);
    before.are_all(&host);
}

#[test]
fn dockers_own_network_is_used_too() {
    let Some(host) = DockerHost::bridged() else { return };
    let before = host.all_traces();
    let own = lab("x", 8080).replace("bridge: br-test", "network: bridge");
    let file = host.topology("x", &own.replace("mgmt-ipv6: \"3fff:172:20:20::b\"", "mgmt-ipv4: 172.17.0.99"));
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 nodes running");
    let is_whole =
        |host: &DockerHost| host.pings("a", "web") && host.pings("web", "b") && host.pings("b", "172.17.0.1");
    assert!(is_whole(&host) && published(&host, 8080).contains("nobody"));
    assert!(host.inside("b", "ip -o address show eth0").contains("172.17.0.99/16"));

    host.docker("restart clab-x-web");
    host.wait("it has its addresses in its next life", is_whole);
    host.sh("ip link delete docker0").code(0);
    host.wait("its bridge is back", |host| is_whole(host) && published(host, 8080).contains("nobody"));
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    host.netloom(&["destroy", "-t", &file]).code(0);
    before.are_all(&host);
}

#[test]
fn whatever_is_in_the_way_of_a_network_is_said_before_anything_is_touched() {
    let Some(host) = DockerHost::with_agent() else { return };
    host.docker("network create --subnet 172.20.16.0/20 -o com.docker.network.bridge.name=br-own theirs");
    let before = host.all_traces();
    let file = host.topology("x", &lab("x", 8080));
    let refused = |words: &[&str]| {
        let ended = host.netloom(&["deploy", "-t", &file]).code(2);
        words.iter().fold(ended, |ended, words| ended.says(words));
        before.are_all(&host);
    };
    refused(&["172.20.20.0/24 overlaps 172.20.16.0/20 of Docker's network `theirs`", "`mgmt.ipv4-subnet`"]);
    let small = lab("x", 8080).replace("bridge: br-test", "network: small, ipv4-subnet: 10.8.0.0/30");
    let small = small.replace("{ mgmt-ipv6: \"3fff:172:20:20::b\" }", "");
    let small = host.topology("small", &small);
    host.netloom(&["deploy", "-t", &small])
        .code(2)
        .says("10.8.0.0/30")
        .says("2 of the 3 nodes")
        .says("mgmt.ipv4-subnet");
    before.are_all(&host);

    host.docker("network rm theirs");
    host.sh("ip link add v0 type veth peer v1; ip address add 172.20.20.200/25 dev v0; ip link set v0 up").code(0);
    let before = host.all_traces();
    let ended = host.netloom(&["deploy", "-t", &file]).code(2);
    ended.says("the host's route to 172.20.20.128/25 by v0").says("`mgmt.ipv4-subnet`");
    before.are_all(&host);
}

const FIELDS: &str = "
name: x
mgmt:
  network: oob
  bridge: br-oob
  ipv4-subnet: 10.77.0.0/24
  ipv4-gw: 10.77.0.254
  ipv4-range: 10.77.0.128/25
  ipv6-subnet: \"3fff:77::/64\"
  mtu: 1400
  external-access: false
  driver-opts: { com.docker.network.bridge.enable_icc: \"true\" }
topology:
  defaults: { kind: linux, image: IMAGE }
  nodes:
    a: { aliases: [first.example] }
    fixed: { mgmt-ipv4: 10.77.0.10, mgmt-ipv6: \"3fff:77::10\" }
    web: { ports: [\"127.0.0.1:8080:80\"], mgmt-ipv4: 10.77.0.11 }
    alone: { network-mode: none }
";

#[test]
fn what_the_file_says_of_the_network_is_so_on_the_host_and_in_the_nodes() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let file = host.topology("x", &FIELDS.replace("IMAGE", IMAGE));
    host.netloom(&["deploy", "-t", &file]).code(0).says("4 of 4 nodes running");
    let options = host.docker("network inspect -f '{{json .Options}}' oob");
    let options: serde_json::Value = serde_json::from_str(&options).unwrap();
    let of = |name: &str| options[format!("com.docker.network.{name}")].as_str().unwrap_or_default().to_owned();
    let said = ["bridge.name", "driver.mtu", "bridge.enable_ip_masquerade", "bridge.enable_icc"].map(of);
    assert_eq!(said, ["br-oob", "1400", "false", "true"]);

    let addresses =
        |node: &str| host.inside(node, "ip -o address show eth0 scope global | sed 's/.*inet6* //;s/ .*//'");
    assert_eq!(addresses("a"), "10.77.0.128/24\n3fff:77::2/64\n");
    assert_eq!(addresses("fixed"), "10.77.0.10/24\n3fff:77::10/64\n");
    assert_eq!(addresses("web"), "10.77.0.11/24\n3fff:77::3/64\n");
    for node in ["a", "fixed", "web"] {
        assert_eq!(
            host.inside(node, "cat /sys/class/net/eth0/mtu; ip route | grep default | cut -d' ' -f1-3; ip -6 route | grep default | cut -d' ' -f1-3"),
            "1400\ndefault via 10.77.0.254\ndefault via 3fff:77::1\n",
            "{node}"
        );
        // For a moment a new IPv6 address is used by nobody.
        host.wait("it reaches the host by IPv6", |host| host.pings(node, "3fff:77::1"));
    }
    assert!(host.pings("web", "first.example") && host.pings("fixed", "clab-x-a"));
    assert_eq!(host.inside("alone", "ls /sys/class/net"), "lo\n");
    host.netloom(&["destroy", "-t", &file]).code(0);
    before.are_all(&host);

    // A network that nobody is on is not made.
    let alone = FIELDS.replace("IMAGE", &format!("{IMAGE}, network-mode: none"));
    let file = host.topology("x", &alone);
    host.netloom(&["deploy", "-t", &file]).code(0).says("4 of 4 nodes running");
    assert_eq!(host.docker("network ls -q -f name=oob"), "");
    host.netloom(&["destroy", "-t", &file]).code(0);
}

#[test]
fn a_lab_on_a_network_is_taken_back_after_its_store_was_lost() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let file = host.topology("x", &lab("x", 8080));
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 nodes running");
    let (had, pids) = (addresses(&host, "x"), host.docker("ps -q | xargs docker inspect -f '{{.State.Pid}}'"));
    host.netloom(&["agent", "stop"]).code(0);
    fs::remove_file(host.root.path().join("var/lib/netloom/state.redb")).unwrap();
    host.netloom(&["agent", "--background"]).code(0);
    host.wait("its nodes are seen", |host| docker_is(host, "ok") && host.netloom(&["inspect"]).out.contains("3/3"));
    host.netloom(&["adopt", "x"]).code(0);

    assert_eq!(addresses(&host, "x"), had);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    assert_eq!(host.docker("ps -q | xargs docker inspect -f '{{.State.Pid}}'"), pids);
    assert!(host.pings("a", "web") && published(&host, 8080).contains("nobody"));
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}
