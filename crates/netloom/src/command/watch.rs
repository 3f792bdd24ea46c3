//! `netloom inspect --watch`: what flows, drawn anew with every look of the agent.
//!
//! The agent looks at counters for as long as this command is there. On a terminal the picture is drawn in place, as
//! much of it as the window shows; elsewhere one picture follows the other, with `--json` one line each.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use netloom_engine::Rates;
use netloom_model::LabName;
use tokio::signal::unix::{SignalKind, signal};

use super::exec::Deadly;
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure, Result, plain};
use crate::{output, render, term};

/// How the picture is shown.
enum Display {
    Lines,
    Pictures,
    Screen(term::Screen),
}

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
    let mut display = match (json, stdout().is_terminal()) {
        (true, _) => Display::Lines,
        (false, true) => Display::Screen(term::Screen::enter()?),
        (false, false) => Display::Pictures,
    };
    let mut picture = String::new();
    loop {
        tokio::select! {
            event = events.next() => {
                let Some(event) = event? else {
                    return Err(Failure::no_agent("the agent has ended; labs run on, and the next agent shows them"));
                };
                match event.name.as_str() {
                    "gone" => {
                        let lab = lab.map(LabName::as_str).unwrap_or_default();
                        return Err(Failure::failed(format_args!("lab `{lab}` is gone")));
                    }
                    "rates" if matches!(display, Display::Lines) => output::result(&(event.data + "\n"))?,
                    "rates" => {
                        picture = draw(&event.data)?;
                        show(&mut display, &picture)?;
                    }
                    // An agent of a later version may tell more.
                    _ => {}
                }
            }
            _ = resized.recv() => {
                if matches!(display, Display::Screen(_)) {
                    show(&mut display, &picture)?;
                }
            }
            _ = suspended.recv() => {
                if let Display::Screen(screen) = &mut display {
                    screen.suspend()?;
                    show(&mut display, &picture)?;
                } else {
                    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
                }
            }
            number = deadly.next() => {
                // ctrl-C is how one stops watching.
                let asked = number == SignalKind::interrupt().as_raw_value();
                return if asked { Ok(()) } else { Err(Failure::said(Exit::Ended)) };
            }
        }
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

fn show(display: &mut Display, picture: &str) -> Result {
    match display {
        Display::Screen(screen) => screen.show(picture),
        Display::Lines | Display::Pictures => output::result(&format!("{picture}\n")),
    }
}
