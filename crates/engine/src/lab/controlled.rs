//! Edits that a controller makes of a lab of its own, as the agent contract has them. Pure.
//!
//! Such a lab is made of nodes and access ports: each interface of a node is a port of the switch from the node's first day on,
//! and ports that are linked share a segment. A tunnel to another host is one more port of a segment, and so is an interface of
//! this host that leads to an external network.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netloom_model::{
    AccessPort, End, Endpoint, FabricKind, InterfaceName, Lab, LabName, LabParts, Link, LinkId, LinkKind, Mac, Mtu,
    Node, NodeName, Prefix, Vxlan, derived_mac, external_name, link_name, tunnel_name,
};

use super::edit::{Edited, Scope};
use crate::desired::{Authority, Phase, Wish};
use crate::refusal::Refusal;

/// An interface of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortName {
    /// The node.
    pub node: NodeName,
    /// The interface in it.
    pub interface: InterfaceName,
}

impl PortName {
    /// `node:interface`, by which its link goes.
    pub fn label(&self) -> String {
        format!("{}:{}", self.node, self.interface)
    }
}

/// A node with the interfaces that it has from its first day on.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlledNode {
    /// Its name.
    pub name: NodeName,
    /// What it is.
    pub node: Node,
    /// Its interfaces.
    pub interfaces: BTreeSet<InterfaceName>,
    /// Their MTU.
    pub mtu: Mtu,
    /// Whether a node that is there stays what it is, and only gets interfaces that it lacks.
    pub keep: bool,
}

/// A tunnel that a segment has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlledTunnel {
    /// The link that it is a half of, after which its segment is called.
    pub link: LinkId,
    /// Where it leads.
    pub tunnel: Vxlan,
    /// Its MTU.
    pub mtu: Mtu,
    /// What of this host is in the segment; whatever is in it already, if nothing is named. With an external network it is the segment
    /// of that, which others share.
    pub near: Option<Near>,
}

/// What of a host a segment has that leads to another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Near {
    /// An interface of a node.
    Port(PortName),
    /// An external network, by an interface of the host.
    External(InterfaceName),
}

/// What a controller asks of a lab.
#[derive(Debug, Clone, PartialEq)]
pub enum Controlled {
    /// These nodes are there, and do not run unless they do already.
    Create(Vec<ControlledNode>),
    /// These nodes are there and run.
    Run(Vec<ControlledNode>),
    /// These nodes, which are there, run.
    Start(BTreeSet<NodeName>),
    /// Nothing of these nodes remains; those that are not there are fine.
    Remove(BTreeSet<NodeName>),
    /// Each pair of ports is one segment.
    Connect(Vec<(PortName, PortName)>),
    /// The ports of this segment are apart from each other. One that nobody knows is fine.
    Disconnect(LinkId),
    /// This port comes to this segment.
    Join {
        /// The port.
        port: PortName,
        /// The segment, by the name of its link.
        segment: LinkId,
    },
    /// This port is apart from all others.
    Apart(PortName),
    /// These segments lead to other hosts.
    Attach(Vec<ControlledTunnel>),
    /// These tunnels go by this name too, and no others do.
    Called {
        /// The name.
        name: LinkId,
        /// The links that the tunnels are halves of.
        tunnels: BTreeSet<LinkId>,
    },
    /// The segment leads nowhere else, and the port of a node is apart from all others if it is in that; one that has come to another
    /// link since stays there. A tunnel that goes by other names is only gone with the last of those, and an external network stays
    /// as long as anything else leads to it.
    Detach {
        /// The link that the tunnel is a half of, or another name that it goes by.
        link: LinkId,
        /// What was in it; nothing, if only the tunnel is meant. A port that is joined by a number alone, whose name nobody has said
        /// yet, is meant by any name.
        near: Option<Near>,
    },
    /// This port comes to the external network that an interface of the host leads to, with all others that do.
    Outside {
        /// The port.
        port: PortName,
        /// The interface of the host.
        interface: InterfaceName,
    },
    /// Nothing of the lab is in the external network by this interface of the host.
    Inside(InterfaceName),
    /// No tunnel leads to another host but those of these links, or that go by such a name; ports stay in their segments.
    KeepTunnels(BTreeSet<LinkId>),
    /// All of these, one after the other.
    Several(Vec<Controlled>),
    /// Whether what is behind a port has a carrier: as long as it is in the same segment, and until its node or one that it is linked
    /// to is started.
    Carrier {
        /// The port.
        port: PortName,
        /// Whether it has none.
        dark: bool,
    },
    /// What an edit has changed is as it was before; what others have changed since stays.
    TakeBack {
        /// What was wanted before; nothing if the lab was not there.
        before: Option<Arc<Wish>>,
        /// The edit.
        edit: Box<Controlled>,
    },
}

/// An edit of a controller's lab.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlledEdit {
    /// Who asks.
    pub authority: Authority,
    /// What for.
    pub edit: Controlled,
}

/// The host that an edit is made on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// The bridge that ports come to.
    pub(crate) switch: &'a InterfaceName,
    /// Which life of the host this is.
    pub(crate) boot: &'a str,
}

/// The wish that an edit would make of the present one, or of nothing.
pub(crate) fn next_controlled(
    name: &LabName,
    there: Option<&Wish>,
    ground: Ground<'_>,
    request: &ControlledEdit,
) -> Result<Edited, Refusal> {
    if let Some(there) = there {
        if there.authority != request.authority {
            return Err(Refusal::OtherAuthority { lab: name.clone(), authority: there.authority.clone() });
        }
        if there.phase == Phase::Destroy {
            return Err(Refusal::Destroying(name.clone()));
        }
        if let Some(why) = &there.held {
            return Err(Refusal::Held { lab: name.clone(), why: why.clone() });
        }
    }
    let mut change = Change::new(name, there, ground, &request.authority);
    change.make(&request.edit)?;
    change.finish(there)
}

struct Change<'a> {
    name: &'a LabName,
    wish: Wish,
    parts: LabParts,
    links: BTreeMap<LinkId, Link>,
    ground: Ground<'a>,
    nodes_named: BTreeSet<NodeName>,
    links_named: BTreeSet<LinkId>,
}

impl<'a> Change<'a> {
    fn new(name: &'a LabName, there: Option<&Wish>, ground: Ground<'a>, authority: &Authority) -> Self {
        let wish = there.cloned().unwrap_or_else(|| nothing(name, authority));
        let mut parts = (*wish.lab).clone().into_parts();
        let links = std::mem::take(&mut parts.links).into_iter().map(|link| (link.id(), link)).collect();
        Self { name, wish, parts, links, ground, nodes_named: BTreeSet::new(), links_named: BTreeSet::new() }
    }

    fn make(&mut self, edit: &Controlled) -> Result<(), Refusal> {
        match edit {
            Controlled::Create(nodes) => self.put_all(nodes, Run::AsItIs),
            Controlled::Run(nodes) => self.put_all(nodes, Run::Yes),
            Controlled::Start(nodes) => {
                for node in nodes {
                    self.known(node)?;
                    self.wish.stopped.remove(node);
                    self.nodes_named.insert(node.clone());
                }
                self.light(nodes);
            }
            Controlled::Remove(nodes) => nodes.iter().for_each(|node| self.remove(node)),
            Controlled::Connect(pairs) => {
                for (a, b) in pairs {
                    self.connect(a, b)?;
                }
            }
            Controlled::Disconnect(link) => {
                self.of_segment(link).into_iter().for_each(|id| self.join(&id, None));
            }
            Controlled::Join { port, segment } => {
                let id = self.port(port)?;
                self.join(&id, Some(segment));
            }
            Controlled::Apart(port) => {
                let id = self.port(port)?;
                self.join(&id, None);
            }
            Controlled::Attach(tunnels) => {
                for tunnel in tunnels {
                    self.attach(tunnel)?;
                }
            }
            Controlled::Called { name, tunnels } => self.call(name, tunnels),
            Controlled::Detach { link, near } => self.detach(link, near.as_ref()),
            Controlled::Outside { port, interface } => {
                let id = self.port(port)?;
                let segment = self.external(interface);
                self.join(&id, Some(&segment));
            }
            Controlled::Inside(interface) => {
                if let Some(segment) = self.external_of(interface) {
                    self.of_segment(&segment).iter().for_each(|id| self.join(id, None));
                    self.drop_all(|link| is_external(link, interface));
                }
            }
            Controlled::KeepTunnels(kept) => {
                let is_kept = |port: &AccessPort| kept.iter().any(|name| port.goes_by(name));
                self.drop_all(|link| link.access_port().is_some_and(|port| port.tunnel.is_some() && !is_kept(port)));
            }
            Controlled::Several(edits) => {
                for edit in edits {
                    self.make(edit)?;
                }
            }
            Controlled::Carrier { port, dark } => {
                let id = self.port(port)?;
                if let Some(port) = self.links.get_mut(&id).and_then(access_mut) {
                    port.dark = *dark;
                }
                self.links_named.insert(id);
            }
            Controlled::TakeBack { before, edit } => self.take_back(before.as_deref(), edit),
        }
        Ok(())
    }

    fn known(&self, node: &NodeName) -> Result<(), Refusal> {
        if self.parts.nodes.contains_key(node) {
            return Ok(());
        }
        let known: Vec<&str> = self.parts.nodes.keys().map(NodeName::as_str).collect();
        Err(Refusal::NoNode { lab: self.name.clone(), node: node.to_string(), known: known.join(", ") })
    }

    fn port(&self, port: &PortName) -> Result<LinkId, Refusal> {
        let id = LinkId::from_text(port.label());
        let is_port = self.links.get(&id).is_some_and(|link| link.access_port().is_some());
        if is_port { Ok(id) } else { Err(Refusal::NoPort { lab: self.name.clone(), port: port.label() }) }
    }

    fn put_all(&mut self, nodes: &[ControlledNode], run: Run) {
        for node in nodes {
            self.put(node, run);
        }
        self.light(&nodes.iter().map(|node| node.name.clone()).collect());
    }

    /// Gives the ports of these nodes their carrier again, and those of all that they are linked to: it was taken for what was behind
    /// the other end, which begins anew, and controllers forget then that they have taken it.
    fn light(&mut self, nodes: &BTreeSet<NodeName>) {
        let of_them = |link: &Link| link.a.at.node().is_some_and(|node| nodes.contains(node));
        let segments: BTreeSet<LinkId> = self.links.values().filter(|link| of_them(link)).map(Link::segment).collect();
        for (id, link) in &mut self.links {
            if segments.contains(&link.segment())
                && let Some(port) = access_mut(link).filter(|port| port.dark)
            {
                port.dark = false;
                self.links_named.insert(id.clone());
            }
        }
    }

    fn put(&mut self, ControlledNode { name, node, interfaces, mtu, keep }: &ControlledNode, run: Run) {
        self.nodes_named.insert(name.clone());
        let before = self.parts.nodes.remove(name);
        let is_new = before.is_none();
        let kept = before.filter(|_| *keep);
        let is_kept = kept.is_some();
        self.parts.nodes.insert(name.clone(), kept.unwrap_or_else(|| node.clone()));
        match run {
            Run::AsItIs if is_new => drop(self.wish.stopped.insert(name.clone())),
            Run::AsItIs => {}
            Run::Yes => drop(self.wish.stopped.remove(name)),
        }
        let gone =
            |link: &Link| link.a.at == Endpoint::Node(name.clone()) && !interfaces.contains(link.a.interface.kernel());
        self.links.retain(|_, link| is_kept || !gone(link));
        for interface in interfaces {
            let port = PortName { node: name.clone(), interface: interface.clone() };
            let id = LinkId::from_text(port.label());
            if self.links.get(&id).is_none_or(|link| link.access_port().is_none()) {
                self.links.insert(id, self.new_port(&port, *mtu));
            }
        }
    }

    fn new_port(&self, port: &PortName, mtu: Mtu) -> Link {
        let label = port.label();
        let taken: BTreeSet<Mac> = self.links.values().map(|link| link.a.mac).collect();
        let mut macs = (0..u32::MAX).map(|attempt| derived_mac(self.name, &label, attempt));
        let mac = macs.find(|mac| !taken.contains(mac)).expect("there are 2^24 for a few thousand ends");
        let interface = port.interface.as_str().parse().expect("it is one already");
        let kind = AccessPort {
            bridge: self.ground.switch.clone(),
            segment: None,
            tunnel: None,
            half_of: None,
            names: BTreeSet::new(),
            external: None,
            boot: None,
            dark: false,
            says: says_of_port(self.name, port),
            host: None,
        };
        let end = End::new(Endpoint::Node(port.node.clone()), interface, mac);
        Link { mtu, kind: LinkKind::AccessPort(kind), ..Link::new(end, None) }
    }

    fn remove(&mut self, node: &NodeName) {
        self.nodes_named.insert(node.clone());
        self.parts.nodes.remove(node);
        self.wish.stopped.remove(node);
        self.wish.restarts.remove(node);
        let of_it = |link: &Link| link.a.at == Endpoint::Node(node.clone());
        self.links_named.extend(self.links.iter().filter(|(_, link)| of_it(link)).map(|(id, _)| id.clone()));
        self.links.retain(|_, link| !of_it(link));
    }

    /// Brings a port to a segment, or away from all.
    fn join(&mut self, id: &LinkId, segment: Option<&LinkId>) {
        self.links_named.insert(id.clone());
        if let Some(port) = self.links.get_mut(id).and_then(access_mut) {
            leave(port, segment);
        }
    }

    fn connect(&mut self, a: &PortName, b: &PortName) -> Result<(), Refusal> {
        let ids = [self.port(a)?, self.port(b)?];
        let segment = link_name(&a.label(), &b.label());
        // Whoever else was in it is not an end of it.
        let others = self.of_segment(&segment).into_iter().filter(|id| !ids.contains(id));
        others.collect::<Vec<_>>().iter().for_each(|id| self.join(id, None));
        for id in &ids {
            self.join(id, Some(&segment));
        }
        Ok(())
    }

    /// The ports of nodes that are in a segment.
    fn of_segment(&self, segment: &LinkId) -> Vec<LinkId> {
        let is_in = |link: &Link| {
            link.access_port().is_some_and(|port| port.segment.as_ref() == Some(segment) && port.is_of_node())
        };
        self.links.iter().filter(|(_, link)| is_in(link)).map(|(id, _)| id.clone()).collect()
    }

    /// The segment of the external network that an interface of the host leads to, if the lab is joined to it.
    fn external_of(&self, interface: &InterfaceName) -> Option<LinkId> {
        self.links.values().find(|link| is_external(link, interface)).map(Link::segment)
    }

    /// Joins the lab to an external network. Gives its segment, which is one however many lead to it.
    fn external(&mut self, interface: &InterfaceName) -> LinkId {
        let there = self.external_of(interface);
        let segment = there.unwrap_or_else(|| LinkId::from_text(format!("_external:{interface}")));
        let own = external_name(self.name, interface);
        let mac = derived_mac(self.name, own.as_str(), 0);
        let says = |key: &str, value: &str| (format!("archetype.{key}"), value.to_owned());
        let kind = AccessPort {
            bridge: self.ground.switch.clone(),
            segment: Some(segment.clone()),
            tunnel: None,
            half_of: None,
            names: BTreeSet::new(),
            external: Some(interface.clone()),
            host: None,
            boot: Some(self.ground.boot.to_owned()),
            dark: false,
            says: [says("lab_id", self.name.as_str()), says("external_interface", interface.as_str())].into(),
        };
        let end = End::new(Endpoint::Host, own.as_str().parse().expect("it is one already"), mac);
        let link = Link { kind: LinkKind::AccessPort(kind), ..Link::new(end, None) };
        self.links_named.insert(link.id());
        self.links.insert(link.id(), link);
        segment
    }

    fn attach(&mut self, ControlledTunnel { link, tunnel, mtu, near }: &ControlledTunnel) -> Result<(), Refusal> {
        let segment = match near {
            Some(Near::Port(port)) => {
                let id = self.port(port)?;
                let others = self.of_segment(link).into_iter().filter(|other| *other != id);
                others.collect::<Vec<_>>().iter().for_each(|other| self.join(other, None));
                self.join(&id, Some(link));
                link.clone()
            }
            Some(Near::External(interface)) => self.external(interface),
            None => {
                let there = self.links.values().find(|of| tunneled(of) == Some(link)).map(Link::segment);
                there.unwrap_or_else(|| link.clone())
            }
        };
        // What is a tunnel's own name is no other's.
        self.call(link, &BTreeSet::new());
        let before = self.links.values().find(|of| tunneled(of) == Some(link)).and_then(Link::access_port);
        let names = before.map(|port| port.names.clone()).unwrap_or_default();
        let interface = tunnel_name(self.name, link);
        let kind = AccessPort {
            bridge: self.ground.switch.clone(),
            segment: Some(segment.clone()),
            tunnel: Some(tunnel.clone()),
            half_of: Some(link.clone()).filter(|link| *link != segment),
            names,
            external: None,
            boot: Some(self.ground.boot.to_owned()),
            dark: false,
            says: says_of_tunnel(self.name, link),
            host: None,
        };
        let name = interface.as_str().parse().expect("it is one already");
        let end =
            End::new(Endpoint::Remote(tunnel.remote.clone()), name, derived_mac(self.name, interface.as_str(), 0));
        let new = Link { mtu: *mtu, kind: LinkKind::AccessPort(kind), ..Link::new(end, None) };
        let id = new.id();
        if self.links.get(&id) != Some(&new) {
            self.drop_tunnel(link);
            self.links.insert(id.clone(), new);
        }
        self.links_named.insert(id);
        Ok(())
    }

    /// Has these tunnels go by a name, and no others.
    fn call(&mut self, name: &LinkId, tunnels: &BTreeSet<LinkId>) {
        for (id, link) in &mut self.links {
            let is_it = tunneled(link).is_some_and(|of| tunnels.contains(of));
            let Some(port) = access_mut(link) else { continue };
            let has_changed = if is_it { port.names.insert(name.clone()) } else { port.names.remove(name) };
            if has_changed {
                self.links_named.insert(id.clone());
            }
        }
    }

    fn detach(&mut self, link: &LinkId, near: Option<&Near>) {
        let known = |port: &AccessPort| port.goes_by(link);
        let is_known = self.links.values().filter_map(Link::access_port).any(known);
        let nameless = self.nameless(near).filter(|_| !is_known && !link.is_numbered());
        let goes = |of: &Link| {
            of.access_port().is_some_and(|port| {
                let is_its_own =
                    port.tunneled().is_some_and(|half_of| half_of == link || Some(half_of) == nameless.as_ref());
                is_its_own || known(port) && port.names.len() == 1
            })
        };
        let gone = self.links.values().filter(|of| goes(of)).map(Link::segment);
        let left: BTreeSet<LinkId> = gone.chain([link.clone()]).collect();
        self.drop_all(goes);
        self.call(link, &BTreeSet::new());
        // An external network goes with the last that leads to it.
        let Some(Near::Port(port)) = near else { return };
        let id = LinkId::from_text(port.label());
        if self.links.get(&id).is_some_and(|port| left.contains(&port.segment())) {
            self.join(&id, None);
        }
    }

    /// The numbered link that a port is joined to, if its tunnel has no name.
    fn nameless(&self, near: Option<&Near>) -> Option<LinkId> {
        let Some(Near::Port(port)) = near else { return None };
        let segment = self.links.get(&LinkId::from_text(port.label()))?.segment();
        let mut tunnels = self.links.values().filter(|link| tunneled(link) == Some(&segment));
        let tunnel = tunnels.next()?.access_port()?;
        (segment.is_numbered() && tunnel.names.is_empty()).then_some(segment)
    }

    fn drop_tunnel(&mut self, of: &LinkId) {
        self.drop_all(|link| tunneled(link) == Some(of));
    }

    fn drop_all(&mut self, which: impl Fn(&Link) -> bool) {
        self.links_named.extend(self.links.iter().filter(|(_, link)| which(link)).map(|(id, _)| id.clone()));
        self.links.retain(|_, link| !which(link));
    }

    fn take_back(&mut self, before: Option<&Wish>, edit: &Controlled) {
        let mut made = Change::new(self.name, before, self.ground, &self.wish.authority);
        // As far as it came: what it named is what may be other than before.
        let _ = made.make(edit);
        let was = Change::new(self.name, before, self.ground, &self.wish.authority);
        for node in &made.nodes_named {
            match was.parts.nodes.get(node) {
                None => self.remove(node),
                Some(there) => {
                    self.nodes_named.insert(node.clone());
                    self.parts.nodes.insert(node.clone(), there.clone());
                    if was.wish.stopped.contains(node) {
                        self.wish.stopped.insert(node.clone());
                    } else {
                        self.wish.stopped.remove(node);
                    }
                }
            }
        }
        let of_nodes = |link: &Link| link.a.at.node().is_some_and(|node| made.nodes_named.contains(node));
        let ports = made.links.iter().chain(&was.links).filter(|(_, link)| of_nodes(link)).map(|(id, _)| id);
        let links: BTreeSet<LinkId> = made.links_named.iter().chain(ports).cloned().collect();
        for id in links {
            match was.links.get(&id) {
                Some(there) => drop(self.links.insert(id.clone(), there.clone())),
                None => drop(self.links.remove(&id)),
            }
            self.links_named.insert(id);
        }
    }

    /// A port that is the only one of its segment is in none; one to an external network that nothing else is in goes.
    fn tidy(&mut self) {
        let mut sizes: BTreeMap<LinkId, usize> = BTreeMap::new();
        for segment in self.links.values().filter_map(|link| link.access_port()?.segment.clone()) {
            *sizes.entry(segment).or_default() += 1;
        }
        let is_alone = |link: &Link| {
            link.access_port().is_some_and(|port| {
                port.tunnel.is_none() && port.segment.as_ref().is_some_and(|segment| sizes[segment] == 1)
            })
        };
        self.drop_all(|link| is_alone(link) && link.access_port().is_some_and(|port| !port.is_of_node()));
        let alone: Vec<LinkId> =
            self.links.iter().filter(|(_, link)| is_alone(link)).map(|(id, _)| id.clone()).collect();
        for id in alone {
            if let Some(port) = self.links.get_mut(&id).and_then(access_mut) {
                leave(port, None);
            }
        }
    }

    fn finish(mut self, there: Option<&Wish>) -> Result<Edited, Refusal> {
        self.tidy();
        self.parts.links = self.links.values().cloned().collect();
        let lab = Lab::new(self.parts)
            .map_err(|wrong| Refusal::Edit { lab: self.name.clone(), why: vec![wrong.to_string()] })?;
        let mut wish = self.wish;
        if *wish.lab != lab {
            wish.lab = Arc::new(lab);
        }
        wish.drop_orders_of_missing_nodes();
        if there.is_none_or(|there| wish != *there) {
            wish = Wish { generation: wish.generation + 1, ..wish.clone() };
        }
        let nodes = self.nodes_named;
        let mut links = self.links_named;
        let of_named = |link: &&Link| link.a.at.node().is_some_and(|node| nodes.contains(node));
        links.extend(wish.lab.links().iter().filter(of_named).map(Link::id));
        let image = |node: &NodeName| wish.lab.nodes().get(node).and_then(|node| node.image.clone());
        let images = nodes.iter().filter_map(image).collect();
        Ok(Edited { wish, scope: Scope::Some { nodes, links, images } })
    }
}

/// What the port of an interface says of itself, as controllers look for it.
pub(crate) fn says_of_port(lab: &LabName, port: &PortName) -> BTreeMap<String, String> {
    let label = port.label();
    let says = [
        ("lab_id", lab.to_string()),
        ("node_name", port.node.to_string()),
        ("interface_name", port.interface.to_string()),
        ("endpoint_id", format!("{lab}:{label}")),
        ("network_id", format!("{lab}-{}", port.interface)),
    ];
    says.into_iter().map(|(key, value)| (format!("archetype.{key}"), value)).collect()
}

/// What the port of a tunnel says of itself, likewise.
pub(crate) fn says_of_tunnel(lab: &LabName, link: &LinkId) -> BTreeMap<String, String> {
    [("archetype.lab_id".to_owned(), lab.to_string()), ("archetype.link_id".to_owned(), link.to_string())].into()
}

/// Whether a node is to run.
#[derive(Debug, Clone, Copy)]
enum Run {
    Yes,
    /// As it is; not, if it was not there.
    AsItIs,
}

/// A lab of a controller without anything in it.
pub(crate) fn nothing(name: &LabName, authority: &Authority) -> Wish {
    let mut parts = LabParts { prefix: Prefix::Controller, ..LabParts::new(name.clone()) };
    parts.settings.fabric = Some(FabricKind::Ovs);
    let lab = Lab::new(parts).expect("nothing is wrong with nothing");
    Wish { authority: authority.clone(), generation: 0, ..Wish::first(Arc::new(lab)) }
}

fn is_external(link: &Link, interface: &InterfaceName) -> bool {
    link.access_port().is_some_and(|port| port.external.as_ref() == Some(interface))
}

/// The link between hosts that the tunnel is a half of which a link is.
fn tunneled(link: &Link) -> Option<&LinkId> {
    link.access_port()?.tunneled()
}

/// Has a port leave its segment for another or none, if it is in another. Its carrier went, if it did, for what it was linked to there.
fn leave(port: &mut AccessPort, to: Option<&LinkId>) {
    if port.segment.as_ref() != to {
        port.segment = to.cloned();
        port.dark = false;
    }
}

fn access_mut(link: &mut Link) -> Option<&mut AccessPort> {
    match &mut link.kind {
        LinkKind::AccessPort(port) => Some(port),
        _ => None,
    }
}
