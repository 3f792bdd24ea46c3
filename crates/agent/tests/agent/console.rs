//! Consoles as a controller opens them.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use netloom_agent::ServeConfig;
use netloom_engine::testing::Sketch;
use netloom_engine::{Controlled, Follow};
use netloom_model::{KIND_LABEL, Node, NodeName};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::bench::{Bench, within};
use crate::controlled::control;

type Socket = WebSocketStream<TcpStream>;

fn from_here(config: &mut ServeConfig) {
    config.secret = Some("secret".into());
    config.consoles_from = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
}

/// A lab with a plain node, one that a controller calls `frr`, and one whose shell is not in it.
async fn bench(change: impl FnOnce(&mut ServeConfig)) -> Bench {
    let bench = Bench::with(change).await;
    let kind = |kind: &str| {
        let kind = kind.to_owned();
        move |node: &mut Node| drop(node.labels.insert(KIND_LABEL.to_owned(), kind))
    };
    let lab = Sketch::new("lab").node("r1").runs("r1", &["sh", "-c", "echo booted; sleep 9"]);
    let lab = lab.node("frr").with("frr", kind("frr")).node("vyos").with("vyos", kind("vyos"));
    control(&bench, &lab.lab(), Controlled::Run).await;
    bench
}

async fn open(bench: &Bench, node: &str, headers: &[(&'static str, &str)]) -> Result<Socket, Error> {
    open_in(bench, "lab", node, headers).await
}

async fn open_in(bench: &Bench, lab: &str, node: &str, headers: &[(&'static str, &str)]) -> Result<Socket, Error> {
    let stream = TcpStream::connect(bench.tcp).await.unwrap();
    let mut request = format!("ws://agent.example:8001/console/{lab}/{node}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    within(client_async(request, stream)).await.map(|(socket, _)| socket)
}

/// What is shown until `text` is, with ours marked: `<…>`.
async fn shown(socket: &mut Socket, text: &str) -> String {
    let mut all = String::new();
    while !all.contains(text) {
        match within(socket.next()).await.unwrap().unwrap() {
            Message::Binary(bytes) => all.push_str(std::str::from_utf8(&bytes).unwrap()),
            Message::Text(ours) => all.extend(["<", ours.trim(), ">"]),
            _ => {}
        }
    }
    all
}

/// What is said until the close, and its code.
async fn end(socket: &mut Socket) -> (String, CloseCode) {
    let mut said = String::new();
    loop {
        match within(socket.next()).await.unwrap().unwrap() {
            Message::Text(ours) => said.push_str(ours.trim()),
            Message::Close(frame) => return (said, frame.unwrap().code),
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_former_output_comes_first_and_then_a_shell_that_takes_text_and_binary() {
    let bench = bench(from_here).await;
    let mut socket = open(&bench, "r1", &[]).await.unwrap();
    assert_eq!(shown(&mut socket, "sh$ ").await, "<\u{1b}[90mbooted\u{1b}[0m>sh$ ");
    socket.send(Message::Text(r#"{"type":"resize","rows":40,"cols":100}"#.into())).await.unwrap();
    socket.send(Message::Text("show ver\r".into())).await.unwrap();
    assert_eq!(shown(&mut socket, "\r").await, "show ver\r");
    socket.send(Message::Binary(Bytes::from_static(b"\x1b[A"))).await.unwrap();
    assert_eq!(shown(&mut socket, "A").await, "\x1b[A");
    socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    let pong = within(socket.next()).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"there?")));
    // Another viewer has a shell of its own; the first one goes, and gives its place back.
    let mut other = open(&bench, "r1", &[]).await.unwrap();
    shown(&mut other, "sh$ ").await;
    let sessions = || bench.engine.bulkheads().iter().find(|bulkhead| bulkhead.name() == "sessions").unwrap().used();
    assert_eq!(sessions(), 2);
    within(socket.close(None)).await.unwrap();
    assert!(matches!(within(socket.next()).await, Some(Ok(Message::Close(_)))));
    within(async {
        while sessions() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_is_opened_with_its_own_shell_or_a_plain_one_if_that_does_not_start() {
    let bench = bench(from_here).await;
    assert_eq!(shown(&mut open(&bench, "frr", &[]).await.unwrap(), "# ").await, "vtysh# ");
    let shown = shown(&mut open(&bench, "vyos", &[]).await.unwrap(), "sh$ ").await;
    assert!(shown.contains("/bin/vbash ended with code") && shown.ends_with("sh$ "), "{shown}");
}

#[tokio::test]
async fn what_cannot_be_opened_is_said_on_the_socket() {
    let bench = bench(from_here).await;
    let (said, code) = end(&mut open(&bench, "r9", &[]).await.unwrap()).await;
    assert_eq!(code, CloseCode::Error);
    assert!(said.contains("r9"), "{said}");
    bench.world.exit("lab", "r1", 1, "");
    let mut changes = bench.engine.inventory().changes();
    let inventory = bench.engine.inventory().clone();
    let ended = move |_: &u64| {
        let snapshot = inventory.snapshot();
        let lab = &snapshot.labs[&"lab".parse().unwrap()];
        lab.nodes[&"r1".parse::<NodeName>().unwrap()].state != netloom_plan::NodeState::Running
    };
    within(changes.wait_for(ended)).await.unwrap();
    let (said, code) = end(&mut open(&bench, "r1", &[]).await.unwrap()).await;
    // What it has shown before is shown all the same.
    assert!(code == CloseCode::Error && said.contains("booted") && said.contains("running node"), "{said}");
}

#[tokio::test]
async fn a_lab_of_the_command_line_is_none_for_consoles() {
    let bench = bench(from_here).await;
    bench.deploy(&Sketch::new("own").node("r1").lab()).await;
    let (said, code) = end(&mut open_in(&bench, "own", "r1", &[]).await.unwrap()).await;
    let (of_none, _) = end(&mut open_in(&bench, "none", "r1", &[]).await.unwrap()).await;
    assert_eq!((said, code), (of_none.replace("none", "own"), CloseCode::Error));
    let secret = [("authorization", "Bearer secret")];
    let (said, _) = end(&mut open_in(&bench, "own", "r1", &secret).await.unwrap()).await;
    assert!(said.contains("no lab `own`"), "{said}");
}

#[tokio::test]
async fn one_too_many_is_told_to_come_again() {
    let bench = bench(from_here).await;
    let (lab, node) = ("lab".parse().unwrap(), "r1".parse().unwrap());
    let mut all = Vec::new();
    while let Ok(one) = bench.engine.logs(&lab, &node, Follow::Yes).await {
        all.push(one);
    }
    let (said, code) = end(&mut open(&bench, "r1", &[]).await.unwrap()).await;
    assert_eq!(code, CloseCode::Again);
    assert!(said.contains("256"), "{said}");
    all.pop();
    shown(&mut open(&bench, "r1", &[]).await.unwrap(), "sh$ ").await;
}

#[tokio::test]
async fn only_the_controller_needs_no_key() {
    let elsewhere = |config: &mut ServeConfig| {
        from_here(config);
        config.consoles_from = vec!["192.0.2.1".parse().unwrap()];
    };
    let bench = bench(elsewhere).await;
    let refused = |opened: Result<Socket, Error>| match opened {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(open(&bench, "r1", &[]).await), 403);
    shown(&mut open(&bench, "r1", &[("authorization", "Bearer secret")]).await.unwrap(), "sh$ ").await;
    // Our own API opens nodes by another route.
    let bearer = format!("Bearer {}", bench.token());
    let own = [("authorization", bearer.as_str()), ("host", "localhost")];
    assert_eq!(refused(open(&bench, "r1", &own).await), 404);
}

#[tokio::test]
async fn an_agent_that_stops_says_so() {
    let bench = bench(|config| config.console_allow = "*".parse().unwrap()).await;
    let mut socket = open(&bench, "r1", &[]).await.unwrap();
    shown(&mut socket, "sh$ ").await;
    bench.shutdown.cancel();
    let (said, code) = end(&mut socket).await;
    assert_eq!((said.as_str(), code), ("the agent is stopping", CloseCode::Away));
}
