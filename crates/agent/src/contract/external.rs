//! External networks: an interface of this host that a lab is joined to.
//!
//! On the interface hangs one of ours, which has it for itself and is a port of the switch in the segment of those that are
//! connected. The interface itself stays what it is; nothing of this host can be reached by it meanwhile, so one that has
//! addresses is refused.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use netloom_engine::{Controlled, PortFact, PortName, Snapshot, Wish};
use netloom_model::{InterfaceName, LabName, Link, NodeName};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Detail, Json, done};
use super::carry_out::{Late, carry_out, wish, wishes};
use super::fields::{self, lab};
use super::links::{LINK, port_of, segment_of, tag_of};
use super::nodes::named_in_containers;
use crate::routes::Shared;
use crate::serve::App;

/// What controllers call the container of an external network, before the name of its interface.
const CONTAINER: &str = "_ext:";
/// The lab that stands for all of this host.
const HOST: &str = "_global";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/labs/{lab}/external/connect", post(connect))
        .route("/labs/{lab}/external/disconnect", post(disconnect))
        .route("/labs/{lab}/external", get(connections))
        .route("/ovs-plugin/labs/{lab}/external", get(plugin_list).post(plugin_connect))
        .route("/ovs-plugin/labs/{lab}/external/{interface}", delete(plugin_disconnect))
}

/// Whether a container's name means an external network.
pub(super) fn is_one(container: &str) -> bool {
    container.starts_with(CONTAINER)
}

/// The access port to the external network that is asked for as `_ext:…`. After the colon is its interface or, since controllers ask
/// so, a number that they have for it: then it is the one that the lab is joined to, if there is one alone.
pub(super) fn asked_for<'w>(wish: &'w Wish, container: &str) -> Option<(&'w InterfaceName, &'w Link)> {
    let name = container.strip_prefix(CONTAINER)?;
    let mut all = wish.lab.externals();
    let named = wish.lab.externals().find(|(interface, _)| interface.as_str() == name);
    named.or_else(|| all.next().filter(|_| all.next().is_none()))
}

/// The interface of the host that a tunnel is to be joined to as `_ext:…`. What follows is its name, or a number that the controller
/// has for it: then it is that of the one external network that the lab is joined to or, of several, of the one that has such a
/// tunnel already.
pub(super) fn meant(
    there: Option<&Wish>,
    container: &str,
    has_it: impl Fn(&Wish, &InterfaceName) -> bool,
) -> Result<InterfaceName, String> {
    let text = container.strip_prefix(CONTAINER).unwrap_or(container);
    if let Ok(named) = text.parse() {
        return Ok(named);
    }
    let all = there.into_iter().flat_map(|wish| wish.lab.externals().map(move |(interface, _)| (wish, interface)));
    let all: Vec<(&Wish, &InterfaceName)> = all.collect();
    let having = all.iter().filter(|(wish, interface)| all.len() == 1 || has_it(wish, interface));
    match having.collect::<Vec<_>>().as_slice() {
        [(_, interface)] => Ok((*interface).clone()),
        _ => Err(format!(
            "`{}` is no interface of this host, nor a network that its lab is joined to",
            text.escape_debug()
        )),
    }
}

/// The tag of the external network by an interface, if the lab is joined to it.
pub(super) fn tag(wish: &Wish, interface: &InterfaceName, snapshot: &Snapshot) -> Option<u16> {
    tag_of(wish, wish.lab.external(interface)?, snapshot)
}

/// Whether a lab can be joined to the external network by an interface. One that is joined to it can.
pub(super) fn is_free(app: &App, name: &LabName, interface: &InterfaceName) -> Result<(), String> {
    if let Some(other) = wishes(app).iter().find(|wish| wish.lab.external(interface).is_some()) {
        return match other.lab.name() {
            own if own == name => Ok(()),
            other => Err(format!(
                "interface {interface} is joined to lab {other}, and to one at a time; disconnect it there"
            )),
        };
    }
    let snapshot = app.engine.inventory().snapshot();
    let there = snapshot.host_port(interface).ok_or_else(|| {
        format!("there is no interface {interface} on this host; `ip link` shows those that there are")
    })?;
    if let Some(why) = fault(there) {
        return Err(why);
    }
    if snapshot.switch.bridge(interface).is_some() {
        return Err(format!("{interface} is a bridge of Open vSwitch"));
    }
    Ok(())
}

/// Why an interface of the host cannot be given to a lab.
fn fault(port: &PortFact) -> Option<String> {
    let name = &port.name;
    if port.mark.is_some() {
        return Some(format!("interface {name} is part of a lab"));
    }
    if port.master.is_some() {
        return Some(format!(
            "interface {name} is a port of a bridge; `ip link set {name} nomaster` takes it out of that"
        ));
    }
    // Each interface that is up has one of these.
    if let Some(address) = port.addresses.iter().find(|address| !address.starts_with("fe80:")) {
        return Some(format!(
            "interface {name} has the address {address}, by which this host would not be reached any more; \
             `ip address delete {address} dev {name}` takes it away, or name another interface"
        ));
    }
    (!port.admin_up).then(|| format!("interface {name} is off; `ip link set {name} up` switches it on"))
}

#[derive(Debug, Deserialize)]
struct Connect {
    #[serde(default)]
    node_name: Option<String>,
    #[serde(default)]
    container_name: Option<String>,
    interface_name: String,
    external_interface: String,
}

impl Connect {
    fn node(&self, lab: &LabName) -> Result<NodeName, Detail> {
        let named = |name: &Option<String>| name.clone().filter(|name| !name.is_empty());
        match (named(&self.node_name), named(&self.container_name)) {
            (Some(node), _) | (None, Some(node)) => named_in_containers(lab, &node),
            (None, None) => Err(Detail::new(400, "one of `node_name` and `container_name` is needed")),
        }
    }
}

/// Joins an interface of a node to the network outside by one of the host. Gives their tag.
pub(super) async fn connected(
    app: &Arc<App>,
    name: &LabName,
    port: PortName,
    interface: InterfaceName,
) -> Result<u16, String> {
    let there = wish(app, name);
    let snapshot = app.engine.inventory().snapshot();
    let near = there.as_ref().and_then(|wish| port_of(wish, &port, &snapshot));
    let (Some(there), Some(near)) = (there, near) else {
        return Err(format!("Cannot find OVS port for {}", port.label()));
    };
    is_free(app, name, &interface)?;
    let segment = there.lab.external(&interface).map(Link::segment);
    let is_wanted = segment.is_some() && segment_of(&there, &port) == segment;
    if let Some(tag) = tag(&there, &interface, &snapshot).filter(|tag| is_wanted && near.tag == Some(*tag)) {
        // It is there: nothing is touched.
        return Ok(tag);
    }
    let edit = Controlled::Outside { port: port.clone(), interface: interface.clone() };
    carry_out(app, name, edit, LINK, Late::Ends).await?;
    let there = wish(app, name).ok_or_else(|| format!("lab {name} is gone"))?;
    let snapshot = app.engine.inventory().snapshot();
    let near = port_of(&there, &port, &snapshot).and_then(|port| port.tag);
    tag(&there, &interface, &snapshot)
        .filter(|tag| near == Some(*tag))
        .ok_or_else(|| format!("{} and interface {interface} do not have one tag", port.label()))
}

async fn connect(State(app): State<Shared>, Path(name): Path<String>, Json(body): Json<Connect>) -> Answer {
    let name = lab(&name)?;
    let port = PortName { node: body.node(&name)?, interface: fields::interface(&body.interface_name)? };
    let outcome = connected(&app, &name, port, fields::host_interface(&body.external_interface)?).await;
    Ok(done(&json!({ "success": outcome.is_ok(), "error": outcome.as_ref().err(), "vlan_tag": outcome.as_ref().ok() })))
}

/// Takes labs out of the external network by an interface: one that is in none is fine.
async fn disconnected(app: &Arc<App>, labs: &[Arc<Wish>], interface: &InterfaceName) -> Result<(), String> {
    for wish in labs.iter().filter(|wish| wish.lab.external(interface).is_some()) {
        carry_out(app, wish.lab.name(), Controlled::Inside(interface.clone()), LINK, Late::GoesOn).await?;
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct OfInterface {
    external_interface: String,
}

async fn disconnect(State(app): State<Shared>, Path(name): Path<String>, Json(body): Json<OfInterface>) -> Answer {
    let (name, interface) = (lab(&name)?, fields::host_interface(&body.external_interface)?);
    let labs: Vec<Arc<Wish>> = wish(&app, &name).into_iter().collect();
    let outcome = disconnected(&app, &labs, &interface).await;
    Ok(done(&json!({ "success": outcome.is_ok(), "error": outcome.err() })))
}

async fn connections(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    let name = lab(&name)?;
    let snapshot = app.engine.inventory().snapshot();
    let of = |wish: &Wish| -> Vec<Value> {
        let connection = |(interface, external): (&InterfaceName, &Link)| {
            let segment = external.segment();
            let ports = wish.lab.segments().filter(|(of, link)| **of == segment && link.a.at.node().is_some());
            let ports: Vec<String> = ports.map(|(_, link)| link.a.label()).collect();
            json!({ "external_interface": interface, "vlan_tag": tag_of(wish, external, &snapshot),
                "connected_ports": ports })
        };
        wish.lab.externals().map(connection).collect()
    };
    let connections = wish(&app, &name).map(|wish| of(&wish)).unwrap_or_default();
    Ok(done(&json!({ "connections": connections })))
}

async fn plugin_list(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    let name = lab(&name)?;
    let snapshot = app.engine.inventory().snapshot();
    let of = |wish: &Wish| -> Vec<Value> {
        let all = wish.lab.externals();
        all.map(|(interface, link)| json!({ "interface": interface, "vlan_tag": tag_of(wish, link, &snapshot) }))
            .collect()
    };
    let all = wish(&app, &name).map(|wish| of(&wish)).unwrap_or_default();
    Ok(done(&json!({ "lab_id": name, "interfaces": all })))
}

async fn plugin_connect(Path(name): Path<String>, Json(body): Json<OfInterface>) -> Answer {
    lab(&name)?;
    let interface = fields::host_interface(&body.external_interface)?;
    let why = format!(
        "nothing is joined to {interface} by itself: `/labs/{name}/external/connect` joins an interface of a node to it"
    );
    Ok(done(&json!({ "success": false, "error": why, "vlan_tag": null })))
}

/// `_global` stands for whatever lab has the interface.
async fn plugin_disconnect(State(app): State<Shared>, Path((name, interface)): Path<(String, String)>) -> Answer {
    let interface = fields::host_interface(&interface)?;
    let labs = if name == HOST { wishes(&app) } else { wish(&app, &lab(&name)?).into_iter().collect() };
    let outcome = disconnected(&app, &labs, &interface).await;
    Ok(done(&json!({ "success": outcome.is_ok(), "error": outcome.err(), "vlan_tag": 0 })))
}
