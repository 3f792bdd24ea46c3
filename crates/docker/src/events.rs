//! What happens at the daemon, as it happens.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Deserialize;

use crate::docker::{Ask, Docker};
use crate::error::{Error, Result};
use crate::filters::Filters;
use crate::lenient::null;
use crate::lines::Lines;
use crate::reply::Reply;
use crate::target::Target;
use crate::time::{now, seconds};

/// Something that has happened.
///
/// Source: the answer of `GET /events`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Event {
    /// `container`, `image`, `network`, `volume`, `daemon`, …
    #[serde(rename = "Type")]
    pub kind: String,
    /// `create`, `start`, `die`, `destroy`, `health_status: healthy`, `exec_start: …`, …
    #[serde(rename = "Action")]
    pub action: String,
    /// What it happened to.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// When, in nanoseconds since 1970.
    #[serde(rename = "timeNano")]
    pub time_nano: i64,
}

/// What something has happened to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Actor {
    /// Its id; for some images a reference.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its labels, and by action also `name`, `image`, `exitCode`, `signal`, …
    #[serde(rename = "Attributes", deserialize_with = "null")]
    pub attributes: BTreeMap<String, String>,
}

/// What happens at the daemon, as it happens.
#[derive(Debug)]
pub struct Events {
    lines: Lines<Reply>,
}

impl Events {
    /// The next event; `None` when the daemon has ended the stream, and after an error. Cancel-safe.
    ///
    /// A line longer than 1 MiB is an error. A daemon at which nothing happens and one that is frozen look the same
    /// here: see [`Self::heard`].
    pub async fn next(&mut self) -> Option<Result<Event>> {
        let next = self.lines.next().await?;
        Some(next.map_err(|kind| Error { operation: "read events", object: String::new(), kind }))
    }

    /// When the daemon last sent anything, or the stream began. After a long silence [`Docker::ping`] tells whether it
    /// lives.
    pub fn heard(&self) -> Instant {
        self.lines.heard()
    }
}

impl Docker {
    /// Listens to what happens, from now on or from a moment (in nanoseconds since 1970, as [`Event::time_nano`]) of
    /// which the daemon remembers up to 256 events.
    ///
    /// What happens after the call is in the stream, also before it returns. The deadline covers only the beginning.
    /// Source: `GET /events`.
    pub async fn events(&self, filter: &Filters, since: Option<i64>, deadline: Instant) -> Result<Events> {
        // The daemon answers before it listens; with a moment to begin at it looks back for what happened in between.
        let since = seconds(since.unwrap_or_else(now));
        self.call("listen to events", "", deadline, async {
            let target = Target::at(["events"]).query("since", &since);
            let target = target.query_some("filters", filter.value().as_deref());
            Ok(Events { lines: Lines::new(self.ask(Ask::get(target)).await?) })
        })
        .await
    }
}
