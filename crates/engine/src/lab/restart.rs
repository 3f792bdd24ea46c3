//! When a node that ended is started again: its policy, and a back-off of 1, 2, 4 … 60 s.
//!
//! Docker applies the policy of its containers itself. Beside that `always` is kept here too: the lab wants such a node to
//! run, whoever has ended it. And Docker can start none that shares a namespace before the one whose it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use netloom_model::{NetworkMode, Node, NodeName, PidMode, RestartPolicy, RuntimeKind};
use netloom_plan::NodeState;
use tokio::time::Instant;

use crate::fact::NodeFact;

/// A life that lasted this long makes the next back-off short again.
const STEADY: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Life {
    incarnation: Option<String>,
    seen_running: Option<Instant>,
    failures: u32,
    due: Option<Instant>,
}

/// The restarts of one lab's nodes.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    lives: BTreeMap<NodeName, Life>,
}

impl Restarts {
    /// Takes note of how a node is now.
    pub(crate) fn note(&mut self, fact: &NodeFact, policy: RestartPolicy, now: Instant) {
        let life = self.lives.entry(fact.node.clone()).or_insert_with(|| Life {
            incarnation: None,
            seen_running: None,
            failures: 0,
            due: None,
        });
        match &fact.state {
            NodeState::Running => {
                if life.incarnation != fact.incarnation || life.seen_running.is_none() {
                    life.incarnation.clone_from(&fact.incarnation);
                    life.seen_running = Some(now);
                }
                life.due = None;
            }
            NodeState::Exited { code } if !fact.restarting && wants_restart(policy, *code) => {
                if life.due.is_some() && life.incarnation == fact.incarnation {
                    return;
                }
                let ran = life.seen_running.take().map_or(Duration::ZERO, |since| now - since);
                life.incarnation.clone_from(&fact.incarnation);
                life.failures = if ran >= STEADY { 1 } else { life.failures + 1 };
                life.due = Some(now + back_off(life.failures));
            }
            _ => life.due = None,
        }
    }

    /// Forgets the nodes that are not there any more.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&NodeName) -> bool) {
        self.lives.retain(|node, _| is_there(node));
    }

    /// The nodes whose time has come.
    pub(crate) fn due(&self, now: Instant) -> BTreeSet<NodeName> {
        let due = self.lives.iter().filter(|(_, life)| life.due.is_some_and(|at| at <= now));
        due.map(|(node, _)| node.clone()).collect()
    }

    /// When the next node's time comes.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.lives.values().filter_map(|life| life.due).filter(|at| *at > now).min()
    }

    /// When a node is tried again, if it is.
    pub(crate) fn due_at(&self, node: &NodeName) -> Option<Instant> {
        self.lives.get(node)?.due
    }

    /// How long a node has been seen running, if it is.
    pub(crate) fn running_for(&self, node: &NodeName, now: Instant) -> Option<Duration> {
        Some(now - self.lives.get(node)?.seen_running?)
    }
}

/// The policy by which a node that ended is started again here.
pub(crate) fn policy(node: &Node) -> RestartPolicy {
    let shares = matches!(node.network_mode, NetworkMode::Container(_))
        || matches!(node.container.pid_mode, PidMode::Container(_));
    match node.restart_policy {
        own if node.runtime != Some(RuntimeKind::Docker) || shares => own,
        RestartPolicy::Always => RestartPolicy::Always,
        RestartPolicy::No | RestartPolicy::OnFailure | RestartPolicy::UnlessStopped => RestartPolicy::No,
    }
}

fn wants_restart(policy: RestartPolicy, code: i32) -> bool {
    match policy {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure => code != 0,
    }
}

fn back_off(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(60))
}

#[cfg(test)]
mod tests {
    use netloom_model::Kind;

    use super::*;

    fn node(runtime: RuntimeKind, restart_policy: RestartPolicy) -> Node {
        Node { runtime: Some(runtime), restart_policy, ..Node::new(Kind::linux(), "n") }
    }

    #[test]
    fn what_docker_starts_again_by_its_own_policy_is_left_to_it() {
        use RestartPolicy::{Always, No, OnFailure, UnlessStopped};
        for own in [No, OnFailure, UnlessStopped, Always] {
            assert_eq!(policy(&node(RuntimeKind::Namespace, own)), own);
            let kept = if own == Always { Always } else { No };
            assert_eq!(policy(&node(RuntimeKind::Docker, own)), kept);
            let network_mode = NetworkMode::Container("other".to_owned());
            let shares = Node { network_mode, ..node(RuntimeKind::Docker, own) };
            assert_eq!(policy(&shares), own, "Docker cannot start it before the other one");
        }
    }
}
