//! Who may ask what: everything of our own API on the unix socket; on TCP health for everyone, and the API that the
//! credential opens.
//!
//! ```text
//!   Authorization: Bearer <token of the file>     our own API (routes/)
//!   Authorization: Bearer <configured secret>     what controllers speak (contract/)
//!   neither    /livez /healthz /health /readyz    open
//!              /metrics                           open to the source addresses of `metrics-allow`
//!              /poap/…                            404 for whoever asks: no device gets a configuration here
//!              /console/… as a WebSocket          open to the controller, which sends no credential with it, and to `console-allow`
//! ```
//!
//! Web pages of other sites get nothing: a page can neither know a key nor hide its `Origin`, and a name that was bent to this
//! host (DNS rebinding) shows in `Host`. That is not looked at where the secret is: a controller calls this host by any name.

mod networks;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, UPGRADE};
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::response::{IntoResponse, Response};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

pub use networks::Networks;

use crate::contract::Detail;
use crate::health::Probe;
use crate::problem::host_name;
use crate::wire::Problem;

/// What opens the TCP port.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Known>);

struct Known {
    /// That of the token file.
    token: Option<String>,
    /// The configured one, which controllers have.
    secret: Option<String>,
}

/// What a request shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Secret,
    Token,
    Wrong,
    Nothing,
}

impl Keys {
    pub(crate) fn new(token: Option<String>, secret: Option<String>) -> Self {
        Self(Arc::new(Known { token, secret: secret.filter(|secret| !secret.is_empty()) }))
    }

    fn shown(&self, headers: &HeaderMap) -> Shown {
        let value = headers.get(AUTHORIZATION).map(axum::http::HeaderValue::as_bytes);
        let given = value.and_then(|value| {
            let (scheme, key) = value.split_at(value.iter().position(|byte| *byte == b' ')?);
            scheme.eq_ignore_ascii_case(b"bearer").then(|| key.trim_ascii())
        });
        let Some(given) = given else { return Shown::Nothing };
        // Both are compared, so that the time tells nothing.
        let is = |key: &Option<String>| key.as_ref().is_some_and(|key| same(key.as_bytes(), given));
        match (is(&self.0.secret), is(&self.0.token)) {
            (true, _) => Shown::Secret,
            (false, true) => Shown::Token,
            (false, false) => Shown::Wrong,
        }
    }

    fn has_secret(&self) -> bool {
        self.0.secret.is_some()
    }
}

/// Compares in a time that depends only on the lengths.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// Whose connection a request came by; an extension of every request on TCP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Who gets in without a key, and where.
#[derive(Clone)]
pub(crate) struct Exempt {
    /// Who may read the metrics.
    pub(crate) metrics: Networks,
    /// Who may open consoles, beside the controller.
    pub(crate) consoles: Networks,
    /// Who sends no key with consoles.
    pub(crate) is_controller: IsController,
}

/// Whether an address is the controller's. Asked within a request: it knows, and does not look.
pub(crate) type IsController = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// The TCP door: both APIs, and who gets to which.
#[derive(Clone)]
pub(crate) struct Door(Arc<Behind>);

struct Behind {
    keys: Keys,
    exempt: Exempt,
    /// Whether it was said that the controller shows no key.
    said: AtomicBool,
    own: Router,
    contract: Router,
}

/// Which API a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    Own,
    Contract,
}

/// Why it gets none.
#[derive(Debug)]
enum Denied {
    /// In the way of our own API.
    Own(Problem),
    /// In the way of the contract's.
    Contract(Detail),
}

impl Door {
    /// Puts both APIs behind one door.
    pub(crate) fn new(keys: Keys, exempt: Exempt, own: Router, contract: Router) -> Self {
        Self(Arc::new(Behind { keys, exempt, said: AtomicBool::new(false), own, contract }))
    }

    /// As a router that takes everything.
    pub(crate) fn into_router(self) -> Router {
        Router::new().fallback(move |request: Request| {
            let door = self.clone();
            async move { door.pass(request).await }
        })
    }

    async fn pass(&self, request: Request<Body>) -> Response {
        let peer = request.extensions().get::<Peer>().map(|Peer(address)| address.ip());
        let api = match self.0.api(request.uri(), request.headers(), peer) {
            Ok(api) => api,
            Err(Denied::Own(problem)) => return problem.into_response(),
            Err(Denied::Contract(detail)) => return detail.into_response(),
        };
        let router = match api {
            Api::Own => &self.0.own,
            Api::Contract => &self.0.contract,
        };
        let answered = TowerToHyperService::new(router.clone()).call(request).await;
        answered.unwrap_or_else(|never| match never {})
    }
}

impl Behind {
    fn api(&self, uri: &Uri, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Api, Denied> {
        let path = uri.path();
        if Probe::of(path).is_some() {
            return Ok(Api::Own);
        }
        let shown = self.keys.shown(headers);
        match shown {
            // There is one set of metrics, and both keys open it, under any name of the host.
            Shown::Secret if path == "/metrics" => Ok(Api::Own),
            Shown::Token if path == "/metrics" && !is_foreign(headers) => Ok(Api::Own),
            Shown::Secret => Ok(Api::Contract),
            Shown::Token => from_here(uri, headers).map(|()| Api::Own).map_err(Denied::Own),
            Shown::Wrong | Shown::Nothing if path == "/metrics" => self.may_read_metrics(headers, peer),
            Shown::Wrong | Shown::Nothing if path.starts_with("/poap/") => Ok(Api::Contract),
            Shown::Wrong | Shown::Nothing if self.may_open_console(path, headers, peer) => Ok(Api::Contract),
            Shown::Wrong if self.keys.has_secret() => Err(denied("Invalid authorization")),
            Shown::Nothing if self.keys.has_secret() => {
                self.say_what_is_missing(path, peer);
                Err(denied("Missing authorization"))
            }
            Shown::Wrong | Shown::Nothing => {
                from_here(uri, headers).map_err(Denied::Own)?;
                let detail = "this port needs `Authorization: Bearer <token>`; the token is in the agent's state directory \
                              (`/var/lib/netloom/token`). The unix socket needs none";
                Err(Denied::Own(Problem::new(401, "no-token", "The token is missing or wrong", detail)))
            }
        }
    }

    fn may_read_metrics(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Api, Denied> {
        let allowed = peer.is_some_and(|peer| self.exempt.metrics.contain(peer)) && !is_foreign(headers);
        if allowed { Ok(Api::Own) } else { Err(denied("Metrics access denied")) }
    }

    /// A browser always says in its `Origin` which page opens a WebSocket; a controller says none.
    fn may_open_console(&self, path: &str, headers: &HeaderMap, peer: Option<IpAddr>) -> bool {
        let upgrade = headers.get(UPGRADE).map(axum::http::HeaderValue::as_bytes);
        let is_socket = upgrade.is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"));
        if !path.starts_with("/console/") || !is_socket || is_foreign(headers) {
            return false;
        }
        let may = peer.is_some_and(|peer| self.exempt.consoles.contain(peer) || self.is_controller(peer));
        if !may {
            let why =
                "it came without the secret, and neither from the controller nor from a network of `console-allow`";
            tracing::warn!(?peer, path, why, "a console was refused");
        }
        may
    }

    fn is_controller(&self, peer: IpAddr) -> bool {
        (self.exempt.is_controller)(peer.to_canonical())
    }

    /// A controller that has no secret itself takes the agent for well: it asks for its health, and is refused all else.
    fn say_what_is_missing(&self, path: &str, peer: Option<IpAddr>) {
        if peer.is_some_and(|peer| self.is_controller(peer)) && !self.said.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                ?peer,
                path,
                "the controller shows no secret and is refused: give it the same one (`AGENT_SECRET`)"
            );
        }
    }
}

fn denied(detail: &str) -> Denied {
    Denied::Contract(Detail::new(403, detail))
}

/// Whether a web page of another site asks.
fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get(ORIGIN).is_some_and(|origin| !is_own_site(origin.to_str().unwrap_or("?")))
}

fn is_own_site(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, host)| is_here(host))
}

/// Whether a request was sent to this host, and by none of another site's pages.
fn from_here(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
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
    match headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("?")) {
        Some(origin) if !is_own_site(origin) => Err(forbidden(&ORIGIN, origin)),
        _ => Ok(()),
    }
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

    fn bearer(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn keys_open_only_whole() {
        let keys = Keys::new(Some("abc".into()), Some("secret".into()));
        assert_eq!(keys.shown(&bearer("Bearer abc")), Shown::Token);
        assert_eq!(keys.shown(&bearer("bearer secret")), Shown::Secret);
        for value in ["Bearer ab", "Bearer abcd", "Bearer "] {
            assert_eq!(keys.shown(&bearer(value)), Shown::Wrong, "{value}");
        }
        for value in ["abc", "Basic abc"] {
            assert_eq!(keys.shown(&bearer(value)), Shown::Nothing, "{value}");
        }
        assert_eq!(keys.shown(&HeaderMap::new()), Shown::Nothing);
        // An empty secret is none.
        assert_eq!(Keys::new(None, Some(String::new())).shown(&bearer("Bearer ")), Shown::Wrong);
    }

    /// Consoles for a controller at this address, and for these networks.
    fn behind(controller: &'static str, consoles: &str) -> Behind {
        let keys = Keys::new(Some("token".into()), Some("secret".into()));
        let is_controller: IsController = Arc::new(move |peer| peer.to_string() == controller);
        let exempt = Exempt { metrics: Networks::default(), consoles: consoles.parse().unwrap(), is_controller };
        Behind { keys, exempt, said: AtomicBool::new(false), own: Router::new(), contract: Router::new() }
    }

    fn asked(behind: &Behind, path: &'static str, peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        match behind.api(&Uri::from_static(path), &headers.collect(), Some(peer.parse().unwrap())) {
            Ok(api) => format!("{api:?}"),
            Err(Denied::Own(problem)) => format!("{} {}", problem.status, problem.kind()),
            Err(Denied::Contract(detail)) => format!("{} {}", detail.status, detail.detail),
        }
    }

    #[test]
    fn the_key_decides_the_api_and_the_secret_is_good_under_any_name_of_the_host() {
        let behind = behind("none", "none");
        let ask = |headers: &[_]| asked(&behind, "/labs", "192.0.2.1", headers);
        let (secret, token) = (("authorization", "Bearer secret"), ("authorization", "Bearer token"));
        let elsewhere = ("host", "agent.example:8001");
        assert_eq!(ask(&[secret, elsewhere]), "Contract");
        assert_eq!(ask(&[token, ("host", "10.0.0.11:8001")]), "Own");
        assert_eq!(ask(&[token, elsewhere]), "403 forbidden");
        assert_eq!(ask(&[token, ("host", "localhost"), ("origin", "http://evil.example")]), "403 forbidden");
        assert_eq!(ask(&[elsewhere]), "403 Missing authorization");
        assert_eq!(ask(&[("authorization", "Bearer other")]), "403 Invalid authorization");
    }

    #[test]
    fn metrics_are_for_neighbours_and_for_whoever_has_a_key() {
        let behind = behind("none", "none");
        let ask = |peer, headers: &[_]| asked(&behind, "/metrics", peer, headers);
        assert_eq!(ask("10.1.2.3", &[("host", "agent.example")]), "Own");
        assert_eq!(ask("192.0.2.1", &[]), "403 Metrics access denied");
        assert_eq!(ask("10.1.2.3", &[("origin", "http://evil.example")]), "403 Metrics access denied");
        assert_eq!(ask("192.0.2.1", &[("authorization", "Bearer secret")]), "Own");
        assert_eq!(ask("192.0.2.1", &[("authorization", "Bearer token"), ("host", "agent.example")]), "Own");
    }

    #[test]
    fn a_console_is_opened_without_a_key_only_for_the_controller_and_networks_that_are_named_and_by_no_web_page() {
        let from = behind("10.0.0.2", "172.18.0.0/16");
        let (path, socket) = ("/console/lab/r1", ("upgrade", "websocket"));
        assert_eq!(asked(&from, path, "::ffff:10.0.0.2", &[socket, ("host", "agent")]), "Contract");
        assert_eq!(asked(&from, path, "10.0.0.3", &[socket]), "403 Missing authorization");
        assert_eq!(asked(&from, path, "127.0.0.1", &[socket]), "403 Missing authorization");
        assert_eq!(asked(&from, path, "10.0.0.2", &[]), "403 Missing authorization");
        assert_eq!(asked(&from, "/labs", "10.0.0.2", &[socket]), "403 Missing authorization");
        assert_eq!(asked(&from, path, "10.0.0.2", &[socket, ("origin", "http://evil")]), "403 Missing authorization");
        assert_eq!(asked(&from, path, "172.18.0.3", &[socket]), "Contract");
        assert_eq!(asked(&behind("none", "*"), path, "192.0.2.9", &[socket]), "Contract");
        assert_eq!(asked(&from, path, "192.0.2.9", &[("authorization", "Bearer secret")]), "Contract");
    }

    #[test]
    fn a_guest_that_asks_for_its_first_configuration_is_let_through_to_hear_that_there_is_none() {
        let behind = behind("none", "none");
        assert_eq!(asked(&behind, "/poap/lab/r1/script.py", "192.0.2.1", &[]), "Contract");
    }
}
