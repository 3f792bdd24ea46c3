//! Two agents on one bridge, each with a lab of many links at the same moment.

use std::collections::BTreeMap;
use std::process::Stdio;

use netloom_ovs_fixture::Ovs;

use super::ports;
use crate::sandbox::{NETLOOM, Sandbox};
use crate::two_agents::Agent;

/// As many as a debug build makes in seconds.
const LINKS: usize = 120;

fn pair(name: &str) -> String {
    let links = (1..=LINKS).map(|at| format!("    - endpoints: [\"a:eth{at}\", \"b:eth{at}\"]\n"));
    format!(
        "name: {name}\nsettings: {{ fabric: ovs }}\ntopology:\n  defaults: {{ kind: linux, runtime: namespace }}\n  \
         nodes: {{ a: , b: }}\n  links:\n{}",
        links.collect::<String>()
    )
}

fn is_whole(agent: &Agent<'_>, lab: &str) -> bool {
    let shown = agent.netloom(&["inspect", "--name", lab, "--json"]);
    shown.code == 0 && {
        let lab = shown.json();
        let links = lab["links"].as_array().unwrap();
        links.len() == LINKS && links.iter().all(|link| link["state"] == "up")
    }
}

/// The tags of a lab's links, as its agent shows them; none twice.
fn tags(agent: &Agent<'_>, lab: &str) -> BTreeMap<String, u64> {
    let shown = agent.netloom(&["inspect", "--name", lab, "--json"]).code(0).json();
    let of = |link: &serde_json::Value| (link["id"].to_string(), link["switch"][0]["tag"].as_u64().unwrap());
    shown["links"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn two_agents_that_wire_many_links_on_one_bridge_share_no_tag_though_one_is_killed() {
    let Some(mut host) = Sandbox::new() else { return };
    let Some(ovs) = Ovs::start_with_switch_by(&mut host.command("env")) else { return };
    host.environment.push(("NETLOOM_OVS_SOCKET", ovs.socket().display().to_string()));
    let (one, two) = (Agent::new(&host, "one", 8001), Agent::new(&host, "two", 8002));
    let files = ["one", "two"].map(|name| host.topology(name, &pair(name)));
    let sees = |agent: &Agent<'_>| agent.netloom(&["status"]).out.contains("ovs");
    host.until("both see the switch", |_| sees(&one) && sees(&two));
    let deploy = |agent: &Agent<'_>, file: &str| {
        let mut command = agent.command(NETLOOM);
        command.args(["deploy", "-t", file]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let (mut first, mut second) = (deploy(&one, &files[0]), deploy(&two, &files[1]));
    let claims = || ovs.vsctl(["--if-exists", "get", "bridge", "arch-ovs", "external_ids"]);
    host.until("it has begun", |_| claims().contains("/one/"));
    one.kill();
    first.wait().unwrap();
    one.start();
    assert!(second.wait().unwrap().success());
    host.until("the other lab is whole", |_| is_whole(&two, "two"));
    host.until("the lab of the killed one is whole", |_| is_whole(&one, "one"));

    let all = ports(&ovs);
    let mut many: BTreeMap<&str, usize> = BTreeMap::new();
    for port in &all {
        *many.entry(port.split(' ').nth(1).unwrap()).or_default() += 1;
    }
    assert_eq!((all.len(), many.len()), (4 * LINKS, 2 * LINKS), "two ports for each tag");
    assert!(many.values().all(|ports| *ports == 2), "{many:?}");
    let of_labs = tags(&one, "one").into_values().chain(tags(&two, "two").into_values());
    let of_labs: std::collections::BTreeSet<u64> = of_labs.collect();
    assert_eq!(of_labs.len(), 2 * LINKS, "no tag twice");

    // Each removes what is its own.
    let kept = tags(&two, "two");
    one.netloom(&["destroy", "--all", "--yes"]).code(0);
    assert!(!claims().contains("/one/"));
    assert!(is_whole(&two, "two"));
    assert_eq!(tags(&two, "two"), kept);
    assert_eq!(ports(&ovs).len(), 2 * LINKS);
    drop(ovs);
}
