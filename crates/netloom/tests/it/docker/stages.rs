//! Containers that wait for each other.

use super::host::{DockerHost, IMAGE};
use crate::lab::node;

fn lab(nodes: &str) -> String {
    format!(
        "name: x\ntopology:\n  defaults: {{ kind: linux, image: \"{IMAGE}\", network-mode: none }}\n  nodes:\n{nodes}"
    )
}

#[test]
fn who_waits_for_health_or_an_end_begins_after_it_and_links_wait_for_nobody() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let nodes = r#"
    db:
      healthcheck: { test: [CMD-SHELL, "test -e /tmp/ready"], interval: 1, timeout: 5, retries: 100 }
      cmd: sh -c 'sleep 1; touch /tmp/ready; sleep 100000'
    app: { stages: { create: { wait-for: [{ node: db, stage: healthy }] } } }
    once: { cmd: "sh -c 'sleep 1; exit 0'", restart-policy: "no" }
    late: { stages: { create: { wait-for: [{ node: once, stage: exit }] }, configure: { exec: [{ command: touch /configured }] } } }
  links:
    - { endpoints: ["db:eth1", "app:eth1"], ipv4: [10.0.0.1/24, 10.0.0.2/24] }
    - { endpoints: ["app:eth2", "late:eth1"], ipv4: [10.0.1.1/24, 10.0.1.2/24] }
"#;
    let file = host.topology("x", &lab(nodes));
    // That one has ended is what the others wait for; whether it is a problem of the deploy is another question.
    host.netloom(&["deploy", "-t", &file]);
    host.wait("all are there", |host| {
        let lab = host.lab("x");
        ["db", "app", "late"].iter().all(|name| node(&lab, name)["ready"] == true)
    });
    assert!(host.pings("app", "10.0.0.1") && host.pings("late", "10.0.1.1"));
    host.inside("late", "test -e /configured");
    let at = |what: &str, of: &str| {
        let time = host.docker(&format!("inspect -f '{{{{{what}}}}}' clab-x-{of}"));
        host.sh(&format!("date -d {time} +%s%N")).code(0).out.trim().parse::<u128>().unwrap()
    };
    assert!(at(".Created", "late") > at(".State.FinishedAt", "once"));
    // Docker's health check needs one interval at least.
    assert!(at(".Created", "app") > at(".State.StartedAt", "db") + 1_000_000_000);
    host.netloom(&["inspect", "--name", "x"]).code(0).says("healthy");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_wait_that_never_comes_true_says_who_waits_for_what_and_holds_up_no_destroy() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let nodes = r#"
    ill:
      healthcheck: { test: [CMD-SHELL, "exit 1"], interval: 1, timeout: 5, retries: 1 }
    app: { stages: { create: { wait-for: [{ node: ill, stage: healthy }] } } }
"#;
    let file = host.topology("x", &lab(nodes));
    let deploy = host.start(&["deploy", "-t", &file]);
    host.wait("it is unhealthy", |host| host.netloom(&["inspect", "--name", "x"]).out.contains("unhealthy"));
    let all = host.netloom(&["operation", "list", "--json"]).code(0).json();
    let running = all.as_array().unwrap().iter().find(|one| one["state"] == "running").unwrap();
    let show = host.netloom(&["operation", "show", running["id"].as_str().unwrap()]).code(0);
    let wait = show.out.lines().find(|line| line.contains("wait on app until ill is healthy"));
    assert!(wait.is_some_and(|wait| wait.contains("running")), "{}", show.out);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    let ended = deploy.wait_with_output().unwrap();
    assert!(!ended.status.success());
    before.are_all(&host);
}
