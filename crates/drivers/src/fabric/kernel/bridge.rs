//! Bridges of the host, and those inside of nodes: made if missing, used if there, removed if ours and nobody's any more.

use std::collections::HashMap;

use netloom_engine::{Context, DriverError, ErrorClass};
use netloom_engine::{Place as Where, PortMark};
use netloom_failpoint::point;
use netloom_kernel::{
    Address, AdminState, KernelErrorKind, LinkChange, LinkInfo, NamespaceDump, Netns, Place, Request,
};
use netloom_model::{InterfaceName, Mac};

use super::mark::is_half_made;
use super::places::OpenPlace;
use super::{KernelFabric, cause_of, class_of, class_of_submit, refusal};

/// How often another ifindex is tried.
const ATTEMPTS: u32 = 8;

/// An interface in a namespace beside the host, whose far end on the host is to be a port of a bridge.
#[derive(Debug)]
pub struct Member {
    /// Where it is.
    pub netns: Netns,
    /// Its MAC address there.
    pub mac: Mac,
}

pub(crate) async fn ensure(
    fabric: &KernelFabric,
    at: &Where,
    name: &InterfaceName,
    context: &Context,
) -> Result<(), DriverError> {
    let refuse = |(class, cause)| refusal("create", format!("bridge {name}"), cause, class);
    let (place, found) = have(fabric, at, name, context).await.map_err(refuse)?;
    finish(fabric, &found, &place, context).await.map_err(refuse)
}

/// An interface of the host.
pub(crate) async fn see(
    fabric: &KernelFabric,
    name: &InterfaceName,
    context: &Context,
) -> Result<Option<LinkInfo>, DriverError> {
    let seen = look(fabric, &Where::Host, context).await.map(|(_, dump)| dump.named(name.as_str()).cloned());
    seen.map_err(|(class, cause)| refusal("look at", format!("interface {name}"), cause, class))
}

/// The numbers of the interfaces of the host.
pub(crate) async fn numbers(fabric: &KernelFabric, context: &Context) -> Result<HashMap<String, u32>, DriverError> {
    let seen = look(fabric, &Where::Host, context).await;
    let (_, dump) = seen.map_err(|(class, cause)| refusal("look at", "the host's interfaces", cause, class))?;
    Ok(dump.links.into_iter().map(|link| (link.name, link.ifindex)).collect())
}

/// The bridge as it is, made if there is none, and the namespace that it is in.
async fn have(
    fabric: &KernelFabric,
    at: &Where,
    name: &InterfaceName,
    context: &Context,
) -> Result<(OpenPlace, LinkInfo), (ErrorClass, String)> {
    let marks = &fabric.shared.marks;
    let (place, mut dump) = look(fabric, at, context).await?;
    for attempt in 0..ATTEMPTS {
        if let Some(found) = dump.named(name.as_str()) {
            let found = found.clone();
            return Ok((place, found));
        }
        let create = Request::CreateBridge {
            place: place.kernel.clone(),
            name: name.clone(),
            ifindex: Some(fabric.ifindexes(attempt * attempt * 100).0),
            mac: Some(marks.bridge_mac(at, name)),
            mtu: None,
            group: marks.bridge_group(),
        };
        match one(fabric, create, context).await {
            // Looked at again, either way: it is there now, by our hand or another's.
            Ok(()) | Err((_, Some(KernelErrorKind::AlreadyExists), _)) => {
                point!("bridge.created");
                (_, dump) = look(fabric, at, context).await?;
            }
            Err((_, Some(KernelErrorKind::IfindexTaken), _)) => {}
            Err((class, _, cause)) => return Err((class, cause)),
        }
    }
    Err((ErrorClass::Transient, "no free ifindex was found for it".to_owned()))
}

/// Makes a bridge that was somebody's and is gone, with its addresses and ports, and brings it up: last of all, so that one
/// that is up is whole. One that somebody made is only brought up.
pub(crate) async fn restore(
    fabric: &KernelFabric,
    name: &InterfaceName,
    addresses: &[Address],
    members: Vec<Member>,
    context: &Context,
) -> Result<(), DriverError> {
    let refuse = |(class, cause)| refusal("restore", format!("bridge {name}"), cause, class);
    let (host, found) = have(fabric, &Where::Host, name, context).await.map_err(refuse)?;
    let marks = &fabric.shared.marks;
    let ours = marks.read(&found) == Some(PortMark::Bridge) || is_half_made(&found, marks.bridge_group());
    if ours {
        for address in addresses {
            let (place, ifindex) = (host.kernel.clone(), found.ifindex);
            let add = Request::AddAddress { place, ifindex, address: *address, protocol: None };
            match one(fabric, add, context).await {
                Ok(()) | Err((_, Some(KernelErrorKind::AlreadyExists), _)) => {}
                Err((class, _, cause)) => return Err(refuse((class, cause))),
            }
        }
    }
    join(fabric, &found, &host, members, context).await.map_err(refuse)?;
    if ours {
        return finish(fabric, &found, &host, context).await.map_err(refuse);
    }
    let change = LinkChange { state: Some(AdminState::Up), ..LinkChange::default() };
    let request = Request::SetLink { place: host.kernel.clone(), ifindex: found.ifindex, change };
    one(fabric, request, context).await.map_err(|(class, _, cause)| refuse((class, cause)))
}

/// Makes ports of the far ends of these: a bridge that is deleted leaves its ports behind, as nobody's.
async fn join(
    fabric: &KernelFabric,
    bridge: &LinkInfo,
    host: &OpenPlace,
    members: Vec<Member>,
    context: &Context,
) -> Result<(), (ErrorClass, String)> {
    if members.is_empty() {
        return Ok(());
    }
    let (macs, mut places): (Vec<Mac>, Vec<Place>) =
        members.into_iter().map(|member| (member.mac, Place::node(member.netns, "a container"))).unzip();
    places.push(host.kernel.clone());
    let submitted = fabric.dumper.dump(places, context.deadline).await;
    let mut dumps = submitted.map_err(|error| (class_of_submit(error), error.to_string()))?;
    let on_host = dumps.pop().and_then(Result::ok).unwrap_or_default();
    for (mac, dump) in macs.into_iter().zip(dumps) {
        // One whose namespace has gone meanwhile has no port either.
        let Ok(dump) = dump else { continue };
        let Some(port) = far_end(&dump, mac, &on_host) else { continue };
        let change = LinkChange { master: Some(bridge.ifindex), ..LinkChange::default() };
        let request = Request::SetLink { place: host.kernel.clone(), ifindex: port.ifindex, change };
        match one(fabric, request, context).await {
            Ok(()) | Err((_, Some(KernelErrorKind::NotFound), _)) => {}
            Err((class, _, cause)) => return Err((class, cause)),
        }
    }
    Ok(())
}

/// The end on the host of the pair that has this address in another namespace, if it is no port of anything.
fn far_end<'a>(dump: &NamespaceDump, mac: Mac, on_host: &'a NamespaceDump) -> Option<&'a LinkInfo> {
    let near = dump.links.iter().find(|link| link.mac == Some(mac) && link.peer_nsid.is_some())?;
    let is_pair = |far: &&LinkInfo| Some(far.ifindex) == near.peer && far.peer == Some(near.ifindex);
    on_host.links.iter().find(is_pair).filter(|far| far.kind.as_deref() == Some("veth") && far.master.is_none())
}

/// Brings up what is ours; leaves what is somebody else's as it is, if it is a bridge.
async fn finish(
    fabric: &KernelFabric,
    found: &LinkInfo,
    place: &OpenPlace,
    context: &Context,
) -> Result<(), (ErrorClass, String)> {
    let marks = &fabric.shared.marks;
    if found.kind.as_deref() != Some("bridge") {
        let kind = found.kind.as_deref().unwrap_or("hardware or virtual");
        let whose = match &place.place {
            Where::Host => "the host".to_owned(),
            Where::Node(_, node) => format!("node `{node}`"),
        };
        let why = format!("{whose} has a {kind} interface of that name; rename it or the bridge");
        return Err((ErrorClass::Permanent, why));
    }
    let marked = marks.read(found) == Some(PortMark::Bridge);
    if !(marked && !found.up || is_half_made(found, marks.bridge_group())) {
        return Ok(());
    }
    let change = LinkChange { state: Some(AdminState::Up), alias: Some(marks.bridge_alias()), ..LinkChange::default() };
    let request = Request::SetLink { place: place.kernel.clone(), ifindex: found.ifindex, change };
    one(fabric, request, context).await.map_err(|(class, _, cause)| (class, cause))?;
    point!("bridge.finished");
    Ok(())
}

pub(crate) async fn remove(
    fabric: &KernelFabric,
    at: &Where,
    name: &InterfaceName,
    context: &Context,
) -> Result<(), DriverError> {
    let refuse = |cause: String, class| refusal("remove", format!("bridge {name}"), cause, class);
    let (place, dump) = look(fabric, at, context).await.map_err(|(class, cause)| refuse(cause, class))?;
    let marks = &fabric.shared.marks;
    let ours =
        |link: &&LinkInfo| marks.read(link) == Some(PortMark::Bridge) || is_half_made(link, marks.bridge_group());
    let Some(found) = dump.named(name.as_str()).filter(ours) else { return Ok(()) };
    let ports: Vec<&str> =
        dump.links.iter().filter(|link| link.master == Some(found.ifindex)).map(|link| link.name.as_str()).collect();
    if !ports.is_empty() {
        let why = format!("it still has ports: {}", ports.join(", "));
        let hint = Some(format!("take a port out with `ip link set {} nomaster`", ports[0]));
        return Err(DriverError { hint, ..refuse(why, ErrorClass::Transient) });
    }
    match one(fabric, Request::DeleteLink { place: place.kernel, ifindex: found.ifindex }, context).await {
        Ok(()) | Err((_, Some(KernelErrorKind::NotFound), _)) => {
            point!("bridge.removed");
            Ok(())
        }
        Err((class, _, cause)) => Err(refuse(cause, class)),
    }
}

/// What is in a place, which is taken over.
pub(super) async fn look(
    fabric: &KernelFabric,
    at: &Where,
    context: &Context,
) -> Result<(OpenPlace, NamespaceDump), (ErrorClass, String)> {
    let simple = |class| (class, cause_of(class).to_owned());
    let mut opened = fabric.places.open(vec![at.clone()], context.deadline).await.map_err(simple)?;
    let place = opened.remove(0).map_err(|error| (ErrorClass::Transient, error.to_string()))?;
    let mut dumps = fabric.fetch(vec![place.clone()], context.deadline).await?;
    Ok((place, dumps.remove(at).unwrap_or_default()))
}

/// Has one request done.
pub(super) async fn one(
    fabric: &KernelFabric,
    request: Request,
    context: &Context,
) -> Result<(), (ErrorClass, Option<KernelErrorKind>, String)> {
    match fabric.submit(vec![request], context).await {
        Err(class) => Err((class, None, cause_of(class).to_owned())),
        Ok(results) => match results.into_iter().next() {
            Some(Err(error)) => Err((class_of(error.kind), Some(error.kind), error.message)),
            Some(Ok(())) | None => Ok(()),
        },
    }
}
