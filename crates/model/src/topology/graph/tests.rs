//! What labs look like.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::topology::{Host, Input, Kinds, Templates, read};

struct Everything;

impl Host for Everything {
    fn exists(&self, _: &Path) -> bool {
        true
    }

    fn home(&self) -> Option<PathBuf> {
        None
    }

    fn content(&self, _: &Path) -> Result<String, String> {
        Ok(String::new())
    }
}

fn graph(text: &str) -> Graph {
    let input = Input {
        text: text.as_bytes(),
        directory: Path::new("/labs"),
        source: None,
        host: &Everything,
        kinds: Kinds::builtin(),
        templates: Templates::default(),
    };
    let outcome = read(&input);
    Graph::of(&outcome.lab.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics)))
}

const FABRIC: &str = r#"
name: fabric
topology:
  defaults: { kind: linux, runtime: namespace }
  groups:
    spines: { labels: { graph-level: 1, graph-icon: router } }
    leaves: { labels: { graph-level: 2 } }
  nodes:
    spine: { group: spines }
    leaf1: { group: leaves }
    leaf2: { group: leaves }
    end: { labels: { graph-level: 3, graph-group: "racks & <rows>" } }
    probe: { labels: { graph-hide: yes } }
    br0: { kind: bridge }
    hv: { kind: host }
  links:
    - endpoints: ["leaf1:eth1", "spine:eth1"]
    - endpoints: ["spine:eth2", "leaf2:eth1"]
    - { endpoints: ["leaf1:eth2", "end:eth1"], mtu: 1500, labels: { area: "0" }, ipv4: [10.0.0.1/31, ""] }
    - endpoints: ["leaf1:eth3", "probe:eth1"]
    - endpoints: ["leaf2:eth3", "br0:p1"]
    - endpoints: ["leaf2:eth4", "host:up"]
    - { type: dummy, endpoint: { node: spine, interface: lo9 } }
"#;

/// Names and labels that mean something to the programs that draw.
const NASTY: &str = r#"
name: nasty
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes:
    a: { group: "\"];x[\\", labels: { graph-icon: "a\"b\\", graph-level: high } }
    subgraph: { group: "<b>#1; `&amp;`\nend" }
  links:
    - endpoints: ["a:\"]--[&<i>\\N", "subgraph:e|th#1;"]
    - endpoints: ["a:eth2", "host:x"]
"#;

#[test]
fn graphviz_gets_groups_rows_and_interfaces() {
    insta::assert_snapshot!(graph(FABRIC).dot(), @r##"
    graph "fabric" {
      graph [label="fabric", labelloc=t, newrank=true, fontname="sans-serif"]
      node [fontname="sans-serif"]
      edge [fontname="sans-serif", fontsize=9]
      "br0" [label="br0", shape=hexagon]
      "hv" [label="hv", shape=box3d]
      subgraph "cluster_1" {
        label="leaves"
        "leaf1" [label="leaf1", shape=box, style=rounded]
        "leaf2" [label="leaf2", shape=box, style=rounded]
      }
      subgraph "cluster_2" {
        label="racks &amp; <rows>"
        "end" [label="end", shape=box, style=rounded]
      }
      subgraph "cluster_3" {
        label="spines"
        "spine" [label="spine", shape=box, style=rounded, class="router"]
      }
      { rank=same; "spine" }
      { rank=same; "leaf1"; "leaf2" }
      { rank=same; "end" }
      "spine" -- "leaf1" -- "end" [style=invis]
      "leaf2" -- "br0" [taillabel="eth3", headlabel="p1"]
      "leaf1" -- "end" [taillabel="eth2", headlabel="eth1"]
      "leaf2" -- "hv" [taillabel="eth4", headlabel="up"]
      "spine" -- "leaf1" [taillabel="eth1", headlabel="eth1"]
      "spine" -- "leaf2" [taillabel="eth2", headlabel="eth1"]
      "end:5" [shape=point]
      "spine" -- "end:5" [taillabel="lo9"]
    }
    "##);
}

#[test]
fn mermaid_gets_groups_and_interfaces() {
    insta::assert_snapshot!(graph(FABRIC).mermaid(), @r##"
    flowchart TD
      n0{{"br0"}}
      n1[["hv"]]
      subgraph g1["leaves"]
        n2("leaf1")
        n3("leaf2")
      end
      subgraph g2["racks #38; #60;rows#62;"]
        n4("end")
      end
      subgraph g3["spines"]
        n5("spine")
      end
      n3 ---|"eth3 - p1"| n0
      n2 ---|"eth2 - eth1"| n4
      n3 ---|"eth4 - up"| n1
      n5 ---|"eth1 - eth1"| n2
      n5 ---|"eth2 - eth1"| n3
      n5 ---|"lo9"| e5(( ))
    "##);
}

#[test]
fn json_has_everything_that_is_drawn_and_what_is_hidden() {
    let json = serde_json::to_value(graph(FABRIC)).unwrap();
    let node = |name: &str| json["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name).unwrap().clone();
    assert_eq!(
        node("spine"),
        json!({
            "name": "spine", "kind": "linux", "shape": "node", "group": "spines", "level": 1, "icon": "router", "hidden": false,
            "labels": { "graph-level": "1", "graph-icon": "router" },
        })
    );
    assert_eq!(
        (&node("probe")["hidden"], &node("hv")["shape"], &node("br0")["shape"]),
        (&json!(true), &json!("host"), &json!("bridge"))
    );
    let links = json["links"].as_array().unwrap();
    assert_eq!(links.len(), 7);
    assert_eq!(
        links.iter().find(|link| link["id"] == "end:eth1-leaf1:eth2").unwrap(),
        &json!({
            "id": "end:eth1-leaf1:eth2", "mtu": 1500, "labels": { "area": "0" },
            "ends": [{ "node": "leaf1", "interface": "eth2", "ipv4": "10.0.0.1/31" }, { "node": "end", "interface": "eth1" }],
        })
    );
}

#[test]
fn names_and_labels_stay_texts() {
    insta::assert_snapshot!(graph(NASTY).dot(), @r##"
    graph "nasty" {
      graph [label="nasty", labelloc=t, newrank=true, fontname="sans-serif"]
      node [fontname="sans-serif"]
      edge [fontname="sans-serif", fontsize=9]
      "host" [label="host", shape=box3d]
      subgraph "cluster_1" {
        label="\"];x[\\"
        "a" [label="a", shape=box, style=rounded, class="a\"b\\"]
      }
      subgraph "cluster_2" {
        label="<b>#1; `&amp;amp;` end"
        "subgraph" [label="subgraph", shape=box, style=rounded]
      }
      "a" -- "subgraph" [taillabel="\"]--[&amp;<i>\\N", headlabel="e|th#1;"]
      "a" -- "host" [taillabel="eth2", headlabel="x"]
    }
    "##);
    insta::assert_snapshot!(graph(NASTY).mermaid(), @r##"
    flowchart TD
      n0[["host"]]
      subgraph g1["#34;]#59;x[#92;"]
        n1("a")
      end
      subgraph g2["#60;b#62;#35;1#59; #96;#38;amp#59;#96; end"]
        n2("subgraph")
      end
      n1 ---|"#34;]--[#38;#60;i#62;#92;N - e#124;th#35;1#59;"| n2
      n1 ---|"eth2 - x"| n0
    "##);
}

#[test]
fn a_macvlan_leads_to_its_parent_and_a_vxlan_to_the_other_host() {
    let text = r#"
name: out
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes: { a: , b: }
  links:
    - endpoints: ["a:eth1", "macvlan:eno1"]
    - { type: macvlan, endpoint: { node: b, interface: eth1 }, host-interface: eno1, mode: vepa }
    - { type: vxlan, endpoint: { node: a, interface: eth2 }, remote: 192.0.2.7, vni: 100 }
    - { type: vxlan-stitch, endpoint: { node: b, interface: eth2 }, remote: "2001:db8::7", vni: 101 }
"#;
    insta::assert_snapshot!(graph(text).dot(), @r##"
    graph "out" {
      graph [label="out", labelloc=t, newrank=true, fontname="sans-serif"]
      node [fontname="sans-serif"]
      edge [fontname="sans-serif", fontsize=9]
      "a" [label="a", shape=box, style=rounded]
      "b" [label="b", shape=box, style=rounded]
      "host:eno1" [label="host:eno1", shape=box3d]
      "remote:192.0.2.7" [label="remote:192.0.2.7", shape=ellipse, style=dashed]
      "remote:2001:db8::7" [label="remote:2001:db8::7", shape=ellipse, style=dashed]
      "a" -- "host:eno1" [taillabel="eth1", headlabel="eno1"]
      "a" -- "remote:192.0.2.7" [taillabel="eth2", headlabel="vni 100"]
      "b" -- "host:eno1" [taillabel="eth1", headlabel="eno1"]
      "b" -- "remote:2001:db8::7" [taillabel="eth2", headlabel="vni 101"]
    }
    "##);
}
