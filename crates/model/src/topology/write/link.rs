//! Links.

use std::fmt::Write;

use serde_json::json;

use super::{flow, map, map_of, quoted, some};
use crate::lab::{End, Endpoint, Link, LinkKind, MacvlanMode, Switched, Vars, Vxlan, derived_mac};
use crate::name::{LabName, Mtu};

/// Writes one link.
pub(super) fn write(out: &mut String, lab: &LabName, link: &Link) {
    let derived = |end: &End| derived_mac(lab, &end.label(), 0) == end.mac;
    let vars = link.ends().any(|end| !end.vars.is_empty());
    match (&link.kind, &link.b) {
        // The format's short form can say all but MAC addresses and data of ends.
        (LinkKind::Plain | LinkKind::Switched(_), Some(b)) if derived(&link.a) && derived(b) && !vars => {
            let _ = writeln!(out, "    - endpoints: [{}, {}]", quoted(&link.a.label()), quoted(&b.label()));
            let ends = [&link.a, b];
            addresses(out, "ipv4", &ends.map(|end| end.ipv4.map(|net| net.to_string())));
            addresses(out, "ipv6", &ends.map(|end| end.ipv6.map(|net| net.to_string())));
        }
        (LinkKind::Plain | LinkKind::Switched(_) | LinkKind::VethStitch, Some(b)) => {
            let kind = if link.kind == LinkKind::VethStitch { "veth-stitch" } else { "veth" };
            let _ = writeln!(out, "    - type: {kind}\n      endpoints:");
            for end in [&link.a, b] {
                let _ = writeln!(out, "        - {}", end_map(end, derived(end)));
            }
        }
        (LinkKind::ManagementNet | LinkKind::Attachment(_), Some(b)) => management(out, lab, link, b),
        (LinkKind::Macvlan(macvlan), _) => {
            one_end(out, "macvlan", &link.a, derived(&link.a));
            let _ = writeln!(out, "      host-interface: {}", quoted(macvlan.parent.as_str()));
            let mode = match macvlan.mode {
                MacvlanMode::Bridge => None,
                MacvlanMode::Private => Some("private"),
                MacvlanMode::Vepa => Some("vepa"),
                MacvlanMode::Passthru => Some("passthru"),
                MacvlanMode::Source => Some("source"),
            };
            if let Some(mode) = mode {
                let _ = writeln!(out, "      mode: {mode}");
            }
        }
        (LinkKind::Vxlan(tunnel), _) => {
            one_end(out, "vxlan", &link.a, derived(&link.a));
            vxlan(out, tunnel);
        }
        (LinkKind::VxlanStitch(tunnel) | LinkKind::Switched(Switched { tunnel: Some(tunnel), .. }), _) => {
            one_end(out, "vxlan-stitch", &link.a, derived(&link.a));
            vxlan(out, tunnel);
        }
        (
            LinkKind::Plain
            | LinkKind::VethStitch
            | LinkKind::ManagementNet
            | LinkKind::Attachment(_)
            | LinkKind::Switched(_),
            None,
        )
        // No file has ports of a switch by themselves: they were put together to links before.
        | (LinkKind::AccessPort(_), _) => {
            one_end(out, "dummy", &link.a, derived(&link.a));
        }
    }
    if link.mtu != Mtu::DEFAULT {
        let _ = writeln!(out, "      mtu: {}", link.mtu.bytes());
    }
    if let Some(labels) = map(&link.labels) {
        let _ = writeln!(out, "      labels: {labels}");
    }
    if !link.vars.is_empty() {
        let _ = writeln!(out, "      vars: {}", vars_text(&link.vars));
    }
}

fn one_end(out: &mut String, kind: &str, end: &End, derived: bool) {
    let _ = writeln!(out, "    - type: {kind}\n      endpoint: {}", end_map(end, derived));
}

/// In short form, which keeps the order of the ends, unless the node's end has more to say.
fn management(out: &mut String, lab: &LabName, link: &Link, b: &End) {
    let label = |end: &End| match end.at {
        Endpoint::Host => format!("mgmt-net:{}", end.interface),
        _ => end.label(),
    };
    let derived = |end: &End| derived_mac(lab, &end.label(), 0) == end.mac;
    if [&link.a, b].iter().all(|end| derived(end) && end.vars.is_empty()) {
        let _ = writeln!(out, "    - endpoints: [{}, {}]", quoted(&label(&link.a)), quoted(&label(b)));
        let ends = [&link.a, b];
        addresses(out, "ipv4", &ends.map(|end| end.ipv4.map(|net| net.to_string())));
        addresses(out, "ipv6", &ends.map(|end| end.ipv6.map(|net| net.to_string())));
        return;
    }
    let (node, host) = if link.a.at == Endpoint::Host { (b, &link.a) } else { (&link.a, b) };
    one_end(out, "mgmt-net", node, derived(node));
    let _ = writeln!(out, "      host-interface: {}", quoted(host.interface.display()));
    addresses(out, "ipv4", &[None, host.ipv4.map(|net| net.to_string())]);
    addresses(out, "ipv6", &[None, host.ipv6.map(|net| net.to_string())]);
}

fn vxlan(out: &mut String, tunnel: &Vxlan) {
    let Vxlan { remote, vni, dst_port, src_port, parent, local: _ } = tunnel;
    let fields = map_of([
        ("remote", some(Some(remote))),
        ("vni", Some(json!(vni))),
        ("dst-port", (*dst_port != Vxlan::DST_PORT).then(|| json!(dst_port))),
        ("src-port", src_port.map(|port| json!(port))),
        ("parent-interface", some(parent.as_ref())),
    ]);
    for (field, value) in fields.as_object().into_iter().flatten() {
        let _ = writeln!(out, "      {field}: {}", flow(value));
    }
}

fn vars_text(vars: &Vars) -> String {
    flow(&json!(vars))
}

fn addresses(out: &mut String, field: &str, ends: &[Option<String>; 2]) {
    if ends.iter().any(Option::is_some) {
        let [a, b] = ends.each_ref().map(|end| end.as_deref().unwrap_or_default());
        let _ = writeln!(out, "      {field}: [\"{a}\", \"{b}\"]");
    }
}

fn end_map(end: &End, derived: bool) -> String {
    let node = match &end.at {
        Endpoint::Node(node) | Endpoint::Bridge(node) => node.as_str(),
        Endpoint::Host => "host",
        Endpoint::Remote(peer) => peer,
    };
    let mut text = format!("{{ node: {}, interface: {}", quoted(node), quoted(end.interface.display()));
    let mac = (!derived).then(|| end.mac.to_string());
    let more =
        [("mac", mac), ("ipv4", end.ipv4.map(|net| net.to_string())), ("ipv6", end.ipv6.map(|net| net.to_string()))];
    for (field, value) in more {
        if let Some(value) = value {
            let _ = write!(text, ", {field}: \"{value}\"");
        }
    }
    if !end.vars.is_empty() {
        let _ = write!(text, ", vars: {}", vars_text(&end.vars));
    }
    text + " }"
}
