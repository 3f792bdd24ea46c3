//! Answers as controllers read them, and the extractors that refuse in the same way.

use std::fmt;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use netloom_engine::Refusal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::problem::json;
use crate::wire::Problem;

/// What a handler gives back.
pub(super) type Answer = Result<Response, Detail>;

/// A body of which nothing is read but that it is a map.
pub(super) type Object = serde_json::Map<String, serde_json::Value>;

/// 200 with a body.
pub(super) fn done<T: Serialize>(body: &T) -> Response {
    json(StatusCode::OK, body)
}

/// A refusal: `{"detail": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Detail {
    #[serde(skip)]
    pub(crate) status: u16,
    pub(crate) detail: Said,
}

/// What a refusal says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Said {
    /// In words.
    Text(String),
    /// What of a request could not be read.
    Mistakes(Vec<Mistake>),
}

/// One thing that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mistake {
    /// Where: `body`, `query`, `path`, and the name in it if it is known.
    pub(crate) loc: Vec<String>,
    /// What is wrong.
    pub(crate) msg: String,
    /// A word for it: `missing`, `json_invalid`, `value_error`.
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
}

impl Detail {
    pub(crate) fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, detail: Said::Text(detail.into()) }
    }

    /// 422: one thing could not be read.
    pub(super) fn unreadable(loc: &[&str], kind: &'static str, msg: impl Into<String>) -> Self {
        let loc = loc.iter().map(|word| (*word).to_owned()).collect();
        Self { status: 422, detail: Said::Mistakes(vec![Mistake { loc, msg: msg.into(), kind }]) }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Mistakes(mistakes) => {
                let said: Vec<_> = mistakes.iter().map(|one| format!("{}: {}", one.loc.join("."), one.msg)).collect();
                f.write_str(&said.join("; "))
            }
        }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.detail.fmt(f)
    }
}

impl IntoResponse for Detail {
    fn into_response(self) -> Response {
        json(StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &self)
    }
}

impl From<Problem> for Detail {
    fn from(problem: Problem) -> Self {
        Self::new(problem.status, problem.detail)
    }
}

impl From<Refusal> for Detail {
    fn from(refusal: Refusal) -> Self {
        Problem::from(refusal).into()
    }
}

/// A JSON body of at most [`crate::wire::BODY_LIMIT`] bytes. Fields that nobody knows are passed over: controllers of another
/// version send some.
pub(super) struct Json<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Detail;

    async fn from_request(request: Request, state: &S) -> Result<Self, Detail> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Detail::new(413, "Request body too large"),
            _ => Detail::unreadable(&["body"], "value_error", rejection.body_text()),
        })?;
        // Every body is a map, and a list is none, though one of the right length could be read as one.
        let is_list = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
        if is_list && serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok() {
            return Err(Detail::unreadable(&["body"], "value_error", "it is a list; a map is wanted"));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| match error.classify() {
            _ if bytes.is_empty() => Detail::unreadable(&["body"], "missing", "Field required"),
            serde_json::error::Category::Data => mistake("body", &error.to_string()),
            _ => Detail::unreadable(&["body"], "json_invalid", error.to_string()),
        })
    }
}

/// The query of the address; what nobody knows in it is passed over.
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Detail;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Detail> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|query| Self(query.0)).map_err(|rejection| mistake("query", &rejection.body_text()))
    }
}

/// What serde says, with the field that is missing where it names one.
fn mistake(place: &str, why: &str) -> Detail {
    let missing = why.split_once("missing field `").and_then(|(_, rest)| Some(rest.split_once('`')?.0));
    match missing {
        Some(field) => Detail::unreadable(&[place, field], "missing", "Field required"),
        None => Detail::unreadable(&[place], "value_error", why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_shape_that_controllers_know() {
        let text = |detail: &Detail| serde_json::to_string(detail).unwrap();
        assert_eq!(text(&Detail::new(404, "Not Found")), r#"{"detail":"Not Found"}"#);
        assert_eq!(
            text(&mistake("body", "missing field `image_id` at line 1 column 2")),
            r#"{"detail":[{"loc":["body","image_id"],"msg":"Field required","type":"missing"}]}"#
        );
        let other = mistake("query", "invalid type");
        assert_eq!((other.status, other.detail.to_string()), (422, "query: invalid type".into()));
    }
}
