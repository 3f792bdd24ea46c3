use netloom_ovsdb::{Claim, Client, Error, LockState};
use serde_json::json;
use tokio::time::Instant;

use crate::server::{NIL, Server, soon};

#[tokio::test]
async fn a_lock_is_asked_for_in_each_session() {
    let server = Server::start(|number, peer| {
        peer.open(NIL, &json!({}))?;
        let asked = peer.expect("lock")?;
        assert_eq!(asked["params"], json!(["l"]));
        peer.answer(&asked, &json!({"locked": number == 0}));
        if number == 0 {
            peer.expect("transact")?;
            return None;
        }
        peer.tell("locked", &json!(["l"]));
        let asked = peer.expect("unlock")?;
        assert_eq!(asked["params"], json!(["l"]));
        peer.answer(&asked, &json!({}));
        let asked = peer.expect("steal")?;
        peer.answer(&asked, &json!({"locked": true}));
        peer.stay()
    });
    let client = Client::start(server.config());
    let lock = client.lock("l", Claim::Wait).unwrap();
    let tenure = lock.owned(soon()).await.unwrap();
    let again = client.lock("l", Claim::Wait);
    assert!(matches!(again, Err(Error::LockInUse(_))), "{again:?}");
    client.transact(&netloom_ovsdb::Transaction::new(), soon()).await.unwrap_err();
    lock.lost(tenure, soon()).await.unwrap();
    lock.owned(soon()).await.unwrap();
    // It is had again, and that time of having it is over all the same.
    lock.lost(tenure, soon()).await.unwrap();
    drop(lock);
    // Given back first, then asked for anew.
    let lock = client.lock("l", Claim::Steal).unwrap();
    lock.owned(soon()).await.unwrap();
}

#[tokio::test]
async fn a_lock_that_is_stolen_is_waited_for() {
    let server = Server::start(|_, peer| {
        peer.open(NIL, &json!({}))?;
        let asked = peer.expect("lock")?;
        peer.answer(&asked, &json!({"locked": true}));
        peer.expect("transact")?;
        peer.tell("stolen", &json!(["l"]));
        peer.stay()
    });
    let client = Client::start(server.config());
    let lock = client.lock("l", Claim::Wait).unwrap();
    let tenure = lock.owned(soon()).await.unwrap();
    let change = netloom_ovsdb::Transaction::new();
    tokio::select! {
        done = client.transact(&change, soon()) => panic!("{done:?}"),
        lost = lock.lost(tenure, soon()) => lost.unwrap(),
    }
    assert_eq!(lock.state(), LockState::Waiting);
    assert!(matches!(lock.owned(Instant::now()).await, Err(Error::Deadline)));
    drop(client);
    assert!(matches!(lock.owned(soon()).await, Err(Error::Dropped)));
}

#[tokio::test]
async fn a_lock_is_stolen_once_and_not_again_in_the_next_session() {
    let server = Server::start(|number, peer| {
        peer.open(NIL, &json!({}))?;
        let asked = peer.expect(if number == 0 { "steal" } else { "lock" })?;
        peer.answer(&asked, &json!({"locked": true}));
        if number == 0 {
            return peer.expect("transact").map(drop);
        }
        peer.stay()
    });
    let client = Client::start(server.config());
    let lock = client.lock("l", Claim::Steal).unwrap();
    let tenure = lock.owned(soon()).await.unwrap();
    client.transact(&netloom_ovsdb::Transaction::new(), soon()).await.unwrap_err();
    lock.lost(tenure, soon()).await.unwrap();
    lock.owned(soon()).await.unwrap();
}

#[tokio::test]
async fn a_name_that_the_server_does_not_take_is_refused_at_once() {
    let server = Server::start(|_, peer| peer.stay());
    let mut config = server.config();
    config.locks = 1;
    let client = Client::start(config);
    let wrong = client.lock("a b", Claim::Wait).unwrap_err();
    assert!(wrong.to_string().starts_with("`a b` is no name of a lock: not a name of letters"), "{wrong}");
    let first = client.lock("a", Claim::Wait).unwrap();
    assert_eq!((first.name(), first.state()), ("a", LockState::Unasked));
    assert!(matches!(client.lock("b", Claim::Wait), Err(Error::Busy { what: "locks", limit: 1 })));
    drop(first);
    client.lock("b", Claim::Wait).unwrap();
}
