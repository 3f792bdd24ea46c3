//! Whether the floor makes what Netloom makes: one node of each is looked at with the kernel's eyes, and everything that
//! only one of them has is an error. Without it the floor would drift away unseen, and with it every ratio.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use netloom_kernel::{Netns, Place, dump};

use crate::agent::Agent;
use crate::floor::Floor;
use crate::host::Kernel;
use crate::ring;

/// The lab, and the lab in the floor's marks.
const LAB: &str = "floor";
/// Nodes with two links between them: each has one first end and one second.
const SIZE: usize = 2;

/// A node that is looked at.
struct Subject<'a> {
    /// What belongs to the one who made it is below these directories.
    roots: &'a [PathBuf],
    netns: Netns,
    init: u32,
}

/// Makes a small ring on both sides, compares a node, and removes both.
pub(crate) fn check(agent: &Agent, floor: &Floor, kernel: &Kernel) -> Result<()> {
    let (ring, _) = floor.make(SIZE)?;
    let (netns, init) = ring.first().context("a node with an init")?;
    let theirs = Subject { roots: &floor.roots(), netns: netns.clone(), init }.look()?;
    floor.remove(ring, kernel)?;

    agent.deploy(LAB, SIZE)?;
    let lab = agent.socket().get(&format!("/labs/{LAB}"))?;
    let nodes = lab["nodes"].as_array().context("nodes")?;
    let pid = nodes.iter().find(|node| node["name"] == ring::node(0)).and_then(|node| node["pid"].as_u64());
    let init = u32::try_from(pid.context("a node that runs")?)?;
    let netns = Netns::open(format!("/proc/{init}/ns/net"))?;
    let roots = ["run/netloom", "var/lib/netloom"].map(|path| agent.root().join(path));
    let ours = Subject { roots: &roots, netns, init }.look()?;
    agent.destroy(LAB)?;
    kernel.settle()?;

    let only = |some: &BTreeSet<String>, others: &BTreeSet<String>| {
        some.difference(others).map(|line| format!("\n    {line}")).collect::<Vec<_>>().concat()
    };
    let (netloom, floor) = (only(&ours, &theirs), only(&theirs, &ours));
    ensure!(
        netloom.is_empty() && floor.is_empty(),
        "the floor is not what Netloom makes; bench/src/floor.rs has to follow\n  only Netloom has:{netloom}\n  only the \
         floor has:{floor}"
    );
    Ok(())
}

impl Subject<'_> {
    /// A line for each thing, without what is another one each time.
    fn look(&self) -> Result<BTreeSet<String>> {
        let mut lines = self.interfaces()?;
        lines.extend(self.netns.run(sysctls)??);
        lines.extend(self.mounts()?);
        lines.extend(self.cgroups()?);
        Ok(lines.into_iter().collect())
    }

    fn interfaces(&self) -> Result<Vec<String>> {
        let seen = dump(&[Place::node(self.netns.clone(), "node")])?.pop().context("an answer for the place")??;
        let mut lines = Vec::new();
        for link in &seen.links {
            // The vendor's half of the address; the rest is each interface's own. And the group is each lab's.
            let mac = link.mac.map(|mac| mac.0.map(|byte| format!("{byte:02x}"))[..3].join(":"));
            lines.push(format!(
                "interface {} kind {:?} up {} {} mtu {} mac {mac:?} grouped {} alias {:?} altnames {:?} master {:?} peer {} \
                 elsewhere {}",
                link.name,
                link.kind,
                link.up,
                link.lower_up,
                link.mtu,
                link.group != 0,
                link.alias.as_deref().map(shape),
                link.altnames,
                link.master,
                link.peer.is_some(),
                link.peer_nsid.is_some(),
            ));
            for address in seen.addresses.iter().filter(|address| address.ifindex == link.ifindex) {
                // Made of the MAC address.
                let text = if address.link_local { "its own".to_owned() } else { address.address.to_string() };
                lines.push(format!("address of {}: {text} protocol {:?}", link.name, address.protocol));
            }
        }
        Ok(lines)
    }

    fn mounts(&self) -> Result<Vec<String>> {
        // "36 35 98:0 /root /point options optional - type source more" (proc_pid_mountinfo(5))
        let text = fs::read_to_string(format!("/proc/{}/mountinfo", self.init))?;
        let line = |line: &str| {
            let (own, file_system) = line.split_once(" - ")?;
            let [root, point, options] = own.split(' ').skip(3).take(3).collect::<Vec<_>>().try_into().ok()?;
            // Files that are mounted lie in different places, too.
            let root = root.rsplit('/').next()?;
            let shared: Vec<_> = own.split(' ').skip(6).filter_map(|field| field.split(':').next()).collect();
            // Of directories only that there are some: the layers are in different places.
            let keys = ["lowerdir=", "upperdir=", "workdir=", "size=", "nr_inodes="];
            let short = |option: &str| {
                keys.iter().find(|key| option.starts_with(**key)).map_or(option.to_owned(), |key| (*key).to_owned())
            };
            let file_system: Vec<_> = file_system.split(',').map(short).collect();
            Some(self.neutral(&format!("mount {point} of {root} {options} {shared:?} {}", file_system.join(","))))
        };
        text.lines().map(|text| line(text).with_context(|| format!("an odd mount: {text}"))).collect()
    }

    fn cgroups(&self) -> Result<Vec<String>> {
        // "4:memory:/netloom/…" (cgroups(7)); only whether it is one of its own differs by more than names.
        let text = fs::read_to_string(format!("/proc/{}/cgroup", self.init))?;
        let line = |line: &str| {
            let (hierarchy, path) = line.split_once(":/")?;
            let own = if path.contains("netloom") { "a group of its own" } else { "no group" };
            Some(format!("cgroup {hierarchy}: {own}"))
        };
        text.lines().map(|text| line(text).with_context(|| format!("an odd group: {text}"))).collect()
    }

    /// Where the things of its maker are called the same for all makers.
    fn neutral(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (number, root) in self.roots.iter().enumerate() {
            text = text.replace(&root.display().to_string(), &format!("<root {number}>"));
        }
        text
    }
}

/// `netloom/0123456789ab/floor/n0:eth1-n1:eth2/01234567.89abcdef` without the digits of what is random.
fn shape(alias: &str) -> String {
    let parts: Vec<_> = alias.split('/').collect();
    let digits = |part: &str| part.chars().map(|c| if c.is_ascii_hexdigit() { '#' } else { c }).collect::<String>();
    let part =
        |(at, part): (usize, &&str)| if at == 1 || at + 1 == parts.len() { digits(part) } else { (*part).to_owned() };
    parts.iter().enumerate().map(part).collect::<Vec<_>>().join("/")
}

/// All network settings of the namespace that this thread is in.
fn sysctls() -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut left = vec![PathBuf::from("/proc/sys/net")];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
                continue;
            }
            // Some can only be written, some not be read before they are set.
            if let Ok(value) = fs::read_to_string(entry.path()) {
                let path = entry.path();
                let name = path.strip_prefix(Path::new("/proc/sys")).unwrap_or(&path).display().to_string();
                lines.push(format!("sysctl {name} = {}", value.trim_end()));
            }
        }
    }
    Ok(lines)
}
