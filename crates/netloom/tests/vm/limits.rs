//! `--raise-limits`: limits of the whole host are raised for a lab and put back after it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::host;
use crate::sandbox::{NETLOOM, Sandbox};

/// Too little for ten nodes with commands in a row. Without the third they cannot be made at all.
const LOW: [(&str, u64); 5] = [
    ("net.ipv4.neigh.default.gc_thresh1", 4),
    ("net.ipv4.neigh.default.gc_thresh2", 10),
    ("user.max_net_namespaces", 9),
    ("net.ipv4.neigh.default.gc_thresh3", 20),
    ("fs.inotify.max_user_instances", 4),
];
const INSTANCES: &str = "fs.inotify.max_user_instances";

fn file(sysctl: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(sysctl.replace('.', "/"))
}

fn value(sysctl: &str) -> u64 {
    fs::read_to_string(file(sysctl)).unwrap().trim().parse().unwrap()
}

fn set(sysctl: &str, value: u64) {
    fs::write(file(sysctl), value.to_string()).unwrap();
}

fn values() -> Vec<(&'static str, u64)> {
    LOW.iter().map(|(sysctl, _)| (*sysctl, value(sysctl))).collect()
}

/// The limits as they were, given back at the end.
struct Former(Vec<(&'static str, u64)>);

impl Former {
    fn and_now_low() -> Self {
        let former = Self(values());
        LOW.iter().for_each(|(sysctl, value)| set(sysctl, *value));
        former
    }
}

impl Drop for Former {
    fn drop(&mut self) {
        self.0.iter().for_each(|(sysctl, value)| set(sysctl, *value));
    }
}

/// A sandbox whose agent is in the host's own network: the kernel shows the limits of neighbours nowhere else.
fn in_the_hosts_network() -> Sandbox {
    let way_in = std::env::temp_dir().join("network-of-the-host");
    if !way_in.exists() {
        fs::write(&way_in, "").unwrap();
        let mut mount = Command::new("mount");
        assert!(mount.args(["--bind", "/proc/self/ns/net"]).arg(&way_in).status().unwrap().success());
    }
    let host = host();
    start(&host);
    host
}

fn start(host: &Sandbox) {
    let way_in = std::env::temp_dir().join("network-of-the-host");
    host.sh(&format!("nsenter --net={} {NETLOOM} agent --background", way_in.display())).code(0);
}

fn ten_in_a_row(host: &Sandbox) -> String {
    let nodes = (0..10).map(|n| format!("    n{n}:\n")).collect::<Vec<_>>().concat();
    let link = |n| format!("    - endpoints: [\"n{}:eth1\", \"n{n}:eth2\"]\n", n - 1);
    let links = (1..10).map(link).collect::<Vec<_>>().concat();
    let text = format!(
        "name: row\ntopology:\n  defaults: {{ kind: linux, runtime: namespace, cmd: sleep 100000 }}\n  nodes:\n{nodes}  \
         links:\n{links}"
    );
    host.topology("row", &text)
}

fn are_raised() -> bool {
    values().iter().zip(LOW).all(|((_, now), (_, low))| *now > low)
}

#[test]
fn limits_that_are_too_low_are_raised_for_a_lab_and_put_back_after_it() {
    let host = in_the_hosts_network();
    let file = ten_in_a_row(&host);
    let former = Former::and_now_low();
    let before = host.traces();
    let refused = host.netloom(&["deploy", "-t", &file]).code(2);
    refused.says("this host allows 9 network namespaces").says("--raise-limits");
    let plan = host.netloom(&["deploy", "-t", &file, "--dry-run", "--raise-limits"]).code(0);
    plan.says("this host allows 20 IPv4 neighbours")
        .says("this host allows 4 inotify instances")
        .says("would be raised");
    assert_eq!(values(), LOW, "a refusal and a plan change nothing");
    before.are_all(&host);

    host.netloom(&["deploy", "-t", &file, "--raise-limits"]).code(0).says("10 of 10 nodes running, 9 of 9 links up");
    assert!(are_raised(), "{:?}", values());
    host.netloom(&["destroy", "--name", "row"]).code(0);
    assert_eq!(values(), LOW);
    before.are_all(&host);
    drop(former);
}

#[test]
fn limits_that_were_raised_are_put_back_by_the_next_life_of_a_killed_agent_but_for_what_others_have_set() {
    let host = in_the_hosts_network();
    let file = ten_in_a_row(&host);
    let former = Former::and_now_low();
    host.netloom(&["deploy", "-t", &file, "--raise-limits"]).code(0);
    let raised = values();
    host.kill_agent();
    assert_eq!(values(), raised, "the lab runs on and needs them");
    start(&host);
    host.until("the lab is seen", |host| host.netloom(&["inspect"]).out.contains("row  ready  10/10"));
    assert_eq!(values(), raised);
    host.netloom(&["destroy", "--name", "row"]).code(0);
    assert_eq!(values(), LOW);

    // Once more; meanwhile somebody has another idea of one of them.
    host.netloom(&["deploy", "-t", &file, "--raise-limits"]).code(0);
    set(INSTANCES, 77);
    host.kill_agent();
    start(&host);
    host.until("the lab is seen", |host| host.netloom(&["inspect"]).out.contains("row  ready  10/10"));
    host.netloom(&["destroy", "--name", "row"]).code(0);
    host.netloom(&["events"]).code(0).says(&format!("{INSTANCES} is 77, not 16 as netloom had set it: left as it is"));
    let expected = LOW.map(|(sysctl, low)| (sysctl, if sysctl == INSTANCES { 77 } else { low }));
    assert_eq!(values(), expected);
    drop(former);
}
