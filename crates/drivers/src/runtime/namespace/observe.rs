//! What is there of a node: its record, what its init says, and whether that process lives.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use netloom_engine::{Applied, Layout, NodeFact};
use netloom_kernel::{Identity, Netns, Process};
use netloom_model::{LabName, NodeName, RuntimeKind};
use netloom_plan::NodeState;
use rustix::fs::FlockOperation;

use super::super::fault::is_short;
use super::super::{keys_in, names_in, program};
use super::record::{Phase, Record, Status};
use super::spec::LOG_FILE;
use super::{Key, plain};

/// A node as it was found.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) record: Record,
    status: Option<Status>,
    /// Its init, if that lives.
    pub(super) process: Option<Process>,
    /// Whether its namespace is there.
    pinned: bool,
}

impl Seen {
    /// Looks at one node. `None`: nothing of ours is there.
    pub(super) fn look(layout: &Layout, boot: &str, lab: &LabName, node: &NodeName) -> io::Result<Option<Self>> {
        let directory = layout.node_run(lab, node);
        let Some(record) = Record::read(&directory, layout.instance())? else { return Ok(None) };
        let mut status = if record.boot == boot { Status::read(&directory)? } else { None };
        let process = match &status {
            Some(status) => find_init(status.init.into(), &directory)?,
            None if is_taken(&directory)? => find_silent_init(&directory)?,
            None => None,
        };
        if process.is_none() && status.is_some() {
            // It may have written its last words between our two looks.
            status = Status::read(&directory)?;
        }
        // What does not run has its namespace only by its pin.
        let pinned = process.is_some() || Netns::find(layout.pin(lab, node))?.is_some();
        Ok(Some(Self { record, status, process, pinned }))
    }

    /// What the inventory is to know.
    pub(super) fn fact(&self, layout: &Layout) -> NodeFact {
        let state = self.state();
        let exited = matches!(state, NodeState::Exited { .. });
        let ended = exited || matches!(state, NodeState::Failed { .. });
        let directory = layout.node_run(&self.record.lab, &self.record.node);
        let mut notes = self.record.notes.clone();
        if let Some(Status { phase: Phase::Running { notes: more }, .. }) = &self.status {
            notes.extend_from_slice(more);
        }
        NodeFact {
            lab: self.record.lab.clone(),
            node: self.record.node.clone(),
            runtime: RuntimeKind::Namespace,
            state,
            // An init that has written its last status has nothing more to do.
            pid: self.process.as_ref().filter(|_| !ended).map(|process| process.identity().pid),
            incarnation: self.status.as_ref().map(|status| {
                let Identity { pid, start_time } = status.init.into();
                let boot: String = self.record.boot.chars().take(8).collect();
                format!("{boot}-{pid}-{start_time}")
            }),
            health: None,
            reserved: false,
            namespace: None,
            left_behind: false,
            restarting: false,
            fingerprint: self.record.fingerprint.clone(),
            container: self.record.container.clone(),
            runtime_id: None,
            image: None,
            // One that failed has written nothing in this life, and why is in its state.
            last_output: if exited { tail(&directory).filter(|text| !text.is_empty()) } else { None },
            note: (!notes.is_empty()).then(|| notes.join("; ")),
            seen: SystemTime::now(),
        }
    }

    /// Whether its init lives and has not said yet how its start went.
    pub(super) fn is_silent(&self) -> bool {
        self.process.is_some() && self.status.is_none()
    }

    /// Whether its init has said its last word and is about to be gone.
    pub(super) fn is_ending(&self) -> bool {
        let ended = |status: &Status| matches!(status.phase, Phase::Exited { .. } | Phase::Failed { .. });
        self.process.is_some() && self.status.as_ref().is_some_and(ended)
    }

    fn state(&self) -> NodeState {
        let phase = self.status.as_ref().map(|status| &status.phase);
        match (phase, self.process.is_some(), self.record.stopped) {
            (None, true, _) => NodeState::Starting,
            (Some(Phase::Running { .. }), true, _) => NodeState::Running,
            // Its maker died over it, or somebody removed the namespace of a node that had ended.
            (_, false, _) if !self.pinned => NodeState::Creating,
            (_, _, true) => NodeState::Stopped,
            (None, false, false) => NodeState::Created,
            // It had no chance to write its status: killed.
            (Some(Phase::Running { .. }), false, _) => NodeState::Exited { code: 137 },
            (Some(Phase::Exited { code }), ..) => NodeState::Exited { code: *code },
            (Some(Phase::Failed { cause }), ..) => NodeState::Failed { cause: cause.clone() },
        }
    }
}

/// Whether an init holds the lock on a run directory.
fn is_taken(directory: &Path) -> io::Result<bool> {
    let directory = fs::File::open(directory)?;
    // Given back with the descriptor.
    match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::AGAIN) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// An init that has not said yet which process it is: either it is being started at this moment, or the agent that
/// started it died meanwhile. Rare, so all processes may be looked at.
fn find_silent_init(directory: &Path) -> io::Result<Option<Process>> {
    let Some(text) = directory.to_str() else { return Ok(None) };
    for pid in names_in(Path::new("/proc"))?.iter().filter_map(|name| name.parse().ok()) {
        if let Some(process) = Process::open(pid)?
            && process.has_arguments(&[program::NAME, "node", text])?
        {
            return Ok(Some(process));
        }
    }
    Ok(None)
}

/// The init of a node: this number, this start time, these words, and not dead.
fn find_init(identity: Identity, directory: &Path) -> io::Result<Option<Process>> {
    let Some(directory) = directory.to_str() else { return Ok(None) };
    let Some(process) = Process::find(identity)? else { return Ok(None) };
    Ok(process.has_arguments(&[program::NAME, "node", directory])?.then_some(process))
}

/// What a look at everything finds.
#[derive(Debug, Default)]
pub(super) struct All {
    pub(super) seen: Vec<Seen>,
    /// Nodes that could not be looked at, and why: left out without a word they would count as gone.
    pub(super) unseen: BTreeMap<Key, String>,
}

/// All nodes that carry our mark. What this process is short of is an error of the whole look, not of one node.
pub(super) fn all(layout: &Layout, boot: &str) -> io::Result<All> {
    let mut all = All::default();
    for (lab, node) in keys_in(&layout.run().join("nodes"))? {
        match Seen::look(layout, boot, &lab, &node) {
            Ok(seen) => all.seen.extend(seen),
            Err(error) if is_short(&error) => return Err(error),
            Err(error) => {
                let why = format!("{}: {}", layout.node_run(&lab, &node).display(), plain(&error));
                tracing::warn!(%lab, %node, why, "a node cannot be looked at");
                all.unseen.insert((lab, node), why);
            }
        }
    }
    Ok(all)
}

/// What is kept of the nodes of a lab; of those only that carry our mark.
pub(super) fn applied(layout: &Layout, lab: &LabName) -> io::Result<BTreeMap<NodeName, Option<Applied>>> {
    let mut found = BTreeMap::new();
    for name in names_in(&layout.run().join("nodes").join(lab.as_str()))? {
        let Ok(node) = name.parse::<NodeName>() else { continue };
        if let Some(record) = Record::read(&layout.node_run(lab, &node), layout.instance())? {
            found.insert(node, record.applied());
        }
    }
    Ok(found)
}

/// Labs that have a names file, with its content.
pub(super) fn names_files(layout: &Layout) -> io::Result<Vec<(LabName, String)>> {
    let labs = names_in(&layout.run().join("labs"))?;
    let with_file = labs.iter().filter_map(|lab| {
        let lab: LabName = lab.parse().ok()?;
        let content = fs::read_to_string(layout.lab_run(&lab).join("hosts")).ok()?;
        Some((lab, content))
    });
    Ok(with_file.collect())
}

/// The last lines of a node's output: at most ten, at most 2 KiB.
pub(super) fn tail(directory: &Path) -> Option<String> {
    const BYTES: u64 = 2048;
    let mut file = fs::File::open(directory.join(LOG_FILE)).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    // The first line is cut if the file has more than was read.
    let first = usize::from(size > BYTES && lines.len() > 1).max(lines.len().saturating_sub(10));
    Some(lines[first..].join("\n"))
}
