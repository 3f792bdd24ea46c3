use std::time::Duration;

use netloom_ovsdb::{Client, Endpoint, Error, Interest, Snapshot, State};
use serde_json::json;
use tokio::time::Instant;

use crate::server::{NIL, Peer, Server, config, schema, soon, uuid};
use crate::{change, names};

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
async fn an_update_that_does_not_fit_has_all_told_anew() {
    let server = Server::start(|number, peer| {
        // Since nothing, each time.
        peer.open(&uuid(100), &json!({uuid(1): {"initial": {"name": "a"}}}))?;
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
async fn an_answer_that_came_before_the_end_of_its_session_is_not_lost() {
    let server = Server::start(|number, peer| {
        peer.open(NIL, &json!({}))?;
        if number == 0 {
            let asked = peer.expect("transact")?;
            let lost = json!({"T": {uuid(7): {"delete": null}}});
            let update = json!({"id": null, "method": "update3", "params": ["mirror", NIL, lost]});
            let answer = json!({"id": asked["id"], "result": [{"uuid": ["uuid", uuid(9)]}], "error": null});
            // In one piece, so that both are there when the first ends the session.
            peer.say(&format!("{update}{answer}"));
        }
        peer.stay()
    });
    let client = Client::start(server.config());
    client.connected(soon()).await.unwrap();
    client.transact(&change(), soon()).await.unwrap();
    assert!(!client.state().is_connected());
}

#[tokio::test]
async fn what_is_for_nobody_changes_nothing() {
    let server = Server::start(|_, peer| {
        peer.open(NIL, &json!({uuid(1): {"initial": {"name": "a"}}}))?;
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
                peer.open(NIL, &json!({uuid(1): {"initial": {"name": "a"}}}))?;
                peer.say("{\"id\":null,\"method\":\"update3\",\"params\":[\"mirror\",1]}");
                return peer.stay();
            }
            _ => {
                peer.open(NIL, &json!({uuid(2): {"initial": {"name": "b"}}}))?;
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
        peer.open(NIL, &json!({}))?;
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
        peer.open(NIL, &json!({}))?;
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
