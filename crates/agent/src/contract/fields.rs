//! What requests name and carry: names in paths and bodies, bodies that may be missing, queries.

use std::fmt::Display;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use netloom_model::{InterfaceName, LabName, NodeName};
use serde::de::DeserializeOwned;

use super::answer::{Detail, Json};

/// A JSON body that may be missing.
pub(super) struct MaybeJson<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for MaybeJson<T> {
    type Rejection = Detail;

    async fn from_request(request: Request, state: &S) -> Result<Self, Detail> {
        let (parts, body) = request.into_parts();
        let bytes = Bytes::from_request(Request::from_parts(parts, body), state)
            .await
            .map_err(|rejection| Detail::unreadable(&["body"], "value_error", rejection.body_text()))?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        let again = Request::new(bytes.into());
        Json::from_request(again, state).await.map(|Json(value)| Self(value))
    }
}

/// The query.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Detail;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Detail> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let unreadable = |rejection: axum::extract::rejection::QueryRejection| {
            Detail::unreadable(&["query"], "value_error", rejection.body_text())
        };
        query.map(|Query(value)| Self(value)).map_err(unreadable)
    }
}

/// A name in a path or a body: letters, digits, `_` and `-`, as controllers make them. Nothing else, so that none leads anywhere.
fn name<T: FromStr<Err: Display>>(what: &str, text: &str) -> Result<T, Detail> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if text.is_empty() || !text.bytes().all(good) {
        let shown: String = text.chars().take(80).collect();
        let why = format!("{what} `{}` is no name: letters, digits, `_` and `-` are", shown.escape_debug());
        return Err(Detail::new(400, why));
    }
    text.parse().map_err(|error: T::Err| Detail::new(400, error.to_string()))
}

/// A text of a body that may not be empty.
pub(super) fn filled(field: &str, text: &str) -> Result<(), Detail> {
    if text.is_empty() { Err(Detail::unreadable(&["body", field], "value_error", "it is empty")) } else { Ok(()) }
}

pub(super) fn lab(text: &str) -> Result<LabName, Detail> {
    name("lab", text)
}

pub(super) fn node(text: &str) -> Result<NodeName, Detail> {
    name("node", text)
}

/// An interface of the host, such as `eth1` or `eth1.100`.
pub(super) fn host_interface(text: &str) -> Result<InterfaceName, Detail> {
    text.parse().map_err(|error| Detail::new(400, format!("external interface `{}`: {error}", text.escape_debug())))
}

pub(super) fn interface(text: &str) -> Result<InterfaceName, Detail> {
    name("interface", text)
}
