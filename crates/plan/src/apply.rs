//! What a step does to the observed state, if it goes well. The fakes and the laws of the planner use it.

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{Endpoint, InterfaceName, Link, LinkKind, NodeName, Shape, Stage};

use crate::fingerprint::LinkFingerprint;
use crate::names::{names, names_hash};
use crate::state::{AdminState, Desired, ImageStock, NodeState, Observed, ObservedBridge, ObservedLink, ObservedNode};
use crate::step::Action;

/// Applies one action of a plan for `desired` to `observed`.
///
/// # Panics
/// When the action does not fit: a node or link made twice, something changed that is not there or not desired.
pub fn apply(action: &Action, desired: &Desired<'_>, observed: &mut Observed) {
    let lab = || desired.lab.expect("only removals are planned for a lab that is not desired");
    let link_of = |id| lab().link(id).expect("the link is desired");
    let fingerprint_of = |node: &NodeName| desired.fingerprint(node, &lab().nodes()[node]);
    match action {
        Action::EnsureBridge { bridge } => {
            observed.bridges.insert(bridge.clone(), ObservedBridge { exists: true, held: true });
        }
        Action::ReleaseBridge { bridge } => {
            observed.bridges.remove(bridge);
        }
        Action::PullImage { image, runtime } => {
            let before = observed.images.insert((*runtime, image.clone()), ImageStock::Fetched);
            assert!(before.is_some_and(|before| before != ImageStock::Fetched), "image {image} is fetched twice");
        }
        Action::EnsureNetwork { network } => {
            observed.networks.insert(network.clone(), ObservedBridge { exists: true, held: true });
        }
        Action::ReleaseNetwork { network } => {
            observed.networks.remove(network);
        }
        Action::WriteEntries => observed.entries = desired.entries(),
        Action::RemoveEntries => observed.entries = None,
        Action::WriteNames => observed.names = Some(names_hash(&names(lab()))),
        Action::ReserveNode { node, runtime } => {
            let before = observed.nodes.insert(node.clone(), ObservedNode::new(*runtime, NodeState::Absent));
            assert!(before.is_none_or(|before| before.is_begun()), "node {node} is reserved while it is there");
            observed.nodes.get_mut(node).expect("just put there").reserved = true;
        }
        Action::CreateNode { node, runtime } => {
            let fingerprint = fingerprint_of(node);
            let reserved = observed.nodes.get(node).is_some_and(|there| there.reserved);
            let made = ObservedNode { fingerprint, reserved, ..ObservedNode::new(*runtime, NodeState::Created) };
            let before = observed.nodes.insert(node.clone(), made);
            assert!(before.is_none_or(|before| before.is_begun()), "node {node} is made while it is there");
            if !reserved {
                // Its namespace is a new one.
                observed.inner_bridges.retain(|(at, _)| at != node);
            }
        }
        Action::StartNode { node, .. } => {
            let (fingerprint, spec) = (fingerprint_of(node), &lab().nodes()[node]);
            if desired.network.is_some() && spec.is_managed() && spec.publishes() {
                assert!(has_network(desired, observed), "node {node} is connected to a network that is not there");
            }
            let there = observed.nodes.get_mut(node).expect("a node is there before it starts");
            assert_ne!(there.state, NodeState::Running, "node {node} is started while it runs");
            there.state = NodeState::Running;
            there.fingerprint = fingerprint;
            there.execs_done = 0;
            there.reserved = false;
            there.namespace = None;
            there.left_behind = false;
        }
        Action::Exec { node, index, .. } if lab().nodes()[node].kind.shape() == Shape::Host => {
            let done = observed.hosts.entry(node.clone()).or_default();
            assert_eq!(*done, *index, "exec commands run in order");
            *done += 1;
        }
        Action::Exec { node, index, .. } => {
            let there = observed.nodes.get_mut(node).expect("a node is there before it executes");
            assert_eq!(there.execs_done, *index, "exec commands run in order");
            there.execs_done += 1;
        }
        Action::Await { node, stage, .. } => {
            // That it comes true is not the plan's doing.
            if let Some(there) = observed.nodes.get_mut(node)
                && matches!(stage, Stage::Healthy | Stage::Exit)
            {
                there.passed.insert(*stage);
            }
        }
        Action::Enter { node, stage } => {
            let there = observed.nodes.get_mut(node).expect("a node is there before it enters a stage");
            assert_eq!(there.state, NodeState::Running, "node {node} enters stages while it runs");
            there.entered = there.entered.max(Some(*stage));
        }
        Action::UpdateNode { node, .. } => {
            let fingerprint = fingerprint_of(node);
            observed.nodes.get_mut(node).expect("a node is there before it is updated").fingerprint = fingerprint;
        }
        Action::StopNode { node, .. } => {
            observed.nodes.get_mut(node).expect("a node is there before it stops").state = NodeState::Stopped;
        }
        Action::DeleteNode { node, .. } => {
            observed.nodes.remove(node).expect("a node is there before it is deleted");
            observed.links.retain(|_, link| !link.ends.contains(&Endpoint::Node(node.clone())));
            observed.inner_bridges.retain(|(at, _)| at != node);
        }
        Action::AddBridge { node, bridge } => {
            let takes = observed.nodes.get(node).is_some_and(ObservedNode::takes_links);
            assert!(takes, "{node} has no namespace that bridge {bridge} could be in");
            observed.inner_bridges.insert((node.clone(), bridge.clone()));
        }
        Action::RemoveBridge { node, bridge } => {
            let was = observed.inner_bridges.remove(&(node.clone(), bridge.clone()));
            assert!(was, "bridge {bridge} is there before it is removed from {node}");
        }
        Action::CreateLink { link } => {
            let wanted: &Link = link_of(link);
            let ends: Vec<Endpoint> = wanted.ends().map(|end| end.home().clone()).collect();
            for end in wanted.ends() {
                if let (Endpoint::Bridge(bridge), Endpoint::Node(node)) = (&end.at, end.home()) {
                    let is_there = |(at, name): &(NodeName, InterfaceName)| {
                        at == node && bridge.inner_bridge().is_some_and(|(inner, _)| inner == name.as_str())
                    };
                    assert!(observed.inner_bridges.iter().any(is_there), "bridge {bridge} is not there");
                }
            }
            for end in &ends {
                match end {
                    Endpoint::Node(node) => {
                        let takes = observed.nodes.get(node).is_some_and(ObservedNode::takes_links);
                        assert!(takes, "{node} has no namespace that the link could end in");
                    }
                    Endpoint::Bridge(bridge) => {
                        let there = observed.bridges.iter().find(|(name, _)| name.as_str() == bridge.as_str());
                        assert!(there.is_some_and(|(_, there)| there.exists), "bridge {bridge} is not there");
                    }
                    Endpoint::Host | Endpoint::Remote(_) => {}
                }
            }
            if matches!(wanted.kind, LinkKind::Attachment(_)) {
                assert!(has_network(desired, observed), "link {link} leads to a management network that is not there");
            }
            let fingerprint = LinkFingerprint::of(wanted, desired.rebuild);
            // Of one on a switch something is on the host that does not go with its nodes.
            let ends = ends.into_iter().chain(wanted.switch().map(|_| Endpoint::Host)).collect();
            let before = observed.links.insert(
                link.clone(),
                ObservedLink { fingerprint, ends, down: BTreeSet::new(), behind: BTreeMap::new() },
            );
            assert!(before.is_none(), "link {link} is made while it is there");
        }
        Action::UpdateLink { link } => {
            let fingerprint = LinkFingerprint::of(link_of(link), desired.rebuild);
            observed.links.get_mut(link).expect("a link is there before it is updated").fingerprint = fingerprint;
        }
        Action::SetLink { link, side, admin } => {
            let there = observed.links.get_mut(link).expect("a link is there before it is switched");
            match admin {
                AdminState::Up => there.down.remove(side),
                AdminState::Down => there.down.insert(*side),
            };
        }
        Action::CarryLink { link, side, .. } => {
            let there = observed.links.get_mut(link).expect("a link is there before it carries anything");
            there.behind.remove(side);
        }
        Action::DeleteLink { link } => {
            observed.links.remove(link).expect("a link is there before it is deleted");
        }
    }
}

/// Whether the management network of the lab is there.
fn has_network(desired: &Desired<'_>, observed: &Observed) -> bool {
    desired.network.and_then(|network| observed.networks.get(network)).is_some_and(|there| there.exists)
}
