//! Names that controllers of the agent contract know the things of a lab by, since they look for them.

use md5::{Digest, Md5};

use super::{Endpoint, Lab, Link, LinkId};
use crate::name::{InterfaceName, LabName, NodeName};

/// How much of a lab's id is in the names of its containers.
const OF_LAB: usize = 20;

/// The container of a node of a controller's lab: `archetype-<first 20 of lab>-<node>`.
pub fn controlled_container(lab: &LabName, node: &NodeName) -> String {
    format!(
        "archetype-{}-{}",
        plain(lab.as_str()).take(OF_LAB).collect::<String>(),
        plain(node.as_str()).collect::<String>()
    )
}

fn plain(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c))
}

/// The VXLAN interface on the host of a link to another one.
///
/// # Panics
/// Never: the kernel takes 14 characters.
pub fn tunnel_name(lab: &LabName, link: &LinkId) -> InterfaceName {
    let [a, b, c, d, ..] = <[u8; 16]>::from(Md5::digest(format!("{lab}:{link}")));
    format!("vxlan-{:08x}", u32::from_be_bytes([a, b, c, d])).parse().expect("14 characters that the kernel takes")
}

/// The interface of ours on the host by which a lab is joined to an external network: it hangs on the host's own one.
///
/// # Panics
/// Never: the kernel takes 12 characters.
pub fn external_name(lab: &LabName, interface: &InterfaceName) -> InterfaceName {
    let [a, b, c, d, ..] = <[u8; 16]>::from(Md5::digest(format!("{lab}:{interface}")));
    format!("ext-{:08x}", u32::from_be_bytes([a, b, c, d])).parse().expect("12 characters that the kernel takes")
}

/// The name of a link between two ends, each `node:interface`.
pub fn link_name(a: &str, b: &str) -> LinkId {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    LinkId::from_text(format!("{first}-{second}"))
}

impl LinkId {
    /// Whether it is a number in place of a name. A controller attaches links to external networks by numbers of its own, and lists
    /// and declares them by names, which are of two ends (`r1:eth1-h1:eth1`).
    pub fn is_numbered(&self) -> bool {
        !self.as_str().contains(':')
    }

    /// Whether this, `node:interface`, is one of the two ends that it is named after.
    pub fn has_end(&self, label: &str) -> bool {
        self.end_beside(label).is_some()
    }

    /// The other of the two ends that it is named after, if this is one of them.
    pub fn end_beside(&self, label: &str) -> Option<&str> {
        let text = self.as_str();
        let after = text.strip_prefix(label).and_then(|rest| rest.strip_prefix('-'));
        let other = after.or_else(|| text.strip_suffix(label)?.strip_suffix('-'))?;
        // Names of nodes may have a dash, so that one may end as another is called.
        let (_, interface) = other.rsplit_once(':')?;
        (!interface.contains('-')).then_some(other)
    }
}

impl Lab {
    /// The access ports of nodes, by the segment that they are in.
    pub fn segments(&self) -> impl Iterator<Item = (&LinkId, &Link)> {
        self.parts.links.iter().filter_map(|link| Some((link.access_port()?.segment.as_ref()?, link)))
    }

    /// The tunnels, by the links between hosts that they are halves of.
    pub fn tunnels(&self) -> impl Iterator<Item = (&LinkId, &Link)> {
        self.parts.links.iter().filter_map(|link| Some((link.access_port()?.tunneled()?, link)))
    }

    /// The access ports to external networks, by the interfaces of the host that they are joined by.
    pub fn externals(&self) -> impl Iterator<Item = (&InterfaceName, &Link)> {
        self.parts.links.iter().filter_map(|link| Some((link.access_port()?.external.as_ref()?, link)))
    }

    /// The access port to an external network by an interface of the host.
    pub fn external(&self, interface: &InterfaceName) -> Option<&Link> {
        self.externals().find(|(by, _)| *by == interface).map(|(_, link)| link)
    }

    /// The access port of an interface of a node.
    pub fn port_of(&self, node: &NodeName, interface: &InterfaceName) -> Option<&Link> {
        let is_it = |link: &&Link| {
            link.a.at == Endpoint::Node(node.clone())
                && link.a.interface.kernel() == interface
                && link.access_port().is_some()
        };
        self.parts.links.iter().find(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_named_after_its_two_ends_or_has_a_number() {
        let link = link_name("r1:eth1", "a-r1:eth1");
        assert_eq!((link.end_beside("r1:eth1"), link.end_beside("a-r1:eth1")), (Some("a-r1:eth1"), Some("r1:eth1")));
        assert!(
            !LinkId::from_text("r2:eth1-a-r1:eth1").has_end("r1:eth1")
                && !link_name("a-r1:eth1", "r2:eth1").has_end("r1:eth1")
        );
        assert!(!link.has_end("r1:eth") && !link.has_end("a:eth1") && !link.is_numbered());
        assert!(LinkId::from_text("5b0c5b36-6a6e-4f0e-9d3a-6a1f3a1f0c11").is_numbered());
    }

    #[test]
    fn names_are_those_that_were_seen_on_the_wire() {
        let lab = "11c55636-995a-43e9-93d5-009dd12a071a".parse().unwrap();
        assert_eq!(controlled_container(&lab, &"r1".parse().unwrap()), "archetype-11c55636-995a-43e9-9-r1");
        assert_eq!(link_name("r1:eth1", "h1:eth1").as_str(), "h1:eth1-r1:eth1");
        let tunnel = tunnel_name(&"lab".parse().unwrap(), &link_name("r1:eth1", "h1:eth1"));
        // printf 'lab:h1:eth1-r1:eth1' | md5sum
        assert_eq!(tunnel.as_str(), "vxlan-cf6592c4");
        let external = external_name(&"lab".parse().unwrap(), &"eth1".parse().unwrap());
        assert_eq!(external.as_str(), "ext-c815ed62");
    }
}
