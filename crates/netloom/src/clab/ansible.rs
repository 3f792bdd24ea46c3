//! `ansible-inventory.yml`: the nodes of a lab as hosts of Ansible.
//!
//! A group per kind, with the variables that the kind's file has for it, and one per value of the label `ansible-group`. A host
//! that has no address of its own is reached by its name, as it is in the hosts file.

use std::collections::BTreeMap;
use std::fmt::Write;

use netloom_engine::{LabView, NodeView};
use netloom_model::topology::{KindSpec, Kinds};
use netloom_model::{Kind, Lab};

use super::{OnManagement, is_container};

/// The label with the name of another group of a node.
const GROUP: &str = "ansible-group";
/// The label that leaves `ansible_host` out: a connection plug-in may want the name of the container.
const NO_HOST: &str = "ansible-no-host-var";

/// Variables, by name.
type Vars = BTreeMap<String, String>;

#[derive(Debug, Default)]
struct Group {
    vars: Vars,
    /// The variables of each host, by the name of its container.
    hosts: BTreeMap<String, Vars>,
}

/// The whole file.
pub(crate) fn inventory(lab: &Lab, view: &LabView, kinds: &Kinds) -> String {
    let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
    for node in view.nodes.iter().filter(|node| is_container(node)) {
        let vars = host_vars(node, lab);
        let of_kind = groups.entry(node.kind.as_str()).or_insert_with(|| of_kind(&node.kind, kinds));
        of_kind.hosts.insert(node.container.clone(), vars.clone());
        if let Some(group) = label(lab, node, GROUP).filter(|group| !group.is_empty()) {
            groups.entry(group).or_default().hosts.insert(node.container.clone(), vars);
        }
    }
    written(&groups)
}

fn of_kind(kind: &Kind, kinds: &Kinds) -> Group {
    let vars = kinds.get(kind).into_iter().flat_map(KindSpec::ansible);
    Group { vars: vars.map(|(name, value)| (name, value.to_owned())).collect(), hosts: BTreeMap::new() }
}

fn host_vars(node: &NodeView, lab: &Lab) -> Vars {
    let credentials = lab.nodes().get(&node.name).map(|node| &node.config.credentials);
    let on = OnManagement::of(node, lab);
    let address = on.ipv4.map(|ipv4| ipv4.address.to_string());
    let address = address.or_else(|| Some(on.ipv6?.address.to_string())).unwrap_or_else(|| node.container.clone());
    let says_host = label(lab, node, NO_HOST) != Some("true");
    let all = [
        ("ansible_host", Some(address).filter(|_| says_host)),
        ("ansible_user", credentials.and_then(|credentials| credentials.username.clone())),
        ("ansible_password", credentials.and_then(|credentials| credentials.password.clone())),
        ("ansible_ssh_private_key_file", credentials.and_then(|credentials| credentials.identity_file.clone())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn label<'l>(lab: &'l Lab, node: &NodeView, name: &str) -> Option<&'l str> {
    lab.nodes().get(&node.name)?.labels.get(name).map(String::as_str)
}

fn written(groups: &BTreeMap<&str, Group>) -> String {
    // The hosts are reached from here, never by way of a proxy that this host may have for its own.
    let mut out = String::from(
        "# Written by `netloom deploy`, anew each time.\nall:\n  vars:\n    ansible_httpapi_use_proxy: false\n",
    );
    if !groups.is_empty() {
        out.push_str("  children:\n");
    }
    for (name, Group { vars, hosts }) in groups {
        let _ = writeln!(out, "    {}:", scalar(name));
        if !vars.is_empty() {
            out.push_str("      vars:\n");
            write_vars(&mut out, "        ", vars);
        }
        out.push_str("      hosts:\n");
        for (host, vars) in hosts {
            let _ = writeln!(out, "        {}:{}", scalar(host), if vars.is_empty() { " {}" } else { "" });
            write_vars(&mut out, "          ", vars);
        }
    }
    out
}

fn write_vars(out: &mut String, indent: &str, vars: &Vars) {
    for (name, value) in vars {
        let _ = writeln!(out, "{indent}{name}: {}", scalar(value));
    }
}

/// A text as YAML: as it is where no reader of YAML can take it for anything else, or else as JSON writes it, which YAML
/// reads too.
fn scalar(text: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn nodes_are_hosts_in_the_groups_of_their_kinds_and_labels() {
        let (lab, view) = sample();
        insta::assert_snapshot!(inventory(&lab, &view, Kinds::builtin()), @r#"
        # Written by `netloom deploy`, anew each time.
        all:
          vars:
            ansible_httpapi_use_proxy: false
          children:
            hosts:
              hosts:
                clab-shop-client:
                  ansible_host: clab-shop-client
            linux:
              hosts:
                clab-shop-client:
                  ansible_host: clab-shop-client
                clab-shop-quiet: {}
            nokia_srlinux:
              vars:
                ansible_connection: ansible.netcommon.httpapi
                ansible_network_os: nokia.srlinux.srlinux
                ansible_password: "NokiaSrl1!"
                ansible_user: admin
              hosts:
                clab-shop-web:
                  ansible_host: "10.77.0.10"
                  ansible_password: "a: \"b\""
                  ansible_user: me
        "#);
    }

    #[test]
    fn what_yaml_would_take_for_something_else_is_quoted() {
        for text in ["", "yes", "NO", "null", "1.10", "0x1f", "22:22", "a: b", "a #b", "- a", "*a", "é", "a\nb", "'"] {
            assert_eq!(scalar(text), serde_json::to_string(text).unwrap());
        }
        assert_eq!(scalar("ansible.netcommon.network_cli"), "ansible.netcommon.network_cli");
    }
}
