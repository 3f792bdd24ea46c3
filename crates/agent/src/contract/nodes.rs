//! Nodes one by one: made, started, removed, asked whether they are ready, and commands in them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use bytes::BytesMut;
use netloom_engine::{Controlled, ExecInput, ExecOutput, ExecRequest, Holder, Place, Wish};
use netloom_model::{LabName, NodeName, RuntimeKind};
use netloom_plan::NodeState;
use serde::Deserialize;
use serde_json::{Value, json};

use super::after_boot;
use super::answer::{Answer, Detail, Json, Object, done};
use super::carry_out::{Late, carry_out, carry_out_and_tell, leave_untold, wish};
use super::fields::{MaybeJson, Params, lab, node};
use super::labs::{nodes_of, word};
use super::links::port_view;
use super::node_spec::NodeSpec;
use super::readiness::{self, Probe};
use super::vendor::Vendor;
use crate::routes::Shared;
use crate::serve::App;

/// How long making or starting a node is waited for, of the 120 s that the controller waits.
const MAKE: Duration = Duration::from_secs(96);
/// Likewise a removal, of 60 s.
const REMOVE: Duration = Duration::from_secs(48);
/// Likewise a command, of 30 s.
const EXEC: Duration = Duration::from_secs(24);
/// How much of what a command writes is kept, in bytes.
pub(super) const OUTPUT: usize = 4 * 1024 * 1024;

pub(super) fn routes() -> Router<Shared> {
    let of_node = |rest: &str| format!("/labs/{{lab}}/nodes/{{node}}{rest}");
    Router::new()
        .route(&of_node(""), delete(remove))
        .route(&of_node("/runtime-conflict"), post(conflict))
        .route(&of_node("/create"), post(create))
        .route(&of_node("/start"), post(start))
        .route(&of_node("/stop"), post(stop))
        .route(&of_node("/ready"), get(ready))
        .route(&of_node("/runtime"), get(runtime))
        .route(&of_node("/exec"), post(exec))
        .route(&of_node("/cli-verify"), post(cli_verify))
        .route(&of_node("/linux-interfaces"), get(linux_interfaces))
        .route(&of_node("/fix-interfaces"), post(fix_interfaces))
        .route(&of_node("/run-post-boot"), post(run_post_boot))
        .route("/labs/{lab}/repair-endpoints", post(repair_endpoints))
        .route("/containers/{lab}/{name}", delete(delete_container))
}

/// The controller's id of a node.
pub(super) fn definition(wish: &Wish, node: &NodeName) -> Option<String> {
    wish.lab.nodes().get(node)?.labels.get("archetype.node_definition_id").cloned()
}

/// The node that a name of a container means, or that has the name itself.
pub(super) fn named_in_containers(lab: &LabName, text: &str) -> Result<NodeName, Detail> {
    let short: String = lab.as_str().chars().take(20).collect();
    let prefixes = [format!("archetype-{short}-"), format!("arch-{short}-")];
    node(prefixes.iter().find_map(|prefix| text.strip_prefix(prefix.as_str())).unwrap_or(text))
}

pub(super) fn state_of(app: &App, lab: &LabName, node: &NodeName) -> Option<NodeState> {
    let snapshot = app.engine.inventory().snapshot();
    snapshot.node(lab, node).map(|fact| fact.state.clone())
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProviderQuery {
    provider: Option<String>,
}

/// Containers are all that there is.
fn no_machines(query: &ProviderQuery) -> Option<String> {
    let asked = query.provider.as_deref().unwrap_or("docker");
    (!["docker", "auto"].contains(&asked))
        .then(|| format!("this agent has no provider `{asked}`: it advertises `docker` alone"))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Identity {
    node_definition_id: Option<String>,
}

async fn conflict(
    State(app): State<Shared>,
    Path((lab_id, name)): Path<(String, String)>,
    Params(query): Params<ProviderQuery>,
    Json(body): Json<Identity>,
) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    if let Some(why) = no_machines(&query) {
        return Ok(done(
            &json!({ "success": false, "available": false, "classification": "error", "runtime_name": null,
            "status": null, "runtime_id": null, "error": why }),
        ));
    }
    let there = wish(&app, &lab_id);
    let info = there.as_ref().and_then(|wish| nodes_of(&app, wish).into_iter().find(|info| info.is(&name)));
    let container = super::carry_out::container_name(&lab_id, &name);
    if let (Some(wish), Some(info)) = (&there, info) {
        let ids = definition(wish, &name).zip(body.node_definition_id);
        let expected = ids.is_none_or(|(theirs, asked)| theirs == asked);
        let classification = if expected { "expected" } else { "stale_managed" };
        return Ok(done(&json!({ "success": true, "available": expected, "classification": classification,
            "runtime_name": container, "status": info.status(), "runtime_id": info.runtime_id, "error": null })));
    }
    let (classification, holder, error) = match held(&app, &container).await {
        Ok(None) => ("absent", None, None),
        Ok(Some(holder)) => (if holder.is_ours { "stale_managed" } else { "foreign" }, Some(holder), None),
        Err(why) => ("error", None, Some(why)),
    };
    let is_free = classification == "absent";
    Ok(done(&json!({ "success": error.is_none(), "available": is_free, "classification": classification,
        "runtime_name": holder.is_some().then_some(container), "status": holder.as_ref().map(|holder| &holder.state),
        "runtime_id": holder.as_ref().map(|holder| &holder.id), "error": error })))
}

/// Who has the name of a container that no node of ours has.
async fn held(app: &App, container: &str) -> Result<Option<Holder>, String> {
    let asked = tokio::time::timeout(EXEC, app.engine.holder_of(RuntimeKind::Docker, container)).await;
    let asked =
        asked.map_err(|_| format!("Docker does not say within {} s who has the name {container}", EXEC.as_secs()))?;
    asked.map_err(|refusal| refusal.to_string())
}

async fn create(
    State(app): State<Shared>,
    Path((lab_id, name)): Path<(String, String)>,
    Params(query): Params<ProviderQuery>,
    Json(spec): Json<NodeSpec>,
) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let began = Instant::now();
    let made = match no_machines(&query) {
        Some(why) => Err(why),
        None => created(&app, &lab_id, &name, &spec, began + MAKE).await,
    };
    let container = super::carry_out::container_name(&lab_id, &name);
    let status = match state_of(&app, &lab_id, &name) {
        Some(NodeState::Running) => "running",
        _ => "stopped",
    };
    Ok(done(&json!({ "success": made.is_ok(), "error": made.as_ref().err(), "container_name": container,
        "container_id": null, "status": status, "details": null, "duration_ms": millis(began) })))
}

/// Has a node made until `by`.
async fn created(app: &App, lab_id: &LabName, name: &NodeName, spec: &NodeSpec, by: Instant) -> Result<(), String> {
    let mut made = spec.node(lab_id, name, std::iter::empty())?;
    let workspace = app.engine.layout().workspace(lab_id, name);
    spec.configure(&mut made.node, app.engine.startup_of(lab_id, name).as_deref(), &workspace, &app.seen);
    let there = wish(app, lab_id).filter(|wish| wish.lab.nodes().contains_key(name));
    let state = state_of(app, lab_id, name);
    if let Some(there) = there.filter(|_| state.is_some()) {
        // One of which either says none is no other node: topologies of deploys carry none.
        let ids = definition(&there, name).zip(spec.node_definition_id.clone());
        if let Some((theirs, _)) = ids.filter(|(theirs, asked)| theirs != asked) {
            return Err(format!("Runtime namespace conflict: node {name} of this lab is there with the id {theirs}"));
        }
        // Whatever runs is not disturbed.
        made.keep = true;
    }
    if !made.keep {
        let container = super::carry_out::container_name(lab_id, name);
        if let Some(holder) = held(app, &container).await?.filter(|holder| !holder.is_ours) {
            let (id, state) = (holder.id.get(..12).unwrap_or(&holder.id), holder.state);
            return Err(format!(
                "Runtime namespace conflict: container {container} ({id}, {state}) is there and not of this agent"
            ));
        }
    }
    let image = made.node.image.clone().unwrap_or_default();
    if !made.keep && app.engine.image(&image).is_err() {
        return Err(format!("Docker image not found: {image}"));
    }
    // Whoever was asked before has had its part of the time.
    let left = by.saturating_duration_since(Instant::now());
    carry_out(app, lab_id, Controlled::Create(vec![made]), left, Late::Ends).await
}

#[derive(Debug, Default, Deserialize)]
struct Start {}

async fn start(
    State(app): State<Shared>,
    Path((lab_id, name)): Path<(String, String)>,
    Params(query): Params<ProviderQuery>,
    MaybeJson(Start {}): MaybeJson<Start>,
) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let began = Instant::now();
    let edit = Controlled::Start([name.clone()].into());
    let started = match no_machines(&query) {
        Some(why) => Err(why),
        None => carry_out_and_tell(&app, &lab_id, edit, MAKE, Late::Ends).await,
    };
    let status = state_of(&app, &lab_id, &name).as_ref().and_then(word).unwrap_or("error");
    Ok(done(&json!({ "success": started.is_ok(), "error": started.as_ref().err(), "status": status,
        "endpoints_repaired": 0, "interfaces_fixed": 0, "duration_ms": millis(began) })))
}

async fn removed(app: &App, lab_id: &LabName, name: &NodeName) -> Result<bool, String> {
    let known = wish(app, lab_id).is_some_and(|wish| wish.lab.nodes().contains_key(name));
    if !known {
        return Ok(false);
    }
    let edit = Controlled::Remove([name.clone()].into());
    carry_out(app, lab_id, edit, REMOVE, Late::GoesOn).await.map(|()| true)
}

async fn stop(State(app): State<Shared>, Path((lab_id, name)): Path<(String, String)>) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let began = Instant::now();
    let outcome = removed(&app, &lab_id, &name).await;
    let status = if outcome.is_ok() { "stopped" } else { "error" };
    Ok(done(
        &json!({ "success": outcome.is_ok(), "error": outcome.err(), "status": status, "duration_ms": millis(began) }),
    ))
}

async fn remove(State(app): State<Shared>, Path((lab_id, name)): Path<(String, String)>) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let began = Instant::now();
    leave_untold(&app, &lab_id, [name.clone()]);
    let outcome = removed(&app, &lab_id, &name).await;
    Ok(done(&json!({ "success": outcome.is_ok(), "error": outcome.as_ref().err(),
        "container_removed": *outcome.as_ref().unwrap_or(&false), "duration_ms": millis(began) })))
}

async fn delete_container(State(app): State<Shared>, Path((lab_id, name)): Path<(String, String)>) -> Answer {
    let lab_id = lab(&lab_id)?;
    let name = named_in_containers(&lab_id, &name)?;
    leave_untold(&app, &lab_id, [name.clone()]);
    Ok(done(&match removed(&app, &lab_id, &name).await {
        Ok(true) => json!({ "success": true, "message": format!("node {name} is removed") }),
        Ok(false) => json!({ "success": true, "message": format!("node {name} is not there") }),
        Err(why) => json!({ "success": false, "error": why }),
    }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReadyQuery {
    kind: Option<String>,
}

async fn ready(
    State(app): State<Shared>,
    Path((lab_id, name)): Path<(String, String)>,
    Params(query): Params<ReadyQuery>,
) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let there = wish(&app, &lab_id);
    let spec = there.as_ref().and_then(|wish| wish.lab.nodes().get(&name));
    let probe = Probe::of(spec, query.kind.as_deref());
    let answer = |is_ready: bool, message: &str, percent: Option<u8>| {
        done(&json!({ "is_ready": is_ready, "message": message, "progress_percent": percent, "details": null,
            "timeout": probe.within, "provider": "docker" }))
    };
    Ok(match state_of(&app, &lab_id, &name) {
        None | Some(NodeState::Absent) => answer(false, "Container not found", None),
        Some(NodeState::Running) => {
            let is_ready = |message: &str| {
                after_boot::ready(&app, &lab_id, &name, &probe.vendor);
                answer(true, message, Some(100))
            };
            match &probe.pattern {
                None => is_ready("The node runs"),
                Some(pattern) => match readiness::look(&app, &lab_id, &name, pattern) {
                    Ok(true) => is_ready("The node is ready"),
                    Ok(false) => answer(false, "The node boots", None),
                    Err(why) => answer(false, &why, None),
                },
            }
        }
        Some(state) => answer(false, &format!("The node is {state}"), None),
    })
}

async fn runtime(State(app): State<Shared>, Path((lab_id, name)): Path<(String, String)>) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let there = wish(&app, &lab_id);
    let state = state_of(&app, &lab_id, &name);
    let (Some(wish), Some(state)) = (there, state) else {
        return Err(Detail::new(404, format!("there is no node {name} in lab {lab_id}")));
    };
    let spec = wish.lab.nodes().get(&name);
    let memory = spec.and_then(|node| node.memory_bytes).map(|bytes| bytes / 1024 / 1024);
    // `cpu` is compared with the number of cores that the device is to have; a container has no number of them, only a limit of its
    // time, which would pass for a drift.
    Ok(done(&json!({ "provider": "docker", "node_name": name, "runtime_name": wish.lab.container_name(&name),
        "state": word(&state).unwrap_or("unknown"),
        "runtime": { "image": spec.and_then(|node| node.image.clone()), "memory": memory, "cpu": null } })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Command {
    cmd: Option<String>,
}

/// What a command in a node came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) code: i32,
    /// All that it wrote, in the order in which it came.
    pub(super) output: String,
    /// What of it was for whoever reads its result.
    pub(super) stdout: String,
}

/// Runs a command to its end.
pub(super) async fn run(app: &App, lab_id: &LabName, name: &NodeName, argv: Vec<String>) -> Result<Ran, String> {
    let running = async {
        let (mut session, _place) =
            app.engine.exec(lab_id, name, ExecRequest::plain(argv)).await.map_err(|refusal| refusal.to_string())?;
        // Nobody types anything: a command that reads would wait for ever. One that has ended already takes nothing.
        let _ = session.input.send(ExecInput::CloseStdin).await;
        let (mut all, mut stdout) = (BytesMut::new(), BytesMut::new());
        while let Some(output) = session.output.recv().await {
            match output {
                ExecOutput::Stdout(bytes) => {
                    take(&mut all, &bytes);
                    take(&mut stdout, &bytes);
                }
                ExecOutput::Stderr(bytes) => take(&mut all, &bytes),
                ExecOutput::Exited(code) => return Ok(Ran { code, output: text(&all), stdout: text(&stdout) }),
            }
        }
        Err("the session broke off".to_owned())
    };
    tokio::time::timeout(EXEC, running)
        .await
        .unwrap_or_else(|_| Err(format!("the command did not end within {} s", EXEC.as_secs())))
}

/// Keeps more of what a command writes, as far as there is room.
fn take(kept: &mut BytesMut, bytes: &[u8]) {
    let room = OUTPUT - kept.len();
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Only in nodes of the controller.
async fn exec(
    State(app): State<Shared>,
    Path((lab_id, name)): Path<(String, String)>,
    Json(body): Json<Command>,
) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let Some(cmd) = body.cmd.filter(|cmd| !cmd.is_empty()) else { return Err(Detail::new(400, "`cmd` is missing")) };
    if wish(&app, &lab_id).is_none() {
        return Err(Detail::new(404, format!("there is no lab {lab_id}")));
    }
    let argv = ["sh", "-c", &cmd].map(str::to_owned).to_vec();
    let outcome = run(&app, &lab_id, &name, argv).await;
    let ran = outcome.map_err(|why| Detail::new(409, why))?;
    Ok(done(&json!({ "exit_code": ran.code, "output": ran.output })))
}

async fn cli_verify(Path((lab_id, name)): Path<(String, String)>, Json(_): Json<Object>) -> Answer {
    lab(&lab_id)?;
    node(&name)?;
    Err(Detail::new(
        400,
        "commands are verified on virtual machines, and this agent runs none; `exec` runs them in containers",
    ))
}

/// The interfaces in the namespace of a node, from the snapshot.
async fn linux_interfaces(State(app): State<Shared>, Path((lab_id, name)): Path<(String, String)>) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let container = super::carry_out::container_name(&lab_id, &name);
    let snapshot = app.engine.inventory().snapshot();
    let facts =
        snapshot.labs.get(&lab_id).filter(|facts| wish(&app, &lab_id).is_some() && facts.nodes.contains_key(&name));
    let Some(facts) = facts else {
        return Ok(done(&json!({ "container": container, "interfaces": [], "error": "Container not found" })));
    };
    let here = Place::Node(lab_id.clone(), name.clone());
    let names: Vec<&str> =
        facts.ports.values().filter(|port| port.place == here).map(|port| port.name.as_str()).collect();
    Ok(done(&json!({ "container": container, "interfaces": names, "error": null })))
}

/// Interfaces come with their names, so that none has to be mended.
async fn fix_interfaces(State(app): State<Shared>, Path((lab_id, name)): Path<(String, String)>) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let right = wish(&app, &lab_id)
        .map_or(0, |wish| wish.lab.links().iter().filter(|link| link.a.at.node() == Some(&name)).count());
    Ok(done(&json!({ "success": true, "node": name, "fixed": 0, "already_correct": right, "errors": [] })))
}

async fn run_post_boot(State(app): State<Shared>, Path((lab_id, name)): Path<(String, String)>) -> Answer {
    let (lab_id, name) = (lab(&lab_id)?, node(&name)?);
    let there = wish(&app, &lab_id);
    let spec = there.as_ref().and_then(|wish| wish.lab.nodes().get(&name));
    let kind = spec.and_then(|node| node.labels.get(netloom_model::KIND_LABEL));
    let vendor = kind.map(|kind| Vendor::of(kind, spec.and_then(|node| node.image.as_deref())));
    let ran = match vendor {
        Some(vendor) if !vendor.after_boot.is_empty() => {
            let ran = tokio::time::timeout(EXEC, after_boot::now(&app, &lab_id, &name, &vendor)).await;
            ran.unwrap_or_else(|_| Err(format!("it is not done after {} s", EXEC.as_secs())))
        }
        Some(_) => Ok(()),
        None => Err(format!("there is no node {name} in lab {lab_id}")),
    };
    let container = super::carry_out::container_name(&lab_id, &name);
    let mut answer = json!({ "success": ran.is_ok(), "container": container, "kind": kind });
    if let Err(why) = ran {
        answer["error"] = why.into();
    }
    Ok(done(&answer))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Repair {
    nodes: Vec<String>,
}

/// What is missing is made again as soon as it is seen to be; here it is told how each interface stands.
async fn repair_endpoints(
    State(app): State<Shared>,
    Path(lab_id): Path<String>,
    MaybeJson(body): MaybeJson<Repair>,
) -> Answer {
    let lab_id = lab(&lab_id)?;
    let asked: BTreeSet<NodeName> = body.nodes.iter().map(|name| node(name)).collect::<Result<_, _>>()?;
    let mut results: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    if let Some(wish) = wish(&app, &lab_id) {
        let running: BTreeSet<NodeName> = wish
            .lab
            .nodes()
            .keys()
            .filter(|name| asked.is_empty() || asked.contains(*name))
            .filter(|name| state_of(&app, &lab_id, name) == Some(NodeState::Running))
            .cloned()
            .collect();
        // Whatever of them is missing is made again: that is what starting one that runs comes to.
        let repaired = if running.is_empty() {
            Ok(())
        } else {
            carry_out(&app, &lab_id, Controlled::Start(running.clone()), REMOVE, Late::GoesOn).await
        };
        let snapshot = app.engine.inventory().snapshot();
        for link in wish.lab.links() {
            let Some(name) = link.a.at.node().filter(|name| running.contains(*name)) else { continue };
            let Some(port) = port_view(&wish, link, &snapshot) else { continue };
            let status = if port.tag.is_some() { "ok" } else { "error" };
            results.entry(name.to_string()).or_default().push(json!({ "interface": link.a.interface.kernel(),
                "status": status, "host_veth": port.name, "vlan_tag": port.tag, "message": repaired.as_ref().err() }));
        }
    }
    Ok(done(&json!({ "success": true, "error": null, "nodes_repaired": 0, "total_endpoints_repaired": 0,
        "results": results })))
}
