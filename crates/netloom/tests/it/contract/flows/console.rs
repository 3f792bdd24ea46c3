//! Consoles: flow 5.6.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::contract::client::Client;
use crate::contract::double::Call;
use crate::contract::rig::{Rig, container};
use crate::contract::steps::{H1, LAB, Node};
use crate::sandbox::PATIENCE;

/// The controller closes where a message is larger.
const LARGEST: usize = 1 << 20;

/// A console, opened as the controller does it: without a word of who it is.
struct Console {
    runtime: Runtime,
    socket: WebSocketStream<TcpStream>,
    /// All that was said, but for what was waited for.
    said: Vec<u8>,
}

impl Console {
    fn open(agent: &Client, path: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stream = agent.stream().unwrap();
        stream.set_nonblocking(true).unwrap();
        let uri = format!("ws://{}{path}", agent.address());
        let opened = runtime.block_on(async {
            let stream = TcpStream::from_std(stream).unwrap();
            tokio::time::timeout(Duration::from_secs(5), client_async(uri, stream)).await
        });
        let (socket, _) = opened.expect("the handshake is taken at once").unwrap();
        Self { runtime, socket, said: Vec::new() }
    }

    fn send(&mut self, message: Message) {
        self.runtime.block_on(self.socket.send(message)).unwrap();
    }

    /// What comes next, but for pings and pongs.
    fn next(&mut self) -> Option<Message> {
        loop {
            let next = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.socket.next()).await });
            let said = || String::from_utf8_lossy(&self.said).into_owned();
            match next.unwrap_or_else(|_| panic!("nothing comes after {}", said())) {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Reads until this was said, and forgets it with all before it.
    fn hears(&mut self, text: &str) {
        loop {
            let end = text.as_bytes();
            if let Some(at) = self.said.windows(end.len()).position(|window| window == end) {
                self.said.drain(..at + end.len());
                return;
            }
            self.reads_on(text);
        }
    }

    /// Takes one more message.
    fn reads_on(&mut self, what_for: &str) {
        let bytes = match self.next() {
            Some(Message::Text(text)) => text.as_bytes().to_vec(),
            Some(Message::Binary(bytes)) => bytes.to_vec(),
            other => panic!("{other:?} in place of {what_for}, after {}", String::from_utf8_lossy(&self.said)),
        };
        assert!(bytes.len() <= LARGEST, "{} bytes at once", bytes.len());
        self.said.extend(&bytes);
    }
}

#[test]
fn a_console_takes_text_binary_and_sizes_and_gives_much_in_pieces() {
    let Some(rig) = Rig::new() else { return };
    rig.agent.deploys(LAB, &[H1], &[]);
    let h1 = container(LAB, "h1");
    rig.docker(&format!("exec {h1} sh -c 'echo booting >/proc/1/fd/1'"));
    rig.until("it is said", |_| rig.docker(&format!("logs {h1}")).contains("booting"));
    let mut console = Console::open(&rig.agent, &format!("/console/{LAB}/h1"));
    // First what the node has said before, apart from what it says now.
    console.hears("\u{1b}[90m");
    console.hears("booting\u{1b}[0m\r\n");
    console.send(Message::text("echo $TERM $(hostname)\r"));
    console.hears("xterm-256color h1");
    console.send(Message::text("echo wo\"\"rks as text\r"));
    console.hears("works as text");
    console.send(Message::binary(b"echo wo\"\"rks as bytes\r".to_vec()));
    console.hears("works as bytes");
    console.send(Message::text("echo size $(stty size)\r"));
    console.hears("size 24 80");
    console.send(Message::text(json!({ "type": "resize", "rows": 40, "cols": 100 }).to_string()));
    console.send(Message::text("echo size $(stty size)\r"));
    console.hears("size 40 100");
    // Other JSON is what somebody types.
    console.send(Message::text("echo '{\"type\":\"other\"}' | wc -c\r"));
    console.hears("17");
    console.send(Message::binary(b"sleep 1000\r".to_vec()));
    let runs = |command: &str| rig.agent.exec(LAB, "h1", "ps").1.contains(command);
    rig.until("it sleeps", |_| runs("sleep 1000"));
    console.send(Message::binary(vec![3]));
    console.send(Message::text("echo inter\"\"rupted\r"));
    console.hears("interrupted");
    console.send(Message::Ping(b"there?".to_vec().into()));

    // Two at once, and one that says more than the controller takes in one message.
    let mut second = Console::open(&rig.agent, &format!("/console/{LAB}/h1?provider_type=docker"));
    let much = "dd if=/dev/zero bs=1M count=4 2>/dev/null | tr '\\0' '\\170'; echo; echo th\"\"at is all\r";
    console.send(Message::text(much));
    second.send(Message::text("echo mean\"\"while\r"));
    second.hears("meanwhile");
    let end = b"that is all";
    let mut long = 0;
    loop {
        let at = console.said.windows(end.len()).position(|window| window == end);
        // The beginning of the end may have come.
        let before = at.unwrap_or(console.said.len().saturating_sub(end.len()));
        long += console.said.drain(..before).filter(|byte| *byte == b'x').count();
        if at.is_some() {
            break;
        }
        console.reads_on("the end of it");
    }
    assert_eq!(long, 4 << 20);

    // The browser goes, and what ran for it too; the shell of the other stays.
    console.send(Message::text("exec sleep 7654\r"));
    rig.until("it sleeps", |_| runs("sleep 7654"));
    console.send(Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })));
    while console.next().is_some_and(|message| !message.is_close()) {}
    rig.until("it has ended", |_| !runs("sleep 7654"));
    second.send(Message::text("echo still th\"\"ere\r"));
    second.hears("still there");

    // The end of the shell is a good one.
    second.send(Message::text("exit\r"));
    let close = loop {
        match second.next() {
            Some(Message::Close(close)) => break close,
            Some(_) => {}
            None => break None,
        }
    };
    assert_eq!(close.map(|close| close.code), Some(CloseCode::Normal));

    // A node that is not there is said in words.
    let mut nobody = Console::open(&rig.agent, &format!("/console/{LAB}/nobody"));
    let text = nobody.next();
    assert!(matches!(text, Some(Message::Text(_))), "{text:?}");
    let close = loop {
        match nobody.next() {
            Some(Message::Close(close)) => break close,
            Some(_) => {}
            None => break None,
        }
    };
    assert_eq!(close.map(|close| close.code), Some(CloseCode::Error));
    rig.agent.takes_down(LAB, &[]);
}

#[test]
fn the_console_of_a_device_that_boots_is_closed_and_has_a_plain_shell_only_afterwards() {
    let Some(rig) = Rig::new() else { return };
    let device = Node { name: "c1", kind: "ceos", device: "ceos", ..H1 };
    let boots = "until [ -e /tmp/booted ]; do sleep 0.1; done; echo System ready; exec sleep 1000";
    rig.plays(device, ("netloom.test/ceos:1", boots), &[("bin/FastCli", b"#!/bin/sh\nexit 3\n", 0o755)]);
    let open = || Console::open(&rig.agent, &format!("/console/{LAB}/c1"));
    let mut early = open();
    early.hears("FastCli ended with code 3; c1 may still boot");
    let close = loop {
        match early.next() {
            Some(Message::Close(close)) => break close,
            Some(_) => {}
            None => break None,
        }
    };
    assert_eq!(close.map(|close| close.code), Some(CloseCode::Error));
    let ready = || rig.agent.get(&format!("/labs/{LAB}/nodes/c1/ready?kind=ceos&provider_type=docker"));
    assert_eq!(ready()["is_ready"], false);
    rig.agent.exec(LAB, "c1", "touch /tmp/booted");
    rig.until("it is ready", |_| ready()["is_ready"] == true);
    let mut late = open();
    late.hears("FastCli ended with code 3; this is /bin/sh");
    late.send(Message::text("echo a sh\"\"ell\r"));
    late.hears("a shell");
    rig.agent.takes_down(LAB, &[]);
}

#[test]
fn a_console_that_nobody_reads_holds_up_nobody() {
    let Some(rig) = Rig::new() else { return };
    rig.agent.deploys(LAB, &[H1], &[]);
    let mut console = Console::open(&rig.agent, &format!("/console/{LAB}/h1"));
    console.send(Message::text("yes\r"));
    console.hears("y");
    assert_eq!(rig.agent.exec(LAB, "h1", "echo fine"), (0, "fine\n".to_owned()));
    let mark = rig.controller.mark();
    rig.controller.wait("it beats", mark, Call::is_heartbeat);
    rig.agent.takes_down(LAB, &[]);
    drop(console);
}
