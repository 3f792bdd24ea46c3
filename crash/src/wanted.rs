//! What is desired after the crash, and how it is told that it is so; all of it from what others have written down.

use netloom_engine::{EndView, LabView};
use netloom_plan::{AdminState, NodeState};

use crate::topology::{CUT, RUNNING, TURNED};

/// What is desired after the crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// No lab `x`.
    Nothing,
    /// Lab `x` runs as before the change, and the agent does not know it.
    Unknown,
    /// Lab `x` in this shape.
    Lab(Shape, Edit),
    /// No lab `x`, and the host's own interface so.
    Host(Uplink),
}

/// How the host's own interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uplink {
    /// As somebody has set it up.
    Former,
    /// As it was asked for.
    Provided,
    /// Without an address: nobody wants anything of it.
    Released,
    /// So, and the other one as it was asked for.
    Moved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Before,
    After,
}

/// What was done to the lab beside its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    None,
    /// The cable at [`CUT`] was cut.
    Cut,
    /// [`TURNED`] lives the life that it lived before the command.
    Unturned,
    /// It was started again: another life.
    Turned,
    /// It was stopped.
    Halted,
}

/// Whether nothing but links is to come of a deploy of the lab before the change, and then what waits for them.
pub(crate) fn all_nodes_are_made(trace: &[String]) -> bool {
    let count = |point: &str| trace.iter().filter(|passed| *passed == point).count();
    count("node.create.done") == RUNNING && count("names.written") > 0
}

/// How many commands of the topology may have been run by an agent that died before it had noted so.
pub(crate) fn doubt(trace: &[String]) -> usize {
    let count = |point: &str| trace.iter().filter(|passed| *passed == point).count();
    count("exec.before").saturating_sub(count("exec.recorded"))
}

/// What is missing of a lab.
pub(crate) fn incomplete(lab: &LabView, edit: Edit) -> String {
    let halted = |node: &str| edit == Edit::Halted && node == TURNED;
    for node in &lab.nodes {
        let state = if halted(node.name.as_str()) { NodeState::Stopped } else { NodeState::Running };
        if node.state != state {
            return format!("node {} is {}", node.name, node.state);
        }
    }
    for link in &lab.links {
        let off = |end: &EndView| {
            let node = end.end.split(':').next().unwrap_or_default();
            (edit == Edit::Cut && end.end == CUT) || halted(node)
        };
        let dark = link.ends.iter().any(off);
        let wrong = link.ends.iter().any(|end| (end.admin == Some(AdminState::Down)) != off(end));
        if wrong || (link.state == "up") == dark {
            return format!("link {} is {}", link.id, link.state);
        }
    }
    String::new()
}
