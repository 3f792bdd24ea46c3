//! The monitor on the running kernel.

mod common;

use std::time::Duration;

use common::{Stage, end, root, soon, veth};
use netloom_kernel::{AdminState, Change, LinkChange, Monitor, MonitorEvent, Place, Request, Rtnl, unpin};
use tokio::sync::mpsc::Receiver;

async fn until<T>(events: &mut Receiver<Vec<MonitorEvent>>, mut pick: impl FnMut(&MonitorEvent) -> Option<T>) -> T {
    let found = async {
        loop {
            let batch = events.recv().await.expect("the monitor runs");
            if let Some(found) = batch.iter().find_map(&mut pick) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.expect("the event comes")
}

#[tokio::test]
async fn events_of_watched_namespaces_and_of_the_host_carry_where_they_happened() {
    if !root() {
        return;
    }
    let mut stage = Stage::new();
    let (host, r1, r2) = (stage.host(), stage.node("r1"), stage.node("r2"));
    let (monitor, mut events) = Monitor::start(&stage.host).unwrap();
    let (one, two) = (monitor.watch(r1.netns()).unwrap(), monitor.watch(r2.netns()).unwrap());
    assert!(two > one);
    assert_eq!(monitor.watch(r1.netns()).unwrap(), one);
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let batch =
        vec![veth(end(&r1, "eth1", 100), end(&r2, "eth1", 101)), veth(end(&host, "h", 50), end(&r1, "eth2", 51))];
    for result in rtnl.submit(batch, soon()).await.unwrap() {
        result.unwrap();
    }
    let mut seen = Vec::new();
    until(&mut events, |event| {
        if let MonitorEvent::Link { nsid, change: Change::New, link } = event
            && link.ifindex >= 50
            && !seen.contains(&(*nsid, link.ifindex))
        {
            seen.push((*nsid, link.ifindex));
        }
        (seen.len() == 4).then_some(())
    })
    .await;
    seen.sort_unstable();
    assert_eq!(seen, [(None, 50), (Some(one), 51), (Some(one), 100), (Some(two), 101)]);

    let delete = Request::DeleteLink { place: r1.clone(), ifindex: 100 };
    assert_eq!(rtnl.submit(vec![delete], soon()).await, Ok(vec![Ok(())]));
    let gone = until(&mut events, |event| match event {
        MonitorEvent::Link { nsid, change: Change::Deleted, link } if *nsid == Some(two) => Some(link.clone()),
        _ => None,
    })
    .await;
    assert_eq!((gone.ifindex, gone.name.as_str()), (101, "eth1"));

    drop((r1, r2));
    unpin(stage.path("r2")).unwrap();
    let ended = until(&mut events, |event| match event {
        MonitorEvent::NamespaceGone { nsid } => Some(*nsid),
        _ => None,
    })
    .await;
    assert_eq!(ended, two);
    let next = stage.node("r3");
    assert!(monitor.watch(next.netns()).unwrap() > two);
}

#[tokio::test]
async fn a_receiver_that_sleeps_through_a_storm_finds_an_overrun_and_then_news() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let host = stage.host();
    let (monitor, mut events) = Monitor::start(&stage.host).unwrap();
    let rtnl = Rtnl::start(stage.host.clone()).unwrap();
    let toggle = |place: &Place, state| {
        let change = LinkChange { state: Some(state), ..LinkChange::default() };
        Request::SetLink { place: place.clone(), ifindex: 10, change }
    };
    let created = rtnl.submit(vec![veth(end(&host, "a", 10), end(&host, "b", 11))], soon()).await.unwrap();
    assert_eq!(created, [Ok(())]);
    // Each submit is awaited, so that the monitor makes a batch of about each of them: more than its channel takes.
    for _ in 0..600 {
        let batch = vec![toggle(&host, AdminState::Down), toggle(&host, AdminState::Up)];
        rtnl.submit(batch, soon()).await.unwrap();
        if events.len() + 1 >= events.max_capacity() {
            break;
        }
    }
    if events.len() + 1 < events.max_capacity() {
        // A loaded machine makes few large batches; then there is nothing to overrun.
        eprintln!("SKIPPED: the monitor kept up");
        return;
    }
    for _ in 0..10 {
        rtnl.submit(vec![toggle(&host, AdminState::Down), toggle(&host, AdminState::Up)], soon()).await.unwrap();
    }
    until(&mut events, |event| (*event == MonitorEvent::Overrun).then_some(())).await;
    let delete = Request::DeleteLink { place: host.clone(), ifindex: 10 };
    rtnl.submit(vec![delete], soon()).await.unwrap();
    until(&mut events, |event| match event {
        MonitorEvent::Link { change: Change::Deleted, link, .. } if link.ifindex == 10 => Some(()),
        _ => None,
    })
    .await;
    drop(monitor);
    // The thread has ended, and with it the channel.
    while events.recv().await.is_some() {}
}
