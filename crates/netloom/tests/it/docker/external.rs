//! Nodes that are containers which something else made.

use super::host::{DockerHost, IMAGE};
use crate::lab::node;

fn lab() -> String {
    format!(
        "name: x
topology:
  defaults: {{ kind: linux, image: \"{IMAGE}\", network-mode: none }}
  nodes: {{ a: , db: {{ kind: ext-container, exec: [touch /told] }}, cache: {{ kind: ext-container }} }}
  links:
    - {{ endpoints: [\"a:eth1\", \"db:eth9\"], ipv4: [10.0.0.1/24, 10.0.0.2/24] }}
    - {{ endpoints: [\"db:eth8\", \"cache:eth8\"], ipv4: [10.0.1.1/24, 10.0.1.2/24] }}
    - {{ endpoints: [\"db:eth7\", \"host:xdb\"] }}
"
    )
}

#[test]
fn links_are_put_into_a_container_of_others_and_nothing_else_is_done_to_it() {
    let Some(host) = DockerHost::with_agent() else { return };
    let file = host.topology("x", &lab());
    let empty = host.all_traces();
    host.netloom(&["deploy", "-t", &file]).code(2).says("there is no container `db`");
    empty.are_all(&host);
    let run = |name: &str| host.docker(&format!("run -d --name {name} --network none {IMAGE} sleep 100000"));
    run("db");
    host.docker(&format!("create --name cache --network none {IMAGE} sleep 100000"));
    host.netloom(&["deploy", "-t", &file]).code(2).says("`cache` does not run").says("docker start cache");
    host.docker("start cache");
    let lives = || host.docker("inspect -f '{{.Id}} {{.State.StartedAt}}' db cache");
    let life = lives();

    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 nodes running, 3 of 3 links up");
    assert!(host.pings("a", "10.0.0.2") && host.pings("db", "10.0.1.2"));
    host.inside("db", "test -e /told");
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    assert_ne!(host.netloom(&["node", "stop", "x/db"]).says("docker stop db").code, 0);
    assert_eq!(lives(), life);

    // Another lab cannot have it too.
    let other = host.topology("y", "name: y\ntopology:\n  nodes: { db: { kind: ext-container } }\n");
    host.netloom(&["deploy", "-t", &other]).code(2).says("node db of lab x");

    // Its next life has the links, and its neighbour still has the same interface.
    let index = || host.inside("a", "cat /sys/class/net/eth1/ifindex");
    let eth1 = index();
    host.docker("restart -t 0 db");
    host.wait("its links are back", |host| host.pings("a", "10.0.0.2") && host.pings("db", "10.0.1.2"));
    host.docker("kill db");
    host.wait("it is seen", |host| node(&host.lab("x"), "db")["state"]["phase"] == "exited");
    host.docker("rm db");
    run("db");
    host.wait("another one of the name has them", |host| host.pings("a", "10.0.0.2") && host.pings("db", "10.0.1.2"));
    assert_eq!(index(), eth1, "the agent's log:\n{}", host.log());

    // So it is after another life of the agent.
    host.netloom(&["agent", "stop"]).code(0);
    host.docker("restart -t 0 cache");
    host.netloom(&["agent", "--background"]).code(0);
    host.wait("all is seen", |host| host.pings("db", "10.0.1.2"));
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");

    let life = lives();
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(lives(), life);
    for name in ["db", "cache"] {
        assert_eq!(host.docker(&format!("exec {name} ls /sys/class/net")), "lo");
    }
    host.docker("rm -f db cache");
    empty.are_all(&host);
}
