//! A name for each request, so that what a controller saw and what the agent wrote down can be put side by side.

use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

/// The header that has it, both ways.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest that a client may give, in characters.
const LONGEST: usize = 64;
/// From here on a request is slow.
const SLOW: Duration = Duration::from_secs(1);

/// Names the answer as its request, and writes a line for one that failed or was slow. What is in a query is not written down.
pub(super) async fn named(request: Request, next: Next) -> Response {
    let id = given(request.headers()).unwrap_or_else(fresh);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let begun = Instant::now();
    let mut response = next.run(request).await;
    let (status, took) = (response.status(), begun.elapsed());
    if status.is_server_error() {
        tracing::warn!(request = ?id, %method, path, status = status.as_u16(), ?took, "a controller's request failed");
    } else if took > SLOW {
        tracing::info!(request = ?id, %method, path, status = status.as_u16(), ?took, "a controller's request was slow");
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn given(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let is_printable = id.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
    ((1..=LONGEST).contains(&id.len()) && is_printable).then(|| id.clone())
}

fn fresh() -> HeaderValue {
    HeaderValue::from_str(&chance()).expect("digits and letters")
}

/// Sixteen hexadecimal digits by chance.
pub(super) fn chance() -> String {
    let mut bytes = [0_u8; 8];
    // Eight bytes come whole or, before the kernel has any, not at all.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    format!("{:016x}", u64::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_name_is_taken_if_it_can_be_printed() {
        let of = |value: &[u8]| given(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(value).unwrap())]));
        assert_eq!(of(b"job 7/2").unwrap(), "job 7/2");
        assert!(of(&[b'a'; 64]).is_some() && of(&[b'a'; 65]).is_none());
        assert!(of(b"").is_none() && of(b"a\tb").is_none() && of("ä".as_bytes()).is_none());
        assert_ne!(fresh(), fresh());
    }
}
