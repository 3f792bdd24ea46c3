//! Commands that add an address which is there already, and complain of it: `ip addr add 10.0.0.1/24 dev eth1`.
//!
//! Other readers of the format give the addresses of a link to nobody but nodes that are configured from a file, so topologies
//! repeat them as commands. And a container that is started again has the interfaces and addresses that it had.

use std::net::IpAddr;

use netloom_model::{Lab, Link, NodeName};

/// Whether a command of a node does nothing but add an address that a link gives to its interface.
pub fn repeats_link(lab: &Lab, node: &NodeName, argv: &[String]) -> bool {
    let Some((address, interface)) = added_address(argv) else { return false };
    let own = lab.links().iter().flat_map(Link::ends).filter(|end| end.at.node() == Some(node));
    let mut addresses = own
        .filter(|end| {
            let of = &end.interface;
            [Some(of.kernel().as_str()), of.altname(), of.alias()].contains(&Some(interface))
        })
        .flat_map(|end| {
            let ipv4 = end.ipv4.map(|net| (IpAddr::V4(net.address), net.prefix));
            let ipv6 = end.ipv6.map(|net| (IpAddr::V6(net.address), net.prefix));
            ipv4.into_iter().chain(ipv6)
        });
    addresses.any(|own| own == address)
}

/// The address with the length of its prefix, and the interface, of `ip [OPTION…] address add ADDRESS dev NAME`.
pub fn added_address(argv: &[String]) -> Option<((IpAddr, u8), &str)> {
    let mut words = argv.iter().map(String::as_str);
    let program = words.next()?;
    if program.rsplit('/').next() != Some("ip") {
        return None;
    }
    let mut words = words.skip_while(|word| word.starts_with('-'));
    let (object, verb) = (words.next()?, words.next()?);
    // `ip` takes any beginning of its words.
    if !"address".starts_with(object) && object != "addr" || !"add".starts_with(verb) {
        return None;
    }
    let (mut address, mut interface) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "dev" => interface = Some(words.next()?),
            "local" => address = Some(words.next()?),
            word if address.is_none() => address = Some(word),
            // It says more than an address.
            _ => return None,
        }
    }
    let (address, prefix) = address?.split_once('/')?;
    Some(((address.parse().ok()?, prefix.parse().ok()?), interface?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_of_a_link_that_is_added_once_more_is_known() {
        let node = json!({ "kind": "linux", "runtime": "docker", "image": "x", "hostname": "x" });
        let end = |node: &str, mac: &str, ipv4: &str, ipv6: &str| json!({ "at": { "node": node }, "interface": "eth1", "mac": mac, "ipv4": ipv4, "ipv6": ipv6 });
        let (a, b) = (
            end("a", "02:00:00:00:00:01", "10.0.0.1/24", "2001:db8::1/64"),
            end("b", "02:00:00:00:00:02", "10.0.0.2/24", "2001:db8::2/64"),
        );
        let lab = json!({ "name": "lab", "nodes": { "a": node, "b": node }, "links": [{ "a": a, "b": b }] });
        let lab: Lab = serde_json::from_value(lab).unwrap();
        let repeats = |text: &str| {
            let argv: Vec<String> = text.split(' ').map(str::to_owned).collect();
            repeats_link(&lab, &"a".parse().unwrap(), &argv)
        };
        for text in [
            "ip addr add 10.0.0.1/24 dev eth1",
            "ip a a 10.0.0.1/24 dev eth1",
            "/sbin/ip address add dev eth1 10.0.0.1/24",
            "ip -6 addr add 2001:db8:0::1/64 dev eth1",
            "ip addr add local 10.0.0.1/24 dev eth1",
        ] {
            assert!(repeats(text), "{text}");
        }
        for text in [
            "ip addr add 10.0.0.1/25 dev eth1",
            "ip addr add 10.0.0.2/24 dev eth1",
            "ip addr add 10.0.0.1/24 dev eth2",
            "ip addr add 10.0.0.1/24 dev eth1 label x",
            "ip addr del 10.0.0.1/24 dev eth1",
            "ip addr add 10.0.0.1 dev eth1",
            "ip route add 10.0.0.1/24 dev eth1",
            "ip addr add 10.0.0.1/24 dev",
            "zip addr add 10.0.0.1/24 dev eth1",
            "ip",
        ] {
            assert!(!repeats(text), "{text}");
        }
    }
}
