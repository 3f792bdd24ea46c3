//! A lab as a topology file again: everything that is inherited stands at its node, everything derived is left out where
//! reading derives the same. Equal labs give equal bytes, and reading them gives the lab.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::kinds;
use crate::lab::{
    Access, Bind, End, Endpoint, Lab, Link, NetworkMode, Node, Prefix, RestartPolicy, RuntimeKind, derived_mac,
};
use crate::name::{LabName, Mtu, NodeName};

/// Writes a lab. Binds below `directory`, where the file is going to be, are relative to it; all others are absolute.
pub fn write(lab: &Lab, directory: Option<&Path>) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "name: {}", quoted(lab.name().as_str()));
    let prefix = lab.prefix();
    if *prefix != Prefix::default() {
        let _ = writeln!(out, "prefix: {}", quoted(&String::from(prefix.clone())));
    }
    out.push_str("topology:\n  nodes:\n");
    for (name, node) in lab.nodes() {
        let _ = writeln!(out, "    {}:", quoted(name.as_str()));
        for (field, value) in node_fields(name, node, directory) {
            let _ = writeln!(out, "      {field}: {value}");
        }
    }
    if !lab.links().is_empty() {
        out.push_str("  links:\n");
    }
    for link in lab.links() {
        write_link(&mut out, lab.name(), link);
    }
    out
}

fn node_fields(name: &NodeName, node: &Node, directory: Option<&Path>) -> Vec<(&'static str, String)> {
    let mut fields = vec![("kind", kinds::name(node.kind).to_owned())];
    let mut put = |field, value: Option<String>| fields.extend(value.map(|value| (field, value)));
    let words = |words: &[String]| (!words.is_empty()).then(|| quoted(&join(words)));
    let some = |text: &Option<String>| text.as_deref().map(quoted);
    put(
        "runtime",
        node.runtime.map(|runtime| {
            let word = match runtime {
                RuntimeKind::Namespace => "namespace",
                RuntimeKind::Docker => "docker",
                RuntimeKind::Libvirt => "libvirt",
            };
            word.to_owned()
        }),
    );
    put("image", some(&node.image));
    put("group", some(&node.group));
    put("labels", map(&node.labels));
    if node.runtime.is_none() {
        return fields;
    }
    put("entrypoint", words(&node.entrypoint));
    put("cmd", words(&node.cmd));
    put("exec", list(node.exec.iter().map(|words| join(words))));
    put("env", map(&node.env));
    put("binds", list(node.binds.iter().map(|bind| bind_text(bind, directory))));
    put("hostname", (node.hostname != name.as_str()).then(|| quoted(&node.hostname)));
    put("user", some(&node.user));
    put("sysctls", map(&node.sysctls));
    put("cpu", node.cpu_millis.map(|millis| format!("{}.{:03}", millis / 1000, millis % 1000)));
    put("memory", node.memory_bytes.map(|bytes| bytes.to_string()));
    put("startup-delay", (node.startup_delay > 0).then(|| node.startup_delay.to_string()));
    let policy = match node.restart_policy {
        RestartPolicy::Always => None,
        RestartPolicy::No => Some("\"no\""),
        RestartPolicy::OnFailure => Some("on-failure"),
        RestartPolicy::UnlessStopped => Some("unless-stopped"),
    };
    put("restart-policy", policy.map(str::to_owned));
    put("network-mode", (node.network_mode == NetworkMode::None).then(|| "none".to_owned()));
    fields
}

fn bind_text(bind: &Bind, directory: Option<&Path>) -> String {
    let below = directory.and_then(|directory| Path::new(&bind.source).strip_prefix(directory).ok());
    let source = match below.and_then(Path::to_str) {
        Some("") => ".".to_owned(),
        // Neither the home directory nor a placeholder is meant.
        Some(below) => format!("./{below}"),
        None => bind.source.clone(),
    };
    let access = if bind.access == Access::ReadOnly { ":ro" } else { "" };
    format!("{source}:{}{access}", bind.target)
}

fn write_link(out: &mut String, lab: &LabName, link: &Link) {
    let derived = |end: &End| derived_mac(lab, &end.label(), 0) == end.mac;
    match &link.b {
        // The format's short form can say all but MAC addresses.
        Some(b) if derived(&link.a) && derived(b) => {
            let _ = writeln!(out, "    - endpoints: [{}, {}]", quoted(&link.a.label()), quoted(&b.label()));
            let ends = [&link.a, b];
            addresses(out, "ipv4", &ends.map(|end| end.ipv4.map(|net| net.to_string())));
            addresses(out, "ipv6", &ends.map(|end| end.ipv6.map(|net| net.to_string())));
        }
        Some(b) => {
            out.push_str("    - type: veth\n      endpoints:\n");
            for end in [&link.a, b] {
                let _ = writeln!(out, "        - {}", end_map(end, derived(end)));
            }
        }
        None => {
            let _ = writeln!(out, "    - type: dummy\n      endpoint: {}", end_map(&link.a, derived(&link.a)));
        }
    }
    if link.mtu != Mtu::DEFAULT {
        let _ = writeln!(out, "      mtu: {}", link.mtu.bytes());
    }
    if let Some(labels) = map(&link.labels) {
        let _ = writeln!(out, "      labels: {labels}");
    }
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
    text + " }"
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
fn quoted(text: &str) -> String {
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
            // Two in a row would begin a template.
            '{' if before == '{' => out.push_str("\\x7b"),
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
