//! A daemon that dies, freezes, or was never there.

use std::fs;
use std::time::{Duration, Instant};

use netloom_dockerd_fixture::archive;
use serde_json::json;

use super::host::{DockerHost, IMAGE, docker_is};
use super::labs::ring;
use crate::lab::pair;
use crate::sandbox::{Ended, Sandbox};

/// What deploying and destroying a lab of namespace nodes takes.
fn namespace_lab(host: &Sandbox) -> Duration {
    let file = host.topology("quick", &pair("quick", ""));
    let begun = Instant::now();
    let deployed = host.netloom(&["deploy", "-t", &file]).code(0).says("2 of 2 nodes running");
    assert!(!deployed.out.contains("as last seen"), "it has nothing to do with the daemon: {}", deployed.out);
    host.netloom(&["link", "down", "quick", "a:eth1"]).code(0);
    host.netloom(&["destroy", "--name", "quick"]).code(0);
    begun.elapsed()
}

/// A few containers that wait for nobody.
fn many(count: usize) -> String {
    let nodes: Vec<String> = (1..=count).map(|n| format!("n{n}: ")).collect();
    let links = (1..=count).map(|n| format!("    - {{ endpoints: [\"n{n}:eth1\", \"n{}:eth2\"] }}\n", n % count + 1));
    format!(
        "name: x\ntopology:\n  defaults: {{ kind: linux, image: \"{IMAGE}\", network-mode: none }}\n  nodes: {{ {} }}\n  links:\n{}",
        nodes.join(", "),
        links.collect::<String>()
    )
}

#[test]
fn a_daemon_that_freezes_in_the_middle_of_a_deploy_holds_up_nobody_else() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let usual = namespace_lab(&host);
    let file = host.topology("x", &many(12));
    let deploy = host.start(&["deploy", "-t", &file]);
    host.wait("one runs", |host| running(host).is_some());
    host.daemon.freeze();

    host.wait("it is said", |host| docker_is(host, "degraded") || docker_is(host, "down"));
    assert_eq!(host.answers("/healthz"), 200);
    let meanwhile = namespace_lab(&host);
    assert!(meanwhile < 3 * usual + Duration::from_secs(2), "{meanwhile:?}, and {usual:?} before");
    let runs = running(&host).expect("one was seen to run");
    assert_eq!(host.inside(&runs, "hostname"), format!("{runs}\n"), "commands need no daemon");
    host.netloom(&["inspect", "--name", "x"]).code(0).says("as last seen: docker cannot be looked at since ");
    let asked = Instant::now();
    host.netloom(&["inspect", "--name", "x", "--json"]).code(0);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());

    host.daemon.thaw();
    let ended = Ended::from(&deploy.wait_with_output().unwrap());
    ended.code(0).says("12 of 12 nodes running, 12 of 12 links up");
    host.wait("it is well again", |host| docker_is(host, "ok"));
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

fn running(host: &DockerHost) -> Option<String> {
    let lab = host.netloom(&["inspect", "--name", "x", "--json"]);
    if lab.code != 0 {
        return None;
    }
    let lab = lab.json();
    let nodes = lab["nodes"].as_array().unwrap();
    let runs = nodes.iter().find(|node| node["state"]["phase"] == "running")?;
    Some(runs["name"].as_str().unwrap().to_owned())
}

#[test]
fn a_daemon_that_is_killed_and_comes_back_finds_all_its_containers_wired_without_a_hand() {
    let Some(host) = DockerHost::with_agent() else { return };
    let before = host.all_traces();
    let file = host.topology("x", &ring("x"));
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.daemon.kill();
    host.wait("it is said", |host| !docker_is(host, "ok"));
    let lab = host.lab("x");
    assert_eq!(lab["nodes"].as_array().unwrap().len(), 3, "what was known stays: {lab}");
    host.netloom(&["inspect", "--name", "x"]).code(0).says("as last seen: docker cannot be looked at since ");
    host.daemon.start_again();
    let wired = |host: &DockerHost| {
        docker_is(host, "ok")
            && host.netloom(&["inspect"]).out.contains("x    ready  3/3    3/3")
            && [("a", "10.0.1.2"), ("b", "10.0.2.2"), ("c", "10.0.3.2")].iter().all(|(node, to)| host.pings(node, to))
    };
    host.wait("all are wired", wired);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");

    // As at a boot: the daemon starts containers before there is an agent, and nothing of /run is there.
    host.netloom(&["agent", "stop"]).code(0);
    host.daemon.kill();
    host.sh("rm -rf $NETLOOM_ROOT/run/netloom/labs").code(0);
    host.daemon.start_again();
    host.netloom(&["agent", "--background"]).code(0);
    host.wait("all are wired", wired);
    assert!(host.pings("a", "b"), "names resolve");
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_daemon_that_is_not_there_holds_up_only_labs_of_containers() {
    let Some(host) = DockerHost::new() else { return };
    host.daemon.kill();
    host.netloom(&["agent", "--background"]).code(0);
    namespace_lab(&host);
    let file = host.topology("x", &ring("x"));
    let refused = host.netloom(&["deploy", "-t", &file]);
    assert_ne!(refused.code, 0);
    let socket = host.daemon.socket().display().to_string();
    refused.says("docker").says(&socket);
    host.netloom(&["inspect", "--name", "x"]).code(2).says("there is no lab `x`");
    assert!(!docker_is(&host, "ok"));
    assert_eq!(host.answers("/healthz"), 200);

    host.daemon.start_again();
    host.wait("it is seen", |host| docker_is(host, "ok"));
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 nodes running");
    host.netloom(&["destroy", "--name", "x"]).code(0);
}

#[test]
fn a_daemon_whose_disk_is_full_is_said_and_the_lab_comes_when_there_is_room_again() {
    let Some(host) = DockerHost::new() else { return };
    host.daemon.kill();
    let data = host.daemon.directory().join("data").display().to_string();
    host.sh(&format!("mount -t tmpfs -o size=16m tmpfs {data}")).code(0);
    host.daemon.start_again();
    host.netloom(&["agent", "--background"]).code(0);
    host.wait("the daemon is seen", |host| docker_is(host, "ok"));
    let image = host.daemon.directory().join("image.tar").display().to_string();
    host.netloom(&["image", "load", &image]).code(0);
    let before = host.all_traces();

    let large = host.labs.path().join("large.tar");
    let content = vec![1_u8; 32 << 20];
    fs::write(&large, archive("large:1", &json!({}), &[("content", &content, 0o644)])).unwrap();
    let refused = host.netloom(&["image", "load", large.to_str().unwrap()]).code(1);
    refused.says("no space left on device").says("`netloom image prune`");
    fs::remove_file(large).unwrap();

    host.sh(&format!("dd if=/dev/zero of={data}/full bs=4k"));
    let file = host.topology("x", &many(2));
    let deploy = host.start(&["deploy", "-t", &file]);
    let said = "create node n1 (docker)";
    host.wait("it is said", |host| {
        let all = host.netloom(&["operation", "list", "--json"]).code(0);
        all.out.contains(said) && all.out.contains("no space left on device")
    });
    host.sh(&format!("rm {data}/full")).code(0);
    host.wait("both run", |host| host.netloom(&["inspect"]).out.contains("x    ready  2/2    2/2"));
    // Whether it waited that long depends on how quick both were.
    deploy.wait_with_output().unwrap();
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_socket_that_may_not_be_opened_is_said_with_what_to_do() {
    let Some(host) = DockerHost::new() else { return };
    // For root without its way round permissions, the socket is another user's.
    let socket = host.daemon.socket().display().to_string();
    host.sh(&format!("chown nobody {socket}; chmod 600 {socket}")).code(0);
    let agent = format!(
        "setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search {} agent --background",
        crate::sandbox::NETLOOM
    );
    host.sh(&agent).code(0);
    host.wait("it is said", |host| docker_is(host, "down") || docker_is(host, "degraded"));
    let file = host.topology("x", &ring("x"));
    let refused = host.netloom(&["deploy", "-t", &file]);
    assert_ne!(refused.code, 0);
    refused.says("ermission denied").says("group `docker`");
}
