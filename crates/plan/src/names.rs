//! The names file of a lab: what its nodes see as `/etc/hosts`.

use std::fmt::Write;

use netloom_model::{Endpoint, Lab, NodeKind, hex};

/// The content of the names file: localhost, then each node with its first IPv4 and its first IPv6 address.
/// A node without addresses in the topology is left out, since its name has nothing to stand for.
pub fn names(lab: &Lab) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for (name, node) in lab.nodes() {
        if node.kind != NodeKind::Linux {
            continue;
        }
        let own = || {
            lab.links().iter().flat_map(netloom_model::Link::ends).filter(|end| end.at == Endpoint::Node(name.clone()))
        };
        let alias = lab.container_name(name);
        let mut line = |address: String| {
            let _ = write!(text, "{address}\t{name}");
            if alias != name.as_str() {
                let _ = write!(text, " {alias}");
            }
            text.push('\n');
        };
        if let Some(net) = own().find_map(|end| end.ipv4) {
            line(net.address.to_string());
        }
        if let Some(net) = own().find_map(|end| end.ipv6) {
            line(net.address.to_string());
        }
    }
    text
}

/// The hash by which a names file is compared: 16 hex digits.
pub fn names_hash(content: &str) -> String {
    hex(content.as_bytes())[..16].to_owned()
}
