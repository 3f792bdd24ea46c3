//! The labs. Between them they have a part of everything: commands, limits, bridges, the host, long names.

use crate::wanted::Shape;

/// Nobody touches it; it carries traffic.
pub(crate) const STEADY: &str = r#"name: steady
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes: { s1: , s2: }
  links:
    - { endpoints: ["s1:eth1", "s2:eth1"], ipv4: ["10.9.0.1/24", "10.9.0.2/24"] }
"#;

/// The lab before the change. `u1` and `u2` and what is between them stay as they are.
pub(crate) const BEFORE: &str = r#"name: x
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes:
    u1:
    u2:
    a: { cpu: 0.5, exec: ["sh -c 'echo done >>/done'"] }
    b: { cmd: sleep 100000, env: { SHAPE: before }, exec: ["true"] }
    c: { network-mode: none }
    gone:
    xbr0: { kind: bridge }
  links:
    - { endpoints: ["u1:eth1", "u2:eth1"], ipv4: ["10.8.0.1/24", "10.8.0.2/24"] }
    - { endpoints: ["a:eth1", "b:eth1"], mtu: 1500, ipv4: ["10.0.1.1/24", "10.0.1.2/24"] }
    - { endpoints: ["b:eth2", "c:eth1"] }
    - { endpoints: ["c:eth2", "gone:eth1"] }
    - { endpoints: ["a:eth2", "gone:eth2"] }
    - { endpoints: ["a:eth3", "xbr0:xp1"] }
    - { endpoints: ["u1:eth2", "xbr0:xp2"] }
    - { endpoints: ["a:eth4", "host:xup0"] }
"#;

/// And after it: `a` gets other limits (live), `b` another environment (restart), `c` another network mode (recreate), `gone`
/// goes and two with long names come, one bridge gives way to another, one link another MTU and address.
pub(crate) const AFTER: &str = r#"name: x
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes:
    u1:
    u2:
    a: { cpu: 0.25, memory: 64MB, exec: ["sh -c 'echo done >>/done'"] }
    b: { cmd: sleep 100000, env: { SHAPE: after }, exec: ["true"] }
    c: { exec: ["true", "sh -c 'exit 0'"] }
    long-0123456789-0123456789-0123456789-0123456789-0123456789-one:
    long-0123456789-0123456789-0123456789-0123456789-0123456789-two:
    xbr1: { kind: bridge }
  links:
    - { endpoints: ["u1:eth1", "u2:eth1"], ipv4: ["10.8.0.1/24", "10.8.0.2/24"] }
    - { endpoints: ["a:eth1", "b:eth1"], mtu: 1400, ipv4: ["10.0.1.1/24", "10.0.1.3/24"] }
    - { endpoints: ["b:eth2", "c:eth1"] }
    - endpoints:
        - "long-0123456789-0123456789-0123456789-0123456789-0123456789-one:Gi-0-1-a-very-long-interface-name-number-one"
        - "long-0123456789-0123456789-0123456789-0123456789-0123456789-two:Gi-0-1-a-very-long-interface-name-number-two"
    - { endpoints: ["a:eth3", "xbr1:xp1"] }
    - { endpoints: ["u1:eth2", "xbr1:xp2"] }
"#;

/// Of the lab before the change what no node has to wait for.
pub(crate) const BRIDGE: &str = r"name: x
topology:
  nodes:
    xbr0: { kind: bridge }
";

/// The lab of containers before the change: one waits for another, so that its neighbour's link has to wait in its place.
pub(crate) const DOCKER_BEFORE: &str = r#"name: x
topology:
  defaults: { kind: linux, image: "netloom.test/busybox:1", network-mode: none }
  nodes:
    a: { memory: 64MB, exec: ["sh -c 'echo done >>/done'"] }
    b: { cmd: "sh -c 'trap exit TERM; sleep 100000 & wait'", env: { SHAPE: before } }
    late: { stages: { create: { wait-for: [{ node: a, stage: configure }] } } }
    gone:
  links:
    - { endpoints: ["a:eth1", "b:eth1"], ipv4: ["10.0.1.1/24", "10.0.1.2/24"] }
    - { endpoints: ["a:eth2", "late:eth1"] }
    - { endpoints: ["b:eth2", "gone:eth1"] }
"#;

/// And after it: `a` gets another limit (live), `b` another environment (another container), `gone` goes.
pub(crate) const DOCKER_AFTER: &str = r#"name: x
topology:
  defaults: { kind: linux, image: "netloom.test/busybox:1", network-mode: none }
  nodes:
    a: { memory: 48MB, exec: ["sh -c 'echo done >>/done'"] }
    b: { cmd: "sh -c 'trap exit TERM; sleep 100000 & wait'", env: { SHAPE: after } }
    late: { stages: { create: { wait-for: [{ node: a, stage: configure }] } } }
  links:
    - { endpoints: ["a:eth1", "b:eth1"], ipv4: ["10.0.1.1/24", "10.0.1.3/24"] }
    - { endpoints: ["a:eth2", "late:eth1"] }
"#;

/// A lab of containers on a management network: two that are linked to its bridge, the one with an address of its own
/// choice, and one that Docker connects to it.
pub(crate) const MGMT: &str = r#"name: x
mgmt: { bridge: xmg0 }
topology:
  defaults: { kind: linux, image: "netloom.test/busybox:1" }
  nodes:
    a: { exec: ["sh -c 'echo done >>/done'"] }
    b: { cmd: "sh -c 'trap exit TERM; sleep 100000 & wait'", mgmt-ipv4: 172.20.20.99 }
    web: { ports: ["127.0.0.1:18080:80"] }
  links:
    - { endpoints: ["a:eth1", "b:eth1"], ipv4: ["10.0.1.1/24", "10.0.1.2/24"] }
"#;

/// The bridge of that network, and the node of that lab that Docker connects to it.
pub(crate) const MGMT_BRIDGE: &str = "xmg0";
pub(crate) const MGMT_PUBLISHED: &str = "web";

/// A lab with what may be around one: a container that something else made, a tunnel to another host, and a command that
/// waits for its links.
pub(crate) const AROUND: &str = r#"name: x
topology:
  defaults: { kind: linux, image: "netloom.test/busybox:1", network-mode: none }
  nodes:
    a: { exec: ["sh -c 'echo done >>/done'"] }
    b: { cmd: "sh -c 'trap exit TERM; sleep 100000 & wait'" }
    held: { kind: held, cmd: sleep 100000 }
    guest: { kind: ext-container }
  links:
    - { endpoints: ["a:eth1", "b:eth1"], ipv4: ["10.0.1.1/24", "10.0.1.2/24"] }
    - { endpoints: ["a:eth2", "guest:eth1"] }
    - { endpoints: ["b:eth2", "held:eth1"] }
    - { type: vxlan-stitch, endpoint: { node: a, interface: eth3 }, remote: 192.0.2.7, vni: 7 }
"#;

/// The kind of node there whose command waits for its links.
pub(crate) const HELD: &str = r#"name = "held"
about = "Finds its interfaces when it begins."
runtime = "container"
[needs]
interfaces-first = true
"#;

/// The container there that something else made, and the host's way to the far end of the tunnel.
pub(crate) const GUEST: &str = "guest";
pub(crate) const UNDERLAY: [&str; 2] = ["under0", "under1"];
/// The way by which the host is reached, where that is of interest.
pub(crate) const WAY: [&str; 2] = ["way0", "way1"];
/// What those of them have whose addresses are somebody's.
pub(crate) const UNDERLAY_ADDRESS: &str = "192.0.2.1/24";
pub(crate) const WAY_ADDRESS: &str = "198.51.100.7/24";
/// What is wanted of an interface of the host.
pub(crate) const UPLINK_ADDRESS: &str = "10.100.0.5/24";
pub(crate) const UPLINK_MTU: &str = "1400";
/// An address with which it would take over the way to everybody.
pub(crate) const CUT_ADDRESS: &str = "1.0.0.5/8";
/// The interfaces that the host has of that lab.
pub(crate) const HOST_AROUND: [&str; 2] = ["ve-a_eth3", "vx-a_eth3"];

/// The lab on Open vSwitch before the change: links that are allotted tags, and a bridge of it that is a node.
pub(crate) const SWITCHED_BEFORE: &str = r#"name: x
settings: { fabric: ovs }
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes:
    u1:
    u2:
    a: { cpu: 0.5, exec: ["sh -c 'echo done >>/done'"] }
    b: { cmd: sleep 100000, env: { SHAPE: before } }
    gone:
    xsw0: { kind: ovs-bridge }
  links:
    - { endpoints: ["u1:eth1", "u2:eth1"], ipv4: ["10.8.0.1/24", "10.8.0.2/24"] }
    - { endpoints: ["a:eth1", "b:eth1"], mtu: 1500, ipv4: ["10.0.1.1/24", "10.0.1.2/24"] }
    - { endpoints: ["b:eth2", "gone:eth1"] }
    - { endpoints: ["a:eth2", "gone:eth2"] }
    - { endpoints: ["a:eth3", "xsw0:xp1"] }
    - { endpoints: ["u1:eth2", "xsw0:xp2"] }
"#;

/// And after it: `b` gets another environment (restart), `gone` goes and `new` comes, one bridge gives way to another, one link
/// gets another MTU and address.
pub(crate) const SWITCHED_AFTER: &str = r#"name: x
settings: { fabric: ovs }
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes:
    u1:
    u2:
    a: { cpu: 0.25, exec: ["sh -c 'echo done >>/done'"] }
    b: { cmd: sleep 100000, env: { SHAPE: after } }
    new: { exec: ["true"] }
    xsw1: { kind: ovs-bridge }
  links:
    - { endpoints: ["u1:eth1", "u2:eth1"], ipv4: ["10.8.0.1/24", "10.8.0.2/24"] }
    - { endpoints: ["a:eth1", "b:eth1"], mtu: 1400, ipv4: ["10.0.1.1/24", "10.0.1.3/24"] }
    - { endpoints: ["b:eth2", "new:eth1"] }
    - { endpoints: ["a:eth3", "xsw1:xp1"] }
    - { endpoints: ["u1:eth2", "xsw1:xp2"] }
"#;

/// The bridge that all labs share, and what the switch has for itself while it forwards in user space.
pub(crate) const SHARED: [&str; 2] = ["arch-ovs", "ovs-netdev"];
/// The interfaces that the host has of that lab before and after the change; `vh` is a port of the shared bridge.
pub(crate) const HOST_SWITCHED: [&str; 11] = ["vh", "vh", "vh", "vh", "vh", "vh", "vh", "vh", "xp1", "xp2", "xsw0"];
pub(crate) const HOST_SWITCHED_AFTER: [&str; 9] = ["vh", "vh", "vh", "vh", "vh", "vh", "xp1", "xp2", "xsw1"];
/// Its ports that carry no tag, each on its bridge.
pub(crate) const UNTAGGED: [&str; 2] = ["xp1", "xp2"];

/// The nodes of the lab that another agent has left, and one that has ended.
pub(crate) const INHERITED: [&str; 2] = ["a", "b"];
pub(crate) const INHERITED_ENDED: &str = "ended";

/// A lab of containers with as many more that twenty run, in a ring. A change makes every other of those anew.
pub(crate) fn many(few: &str, shape: Shape) -> String {
    const MORE: usize = 16;
    let env = |n: usize| if n.is_multiple_of(2) && shape == Shape::After { "after" } else { "before" };
    let node = |n: usize| format!("    n{n}: {{ env: {{ SHAPE: {} }} }}\n", env(n));
    let link = |n: usize| format!("    - {{ endpoints: [\"n{n}:eth1\", \"n{}:eth2\"] }}\n", n % MORE + 1);
    let nodes = (1..=MORE).map(node).collect::<String>();
    let links = (1..=MORE).map(link).collect::<String>();
    few.replacen("  nodes:\n", &format!("  nodes:\n{nodes}"), 1).replacen(
        "  links:\n",
        &format!("  links:\n{links}"),
        1,
    )
}

/// The image of containers, which is loaded and never pulled.
pub(crate) const IMAGE: &str = "netloom.test/busybox:1";

/// How many nodes of the lab before the change run something.
pub(crate) const RUNNING: usize = 6;
/// The interfaces that the host has of the lab before the change, and of the one after it.
pub(crate) const HOST_BEFORE: [&str; 4] = ["xbr0", "xp1", "xp2", "xup0"];
pub(crate) const HOST_AFTER: [&str; 3] = ["xbr1", "xp1", "xp2"];
/// Likewise of the lab on a management network: its bridge and one port for each of its nodes, those that are named by chance
/// or by a hash without their digits.
pub(crate) const HOST_MGMT: [&str; 4] = ["mg", "mg", "veth", MGMT_BRIDGE];

/// The node that is stopped, started and started again.
pub(crate) const TURNED: &str = "b";
/// The end whose cable is cut.
pub(crate) const CUT: &str = "a:eth1";
/// The nodes of the lab that no change touches.
pub(crate) const UNTOUCHED: [&str; 2] = ["u1", "u2"];
/// A node whose command is to be run once for each of its lives; it has one life only.
pub(crate) const ONCE: &str = "a";
