//! What can be wrong with a container, said clearly, and gone without a trace.

use std::fs;

use super::host::{DockerHost, IMAGE};
use crate::sandbox::Ended;

fn lab(name: &str, nodes: &str) -> String {
    format!(
        "name: {name}\ntopology:\n  defaults: {{ kind: linux, image: \"{IMAGE}\", network-mode: none }}\n  nodes:\n{nodes}"
    )
}

/// Deploys what does not work out, and destroys it.
#[track_caller]
fn fails(host: &DockerHost, nodes: &str) -> Ended {
    let file = host.topology("x", &lab("x", nodes));
    let ended = host.netloom(&["deploy", "-t", &file]);
    assert!([1, 2].contains(&ended.code), "{ended:?}");
    if ended.code == 1 {
        host.netloom(&["destroy", "--name", "x"]).code(0);
    }
    ended
}

#[test]
fn a_container_that_cannot_be_is_said_with_its_reason_and_leaves_nothing() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    fails(&host, "    a: { image: \"nowhere.invalid/no:1\" }\n    b:\n").says("nowhere.invalid/no:1");
    before.are_all(&host);
    fails(&host, "    a: { image: \"netloom.test/never:1\", image-pull-policy: never }\n").says("netloom.test/never:1");
    before.are_all(&host);
    fails(&host, "    a: { cmd: no-such-command }\n    b:\n").says("no-such-command").says("node a");
    before.are_all(&host);
    let ended =
        fails(&host, "    a: { cmd: \"sh -c 'echo bye; exit 3'\", restart-policy: \"no\" }\n").says("exited(3)");
    assert!(ended.err.contains("bye") && !ended.err.contains("namespace"), "{}", ended.err);
    before.are_all(&host);
    fails(&host, "    a: { memory: 1MB }\n    b:\n").code(2).says("`1MB` of memory is too little");
    before.are_all(&host);
    fails(&host, "    a: { memory: 12xx }\n    b:\n").code(2).says("`12xx` is not an amount of memory");
    before.are_all(&host);
    fs::write(host.labs.path().join("given"), "x").unwrap();
    // Nobody can make the file that it is to be mounted on.
    fails(&host, "    a: { binds: [\"given:/sys/given\"] }\n    b:\n")
        .says("start node a")
        .says("read-only file system");
    before.are_all(&host);
    fails(&host, "    a: { binds: [\"/missing/source:/x\"] }\n    b:\n").code(2).says("/missing/source");
    before.are_all(&host);
    fails(&host, "    a: { network-mode: \"container:nobody\" }\n").code(2).says("nobody");
    before.are_all(&host);
}

#[test]
fn a_port_that_is_taken_is_said_before_anything_is_touched() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let deploy = |nodes: &str| {
        let lab = format!("name: x\ntopology:\n  defaults: {{ kind: linux, image: \"{IMAGE}\" }}\n  nodes:\n{nodes}");
        host.netloom(&["deploy", "-t", &host.topology("x", &lab)])
    };
    let web = |port: u16, more: &str| format!("    web: {{ ports: [\"127.0.0.1:{port}:80\"]{more} }}\n");
    deploy(&(web(8100, "") + "    other: { ports: [\"8100:81\"] }\n"))
        .code(2)
        .says("node web (docker): node other publishes port 127.0.0.1:8100/tcp of the host too");
    before.are_all(&host);
    let server = host.sh("busybox httpd -f -p 127.0.0.1:8100 -h / >/dev/null 2>&1 & echo $!").code(0).out;
    host.wait("somebody listens", |host| host.sh("ss -Hltn sport = 8100").out.contains("8100"));
    deploy(&(web(8100, "") + "    other:\n"))
        .code(2)
        .says("node web")
        .says("port 127.0.0.1:8100/tcp of the host is taken")
        .says("ss -lntup");
    host.sh(&format!("kill {server}")).code(0);
    before.are_all(&host);

    // One that has it already may keep it, also as another container.
    deploy(&web(8101, "")).code(0).says("1 of 1 node running");
    let id = host.docker("inspect -f '{{.Id}}' clab-x-web");
    deploy(&web(8101, ", env: { A: b }")).code(0).says("1 of 1 node running");
    assert_ne!(host.docker("inspect -f '{{.Id}}' clab-x-web"), id);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_name_that_is_taken_is_refused_and_who_has_it_is_left_alone() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let id = host.docker(&format!("run -d --name clab-x-a --network none {IMAGE} sleep 100000"));
    fails(&host, "    a:\n    b:\n").code(2).says("the name `clab-x-a` is taken").says("not ours");
    assert_eq!(host.docker("ps -q --no-trunc"), id);
    host.docker("rm -f clab-x-a");
    let file = host.topology("x", &lab("x", "    a:\n    b:\n"));
    host.netloom(&["deploy", "-t", &file]).code(0).says("2 of 2 nodes running");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
    let short = host.topology("y", &format!("prefix: \"\"\n{}", lab("y", "    a:\n")));
    host.netloom(&["deploy", "-t", &short]).code(2).says("no container of the name `a`").says("another `prefix`");
    before.are_all(&host);

    // Two labs may have nodes of the same name, but not containers of the same name.
    let same = host.topology("y", &lab("y", "    a:\n    b:\n"));
    let clash = host.topology("z", &format!("prefix: \"\"\n{}", lab("z", "    clab-x-a:\n")));
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.netloom(&["deploy", "-t", &same]).code(0);
    host.netloom(&["deploy", "-t", &clash]).code(2).says("is node a of lab x");
    host.netloom(&["destroy", "--name", "y"]).code(0);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");

    // One of another agent is as foreign as any.
    let other = host.labs.path().join("other");
    fs::create_dir_all(other.join("etc/netloom")).unwrap();
    fs::write(other.join("etc/netloom/netloom.toml"), "listen = \"none\"\n").unwrap();
    let with = |words: &str| host.sh(&format!("NETLOOM_ROOT={} {} {words}", other.display(), crate::sandbox::NETLOOM));
    with("agent --background").code(0);
    host.wait("it has seen the daemon", |_| !with(&format!("deploy -t {file}")).err.contains("ready"));
    with(&format!("deploy -t {file}")).code(2).says("the name `clab-x-a` is taken");
    with("destroy --all --yes").code(0);
    with("agent stop").code(0);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    fs::remove_dir_all(other).unwrap();
    before.are_all(&host);
}
