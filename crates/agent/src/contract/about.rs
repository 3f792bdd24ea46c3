//! What the agent says of itself and of what its host has.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;

use super::answer::{Answer, Detail, done};
use crate::controller::{Capabilities, Member};
use crate::routes::Shared;
use crate::serve::App;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/info", get(info))
        .route("/capacity", get(capacity))
        .route("/disk-usage", get(disk_usage))
        .route("/deployment-mode", get(deployment_mode))
        .route("/callbacks/dead-letters", get(dead_letters))
}

/// There is one wherever the secret opens anything.
fn member(app: &App) -> Result<&Member, Detail> {
    app.member.as_deref().ok_or_else(|| Detail::new(503, "this agent has no TCP address"))
}

async fn info(State(app): State<Shared>) -> Answer {
    let capabilities = Capabilities::of(app.engine.sources());
    let data_plane = app.engine.data_plane().borrow().map(|plane| plane.address);
    Ok(done(&member(&app)?.profile(capabilities, data_plane).await))
}

async fn capacity(State(app): State<Shared>) -> Answer {
    Ok(done(&member(&app)?.capacity(&app.engine)))
}

async fn disk_usage(State(app): State<Shared>) -> Answer {
    Ok(done(&member(&app)?.disk_usage()))
}

async fn deployment_mode(State(app): State<Shared>) -> Answer {
    Ok(done(&member(&app)?.deployment()))
}

async fn dead_letters(State(app): State<Shared>) -> Result<Response, Detail> {
    Ok(done(&member(&app)?.dead_letters()))
}
