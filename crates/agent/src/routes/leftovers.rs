//! What labs have left behind on this host.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use netloom_engine::GRACE;
use serde::Deserialize;

use super::{Answer, Shared, outcome};
use crate::problem::{Params, json};

/// The query of both routes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Age {
    /// In seconds.
    grace: Option<u32>,
}

impl Age {
    fn grace(&self) -> Duration {
        self.grace.map_or(GRACE, |seconds| Duration::from_secs(seconds.into()))
    }
}

/// `GET /leftovers`
pub(super) async fn list(State(app): State<Shared>, Params(age): Params<Age>) -> Answer {
    Ok(json(StatusCode::OK, &app.engine.leftovers(age.grace()).await?))
}

/// `POST /leftovers/remove`
pub(super) async fn remove(State(app): State<Shared>, Params(age): Params<Age>) -> Answer {
    outcome(app.engine.remove_leftovers(age.grace()).await)
}
