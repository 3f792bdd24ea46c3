//! What a lab of containers changes of its host beside what it is made of.

use super::host::{DockerHost, IMAGE};
use crate::sandbox::Sandbox;

const LAB: &str = r#"
name: x
topology:
  defaults: { kind: linux, image: IMAGE }
  nodes:
    a: { sysctls: { net.ipv4.ip_forward: 1, net.ipv6.conf.all.forwarding: 1 } }
    b: { network-mode: none }
    sw: { kind: bridge }
  links:
    - endpoints: ["a:eth1", "b:eth1"]
    - endpoints: ["a:eth2", "sw:p1"]
    - endpoints: ["b:eth2", "host:xb"]
"#;

/// The settings of the host's network that are not those of one interface, and its rules for packets.
fn settings(host: &Sandbox) -> Vec<String> {
    let script = "cd /proc/sys/net && find . -type f | grep -v '/conf/\\|/neigh/\\|_count$' | xargs grep -s ''
        grep -rs '' ipv4/conf/all ipv4/conf/default ipv6/conf/all ipv6/conf/default ipv4/neigh/default ipv6/neigh/default
        for save in iptables-save ip6tables-save; do $save 2>/dev/null | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'; done";
    let mut all: Vec<String> = host.sh(script).out.lines().map(str::to_owned).collect();
    all.sort();
    all
}

#[track_caller]
fn are_the_same(before: &[String], now: &[String]) {
    let without = |some: &[String], others: &[String]| {
        some.iter().filter(|line| !others.contains(line)).cloned().collect::<Vec<_>>()
    };
    assert_eq!((without(now, before), without(before, now)), (Vec::new(), Vec::new()));
}

#[test]
fn settings_of_the_host_are_after_a_lab_what_they_were_before_it() {
    let Some(host) = DockerHost::with_agent() else { return };
    host.sh("iptables -A FORWARD -s 192.0.2.0/24 -j DROP");
    let (before, traces) = (settings(&host), host.all_traces());
    let file = host.topology("x", &LAB.replace("IMAGE", IMAGE));
    host.netloom(&["deploy", "-t", &file]).code(0);
    assert!(before.len() > 100, "{before:?}");
    // Docker forwards between a network with IPv6 and the outside.
    let without: Vec<String> = before.iter().filter(|line| !line.starts_with("ipv6/")).cloned().collect();
    let now: Vec<String> = settings(&host).into_iter().filter(|line| !line.starts_with("ipv6/")).collect();
    are_the_same(&without, &now);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    are_the_same(&before, &settings(&host));
    traces.are_all(&host);
}
