//! What the agent is and how it fares.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use netloom_engine::Source;

use super::{Answer, Shared};
use crate::health::Probe;
use crate::metrics;
use crate::problem::{json, no_route};
use crate::wire::{Info, Problem};

/// `GET /info`
pub(super) async fn info(State(app): State<Shared>) -> Response {
    let layout = app.engine.layout();
    let runtimes = app.engine.sources().iter().filter_map(|source| match source {
        Source::Runtime(kind) => Some(*kind),
        Source::Fabric | Source::Switch | Source::Images(_) => None,
    });
    let uptime = app.health.began.elapsed();
    let info = Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: layout.instance().to_owned(),
        root: layout.root().to_owned(),
        pid: std::process::id(),
        started: app.health.started,
        uptime_seconds: uptime.as_secs(),
        fabric: app.engine.fabric().to_owned(),
        runtimes: runtimes.collect(),
        socket: app.config.layout.socket(),
        listen: app.tcp,
    };
    json(StatusCode::OK, &info)
}

/// `GET /debug/stalls`
pub(super) async fn stalls(State(app): State<Shared>) -> Response {
    json(StatusCode::OK, &app.health.stalls.all())
}

/// `GET /metrics`
pub(super) async fn metrics(State(app): State<Shared>) -> Answer {
    let text = metrics::text(&app)
        .map_err(|error| Problem::new(500, "metrics", "The metrics cannot be written", error.to_string()))?;
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// `GET /healthz` and its like, for connections that the health thread has given away.
pub(super) async fn health(State(app): State<Shared>, request: Request) -> Answer {
    let uri = request.uri();
    let probe = Probe::of(uri.path()).ok_or_else(|| no_route(uri.path()))?;
    let (status, body) = app.health.answer(probe, uri.query().unwrap_or_default());
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
