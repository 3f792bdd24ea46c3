//! Orders that are refused, with the reason, and change nothing.

use std::time::Instant;

use netloom_engine::{Context, ErrorClass, Fabric, Place};
use netloom_kernel::{Netns, Request};
use netloom_plan::{AdminState, Side};
use serde_json::json;

use crate::stage::{Stage, apply, context, create, end, lab, node, pair, root, set};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_refused_with_its_name_and_stays_as_it_is() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    let taken = stage.foreign("to-r1").await;
    let lab = lab(json!([
        { "a": end(node("r1"), "eth0", 1, None, None), "b": end(json!("host"), "to-r1", 2, None, None) },
    ]));
    let error = apply(&fabric, create(&lab, 0)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Permanent);
    assert!(
        error.to_string().contains("interface `to-r1` already exists on the host and is not ours (number "),
        "{error}"
    );
    assert_eq!(stage.link("host", "to-r1"), Some(taken));
    assert_eq!(stage.dump("r1").links.len(), 1, "nothing is left of the refused link");
    let unmarked = apply(&fabric, set(&lab, 0, Side::B, AdminState::Up)).await.unwrap_err();
    assert_eq!(unmarked.cause, "its interface `to-r1` is not there on the host");
    assert!(!stage.link("host", "to-r1").unwrap().up);

    let wrong = fabric.ensure_bridge(&Place::Host, &"to-r1".parse().unwrap(), &context()).await.unwrap_err();
    assert!(wrong.cause.starts_with("the host has a veth interface of that name"), "{wrong}");
    let place = netloom_kernel::Place::host(stage.host.clone());
    let name: netloom_model::InterfaceName = "br-theirs".parse().unwrap();
    stage
        .change(Request::CreateBridge { place, name: name.clone(), ifindex: None, mac: None, mtu: None, group: 0 })
        .await;
    let theirs = stage.link("host", "br-theirs");
    fabric.ensure_bridge(&Place::Host, &name, &context()).await.unwrap();
    fabric.remove_bridge(&Place::Host, &name, &context()).await.unwrap();
    assert_eq!(stage.link("host", "br-theirs"), theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dummy_is_made_or_refused_with_the_reason() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    let lab = lab(json!([{ "a": end(node("r1"), "d0", 1, Some("10.0.0.1/32"), None) }]));
    match apply(&fabric, create(&lab, 0)).await {
        Ok(()) => assert!(stage.link("r1", "d0").unwrap().up),
        Err(error) => {
            assert_eq!(error.class, ErrorClass::Permanent);
            assert!(error.cause.starts_with("the kernel has no `dummy` interfaces (module dummy)"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_address_where_ipv6_is_off_is_refused_with_what_to_write() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    let off = || std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    Netns::open(stage.pin("r1")).unwrap().run(off).unwrap().unwrap();
    let error = apply(&fabric, create(&pair(), 0)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Permanent);
    assert!(error.cause.contains("2001:db8::1/64") && error.cause.contains("IPv6 is off there"), "{error}");
    assert!(error.cause.contains("`net.ipv6.conf.all.disable_ipv6: 0`") && !error.cause.contains("root"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_and_a_late_one_change_nothing() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    let lab = pair();
    let cancelled = context();
    cancelled.cancel.cancel();
    let answers = fabric.apply(vec![create(&lab, 0)], &cancelled).await;
    assert_eq!(answers[0].as_ref().unwrap_err().class, ErrorClass::Cancelled);
    let late = Context { deadline: Instant::now(), ..context() };
    let answers = fabric.apply(vec![create(&lab, 0)], &late).await;
    assert_eq!(answers[0].as_ref().unwrap_err().class, ErrorClass::Deadline);
    assert_eq!(stage.dump("r1").links.len(), 1);
}
