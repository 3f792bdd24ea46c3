//! The commands of a topology that are run for a node, in it or on the host, each once in a life of it, and their order.

use netloom_model::{ExecPhase, ExecTarget, Node, Shape, Stage};

use crate::fingerprint::Print;

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
    /// Where it is run.
    pub target: ExecTarget,
    /// Its words.
    pub argv: &'a [String],
}

/// All commands that are run for a node, in the order in which they are run: how many of them were is what is noted of a life.
///
/// Before a node is made nothing can be run in it: what belongs to the stage `create` is run as soon as it runs. When it
/// leaves `exit` nothing can be run in it any more. On the host there are the same moments, so that one order holds for both.
/// All commands of a node that is the host itself are for the host.
pub fn commands(node: &Node) -> Vec<Command<'_>> {
    let is_host = node.kind.shape() == Shape::Host;
    let on = |target| if is_host { ExecTarget::Host } else { target };
    let configures = node.exec.iter().map(|argv| Command {
        stage: Stage::Configure,
        moment: Moment::Within,
        target: on(ExecTarget::Container),
        argv,
    });
    if node.stages.is_empty() {
        return configures.collect();
    }
    let staged = node.stages.iter().flat_map(|(stage, rule)| {
        rule.exec.iter().map(|exec| Command {
            stage: *stage,
            moment: moment(exec.phase),
            target: on(exec.target),
            argv: &exec.command,
        })
    });
    let run = staged.filter(|command| (command.stage, command.moment) != (Stage::Exit, Moment::Leaves));
    let mut all: Vec<Command<'_>> = run.chain(configures).collect();
    all.sort_by_key(|command| (command.stage, command.moment));
    all
}

/// Tells lists of commands apart: equal ones, in the same order, have equal prints.
pub fn print(commands: &[Command<'_>]) -> Print {
    Print::of(&format!("{commands:?}"))
}

fn moment(phase: ExecPhase) -> Moment {
    match phase {
        ExecPhase::OnEnter => Moment::Enters,
        ExecPhase::OnExit => Moment::Leaves,
    }
}
