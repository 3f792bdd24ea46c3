//! What would be adopted of a lab, as text. Pure.

use std::fmt::Write as _;

use netloom_engine::{TakenNode, TakenPort, TakenTunnel, Takeover};

/// A lab, with each thing of it on a line of its own.
pub(crate) fn takeover(of: &Takeover) -> String {
    let mut out = String::new();
    let whole = if of.refused.is_empty() { "would be adopted" } else { "would not be adopted" };
    let _ = writeln!(out, "lab {} {whole}", of.lab);
    for TakenNode { name, container, runtime_id } in &of.nodes {
        let id = runtime_id.as_deref().map(|id| id.get(..12).unwrap_or(id)).unwrap_or_default();
        let container =
            container.as_ref().map(|container| format!("  container {container} ({id})")).unwrap_or_default();
        let _ = writeln!(out, "  node     {name}{container}");
    }
    for TakenPort { node, interface, host, tag } in &of.ports {
        let _ = writeln!(out, "  port     {node}:{interface}  is {host}, tag {tag}");
    }
    for segment in &of.segments {
        let _ = writeln!(out, "  segment  {}  tag {}: {}", segment.link, segment.tag, segment.ports.join(", "));
    }
    for TakenTunnel { link, host, tag, vni, local, remote } in &of.tunnels {
        let _ = writeln!(out, "  tunnel   {link}  is {host}, tag {tag}, VNI {vni} from {local} to {remote}");
    }
    for link in &of.links {
        let _ = writeln!(out, "  link     {link}");
    }
    for left in &of.left_out {
        let _ = writeln!(out, "  left out: {}: {}", left.what, left.why);
    }
    for why in &of.refused {
        let _ = writeln!(out, "  refused: {why}");
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_lab_is_shown_with_what_is_left_out_of_it() {
        let takeover = serde_json::json!({ "lab": "lab",
            "nodes": [{ "name": "r1", "container": "archetype-lab-r1", "runtime_id": "0123456789abcdef" }],
            "ports": [{ "node": "r1", "interface": "eth1", "host": "vh614ed63ed40", "tag": 2050 }],
            "segments": [{ "link": "r1:eth1-r2:eth1", "tag": 2050, "ports": ["r1:eth1"] }],
            "tunnels": [{ "link": "r1:eth1-r2:eth1", "host": "vxlan-bd664877", "tag": 2050, "vni": 7,
                "local": "10.0.0.11", "remote": "10.0.0.12" }],
            "left_out": [{ "what": "port vhx", "why": "it has no tag" }], "refused": ["because"] });
        insta::assert_snapshot!(super::takeover(&serde_json::from_value(takeover).unwrap()), @r"
        lab lab would not be adopted
          node     r1  container archetype-lab-r1 (0123456789ab)
          port     r1:eth1  is vh614ed63ed40, tag 2050
          segment  r1:eth1-r2:eth1  tag 2050: r1:eth1
          tunnel   r1:eth1-r2:eth1  is vxlan-bd664877, tag 2050, VNI 7 from 10.0.0.11 to 10.0.0.12
          left out: port vhx: it has no tag
          refused: because
        ");
    }
}
