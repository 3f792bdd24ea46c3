use std::time::Duration;

use netloom_ovs_fixture::{Daemon, Ovs};
use netloom_ovsdb::{Claim, Client, Endpoint, Error, Interest, Next, Snapshot, State, Transaction};
use tokio::time::Instant;

use crate::{config, connected, make_bridge, make_port, soon};

async fn make(client: &Client, bridge: &str, port: &str) {
    let mut change = Transaction::new();
    let port = make_port(&mut change, port, "internal");
    make_bridge(&mut change, bridge, &[port]);
    client.transact(&change, soon()).await.unwrap();
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    let mut names: Vec<_> = snapshot.rows("Bridge").map(|(_, row)| row.string("name").unwrap().to_owned()).collect();
    names.sort_unstable();
    names
}

async fn down(client: &Client) {
    while let state @ State::Connected { .. } = client.state() {
        client.state_changed(&state, soon()).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_was_killed_comes_back_and_only_what_differs_is_seen() {
    let Some(ovs) = Ovs::start() else { return };
    let client = connected(&ovs).await;
    make(&client, "br0", "p0").await;
    let mut changes = client.mirror().subscribe();
    let port = client.mirror().watch([Interest::table("Port")]);
    let before = client.mirror().snapshot();
    assert_eq!(client.mirror().fills(), 1);
    ovs.kill(Daemon::Database);
    down(&client).await;
    let error = client.transact(&Transaction::new(), soon()).await.unwrap_err();
    assert!(matches!(error, Error::NotConnected { .. }), "{error}");
    // The mirror stays.
    assert_eq!(names(&client.mirror().snapshot()), ["br0"]);

    ovs.start_again(Daemon::Database);
    ovs.vsctl(["--no-wait", "set", "Bridge", "br0", "fail_mode=secure"]);
    client.connected(soon()).await.unwrap();
    let secure = |snapshot: &Snapshot| snapshot.find("Bridge", "fail_mode", "secure").map(drop);
    client.mirror().wait_until([Interest::table("Bridge")], soon(), secure).await.unwrap();
    let after = client.mirror().snapshot();
    assert_eq!(client.mirror().fills(), 2, "all of it was told again");
    assert_eq!(after.count(), before.count());
    assert_eq!(before.table("Port"), after.table("Port"));
    assert!(port.changed(Instant::now()).await.is_err(), "woken by ports that are the same");
    loop {
        let Some(Next::Changes(seen)) = changes.next().await else { panic!("no changes") };
        assert!(seen.rows.iter().all(|change| matches!(&*change.table, "Bridge" | "Open_vSwitch")), "{seen:?}");
        if seen.rows.iter().any(|change| change.touches("fail_mode")) {
            break;
        }
    }
}

#[tokio::test]
async fn a_database_that_was_emptied_empties_the_mirror() {
    let Some(ovs) = Ovs::start() else { return };
    let client = connected(&ovs).await;
    make(&client, "br0", "p0").await;
    ovs.start_empty();
    let empty = |snapshot: &Snapshot| snapshot.table("Bridge")?.is_empty().then_some(());
    client.mirror().wait_until([Interest::table("Bridge")], soon(), empty).await.unwrap();
    client.connected(soon()).await.unwrap();
    make(&client, "br1", "p1").await;
    assert_eq!(names(&client.mirror().snapshot()), ["br1"]);
}

#[tokio::test]
async fn a_frozen_server_costs_a_call_its_deadline_and_the_session_two_probes() {
    let Some(ovs) = Ovs::start() else { return };
    let mut config = config(Endpoint::Unix(ovs.socket()));
    config.limits.probe = Duration::from_millis(300);
    config.patience = Duration::from_millis(500);
    let client = Client::start(config);
    client.connected(soon()).await.unwrap();
    make(&client, "br0", "p0").await;
    ovs.freeze(Daemon::Database);
    let mut change = Transaction::new();
    make_bridge(&mut change, "br1", &[]);
    let begun = Instant::now();
    let error = client.transact(&change, begun + Duration::from_millis(100)).await.unwrap_err();
    assert!(error.is_outcome_unknown(), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    down(&client).await;
    let State::Down { why, .. } = client.state() else { panic!("connected") };
    assert!(why.to_string().contains("silent") || matches!(*why, Error::Unfilled(_)), "{why}");
    ovs.thaw(Daemon::Database);
    client.connected(soon()).await.unwrap();
    // Whether it was done is known now.
    let snapshot = client.mirror().snapshot();
    assert!(names(&snapshot) == ["br0"] || names(&snapshot) == ["br0", "br1"], "{:?}", names(&snapshot));
}

#[tokio::test]
async fn a_lock_has_one_owner_and_goes_to_the_next() {
    let Some(ovs) = Ovs::start() else { return };
    let (first, second) = (connected(&ovs).await, connected(&ovs).await);
    let own = first.lock("fabric", Claim::Wait).unwrap();
    let tenure = own.owned(soon()).await.unwrap();
    let other = second.lock("fabric", Claim::Wait).unwrap();
    second.echo(soon()).await.unwrap();
    let mut guarded = Transaction::new();
    guarded.assert("fabric");
    first.transact(&guarded, soon()).await.unwrap();
    assert!(second.transact(&guarded, soon()).await.is_err());
    drop(own);
    let others = other.owned(soon()).await.unwrap();
    second.transact(&guarded, soon()).await.unwrap();

    let own = first.lock("fabric", Claim::Steal).unwrap();
    own.owned(soon()).await.unwrap();
    other.lost(others, soon()).await.unwrap();
    assert!(second.transact(&guarded, soon()).await.is_err());
    // Stolen is waiting: it comes back with the thief's end.
    drop((own, first));
    other.owned(soon()).await.unwrap();

    ovs.kill(Daemon::Database);
    down(&second).await;
    ovs.start_again(Daemon::Database);
    second.connected(soon()).await.unwrap();
    other.owned(soon()).await.unwrap();
    let _ = tenure;
    second.transact(&guarded, soon()).await.unwrap();
}
