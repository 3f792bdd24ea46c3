//! Live edits by command line.

use std::io::{BufRead, BufReader};

use crate::lab::pair;
use crate::sandbox::Sandbox;

fn ping(host: &Sandbox, node: &str, to: &str) -> i32 {
    host.netloom(&["exec", "--name", "x", "--node", node, "--", "ping", "-c", "1", "-W", "1", to]).code
}

#[test]
fn links_are_added_and_removed_while_the_lab_runs() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("x", &pair("x", "    c:\n"));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let add = ["link", "add", "x", "a:eth5", "c:eth1", "--mtu", "1400", "--ipv4", "10.9.0.1/30,10.9.0.2/30"];
    let added = host.netloom(&add).code(0);
    assert_eq!(added.out, "lab x: link a:eth5 c:eth1 is up\n");
    assert_eq!(ping(&host, "a", "10.9.0.2"), 0);
    host.netloom(&add).code(2).says("between a:eth5 and c:eth1 already");
    let lab = host.lab("x");
    let link = lab["links"].as_array().unwrap().iter().find(|link| link["id"] == "a:eth5-c:eth1").cloned().unwrap();
    assert_eq!((link["mtu"].as_u64(), link["state"].as_str()), (Some(1400), Some("up")), "{link}");
    host.netloom(&["link", "add", "x", "c:eth2", "host:x-up"]).code(0);
    host.sh("ip link show x-up").code(0);

    host.netloom(&["link", "add", "x", "a:eth6", "z:eth1"]).code(2).says("no node `z`");
    host.netloom(&["link", "add", "x", "a:eth1", "c:eth6"]).code(2).says("interface `eth1` of node `a`");
    host.netloom(&["link", "add", "x", "a:eth6", "c:eth6", "--ipv4", "10.0.0.300/8"]).code(2).says("10.0.0.300/8");
    host.netloom(&["link", "add", "y", "a:eth6", "c:eth6"]).code(2).says("no lab `y`");
    host.netloom(&["link", "rm", "x", "a:eth5", "b:eth1"]).code(2).says("a:eth5 and c:eth1");
    host.netloom(&["link", "rm", "x", "a:eth9"]).code(2).says("its ends are a:eth1, b:eth1");

    let removed = host.netloom(&["link", "rm", "x", "c:eth1", "a:eth5", "--json"]).code(0);
    let last: serde_json::Value = serde_json::from_str(removed.out.lines().last().unwrap()).unwrap();
    assert_eq!((last["kind"].as_str(), last["state"].as_str()), (Some("edit"), Some("succeeded")), "{last}");
    host.netloom(&["exec", "--name", "x", "--node", "a", "--", "ip", "link", "show", "eth5"]).code(1);
    assert_eq!(ping(&host, "a", "10.0.0.2"), 0);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn many_command_lines_edit_one_lab_and_every_edit_is_true() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", "    c:\n"));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let running: Vec<_> =
        (0..8).map(|n| host.start(&["link", "add", "x", &format!("a:p{n}"), &format!("c:p{n}")])).collect();
    for command in running {
        let ended = command.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
    let lab = host.lab("x");
    let links = lab["links"].as_array().unwrap();
    assert_eq!(links.len(), 9, "{lab}");
    assert!(links.iter().all(|link| link["state"] == "up"), "{lab}");
}

#[test]
fn a_node_is_added_with_a_link_and_removed_with_it() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let add = ["node", "add", "x/c", "--cmd", "sleep 1000", "--env", "WHO=c", "--exec", "ip link set lo mtu 9000"];
    assert_eq!(host.netloom(&add).code(0).out, "lab x: node c is added\n");
    host.netloom(&add).code(2).says("has a node `c` already");
    host.netloom(&["link", "add", "x", "b:eth2", "c:eth1", "--ipv4", "10.9.0.1/30,10.9.0.2/30"]).code(0);
    assert_eq!(ping(&host, "c", "10.9.0.1"), 0);
    host.netloom(&["exec", "--name", "x", "--node", "c", "--", "sh", "-c", "[ $WHO = c ]"]).code(0);

    let fields = host.topology("node", "kind: linux\nruntime: namespace\nmemmory: 1G\n");
    host.netloom(&["node", "add", "x/d", "--from", &fields]).code(2).says(":3:1: error").says("did you mean `memory`?");
    host.topology("node", "kind: linux\nruntime: namespace\nmemory: 64MB\n");
    host.netloom(&["node", "add", "x/d", "--from", &fields]).code(0);
    host.netloom(&["node", "add", "x/e", "--bind", "/no/such:/x"]).code(2).says("does not exist");
    host.netloom(&["node", "rm", "x/d"]).code(0).says("node d is removed\n");

    host.netloom(&["node", "rm", "x/c"]).code(0).says("node c is removed with its link b:eth2 – c:eth1");
    host.netloom(&["node", "rm", "x/c"]).code(2).says("there is no node `c` in lab `x`; it has a, b");
    assert_eq!(ping(&host, "a", "10.0.0.2"), 0);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn an_exported_lab_is_the_file_that_changes_nothing() {
    let Some(host) = Sandbox::with_agent() else { return };
    std::fs::write(host.labs.path().join("motd"), "hello").unwrap();
    let file = host.topology("x", &pair("x", "    c: { cmd: sleep 1000, binds: [\"motd:/etc/motd\"] }\n"));
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.netloom(&["link", "add", "x", "c:eth1", "a:eth5", "--mtu", "1400"]).code(0);
    host.netloom(&["node", "add", "x/d", "--exec", "true"]).code(0);
    let plan = host.netloom(&["deploy", "-t", &file, "--dry-run"]).code(0);
    assert!(plan.out.contains("delete link a:eth5-c:eth1") && plan.out.contains("delete node d"), "{}", plan.out);
    assert_eq!(plan.out.matches("(added live, not in the file)").count(), 2, "{}", plan.out);

    host.netloom(&["inspect", "--name", "x"]).code(0).says("edited live: node d, link a:eth5-c:eth1 added; ");
    assert_eq!(host.lab("x")["live"]["nodes"]["d"], "added");

    let text = host.netloom(&["export", "x"]).code(0).out;
    assert_eq!(host.netloom(&["export", "x"]).code(0).out, text);
    assert!(text.contains(&format!("{}/motd", host.labs.path().display())), "{text}");
    host.netloom(&["export", "x", "-o", &file]).code(0);
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("\"./motd:/etc/motd\""), "{written}");
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    assert_eq!(host.lab("x")["live"], serde_json::Value::Null);
    host.netloom(&["export", "y"]).code(2).says("no lab `y`");
}

#[test]
fn an_edit_that_takes_long_says_what_it_is_at() {
    let Some(host) = Sandbox::with_agent() else { return };
    let stubborn = "    c: { cmd: \"sh -c 'trap : TERM; while :; do sleep 1; done'\" }\n";
    let file = host.topology("x", &pair("x", stubborn));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let mut stop = host.start(&["node", "stop", "x/c"]);
    let mut line = String::new();
    BufReader::new(stop.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "  stop node c …\n");
    stop.wait().unwrap();
}

#[test]
fn several_nodes_are_stopped_and_started_at_once() {
    let Some(host) = Sandbox::with_agent() else { return };
    for name in ["x", "y"] {
        let file = host.topology(name, &pair(name, ""));
        host.netloom(&["deploy", "-t", &file]).code(0);
    }
    let nodes = ["x/b", "y/a", "x/a"];
    let turn = |word: &str| host.netloom(&[&["node", word], &nodes[..]].concat()).code(0).out;
    assert_eq!(turn("stop"), "lab x: nodes a, b are stopped\nlab y: node a is stopped\n");
    assert_eq!(turn("start"), "lab x: nodes a, b run\nlab y: node a runs\n");
    host.netloom(&["node", "stop", "z/a", "y/a", "x/c"]).code(2).says("no node `c`").says("no lab `z`");
    assert_eq!(host.netloom(&["node", "stop", "y/a"]).code(0).out, "lab y: node a is stopped\n");
}

#[test]
fn a_lab_that_runs_is_drawn_with_its_live_edits() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let drawn = || host.netloom(&["graph", "--name", "x"]).code(0).out;
    assert_eq!(drawn(), host.netloom(&["graph", &file]).code(0).out);
    host.netloom(&["link", "add", "x", "a:eth5", "b:eth5"]).code(0);
    assert!(drawn().contains("\"a\" -- \"b\" [taillabel=\"eth5\", headlabel=\"eth5\"]"), "{}", drawn());
    host.netloom(&["graph", "--name", "y"]).code(2).says("no lab `y`");
}
