//! `netloom inspect --watch`: what flows, drawn anew with every look of the agent.
//!
//! The agent looks at counters for as long as this command is there. On a terminal the picture is drawn in place, as
//! much of it as the window shows; elsewhere one picture follows the other, with `--json` one line each. While the one
//! before is not out no other is taken: a slow reader misses some, and a signal is heard all the same.

use std::io::{self, IsTerminal, stdout};
use std::time::Duration;

use bytes::Bytes;
use netloom_engine::Rates;
use netloom_model::LabName;
use tokio::signal::unix::{SignalKind, signal};

use super::exec::Deadly;
use crate::client::{Client, Event, segment};
use crate::failure::{Exit, Failure, Result, plain};
use crate::streams::{Piece, Printer, read_stdin};
use crate::{render, term};

/// How the picture is shown.
enum Display {
    Lines,
    Pictures,
    Screen(term::Screen),
}

/// How long the last picture may take to be out before the terminal is given back.
const PATIENCE: Duration = Duration::from_millis(200);

/// Watches one lab, or all, until it is gone or a signal comes.
pub(crate) async fn run(client: &Client, lab: Option<&LabName>, every: Duration, json: bool) -> Result {
    let mut deadly = Deadly::watch()?;
    let watch = |kind| signal(kind).map_err(|error| Failure::failed(plain(&error)));
    let mut resized = watch(SignalKind::window_change())?;
    let mut suspended = watch(SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw()))?;
    let every = humantime::format_duration(every).to_string().replace(' ', "%20");
    let mut events = match lab {
        Some(lab) => client.events(&format!("/labs/{}/rates?every={every}", segment(lab))).await?,
        None => client.events(&format!("/rates?every={every}")).await?,
    };
    let mut printer = Printer::start()?;
    let pieces = printer.pieces.clone();
    let mut display = match (json, stdout().is_terminal()) {
        (true, _) => Display::Lines,
        (false, true) => term::Screen::enter()?.map_or(Display::Pictures, Display::Screen),
        (false, false) => Display::Pictures,
    };
    // The shell must not get what is typed for the picture.
    let mut typed = matches!(display, Display::Screen(_)).then(read_stdin);
    let mut picture = String::new();
    let mut waiting = display.begin();
    loop {
        tokio::select! {
            event = events.next(), if waiting.is_none() => match next(event?, lab) {
                Ok(data) if matches!(display, Display::Lines) => waiting = data.map(|data| data + "\n"),
                Ok(None) => {}
                Ok(Some(data)) => {
                    picture = draw(&data)?;
                    waiting = Some(display.frame(&picture));
                }
                Err(end) => {
                    tokio::select! {
                        _ = deadly.next() => {}
                        written = display.settle(&mut printer) => written?,
                    }
                    return Err(end);
                }
            },
            room = pieces.reserve(), if waiting.is_some() => {
                let Ok(room) = room else { return Err(unwritten(&printer.failure().await)) };
                room.send(Piece::Stdout(Bytes::from(waiting.take().unwrap_or_default())));
            }
            () = pieces.closed() => return Err(unwritten(&printer.failure().await)),
            keys = async { typed.as_mut()?.recv().await }, if typed.is_some() => match keys {
                Some(keys) if keys.contains(&b'q') => {
                    let _ = display.settle(&mut printer).await;
                    return Ok(());
                }
                Some(_) => {}
                None => typed = None,
            },
            _ = resized.recv() => {
                if matches!(display, Display::Screen(_)) {
                    let begin = waiting.take().filter(|waiting| waiting.starts_with(term::ENTER));
                    waiting = Some(begin.and_then(|_| display.begin()).unwrap_or_default() + &display.frame(&picture));
                }
            }
            _ = suspended.recv() => {
                if let Display::Screen(screen) = &mut display {
                    let _ = tokio::time::timeout(PATIENCE, printer.flush()).await;
                    screen.suspend()?;
                    waiting = Some(display.begin().unwrap_or_default() + &display.frame(&picture));
                } else {
                    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
                }
            }
            number = deadly.next() => {
                if matches!(display, Display::Screen(_)) {
                    let _ = display.settle(&mut printer).await;
                }
                // ctrl-C is how one stops watching.
                let asked = number == SignalKind::interrupt().as_raw_value();
                return if asked { Ok(()) } else { Err(Failure::said(Exit::Ended)) };
            }
        }
    }
}

/// The rates of an event, if it has some; an error if it is the last.
fn next(event: Option<Event>, lab: Option<&LabName>) -> Result<Option<String>> {
    let Some(event) = event else {
        return Err(Failure::no_agent("the agent has ended; labs run on, and the next agent shows them"));
    };
    match event.name.as_str() {
        "gone" => {
            let lab = lab.map(LabName::as_str).unwrap_or_default();
            Err(Failure::failed(format_args!("lab `{lab}` is gone")))
        }
        "rates" => Ok(Some(event.data)),
        // An agent of a later version may tell more.
        _ => Ok(None),
    }
}

fn draw(data: &str) -> Result<String> {
    let misread = |error: serde_json::Error| {
        Failure::failed(format_args!("the agent's rates are not understood ({error}); it may be of another version"))
    };
    if data.starts_with('[') {
        let all: Vec<Rates> = serde_json::from_str(data).map_err(misread)?;
        return Ok(render::all_rates(&all));
    }
    Ok(render::rates(&serde_json::from_str(data).map_err(misread)?))
}

impl Display {
    /// What is written before all pictures.
    fn begin(&self) -> Option<String> {
        matches!(self, Self::Screen(_)).then(|| term::ENTER.to_owned())
    }

    fn frame(&self, picture: &str) -> String {
        match self {
            Self::Screen(screen) => screen.frame(picture),
            Self::Lines | Self::Pictures => format!("{picture}\n"),
        }
    }

    /// Until what was shown is out; a terminal is not waited for any longer than a person would.
    async fn settle(&self, printer: &mut Printer) -> Result {
        if matches!(self, Self::Screen(_)) {
            let _ = tokio::time::timeout(PATIENCE, printer.flush()).await;
            return Ok(());
        }
        printer.flush().await.map_err(|error| unwritten(&error))
    }
}

fn unwritten(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::said(Exit::Failed),
        _ => Failure::failed(format_args!("cannot write the output: {}", plain(error))),
    }
}
