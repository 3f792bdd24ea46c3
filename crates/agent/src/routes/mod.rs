//! The routes: thin functions between HTTP and the engine. Reads take a snapshot; writes submit an operation.

mod archive;
#[cfg(feature = "failpoints")]
mod block;
mod events;
mod exec;
mod images;
mod info;
mod labs;
mod leftovers;
mod nodes;
mod operations;
mod rates;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::{get, post};
use netloom_engine::{OperationView, Refusal};

use crate::health::Probe;
use crate::problem::{bad_request, json, no_method, no_route};
use crate::serve::App;
use crate::wire::{Accepted, BODY_LIMIT, Problem};

pub(crate) type Shared = Arc<App>;
type Answer = Result<Response, Problem>;

/// Everything of our own API.
pub(crate) fn router(app: Shared) -> Router {
    let mut router = Router::new()
        .route("/info", get(info::info))
        .route("/metrics", get(info::metrics))
        .route("/debug/stalls", get(info::stalls))
        .route("/labs", get(labs::list))
        .route("/labs/{lab}", get(labs::one).put(labs::put).patch(labs::patch).delete(labs::destroy))
        .route("/labs/{lab}/desired", get(labs::desired))
        .route("/labs/{lab}/rates", get(rates::of_lab))
        .route("/rates", get(rates::of_all))
        .route("/labs/{lab}/adopt", post(labs::adopt))
        .route("/adoptable", get(labs::adoptable))
        .route("/labs/{lab}/nodes/{node}/logs", get(nodes::logs))
        .route("/labs/{lab}/nodes/{node}/exec", get(exec::exec))
        // An archive is as large as it is; nothing of it is kept.
        .route(
            "/labs/{lab}/nodes/{node}/archive",
            get(archive::get).put(archive::put).layer(DefaultBodyLimit::disable()),
        )
        .route("/images", get(images::list))
        .route("/images/{*reference}", get(images::one).delete(images::remove))
        .route("/images/pull", post(images::pull))
        .route("/images/load", post(images::load).layer(DefaultBodyLimit::disable()))
        .route("/images/prune", post(images::prune))
        .route("/leftovers", get(leftovers::list))
        .route("/leftovers/remove", post(leftovers::remove))
        .route("/operations", get(operations::list))
        .route("/operations/{id}", get(operations::one).delete(operations::cancel))
        .route("/operations/{id}/watch", get(operations::watch))
        .route("/events", get(events::events));
    #[cfg(feature = "failpoints")]
    {
        router = router.route("/debug/block", post(block::block));
    }
    for (path, _) in Probe::PATHS {
        router = router.route(path, get(info::health));
    }
    router
        .fallback(async |request: Request| no_route(request.uri().path()))
        .method_not_allowed_fallback(async |request: Request| {
            no_method(request.method().as_str(), request.uri().path())
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .layer(from_fn(no_store))
        .with_state(app)
}

/// Answers are of the moment.
async fn no_store(request: Request, next: axum::middleware::Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A name in a path.
fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| bad_request(error.to_string()))
}

/// 202 with the operation and where to follow it.
fn accepted(view: OperationView) -> Response {
    let location = HeaderValue::from_str(&format!("/operations/{}", view.id));
    let mut response = json(StatusCode::ACCEPTED, &Accepted { operation: view });
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// What a write was answered with.
fn outcome(result: Result<Arc<netloom_engine::Operation>, Refusal>) -> Answer {
    Ok(accepted(result?.view()))
}
