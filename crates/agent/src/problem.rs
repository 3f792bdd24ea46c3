//! Refusals as HTTP: which status, which kind, which words. Also the extractors that answer in the same way.

use std::sync::OnceLock;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use netloom_engine::{ErrorClass, Refusal, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::wire::{BODY_LIMIT, PROBLEM, Problem};

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = json(status, &self);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An answer in JSON.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        // Only a map with keys that are no strings can get here, and no view has one.
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A request that cannot be understood.
pub(crate) fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::new(400, "bad-request", "The request cannot be understood", detail)
}

/// There is no such route.
pub(crate) fn no_route(path: &str) -> Problem {
    let detail = format!("there is no `{path}` here; the agent and the client may be of different versions");
    Problem::new(404, "no-route", "No such route", detail)
}

/// The route does not know the method.
pub(crate) fn no_method(method: &str, path: &str) -> Problem {
    Problem::new(405, "no-method", "Method not allowed", format!("`{path}` does not take {method}"))
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        let new = |status, kind, title| Self::new(status, kind, title, detail.clone());
        let busy = |kind| Self { retry_after: Some(1), ..new(503, kind, "Try again in a moment") };
        match refusal {
            Refusal::NoLab(_) => new(404, "no-lab", "No such lab"),
            Refusal::Unknown(_) => new(409, "unknown", "Nothing is wanted of the lab"),
            Refusal::NoNode { .. } => new(404, "no-node", "No such node"),
            Refusal::NoOperation(_) => new(404, "no-operation", "No such operation"),
            Refusal::InProgress { operation, .. } => {
                Self { operation: Some(operation), ..new(409, "in-progress", "Something else is under way") }
            }
            Refusal::OtherAuthority { .. } => new(409, "authority", "Somebody else decides about the lab"),
            Refusal::NoPort { .. } => new(404, "no-port", "No such interface"),
            Refusal::Destroying(_) => new(409, "destroying", "The lab is being destroyed"),
            Refusal::Edit { why, .. } => Self { reasons: why, ..new(422, "edit", "The edit does not fit the lab") },
            Refusal::Known(_) => new(409, "known", "The lab is known"),
            Refusal::Unadoptable { why, .. } | Refusal::NotTaken { why, .. } => {
                Self { reasons: why, ..new(409, "unadoptable", "The lab cannot be adopted as it is") }
            }
            Refusal::Held { .. } => new(409, "held", "The lab is held as it is"),
            Refusal::Paused { .. } => new(409, "paused", "The lab is paused"),
            Refusal::OtherSource { .. } => new(409, "other-source", "The name belongs to another topology"),
            Refusal::Copy(_) => new(422, "copy", "It cannot be copied"),
            Refusal::NotRunning { .. } => new(409, "not-running", "The node does not run"),
            Refusal::Changed { current, .. } => {
                Self { generation: Some(current), ..new(412, "changed", "The lab has changed meanwhile") }
            }
            Refusal::Obstacles(obstacles) => {
                let reasons = obstacles.iter().map(ToString::to_string).collect();
                Self { reasons, ..new(422, "obstacles", "This host cannot make the lab as it is now") }
            }
            Refusal::Short(shortages) => {
                let reasons = shortages.iter().map(ToString::to_string).collect();
                Self { reasons, ..new(422, "short", "This host has too little for the lab") }
            }
            Refusal::Network { why, .. } => {
                Self { reasons: why, ..new(422, "network", "The management network cannot take the lab's nodes") }
            }
            Refusal::Unable(errors) => {
                let reasons = errors.iter().map(ToString::to_string).collect();
                Self { reasons, ..new(422, "unable", "This host cannot run a node") }
            }
            Refusal::Unfit(..) => new(422, "unfit", "The chosen nodes do not fit the lab"),
            Refusal::NoImages => new(501, "no-images", "No runtime has images"),
            Refusal::NoImage(_) => new(404, "no-image", "No such image"),
            Refusal::BadReference(_) => new(400, "bad-request", "The request cannot be understood"),
            Refusal::ImageNeeded { .. } => new(409, "image-needed", "A lab needs the image"),
            Refusal::ImageUsed(_) => new(409, "image-used", "The image is in use"),
            Refusal::NoRuntime { .. } => new(422, "no-runtime", "No such runtime on this host"),
            Refusal::NotReady(_) => busy("not-ready"),
            Refusal::Busy(_) | Refusal::Store(StoreError::Busy) => busy("busy"),
            // The store fails to write when the disk is full or read-only; the words say which.
            Refusal::Store(StoreError::Failed { .. }) => new(507, "store", "The store could not take it"),
            Refusal::Store(StoreError::Unusable(_) | StoreError::NoAnswer { .. }) => {
                new(503, "store", "The store cannot be used")
            }
            Refusal::Driver(error) => match error.class {
                ErrorClass::Busy => busy("busy"),
                ErrorClass::Permanent | ErrorClass::Transient | ErrorClass::Deadline | ErrorClass::Cancelled => {
                    new(502, "driver", "The runtime could not do it")
                }
            },
            Refusal::Stopping => busy("stopping"),
        }
    }
}

/// A JSON body of at most [`BODY_LIMIT`] bytes.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let too_large = || {
            let detail = format!("the body is larger than {} MiB", BODY_LIMIT / 1024 / 1024);
            Problem::new(413, "too-large", "The body is too large", detail)
        };
        // Said at once when the client says the length; otherwise when the limit is passed.
        let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if length.is_some_and(|length: usize| length > BODY_LIMIT) {
            return Err(too_large());
        }
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                too_large()
            } else {
                bad_request(format!("the body could not be read: {}", rejection.body_text()))
            }
        })?;
        let value = serde_json::from_slice(&bytes).map_err(|error| bad_request(format!("the body: {error}")))?;
        Ok(Self(value))
    }
}

/// The query of the address.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(value)| Self(value)).map_err(|rejection| bad_request(rejection.body_text()))
    }
}

/// A switch in a query: `?verbose`, `?follow=true`, `?follow=0`.
pub(crate) fn switch(value: Option<&str>, name: &str) -> Result<Option<bool>, Problem> {
    match value {
        None => Ok(None),
        Some("" | "true" | "1" | "yes") => Ok(Some(true)),
        Some("false" | "0" | "no") => Ok(Some(false)),
        Some(other) => Err(bad_request(format!("`{name}={other}`: it is `true` or `false`"))),
    }
}

/// The name of this host in the kernel.
pub(crate) fn host_name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().to_ascii_lowercase())
}
