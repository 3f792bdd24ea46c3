//! The lab that is measured: a ring of nodes that run nothing but their init, with an IPv4 network on each link.

use std::fmt::Write as _;

/// The name of a node.
pub(crate) fn node(number: usize) -> String {
    format!("n{number}")
}

/// The two ends of a link, as text: in the order in which Netloom names a link after them.
pub(crate) fn link(number: usize, size: usize) -> String {
    let mut ends = [format!("{}:eth1", node(number)), format!("{}:eth2", node((number + 1) % size))];
    ends.sort_unstable();
    ends.join("-")
}

/// The addresses of the two ends of a link.
pub(crate) fn addresses(link: usize) -> [String; 2] {
    let network = 4 * link;
    [1, 2].map(|host| {
        let at = network + host;
        format!("10.{}.{}.{}/30", (at >> 16) & 255, (at >> 8) & 255, at & 255)
    })
}

/// What the nodes of a ring are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Nodes {
    /// Namespaces with an init.
    Namespaces,
    /// The same, their links on Open vSwitch.
    Switched,
    /// Containers of an image, without a network beside their links.
    Containers(&'static str),
    /// The same on the management network.
    Managed(&'static str),
}

/// The topology file of a ring.
pub(crate) fn topology(name: &str, size: usize, nodes: Nodes) -> String {
    let settings = if matches!(nodes, Nodes::Switched) { "settings: { fabric: ovs }\n" } else { "" };
    let nodes = match nodes {
        Nodes::Namespaces | Nodes::Switched => "runtime: namespace".to_owned(),
        Nodes::Containers(image) => format!("image: \"{image}\", network-mode: none"),
        Nodes::Managed(image) => format!("image: \"{image}\""),
    };
    let mut text = format!("name: {name}\n{settings}topology:\n  defaults: {{ kind: linux, {nodes} }}\n  nodes:\n");
    for number in 0..size {
        let _ = writeln!(text, "    {}:", node(number));
    }
    text.push_str("  links:\n");
    for number in 0..size {
        let [a, b] = addresses(number);
        let (from, to) = (node(number), node((number + 1) % size));
        let _ = writeln!(text, "    - endpoints: [\"{from}:eth1\", \"{to}:eth2\"]\n      ipv4: [\"{a}\", \"{b}\"]");
    }
    text
}
