//! From the marks of another agent to a wish of ours, with every port, tag and tunnel just as it is. Pure.
//!
//! What is not sure is left out, with the reason; it stays as it is. A lab in which something else has the same tag as a port is
//! refused as a whole: its wiring would not be what the wish says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netloom_model::{
    AccessPort, End, Endpoint, InterfaceName, Lab, LabName, Link, LinkId, LinkKind, Mtu, Node, NodeName, SwitchPort,
    Vxlan, controlled_container, derived_mac, link_name, tunnel_name,
};

use netloom_plan::NodeState;

use super::view::{LeftOut, TakenNode, TakenPort, TakenSegment, TakenTunnel, Takeover};
use super::{Inherited, InheritedEnd, InheritedNode, InheritedPort, InheritedTunnel};
use crate::desired::{Authority, Phase, Wish};
use crate::driver::{Joins, TagClaim};
use crate::lab::{Ground, PortName, nothing, says_of_port, says_of_tunnel};
use crate::snapshot::Snapshot;
use crate::tags::LabTags;

/// Beside what a lab is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside<'a> {
    pub(super) ground: Ground<'a>,
    /// Who decides about the labs of that agent from now on.
    pub(super) authority: &'a Authority,
    /// What is wanted of the lab already.
    pub(super) there: Option<&'a Wish>,
    /// The tags that its links have, as the store has them.
    pub(super) tags: &'a LabTags,
    /// What is there of ours.
    pub(super) snapshot: &'a Snapshot,
}

/// What becomes of a lab.
#[derive(Debug)]
pub(super) struct Heir {
    pub(super) view: Takeover,
    /// What is wanted from now on; nothing if it is refused.
    pub(super) wish: Option<Wish>,
    /// The containers that are nodes from now on.
    pub(super) nodes: Vec<(NodeName, String)>,
    /// The links whose interfaces and ports get our marks.
    pub(super) links: Vec<LinkId>,
    /// All tags of the lab.
    pub(super) tags: LabTags,
    /// Those that are claimed.
    pub(super) claims: Vec<TagClaim>,
}

/// The labs of which anything is there, but for names that are none.
pub(super) fn labs(inherited: &Inherited) -> BTreeSet<LabName> {
    let nodes = inherited.nodes.iter().filter(|node| node.owner.is_none()).map(|node| &node.lab);
    nodes.chain(inherited.ports.iter().map(|port| &port.lab)).filter_map(|lab| lab.parse().ok()).collect()
}

/// Reads one lab.
pub(super) fn read(lab: &LabName, inherited: &Inherited, beside: Beside<'_>) -> Heir {
    let mut reading = Reading::new(lab, inherited, beside);
    reading.refuse_others();
    reading.nodes();
    reading.ports();
    reading.tunnels();
    reading.finish()
}

/// A port or a tunnel on its way into the wish.
struct Found {
    link: Link,
    tag: u16,
}

struct Reading<'a> {
    lab: &'a LabName,
    inherited: &'a Inherited,
    beside: Beside<'a>,
    view: Takeover,
    nodes: BTreeMap<NodeName, &'a InheritedNode>,
    /// By the ends of their links.
    ports: BTreeMap<String, Found>,
    tunnels: BTreeMap<LinkId, Found>,
}

impl<'a> Reading<'a> {
    fn new(lab: &'a LabName, inherited: &'a Inherited, beside: Beside<'a>) -> Self {
        let view = Takeover {
            lab: lab.clone(),
            nodes: Vec::new(),
            ports: Vec::new(),
            segments: Vec::new(),
            tunnels: Vec::new(),
            links: Vec::new(),
            left_out: Vec::new(),
            refused: Vec::new(),
        };
        let (nodes, ports, tunnels) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { lab, inherited, beside, view, nodes, ports, tunnels }
    }

    fn leave_out(&mut self, what: String, why: impl Into<String>) {
        self.view.left_out.push(LeftOut { what, why: why.into() });
    }

    /// A lab that somebody else decides about, or that is going.
    fn refuse_others(&mut self) {
        let Some(there) = self.beside.there else { return };
        if there.authority != *self.beside.authority {
            let why = format!("a lab of this name is here already, and is {}'s; destroy that first", there.authority);
            self.view.refused.push(why);
        }
        if there.phase == Phase::Destroy {
            self.view.refused.push("a lab of this name is being destroyed; wait until it is gone".to_owned());
        }
        if let Some(why) = &there.held {
            self.view.refused.push(format!("the lab is held as it is: {why}"));
        }
    }

    fn nodes(&mut self) {
        for node in self.inherited.nodes.iter().filter(|node| node.lab == self.lab.as_str()) {
            match self.node(node) {
                Ok(name) => {
                    let (container, runtime_id) = (Some(node.container.clone()), Some(node.id.clone()));
                    self.view.nodes.push(TakenNode { name: name.clone(), container, runtime_id });
                    self.nodes.insert(name, node);
                }
                Err(why) => self.leave_out(format!("container {}", node.container), why),
            }
        }
    }

    fn node(&self, node: &InheritedNode) -> Result<NodeName, String> {
        let name: NodeName =
            node.name.parse().map_err(|error| format!("`{}` is no name of a node: {error}", node.name))?;
        if let Some(other) = self.nodes.get(&name) {
            return Err(format!("it says that it is node {name}, as container {} does", other.container));
        }
        let expected = controlled_container(self.lab, &name);
        if node.container != expected {
            return Err(format!("the container of node {name} is called `{expected}`, and this one is not"));
        }
        let own = (self.lab.clone(), name);
        if let Some((lab, node)) = node.owner.as_ref().filter(|owner| **owner != own) {
            return Err(format!("it is node {node} of lab {lab} already"));
        }
        let name = own.1;
        if node.owner.is_none() && self.has(&name) {
            return Err(format!("the lab has a node {name} already, which is another container"));
        }
        match &node.ends {
            Ok(_) => Ok(name),
            Err(why) => Err(why.clone()),
        }
    }

    /// Whether there is a container of ours of a node.
    fn has(&self, node: &NodeName) -> bool {
        self.beside.snapshot.node(self.lab, node).is_some_and(|fact| fact.state != NodeState::Absent)
    }

    /// Whether the lab has a node already, as it was adopted.
    fn is_known(&self, name: &NodeName, node: &InheritedNode) -> bool {
        let is_wanted = self.beside.there.is_some_and(|there| there.lab.nodes().contains_key(name));
        is_wanted && node.owner.is_some()
    }

    /// Whether a link carries our marks already.
    fn is_marked(&self, link: &Link) -> bool {
        let Some(there) = self.beside.there else { return false };
        let host = |link: &Link| there.lab.switch_ports(link).into_iter().next().map(|port| port.interface);
        let known = there.lab.link(&link.id()).and_then(host);
        let is_plugged = known.is_some_and(|host| self.beside.snapshot.switch.port(&host).is_some());
        is_plugged && self.beside.snapshot.links(self.lab).contains_key(&link.id())
    }

    fn ports(&mut self) {
        let inherited = self.inherited;
        for port in inherited.ports.iter().filter(|port| port.lab == self.lab.as_str()) {
            match self.port(port) {
                Ok((name, found)) => {
                    let PortName { node, interface } = name.clone();
                    let (host, tag) = (port.name.clone(), found.tag);
                    self.view.ports.push(TakenPort { node, interface, host, tag });
                    self.ports.insert(name.label(), found);
                }
                Err(why) => self.leave_out(format!("port {}", port.name), why),
            }
        }
    }

    fn port(&self, port: &InheritedPort) -> Result<(PortName, Found), String> {
        let (bridge, switch) = (&port.bridge, self.beside.ground.switch);
        if bridge != switch {
            return Err(format!("it is on bridge `{bridge}`, and `ovs-bridge` of this agent is `{switch}`"));
        }
        let cable = port.on_host.ok_or("its interface on the host is gone; `ovs-vsctl del-port` removes it")?;
        let is_other_end = |end: &&InheritedEnd| cable.peer == Some(end.number) && end.peer == Some(cable.number);
        let mut behind = self.nodes.iter().filter_map(|(name, node)| {
            let end = node.ends.as_ref().ok()?.iter().find(is_other_end)?;
            Some((name, end))
        });
        let (node, end) = behind.next().ok_or_else(|| match &port.node {
            Some(node) => {
                format!("its other end is in no node of the lab that is adopted; it says that it is `{node}`'s")
            }
            None => "its other end is in no node of the lab that is adopted".to_owned(),
        })?;
        if let Some(said) = port.node.as_ref().filter(|said| *said != node.as_str()) {
            return Err(format!("it says that it is node {said}'s, and its other end is in node {node}"));
        }
        if let Some(said) = port.interface.as_ref().filter(|said| *said != end.name.as_str()) {
            return Err(format!("it says that it is {node}:{said}, and its other end is called {}", end.name));
        }
        let name = PortName { node: node.clone(), interface: end.name.clone() };
        if let Some(other) = self.ports.get(&name.label()) {
            let other = other.link.access_port().and_then(|port| port.host.clone());
            return Err(format!(
                "port {} is {} too",
                other.map_or_else(String::new, |name| name.to_string()),
                name.label()
            ));
        }
        let tag = tag_of(&port.vlan, port.fault.as_deref())?;
        let mac = end.mac.ok_or("its other end has no MAC address")?;
        let mtu = Mtu::try_from(end.mtu).map_err(|error| error.to_string())?;
        let interface = end.name.as_str().parse().map_err(|error| format!("its other end: {error}"))?;
        let label = name.label();
        let host = (port.name != SwitchPort::cable_to(self.lab, &label)).then(|| port.name.clone());
        let kind = AccessPort {
            bridge: bridge.clone(),
            segment: None,
            tunnel: None,
            half_of: None,
            names: BTreeSet::new(),
            external: None,
            boot: None,
            dark: !cable.is_up,
            says: says_of_port(self.lab, &name),
            host,
        };
        let end = End::new(Endpoint::Node(name.node.clone()), interface, mac);
        let link = Link { mtu, kind: LinkKind::AccessPort(kind), ..Link::new(end, None) };
        Ok((name, Found { link, tag }))
    }

    fn tunnels(&mut self) {
        let inherited = self.inherited;
        let told = inherited.links.iter().filter(|(lab, _)| lab == self.lab).map(|(_, link)| link);
        let there = self
            .beside
            .there
            .into_iter()
            .flat_map(|there| there.lab.segments().chain(there.lab.tunnels()))
            .map(|(link, _)| link);
        let names: BTreeMap<InterfaceName, &LinkId> =
            told.chain(there).map(|link| (tunnel_name(self.lab, link), link)).collect();
        let tags: BTreeSet<u16> = self.ports.values().map(|port| port.tag).collect();
        for tunnel in inherited.tunnels.iter().filter(|tunnel| tunnel.bridge == *self.beside.ground.switch) {
            let what = || format!("tunnel {}", tunnel.name);
            match names.get(&tunnel.name) {
                Some(link) => match self.tunnel(link, tunnel) {
                    Ok(found) => drop(self.tunnels.insert((*link).clone(), found)),
                    Err(why) => self.leave_out(what(), why),
                },
                // Whose it is can be told only by who is joined to it.
                None if tunnel.vlan.tag.is_some_and(|tag| tags.contains(&tag)) => {
                    let why = "it says by a hash alone which link it is of, and that agent's file of its tunnels does not name one \
                               that fits; it goes on as it is, and the controller's next declaration of it is refused until it is \
                               removed";
                    self.leave_out(what(), why);
                }
                None => {}
            }
        }
    }

    fn tunnel(&mut self, link: &LinkId, tunnel: &InheritedTunnel) -> Result<Found, String> {
        let tag = tag_of(&tunnel.vlan, tunnel.fault.as_deref())?;
        let (vni, dst_port) = tunnel.vni.ok_or("its interface on the host is gone, or is no tunnel")?;
        let (local, remote) = tunnel.between.ok_or("it does not lead from one address to another")?;
        let mtu = Mtu::try_from(tunnel.mtu).map_err(|error| error.to_string())?;
        let (bridge, boot) = (self.beside.ground.switch.clone(), Some(self.beside.ground.boot.to_owned()));
        let leads =
            Vxlan { remote: remote.to_string(), vni, dst_port, src_port: None, parent: None, local: Some(local) };
        let kind = AccessPort {
            bridge,
            segment: Some(link.clone()),
            tunnel: Some(leads),
            half_of: None,
            names: BTreeSet::new(),
            external: None,
            boot,
            dark: false,
            says: says_of_tunnel(self.lab, link),
            host: None,
        };
        let interface = tunnel.name.as_str().parse().map_err(|error| format!("its interface: {error}"))?;
        let mac = derived_mac(self.lab, tunnel.name.as_str(), 0);
        let end = End::new(Endpoint::Remote(remote.to_string()), interface, mac);
        let host = tunnel.name.clone();
        self.view.tunnels.push(TakenTunnel { link: link.clone(), host, tag, vni, local, remote });
        Ok(Found { link: Link { mtu, kind: LinkKind::AccessPort(kind), ..Link::new(end, None) }, tag })
    }

    /// Puts the ports that share a tag into segments, and says by what each tag goes.
    fn segments(&mut self) -> LabTags {
        let mut by_tag: BTreeMap<u16, Vec<String>> = BTreeMap::new();
        for (label, port) in &self.ports {
            by_tag.entry(port.tag).or_default().push(label.clone());
        }
        let mut tags = LabTags::new();
        for (link, tunnel) in &self.tunnels {
            tags.insert(link.clone(), tunnel.tag);
            by_tag.entry(tunnel.tag).or_default();
        }
        let there = self.beside.there.map(|there| there.lab.clone());
        for (tag, labels) in by_tag {
            let of_tunnel = self.tunnels.iter().find(|(_, tunnel)| tunnel.tag == tag).map(|(link, _)| link.clone());
            let in_one = |label: &String| {
                let link = there.as_ref()?.link(&LinkId::from_text(label.as_str()))?;
                link.access_port()?.segment.clone()
            };
            let pair = || match labels.as_slice() {
                [a, b, ..] => Some(link_name(a, b)),
                _ => None,
            };
            let Some(segment) = labels.iter().find_map(in_one).or(of_tunnel).or_else(pair) else {
                tags.extend(labels.first().map(|alone| (LinkId::from_text(alone.as_str()), tag)));
                continue;
            };
            for label in &labels {
                if let Some(Found { link: Link { kind: LinkKind::AccessPort(port), .. }, .. }) =
                    self.ports.get_mut(label)
                {
                    port.segment = Some(segment.clone());
                }
            }
            tags.insert(segment.clone(), tag);
            self.view.segments.push(TakenSegment { link: segment, tag, ports: labels });
        }
        tags
    }

    /// A tag that something of another lab has joins the two.
    fn refuse_shared(&mut self, tags: &LabTags) {
        let (bridge, lab) = (self.beside.ground.switch, self.lab);
        let switch = &self.beside.snapshot.switch;
        for (link, tag) in tags {
            let theirs = self
                .inherited
                .ports
                .iter()
                .find(|port| port.lab != lab.as_str() && port.bridge == *bridge && port.vlan.tag == Some(*tag));
            let theirs = theirs.map(|port| format!("port {} of lab {}", port.name, port.lab));
            let ours = switch.ports().find(|port| {
                port.lab != *lab
                    && port.bridge == *bridge
                    && (port.vlan.tag == Some(*tag) || port.vlan.trunks.contains(tag))
            });
            let ours = ours.map(|port| format!("port {} of lab {}", port.name, port.lab));
            let claimed = switch.tag(bridge, *tag).filter(|claim| claim.lab != *lab);
            let claimed = claimed.map(|claim| format!("link {} of lab {}", claim.link, claim.lab));
            if let Some(other) = theirs.or(ours).or(claimed) {
                self.view.refused.push(format!("{link} has tag {tag}, which {other} has too: the two labs are joined"));
            }
        }
    }

    fn finish(mut self) -> Heir {
        let read = self.segments();
        self.refuse_shared(&read);
        let before = self.beside.there.cloned().unwrap_or_else(|| nothing(self.lab, self.beside.authority));
        let mut parts = (*before.lab).clone().into_parts();
        let known: BTreeSet<LinkId> = parts.links.iter().map(Link::id).collect();
        for (name, node) in &self.nodes {
            parts.nodes.entry(name.clone()).or_insert_with(|| Node::clone(&node.spec));
        }
        let found = self.ports.values().chain(self.tunnels.values()).map(|found| &found.link);
        let links: Vec<LinkId> = found.clone().filter(|link| !self.is_marked(link)).map(Link::id).collect();
        parts.links.extend(found.filter(|link| !known.contains(&link.id())).cloned());
        let mut tags = self.beside.tags.clone();
        let in_use: BTreeSet<LinkId> = before.lab.links().iter().filter_map(goes_by).map(|(link, _)| link).collect();
        // What was joined or cut since it was adopted is as the store has it.
        tags.extend(
            read.into_iter().filter(|(link, _)| !in_use.contains(link) || !self.beside.tags.contains_key(link)),
        );
        let mut view = self.view.clone();
        let lab = match Lab::new(parts) {
            Ok(lab) => Some(lab),
            Err(violations) => {
                view.refused.extend(violations.0.iter().map(ToString::to_string));
                None
            }
        };
        let new = self.nodes.iter().filter(|(name, node)| !self.is_known(name, node));
        let nodes = new.map(|(name, node)| (name.clone(), node.id.clone())).collect();
        let lab = lab.filter(|_| view.refused.is_empty());
        let Some(lab) = lab else {
            return Heir { view, wish: None, nodes, links: Vec::new(), tags, claims: Vec::new() };
        };
        // A tag by which nothing goes is not claimed.
        let used: BTreeMap<LinkId, Joins> = lab.links().iter().filter_map(goes_by).collect();
        tags.retain(|link, _| used.contains_key(link) || self.beside.tags.contains_key(link));
        let claim = |(link, joins): (LinkId, Joins)| {
            let known = Some(*tags.get(&link)?);
            Some(TagClaim { lab: self.lab.clone(), link, bridge: self.beside.ground.switch.clone(), known, joins })
        };
        let claims = used.into_iter().filter_map(claim).collect();
        let wish = match self.beside.there {
            Some(there) if *there.lab == lab => there.clone(),
            _ => Wish { lab: Arc::new(lab), generation: before.generation + 1, ..before },
        };
        Heir { view, wish: Some(wish), nodes, links, tags, claims }
    }
}

/// By what the tag of a port goes that it has now.
fn goes_by(link: &Link) -> Option<(LinkId, Joins)> {
    let port = link.access_port()?;
    Some(port.segment.clone().map_or_else(|| (link.id(), Joins::Nothing), |segment| (segment, Joins::Segment)))
}

/// The tag of a port through which nothing else passes.
fn tag_of(vlan: &netloom_model::PortVlan, fault: Option<&str>) -> Result<u16, String> {
    if let Some(fault) = fault {
        return Err(format!("nothing passes through it: {fault}"));
    }
    match vlan.tag {
        Some(tag) if vlan.trunks.is_empty() && !vlan.is_odd => Ok(tag),
        Some(_) => Err("it is no access port: other VLANs pass through it than its tag".to_owned()),
        None => Err("it has no tag: all VLANs pass through it".to_owned()),
    }
}
