//! Which controller the agent belongs to, and what it calls itself there.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;
use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};

/// The controller that the agent registers at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerConfig {
    /// Where it is.
    pub url: ControllerUrl,
    /// What the agent proves itself with in each call; the same secret opens the agent to the controller.
    pub secret: ControllerSecret,
}

/// What the agent says of itself, where something else was wanted than what it finds out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Introduction {
    /// Its id, unless the controller assigns another one; one is made up at the first start if none is given.
    pub id: Option<AgentId>,
    /// Its name; that of the host if none is given. Controllers take two agents of one name for one.
    pub name: Option<String>,
    /// The host (a name or an address) at which the controller and other hosts reach this one.
    pub advertise_host: Option<String>,
    /// Whether it lives beside the controller.
    pub is_local: bool,
}

/// Why a value cannot be used; says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// The address of a controller: `http://HOST[:PORT][/BASE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerUrl {
    host: String,
    port: u16,
    base: String,
}

impl ControllerUrl {
    /// Its host, a name or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What its paths begin with; mostly nothing.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Its host and port, as a request names them.
    pub(crate) fn authority(&self) -> String {
        host_port(&self.host, self.port)
    }
}

/// `host:port`, with brackets around an address of IPv6.
pub(crate) fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl FromStr for ControllerUrl {
    type Err = Unusable;

    fn from_str(text: &str) -> Result<Self, Unusable> {
        let example = "write `http://HOST:PORT`, for example `http://controller:8000`";
        let wrong = |why: &str| Unusable(format!("{why}; {example}"));
        let uri: Uri = text.parse().map_err(|error| wrong(&format!("it is no address ({error})")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong(
                    "agents speak plain http to their controller; use a network that is trusted, or a tunnel to it",
                ));
            }
            Some(other) => return Err(wrong(&format!("`{other}` is not http"))),
            None => return Err(wrong("it does not begin with `http://`")),
        }
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it has a user in it; the agent proves itself with `secret`"));
        }
        if uri.query().is_some() {
            return Err(wrong("it has a query"));
        }
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(':') => return Err(wrong("its port is missing")),
            None => 80,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.contains(':') && host.parse::<IpAddr>().is_err() {
            return Err(wrong("its host is no address"));
        }
        Ok(Self { host, port, base: uri.path().trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for ControllerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.base)
    }
}

/// A secret that is sent as a header. It is written nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ControllerSecret(HeaderValue);

impl ControllerSecret {
    /// The value of the header `Authorization`.
    pub(crate) fn bearer(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl FromStr for ControllerSecret {
    type Err = Unusable;

    fn from_str(text: &str) -> Result<Self, Unusable> {
        let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let bearer = fits.then(|| HeaderValue::from_str(&format!("Bearer {text}")).ok()).flatten();
        let mut bearer =
            bearer.ok_or_else(|| Unusable("it is sent as a header: letters, digits and signs of ASCII only".into()))?;
        bearer.set_sensitive(true);
        Ok(Self(bearer))
    }
}

impl fmt::Debug for ControllerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControllerSecret")
    }
}

/// The longest id that controllers keep.
const ID_MAX: usize = 36;

/// The id of an agent: at most 36 letters, digits, `.`, `_` and `-`, so that it is a segment of a path as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentId(String);

impl AgentId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AgentId {
    type Err = Unusable;

    fn from_str(text: &str) -> Result<Self, Unusable> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        // `.` and `..` are no segments of a path.
        let is_word = text.bytes().any(|byte| byte.is_ascii_alphanumeric());
        if text.len() > ID_MAX || !is_word || !text.bytes().all(fits) {
            return Err(Unusable(format!("an id has at most {ID_MAX} letters, digits, `.`, `_` and `-`")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for AgentId {
    type Error = Unusable;

    fn try_from(text: String) -> Result<Self, Unusable> {
        text.parse()
    }
}

impl From<AgentId> for String {
    fn from(id: AgentId) -> Self {
        id.0
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_and_written_as_it_is_used() {
        let url = |text: &str| text.parse::<ControllerUrl>().unwrap();
        let plain = url("http://controller:8000");
        assert_eq!((plain.host(), plain.port(), plain.base()), ("controller", 8000, ""));
        assert_eq!(url("http://192.0.2.1/").to_string(), "http://192.0.2.1:80");
        let deep = url("http://[2001:db8::1]:8000/api/");
        assert_eq!((deep.host(), deep.base()), ("2001:db8::1", "/api"));
        assert_eq!(deep.to_string(), "http://[2001:db8::1]:8000/api");
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_write() {
        for (bad, says) in [
            ("controller:8000", "http://"),
            ("controller", "http://"),
            ("https://controller", "plain http"),
            ("ftp://controller", "`ftp`"),
            ("http://", "http://HOST"),
            ("http://user@controller", "`secret`"),
            ("http://controller/?x=1", "query"),
            ("http://controller:", "port"),
            ("", "http://HOST"),
        ] {
            let error = bad.parse::<ControllerUrl>().unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("write `http://HOST:PORT`"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let url = "http://controller".parse().unwrap();
        let config = ControllerConfig { url, secret: "hush-hush".parse().unwrap() };
        assert!(!format!("{config:?} {:?}", config.secret.bearer()).contains("hush"));
        assert_eq!(config.secret.bearer(), "Bearer hush-hush");
        for bad in ["", "two words", "line\nbreak", "gr\u{fc}n"] {
            assert!(bad.parse::<ControllerSecret>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_id_is_a_segment_of_a_path() {
        assert_eq!("b39a05df".parse::<AgentId>().unwrap().as_str(), "b39a05df");
        for bad in ["", ".", "..", "a/b", "a b", "a%2F", &"x".repeat(37)] {
            assert!(bad.parse::<AgentId>().is_err(), "{bad}");
        }
    }
}
