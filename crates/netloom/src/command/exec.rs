//! `netloom exec` and `netloom shell`: commands in nodes.
//!
//! ```text
//!   thread `stdin` ──[8 pieces]──▶ session ──WebSocket──▶ agent ──▶ command
//!   standard output and error ◀── session ◀─────────────┘
//! ```
//!
//! A session that ends early (ctrl-C without a terminal, a lost connection) ends its command.

use std::io::{IsTerminal, Read, Write, stderr, stdin, stdout};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use netloom_engine::{ExecInput, ExecOutput, ExecRequest, LabView, Layout, Terminal};
use netloom_model::{LabName, NodeKind, NodeName};
use netloom_plan::NodeState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::lab_name;
use crate::cli::{Exec, LabNode};
use crate::client::{Client, SessionInput, SessionOutput, segment};
use crate::failure::{Exit, Failure, Result};
use crate::{output, term};

/// How many nodes run a command at once.
const AT_ONCE: usize = 64;

/// Prefers bash, as the node has it.
const SHELL: &str = "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi";

/// What a command gets of the caller's terminal and standard input.
#[derive(Debug, Clone, Copy)]
struct Attached {
    stdin: Stdin,
    terminal: Terminal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stdin {
    Closed,
    Passed,
}

/// Runs a command in one node, or in all that run.
pub(crate) async fn run(options: Exec, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let lab = lab_name(options.lab.name, options.lab.topology.as_deref(), &client).await?;
    let Some(node) = options.node else { return everywhere(&client, &lab, options.command).await };
    let attached = Attached {
        stdin: if options.interactive { Stdin::Passed } else { Stdin::Closed },
        terminal: if options.tty { window() } else { Terminal::None },
    };
    let code = one(&client, &lab, &node, options.command, attached).await?;
    end(code)
}

/// Opens a shell.
pub(crate) async fn shell(at: &LabNode, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let words = ["/bin/sh", "-c", SHELL].map(str::to_owned).to_vec();
    let terminal = if term::is_interactive() { window() } else { Terminal::None };
    let code = one(&client, &at.lab, &at.node, words, Attached { stdin: Stdin::Passed, terminal }).await?;
    end(code)
}

fn end(code: i32) -> Result {
    match code {
        0 => Ok(()),
        code => Err(Failure::said(Exit::Command(u8::try_from(code).unwrap_or(u8::MAX)))),
    }
}

fn window() -> Terminal {
    let (columns, rows) = term::size();
    Terminal::Size { columns, rows }
}

async fn one(client: &Client, lab: &LabName, node: &NodeName, argv: Vec<String>, attached: Attached) -> Result<i32> {
    let request = ExecRequest { argv, terminal: attached.terminal };
    let session = client.exec(lab, node, &request).await?;
    let has_terminal = attached.terminal != Terminal::None;
    // Restored on every way out of here, also by a signal, which is why those are awaited below.
    let raw = (has_terminal && attached.stdin == Stdin::Passed && stdin().is_terminal()).then(term::Raw::enter);
    let raw = raw.transpose()?;
    let (mut input, mut output) = (session.input, session.output);
    let ended = tokio::select! {
        ended = print(&mut output) => ended,
        failure = feed(&mut input, attached) => Err(failure),
        failure = signalled(raw.is_some()) => Err(failure),
    };
    drop(raw);
    ended
}

/// Writes what the command writes; its exit code at the end.
async fn print(session: &mut SessionOutput) -> Result<i32> {
    loop {
        match session.next().await? {
            ExecOutput::Stdout(bytes) => output::bytes(&mut stdout().lock(), &bytes)?,
            ExecOutput::Stderr(bytes) => output::bytes(&mut stderr().lock(), &bytes)?,
            ExecOutput::Exited(code) => return Ok(code),
        }
    }
}

/// Passes standard input and sizes of the terminal on, for ever. That it cannot be done any more is no news: the
/// command has ended, or the session was refused, and the other direction says which.
async fn feed(session: &mut SessionInput, attached: Attached) -> Failure {
    let Err(failure) = try_feed(session, attached).await;
    if failure.exit == Exit::NoAgent { std::future::pending().await } else { failure }
}

async fn try_feed(session: &mut SessionInput, attached: Attached) -> Result<std::convert::Infallible> {
    let failed = |error| Failure::failed(format_args!("cannot watch the terminal's size: {error}"));
    let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
    let mut pieces = match attached.stdin {
        Stdin::Passed => Some(read_stdin()),
        Stdin::Closed => {
            session.send(ExecInput::CloseStdin).await?;
            None
        }
    };
    loop {
        let next = async {
            match &mut pieces {
                Some(pieces) => pieces.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            piece = next => {
                if piece.is_none() {
                    pieces = None;
                }
                session.send(piece.map_or(ExecInput::CloseStdin, ExecInput::Stdin)).await?;
            }
            _ = resized.recv(), if attached.terminal != Terminal::None => {
                let (columns, rows) = term::size();
                session.send(ExecInput::Resize { columns, rows }).await?;
            }
        }
    }
}

/// Standard input, piece by piece, from a thread that may block in `read`; it ends with the process.
fn read_stdin() -> mpsc::Receiver<Bytes> {
    let (sender, pieces) = mpsc::channel(8);
    let read = move || {
        let mut buffer = vec![0; 16 * 1024];
        let mut input = stdin().lock();
        while let Ok(n @ 1..) = input.read(&mut buffer) {
            if sender.blocking_send(Bytes::copy_from_slice(&buffer[..n])).is_err() {
                return;
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("stdin".into()).spawn(read) {
        output::say(&format!("standard input is not passed on: {error}"));
    }
    pieces
}

/// A signal that ends this process, while the terminal has to be restored first.
async fn signalled(raw: bool) -> Failure {
    if !raw {
        return std::future::pending().await;
    }
    let on = |kind| signal(kind).map_err(|error| Failure::failed(format_args!("cannot watch for signals: {error}")));
    match (on(SignalKind::terminate()), on(SignalKind::hangup())) {
        (Ok(mut terminate), Ok(mut hangup)) => tokio::select! {
            _ = terminate.recv() => Failure::said(Exit::Command(128 + 15)),
            _ = hangup.recv() => Failure::said(Exit::Command(128 + 1)),
        },
        (Err(failure), _) | (_, Err(failure)) => failure,
    }
}

/// Runs a command in all nodes that run; each line of output begins with its node. The exit code is that of the
/// first node, by name, whose command failed.
async fn everywhere(client: &Client, lab: &LabName, argv: Vec<String>) -> Result {
    let view: LabView = client.get(&format!("/labs/{}", segment(lab))).await?;
    let runs = |kind: NodeKind, state: &NodeState| kind == NodeKind::Linux && *state == NodeState::Running;
    let nodes: Vec<NodeName> =
        view.nodes.into_iter().filter(|node| runs(node.kind, &node.state)).map(|node| node.name).collect();
    if nodes.is_empty() {
        return Err(Failure::failed(format_args!("no node of lab {lab} is running")));
    }
    let width = nodes.iter().map(|node| node.as_str().len()).max().unwrap_or(0);
    let next = AtomicUsize::new(0);
    let worker = || async {
        let mut codes = Vec::new();
        while let Some(node) = nodes.get(next.fetch_add(1, Ordering::Relaxed)) {
            let prefix = format!("{node:<width$}| ");
            let code = match prefixed(client, lab, node, &argv, &prefix).await {
                Ok(code) => code,
                Err(failure) => {
                    output::say(&format!("{prefix}{}", failure.text.unwrap_or_default()));
                    125
                }
            };
            codes.push((node, code));
        }
        codes
    };
    let mut workers: FuturesUnordered<_> = (0..AT_ONCE.min(nodes.len())).map(|_| worker()).collect();
    let mut codes = Vec::new();
    while let Some(some) = workers.next().await {
        codes.extend(some);
    }
    codes.sort();
    end(codes.into_iter().map(|(_, code)| code).find(|code| *code != 0).unwrap_or(0))
}

async fn prefixed(client: &Client, lab: &LabName, node: &NodeName, argv: &[String], prefix: &str) -> Result<i32> {
    let request = ExecRequest { argv: argv.to_vec(), terminal: Terminal::None };
    let mut session = client.exec(lab, node, &request).await?;
    // That this cannot be done any more is said better by what comes out.
    let _ = session.input.send(ExecInput::CloseStdin).await;
    let (mut out, mut err) = (Lines::new(prefix), Lines::new(prefix));
    loop {
        match session.output.next().await? {
            ExecOutput::Stdout(bytes) => out.push(&bytes, &mut stdout().lock())?,
            ExecOutput::Stderr(bytes) => err.push(&bytes, &mut stderr().lock())?,
            ExecOutput::Exited(code) => {
                out.end(&mut stdout().lock())?;
                err.end(&mut stderr().lock())?;
                return Ok(code);
            }
        }
    }
}

/// Whole lines with a prefix, out of pieces.
struct Lines<'a> {
    prefix: &'a str,
    open: Vec<u8>,
}

/// A line that is longer is cut into several.
const LONGEST: usize = 64 * 1024;

impl<'a> Lines<'a> {
    fn new(prefix: &'a str) -> Self {
        Self { prefix, open: Vec::new() }
    }

    fn push(&mut self, bytes: &[u8], to: &mut impl Write) -> Result {
        let mut ready = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.open.len() >= LONGEST {
                self.close(&mut ready);
            }
        }
        if ready.is_empty() { Ok(()) } else { output::bytes(to, &ready) }
    }

    fn end(&mut self, to: &mut impl Write) -> Result {
        let mut ready = Vec::new();
        if !self.open.is_empty() {
            self.close(&mut ready);
        }
        output::bytes(to, &ready)
    }

    fn close(&mut self, ready: &mut Vec<u8>) {
        ready.extend_from_slice(self.prefix.as_bytes());
        ready.append(&mut self.open);
        if !ready.ends_with(b"\n") {
            ready.push(b'\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_many_nodes_stay_whole_and_say_their_node() {
        let text = b"one\ntwo\r\n\nlast";
        for size in 1..=text.len() {
            let mut out = Vec::new();
            let mut lines = Lines::new("r1| ");
            for piece in text.chunks(size) {
                lines.push(piece, &mut out).unwrap();
            }
            lines.end(&mut out).unwrap();
            assert_eq!(out, b"r1| one\nr1| two\r\nr1| \nr1| last\n", "pieces of {size}");
        }
    }

    #[test]
    fn a_command_passes_its_code_on() {
        assert_eq!(end(0), Ok(()));
        assert_eq!(end(7).unwrap_err().exit.code(), 7);
        assert_eq!(end(-1).unwrap_err().exit.code(), 255);
    }
}
