//! Ends of links: `node:interface`, or a map with addresses.

use super::diagnostic::{Code, Path, Span, cut};
use super::facts::{Facts, NodeIndex};
use super::link::Links;
use super::mac;
use super::reader::{At, Cx, Field, Merged, Read, Table, get};
use super::tree::{Data, Entry, Value};
use super::value::number::whole;
use super::value::vars::Var;
use super::vlan;
use crate::check::RESERVED_INTERFACES;
use crate::interface::Interface;
use crate::kind::Shape;
use crate::lab::{End, Endpoint, RuntimeKind, Vars};
use crate::name::{Invalid, Ipv4Net, Ipv6Net, Mac, Mtu, NodeName};

pub(super) const END: Table =
    Table { what: "endpoint", acted: &["node", "interface", "mac", "ipv4", "ipv6", "vars"], later: &[] };

/// An end that is right by itself; its MAC address comes when all given ones are known.
pub(super) struct Draft {
    pub(super) at: Endpoint,
    pub(super) interface: Interface,
    pub(super) mac: Option<Mac>,
    pub(super) ipv4: Option<Ipv4Net>,
    pub(super) ipv6: Option<Ipv6Net>,
    pub(super) vars: Vars,
    pub(super) span: Span,
    /// The node in whose network namespace the interface is, which has one of its name; nothing for the host's.
    pub(super) owner: Option<NodeIndex>,
}

impl Draft {
    pub(super) fn label(&self) -> String {
        let node = self.at.node().map_or("host", NodeName::as_str);
        [node, ":", self.interface.display()].concat()
    }

    /// The node by which the network namespace of the interface is known; nothing for the host's. Ports of a bridge on
    /// the host share its names.
    pub(super) fn namespace(&self) -> Option<&NodeName> {
        match &self.at {
            Endpoint::Node(node) => Some(node),
            Endpoint::Bridge(bridge) => bridge.inner_bridge().map(|_| bridge),
            Endpoint::Host | Endpoint::Remote(_) => None,
        }
    }

    /// As an end of a link, with a MAC address or [`mac::NONE`].
    pub(super) fn end(self) -> End {
        let Self { at, interface, mac, ipv4, ipv6, vars, .. } = self;
        End { ipv4, ipv6, vars, ..End::new(at, interface, mac.unwrap_or(mac::NONE)) }
    }
}

/// What an end is at, and what is known of the node that it names.
struct Place<'n> {
    endpoint: Endpoint,
    node: Option<(NodeIndex, &'n Facts)>,
    /// The node in whose network namespace it is; nothing for the host's.
    home: Option<NodeIndex>,
}

impl<'n> Links<'n> {
    /// `node:interface`, split at the first colon.
    pub(super) fn brief_end(&mut self, value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Draft> {
        const HELP: &str = "write `node:interface`, for example `r1:eth1`";
        if let Data::Map(entries) = &value.data {
            let help = match *entries {
                // `r1: eth1` is a map in YAML.
                [Entry { key, value, .. }] if let Data::Text(interface) = &value.data => {
                    format!("write `\"{}:{}\"`, without a space behind the colon", cut(key), cut(interface))
                }
                _ => "add `type: veth` to the link to use this form".to_owned(),
            };
            cx.report
                .error(Code::WrongType, value.span, at, "an endpoint of a brief link is a text, and this is a map")
                .help(help);
            return None;
        }
        let Data::Text(text) = &value.data else {
            cx.wrong_type(value, at, "a text");
            return None;
        };
        let Some((node, interface)) = text.split_once(':') else {
            cx.report
                .error(Code::EndpointSyntax, value.span, at, format!("endpoint `{}` has no interface", cut(text)))
                .help(HELP);
            return None;
        };
        let (node, interface) = match (node.trim(), interface.trim()) {
            (trimmed, of) if (trimmed, of) != (node, interface) && !trimmed.is_empty() && !of.is_empty() => {
                let message = format!("endpoint `{}` has spaces beside its names", cut(text));
                cx.report.warning(Code::EndpointSyntax, value.span, at, message).help(format!(
                    "they are passed over; write `{}:{}`",
                    cut(trimmed),
                    cut(of)
                ));
                (trimmed, of)
            }
            names => names,
        };
        if node.is_empty() || interface.is_empty() {
            let what = if node.is_empty() { "node" } else { "interface" };
            cx.report
                .error(Code::EndpointSyntax, value.span, at, format!("endpoint `{}` has no {what}", cut(text)))
                .help(HELP);
            return None;
        }
        let place = self.endpoint(node, value.span, at, cx)?;
        place.finish(interface, value.span, at, cx)
    }

    /// `{ node, interface, mac, ipv4, ipv6 }`.
    pub(super) fn extended_end(&mut self, value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Draft> {
        const HELP: &str = "write for example `{ node: r1, interface: eth1 }`";
        if let Data::Text(_) | Data::Null = value.data {
            let message = format!("an endpoint of an extended link is a map, and this is {}", value.describe());
            let diagnostic = cx.report.error(Code::WrongType, value.span, at, message);
            match &value.data {
                Data::Text(text) if text.contains(':') => {
                    let (node, interface) = text.split_once(':').unwrap_or_default();
                    diagnostic.help(format!("write `{{ node: {}, interface: {} }}`", cut(node), cut(interface)))
                }
                _ => diagnostic.help(HELP),
            };
            return None;
        }
        let entries = cx.fields(value, at, &END)?;
        let mac = read_field::<Mac>(entries, "mac", at, cx);
        let ipv4 = read_field::<Ipv4Net>(entries, "ipv4", at, cx);
        let ipv6 = read_field::<Ipv6Net>(entries, "ipv6", at, cx);
        let mut required = |key: &'static str| {
            let found = get(entries, key).filter(|value| !matches!(value.data, Data::Null));
            if found.is_none() {
                let message = format!("this endpoint has no `{key}`");
                cx.report.error(Code::Missing, value.span, at, message).help(HELP);
            }
            found.and_then(|value| Some((value, cx.text(value, &at.key(key))?)))
        };
        let (node, interface) = (required("node"), required("interface"));
        let place = node.and_then(|(value, text)| self.endpoint(text, value.span, &at.key("node"), cx));
        let (at_interface, (value, text)) = (at.key("interface"), interface?);
        let mut draft = place?.finish(text, value.span, &at_interface, cx)?;
        if let Some(At { value: mac, span }) = mac {
            if let Some(first) = self.macs.insert(mac, span) {
                cx.report
                    .error(Code::DuplicateMac, span, &at.key("mac"), format!("MAC address {mac} is used twice"))
                    .note(first, "first used here");
            }
            draft.mac = Some(mac);
        }
        draft.ipv4 = ipv4.map(|found| found.value);
        draft.ipv6 = ipv6.map(|found| found.value);
        draft.vars = vars(entries, at, cx);
        if self.is_switch(&draft.at) {
            vlan::check(&draft.vars, entries, at, cx);
        }
        Some(draft)
    }

    /// What the name of an end's node stands for.
    fn endpoint(&self, name: &str, span: Span, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Place<'n>> {
        match name {
            "host" => return Some(Place { endpoint: Endpoint::Host, node: None, home: None }),
            "mgmt-net" | "macvlan" => {
                cx.report
                    .error(Code::UnknownNode, span, at, format!("`{name}` is no node, but a type of links"))
                    .help(format!("write `type: {name}` with `endpoint` and `host-interface`"));
                return None;
            }
            _ => {}
        }
        let Some(index) = self.nodes.facts.find(name) else {
            let nearest = cx.report.nearest(name, self.nodes.facts.names());
            let error = cx.report.error(Code::UnknownNode, span, at, format!("there is no node `{}`", cut(name)));
            if let Some(near) = nearest.as_deref()
                && let Some(Facts { key, .. }) = self.nodes.facts.get(near)
            {
                error.note(*key, format!("`{}` is defined here", cut(near)));
            }
            error.suggest(nearest);
            return None;
        };
        let facts = &self.nodes.facts[index];
        // A name that is wrong was said where the node is.
        let node = facts.name.clone()?;
        let endpoint = match facts.shape {
            Some(Shape::Host) => Endpoint::Host,
            Some(Shape::Bridge | Shape::OvsBridge) => Endpoint::Bridge(node),
            Some(Shape::Runs | Shape::External) | None => Endpoint::Node(node),
        };
        let home = match &endpoint {
            Endpoint::Bridge(bridge) if bridge.inner_bridge().is_none() => None,
            Endpoint::Host => None,
            _ => self.nodes.facts.home(index),
        };
        Some(Place { endpoint, node: Some((index, facts)), home })
    }
}

impl Place<'_> {
    /// The end with this interface there.
    fn finish(self, interface: &str, span: Span, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Draft> {
        let owner = self.home;
        self.unowned(interface, span, at, cx).map(|draft| Draft { owner, ..draft })
    }

    fn unowned(self, interface: &str, span: Span, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Draft> {
        let Place { endpoint, node: found, .. } = self;
        let facts = found.map(|(_, facts)| facts);
        let kind = facts.and_then(|facts| facts.known.as_deref());
        let Some(kind) = kind.filter(|_| facts.is_some_and(|facts| facts.shape == Some(Shape::Runs))) else {
            return draft(endpoint, interface, span, at, cx);
        };
        let managed = facts.is_some_and(|facts| {
            matches!(facts.runtime, Some(RuntimeKind::Docker | RuntimeKind::Libvirt)) && facts.network_mode.is_none()
        });
        let node = endpoint.node().map_or("", NodeName::as_str);
        if interface == kind.management() && managed {
            let message = format!("`{interface}` of node `{node}` is its management interface");
            let help = match kind.interfaces.as_ref().and_then(|rule| rule.example.as_ref()) {
                Some(example) => format!("use for example {example}, or set `network-mode: none` on the node"),
                None => "use `eth1` or later, or set `network-mode: none` on the node".to_owned(),
            };
            cx.report.error(Code::ReservedInterface, span, at, message).help(help);
            return draft(endpoint, interface, span, at, cx);
        }
        let Some(rule) = &kind.interfaces else { return draft(endpoint, interface, span, at, cx) };
        // A node without management may use that interface too.
        if interface == kind.management() {
            return draft(endpoint, interface, span, at, cx);
        }
        let Some(found) = rule.interface(interface) else {
            let message = format!("node `{node}` of kind `{}` has no interface `{}`", kind.name, cut(interface));
            let example = rule.example.as_deref().unwrap_or("eth1");
            cx.report.error(Code::InterfaceRule, span, at, message).help(format!("write for example {example}"));
            return None;
        };
        checked(endpoint, found, span, at, cx)
    }
}

pub(super) fn draft(at: Endpoint, interface: &str, span: Span, path: &Path<'_>, cx: &mut Cx<'_>) -> Option<Draft> {
    let interface: Interface = match interface.parse() {
        Ok(interface) => interface,
        Err(invalid) => {
            let invalid: Invalid = invalid;
            cx.report.error(Code::InvalidName, span, path, invalid.to_string());
            return None;
        }
    };
    checked(at, interface, span, path, cx)
}

/// An end with an interface that its kind lets it have.
fn checked(at: Endpoint, interface: Interface, span: Span, path: &Path<'_>, cx: &mut Cx<'_>) -> Option<Draft> {
    if RESERVED_INTERFACES.contains(&interface.display()) {
        let message = format!("no link can have an interface named `{interface}`");
        cx.report.error(Code::ReservedInterface, span, path, message).help("the kernel uses that name itself");
        return None;
    }
    if interface.altname().is_some() {
        let message = format!("the kernel does not take the interface name `{interface}`");
        cx.report
            .warning(Code::KernelName, span, path, message)
            .label(format!("is `{}` in the kernel", interface.kernel()))
            .help("the name in the file becomes an altname, which `ip` takes as well; up to 15 bytes without `/`, `:` and `%` stay as they are");
    }
    Some(Draft { at, interface, mac: None, ipv4: None, ipv6: None, vars: Vars::new(), span, owner: None })
}

/// The free data of a link or of an end.
pub(super) fn vars(entries: &[Entry<'_>], at: &Path<'_>, cx: &mut Cx<'_>) -> Vars {
    let Some(value) = get(entries, "vars") else { return Vars::new() };
    let read = Merged::<Var>::read(value, &at.key("vars"), cx);
    read.values().into_iter().map(|(key, var)| (key, var.0)).collect()
}

/// A port of UDP.
pub(super) fn port(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<u16> {
    let text = cx.text(value, at)?;
    let port = whole::<u16>(value, text, at, cx).filter(|port| *port > 0);
    if port.is_none() {
        cx.invalid(value, at, format!("`{}` is not a port", cut(text)), "write a number from 1 to 65535");
    }
    port
}

fn read_field<T: Read>(entries: &[Entry<'_>], key: &'static str, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<At<T>> {
    let value = get(entries, key)?;
    if matches!(&value.data, Data::Text(text) if text.is_empty()) {
        return None;
    }
    T::read(value, &at.key(key), cx).map(|found| At { value: found, span: value.span })
}

macro_rules! read_parsed {
    ($($type:ty),*) => {
        $(impl Read for $type {
            fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
                let parsed: Result<Self, Invalid> = cx.text(value, at)?.parse();
                parsed.map_err(|invalid| cx.invalid(value, at, invalid.to_string(), "")).ok()
            }
        })*
    };
}

read_parsed!(Mac, Ipv4Net, Ipv6Net);

impl Read for Mtu {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        let mtu = whole::<u32>(value, text, at, cx).and_then(|bytes| Self::try_from(bytes).ok());
        if mtu.is_none() {
            let message = format!("`{}` is not an MTU that a link can have", cut(text));
            cx.invalid(value, at, message, "an MTU is a number of bytes from 68 to 65535");
        }
        mtu
    }
}
