//! A running container from the inside: what whoever joins it has to know, and what it uses.
//!
//! All of it comes from /proc and the control groups, so that it is there also while the daemon does not answer.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use netloom_engine::NodeUsage;
use netloom_kernel::{Cgroups, Process};
use netloom_model::LabName;

use super::super::fault::{Fault, plain};
use super::super::join::{Inside, Joiner};
use super::super::turns::Key;
use super::Shared;

impl Shared {
    /// What joins, and the inside of the container that is to be joined.
    pub(super) async fn inside(self: &Arc<Self>, key: &Key, deadline: Instant) -> Result<(Joiner, Inside), Fault> {
        let joiner = self.joiner.clone().map_err(Fault::permanent)?;
        let known = self.known(key).ok_or_else(|| Fault::permanent("it is not there".into()))?;
        let process = known.process.ok_or_else(|| Fault::permanent("it does not run".into()))?;
        let shared = Arc::clone(self);
        let look = move |_: &netloom_engine::Layout| {
            let there = Process::find(process).map_err(|error| Fault::transient(plain(&error)))?;
            there.ok_or_else(|| Fault::permanent("it does not run".into()))?;
            let cgroups = shared.cgroups.as_ref().map_err(|why| Fault::permanent(why.clone()))?;
            Ok::<_, Fault>(Inside {
                process,
                cgroups: group(process.pid).map(|group| cgroups.files(&group)).unwrap_or_default(),
                user: known.user.clone(),
                directory: known.directory.clone(),
                env: known.env.clone(),
                capabilities: Some(bounding_set(process.pid)?),
            })
        };
        Ok((joiner, self.files(deadline, look).await??))
    }

    /// What the running containers of a lab use.
    pub(super) async fn usage(self: &Arc<Self>, lab: &LabName, deadline: Instant) -> Result<Vec<NodeUsage>, Fault> {
        let of_lab = self.all().into_iter().filter(|known| known.mark.lab == *lab);
        let running: Vec<_> = of_lab.filter_map(|known| Some((known.mark.node.clone(), known.process?.pid))).collect();
        if running.is_empty() {
            return Ok(Vec::new());
        }
        let cgroups: Cgroups = self.cgroups.clone().map_err(Fault::permanent)?;
        let read = move |_: &netloom_engine::Layout| {
            let nodes = running.into_iter().filter_map(|(node, pid)| {
                let usage = cgroups.usage(&group(pid)?);
                usage.running.then_some(NodeUsage { node, cpu: usage.cpu, memory_bytes: usage.memory_bytes })
            });
            nodes.collect()
        };
        self.files(deadline, read).await
    }
}

/// The control group of a process, below the root of its hierarchies; `None` for one in the root.
fn group(pid: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let group = paths.map(|path| path.trim_start_matches('/')).find(|path| !path.is_empty())?;
    Some(PathBuf::from(group))
}

/// What a process, and whatever it starts, may do at most.
fn bounding_set(pid: u32) -> Result<u64, Fault> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.map_err(|error| Fault::transient(plain(&error)))?;
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok());
    mask.ok_or_else(|| Fault::transient("what it may do cannot be read".into()))
}
