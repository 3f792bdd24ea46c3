//! Tunnels to other hosts, and the switch that they are ports of.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post, put};
use futures::{StreamExt, stream};
use netloom_engine::{Controlled, ControlledTunnel, PortFact, PortName, Snapshot, Source, SwitchPortFact, Wish};
use netloom_model::{LabName, Link, LinkId, Mtu, Vxlan, tunnel_name};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::answer::{Answer, Detail, Json, done};
use super::attach;
use super::carry_out::{Late, carry_out, wish, wishes};
use super::fields::{self, lab};
use super::labs::doubt;
use super::links::{AT_ONCE, DECLARED, PORT, left, owner, port_of, tag_of};
use super::nodes::named_in_containers;
use crate::routes::Shared;
use crate::serve::App;

/// The UDP port of tunnels between agents.
const DST_PORT: u16 = 4789;
/// The MTU of a tunnel of which nothing is said.
const OVERLAY_MTU: u32 = 1450;
/// The identifiers of tunnels that name none.
const FIRST_OF_LEGACY: u32 = 100_000;
const LAST_OF_LEGACY: u32 = 199_999;

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .merge(attach::routes())
        .route("/overlay/status", get(status))
        .route("/overlay/declare-state", post(declare))
        .route("/overlay/cleanup", post(cleanup))
        .route("/overlay/ports/{port}/vlan", put(set_vlan))
        .route("/overlay/reconcile-ports", post(reconcile_ports))
        .route("/overlay/tunnel", post(tunnel))
        .route("/overlay/attach", post(attach))
        .route("/ovs/status", get(ovs_status))
        .route("/ovs/flows", get(ovs_flows))
}

pub(super) fn vxlan(local: &str, remote: &str, vni: u32) -> Result<Vxlan, String> {
    let address = |what: &str, text: &str| {
        text.parse::<IpAddr>().map_err(|_| format!("`{what}` is `{text}`, which is no address: 192.0.2.7 is one"))
    };
    let (local, remote) = (address("local_ip", local)?, address("remote_ip", remote)?);
    if vni == 0 || vni > Vxlan::MAX_VNI {
        return Err(format!("`vni` is {vni}; it must be 1 to {}", Vxlan::MAX_VNI));
    }
    let remote = remote.to_string();
    Ok(Vxlan { remote, vni, dst_port: DST_PORT, src_port: None, parent: None, local: Some(local) })
}

pub(super) fn mtu(asked: Option<u32>) -> Result<Mtu, String> {
    let bytes = asked.filter(|mtu| *mtu > 0).unwrap_or(OVERLAY_MTU);
    Mtu::try_from(bytes).map_err(|invalid| invalid.to_string())
}

/// An interface of a node, which is called by its own name or by that of its container.
pub(super) fn port_in(lab: &LabName, container: &str, interface: &str) -> Result<PortName, Detail> {
    Ok(PortName { node: named_in_containers(lab, container)?, interface: fields::interface(interface)? })
}

pub(super) fn link_id(text: &str) -> Result<LinkId, String> {
    if text.is_empty() || text.len() > 512 {
        return Err("`link_id` is empty, or longer than 512 bytes".into());
    }
    Ok(LinkId::from_text(text))
}

/// The tunnel that is wanted as a half of a link, or else one that goes by this name.
pub(super) fn wanted<'a>(wish: &'a Wish, link: &LinkId) -> Option<&'a Link> {
    let own = wish.lab.tunnels().find(|(half_of, _)| *half_of == link);
    own.or_else(|| called(wish, link).next()).map(|(_, tunnel)| tunnel)
}

/// The tunnels that go by a name, by the links that they are halves of.
pub(super) fn called<'a>(wish: &'a Wish, name: &LinkId) -> impl Iterator<Item = (&'a LinkId, &'a Link)> {
    wish.lab.tunnels().filter(move |(_, tunnel)| tunnel.access_port().is_some_and(|port| port.goes_by(name)))
}

/// The names of a tunnel beside that of the link that it is a half of.
pub(super) fn names(tunnel: &Link) -> &BTreeSet<LinkId> {
    static NONE: BTreeSet<LinkId> = BTreeSet::new();
    tunnel.access_port().map_or(&NONE, |port| &port.names)
}

/// A tunnel as it is seen: its port of the switch works, and its interface is there and on.
#[derive(Clone, Copy)]
pub(super) struct SeenTunnel<'a> {
    port: &'a SwitchPortFact,
    interface: &'a PortFact,
}

impl<'a> SeenTunnel<'a> {
    pub(super) fn of(wish: &Wish, far: &Link, snapshot: &'a Snapshot) -> Option<Self> {
        let name = wish.lab.switch_ports(far).into_iter().next()?.interface;
        let port = snapshot.switch.port(&name).filter(|port| port.fault.is_none())?;
        let interface = snapshot.host_port(&name).filter(|interface| interface.admin_up)?;
        Some(Self { port, interface })
    }
}

/// The tag of a tunnel that is seen.
pub(super) fn tag_through(wish: &Wish, far: &Link, snapshot: &Snapshot) -> Option<u16> {
    SeenTunnel::of(wish, far, snapshot)?.port.vlan.tag
}

/// A tunnel of a lab of the controller that is wanted.
struct Tunnel {
    lab: LabName,
    link: LinkId,
    /// The other names that it goes by.
    names: BTreeSet<LinkId>,
    vni: u32,
    /// The tag of its port of the switch, whether its interface is on or not.
    tag: Option<u16>,
}

impl Tunnel {
    /// Whether controllers take it for the tunnel with this interface: they make its name of that of the link.
    fn is_called(&self, port: &str) -> bool {
        let mut links = self.names.iter().chain([&self.link]);
        links.any(|link| tunnel_name(&self.lab, link).as_str() == port)
    }
}

fn tunnels(app: &App) -> Vec<Tunnel> {
    let snapshot = app.engine.inventory().snapshot();
    let mut all = Vec::new();
    for wish in wishes(app) {
        for (half_of, link) in wish.lab.tunnels() {
            let Some(vxlan) = link.kind.tunnel() else { continue };
            let tag = tag_of(&wish, link, &snapshot);
            let (lab, names) = (wish.lab.name().clone(), names(link).clone());
            all.push(Tunnel { lab, link: half_of.clone(), names, vni: vxlan.vni, tag });
        }
    }
    all
}

/// What is seen of the tunnels of the controller's labs. One that is only wanted is not told: the controller then has it made again.
/// One that goes by several names is told by each, since a controller looks for a name. Where what is seen is in doubt an `error` says
/// so: the controller leaves its links as they are.
async fn status(State(app): State<Shared>) -> Answer {
    let (snapshot, wishes) = (app.engine.inventory().snapshot(), wishes(&app));
    let wanted = wishes.iter().flat_map(|wish| wish.lab.tunnels().map(move |(half_of, link)| (wish, half_of, link)));
    let mut by_name: BTreeMap<&LinkId, BTreeMap<&LabName, _>> = BTreeMap::new();
    for (wish, half_of, link) in wanted {
        let Some((tunnel, seen)) = link.kind.tunnel().zip(SeenTunnel::of(wish, link, &snapshot)) else { continue };
        for name in [half_of].into_iter().chain(names(link)).filter(|_| seen.port.vlan.tag.is_some()) {
            by_name.entry(name).or_default().entry(wish.lab.name()).or_insert((tunnel, seen));
        }
    }
    let of_name = |(name, in_labs): (&&LinkId, &BTreeMap<&LabName, (&Vxlan, SeenTunnel<'_>)>)| -> Vec<Value> {
        let entry = |(lab, (wanted, SeenTunnel { port, interface })): (&&LabName, &(&Vxlan, SeenTunnel<'_>))| {
            // Its own mark says where it leads; those of agents before this one say less.
            let made = port.tunnel.as_ref().map_or(*wanted, |made| &made.tunnel);
            let local = made.local.or(wanted.local);
            // Of a name that several labs have a controller takes the first, whatever its lab: no tag is better than another's.
            let tag = port.vlan.tag.filter(|_| in_labs.len() == 1);
            json!({ "link_id": name, "vni": made.vni, "local_ip": local, "remote_ip": made.remote,
                "local_vlan": tag, "interface_name": port.name, "lab_id": lab, "tenant_mtu": interface.mtu })
        };
        in_labs.iter().map(entry).collect()
    };
    let links: Vec<Value> = by_name.iter().flat_map(of_name).collect();
    let mut answer = json!({ "vteps": [], "tunnels": [], "bridges": [], "link_tunnels": links });
    if let Some(doubt) = doubt(&app, &[Source::Switch, Source::Fabric]) {
        answer["error"] = json!(doubt);
    }
    Ok(done(&answer))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Declaration {
    tunnels: Vec<DeclaredTunnel>,
    declared_labs: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct DeclaredTunnel {
    link_id: String,
    lab_id: String,
    #[serde(default)]
    vni: u32,
    #[serde(default)]
    local_ip: String,
    #[serde(default)]
    remote_ip: String,
    #[serde(default)]
    expected_vlan: u16,
    #[serde(default)]
    port_name: String,
    #[serde(default)]
    mtu: Option<u32>,
}

impl DeclaredTunnel {
    /// One that says too little only keeps what is there.
    fn protects(&self) -> bool {
        self.vni == 0 || self.local_ip.is_empty() || self.remote_ip.is_empty()
    }

    fn tunnel(&self, link: LinkId) -> Result<ControlledTunnel, String> {
        link_id(&self.link_id)?;
        let tunnel = vxlan(&self.local_ip, &self.remote_ip, self.vni)?;
        Ok(ControlledTunnel { link, tunnel, mtu: mtu(self.mtu)?, near: None })
    }

    fn name(&self) -> LinkId {
        LinkId::from_text(self.link_id.as_str())
    }

    /// The links that it is: those that go by its name or, where there are none, the numbered one of its VNI.
    fn links(&self, there: Option<&Wish>) -> BTreeSet<LinkId> {
        let name = self.name();
        let of =
            |found: &mut dyn Iterator<Item = (&LinkId, &Link)>| found.map(|(half_of, _)| half_of.clone()).collect();
        let all = |there: &Wish| -> BTreeSet<LinkId> {
            let named: BTreeSet<LinkId> = of(&mut called(there, &name));
            let numbered = |(half_of, link): &(&LinkId, &Link)| {
                half_of.is_numbered() && link.kind.tunnel().is_some_and(|tunnel| tunnel.vni == self.vni)
            };
            if named.is_empty() { of(&mut there.lab.tunnels().filter(numbered).take(1)) } else { named }
        };
        let found = there.map(all).unwrap_or_default();
        if found.is_empty() { [name].into() } else { found }
    }
}

/// What became of a tunnel that was declared.
fn result(tunnel: &DeclaredTunnel, status: &str, tag: Option<u16>, error: Option<&str>) -> Value {
    json!({ "link_id": tunnel.link_id, "lab_id": tunnel.lab_id, "status": status, "actual_vlan": tag, "error": error })
}

/// Whether this host has an address.
fn has_address(app: &App, snapshot: &Snapshot, address: IpAddr) -> bool {
    let is_it = |text: &String| text.split('/').next().and_then(|text| text.parse().ok()) == Some(address);
    let is_for_tunnels = app.engine.data_plane().borrow().is_some_and(|plane| plane.address == address);
    is_for_tunnels || snapshot.host.values().any(|port| port.addresses.iter().any(is_it))
}

/// Where a tunnel leads that is declared and not there, as after a boot: where it was attached to, if this host still has the address
/// of it. The other host, which may not have been off, goes on with that one.
fn resumed(leads: &Vxlan, declared: Vxlan, is_here: impl Fn(IpAddr) -> bool) -> Vxlan {
    if leads.vni == declared.vni && leads.local.is_some_and(is_here) { leads.clone() } else { declared }
}

/// Has a tunnel be there, as what these links are halves of. One that is there leads on where it leads: it was attached between the
/// addresses for tunnels, and is declared between those by which the controller reaches the hosts.
async fn converge(
    app: &Arc<App>,
    name: &LabName,
    declared: &DeclaredTunnel,
    links: &BTreeSet<LinkId>,
    by: Instant,
) -> Value {
    if declared.protects() {
        return result(declared, "protected", None, None);
    }
    let (snapshot, there) = (app.engine.inventory().snapshot(), wish(app, name));
    let before = |link: &LinkId| {
        let (there, far) = (there.as_ref()?, wanted(there.as_ref()?, link)?);
        Some((far, tag_through(there, far, &snapshot)))
    };
    let is_here = |address: IpAddr| has_address(app, &snapshot, address);
    let own_name = declared.name();
    let (mut edits, mut status, mut tag) = (Vec::new(), "converged", None);
    for link in links {
        let mut half = match declared.tunnel(link.clone()) {
            Ok(half) => half,
            Err(why) => return result(declared, "error", None, Some(&why)),
        };
        let before = before(link);
        if let Some((far, seen)) = &before
            && let Some(leads) = far.kind.tunnel()
        {
            tag = tag.or(*seen);
            if seen.is_some() && far.mtu == half.mtu {
                continue;
            }
            if *link != own_name {
                half.tunnel.vni = leads.vni;
            }
            half.tunnel = if seen.is_some() { leads.clone() } else { resumed(leads, half.tunnel, is_here) };
        }
        if declared.expected_vlan != 0 {
            let segment = before.as_ref().map_or_else(|| link.clone(), |(far, _)| far.segment());
            app.engine.propose_tag(name, &segment, declared.expected_vlan);
        }
        status = if before.is_some() { "updated" } else { "created" };
        edits.push(Controlled::Attach(vec![half]));
    }
    let is_called =
        |link: &LinkId| *link == own_name || before(link).is_some_and(|(far, _)| names(far).contains(&own_name));
    if !links.iter().all(is_called) {
        edits.push(Controlled::Called { name: own_name.clone(), tunnels: links.clone() });
    }
    if edits.is_empty() {
        return result(declared, status, tag, None);
    }
    if let Err(why) = carry_out(app, name, Controlled::Several(edits), left(by), Late::Ends).await {
        return result(declared, "error", None, Some(&why));
    }
    let snapshot = app.engine.inventory().snapshot();
    let tag =
        wish(app, name).and_then(|wish| wanted(&wish, &own_name).and_then(|far| tag_through(&wish, far, &snapshot)));
    result(declared, status, tag, None)
}

async fn declare(State(app): State<Shared>, Json(body): Json<Declaration>) -> Answer {
    let deadline = Instant::now() + DECLARED;
    let mut by_lab: BTreeMap<LabName, Vec<&DeclaredTunnel>> = BTreeMap::new();
    for name in body.declared_labs.iter().flatten() {
        by_lab.entry(lab(name)?).or_default();
    }
    for tunnel in &body.tunnels {
        fields::filled("link_id", &tunnel.link_id)?;
        by_lab.entry(lab(&tunnel.lab_id)?).or_default().push(tunnel);
    }
    let key = |tunnel: &DeclaredTunnel| (tunnel.lab_id.clone(), tunnel.link_id.clone());
    let mut results: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut orphans = Vec::new();
    for (name, declared) in &by_lab {
        let there = wish(&app, name);
        let links: Vec<BTreeSet<LinkId>> = declared.iter().map(|tunnel| tunnel.links(there.as_deref())).collect();
        let mut outcomes = Vec::new();
        for (tunnel, links) in declared.iter().zip(&links) {
            outcomes.push(converge(&app, name, tunnel, links, deadline));
        }
        let outcomes: Vec<Value> = stream::iter(outcomes).buffered(AT_ONCE).collect().await;
        results.extend(declared.iter().map(|tunnel| key(tunnel)).zip(outcomes));
        let kept: BTreeSet<LinkId> = links.into_iter().flatten().collect();
        let ports: BTreeSet<&str> = declared.iter().map(|tunnel| tunnel.port_name.as_str()).collect();
        let of_lab = tunnels(&app).into_iter().filter(|tunnel| tunnel.lab == *name);
        let (stay, go): (Vec<Tunnel>, Vec<Tunnel>) =
            of_lab.partition(|tunnel| kept.contains(&tunnel.link) || ports.iter().any(|port| tunnel.is_called(port)));
        if go.is_empty() {
            continue;
        }
        let edit = Controlled::KeepTunnels(stay.into_iter().map(|tunnel| tunnel.link).collect());
        match carry_out(&app, name, edit, left(deadline), Late::GoesOn).await {
            Ok(()) => orphans.extend(go.iter().map(|tunnel| tunnel_name(name, &tunnel.link))),
            Err(why) => tracing::warn!(lab = %name, %why, "tunnels that are not declared any more stay"),
        }
    }
    // In the order in which they were declared.
    let results: Vec<Value> = body.tunnels.iter().filter_map(|tunnel| results.remove(&key(tunnel))).collect();
    Ok(done(&json!({ "results": results, "orphans_removed": orphans })))
}

#[derive(Debug, Deserialize)]
struct OfLab {
    lab_id: String,
}

async fn cleanup(State(app): State<Shared>, Json(body): Json<OfLab>) -> Answer {
    let name = lab(&body.lab_id)?;
    let count = tunnels(&app).into_iter().filter(|tunnel| tunnel.lab == name).count();
    let outcome = if count == 0 {
        Ok(())
    } else {
        carry_out(&app, &name, Controlled::KeepTunnels(BTreeSet::new()), DECLARED, Late::GoesOn).await
    };
    let (deleted, errors) = match outcome {
        Ok(()) => (count, Vec::new()),
        Err(why) => (0, vec![why]),
    };
    Ok(done(&json!({ "tunnels_deleted": deleted, "bridges_deleted": 0, "errors": errors })))
}

#[derive(Debug, Deserialize)]
struct SetVlan {
    vlan_tag: u16,
    #[serde(default)]
    link_id: Option<String>,
}

async fn set(app: &Arc<App>, port: &str, body: &SetVlan) -> Result<(), String> {
    let snapshot = app.engine.inventory().snapshot();
    let observed = |tag: Option<u16>| tag == Some(body.vlan_tag);
    if let Some(tunnel) = tunnels(app).iter().find(|tunnel| tunnel.is_called(port)) {
        return if observed(tunnel.tag) {
            Ok(())
        } else {
            Err(format!("tunnel {port} has the tag of its link, {:?}", tunnel.tag.unwrap_or_default()))
        };
    }
    let (wish, name) =
        owner(app, port).ok_or_else(|| format!("there is no port {port} of a lab of this controller"))?;
    if observed(port_of(&wish, &name, &snapshot).and_then(|port| port.tag)) {
        return Ok(());
    }
    let lab_name = wish.lab.name();
    let segment = if let Some(link) = &body.link_id {
        let link = link_id(link)?;
        app.engine.propose_tag(lab_name, &link, body.vlan_tag);
        link
    } else {
        let tagged = app.engine.tagged_as(lab_name, body.vlan_tag);
        let segment = tagged.ok_or_else(|| format!("no link of lab {lab_name} has the tag {}", body.vlan_tag))?;
        // The tag may be another link's by now: a controller sends what it has noted.
        if !segment.has_end(&name.label()) {
            return Err(format!(
                "the tag {} is that of link {segment}, and {} is no end of it",
                body.vlan_tag,
                name.label()
            ));
        }
        segment
    };
    carry_out(app, lab_name, Controlled::Join { port: name, segment }, PORT, Late::Ends).await
}

async fn set_vlan(State(app): State<Shared>, Path(port): Path<String>, Json(body): Json<SetVlan>) -> Answer {
    fields::interface(&port)?;
    Ok(done(&match set(&app, &port, &body).await {
        Ok(()) => json!({ "success": true, "port_name": port, "vlan_tag": body.vlan_tag, "in_memory_updated": true }),
        Err(why) => json!({ "success": false, "error": why }),
    }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReconcilePorts {
    valid_port_names: Vec<String>,
    force: bool,
    confirm: bool,
    allow_empty: bool,
}

async fn reconcile_ports(State(app): State<Shared>, Json(body): Json<ReconcilePorts>) -> Answer {
    let count = body.valid_port_names.len();
    let skipped = match (body.valid_port_names.is_empty(), body.force) {
        (true, false) => Some("an empty list removes nothing without `force`"),
        (_, true) if !body.confirm => Some("`force` needs `confirm`"),
        (true, true) if !body.allow_empty => Some("`force` with an empty list needs `allow_empty`"),
        _ => None,
    };
    if let Some(reason) = skipped {
        return Ok(done(&json!({ "removed_ports": [], "valid_count": count, "skipped": true, "reason": reason })));
    }
    let mut removed = Vec::new();
    let mut by_lab: BTreeMap<LabName, Vec<Tunnel>> = BTreeMap::new();
    for tunnel in tunnels(&app) {
        by_lab.entry(tunnel.lab.clone()).or_default().push(tunnel);
    }
    let working = app.engine.work().labs();
    for (name, of_lab) in by_lab.into_iter().filter(|(name, _)| !working.contains(name)) {
        let is_valid = |tunnel: &Tunnel| {
            tunnel.link.is_numbered() || body.valid_port_names.iter().any(|valid| tunnel.is_called(valid))
        };
        let (stay, go): (Vec<Tunnel>, Vec<Tunnel>) = of_lab.into_iter().partition(is_valid);
        if go.is_empty() {
            continue;
        }
        let edit = Controlled::KeepTunnels(stay.into_iter().map(|tunnel| tunnel.link).collect());
        if carry_out(&app, &name, edit, DECLARED, Late::GoesOn).await.is_ok() {
            removed.extend(go.iter().map(|tunnel| tunnel_name(&name, &tunnel.link)));
        }
    }
    Ok(done(&json!({ "removed_ports": removed, "valid_count": count })))
}

#[derive(Debug, Deserialize)]
struct LegacyTunnel {
    lab_id: String,
    link_id: String,
    local_ip: String,
    remote_ip: String,
    #[serde(default)]
    vni: Option<u32>,
}

/// An identifier that no tunnel has, of those that were once allotted here. Two that are asked for at once are not the same.
fn free_vni(app: &App) -> Option<u32> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let taken: BTreeSet<u32> = tunnels(app).iter().map(|tunnel| tunnel.vni).collect();
    let count = LAST_OF_LEGACY - FIRST_OF_LEGACY + 1;
    let mut all = (0..count).map(|_| FIRST_OF_LEGACY + NEXT.fetch_add(1, Ordering::Relaxed) % count);
    all.find(|vni| !taken.contains(vni))
}

async fn tunnel(State(app): State<Shared>, Json(body): Json<LegacyTunnel>) -> Answer {
    let name = lab(&body.lab_id)?;
    let made = async {
        let link = link_id(&body.link_id)?;
        let there = wish(&app, &name).and_then(|wish| wanted(&wish, &link)?.kind.tunnel().cloned());
        let vni = body.vni.or(there.map(|there| there.vni)).or_else(|| free_vni(&app));
        let vni = vni.ok_or("all identifiers of tunnels are taken")?;
        let tunnel = vxlan(&body.local_ip, &body.remote_ip, vni)?;
        let edit =
            Controlled::Attach(vec![ControlledTunnel { link: link.clone(), tunnel, mtu: mtu(None)?, near: None }]);
        carry_out(&app, &name, edit, DECLARED, Late::Ends).await?;
        Ok::<_, String>((link, vni))
    };
    Ok(done(&match made.await {
        Ok((link, vni)) => {
            let snapshot = app.engine.inventory().snapshot();
            let tag = wish(&app, &name)
                .and_then(|wish| wanted(&wish, &link).and_then(|far| tag_through(&wish, far, &snapshot)));
            json!({ "success": true, "error": null, "tunnel": { "vni": vni,
                "interface_name": tunnel_name(&name, &link), "local_ip": body.local_ip, "remote_ip": body.remote_ip,
                "lab_id": name, "link_id": link, "vlan_tag": tag } })
        }
        Err(why) => json!({ "success": false, "error": why, "tunnel": null }),
    }))
}

#[derive(Debug, Deserialize)]
struct LegacyAttach {
    lab_id: String,
    link_id: String,
    container_name: String,
    interface_name: String,
}

async fn joined(app: &Arc<App>, name: &LabName, link: &str, port: &PortName) -> Result<(), String> {
    let link = link_id(link)?;
    let there = wish(app, name).ok_or_else(|| format!("there is no lab {name}"))?;
    let snapshot = app.engine.inventory().snapshot();
    let near =
        port_of(&there, port, &snapshot).ok_or_else(|| format!("Could not find OVS port for {}", port.label()))?;
    let far = wanted(&there, &link).ok_or_else(|| format!("link {link} has no tunnel: make it first"))?;
    let segment = far.segment();
    if near.tag.is_some() && near.tag == tag_through(&there, far, &snapshot) {
        return Ok(());
    }
    carry_out(app, name, Controlled::Join { port: port.clone(), segment }, DECLARED, Late::Ends).await
}

async fn attach(State(app): State<Shared>, Json(body): Json<LegacyAttach>) -> Answer {
    let name = lab(&body.lab_id)?;
    let port = port_in(&name, &body.container_name, &body.interface_name)?;
    let outcome = joined(&app, &name, &body.link_id, &port).await;
    Ok(done(&json!({ "success": outcome.is_ok(), "error": outcome.err() })))
}

async fn ovs_status(State(app): State<Shared>) -> Answer {
    let snapshot = app.engine.inventory().snapshot();
    let state = snapshot.sources.get(&Source::Switch);
    let initialized = state.is_some_and(|state| state.listed.is_some() && state.error.is_none());
    let taken: BTreeSet<u16> = snapshot.switch.tags().map(|tag| tag.tag).collect();
    Ok(done(&json!({ "bridge_name": app.engine.switch_name(), "initialized": initialized, "ports": [], "links": [],
        "vlan_allocations": taken.len() })))
}

async fn ovs_flows(State(app): State<Shared>) -> Answer {
    let why = "this agent talks to the database of Open vSwitch alone, which has no flows: the bridge has the one flow NORMAL";
    Ok(done(&json!({ "bridge": app.engine.switch_name(), "flows": "", "error": why })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_that_is_declared_leads_again_where_it_was_attached_to_from_an_address_that_is_still_there() {
        let attached = vxlan("10.99.0.1", "10.99.0.2", 7).unwrap();
        let declared = |vni| vxlan("192.0.2.1", "192.0.2.2", vni).unwrap();
        let there: IpAddr = "10.99.0.1".parse().unwrap();
        assert_eq!(resumed(&attached, declared(7), |address| address == there), attached);
        assert_eq!(resumed(&attached, declared(7), |_| false), declared(7));
        assert_eq!(resumed(&attached, declared(8), |_| true), declared(8), "it is another one");
    }
}
