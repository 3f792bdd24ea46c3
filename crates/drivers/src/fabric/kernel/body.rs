//! What a wire is made of beside its ends, and what that hangs on.

use std::net::IpAddr;

use netloom_engine::{ErrorClass, Place, PortMark};
use netloom_kernel::{LinkInfo, NamespaceDump, Tunnel};
use netloom_model::{AccessPort, End, Endpoint, Link, LinkKind, MacvlanMode, Mtu, Vxlan};

use super::apply::Call;
use super::mark::Marks;
use super::wire::{Port, Wire};

/// What VXLAN puts around a frame: Ethernet, UDP and its own header, with the addresses of IPv4 or IPv6.
const AROUND_V4: u32 = 50;
const AROUND_V6: u32 = 70;
/// What a way that is not known carries at least: that of Ethernet.
const USUAL_MTU: u32 = 1500;

/// What a wire is made of.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// What its ends say: a veth pair, or a dummy.
    Ends,
    /// A macvlan, with the ifindex of its parent on the host.
    Macvlan(MacvlanMode, Option<u32>),
    /// A tunnel.
    Vxlan(Way),
    /// A veth pair whose end on the host is joined to a tunnel that is a port there.
    Stitch(Way, Box<Port>, Joint),
}

/// What joins a veth pair to a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joint {
    /// Filters that lead what comes in at one out of the other.
    Filters,
    /// A switch, which both become ports of afterwards.
    Switch,
}

/// Where a tunnel leads.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    vxlan: Vxlan,
    remote: IpAddr,
    /// The ifindex of its parent on the host.
    parent: Option<u32>,
}

/// What a wire hangs on.
struct Ground {
    ifindex: Option<u32>,
    mtu: u32,
}

impl Way {
    fn of(vxlan: &Vxlan) -> Result<Self, String> {
        let remote = vxlan.remote.parse().map_err(|_| {
            format!(
                "its remote `{}` is a name, and only the command line looks names up; write an address",
                vxlan.remote
            )
        })?;
        Ok(Self { vxlan: vxlan.clone(), remote, parent: None })
    }

    /// As the kernel wants it; `place` is the host.
    pub(crate) fn tunnel(&self, place: netloom_kernel::Place) -> Tunnel {
        Tunnel {
            place,
            vni: self.vxlan.vni,
            remote: self.remote,
            dst_port: self.vxlan.dst_port,
            src_port: self.vxlan.src_port,
            parent: self.parent,
            local: self.vxlan.local,
        }
    }

    /// Whether an interface leads there.
    pub(crate) fn is(&self, link: &LinkInfo) -> bool {
        let Vxlan { vni, dst_port, local, .. } = self.vxlan;
        let ends = local.map(|local| (local, self.remote));
        link.vni == Some((vni, dst_port)) && (ends.is_none() || link.between == ends)
    }

    /// What else on the host has its identifier at its port, if that is why it could not be made.
    pub(crate) fn clash(&self, host: &NamespaceDump, marks: &Marks) -> Option<String> {
        let Vxlan { vni, dst_port, .. } = self.vxlan;
        let other = host.links.iter().find(|link| link.vni == Some((vni, dst_port)))?;
        let of = match marks.read(other) {
            Some(PortMark::Link { lab, link, .. }) => format!(", of link {link} of lab {lab}"),
            _ => String::new(),
        };
        Some(format!(
            "interface `{}` of the host{of} has the VNI {vni} at UDP port {dst_port} already, and there is one of each; \
             write another `vni` or `dst-port` at both ends, or remove that one",
            other.name
        ))
    }

    /// The MTU of a tunnel over something of that MTU.
    fn mtu(&self, wanted: Mtu, under: u32) -> Option<Mtu> {
        let around = if self.remote.is_ipv4() { AROUND_V4 } else { AROUND_V6 };
        Mtu::try_from(under.saturating_sub(around).min(wanted.bytes())).ok()
    }
}

impl Body {
    /// The body of a link and its ports: the main one, and the other one.
    pub(crate) fn of(
        link: &Link,
        new: impl Fn(&End) -> Result<Port, String>,
    ) -> Result<(Self, Port, Option<Port>), String> {
        let a = new(&link.a)?;
        Ok(match &link.kind {
            LinkKind::Plain | LinkKind::VethStitch | LinkKind::ManagementNet | LinkKind::Attachment(_) => {
                (Self::Ends, a, link.b.as_ref().map(&new).transpose()?)
            }
            LinkKind::Switched(_) => return Err("its ends are not joined by one wire".into()),
            LinkKind::AccessPort(_) => return Err("its end on the host is a port of a switch".into()),
            // It has the MTU of its parent.
            LinkKind::Macvlan(macvlan) => (Self::Macvlan(macvlan.mode, None), Port { mtu: None, ..a }, None),
            LinkKind::Vxlan(vxlan) => (Self::Vxlan(Way::of(vxlan)?), Port { mtu: None, ..a }, None),
            LinkKind::VxlanStitch(vxlan) => {
                let stitch = link.stitch().ok_or("it is not stitched")?;
                // Their addresses are never seen.
                let on_host = |interface, mac| new(&End::new(Endpoint::Host, interface, mac));
                let (veth, tunnel) = (on_host(stitch.veth, link.a.mac)?, on_host(stitch.vxlan, link.a.mac)?);
                let [veth, tunnel] = [veth, tunnel].map(|port| Port { mac: None, ..port });
                (Self::Stitch(Way::of(vxlan)?, Box::new(Port { mtu: None, ..tunnel }), Joint::Filters), veth, Some(a))
            }
        })
    }

    /// That of what leads out of the host and is a port of a switch by itself, if that is what it is.
    pub(crate) fn outward(port: &AccessPort) -> Result<Option<Self>, String> {
        if let Some(vxlan) = &port.tunnel {
            return Way::of(vxlan).map(Self::Vxlan).map(Some);
        }
        // The one mode in which it sends and hears what is for others: it has its parent for itself.
        Ok(port.external.as_ref().map(|_| Self::Macvlan(MacvlanMode::Passthru, None)))
    }

    /// That of the cable to a tunnel, both of which are ports of a switch.
    pub(crate) fn to_tunnel(vxlan: &Vxlan, port: Port) -> Result<Self, String> {
        Ok(Self::Stitch(Way::of(vxlan)?, Box::new(port), Joint::Switch))
    }

    fn way_mut(&mut self) -> Option<&mut Way> {
        match self {
            Self::Vxlan(way) | Self::Stitch(way, ..) => Some(way),
            Self::Ends | Self::Macvlan(..) => None,
        }
    }
}

impl Wire {
    /// Whether it hangs on something of the host.
    pub(crate) fn hangs(&self) -> bool {
        !matches!(self.body, Body::Ends)
    }

    fn stand_on(&mut self, ground: &Ground) {
        let wanted = self.mtu;
        let Self { body, main, other, lab, id, .. } = self;
        if let Body::Macvlan(_, parent) = body {
            *parent = ground.ifindex;
        }
        if let Some(way) = body.way_mut() {
            way.parent = ground.ifindex;
            let mtu = way.mtu(wanted, ground.mtu);
            // On a parent of its own a tunnel cannot be larger than that lets it.
            let way_is_open = way.parent.is_none();
            match body {
                Body::Stitch(_, tunnel, Joint::Filters) => tunnel.mtu = mtu,
                Body::Stitch(_, tunnel, Joint::Switch) => {
                    // What was promised passes, if need be in fragments around it; where nothing was, what passes in one piece.
                    let promised = wanted != Mtu::DEFAULT && way_is_open;
                    if promised && mtu != Some(wanted) {
                        tracing::warn!(
                            %lab, link = %id, promised = wanted.bytes(), carries = mtu.map(Mtu::bytes),
                            "packets of this link are cut up between the hosts: the way carries less in one piece"
                        );
                    }
                    let mtu = if promised { Some(wanted) } else { mtu };
                    [main, &mut **tunnel].into_iter().chain(other).for_each(|port| port.mtu = mtu);
                }
                // A port of a switch has what whoever put it there promises.
                _ if main.place == Place::Host => main.mtu = Some(wanted),
                _ => main.mtu = mtu,
            }
        }
    }
}

impl Call<'_> {
    /// Finds what wires hang on, as things are now. One that hangs on nothing has its answer.
    pub(super) async fn ground(&mut self, wires: Vec<Wire>) -> Vec<Wire> {
        if !wires.iter().any(Wire::hangs) {
            return wires;
        }
        if let Err((class, cause)) = self.look([Place::Host]).await {
            self.refuse_all(wires.iter().map(|wire| wire.order), &cause, class);
            return Vec::new();
        }
        let mut grounded = Vec::new();
        for mut wire in wires {
            if wire.hangs() {
                match self.find_ground(&wire).await {
                    Ok(ground) => wire.stand_on(&ground),
                    Err((class, cause)) => {
                        self.refuse(wire.order, cause, class);
                        continue;
                    }
                }
            }
            grounded.push(wire);
        }
        grounded
    }

    async fn find_ground(&self, wire: &Wire) -> Result<Ground, (ErrorClass, String)> {
        if let Some(parent) = &wire.parent {
            let found = self.dumps.get(&Place::Host).and_then(|dump| dump.named(parent.as_str()));
            let found = found.ok_or_else(|| {
                let why = format!(
                    "there is no interface `{parent}` on the host, which it hangs on; write the name of one that \
                     `ip link` shows"
                );
                (ErrorClass::Transient, why)
            })?;
            return Ok(Ground { ifindex: Some(found.ifindex), mtu: found.mtu });
        }
        let mut mtu = None;
        if let Body::Vxlan(way) | Body::Stitch(way, ..) = &wire.body {
            let source = self.fabric.places.source(way.remote, self.context.deadline).await;
            let source = source.map_err(|class| (class, super::cause_of(class).to_owned()))?;
            // Without a way there at the moment there may be one later.
            mtu = source.ok().and_then(|source| mtu_at(self.dumps.get(&Place::Host)?, source));
        }
        Ok(Ground { ifindex: None, mtu: mtu.unwrap_or(USUAL_MTU) })
    }
}

/// The MTU of the interface that has an address.
fn mtu_at(host: &NamespaceDump, address: IpAddr) -> Option<u32> {
    let has = host.addresses.iter().find(|info| info.address.ip() == address)?;
    host.links.iter().find(|link| link.ifindex == has.ifindex).map(|link| link.mtu)
}
