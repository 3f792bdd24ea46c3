//! A link as the kernel needs it: which interface where, under which master; and the requests that make it. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netloom_engine::{DriverError, ErrorClass};
use netloom_engine::{Place, PortMark};
use netloom_kernel::{Address, AdminState, LinkChange, LinkInfo, NamespaceDump, Request, VethEnd};
use netloom_model::{
    End, Endpoint, InterfaceName, Ipv4Net, Ipv6Net, Lab, LabName, Link, LinkId, LinkKind, Mac, Mtu, SwitchPort,
};
use netloom_plan::{AdminState as Switched, LinkFingerprint, Side};

use super::apply::Why;
use super::body::Body;
use super::checksum::Checksums;
use super::mark::{ADDRESS_PROTOCOL, Marks};
use super::refused_link;

/// A link to be made or changed.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    /// Its place in the caller's list.
    pub(crate) order: usize,
    pub(crate) lab: LabName,
    pub(crate) id: LinkId,
    pub(crate) fingerprint: LinkFingerprint,
    pub(crate) mtu: Mtu,
    /// The end that the creating message is about: the one on the host if there is one, since only that one can become
    /// a bridge port in the same message.
    pub(crate) main: Port,
    /// The other end; none of a dummy, a macvlan and a tunnel.
    pub(crate) other: Option<Port>,
    pub(crate) body: Body,
    /// The interface of the host that it hangs on, if one is named.
    pub(crate) parent: Option<InterfaceName>,
}

/// An interface of a wire.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    pub(crate) place: Place,
    pub(crate) end: End,
    /// The bridge that it is a port of.
    pub(crate) bridge: Option<InterfaceName>,
    /// Its MTU; what the kernel gives it if `None`.
    pub(crate) mtu: Option<Mtu>,
    /// Its MAC address; what the kernel gives it if `None`.
    pub(crate) mac: Option<Mac>,
    /// Who completes the checksums of what it sends.
    pub(crate) checksums: Checksums,
    /// The gateways of the node's default routes, if they lead through it.
    pub(crate) gateways: Vec<IpAddr>,
    /// The ifindex that it was given, or has.
    pub(crate) ifindex: u32,
}

impl Port {
    pub(crate) fn new(of: &Lab, link: &Link, end: &End) -> Result<Self, String> {
        let lab = of.name();
        let attachment = match &link.kind {
            LinkKind::Attachment(attachment) => Some(attachment),
            _ => None,
        };
        let place = match end.home() {
            Endpoint::Node(node) => Place::Node(lab.clone(), node.clone()),
            Endpoint::Host | Endpoint::Bridge(_) => Place::Host,
            Endpoint::Remote(host) => return Err(format!("the kernel fabric has no links to other hosts ({host})")),
        };
        let bridge = match &end.at {
            Endpoint::Host => attachment.map(|attachment| attachment.bridge.clone()),
            // The switch takes it as a port by itself.
            Endpoint::Bridge(_) if of.ovs_bridge(end).is_some() => None,
            Endpoint::Bridge(node) => {
                let name = node.inner_bridge().map_or(node.as_str(), |(bridge, _)| bridge);
                Some(name.parse().map_err(|error| format!("no bridge can have that name: {error}"))?)
            }
            Endpoint::Node(_) | Endpoint::Remote(_) => None,
        };
        let gateways = attachment.filter(|_| place != Place::Host).map(|attachment| attachment.gateways.clone());
        let gateways = gateways.unwrap_or_default();
        let (mtu, mac, checksums) = (Some(link.mtu), Some(end.mac), Checksums::Left);
        Ok(Self { place, end: end.clone(), bridge, mtu, mac, checksums, gateways, ifindex: 0 })
    }

    /// An interface on the host that passes on what it gets: the end of a cable to a switch or a tunnel, or the tunnel.
    fn on_host(lab: &Lab, link: &Link, name: &InterfaceName) -> Result<Self, String> {
        let name = name.as_str().parse().expect("it is one already");
        // Nobody sees its address.
        Ok(Self { mac: None, ..Self::new(lab, link, &End::new(Endpoint::Host, name, link.a.mac))? })
    }

    pub(crate) fn name(&self) -> &InterfaceName {
        self.end.interface.kernel()
    }

    fn addresses(&self) -> impl Iterator<Item = Address> {
        self.end.ipv4.map(Address::V4).into_iter().chain(self.end.ipv6.map(Address::V6))
    }

    /// Its mark.
    pub(crate) fn alias(
        &self,
        marks: &Marks,
        lab: &LabName,
        id: &LinkId,
        applied: &LinkFingerprint,
        switched: Switched,
    ) -> String {
        Marks::with_gateways(marks.link_alias(lab, id, applied, switched), &self.gateways)
    }

    /// Adds its addresses, and the routes through it once it is up; what is there already is refused as such.
    pub(crate) fn add_addresses(&self, place: &netloom_kernel::Place) -> Vec<Request> {
        let add = |address| Request::AddAddress {
            place: place.clone(),
            ifindex: self.ifindex,
            address,
            protocol: Some(ADDRESS_PROTOCOL),
        };
        self.addresses().map(add).chain(self.routes(place, self.ifindex)).collect()
    }

    /// The routes through it, whose ifindex is that.
    fn routes(&self, place: &netloom_kernel::Place, ifindex: u32) -> impl Iterator<Item = Request> {
        self.gateways.iter().map(move |gateway| default_route(place, ifindex, *gateway))
    }
}

/// The ifindexes of the bridges that ports are to be in, by place and name, as far as they exist.
#[derive(Debug, Default)]
pub(crate) struct Masters(pub(crate) HashMap<(Place, InterfaceName), u32>);

impl Masters {
    /// That of a port, if it is to be in a bridge that exists.
    pub(crate) fn of(&self, port: &Port) -> Option<u32> {
        // Most are in none, and a key is a copy.
        let bridge = port.bridge.as_ref()?;
        self.0.get(&(port.place.clone(), bridge.clone())).copied()
    }
}

impl Wire {
    /// The wires of a link of a lab: one, or of a link on a switch one for each end.
    pub(crate) fn of(
        operation: &str,
        order: usize,
        lab: &Lab,
        id: &LinkId,
        fingerprint: &LinkFingerprint,
    ) -> Result<Vec<Self>, DriverError> {
        let refuse = |cause: String| refused_link(operation, id, cause, ErrorClass::Permanent);
        let link = lab.link(id).ok_or_else(|| refuse(format!("lab {} has no such link", lab.name())))?;
        let wire = |body, main, other| Self {
            order,
            lab: lab.name().clone(),
            id: id.clone(),
            fingerprint: fingerprint.clone(),
            mtu: link.mtu,
            main,
            other,
            body,
            parent: link.kind.parent().cloned(),
        };
        if let Some(body) = link.access_port().and_then(|port| Body::outward(port).transpose()) {
            let whole = || {
                let (body, port) = (body?, Port::on_host(lab, link, link.a.interface.kernel())?);
                // A macvlan has the MTU of what it hangs on.
                let mtu = port.mtu.filter(|_| !matches!(body, Body::Macvlan(..)));
                Ok(wire(body, Port { mtu, ..port }, None))
            };
            return whole().map(|whole| vec![whole]).map_err(refuse);
        }
        if link.switch().is_some() {
            let ports = lab.switch_ports(link);
            let body = || match (link.kind.tunnel(), ports.iter().find(|port| port.end.is_none())) {
                (Some(tunnel), Some(port)) => Body::to_tunnel(tunnel, Port::on_host(lab, link, &port.interface)?),
                _ => Ok(Body::Ends),
            };
            let cables = ports.iter().filter_map(|port| Some((port, port.end?)));
            let cable = |(port, end): (&SwitchPort<'_>, &End)| {
                Ok(wire(body()?, Port::on_host(lab, link, &port.interface)?, Some(Port::new(lab, link, end)?)))
            };
            return cables.map(cable).collect::<Result<_, String>>().map_err(refuse);
        }
        let (body, a, b) = Body::of(link, |end| Port::new(lab, link, end)).map_err(refuse)?;
        let (main, other) = match b {
            Some(b) if b.bridge.is_some() || (b.place == Place::Host && a.bridge.is_none()) => (b, Some(a)),
            b => (a, b),
        };
        Ok(vec![wire(body, main, other)])
    }

    /// The interfaces that it has when it is whole: its main end, the other one, the tunnel that it is stitched to.
    pub(crate) fn ports(&self) -> impl Iterator<Item = &Port> {
        let tunnel = match &self.body {
            Body::Stitch(_, tunnel, _) => Some(&**tunnel),
            Body::Ends | Body::Macvlan(..) | Body::Vxlan(_) => None,
        };
        std::iter::once(&self.main).chain(&self.other).chain(tunnel)
    }

    pub(crate) fn ports_mut(&mut self) -> impl Iterator<Item = &mut Port> {
        let tunnel = match &mut self.body {
            Body::Stitch(_, tunnel, _) => Some(&mut **tunnel),
            Body::Ends | Body::Macvlan(..) | Body::Vxlan(_) => None,
        };
        std::iter::once(&mut self.main).chain(&mut self.other).chain(tunnel)
    }

    /// Wherever there may be something of it: its ports, and its tunnel where that is made.
    pub(crate) fn pieces(&self) -> Vec<Port> {
        let unmoved = self.made_at().filter(|tunnel| tunnel.place != Place::Host);
        self.ports().cloned().chain(unmoved).collect()
    }

    /// The message that makes it, down.
    pub(crate) fn create(
        &self,
        marks: &Marks,
        places: &HashMap<Place, netloom_kernel::Place>,
        masters: &Masters,
    ) -> Request {
        let group = marks.lab_group(&self.lab);
        let end = |port: &Port| VethEnd {
            place: places[&port.place].clone(),
            name: port.name().clone(),
            ifindex: Some(port.ifindex),
            mac: port.mac,
            mtu: port.mtu,
            group,
        };
        let host = || places[&Place::Host].clone();
        match (&self.body, &self.other) {
            (Body::Macvlan(mode, parent), _) => Request::CreateMacvlan {
                end: end(&self.main),
                place: host(),
                parent: parent.unwrap_or_default(),
                mode: *mode,
            },
            (Body::Vxlan(way), _) => Request::CreateVxlan { end: end(&self.main), tunnel: way.tunnel(host()) },
            (Body::Ends | Body::Stitch(..), None) => Request::CreateDummy { end: end(&self.main) },
            (Body::Ends | Body::Stitch(..), Some(other)) => Request::CreateVeth {
                a: end(&self.main),
                a_state: AdminState::Down,
                a_master: masters.of(&self.main),
                b: end(other),
            },
        }
    }

    /// What is to do on a new port: its mark and up in one message, then names and addresses.
    pub(crate) fn finish(
        &self,
        port: &Port,
        marks: &Marks,
        place: &netloom_kernel::Place,
        masters: &Masters,
    ) -> Vec<Request> {
        // Only the message that makes a pair can make a port of its main end.
        let is_main = self.other.is_some() && port.ifindex == self.main.ifindex && port.place == self.main.place;
        let change = LinkChange {
            state: Some(AdminState::Up),
            alias: Some(port.alias(marks, &self.lab, &self.id, &self.fingerprint, Switched::Up)),
            master: masters.of(port).filter(|_| !is_main),
            ..LinkChange::default()
        };
        let mut requests: Vec<Request> = port.checksum_request(place).into_iter().collect();
        requests.push(Request::SetLink { place: place.clone(), ifindex: port.ifindex, change });
        requests.extend(port.end.interface.altname().map(|altname| Request::AddAltname {
            place: place.clone(),
            ifindex: port.ifindex,
            altname: altname.to_owned(),
        }));
        requests.extend(port.add_addresses(place));
        requests
    }

    /// What is to do on a port that is there as `link`, for it to be as it should.
    pub(crate) fn update(
        &self,
        port: &Port,
        link: &LinkInfo,
        dump: &NamespaceDump,
        marks: &Marks,
        place: &netloom_kernel::Place,
    ) -> Vec<Request> {
        let ifindex = link.ifindex;
        let mut requests: Vec<Request> = port.checksum_request(place).into_iter().collect();
        let mtu = port.mtu.filter(|mtu| link.mtu != mtu.bytes());
        if mtu.is_some() {
            let change = LinkChange { mtu, ..LinkChange::default() };
            requests.push(Request::SetLink { place: place.clone(), ifindex, change });
        }
        let there: Vec<_> = dump.addresses.iter().filter(|info| info.ifindex == ifindex).collect();
        let wanted: Vec<Address> = port.addresses().collect();
        // Only those that came with the link; what a person or a daemon added stays.
        let ours = there.iter().filter(|info| info.protocol == Some(ADDRESS_PROTOCOL));
        requests.extend(ours.filter(|info| !wanted.contains(&info.address)).map(|info| Request::DeleteAddress {
            place: place.clone(),
            ifindex,
            address: info.address,
        }));
        let missing = wanted.iter().filter(|address| !there.iter().any(|info| info.address == **address));
        requests.extend(missing.map(|address| Request::AddAddress {
            place: place.clone(),
            ifindex,
            address: *address,
            protocol: Some(ADDRESS_PROTOCOL),
        }));
        if let Some(altname) = port.end.interface.altname()
            && !link.altnames.iter().any(|known| known == altname)
        {
            requests.push(Request::AddAltname { place: place.clone(), ifindex, altname: altname.to_owned() });
        }
        if marks.is_bare(link) && link.up {
            requests.extend(port.routes(place, ifindex));
        }
        // Last, so that the mark says what was applied and not what was tried.
        let switched = match marks.read(link) {
            Some(PortMark::Link { switched, .. }) => switched,
            _ => Switched::Up,
        };
        let alias = port.alias(marks, &self.lab, &self.id, &self.fingerprint, switched);
        if link.alias.as_ref() != Some(&alias) {
            let change = LinkChange { alias: Some(alias), ..LinkChange::default() };
            requests.push(Request::SetLink { place: place.clone(), ifindex, change });
        }
        requests
    }
}

/// The default route by a gateway on the link.
pub(crate) fn default_route(place: &netloom_kernel::Place, ifindex: u32, gateway: IpAddr) -> Request {
    let to = match gateway {
        IpAddr::V4(_) => Address::V4(Ipv4Net { address: Ipv4Addr::UNSPECIFIED, prefix: 0 }),
        IpAddr::V6(_) => Address::V6(Ipv6Net { address: Ipv6Addr::UNSPECIFIED, prefix: 0 }),
    };
    Request::AddRoute { place: place.clone(), to, via: Some(gateway), ifindex: Some(ifindex) }
}

/// The interface on the host by which a side of a link gets its carrier, and how: the end of its cable is switched, and by a
/// tunnel the host at its far end is told.
pub(crate) fn carrier_of(lab: &Lab, id: &LinkId, side: Side) -> Result<(Why, Port), String> {
    let link = lab.link(id).ok_or("the lab has no such link")?;
    if let Some(seam) = lab.seam(link) {
        let (why, name) = match side {
            Side::A => (Why::Follows, &seam.cable),
            Side::B => (Why::Tells, &seam.tunnel),
        };
        return Ok((why, Port::on_host(lab, link, name)?));
    }
    let ports = link.switch().map(|_| lab.switch_ports(link)).unwrap_or_default();
    let at = match side {
        Side::A => 0,
        Side::B => 1,
    };
    let port = ports.get(at).ok_or("the link has no such end that is a port of a switch")?;
    Ok((Why::Follows, Port::on_host(lab, link, &port.interface)?))
}

/// The port at the end of a link on one side.
pub(crate) fn port_of(lab: &Lab, id: &LinkId, side: Side) -> Result<Port, String> {
    let link = lab.link(id);
    let end = link.and_then(|link| match side {
        Side::A => Some(&link.a),
        Side::B => link.b.as_ref(),
    });
    let (link, end) = link.zip(end).ok_or("the lab has no such end")?;
    Port::new(lab, link, end)
}
