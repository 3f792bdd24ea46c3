//! Links: brief and extended, their ends, and that no two want the same interface or MAC address.

use std::collections::{HashMap, hash_map};

use super::diagnostic::{Code, Path, Span};
use super::end::{Draft, draft, vars};
use super::facts::NodeIndex;
use super::link_type::{self, Type};
use super::mac;
use super::management::is_zero;
use super::node::Nodes;
use super::reader::{At, Cx, Field, Merged, Read, get};
use super::tree::{Data, Entry, Value};
use crate::kind::Shape;
use crate::lab::{Endpoint, Link, LinkKind, Macvlan, MacvlanMode};
use crate::name::{InterfaceName, Ipv4Net, Ipv6Net, LabName, Mac, Mtu};

/// How the ends of links are written, for messages.
const BRIEF: &str = "write for example `endpoints: [\"r1:eth1\", \"r2:eth1\"]`";
const EXTENDED: &str = "write for example `endpoints: [{ node: r1, interface: eth1 }, { node: r2, interface: eth1 }]`";

/// A link as it stands in the file.
#[derive(Clone, Copy)]
struct Raw<'v> {
    kind: Type,
    value: &'v Value<'v>,
    entries: &'v [Entry<'v>],
}

/// The ends of a link, each with its place in lists of addresses, and what is between them.
struct Ends {
    near: (usize, Draft),
    far: Option<(usize, Draft)>,
    kind: LinkKind,
    /// The place of an end in brief form that is at no node.
    special: Option<(usize, Span)>,
}

/// What has an interface.
#[derive(Clone, Copy)]
struct Claim {
    /// The place of the end.
    span: Span,
    /// The number of its link.
    link: usize,
}

/// An end whose interface another one has.
struct Clash<'d> {
    position: usize,
    draft: &'d Draft,
    first: Claim,
}

/// Links that room is made for before they are read.
const MAX_EXPECTED: usize = 50_000;

impl Clash<'_> {
    fn say(&self, at: &Path<'_>, cx: &mut Cx<'_>) {
        let Self { draft, first, .. } = self;
        let whose = draft.namespace().map_or_else(|| "the host".to_owned(), |node| format!("node `{node}`"));
        let message = format!("interface `{}` of {whose} has a link already", draft.interface);
        let diagnostic = cx
            .report
            .error(Code::DuplicateInterface, draft.span, at, message)
            .label("the second link")
            .note(first.span, "the first link");
        if let (Endpoint::Bridge(bridge), None) = (&draft.at, draft.namespace()) {
            let help = "the ports of bridges stand on the host; write for example";
            diagnostic.help(format!("{help} `{bridge}:{bridge}-p2`"));
        }
    }
}

/// Reads links one after the other and keeps what they may not share.
pub(super) struct Links<'n> {
    pub(super) nodes: &'n Nodes,
    /// Ends that name no MAC address have [`mac::NONE`] until all are known that are named.
    made: Vec<Link>,
    /// By network namespace (a node's, or the host's) and name in the kernel: which of the claims it is.
    interfaces: HashMap<(Option<NodeIndex>, InterfaceName), u32>,
    /// Those that have them.
    claims: Vec<Claim>,
    pub(super) macs: HashMap<Mac, Span>,
}

impl<'n> Links<'n> {
    /// `expected` is how many links there will be; a lab with more takes room as they come.
    pub(super) fn new(nodes: &'n Nodes, expected: usize) -> Self {
        let expected = expected.min(MAX_EXPECTED);
        let interfaces = HashMap::with_capacity(2 * expected);
        Self {
            nodes,
            made: Vec::with_capacity(expected),
            interfaces,
            claims: Vec::with_capacity(2 * expected),
            macs: HashMap::new(),
        }
    }

    /// Reads one link. What is wrong with it has been said when this returns.
    pub(super) fn read(&mut self, value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) {
        let entries = match &value.data {
            Data::Map(entries) => entries,
            Data::Null => {
                cx.report
                    .error(Code::WrongType, value.span, at, "this link is empty")
                    .help("remove it, or write something behind the `-`");
                return;
            }
            Data::Broken => return,
            Data::Text(_) | Data::List(_) => {
                let message = format!("a link is a map, and this is {}", value.describe());
                cx.report.error(Code::WrongType, value.span, at, message).help(BRIEF);
                return;
            }
        };
        let Some(kind) = Type::read(entries, at, cx) else { return };
        let raw = Raw { kind, value, entries };
        cx.fields(value, at, kind.table());
        let mtu =
            get(entries, "mtu").filter(|value| !is_zero(value)).and_then(|value| Mtu::read(value, &at.key("mtu"), cx));
        let labels = get(entries, "labels").map(|value| Merged::<String>::read(value, &at.key("labels"), cx));
        let vars = vars(entries, at, cx);
        let ends = self.ends(raw, at, cx);
        let v4 = read_list::<Ipv4Net>("ipv4", kind.addresses(), entries, at, cx);
        let v6 = read_list::<Ipv6Net>("ipv6", kind.addresses(), entries, at, cx);
        let Some(Ends { mut near, mut far, kind: made_of, special }) = ends else { return };
        // Whether there is a management network is known where the lab is made.
        if let Some(needs) = made_of.needs().filter(|_| made_of != LinkKind::ManagementNet) {
            let at_type = at.key("type");
            let (span, at) = get(entries, "type")
                .map_or((special.map_or(near.1.span, |(_, span)| span), at), |value| (value.span, &at_type));
            let names: Vec<String> = std::iter::once(&near).chain(&far).map(|(_, draft)| draft.label()).collect();
            let message = format!("link `{}` needs {needs}", names.join(" "));
            cx.report.warning(Code::Unsupported, span, at, message).label("this link is left out");
        }
        if let (LinkKind::Macvlan(_), Some((position, span))) = (&made_of, special)
            && (v4.get(position).is_some_and(Option::is_some) || v6.get(position).is_some_and(Option::is_some))
        {
            let message = "an address at the parent of a macvlan has no effect: it is the host's";
            cx.report.warning(Code::NoEffect, span, &at.key("endpoints").index(position), message);
        }
        let (endpoints, endpoint, host) = (at.key("endpoints"), at.key("endpoint"), at.key("host-interface"));
        let at_end = |position: usize| match (kind, position) {
            (Type::Brief | Type::Veth | Type::VethStitch, _) => endpoints.index(position),
            (_, 0) => endpoint,
            (_, _) => host,
        };
        for (position, draft) in std::iter::once(&mut near).chain(&mut far) {
            let given = (v4.get(*position).copied().flatten(), v6.get(*position).copied().flatten());
            merge_address(&mut draft.ipv4, given.0, "ipv4", at, cx);
            merge_address(&mut draft.ipv6, given.1, "ipv6", at, cx);
            drop_bridge_address(draft, &at_end(*position), cx);
        }
        self.check_vlans(&near.1, far.as_ref().map(|(_, far)| far), &vars, at, cx);
        let mut clashes = Vec::new();
        for (position, draft) in std::iter::once(&near).chain(&far) {
            self.check_bridges(draft, &at_end(*position), cx);
            let first = self.claim(draft);
            clashes.extend(first.map(|first| Clash { position: *position, draft, first }));
        }
        match clashes.as_slice() {
            [a, b] if a.first.link == b.first.link => {
                let span = get(entries, "endpoints").map_or(a.draft.span, |ends| ends.span);
                let first = if a.first.span.start < b.first.span.start { a.first } else { b.first };
                let message = format!("the link `{} {}` is there already", a.draft.label(), b.draft.label());
                cx.report
                    .error(Code::DuplicateInterface, span, at, message)
                    .label("the second one")
                    .note(first.span, "the first one")
                    .help("remove one of the two, or use other interfaces for a second link");
            }
            _ => clashes.iter().for_each(|clash| clash.say(&at_end(clash.position), cx)),
        }
        let (a, b) = (near.1.end(), far.map(|(_, draft)| draft.end()));
        let labels = labels.map(|labels| labels.values()).unwrap_or_default();
        self.made.push(Link { a, b, mtu: mtu.unwrap_or(Mtu::DEFAULT), labels, kind: made_of, vars });
    }

    fn ends(&mut self, raw: Raw<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Ends> {
        let fields = (raw.value, raw.entries);
        match raw.kind {
            Type::Brief | Type::Veth => self.two_ends(raw, at, cx),
            Type::VethStitch => self.two_ends(raw, at, cx).map(|ends| Ends { kind: LinkKind::VethStitch, ..ends }),
            Type::Host => self.host_ends(raw, LinkKind::Plain, at, cx),
            Type::ManagementNet => self.host_ends(raw, LinkKind::ManagementNet, at, cx),
            Type::Dummy => self.one_end(raw, at, cx).map(|draft| Ends {
                near: (0, draft),
                far: None,
                kind: LinkKind::Plain,
                special: None,
            }),
            Type::Macvlan => {
                let macvlan = link_type::macvlan(fields, at, cx);
                let draft = self.one_end(raw, at, cx)?;
                Some(Ends { near: (0, draft), far: None, kind: LinkKind::Macvlan(macvlan?), special: None })
            }
            Type::Vxlan | Type::VxlanStitch => {
                let vxlan = link_type::vxlan(fields, at, cx);
                let draft = self.one_end(raw, at, cx)?;
                let kind = if raw.kind == Type::Vxlan { LinkKind::Vxlan } else { LinkKind::VxlanStitch };
                Some(Ends { near: (0, draft), far: None, kind: kind(vxlan?), special: None })
            }
        }
    }

    fn two_ends(&mut self, raw: Raw<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Ends> {
        let at = at.key("endpoints");
        let help = if raw.kind == Type::Brief { BRIEF } else { EXTENDED };
        let Some(value) = get(raw.entries, "endpoints") else {
            if !cx.is_misspelt(raw.value, "endpoints") {
                cx.report.error(Code::Missing, raw.value.span, &at, "this link has no `endpoints`").help(help);
            }
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
                .help(help);
        }
        // All ends are read, also of a link that has too many: each mistake is said.
        let mut found = [None, None];
        for (index, end) in ends.iter().enumerate() {
            let at = at.index(index);
            let read = if raw.kind == Type::Brief {
                self.brief_or_special(end, &at, cx)
            } else {
                self.extended_end(end, &at, cx).map(Found::End)
            };
            if let Some(place) = found.get_mut(index) {
                *place = read;
            }
        }
        let [Some(first), Some(second)] = found else { return None };
        if ends.len() != 2 {
            return None;
        }
        match (first, second) {
            (Found::End(a), Found::End(b)) => {
                Some(Ends { near: (0, a), far: Some((1, b)), kind: LinkKind::Plain, special: None })
            }
            (Found::Management(a), Found::End(b)) => Some(management(0, a, b)),
            (Found::End(a), Found::Management(b)) => Some(management(1, a, b)),
            (Found::Macvlan(parent), Found::End(end)) => Some(macvlan(0, parent, end)),
            (Found::End(end), Found::Macvlan(parent)) => Some(macvlan(1, parent, end)),
            (Found::Management(_) | Found::Macvlan(_), Found::Management(_) | Found::Macvlan(_)) => {
                let message = "one end of a link has to be at a node";
                cx.report.error(Code::InvalidValue, value.span, &at, message).help(help);
                None
            }
        }
    }

    /// `node:interface`, or one of the names that stand for something else.
    fn brief_or_special(&mut self, value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Found> {
        let special = match &value.data {
            Data::Text(text) => text
                .split_once(':')
                .filter(|(node, interface)| ["mgmt-net", "macvlan"].contains(node) && !interface.is_empty()),
            _ => None,
        };
        match special {
            Some(("macvlan", parent)) => {
                let parent = link_type::brief_parent(At { value: parent, span: value.span }, at, cx);
                parent.map(|parent| Found::Macvlan(At { value: parent, span: value.span }))
            }
            Some((_, interface)) => draft(Endpoint::Host, interface, value.span, at, cx).map(Found::Management),
            None => self.brief_end(value, at, cx).map(Found::End),
        }
    }

    fn host_ends(&mut self, raw: Raw<'_>, kind: LinkKind, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Ends> {
        let host = match get(raw.entries, "host-interface") {
            None | Some(Value { data: Data::Null, .. }) => {
                cx.report
                    .error(Code::Missing, raw.value.span, at, "this link has no `host-interface`")
                    .help("add the name that its interface gets on the host, such as `host-interface: r1-up`");
                None
            }
            Some(value) => {
                let at = at.key("host-interface");
                cx.text(value, &at).and_then(|text| draft(Endpoint::Host, text, value.span, &at, cx))
            }
        };
        let end = self.one_end(raw, at, cx);
        Some(Ends { near: (0, end?), far: Some((1, host?)), kind, special: None })
    }

    fn one_end(&mut self, raw: Raw<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Draft> {
        let at = at.key("endpoint");
        match get(raw.entries, "endpoint") {
            None if cx.is_misspelt(raw.value, "endpoint") => None,
            None | Some(Value { data: Data::Null, .. }) => {
                cx.report
                    .error(Code::Missing, raw.value.span, &at, "this link has no `endpoint`")
                    .help("write for example `endpoint: { node: r1, interface: eth1 }`");
                None
            }
            Some(value) => {
                let draft = self.extended_end(value, &at, cx)?;
                let name = raw.kind.name();
                let fits = match raw.kind {
                    Type::Dummy => matches!(draft.at, Endpoint::Node(_)),
                    // Its interface may be a port of a bridge.
                    Type::Macvlan | Type::Vxlan | Type::VxlanStitch => !matches!(draft.at, Endpoint::Host),
                    _ => true,
                };
                if !fits {
                    let message = format!("a `{name}` is made in a node that runs");
                    cx.report.error(Code::InvalidValue, value.span, &at, message);
                    return None;
                }
                Some(draft)
            }
        }
    }

    /// Says if an interface on the host has the name of a bridge.
    fn check_bridges(&self, draft: &Draft, at: &Path<'_>, cx: &mut Cx<'_>) {
        let interface = draft.interface.kernel();
        if draft.owner.is_none()
            && let Some(bridge) = self.nodes.facts.get(interface.as_str())
            && bridge.shape == Some(Shape::Bridge)
            && bridge.name.as_ref().is_none_or(|name| name.inner_bridge().is_none())
        {
            let message = format!("`{interface}` is a bridge of this lab, so no link can have that name on the host");
            cx.report
                .error(Code::DuplicateInterface, draft.span, at, message)
                .note(bridge.key, "the bridge is defined here");
        }
    }

    /// Says if an interface in a node has the name of a bridge in it. Once all links were read.
    pub(super) fn check_inner_bridges(&self, at: &Path<'_>, cx: &mut Cx<'_>) {
        let facts = &self.nodes.facts;
        for bridge in facts.iter().filter(|facts| facts.shape == Some(Shape::Bridge)) {
            let Some((name, (interface, _))) = bridge.name.as_ref().and_then(|name| Some((name, name.inner_bridge()?)))
            else {
                continue;
            };
            let home = facts.find(name.as_str()).and_then(|index| facts.home(index));
            let Some(claim) = home.zip(interface.parse::<InterfaceName>().ok()).and_then(|(home, interface)| {
                self.interfaces.get(&(Some(home), interface)).map(|claim| self.claims[*claim as usize])
            }) else {
                continue;
            };
            let message =
                format!("`{interface}` in this node is the bridge `{name}`, so no link can have that name there");
            cx.report
                .error(Code::DuplicateInterface, claim.span, &at.index(claim.link), message)
                .note(bridge.key, "the bridge is defined here");
        }
    }

    /// Takes the interface of an end, unless another end has it.
    fn claim(&mut self, draft: &Draft) -> Option<Claim> {
        match self.interfaces.entry((draft.owner, draft.interface.kernel().clone())) {
            hash_map::Entry::Occupied(first) => Some(self.claims[*first.get() as usize]),
            hash_map::Entry::Vacant(free) => {
                free.insert(u32::try_from(self.claims.len()).expect("a file has fewer ends than bytes"));
                self.claims.push(Claim { span: draft.span, link: self.made.len() });
                None
            }
        }
    }

    /// The links with all MAC addresses. Only of a file without errors.
    pub(super) fn finish(self, lab: &LabName) -> Vec<Link> {
        let mut links = self.made;
        mac::derive(lab, &mut links, self.macs.keys().copied());
        links
    }
}

/// An end in brief form.
enum Found {
    End(Draft),
    /// The end of the host of a link to the management network.
    Management(Draft),
    /// The interface of the host that a macvlan hangs on.
    Macvlan(At<InterfaceName>),
}

/// A link to the management network, the host's end at this position.
fn management(special: usize, a: Draft, b: Draft) -> Ends {
    let span = if special == 0 { a.span } else { b.span };
    Ends { near: (0, a), far: Some((1, b)), kind: LinkKind::ManagementNet, special: Some((special, span)) }
}

/// A macvlan, its parent at this position.
fn macvlan(special: usize, parent: At<InterfaceName>, end: Draft) -> Ends {
    let At { value: parent, span } = parent;
    let kind = LinkKind::Macvlan(Macvlan { parent, mode: MacvlanMode::default() });
    Ends { near: (1 - special, end), far: None, kind, special: Some((special, span)) }
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
    entries: &[Entry<'_>],
    at: &Path<'_>,
    cx: &mut Cx<'_>,
) -> Vec<Option<At<T>>> {
    let at = at.key(field);
    let Some(value) = get(entries, field) else { return Vec::new() };
    let Some(items) = cx.list(value, &at) else { return Vec::new() };
    let empty = |item: &Value<'_>| match &item.data {
        Data::Text(text) => text.is_empty(),
        Data::Null => true,
        _ => false,
    };
    let given = items.len() - items.iter().rev().take_while(|item| empty(item)).count();
    if given > expected || items.len() > 2 {
        let message = format!("here are {} addresses, and the link takes {expected}", items.len());
        cx.report
            .error(Code::InvalidValue, value.span, &at, message)
            .help("one address per end, in their order; `\"\"` for an end without");
    }
    let read = |(index, item): (usize, &Value<'_>)| match &item.data {
        Data::Text("") | Data::Null => None,
        _ => T::read(item, &at.index(index), cx).map(|value| At { value, span: item.span }),
    };
    items.iter().enumerate().map(read).collect()
}
