//! The commands of nodes that are the host itself: run on it, once in each of its lives.

use netloom_model::{Endpoint, Lab, Node, NodeName, RuntimeKind, Shape};

use super::Planner;
use crate::commands::commands;
use crate::step::{Action, StepId};

impl<'a> Planner<'a> {
    /// What is left to run of the commands of each node of kind `host`, when the links to the host are there.
    pub(super) fn hosts(&mut self) {
        let nodes = self.lab.map(Lab::nodes).into_iter().flatten();
        for (name, node) in nodes.filter(|(_, node)| node.kind.shape() == Shape::Host) {
            self.host(name, node);
        }
    }

    fn host(&mut self, name: &'a NodeName, node: &Node) {
        let done = self.observed.hosts.get(name).copied().unwrap_or_default();
        let mut after: Vec<StepId> = self.made_on_host();
        for (index, command) in commands(node).iter().enumerate().skip(done) {
            let action = Action::Exec {
                node: name.clone(),
                // Whose nodes are processes of the host.
                runtime: RuntimeKind::Namespace,
                index,
                argv: command.argv.to_vec(),
                target: command.target,
            };
            after = vec![self.add(action, "once for each boot of the host", after)];
        }
    }

    /// The steps that make links with an end on the host.
    fn made_on_host(&self) -> Vec<StepId> {
        let on_host = |link: &&_| {
            let link = self.wanted.get(*link).into_iter();
            link.flat_map(|link| link.ends()).any(|end| *end.home() == Endpoint::Host)
        };
        self.made.iter().filter(on_host).map(|link| Action::CreateLink { link: link.clone() }.id()).collect()
    }
}
