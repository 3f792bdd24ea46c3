//! Labs of containers from file to network and back, and what is asked of the daemon for it.

use std::fs;

use super::host::{DockerHost, IMAGE};

/// Three containers in a ring, with addresses.
pub(super) fn ring(name: &str) -> String {
    format!(
        "name: {name}
topology:
  defaults: {{ kind: linux, image: \"{IMAGE}\" }}
  nodes: {{ a: , b: , c: }}
  links:
    - {{ endpoints: [\"a:eth1\", \"b:eth1\"], ipv4: [10.0.1.1/24, 10.0.1.2/24], ipv6: [\"fd00::1/64\", \"fd00::2/64\"] }}
    - {{ endpoints: [\"b:eth2\", \"c:eth1\"], ipv4: [10.0.2.1/24, 10.0.2.2/24] }}
    - {{ endpoints: [\"c:a-name-that-is-long\", \"a:eth2\"], ipv4: [10.0.3.1/24, 10.0.3.2/24], mtu: 1400 }}
"
    )
}

#[test]
fn a_ring_of_containers_comes_up_carries_traffic_and_goes_without_a_trace() {
    let Some((host, requests)) = DockerHost::counted() else { return };
    let before = host.all_traces();
    let file = host.topology("x", &ring("x"));
    host.netloom(&["deploy", "-t", &file, "--dry-run"]).code(0).says("create node a");
    before.are_all(&host);

    requests.take();
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 nodes running, 3 of 3 links up");
    let asked = requests.take();
    let about = asked
        .iter()
        .filter(|request| !["/containers/json", "/events", "/networks"].iter().any(|once| request.contains(once)));
    assert!(about.count() <= 9, "three calls for each node: {asked:#?}");
    for (node, address) in [("a", "10.0.1.2"), ("b", "10.0.2.2"), ("c", "10.0.3.2"), ("a", "fd00::2")] {
        assert!(host.pings(node, address), "{node} does not reach {address}");
    }
    assert_eq!(host.inside("c", "cat /sys/class/net/a-name-that-is-l*/mtu 2>/dev/null; hostname"), "c\n");
    assert!(host.pings("a", "b"), "names resolve");
    host.sh("nsenter --net=$NETLOOM_ROOT/run/netns/clab-x-a ip link show eth1").code(0);

    requests.take();
    host.netloom(&["deploy", "-t", &file]).code(0).says("lab x: nothing to change");
    host.netloom(&["inspect", "--name", "x"]).code(0).says("3 of 3 nodes running");
    host.netloom(&["exec", "--name", "x", "--", "hostname"]).code(0);
    assert_eq!(requests.take(), [""; 0], "the daemon is not asked");

    // One link more: neither is it for that.
    let more = host.topology("x", &(ring("x") + "    - { endpoints: [\"a:eth3\", \"c:eth3\"] }\n"));
    host.netloom(&["deploy", "-t", &more]).code(0).says("4 of 4 links up");
    assert_eq!(requests.take(), [""; 0], "the daemon is not asked");

    // Another life of the agent finds all of it as it is.
    let pids = host.docker("ps -q | xargs docker inspect -f '{{.State.Pid}}'");
    host.netloom(&["agent", "stop"]).code(0);
    host.netloom(&["agent", "--background"]).code(0);
    host.wait("it is seen", |host| host.netloom(&["inspect"]).out.contains("x    ready  3/3    4/4"));
    host.netloom(&["deploy", "-t", &more]).code(0).says("nothing to change");
    assert_eq!(host.docker("ps -q | xargs docker inspect -f '{{.State.Pid}}'"), pids);

    host.netloom(&["destroy", "-t", &more]).code(0).says("lab x: destroyed");
    before.are_all(&host);
}

const FIELDS: &str = "
name: x
topology:
  defaults: { kind: linux, image: IMAGE }
  nodes:
    all:
      cmd: sleep 100000
      user: nobody
      env: { WORDS: \"two words\" }
      labels: { team: net }
      binds: [\"given:/etc/given:ro\"]
      sysctls: { net.ipv4.ip_forward: 1 }
      cpu: 0.5
      memory: 64MB
    shared: { network-mode: \"container:all\" }
    hosted: { network-mode: host }
    other: { restart-policy: \"no\" }
  links:
    - { endpoints: [\"all:eth1\", \"other:eth1\"], ipv4: [10.0.0.1/24, 10.0.0.2/24] }
";

#[test]
fn what_the_topology_says_of_a_container_is_so_inside_it() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let file = host.topology("x", &FIELDS.replace("IMAGE", IMAGE));
    fs::write(host.labs.path().join("given"), "what was given\n").unwrap();
    host.netloom(&["deploy", "-t", &file]).code(0).says("4 of 4 nodes running");

    assert_eq!(host.inside("all", "id -un; echo $WORDS; cat /etc/given"), "nobody\ntwo words\nwhat was given\n");
    assert_eq!(host.inside("all", "cat /proc/sys/net/ipv4/ip_forward; hostname"), "1\nall\n");
    assert_eq!(host.inside("all", "echo x 2>/dev/null >/etc/given || echo refused"), "refused\n");
    let limits = host.docker("inspect -f '{{.HostConfig.CpuQuota}} {{.HostConfig.Memory}}' clab-x-all");
    assert_eq!(limits, "50000 64000000");
    let labels = "inspect -f '{{.Config.Labels.team}} {{index .Config.Labels \"clab-node-name\"}}' clab-x-all";
    assert_eq!(host.docker(labels), "net all");

    // One shares the links of another, one has those of the host.
    assert_eq!(host.inside("shared", "ls /sys/class/net"), host.inside("all", "ls /sys/class/net"));
    assert!(host.pings("shared", "10.0.0.2"));
    assert_eq!(host.inside("hosted", "readlink /proc/self/ns/net"), host.sh("readlink /proc/self/ns/net").out);

    // Limits change under way; whatever else there is needs another container.
    let id = host.docker("inspect -f '{{.Id}}' clab-x-all");
    let less = host.topology("x", &FIELDS.replace("IMAGE", IMAGE).replace("64MB", "48MB"));
    host.netloom(&["deploy", "-t", &less]).code(0);
    assert_eq!(host.docker("inspect -f '{{.Id}} {{.HostConfig.Memory}}' clab-x-all"), format!("{id} 48000000"));
    let renamed = host.topology("x", &FIELDS.replace("IMAGE", IMAGE).replace("two words", "three"));
    host.netloom(&["deploy", "-t", &renamed]).code(0).says("4 of 4 nodes running");
    assert_eq!(host.inside("all", "echo $WORDS"), "three\n");
    assert_ne!(host.docker("inspect -f '{{.Id}}' clab-x-all"), id);
    assert!(host.pings("other", "10.0.0.1"));
    assert!(host.pings("shared", "10.0.0.2"), "who shares its links has those of the new one");
    host.netloom(&["node", "restart", "x/all"]).code(0);
    host.wait("it has them in the next life too", |host| host.pings("shared", "10.0.0.2"));

    host.netloom(&["destroy", "-t", &renamed]).code(0);
    before.are_all(&host);
}
