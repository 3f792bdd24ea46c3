//! Answers as clients of the contract read them: always JSON, `{"detail": …}` where a request could not be understood or served.

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use netloom_model::{InterfaceName, LabName, NodeName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::problem::json as json_body;

/// What a handler answers.
pub(super) type Answer = Result<Response, Fault>;

/// That a request could not be understood or served.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    detail: Value,
}

impl Fault {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: Value::String(detail.into()) }
    }

    /// 400: a name or a value that cannot be.
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 422: a body or a query that does not fit, in the shape that clients know.
    fn unfit(place: &'static str, why: String) -> Self {
        let detail = json!([{ "loc": [place], "msg": why, "type": "value_error" }]);
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, detail }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.detail {
            Value::String(text) => f.write_str(text),
            other => write!(f, "{other}"),
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        json_body(self.status, &json!({ "detail": self.detail }))
    }
}

/// 200 with this body.
pub(super) fn ok(body: &impl Serialize) -> Response {
    json_body(StatusCode::OK, body)
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| {
            Fault::new(rejection.status(), format!("the body could not be read: {}", rejection.body_text()))
        })?;
        let read = serde_json::from_slice(&bytes);
        read.map(Self).map_err(|error| Fault::unfit("body", error.to_string()))
    }
}

/// A JSON body that may be missing.
pub(super) struct MaybeBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeBody<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Fault::new(rejection.status(), rejection.body_text()))?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        let read = serde_json::from_slice(&bytes);
        read.map(Self).map_err(|error| Fault::unfit("body", error.to_string()))
    }
}

/// The query.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(value)| Self(value)).map_err(|rejection| Fault::unfit("query", rejection.body_text()))
    }
}

/// A name in a path or a body: letters, digits, `_` and `-`, as controllers make them. Nothing else, so that none leads anywhere.
fn name<T: FromStr<Err: std::fmt::Display>>(what: &str, text: &str) -> Result<T, Fault> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if text.is_empty() || !text.bytes().all(good) {
        let shown: String = text.chars().take(80).collect();
        return Err(Fault::bad(format!(
            "{what} `{}` is no name: letters, digits, `_` and `-` are",
            shown.escape_debug()
        )));
    }
    text.parse().map_err(|error: T::Err| Fault::bad(error.to_string()))
}

pub(super) fn lab(text: &str) -> Result<LabName, Fault> {
    name("lab", text)
}

pub(super) fn node(text: &str) -> Result<NodeName, Fault> {
    name("node", text)
}

pub(super) fn interface(text: &str) -> Result<InterfaceName, Fault> {
    name("interface", text)
}
