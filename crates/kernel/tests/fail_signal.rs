//! Client signal fail between two hosts, over a tunnel of the running kernel.

#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{Stage, end, root, soon, veth};
use netloom_kernel::{AdminState, FarEnd, LinkChange, Place, Request, Rtnl, SignalFail, Tunnel, VethEnd};
use netloom_model::Mac;
use tokio::sync::mpsc::Receiver;

const TUNNEL: u32 = 200;
/// Those of its interfaces: a tunnel drops what comes from its own.
const NEAR: Mac = Mac([2, 0, 0, 0, 0, 1]);
const FAR: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// A tunnel between two hosts, whose interface has the same number on both.
async fn joined(one: &Place, two: &Place) {
    let rtnl = Rtnl::start(one.netns().clone()).unwrap();
    let mut work = vec![veth(end(one, "u", 100), end(two, "u", 100))];
    for (place, own, far, mac) in [(one, 1, 2, NEAR), (two, 2, 1, FAR)] {
        let up = |ifindex| Request::SetLink {
            place: place.clone(),
            ifindex,
            change: LinkChange { state: Some(AdminState::Up), ..LinkChange::default() },
        };
        let address = format!("10.0.0.{own}/24").parse().unwrap();
        let address = netloom_kernel::Address::V4(address);
        let remote = format!("10.0.0.{far}").parse().unwrap();
        let tunnel =
            Tunnel { place: place.clone(), vni: 7, remote, dst_port: 4789, src_port: None, parent: None, local: None };
        work.extend([
            up(100),
            Request::AddAddress { place: place.clone(), ifindex: 100, address, protocol: None },
            Request::CreateVxlan { end: VethEnd { mac: Some(mac), ..end(place, "vx", TUNNEL) }, tunnel },
            up(TUNNEL),
        ]);
    }
    for result in rtnl.submit(work, soon()).await.unwrap() {
        result.unwrap();
    }
}

async fn next(heard: &mut Receiver<FarEnd>) -> FarEnd {
    tokio::time::timeout(Duration::from_secs(30), heard.recv()).await.expect("it is heard").expect("the thread runs")
}

#[tokio::test]
async fn an_end_that_is_off_is_heard_at_the_other_host_and_so_is_its_return_and_its_silence() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    let (one, two) = (stage.host(), stage.node("two"));
    joined(&one, &two).await;
    let (near, near_thread, mut near_hears) = SignalFail::start(one.netns()).unwrap();
    let (far, _far_thread, mut far_hears) = SignalFail::start(two.netns()).unwrap();
    let off = FarEnd { ifindex: TUNNEL, fails: true };
    let on = FarEnd { ifindex: TUNNEL, fails: false };
    near.watch(TUNNEL, NEAR);
    far.watch(TUNNEL, FAR);

    near.signal(TUNNEL, true);
    assert_eq!(next(&mut far_hears).await, off);
    // Both at once: nobody hears himself.
    far.signal(TUNNEL, true);
    assert_eq!(next(&mut near_hears).await, off);
    near.signal(TUNNEL, false);
    assert_eq!(next(&mut far_hears).await, on);
    far.signal(TUNNEL, false);
    assert_eq!(next(&mut near_hears).await, on);

    near.signal(TUNNEL, true);
    assert_eq!(next(&mut far_hears).await, off);
    drop(near_thread);
    assert_eq!(next(&mut far_hears).await, on, "a host that says nothing any more is forgotten");
    assert!(near_hears.recv().await.is_none(), "and its own thread has ended");
}

#[tokio::test]
async fn a_tunnel_that_is_not_listened_to_tells_nothing_and_one_that_is_not_there_harms_nobody() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    let (one, two) = (stage.host(), stage.node("two"));
    joined(&one, &two).await;
    let (near, _near_thread, _near_hears) = SignalFail::start(one.netns()).unwrap();
    let (far, _far_thread, mut far_hears) = SignalFail::start(two.netns()).unwrap();
    far.watch(9999, FAR);
    far.signal(9999, true);
    near.watch(TUNNEL, NEAR);
    near.signal(TUNNEL, true);
    far.watch(TUNNEL, FAR);
    assert_eq!(next(&mut far_hears).await, FarEnd { ifindex: TUNNEL, fails: true });
    far.forget(TUNNEL);
    far.forget(TUNNEL);
    near.signal(TUNNEL, false);
    near.signal(TUNNEL, true);
    far.watch(TUNNEL, FAR);
    assert_eq!(
        next(&mut far_hears).await,
        FarEnd { ifindex: TUNNEL, fails: true },
        "what was known is not known any more"
    );
}
