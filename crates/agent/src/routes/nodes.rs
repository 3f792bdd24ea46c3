//! The output of a node.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures::stream::unfold;
use netloom_engine::Follow;
use serde::Deserialize;

use super::{Answer, Shared, parse};
use crate::problem::{Params, bad_request, switch};

/// The query of `GET /labs/{lab}/nodes/{node}/logs`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    follow: Option<String>,
    last: Option<u16>,
}

/// `GET /labs/{lab}/nodes/{node}/logs`
pub(super) async fn logs(
    State(app): State<Shared>,
    Path((lab, node)): Path<(String, String)>,
    Params(query): Params<LogsQuery>,
) -> Answer {
    let follow = match (switch(query.follow.as_deref(), "follow")?.unwrap_or(false), query.last) {
        (false, None) => Follow::No,
        (true, None) => Follow::Yes,
        (false, Some(lines)) => Follow::Last(lines),
        (true, Some(_)) => return Err(bad_request("`follow` and `last` do not go together")),
    };
    let (logs, place) = app.engine.logs(&parse(&lab)?, &parse(&node)?, follow).await?;
    // The place in the bulkhead is held until the client has everything or goes away.
    let state = (logs, place, app.stop.clone());
    let chunks = unfold(state, async |(mut logs, place, stop)| {
        let chunk = tokio::select! {
            chunk = logs.chunks.recv() => chunk?,
            () = stop.cancelled() => return None,
        };
        Some((Ok::<_, Infallible>(chunk), (logs, place, stop)))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    // What a node prints has no known encoding and must never be taken for a page.
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
