//! What must hold for every lab, wherever it comes from. Drivers make paths, files and kernel objects of these
//! values and do not look again.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::circle;
use crate::kind::Shape;
use crate::lab::{
    Document, End, Endpoint, LabParts, Link, LinkKind, NoVlan, Node, RuntimeKind, Violation, Vlan, Vxlan,
};
use crate::name::{InterfaceName, Kind, Mac, NodeName};

/// Names that the endpoints of links have another meaning for.
pub(crate) const RESERVED_NODES: [&str; 3] = ["host", "mgmt-net", "macvlan"];
/// `lo` is in every namespace; the others name settings of all interfaces (net/ipv4/devinet.c).
pub(crate) const RESERVED_INTERFACES: [&str; 3] = ["lo", "all", "default"];

pub(crate) fn check(parts: &LabParts) -> Vec<Violation> {
    let mut found = check_nodes(parts);
    found.extend(check_links(parts));
    found
}

/// As far as nodes and links are looked at one by one: all but that the ends of links are at nodes which fit, and that
/// no two share an interface or a MAC address.
pub(crate) fn check_alone(parts: &LabParts) -> Vec<Violation> {
    let mut found = check_nodes(parts);
    for link in &parts.links {
        found.extend(check_kind(link));
        found.extend(link.ends().filter_map(|end| check_interface(link, end)));
    }
    found
}

fn check_nodes(parts: &LabParts) -> Vec<Violation> {
    let mut found = Vec::new();
    for (name, node) in &parts.nodes {
        match (node.kind.shape(), node.runtime) {
            (Shape::Runs, None) => {
                found.push(Violation::Runtime { node: name.clone(), why: "it runs on nothing; give it a runtime" });
            }
            (Shape::External, Some(runtime)) if runtime != RuntimeKind::Docker => {
                let why = "it is a container that something else made; its runtime is `docker`";
                found.push(Violation::Runtime { node: name.clone(), why });
            }
            (Shape::Bridge | Shape::OvsBridge | Shape::Host, Some(_)) => {
                found.push(Violation::Runtime { node: name.clone(), why: "its kind runs nothing; remove `runtime`" });
            }
            (Shape::Runs | Shape::External, Some(_))
            | (Shape::Bridge | Shape::OvsBridge | Shape::Host | Shape::External, None) => {}
        }
        if RESERVED_NODES.contains(&name.as_str()) && !(name.as_str() == "host" && node.kind.shape() == Shape::Host) {
            let why = "links mean something else by that name; choose another".to_owned();
            found.push(Violation::Value { node: name.clone(), why });
        }
        found.extend(check_values(name, node).into_iter().map(|why| Violation::Value { node: name.clone(), why }));
        let waits = node.stages.values().flat_map(|rule| &rule.wait_for);
        for wait in waits.filter(|wait| !parts.nodes.contains_key(&wait.node)) {
            let why = format!("it waits for `{}`, and there is no such node", wait.node);
            found.push(Violation::Value { node: name.clone(), why });
        }
    }
    found.extend(check_circles(parts));
    found
}

/// The rules about links. Names are put together only for what is wrong: a lab has tens of thousands of ends.
fn check_links(parts: &LabParts) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut interfaces: HashMap<(Owner<'_>, &InterfaceName), &Link> = HashMap::with_capacity(2 * parts.links.len());
    for link in &parts.links {
        found.extend(check_kind(link));
        for end in link.ends() {
            found.extend(check_interface(link, end));
            check_end(parts, link, end, &mut found);
            let (owner, interface) = (Owner::of(end.home()), end.interface.kernel());
            if let Some(first) = interfaces.insert((owner, interface), link) {
                let (owner, interface) = (owner.to_string(), interface.clone());
                found.push(Violation::InterfaceTwice { owner, interface, first: first.id(), second: link.id() });
            }
        }
    }
    check_macs(parts, &mut found);
    for interface in parts.nodes.iter().filter_map(|(name, node)| node.host_bridge(name)) {
        if let Some(link) = interfaces.get(&(Owner::Host, &interface)) {
            let why = format!("the host's interface `{interface}` is a bridge of this lab");
            found.push(Violation::WrongEnd { link: link.id(), why });
        }
    }
    for bridge in parts.inner_bridges() {
        let interface = bridge.interface();
        if let Some(link) =
            interface.as_ref().and_then(|name| interfaces.get(&(Owner::Node(bridge.node.as_str()), name)))
        {
            let why = format!("`{}` in node `{}` is a bridge of this lab", bridge.name, bridge.node);
            found.push(Violation::WrongEnd { link: link.id(), why });
        }
    }
    found
}

fn check_interface(link: &Link, end: &End) -> Option<Violation> {
    RESERVED_INTERFACES.contains(&end.interface.display()).then(|| {
        let why = format!("no link can have an interface named `{}`", end.interface);
        Violation::WrongEnd { link: link.id(), why }
    })
}

fn check_macs(parts: &LabParts, found: &mut Vec<Violation>) {
    // Nearly always there is nothing to say, and sorted numbers tell that soonest.
    let mut all: Vec<Mac> = parts.links.iter().flat_map(Link::ends).map(|end| end.mac).collect();
    all.sort_unstable_by_key(|Mac([a, b, c, d, e, f])| u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]));
    if all.windows(2).all(|pair| pair[0] != pair[1]) {
        return;
    }
    let mut macs: HashMap<Mac, &End> = HashMap::new();
    for end in parts.links.iter().flat_map(Link::ends) {
        if let Some(first) = macs.insert(end.mac, end) {
            found.push(Violation::MacTwice { mac: end.mac, first: first.label(), second: end.label() });
        }
    }
}

/// Whose names an end shares: those of a node with the bridges in it and all that share its network, or of the host with
/// its bridges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner<'a> {
    Node(&'a str),
    Host,
    Remote(&'a str),
}

impl<'a> Owner<'a> {
    fn of(at: &'a Endpoint) -> Self {
        match at {
            Endpoint::Node(node) => Self::Node(node.as_str()),
            Endpoint::Bridge(_) | Endpoint::Host => Self::Host,
            Endpoint::Remote(peer) => Self::Remote(peer),
        }
    }
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node `{node}`"),
            Self::Host => f.write_str("the host"),
            Self::Remote(peer) => f.write_str(peer),
        }
    }
}

/// Nodes that wait for each other without end.
fn check_circles(parts: &LabParts) -> Vec<Violation> {
    let mut waits: circle::Waits<'_, &NodeName> = BTreeMap::new();
    for (name, node) in &parts.nodes {
        for (stage, rule) in &node.stages {
            let all = rule.wait_for.iter().map(|wait| ((wait.node.as_str(), wait.stage), name));
            waits.entry((name.as_str(), *stage)).or_default().extend(all);
        }
    }
    let violation = |circle: Vec<&NodeName>| {
        let node = (*circle.first()?).clone();
        let shown: Vec<&str> = circle.iter().take(12).map(|node| node.as_str()).collect();
        let more = if circle.len() > shown.len() { " → …" } else { "" };
        let why = format!("nodes wait for each other without end: {}{more} → {node}", shown.join(" → "));
        Some(Violation::Value { node, why })
    };
    circle::circles(&waits).into_iter().filter_map(violation).collect()
}

/// The ends of a link are those that its kind has.
fn check_kind(link: &Link) -> Option<Violation> {
    wrong_ends(link).map(|why| Violation::Ends { link: link.id(), why })
}

/// Why the ends of a link are not those that its kind has.
fn wrong_ends(link: &Link) -> Option<&'static str> {
    let on_host = link.ends().filter(|end| end.at == Endpoint::Host).count();
    match (&link.kind, &link.b) {
        (LinkKind::Plain, None) => {
            (!matches!(link.a.at, Endpoint::Node(_))).then_some("a link with one end must end on a node")
        }
        (LinkKind::Plain | LinkKind::VethStitch, Some(_)) => None,
        (LinkKind::VethStitch, None) => Some("a veth pair has two ends"),
        (LinkKind::ManagementNet | LinkKind::Attachment(_), _) => {
            let fits = link.b.is_some() && on_host == 1;
            (!fits).then_some("a link to the management network has one end on the host and one at a node")
        }
        (LinkKind::Switched(switched), _) => (link.b.is_some() == switched.tunnel.is_some())
            .then_some("a link over a switch has two ends, or one and a tunnel"),
        (LinkKind::AccessPort(port), None) => match (&link.a.at, &port.tunnel, &port.external) {
            (Endpoint::Remote(_), Some(tunnel), None) if tunnel.vni > Vxlan::MAX_VNI => {
                Some("its network identifier is larger than 24 bits")
            }
            (Endpoint::Node(_), None, None)
            | (Endpoint::Remote(_), Some(_), None)
            | (Endpoint::Host, None, Some(_)) => None,
            _ => Some(
                "a port of a switch ends on a node, is a tunnel to another host, or leads to an interface of the host",
            ),
        },
        (LinkKind::Macvlan(_) | LinkKind::Vxlan(_) | LinkKind::VxlanStitch(_) | LinkKind::AccessPort(_), Some(_)) => {
            Some("a macvlan, a tunnel or a port of a switch has one end")
        }
        (LinkKind::Macvlan(_), None) => (on_host > 0).then_some("a macvlan must end on a node"),
        (LinkKind::Vxlan(tunnel) | LinkKind::VxlanStitch(tunnel), None) if tunnel.vni > Vxlan::MAX_VNI => {
            Some("its network identifier is larger than 24 bits")
        }
        (LinkKind::Vxlan(_) | LinkKind::VxlanStitch(_), None) => (on_host > 0).then_some("a tunnel must end on a node"),
    }
}

fn check_end(parts: &LabParts, link: &Link, end: &End, found: &mut Vec<Violation>) {
    let Some(name) = end.at.node() else { return };
    let Some(node) = parts.nodes.get(name) else {
        found.push(Violation::UnknownNode { link: link.id(), node: name.clone() });
        return;
    };
    let fits = match end.at {
        Endpoint::Bridge(_) => matches!(node.kind.shape(), Shape::Bridge | Shape::OvsBridge),
        Endpoint::Node(_) => matches!(node.kind.shape(), Shape::Runs | Shape::External),
        Endpoint::Host | Endpoint::Remote(_) => true,
    };
    if !fits {
        let why = format!("`{name}` is not of the kind that this end needs");
        found.push(Violation::WrongEnd { link: link.id(), why });
    }
    if node.kind.shape() == Shape::OvsBridge
        && let Err(NoVlan { why, help, .. }) = Vlan::read(&end.vars)
    {
        found.push(Violation::WrongEnd { link: link.id(), why: format!("{why}; {help}") });
    }
}

fn check_values(name: &NodeName, node: &Node) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(bridge_name(name, &node.kind).err());
    if let Err(why) = host_name(&node.hostname) {
        found.push(why);
    }
    found.extend(node.sysctls.keys().filter(|key| !is_sysctl(key)).map(|key| format!("`{key}` is not a sysctl")));
    found.extend(node.env.keys().filter(|key| !is_variable(key)).map(|key| format!("`{key}` cannot be a variable")));
    for bind in &node.binds {
        for path in [&bind.source, &bind.target] {
            if clean_path(path) != *path || path.contains('\0') || *path == bind.target && path == "/" {
                found.push(format!("bind path `{path}` is not an absolute path without `.`, `..` and empty parts"));
            }
        }
    }
    for volume in &node.container.volumes {
        let target = &volume.target;
        if clean_path(target) != *target || target == "/" || target.contains('\0') {
            found.push(format!("volume target `{target}` is not an absolute path without `.`, `..` and empty parts"));
        }
    }
    let paths = [&node.config.startup, &node.config.license].into_iter().filter_map(|document| match document {
        Some(Document::Path(path)) => Some(path),
        Some(Document::Url(_) | Document::Text(_)) | None => None,
    });
    for path in paths.chain(&node.config.credentials.identity_file) {
        if clean_path(path) != *path || path.contains('\0') {
            found.push(format!("path `{path}` is not an absolute path without `.`, `..` and empty parts"));
        }
    }
    let staged = || node.stages.values().flat_map(|rule| &rule.exec).map(|exec| &exec.command);
    let words = node.cmd.iter().chain(&node.entrypoint).chain(node.exec.iter().chain(staged()).flatten());
    let mut texts = words.chain(node.env.values()).chain(node.sysctls.values());
    if texts.any(|text| text.contains('\0')) {
        found.push("a command, variable or sysctl holds a NUL character".to_owned());
    }
    if node.exec.iter().chain(staged()).any(Vec::is_empty) {
        found.push("a command of `exec` is empty".to_owned());
    }
    found
}

/// A bridge has the name of its node, up to the `|` if it is inside of another; nothing else has a `|` in its name.
pub(crate) fn bridge_name(name: &NodeName, kind: &Kind) -> Result<(), String> {
    let inner = name.inner_bridge();
    match kind.shape() {
        Shape::Bridge | Shape::OvsBridge => {
            let bridge = inner.map_or(name.as_str(), |(bridge, _)| bridge);
            let parsed = bridge.parse::<InterfaceName>();
            parsed.map(|_| ()).map_err(|invalid| format!("a bridge is named as its node, and {invalid}"))
        }
        Shape::Runs | Shape::Host | Shape::External if inner.is_some() => {
            Err("a name of the form `bridge|node` is that of a bridge inside of a node".to_owned())
        }
        Shape::Runs | Shape::Host | Shape::External => Ok(()),
    }
}

/// Whether a name leads to a file below /proc/sys and nowhere else. Dots separate; a dot in an interface's name is `/`.
pub(crate) fn is_sysctl(name: &str) -> bool {
    let parts = || name.split(['.', '/']);
    let good = |c: char| c.is_ascii_alphanumeric() || "_-:@|".contains(c);
    parts().count() > 1 && parts().all(|part| !part.is_empty() && part.chars().all(good))
}

/// Whether it can be the name of an environment variable.
pub(crate) fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// A host name: 1 to 64 bytes (`__NEW_UTS_LEN` in linux/utsname.h). A node's name is one, so `|` is possible.
pub(crate) fn host_name(text: &str) -> Result<(), String> {
    const MAX: usize = 64;
    if text.is_empty() {
        return Err("the host name is empty".to_owned());
    }
    if text.len() > MAX {
        return Err(format!("the host name has {} bytes; at most {MAX} are possible", text.len()));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._|".contains(*c))) {
        Some(bad) => Err(format!("the host name `{}` contains `{}`", text.escape_debug(), bad.escape_debug())),
        None => Ok(()),
    }
}

/// A path without `.`, `..` and empty parts. Decided by the text alone, as the format's other readers do.
pub(crate) fn clean_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{clean_path, is_sysctl};
    use crate::lab::Lab;

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(clean_path("/labs/./a/../b//c/"), "/labs/b/c");
        assert_eq!(clean_path("/../.."), "/");
    }

    #[test]
    fn sysctl_names_stay_below_proc_sys() {
        for good in ["net.ipv4.ip_forward", "net.ipv4.conf.eth0/100.forwarding", "net/ipv4/ip_forward"] {
            assert!(is_sysctl(good), "{good}");
        }
        for bad in ["", "x", "../../etc/passwd", "net..ipv4", "net.ipv4.", "net.ipv4 ip", "net/../x"] {
            assert!(!is_sysctl(bad), "{bad}");
        }
    }

    #[test]
    fn links_over_the_wire_have_the_ends_of_their_kind() {
        let lab = |link: &str| {
            let text = format!(
                r#"{{ "name": "t", "nodes": {{ "a": {{ "kind": "linux", "runtime": "namespace", "hostname": "a" }} }},
                      "links": [{{ "a": {{ "at": {{ "node": "a" }}, "interface": "x", "mac": "02:00:00:00:00:01" }}, {link} }}] }}"#
            );
            serde_json::from_str::<Lab>(&text).map_err(|error| error.to_string())
        };
        let host = r#""b": { "at": "host", "interface": "y", "mac": "02:00:00:00:00:02" }"#;
        let vxlan = |vni: u32| format!(r#""kind": {{ "vxlan": {{ "remote": "h", "vni": {vni}, "dst_port": 1 }} }}"#);
        assert!(lab(&format!(r#"{host}, "kind": "management-net""#)).is_ok());
        assert!(lab(&vxlan(16_777_215)).is_ok());
        for bad in [
            r#""kind": "management-net""#.to_owned(),
            r#""kind": "veth-stitch""#.to_owned(),
            format!(r#"{host}, "kind": {{ "macvlan": {{ "parent": "eno1" }} }}"#),
            format!("{host}, {}", vxlan(1)),
            vxlan(16_777_216),
        ] {
            let error = lab(&bad).unwrap_err();
            assert!(error.contains("link "), "{bad}: {error}");
        }
    }

    #[test]
    fn what_comes_over_the_wire_is_checked_like_a_file() {
        let lab = |node: &str| {
            let text = format!(
                r#"{{ "name": "t", "nodes": {{ "a": {{ "kind": "linux", "runtime": "namespace", {node} }} }} }}"#
            );
            serde_json::from_str::<Lab>(&text).map_err(|error| error.to_string())
        };
        assert!(lab(r#""hostname": "a""#).is_ok());
        for bad in [
            r#""hostname": """#,
            r#""hostname": "a b""#,
            r#""hostname": "a", "sysctls": { "../../etc/x": "1" }"#,
            r#""hostname": "a", "env": { "A=B": "1" }"#,
            r#""hostname": "a", "binds": [{ "source": "relative", "target": "/x" }]"#,
            r#""hostname": "a", "binds": [{ "source": "/a", "target": "/x/../../etc" }]"#,
            r#""hostname": "a", "binds": [{ "source": "/a", "target": "/" }]"#,
            r#""hostname": "a", "exec": [[]]"#,
            r#""hostname": "a", "stages": { "create": { "exec": [{ "command": [] }] } }"#,
            r#""hostname": "a", "stages": { "create": { "wait_for": [{ "node": "b", "stage": "exit" }] } }"#,
            r#""hostname": "a", "stages": { "create": { "wait_for": [{ "node": "a", "stage": "exit" }] } }"#,
            r#""hostname": "a", "container": { "volumes": [{ "target": "x" }] }"#,
            r#""hostname": "a", "config": { "license": { "path": "../lic" } }"#,
            r#""hostname": "a", "cmd": ["a\u0000"]"#,
        ] {
            let error = lab(bad).unwrap_err();
            assert!(error.contains("node `a`: "), "{bad}: {error}");
        }
    }
}
