//! Bridges of the host: made if missing, used if there, removed if ours and nobody's any more.

use netloom_engine::{Context, DriverError, ErrorClass};
use netloom_engine::{Place, PortMark};
use netloom_failpoint::point;
use netloom_kernel::{Address, AdminState, KernelErrorKind, LinkChange, LinkInfo, NamespaceDump, Request};
use netloom_model::InterfaceName;

use super::mark::is_half_made;
use super::places::OpenPlace;
use super::{KernelFabric, cause_of, class_of, refusal};

/// How often another ifindex is tried.
const ATTEMPTS: u32 = 8;

pub(crate) async fn ensure(fabric: &KernelFabric, name: &InterfaceName, context: &Context) -> Result<(), DriverError> {
    let object = format!("bridge {name}");
    let refuse = |cause: String, class| refusal("create", &object, cause, class);
    let marks = &fabric.shared.marks;
    let (host, mut dump) = look(fabric, context).await.map_err(|(class, cause)| refuse(cause, class))?;
    for attempt in 0..ATTEMPTS {
        if let Some(found) = dump.named(name.as_str()) {
            return finish(fabric, found, &host, context).await.map_err(|(class, cause)| refuse(cause, class));
        }
        let create = Request::CreateBridge {
            place: host.kernel.clone(),
            name: name.clone(),
            ifindex: Some(fabric.ifindexes(attempt * attempt * 100).0),
            mac: Some(marks.bridge_mac(name)),
            mtu: None,
            group: marks.bridge_group(),
        };
        match one(fabric, create, context).await {
            // Looked at again, either way: it is there now, by our hand or another's.
            Ok(()) | Err((_, Some(KernelErrorKind::AlreadyExists), _)) => {
                point!("bridge.created");
                (_, dump) = look(fabric, context).await.map_err(|(class, cause)| refuse(cause, class))?;
            }
            Err((_, Some(KernelErrorKind::IfindexTaken), _)) => {}
            Err((class, _, cause)) => return Err(refuse(cause, class)),
        }
    }
    Err(refuse("no free ifindex was found for it".to_owned(), ErrorClass::Transient))
}

/// Makes a bridge that was somebody's and is gone, with its addresses; one that is there is left as it is.
pub(crate) async fn restore(
    fabric: &KernelFabric,
    name: &InterfaceName,
    addresses: &[Address],
    context: &Context,
) -> Result<(), DriverError> {
    let refuse = |cause: String, class| refusal("restore", format!("bridge {name}"), cause, class);
    ensure(fabric, name, context).await?;
    let (host, dump) = look(fabric, context).await.map_err(|(class, cause)| refuse(cause, class))?;
    let Some(found) = dump.named(name.as_str()) else {
        return Err(refuse("it is gone again".to_owned(), ErrorClass::Transient));
    };
    if fabric.shared.marks.read(found) != Some(PortMark::Bridge) {
        return Ok(());
    }
    for address in addresses {
        let (place, ifindex) = (host.kernel.clone(), found.ifindex);
        match one(fabric, Request::AddAddress { place, ifindex, address: *address, protocol: None }, context).await {
            Ok(()) | Err((_, Some(KernelErrorKind::AlreadyExists), _)) => {}
            Err((class, _, cause)) => return Err(refuse(cause, class)),
        }
    }
    Ok(())
}

/// Brings up what is ours; leaves what is somebody else's as it is, if it is a bridge.
async fn finish(
    fabric: &KernelFabric,
    found: &LinkInfo,
    host: &OpenPlace,
    context: &Context,
) -> Result<(), (ErrorClass, String)> {
    let marks = &fabric.shared.marks;
    if found.kind.as_deref() != Some("bridge") {
        let kind = found.kind.as_deref().unwrap_or("hardware or virtual");
        let why = format!("the host has a {kind} interface of that name; rename it or the node");
        return Err((ErrorClass::Permanent, why));
    }
    let marked = marks.read(found) == Some(PortMark::Bridge);
    if !(marked && !found.up || is_half_made(found, marks.bridge_group())) {
        return Ok(());
    }
    let change = LinkChange { state: Some(AdminState::Up), alias: Some(marks.bridge_alias()), ..LinkChange::default() };
    let request = Request::SetLink { place: host.kernel.clone(), ifindex: found.ifindex, change };
    one(fabric, request, context).await.map_err(|(class, _, cause)| (class, cause))?;
    point!("bridge.finished");
    Ok(())
}

pub(crate) async fn remove(fabric: &KernelFabric, name: &InterfaceName, context: &Context) -> Result<(), DriverError> {
    let refuse = |cause: String, class| refusal("remove", format!("bridge {name}"), cause, class);
    let (host, dump) = look(fabric, context).await.map_err(|(class, cause)| refuse(cause, class))?;
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
    match one(fabric, Request::DeleteLink { place: host.kernel, ifindex: found.ifindex }, context).await {
        Ok(()) | Err((_, Some(KernelErrorKind::NotFound), _)) => {
            point!("bridge.removed");
            Ok(())
        }
        Err((class, _, cause)) => Err(refuse(cause, class)),
    }
}

async fn look(fabric: &KernelFabric, context: &Context) -> Result<(OpenPlace, NamespaceDump), (ErrorClass, String)> {
    let simple = |class| (class, cause_of(class).to_owned());
    let mut opened = fabric.places.open(vec![Place::Host], context.deadline).await.map_err(simple)?;
    let host = opened.remove(0).map_err(|error| (ErrorClass::Transient, error.to_string()))?;
    let mut dumps = fabric.fetch(vec![host.clone()], context.deadline).await?;
    Ok((host, dumps.remove(&Place::Host).unwrap_or_default()))
}

async fn one(
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
