//! Published ports: `[address:][host port:]port[/protocol]`, as Docker writes them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::name::Invalid;

/// One published port, or a range of them; written as Docker writes it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortMapping {
    /// The address of the host it is published on; all of them if none is given.
    pub address: Option<IpAddr>,
    /// The ports on the host; the runtime chooses if none is given.
    pub host: Option<PortRange>,
    /// The ports in the node.
    pub node: PortRange,
    /// The protocol.
    pub protocol: Protocol,
}

/// Ports that follow each other: one, if first and last are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port, not before the first.
    pub last: u16,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl PortRange {
    fn span(self) -> u16 {
        self.last - self.first
    }
}

impl FromStr for PortRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let port = text.parse::<u16>().ok().filter(|port| digits && *port > 0);
            port.ok_or_else(|| format!("has the port `{}`; a port is 1 to 65535", text.escape_debug()))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if last < first {
            return Err(format!("has the range `{first}-{last}`, which ends before it begins"));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

impl FromStr for PortMapping {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = |why: String| Invalid::new("port", text, why);
        let (ports, protocol) = match text.rsplit_once('/') {
            Some((ports, protocol)) => (ports, protocol),
            None => (text, "tcp"),
        };
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            other => {
                let other = other.escape_debug();
                return Err(bad(format!("has the protocol `{other}`; possible are `tcp`, `udp` and `sctp`")));
            }
        };
        let (outside, node) = match ports.rsplit_once(':') {
            Some((outside, node)) => (Some(outside), node),
            None => (None, ports),
        };
        let node: PortRange = node.parse().map_err(bad)?;
        let (address, host) = match outside {
            None => (None, None),
            Some(outside) => match outside.rsplit_once(':') {
                Some((address, host)) => (Some(address), Some(host)),
                None => (None, Some(outside)),
            },
        };
        let address = match address.map(|text| text.trim_start_matches('[').trim_end_matches(']')) {
            None | Some("") => None,
            Some(text) => {
                let no_address = |_| bad(format!("has the address `{}`, which is none", text.escape_debug()));
                Some(text.parse::<IpAddr>().map_err(no_address)?)
            }
        };
        let host: Option<PortRange> = match host {
            None | Some("") => None,
            Some(text) => Some(text.parse().map_err(bad)?),
        };
        // Of a range for one port the runtime takes the first that is free.
        if let Some(host) = host.filter(|host| host.span() != node.span() && node.span() > 0) {
            return Err(bad(format!(
                "has {} ports on the host for {} in the node",
                u32::from(host.span()) + 1,
                u32::from(node.span()) + 1
            )));
        }
        Ok(Self { address, host, node, protocol })
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(address) => write!(f, "{address}:")?,
            None => {}
        }
        match self.host {
            Some(host) => write!(f, "{host}:")?,
            None if self.address.is_some() => f.write_str(":")?,
            None => {}
        }
        write!(f, "{}", self.node)?;
        match self.protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => f.write_str("/udp"),
            Protocol::Sctp => f.write_str("/sctp"),
        }
    }
}

impl TryFrom<String> for PortMapping {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<PortMapping> for String {
    fn from(port: PortMapping) -> String {
        port.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::PortMapping;

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        for (text, written) in [
            ("80", "80"),
            ("8080:80", "8080:80"),
            ("22:22", "22:22"),
            ("8080:80/TCP", "8080:80"),
            ("5353:53/udp", "5353:53/udp"),
            ("127.0.0.1:8080:80/tcp", "127.0.0.1:8080:80"),
            ("127.0.0.1::80", "127.0.0.1::80"),
            ("[::1]:8080:80", "[::1]:8080:80"),
            ("::1:8080:80", "[::1]:8080:80"),
            ("8000-8005:9000-9005", "8000-8005:9000-9005"),
            ("8000-8005:80", "8000-8005:80"),
            (":80", "80"),
        ] {
            let port: PortMapping = text.parse().unwrap();
            assert_eq!(port.to_string(), written, "{text}");
            assert_eq!(written.parse(), Ok(port), "{text}");
        }
        for bad in ["", "a", "80:", "0", "65536", "80/icmp", "+80", "x:80:80", "5-1", "1-2:1-3", "1:2:3:4", "80-"] {
            assert!(bad.parse::<PortMapping>().is_err(), "{bad}");
        }
    }
}
