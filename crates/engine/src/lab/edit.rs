//! Edits of a lab while it is there: a wish and a merge patch (RFC 7396) of its [`Document`](crate::Document) make the next wish. Pure.
//!
//! The result is checked whole, as a topology file is; all that is wrong with it is found, not only the first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netloom_model::{Lab, LabParts, Link, LinkId, LinkKind, Mac, NodeName, Shape, Violation};
use netloom_plan::{AdminState, LiveMark, Obstacle, Side, StepId};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::desired::{Authority, Phase, Wish};
use crate::document::{LinkEntry, LinkKey, NodeEntry, RunState, link_key};
use crate::refusal::Refusal;

/// An edit as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct EditRequest {
    /// The merge patch of the lab's [`Document`](crate::Document).
    pub patch: Value,
    /// The generation that the lab must have (`If-Match`); `None`: whichever it has.
    pub generation: Option<u64>,
}

/// What an edit came to for a wish.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// The wish.
    pub(crate) of: Arc<Wish>,
    /// What it came to.
    pub(crate) edited: Edited,
}

/// What an edit comes to.
#[derive(Debug, Clone)]
pub(crate) struct Edited {
    /// The next wish; the present one if nothing changes.
    pub(crate) wish: Wish,
    /// What it named.
    pub(crate) scope: Scope,
}

/// What an operation is about: it ends when this is as it should be, whatever else is under way in the lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The whole lab.
    Lab,
    /// Some nodes with their links and images, some links, and what all nodes share.
    Some { nodes: BTreeSet<NodeName>, links: BTreeSet<LinkId>, images: BTreeSet<String> },
}

impl Scope {
    /// Names the links that its nodes have beside those of the file, too.
    pub(crate) fn extend_to(&mut self, whole: &Lab) {
        let Self::Some { nodes, links, .. } = self else { return };
        let attached = whole.links().iter().filter(|link| matches!(link.kind, LinkKind::Attachment(_)));
        let named =
            attached.filter(|link| link.ends().filter_map(|end| end.at.node()).any(|node| nodes.contains(node)));
        links.extend(named.map(Link::id));
    }

    /// What of an obstacle stands in the way of what it names.
    pub(crate) fn of(&self, obstacle: Obstacle) -> Option<Obstacle> {
        match obstacle {
            Obstacle::InterfaceTaken { ref link, .. } | Obstacle::ParentMissing { ref link, .. } => {
                self.has_link(link).then_some(obstacle)
            }
            Obstacle::BridgeTaken { .. } => Some(obstacle),
            Obstacle::ImagesMissing { mut images } => {
                for image in &mut images {
                    image.nodes.retain(|node| self.has_node(node));
                }
                images.retain(|image| !image.nodes.is_empty());
                (!images.is_empty()).then_some(Obstacle::ImagesMissing { images })
            }
        }
    }

    pub(crate) fn has_node(&self, node: &NodeName) -> bool {
        match self {
            Self::Lab => true,
            Self::Some { nodes, .. } => nodes.contains(node),
        }
    }

    pub(crate) fn has_link(&self, link: &LinkId) -> bool {
        match self {
            Self::Lab => true,
            Self::Some { links, .. } => links.contains(link),
        }
    }

    /// Whether a step of a plan is part of it. Bridges and names are everybody's.
    pub(crate) fn has_step(&self, step: &StepId) -> bool {
        let Self::Some { nodes, links, images } = self else { return true };
        let of = |object: &str, name: &str| {
            let rest = step.as_str().strip_prefix(object).and_then(|rest| rest.strip_prefix(name));
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        match step.as_str().split('/').next() {
            Some("node") => nodes.iter().any(|node| of("node/", node.as_str())),
            Some("link") => links.iter().any(|link| of("link/", link.as_str())),
            Some("image") => images.iter().any(|image| of("image/", image)),
            _ => true,
        }
    }
}

/// Of a lab that somebody else decides about nothing is changed from here.
pub(crate) fn check_authority(there: &Wish) -> Result<(), Refusal> {
    match &there.authority {
        Authority::Local => Ok(()),
        Authority::Controller(_) => {
            let (lab, authority) = (there.lab.name().clone(), there.authority.clone());
            Err(Refusal::OtherAuthority { lab, authority })
        }
    }
}

/// The wish that an edit would make of the present one; checks what needs no host.
pub(crate) fn next_edit(there: &Wish, request: &EditRequest) -> Result<Edited, Refusal> {
    let lab = || there.lab.name().clone();
    check_authority(there)?;
    if there.phase == Phase::Destroy {
        return Err(Refusal::Destroying(lab()));
    }
    if let Some(why) = &there.held {
        return Err(Refusal::Held { lab: lab(), why: why.clone() });
    }
    if let Some(expected) = request.generation.filter(|expected| *expected != there.generation) {
        return Err(Refusal::Changed { lab: lab(), current: there.generation, expected });
    }
    edit(there, &request.patch).map_err(|why| Refusal::Edit { lab: lab(), why })
}

/// Applies a patch to a wish. `Err` is everything that is wrong with it, one line each.
fn edit(there: &Wish, patch: &Value) -> Result<Edited, Vec<String>> {
    let Value::Object(members) = patch else {
        return Err(vec!["the patch is not a map; write for example {\"links\":{\"r1:eth5 r3:eth5\":{}}}".to_owned()]);
    };
    let mut change = Change::new(there);
    let none = Map::new();
    for (member, value) in members {
        match (member.as_str(), value) {
            ("nodes" | "links", Value::Object(_)) => {}
            ("nodes" | "links", _) => change.wrong.push(format!("`{member}` is a map: name each that changes")),
            ("name" | "generation" | "prefix" | "source", _) => {
                change.wrong.push(format!("`{member}` cannot be changed while the lab is there"));
            }
            _ => change.wrong.push(format!("a lab has no `{member}`; it has `nodes` and `links`")),
        }
    }
    let of = |member: &str| members.get(member).and_then(Value::as_object).unwrap_or(&none);
    for (name, value) in of("nodes") {
        change.node(name, value);
    }
    change.links(of("links"));
    change.finish()
}

struct Change<'a> {
    there: &'a Wish,
    parts: LabParts,
    links: BTreeMap<LinkId, Link>,
    wish: Wish,
    nodes_named: BTreeSet<NodeName>,
    links_named: BTreeSet<LinkId>,
    wrong: Vec<String>,
}

impl<'a> Change<'a> {
    fn new(there: &'a Wish) -> Self {
        let mut parts = (*there.lab).clone().into_parts();
        let links = std::mem::take(&mut parts.links).into_iter().map(|link| (link.id(), link)).collect();
        let (nodes_named, links_named, wrong) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        Self { there, parts, links, wish: there.clone(), nodes_named, links_named, wrong }
    }

    fn node(&mut self, name: &str, patch: &Value) {
        let at = format!("node `{name}`");
        let name: NodeName = match name.parse() {
            Ok(name) => name,
            Err(invalid) => return self.wrong.push(invalid.to_string()),
        };
        let before = self.parts.nodes.remove(&name);
        self.nodes_named.insert(name.clone());
        if patch.is_null() {
            if before.is_some() {
                self.wish.stopped.remove(&name);
                self.wish.restarts.remove(&name);
                mark(&mut self.wish.live.nodes, name, LiveMark::removed);
            }
            return;
        }
        let target = match &before {
            Some(node) => serde_json::to_value(NodeEntry::of(&name, node, self.there)).expect("a map of plain values"),
            None => serde_json::json!({ "hostname": name }),
        };
        if before.is_none() && patch.get("kind").is_none() {
            let why = format!("{at} is not in the lab; to add it, say what it is, at least its `kind`");
            return self.wrong.push(why);
        }
        let Some(entry) = self.read::<NodeEntry>(&at, merge(target, patch), patch) else { return };
        self.orders(&name, &entry, patch);
        let node = entry.node;
        if before.as_ref() != Some(&node) {
            let next = if before.is_some() { LiveMark::changed } else { LiveMark::added };
            mark(&mut self.wish.live.nodes, name.clone(), next);
        }
        self.parts.nodes.insert(name, node);
    }

    /// What a person asks of a node. That is beside the lab's file, as an end that is cut: no live edit.
    fn orders(&mut self, name: &NodeName, entry: &NodeEntry, patch: &Value) {
        let NodeEntry { node, state, restarts } = entry;
        let asks = |field| patch.get(field).is_some_and(|value: &Value| !value.is_null());
        if node.runtime.is_none() && (asks("state") || asks("restarts")) {
            let why = format!(
                "node `{name}` is of kind `{}`: nothing runs in it that could be stopped or started",
                node.kind
            );
            return self.wrong.push(why);
        }
        let before = self.there.restarts_of(name);
        if node.kind.shape() == Shape::External && (*state == Some(RunState::Stopped) || *restarts > before) {
            let why = format!("the container `{name}` is not netloom's to stop or restart; `docker stop {name}` does");
            return self.wrong.push(why);
        }
        // No more than one at a time: a counter at its end could ask for none any more.
        let next = before.saturating_add(1);
        if *restarts != before && *restarts != next {
            let why = format!("node `{name}`: `restarts` is {before}; to ask for a restart, make it {next}");
            return self.wrong.push(why);
        }
        if *restarts > 0 {
            self.wish.restarts.insert(name.clone(), *restarts);
        }
        if *state == Some(RunState::Stopped) {
            self.wish.stopped.insert(name.clone());
        } else {
            self.wish.stopped.remove(name);
        }
    }

    /// Reads a merged value of which only the patch can be wrong.
    fn read<T: DeserializeOwned>(&mut self, at: &str, merged: Value, patch: &Value) -> Option<T> {
        if !patch.is_object() {
            self.wrong.push(format!("{at}: write a map of its fields, or null to remove it"));
            return None;
        }
        let read = serde_json::from_value(merged);
        read.map_err(|error| self.wrong.push(format!("{at}: {error}"))).ok()
    }

    fn links(&mut self, patches: &Map<String, Value>) {
        // What is removed first gives its interfaces and addresses back.
        let mut keys = Vec::new();
        for (key, patch) in patches {
            match LinkKey::parse(key) {
                Err(why) => self.wrong.push(format!("link `{key}`: {why}")),
                Ok(LinkKey { id, .. }) if !self.links_named.insert(id.clone()) => {
                    self.wrong.push(format!("link `{key}` is in the patch twice"));
                }
                Ok(LinkKey { id, .. }) if patch.is_null() => {
                    if self.links.remove(&id).is_some() {
                        mark(&mut self.wish.live.links, id, LiveMark::removed);
                    }
                }
                Ok(parsed) => keys.push((key, parsed, patch)),
            }
        }
        let named: BTreeSet<&LinkId> = keys.iter().map(|(_, key, _)| &key.id).collect();
        let others = self.links.iter().filter(|(id, _)| !named.contains(id));
        let mut taken: BTreeSet<Mac> = others.flat_map(|(_, link)| link.ends().map(|end| end.mac)).collect();
        keys.sort_by(|(_, a, _), (_, b, _)| a.id.cmp(&b.id));
        for (key, parsed, patch) in keys {
            self.link(key, parsed, patch, &mut taken);
        }
    }

    fn link(&mut self, key: &str, parsed: LinkKey, patch: &Value, taken: &mut BTreeSet<Mac>) {
        let at = format!("link `{key}`");
        let LinkKey { labels, id } = parsed;
        let before = self.links.remove(&id);
        let labels = before.as_ref().map_or(labels, |link| link.ends().map(netloom_model::End::label).collect());
        let target = before.as_ref().map_or_else(
            || Value::Object(Map::new()),
            |link| {
                let entry = LinkEntry::of(link, &self.there.down);
                serde_json::to_value(entry).expect("an entry is a map of plain values")
            },
        );
        let Some(entry) = self.read::<LinkEntry>(&at, merge(target, patch), patch) else { return };
        for end in entry.ends.keys().filter(|end| !labels.contains(end)) {
            self.wrong.push(format!("{at} has no end `{end}`; it has {}", labels.join(" and ")));
        }
        let mut drafts = Vec::new();
        for label in &labels {
            match entry.end(label, &self.parts.nodes) {
                Ok(draft) => drafts.push(draft),
                Err(why) => self.wrong.push(format!("{at}: {why}")),
            }
        }
        let Some(link) = entry.link(drafts, &self.parts.name, taken) else { return };
        for (side, label) in [Side::A, Side::B].into_iter().zip(&labels) {
            let end = (link.id(), side);
            match entry.ends.get(label).map(|end| end.state) {
                Some(AdminState::Down) => self.wish.down.insert(end),
                Some(AdminState::Up) | None => self.wish.down.remove(&end),
            };
        }
        if before.as_ref() != Some(&link) {
            let next = if before.is_some() { LiveMark::changed } else { LiveMark::added };
            mark(&mut self.wish.live.links, link.id(), next);
        }
        self.links.insert(link.id(), link);
    }

    fn finish(mut self) -> Result<Edited, Vec<String>> {
        if !self.wrong.is_empty() {
            return Err(self.wrong);
        }
        let links = self.links;
        self.parts.links = links.values().cloned().collect();
        let lab = Lab::new(self.parts).map_err(|violations| {
            let removed =
                |node: &NodeName| self.nodes_named.contains(node) && self.there.lab.nodes().contains_key(node);
            violations.0.iter().map(|violation| explain(violation, &links, removed)).collect::<Vec<_>>()
        })?;
        let mut wish = self.wish;
        wish.down.retain(|(link, _)| links.contains_key(link));
        wish.bridges.extend(Wish::bridges_of(&lab));
        wish.lab = Arc::new(lab);
        wish.drop_orders_of_missing_nodes();
        if wish != *self.there {
            wish.generation += 1;
        }
        let (nodes, mut named) = (self.nodes_named, self.links_named);
        let of_named = |link: &Link| link.ends().filter_map(|end| end.at.node()).any(|node| nodes.contains(node));
        named.extend(links.into_iter().filter(|(_, link)| of_named(link)).map(|(id, _)| id));
        let image = |node: &NodeName| wish.lab.nodes().get(node).and_then(|node| node.image.clone());
        let images = nodes.iter().filter_map(image).collect();
        Ok(Edited { wish, scope: Scope::Some { nodes, links: named, images } })
    }
}

/// What is wrong, and what to do about it where an edit makes it likely.
fn explain(violation: &Violation, links: &BTreeMap<LinkId, Link>, removed: impl Fn(&NodeName) -> bool) -> String {
    match violation {
        Violation::UnknownNode { link, node } if removed(node) => {
            let key = links.get(link).map_or_else(|| link.to_string(), link_key);
            format!("node `{node}` cannot go while link `{key}` ends on it; remove the link in the same patch")
        }
        other => other.to_string(),
    }
}

fn mark<K: Ord>(marks: &mut BTreeMap<K, LiveMark>, key: K, next: impl FnOnce(Option<LiveMark>) -> Option<LiveMark>) {
    let before = marks.remove(&key);
    marks.extend(next(before).map(|mark| (key, mark)));
}

/// RFC 7396: members of the patch replace those of the target, maps are merged, `null` removes.
fn merge(target: Value, patch: &Value) -> Value {
    let Value::Object(members) = patch else { return patch.clone() };
    let mut merged = match target {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    for (key, value) in members {
        let before = merged.remove(key);
        if !value.is_null() {
            merged.insert(key.clone(), merge(before.unwrap_or_default(), value));
        }
    }
    Value::Object(merged)
}

#[cfg(test)]
mod tests {
    use netloom_plan::UnfetchedImage;

    use super::*;

    #[test]
    fn what_stands_in_the_way_of_other_things_stands_in_the_way_of_nothing_that_is_named() {
        let (one, two) = (LinkId::from_text("one"), LinkId::from_text("two"));
        let node = |name: &str| name.parse::<NodeName>().unwrap();
        let scope = Scope::Some { nodes: [node("r1")].into(), links: [one.clone()].into(), images: BTreeSet::new() };
        let gone = |link: &LinkId| Obstacle::ParentMissing { link: link.clone(), parent: "out0".parse().unwrap() };
        assert_eq!((scope.of(gone(&one)), scope.of(gone(&two))), (Some(gone(&one)), None));
        let image = |name: &str, nodes: &[&str]| UnfetchedImage {
            image: name.to_owned(),
            nodes: nodes.iter().map(|name| node(name)).collect(),
        };
        let missing = |images: Vec<UnfetchedImage>| Obstacle::ImagesMissing { images };
        let all = missing(vec![image("a", &["r1", "r2"]), image("b", &["r2"])]);
        assert_eq!(scope.of(all.clone()), Some(missing(vec![image("a", &["r1"])])));
        assert_eq!(scope.of(missing(vec![image("b", &["r2"])])), None);
        assert_eq!(Scope::Lab.of(all.clone()), Some(all));
    }
}
