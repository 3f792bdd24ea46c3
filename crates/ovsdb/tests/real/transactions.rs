use std::time::Duration;

use netloom_ovs_fixture::Ovs;
use netloom_ovsdb::{
    Condition, Connection, Endpoint, Error, Limits, Map, Mutation, Op, OpResult, Outcome, Place, Refusal, RefusalKind,
    Result, Row, Set, Transaction, Until, Uuid,
};

use crate::{make_bridge, make_port, soon};

async fn session(ovs: &Ovs) -> Connection {
    Connection::open(&Endpoint::Unix(ovs.socket()), Limits::default(), soon()).await.unwrap().0
}

async fn transact(session: &Connection, change: &Transaction) -> Result<Outcome> {
    session.transact("Open_vSwitch", change, soon()).await
}

#[tokio::test]
async fn what_is_written_is_what_is_read() {
    let Some(ovs) = Ovs::start() else { return };
    let session = session(&ovs).await;
    let mut change = Transaction::new();
    let port = make_port(&mut change, "p1", "internal");
    let bridge = make_bridge(&mut change, "br0", &[port]);
    let made = transact(&session, &change).await.unwrap();
    let bridge = made.inserted(&bridge).unwrap();

    let ids = Map::from([("a", "1"), ("b", "é \"\\")]);
    let mut change = Transaction::new();
    let here = [Condition::is_row(bridge)];
    let updated = change.update(
        "Bridge",
        here.clone(),
        Row::new().with("external_ids", ids).with("flood_vlans", Set::from([1, 4095])),
    );
    let mutated = change.mutate(
        "Bridge",
        here.clone(),
        [
            Mutation::insert("external_ids", Map::from([("a", "kept"), ("c", "3")])),
            Mutation::remove_keys("external_ids", "b"),
            Mutation::remove("flood_vlans", 1),
        ],
    );
    let set = change.mutate("Bridge", here.clone(), Mutation::set_keys("external_ids", Map::from([("c", "4")])));
    let selected = change.select("Bridge", here);
    let done = transact(&session, &change).await.unwrap();
    assert_eq!((done.count(updated), done.count(mutated), done.count(set)), (Some(1), Some(1), Some(1)));
    let row = &done.rows(selected).unwrap()[0];
    assert_eq!(row.uuid("_uuid"), Some(bridge));
    assert_eq!(row.string("name"), Some("br0"));
    assert_eq!(row.map("external_ids").unwrap(), &Map::from([("a", "1"), ("c", "4")]));
    assert_eq!(row.integer("flood_vlans"), Some(4095));
    assert_eq!(row.uuids("ports").count(), 1);
    assert_eq!(row.boolean("stp_enable"), Some(false));

    // All that is said of the rows is understood, whatever their columns.
    let mut all = Transaction::new();
    for table in ["Open_vSwitch", "Port", "Interface"] {
        all.select(table, []);
    }
    let done = transact(&session, &all).await.unwrap();
    assert!((0..3).all(|index| done.rows(index).is_some_and(|rows| !rows.is_empty())));
    assert_eq!(ovs.vsctl(["--no-wait", "get", "Bridge", "br0", "external_ids"]).trim(), r#"{a="1", c="4"}"#);
}

#[tokio::test]
async fn operations_without_results_are_done() {
    let Some(ovs) = Ovs::start() else { return };
    let session = session(&ovs).await;
    let mut change = Transaction::new();
    change.comment("nothing");
    change.expect("Open_vSwitch", [], Row::new().with("next_cfg", 0));
    change.push(Op::Commit { durable: true });
    let done = transact(&session, &change).await.unwrap();
    assert_eq!(done.results(), [OpResult::Done, OpResult::Done, OpResult::Done]);
    assert_eq!(transact(&session, &Transaction::new()).await.unwrap().results(), []);
}

async fn refused(session: &Connection, change: &Transaction) -> Refusal {
    match transact(session, change).await {
        Err(Error::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_refusal_is_known() {
    let Some(ovs) = Ovs::start() else { return };
    let session = session(&ovs).await;
    let mut good = Transaction::new();
    make_bridge(&mut good, "br0", &[]);
    transact(&session, &good).await.unwrap();

    let mut again = Transaction::new();
    make_bridge(&mut again, "br0", &[]);
    let refusal = refused(&session, &again).await;
    assert_eq!((&refusal.place, refusal.kind), (&Place::Commit, RefusalKind::ConstraintViolation), "{refusal}");

    let mut range = Transaction::new();
    range.insert("Port", Row::new().with("name", "p").with("tag", 5000));
    let refusal = refused(&session, &range).await;
    let place = Place::Op { index: 0, name: "insert", table: "Port".into() };
    assert_eq!((refusal.place.clone(), refusal.kind), (place, RefusalKind::ConstraintViolation), "{refusal}");

    let mut dangling = Transaction::new();
    dangling.update("Bridge", [], Row::new().with("ports", Uuid::from_u128(7)));
    let refusal = refused(&session, &dangling).await;
    assert_eq!(refusal.kind, RefusalKind::ReferentialIntegrity, "{refusal}");

    let insert = |name: &str| Op::Insert { table: "Port".into(), row: Row::new(), name: Some(name.parse().unwrap()) };
    let refusal = refused(&session, &[insert("a"), insert("a")].into_iter().collect()).await;
    assert_eq!(refusal.kind, RefusalKind::DuplicateName, "{refusal}");

    let mut lost = Transaction::new();
    lost.expect("Bridge", [Condition::equals("name", "br0")], Row::new().with("fail_mode", "secure"));
    let refusal = refused(&session, &lost).await;
    assert_eq!(refusal.kind, RefusalKind::TimedOut, "{refusal}");

    let mut unowned = Transaction::new();
    unowned.assert("l");
    assert_eq!(refused(&session, &unowned).await.kind, RefusalKind::NotOwner);

    assert_eq!(refused(&session, &Op::Abort.into()).await.kind, RefusalKind::Aborted);

    let mut divided = Transaction::new();
    divided.mutate("Open_vSwitch", [], [Mutation::divide("next_cfg", 0)]);
    assert_eq!(refused(&session, &divided).await.kind, RefusalKind::Arithmetic);

    for (table, column) in [("Bridge", "colour"), ("Lamp", "name")] {
        let mut unknown = Transaction::new();
        unknown.update(table, [], Row::new().with(column, 1));
        let refusal = refused(&session, &unknown).await;
        assert_eq!(refusal.kind, RefusalKind::Syntax, "{refusal}");
    }
    let refused = session.transact("none", &good, soon()).await.unwrap_err();
    assert_eq!(refused.refusal().unwrap().place, Place::Request, "{refused}");
    // Nothing of all that happened.
    assert_eq!(ovs.vsctl(["--no-wait", "list-br"]).trim(), "br0");
    assert_eq!((session.waiting(), session.strays().unknown), (0, 0));
}

#[tokio::test]
async fn a_transaction_that_waits_is_done_when_it_can_be() {
    let Some(ovs) = Ovs::start() else { return };
    let session = session(&ovs).await;
    let (columns, rows) = (vec!["name".into()], vec![Row::new().with("name", "br0")]);
    let wait = Op::Wait {
        timeout: Some(Duration::from_secs(30)),
        table: "Bridge".into(),
        r#where: vec![],
        columns,
        until: Until::Equal,
        rows,
    };
    let waiting = [wait, Op::Comment { comment: "it is there".into() }].into_iter().collect();
    let mut making = Transaction::new();
    make_bridge(&mut making, "br0", &[]);
    let (waited, made) = tokio::join!(transact(&session, &waiting), transact(&session, &making));
    made.unwrap();
    waited.unwrap();
}

#[tokio::test]
async fn a_transaction_that_waits_is_cancelled_with_its_caller() {
    let Some(ovs) = Ovs::start() else { return };
    let session = session(&ovs).await;
    let wait = Op::Wait {
        timeout: None,
        table: "Bridge".into(),
        r#where: vec![],
        columns: vec!["name".into()],
        until: Until::Equal,
        rows: vec![Row::new().with("name", "br0")],
    };
    let mut waiting = Transaction::from(wait);
    make_bridge(&mut waiting, "br1", &[]);
    let deadline = tokio::time::Instant::now() + Duration::from_millis(100);
    let given_up = session.transact("Open_vSwitch", &waiting, deadline).await.unwrap_err();
    assert!(given_up.is_outcome_unknown(), "{given_up}");
    // What it waited for comes, and it is not done any more.
    let mut making = Transaction::new();
    make_bridge(&mut making, "br0", &[]);
    transact(&session, &making).await.unwrap();
    assert_eq!(ovs.vsctl(["--no-wait", "list-br"]).trim(), "br0");
    // Open vSwitch 3.1 does not answer what was cancelled, which RFC 7047 (4.1.4) has it do: it must not be waited for.
    assert_eq!((session.waiting(), session.strays().unknown), (0, 0));
}

#[tokio::test]
async fn a_thousand_ports_are_one_transaction() {
    let Some(ovs) = Ovs::start() else { return };
    let client = crate::connected(&ovs).await;
    let before = client.mirror().snapshot().version();
    let mut change = Transaction::new();
    let ports: Vec<_> = (0..1000).map(|number| make_port(&mut change, &format!("p{number}"), "internal")).collect();
    make_bridge(&mut change, "br0", &ports);
    let begun = std::time::Instant::now();
    let made = client.transact(&change, soon()).await.unwrap();
    let took = begun.elapsed();
    let snapshot = client.mirror().snapshot();
    assert_eq!(snapshot.version(), before + 1, "one transaction is one snapshot");
    assert_eq!(snapshot.table("Interface").unwrap().len(), 1000);
    let (_, bridge) = snapshot.find("Bridge", "name", "br0").unwrap();
    assert!(ports.iter().all(|port| bridge.set("ports").unwrap().contains(&made.inserted(port).unwrap().into())));
    assert!(took < Duration::from_secs(10), "{took:?}");
}
