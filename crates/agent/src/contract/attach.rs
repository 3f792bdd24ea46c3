//! Tunnels that are attached to what they join here, and detached from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use netloom_engine::{Controlled, ControlledTunnel, Near, Snapshot, Wish};
use netloom_model::{InterfaceName, Link, LinkId, Vxlan};
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, Detail, Json, done};
use super::carry_out::{Late, carry_out, wish};
use super::external;
use super::fields::lab;
use super::links::{DECLARED, port_of, segment_of};
use super::overlay::{called, link_id, mtu, names, port_in, tag_through, vxlan, wanted};
use crate::routes::Shared;
use crate::serve::App;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/overlay/attach-link", post(attach_link)).route("/overlay/detach-link", post(detach_link))
}

#[derive(Debug, Deserialize)]
struct AttachLink {
    lab_id: String,
    container_name: String,
    interface_name: String,
    vni: u32,
    local_ip: String,
    remote_ip: String,
    link_id: String,
    #[serde(default)]
    tenant_mtu: Option<u32>,
}

/// Whether the tunnel of a link is wanted to be joined to what it joins.
fn is_joined(wish: &Wish, far: &Link, link: &LinkId, near: &Near) -> bool {
    match near {
        Near::Port(port) => far.segment() == *link && segment_of(wish, port).as_ref() == Some(link),
        // Others may lead there too.
        Near::External(interface) => wish.lab.external(interface).map(Link::segment) == Some(far.segment()),
    }
}

fn tag_near(wish: &Wish, near: &Near, snapshot: &Snapshot) -> Option<u16> {
    match near {
        Near::Port(port) => port_of(wish, port, snapshot).and_then(|port| port.tag),
        Near::External(interface) => external::tag(wish, interface, snapshot),
    }
}

/// The numbered tunnels that an attachment by a name means. A controller attaches a link to an external network by a number, then looks
/// for it by its name, and attaches it by that too where it does not find it. From a node the tunnel of its interface is meant. From the
/// network it is one of those to the same host that no name alone stands for: which one nobody can tell, so it is all of them.
fn numbered(wish: &Wish, name: &LinkId, near: &Near, remote: &str) -> BTreeSet<LinkId> {
    let has_own = wish.lab.tunnels().any(|(half_of, _)| half_of == name);
    if name.is_numbered() || has_own {
        return BTreeSet::new();
    }
    let leads = |(half_of, far): &(&LinkId, &Link)| {
        half_of.is_numbered()
            && far.kind.tunnel().is_some_and(|tunnel| tunnel.remote == remote)
            && is_joined(wish, far, half_of, near)
    };
    let all: Vec<(&LinkId, &Link)> = wish.lab.tunnels().filter(leads).collect();
    let links =
        |of: &dyn Fn(&Link) -> bool| all.iter().filter(|(_, far)| of(far)).map(|(link, _)| (*link).clone()).collect();
    let known: BTreeSet<LinkId> = links(&|far| names(far).contains(name));
    let is_alone = |name: &LinkId| called(wish, name).nth(1).is_none();
    match near {
        Near::Port(_) => links(&|_| true),
        Near::External(_) if known.is_empty() => links(&|far| !names(far).iter().any(is_alone)),
        Near::External(_) => known,
    }
}

/// What is near a tunnel: an interface of a node, by its name or that of its container, or a network outside.
fn near(there: Option<&Wish>, body: &AttachLink, link: &LinkId, remote: &str) -> Result<Near, String> {
    if external::is_one(&body.container_name) {
        let has_it = |wish: &Wish, interface: &InterfaceName| {
            !numbered(wish, link, &Near::External(interface.clone()), remote).is_empty()
        };
        return external::meant(there, &body.container_name, has_it).map(Near::External);
    }
    let name = lab(&body.lab_id).map_err(|fault| fault.to_string())?;
    port_in(&name, &body.container_name, &body.interface_name).map(Near::Port).map_err(|fault| fault.to_string())
}

/// A tunnel that is attached.
struct Attached {
    vni: u32,
    tag: u16,
}

/// What is attached, if these tunnels are there as they are asked for: with one tag among them and with what is near.
fn attached_so(wish: &Wish, asked: &[ControlledTunnel], near: &Near, snapshot: &Snapshot) -> Option<Attached> {
    let mut found = None;
    for ControlledTunnel { link, tunnel, mtu, .. } in asked {
        let far = wanted(wish, link)?;
        let is_as_asked = far.kind.tunnel() == Some(tunnel) && far.mtu == *mtu && is_joined(wish, far, link, near);
        let tag =
            tag_through(wish, far, snapshot).filter(|tag| is_as_asked && tag_near(wish, near, snapshot) == Some(*tag));
        found = found.or(Some(Attached { vni: tunnel.vni, tag: tag? }));
    }
    found
}

async fn attached(app: &Arc<App>, body: &AttachLink) -> Result<Attached, String> {
    let name = lab(&body.lab_id).map_err(|fault| fault.to_string())?;
    let (link, tunnel) = (link_id(&body.link_id)?, vxlan(&body.local_ip, &body.remote_ip, body.vni)?);
    let mtu = mtu(body.tenant_mtu)?;
    let snapshot = app.engine.inventory().snapshot();
    let there = wish(app, &name);
    let near = near(there.as_deref(), body, &link, &tunnel.remote)?;
    match &near {
        Near::Port(port) if there.as_ref().is_none_or(|wish| port_of(wish, port, &snapshot).is_none()) => {
            return Err(format!("Could not find OVS port for {}", port.label()));
        }
        Near::Port(_) => {}
        Near::External(interface) => external::is_free(app, &name, interface)?,
    }
    let half = |link: LinkId, tunnel| ControlledTunnel { link, tunnel, mtu, near: Some(near.clone()) };
    let meant = there.as_ref().map(|wish| numbered(wish, &link, &near, &tunnel.remote)).unwrap_or_default();
    // Each keeps its identifier: the other host has the same one.
    let leads = |half_of: &LinkId| Some(wanted(there.as_ref()?, half_of)?.kind.tunnel()?.vni);
    let kept = meant
        .iter()
        .filter_map(|half_of| Some(half(half_of.clone(), Vxlan { vni: leads(half_of)?, ..tunnel.clone() })));
    let mut asked: Vec<ControlledTunnel> = kept.collect();
    if asked.is_empty() {
        asked.push(half(link.clone(), tunnel.clone()));
    }
    let halves = |wish: &Wish| called(wish, &link).map(|(half_of, _)| half_of.clone()).collect::<BTreeSet<_>>();
    let is_called = |wish: &Wish| meant.is_empty() || halves(wish) == meant;
    if let Some(there) = there.as_deref().filter(|wish| is_called(wish))
        && let Some(attached) = attached_so(there, &asked, &near, &snapshot)
    {
        // It is there: nothing is touched.
        return Ok(attached);
    }
    let mut edits = vec![Controlled::Attach(asked.clone())];
    if !meant.is_empty() {
        edits.push(Controlled::Called { name: link.clone(), tunnels: meant });
    }
    carry_out(app, &name, Controlled::Several(edits), DECLARED, Late::Ends).await?;
    let there = wish(app, &name).ok_or_else(|| format!("lab {name} is gone"))?;
    attached_so(&there, &asked, &near, &app.engine.inventory().snapshot())
        .ok_or_else(|| format!("link {link}: its port and its tunnel do not have one tag"))
}

async fn attach_link(State(app): State<Shared>, Json(body): Json<AttachLink>) -> Answer {
    lab(&body.lab_id)?;
    let outcome = attached(&app, &body).await;
    let attached = outcome.as_ref().ok();
    Ok(done(&json!({ "success": attached.is_some(), "error": outcome.as_ref().err(),
        "local_vlan": attached.map(|attached| attached.tag), "vni": attached.map(|attached| attached.vni) })))
}

#[derive(Debug, Deserialize)]
struct DetachLink {
    lab_id: String,
    container_name: String,
    interface_name: String,
    link_id: String,
}

/// What is near a tunnel that is detached; nothing, where no interface is named, or a network outside that nobody knows any more.
fn near_before(there: Option<&Wish>, body: &DetachLink) -> Result<Option<Near>, Detail> {
    let name = lab(&body.lab_id)?;
    if external::is_one(&body.container_name) {
        let link = LinkId::from_text(body.link_id.as_str());
        let has_it = |wish: &Wish, by: &InterfaceName| {
            let segment = wish.lab.external(by).map(Link::segment);
            called(wish, &link).any(|(_, far)| Some(far.segment()) == segment)
        };
        return Ok(external::meant(there, &body.container_name, has_it).ok().map(Near::External));
    }
    if body.container_name.is_empty() || body.interface_name.is_empty() {
        return Ok(None);
    }
    port_in(&name, &body.container_name, &body.interface_name).map(Near::Port).map(Some)
}

async fn detach_link(State(app): State<Shared>, Json(body): Json<DetachLink>) -> Answer {
    let name = lab(&body.lab_id)?;
    let mut outcome = link_id(&body.link_id);
    let there = wish(&app, &name);
    let near = near_before(there.as_deref(), &body)?;
    if let (Ok(link), Some(_)) = (&outcome, there) {
        let edit = Controlled::Detach { link: link.clone(), near: near.clone() };
        outcome = carry_out(&app, &name, edit, DECLARED, Late::GoesOn).await.map(|()| link.clone());
    }
    let (there, snapshot) = (wish(&app, &name), app.engine.inventory().snapshot());
    let tag = there.as_ref().zip(near.as_ref()).and_then(|(wish, near)| tag_near(wish, near, &snapshot));
    let is_apart = there.as_ref().is_some_and(|wish| match &near {
        Some(Near::Port(port)) => segment_of(wish, port).is_none(),
        Some(Near::External(_)) | None => false,
    });
    Ok(done(&json!({ "success": outcome.is_ok(), "error": outcome.as_ref().err(),
        "interface_isolated": outcome.is_ok() && is_apart && tag.is_some(), "new_vlan": tag,
        "tunnel_deleted": outcome.is_ok() })))
}
