//! Rates as server-sent events, for as long as somebody listens.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use axum::response::sse::{Event as Sse, KeepAlive};
use futures::stream::unfold;
use netloom_engine::{FASTEST, Rates, SLOWEST, Sampled};
use netloom_model::LabName;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::events::{KEEP_ALIVE, sse};
use super::{Answer, Shared, parse};
use crate::problem::{Params, bad_request};
use crate::serve::App;

/// How often it is looked unless the client says.
const USUAL: Duration = Duration::from_secs(1);

/// The query of both routes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RatesQuery {
    every: Option<String>,
}

/// `GET /labs/{lab}/rates`
pub(super) async fn of_lab(
    State(app): State<Shared>,
    Path(lab): Path<String>,
    Params(query): Params<RatesQuery>,
) -> Answer {
    let lab: LabName = parse(&lab)?;
    follow(&app, Some(lab), &query)
}

/// `GET /rates`
pub(super) async fn of_all(State(app): State<Shared>, Params(query): Params<RatesQuery>) -> Answer {
    follow(&app, None, &query)
}

fn follow(app: &App, lab: Option<LabName>, query: &RatesQuery) -> Answer {
    let every = match query.every.as_deref() {
        None => USUAL,
        Some(text) => humantime::parse_duration(text)
            .map_err(|error| bad_request(format!("`every={text}` is no time, such as `500ms` or `2s`: {error}")))?,
    };
    if !(FASTEST..=SLOWEST).contains(&every) {
        let (least, most) = (humantime::format_duration(FASTEST), humantime::format_duration(SLOWEST));
        return Err(bad_request(format!("`every` is from {least} to {most}")));
    }
    let (mut rates, place) = app.engine.rates(lab.clone(), every)?;
    if rates.borrow().is_some() {
        // Somebody watches already: what was seen last is new to this one.
        rates.mark_changed();
    }
    let watcher = Watcher { lab, rates, _place: place, stop: app.stop.clone() };
    let response = axum::response::Sse::new(unfold(Some(watcher), async |watcher| watcher?.next().await));
    Ok(response.keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

struct Watcher {
    lab: Option<LabName>,
    rates: watch::Receiver<Sampled>,
    _place: OwnedSemaphorePermit,
    stop: CancellationToken,
}

impl Watcher {
    /// The newest, whatever a slow client has missed. After the last one, why it was the last.
    async fn next(mut self) -> Option<(Result<Sse, Infallible>, Option<Self>)> {
        loop {
            let changed = tokio::select! {
                changed = self.rates.changed() => changed,
                () = self.stop.cancelled() => return None,
            };
            if changed.is_err() {
                let lab = self.lab.filter(|_| !self.stop.is_cancelled())?;
                return Some((Ok(sse("gone", &serde_json::json!({ "lab": lab }))), None));
            }
            let Some(rates): Option<Arc<Vec<Rates>>> = self.rates.borrow_and_update().clone() else { continue };
            let event = match &self.lab {
                Some(_) => sse("rates", &rates.first()),
                None => sse("rates", &*rates),
            };
            return Some((Ok(event), Some(self)));
        }
    }
}
