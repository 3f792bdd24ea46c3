//! The host's own interfaces: what is asked for of them beside labs, over the same threads as links.
//!
//! Each step looks at the interface anew before it changes it, by its name: nothing that came meanwhile is taken for it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use netloom_engine::{
    Cidr, Context, DriverError, ELSEWHERE, ErrorClass, HostRoute, HostView, Ownership, Place as Where, SeenAddress,
    SeenInterface, SeenWay, TransportStep as Step, Underlay, Vlan, WayOut,
};
use netloom_failpoint::point;
use netloom_kernel::{
    Address, AddressInfo, AdminState, KernelErrorKind, LinkChange, LinkInfo, NamespaceDump, Netns, Place, Request,
    SavedRoute, VethEnd, Way, WayWatch,
};
use netloom_model::InterfaceName;
use tokio::sync::watch;

use super::bridge::{look, one};
use super::mark::{ADDRESS_PROTOCOL, Marks};
use super::{KernelFabric, class_of, class_of_submit, refusal};

/// The host's own interfaces, by the threads of a fabric and one that waits for routes to change.
#[derive(Debug)]
pub struct KernelUnderlay {
    fabric: Arc<KernelFabric>,
    way_out: watch::Receiver<Option<WayOut>>,
    /// Ends with this.
    _watch: WayWatch,
}

impl KernelUnderlay {
    /// Starts the thread. `host` is the namespace that counts as the host's, as it does for the fabric.
    pub fn start(fabric: Arc<KernelFabric>, host: &Netns) -> Result<Self, DriverError> {
        let (tell, way_out) = watch::channel(None);
        let out = |way: Way| WayOut { ifindex: way.ifindex, source: way.source };
        let tell = move |way: Option<Way>| {
            tell.send_replace(way.map(out));
        };
        let failed = |error: std::io::Error| {
            refusal("start", "the thread that waits for routes", error.to_string(), ErrorClass::Permanent)
        };
        let watch = WayWatch::start(host, ELSEWHERE, tell).map_err(failed)?;
        Ok(Self { fabric, way_out, _watch: watch })
    }

    async fn seen(&self, context: &Context) -> Result<(Place, NamespaceDump), DriverError> {
        let refuse = |(class, cause)| refusal("look at", "the host's interfaces", cause, class);
        let (place, dump) = look(&self.fabric, &Where::Host, context).await.map_err(refuse)?;
        Ok((place.kernel, dump))
    }
}

#[async_trait]
impl Underlay for KernelUnderlay {
    fn way_out(&self) -> watch::Receiver<Option<WayOut>> {
        self.way_out.clone()
    }

    async fn look(&self, towards: &[IpAddr], context: &Context) -> Result<HostView, DriverError> {
        let (place, dump) = self.seen(context).await?;
        let asked = self.fabric.dumper.ways(place, towards.to_vec(), context.deadline).await;
        let refuse = |cause: String, class| refusal("look up", "the ways from the host", cause, class);
        let found = asked.map_err(|error| refuse(error.to_string(), class_of_submit(error)))?;
        let found = found.map_err(|error| refuse(error.to_string(), class_of(error.kind)))?;
        let ways = towards.iter().zip(found).filter_map(|(to, way)| Some((*to, seen_way(way?, &dump)?)));
        Ok(HostView { ways: ways.collect(), interfaces: interfaces(&dump, &self.fabric.shared.marks) })
    }

    async fn apply(&self, step: &Step, context: &Context) -> Result<(), DriverError> {
        let marks = &self.fabric.shared.marks;
        let (place, dump) = self.seen(context).await?;
        let failed = |cause: String, class| refusal("change", format!("interface {}", step.interface()), cause, class);
        let request = match request(step, &place, &dump, marks) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            Err(cause) => return Err(failed(cause, ErrorClass::Transient)),
        };
        point!("underlay.before-change");
        match one(&self.fabric, request, context).await {
            Ok(()) => {}
            Err((_, Some(KernelErrorKind::AlreadyExists), _)) if matches!(step, Step::AddAddress { .. }) => {}
            Err((_, Some(KernelErrorKind::NotFound), _)) if takes_away(step) => {}
            Err((class, _, cause)) => return Err(failed(cause, class)),
        }
        point!("underlay.changed");
        Ok(())
    }

    async fn routes(&self, interface: &InterfaceName, context: &Context) -> Result<Vec<HostRoute>, DriverError> {
        let (place, dump) = self.seen(context).await?;
        let Some(link) = link(&dump, interface) else { return Ok(Vec::new()) };
        let refuse = |cause: String, class| refusal("look up", format!("the routes by {interface}"), cause, class);
        let asked = self.fabric.dumper.routes(place, link.ifindex, context.deadline).await;
        let found = asked.map_err(|error| refuse(error.to_string(), class_of_submit(error)))?;
        let found = found.map_err(|error| refuse(error.to_string(), class_of(error.kind)))?;
        Ok(found.into_iter().map(|route| HostRoute(route.into_bytes())).collect())
    }

    async fn restore(
        &self,
        interface: &InterfaceName,
        routes: &[HostRoute],
        context: &Context,
    ) -> Result<(), DriverError> {
        let (place, dump) = self.seen(context).await?;
        let Some(link) = link(&dump, interface) else { return Ok(()) };
        let request = |HostRoute(route): &HostRoute| Request::RestoreRoute {
            place: place.clone(),
            ifindex: link.ifindex,
            route: SavedRoute::from(route.clone()),
        };
        // One may lead to a gateway that another one leads to.
        let mut left: Vec<&HostRoute> = routes.iter().collect();
        loop {
            let mut refused = Vec::new();
            for route in &left {
                match one(&self.fabric, request(route), context).await {
                    Ok(()) | Err((_, Some(KernelErrorKind::AlreadyExists), _)) => {}
                    Err((class, _, why)) => refused.push((*route, class, why)),
                }
            }
            let Some((_, class, why)) = refused.first() else { return Ok(()) };
            if refused.len() == left.len() {
                let object = format!("{} of {} routes by {interface}", refused.len(), routes.len());
                return Err(refusal("add again", object, why.clone(), *class));
            }
            left = refused.into_iter().map(|(route, ..)| route).collect();
        }
    }
}

fn takes_away(step: &Step) -> bool {
    matches!(step, Step::RemoveAddress { .. } | Step::Delete { .. } | Step::Down(_))
}

fn link<'d>(dump: &'d NamespaceDump, name: &InterfaceName) -> Option<&'d LinkInfo> {
    dump.links.iter().find(|link| link.name == name.as_str())
}

/// What a step asks of the kernel; nothing if it is so already.
fn request(step: &Step, place: &Place, dump: &NamespaceDump, marks: &Marks) -> Result<Option<Request>, String> {
    let name = step.interface();
    let found = link(dump, name);
    if let Step::Create { vlan, mtu, .. } = step {
        let parent = link(dump, &vlan.parent).ok_or_else(|| format!("its parent {} is gone", vlan.parent))?;
        let there = found.map(|found| (ownership(found, marks), seen_vlan(found, dump)));
        if there == Some((Ownership::Ours, Some(vlan.clone()))) {
            return Ok(None);
        }
        let (place, group) = (place.clone(), marks.transport_group());
        let end = VethEnd { place: place.clone(), name: name.clone(), ifindex: None, mac: None, mtu: *mtu, group };
        return Ok(Some(Request::CreateVlan { end, place, parent: parent.ifindex, id: vlan.id.number() }));
    }
    let Some(found) = found else {
        return if takes_away(step) { Ok(None) } else { Err("it is gone".to_owned()) };
    };
    let (place, ifindex) = (place.clone(), found.ifindex);
    let set = |change| Request::SetLink { place: place.clone(), ifindex, change };
    Ok(Some(match step {
        Step::SetMtu { to, .. } => set(LinkChange {
            mtu: Some((*to).try_into().map_err(|error| format!("{error}"))?),
            ..LinkChange::default()
        }),
        Step::Up(_) => {
            // The mark comes with the message that brings it up.
            let alias = is_unmarked(found, marks).then(|| marks.transport_alias());
            set(LinkChange { state: Some(AdminState::Up), alias, ..LinkChange::default() })
        }
        Step::Down(_) => set(LinkChange { state: Some(AdminState::Down), ..LinkChange::default() }),
        Step::AddAddress { address, .. } => {
            let protocol = address.is_ours.then_some(ADDRESS_PROTOCOL);
            Request::AddAddress { place, ifindex, address: kernel_address(address.address), protocol }
        }
        Step::RemoveAddress { address, .. } => {
            Request::DeleteAddress { place, ifindex, address: kernel_address(address.address) }
        }
        Step::Delete { .. } if ownership(found, marks) == Ownership::Ours => Request::DeleteLink { place, ifindex },
        Step::Delete { .. } => return Err("it was not made by this agent".to_owned()),
        Step::Create { .. } => return Ok(None),
    }))
}

fn kernel_address(cidr: Cidr) -> Address {
    match cidr {
        Cidr::V4(net) => Address::V4(net),
        Cidr::V6(net) => Address::V6(net),
    }
}

fn seen_way(way: Way, dump: &NamespaceDump) -> Option<SeenWay> {
    Some(SeenWay { interface: dump.link(way.ifindex)?.name.parse().ok()?, source: way.source })
}

/// Whether it was made by us and not marked yet. It may be up: the kernel brings subinterfaces up with their parent
/// (`vlan_device_event` in net/8021q/vlan.c).
fn is_unmarked(link: &LinkInfo, marks: &Marks) -> bool {
    link.group == marks.transport_group() && link.alias.is_none()
}

fn ownership(link: &LinkInfo, marks: &Marks) -> Ownership {
    let is_made = link.alias.as_deref() == Some(&*marks.transport_alias());
    if is_made || is_unmarked(link, marks) {
        Ownership::Ours
    } else if Marks::is_any(link) {
        Ownership::Lab
    } else {
        Ownership::Other
    }
}

fn seen_vlan(link: &LinkInfo, dump: &NamespaceDump) -> Option<Vlan> {
    let parent = link.peer.filter(|_| link.peer_nsid.is_none())?;
    Some(Vlan { parent: dump.link(parent)?.name.parse().ok()?, id: link.vlan?.try_into().ok()? })
}

fn interfaces(dump: &NamespaceDump, marks: &Marks) -> BTreeMap<InterfaceName, SeenInterface> {
    let by_link = dump.addresses_by_link();
    let seen = dump.links.iter().filter_map(|link| {
        let interface = SeenInterface {
            ownership: ownership(link, marks),
            vlan: seen_vlan(link, dump),
            mtu: link.mtu,
            is_up: link.up,
            addresses: addresses(by_link.get(&link.ifindex).map(Vec::as_slice).unwrap_or_default()),
        };
        Some((link.name.parse().ok()?, interface))
    });
    seen.collect()
}

/// Secondary ones first: the kernel takes them away with their first.
fn addresses(all: &[AddressInfo]) -> Vec<SeenAddress> {
    let mut all: Vec<&AddressInfo> = all.iter().filter(|info| !info.link_local).collect();
    all.sort_by_key(|info| !info.secondary);
    let seen = |info: &&AddressInfo| SeenAddress {
        address: match info.address {
            Address::V4(net) => Cidr::V4(net),
            Address::V6(net) => Cidr::V6(net),
        },
        is_ours: info.protocol == Some(ADDRESS_PROTOCOL),
    };
    all.iter().map(seen).collect()
}
