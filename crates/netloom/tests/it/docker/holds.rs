//! Containers whose command finds its interfaces when it begins, at each start.

use std::time::{Duration, Instant};

use super::host::{DockerHost, IMAGE};
use crate::lab::node;

fn lab(links: &str) -> String {
    format!(
        "name: x
topology:
  nodes:
    held: {{ kind: held, image: \"{IMAGE}\", network-mode: none, cmd: \"sh -c 'ls /sys/class/net | xargs; sleep 100000'\" }}
    far: {{ kind: linux, image: \"{IMAGE}\", network-mode: none }}
  links:
    - {{ endpoints: [\"held:eth1\", \"far:eth1\"], ipv4: [10.0.0.1/24, 10.0.0.2/24] }}
{links}"
    )
}

/// What the command found at its start, life by life.
fn found(host: &DockerHost) -> Vec<String> {
    let logs = host.netloom(&["logs", "x/held"]).code(0).out;
    logs.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn a_command_begins_with_the_links_that_there_are_now_without_waiting_for_those_that_were() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let kinds = host.labs.path().join("kinds");
    std::fs::create_dir(&kinds).unwrap();
    let kind = "name = \"held\"\nabout = \"waits\"\nruntime = \"container\"\n[needs]\ninterfaces-first = true\n";
    std::fs::write(kinds.join("held.toml"), kind).unwrap();
    let file = host.topology("x", &lab("    - { endpoints: [\"held:eth2\", \"far:eth2\"] }\n"));
    host.netloom(&["deploy", "-t", &file]).code(0).says("2 of 2 nodes running");
    host.wait("it has begun", |host| found(host) == ["eth1 eth2 lo"]);

    // One link goes and another one comes; the container is not touched by that.
    let id = host.docker("inspect -f '{{.Id}}' clab-x-held");
    host.netloom(&["link", "rm", "x", "held:eth2"]).code(0);
    host.netloom(&["link", "add", "x", "held:eth3", "far:eth3"]).code(0);
    let begun = Instant::now();
    host.docker("restart -t 0 clab-x-held");
    host.wait("it begins again", |host| found(host).len() == 2);
    // It would have waited for a minute.
    assert!(begun.elapsed() < Duration::from_secs(50));
    assert_eq!(found(&host), ["eth1 eth2 lo", "eth1 eth3 lo"]);
    host.wait("traffic passes", |host| host.pings("far", "10.0.0.1"));
    host.netloom(&["node", "restart", "x/held"]).code(0);
    host.wait("it begins again", |host| found(host).len() == 3 && node(&host.lab("x"), "held")["ready"] == true);
    assert_eq!(found(&host)[2], "eth1 eth3 lo");
    assert_eq!(host.docker("inspect -f '{{.Id}}' clab-x-held"), id);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    // The agent keeps its program for the next.
    host.sh("rm $NETLOOM_ROOT/var/lib/netloom/netloom-init").code(0);
    before.are_all(&host);
}
