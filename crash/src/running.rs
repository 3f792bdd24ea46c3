//! What runs of a lab while no agent does, and whether another one has let it be.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use netloom_kernel::Netns;

use crate::traces::processes;

/// Namespaces of nodes with the interfaces in them, and the first process of each container in one.
#[derive(Debug, Default)]
pub(crate) struct Running(BTreeSet<String>);

impl Running {
    /// Looks at these nodes, whose namespaces are pinned in a directory; one that has none yet does not run.
    pub(crate) fn look(pins: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir(pins).into_iter().flatten().flatten() {
            let Some(node) = entry.file_name().to_str().map(str::to_owned).filter(|node| is_wanted(node)) else {
                continue;
            };
            let Some(netns) = Netns::find(entry.path())? else { continue };
            let number = fs::metadata(entry.path())?.ino();
            let links = netns.run(|| Command::new("ip").args(["-o", "link", "show"]).output())?.context("ip")?;
            for line in String::from_utf8_lossy(&links.stdout).lines() {
                // `2: eth1@if3: <…`: the peer may be shown in another way where its namespace is named.
                let mut words = line.split([':', '@']).map(str::trim);
                let (index, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                found.insert(format!("{node}: interface {index} {name}"));
            }
            for (pid, ..) in processes() {
                let is_in = fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|there| there.ino() == number);
                if is_in && is_first(pid) {
                    found.insert(format!("{node}: process {pid}"));
                }
            }
        }
        Ok(Self(found))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// That all of it is there now.
    pub(crate) fn is_in(&self, now: &Self) -> Result<()> {
        let missing: Vec<&String> = self.0.difference(&now.0).collect();
        ensure!(missing.is_empty(), "the agent did not let be what ran: {missing:?} are gone, there are {:?}", now.0);
        Ok(())
    }
}

/// Whether a process is the first one of its own PID namespace.
fn is_first(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    numbers.len() > 1 && numbers.last() == Some(&"1")
}
