//! Streams: events, output, commands.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use netloom_agent::wire::{Accepted, ExecControl, ExecEnd, STDERR, STDIN, STDOUT};
use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{Event, ExecRequest, OperationState, OperationView, What};
use tokio::net::UnixStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::bench::{Bench, within};

/// Reads server-sent events: name and data.
pub(crate) struct Stream {
    body: Incoming,
    text: String,
}

impl Stream {
    pub(crate) async fn open(bench: &Bench, path: &str) -> Self {
        let response = bench.unix().await.open(path).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    pub(crate) async fn next(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((one, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    one.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
                };
                let found = (field("event:"), field("data:"));
                self.text = rest.to_string();
                return Some(found);
            }
            let data = within(self.body.frame()).await?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }
}

#[tokio::test]
async fn an_operation_can_be_watched_to_its_end() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/*", .., Trouble::Slow(std::time::Duration::from_millis(50)));
    let begun: Accepted = bench.put(&Sketch::pair("lab").lab()).await.json();
    let path = format!("/operations/{}/watch", begun.operation.id);
    let mut stream = Stream::open(&bench, &path).await;
    let (name, data) = stream.next().await.unwrap();
    assert_eq!(name, "snapshot");
    assert_eq!(serde_json::from_str::<OperationView>(&data).unwrap().id, begun.operation.id);
    let mut last = None;
    let mut steps = 0;
    while let Some((name, data)) = stream.next().await {
        steps += usize::from(name == "step");
        last = Some(serde_json::from_str::<Event>(&data).unwrap());
    }
    assert!(steps >= 2, "{steps}");
    let ended = matches!(last.unwrap().what, What::Operation { state: OperationState::Succeeded, .. });
    assert!(ended);
    // Afterwards the snapshot is all there is to say.
    let mut stream = Stream::open(&bench, &path).await;
    let (_, data) = stream.next().await.unwrap();
    assert_eq!(serde_json::from_str::<OperationView>(&data).unwrap().state, OperationState::Succeeded);
    assert_eq!(stream.next().await, None);
}

#[tokio::test]
async fn events_are_replayed_filtered_and_followed() {
    let bench = Bench::new().await;
    let mut live = Stream::open(&bench, "/events?lab=lab").await;
    bench.deploy(&Sketch::pair("lab").lab()).await;
    let (name, data) = live.next().await.unwrap();
    let first: Event = serde_json::from_str(&data).unwrap();
    assert_eq!(name, "operation");

    let mut past = Stream::open(&bench, "/events?follow=false").await;
    let mut all = Vec::new();
    while let Some((_, data)) = past.next().await {
        all.push(serde_json::from_str::<Event>(&data).unwrap());
    }
    assert!(all.contains(&first));
    assert!(all.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
    let later = format!("/events?follow=false&after={}", first.seq);
    assert_eq!(Stream::open(&bench, &later).await.next().await.map(|(_, data)| data), {
        all.iter().find(|event| event.seq == first.seq + 1).map(|event| serde_json::to_string(event).unwrap())
    });
    assert_eq!(Stream::open(&bench, "/events?follow=false&lab=other").await.next().await, None);
}

#[tokio::test]
async fn a_node_s_output_comes_as_text() {
    let bench = Bench::new().await;
    bench.deploy(&Sketch::new("lab").node("r1").runs("r1", &["sh", "-c", "echo hello; sleep 9"]).lab()).await;
    let reply = bench.get("/labs/lab/nodes/r1/logs").await;
    assert_eq!(reply.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(reply.text(), "hello\n");
}

type Socket = WebSocketStream<UnixStream>;

async fn exec(bench: &Bench, node: &str, argv: &[&str]) -> Socket {
    let stream = UnixStream::connect(bench.layout.socket()).await.unwrap();
    let path = format!("ws://localhost/labs/lab/nodes/{node}/exec");
    let (mut socket, _) = within(client_async(path, stream)).await.unwrap();
    let argv = argv.iter().map(|word| (*word).to_owned()).collect();
    let request = ExecRequest::plain(argv);
    socket.send(Message::Text(serde_json::to_string(&request).unwrap().into())).await.unwrap();
    socket
}

/// Everything until the end: standard output, standard error, how it ended.
async fn rest(socket: &mut Socket) -> (String, String, ExecEnd) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        match within(socket.next()).await.unwrap().unwrap() {
            Message::Binary(bytes) if bytes[0] == STDOUT => out.extend_from_slice(&bytes[1..]),
            Message::Binary(bytes) if bytes[0] == STDERR => err.extend_from_slice(&bytes[1..]),
            Message::Text(text) => {
                let text_of = |bytes| String::from_utf8(bytes).unwrap();
                return (text_of(out), text_of(err), serde_json::from_str(&text).unwrap());
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_command_gets_input_and_gives_output_and_code() {
    let bench = Bench::new().await;
    bench.deploy(&Sketch::pair("lab").lab()).await;
    let mut socket = exec(&bench, "r1", &["sh", "-c", "echo out; echo err >&2; exit 3"]).await;
    assert_eq!(rest(&mut socket).await, ("out\n".into(), "err\n".into(), ExecEnd::Exit(3)));
    assert!(matches!(within(socket.next()).await, Some(Ok(Message::Close(Some(_))))));

    let mut socket = exec(&bench, "r1", &["cat"]).await;
    let stdin = |text: &str| Message::Binary(Bytes::from([&[STDIN], text.as_bytes()].concat()));
    socket.send(stdin("one\n")).await.unwrap();
    socket.send(stdin("two\n")).await.unwrap();
    socket.send(stdin("")).await.unwrap();
    assert_eq!(rest(&mut socket).await, ("one\ntwo\n".into(), String::new(), ExecEnd::Exit(0)));

    let mut socket = exec(&bench, "r1", &["sleep", "inf"]).await;
    let terminate = serde_json::to_string(&ExecControl::Terminate(true)).unwrap();
    assert_eq!(terminate, r#"{"terminate":true}"#);
    socket.send(Message::Text(terminate.into())).await.unwrap();
    assert!(matches!(rest(&mut socket).await.2, ExecEnd::Exit(code) if code != 0));
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_a_problem() {
    let bench = Bench::new().await;
    bench.deploy(&Sketch::pair("lab").lab()).await;
    let kind = async |mut socket: Socket| match rest(&mut socket).await.2 {
        ExecEnd::Error(problem) => problem.kind().to_owned(),
        ExecEnd::Exit(code) => panic!("it ended with {code}"),
    };
    assert_eq!(kind(exec(&bench, "r9", &["true"]).await).await, "no-node");
    assert_eq!(kind(exec(&bench, "r1", &[]).await).await, "bad-request");
    bench.world.exit("lab", "r2", 1, "");
    let mut changes = bench.engine.inventory().changes();
    let inventory = bench.engine.inventory().clone();
    let ended = move |_: &u64| {
        let snapshot = inventory.snapshot();
        let lab = &snapshot.labs[&"lab".parse().unwrap()];
        lab.nodes[&"r2".parse::<netloom_model::NodeName>().unwrap()].state != netloom_plan::NodeState::Running
    };
    within(changes.wait_for(ended)).await.unwrap();
    assert_eq!(kind(exec(&bench, "r2", &["true"]).await).await, "not-running");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_command() {
    let bench = Bench::new().await;
    bench.deploy(&Sketch::pair("lab").lab()).await;
    let sessions = || bench.engine.bulkheads().iter().find(|bulkhead| bulkhead.name() == "sessions").unwrap().used();
    let mut socket = exec(&bench, "r1", &["cat"]).await;
    socket.send(Message::Binary(Bytes::from_static(b"\0x"))).await.unwrap();
    assert!(matches!(within(socket.next()).await, Some(Ok(Message::Binary(_)))));
    assert_eq!(sessions(), 1);
    drop(socket);
    within(async {
        while sessions() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
