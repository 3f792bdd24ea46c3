//! The agent contract, inbound: what controllers of hosts ask of an agent, as thin edits of desired state and reads of the inventory.
//!
//! A business failure is 200 with `success: false` and `error`; other than 2xx says that a request could not be understood or
//! served. `docs/agent-contract.md` has a table of all routes and what each does here.

mod answer;
mod carry_out;
mod labs;
mod links;
mod node_spec;
mod nodes;
mod overlay;
mod readiness;
mod vendor;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;

use crate::routes::Shared;
use crate::wire::BODY_LIMIT;

use answer::Fault;

/// All routes of the contract.
pub(crate) fn router(app: Shared) -> Router {
    labs::routes()
        .merge(nodes::routes())
        .merge(links::routes())
        .merge(overlay::routes())
        .fallback(async |request: Request| {
            Fault::new(StatusCode::NOT_FOUND, format!("there is no {} here", request.uri().path()))
        })
        .method_not_allowed_fallback(async || Fault::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(app)
}
