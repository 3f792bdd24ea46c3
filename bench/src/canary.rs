//! A canary on the agent's main runtime: each second it reads the status of a lab and submits an operation.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use crate::http::Socket;
use crate::stats::{Sample, seconds};
use crate::table::Line;

/// The lab that it asks about and edits.
pub(crate) const LAB: &str = "canary";
const PERIOD: Duration = Duration::from_secs(1);

/// One that sings.
pub(crate) struct Canary {
    stop: SyncSender<()>,
    thread: JoinHandle<Song>,
}

/// What it has measured.
#[derive(Default)]
pub(crate) struct Song {
    status: Sample,
    submit: Sample,
    failed: Vec<String>,
}

impl Canary {
    /// Starts one on an agent that has its lab.
    pub(crate) fn start(socket: Socket) -> Result<Self> {
        let (stop, stopped) = sync_channel::<()>(1);
        let sing = move || {
            let mut song = Song::default();
            let mut next = Instant::now();
            let mut count = 0_u32;
            loop {
                next += PERIOD;
                match stopped.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return song,
                }
                count += 1;
                let patch = json!({ "nodes": { "n0": { "labels": { "count": count.to_string() } } } });
                let mut time = |sample: fn(&mut Song) -> &mut Sample, ask: &dyn Fn() -> Result<()>| {
                    let started = Instant::now();
                    match ask() {
                        Ok(()) => sample(&mut song).time(started.elapsed()),
                        Err(error) => song.failed.push(format!("{error:#}")),
                    }
                };
                time(|song| &mut song.status, &|| socket.get(&format!("/labs/{LAB}")).map(drop));
                time(|song| &mut song.submit, &|| socket.patch(LAB, &patch).map(drop));
            }
        };
        let thread = thread::Builder::new().name("canary".into()).spawn(sing)?;
        Ok(Self { stop, thread })
    }

    pub(crate) fn stop(self) -> Result<Song> {
        let _ = self.stop.send(());
        self.thread.join().ok().context("the canary panicked")
    }
}

impl Song {
    /// Why its requests failed that did.
    pub(crate) fn failures(&self) -> &[String] {
        &self.failed
    }

    /// Its lines; whether nothing failed.
    pub(crate) fn print(&self) -> bool {
        for (what, sample) in [("status of a lab", &self.status), ("an operation is accepted", &self.submit)] {
            let line = Line {
                what: format!("main runtime under all of this: {what}"),
                figure: seconds(sample.median()),
                more: format!("p99 {}, most {}", seconds(sample.at(0.99)), seconds(sample.most())),
                ..Line::default()
            };
            line.print();
        }
        let none = ("0".to_owned(), self.failed.is_empty());
        let line = Line {
            what: "main runtime under all of this: failed".to_owned(),
            figure: self.failed.len().to_string(),
            more: self.failed.first().cloned().unwrap_or_default(),
            bar: Some(none),
            ..Line::default()
        };
        line.print()
    }
}
