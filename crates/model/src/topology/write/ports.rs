//! Ports of a switch as the links that they make: controllers of the agent contract think in ports, files in links.
//!
//! | segment | in the file |
//! |---|---|
//! | two interfaces | a link between them |
//! | one, and a tunnel | a `vxlan-stitch` |
//! | one, and an interface of the host | a `macvlan` that has it for itself |
//! | more interfaces | a node of the kind `bridge`, and a link to it from each |
//! | one alone | nothing |
//!
//! What the format has no link for is a comment, and so is what is not linked: a dummy in its place would need a module that not
//! every kernel has, and join nothing either.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::lab::{
    AccessPort, End, Endpoint, Lab, Link, LinkId, LinkKind, Macvlan, MacvlanMode, SwitchPort, derived_mac,
};
use crate::name::{Mtu, NodeName};

/// A line among the links.
pub(super) enum Line<'a> {
    Link(Box<Cow<'a, Link>>),
    /// What no link says.
    Comment(String),
}

/// What is written of a lab's links.
pub(super) struct Written<'a> {
    /// Nodes that the lab does not have, by which more than two interfaces are joined.
    pub(super) bridges: Vec<NodeName>,
    pub(super) links: Vec<Line<'a>>,
}

/// The ports of a segment.
#[derive(Default)]
struct Segment<'a> {
    /// Those of interfaces of nodes.
    near: Vec<&'a Link>,
    /// Those that lead out of the host.
    far: Vec<(&'a Link, &'a AccessPort)>,
}

/// The links of a lab, without a port by itself. Each segment stands where its first port stood.
pub(super) fn as_links(lab: &Lab) -> Written<'_> {
    let mut segments: BTreeMap<LinkId, Segment<'_>> = BTreeMap::new();
    for link in lab.links() {
        let Some(port) = link.access_port() else { continue };
        let segment = segments.entry(link.segment()).or_default();
        if port.is_of_node() {
            segment.near.push(link);
        } else {
            segment.far.push((link, port));
        }
    }
    let mut written = Written { bridges: Vec::new(), links: Vec::new() };
    let mut alone = Vec::new();
    for link in lab.links() {
        if link.access_port().is_none() {
            written.links.push(Line::Link(Box::new(Cow::Borrowed(link))));
        } else if let Some(segment) = segments.remove(&link.segment()) {
            match (segment.near.as_slice(), segment.far.as_slice()) {
                ([one], []) => alone.push(one.a.label()),
                _ => written.add(lab, &link.segment(), &segment),
            }
        }
    }
    if !alone.is_empty() {
        written.comment(format!("not linked, and left out: {}", alone.join(", ")));
    }
    written
}

impl<'a> Written<'a> {
    fn link(&mut self, link: Link) {
        self.links.push(Line::Link(Box::new(Cow::Owned(link))));
    }

    fn comment(&mut self, text: String) {
        self.links.push(Line::Comment(text));
    }

    fn add(&mut self, lab: &Lab, id: &LinkId, Segment { near, far }: &Segment<'a>) {
        match (near.as_slice(), far.as_slice()) {
            ([one, two], []) => self.link(Link { b: Some(two.a.clone()), ..joined(one, two, LinkKind::Plain) }),
            ([one], [(out, AccessPort { tunnel: Some(tunnel), .. })]) => {
                self.link(joined(one, out, LinkKind::VxlanStitch(tunnel.clone())));
            }
            ([one], [(_, AccessPort { external: Some(parent), .. })]) => {
                let kind = LinkKind::Macvlan(Macvlan { parent: parent.clone(), mode: MacvlanMode::Passthru });
                // It has the MTU of its parent.
                self.link(Link { mtu: Mtu::DEFAULT, kind, ..(*one).clone() });
            }
            _ => {
                if !near.is_empty() {
                    self.around_bridge(lab, id, near);
                }
                for (_, port) in far {
                    self.left_out(id, port);
                }
            }
        }
    }

    /// Joins interfaces by a bridge of the host.
    fn around_bridge(&mut self, lab: &Lab, id: &LinkId, near: &[&Link]) {
        let Some(name) = bridge_of(lab, id) else {
            self.comment(format!("the ports of {id} are left out: there is no name for their bridge"));
            return;
        };
        for (link, number) in near.iter().zip(1..) {
            let Ok(interface) = SwitchPort::cable_to(lab.name(), &link.a.label()).as_str().parse() else { continue };
            let mut end = End { at: Endpoint::Bridge(name.clone()), interface, ..link.a.clone() };
            (end.ipv4, end.ipv6) = (None, None);
            end.vars.clear();
            end.mac = derived_mac(lab.name(), &end.label(), 0);
            if number == 1 {
                self.comment(format!("{id} has {} interfaces", near.len()));
            }
            self.link(Link { b: Some(end), kind: LinkKind::Plain, ..(*link).clone() });
        }
        self.bridges.push(name);
    }

    fn left_out(&mut self, id: &LinkId, port: &AccessPort) {
        let what = match (&port.tunnel, &port.external) {
            (Some(tunnel), _) => format!("the tunnel to {} (vni {})", tunnel.remote, tunnel.vni),
            (None, Some(interface)) => format!("interface {interface} of the host"),
            (None, None) => "a port".to_owned(),
        };
        self.comment(format!("{id} leads to {what}, which no link of a file says"));
    }
}

/// A link by which the end of `one` is joined to what `other` is: what both carry.
fn joined(one: &Link, other: &Link, kind: LinkKind) -> Link {
    Link { mtu: one.mtu.min(other.mtu), kind, ..one.clone() }
}

/// The name of a bridge for a segment, which is no node's.
fn bridge_of(lab: &Lab, id: &LinkId) -> Option<NodeName> {
    // The same each time, and no other lab's on this host, as those of cables are.
    let cable = SwitchPort::cable_to(lab.name(), id.as_str());
    let name = cable.as_str().replacen("vh", "br", 1);
    name.parse().ok().filter(|name| !lab.nodes().contains_key(name))
}
