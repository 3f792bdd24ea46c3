//! Labs of controllers: their ports and segments, and that what runs in them is the controller's to say.

use std::collections::BTreeSet;
use std::time::Duration;

use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{
    Authority, Controlled, ControlledEdit, ControlledNode, ControlledTunnel, Near, OperationState, OperationView,
    PortName, Refusal,
};
use netloom_model::{Endpoint, LinkId, Mtu, NodeName, RestartPolicy, Vxlan};
use netloom_plan::NodeState;
use serde_json::json;

use crate::bench::{Bench, config, end, lab_name, until};

const LINK: &str = "r1:eth1-r2:eth1";

fn controller() -> Authority {
    Authority::Controller("one".to_owned())
}

async fn bench() -> Bench {
    Bench::prepared(config(), |world, _| world.add_switch()).await
}

fn nodes() -> Vec<ControlledNode> {
    let lab = Sketch::pair("lab").lab();
    let of = |(name, node): (&NodeName, &netloom_model::Node)| ControlledNode {
        name: name.clone(),
        node: netloom_model::Node { restart_policy: RestartPolicy::No, ..node.clone() },
        interfaces: ["eth1", "eth2"].map(|name| name.parse().unwrap()).into(),
        mtu: Mtu::DEFAULT,
        keep: false,
    };
    lab.nodes().iter().map(of).collect()
}

fn port(node: &str, interface: &str) -> PortName {
    PortName { node: node.parse().unwrap(), interface: interface.parse().unwrap() }
}

async fn ask(bench: &Bench, edit: Controlled) -> Result<OperationView, Refusal> {
    let request = ControlledEdit { authority: controller(), edit };
    let operation = bench.engine.control(&lab_name("lab"), request).await?;
    let mut state = operation.state();
    tokio::time::timeout(Duration::from_secs(60), state.wait_for(|state| state.is_final())).await.unwrap().unwrap();
    Ok(operation.view())
}

async fn done(bench: &Bench, edit: Controlled) {
    let view = ask(bench, edit).await.unwrap();
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
}

fn connect() -> Controlled {
    Controlled::Connect(vec![(port("r1", "eth1"), port("r2", "eth1"))])
}

/// A tunnel with this identifier.
fn tunnel(vni: u32) -> Vxlan {
    Vxlan {
        remote: "192.0.2.7".into(),
        vni,
        dst_port: 4789,
        src_port: None,
        parent: None,
        local: Some("192.0.2.1".parse().unwrap()),
    }
}

fn attach(link: &LinkId, tunnel: Vxlan, near: Near) -> Controlled {
    let (link, mtu) = (link.clone(), Mtu::try_from(1450).unwrap());
    Controlled::Attach(vec![ControlledTunnel { link, tunnel, mtu, near: Some(near) }])
}

/// The tag of each port, by its link.
fn tags(bench: &Bench) -> Vec<(String, u16)> {
    let snapshot = bench.engine.inventory().snapshot();
    let mut tags: Vec<(String, u16)> =
        snapshot.switch.ports().map(|port| (port.link.to_string(), port.vlan.tag.unwrap())).collect();
    tags.sort();
    tags
}

fn tag(bench: &Bench, link: &str) -> u16 {
    tags(bench).into_iter().find(|(of, _)| of == link).unwrap().1
}

#[tokio::test(start_paused = true)]
async fn ports_are_there_before_they_are_linked_and_to_link_them_touches_no_interface() {
    let bench = bench().await;
    done(&bench, Controlled::Run(nodes())).await;
    let apart = tags(&bench);
    let own: BTreeSet<u16> = apart.iter().map(|(_, tag)| *tag).collect();
    assert_eq!((apart.len(), own.len()), (4, 4), "{apart:?}");
    bench.world.take_calls();

    done(&bench, connect()).await;
    let linked = tag(&bench, "r1:eth1");
    assert!(linked == tag(&bench, "r2:eth1") && !own.contains(&linked), "{:?}", tags(&bench));
    done(&bench, connect()).await;
    assert_eq!(tag(&bench, "r1:eth1"), linked, "again is the same");
    let calls = bench.world.take_calls();
    assert!(!calls.iter().any(|call| call.contains("create") || call.contains("delete")), "{calls:?}");

    done(&bench, Controlled::Disconnect(LinkId::from_text(LINK))).await;
    assert_eq!(tags(&bench), apart, "each has its own again");
    done(&bench, Controlled::Remove(["r1", "r2"].map(|node| node.parse().unwrap()).into())).await;
    until("nothing is left", || bench.world.switch_ports().is_empty() && bench.world.tags().is_empty()).await;
    assert!(bench.engine.wishes().get(&lab_name("lab")).is_none(), "a lab without nodes is none");
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_is_a_port_of_the_segment_and_goes_by_itself() {
    let bench = bench().await;
    done(&bench, Controlled::Run(nodes())).await;
    let own = tag(&bench, "r1:eth1");
    let tunnel = tunnel(7);
    let link = LinkId::from_text("r1:eth1-x:eth1");
    let attach = |tunnel: Vxlan| attach(&link, tunnel, Near::Port(port("r1", "eth1")));
    done(&bench, attach(tunnel.clone())).await;
    let wish = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    let far: Vec<_> = wish.lab.links().iter().filter(|link| link.kind.tunnel().is_some()).cloned().collect();
    assert_eq!((far.len(), &far[0].a.at), (1, &Endpoint::Remote("192.0.2.7".into())));
    let shared = tag(&bench, far[0].id().as_str());
    assert!(shared == tag(&bench, "r1:eth1") && shared != own, "{:?}", tags(&bench));
    done(&bench, attach(Vxlan { vni: 8, ..tunnel.clone() })).await;
    assert_eq!(tag(&bench, "r1:eth1"), shared, "the segment is the same, whatever it leads by");

    bench.world.boot();
    done(&bench, Controlled::Start(["r1", "r2"].map(|node| node.parse().unwrap()).into())).await;
    let is_there = |link: &LinkId| tags(&bench).iter().any(|(of, _)| of == link.as_str());
    assert!(!is_there(&far[0].id()) && is_there(&LinkId::from_text("r1:eth1")), "{:?}", tags(&bench));
    done(&bench, attach(Vxlan { vni: 8, ..tunnel })).await;
    assert!(is_there(&far[0].id()), "it was asked for again");

    done(&bench, Controlled::KeepTunnels(BTreeSet::new())).await;
    until("the port is apart again", || tag(&bench, "r1:eth1") == own).await;
    assert_eq!(tags(&bench).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_port_that_has_come_to_another_link_stays_there_when_that_of_before_is_detached_late() {
    let bench = bench().await;
    done(&bench, Controlled::Run(nodes())).await;
    let own = tag(&bench, "r1:eth1");
    let [old, new] = ["r1:eth1-x:eth1", "r1:eth1-y:eth1"].map(LinkId::from_text);
    let near = || Near::Port(port("r1", "eth1"));
    let detach = |link: &LinkId| Controlled::Detach { link: link.clone(), near: Some(near()) };
    let tunnels = || tags(&bench).len() - 4;
    done(&bench, attach(&old, tunnel(7), near())).await;
    done(&bench, attach(&new, tunnel(8), near())).await;
    let shared = tag(&bench, "r1:eth1");
    done(&bench, detach(&old)).await;
    assert_eq!((tag(&bench, "r1:eth1"), tunnels()), (shared, 1));
    done(&bench, connect()).await;
    let linked = tag(&bench, "r1:eth1");
    done(&bench, detach(&new)).await;
    assert_eq!((tag(&bench, "r1:eth1"), tag(&bench, "r2:eth1"), tunnels()), (linked, linked, 0));

    done(&bench, attach(&old, tunnel(7), near())).await;
    done(&bench, detach(&old)).await;
    assert_eq!((tag(&bench, "r1:eth1"), tunnels()), (own, 0), "the one that it is in lets it go");
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_goes_with_the_last_of_the_names_that_it_is_called_by() {
    let bench = bench().await;
    done(&bench, Controlled::Run(nodes())).await;
    let own = tag(&bench, "r1:eth1");
    let [number, other, one, two] =
        ["5b0c5b36", "6a6e4f0e", "_ext:x:_external-r1:eth1", "_ext:x:_external-r2:eth1"].map(LinkId::from_text);
    let near = |node: &str| Near::Port(port(node, "eth1"));
    let call = |name: &LinkId, tunnels: &[&LinkId]| {
        let tunnels = tunnels.iter().map(|link| (*link).clone()).collect();
        Controlled::Called { name: name.clone(), tunnels }
    };
    let detach = |link: &LinkId, node: &str| Controlled::Detach { link: link.clone(), near: Some(near(node)) };
    let tunnels = || {
        let wish = bench.engine.wishes().get(&lab_name("lab")).unwrap();
        wish.lab.tunnels().map(|(half_of, _)| half_of.clone()).collect::<BTreeSet<_>>()
    };
    done(&bench, attach(&number, tunnel(7), near("r1"))).await;
    done(&bench, attach(&other, tunnel(8), near("r2"))).await;
    let shared = tag(&bench, "r1:eth1");
    bench.world.take_calls();
    done(&bench, call(&one, &[&number, &other])).await;
    done(&bench, call(&two, &[&number, &other])).await;
    let calls = bench.world.take_calls();
    assert!(!calls.iter().any(|call| call.contains("create") || call.contains("delete")), "{calls:?}");

    // One that is attached again goes by the names that it has, and one of its names keeps it.
    done(&bench, attach(&number, tunnel(9), near("r1"))).await;
    done(&bench, Controlled::KeepTunnels([one.clone()].into())).await;
    done(&bench, detach(&one, "r1")).await;
    assert_eq!(tunnels(), [number.clone(), other.clone()].into(), "it is unknown which of them it was");
    assert_eq!(tag(&bench, "r1:eth1"), shared);
    done(&bench, call(&two, &[&number])).await;
    done(&bench, detach(&two, "r1")).await;
    assert_eq!((tunnels(), tag(&bench, "r1:eth1")), ([other.clone()].into(), own));
    // What has a number alone goes by whatever name its port is detached by, and else by none.
    done(&bench, attach(&number, tunnel(9), near("r1"))).await;
    done(&bench, Controlled::Detach { link: one.clone(), near: None }).await;
    assert_eq!(tunnels(), [number.clone(), other.clone()].into());
    done(&bench, detach(&one, "r1")).await;
    assert_eq!((tunnels(), tag(&bench, "r1:eth1")), ([other.clone()].into(), own));
    done(&bench, attach(&number, tunnel(9), near("r1"))).await;
    done(&bench, call(&one, &[&number])).await;
    done(&bench, detach(&two, "r1")).await;
    assert_eq!(tunnels().len(), 2, "it is another link of that port by now");
    done(&bench, Controlled::Detach { link: one.clone(), near: None }).await;
    assert_eq!(tunnels(), [other.clone()].into());
    // What is attached by a name is the only one that goes by it.
    done(&bench, call(&two, &[&other])).await;
    done(&bench, attach(&two, tunnel(10), near("r2"))).await;
    done(&bench, Controlled::KeepTunnels([two.clone()].into())).await;
    assert_eq!(tunnels(), [two].into());
}

#[tokio::test(start_paused = true)]
async fn a_port_has_its_carrier_again_when_its_far_end_begins_anew_or_it_comes_elsewhere_and_not_before() {
    let bench = bench().await;
    done(&bench, Controlled::Run(nodes())).await;
    let is_dark = |node: &str| {
        let wish = bench.engine.wishes().get(&lab_name("lab")).unwrap();
        let port = wish.lab.port_of(&node.parse().unwrap(), &"eth1".parse().unwrap()).unwrap();
        port.access_port().unwrap().dark
    };
    let both = || ["r1", "r2"].map(is_dark);
    let darken = |node: &str| Controlled::Carrier { port: port(node, "eth1"), dark: true };
    let nodes_of = |node: &str| -> BTreeSet<NodeName> { [node.parse().unwrap()].into() };
    let one = |name: &str| nodes().into_iter().filter(|node| node.name.as_str() == name).collect::<Vec<_>>();
    let again = [
        Controlled::Start(nodes_of("r1")),
        Controlled::Run(one("r1")),
        Controlled::Create(one("r1")),
        Controlled::Start(nodes_of("r2")),
    ];
    done(&bench, connect()).await;
    for edit in again {
        done(&bench, darken("r2")).await;
        // A link that is cut on purpose stays so, whoever asks for it once more.
        done(&bench, connect()).await;
        assert_eq!(both(), [false, true]);
        done(&bench, edit.clone()).await;
        assert_eq!(both(), [false, false], "{edit:?}");
    }
    // One that nothing is linked to any more.
    done(&bench, darken("r2")).await;
    done(&bench, Controlled::Remove(nodes_of("r1"))).await;
    assert!(!is_dark("r2"));
    done(&bench, Controlled::Run(one("r1"))).await;
    done(&bench, connect()).await;
    for edit in [Controlled::Disconnect(LinkId::from_text(LINK)), Controlled::Apart(port("r2", "eth1"))] {
        done(&bench, darken("r2")).await;
        done(&bench, edit).await;
        assert_eq!(both(), [false, false]);
        done(&bench, connect()).await;
    }
    // What isolates a port has it dark.
    done(&bench, Controlled::Several(vec![Controlled::Apart(port("r2", "eth1")), darken("r2")])).await;
    assert_eq!(both(), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn what_ended_stays_so_until_the_controller_starts_it_and_has_its_link_then() {
    let bench = bench().await;
    done(&bench, Controlled::Run(nodes())).await;
    done(&bench, connect()).await;
    let linked = tag(&bench, "r1:eth1");
    bench.world.exit("lab", "r1", 137, "");
    bench.world.lose_node("lab", "r2");
    bench.world.take_calls();
    tokio::time::sleep(Duration::from_secs(180)).await;
    let calls: Vec<String> = bench.world.take_calls().into_iter().filter(|call| !call.contains("relist")).collect();
    assert!(!calls.iter().any(|call| call.contains("create") || call.contains("start")), "{calls:?}");
    let start = |node: &str| Controlled::Start([node.parse().unwrap()].into());
    done(&bench, start("r1")).await;
    done(&bench, start("r2")).await;
    let both = [tag(&bench, "r1:eth1"), tag(&bench, "r2:eth1")];
    assert_eq!(both, [linked, linked]);
}

#[tokio::test(start_paused = true)]
async fn what_has_just_ended_is_started_when_that_is_asked_for_however_long_the_rest_of_it_takes_to_go() {
    let bench = bench().await;
    done(&bench, Controlled::Run(nodes())).await;
    let state = || {
        let snapshot = bench.engine.inventory().snapshot();
        snapshot.labs[&lab_name("lab")].nodes[&"r1".parse::<NodeName>().unwrap()].state.clone()
    };
    let start = || Controlled::Start(["r1".parse().unwrap()].into());
    bench.world.trouble("stop lab/r1", 0.., Trouble::Slow(Duration::from_secs(5)));
    for wait in [0, 1] {
        bench.world.exit("lab", "r1", 137, "");
        until("its end is seen", || matches!(state(), NodeState::Exited { code: 137 })).await;
        tokio::time::sleep(Duration::from_secs(wait)).await;
        done(&bench, start()).await;
        assert_eq!(state(), NodeState::Running);
    }
    // One that ends again right away is not tried again.
    let mut dies = nodes();
    dies[0].name = "r3".parse().unwrap();
    dies[0].node.cmd = vec!["false".to_owned()];
    assert_eq!(ask(&bench, Controlled::Run(vec![dies.remove(0)])).await.unwrap().state, OperationState::Failed);
    bench.world.take_calls();
    let view = ask(&bench, Controlled::Start(["r3".parse().unwrap()].into())).await.unwrap();
    assert_eq!(view.state, OperationState::Failed, "{view:#?}");
    let starts = bench.world.take_calls().into_iter().filter(|call| call.starts_with("start lab/r3")).count();
    assert_eq!(starts, 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_decide_about_a_lab_changes_nothing_of_it() {
    let bench = bench().await;
    done(&bench, Controlled::Create(nodes())).await;
    let states = |bench: &Bench| bench.world.nodes();
    let before = states(&bench);
    let is_other = |refusal: &Refusal| matches!(refusal, Refusal::OtherAuthority { .. });
    let other = ControlledEdit { authority: Authority::Controller("two".to_owned()), edit: Controlled::Run(nodes()) };
    assert!(is_other(&bench.engine.control(&lab_name("lab"), other).await.unwrap_err()));
    assert!(is_other(&bench.engine.destroy(&lab_name("lab")).await.unwrap_err()));
    assert_eq!(states(&bench), before);
    // Nor does a controller with what is not its own.
    let file = Sketch::pair("mine").lab();
    bench.made(&file).await;
    let request = ControlledEdit { authority: controller(), edit: Controlled::Remove(["r1".parse().unwrap()].into()) };
    assert!(is_other(&bench.engine.control(&lab_name("mine"), request).await.unwrap_err()));
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_is_seized_is_as_it_was_and_the_command_lines_from_then_on() {
    let bench = bench().await;
    let lab = lab_name("lab");
    done(&bench, Controlled::Run(nodes())).await;
    done(&bench, connect()).await;
    bench.world.exit("lab", "r2", 1, "");
    until("its end is seen", || !bench.world.nodes().contains(&"lab/r2 running".to_owned())).await;
    let linked = tag(&bench, "r1:eth1");
    assert!(matches!(bench.engine.seize(&lab_name("other")).await, Err(Refusal::NoLab(_))));
    bench.world.take_calls();
    let seized = end(&bench.engine.seize(&lab).await.unwrap()).await;
    assert_eq!((seized.kind.as_str(), seized.state), ("adopt", OperationState::Succeeded), "{seized:#?}");
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert_eq!(
        (bench.world.nodes(), tag(&bench, "r1:eth1")),
        (vec!["lab/r1 running".into(), "lab/r2 stopped".into()], linked)
    );
    assert!(matches!(bench.engine.seize(&lab).await, Err(Refusal::Known(_))));

    // The controller is refused, and the command line not.
    let edit = Controlled::Start(["r2".parse().unwrap()].into());
    let refused = bench.engine.control(&lab, ControlledEdit { authority: controller(), edit }).await.unwrap_err();
    assert!(refused.to_string().contains("lab `lab` is the command line's"), "{refused}");
    bench.edited(json!({ "nodes": { "r2": { "state": "running" } } })).await;
    assert_eq!(bench.world.nodes(), ["lab/r1 running", "lab/r2 running"]);
    assert_eq!(tag(&bench, "r2:eth1"), linked);
    let bench = bench.restart().await;
    bench.ready().await;
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    until("nothing is left", || bench.world.switch_ports().is_empty() && bench.store.keys().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_controller_decides_about_is_destroyed_by_force() {
    let bench = bench().await;
    done(&bench, Controlled::Run(nodes())).await;
    let refused = bench.engine.destroy(&lab_name("lab")).await.unwrap_err();
    assert!(refused.to_string().contains("netloom destroy --force lab"), "{refused}");
    let destroy = bench.engine.destroy_by_force(&lab_name("lab")).await.unwrap();
    assert_eq!(end(&destroy).await.state, OperationState::Succeeded);
    until("nothing is left", || bench.world.nodes().is_empty() && bench.world.switch_ports().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_created_waits_for_its_start_and_what_is_taken_back_leaves_what_others_did() {
    let bench = bench().await;
    let wish = |bench: &Bench| bench.engine.wishes().get(&lab_name("lab"));
    let [r1, r2] = ["r1", "r2"].map(|node| node.parse::<NodeName>().unwrap());
    let [one, two]: [ControlledNode; 2] = nodes().try_into().unwrap();
    let create = |node: &ControlledNode| Controlled::Create(vec![node.clone()]);
    let take_back = |before, edit: &Controlled| Controlled::TakeBack { before, edit: Box::new(edit.clone()) };
    done(&bench, create(&one)).await;
    assert!(wish(&bench).unwrap().stopped.contains(&r1));
    let before = wish(&bench);
    let start = Controlled::Start([r1.clone()].into());
    done(&bench, start.clone()).await;
    // Another came between.
    done(&bench, Controlled::Run(vec![two])).await;
    done(&bench, take_back(before, &start)).await;
    let now = wish(&bench).unwrap();
    assert!(now.stopped.contains(&r1) && now.lab.nodes().contains_key(&r2) && !now.stopped.contains(&r2));

    done(&bench, start).await;
    let before = wish(&bench);
    done(&bench, connect()).await;
    done(&bench, take_back(before, &connect())).await;
    assert_ne!(tag(&bench, "r1:eth1"), tag(&bench, "r2:eth1"));
    // What was not there goes, and with the last of it the lab.
    done(&bench, Controlled::Remove([r2].into())).await;
    done(&bench, take_back(None, &create(&one))).await;
    until("nothing is left", || wish(&bench).is_none() && bench.world.switch_ports().is_empty()).await;
}
