//! What the host is told of a lab, so that people and programs on it reach nodes by name: lines for `/etc/hosts`, and a
//! part of ssh's configuration.

use std::fmt::Write;
use std::net::IpAddr;

use netloom_model::{Lab, Node, hex};

/// What the host is told of a lab. Only nodes on the management network are in it: nothing else of a lab is reached from
/// the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entries {
    /// Lines of hosts(5): each address of each node with the name of its container. The names of nodes alone are not
    /// among them, since those of two labs may be the same.
    pub hosts: String,
    /// Blocks of ssh_config(5), one for each container. Nodes are made anew all the time, so their keys are not asked for.
    pub ssh: String,
}

impl Entries {
    /// Of a lab with its nodes on the management network; `None` if no node has an address on it.
    pub fn of(lab: &Lab) -> Option<Self> {
        let (mut hosts, mut ssh) = (String::new(), String::new());
        for (name, node) in lab.managed() {
            let container = lab.container_name(name);
            for address in addresses(node) {
                let _ = writeln!(hosts, "{address}\t{container}");
            }
            ssh.push_str(&ssh_block(&container, node).unwrap_or_default());
        }
        (!hosts.is_empty()).then_some(Self { hosts, ssh })
    }

    /// By which it is compared: 16 hex digits.
    pub fn hash(&self) -> String {
        hex(format!("{}\0{}", self.hosts, self.ssh).as_bytes())[..16].to_owned()
    }
}

fn addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    let of = &node.management;
    of.ipv4.map(IpAddr::V4).into_iter().chain(of.ipv6.map(IpAddr::V6))
}

fn ssh_block(container: &str, node: &Node) -> Option<String> {
    let address = addresses(node).next()?;
    let mut text = format!("Host {container}\n\tHostName {address}\n");
    let credentials = &node.config.credentials;
    // Of what a file says only what is one word; ssh would read the rest as more of the line.
    let is_plain = |word: &&String| !word.is_empty() && !word.contains(|c: char| c.is_whitespace() || c == '"');
    let user = credentials.username.as_ref().or(node.device.user.as_ref());
    if let Some(user) = user.filter(is_plain) {
        let _ = writeln!(text, "\tUser {user}");
    }
    if let Some(key) = credentials.identity_file.as_ref().filter(|path| !path.contains(['"', '\n'])) {
        let _ = writeln!(text, "\tIdentityFile \"{key}\"");
    }
    text.push_str("\tStrictHostKeyChecking no\n\tUserKnownHostsFile /dev/null\n");
    Some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lab(nodes: &serde_json::Value) -> Lab {
        serde_json::from_value(json!({ "name": "x", "nodes": nodes })).unwrap()
    }

    fn container(management: &serde_json::Value, config: &serde_json::Value) -> serde_json::Value {
        json!({
            "kind": "linux", "runtime": "docker", "image": "i", "hostname": "h", "management": management, "config": config
        })
    }

    #[test]
    fn each_container_has_its_addresses_and_how_one_logs_in() {
        let login = json!({ "credentials": { "username": "admin", "identity_file": "/home/me/a key" } });
        let lab = lab(&json!({
            "a": container(&json!({ "ipv4": "172.20.20.2", "ipv6": "3fff:172:20:20::2" }), &login),
            "b": container(&json!({ "ipv6": "3fff:172:20:20::3" }), &json!({ "credentials": { "username": "a b" } })),
            "c": container(&json!({}), &json!({})),
        }));
        let Entries { hosts, ssh } = Entries::of(&lab).unwrap();
        assert_eq!(hosts, "172.20.20.2\tclab-x-a\n3fff:172:20:20::2\tclab-x-a\n3fff:172:20:20::3\tclab-x-b\n");
        let end = "\tStrictHostKeyChecking no\n\tUserKnownHostsFile /dev/null\n";
        let a = "Host clab-x-a\n\tHostName 172.20.20.2\n\tUser admin\n\tIdentityFile \"/home/me/a key\"\n";
        let b = "Host clab-x-b\n\tHostName 3fff:172:20:20::3\n";
        assert_eq!(ssh, format!("{a}{end}{b}{end}"));
    }

    #[test]
    fn a_lab_that_nobody_reaches_has_none() {
        let alone = json!({ "kind": "linux", "runtime": "namespace", "hostname": "h" });
        assert_eq!(Entries::of(&lab(&json!({ "a": alone }))), None);
        assert_eq!(Entries::of(&lab(&json!({ "a": container(&json!({}), &json!({})) }))), None);
    }
}
