//! Everything that could be left behind on a host: interfaces, mounts, processes, cgroups, files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use netloom_engine::Layout;

use crate::topology::{SHARED, UNDERLAY, WAY};

/// What is there, and how often.
#[derive(Debug)]
pub(crate) struct Traces(BTreeMap<String, usize>);

/// What the agent has for itself, below its root.
const OWN: [&str; 19] = [
    "run",
    "run/netloom",
    "run/netloom/agent.lock",
    "run/netloom/external",
    "run/netloom/labs",
    "run/netloom/long-links",
    "run/netloom/netns",
    "run/netloom/nodes",
    "run/netloom/reserved",
    "run/netns",
    "var/lib/netloom",
    "var/lib/netloom/agent-id",
    "var/lib/netloom/containers",
    "var/lib/netloom/layers",
    "var/lib/netloom/netloom-init",
    "var/lib/netloom/starts.jsonl",
    "var/lib/netloom/starts.new",
    "var/lib/netloom/state.redb",
    "var/lib/netloom/token",
];

impl Traces {
    /// Looks at this host, whose agent has this layout. Neither an agent nor anything else of ours may run.
    pub(crate) fn look(layout: &Layout) -> Result<Self> {
        let mut found = Vec::new();
        found.extend(interfaces()?.into_iter().map(|name| format!("link {name}")));
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let own = layout.pins().display().to_string();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        // Its own directory of pins: once, and no more.
        let mut pins = 0;
        for point in points {
            if point == own && pins == 0 {
                pins += 1;
            } else {
                found.push(format!("mount {point}"));
            }
        }
        for (pid, name, ended) in processes() {
            if pid != std::process::id() && !ended {
                found.push(format!("process {name}"));
            }
        }
        for path in below(layout.root()) {
            let path = path.strip_prefix(layout.root()).expect("it is below").display().to_string();
            let logs = path.starts_with("var/lib/netloom/agent.log");
            if !OWN.contains(&path.as_str()) && !["var", "var/lib"].contains(&path.as_str()) && !logs {
                found.push(format!("file {path}"));
            }
        }
        if let Ok(hosts) = fs::read_to_string(layout.hosts()) {
            found.push(format!("hosts file {hosts:?}"));
        }
        found.extend(rules().into_iter().map(|rule| format!("firewall {rule}")));
        found.extend(cgroups(layout).iter().map(|path| format!("cgroup {}", path.display())));
        let mut counted = BTreeMap::new();
        for trace in found {
            *counted.entry(trace).or_default() += 1;
        }
        Ok(Self(counted))
    }

    /// What is there now that was not there before, and what is missing.
    pub(crate) fn since(&self, before: &Self) -> Vec<String> {
        let more = |these: &Self, those: &Self, word: &str| -> Vec<String> {
            let counts = these.0.iter().map(|(trace, count)| (trace, *count, those.0.get(trace).copied().unwrap_or(0)));
            counts.filter(|(_, count, other)| count > other).map(|(trace, ..)| format!("{word}{trace}")).collect()
        };
        let mut gone = more(before, self, "gone: ");
        // Other mounts of the machine go when their directories are removed outside.
        gone.retain(|trace| !trace.starts_with("gone: mount "));
        [more(self, before, ""), gone].concat()
    }
}

/// The nodes of a lab of which there is any trace, be it only a directory.
pub(crate) fn nodes_with_traces(layout: &Layout, lab: &str) -> Result<BTreeSet<String>> {
    let mut nodes = BTreeSet::new();
    let container = format!("clab-{lab}-");
    for path in below(layout.root()) {
        let path = path.strip_prefix(layout.root()).context("it is below")?;
        let words: Vec<&str> = path.iter().filter_map(|word| word.to_str()).collect();
        match words.as_slice() {
            ["run", "netloom", "netns" | "nodes", of, node, ..] | ["var", "lib", "netloom", "layers", of, node, ..]
                if *of == lab =>
            {
                nodes.insert((*node).to_owned());
            }
            ["run", "netloom", "reserved" | "external", of, node] if *of == lab => {
                nodes.insert((*node).to_owned());
            }
            ["var", "lib", "netloom", "containers", of, record] if *of == lab => {
                nodes.insert(record.split('.').next().unwrap_or(record).to_owned());
            }
            ["run", "netns", name] => nodes.extend(name.strip_prefix(&container).map(str::to_owned)),
            _ => {}
        }
    }
    let groups = cgroups(layout);
    let of_lab = groups.iter().filter_map(|group| group_of(group)).filter(|(of, _)| *of == lab);
    nodes.extend(of_lab.map(|(_, node)| node.to_owned()));
    Ok(nodes)
}

/// Lab and node of a cgroup, if it is a node's: `…/lab-x/node-a`.
pub(crate) fn group_of(group: &Path) -> Option<(&str, &str)> {
    let (node, lab) = (group.file_name()?.to_str()?, group.parent()?.file_name()?.to_str()?);
    Some((lab.strip_prefix("lab-")?, node.strip_prefix("node-")?))
}

/// The interfaces that this namespace has beside the loopback, the ways to other hosts and a switch that labs share, by their names; what Docker
/// names by chance, and what is named by a hash, only by what it is (`veth`, `mg`, `vh`).
pub(crate) fn on_host() -> Result<Vec<String>> {
    let known =
        |name: String| ["veth", "mg", "vh"].into_iter().find(|kind| name.starts_with(kind)).map_or(name, str::to_owned);
    let own = |name: &str| [UNDERLAY, WAY, SHARED].concat().contains(&name);
    let foreign = |name: &str| name == "lo" || own(name);
    let mut names: Vec<String> = interfaces()?.into_iter().filter(|name| !foreign(name)).map(known).collect();
    names.sort();
    Ok(names)
}

fn interfaces() -> Result<Vec<String>> {
    let links = Command::new("ip").args(["-o", "link", "show"]).output().context("ip")?;
    let names = String::from_utf8_lossy(&links.stdout);
    // `2: xp1@if3: <…`, where the namespace of the peer is known.
    let name = |line: &str| Some(line.split(' ').nth(1)?.trim_end_matches(':').split('@').next()?.to_owned());
    Ok(names.lines().filter_map(name).collect())
}

/// The rules of the host's firewalls that are ours. A host without the programs has none.
fn rules() -> Vec<String> {
    let saved = ["iptables-save", "ip6tables-save"].map(|program| Command::new(program).output());
    let printed = saved.into_iter().flatten().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    printed
        .flat_map(|text| text.lines().filter(|line| line.contains("netloom:")).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// All processes: number, name, and whether nothing is left of its first thread but its entry.
pub(crate) fn processes() -> Vec<(u32, String, bool)> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
            Some((pid, name.to_owned(), rest.trim_start().starts_with('Z')))
        })
        .collect()
}

/// The cgroups that an agent of this layout made, the deepest first. They are seen by the whole machine.
pub(crate) fn cgroups(layout: &Layout) -> Vec<PathBuf> {
    let own = Path::new("netloom").join(layout.instance());
    let hierarchies =
        fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path().join(&own));
    let all: Vec<PathBuf> =
        hierarchies.chain([Path::new("/sys/fs/cgroup").join(&own)]).filter(|path| path.is_dir()).collect();
    all.into_iter().flat_map(|path| below(&path).into_iter().filter(|path| path.is_dir()).chain([path])).collect()
}

/// Everything below a directory, the deepest first.
fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}
