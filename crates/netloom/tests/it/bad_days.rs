//! Bad days of a host: agents and nodes that are killed, disks that are full, kernels that lack something.

use std::fmt::Write as _;

use crate::lab::{node, pair};
use crate::sandbox::{NETLOOM, Sandbox};

/// A ring of nodes `r1`, `r2`, ….
pub(crate) fn ring(name: &str, size: usize) -> String {
    let mut text = format!("name: {name}\ntopology:\n  defaults: {{ kind: linux, runtime: namespace }}\n  nodes:\n");
    for n in 1..=size {
        writeln!(text, "    r{n}:").unwrap();
    }
    text.push_str("  links:\n");
    for n in 1..=size {
        writeln!(text, "    - endpoints: [\"r{n}:eth1\", \"r{}:eth2\"]", n % size + 1).unwrap();
    }
    text
}

#[test]
fn an_agent_that_is_killed_in_the_middle_of_a_deploy_goes_on_when_it_starts_again() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("big", &ring("big", 30));
    // Each of them another moment.
    for seen in
        ["labs/big", "nodes/big/r1", "nodes/big/r15", "netns/big/r15", "netns/big/r28", "nodes/big/r9/status.json"]
    {
        let agent = host.agent();
        let script = format!(
            "{NETLOOM} deploy -t {file} & until ! kill -0 $! 2>/dev/null || [ -e $NETLOOM_ROOT/run/netloom/{seen} ]; do kill -0 {agent} || exit; \
             done; kill -KILL {agent}; wait"
        );
        host.sh(&script);
        host.until("it is gone", |host| host.netloom(&["agent", "status"]).code == 3);
        host.netloom(&["agent", "--background"]).code(0);
        host.until("the lab is as it should be", |host| {
            host.netloom(&["inspect"]).out.contains("big  ready  30/30  30/30")
        });
        host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
        host.netloom(&["destroy", "--name", "big"]).code(0);
        before.are_all(&host);
    }
}

#[test]
fn a_killed_node_is_shown_as_it_is_and_started_as_its_policy_says() {
    let Some(host) = Sandbox::with_agent() else { return };
    let more = "    once: { cmd: sleep 1000, restart-policy: \"no\" }\n";
    let file = host.topology("x", &pair("x", more));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let pid = |name| node(&host.lab("x"), name)["pid"].to_string();
    let (a, once) = (pid("a"), pid("once"));
    host.sh(&format!("kill -KILL {a} {once}")).code(0);
    host.until("both have ended", |host| {
        let lab = host.lab("x");
        ["a", "once"].iter().all(|name| node(&lab, name)["state"]["code"] == 137)
    });
    host.until("a is back", |host| node(&host.lab("x"), "a")["ready"] == true);
    host.netloom(&["exec", "--name", "x", "--node", "a", "--", "ping", "-c", "1", "-W", "5", "10.0.0.2"]).code(0);
    host.netloom(&["inspect", "--name", "x"]).code(0).says("exited(137)");
    host.netloom(&["inspect"]).code(0).says("degraded  2/3");
    host.netloom(&["destroy", "--name", "x"]).code(0);
}
