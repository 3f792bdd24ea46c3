//! Sets of addresses, as a configuration names them.

use std::net::IpAddr;
use std::str::FromStr;

use netloom_model::{Ipv4Net, Ipv6Net};

/// Networks by address and prefix length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    V4(Ipv4Net),
    V6(Ipv6Net),
}

impl Networks {
    /// The host itself, and what no router of the internet knows (RFC 1918).
    pub const PRIVATE: &str = "127.0.0.0/8, ::1/128, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16";

    /// Nobody.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether an address is in one of them. One of IPv4 that came by IPv6 (`::ffff:10.0.0.1`) is what it is of IPv4.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| match (network, address) {
            (Network::V4(network), IpAddr::V4(address)) => network.contains(address),
            (Network::V6(network), IpAddr::V6(address)) => network.contains(address),
            _ => false,
        })
    }
}

impl Default for Networks {
    /// Those of [`Self::PRIVATE`].
    fn default() -> Self {
        Self::PRIVATE.parse().expect("networks as they are written")
    }
}

impl FromStr for Networks {
    type Err = String;

    /// `10.0.0.0/8, 192.0.2.7`: networks and single addresses, with commas or spaces between them; `none`, or `*` for
    /// everyone.
    fn from_str(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            "none" => "",
            "*" => "0.0.0.0/0, ::/0",
            text => text,
        };
        let words = text.split([',', ' ']).filter(|word| !word.is_empty());
        words.map(network).collect::<Result<_, _>>().map(Self)
    }
}

fn network(word: &str) -> Result<Network, String> {
    let bad = || format!("`{word}` is no network; write addresses with prefix lengths: `10.0.0.0/8, ::1/128`");
    let whole = match word.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => format!("{word}/32"),
        Ok(IpAddr::V6(_)) => format!("{word}/128"),
        Err(_) => word.to_owned(),
    };
    let v4 = whole.parse().map(Network::V4);
    v4.or_else(|_| whole.parse().map(Network::V6)).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_networks_that_are_named() {
        let contain =
            |networks: &str, address: &str| networks.parse::<Networks>().unwrap().contain(address.parse().unwrap());
        for private in ["127.0.0.1", "10.255.0.1", "172.31.0.1", "192.168.7.7", "::1", "::ffff:10.0.0.1"] {
            assert!(contain(Networks::PRIVATE, private), "{private}");
        }
        for public in ["172.32.0.1", "192.0.2.1", "2001:db8::1", "::2", "::ffff:192.0.2.1"] {
            assert!(!contain(Networks::PRIVATE, public), "{public}");
        }
        assert!(contain("192.0.2.7 2001:db8::/32", "192.0.2.7") && contain("192.0.2.7 2001:db8::/32", "2001:db8::1"));
        assert!(!contain("192.0.2.7", "192.0.2.8"));
        assert!(contain("*", "8.8.8.8") && contain("*", "2001:db8::1") && !contain("none", "127.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_said() {
        for bad in ["10.0.0.0/33", "lab", "10.0.0.0/8;::1"] {
            assert!(bad.parse::<Networks>().unwrap_err().contains("is no network"), "{bad}");
        }
    }
}
