//! The look at everything that is ours by where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use netloom_engine::{Layout, Trace, TraceKind};
use netloom_kernel::Members;
use netloom_model::{LabName, NodeName, RuntimeKind};

use super::Ground;
use crate::runtime::{keys_in, names_in};

type Key = (LabName, NodeName);

impl Ground {
    /// Everything that no process is in and that is not of a known node: what it has goes with it.
    pub(super) fn look(&self, known: &BTreeSet<Key>) -> io::Result<Vec<Trace>> {
        let layout = &self.layout;
        let mut all = Vec::new();
        self.namespaces(known, &mut all)?;
        self.links(known, &mut all)?;
        self.groups(known, &mut all)?;
        all.extend(mounts(layout)?);
        let unknown = |key: &Key| !known.contains(key);
        for key in keys_in(&layout.state().join("layers"))?.into_iter().filter(unknown) {
            let path = layout.layer(&key.0, &key.1);
            all.push(of_node(TraceKind::Layer, key, Some(RuntimeKind::Namespace), &path));
        }
        for key in keys_in(&layout.run().join("nodes"))?.into_iter().filter(unknown) {
            let path = layout.node_run(&key.0, &key.1);
            // With anything in it, it is a node or is no affair of ours.
            if names_in(&path)?.is_empty() {
                all.push(of_node(TraceKind::Directory, key, Some(RuntimeKind::Namespace), &path));
            }
        }
        let records = layout.state().join("containers");
        for lab in names_in(&records)?.iter().filter_map(|lab| lab.parse::<LabName>().ok()) {
            for file in names_in(&records.join(lab.as_str()))? {
                let node = file.strip_suffix(".json").and_then(|node| node.parse::<NodeName>().ok());
                if let Some(node) = node.filter(|node| unknown(&(lab.clone(), node.clone()))) {
                    let path = records.join(lab.as_str()).join(&file);
                    all.push(of_node(TraceKind::Record, (lab.clone(), node), Some(RuntimeKind::Docker), &path));
                }
            }
        }
        for lab in names_in(&layout.run().join("labs"))?.iter().filter_map(|lab| lab.parse::<LabName>().ok()) {
            let path = layout.lab_run(&lab);
            let (at, changed) = (text(&path), changed(&path));
            all.push(Trace { kind: TraceKind::Names, lab, node: None, of: Some(RuntimeKind::Namespace), at, changed });
        }
        Ok(all)
    }

    fn namespaces(&self, known: &BTreeSet<Key>, all: &mut Vec<Trace>) -> io::Result<()> {
        let mut unknown = keys_in(&self.layout.pins())?;
        unknown.retain(|key| !known.contains(key));
        if unknown.is_empty() {
            return Ok(());
        }
        let inhabited = inhabited()?;
        for key in unknown {
            let path = self.layout.pin(&key.0, &key.1);
            if !is_inhabited(&path, &inhabited) {
                all.push(of_node(TraceKind::Namespace, key, None, &path));
            }
        }
        Ok(())
    }

    /// Links for `ip netns` that lead to where our pins are, whether anything is there or not.
    fn links(&self, known: &BTreeSet<Key>, all: &mut Vec<Trace>) -> io::Result<()> {
        let (directory, pins) = (self.layout.ip_netns(), self.layout.pins());
        for name in names_in(&directory)? {
            let link = directory.join(name);
            let Ok(target) = fs::read_link(&link) else { continue };
            let key = target.strip_prefix(&pins).ok().and_then(key_of);
            if let Some(key) = key.filter(|key| !known.contains(key)) {
                all.push(of_node(TraceKind::NamespaceLink, key, None, &link));
            }
        }
        Ok(())
    }

    fn groups(&self, known: &BTreeSet<Key>, all: &mut Vec<Trace>) -> io::Result<()> {
        let own = Path::new("netloom").join(self.layout.instance());
        let of = |path: &Path| path.strip_prefix(&own).ok().and_then(lab_and_node);
        let unknown = |path: &Path| match of(path) {
            Some((lab, Some(node))) => !known.contains(&(lab, node)),
            _ => true,
        };
        for (path, members) in self.cgroups.groups_below(&own, unknown)? {
            let Some((lab, node)) = of(&path) else { continue };
            if members == Members::None {
                let (at, of) = (text(&path), Some(RuntimeKind::Namespace));
                // When a group was made, its file system says only as long as it remembers.
                all.push(Trace { kind: TraceKind::Group, lab, node, of, at, changed: None });
            }
        }
        Ok(())
    }
}

fn of_node(kind: TraceKind, (lab, node): Key, of: Option<RuntimeKind>, path: &Path) -> Trace {
    Trace { kind, lab, node: Some(node), of, at: text(path), changed: changed(path) }
}

/// What cannot be written as text is none of ours: names of labs and nodes are plain.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The node of a path `<lab>/<node>`.
fn key_of(path: &Path) -> Option<Key> {
    let mut parts = path.iter().map(|part| part.to_str());
    let key = (parts.next()??.parse().ok()?, parts.next()??.parse().ok()?);
    parts.next().is_none().then_some(key)
}

/// The lab, and the node if it is a node's, of a group `lab-<lab>/node-<node>`.
fn lab_and_node(path: &Path) -> Option<(LabName, Option<NodeName>)> {
    let mut parts = path.iter().map(|part| part.to_str());
    let lab = parts.next()??.strip_prefix("lab-")?.parse().ok()?;
    match parts.next() {
        None => Some((lab, None)),
        Some(node) => Some((lab, Some(node?.strip_prefix("node-")?.parse().ok()?))),
    }
}

/// What is mounted below what we keep of nodes and labs.
fn mounts(layout: &Layout) -> io::Result<Vec<Trace>> {
    let roots = [layout.state().join("layers"), layout.run().join("nodes"), layout.run().join("labs")];
    let mut found = Vec::new();
    for point in mount_points()? {
        let Some(below) = roots.iter().find_map(|root| point.strip_prefix(root).ok()) else { continue };
        let mut parts = below.iter().map(|part| part.to_str());
        let Some(lab) = parts.next().flatten().and_then(|lab| lab.parse().ok()) else { continue };
        let node = parts.next().flatten().and_then(|node| node.parse().ok());
        found.push(Trace { kind: TraceKind::Mount, lab, node, of: None, at: text(&point), changed: None });
    }
    Ok(found)
}

/// Where something is mounted, as this process sees it; what was mounted last comes last.
pub(super) fn mount_points() -> io::Result<Vec<PathBuf>> {
    let all = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(all.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped).collect())
}

/// proc(5): space, tab, newline and backslash are written in octal.
fn unescaped(point: &str) -> PathBuf {
    let codes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    codes.iter().fold(point.to_owned(), |text, (code, plain)| text.replace(code, plain)).into()
}

/// The network namespaces that processes of this host are in, by device and inode.
pub(super) fn inhabited() -> io::Result<BTreeSet<(u64, u64)>> {
    let all = names_in(Path::new("/proc"))?.into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let mut found = BTreeMap::new();
    for pid in all {
        // One that has ended meanwhile is in none.
        if let Ok(metadata) = fs::metadata(format!("/proc/{pid}/ns/net")) {
            found.insert((metadata.dev(), metadata.ino()), pid);
        }
    }
    Ok(found.into_keys().collect())
}

pub(super) fn is_inhabited(pin: &Path, inhabited: &BTreeSet<(u64, u64)>) -> bool {
    fs::metadata(pin).is_ok_and(|metadata| inhabited.contains(&(metadata.dev(), metadata.ino())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_they_are_written() {
        assert_eq!(unescaped("/a\\040b\\134c"), Path::new("/a b\\c"));
        let (lab, node): Key = ("x".parse().unwrap(), "r1".parse().unwrap());
        assert_eq!(key_of(Path::new("x/r1")), Some((lab.clone(), node.clone())));
        assert_eq!(key_of(Path::new("x")), None);
        assert_eq!(key_of(Path::new("x/r1/more")), None);
        assert_eq!(lab_and_node(Path::new("lab-x/node-r1")), Some((lab.clone(), Some(node))));
        assert_eq!(lab_and_node(Path::new("lab-x")), Some((lab, None)));
        assert_eq!(lab_and_node(Path::new("x/r1")), None);
    }
}
