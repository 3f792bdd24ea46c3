use std::time::Duration;

use netloom_ovsdb::{
    Client, Ended, Endpoint, Error, Interest, Next, Row, Snapshot, State, Transaction, Unanswered, Uuid,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::server::{NIL, Peer, Server, config, schema, soon, start_tcp, uuid};

/// The names in the table, in order of their rows.
fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.rows("T").map(|(_, row)| row.string("name").unwrap().to_owned()).collect()
}

fn change() -> Transaction {
    let mut change = Transaction::new();
    change.insert("T", Row::new().with("name", "new"));
    change
}

/// What an insertion of row 9 is answered with.
fn inserted() -> Value {
    json!([{"uuid": ["uuid", uuid(9)]}])
}

/// Waits until there is no session; says why.
async fn down(client: &Client) -> String {
    loop {
        let state = client.state();
        match &state {
            State::Down { why, .. } if !matches!(**why, Error::Starting) => return why.to_string(),
            _ => drop(client.state_changed(&state, soon()).await.unwrap()),
        }
    }
}

#[tokio::test]
async fn a_client_fills_its_mirror_and_follows() {
    let server = Server::start(|_, peer| {
        let asked = peer.open(false, NIL, &json!({uuid(1): {"initial": {"name": "a"}}}))?;
        let wanted = json!(["D", "mirror", {"T": [{"columns": ["name", "ports"]}]}, NIL]);
        assert_eq!(asked["params"], wanted);
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
        peer.open(false, NIL, &json!({uuid(1): {"initial": {"name": "a"}}}))?;
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
        peer.open(false, NIL, &rows)?;
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
            peer.open(false, &uuid(100), &json!({uuid(1): {"initial": {"name": "a"}}}))?;
            peer.update(&uuid(101), &json!({uuid(2): {"insert": {"name": "b"}}}));
            return peer.expect("transact").map(drop);
        }
        let asked = peer.open(true, &uuid(102), &json!({uuid(1): {"delete": null}}))?;
        assert_eq!(asked["params"][3], uuid(101));
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

#[tokio::test]
async fn an_update_that_does_not_fit_has_all_told_anew() {
    let server = Server::start(|number, peer| {
        let asked = peer.open(false, &uuid(100), &json!({uuid(1): {"initial": {"name": "a"}}}))?;
        assert_eq!(asked["params"][3], NIL);
        if number == 0 {
            peer.update(&uuid(101), &json!({uuid(1): {"modify": {"name": "b"}}, uuid(7): {"delete": null}}));
        }
        peer.stay()
    });
    let client = Client::start(server.config());
    client.mirror().filled(soon()).await.unwrap();
    let said = down(&client).await;
    assert_eq!(said, format!("the mirror lost step: T {}: a row goes that is not there", uuid(7)));
    client.connected(soon()).await.unwrap();
    assert_eq!(names(&client.mirror().snapshot()), ["a"]);
}

#[tokio::test]
async fn what_is_for_nobody_changes_nothing() {
    let server = Server::start(|_, peer| {
        peer.open(false, NIL, &json!({uuid(1): {"initial": {"name": "a"}}}))?;
        for monitor in [json!("other"), json!(null), json!(["mirror"])] {
            let rows = json!({"T": {uuid(1): {"delete": null}}});
            peer.tell("update3", &json!([monitor, NIL, rows]));
            peer.tell("monitor_canceled", &json!([monitor]));
        }
        peer.say(r#"{"id":77,"result":[],"error":null}"#);
        peer.tell("locked", &json!(["unknown"]));
        peer.tell("gossip", &json!({"a": 1}));
        peer.stay()
    });
    let client = Client::start(server.config());
    client.connected(soon()).await.unwrap();
    client.echo(soon()).await.unwrap();
    assert!(client.state().is_connected());
    assert_eq!(names(&client.mirror().snapshot()), ["a"]);
}

#[tokio::test]
async fn whatever_a_server_says_the_next_session_is_well() {
    let server = Server::start(|number, peer| {
        match number {
            0 => peer.say("HTTP/1.1 400 Bad Request\r\n\r\n"),
            1 => peer.say("{]"),
            2 => {
                // Cut in the middle of the monitor's answer.
                peer.tell_schema()?;
                let asked = peer.expect("monitor_cond_since")?;
                let answer = json!({"id": asked["id"], "result": [false, NIL, {"T": {}}], "error": null}).to_string();
                peer.say(&answer[..answer.len() / 2]);
            }
            3 => {
                peer.tell_schema()?;
                let asked = peer.expect("monitor_cond_since")?;
                peer.answer(&asked, &json!([false, NIL, {"T": {"x": 1}}]));
                return peer.stay();
            }
            4 => {
                let asked = peer.expect("get_schema")?;
                peer.answer(&asked, &json!([]));
                return peer.stay();
            }
            5 => {
                let asked = peer.expect("get_schema")?;
                peer.refuse(&asked, &json!({"error": "unknown database"}));
                return peer.stay();
            }
            6 => {
                // Garbage in the middle of a good session.
                peer.open(false, NIL, &json!({uuid(1): {"initial": {"name": "a"}}}))?;
                peer.say("{\"id\":null,\"method\":\"update3\",\"params\":[\"mirror\",1]}");
                return peer.stay();
            }
            _ => {
                peer.open(false, NIL, &json!({uuid(2): {"initial": {"name": "b"}}}))?;
                return peer.stay();
            }
        }
        Some(())
    });
    let client = Client::start(server.config());
    let last = |snapshot: &Snapshot| (names(snapshot) == ["b"]).then_some(());
    client.mirror().wait_until([Interest::table("T")], soon(), last).await.unwrap();
    client.connected(soon()).await.unwrap();
}

#[tokio::test]
async fn a_slow_server_is_understood_byte_by_byte() {
    let server = Server::start(|_, peer| {
        peer.tell_schema()?;
        let asked = peer.expect("monitor_cond_since")?;
        let answer = json!([false, NIL, {"T": {uuid(1): {"initial": {"name": "é \"{"}}}}]);
        let message = json!({"id": asked["id"], "result": answer, "error": null}).to_string();
        for byte in message.as_bytes() {
            peer.say_bytes(&[*byte]);
        }
        peer.stay()
    });
    let client = Client::start(server.config());
    client.connected(soon()).await.unwrap();
    assert_eq!(names(&client.mirror().snapshot()), ["é \"{"]);
}

#[tokio::test]
async fn a_column_that_the_server_does_not_have_is_a_clear_error() {
    let server = Server::start(|_, peer| {
        let asked = peer.expect("get_schema")?;
        peer.answer(&asked, &schema(&json!({"name": {"type": "string"}})));
        peer.stay()
    });
    let client = Client::start(server.config().mirror("U", ["x"]));
    let said = "the database D (schema 1.0.0) has no T.ports, U: its server is too old, or too new, for this";
    assert_eq!(down(&client).await, said);
    let error = client.transact(&change(), soon()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("there is no session with the database server: {said}"));
    let error = client.connected(Instant::now() + Duration::from_millis(50)).await.unwrap_err();
    assert!(error.to_string().ends_with(said), "{error}");
}

#[tokio::test]
async fn without_a_server_a_call_fails_at_once_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let client = Client::start(config(Endpoint::Unix(directory.path().join("none"))));
    let said = down(&client).await;
    assert!(said.starts_with("cannot connect to unix:/") && said.contains("No such file"), "{said}");
    let State::Down { since, .. } = client.state() else { panic!("connected") };
    let error = client.transact(&change(), soon()).await.unwrap_err();
    assert!(matches!(error, Error::NotConnected { .. }) && !error.is_outcome_unknown(), "{error}");
    let filled = client.mirror().filled(Instant::now() + Duration::from_millis(60)).await;
    assert!(matches!(filled, Err(Error::Deadline)));
    // It has tried again meanwhile, and is down since the beginning.
    let State::Down { since: later, .. } = client.state() else { panic!("connected") };
    assert_eq!(since, later);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_and_tried_again() {
    let server = Server::start(|number, peer| {
        if number == 0 {
            return peer.stay();
        }
        peer.open(false, NIL, &json!({}))?;
        peer.stay()
    });
    let mut config = server.config();
    config.patience = Duration::from_millis(200);
    let client = Client::start(config);
    assert!(down(&client).await.contains("has not filled the mirror within 200ms"));
    client.connected(soon()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_ends_with_the_last_clone() {
    let (told, hears) = std::sync::mpsc::sync_channel(1);
    let server = Server::start(move |_, peer: &mut Peer| {
        peer.open(false, NIL, &json!({}))?;
        peer.stay();
        told.send(()).ok()
    });
    let client = Client::start(server.config());
    client.connected(soon()).await.unwrap();
    let (mirror, clone) = (client.mirror().clone(), client.clone());
    drop(client);
    clone.echo(soon()).await.unwrap();
    drop(clone);
    let watched = mirror.watch([Interest::table("T")]).changed(soon()).await;
    assert!(matches!(watched, Err(Error::Dropped)), "{watched:?}");
    tokio::task::block_in_place(|| hears.recv_timeout(Duration::from_secs(30))).unwrap();
}
