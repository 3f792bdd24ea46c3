//! What became of the nodes of a lab: started, stopped, died.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use netloom_engine::{LabFacts, NodeFact, Phase, Wish};
use netloom_model::{LabName, Node, NodeName};
use netloom_plan::NodeState;

use super::super::told::{Attributes, EventType, Message, NodeEvent};
use super::super::usage::node_kind;
use super::{First, Look};

/// How a node stands, as far as there is anything to tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It runs, and all its interfaces are there. Another life of it is another standing.
    Started { life: Option<String> },
    /// It does not, as it should be; also of a node that is not there.
    Stopped,
    /// It ended by itself.
    Died { life: Option<String>, status: String, code: Option<i32> },
}

/// What was told of the nodes of a lab.
#[derive(Debug)]
pub(super) struct Nodes {
    first: First,
    last: BTreeMap<NodeName, Standing>,
    /// What messages say of each beside how it stands.
    attributes: BTreeMap<NodeName, Attributes>,
}

impl Nodes {
    /// Of a lab that was there when the agent started, or has come since.
    pub(super) fn new(first: First) -> Self {
        Self { first, last: BTreeMap::new(), attributes: BTreeMap::new() }
    }

    /// Whether what is seen for the first time now is new. After the first look everything is.
    pub(super) fn first(&mut self) -> First {
        std::mem::replace(&mut self.first, First::New)
    }

    /// Looks at all nodes of a lab, also at those that are not wanted any more.
    pub(super) fn look(&mut self, look: &Look<'_>, told: &mut Vec<Message>) {
        let missing: BTreeSet<&NodeName> =
            look.ends.iter().filter(|end| !look.ports.has(end)).map(|end| &end.node).collect();
        let nodes = look.wish.lab.nodes().iter().filter(|(_, node)| node.runtime.is_some());
        for (name, node) in nodes {
            let fact = fact_of(look.facts, name);
            if !self.last.contains_key(name) && look.first == First::New {
                // What was not wanted until now has not run.
                self.last.insert(name.clone(), Standing::Stopped);
            }
            let Some(now) = standing(look.wish, name, fact, !missing.contains(name)) else {
                // Between two states. Which one it had when the agent started is told when it leaves it.
                self.last.entry(name.clone()).or_insert(Standing::Stopped);
                continue;
            };
            let before = self.last.insert(name.clone(), now.clone());
            if before.as_ref() == Some(&now) {
                continue;
            }
            let attributes = attributes(node, look.wish.lab.container_name(name), fact);
            self.attributes.insert(name.clone(), attributes.clone());
            if before.is_some() {
                told.push(event(look.lab, name, now, attributes));
            }
        }
        let is_wanted = |name: &NodeName| look.wish.lab.nodes().contains_key(name);
        self.leave(look.lab, look.facts, is_wanted, told);
    }

    /// Tells of the nodes of a lab that nobody wants any more. False once there are none left.
    pub(super) fn take_leave(&mut self, lab: &LabName, facts: Option<&LabFacts>, told: &mut Vec<Message>) -> bool {
        self.leave(lab, facts, |_| false, told);
        !self.last.is_empty()
    }

    /// Nodes that are not wanted any more have stopped when they are gone.
    fn leave(
        &mut self,
        lab: &LabName,
        facts: Option<&LabFacts>,
        is_wanted: impl Fn(&NodeName) -> bool,
        told: &mut Vec<Message>,
    ) {
        let attributes = &mut self.attributes;
        self.last.retain(|name, last| {
            let stays = is_wanted(name) || fact_of(facts, name).is_some_and(|fact| fact.state != NodeState::Absent);
            if stays {
                return true;
            }
            let attributes = attributes.remove(name);
            if let (true, Some(attributes)) = (*last != Standing::Stopped, attributes) {
                told.push(event(lab, name, Standing::Stopped, attributes));
            }
            false
        });
    }
}

fn fact_of<'a>(facts: Option<&'a LabFacts>, node: &NodeName) -> Option<&'a NodeFact> {
    facts?.nodes.get(node).map(|fact| &**fact)
}

/// How a node stands; `None` while it is between two states.
fn standing(wish: &Wish, name: &NodeName, fact: Option<&NodeFact>, is_wired: bool) -> Option<Standing> {
    let Some(fact) = fact else { return Some(Standing::Stopped) };
    let was_told_to_stop = wish.phase == Phase::Destroy || wish.stopped.contains(name);
    // With all of the id of a container, as controllers know it.
    let life = fact.incarnation.as_ref().map(|life| match (&fact.runtime_id, life.split_once('@')) {
        (Some(id), Some((_, start))) => format!("{id}@{start}"),
        _ => life.clone(),
    });
    match &fact.state {
        NodeState::Absent | NodeState::Stopped | NodeState::Exited { code: 0 } => Some(Standing::Stopped),
        NodeState::Creating | NodeState::Created | NodeState::Starting | NodeState::Stopping => None,
        NodeState::Running => is_wired.then_some(Standing::Started { life }),
        NodeState::Exited { .. } | NodeState::Failed { .. } if was_told_to_stop => Some(Standing::Stopped),
        NodeState::Exited { code } => {
            Some(Standing::Died { life, status: format!("exited (code {code})"), code: Some(*code) })
        }
        NodeState::Failed { .. } => Some(Standing::Died { life, status: "failed".to_owned(), code: None }),
    }
}

fn attributes(node: &Node, container_name: String, fact: Option<&NodeFact>) -> Attributes {
    let image = fact.and_then(|fact| fact.image.clone()).or_else(|| node.image.clone()).unwrap_or_default();
    Attributes { container_name, image, node_kind: node_kind(node), exit_code: None }
}

fn event(lab: &LabName, node: &NodeName, standing: Standing, attributes: Attributes) -> Message {
    let (event_type, status, life, exit_code) = match standing {
        Standing::Started { life } => (EventType::Started, "start".to_owned(), life, None),
        Standing::Stopped => (EventType::Stopped, "stop".to_owned(), None, None),
        Standing::Died { life, status, code } => (EventType::Died, status, life, code),
    };
    Message::Node(NodeEvent {
        lab_id: lab.clone(),
        node_name: node.clone(),
        // `id@start time`.
        container_id: life.map(|life| life.split('@').next().unwrap_or_default().to_owned()),
        event_type,
        timestamp: SystemTime::now(),
        status,
        attributes: Attributes { exit_code, ..attributes },
    })
}
