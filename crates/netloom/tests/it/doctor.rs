//! Whether a host is fit for labs, with and without an agent.

use std::os::unix::net::UnixListener;

use crate::sandbox::Sandbox;

fn finding(all: &serde_json::Value, check: &str) -> serde_json::Value {
    let all = all.as_array().unwrap();
    all.iter().find(|finding| finding["check"] == check).cloned().unwrap_or_default()
}

#[test]
fn a_doctor_needs_no_agent_says_what_mends_what_and_fails_only_where_something_fails() {
    let Some(mut host) = Sandbox::new() else { return };
    // No daemon is there, whatever this host has.
    host.environment.push(("DOCKER_HOST", format!("unix://{}/docker.sock", host.root.path().display())));
    let all = host.netloom(&["doctor", "--json"]).json();
    assert_eq!(finding(&all, "features")["verdict"], "ok");
    assert!(finding(&all, "features")["found"].as_str().unwrap().contains("veth, "), "{all:#}");
    assert_eq!(finding(&all, "daemon")["verdict"], "warn");
    assert_eq!(finding(&all, "process")["mend"], "netloom agent --background");
    assert_eq!(finding(&all, "port 8001")["verdict"], "ok");
    for one in all.as_array().unwrap() {
        assert!(one["verdict"] == "ok" || one["mend"].is_string(), "{one:#}");
    }
    let said = host.netloom(&["doctor"]);
    said.says("kernel\n").says("mend: netloom agent --background");

    // What is left of an agent that was killed.
    std::fs::create_dir_all(host.root.path().join("run/netloom")).unwrap();
    drop(UnixListener::bind(host.root.path().join("run/netloom/agent.sock")).unwrap());
    host.netloom(&["doctor"]).says("is left of one that was killed");
    host.netloom(&["doctor", "--fix"]).says("fixed: removed");
    assert!(!host.root.path().join("run/netloom/agent.sock").exists());

    host.environment.push(("NETLOOM_LISTEN", "nonsense".to_owned()));
    host.netloom(&["doctor"]).code(1).says("FAIL  configuration: NETLOOM_LISTEN");
}

#[test]
fn a_doctor_asks_the_agent_that_is_there() {
    let Some(host) = Sandbox::with_agent() else { return };
    host.until("it is ready", |host| host.ask("GET /readyz").status == 200);
    let all = host.netloom(&["doctor", "--json"]).json();
    assert_eq!(finding(&all, "process")["verdict"], "ok", "{all:#}");
    assert_eq!(finding(&all, "leftovers")["verdict"], "ok");
    assert_eq!(finding(&all, "state file")["verdict"], "ok");
    assert_eq!(finding(&all, "token")["verdict"], "ok");
    assert_eq!(finding(&all, "port 8001"), serde_json::Value::Null, "it is the agent's");
}
