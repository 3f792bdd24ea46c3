//! Who may ask what: everything on the unix socket; on TCP health for everyone, the rest with the token, and
//! nothing for web pages of other sites (`Host` against DNS rebinding, `Origin` against cross-site requests).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::health::Probe;
use crate::problem::host_name;
use crate::wire::Problem;

/// What opens the TCP port: the token of the file, and the configured secret if there is one.
#[derive(Clone)]
pub(crate) struct Keys(Arc<[String]>);

impl Keys {
    pub(crate) fn new(keys: impl IntoIterator<Item = String>) -> Self {
        Self(keys.into_iter().collect())
    }

    fn open(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = value.and_then(|value| value.split_once(' '));
        match given {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                // All are compared, so that the time tells nothing.
                self.0.iter().fold(false, |open, key| open | same(key.as_bytes(), token.trim().as_bytes()))
            }
            _ => false,
        }
    }
}

/// Compares in a time that depends only on the lengths.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// The check for the TCP port.
pub(crate) async fn check(State(keys): State<Keys>, request: Request, next: Next) -> Response {
    if Probe::of(request.uri().path()).is_none()
        && let Err(problem) = allowed(&keys, request.uri(), request.headers())
    {
        return problem.into_response();
    }
    next.run(request).await
}

fn allowed(keys: &Keys, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let forbidden = |header: &HeaderName, value: &str| {
        let detail = format!(
            "`{header}: {value}` is not this host; use an address, `localhost` or `{}`, and no web page of another site",
            host_name()
        );
        Problem::new(403, "forbidden", "Not from there", detail)
    };
    // A request in absolute form carries its host in the address instead (RFC 9112, 3.2.2).
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(HOST).map_or(Some(""), |host| host.to_str().ok()).unwrap_or("?"),
    };
    if !is_here(host) {
        return Err(forbidden(&HOST, host));
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = origin.to_str().unwrap_or("?");
        if !origin.split_once("://").is_some_and(|(_, host)| is_here(host)) {
            return Err(forbidden(&ORIGIN, origin));
        }
    }
    if keys.open(headers) {
        return Ok(());
    }
    let detail = "this port needs `Authorization: Bearer <token>`; the token is in the agent's state directory \
                  (`/var/lib/netloom/token`). The unix socket needs none";
    Err(Problem::new(401, "no-token", "The token is missing or wrong", detail))
}

/// Whether `host[:port]` is an address, localhost or the name of this host.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            return address.parse::<IpAddr>().is_ok() && (port.is_empty() || is_port(port));
        }
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    let name = name.to_ascii_lowercase();
    let own = host_name();
    let short = own.split('.').next().unwrap_or(own);
    name.parse::<IpAddr>().is_ok() || name == "localhost" || (!name.is_empty() && (name == own || name == short))
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_localhost_and_the_own_name_are_this_host() {
        for host in ["127.0.0.1", "127.0.0.1:8001", "localhost", "LOCALHOST:8001", "[::1]", "[::1]:8001", "192.0.2.7:1"]
        {
            assert!(is_here(host), "{host}");
        }
        assert!(is_here(host_name()), "{}", host_name());
        for host in ["", "evil.example", "evil.example:8001", "localhost.evil.example", "[::1", "[::1]evil", "a:b", "?"]
        {
            assert!(!is_here(host), "{host}");
        }
    }

    #[test]
    fn keys_open_only_whole() {
        let keys = Keys::new(["abc".to_owned(), "secret".to_owned()]);
        let headers = |value: &'static str| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert!(keys.open(&headers("Bearer abc")) && keys.open(&headers("bearer secret")));
        for value in ["abc", "Bearer ab", "Bearer abcd", "Bearer ", "Basic abc"] {
            assert!(!keys.open(&headers(value)), "{value}");
        }
        assert!(!keys.open(&HeaderMap::new()));
    }
}
