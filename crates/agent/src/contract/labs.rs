//! Labs as a whole: deployed, destroyed, looked at, tidied up.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{get, post};
use futures::future::join_all;
use netloom_engine::{Controlled, PortName, Source, Wish};
use netloom_model::{LabName, NodeName, RuntimeKind};
use netloom_plan::NodeState;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answer::{Answer, Detail, Json, Object, done};
use super::carry_out::{Late, carry_out, carry_out_and_tell, destroy, leave_untold, wish, wishes};
use super::fields::{self, lab};
use super::links::port_name;
use super::node_spec::NodeSpec;
use super::nodes::definition;
use crate::routes::Shared;
use crate::serve::App;

/// How long a deploy is waited for, of the 900 s that the controller waits; it goes on all the same.
pub(super) const DEPLOY: Duration = Duration::from_secs(720);
/// Likewise a destroy, of 300 s; but for a lab that is an orphan, which is given as long as a clean-up.
const DESTROY: Duration = Duration::from_secs(240);
/// How the job of such a destroy is called.
const OF_ORPHAN: &str = "orphan-cleanup-";
/// Likewise a clean-up, of 120 s, and a stop.
const TIDY: Duration = Duration::from_secs(96);
/// A lab that is younger is no orphan: the controller may have made its list before.
const YOUNG: Duration = Duration::from_secs(120);

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/labs/{lab}/status", get(status))
        .route("/jobs/deploy", post(deploy))
        .route("/jobs/destroy", post(destroy_job))
        .route("/cleanup-orphans", post(cleanup_orphans))
        .route("/cleanup-lab-orphans", post(cleanup_lab_orphans))
        .route("/discover-labs", get(discover))
        .route("/runtime-identity-audit", get(identity_audit))
        .route("/runtime-identity/backfill", post(identity_backfill))
        .route("/prune-docker", post(prune))
        .route("/cleanup/audit", post(audit))
}

/// `GET /labs/{lab}/status`
#[derive(Debug, Serialize)]
struct Status<'a> {
    lab_id: &'a LabName,
    nodes: Vec<NodeInfo>,
    error: Option<String>,
}

/// A node as it is.
#[derive(Debug, Serialize)]
pub(super) struct NodeInfo {
    name: NodeName,
    status: &'static str,
    container_id: Option<String>,
    pub(super) runtime_id: Option<String>,
    node_definition_id: Option<String>,
    image: Option<String>,
    ip_addresses: [&'static str; 0],
    error: Option<String>,
}

impl NodeInfo {
    pub(super) fn is(&self, node: &NodeName) -> bool {
        &self.name == node
    }

    pub(super) fn status(&self) -> &'static str {
        self.status
    }
}

/// The word of the contract for a state; none for a node that is not there.
pub(super) fn word(state: &NodeState) -> Option<&'static str> {
    Some(match state {
        NodeState::Absent => return None,
        NodeState::Creating | NodeState::Created => "pending",
        NodeState::Starting => "starting",
        NodeState::Running => "running",
        NodeState::Stopping => "stopping",
        NodeState::Stopped | NodeState::Exited { .. } => "stopped",
        NodeState::Failed { .. } => "error",
    })
}

/// What is there of a lab of the controller, from the snapshot alone.
pub(super) fn nodes_of(app: &App, wish: &Wish) -> Vec<NodeInfo> {
    let snapshot = app.engine.inventory().snapshot();
    let Some(facts) = snapshot.labs.get(wish.lab.name()) else { return Vec::new() };
    let info = |(name, fact): (&NodeName, &Arc<netloom_engine::NodeFact>)| {
        let error = match &fact.state {
            NodeState::Failed { cause } => Some(cause.clone()),
            _ => None,
        };
        Some(NodeInfo {
            name: name.clone(),
            status: word(&fact.state)?,
            container_id: fact.runtime_id.as_deref().map(|id| id.get(..12).unwrap_or(id).to_owned()),
            runtime_id: fact.runtime_id.clone(),
            node_definition_id: definition(wish, name),
            image: fact.image.clone(),
            ip_addresses: [],
            error,
        })
    };
    facts.nodes.iter().filter_map(info).collect()
}

/// What is known of nodes is known from these.
const OF_NODES: [Source; 2] = [Source::Runtime(RuntimeKind::Docker), Source::Fabric];

/// What keeps the snapshot from being the whole truth of what these tell. A list that is short for such a reason must say so: a
/// controller believes of a node that is missing that it is gone.
pub(super) fn doubt(app: &App, sources: &[Source]) -> Option<String> {
    let snapshot = app.engine.inventory().snapshot();
    let known = sources.iter().filter(|source| app.engine.sources().contains(source));
    let doubts = known.filter_map(|source| match snapshot.sources.get(source) {
        None => Some(format!("{} has not been looked at yet", source.word())),
        Some(state) if state.listed.is_none() => {
            let why = state.error.as_deref().unwrap_or("it has not answered yet");
            Some(format!("{}: {why}", source.word()))
        }
        Some(state) => state.error.as_ref().map(|why| format!("{}: {why}", source.word())),
    });
    let doubts: Vec<String> = doubts.collect();
    (!doubts.is_empty()).then(|| doubts.join("; "))
}

async fn status(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    let name = lab(&name)?;
    let nodes = wish(&app, &name).map(|wish| nodes_of(&app, &wish)).unwrap_or_default();
    Ok(done(&Status { lab_id: &name, nodes, error: doubt(&app, &OF_NODES) }))
}

#[derive(Debug, Deserialize)]
struct DeployJob {
    job_id: String,
    lab_id: String,
    #[serde(default)]
    provider: Provider,
    topology: Option<Topology>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Provider {
    #[default]
    Docker,
    Libvirt,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Topology {
    nodes: Vec<NodeSpec>,
    links: Vec<TopologyLink>,
}

/// A link of a topology. Of an interface that a controller does not know the name is empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TopologyLink {
    source_node: Option<String>,
    source_interface: Option<String>,
    target_node: Option<String>,
    target_interface: Option<String>,
}

impl TopologyLink {
    fn ports(&self) -> Result<(PortName, PortName), String> {
        let port = |node: &Option<String>, interface: &Option<String>| {
            let [node, interface] = [node, interface].map(|name| name.as_deref().unwrap_or_default());
            port_name(node, interface).map_err(|fault| fault.to_string())
        };
        Ok((port(&self.source_node, &self.source_interface)?, port(&self.target_node, &self.target_interface)?))
    }
}

impl Topology {
    /// The links that can be made. The others are left out, as they always were: a deploy does not fail for a link.
    fn pairs(&self, lab: &LabName, there: Option<&Wish>) -> Vec<(PortName, PortName)> {
        let is_there = |port: &PortName| {
            let is_new = self.nodes.iter().any(|node| node.name == port.node.as_str());
            is_new || there.is_some_and(|wish| wish.lab.port_of(&port.node, &port.interface).is_some())
        };
        let pair = |link: &TopologyLink| {
            let pair = link.ports()?;
            let missing = [&pair.0, &pair.1].into_iter().find(|port| !is_there(port)).map(PortName::label);
            missing.map_or(Ok(pair), |port| Err(format!("there is no {port}")))
        };
        let made = |link: &TopologyLink| {
            pair(link).inspect_err(|why| tracing::warn!(%lab, ?link, %why, "a link is left out of a deploy")).ok()
        };
        self.links.iter().filter_map(made).collect()
    }
}

fn job(id: &str, result: Result<String, String>) -> Value {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let (status, stdout, error) = match result {
        Ok(text) => ("completed", text, None),
        Err(why) => ("failed", String::new(), Some(why)),
    };
    json!({ "job_id": id, "status": status, "exit_code": 0, "stdout": stdout, "stderr": "", "error_message": error,
        "completed_at": now })
}

async fn deploy(State(app): State<Shared>, Json(body): Json<DeployJob>) -> Answer {
    fields::filled("job_id", &body.job_id)?;
    let name = lab(&body.lab_id)?;
    let Some(topology) = &body.topology else { return Err(Detail::new(400, "a deploy needs a topology")) };
    Ok(done(&job(&body.job_id, deployed(&app, &name, body.provider, topology).await)))
}

async fn deployed(app: &App, name: &LabName, provider: Provider, topology: &Topology) -> Result<String, String> {
    if provider == Provider::Libvirt {
        return Err("this agent runs no virtual machines: it advertises the provider `docker` alone".into());
    }
    if topology.nodes.is_empty() {
        return Err("No nodes found in topology".into());
    }
    let there = wish(app, name);
    let pairs = topology.pairs(name, there.as_deref());
    let snapshot = app.engine.inventory().snapshot();
    let mut nodes = Vec::new();
    for spec in &topology.nodes {
        let node = fields::node(&spec.name).map_err(|fault| fault.to_string())?;
        let linked = pairs.iter().flat_map(|(a, b)| [a, b]).filter(|port| port.node == node);
        let mut made = spec.node(name, &node, linked.map(|port| port.interface.clone()))?;
        let workspace = app.engine.layout().workspace(name, &node);
        spec.configure(&mut made.node, app.engine.startup_of(name, &node).as_deref(), &workspace, &app.seen);
        let fact = snapshot.node(name, &node);
        let runs = fact.is_some_and(|fact| fact.state == NodeState::Running);
        // A topology that has no ids says of none that it is another node.
        let id = spec.node_definition_id.as_ref().filter(|id| !id.is_empty());
        let same = there.as_ref().is_some_and(|wish| id.is_none() || definition(wish, &node).as_ref() == id);
        // What runs already is what was asked for, whichever words it was asked for with.
        made.keep = runs && same;
        nodes.push(made);
    }
    let count = nodes.len();
    let edit = Controlled::Several(vec![Controlled::Run(nodes), Controlled::Connect(pairs)]);
    carry_out_and_tell(app, name, edit, DEPLOY, Late::GoesOn).await?;
    Ok(format!("{count} nodes run"))
}

#[derive(Debug, Deserialize)]
struct DestroyJob {
    job_id: String,
    lab_id: String,
    #[serde(default)]
    provider: Provider,
}

async fn destroy_job(State(app): State<Shared>, Json(body): Json<DestroyJob>) -> Answer {
    fields::filled("job_id", &body.job_id)?;
    let name = lab(&body.lab_id)?;
    let within = if body.job_id.starts_with(OF_ORPHAN) { TIDY } else { DESTROY };
    let result = match body.provider {
        Provider::Docker => destroy(&app, &name, within).await,
        Provider::Libvirt => Ok(()),
    };
    Ok(done(&job(&body.job_id, result.map(|()| format!("nothing is left of lab {name}")))))
}

#[derive(Debug, Deserialize)]
pub(super) struct ValidLabs {
    pub(super) valid_lab_ids: Vec<String>,
}

/// The names of the containers of a lab.
fn containers(wish: &Wish) -> Vec<String> {
    wish.lab.nodes().keys().map(|node| wish.lab.container_name(node)).collect()
}

/// Whether a lab may be younger than what a controller knows of its labs.
fn is_young(wish: &Wish, now: SystemTime) -> bool {
    now.duration_since(wish.created).unwrap_or_default() < YOUNG
}

async fn cleanup_orphans(State(app): State<Shared>, Json(body): Json<ValidLabs>) -> Answer {
    if body.valid_lab_ids.is_empty() {
        // So a controller says that it has no labs, or that it has lost them.
        tracing::warn!("the controller named no lab as valid; nothing is removed on that word");
        return Ok(done(&json!({ "removed_containers": [], "errors": [] })));
    }
    let is_orphan = |wish: &Arc<Wish>| {
        let name = wish.lab.name();
        let is_valid = body.valid_lab_ids.iter().any(|valid| valid == name.as_str());
        !is_valid && !is_young(wish, SystemTime::now()) && !app.engine.work().labs().contains(name)
    };
    let orphans: Vec<Arc<Wish>> = wishes(&app).into_iter().filter(is_orphan).collect();
    // At once: all of them have the time of one.
    let ended = join_all(orphans.iter().map(|wish| destroy(&app, wish.lab.name(), TIDY))).await;
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    for (wish, ended) in orphans.iter().zip(ended) {
        let name = wish.lab.name();
        match ended {
            Ok(()) => removed.extend(containers(wish)),
            Err(why) => errors.push(format!("lab {name}: {why}")),
        }
    }
    Ok(done(&json!({ "removed_containers": removed, "errors": errors })))
}

#[derive(Debug, Deserialize)]
struct KeptNodes {
    lab_id: String,
    keep_node_names: Vec<String>,
}

async fn cleanup_lab_orphans(State(app): State<Shared>, Json(body): Json<KeptNodes>) -> Answer {
    let name = lab(&body.lab_id)?;
    let Some(wish) = wish(&app, &name) else {
        return Ok(done(&json!({ "removed_containers": [], "kept_containers": [], "errors": [] })));
    };
    let all = wish.lab.nodes().keys().cloned();
    let (kept, gone): (Vec<NodeName>, Vec<NodeName>) =
        all.partition(|node| body.keep_node_names.iter().any(|kept| kept == node.as_str()));
    let container = |node: &NodeName| wish.lab.container_name(node);
    let removed: Vec<String> = gone.iter().map(container).collect();
    let kept: Vec<String> = kept.iter().map(container).collect();
    let outcome = if gone.is_empty() {
        Ok(())
    } else {
        leave_untold(&app, &name, gone.clone());
        carry_out(&app, &name, Controlled::Remove(gone.into_iter().collect()), TIDY, Late::GoesOn).await
    };
    Ok(done(&match outcome {
        Ok(()) => json!({ "removed_containers": removed, "kept_containers": kept, "errors": [] }),
        Err(why) => json!({ "removed_containers": [], "kept_containers": kept, "errors": [why] }),
    }))
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

async fn discover(State(app): State<Shared>) -> Answer {
    let labs: Vec<Value> =
        wishes(&app).iter().map(|wish| json!({ "lab_id": wish.lab.name(), "nodes": nodes_of(&app, wish) })).collect();
    Ok(done(&json!({ "labs": labs, "timestamp": now() })))
}

async fn identity_audit(State(app): State<Shared>) -> Answer {
    let mut nodes = Vec::new();
    for wish in wishes(&app) {
        for info in nodes_of(&app, &wish) {
            nodes.push(json!({ "provider": "docker", "runtime_name": wish.lab.container_name(&info.name),
                "lab_id": wish.lab.name(), "node_name": info.name, "node_definition_id": info.node_definition_id,
                "runtime_id": info.runtime_id, "resolved_by_metadata": true, "name_only": false,
                "missing_node_definition_id": info.node_definition_id.is_none(),
                "missing_runtime_id": info.runtime_id.is_none(), "inconsistent_metadata": false }));
        }
    }
    let missing = |key: &str| nodes.iter().filter(|node| node[key] == true).count();
    let provider = json!({ "provider": "docker", "managed_runtimes": nodes.len(), "resolved_by_metadata": nodes.len(),
        "name_only": 0, "missing_node_definition_id": missing("missing_node_definition_id"),
        "missing_runtime_id": missing("missing_runtime_id"), "inconsistent_metadata": 0, "error": doubt(&app, &OF_NODES),
        "nodes": nodes });
    Ok(done(&json!({ "providers": [provider], "errors": [], "timestamp": now() })))
}

#[derive(Debug, Deserialize)]
struct Backfill {
    entries: Vec<BackfillEntry>,
    #[serde(default = "yes")]
    dry_run: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
struct BackfillEntry {
    lab_id: String,
    node_name: String,
    #[serde(default)]
    node_definition_id: Option<String>,
}

/// What a container is labelled with never changes: one that lacks something has to be made anew.
async fn identity_backfill(State(app): State<Shared>, Json(body): Json<Backfill>) -> Answer {
    let mut nodes = Vec::new();
    for entry in &body.entries {
        let (name, node) = (lab(&entry.lab_id)?, fields::node(&entry.node_name)?);
        let there = wish(&app, &name).filter(|wish| wish.lab.nodes().contains_key(&node));
        let outcome = match &there {
            None => "missing",
            Some(wish) if definition(wish, &node) == entry.node_definition_id => "skipped",
            Some(_) => "recreate_required",
        };
        let runtime = there.map(|wish| wish.lab.container_name(&node));
        nodes.push(json!({ "lab_id": name, "node_name": node, "node_definition_id": entry.node_definition_id,
            "runtime_name": runtime, "outcome": outcome, "dry_run": body.dry_run }));
    }
    let count = |outcome: &str| nodes.iter().filter(|node| node["outcome"] == outcome).count();
    let provider = json!({ "provider": "docker", "updated": 0, "recreate_required": count("recreate_required"),
        "missing": count("missing"), "skipped": count("skipped"), "nodes": nodes, "errors": [] });
    Ok(done(&json!({ "providers": [provider], "errors": [], "timestamp": now() })))
}

/// Only what is ours would be pruned, and nothing of ours is there that nobody wants for longer than it takes to remove it.
async fn prune(Json(_): Json<Object>) -> Answer {
    Ok(done(&json!({ "success": true, "images_removed": 0, "build_cache_removed": 0, "volumes_removed": 0,
        "containers_removed": 0, "networks_removed": 0, "space_reclaimed": 0, "errors": [] })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Audit {
    include_ovs: bool,
}

/// What carries our mark and is nobody's, from the inventory: nothing is asked, and nothing removed.
async fn audit(State(app): State<Shared>, Json(body): Json<Audit>) -> Answer {
    let snapshot = app.engine.inventory().snapshot();
    let wishes = app.engine.wishes().all();
    let labs = snapshot.labs.keys().filter(|name| !wishes.contains_key(*name)).count();
    let network = json!({ "labs_without_a_wish": labs, "host_interfaces": snapshot.host.len() });
    let ovs = body.include_ovs.then(|| {
        let ports = snapshot.switch.ports().filter(|port| !wishes.contains_key(&port.lab)).count();
        json!({ "ports_without_a_wish": ports, "ports": snapshot.switch.ports().count() })
    });
    let errors: Vec<String> = doubt(&app, &OF_NODES).into_iter().collect();
    Ok(done(&json!({ "network": network, "ovs": ovs, "errors": errors })))
}
