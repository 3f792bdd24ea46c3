//! What is found again: after another start of the agent, without an event, half made, in another namespace.

use netloom_drivers::fabric::kernel::KernelFabric;
use netloom_engine::{ErrorClass, Fabric, Place};
use netloom_kernel::{LinkChange, Request, unpin};
use netloom_model::NodeName;
use serde_json::json;

use crate::stage::{Stage, apply, create, delete, end, lab, node, pair, ports, root, until};

#[tokio::test(flavor = "multi_thread")]
async fn another_life_of_the_agent_sees_all_of_it_and_goes_on() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let long = "HundredGigabitEthernet0/0/0/1.with-a-name-of-more-than-sixty-characters";
    let longer = &format!("{long}{long}")[..120];
    let lab = lab(json!([
        { "a": end(node("r1"), long, 1, None, None), "b": end(node("r2"), longer, 2, None, None) },
        { "a": end(node("r1"), "eth2", 3, None, None), "b": end(node("r2"), "eth2", 4, None, None) },
    ]));
    let (first, _) = stage.start();
    apply(&first, create(&lab, 0)).await.unwrap();
    drop(first);
    assert!(stage.dump("r1").named(long).is_some());

    let (second, inventory) = stage.start();
    second.relist().await.unwrap();
    let id = lab.links()[0].id();
    // The marks have no room for the id, and still it is known again.
    until(&inventory, |snapshot| (ports(snapshot, &id).len() == 2).then_some(())).await;
    drop((second, inventory));
    let (second, inventory) = stage.start();
    // Without a relist, so that the same ifindexes are tried first.
    apply(&second, create(&lab, 1)).await.unwrap();
    apply(&second, create(&lab, 0)).await.unwrap();
    second.relist().await.unwrap();
    let id = lab.links()[0].id();
    until(&inventory, |snapshot| (ports(snapshot, &id).len() == 2).then_some(())).await;
    assert_eq!(stage.dump("r1").links.len(), 3);
    apply(&second, delete(&lab, 0)).await.unwrap();
    assert_eq!(stage.dump("r1").links.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_event_told_is_mended_by_the_relist_alone() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (reporter, inventory, writer) = netloom_engine::channel();
    let fabric = KernelFabric::start_deaf(stage.layout.clone(), &stage.host, reporter).unwrap();
    netloom_engine::task::spawn("inventory", writer.run());
    let lab = pair();
    let id = lab.links()[0].id();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    fabric.relist().await.unwrap();
    until(&inventory, |snapshot| (ports(snapshot, &id).len() == 2).then_some(())).await;
    let ifindex = stage.link("r1", "eth1").unwrap().ifindex;
    stage.change(Request::DeleteLink { place: stage.place("r1"), ifindex }).await;
    fabric.relist().await.unwrap();
    until(&inventory, |snapshot| ports(snapshot, &id).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_order_left_half_made_is_made_anew() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    let lab = pair();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    let made = stage.link("r1", "eth1").unwrap();
    // As it is between the two batches of a create: the group, no alias, down.
    for node in ["r1", "r2"] {
        let change = LinkChange {
            state: Some(netloom_kernel::AdminState::Down),
            alias: Some(String::new()),
            ..LinkChange::default()
        };
        let ifindex = stage.link(node, "eth1").unwrap().ifindex;
        stage.change(Request::SetLink { place: stage.place(node), ifindex, change }).await;
    }
    apply(&fabric, create(&lab, 0)).await.unwrap();
    let anew = stage.link("r1", "eth1").unwrap();
    assert!(anew.ifindex > made.ifindex && anew.lower_up && anew.alias.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_goes_and_comes_back_is_another_one() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = pair();
    let id = lab.links()[0].id();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    until(&inventory, |snapshot| (ports(snapshot, &id).len() == 2).then_some(())).await;
    unpin(stage.pin("r2")).unwrap();
    until(&inventory, |snapshot| ports(snapshot, &id).is_empty().then_some(())).await;
    let gone = apply(&fabric, create(&lab, 0)).await.unwrap_err();
    assert_eq!(
        (gone.cause.as_str(), gone.class),
        ("the network namespace of node `r2` is not there", ErrorClass::Transient)
    );
    stage.make("r2");
    apply(&fabric, create(&lab, 0)).await.unwrap();
    let ends = until(&inventory, |snapshot| {
        let ports = ports(snapshot, &id);
        (ports.len() == 2).then_some(ports)
    })
    .await;
    let place = |name: &str| Place::Node("lab".parse().unwrap(), name.parse::<NodeName>().unwrap());
    assert_eq!([&ends[0].place, &ends[1].place], [&place("r1"), &place("r2")]);
}
