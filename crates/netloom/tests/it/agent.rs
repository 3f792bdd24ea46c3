//! The agent as a process: how it starts, what keeps it from starting, how it ends.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, example};

#[test]
fn a_deploy_starts_an_agent_when_none_answers_and_says_so() {
    let Some(host) = Sandbox::new() else { return };
    let file = example("minimal");
    let file = file.to_str().unwrap();
    host.netloom(&["deploy", "-t", file]).code(0).says("starting one in the background");
    host.netloom(&["agent", "--background"]).code(0).says("runs already");
    host.netloom(&["agent", "stop"]).code(0).says("the agent has stopped");
    host.netloom(&["inspect"]).code(3);
    // The lab runs on, and a new agent takes it over.
    let again = host.netloom(&["deploy", "-t", file]).code(0).says("nothing to change");
    assert!(again.err.contains("starting one"), "{}", again.err);
    host.netloom(&["destroy", "--all"]).code(0);
    host.netloom(&["agent", "stop"]).code(0);
}

#[test]
fn a_port_that_is_taken_is_said() {
    let Some(host) = Sandbox::new() else { return };
    let one = host.root.path().join("one");
    fs::create_dir(&one).unwrap();
    let mut other = host.command(crate::sandbox::NETLOOM);
    assert!(other.args(["agent", "--background"]).env("NETLOOM_ROOT", &one).status().unwrap().success());
    host.netloom(&["agent", "--background"]).code(1).says("8001");
    host.netloom(&["agent"]).code(1).says("8001");
    // Without a port of its own it lives beside the other.
    fs::create_dir_all(host.root.path().join("etc/netloom")).unwrap();
    fs::write(host.root.path().join("etc/netloom/netloom.toml"), "listen = \"none\"\n").unwrap();
    host.netloom(&["agent", "--background"]).code(0);
    host.netloom(&["agent", "status"]).code(0).says("TCP nothing");
}

#[test]
fn what_large_requests_took_of_memory_is_given_back() {
    let Some(host) = Sandbox::with_agent() else { return };
    host.netloom(&["deploy", "-t", example("minimal").to_str().unwrap()]).code(0);
    let pid = host.netloom(&["agent", "status", "--json"]).code(0).json()["pid"].to_string();
    let resident = || {
        let status = host.sh(&format!("grep VmRSS /proc/{pid}/status")).code(0).out;
        status.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
    };
    let label = |value: Value| json!({ "nodes": { "h1": { "labels": { "large": value } } } }).to_string();
    let edit = |value: Value| host.send("PATCH /labs/minimal", "If-Match: *\r\n", &label(value)).status;
    let before = resident();
    for _ in 0..4 {
        assert_eq!((edit("x".repeat(3 << 20).into()), edit(Value::Null)), (202, 202));
    }
    host.until("the edits are done", |host| host.lab("minimal")["nodes"][0]["ready"] == true);
    host.until("it is given back", |_| resident() < before + 24);
}

#[test]
fn a_socket_that_nobody_listens_on_is_replaced() {
    let Some(host) = Sandbox::with_agent() else { return };
    host.kill_agent();
    assert!(host.root.path().join("run/netloom/agent.sock").exists());
    host.netloom(&["agent", "--background"]).code(0);
    host.netloom(&["agent", "status"]).code(0);
}

#[test]
fn a_second_agent_of_the_same_root_is_refused() {
    let Some(host) = Sandbox::with_agent() else { return };
    host.netloom(&["agent"]).code(1).says("an agent already runs");
    host.netloom(&["agent", "status"]).code(0);
}

#[test]
fn a_configuration_with_a_mistake_is_wrong_input() {
    let Some(host) = Sandbox::new() else { return };
    fs::create_dir_all(host.root.path().join("etc/netloom")).unwrap();
    fs::write(host.root.path().join("etc/netloom/netloom.toml"), "lisen = \"none\"\n").unwrap();
    host.netloom(&["agent"]).code(2).says("did you mean `listen`?");
    host.netloom(&["agent", "--background"]).code(1).says("did you mean `listen`?");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_said() {
    let Some(host) = Sandbox::new() else { return };
    let script = format!(
        "mkdir -p $NETLOOM_ROOT/var && mount -t tmpfs -o ro none $NETLOOM_ROOT/var && {} agent",
        crate::sandbox::NETLOOM
    );
    host.sh(&script).code(1).says("read-only file system");
}

#[test]
fn without_root_the_agent_says_what_it_needs() {
    let Some(host) = Sandbox::new() else { return };
    let as_nobody = format!("setpriv --reuid 65534 --clear-groups {}", crate::sandbox::NETLOOM);
    host.sh(&format!("chmod 755 $NETLOOM_ROOT; {as_nobody} agent")).code(1).says("as root");
    let file = example("minimal").join("minimal.clab.yml");
    fs::copy(file, host.labs.path().join("minimal.clab.yml")).unwrap();
    let labs = host.labs.path().display();
    host.sh(&format!("chmod -R a+rX {labs}; {as_nobody} deploy -t {labs}")).code(3).says("sudo");
}
