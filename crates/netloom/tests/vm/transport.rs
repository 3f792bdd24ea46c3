//! Subinterfaces of the host: made on a kernel that has VLANs, with traffic that passes them.

use serde_json::{Value, json};

use crate::host;
use crate::sandbox::{Run, Sandbox};

const SECRET: &str = "hush-hush-hush";

/// A host whose `p0` leads to another one, which has the address 10.100.0.1 in VLAN 100.
fn two() -> Sandbox {
    let mut two = host();
    two.environment.push(("NETLOOM_SECRET", SECRET.to_owned()));
    plug(&two);
    two
}

fn plug(host: &Sandbox) {
    host.sh("set -e
        mkdir -p /run/netns; ip netns add far 2>/dev/null || { ip netns del far; ip netns add far; }
        ip link add p0 type veth peer f0 netns far
        ip -n far link set f0 mtu 9000 up && ip -n far link add link f0 name f0.100 type vlan id 100
        ip -n far link set f0.100 up && ip -n far addr add 10.100.0.1/24 dev f0.100
        ip link add mg0 type veth peer mg1 && ip link set mg0 up && ip link set mg1 up
        ip addr add 192.0.2.7/24 dev mg0 && ip route add default via 192.0.2.1")
        .code(0);
}

#[track_caller]
fn provision(host: &Sandbox, body: &Value) -> Value {
    host.demand(SECRET, "POST /interfaces/provision", body)
}

fn create(parent: &str, vlan: u16, address: &str) -> Value {
    json!({ "action": "create_subinterface", "parent_interface": parent, "name": null, "vlan_id": vlan,
        "ip_cidr": address, "mtu": null, "attach_to_ovs": false, "ovs_vlan_tag": null })
}

fn network(host: &Sandbox) -> String {
    host.sh("ip -d -o link | sed 's/qdisc [a-z_]* //; s/qlen [0-9]*//'; ip -o -4 addr; ip route").code(0).out
}

/// Whether packets of 8,000 bytes pass in one piece.
fn passes(host: &Sandbox) -> bool {
    host.sh("ping -n -c 1 -W 2 -M do -s 7972 10.100.0.1").code == 0
}

#[test]
fn a_subinterface_carries_traffic_and_is_made_again_after_a_reboot() {
    let mut host = two();
    host.netloom(&["agent", "--background"]).code(0);
    let done = json!({ "success": true, "error": null, "interface_name": "p0.100", "mtu": 9000,
        "ip_address": "10.100.0.5/24" });
    assert_eq!(provision(&host, &create("p0", 100, "10.100.0.5/24")), done);
    let made = host.sh("ip -d link show p0.100").code(0);
    made.says("vlan protocol 802.1Q id 100").says("mtu 9000").says("/transport");
    host.sh("ip link show p0").says("mtu 9000");
    host.until("packets pass", passes);
    // What `state` says lags behind by up to a second.
    host.until("links have settled", |host| !network(host).contains("state DOWN"));
    // Again, and in another life: nothing changes.
    let before = network(&host);
    assert_eq!(provision(&host, &create("p0", 100, "10.100.0.5/24")), done);
    host.kill_agent();
    host.netloom(&["agent", "--background"]).code(0);
    host.until("it is said", |host| host.ask("GET /operations").body.contains("\"transport\""));
    assert_eq!(network(&host), before);

    // Somebody removes it.
    host.sh("ip link del p0.100").code(0);
    host.until("it is made again", passes);

    host.reboot(Run::Memory);
    plug(&host);
    host.netloom(&["agent", "--background"]).code(0);
    host.until("it is made again", passes);
    let gone = provision(&host, &json!({ "action": "delete", "name": "p0.100" }));
    assert_eq!(gone["success"], true, "{gone}");
    host.sh("! ip link show p0.100 && ip link show p0").code(0);
}

#[test]
fn a_subinterface_of_somebody_is_refused_and_a_step_that_fails_leaves_nothing() {
    let host = two();
    host.netloom(&["agent", "--background"]).code(0);
    host.sh("ip link add link p0 name p0.100 type vlan id 101 && ip link add link p0 name data type vlan id 200")
        .code(0);
    let before = network(&host);
    let refused = |body: &Value, why: &str| {
        let answer = provision(&host, body);
        assert_eq!(answer["success"], false, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(why), "{answer}\n{why}");
        assert_eq!(network(&host), before);
    };
    refused(&create("p0", 100, "10.100.0.5/24"), "was not made by this agent");
    refused(&create("p0", 200, "10.100.0.5/24"), "is interface data");
    refused(&json!({ "action": "delete", "name": "p0.100" }), "only what it has made");
    // A network that takes over the way to the rest of the world.
    refused(&create("p0", 300, "1.0.0.5/8"), "it was taken back");
    refused(&create("nothere0", 300, "10.100.0.5/24"), "there is no interface nothere0");
    host.sh("ip link set p0 down").code(0);
    let before = network(&host);
    // IPv6 is off there: the last step fails.
    host.sh("sysctl -w net.ipv6.conf.default.disable_ipv6=1 || echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6")
        .code(0);
    let answer = provision(&host, &create("p0", 300, "2001:db8::5/64"));
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("taken back")), "{answer}");
    assert_eq!(network(&host), before);
}

#[test]
fn a_subinterface_that_somebody_has_made_just_so_serves_and_stays_when_nobody_wants_it_any_more() {
    let host = two();
    host.netloom(&["agent", "--background"]).code(0);
    host.sh("ip link add link p0 name p0.100 mtu 1400 type vlan id 100").code(0);
    let made = provision(&host, &create("p0", 100, "10.100.0.5/24"));
    assert_eq!(made["success"], true, "{made}");
    host.sh("ip -o addr show dev p0.100").says("10.100.0.5/24");
    host.sh("ip -d link show p0.100").says("mtu 9000").says("vlan protocol 802.1Q id 100").says(",UP");
    let gone = provision(&host, &json!({ "action": "delete", "name": "p0.100" }));
    assert_eq!(gone["success"], true, "{gone}");
    host.sh("ip link show p0.100 && ! ip -o addr show dev p0.100 | grep 10.100").code(0);
}

#[test]
fn the_configured_transport_is_a_subinterface_at_the_start() {
    let mut host = two();
    host.environment.extend([
        ("NETLOOM_TRANSPORT", "subinterface".to_owned()),
        ("NETLOOM_TRANSPORT_PARENT", "p0".to_owned()),
        ("NETLOOM_TRANSPORT_VLAN", "100".to_owned()),
        ("NETLOOM_TRANSPORT_ADDRESS", "10.100.0.5/24".to_owned()),
    ]);
    host.netloom(&["agent", "--background"]).code(0);
    host.until("packets pass", passes);
    let info = host.demand(SECRET, "GET /info", &json!(null));
    assert_eq!(info["data_plane_ip"], "10.100.0.5");
    // Another tag in the next life: the former one goes.
    host.kill_agent();
    host.environment.push(("NETLOOM_TRANSPORT_VLAN", "101".to_owned()));
    host.netloom(&["agent", "--background"]).code(0);
    host.until("the other one is made", |host| host.sh("ip link show p0.101 && ! ip link show p0.100").code == 0);
}
