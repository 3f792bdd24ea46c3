//! Consoles as controllers and people open them.

use futures::StreamExt as _;
use netloom_kernel::Netns;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::sandbox::{PATIENCE, Sandbox};
use crate::terminal::Terminal;

const LAB: &str = "name: x\ntopology:\n  nodes:\n    \
    r: { kind: linux, runtime: namespace, cmd: \"sh -c 'echo booting; echo up; exec sleep 4721'\" }\n    \
    f: { kind: linux, runtime: namespace, labels: { archetype.node_kind: vyos } }\n";

fn host() -> Option<Sandbox> {
    let mut host = Sandbox::new()?;
    host.environment.push(("NETLOOM_SECRET", "correct horse".into()));
    host.netloom(&["agent", "--background"]).code(0);
    let file = host.topology("x", LAB);
    host.netloom(&["deploy", "-t", &file]).code(0);
    Some(host)
}

/// A console, and all that it has shown and nobody has waited for.
pub(crate) struct Console {
    socket: WebSocketStream<TcpStream>,
    shown: String,
}

impl Console {
    /// Opens that of a node, which is given as `lab/node`.
    pub(crate) async fn open(host: &Sandbox, node: &str, key: Option<&str>) -> Result<Self, Error> {
        Self::open_from(&host.netns(), "127.0.0.1:8001", node, key).await
    }

    /// Opens it from another network, at this address of the agent.
    pub(crate) async fn open_from(from: &Netns, agent: &str, node: &str, key: Option<&str>) -> Result<Self, Error> {
        let stream = from.run(|| std::net::TcpStream::connect(agent)).unwrap().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut request = format!("ws://agent.example:8001/console/{node}").into_client_request().unwrap();
        if let Some(key) = key {
            request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
        }
        let opened = client_async(request, TcpStream::from_std(stream).unwrap());
        let (socket, _) = timeout(PATIENCE, opened).await.unwrap()?;
        Ok(Self { socket, shown: String::new() })
    }

    /// The next of what is shown, or the code of the close.
    async fn next(&mut self) -> Option<CloseCode> {
        match timeout(PATIENCE, self.socket.next()).await.unwrap().unwrap().unwrap() {
            Message::Binary(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
            Message::Text(text) => self.shown.push_str(&text),
            Message::Close(frame) => return Some(frame.unwrap().code),
            _ => {}
        }
        None
    }
}

/// Runs what waits for sockets.
pub(crate) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn a_lab_of_the_command_line_has_no_console_for_controllers() {
    let Some(host) = host() else { return };
    run(async {
        assert!(
            matches!(Console::open(&host, "x/r", None).await, Err(Error::Http(refused)) if refused.status() == 403)
        );
        let mut console = Console::open(&host, "x/r", Some("correct horse")).await.unwrap();
        let code = loop {
            if let Some(code) = console.next().await {
                break code;
            }
        };
        assert_eq!(code, CloseCode::Error);
        assert!(console.shown.contains("there is no lab `x`"), "{}", console.shown);
    });
}

#[test]
fn a_person_opens_the_same_console_from_the_command_line() {
    let Some(host) = host() else { return };
    let mut terminal = Terminal::with(&host, &["console", "x/r"]);
    terminal.shows("booting\r\nup\r\n");
    terminal.types("stty size; echo $(hostname) $0; exit 7\r");
    terminal.shows("30 100\r\nr /bin/sh\r\n");
    assert_eq!(terminal.ends().0, 7);
    let piped = host.sh(&format!("echo hostname | {} console x/f", crate::sandbox::NETLOOM));
    assert_eq!(piped.code(0).out, "f\n");
    host.netloom(&["console", "x/nobody"]).code(125).says("there is no node `nobody`");
}
