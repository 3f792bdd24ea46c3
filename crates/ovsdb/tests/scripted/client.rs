use netloom_ovsdb::{Client, Ended, Endpoint, Error, Interest, Next, Snapshot, State, Unanswered, Uuid};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::server::{NIL, Server, config, soon, start_tcp, uuid};
use crate::{change, names};

/// What an insertion of row 9 is answered with.
fn inserted() -> Value {
    json!([{"uuid": ["uuid", uuid(9)]}])
}

#[tokio::test]
async fn a_client_fills_its_mirror_and_follows() {
    let server = Server::start(|_, peer| {
        peer.open(NIL, &json!({uuid(1): {"initial": {"name": "a"}}}))?;
        let asked = peer.expect("transact")?;
        peer.update(NIL, &json!({uuid(9): {"insert": {"name": "new"}}, uuid(1): {"delete": null}}));
        peer.answer(&asked, &inserted());
        peer.stay()
    });
    let client = Client::start(server.config());
    assert!(matches!(client.state(), State::Down { .. }));
    client.connected(soon()).await.unwrap();
    assert_eq!(names(&client.mirror().snapshot()), ["a"]);
    client.transact(&change(), soon()).await.unwrap();
    // What a transaction changed is there with its answer, and whole.
    assert_eq!(names(&client.mirror().snapshot()), ["new"]);
    assert_eq!(client.mirror().snapshot().version(), 2);
}

#[tokio::test]
async fn it_is_the_same_over_tcp() {
    let address = start_tcp(|peer| {
        peer.open(NIL, &json!({uuid(1): {"initial": {"name": "a"}}}))?;
        peer.stay()
    });
    let client = Client::start(config(Endpoint::Tcp(address)));
    client.connected(soon()).await.unwrap();
    client.echo(soon()).await.unwrap();
    assert_eq!(names(&client.mirror().snapshot()), ["a"]);
}

#[tokio::test]
async fn a_server_that_cannot_go_on_tells_all_anew_and_only_what_differs_is_seen() {
    let server = Server::start(|number, peer| {
        let rows = match number {
            0 => json!({
                uuid(1): {"initial": {"name": "same"}}, uuid(2): {"initial": {"name": "old"}}, uuid(3): {"initial": {}},
            }),
            _ => json!({
                uuid(1): {"initial": {"name": "same"}}, uuid(2): {"initial": {"name": "new"}}, uuid(4): {"initial": {}},
            }),
        };
        peer.open(NIL, &rows)?;
        if number > 0 {
            return peer.stay();
        }
        peer.expect("transact").map(drop)
    });
    let client = Client::start(server.config());
    let before = client.mirror().filled(soon()).await.unwrap();
    client.connected(soon()).await.unwrap();
    let mut changes = client.mirror().subscribe();
    let (same, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let same_row = client.mirror().watch([Interest::row("T", same)]);
    let error = client.transact(&change(), soon()).await.unwrap_err();
    assert!(
        matches!(&error, Error::OutcomeUnknown(Unanswered::Ended(why)) if matches!(**why, Ended::Closed)),
        "{error}"
    );
    let interests = [Interest::row("T", other).columns(["name"])];
    let found = client.mirror().wait_until(interests, soon(), |snapshot| {
        snapshot.row("T", other)?.string("name").filter(|name| *name == "new").map(str::to_owned)
    });
    assert_eq!(found.await.unwrap(), "new");
    let Some(Next::Changes(changes)) = changes.next().await else { panic!("no changes") };
    let seen: Vec<_> = changes
        .rows
        .iter()
        .map(|change| (change.uuid.as_u128(), change.before.is_some(), change.after.is_some()))
        .collect();
    assert_eq!(seen, [(2, true, true), (3, true, false), (4, false, true)]);
    assert!(same_row.changed(Instant::now()).await.is_err(), "woken by what has not changed");
    let after = client.mirror().snapshot();
    let row = |snapshot: &Snapshot| snapshot.row("T", same).unwrap().clone();
    assert!(std::sync::Arc::ptr_eq(&row(&before), &row(&after)), "a row that is the same is another one");
}

#[tokio::test]
async fn a_server_that_can_go_on_is_asked_from_where_on() {
    let server = Server::start(|number, peer| {
        if number == 0 {
            peer.open(&uuid(100), &json!({uuid(1): {"initial": {"name": "a"}}}))?;
            peer.update(&uuid(101), &json!({uuid(2): {"insert": {"name": "b"}}}));
            return peer.expect("transact").map(drop);
        }
        peer.open_since(&uuid(101), (true, &uuid(102)), &json!({uuid(1): {"delete": null}}))?;
        peer.stay()
    });
    let client = Client::start(server.config());
    let gone = |snapshot: &Snapshot| (names(snapshot) == ["b"]).then_some(());
    client.connected(soon()).await.unwrap();
    let both = |snapshot: &Snapshot| (names(snapshot) == ["a", "b"]).then_some(());
    client.mirror().wait_until([Interest::table("T")], soon(), both).await.unwrap();
    client.transact(&change(), soon()).await.unwrap_err();
    client.mirror().wait_until([Interest::table("T")], soon(), gone).await.unwrap();
}

#[tokio::test]
async fn a_server_that_has_forgotten_where_it_was_tells_all_anew() {
    let server = Server::start(|number, peer| {
        if number == 0 {
            peer.open(&uuid(100), &json!({uuid(1): {"initial": {"name": "a"}}, uuid(2): {"initial": {"name": "b"}}}))?;
            return peer.expect("transact").map(drop);
        }
        peer.open_since(&uuid(100), (false, &uuid(200)), &json!({uuid(2): {"initial": {"name": "b"}}}))?;
        peer.stay()
    });
    let client = Client::start(server.config());
    client.connected(soon()).await.unwrap();
    client.transact(&change(), soon()).await.unwrap_err();
    let gone = |snapshot: &Snapshot| (names(snapshot) == ["b"]).then_some(());
    client.mirror().wait_until([Interest::table("T")], soon(), gone).await.unwrap();
    client.connected(soon()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_know_since_is_asked_without() {
    let server = Server::start(|_, peer| {
        peer.tell_schema()?;
        let asked = peer.expect("monitor_cond_since")?;
        peer.refuse(&asked, &json!("unknown method"));
        let asked = peer.expect("monitor_cond")?;
        peer.answer(&asked, &json!({"T": {uuid(1): {"initial": {"name": "a"}}}}));
        peer.tell("update2", &json!(["mirror", {"T": {uuid(1): {"modify": {"name": "b"}}}}]));
        peer.stay()
    });
    let client = Client::start(server.config());
    let found = |snapshot: &Snapshot| (names(snapshot) == ["b"]).then_some(());
    client.mirror().wait_until([Interest::table("T")], soon(), found).await.unwrap();
}
