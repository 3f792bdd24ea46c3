//! Whether a deploy can be accepted: the wish that it would make, and what this host says to that.
//!
//! Nothing is stored and nothing touched here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netloom_model::{Lab, LabName, LabParts, NodeName};
use netloom_plan::{Live, Observed, obstacles};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::adopt::own_bridges;
use super::command::{DeployRequest, Rebuild};
use super::edit::check_authority;
use super::observe::{observe_host, observe_nodes};
use super::pull::Fetched;
use super::step::{engine_error, within};
use crate::desired::{Phase, Whole, Wish};
use crate::driver::Context;
use crate::engine::Shared;
use crate::fact::{PortFact, PortMark, Source};
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

/// The wish that a deploy would make of the present one; checks what needs no host.
pub(crate) fn next_wish(there: Option<&Wish>, request: &DeployRequest) -> Result<Wish, Refusal> {
    let name = request.lab.name();
    if let Some(expected) = request.generation {
        let current = there.map_or(0, |wish| wish.generation);
        if current != expected {
            return Err(Refusal::Changed { lab: name.clone(), current, expected });
        }
    }
    let Some(there) = there else {
        return Ok(Wish::first(merged(None, request)?));
    };
    check_authority(there)?;
    if there.phase == Phase::Run
        && let (Some(theirs), Some(ours)) = (there.lab.source(), request.lab.source())
        && theirs != ours
    {
        let (theirs, ours) = (theirs.to_owned(), ours.to_owned());
        return Err(Refusal::OtherSource { lab: name.clone(), theirs, ours });
    }
    let lab = merged((there.phase == Phase::Run).then_some(&*there.lab), request)?;
    let known: BTreeSet<_> = lab.links().iter().map(netloom_model::Link::id).collect();
    let mut wish = Wish {
        phase: Phase::Run,
        generation: there.generation + 1,
        rebuild: there.rebuild + u64::from(request.rebuild == Rebuild::Yes),
        down: there.down.iter().filter(|(link, _)| known.contains(link)).cloned().collect(),
        stopped: there.stopped.clone(),
        restarts: there.restarts.clone(),
        bridges: there.bridges.union(&Wish::bridges_of(&lab)).cloned().collect(),
        on_network: there.on_network.clone(),
        networks: there.networks.clone(),
        switch: there.switch.clone(),
        held: None,
        lab,
        live: still_live(&there.live, request.only.as_ref()),
        authority: there.authority.clone(),
        created: there.created,
        whole: Whole::default(),
    };
    wish.drop_orders_of_missing_nodes();
    Ok(wish)
}

/// The wish of a destroy of a lab that the store does not know: nothing, and the bridges back that its links are ports
/// of. A crash in the middle would otherwise leave them, when the last link is gone that tells whose they are.
pub(crate) fn no_more_than(name: &LabName, snapshot: &Snapshot) -> Wish {
    let links = snapshot.links(name);
    let masters: BTreeSet<u32> = links.values().flat_map(|link| &link.ports).filter_map(|port| port.master).collect();
    let ours = |port: &&Arc<PortFact>| port.mark == Some(PortMark::Bridge) && masters.contains(&port.ifindex);
    let bridges = snapshot.host.values().filter(ours).map(|port| port.name.clone());
    let bridges = bridges.chain(own_bridges(name, &snapshot.switch)).collect();
    let parts = LabParts::new(name.clone());
    let nothing = Wish::first(Arc::new(Lab::new(parts).expect("nothing is wrong with nothing")));
    Wish { bridges, phase: Phase::Destroy, ..nothing }
}

/// A file replaces what was edited live: all of it, or the chosen nodes and all links.
fn still_live(live: &Live, only: Option<&BTreeSet<NodeName>>) -> Live {
    let Some(only) = only else { return Live::default() };
    let kept = live.nodes.iter().filter(|(node, _)| !only.contains(node));
    Live { nodes: kept.map(|(node, mark)| (node.clone(), *mark)).collect(), links: BTreeMap::new() }
}

/// With `only`, the chosen nodes come from the request and all others stay as they are.
fn merged(there: Option<&Lab>, request: &DeployRequest) -> Result<Arc<Lab>, Refusal> {
    let Some(only) = &request.only else { return Ok(request.lab.clone()) };
    if let Some(unknown) = only.iter().find(|node| !request.lab.nodes().contains_key(node)) {
        let known: Vec<&str> = request.lab.nodes().keys().map(NodeName::as_str).collect();
        let (lab, node) = (request.lab.name().clone(), unknown.to_string());
        return Err(Refusal::NoNode { lab, node, known: known.join(", ") });
    }
    let mut parts: LabParts = (*request.lab).clone().into_parts();
    let all = std::mem::take(&mut parts.nodes);
    if let Some(there) = there {
        parts.nodes.extend(there.nodes().iter().map(|(name, node)| (name.clone(), node.clone())));
    }
    parts.nodes.extend(all.into_iter().filter(|(name, node)| only.contains(name) || node.runtime.is_none()));
    let nodes = &parts.nodes;
    let stays =
        |link: &netloom_model::Link| link.ends().all(|end| end.at.node().is_none_or(|node| nodes.contains_key(node)));
    parts.links.retain(stays);
    Lab::new(parts).map(Arc::new).map_err(|violations| Refusal::Unfit(request.lab.name().clone(), violations))
}

/// Before everything was seen once nothing can be said of what is there.
pub(super) fn check_complete(sources: &BTreeSet<Source>, snapshot: &Snapshot) -> Result<(), Refusal> {
    if !snapshot.is_complete(sources) {
        let missing =
            sources.iter().filter(|source| snapshot.sources.get(source).is_none_or(|state| state.listed.is_none()));
        let missing: Vec<String> = missing
            .map(|source| {
                let why = snapshot.sources.get(source).and_then(|state| state.error.clone());
                why.map_or_else(|| source.word().to_owned(), |why| format!("{}: {why}", source.word()))
            })
            .collect();
        return Err(Refusal::NotReady(missing.join(", ")));
    }
    Ok(())
}

/// What the snapshot says to a wish before it is accepted: asks no driver, touches nothing.
pub(crate) fn check_host(shared: &Shared, there: Option<&Wish>, wish: &Wish) -> Result<(), Refusal> {
    let snapshot = shared.inventory.snapshot();
    let sources = shared.sources_of(wish.lab.name(), there.into_iter().chain([wish]), &snapshot);
    check_complete(&sources, &snapshot)?;
    for (name, node) in wish.lab.nodes() {
        if node.runtime.is_some_and(|kind| !shared.runtimes.contains_key(&kind)) {
            return Err(no_runtime(shared, name, node));
        }
    }
    check_images_seen(shared, wish, &snapshot)?;
    let nothing = Fetched::new();
    let observed = Observed {
        nodes: observe_nodes(wish.lab.name(), &snapshot),
        images: shared.stock(&nothing).of(&wish.lab, &snapshot),
        ..observe_host(wish.lab.name(), Some(wish.whole()), there, &snapshot)
    };
    let found = obstacles(&wish.desired(&BTreeSet::new()), &observed);
    if found.is_empty() { Ok(()) } else { Err(Refusal::Obstacles(found)) }
}

/// Before images were listed once, or it is known that they cannot be, nobody can say which are missing.
fn check_images_seen(shared: &Shared, wish: &Wish, snapshot: &Snapshot) -> Result<(), Refusal> {
    let made_from = wish.lab.nodes().values().filter(|node| node.image.is_some()).filter_map(|node| node.runtime);
    let sources = made_from.filter(|kind| shared.shelves.contains(kind)).map(Source::Images);
    match sources.into_iter().find(|source| !snapshot.sources.contains_key(source)) {
        Some(source) => Err(Refusal::NotReady(format!("{source:?}"))),
        None => Ok(()),
    }
}

/// What the drivers say to a wish before it is accepted. Nothing is touched. The asker waits for this, not the
/// lab's actor: a bind on a file system that hangs holds nobody else.
pub(crate) async fn check_drivers(shared: &Shared, there: Option<&Wish>, wish: &Wish) -> Result<(), Refusal> {
    let context =
        Context { deadline: (Instant::now() + shared.config.step_limit).into_std(), cancel: CancellationToken::new() };
    let mut unable = Vec::new();
    let mut kinds = BTreeSet::new();
    let rebuilds = there.is_some_and(|there| there.rebuild != wish.rebuild);
    for (name, node) in wish.lab.nodes() {
        let Some(kind) = node.runtime else { continue };
        let Some(runtime) = shared.runtimes.get(&kind) else {
            return Err(no_runtime(shared, name, node));
        };
        let same = there.is_some_and(|there| there.lab.nodes().get(name) == Some(node));
        // What stays as it is needs nobody: its daemon may be down.
        if same && !rebuilds {
            continue;
        }
        if kinds.insert(kind)
            && let Err(error) = within(&context, &format!("runtime {kind:?}"), runtime.check()).await
        {
            unable.push(error);
        }
        if same {
            continue;
        }
        let order = wish.order(name).expect("the node is one of the lab");
        if let Err(error) = within(&context, &format!("node {name}"), runtime.check_node(&order)).await {
            unable.push(error);
        }
    }
    if wish.whole().has_switch_ports() && there.is_none_or(|there| there.whole().links() != wish.whole().links()) {
        let checked = match shared.fabric.switch() {
            Some(switch) => within(&context, "the switch", switch.check()).await,
            None => Err(engine_error("reach", "the switch", "this agent has no Open vSwitch".into())),
        };
        unable.extend(checked.err());
    }
    if unable.is_empty() { Ok(()) } else { Err(Refusal::Unable(unable)) }
}

fn no_runtime(shared: &Shared, name: &NodeName, node: &netloom_model::Node) -> Refusal {
    let word = |kind: &netloom_model::RuntimeKind| format!("{kind:?}").to_lowercase();
    let known: Vec<String> = shared.runtimes.keys().map(|kind| format!("`{}`", word(kind))).collect();
    let hint = match &node.image {
        Some(image) => format!("It has the image `{image}`; with `runtime: namespace` it would run without one"),
        None => "Write `runtime: namespace`".to_owned(),
    };
    let runtime = node.runtime.as_ref().map(word).unwrap_or_default();
    Refusal::NoRuntime { node: name.clone(), runtime, known: known.join(", "), hint }
}
