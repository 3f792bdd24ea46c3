//! Labs on a switch: tags allotted and kept, ports mended, and no other lab notices.

use std::sync::Arc;
use std::time::Duration;

use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{Config, LabView, OperationState, Place, Source, Store as _, Write};
use netloom_model::{Endpoint, FabricKind, Lab, Link};

use serde_json::json;

use crate::bench::{Bench, config, lab_name, pair, until};

const LINK: &str = "r1:eth1-r2:eth1";

pub(crate) fn on_switch(lab: &Arc<Lab>) -> Arc<Lab> {
    let mut parts = Lab::clone(lab).into_parts();
    parts.settings.fabric = Some(FabricKind::Ovs);
    Arc::new(Lab::new(parts).unwrap())
}

fn switched(lab: &str) -> Arc<Lab> {
    on_switch(&Sketch::pair(lab).lab())
}

async fn bench() -> Bench {
    Bench::prepared(config(), |world, _| world.add_switch()).await
}

fn view(bench: &Bench, lab: &str) -> LabView {
    bench.engine.view(&lab_name(lab)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_link_of_a_lab_on_a_switch_has_two_ports_with_a_tag_of_its_own() {
    let bench = bench().await;
    bench.made(&on_switch(&Sketch::pair("lab").link("r1:eth2", "r2:eth2").lab())).await;
    let ports = bench.world.switch_ports();
    let of = |link: &str| -> Vec<&str> {
        ports.iter().filter(|port| port.ends_with(link)).map(|port| port.split(' ').nth(1).unwrap()).collect()
    };
    let (one, two) = (of(LINK), of("r1:eth2-r2:eth2"));
    assert!(one.len() == 2 && one[0] == one[1] && two.len() == 2 && two[0] == two[1] && one[0] != two[0], "{ports:?}");
    assert!(ports.iter().all(|port| port.starts_with("arch-ovs ")), "{ports:?}");
    let view = view(&bench, "lab");
    assert!(view.links.iter().all(|link| link.state == "up" && link.switch.len() == 2), "{view:#?}");
    assert!(view.nodes.iter().all(|node| node.ready));
    let again = bench.deploy(&on_switch(&Sketch::pair("lab").link("r1:eth2", "r2:eth2").lab())).await;
    assert_eq!(again.message.as_deref(), Some("nothing to change"));
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert!(bench.world.switch_ports().is_empty() && bench.world.tags().is_empty());
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
    until("the store has forgotten it", || bench.store.keys().iter().all(|key| !key.starts_with("tags/"))).await;
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_says_nothing_is_on_what_the_host_is_configured_with() {
    let config = Config { fabric: FabricKind::Ovs, switch: "br-lab".parse().unwrap(), ..config() };
    let bench = Bench::prepared(config, |world, _| world.add_switch()).await;
    bench.made(&pair()).await;
    assert!(bench.world.switch_ports().iter().all(|port| port.starts_with("br-lab 2050 lab/")));
    assert_eq!(bench.world.switch_ports().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_somebody_else_has_is_not_allotted_and_one_that_was_is_kept_through_a_restart() {
    let bench = Bench::prepared(config(), |world, _| {
        world.add_switch();
        world.take_tag(2050);
    })
    .await;
    bench.made(&switched("lab")).await;
    assert_eq!(bench.world.tags(), [2050, 2051]);
    let bench = bench.restart().await;
    bench.ready().await;
    assert_eq!(bench.deploy(&switched("lab")).await.message.as_deref(), Some("nothing to change"));
    assert_eq!(bench.world.take_calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_carrier_that_is_wanted_back_before_it_was_seen_to_be_gone_is_not_waited_for() {
    let bench = bench().await;
    bench.made(&switched("lab")).await;
    let [r1, r2] = ["r1", "r2"].map(|node| Place::Node(lab_name("lab"), node.parse().unwrap()));
    bench.world.trouble("carry lab/*", ..1, Trouble::Slow(Duration::from_secs(1)));
    bench.world.take_calls();
    bench.world.shut_down(&r1, "eth1");
    until("it is being taken", || !bench.world.calls().is_empty()).await;
    bench.world.open_up(&r1, "eth1");
    let start = tokio::time::Instant::now();
    until("both have it", || bench.world.calls().len() == 2).await;
    assert!(bench.world.port(&r2, "eth1").unwrap().carrier);
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_end_that_is_shut_takes_the_carrier_of_the_far_end_and_both_come_back_in_any_order() {
    let bench = bench().await;
    bench.made(&switched("lab")).await;
    let [r1, r2] = ["r1", "r2"].map(|node| Place::Node(lab_name("lab"), node.parse().unwrap()));
    let carrier = |place: &Place| bench.world.port(place, "eth1").unwrap().carrier;
    let set = |place: &Place, up: bool| {
        if up { bench.world.open_up(place, "eth1") } else { bench.world.shut_down(place, "eth1") }
    };
    set(&r1, false);
    until("the far end has no carrier", || !carrier(&r2)).await;
    assert!(bench.world.port(&r2, "eth1").unwrap().admin_up, "nobody touched the end itself");
    set(&r1, true);
    until("it has one again", || carrier(&r1) && carrier(&r2)).await;
    for (first, second) in [(&r1, &r2), (&r2, &r1)] {
        set(&r1, false);
        set(&r2, false);
        until("both are off", || !carrier(&r1) && !carrier(&r2)).await;
        set(first, true);
        set(second, true);
        until("both are back", || carrier(&r1) && carrier(&r2)).await;
    }
    until("it shows", || view(&bench, "lab").links[0].state == "up").await;
    let cut = |state: &str| json!({ "links": { "r1:eth1 r2:eth1": { "ends": { "r1:eth1": { "state": state } } } } });
    bench.edited(cut("down")).await;
    until("a cut end takes it too", || !carrier(&r2)).await;
    bench.edited(cut("up")).await;
    until("and gives it back", || carrier(&r1) && carrier(&r2)).await;
}

/// A node with a link to another host, joined by filters.
fn to_another_host() -> Arc<Lab> {
    let tunnel = json!({ "vxlan-stitch": { "remote": "192.0.2.7", "vni": 7, "dst_port": 4789 } });
    let leave = |link: &mut Link| {
        link.b = None;
        link.kind = serde_json::from_value(tunnel).unwrap();
    };
    Sketch::pair("lab").with_link(leave).lab()
}

#[tokio::test(start_paused = true)]
async fn the_carrier_of_a_link_to_another_host_follows_what_that_says_and_that_is_told_of_the_end_here() {
    for lab in [to_another_host(), on_switch(&to_another_host())] {
        let bench = bench().await;
        bench.made(&lab).await;
        let r1 = Place::Node(lab_name("lab"), "r1".parse().unwrap());
        let wish = lab.on_switch(&"arch-ovs".parse().unwrap());
        let wish = if lab.settings().fabric.is_some() { &wish } else { &lab };
        let tunnel = wish.seam(&wish.links()[0]).unwrap().tunnel;
        let far =
            |heard: bool| bench.world.change_port(&Place::Host, tunnel.as_str(), |port| port.signals.heard = heard);
        let told = || bench.world.port(&Place::Host, tunnel.as_str()).unwrap().signals.sent;
        let end = || bench.world.port(&r1, "eth1").unwrap();
        assert!(end().carrier && !told());
        bench.world.shut_down(&r1, "eth1");
        until("the far host is told", told).await;
        bench.world.open_up(&r1, "eth1");
        until("it is told again", || !told()).await;
        far(true);
        until("the end has no carrier", || !end().carrier).await;
        assert!(end().admin_up && !told(), "nobody touched the end itself, and nobody is told of it");
        let link = || view(&bench, "lab").links.remove(0);
        until("it shows", || link().state == "down" && link().far_off).await;
        bench.world.shut_down(&r1, "eth1");
        until("both are off", told).await;
        far(false);
        bench.world.open_up(&r1, "eth1");
        until("both are back", || end().carrier && !told()).await;
        let cut = |state: &str| json!({ "links": { "r1:eth1": { "ends": { "r1:eth1": { "state": state } } } } });
        bench.edited(cut("down")).await;
        until("of a cut end it is told too", told).await;
        bench.edited(cut("up")).await;
        until("and of its return", || end().carrier && !told()).await;
        let bench = bench.restart().await;
        bench.ready().await;
        assert_eq!(bench.deploy(&lab).await.message.as_deref(), Some("nothing to change"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_forgot_everything_gets_the_same_ports_with_the_same_tags() {
    let bench = bench().await;
    bench.made(&switched("a")).await;
    bench.made(&switched("b")).await;
    let before = bench.world.switch_ports();
    bench.world.empty_switch();
    until("it is whole again", || bench.world.switch_ports() == before).await;
    until("it shows", || view(&bench, "a").links[0].state == "up").await;
    assert_eq!(bench.world.tags(), [2050, 2051]);
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_somebody_changed_is_set_back() {
    let bench = bench().await;
    bench.made(&switched("lab")).await;
    bench.world.retag(&view(&bench, "lab").links[0].switch[0].port, 7);
    assert!(bench.world.switch_ports().iter().any(|port| port.contains(" 7 ")));
    until("it is back", || bench.world.switch_ports().iter().all(|port| port.contains(" 2050 "))).await;
}

#[tokio::test(start_paused = true)]
async fn a_switch_that_cannot_be_looked_at_holds_up_no_lab_of_the_kernel() {
    let bench = bench().await;
    bench.made(&switched("lab")).await;
    bench.world.make_unreachable(Source::Switch, "it is frozen");
    bench.world.trouble("claim *", .., Trouble::Hangs);
    let plain = Sketch::pair("plain").lab();
    assert_eq!(bench.deploy(&plain).await.state, OperationState::Succeeded);
    assert_eq!(view(&bench, "plain").stale, None);
}

#[tokio::test(start_paused = true)]
async fn a_bridge_of_the_switch_is_made_for_the_lab_that_it_is_a_node_of_and_goes_with_it() {
    let bench = bench().await;
    let lab =
        Sketch::pair("lab").still("ovs-bridge", "ovs0").link("r1:eth2", "ovs0:p1").link("r2:eth2", "ovs0:p2").lab();
    bench.made(&lab).await;
    assert_eq!(bench.world.switch_bridges(), ["ovs0"]);
    assert_eq!(bench.world.switch_ports(), ["ovs0 - lab/ovs0:p1-r1:eth2", "ovs0 - lab/ovs0:p2-r2:eth2"]);
    assert!(view(&bench, "lab").nodes.iter().all(|node| node.ready));
    assert!(bench.world.port(&Place::Host, "p1").is_some());
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert!(bench.world.switch_bridges().is_empty() && bench.world.switch_ports().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lab_goes_from_the_kernel_to_the_switch_and_back() {
    let bench = bench().await;
    bench.made(&pair()).await;
    assert_eq!(bench.deploy(&switched("lab")).await.state, OperationState::Succeeded);
    assert_eq!(bench.world.switch_ports().len(), 2);
    until("it is up", || view(&bench, "lab").links[0].state == "up").await;
    assert_eq!(bench.deploy(&pair()).await.state, OperationState::Succeeded);
    assert!(bench.world.switch_ports().is_empty() && bench.world.tags().is_empty());
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_a_switch_refuses_a_lab_on_one_and_touches_nothing() {
    let bench = Bench::new().await;
    let refused = bench.begin(&switched("lab")).await.unwrap_err().to_string();
    assert!(refused.contains("Open vSwitch"), "{refused}");
    assert!(bench.world.take_calls().is_empty() && bench.store.keys().is_empty());
}

/// What the store has noted of tags.
fn noted(bench: &Bench) -> Vec<String> {
    bench.store.keys().into_iter().filter(|key| key.starts_with("tags/")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_was_claimed_for_a_link_that_nobody_wants_any_more_is_given_back() {
    let bench = bench().await;
    bench.made(&switched("lab")).await;
    bench.world.leave_claim("lab", "r1:eth9-r2:eth9", 2060);
    let bench = bench.restart().await;
    bench.ready().await;
    until("it is given back", || bench.world.tags() == [2050]).await;
    assert_eq!(bench.deploy(&switched("lab")).await.message.as_deref(), Some("nothing to change"));
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_was_claimed_for_and_never_made_leaves_no_claim() {
    let bench = bench().await;
    bench.world.trouble("create lab/r1:*", .., Trouble::Transient("the disk is full".into()));
    bench.begin(&switched("lab")).await.unwrap();
    until("a tag is claimed", || bench.world.tags() == [2050]).await;
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert!(bench.world.tags().is_empty(), "{:?}", bench.world.tags());
    until("the store has forgotten it", || noted(&bench).is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_note_of_a_tag_whose_link_is_gone_goes_with_it() {
    let bench = bench().await;
    bench.made(&switched("lab")).await;
    let noted = br#"{"r1:eth1-r2:eth1":2050,"r1:eth9-r2:eth9":2051}"#;
    bench.store.write(vec![Write::Put { key: "tags/lab".to_owned(), value: noted.to_vec() }]).await.unwrap();
    let bench = bench.restart().await;
    bench.ready().await;
    until("it is forgotten", || bench.store.text("tags/lab").is_some_and(|noted| !noted.contains("eth9"))).await;
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    until("the store has forgotten all", || bench.store.text("tags/lab").is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_cannot_be_given_back_holds_its_link_up_until_it_can() {
    let bench = bench().await;
    bench.made(&switched("lab")).await;
    bench.world.trouble("release *", ..3, Trouble::Transient("it is busy".into()));
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert!(bench.world.tags().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_link_that_left_the_switch_in_a_crash_gives_its_tag_back() {
    let bench = bench().await;
    bench.world.leave_claim("lab", LINK, 2050);
    let bench = bench.restart().await;
    bench.ready().await;
    bench.made(&pair()).await;
    assert!(bench.world.tags().is_empty() && noted(&bench).is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_vlan_of_a_port_is_set_while_its_link_is_there() {
    let bench = bench().await;
    let lab = |vlan: u16| {
        let sketch = Sketch::new("lab").node("r1").still("ovs-bridge", "sw").link("r1:eth1", "sw:p1");
        let vars = |link: &mut Link| {
            let end = link.b.as_mut().unwrap();
            assert!(matches!(end.at, Endpoint::Bridge(_)));
            end.vars.insert("vlan".to_owned(), json!(vlan));
        };
        sketch.with_link(vars).lab()
    };
    bench.made(&lab(10)).await;
    assert_eq!(bench.world.switch_ports(), ["sw 10 lab/r1:eth1-sw:p1"]);
    assert_eq!(bench.deploy(&lab(10)).await.message.as_deref(), Some("nothing to change"));

    let changed = bench.deploy(&lab(20)).await;
    let steps: Vec<String> = changed.steps.iter().map(|step| step.text.clone()).collect();
    assert_eq!(steps, ["update link r1:eth1-sw:p1"], "{changed:#?}");
    assert_eq!(bench.world.switch_ports(), ["sw 20 lab/r1:eth1-sw:p1"]);
    assert_eq!(view(&bench, "lab").links[0].switch[0].tag, Some(20));

    bench.world.retag(&view(&bench, "lab").links[0].switch[0].port, 7);
    until("it is set back", || bench.world.switch_ports() == ["sw 20 lab/r1:eth1-sw:p1"]).await;
}
