//! Links: brief and extended, their ends, and that no two want the same interface or MAC address.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::diagnostic::{Code, Path, Span, cut};
use super::end::{Draft, draft};
use super::node::Nodes;
use super::reader::{At, Cx, Field, Merged, Read, Table, get, list};
use super::tree::{Data, Entry, Value};
use crate::lab::{End, Endpoint, Link, NodeKind, derived_mac};
use crate::name::{InterfaceName, Ipv4Net, Ipv6Net, LabName, Mac, Mtu, NodeName};

const BRIEF: Table = table(&["type", "endpoints", "mtu", "labels", "ipv4", "ipv6"]);
const VETH: Table = BRIEF;
const HOST: Table = table(&["type", "endpoint", "host-interface", "mtu", "labels", "ipv4", "ipv6"]);
const DUMMY: Table = table(&["type", "endpoint", "mtu", "labels", "ipv4", "ipv6"]);
const fn table(acted: &'static [&'static str]) -> Table {
    Table { what: "link", acted, later: &["vars"] }
}

/// Link types of the format that cannot be made yet.
const LATER: [&str; 5] = ["veth-stitch", "mgmt-net", "macvlan", "vxlan", "vxlan-stitch"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Brief,
    Veth,
    Host,
    Dummy,
}

impl Type {
    const NAMES: [(&'static str, Self); 4] =
        [("veth", Self::Veth), ("host", Self::Host), ("dummy", Self::Dummy), ("brief", Self::Brief)];

    fn table(self) -> &'static Table {
        match self {
            Self::Brief => &BRIEF,
            Self::Veth => &VETH,
            Self::Host => &HOST,
            Self::Dummy => &DUMMY,
        }
    }
}

struct DraftLink {
    a: Draft,
    b: Option<Draft>,
    mtu: Mtu,
    labels: BTreeMap<String, String>,
}

/// Reads links one after the other and keeps what they may not share.
pub(super) struct Links<'n> {
    pub(super) nodes: &'n Nodes,
    drafts: Vec<DraftLink>,
    /// By network namespace (a node's, or the host's) and name in the kernel.
    interfaces: HashMap<(Option<NodeName>, InterfaceName), Span>,
    pub(super) macs: HashMap<Mac, Span>,
}

impl<'n> Links<'n> {
    pub(super) fn new(nodes: &'n Nodes) -> Self {
        Self { nodes, drafts: Vec::new(), interfaces: HashMap::new(), macs: HashMap::new() }
    }

    /// Reads one link. What is wrong with it has been said when this returns.
    pub(super) fn read(&mut self, value: &Value, at: &Path<'_>, cx: &mut Cx<'_>) {
        let Data::Map(entries) = &value.data else {
            cx.wrong_type(value, at, "a map");
            return;
        };
        let Some(kind) = read_type(entries, at, cx) else { return };
        cx.fields(value, at, kind.table());
        let mtu = get(entries, "mtu").and_then(|value| Mtu::read(value, &at.key("mtu"), cx));
        let labels = get(entries, "labels").map(|value| Merged::<String>::read(value, &at.key("labels"), cx));
        let drafts = match kind {
            Type::Brief | Type::Veth => self.two_ends(kind, value, entries, at, cx),
            Type::Host => self.host_ends(value, entries, at, cx),
            Type::Dummy => self.one_end(kind, value, entries, at, cx).map(|draft| vec![draft]),
        };
        let expected = if kind == Type::Dummy { 1 } else { 2 };
        let v4 = read_list::<Ipv4Net>("ipv4", expected, entries, at, cx);
        let v6 = read_list::<Ipv6Net>("ipv6", expected, entries, at, cx);
        let Some(mut drafts) = drafts else { return };
        for (position, draft) in drafts.iter_mut().enumerate() {
            let given = (v4.get(position).copied().flatten(), v6.get(position).copied().flatten());
            let (endpoints, endpoint, host) = (at.key("endpoints"), at.key("endpoint"), at.key("host-interface"));
            let at_end = match (kind, position) {
                (Type::Brief | Type::Veth, _) => endpoints.index(position),
                (Type::Host | Type::Dummy, 0) => endpoint,
                (Type::Host | Type::Dummy, _) => host,
            };
            merge_address(&mut draft.ipv4, given.0, "ipv4", at, cx);
            merge_address(&mut draft.ipv6, given.1, "ipv6", at, cx);
            drop_bridge_address(draft, &at_end, cx);
            self.claim(draft, &at_end, cx);
        }
        let mut drafts = drafts.into_iter();
        if let Some(a) = drafts.next() {
            let labels = labels.map(|labels| labels.values()).unwrap_or_default();
            self.drafts.push(DraftLink { a, b: drafts.next(), mtu: mtu.unwrap_or(Mtu::DEFAULT), labels });
        }
    }

    fn two_ends(
        &mut self,
        kind: Type,
        link: &Value,
        entries: &[Entry],
        at: &Path<'_>,
        cx: &mut Cx<'_>,
    ) -> Option<Vec<Draft>> {
        const HELP: &str = "write for example `endpoints: [\"r1:eth1\", \"r2:eth1\"]`";
        let at = at.key("endpoints");
        let Some(value) = get(entries, "endpoints") else {
            cx.report.error(Code::Missing, link.span, &at, "this link has no `endpoints`").help(HELP);
            return None;
        };
        let ends = cx.list(value, &at)?;
        if ends.len() != 2 {
            let count = match ends.len() {
                0 => "none".to_owned(),
                n => n.to_string(),
            };
            cx.report
                .error(Code::EndpointCount, value.span, &at, format!("a link has two endpoints, and here is {count}"))
                .help(HELP);
        }
        // All ends are read, also of a link that has too many: each mistake is said.
        let drafts: Vec<Option<Draft>> = ends
            .iter()
            .enumerate()
            .map(|(index, end)| match kind {
                Type::Brief => self.brief_end(end, &at.index(index), cx),
                Type::Veth | Type::Host | Type::Dummy => self.extended_end(end, &at.index(index), cx),
            })
            .collect();
        if ends.len() == 2 { drafts.into_iter().collect() } else { None }
    }

    fn host_ends(&mut self, link: &Value, entries: &[Entry], at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Vec<Draft>> {
        let host = match get(entries, "host-interface") {
            None | Some(Value { data: Data::Null, .. }) => {
                cx.report
                    .error(Code::Missing, link.span, at, "this link has no `host-interface`")
                    .help("add the name that its interface gets on the host, such as `host-interface: r1-up`");
                None
            }
            Some(value) => {
                let at = at.key("host-interface");
                cx.text(value, &at).and_then(|text| draft(Endpoint::Host, text, value.span, &at, cx))
            }
        };
        let end = self.one_end(Type::Host, link, entries, at, cx);
        Some(vec![end?, host?])
    }

    fn one_end(
        &mut self,
        kind: Type,
        link: &Value,
        entries: &[Entry],
        at: &Path<'_>,
        cx: &mut Cx<'_>,
    ) -> Option<Draft> {
        let at = at.key("endpoint");
        match get(entries, "endpoint") {
            None | Some(Value { data: Data::Null, .. }) => {
                cx.report
                    .error(Code::Missing, link.span, &at, "this link has no `endpoint`")
                    .help("write for example `endpoint: { node: r1, interface: eth1 }`");
                None
            }
            Some(value) => {
                let draft = self.extended_end(value, &at, cx)?;
                if kind == Type::Dummy && !matches!(draft.at, Endpoint::Node(_)) {
                    let message = "a `dummy` is made in a node that runs";
                    cx.report.error(Code::InvalidValue, value.span, &at, message);
                    return None;
                }
                Some(draft)
            }
        }
    }

    /// Says if another end has this interface.
    fn claim(&mut self, draft: &Draft, at: &Path<'_>, cx: &mut Cx<'_>) {
        let owner = match &draft.at {
            Endpoint::Node(node) => Some(node.clone()),
            // The ports of bridges live in the host's namespace and share its names.
            Endpoint::Host | Endpoint::Bridge(_) | Endpoint::Remote(_) => None,
        };
        let whose = owner.as_ref().map_or_else(|| "the host".to_owned(), |node| format!("node `{node}`"));
        let interface = draft.interface.kernel().clone();
        let bridge = owner.is_none() && {
            let facts = self.nodes.facts.get(interface.as_str());
            facts.is_some_and(|facts| facts.kind == Some(NodeKind::Bridge))
        };
        if bridge {
            let message = format!("`{interface}` is a bridge of this lab, so no link can have that name on the host");
            cx.report.error(Code::DuplicateInterface, draft.span, at, message);
        }
        if let Some(first) = self.interfaces.get(&(owner.clone(), interface.clone())) {
            let message = format!("interface `{}` of {whose} has a link already", draft.interface);
            cx.report
                .error(Code::DuplicateInterface, draft.span, at, message)
                .label("the second link")
                .note(*first, "the first link");
            return;
        }
        self.interfaces.insert((owner, interface), draft.span);
    }

    /// The links with all MAC addresses. Only of a file without errors.
    pub(super) fn finish(self, lab: &LabName) -> Vec<Link> {
        let mut taken: BTreeSet<Mac> = self.macs.keys().copied().collect();
        // By name, not by position, so that moving a link within the file does not change addresses.
        let mut labels: Vec<String> = self
            .drafts
            .iter()
            .flat_map(|link| std::iter::once(&link.a).chain(&link.b))
            .filter(|end| end.mac.is_none())
            .map(Draft::label)
            .collect();
        labels.sort_unstable();
        let derived: HashMap<String, Mac> = labels
            .into_iter()
            .map(|label| {
                let mut attempts = (0..u32::MAX).map(|attempt| derived_mac(lab, &label, attempt));
                // 2^24 addresses for fewer than a million ends.
                let mac = attempts.find(|mac| taken.insert(*mac)).expect("a free one is found long before");
                (label, mac)
            })
            .collect();
        let finish = |draft: Draft| {
            let mac = draft.mac.unwrap_or_else(|| derived[&draft.label()]);
            let Draft { at, interface, ipv4, ipv6, .. } = draft;
            End { at, interface, mac, ipv4, ipv6 }
        };
        let links = self.drafts.into_iter();
        links.map(|DraftLink { a, b, mtu, labels }| Link { a: finish(a), b: b.map(finish), mtu, labels }).collect()
    }
}

/// The link's type; brief when it has none.
fn read_type(entries: &[Entry], at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Type> {
    let Some(value) = get(entries, "type").filter(|value| !matches!(value.data, Data::Null)) else {
        return Some(Type::Brief);
    };
    let at = at.key("type");
    let text = cx.text(value, &at)?;
    let name = text.to_ascii_lowercase();
    if let Some((_, found)) = Type::NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*found);
    }
    let possible = Type::NAMES.map(|(name, _)| name);
    let help = format!("possible: {}", list(&possible[..3]));
    if LATER.contains(&name.as_str()) {
        cx.report
            .error(Code::Unsupported, value.span, &at, format!("links of type `{name}` are not supported yet"))
            .help(help);
    } else {
        let nearest = cx.report.nearest(&name, possible.into_iter().chain(LATER));
        cx.report
            .error(Code::UnknownLinkType, value.span, &at, format!("there is no link type `{}`", cut(text)))
            .help(help)
            .suggest(nearest);
    }
    None
}

/// A port of a bridge has no addresses.
fn drop_bridge_address(draft: &mut Draft, at: &Path<'_>, cx: &mut Cx<'_>) {
    if matches!(draft.at, Endpoint::Bridge(_)) && (draft.ipv4.take().is_some() | draft.ipv6.take().is_some()) {
        let message = "an address at a bridge's end has no effect: ports of bridges have none";
        cx.report.warning(Code::NoEffect, draft.span, at, message);
    }
}

/// An address of the link's list, unless the end has its own.
fn merge_address<T: PartialEq + Copy>(
    own: &mut Option<T>,
    listed: Option<At<T>>,
    field: &str,
    at: &Path<'_>,
    cx: &mut Cx<'_>,
) {
    let Some(listed) = listed else { return };
    if own.is_some_and(|own| own != listed.value) {
        let message = format!("this end has an `{field}` of its own, and it is another one");
        cx.report
            .error(Code::InvalidValue, listed.span, &at.key(field), message)
            .help("write the address at one of the two places");
    }
    *own = Some(listed.value);
}

/// A link's list of addresses: one per end, `""` for an end without.
fn read_list<T: Read>(
    field: &'static str,
    expected: usize,
    entries: &[Entry],
    at: &Path<'_>,
    cx: &mut Cx<'_>,
) -> Vec<Option<At<T>>> {
    let at = at.key(field);
    let Some(value) = get(entries, field) else { return Vec::new() };
    let Some(items) = cx.list(value, &at) else { return Vec::new() };
    if items.len() > expected {
        let message = format!("here are {} addresses, and the link has {expected} ends", items.len());
        cx.report
            .error(Code::InvalidValue, value.span, &at, message)
            .help("one address per end, in their order; `\"\"` for an end without");
    }
    let read = |(index, item): (usize, &std::rc::Rc<Value>)| match &item.data {
        Data::Text(text) if text.is_empty() => None,
        Data::Null => None,
        _ => T::read(item, &at.index(index), cx).map(|value| At { value, span: item.span }),
    };
    items.iter().enumerate().map(read).collect()
}
