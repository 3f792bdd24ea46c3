//! Interfaces of the host, from the inventory; and what of the contract is not done here, which says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use futures::future::join_all;
use netloom_engine::{Carried, Count, PortFact, PortKind, SwitchPortFact};
use netloom_model::{InterfaceName, LabName};
use serde_json::{Value, json};

use super::answer::{Answer, Json, Object, done};
use super::carry_out::wishes;
use super::fields::{self, lab};
use super::links::{MOMENT, plugged};
use super::overlay::SeenTunnel;
use super::underlay;
use crate::routes::Shared;
use crate::serve::App;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/interfaces/details", get(details))
        .route("/interfaces", get(interfaces))
        .route("/bridges", get(bridges))
        .merge(underlay::routes())
        .route("/overlay/bridge-ports", get(bridge_ports))
        .route("/overlay/bridge-ports/{port}", delete(delete_bridge_port))
        .route("/overlay/port-ifindex", get(port_ifindex))
        .route("/overlay/vtep", post(vtep))
        .route("/overlay/attach-external-link", post(attach_external_link))
        .route("/ovs-plugin/health", get(plugin_health))
        .route("/ovs-plugin/status", get(plugin_status))
        .route("/ovs-plugin/labs/{lab}", get(plugin_lab))
        .route("/ovs-plugin/labs/{lab}/flows", get(plugin_flows))
        .route("/ovs-plugin/labs/{lab}/vxlan", post(plugin_vxlan))
        .route("/ovs-plugin/labs/{lab}/vxlan/{vni}", delete(plugin_no_vxlan))
        .route("/ovs/patch", post(patch).delete(no_patch))
}

/// Those that people know: not the ends of cables of labs.
pub(super) fn host_ports(app: &App) -> Vec<Arc<PortFact>> {
    let snapshot = app.engine.inventory().snapshot();
    snapshot.host.values().filter(|port| port.mark.is_none() && port.name.as_str() != "lo").cloned().collect()
}

fn ipv4(port: &PortFact) -> Vec<&String> {
    port.addresses.iter().filter(|address| address.contains('.')).collect()
}

fn state(port: &PortFact) -> &'static str {
    match (port.admin_up, port.carrier) {
        (true, true) => "UP",
        (false, _) => "DOWN",
        (true, false) => "UNKNOWN",
    }
}

/// Whether it is called as subinterfaces are.
fn is_vlan(port: &PortFact) -> bool {
    port.name.as_str().contains('.')
}

async fn details(State(app): State<Shared>) -> Answer {
    // The kernel tells when it is another one; nobody is asked here.
    let way_out = *app.engine.way_out().borrow();
    let leads_out = |port: &PortFact| way_out.is_some_and(|way| way.ifindex == port.ifindex);
    let ports = host_ports(&app);
    let all: Vec<Value> = ports
        .iter()
        .map(|port| {
            let is_physical = port.kind == PortKind::Other && !is_vlan(port);
            json!({ "name": port.name, "mtu": port.mtu, "is_physical": is_physical,
                "is_default_route": leads_out(port), "mac": port.mac, "ipv4_addresses": ipv4(port),
                "state": state(port) })
        })
        .collect();
    let default = ports.iter().find(|port| leads_out(port)).map(|port| &port.name);
    Ok(done(&json!({ "interfaces": all, "default_route_interface": default, "network_manager": app.network_manager })))
}

async fn interfaces(State(app): State<Shared>) -> Answer {
    let all: Vec<Value> = host_ports(&app)
        .iter()
        .map(|port| {
            json!({ "name": port.name, "state": state(port), "type": port.kind, "ipv4_addresses": ipv4(port),
                "mac": port.mac, "is_vlan": is_vlan(port) })
        })
        .collect();
    Ok(done(&json!({ "interfaces": all })))
}

async fn bridges(State(app): State<Shared>) -> Answer {
    let snapshot = app.engine.inventory().snapshot();
    let all: Vec<Value> = snapshot
        .host
        .values()
        .filter(|port| port.kind == PortKind::Bridge)
        .map(|bridge| {
            let members = snapshot.host.values().filter(|port| port.master == Some(bridge.ifindex));
            let members: Vec<&str> = members.map(|port| port.name.as_str()).collect();
            json!({ "name": bridge.name, "interfaces": members })
        })
        .collect();
    Ok(done(&json!({ "bridges": all })))
}

/// What a port has carried, by the names that Open vSwitch has for it.
fn figures(rx: Count, tx: Count) -> Value {
    json!({ "rx_bytes": rx.bytes, "rx_packets": rx.packets, "rx_dropped": rx.drops, "rx_errors": rx.errors,
        "tx_bytes": tx.bytes, "tx_packets": tx.packets, "tx_dropped": tx.drops, "tx_errors": tx.errors })
}

async fn bridge_ports(State(app): State<Shared>) -> Answer {
    let snapshot = app.engine.inventory().snapshot();
    let (tunnels, cables): (Vec<_>, Vec<_>) = snapshot.switch.ports().partition(|port| port.tunnel.is_some());
    let brief = |port: &SwitchPortFact| json!({ "name": port.name, "tag": port.vlan.tag });
    let labs: BTreeSet<&LabName> = tunnels.iter().map(|port| &port.lab).collect();
    let engine = &app.engine;
    let carried = labs.into_iter().map(async |lab| Some((lab, engine.carried(lab, MOMENT).await?)));
    let carried: BTreeMap<&LabName, Arc<Carried>> = join_all(carried).await.into_iter().flatten().collect();
    let statistics = |port: &SwitchPortFact| {
        let carried = snapshot.host_port(&port.name).and_then(|interface| carried.get(&port.lab)?.by(interface));
        carried.map_or_else(|| json!({}), |(rx, tx)| figures(rx, tx))
    };
    let whole = |port: &SwitchPortFact| {
        let to = port.tunnel.as_ref().map(|made| &made.tunnel);
        let options = to.map(|to| json!({ "key": to.vni, "local_ip": to.local, "remote_ip": to.remote }));
        json!({ "name": port.name, "tag": port.vlan.tag, "options": options, "statistics": statistics(port), "type": "vxlan" })
    };
    let cables: Vec<Value> = cables.into_iter().map(brief).collect();
    let tunnels: Vec<Value> = tunnels.into_iter().map(whole).collect();
    Ok(done(&json!({ "bridge": app.engine.switch_name(), "total_ports": cables.len() + tunnels.len(),
        "vxlan_ports": tunnels, "container_ports_sample": cables.iter().take(10).collect::<Vec<_>>(),
        "container_ports_all": cables, "fdb_lines": [] })))
}

async fn delete_bridge_port(Path(port): Path<String>) -> Answer {
    fields::interface(&port)?;
    Ok(done(&json!({ "deleted": false, "port_name": port,
        "message": "ports go with their links: `/overlay/detach-link` and the links of a lab remove them" })))
}

async fn port_ifindex(State(app): State<Shared>) -> Answer {
    let snapshot = app.engine.inventory().snapshot();
    let ifindex = |name| snapshot.host_port(name).map(|port| port.ifindex);
    let ports: Vec<Value> = snapshot
        .switch
        .ports()
        .map(|port| json!({ "name": port.name, "tag": port.vlan.tag, "ifindex": ifindex(&port.name) }))
        .collect();
    Ok(done(&json!({ "ports": ports })))
}

async fn vtep(Json(_): Json<Object>) -> Answer {
    let why = "this agent has a tunnel for each link, and no trunk between hosts; `/overlay/attach-link` makes one";
    Ok(done(&json!({ "success": false, "error": why, "vtep": null, "created": false })))
}

async fn attach_external_link(Json(_): Json<Object>) -> Answer {
    let why = "this agent tells an external network to another host by `/overlay/attach-link` with the container `_ext:INTERFACE`";
    Ok(done(&json!({ "success": false, "error": why, "vni": null })))
}

fn uptime(app: &App) -> u64 {
    app.health.began.elapsed().as_secs()
}

async fn plugin_health(State(app): State<Shared>) -> Answer {
    let started = humantime::format_rfc3339_seconds(app.health.started).to_string();
    Ok(done(&json!({ "healthy": true, "checks": {}, "uptime_seconds": uptime(&app), "started_at": started })))
}

async fn plugin_status(State(app): State<Shared>) -> Answer {
    let all = wishes(&app);
    let ports: usize = all.iter().map(|wish| plugged(&app, wish).len()).sum();
    Ok(done(&json!({ "healthy": true, "labs_count": all.len(), "endpoints_count": ports, "networks_count": 0,
        "management_networks_count": 0, "bridges": all.iter().map(|wish| bridge_of(&app, wish)).collect::<Vec<_>>(),
        "uptime_seconds": uptime(&app) })))
}

/// What the one bridge of the host has of a lab.
fn bridge_of(app: &App, wish: &netloom_engine::Wish) -> Value {
    let ports: Vec<u16> = plugged(app, wish).into_iter().filter_map(|(_, port)| port.tag).collect();
    let tags: BTreeSet<u16> = ports.iter().copied().collect();
    let range = [tags.first().copied().unwrap_or_default(), tags.last().copied().unwrap_or_default()];
    let snapshot = app.engine.inventory().snapshot();
    let tunnels = wish.lab.tunnels().filter(|(_, link)| SeenTunnel::of(wish, link, &snapshot).is_some()).count();
    let external: Vec<&InterfaceName> = wish.lab.externals().map(|(interface, _)| interface).collect();
    json!({ "lab_id": wish.lab.name(), "bridge_name": app.engine.switch_name(), "port_count": ports.len(),
        "vlan_range_used": range, "vxlan_tunnels": tunnels, "external_interfaces": external,
        "last_activity": humantime::format_rfc3339_seconds(wish.created).to_string() })
}

async fn plugin_lab(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    let name = lab(&name)?;
    match super::carry_out::wish(&app, &name) {
        Some(wish) => Ok(done(&bridge_of(&app, &wish))),
        None => Err(super::answer::Detail::new(404, format!("there is no lab {name}"))),
    }
}

async fn plugin_flows(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    lab(&name)?;
    let why = "the bridge has the one flow NORMAL; what joins ports are their tags";
    Ok(done(&json!({ "bridge": app.engine.switch_name(), "flow_count": 0, "flows": [], "error": why })))
}

async fn plugin_vxlan(Path(name): Path<String>, Json(_): Json<Object>) -> Answer {
    lab(&name)?;
    let why = "tunnels are made by `/overlay/attach-link` and `/overlay/declare-state`";
    Ok(done(&json!({ "success": false, "error": why, "port_name": null })))
}

async fn plugin_no_vxlan(Path((name, vni)): Path<(String, String)>) -> Answer {
    lab(&name)?;
    if vni.parse::<u32>().is_err() {
        return Err(super::answer::Detail::new(400, format!("`{}` is no VNI", vni.escape_debug())));
    }
    let why = "tunnels are removed by `/overlay/detach-link` and `/overlay/cleanup`";
    Ok(done(&json!({ "success": false, "error": why, "port_name": null })))
}

async fn patch(Json(_): Json<Object>) -> Answer {
    let why = "this agent joins its bridge to no other; links of nodes of the kind `ovs-bridge` lead to other bridges";
    Ok(done(&json!({ "success": false, "error": why, "patch_port": null })))
}

async fn no_patch(Json(_): Json<Object>) -> Answer {
    Ok(done(&json!({ "success": true, "error": null })))
}
