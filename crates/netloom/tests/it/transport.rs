//! The host's own interfaces: what the configuration and controllers want of them, and what is refused or taken back.

use serde_json::{Value, json};

use crate::sandbox::{Run, Sandbox};

const SECRET: &str = "hush-hush-hush";

/// A host that is reached by `mg0` and has `d0` for other things.
fn host() -> Option<Sandbox> {
    let mut host = Sandbox::new()?;
    host.environment.push(("NETLOOM_SECRET", SECRET.to_owned()));
    plug(&host);
    Some(host)
}

fn plug(host: &Sandbox) {
    host.sh("set -e
        ip link add mg0 type veth peer mg1 && ip link set mg0 up && ip link set mg1 up
        ip addr add 192.0.2.7/24 dev mg0 && ip route add default via 192.0.2.1
        ip link add d0 type veth peer d1 && ip link set d1 up")
        .code(0);
}

fn start(host: &Sandbox) {
    host.netloom(&["agent", "--background"]).code(0);
}

#[track_caller]
fn provision(host: &Sandbox, body: &Value) -> Value {
    host.demand(SECRET, "POST /interfaces/provision", body)
}

fn configure(name: &str, address: &str, mtu: u32) -> Value {
    json!({ "action": "configure", "name": name, "ip_cidr": address, "mtu": mtu, "attach_to_ovs": false })
}

/// All interfaces with addresses and routes, but for what counts up.
fn network(host: &Sandbox) -> String {
    host.sh(
        "ip -o link | grep -v ' lo:' | sed 's/qdisc [a-z_]* //; s/qlen [0-9]*//'; ip -o addr | grep -v tentative | grep -v inet6; ip route",
    )
    .code(0)
    .out
}

fn addresses(host: &Sandbox, name: &str) -> Vec<String> {
    let shown = host.sh(&format!("ip -o -4 addr show dev {name} | awk '{{print $4}}'")).out;
    shown.lines().map(str::to_owned).collect()
}

fn mtu(host: &Sandbox, name: &str) -> String {
    host.sh(&format!("cat /sys/class/net/{name}/mtu || ip -o link show {name} | sed 's/.*mtu \\([0-9]*\\).*/\\1/'"))
        .out
        .lines()
        .next_back()
        .unwrap_or_default()
        .to_owned()
}

/// The operations of the transport, as their states.
fn operations(host: &Sandbox) -> Vec<Value> {
    let all = host.ask("GET /operations").json();
    all.as_array().unwrap().iter().filter(|one| one["kind"] == "transport").map(|one| one["state"].clone()).collect()
}

#[test]
fn a_dedicated_interface_is_set_up_kept_so_and_left_alone_when_it_is_right() {
    let Some(mut host) = host() else { return };
    host.environment.extend([
        ("NETLOOM_TRANSPORT", "dedicated".to_owned()),
        ("NETLOOM_TRANSPORT_INTERFACE", "d0".to_owned()),
        ("NETLOOM_TRANSPORT_ADDRESS", "10.100.0.5/24".to_owned()),
    ]);
    host.sh("ip addr add 10.9.0.1/24 dev d0").code(0);
    start(&host);
    host.until("it has its address", |host| addresses(host, "d0") == ["10.100.0.5/24"]);
    host.until("it is said", |host| operations(host) == ["succeeded"]);
    assert_eq!(mtu(&host, "d0"), "9000");
    let info = host.demand(SECRET, "GET /info", &json!(null));
    assert_eq!(info["data_plane_ip"], "10.100.0.5");

    // Somebody takes it away.
    host.sh("ip addr del 10.100.0.5/24 dev d0 && ip link set d0 mtu 1500").code(0);
    host.until("it has it again", |host| addresses(host, "d0") == ["10.100.0.5/24"] && mtu(host, "d0") == "9000");

    // The next life changes nothing.
    host.kill_agent();
    let before = network(&host);
    host.sh("ip -4 monitor address > $NETLOOM_ROOT/changes 2>&1 & echo $! > $NETLOOM_ROOT/monitor").code(0);
    start(&host);
    host.until("it is said", |host| operations(host) == ["succeeded"]);
    host.sh("kill $(cat $NETLOOM_ROOT/monitor)").code(0);
    host.sh("cat $NETLOOM_ROOT/changes; test ! -s $NETLOOM_ROOT/changes").code(0);
    assert_eq!(network(&host), before);
    let refused = provision(&host, &json!({ "action": "delete", "name": "d0" }));
    assert!(refused["error"].as_str().unwrap().contains("configuration"), "{refused}");
}

#[test]
fn what_a_controller_configures_is_kept_over_restarts_and_reboots_and_goes_when_it_says_so() {
    let Some(mut host) = host() else { return };
    start(&host);
    let body = configure("d0", "10.100.0.5/24", 9000);
    let done =
        json!({ "success": true, "error": null, "interface_name": "d0", "mtu": 9000, "ip_address": "10.100.0.5/24" });
    assert_eq!(provision(&host, &body), done);
    assert_eq!((addresses(&host, "d0"), mtu(&host, "d0")), (vec!["10.100.0.5/24".to_owned()], "9000".to_owned()));
    assert_eq!(provision(&host, &body), done);
    assert_eq!(operations(&host), ["succeeded"]);
    let other = provision(&host, &configure("d0", "10.100.0.6/24", 9000));
    assert_eq!((&other["success"], addresses(&host, "d0")), (&json!(true), vec!["10.100.0.6/24".to_owned()]));

    host.kill_agent();
    host.sh("ip addr flush dev d0 && ip link set d0 down").code(0);
    start(&host);
    host.until("it is made again", |host| addresses(host, "d0") == ["10.100.0.6/24"]);

    host.reboot(Run::Memory);
    host.sh("ip link set lo up").code(0);
    start(&host);
    host.until("it is said", |host| operations(host) == ["failed"]);
    plug(&host);
    host.until("it is made again", |host| addresses(host, "d0") == ["10.100.0.6/24"] && mtu(host, "d0") == "9000");

    let gone = provision(&host, &json!({ "action": "delete", "name": "d0" }));
    assert_eq!((&gone["success"], &gone["error"]), (&json!(true), &Value::Null));
    assert!(addresses(&host, "d0").is_empty());
    // Once more: it was not made here.
    let refused = provision(&host, &json!({ "action": "delete", "name": "d0" }));
    assert!(refused["error"].as_str().unwrap().contains("only what it has made"), "{refused}");
    host.sh("ip link show d0").code(0);
}

#[test]
fn what_would_cut_the_host_off_is_refused_or_taken_back_whole() {
    let Some(host) = host() else { return };
    start(&host);
    host.until("the way out is known", |host| {
        host.demand(SECRET, "GET /interfaces/details", &json!(null))["default_route_interface"] == "mg0"
    });
    let before = network(&host);
    let refused = |body: &Value, why: &str| {
        let answer = provision(&host, body);
        assert_eq!((&answer["success"], &answer["ip_address"]), (&json!(false), &Value::Null));
        assert!(answer["error"].as_str().unwrap().contains(why), "{answer}\n{why}");
        assert_eq!(network(&host), before, "{answer}");
    };
    refused(&configure("mg0", "10.100.0.5/24", 1500), "the address 192.0.2.7/24");
    // That it takes over the way to the rest of the world shows only afterwards.
    refused(&configure("d0", "1.0.0.5/8", 9000), "it was taken back");
    refused(&configure("nothere0", "10.100.0.5/24", 9000), "there is no interface nothere0");
    refused(&configure("d0", "10.100.0.0/24", 9000), "`ip_cidr`");
    let sub = |name: Option<&str>| {
        json!({ "action": "create_subinterface", "parent_interface": "mg0", "vlan_id": 100, "name": name,
            "ip_cidr": "10.100.0.5/24", "mtu": null, "attach_to_ovs": false, "ovs_vlan_tag": null })
    };
    refused(&sub(Some("d0")), "was not made by this agent");
    // Not every kernel has them; then the MTU of the parent is as it was.
    let made = provision(&host, &sub(None));
    if made["success"] == false {
        assert!(made["error"].as_str().unwrap().contains("modprobe 8021q"), "{made}");
        assert_eq!(network(&host), before);
    }
}

#[test]
fn routes_by_an_interface_outlast_a_new_address_and_one_that_is_taken_back() {
    let Some(host) = host() else { return };
    let own = "10.9.0.0/16 via 10.1.0.1 dev d0 proto static metric 7 onlink";
    host.sh(&format!("ip link set d0 up && ip addr add 10.1.0.5/24 dev d0 && ip route add {own}")).code(0);
    host.sh("ip route add 10.8.0.0/16 via 10.1.0.1 dev d0 src 10.1.0.5").code(0);
    start(&host);
    let before = network(&host);
    // The last step takes over the way to the rest of the world, when the former address is gone.
    let cut = provision(&host, &configure("d0", "1.0.0.5/8", 1500));
    assert!(cut["error"].as_str().unwrap().contains("it was taken back"), "{cut}");
    assert_eq!(network(&host), before);
    let done = provision(&host, &configure("d0", "10.1.0.6/24", 1500));
    assert_eq!(done["success"], true, "{done}");
    host.sh("ip route show dev d0").says("10.9.0.0/16 via 10.1.0.1 proto static metric 7 onlink");
    // That one named the address that is gone.
    assert!(!host.sh("ip route show dev d0").out.contains("10.8.0.0/16"));
}

#[test]
fn an_mtu_is_set_and_kept_and_what_the_host_has_is_told() {
    let Some(host) = host() else { return };
    host.sh("ip link set d0 up").code(0);
    start(&host);
    let set = |name: &str, body: Value| host.demand(SECRET, &format!("POST /interfaces/{name}/mtu"), &body);
    host.until("the host is seen", |_| set("d0", json!({ "mtu": 4000, "persist": false }))["success"] == true);
    let answer = set("d0", json!({ "mtu": 9000 }));
    let manager = answer["network_manager"].clone();
    let expected = json!({ "success": true, "error": null, "interface": "d0", "previous_mtu": 4000, "new_mtu": 9000,
        "persisted": true, "network_manager": manager });
    assert_eq!(answer, expected);
    assert_eq!(mtu(&host, "d0"), "9000");
    let none = set("nothere0", json!({ "mtu": 9000, "persist": true }));
    assert_eq!(
        (&none["success"], &none["previous_mtu"], &none["persisted"]),
        (&json!(false), &json!(0), &json!(false))
    );

    host.kill_agent();
    host.sh("ip link set d0 mtu 1500").code(0);
    start(&host);
    host.until("it is set again", |host| mtu(host, "d0") == "9000");
    let details = |host: &Sandbox| host.demand(SECRET, "GET /interfaces/details", &json!(null));
    host.until("the default route is told", |host| details(host)["default_route_interface"] == "mg0");
    let all = details(&host);
    let leads_out: Vec<&Value> =
        all["interfaces"].as_array().unwrap().iter().filter(|one| one["is_default_route"] == true).collect();
    assert_eq!((leads_out.len(), &leads_out[0]["name"]), (1, &json!("mg0")));
    host.sh("ip route del default").code(0);
    host.until("that there is none is told", |host| details(host)["default_route_interface"].is_null());
}

#[test]
fn a_transport_that_cannot_be_is_wrong_input() {
    let Some(mut host) = Sandbox::new() else { return };
    host.environment.push(("NETLOOM_TRANSPORT", "subinterface".to_owned()));
    host.netloom(&["agent"]).code(2).says("`transport-parent` is not set; set it, for example to `eth1`");
}
