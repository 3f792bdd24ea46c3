//! One command that has our terminal, or our standard streams.
//!
//! ```text
//!   thread `stdin` ──[8 pieces]──▶ feed ──WebSocket──▶ agent ──▶ command
//!   thread `output` ◀──[8 pieces]── print ◀───────────┘
//! ```
//!
//! Whatever waits slows the command and loses nothing (see [`crate::streams`]).
//!
//! The terminal is restored before anything is said and on every way out: the end, an error, a signal, a panic.

use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::time::Duration;

use netloom_engine::{ExecInput, ExecOutput, ExecRequest, Terminal};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::LabNode;
use crate::client::{Client, SessionInput, SessionOutput};
use crate::failure::{Exit, Failure, Result, plain};
use crate::streams::{Piece, Printer, read_stdin};
use crate::term;

/// How long a command that a signal ends is waited for. The agent kills it after two seconds.
const PATIENCE: Duration = Duration::from_secs(4);
/// SIGPIPE, as a shell says that a program died of it: nobody reads our output any more.
const NOBODY_READS: u8 = 128 + 13;

/// Whether standard input is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdin {
    /// The command finds its input ended.
    Closed,
    /// It is.
    Passed,
}

/// Runs a command to its end; its exit code, or 128 + n when signal n ended us.
pub(super) async fn attached(client: &Client, at: &LabNode, request: &ExecRequest, stdin: Stdin) -> Result<i32> {
    let mut deadly = Deadly::watch()?;
    let mut sizes = Sizes::watch(request.terminal)?;
    let session = client.exec(&at.lab, &at.node, request).await?;
    let (mut input, mut output) = (session.input, session.output);
    let own = request.terminal != Terminal::None && stdin == Stdin::Passed && io::stdin().is_terminal();
    let raw = if own { Some(term::Raw::enter()?) } else { None };
    let mut printer = Printer::start()?;
    let ended = tokio::select! {
        ended = print(&mut output, &mut printer) => ended,
        failure = feed(&mut input, stdin, &mut sizes, raw.as_ref()) => Err(failure),
        number = deadly.next() => {
            // Orderly if that can be, so that its last words are seen; a second signal ends the waiting.
            let ended = async {
                input.send(ExecInput::Terminate).await?;
                print(&mut output, &mut printer).await
            };
            tokio::select! {
                _ = tokio::time::timeout(PATIENCE, ended) => {}
                _ = deadly.next() => {}
            }
            Ok(128 + number)
        }
    };
    drop(raw);
    ended
}

/// Passes on what the command writes; its exit code when all of it is out.
async fn print(session: &mut SessionOutput, printer: &mut Printer) -> Result<i32> {
    loop {
        let next = tokio::select! {
            next = session.next() => next?,
            () = printer.pieces.closed() => return Err(unwritten(&printer.failure().await)),
        };
        let piece = match next {
            ExecOutput::Stdout(bytes) => Piece::Stdout(bytes),
            ExecOutput::Stderr(bytes) => Piece::Stderr(bytes),
            ExecOutput::Exited(code) => {
                return printer.flush().await.map(|()| code).map_err(|error| unwritten(&error));
            }
        };
        // That it failed is told by the next turn.
        let _ = printer.pieces.send(piece).await;
    }
}

fn unwritten(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::said(Exit::Command(NOBODY_READS)),
        _ => Failure::failed(format_args!("cannot write the output: {}; the command was ended", plain(error))),
    }
}

/// Passes standard input and sizes of the terminal on, for ever. That it cannot be done any more is no news: the
/// command has ended, or the session was refused, and the other direction says which.
async fn feed(session: &mut SessionInput, stdin: Stdin, sizes: &mut Sizes, raw: Option<&term::Raw>) -> Failure {
    let Err(failure) = try_feed(session, stdin, sizes, raw).await;
    if failure.exit == Exit::NoAgent { std::future::pending().await } else { failure }
}

async fn try_feed(
    session: &mut SessionInput,
    stdin: Stdin,
    sizes: &mut Sizes,
    raw: Option<&term::Raw>,
) -> Result<Infallible> {
    let mut pieces = match stdin {
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
            (columns, rows) = sizes.next(raw) => session.send(ExecInput::Resize { columns, rows }).await?,
        }
    }
}

fn on(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| Failure::failed(format_args!("cannot watch for signals: {}", plain(&error))))
}

/// The signals that end us. With our terminal raw, ctrl-C and its like go to the command and are none.
pub(in crate::command) struct Deadly {
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Deadly {
    /// Hears them from now on.
    pub(in crate::command) fn watch() -> Result<Self> {
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            quit: on(SignalKind::quit())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
        })
    }

    /// The number of the next one. Cancel-safe.
    pub(in crate::command) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = self.quit.recv() => SignalKind::quit().as_raw_value(),
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.hangup.recv() => SignalKind::hangup().as_raw_value(),
        }
    }
}

/// The sizes that the terminal takes on.
struct Sizes {
    /// The one that the command knows; `None`: it has no terminal.
    known: Option<(u16, u16)>,
    changed: Signal,
    /// We were stopped and go on; whoever had the terminal meanwhile has left it in another mode.
    continued: Signal,
}

impl Sizes {
    fn watch(terminal: Terminal) -> Result<Self> {
        let known = match terminal {
            Terminal::None => None,
            Terminal::Size { columns, rows } => Some((columns, rows)),
        };
        let continued = SignalKind::from_raw(rustix::process::Signal::CONT.as_raw());
        Ok(Self { known, changed: on(SignalKind::window_change())?, continued: on(continued)? })
    }

    /// The next size that differs from the one before. Cancel-safe.
    async fn next(&mut self, raw: Option<&term::Raw>) -> (u16, u16) {
        let Some(known) = &mut self.known else { return std::future::pending().await };
        loop {
            // Looked at before waiting too: it may have changed while nobody listened.
            let now = term::size();
            if std::mem::replace(known, now) != now {
                return now;
            }
            tokio::select! {
                _ = self.changed.recv() => {}
                _ = self.continued.recv() => raw.into_iter().for_each(term::Raw::again),
            }
        }
    }
}
