//! A lab as a topology file again: everything that is inherited stands at its node, everything derived is left out where
//! reading derives the same. Equal labs give equal bytes, and reading them gives the lab.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::lab::{CertificateAuthority, FabricKind, Family, Lab, Management, ManagementDriver, Prefix, Settings};

mod link;
mod node;
mod ports;

/// Writes a lab. Binds below `directory`, where the file is going to be, are relative to it; all others are absolute.
pub fn write(lab: &Lab, directory: Option<&Path>) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "name: {}", quoted(lab.name().as_str()));
    let prefix = lab.prefix();
    // A controller names containers of its labs; those of a file have names of their own.
    if *prefix != Prefix::default() && *prefix != Prefix::Controller {
        let _ = writeln!(out, "prefix: {}", quoted(&String::from(prefix.clone())));
    }
    write_management(&mut out, lab.management());
    write_settings(&mut out, lab.settings());
    let ports::Written { bridges, links } = ports::as_links(lab);
    out.push_str("topology:\n  nodes:\n");
    for (name, node) in lab.nodes() {
        let _ = writeln!(out, "    {}:", quoted(name.as_str()));
        let mut node = Cow::Borrowed(node);
        if *prefix == Prefix::Controller {
            // They say to controllers that the container is one of theirs.
            node.to_mut().labels.retain(|label, _| !label.starts_with("archetype."));
        }
        for (field, value) in node::fields(name, &node, directory) {
            let _ = writeln!(out, "      {field}: {value}");
        }
    }
    for bridge in bridges {
        let _ = writeln!(out, "    {}:\n      kind: bridge", quoted(bridge.as_str()));
    }
    if links.iter().any(|line| matches!(line, ports::Line::Link(_))) {
        out.push_str("  links:\n");
    }
    for line in links {
        match line {
            ports::Line::Link(link) => link::write(&mut out, lab.name(), &link),
            ports::Line::Comment(text) => {
                // Controllers name links as they like: a line stays one, and no template or variable begins in it.
                let text = text.replace(|c: char| c.is_control() || "{$".contains(c), "?");
                let _ = writeln!(out, "    # {text}");
            }
        }
    }
    out
}

/// Fields with values; those that say nothing are left out.
fn map_of<const N: usize>(fields: [(&str, Option<Json>); N]) -> Json {
    let fields = fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Json::Object(fields.collect::<Map<_, _>>())
}

/// A text as a value, if there is one.
fn some(text: Option<&impl ToString>) -> Option<Json> {
    text.map(|text| Json::String(text.to_string()))
}

/// A list as a value, if there is something in it.
fn some_list<T: ToString>(items: &[T]) -> Option<Json> {
    (!items.is_empty()).then(|| items.iter().map(|item| Json::String(item.to_string())).collect())
}

/// A map as a value, if there is something in it.
fn some_map(map: &BTreeMap<String, String>) -> Option<Json> {
    (!map.is_empty()).then(|| json!(map))
}

fn write_management(out: &mut String, management: &Management) {
    let default = Management::default();
    if *management == default {
        return;
    }
    let (v4, v6) = (&management.ipv4, &management.ipv6);
    // A family is off exactly if only the other's subnet is given.
    let (both_v4, both_v6) = (*v6 == Family::Off || *v4 != default.ipv4, *v4 == Family::Off || *v6 != default.ipv6);
    let (both_v4, both_v6) = match (both_v4, both_v6) {
        (true, false) if *v6 != Family::Off => (true, true),
        (false, true) if *v4 != Family::Off => (true, true),
        both => both,
    };
    let [subnet_v4, gw_v4, range_v4] = family(v4, both_v4);
    let [subnet_v6, gw_v6, range_v6] = family(v6, both_v6);
    let macvlan = match &management.driver {
        ManagementDriver::Bridge => None,
        ManagementDriver::Macvlan { parent, host } => Some((parent.as_ref(), host.as_ref())),
    };
    let fields = map_of([
        ("network", (management.network != default.network).then(|| json!(management.network))),
        ("bridge", some(management.bridge.as_ref())),
        ("driver", macvlan.map(|_| json!("macvlan"))),
        ("macvlan-parent", macvlan.and_then(|(parent, _)| some(parent))),
        ("macvlan-aux", macvlan.and_then(|(_, host)| some(host))),
        ("ipv4-subnet", subnet_v4),
        ("ipv4-gw", gw_v4),
        ("ipv4-range", range_v4),
        ("ipv6-subnet", subnet_v6),
        ("ipv6-gw", gw_v6),
        ("ipv6-range", range_v6),
        ("mtu", management.mtu.map(|mtu| json!(mtu.bytes()))),
        ("external-access", (!management.external_access).then_some(json!(false))),
        ("skip-when-unused", management.skip_when_unused.then_some(json!(true))),
        ("driver-opts", some_map(&management.driver_options)),
    ]);
    write_map(out, "mgmt", &fields);
}

/// Subnet, gateway and range, as far as they are to be written.
fn family<N: ToString, A: ToString>(family: &Family<N, A>, subnet: bool) -> [Option<Json>; 3] {
    match family {
        Family::Off => [None, None, None],
        Family::Auto => [Some(json!("auto")), None, None],
        Family::Subnet { net, gateway, range } => {
            [some(Some(net)).filter(|_| subnet), some(gateway.as_ref()), some(range.as_ref())]
        }
    }
}

fn write_settings(out: &mut String, settings: &Settings) {
    if settings.debug {
        out.push_str("debug: true\n");
    }
    let authority = settings.certificate_authority.as_ref().map(|authority| match authority {
        CertificateAuthority::Files { cert, key } => json!({ "cert": cert, "key": key }),
        CertificateAuthority::Made { key_size, validity } => {
            map_of([("key-size", key_size.map(|size| json!(size))), ("validity-duration", some(validity.as_ref()))])
        }
    });
    let fabric = settings.fabric.map(|fabric| match fabric {
        FabricKind::Kernel => json!("kernel"),
        FabricKind::Ovs => json!("ovs"),
    });
    write_map(out, "settings", &map_of([("certificate-authority", authority), ("fabric", fabric)]));
}

fn write_map(out: &mut String, key: &str, value: &Json) {
    let Some(fields) = value.as_object().filter(|fields| !fields.is_empty()) else { return };
    let _ = writeln!(out, "{key}:");
    for (field, value) in fields {
        let _ = writeln!(out, "  {field}: {}", flow(value));
    }
}

/// A value in one line.
fn flow(value: &Json) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) => quoted(text),
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Json::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Json::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}: {}", quoted(key), flow(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
    }
}

fn list(items: impl Iterator<Item = String>) -> Option<String> {
    let items: Vec<String> = items.map(|item| quoted(&item)).collect();
    (!items.is_empty()).then(|| format!("[{}]", items.join(", ")))
}

fn map(map: &BTreeMap<String, String>) -> Option<String> {
    let entries: Vec<String> = map.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value))).collect();
    (!entries.is_empty()).then(|| format!("{{ {} }}", entries.join(", ")))
}

/// Words as one command line that splits into them again.
fn join(words: &[String]) -> String {
    // Only a NUL has no quotation, and no lab has one.
    shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default()
}

/// A text as it can stand anywhere in YAML: a plain word, or between double quotes (YAML 1.2, section 5.7).
pub(super) fn quoted(text: &str) -> String {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            // Two in a row would begin a template, and this a variable.
            '{' if before == '{' => out.push_str("\\x7b"),
            '$' => out.push_str("\\x24"),
            ' '..='~' => out.push(c),
            c if u32::from(c) <= 0xff => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
        before = c;
    }
    out.push('"');
    out
}
