//! Events as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event as Sse, KeepAlive};
use futures::Stream;
use futures::stream::unfold;
use netloom_engine::{Event, What};
use netloom_model::LabName;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::{Answer, Shared, parse};
use crate::problem::{Params, switch};

/// How often a comment says that the stream still lives.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One server-sent event; the data are one line of JSON.
pub(super) fn sse<T: Serialize>(name: &str, data: &T) -> Sse {
    // Views always serialise, and JSON on one line has no carriage return.
    let data = serde_json::to_string(data).unwrap_or_default();
    Sse::default().event(name).data(data)
}

/// An event under its name and number.
pub(super) fn event(event: &Event) -> Sse {
    let name = match &event.what {
        What::Operation { .. } => "operation",
        What::Step { .. } => "step",
        What::Node { .. } => "node",
        What::Capability { .. } => "capability",
        What::Notice { .. } => "notice",
    };
    sse(name, event).id(event.seq.to_string())
}

/// The query of `GET /events`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    after: Option<u64>,
    follow: Option<String>,
    lab: Option<String>,
}

/// `GET /events`
pub(super) async fn events(
    State(app): State<Shared>,
    Params(query): Params<EventsQuery>,
    headers: HeaderMap,
) -> Answer {
    let lab = query.lab.as_deref().map(parse).transpose()?;
    let follow = switch(query.follow.as_deref(), "follow")?.unwrap_or(true);
    // A browser that lost the stream says in this header what it saw last.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = query.after.or(last).unwrap_or(if follow { u64::MAX } else { 0 });
    let (past, live) = app.engine.events().follow(after);
    let live = follow.then_some(live);
    let stream = Follower { past: past.into(), live, lab, stop: app.stop.clone() }.stream();
    let response = axum::response::Sse::new(stream);
    Ok(response.keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

struct Follower {
    past: VecDeque<Arc<Event>>,
    live: Option<broadcast::Receiver<Arc<Event>>>,
    lab: Option<LabName>,
    stop: CancellationToken,
}

impl Follower {
    fn wants(&self, event: &Event) -> bool {
        let Some(lab) = &self.lab else { return true };
        match &event.what {
            What::Operation { lab: of, .. } | What::Step { lab: of, .. } | What::Notice { lab: of, .. } => {
                of.as_ref() == Some(lab)
            }
            What::Node { lab: of, .. } => of == lab,
            What::Capability { .. } => false,
        }
    }

    fn stream(self) -> impl Stream<Item = Result<Sse, Infallible>> {
        unfold(self, async |mut this| {
            loop {
                let received = if let Some(event) = this.past.pop_front() {
                    Ok(event)
                } else {
                    let live = this.live.as_mut()?;
                    tokio::select! {
                        received = live.recv() => received,
                        () = this.stop.cancelled() => return None,
                    }
                };
                match received {
                    Ok(one) if this.wants(&one) => return Some((Ok(event(&one)), this)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(missed)) => {
                        let lagged = sse("lagged", &serde_json::json!({ "missed": missed }));
                        return Some((Ok(lagged), this));
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        })
    }
}
