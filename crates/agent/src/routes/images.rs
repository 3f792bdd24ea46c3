//! Images of this host: read from the snapshot; pulled, loaded and removed with regard to what labs need.

use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use netloom_engine::{DriverError, ErrorClass, ImageLoad, Prune, Refusal};
use serde::Deserialize;

use super::archive::{feed, read_off};
use super::{Answer, Shared, outcome};
use crate::problem::{JsonBody, Params, json, switch};
use crate::serve::App;
use crate::wire::{ImagesLoaded, Problem, PullImage};

/// `GET /images`
pub(super) async fn list(State(app): State<Shared>) -> Response {
    json(StatusCode::OK, &app.engine.images())
}

/// `GET /images/{ref}`
pub(super) async fn one(State(app): State<Shared>, Path(reference): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &app.engine.image(&reference)?))
}

/// `POST /images/pull`
pub(super) async fn pull(State(app): State<Shared>, JsonBody(body): JsonBody<PullImage>) -> Answer {
    outcome(app.engine.pull_image(&body.image))
}

/// `DELETE /images/{ref}`
pub(super) async fn remove(State(app): State<Shared>, Path(reference): Path<String>) -> Answer {
    Ok(json(StatusCode::OK, &app.engine.remove_image(&reference).await?))
}

/// The query of `POST /images/prune`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PruneQuery {
    all: Option<String>,
}

/// `POST /images/prune`
pub(super) async fn prune(State(app): State<Shared>, Params(query): Params<PruneQuery>) -> Answer {
    let all = switch(query.all.as_deref(), "all")?.unwrap_or(false);
    let which = if all { Prune::All } else { Prune::Untagged };
    Ok(json(StatusCode::OK, &app.engine.prune_images(which).await?))
}

/// `POST /images/load`
pub(super) async fn load(State(app): State<Shared>, body: Body) -> Answer {
    let mut body = body.into_data_stream();
    let loaded = loaded(&app, &mut body).await;
    read_off(&app, body);
    Ok(json(StatusCode::OK, &ImagesLoaded { loaded: loaded? }))
}

/// The archive is wrong, or the runtime could not take it.
fn not_loaded(error: DriverError) -> Problem {
    match error.class {
        ErrorClass::Permanent => Problem::new(422, "archive", "The archive cannot be loaded", error.to_string()),
        _ => Refusal::from(error).into(),
    }
}

async fn loaded(app: &App, body: &mut BodyDataStream) -> Result<Vec<String>, Problem> {
    let (ImageLoad { pieces, done }, _place) = app.engine.load_images().await?;
    feed(app, body, pieces, done).await?.map_err(not_loaded)
}
