//! The commands of a topology that are run in a node, each once in a life of it, and their order.

use netloom_model::{ExecPhase, ExecTarget, Node, Stage};

/// When a command is run within its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// When the node enters the stage.
    Enters,
    /// In the stage: `exec` of a node, which is how it is configured.
    Within,
    /// When it leaves the stage.
    Leaves,
}

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'a> {
    /// Its stage.
    pub stage: Stage,
    /// When in the stage.
    pub moment: Moment,
    /// Its words.
    pub argv: &'a [String],
}

/// All commands that are run in a node, in the order in which they are run: how many of them were is what is noted of a life.
///
/// Before a node is made nothing can be run in it: what belongs to the stage `create` is run as soon as it runs. When it
/// leaves `exit` nothing can be run in it any more. What is to run on the host is not run.
pub fn commands(node: &Node) -> Vec<Command<'_>> {
    let configures = node.exec.iter().map(|argv| (Stage::Configure, Moment::Within, argv));
    if node.stages.is_empty() {
        return configures.map(|(stage, moment, argv)| Command { stage, moment, argv }).collect();
    }
    let staged = node.stages.iter().flat_map(|(stage, rule)| {
        let inside = rule.exec.iter().filter(|exec| exec.target == ExecTarget::Container);
        inside.map(|exec| (*stage, moment(exec.phase), &exec.command))
    });
    let run = staged.filter(|(stage, moment, _)| (*stage, *moment) != (Stage::Exit, Moment::Leaves));
    let mut all: Vec<Command<'_>> =
        run.chain(configures).map(|(stage, moment, argv)| Command { stage, moment, argv }).collect();
    all.sort_by_key(|command| (command.stage, command.moment));
    all
}

fn moment(phase: ExecPhase) -> Moment {
    match phase {
        ExecPhase::OnEnter => Moment::Enters,
        ExecPhase::OnExit => Moment::Leaves,
    }
}
