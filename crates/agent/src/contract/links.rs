//! Links within the host, and the ports of interfaces.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use futures::{StreamExt, stream};
use netloom_engine::{Controlled, PortFact, PortName, Snapshot, Wish};
use netloom_model::{InterfaceName, LabName, Link, LinkId, link_name};
use netloom_plan::NodeState;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Answer, Detail, Json, done};
use super::carry_out::{Late, carry_out, wish, wishes};
use super::external;
use super::fields::{self, lab};
use crate::routes::Shared;
use crate::serve::App;

/// How long a link is waited for, of the 30 s that the controller waits; a change of a port, of 10 s; a declaration, of 60 s.
pub(super) const LINK: Duration = Duration::from_secs(24);
pub(super) const PORT: Duration = Duration::from_secs(8);
pub(super) const DECLARED: Duration = Duration::from_secs(48);
/// How much of a declaration is made true at once: what cannot be takes no time from the rest.
pub(super) const AT_ONCE: usize = 8;

/// What is left of the time for an answer.
pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

pub(super) fn routes() -> Router<Shared> {
    let of_interface = |rest: &str| format!("/labs/{{lab}}/interfaces/{{node}}/{{interface}}/{rest}");
    Router::new()
        .route("/labs/{lab}/links", get(list).post(connect))
        .route("/labs/{lab}/links/{link}", delete(disconnect))
        .route(&of_interface("vlan"), get(vlan))
        .route(&of_interface("carrier"), post(carrier))
        .route(&of_interface("isolate"), post(isolate))
        .route(&of_interface("restore"), post(restore))
        .route("/labs/{lab}/port-state", get(port_state))
        .route("/ovs-plugin/labs/{lab}/ports", get(plugin_ports))
        .route("/ports/declare-state", post(declare))
}

/// The two ends of a link.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Pair {
    source_node: String,
    source_interface: String,
    target_node: String,
    target_interface: String,
}

impl Pair {
    pub(super) fn ports(&self) -> Result<(PortName, PortName), String> {
        let source = port_name(&self.source_node, &self.source_interface);
        let target = port_name(&self.target_node, &self.target_interface);
        Ok((source.map_err(|fault| fault.to_string())?, target.map_err(|fault| fault.to_string())?))
    }

    /// Whether one of its ends is a network outside.
    fn leads_outside(&self) -> bool {
        external::is_one(&self.source_node) || external::is_one(&self.target_node)
    }

    /// The link that it is to a network outside.
    fn outside(&self, lab: &LabName, tag: Option<u16>, [source, target]: [Option<InterfaceName>; 2]) -> LinkInfo {
        let ends = [(&self.source_node, &self.source_interface), (&self.target_node, &self.target_interface)];
        let [a, b] = ends.map(|(node, interface)| format!("{node}:{interface}"));
        LinkInfo {
            link_id: link_name(&a, &b),
            lab_id: lab.clone(),
            source_node: self.source_node.clone(),
            source_interface: self.source_interface.clone(),
            target_node: self.target_node.clone(),
            target_interface: self.target_interface.clone(),
            state: if tag.is_some() { "connected" } else { "disconnected" },
            vlan_tag: tag,
            source_ovs_port: source,
            target_ovs_port: target,
            error: None,
        }
    }
}

pub(super) fn port_name(node: &str, interface: &str) -> Result<PortName, Detail> {
    Ok(PortName { node: fields::node(node)?, interface: fields::interface(interface)? })
}

/// How long a question waits for the kernel to say what ports have carried. Then it is answered with what was read before.
pub(super) const MOMENT: Duration = Duration::from_millis(500);

/// A port as the switch has it.
#[derive(Debug)]
pub(super) struct PortView {
    pub(super) name: InterfaceName,
    /// Its tag, if it is there and works.
    pub(super) tag: Option<u16>,
}

/// The port of a link of the controller's.
pub(super) fn port_view(wish: &Wish, link: &Link, snapshot: &Snapshot) -> Option<PortView> {
    link.access_port()?;
    let name = wish.lab.switch_ports(link).into_iter().next()?.interface;
    let there = snapshot.switch.port(&name).filter(|port| port.fault.is_none());
    Some(PortView { tag: there.and_then(|port| port.vlan.tag), name })
}

/// The tag of the port of such a link.
pub(super) fn tag_of(wish: &Wish, link: &Link, snapshot: &Snapshot) -> Option<u16> {
    port_view(wish, link, snapshot)?.tag
}

/// The port of an interface of a node that runs.
pub(super) fn port_of(wish: &Wish, port: &PortName, snapshot: &Snapshot) -> Option<PortView> {
    snapshot.node(wish.lab.name(), &port.node).filter(|fact| fact.state == NodeState::Running)?;
    port_view(wish, wish.lab.port_of(&port.node, &port.interface)?, snapshot)
}

/// The segment that a port is wanted in.
pub(super) fn segment_of(wish: &Wish, port: &PortName) -> Option<LinkId> {
    wish.lab.port_of(&port.node, &port.interface)?.access_port()?.segment.clone()
}

/// A link as controllers see it.
#[derive(Debug, Serialize)]
struct LinkInfo {
    link_id: LinkId,
    lab_id: LabName,
    source_node: String,
    source_interface: String,
    target_node: String,
    target_interface: String,
    state: &'static str,
    vlan_tag: Option<u16>,
    source_ovs_port: Option<InterfaceName>,
    target_ovs_port: Option<InterfaceName>,
    error: Option<String>,
}

fn link_info(wish: &Wish, source: &PortName, target: &PortName, snapshot: &Snapshot) -> LinkInfo {
    let [a, b] = [source, target].map(|port| port_of(wish, port, snapshot));
    let tag = |port: &Option<PortView>| port.as_ref().and_then(|port| port.tag);
    let shared = tag(&a).filter(|tag_of_a| tag(&b) == Some(*tag_of_a));
    LinkInfo {
        link_id: link_name(&source.label(), &target.label()),
        lab_id: wish.lab.name().clone(),
        source_node: source.node.to_string(),
        source_interface: source.interface.to_string(),
        target_node: target.node.to_string(),
        target_interface: target.interface.to_string(),
        state: if shared.is_some() { "connected" } else { "disconnected" },
        vlan_tag: shared,
        source_ovs_port: a.map(|port| port.name),
        target_ovs_port: b.map(|port| port.name),
        error: None,
    }
}

/// A link to a network outside, which a controller asks for as one between nodes once it was made by another route.
async fn connected_outside(app: &Arc<App>, name: &LabName, pair: &Pair) -> Result<LinkInfo, String> {
    let is_target = external::is_one(&pair.target_node);
    let (node, interface, container) = if is_target {
        (&pair.source_node, &pair.source_interface, &pair.target_node)
    } else {
        (&pair.target_node, &pair.target_interface, &pair.source_node)
    };
    let port = port_name(node, interface).map_err(|fault| fault.to_string())?;
    let there = wish(app, name).ok_or("Endpoint not found")?;
    let segment = segment_of(&there, &port);
    let network = there.lab.externals().find(|(_, link)| segment == Some(link.segment()));
    let (by, _) = network.or_else(|| external::asked_for(&there, container)).ok_or_else(|| {
        format!(
            "Endpoint not found: lab {name} is not joined to `{container}`; `/labs/{name}/external/connect` joins it"
        )
    })?;
    external::connected(app, name, port.clone(), by.clone()).await?;
    let there = wish(app, name).ok_or_else(|| format!("lab {name} is gone"))?;
    let snapshot = app.engine.inventory().snapshot();
    let near = port_of(&there, &port, &snapshot);
    let far = there.lab.external(by).and_then(|link| port_view(&there, link, &snapshot));
    let tag = near.as_ref().and_then(|port| port.tag);
    let [near, far] = [near, far].map(|port| port.map(|port| port.name));
    let [source, target] = if is_target { [near, far] } else { [far, near] };
    Ok(pair.outside(name, tag, [source, target]))
}

async fn connected(app: &Arc<App>, name: &LabName, pair: &Pair) -> Result<LinkInfo, String> {
    if pair.leads_outside() {
        return connected_outside(app, name, pair).await;
    }
    let (source, target) = pair.ports()?;
    let there = wish(app, name);
    let snapshot = app.engine.inventory().snapshot();
    for port in [&source, &target] {
        let found = there.as_ref().and_then(|wish| port_of(wish, port, &snapshot));
        if found.is_none() {
            return Err(format!("Cannot find OVS port for {}", port.label()));
        }
    }
    let segment = link_name(&source.label(), &target.label());
    let wish_of = |wish: &Option<Arc<Wish>>| wish.clone().ok_or_else(|| format!("lab {name} is gone"));
    let is_wanted =
        |wish: &Wish| [&source, &target].iter().all(|port| segment_of(wish, port).as_ref() == Some(&segment));
    let before = wish_of(&there)?;
    if is_wanted(&before) {
        let info = link_info(&before, &source, &target, &snapshot);
        if info.vlan_tag.is_some() {
            // It is there: nothing is touched, and no packet of it is lost.
            return Ok(info);
        }
    }
    let edit = Controlled::Connect(vec![(source.clone(), target.clone())]);
    carry_out(app, name, edit, LINK, Late::Ends).await?;
    let info = link_info(&*wish_of(&wish(app, name))?, &source, &target, &app.engine.inventory().snapshot());
    if info.vlan_tag.is_some() { Ok(info) } else { Err(format!("link {segment}: its ports do not have one tag")) }
}

async fn connect(State(app): State<Shared>, Path(name): Path<String>, Json(pair): Json<Pair>) -> Answer {
    let name = lab(&name)?;
    Ok(done(&match connected(&app, &name, &pair).await {
        Ok(link) => json!({ "success": true, "error": null, "link": link }),
        Err(why) => json!({ "success": false, "error": why, "link": null }),
    }))
}

/// The link of a name, which may have its two ends in the other order.
fn named(wish: &Wish, text: String) -> LinkId {
    let is_there = |link: &LinkId| wish.lab.segments().any(|(segment, _)| segment == link);
    let turned = text.match_indices('-').map(|(at, _)| link_name(&text[..at], &text[at + 1..])).find(is_there);
    let written = LinkId::from_text(text);
    turned.filter(|_| !is_there(&written)).unwrap_or(written)
}

/// The port that a link joins to a network outside, which is named after that port and what a controller has for the network:
/// `_ext:…`, or a node that is none of this host.
fn left_outside(wish: &Wish, text: &str) -> Option<PortName> {
    let link = LinkId::from_text(text);
    let outside: Vec<LinkId> = wish.lab.externals().map(|(_, link)| link.segment()).collect();
    let leads_there = |other: &str| {
        let node = other.split(':').next().unwrap_or_default();
        external::is_one(other) || !wish.lab.nodes().keys().any(|known| known.as_str() == node)
    };
    let ports = wish.lab.segments().filter(|(segment, _)| outside.contains(segment));
    ports.into_iter().find_map(|(_, port)| {
        let node = port.a.at.node()?;
        link.end_beside(&port.a.label()).filter(|other| leads_there(other))?;
        Some(PortName { node: node.clone(), interface: port.a.interface.kernel().clone() })
    })
}

/// A link whose ends are gone is gone.
async fn disconnect(State(app): State<Shared>, Path((name, link)): Path<(String, String)>) -> Answer {
    let name = lab(&name)?;
    if !link.contains(':') || link.len() > 512 {
        return Ok(done(&json!({ "success": false, "error": "Invalid link_id format" })));
    }
    let outcome = if let Some(there) = wish(&app, &name) {
        let edit = match left_outside(&there, &link) {
            Some(port) => Controlled::Apart(port),
            None => Controlled::Disconnect(named(&there, link)),
        };
        carry_out(&app, &name, edit, LINK, Late::Ends).await
    } else {
        Ok(())
    };
    Ok(done(&json!({ "success": outcome.is_ok(), "error": outcome.err() })))
}

/// The ports of nodes that share a segment, two by two.
fn pairs(wish: &Wish) -> Vec<(PortName, PortName)> {
    let mut by_segment: std::collections::BTreeMap<&LinkId, Vec<PortName>> = std::collections::BTreeMap::new();
    for (segment, link) in wish.lab.segments() {
        if let Some(node) = link.a.at.node() {
            let port = PortName { node: node.clone(), interface: link.a.interface.kernel().clone() };
            by_segment.entry(segment).or_default().push(port);
        }
    }
    by_segment.into_values().filter_map(|ports| Some((ports.first()?.clone(), ports.get(1)?.clone()))).collect()
}

async fn list(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    let name = lab(&name)?;
    let snapshot = app.engine.inventory().snapshot();
    let links: Vec<LinkInfo> = wish(&app, &name)
        .map(|wish| pairs(&wish).iter().map(|(a, b)| link_info(&wish, a, b, &snapshot)).collect())
        .unwrap_or_default();
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    Ok(done(&json!({ "links": links, "timestamp": now })))
}

fn found(app: &App, name: &LabName, port: &PortName) -> Option<PortView> {
    port_of(&*wish(app, name)?, port, &app.engine.inventory().snapshot())
}

/// What Open vSwitch has, which the inventory mirrors: whether it is asked for with `read_from_ovs` or not.
async fn vlan(State(app): State<Shared>, Path((name, of, interface)): Path<(String, String, String)>) -> Answer {
    let name = lab(&name)?;
    if external::is_one(&of) {
        let (wish, snapshot) = (wish(&app, &name), app.engine.inventory().snapshot());
        let found = wish.as_ref().and_then(|wish| Some((wish, external::asked_for(wish, &of)?.1)));
        let port = found.and_then(|(wish, link)| wish.lab.switch_ports(link).into_iter().next());
        let error = found.is_none().then_some("Endpoint not found");
        return Ok(done(&json!({ "container": of, "interface": interface,
            "vlan_tag": found.and_then(|(wish, link)| tag_of(wish, link, &snapshot)),
            "ovs_port_name": port.map(|port| port.interface), "error": error })));
    }
    let port = port_name(&of, &interface)?;
    let container = super::carry_out::container_name(&name, &port.node);
    let found = found(&app, &name, &port);
    let error = found.is_none().then_some("Endpoint not found");
    Ok(done(&json!({ "container": container, "interface": port.interface,
        "vlan_tag": found.as_ref().and_then(|port| port.tag), "ovs_port_name": found.map(|port| port.name),
        "error": error })))
}

#[derive(Debug, Deserialize)]
struct Carrier {
    state: OnOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnOff {
    On,
    Off,
}

async fn carrier(
    State(app): State<Shared>,
    Path((name, of, interface)): Path<(String, String, String)>,
    Json(body): Json<Carrier>,
) -> Answer {
    let (name, port) = (lab(&name)?, port_name(&of, &interface)?);
    let edit = Controlled::Carrier { port: port.clone(), dark: body.state == OnOff::Off };
    let outcome = match wish(&app, &name) {
        None => Err("Endpoint not found".to_owned()),
        Some(_) => carry_out(&app, &name, edit, PORT, Late::Ends).await,
    };
    let container = super::carry_out::container_name(&name, &port.node);
    Ok(done(
        &json!({ "success": outcome.is_ok(), "error": outcome.err(), "container": container, "interface": port.interface,
        "state": body.state }),
    ))
}

/// A port is brought somewhere, and gets or loses its carrier.
async fn moved(
    app: &Arc<App>,
    name: &LabName,
    port: &PortName,
    to: Option<LinkId>,
    dark: bool,
) -> Result<Option<u16>, String> {
    if wish(app, name).is_none() {
        return Err("Endpoint not found".to_owned());
    }
    let there = match to {
        Some(segment) => Controlled::Join { port: port.clone(), segment },
        None => Controlled::Apart(port.clone()),
    };
    let edit = Controlled::Several(vec![there, Controlled::Carrier { port: port.clone(), dark }]);
    carry_out(app, name, edit, PORT, Late::Ends).await?;
    Ok(found(app, name, port).and_then(|port| port.tag))
}

async fn isolate(State(app): State<Shared>, Path((name, of, interface)): Path<(String, String, String)>) -> Answer {
    let (name, port) = (lab(&name)?, port_name(&of, &interface)?);
    let outcome = moved(&app, &name, &port, None, true).await;
    let container = super::carry_out::container_name(&name, &port.node);
    Ok(done(&json!({ "success": outcome.is_ok(), "error": outcome.as_ref().err(), "container": container,
        "interface": port.interface, "vlan_tag": outcome.as_ref().ok().copied().flatten() })))
}

#[derive(Debug, Deserialize)]
struct Restore {
    target_vlan: u16,
}

async fn restore(
    State(app): State<Shared>,
    Path((name, of, interface)): Path<(String, String, String)>,
    Json(body): Json<Restore>,
) -> Answer {
    let (name, port) = (lab(&name)?, port_name(&of, &interface)?);
    let segment = app.engine.tagged_as(&name, body.target_vlan);
    let outcome = match segment {
        Some(segment) => moved(&app, &name, &port, Some(segment), false).await,
        None => Err(format!("no link of this lab has the tag {}", body.target_vlan)),
    };
    let container = super::carry_out::container_name(&name, &port.node);
    Ok(done(&json!({ "success": outcome.is_ok(), "error": outcome.as_ref().err(), "container": container,
        "interface": port.interface, "vlan_tag": outcome.as_ref().ok().copied().flatten().unwrap_or(body.target_vlan) })))
}

/// The data interfaces of nodes of a lab that run.
pub(super) fn plugged(app: &App, wish: &Wish) -> Vec<(PortName, PortView)> {
    data_ports(wish, &app.engine.inventory().snapshot())
}

/// The data interfaces of nodes that run.
fn data_ports(wish: &Wish, snapshot: &Snapshot) -> Vec<(PortName, PortView)> {
    let ports = wish.lab.links().iter().filter_map(|link| {
        let name = PortName { node: link.a.at.node()?.clone(), interface: link.a.interface.kernel().clone() };
        Some(name).filter(|name| name.interface.as_str() != "eth0")
    });
    ports.filter_map(|name| Some((name.clone(), port_of(wish, &name, snapshot)?))).collect()
}

async fn port_state(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    let name = lab(&name)?;
    let snapshot = app.engine.inventory().snapshot();
    let ports = wish(&app, &name).map(|wish| data_ports(&wish, &snapshot)).unwrap_or_default();
    let ports: Vec<Value> = ports
        .iter()
        .filter_map(|(name, port)| {
            Some(json!({ "node_name": name.node, "interface_name": name.interface, "ovs_port_name": port.name,
                "vlan_tag": port.tag?, "carrier": "unknown" }))
        })
        .collect();
    Ok(done(&json!({ "ports": ports })))
}

async fn plugin_ports(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    let name = lab(&name)?;
    let snapshot = app.engine.inventory().snapshot();
    let there = wish(&app, &name);
    let ports = there.as_ref().map(|wish| data_ports(wish, &snapshot)).unwrap_or_default();
    let bridge = &app.engine.switch_name();
    let carried = if ports.is_empty() { None } else { app.engine.carried(&name, MOMENT).await };
    let on_host: HashMap<&InterfaceName, &PortFact> =
        snapshot.host.values().map(|port| (&port.name, &**port)).collect();
    let ports: Vec<Value> = ports
        .iter()
        .filter_map(|(port_name, port)| {
            let container = super::carry_out::container_name(&name, &port_name.node);
            // As the switch counts: what came from the node, and what went to it.
            let carried = on_host.get(&port.name).and_then(|port| carried.as_ref()?.by(port));
            let (rx, tx) = carried.unwrap_or_default();
            Some(json!({ "port_name": port.name, "bridge_name": bridge, "container": container,
                "interface": port_name.interface, "vlan_tag": port.tag?, "rx_bytes": rx.bytes, "tx_bytes": tx.bytes }))
        })
        .collect();
    Ok(done(&json!({ "lab_id": name, "ports": ports })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Declaration {
    pairings: Vec<Pairing>,
}

#[derive(Debug, Deserialize)]
struct Pairing {
    link_name: String,
    lab_id: String,
    port_a: String,
    port_b: String,
    vlan_tag: u16,
}

/// The interface that a port of the switch is of.
pub(super) fn behind(wish: &Wish, port: &str) -> Option<PortName> {
    wish.lab.links().iter().find_map(|link| {
        let name = wish.lab.switch_ports(link).into_iter().next()?.interface;
        let node = link.a.at.node().filter(|_| name.as_str() == port)?;
        Some(PortName { node: node.clone(), interface: link.a.interface.kernel().clone() })
    })
}

/// The lab and the interface that a port of the switch is of.
pub(super) fn owner(app: &App, port: &str) -> Option<(Arc<Wish>, PortName)> {
    wishes(app).into_iter().find_map(|wish| behind(&wish, port).map(|name| (wish, name)))
}

async fn paired(app: &Arc<App>, pairing: &Pairing, by: Instant) -> Result<(&'static str, Option<u16>), String> {
    let name = lab(&pairing.lab_id).map_err(|fault| fault.to_string())?;
    let there = wish(app, &name).ok_or_else(|| format!("there is no lab {name}"))?;
    let find = |port: &str| behind(&there, port).ok_or_else(|| format!("there is no port {port} of lab {name}"));
    let (a, b) = (find(&pairing.port_a)?, find(&pairing.port_b)?);
    let snapshot = app.engine.inventory().snapshot();
    let info = link_info(&there, &a, &b, &snapshot);
    let segments = [&a, &b].map(|port| segment_of(&there, port));
    if info.vlan_tag == Some(pairing.vlan_tag) && segments[0].is_some() && segments[0] == segments[1] {
        return Ok(("converged", info.vlan_tag));
    }
    // A tag that is free is given to what was declared to have it.
    let segment = link_name(&a.label(), &b.label());
    app.engine.propose_tag(&name, &segment, pairing.vlan_tag);
    let edit = Controlled::Connect(vec![(a.clone(), b.clone())]);
    carry_out(app, &name, edit, left(by), Late::Ends).await?;
    let there = wish(app, &name).ok_or_else(|| format!("lab {name} is gone"))?;
    match link_info(&there, &a, &b, &app.engine.inventory().snapshot()).vlan_tag {
        Some(tag) if tag == pairing.vlan_tag => Ok(("updated", Some(tag))),
        // It was another before it was declared, and stays so: to change it would cut the link for nothing.
        Some(tag) => Ok(("converged", Some(tag))),
        None => Err("its ports do not have one tag".to_owned()),
    }
}

async fn converged(app: &Arc<App>, pairing: &Pairing, by: Instant) -> Value {
    let (status, actual, error) = match paired(app, pairing, by).await {
        Ok((status, tag)) => (status, tag, None),
        Err(why) => ("error", None, Some(why)),
    };
    json!({ "link_name": pairing.link_name, "lab_id": pairing.lab_id, "status": status, "actual_vlan": actual,
        "error": error })
}

async fn declare(State(app): State<Shared>, Json(body): Json<Declaration>) -> Answer {
    for pairing in &body.pairings {
        lab(&pairing.lab_id)?;
        fields::filled("link_name", &pairing.link_name)?;
    }
    let deadline = Instant::now() + DECLARED;
    let mut results = Vec::new();
    for pairing in &body.pairings {
        results.push(converged(&app, pairing, deadline));
    }
    let results: Vec<Value> = stream::iter(results).buffered(AT_ONCE).collect().await;
    Ok(done(&json!({ "results": results })))
}
