//! Where the daemon listens.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the daemon listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// On this unix socket.
    Unix(PathBuf),
    /// Nowhere that can be talked to: each call says why. So whoever has other things to do than Docker can do them.
    Nowhere(EndpointError),
}

impl Endpoint {
    /// The socket that the daemon listens on.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Nowhere(_) => None,
        }
    }

    /// What `DOCKER_HOST` says, or Docker's own default where it is not set or empty.
    pub fn from_env() -> Result<Self, EndpointError> {
        match std::env::var("DOCKER_HOST") {
            Ok(text) if !text.is_empty() => text.parse(),
            Err(std::env::VarError::NotUnicode(text)) => Err(EndpointError::Unknown(text.display().to_string())),
            _ => Ok(Self::default()),
        }
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self::Unix("/var/run/docker.sock".into())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Nowhere(error) => error.fmt(f),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Reads the text of `DOCKER_HOST`.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(EndpointError::NotAbsolute(text.to_owned())),
            None if ["tcp://", "ssh://", "http://", "https://", "npipe://", "fd://"]
                .iter()
                .any(|s| text.starts_with(s)) =>
            {
                Err(EndpointError::Remote(text.to_owned()))
            }
            None => Err(EndpointError::Unknown(text.to_owned())),
        }
    }
}

/// Why a text is no place where a daemon can be talked to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum EndpointError {
    /// Another transport than a unix socket.
    #[error(
        "Docker at `{0}` is not supported: only a daemon of this host is, through its unix socket; \
         write unix:///var/run/docker.sock"
    )]
    Remote(String),
    /// A unix socket by a path that depends on where one is.
    #[error("the path of the socket in `{0}` is not absolute; write unix:///var/run/docker.sock")]
    NotAbsolute(String),
    /// Nothing that is known.
    #[error("`{0}` is no address of a Docker daemon; write unix:///var/run/docker.sock")]
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_read_and_written() {
        let endpoint: Endpoint = "unix:///run/user/1000/docker.sock".parse().unwrap();
        assert_eq!(endpoint, Endpoint::Unix("/run/user/1000/docker.sock".into()));
        assert_eq!(endpoint.to_string(), "unix:///run/user/1000/docker.sock");
    }

    #[test]
    fn other_transports_are_refused_with_what_to_write() {
        for text in ["tcp://10.0.0.1:2375", "ssh://host"] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert_eq!(error, EndpointError::Remote(text.into()));
            assert!(error.to_string().contains("write unix:///"), "{error}");
        }
        assert!(matches!("unix://docker.sock".parse::<Endpoint>(), Err(EndpointError::NotAbsolute(_))));
        assert!(matches!("/var/run/docker.sock".parse::<Endpoint>(), Err(EndpointError::Unknown(_))));
    }
}
