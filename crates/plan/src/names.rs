//! The names file of a lab: what its nodes see as `/etc/hosts`.

use std::collections::BTreeMap;
use std::fmt::Write;

use netloom_model::{Endpoint, Ipv4Net, Ipv6Net, Lab, Link, NodeName, hex};

use crate::left_out::LeftOut;

/// The content of the names file: localhost, then each node with its addresses on the management network, or else its first
/// IPv4 and its first IPv6 address of the topology.
/// A node without addresses in the topology is left out, since its name has nothing to stand for.
pub fn names(lab: &Lab) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let mut first: BTreeMap<&NodeName, (Option<Ipv4Net>, Option<Ipv6Net>)> = BTreeMap::new();
    let left_out = LeftOut::of(lab);
    for (node, spec) in lab.managed() {
        let net4 = |address| Ipv4Net { address, prefix: 32 };
        let net6 = |address| Ipv6Net { address, prefix: 128 };
        first.insert(node, (spec.management.ipv4.map(net4), spec.management.ipv6.map(net6)));
    }
    for end in left_out.made(lab).flat_map(Link::ends) {
        if let Endpoint::Node(node) = &end.at {
            let known = first.entry(node).or_default();
            known.0 = known.0.or(end.ipv4);
            known.1 = known.1.or(end.ipv6);
        }
    }
    for (node, (ipv4, ipv6)) in first {
        let alias = lab.container_name(node);
        let mut alias = if alias == node.as_str() { String::new() } else { format!(" {alias}") };
        for more in &lab.nodes()[node].management.aliases {
            let _ = write!(alias, " {more}");
        }
        if let Some(net) = ipv4 {
            let _ = writeln!(text, "{}\t{node}{alias}", net.address);
        }
        if let Some(net) = ipv6 {
            let _ = writeln!(text, "{}\t{node}{alias}", net.address);
        }
    }
    text
}

/// The hash by which a names file is compared: 16 hex digits.
pub fn names_hash(content: &str) -> String {
    hex(content.as_bytes())[..16].to_owned()
}
