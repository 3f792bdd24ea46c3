//! Labs as tables.

use std::fmt::Write;

use netloom_engine::{EndView, Health, LabView, LinkView, NodeView, Pause, Phase, Trouble};
use netloom_model::{LabName, NodeName};
use netloom_plan::{Live, LiveMark, NodeState};

use super::{table, text};

/// One lab: what there is to say about it, its nodes, its links.
pub(crate) fn lab(view: &LabView) -> String {
    let mut out = format!("lab {}: {}", view.name, summary(view));
    if let Some(source) = &view.source {
        let _ = write!(out, ", from {source}");
    }
    out.push('\n');
    if let Some(held) = &view.held {
        let _ = writeln!(out, "held: {held}; `netloom deploy` goes on, `netloom destroy` removes it");
    }
    if let Some(paused) = paused(view) {
        let _ = writeln!(out, "{paused}");
    }
    if view.phase.is_none() {
        let name = &view.name;
        let ways = format!("`netloom adopt {name}` takes it back, `netloom destroy --name {name}` removes it");
        let _ = writeln!(out, "found by its marks, unknown to the agent: {ways}");
    }
    if let Some(live) = live(&view.live) {
        let _ = writeln!(out, "edited live: {live}; `netloom export {}` writes that into a file", view.name);
    }
    let off: Vec<NodeName> = view.nodes.iter().filter(|node| node.stopped).map(|node| node.name.clone()).collect();
    if let Some(stopped) = stopped(&view.name, &off) {
        let _ = writeln!(out, "{stopped}");
    }
    if let Some(stale) = &view.stale {
        let _ = writeln!(out, "as last seen: {stale}");
    }
    if !view.nodes.is_empty() {
        let _ = write!(out, "\n{}", nodes(&view.nodes));
    }
    if !view.links.is_empty() {
        let _ = write!(out, "\n{}", links(&view.links));
    }
    out.push_str(&left_out(&view.links));
    out.push_str(&troubles(&view.troubles));
    for node in &view.nodes {
        if let NodeState::Failed { cause } = &node.state {
            let _ = writeln!(out, "\n{}: {cause}", node.name);
        }
        if let Some(note) = &node.note {
            let _ = writeln!(out, "\n{}: {note}", node.name);
        }
        if let Some(output) = node.last_output.as_deref().map(str::trim_end).filter(|output| !output.is_empty()) {
            let _ = writeln!(out, "\nthe last output of {} ({}):", node.name, node.state.word());
            out.extend(output.lines().map(|line| format!("  {line}\n")));
        }
    }
    out
}

/// That and why nothing is done for a lab, and what to write.
pub(crate) fn paused(view: &LabView) -> Option<String> {
    let Pause { why, since } = view.paused.as_ref()?;
    let (name, since) = (&view.name, humantime::format_rfc3339_seconds(*since));
    Some(format!("paused since {since}: {why}; `netloom deploy` goes on, `netloom destroy --name {name}` removes it"))
}

/// That nodes stay stopped and how they are started, if there are any.
pub(crate) fn stopped(lab: &LabName, nodes: &[NodeName]) -> Option<String> {
    let first = nodes.first()?;
    let all: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
    let stay = if all.len() == 1 { "it stays" } else { "they stay" };
    Some(format!("stopped: {}; {stay} so until `netloom node start {lab}/{first}`", all.join(", ")))
}

/// What live edits made other than the file, if anything.
fn live(live: &Live) -> Option<String> {
    let nodes = live.nodes.iter().map(|(name, mark)| (*mark, format!("node {name}")));
    let links = live.links.iter().map(|(id, mark)| (*mark, format!("link {id}")));
    let all: Vec<(LiveMark, String)> = nodes.chain(links).collect();
    let of = |wanted, word: &str| {
        let named: Vec<&str> = all.iter().filter(|(mark, _)| *mark == wanted).map(|(_, name)| name.as_str()).collect();
        (!named.is_empty()).then(|| format!("{} {word}", named.join(", ")))
    };
    let said = [of(LiveMark::Added, "added"), of(LiveMark::Changed, "changed"), of(LiveMark::Removed, "removed")];
    let said: Vec<String> = said.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// All labs, one line each.
pub(crate) fn labs(views: &[LabView]) -> String {
    let mut table = table(&["LAB", "STATE", "NODES", "LINKS", "FROM"]);
    for view in views {
        let (nodes, links) = (view.nodes.len(), view.links.len());
        table.add_row(vec![
            view.name.to_string(),
            state(view).to_owned(),
            format!("{}/{nodes}", view.nodes.iter().filter(|node| is_running(node)).count()),
            format!("{}/{links}", view.links.iter().filter(|link| link.state == "up").count()),
            view.source.clone().unwrap_or_default(),
        ]);
    }
    text(table)
}

fn summary(view: &LabView) -> String {
    let running = view.nodes.iter().filter(|node| is_running(node)).count();
    let up = view.links.iter().filter(|link| link.state == "up").count();
    let nodes = format!("{running} of {} running", super::count(view.nodes.len(), "node"));
    match view.links.len() {
        0 => nodes,
        links => format!("{nodes}, {up} of {} up", super::count(links, "link")),
    }
}

/// The state of a whole lab in one word.
fn state(view: &LabView) -> &'static str {
    if view.paused.is_some() {
        return "paused";
    }
    if view.held.is_some() {
        return "held";
    }
    match view.phase {
        None => "unknown",
        Some(Phase::Destroy) => "removing",
        Some(Phase::Run) if view.nodes.iter().all(is_stopped) && !view.nodes.is_empty() => "stopped",
        Some(Phase::Run) if view.nodes.iter().all(|node| node.ready || is_stopped(node) || is_left_out(node)) => {
            "ready"
        }
        Some(Phase::Run) if view.nodes.iter().any(is_over) => "degraded",
        Some(Phase::Run) => "changing",
    }
}

fn is_running(node: &NodeView) -> bool {
    node.state == NodeState::Running
}

/// A node that a person stopped is as it should be.
fn is_stopped(node: &NodeView) -> bool {
    node.stopped && node.state == NodeState::Stopped
}

/// One that this version cannot make is as it will be.
fn is_left_out(node: &NodeView) -> bool {
    node.left_out.is_some()
}

fn is_over(node: &NodeView) -> bool {
    let has_ended = matches!(node.state, NodeState::Exited { .. } | NodeState::Failed { .. });
    (has_ended || node.health == Some(Health::Unhealthy)) && !node.stopped
}

fn nodes(views: &[NodeView]) -> String {
    let mut table = table(&["NODE", "KIND", "STATE", "READY", "PID", "ADDRESSES"]);
    for node in views {
        let kind = match (node.kind.as_str(), node.runtime) {
            ("linux", Some(runtime)) => word(&runtime),
            (kind, _) => kind.to_owned(),
        };
        let state = match (&node.state, node.health) {
            (NodeState::Exited { code }, _) => format!("exited({code})"),
            (NodeState::Running, Some(health)) => format!("running ({})", health.word()),
            (NodeState::Absent, _) if is_left_out(node) => "left out".to_owned(),
            (other, _) => other.word().to_owned(),
        };
        table.add_row(vec![
            node.name.to_string(),
            kind,
            state,
            if node.ready { "yes" } else { "no" }.to_owned(),
            node.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            node.addresses.join("\n"),
        ]);
    }
    text(table)
}

/// Each step that fails, with the reason and when it is tried again.
fn troubles(all: &[Trouble]) -> String {
    let line = |trouble: &Trouble| {
        let again = match trouble.again {
            Some(at) => format!("tried again at {}", humantime::format_rfc3339_seconds(at)),
            None => "not tried again before the lab is changed or deployed once more".to_owned(),
        };
        format!("\n{} fails ({again}): {}\n", trouble.step, trouble.cause)
    };
    all.iter().map(line).collect()
}

/// Each link that is not made, with the reason.
fn left_out(views: &[LinkView]) -> String {
    let line = |link: &LinkView| Some(format!("\nlink {} is left out: {}\n", link.id, link.left_out.as_ref()?));
    views.iter().filter_map(line).collect()
}

fn links(views: &[LinkView]) -> String {
    let is_switched = views.iter().any(|link| !link.switch.is_empty());
    let heads: &[&str] =
        if is_switched { &["LINK", "", "STATE", "MTU", "SWITCH"] } else { &["LINK", "", "STATE", "MTU"] };
    let mut table = table(heads);
    for link in views {
        let end =
            |at: usize| link.ends.get(at).map(|end| end.end.clone()).or_else(|| link.far.clone()).unwrap_or_default();
        let cut: Vec<&EndView> = link.ends.iter().filter(|end| end.cut).collect();
        let state = match cut.as_slice() {
            [] if link.left_out.is_some() => "left out".to_owned(),
            [] if link.far_off => format!("{} (off at the far end)", link.state),
            [] => link.state.clone(),
            cut => {
                let ends: Vec<&str> = cut.iter().map(|end| end.end.as_str()).collect();
                format!("{} (cut at {})", link.state, ends.join(" and "))
            }
        };
        // What a tunnel carries that nothing is asked of stands only at its ends.
        let mtu = link.ends.iter().filter_map(|end| end.mtu).min().unwrap_or(link.mtu);
        let mut row = vec![end(0), end(1), state, mtu.to_string()];
        row.extend(is_switched.then(|| switch(link)));
        table.add_row(row);
    }
    text(table)
}

/// The ports of the switch that a link has: `arch-ovs tag 2050: vh0a…, vh1b…`; of one that is a trunk `sw trunks 10,20: p1`.
fn switch(link: &LinkView) -> String {
    let Some(first) = link.switch.first() else { return String::new() };
    let tag = first.tag.map_or_else(String::new, |tag| format!(" tag {tag}"));
    let trunks: Vec<String> = first.trunks.iter().map(u16::to_string).collect();
    let trunks = if trunks.is_empty() { String::new() } else { format!(" trunks {}", trunks.join(",")) };
    let ports: Vec<String> = link
        .switch
        .iter()
        .map(|port| match &port.fault {
            Some(fault) => format!("{} ({fault})", port.port),
            None => port.port.clone(),
        })
        .collect();
    format!("{}{tag}{trunks}: {}", first.bridge, ports.join(", "))
}

/// A unit variant as it is on the wire.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::SystemTime;

    use super::*;

    pub(in crate::render) fn sample() -> LabView {
        serde_json::from_value(serde_json::json!({
            "name": "ospf", "authority": null, "phase": "run", "generation": 3,
            "source": "/labs/ospf/ospf.clab.yml", "held": null, "stale": null,
            "nodes": [
                { "name": "h1", "kind": "linux", "runtime": "namespace", "container": "clab-ospf-h1",
                  "state": { "phase": "running" }, "ready": true, "pid": 4711,
                  "addresses": ["10.1.0.10/24", "2001:db8:1::10/64"], "last_output": null, "note": null, "seen": null },
                { "name": "r1", "kind": "linux", "runtime": "namespace", "container": "clab-ospf-r1",
                  "state": { "phase": "exited", "code": 127 }, "ready": false, "pid": null, "addresses": [],
                  "last_output": "netloom: frr: not found\n", "note": "started again in 4 s", "seen": null },
                { "name": "sw", "kind": "bridge", "runtime": null, "container": "clab-ospf-sw",
                  "state": { "phase": "running" }, "ready": true, "pid": null, "addresses": [], "last_output": null,
                  "note": null, "seen": null }
            ],
            "links": [
                { "id": "h1:eth1-r1:eth3", "state": "down", "mtu": 9500, "ends": [
                    { "end": "h1:eth1", "admin": "up", "cut": false, "carrier": false, "ifindex": 5, "interface": "eth1",
                      "mac": "02:00:00:00:00:01", "mtu": 9500, "addresses": ["10.1.0.10/24"] },
                    { "end": "r1:eth3", "admin": "down", "cut": true, "carrier": false, "ifindex": 6,
                      "interface": "eth3", "mac": "02:00:00:00:00:02", "mtu": 9500, "addresses": [] } ] },
                { "id": "r1:eth1-sw:p1", "state": "up", "mtu": 1500, "ends": [
                    { "end": "r1:eth1", "admin": "up", "cut": false, "carrier": true, "ifindex": 5, "interface": "eth1",
                      "mac": "02:00:00:00:00:03", "mtu": 1500, "addresses": [] },
                    { "end": "sw:p1", "admin": "up", "cut": false, "carrier": true, "ifindex": 7, "interface": "p1",
                      "mac": "02:00:00:00:00:04", "mtu": 1500, "addresses": [] } ] }
            ]
        }))
        .unwrap()
    }

    #[test]
    fn a_lab_shows_its_nodes_its_links_and_what_went_wrong() {
        insta::assert_snapshot!(lab(&sample()), @r"
        lab ospf: 2 of 3 nodes running, 1 of 2 links up, from /labs/ospf/ospf.clab.yml

        NODE  KIND       STATE        READY  PID   ADDRESSES
        h1    namespace  running      yes    4711  10.1.0.10/24
                                                   2001:db8:1::10/64
        r1    namespace  exited(127)  no
        sw    bridge     running      yes

        LINK              STATE                  MTU
        h1:eth1  r1:eth3  down (cut at r1:eth3)  9500
        r1:eth1  sw:p1    up                     1500

        r1: started again in 4 s

        the last output of r1 (exited):
          netloom: frr: not found
        ");
    }

    #[test]
    fn where_links_lead_to_outside_of_the_lab_is_shown() {
        let mut view = sample();
        view.links[0].ends.truncate(1);
        view.links[0].far = Some("remote:192.0.2.7 vni 7".to_owned());
        assert!(lab(&view).contains("h1:eth1  remote:192.0.2.7 vni 7  down"), "{}", lab(&view));
    }

    #[test]
    fn a_link_shows_what_its_ends_carry_and_without_ends_what_is_wanted() {
        let mut view = sample();
        view.links[1].ends[0].mtu = Some(1450);
        assert!(lab(&view).contains("up                     1450\n"), "{}", lab(&view));
        view.links[1].ends.iter_mut().for_each(|end| end.mtu = None);
        assert!(lab(&view).contains("up                     1500\n"), "{}", lab(&view));
    }

    #[test]
    fn what_fails_is_shown_with_the_reason_and_the_next_try() {
        let mut view = sample();
        view.troubles = serde_json::from_value(serde_json::json!([
            { "step": "node/r1/start", "cause": "cannot start node r1 (docker): no such image",
              "again": "2026-01-02T03:04:05.678Z" },
            { "step": "link/r1:eth1-sw:p1/create", "cause": "cannot make link r1:eth1-sw:p1 (kernel): no" },
        ]))
        .unwrap();
        let text = lab(&view);
        let again =
            "node/r1/start fails (tried again at 2026-01-02T03:04:05Z): cannot start node r1 (docker): no such image";
        assert!(text.contains(again), "{text}");
        assert!(text.contains("/create fails (not tried again before the lab is changed"), "{text}");
    }

    #[test]
    fn a_node_that_was_stopped_is_no_fault_and_how_to_start_it_is_said() {
        let mut view = sample();
        view.nodes[1].state = NodeState::Stopped;
        view.nodes[1].stopped = true;
        let text = lab(&view);
        let says = "stopped: r1; it stays so until `netloom node start ospf/r1`\n";
        assert!(text.contains(says) && text.contains("r1    namespace  stopped"), "{text}");
        assert_eq!(state(&view), "ready");
        view.nodes[2].ready = false;
        assert_eq!(state(&view), "changing");
        view.nodes.drain(2..);
        view.nodes.remove(0);
        assert_eq!(state(&view), "stopped");
    }

    #[test]
    fn what_the_health_check_of_a_node_says_is_shown() {
        let mut view = sample();
        view.nodes.remove(1);
        view.nodes[0].ready = false;
        view.nodes[0].health = Some(Health::Starting);
        assert!(lab(&view).contains("h1    namespace  running (starting)  no"), "{}", lab(&view));
        assert_eq!(state(&view), "changing");
        view.nodes[0].health = Some(Health::Unhealthy);
        assert_eq!(state(&view), "degraded");
    }

    #[test]
    fn a_node_that_cannot_be_made_does_not_keep_a_lab_from_being_ready() {
        let mut view = sample();
        view.nodes.remove(1);
        view.nodes[1].kind = "ovs-bridge".parse().unwrap();
        view.nodes[1].state = NodeState::Absent;
        view.nodes[1].ready = false;
        assert_eq!(state(&view), "changing");
        view.nodes[1].left_out = Some(netloom_model::Lacking::OpenVswitch);
        assert_eq!(state(&view), "ready");
        assert!(lab(&view).contains("sw    ovs-bridge  left out  no"), "{}", lab(&view));
    }

    #[test]
    fn a_lab_that_is_paused_says_why_since_when_and_what_to_write() {
        let mut view = sample();
        view.paused = Some(Pause { why: "it panicked: index out of bounds".into(), since: SystemTime::UNIX_EPOCH });
        let says = "paused since 1970-01-01T00:00:00Z: it panicked: index out of bounds; `netloom deploy` goes on, \
                    `netloom destroy --name ospf` removes it\n";
        assert!(lab(&view).contains(says), "{}", lab(&view));
        assert_eq!(state(&view), "paused");
    }

    #[test]
    fn labs_are_listed_one_per_line() {
        insta::assert_snapshot!(labs(&[sample()]), @r"
        LAB   STATE     NODES  LINKS  FROM
        ospf  degraded  2/3    1/2    /labs/ospf/ospf.clab.yml
        ");
    }
}
