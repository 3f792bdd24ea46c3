//! Sessions over a stream in memory, in virtual time.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::op::RefusalKind;
use crate::value::Row;

/// The server's end.
struct Peer {
    stream: DuplexStream,
    scanner: Scanner,
}

impl Peer {
    /// What the client says next; `None` at the end.
    async fn hear(&mut self) -> Option<Value> {
        loop {
            if let Some(frame) = self.scanner.take().unwrap() {
                return Some(serde_json::from_slice(&frame).unwrap());
            }
            if self.stream.read_buf(self.scanner.space()).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn say(&mut self, message: Value) {
        self.say_bytes(message.to_string()).await;
    }

    async fn say_bytes(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may have gone.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Hears a call and answers it with this.
    async fn answer(&mut self, result: Value) -> Value {
        let asked = self.hear().await.unwrap();
        self.say(json!({"id": asked["id"], "result": result, "error": null})).await;
        asked
    }
}

fn session(limits: Limits) -> (Connection, Events, Peer) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (connection, events) = Connection::over(near, limits);
    (connection, events, Peer { stream: far, scanner: Scanner::new(1 << 20) })
}

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn change() -> Transaction {
    let mut change = Transaction::new();
    change.insert("T", Row::new().with("a", 1));
    change
}

#[tokio::test(start_paused = true)]
async fn answers_find_their_calls_in_any_order() {
    let (connection, _events, mut peer) = session(Limits::default());
    let serving = async {
        let (first, second) = (peer.hear().await.unwrap(), peer.hear().await.unwrap());
        assert_eq!((&first["method"], &first["params"]), (&json!("a"), &json!([1])));
        for asked in [second, first] {
            peer.say(json!({"id": asked["id"], "result": asked["method"], "error": null})).await;
        }
    };
    let (a, b) = (connection.call("a", &[1], within(1)), connection.call("b", &[2], within(1)));
    let (a, b, ()) = tokio::join!(a, b, serving);
    assert_eq!((a.unwrap(), b.unwrap()), (json!("a"), json!("b")));
    assert_eq!((connection.waiting(), connection.strays()), (0, Strays::default()));
}

#[tokio::test(start_paused = true)]
async fn the_server_is_answered_when_it_asks() {
    let (_connection, _events, mut peer) = session(Limits::default());
    peer.say(json!({"id": "echo", "method": "echo", "params": [1, "x"]})).await;
    assert_eq!(peer.hear().await.unwrap(), json!({"id": "echo", "result": [1, "x"], "error": null}));
    peer.say(json!({"id": 3, "method": "steal", "params": []})).await;
    assert_eq!(peer.hear().await.unwrap(), json!({"id": 3, "result": null, "error": "unknown method"}));
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_and_one_that_stays_silent_is_dead() {
    let (connection, mut events, mut peer) = session(Limits::default());
    let begun = Instant::now();
    assert_eq!(peer.hear().await.unwrap()["method"], "echo");
    assert_eq!(begun.elapsed().as_secs(), 5);
    peer.say(json!({"id": 0, "result": [], "error": null})).await;
    assert_eq!(peer.hear().await.unwrap()["method"], "echo");
    assert_eq!(begun.elapsed().as_secs(), 10);

    let waiting = connection.call("x", &[0; 0], within(60));
    let (waited, ended) = tokio::join!(waiting, events.next());
    assert_eq!(begun.elapsed().as_secs(), 15);
    assert_eq!(ended, None);
    assert!(matches!(waited, Err(Error::Ended(_))), "{waited:?}");
    assert_eq!(connection.ended().unwrap().to_string(), "the database server was silent for 10s");
    assert_eq!(connection.strays(), Strays::default(), "the answer to a probe is none");
    let error = connection.call("x", &[0; 0], within(1)).await.unwrap_err();
    assert!(matches!(error, Error::NotConnected { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_server_is_waited_for_until_the_deadline_and_the_transaction_cancelled() {
    let (connection, _events, mut peer) = session(Limits::default());
    let change = change();
    let transact = connection.transact("D", &change, within(3));
    let serving = async {
        let asked = peer.hear().await.unwrap();
        assert_eq!(asked["params"][0], "D");
        let cancel = peer.hear().await.unwrap();
        assert_eq!(cancel, json!({"id": null, "method": "cancel", "params": [asked["id"]]}));
        peer.say(json!({"id": asked["id"], "result": null, "error": "canceled"})).await;
    };
    let (done, ()) = tokio::join!(transact, serving);
    assert!(matches!(done, Err(Error::OutcomeUnknown(Unanswered::Deadline))), "{done:?}");
    assert_eq!(connection.waiting(), 0);
    connection_settles(&connection, &mut peer).await;
    assert_eq!(connection.strays(), Strays { late: 1, unknown: 0 });
}

/// All that the server has said was taken up.
async fn connection_settles(connection: &Connection, peer: &mut Peer) {
    let (echo, _) = tokio::join!(connection.echo(within(5)), peer.answer(json!([])));
    echo.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_leaves_nothing() {
    let (connection, _events, mut peer) = session(Limits::default());
    let change = change();
    {
        let transact = connection.transact("D", &change, within(60));
        tokio::select! {
            done = transact => panic!("{done:?}"),
            asked = peer.hear() => assert_eq!(asked.unwrap()["method"], "transact"),
        }
    }
    assert_eq!(connection.waiting(), 0);
    assert_eq!(peer.hear().await.unwrap()["method"], "cancel");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_is_never_sent_once_it_is_given_up() {
    let (near, far) = tokio::io::duplex(64);
    let (connection, _events) = Connection::over(near, Limits::default());
    let mut peer = Peer { stream: far, scanner: Scanner::new(1 << 20) };
    // The first fills the stream, and the second waits behind it.
    let (long, none) = (["x".repeat(500)], [0; 0]);
    let (first, second) = tokio::join!(connection.call("a", &long, within(2)), connection.call("b", &none, within(1)));
    assert!(matches!(first, Err(Error::Deadline)), "{first:?}");
    assert!(matches!(second, Err(Error::Deadline)), "{second:?}");
    assert_eq!(peer.hear().await.unwrap()["method"], "a");
    connection_settles(&connection, &mut peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_reads_while_it_cannot_write() {
    let (near, far) = tokio::io::duplex(64);
    let (connection, mut events) = Connection::over(near, Limits::default());
    let mut peer = Peer { stream: far, scanner: Scanner::new(1 << 20) };
    let long = ["x".repeat(500)];
    let serving = async {
        // It says more than the stream holds before it hears anything.
        for number in 0..10 {
            peer.say(json!({"id": null, "method": "n", "params": [number]})).await;
        }
        peer.answer(json!(1)).await;
    };
    let (called, ()) = tokio::join!(connection.call("a", &long, within(1)), serving);
    assert_eq!(called.unwrap(), json!(1));
    assert_eq!(events.next().await.unwrap().params, json!([0]));
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_the_limit_are_refused_at_once() {
    let (connection, _events, mut peer) = session(Limits { calls: 2, queued: 200, ..Limits::default() });
    let none = [0; 0];
    let (a, b) = (connection.call("a", &none, within(5)), connection.call("b", &none, within(5)));
    let third = async {
        let begun = Instant::now();
        let third = connection.call("c", &[0; 0], within(5)).await;
        assert!(matches!(third, Err(Error::Busy { what: "calls", limit: 2 })), "{third:?}");
        assert_eq!(begun.elapsed(), Duration::ZERO);
        peer.answer(json!(1)).await;
        peer.answer(json!(2)).await;
    };
    let (a, b, ()) = tokio::join!(a, b, third);
    assert_eq!((a.unwrap(), b.unwrap()), (json!(1), json!(2)));
    let long = connection.call("c", &["x".repeat(200)], within(5)).await;
    assert!(matches!(long, Err(Error::TooLarge { limit: 200, .. })), "{long:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_nothing_is_counted_and_harms_nobody() {
    let (connection, _events, mut peer) = session(Limits::default());
    for id in [json!(999), json!("x"), json!([1]), json!(-1)] {
        peer.say(json!({"id": id, "result": {}, "error": null})).await;
    }
    connection_settles(&connection, &mut peer).await;
    assert_eq!(connection.strays(), Strays { late: 0, unknown: 4 });
    // The same answer twice.
    peer.say(json!({"id": 1, "result": {}, "error": null})).await;
    connection_settles(&connection, &mut peer).await;
    assert_eq!(connection.strays(), Strays { late: 1, unknown: 4 });
}

/// How a session ends, and what a call in it gets, after the server said this and hung up.
async fn ended_by(bytes: &[u8], limits: Limits) -> (String, Error) {
    let (connection, _events, mut peer) = session(limits);
    let serving = async {
        peer.hear().await.unwrap();
        // Piece by piece, as a slow network brings it.
        for byte in bytes {
            peer.say_bytes([*byte]).await;
            tokio::task::yield_now().await;
        }
        drop(peer);
    };
    let (called, ()) = tokio::join!(connection.call("x", &[0; 0], within(5)), serving);
    (connection.ended().unwrap().to_string(), called.unwrap_err())
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_the_reason() {
    let short = || Limits { frame: 20, ..Limits::default() };
    for (bytes, limits, said) in [
        (&b""[..], Limits::default(), "the database server closed the connection"),
        (b"{\"id\":1,", Limits::default(), "the connection ended 8 bytes into a message"),
        (
            b"HTTP/1.1 400\r\n",
            Limits::default(),
            "what the database server says is not understood: a message begins with `H`",
        ),
        (
            b"{]",
            Limits::default(),
            "what the database server says is not understood: key must be a string at line 1 column 2",
        ),
        (b"{}", Limits::default(), "what the database server says is not understood: neither method nor id: {}"),
        (
            b"{\"aaaaaaaaaaaaaaaaaaaaaaaa",
            short(),
            "what the database server says is not understood: a message is longer than 20 bytes",
        ),
    ] {
        let (ended, error) = ended_by(bytes, limits).await;
        assert_eq!(ended, said);
        assert_eq!(error.to_string(), said);
    }
}

#[tokio::test(start_paused = true)]
async fn notifications_come_in_order_and_wait_for_their_reader() {
    let (connection, mut events, mut peer) = session(Limits { events: 2, ..Limits::default() });
    for number in 0..10 {
        peer.say(json!({"id": null, "method": "n", "params": [number]})).await;
    }
    // Nothing is read behind what there is no room for: the answer is not, until there is.
    let (echo, _) = tokio::join!(connection.echo(within(1)), peer.answer(json!([])));
    assert!(matches!(echo, Err(Error::Deadline)), "{echo:?}");
    // To be late is no silence of the server.
    tokio::time::sleep(Duration::from_secs(60)).await;
    for number in 0..10 {
        assert_eq!(events.next().await.unwrap().params, json!([number]));
    }
    connection_settles(&connection, &mut peer).await;
    assert_eq!(connection.strays().late, 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_order_comes_after_what_was_said_before_it() {
    let (connection, mut events, mut peer) = session(Limits::default());
    let change = change();
    let done = std::cell::Cell::new(false);
    let transact = async {
        let result = json!([{"uuid": ["uuid", "550e8400-e29b-41d4-a716-446655440000"]}]);
        let (made, _) = tokio::join!(connection.transact_in_order("D", &change, within(60)), peer.answer(result));
        made.unwrap();
        done.set(true);
    };
    let reading = async {
        // Long enough for any answer: nobody has read the events.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!done.get());
        let Some(Event::Answer(answered)) = events.next_event().await else { panic!("no answer") };
        assert!(answered.deliver().is_none());
    };
    tokio::join!(transact, reading);
    assert!(done.get());
}

#[tokio::test(start_paused = true)]
async fn notifications_that_nobody_reads_are_let_go() {
    let (connection, events, mut peer) = session(Limits { events: 1, ..Limits::default() });
    drop(events);
    for number in 0..10 {
        peer.say(json!({"id": null, "method": "n", "params": [number]})).await;
    }
    connection_settles(&connection, &mut peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_and_does_not_listen_is_given_up() {
    let (near, far) = tokio::io::duplex(256);
    let (connection, mut events) = Connection::over(near, Limits::default());
    let (_deaf, mut speaking) = tokio::io::split(far);
    for number in 0..200 {
        let asked = json!({"id": number, "method": "echo", "params": ["x".repeat(50)]});
        if speaking.write_all(asked.to_string().as_bytes()).await.is_err() {
            break;
        }
    }
    assert_eq!(events.next().await, None);
    assert_eq!(
        connection.ended().unwrap().to_string(),
        "the database server does not take the answers to its requests"
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_its_last_clone() {
    let (connection, _events, mut peer) = session(Limits::default());
    let clone = connection.clone();
    drop(connection);
    connection_settles(&clone, &mut peer).await;
    drop(clone);
    assert_eq!(peer.hear().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_words_of_the_server_become_errors() {
    let (connection, _events, mut peer) = session(Limits::default());
    let serving = async {
        let asked = peer.hear().await.unwrap();
        let error = json!({"error": "unknown database", "details": "get_schema request specifies unknown database x"});
        peer.say(json!({"id": asked["id"], "result": null, "error": error})).await;
        let asked = peer.hear().await.unwrap();
        peer.say(json!({"id": asked["id"], "result": null, "error": {"error": "unknown database"}})).await;
        peer.answer(json!({"name": 1})).await;
    };
    let change = change();
    let calling = async {
        let schema = connection.get_schema("x", within(1)).await.unwrap_err();
        let said = "the database server refuses `get_schema`: unknown database: get_schema request specifies unknown database x";
        assert_eq!(schema.to_string(), said);
        let refused = connection.transact("x", &change, within(1)).await.unwrap_err();
        assert_eq!(refused.refusal().unwrap().kind, RefusalKind::Syntax);
        assert_eq!(refused.to_string(), "the database server refuses the request: unknown database");
        let schema = connection.get_schema("x", within(1)).await.unwrap_err();
        assert!(matches!(schema, Error::Protocol(_)), "{schema}");
    };
    tokio::join!(serving, calling);
}
