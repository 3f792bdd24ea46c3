//! Operations: how far what was asked for is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use futures::stream::unfold;
use netloom_engine::{Event, Operation, OperationId, OperationView, Refusal, What};
use serde::Deserialize;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::events::{KEEP_ALIVE, sse};
use super::{Answer, Shared, accepted};
use crate::problem::{Params, json};
use crate::serve::App;
use crate::wire::{Problem, WAIT_LIMIT};

/// `GET /operations`
pub(super) async fn list(State(app): State<Shared>) -> Response {
    let views: Vec<OperationView> = app.engine.journal().all().iter().map(|operation| operation.view()).collect();
    json(StatusCode::OK, &views)
}

fn find(app: &App, id: &str) -> Result<Arc<Operation>, Problem> {
    let id = OperationId(id.to_owned());
    app.engine.journal().get(&id).ok_or_else(|| Refusal::NoOperation(id).into())
}

/// The query of `GET /operations/{id}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    wait: Option<u64>,
}

/// `GET /operations/{id}`
pub(super) async fn one(State(app): State<Shared>, Path(id): Path<String>, Params(query): Params<WaitQuery>) -> Answer {
    let operation = find(&app, &id)?;
    if let Some(seconds) = query.wait {
        let mut state = operation.state();
        let limit = Duration::from_secs(seconds.min(WAIT_LIMIT));
        tokio::select! {
            _ = state.wait_for(|state| state.is_final()) => {}
            () = tokio::time::sleep(limit) => {}
            () = app.stop.cancelled() => {}
        }
    }
    Ok(json(StatusCode::OK, &operation.view()))
}

/// `DELETE /operations/{id}`
pub(super) async fn cancel(State(app): State<Shared>, Path(id): Path<String>) -> Answer {
    let operation = app.engine.cancel(&OperationId(id)).await?;
    Ok(accepted(operation.view()))
}

/// `GET /operations/{id}/watch`
pub(super) async fn watch(State(app): State<Shared>, Path(id): Path<String>) -> Answer {
    let operation = find(&app, &id)?;
    // Followed before the first look, so that nothing falls between.
    let (_, events) = app.engine.events().follow(u64::MAX);
    let stream = follow(Watch { operation, events, stop: app.stop.clone(), next: Next::Snapshot });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(axum::response::Sse::new(stream).keep_alive(keep_alive).into_response())
}

struct Watch {
    operation: Arc<Operation>,
    events: broadcast::Receiver<Arc<Event>>,
    stop: CancellationToken,
    next: Next,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    Snapshot,
    Event,
    End,
}

fn follow(watch: Watch) -> impl Stream<Item = Result<Sse, Infallible>> {
    unfold(watch, async |mut watch| {
        loop {
            match watch.next {
                Next::End => return None,
                Next::Snapshot => {
                    let view = watch.operation.view();
                    watch.next = if view.state.is_final() { Next::End } else { Next::Event };
                    return Some((Ok(sse("snapshot", &view)), watch));
                }
                Next::Event => {}
            }
            let received = tokio::select! {
                received = watch.events.recv() => received,
                () = watch.stop.cancelled() => return None,
            };
            match received {
                Ok(event) if !concerns(&event.what, watch.operation.id()) => {}
                Ok(event) => {
                    let ends = matches!(&event.what, What::Operation { state, .. } if state.is_final());
                    watch.next = if ends { Next::End } else { Next::Event };
                    return Some((Ok(super::events::event(&event)), watch));
                }
                Err(RecvError::Lagged(_)) => watch.next = Next::Snapshot,
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

fn concerns(what: &What, id: &OperationId) -> bool {
    match what {
        What::Operation { operation, .. } => operation == id,
        What::Step { operation, .. } => operation.as_ref() == Some(id),
        What::Node { .. } | What::Capability { .. } | What::Notice { .. } => false,
    }
}
