use netloom_ovs_fixture::Ovs;
use netloom_ovsdb::{
    Client, Condition, Endpoint, Interest, Map, Mutation, Next, Row, Set, Snapshot, Transaction, Uuid,
};

use crate::{config, connected, make_bridge, make_port, soon};

/// A bridge with a port; the port.
async fn bridge(client: &Client) -> Uuid {
    let mut change = Transaction::new();
    let port = make_port(&mut change, "p1", "internal");
    make_bridge(&mut change, "br0", std::slice::from_ref(&port));
    client.transact(&change, soon()).await.unwrap().inserted(&port).unwrap()
}

/// What the server has, read anew.
async fn read(client: &Client, table: &str) -> Vec<Row> {
    let mut read = Transaction::new();
    let index = read.select(table, []);
    client.transact(&read, soon()).await.unwrap().rows(index).unwrap().to_vec()
}

/// The mirror has what the server has.
async fn assert_same(client: &Client, table: &str) {
    let rows = read(client, table).await;
    let snapshot = client.mirror().snapshot();
    assert_eq!(snapshot.table(table).unwrap().len(), rows.len());
    for row in rows {
        let uuid = row.uuid("_uuid").unwrap();
        let mirrored = snapshot.row(table, uuid).unwrap();
        for (column, value) in mirrored.iter() {
            assert_eq!(Some(value), row.get(column), "{table} {uuid} {column}");
        }
    }
}

#[tokio::test]
async fn a_transaction_is_in_the_mirror_when_it_returns() {
    let Some(ovs) = Ovs::start() else { return };
    let client = connected(&ovs).await;
    let port = bridge(&client).await;
    for tag in 1..100 {
        let mut change = Transaction::new();
        change.update("Port", [Condition::is_row(port)], Row::new().with("tag", tag));
        client.transact(&change, soon()).await.unwrap();
        assert_eq!(client.mirror().snapshot().row("Port", port).unwrap().integer("tag"), Some(tag));
    }
}

#[tokio::test]
async fn every_kind_of_change_is_followed() {
    let Some(ovs) = Ovs::start() else { return };
    let client = connected(&ovs).await;
    let port = bridge(&client).await;
    assert_same(&client, "Port").await;
    let here = || [Condition::is_row(port)];
    let trunks = |vlans: &[i32]| Row::new().with("trunks", vlans.iter().copied().collect::<Set>());
    let ids = |pairs: &[(&str, &str)]| Row::new().with("external_ids", pairs.iter().copied().collect::<Map>());
    let updates = [
        Row::new().with("tag", 5),
        Row::new().with("tag", 6),
        Row::new().with("tag", None::<i64>),
        Row::new().with("tag", 0),
        trunks(&[1, 2, 3]),
        trunks(&[2, 3, 4]),
        trunks(&[4]),
        trunks(&[]),
        ids(&[("a", "1"), ("b", "2")]),
        ids(&[("a", "2"), ("c", "2")]),
        ids(&[("a", "2")]),
        ids(&[]),
    ];
    for update in updates {
        let mut change = Transaction::new();
        change.update("Port", here(), update);
        client.transact(&change, soon()).await.unwrap();
        assert_same(&client, "Port").await;
    }
    let mut change = Transaction::new();
    change.mutate("Bridge", [], [Mutation::remove("ports", port)]);
    client.transact(&change, soon()).await.unwrap();
    for table in ["Open_vSwitch", "Bridge", "Port", "Interface"] {
        assert_same(&client, table).await;
    }
    assert_eq!(client.mirror().snapshot().rows("Port").count(), 0);
}

#[tokio::test]
async fn what_others_do_is_seen_whole() {
    let Some(ovs) = Ovs::start() else { return };
    let client = connected(&ovs).await;
    let mut changes = client.mirror().subscribe();
    ovs.vsctl(["--no-wait", "add-br", "br0", "--", "add-port", "br0", "p1", "tag=7"]);
    let Some(Next::Changes(seen)) = changes.next().await else { panic!("no changes") };
    // Two interfaces, two ports, the bridge and the root.
    assert_eq!(seen.rows.len(), 6, "{seen:?}");
    let whole = |snapshot: &Snapshot| {
        let (_, port) = snapshot.find("Port", "name", "p1")?;
        let (_, bridge) = snapshot.find("Bridge", "name", "br0")?;
        Some((port.integer("tag")?, bridge.uuids("ports").all(|port| snapshot.row("Port", port).is_some())))
    };
    assert_eq!(whole(&client.mirror().snapshot()), Some((7, true)));
    let (port, _) =
        client.mirror().snapshot().find("Port", "name", "p1").map(|(port, row)| (port, row.clone())).unwrap();
    let tag = client.mirror().watch([Interest::row("Port", port).columns(["tag"])]);
    ovs.vsctl([
        "--no-wait",
        "set",
        "Port",
        "p1",
        "external_ids:a=b",
        "--",
        "set",
        "Interface",
        "p1",
        "mtu_request=1400",
    ]);
    ovs.vsctl(["--no-wait", "set", "Port", "p1", "tag=8"]);
    let snapshot = tag.changed(soon()).await.unwrap();
    assert_eq!(snapshot.row("Port", port).unwrap().integer("tag"), Some(8));
}

#[tokio::test]
async fn it_is_the_same_over_tcp() {
    let Some(ovs) = Ovs::start() else { return };
    let client = Client::start(config(Endpoint::Tcp(ovs.listen_tcp())));
    client.connected(soon()).await.unwrap();
    bridge(&client).await;
    assert_same(&client, "Bridge").await;
}

#[tokio::test]
async fn a_client_that_mirrors_nothing_does_transactions_all_the_same() {
    let Some(ovs) = Ovs::start() else { return };
    let mut config = config(Endpoint::Unix(ovs.socket()));
    config.mirrored.clear();
    let client = Client::start(config);
    client.connected(soon()).await.unwrap();
    bridge(&client).await;
    assert_eq!(read(&client, "Bridge").await.len(), 1);
}

#[tokio::test]
async fn a_column_that_is_not_in_the_schema_is_named() {
    let Some(ovs) = Ovs::start() else { return };
    let client = Client::start(config(Endpoint::Unix(ovs.socket())).mirror("Port", ["colour"]));
    let error =
        client.connected(tokio::time::Instant::now() + std::time::Duration::from_millis(500)).await.unwrap_err();
    assert!(error.to_string().contains("has no Port.colour:"), "{error}");
}
