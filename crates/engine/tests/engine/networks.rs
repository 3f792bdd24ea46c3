//! The management network: nodes get an address each, keep it, and share the network with other labs.

use std::sync::Arc;

use netloom_engine::testing::{Sketch, Trouble, World};
use netloom_engine::{OperationState, Place, Refusal};
use netloom_model::{Lab, ManagementDriver};

use crate::bench::{Bench, config, end, lab_name, pass, request, until};

async fn bench() -> Bench {
    Bench::prepared(config(), |world, _| world.add_networks()).await
}

fn labs_of(lab: &str, nodes: &[&str]) -> Arc<Lab> {
    nodes.iter().fold(Sketch::new(lab), |sketch, node| sketch.container(node)).lab()
}

fn address(world: &World, lab: &str, node: &str) -> String {
    let place = Place::Node(lab_name(lab), node.parse().unwrap());
    let port = world.port(&place, "eth0").unwrap_or_else(|| panic!("{lab}/{node} has no eth0"));
    port.addresses.into_iter().find(|address| address.starts_with("172.20.20.")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn nodes_get_an_interface_on_a_network_that_goes_with_the_last_lab() {
    let bench = bench().await;
    bench.made(&labs_of("one", &["r1", "r2"])).await;
    assert_eq!(bench.world.networks(), ["clab: br-clab"]);
    assert_eq!(
        [address(&bench.world, "one", "r1"), address(&bench.world, "one", "r2")],
        ["172.20.20.2/24", "172.20.20.3/24"]
    );
    bench.made(&labs_of("two", &["r1"])).await;
    assert_eq!(address(&bench.world, "two", "r1"), "172.20.20.4/24");
    assert_eq!(bench.destroy("one").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.networks(), ["clab: br-clab"]);
    assert_eq!(bench.destroy("two").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.networks(), [""; 0]);
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
    assert_eq!(bench.store.keys(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn two_labs_that_are_accepted_at_once_share_no_address() {
    let bench = bench().await;
    bench.ready().await;
    let labs: Vec<_> = (0..5).map(|n| labs_of(&format!("lab{n}"), &["r1", "r2"])).collect();
    let deploys = labs.iter().map(|lab| bench.engine.deploy(request(lab)));
    for operation in futures::future::join_all(deploys).await {
        assert_eq!(end(&operation.unwrap()).await.state, OperationState::Succeeded);
    }
    let nodes = labs.iter().flat_map(|lab| ["r1", "r2"].map(|node| address(&bench.world, lab.name().as_str(), node)));
    let mut all: Vec<String> = nodes.collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_node_keeps_its_address_through_deploys_and_lives_of_the_agent() {
    let bench = bench().await;
    bench.made(&labs_of("lab", &["r1", "r3"])).await;
    bench.made(&labs_of("lab", &["r0", "r1", "r2", "r3"])).await;
    let before: Vec<String> = ["r1", "r3", "r0", "r2"].map(|node| address(&bench.world, "lab", node)).into();
    assert_eq!(before, ["172.20.20.2/24", "172.20.20.3/24", "172.20.20.4/24", "172.20.20.5/24"]);
    let bench = bench.restart().await;
    bench.ready().await;
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    let again = bench.deploy(&labs_of("lab", &["r0", "r1", "r2", "r3"])).await;
    assert!(again.message.as_deref().unwrap_or_default().contains("nothing to change"), "{again:#?}");
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_added_live_gets_an_address_and_gives_it_back() {
    let bench = bench().await;
    bench.made(&labs_of("lab", &["r1"])).await;
    let node = serde_json::json!({ "kind": "linux", "runtime": "docker", "image": "image" });
    bench.edited(serde_json::json!({ "nodes": { "r2": node } })).await;
    assert_eq!(address(&bench.world, "lab", "r2"), "172.20.20.3/24");
    bench.edited(serde_json::json!({ "nodes": { "r2": null } })).await;
    bench.made(&labs_of("other", &["r1"])).await;
    assert_eq!(address(&bench.world, "other", "r1"), "172.20.20.3/24");
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_there_is_used_around_those_that_are_on_it_and_stays() {
    let foreign = |world: &World| {
        world.add_networks();
        world.add_foreign_network("clab", "br-theirs", "172.20.20.254".parse().unwrap());
    };
    let bench = Bench::prepared(config(), |world, _| foreign(world)).await;
    bench.made(&labs_of("lab", &["r1"])).await;
    assert_eq!(address(&bench.world, "lab", "r1"), "172.20.20.253/24");
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.networks(), ["clab: br-theirs"]);
}

#[tokio::test(start_paused = true)]
async fn a_bridge_that_is_deleted_by_hand_comes_back_with_its_nodes() {
    let bench = bench().await;
    bench.made(&labs_of("lab", &["r1"])).await;
    bench.world.delete_port(&Place::Host, "br-clab");
    let is_whole = || {
        let bridge = bench.world.port(&Place::Host, "br-clab");
        let host = bench.world.host();
        let port = host.iter().find(|name| name.starts_with("mg"));
        let port = port.and_then(|name| bench.world.port(&Place::Host, name));
        bridge.zip(port).is_some_and(|(bridge, port)| port.master == Some(bridge.ifindex))
    };
    until("the bridge is back and the node on it", is_whole).await;
    assert_eq!(address(&bench.world, "lab", "r1"), "172.20.20.2/24");
}

#[tokio::test(start_paused = true)]
async fn links_to_the_network_are_made_on_its_bridge() {
    let bench = bench().await;
    let lab = Sketch::new("lab").node("r1").link("r1:eth1", "host:oob");
    let lab = lab.with_link(|link| link.kind = netloom_model::LinkKind::ManagementNet).lab();
    bench.made(&lab).await;
    let (bridge, port) = (bench.world.port(&Place::Host, "br-clab"), bench.world.port(&Place::Host, "oob"));
    assert_eq!(port.unwrap().master, Some(bridge.unwrap().ifindex));
    let view = bench.engine.view(lab.name()).unwrap();
    assert_eq!((view.links.len(), view.links[0].state.as_str()), (1, "up"));
}

#[tokio::test(start_paused = true)]
async fn a_network_in_the_way_refuses_a_lab_before_anything_is_touched() {
    let bench = bench().await;
    bench.ready().await;
    bench.world.trouble("survey network/clab", .., Trouble::Permanent("its subnet is taken".into()));
    let refused = bench.begin(&labs_of("lab", &["r1"])).await.unwrap_err();
    assert!(matches!(&refused, Refusal::Unable(_)) && refused.to_string().contains("its subnet is taken"), "{refused}");
    assert_eq!(bench.world.calls(), [""; 0]);
    assert!(bench.engine.wishes().get(&lab_name("lab")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_network_of_macvlans_is_refused_where_a_node_would_be_on_it() {
    let bench = bench().await;
    bench.ready().await;
    let of_macvlans = |lab: &Lab| {
        let mut parts = lab.clone().into_parts();
        parts.management.driver = ManagementDriver::Macvlan { parent: None, host: None };
        Arc::new(Lab::new(parts).unwrap())
    };
    let refused = bench.begin(&of_macvlans(&labs_of("lab", &["r1"]))).await.unwrap_err();
    assert!(refused.to_string().contains("`mgmt.driver: macvlan` is not made"), "{refused}");
    assert_eq!(bench.world.calls(), [""; 0]);
    bench.made(&of_macvlans(&Sketch::pair("lab").lab())).await;
}

#[tokio::test(start_paused = true)]
async fn a_view_shows_the_addresses_apart_and_no_link_for_them() {
    let bench = bench().await;
    bench.made(&labs_of("lab", &["r1"])).await;
    let view = bench.engine.view(&lab_name("lab")).unwrap();
    assert_eq!(view.links.len(), 0);
    assert!(view.nodes[0].ready, "{:#?}", view.nodes[0]);
    let management = view.nodes[0].management.as_ref().unwrap();
    assert_eq!(management.ipv4.unwrap().to_string(), "172.20.20.2");
    assert_eq!(management.network, "clab");
}

fn with_access(lab: &str, external_access: bool) -> Arc<Lab> {
    let mut parts = Lab::clone(&labs_of(lab, &["r1"])).into_parts();
    parts.management.external_access = external_access;
    Arc::new(Lab::new(parts).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_network_is_open_as_long_as_one_of_its_labs_says_so() {
    let bench = bench().await;
    let is_open = || bench.world.open_networks() == ["clab"];
    bench.made(&with_access("closed", false)).await;
    assert!(!is_open());
    bench.made(&with_access("open", true)).await;
    until("one of two says so", is_open).await;
    assert_eq!(bench.destroy("open").await.state, OperationState::Succeeded);
    assert!(!is_open());

    bench.made(&with_access("closed", true)).await;
    until("its file says so now", is_open).await;
    bench.made(&with_access("closed", false)).await;
    until("its file says so no longer", || !is_open()).await;
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_shut_by_hand_is_opened_again_and_what_is_in_the_way_fails_no_lab() {
    let bench = bench().await;
    let is_open = || bench.world.open_networks() == ["clab"];
    bench.ready().await;
    bench.world.trouble("admit network/clab", ..2, Trouble::Permanent("no firewall is installed".into()));
    bench.made(&labs_of("lab", &["r1"])).await;
    assert!(!is_open());
    until("the next look opens it", is_open).await;
    bench.world.shut_network("clab");
    until("the next look finds it shut", is_open).await;

    let bench = bench.restart().await;
    bench.world.shut_network("clab");
    let is_open = || bench.world.open_networks() == ["clab"];
    until("the next agent finds it shut", is_open).await;
}
