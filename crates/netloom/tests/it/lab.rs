//! Labs from file to network and back, and what can go wrong on the way.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::sandbox::{Sandbox, example};

/// A lab of two nodes and a link, and `more` below its nodes.
pub(crate) fn pair(name: &str, more: &str) -> String {
    format!(
        "name: {name}\ntopology:\n  defaults: {{ kind: linux, runtime: namespace }}\n  nodes:\n    a:\n    b:\n{more}  links:\n    \
         - endpoints: [\"a:eth1\", \"b:eth1\"]\n      ipv4: [\"10.0.0.1/24\", \"10.0.0.2/24\"]\n"
    )
}

pub(crate) fn node(lab: &serde_json::Value, name: &str) -> serde_json::Value {
    let nodes = lab["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["name"] == name).cloned().unwrap_or_default()
}

#[test]
fn a_lab_comes_up_carries_traffic_and_goes_without_a_trace() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = example("minimal");
    let file = file.to_str().unwrap();

    let plan = host.netloom(&["deploy", "-t", file, "--dry-run"]).code(0).says("create node h1");
    assert!(plan.out.starts_with("lab minimal: "), "{}", plan.out);
    before.are_all(&host);

    let deployed = host.netloom(&["deploy", "-t", file]).code(0).says("2 of 2 nodes running, 1 of 1 link up");
    assert!(deployed.err.contains("create node h1"), "progress: {}", deployed.err);
    host.netloom(&["exec", "--name", "minimal", "--node", "h1", "--", "ping", "-c", "1", "-W", "5", "10.0.0.2"])
        .code(0);
    host.netloom(&["exec", "--name", "minimal", "--node", "h2", "--", "ping", "-c", "1", "-W", "5", "h1"]).code(0);
    host.netloom(&["deploy", "-t", file]).code(0).says("lab minimal: nothing to change");

    let lab = host.lab("minimal");
    assert_eq!(node(&lab, "h1")["ready"], true, "{lab}");
    assert_eq!(lab["links"][0]["state"], "up", "{lab}");
    host.netloom(&["inspect"]).code(0).says("minimal  ready");

    host.netloom(&["destroy", "-t", file]).code(0).says("lab minimal: destroyed");
    host.netloom(&["inspect", "--name", "minimal"]).code(2).says("there is no lab `minimal`");
    before.are_all(&host);
}

#[test]
fn what_a_stage_is_to_run_on_the_host_is_run_there_once() {
    let Some(host) = Sandbox::with_agent() else { return };
    let told = host.root.path().join("told");
    let command = format!("sh -c 'readlink /proc/self/ns/net >>{}; id -u'", told.display());
    let stages = format!("{{ configure: {{ exec: [{{ command: \"{command}\", target: host, phase: on-exit }}] }} }}");
    let text = format!(
        "name: x\ntopology:\n  nodes:\n    a: {{ kind: linux, runtime: namespace, exec: [\"true\"], stages: {stages} }}\n"
    );
    let file = host.topology("x", &text);
    host.netloom(&["deploy", "-t", &file]).code(0).says("exec on the host for a");
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    assert_eq!(fs::read_to_string(&told).unwrap(), host.sh("readlink /proc/self/ns/net").code(0).out);

    let fails = text.replace("id -u", "exit 3");
    let file = host.topology("x", &fails);
    host.netloom(&["node", "restart", "x/a"]).code(0);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    host.netloom(&["deploy", "-t", &file]).code(1).says("exec on the host for a").says("exit code 3");
    host.netloom(&["destroy", "--name", "x"]).code(0);
}

#[test]
fn commands_of_a_node_that_is_the_host_are_run_on_it_once() {
    let Some(host) = Sandbox::with_agent() else { return };
    let told = host.root.path().join("told");
    let command = format!("sh -c 'readlink /proc/self/ns/net >>{}; ip -br link show up0; id -u'", told.display());
    let nodes = format!("pc: {{ kind: host, exec: [\"{command}\"] }}\n    a: {{ kind: linux, runtime: namespace }}");
    let text =
        format!("name: x\ntopology:\n  nodes:\n    {nodes}\n  links: [{{ endpoints: [\"a:eth1\", \"pc:up0\"] }}]\n");
    let file = host.topology("x", &text);
    host.netloom(&["deploy", "-t", &file]).code(0).says("exec on the host for pc").says("up0@");
    assert_eq!(node(&host.lab("x"), "pc")["ready"], true);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    host.netloom(&["agent", "stop"]).code(0);
    host.netloom(&["agent", "--background"]).code(0);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    assert_eq!(fs::read_to_string(&told).unwrap(), host.sh("readlink /proc/self/ns/net").code(0).out);
    host.netloom(&["destroy", "--name", "x"]).code(0);
}

#[test]
fn a_tunnel_on_the_host_goes_with_its_lab() {
    let Some(host) = Sandbox::with_agent() else { return };
    host.sh("ip link add up0 type veth peer name up1 && ip addr add 192.0.2.1/24 dev up0 && ip link set up0 up")
        .code(0);
    let before = host.traces();
    let links = "name: far
topology:
  nodes: { a: { kind: linux, runtime: namespace } }
  links:
    - { type: vxlan-stitch, endpoint: { node: a, interface: eth1 }, remote: 192.0.2.7, vni: 7 }
";
    let file = host.topology("far", links);
    host.netloom(&["deploy", "-t", &file]).code(0).says("1 of 1 link up");
    host.sh("ip link show vx-a_eth1 && ip link show ve-a_eth1").code(0);
    host.netloom(&["destroy", "-t", &file]).code(0).says("lab far: destroyed");
    before.are_all(&host);
}

#[test]
fn an_address_of_a_link_may_be_added_by_a_command_as_well() {
    let Some(host) = Sandbox::with_agent() else { return };
    let twice = "name: twice
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes:
    a: { exec: [\"ip addr add 10.0.0.1/24 dev eth1\", \"ip -6 addr add 2001:db8::1/64 dev eth1\"] }
    b:
  links:
    - { endpoints: [\"a:eth1\", \"b:eth1\"], ipv4: [10.0.0.1/24, 10.0.0.2/24], ipv6: [\"2001:db8::1/64\", \"\"] }
";
    host.netloom(&["deploy", "-t", &host.topology("twice", twice)])
        .code(0)
        .says("2 of 2 nodes running, 1 of 1 link up");
    host.netloom(&["exec", "twice/a", "--", "ping", "-c", "1", "-W", "5", "10.0.0.2"]).code(0);
    // It is kept by a node that is started again, and the command runs again.
    host.netloom(&["node", "restart", "twice/a"]).code(0);
    host.until("it has run again", |host| host.netloom(&["events"]).out.matches("exec on a: ip addr add").count() >= 2);
    assert!(!host.netloom(&["events"]).out.contains("exit code"), "{}", host.netloom(&["events"]).out);
    // Another address of the same interface is what a command may fail over.
    let other = twice.replace("add 10.0.0.1/24", "add 10.0.0.1/33");
    host.netloom(&["deploy", "-t", &host.topology("twice", &other)]).code(1).says("10.0.0.1/33");
    host.netloom(&["destroy", "--name", "twice"]).code(0);
}

#[test]
fn what_the_commands_of_a_topology_write_is_shown() {
    let Some(host) = Sandbox::with_agent() else { return };
    let more = "    c: { exec: [\"sh -c 'echo out; echo err >&2'\", \"true\"] }\n";
    let deployed = host.netloom(&["deploy", "-t", &host.topology("said", &pair("said", more))]).code(0);
    let lines: Vec<&str> = deployed.err.lines().collect();
    let at = lines.iter().position(|line| line.starts_with("  exec on c: sh -c ")).unwrap_or_default();
    assert_eq!(lines[at + 1..at + 3], ["    out", "    err"], "{}", deployed.err);
    let operation = host.netloom(&["operation", "list", "--json"]).code(0).json()[0]["id"].as_str().unwrap().to_owned();
    host.netloom(&["operation", "show", &operation]).code(0).says(" wrote:\nout\nerr\n");
    host.netloom(&["destroy", "--name", "said"]).code(0);
}

#[test]
fn deploying_and_destroying_again_and_again_leaves_nothing() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("again", &pair("again", "    c: { cmd: sleep 1000 }\n"));
    for _ in 0..20 {
        host.netloom(&["deploy", "-t", &file]).code(0);
        host.netloom(&["destroy", "-t", &file]).code(0);
    }
    before.are_all(&host);
}

#[test]
fn commands_run_in_nodes_with_their_own_output_and_code() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);

    let one = host.netloom(&["exec", "--name", "x", "--node", "a", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
    assert_eq!((one.code, one.out.as_str(), one.err.as_str()), (7, "out\n", "err\n"));
    host.netloom(&["exec", "--name", "x", "--node", "a", "--", "no-such-command"]).code(127);
    host.netloom(&["exec", "--name", "x", "--node", "c", "--", "true"]).code(125).says("there is no node `c`");
    host.netloom(&["exec", "--name", "y", "--", "true"]).code(125).says("there is no lab `y`");

    let all = host.netloom(&["exec", "--topo", &file, "--", "hostname"]).code(0);
    let mut lines: Vec<&str> = all.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a| a", "b| b"]);
    host.netloom(&["exec", "--name", "x", "--", "sh", "-c", "[ $(hostname) = a ]"]).code(1);

    let script = format!("printf 'one\\ntwo' | {} exec --name x --node a -i -- wc -c", crate::sandbox::NETLOOM);
    assert_eq!(host.sh(&script).code(0).out.trim(), "7");
    let script = format!("printf 'hostname; exit 5\\n' | {} shell x/b", crate::sandbox::NETLOOM);
    assert_eq!(host.sh(&script).code(5).out, "b\n");
    // A terminal: what is written there ends lines as terminals do.
    host.netloom(&["exec", "--name", "x", "--node", "a", "--tty", "--", "tty"]).code(0).says("/dev/pts/");
}

#[test]
fn what_a_node_writes_is_its_log() {
    let Some(host) = Sandbox::with_agent() else { return };
    let more = "    c: { cmd: \"sh -c 'echo hello; exec sleep 1000'\" }\n";
    let file = host.topology("x", &pair("x", more));
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.until("c has written", |host| host.netloom(&["logs", "x/c"]).code(0).out == "hello\n");

    let mut following = host.start(&["logs", "x/c", "-f"]);
    let mut lines = BufReader::new(following.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "hello\n");
    following.kill().unwrap();
    following.wait().unwrap();
}

#[test]
fn a_command_that_ends_at_once_is_told_with_its_last_words_and_the_rest_stands() {
    let Some(host) = Sandbox::with_agent() else { return };
    let more = "    dies: { cmd: \"sh -c 'echo no licence; exit 3'\", restart-policy: \"no\" }\n    missing: { cmd: \
                /no/such/program, restart-policy: \"no\" }\n";
    let file = host.topology("x", &pair("x", more));
    host.netloom(&["deploy", "-t", &file]);
    host.until("both have ended", |host| {
        let lab = host.lab("x");
        node(&lab, "dies")["state"]["phase"] == "exited" && node(&lab, "missing")["state"]["phase"] != "running"
    });
    host.netloom(&["inspect", "--name", "x"]).code(0).says("exited(3)").says("no licence").says("/no/such/program");
    host.netloom(&["exec", "--name", "x", "--node", "a", "--", "ping", "-c", "1", "-W", "5", "10.0.0.2"]).code(0);
}

#[test]
fn an_exec_that_fails_is_reported_and_the_lab_stays() {
    let Some(host) = Sandbox::with_agent() else { return };
    let more = "    c: { exec: [\"sh -c 'echo it broke >&2; exit 9'\"] }\n";
    let file = host.topology("x", &pair("x", more));
    let ended = host.netloom(&["deploy", "-t", &file]).code(1);
    assert!(ended.err.contains('9') && ended.err.contains("it broke"), "{}", ended.err);
    let lab = host.lab("x");
    for name in ["a", "b", "c"] {
        assert_eq!(node(&lab, name)["state"]["phase"], "running", "{lab}");
    }
}

#[test]
fn only_the_difference_is_made_unless_all_of_it_is_asked_for() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let pids = |host: &Sandbox| ["a", "b"].map(|name| node(&host.lab("x"), name)["pid"].clone());
    let before = pids(&host);

    host.topology("x", &pair("x", "    c:\n"));
    let plan = host.netloom(&["deploy", "-t", &file, "--dry-run", "--json"]).code(0).json();
    let steps: Vec<&str> = plan["steps"].as_array().unwrap().iter().filter_map(|step| step["id"].as_str()).collect();
    assert!(steps.contains(&"node/c/create") && !steps.iter().any(|step| step.starts_with("node/a")), "{steps:?}");
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 nodes running");
    assert_eq!(pids(&host), before);

    host.netloom(&["deploy", "-t", &file, "--reconfigure"]).code(0);
    assert!(pids(&host).iter().zip(&before).all(|(now, then)| now != then));

    host.netloom(&["destroy", "--name", "x"]).code(0);
    host.netloom(&["deploy", "-t", &file, "--node-filter", "a,c"]).code(0);
    let lab = host.lab("x");
    assert_eq!(node(&lab, "b"), serde_json::Value::Null, "{lab}");
    host.netloom(&["deploy", "-t", &file, "--node-filter", "a,z"]).code(2).says("`z`");
}

#[test]
fn a_link_is_cut_and_mended() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let ping = ["exec", "--name", "x", "--node", "a", "--", "ping", "-c", "1", "-W", "1", "10.0.0.2"];
    host.netloom(&["link", "down", "x", "a:eth1"]).code(0);
    host.netloom(&["inspect", "--name", "x"]).code(0).says("down (cut at a:eth1)");
    // It is as it was asked for.
    host.netloom(&["inspect"]).code(0).says("x    ready  2/2    0/1");
    assert_ne!(host.netloom(&ping).code, 0);
    // The cut is a wish of its own: the same file again does not mend it.
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    host.netloom(&["link", "up", "x", "a:eth1"]).code(0);
    host.until("a reaches b again", |host| host.netloom(&ping).code == 0);
    host.netloom(&["link", "down", "x", "a:eth9"]).code(2).says("a:eth9");
}

#[test]
fn what_the_hand_breaks_comes_back() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let pid = node(&host.lab("x"), "b")["pid"].clone();
    host.netloom(&["exec", "--name", "x", "--node", "a", "--", "ip", "link", "del", "eth1"]).code(0);
    let ping = ["exec", "--name", "x", "--node", "a", "--", "ping", "-c", "1", "-W", "1", "10.0.0.2"];
    host.until("the link is back", |host| host.netloom(&ping).code == 0);
    host.sh(&format!("kill -KILL {pid}")).code(0);
    host.until("b is started again", |host| {
        let b = node(&host.lab("x"), "b");
        b["ready"] == true && b["pid"] != pid
    });
    host.until("the link is back again", |host| host.netloom(&ping).code == 0);
}

#[test]
fn a_lab_name_belongs_to_one_file() {
    let Some(host) = Sandbox::with_agent() else { return };
    let one = host.topology("one", &pair("x", ""));
    let two = host.topology("two", &pair("x", ""));
    host.netloom(&["deploy", "-t", &one]).code(0);
    host.netloom(&["deploy", "-t", &two]).code(2).says("one.clab.yml");
    host.netloom(&["deploy", "-t", &two, "--name", "y"]).code(0);
    host.netloom(&["destroy", "-t", &two]).code(0).says("lab y: destroyed");
    // By what is deployed, not by what the file says now.
    fs::write(&one, "not a topology any more").unwrap();
    host.netloom(&["destroy", "-t", &one]).code(0).says("lab x: destroyed");
}

#[test]
fn an_interface_of_the_host_that_is_not_ours_is_left_alone() {
    let Some(host) = Sandbox::with_agent() else { return };
    host.sh("ip link add taken type veth peer name other").code(0);
    let before = host.traces();
    let text = pair("x", "").replace("[\"a:eth1\", \"b:eth1\"]", "[\"a:eth1\", \"host:taken\"]");
    let file = host.topology("x", &text);
    host.netloom(&["deploy", "-t", &file]).code(2).says("taken");
    before.are_all(&host);
    host.netloom(&["inspect", "--name", "x"]).code(2);
}

#[test]
fn two_deploys_at_once_are_one_and_a_destroy_ends_a_deploy() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("x", &pair("x", "    c: { startup-delay: 600 }\n"));
    let first = host.start(&["deploy", "-t", &file]);
    let second = host.start(&["deploy", "-t", &file]);
    host.until("a and b run", |host| {
        let lab = host.netloom(&["inspect", "--name", "x", "--json"]);
        lab.code == 0 && ["a", "b"].iter().all(|name| node(&lab.json(), name)["state"]["phase"] == "running")
    });
    host.netloom(&["destroy", "--name", "x"]).code(0);
    for deploy in [first, second] {
        let ended = deploy.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(4), "{said}");
    }
    before.are_all(&host);
}

#[test]
fn an_interrupt_cancels_and_says_how_to_go_on() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("x", &pair("x", "    c: { startup-delay: 600 }\n"));
    let mut deploy = host.start(&["deploy", "-t", &file]);
    let mut said = BufReader::new(deploy.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    // Both nsenter and the program are in this group, as in a terminal.
    let group = rustix::process::Pid::from_child(&deploy);
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    let mut out = String::new();
    deploy.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    deploy.wait().unwrap();
    for text in ["was cancelled", "go on with `netloom deploy -t", "netloom destroy --name x"] {
        assert!(rest.contains(text), "{text}: {rest}");
    }
    host.netloom(&["inspect"]).code(0).says("held");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_deadline_ends_the_waiting_and_not_the_lab() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", "    c: { startup-delay: 3 }\n"));
    host.netloom(&["deploy", "-t", &file, "--timeout", "1s"]).code(4).says("the agent goes on");
    host.until("c runs all the same", |host| node(&host.lab("x"), "c")["ready"] == true);
}

#[test]
fn progress_and_views_are_json_when_asked() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    let deploy = host.netloom(&["deploy", "-t", &file, "--json"]).code(0);
    let lines: Vec<serde_json::Value> = deploy.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, events) = lines.split_last().unwrap();
    assert_eq!(last["state"], "succeeded", "{last}");
    assert!(events.iter().all(|event| event["event"].is_string()), "{events:?}");
    assert_eq!(host.netloom(&["inspect", "--json"]).code(0).json()[0]["name"], "x");
    let events = host.netloom(&["events", "--json"]).code(0);
    assert!(events.out.lines().count() > 3, "{}", events.out);
    host.netloom(&["events"]).code(0).says("create node a: done");
    let operations = host.netloom(&["operation", "list", "--json"]).code(0).json();
    let id = operations[0]["id"].as_str().unwrap().to_owned();
    host.netloom(&["operation", "show", &id]).code(0).says("create node a");
    host.netloom(&["operation", "cancel", &id]).code(0).says("had ended already");
    host.netloom(&["operation", "show", "nothing"]).code(2);
}

#[test]
fn nodes_outlive_the_agent_and_are_taken_over() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let before = host.lab("x");
    for end in ["kill", "stop"] {
        if end == "kill" {
            host.kill_agent();
        } else {
            host.netloom(&["agent", "stop"]).code(0);
        }
        let pids = ["a", "b"].map(|name| node(&before, name)["pid"].to_string());
        host.sh(&format!("kill -0 {}", pids.join(" "))).code(0);
        host.netloom(&["agent", "--background"]).code(0);
        host.until("all of it is seen", |host| {
            let lab = host.lab("x");
            ["a", "b"].iter().all(|name| node(&lab, name)["ready"] == true)
        });
        let after = host.lab("x");
        for name in ["a", "b"] {
            assert_eq!(node(&after, name)["pid"], node(&before, name)["pid"]);
        }
        host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    }
    host.netloom(&["destroy", "--all"]).code(0);
}

#[test]
fn a_bind_whose_source_is_missing_is_refused() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("x", &pair("x", "    c: { binds: [\"not-there:/mnt/x\"] }\n"));
    host.netloom(&["deploy", "-t", &file]).code(2).says("not-there");
    before.are_all(&host);
    assert!(!Path::new(&file).with_file_name("not-there").exists());
}
