use super::*;

fn network(name: &str, more: &serde_json::Value) -> Network {
    let mut value = serde_json::json!({ "Name": name, "Id": "0123456789abcdef", "Driver": "bridge" });
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(value).unwrap()
}

fn survey(networks: &[Network], routes: &[(&str, &str)], wanted: &Management) -> Result<Surveyed, Unfit> {
    let v4 = routes.iter().map(|(net, interface)| (net.parse().unwrap(), (*interface).to_owned())).collect();
    let routes = Routes { v4, v6: Vec::new() };
    Ground { networks, routes: &routes, plain_mtu: 1500, instance: "one" }.survey(wanted)
}

#[test]
fn a_new_network_keeps_a_part_for_others_and_has_a_bridge_and_gateways() {
    let on = survey(&[], &[("10.0.0.0/8", "eth0")], &Management::default()).unwrap().on;
    let bridge = on.network.bridge.as_ref().unwrap().as_str();
    assert!(bridge.starts_with("br-") && bridge.len() == 15, "{bridge}");
    let Family::Subnet { gateway, .. } = &on.network.ipv4 else { panic!() };
    assert_eq!(gateway.unwrap().to_string(), "172.20.20.1");
    assert_eq!(on.others_ipv4.unwrap().to_string(), "172.20.20.240/28");
    assert_eq!(on.others_ipv6.unwrap().to_string(), "3fff:172:20:20:8000::/80");
    assert_eq!(on.network.mtu.unwrap().bytes(), 1500);
}

#[test]
fn a_subnet_that_something_else_has_is_refused_with_its_name_and_what_to_set() {
    let other = network("other", &serde_json::json!({ "IPAM": { "Config": [{ "Subnet": "172.20.0.0/16" }] } }));
    let unfit = survey(&[other], &[], &Management::default()).unwrap_err();
    assert!(unfit.why.contains("172.20.20.0/24 overlaps 172.20.0.0/16 of Docker's network `other`"), "{unfit:?}");
    let unfit = survey(&[], &[("172.20.20.128/25", "tun0")], &Management::default()).unwrap_err();
    assert!(unfit.why.contains("the host's route to 172.20.20.128/25 by tun0"), "{unfit:?}");
    assert!(unfit.hint.contains("`mgmt.ipv4-subnet`"), "{unfit:?}");
}

#[test]
fn a_route_of_its_own_bridge_is_in_nobodys_way() {
    let bridge = bridge_name("clab").to_string();
    survey(&[], &[("172.20.20.0/24", &bridge)], &Management::default()).unwrap();
}

#[test]
fn a_network_that_is_there_is_used_as_it_is() {
    let there = network(
        "clab",
        &serde_json::json!({
            "IPAM": { "Config": [{ "Subnet": "10.9.0.0/24", "Gateway": "10.9.0.254" }] },
            "Options": { "com.docker.network.driver.mtu": "1400" },
            "Containers": { "x": { "Name": "theirs", "IPv4Address": "10.9.0.2/24", "IPv6Address": "" } },
        }),
    );
    let found = survey(&[there], &[("10.9.0.0/24", "br-0123456789ab")], &Management::default()).unwrap();
    assert_eq!(found.on.network.bridge.unwrap().as_str(), "br-0123456789ab");
    assert_eq!(found.on.network.mtu.unwrap().bytes(), 1400);
    let Family::Subnet { gateway, .. } = &found.on.network.ipv4 else { panic!() };
    assert_eq!(gateway.unwrap().to_string(), "10.9.0.254");
    assert_eq!(found.on.network.ipv6, Family::Off);
    assert_eq!(found.on.others_ipv4.unwrap().to_string(), "10.9.0.0/24");
    assert_eq!(found.taken, BTreeMap::from([("10.9.0.2".parse().unwrap(), "theirs".to_owned())]));
}

#[test]
fn a_network_that_is_another_than_the_file_says_is_refused() {
    let there = network("clab", &serde_json::json!({ "IPAM": { "Config": [{ "Subnet": "10.9.0.0/24" }] } }));
    let wanted = Management { ipv4: Family::of("10.8.0.0/24".parse().unwrap()), ..Management::default() };
    let unfit = survey(&[there], &[], &wanted).unwrap_err();
    assert!(unfit.why.contains("10.9.0.0/24") && unfit.why.contains("10.8.0.0/24"), "{unfit:?}");
    let macvlan = network("clab", &serde_json::json!({ "Driver": "macvlan" }));
    assert!(survey(&[macvlan], &[], &Management::default()).unwrap_err().why.contains("macvlan"));
}

#[test]
fn a_subnet_that_is_left_open_is_one_that_is_free() {
    let other = network("other", &serde_json::json!({ "IPAM": { "Config": [{ "Subnet": "172.18.0.0/16" }] } }));
    let wanted = Management { ipv4: Family::Auto, ipv6: Family::Auto, ..Management::default() };
    let on = survey(&[other], &[("172.19.5.0/24", "eth0")], &wanted).unwrap().on;
    assert_eq!(net(&on.network.ipv4).unwrap(), "172.20.0.0/16");
    assert!(net(&on.network.ipv6).unwrap().starts_with("fd"));
}

#[test]
fn small_networks_keep_nothing_for_others() {
    let wanted = Management { ipv4: Family::of("10.8.0.0/29".parse().unwrap()), ..Management::default() };
    assert_eq!(survey(&[], &[], &wanted).unwrap().on.others_ipv4, None);
    assert_eq!(nobody("10.8.0.0/29".parse().unwrap()).to_string(), "10.8.0.7/32");
}
