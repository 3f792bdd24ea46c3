//! What needs another kernel than that of the machine that builds: run by `make test-vm` in a virtual machine.
//!
//! There the host is this program's alone: modules can be loaded, limits of the whole host changed, the clock set.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "what all tests share is no test function to clippy")]
#![expect(dead_code, reason = "the sandbox is shared with the other tests")]

#[path = "../it/ask.rs"]
mod ask;
mod clock;
mod limits;
mod ovs;
#[path = "../it/sandbox.rs"]
mod sandbox;
mod transport;

use sandbox::Sandbox;

/// A host of its own. Everything here would change the machine that it runs on.
fn host() -> Sandbox {
    let in_vm = std::fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.contains("netloom.vm"));
    assert!(in_vm, "these tests change the host that they run on; run them with `make test-vm`");
    Sandbox::new().unwrap()
}

fn with_agent() -> Sandbox {
    let host = host();
    host.netloom(&["agent", "--background"]).code(0);
    host
}

#[test]
fn this_kernel_has_what_labs_may_ask_for() {
    let host = host();
    host.sh("ip link add d0 type dummy && ip link add link d0 name d0.5 type vlan id 5").code(0);
    host.sh("ip link add vrf0 type vrf table 5 && ip link add vx0 type vxlan external dstport 4789").code(0);
    host.sh("tc qdisc add dev d0 root netem delay 10ms").code(0);
}

#[test]
fn a_dummy_is_an_interface_of_its_node_and_goes_with_it() {
    let host = with_agent();
    let before = host.traces();
    let link = "{ type: dummy, endpoint: { node: a, interface: lo9 }, mtu: 1300 }";
    let text =
        format!("name: x\ntopology:\n  nodes:\n    a: {{ kind: linux, runtime: namespace }}\n  links:\n    - {link}\n");
    let file = host.topology("x", &text);
    host.netloom(&["deploy", "-t", &file]).code(0);
    let seen = host.netloom(&["exec", "--name", "x", "--node", "a", "--", "ip", "-d", "link", "show", "lo9"]).code(0);
    seen.says("dummy").says("mtu 1300").says("UP");
    // A repeated deploy finds it as it is wanted.
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}
