//! A takeover of labs whose containers hang on networks of the other agent's plugin.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::contract::predecessor::{Predecessor, plugin};
use crate::contract::rig::{Machine, Rig, container};
use crate::contract::steps::{H1, H2, LAB, OTHER, R1, node, recorded_link};
use crate::contract::traffic::Traffic;
use crate::sandbox::Ended;

/// More than Docker takes for anything here, and less than it waits for a plugin that nobody answers.
const PROMPT: Duration = Duration::from_secs(8);

/// How long Docker waits for what ran under the daemon before, and does not end when it is told to.
const GRACE: Duration = Duration::from_secs(10);

/// Two labs on the plugin, whose agent ends then. Gives what there was before the first.
fn leave(machine: &mut Machine) -> Vec<String> {
    let plugin = plugin(machine);
    let there = Predecessor::on(machine);
    there.plugged_node(OTHER, &H1, &[("eth1", 200), ("eth2", 201)]);
    let before = machine.leavings();
    there.plugged_node(LAB, &R1, &[("eth1", 2050), ("eth2", 100), ("eth3", 101)]);
    there.plugged_node(LAB, &H1, &[("eth1", 2050), ("eth2", 102)]);
    there.plugged_node(LAB, &H2, &[("eth1", 103)]);
    machine.address(&container(LAB, "r1"), "eth1", "10.0.1.1/24");
    machine.address(&container(LAB, "h1"), "eth1", "10.0.1.2/24");
    plugin.kill();
    before
}

/// What Docker does, in time.
#[track_caller]
fn prompt(machine: &Machine, command: &str) -> Ended {
    let begun = Instant::now();
    let ended = machine.sh(command).code(0);
    assert!(begun.elapsed() < PROMPT, "{command} took {:?}", begun.elapsed());
    ended
}

fn networks(machine: &Machine, lab: &str) -> usize {
    let listed = prompt(machine, &format!("docker network ls --quiet --filter label=archetype.lab_id={lab}"));
    listed.out.lines().count()
}

/// How many ends of cables there are on the host.
fn cables(machine: &Machine) -> usize {
    machine.sh("ip -oneline link show type veth").code(0).out.lines().count()
}

#[test]
fn a_lab_on_the_plugin_of_the_agent_before_is_adopted_whole_and_goes_whole() {
    let Some(machine) = Machine::plugged() else { return };
    let (mut before, mut as_it_was) = (Vec::new(), Vec::new());
    let rig = Rig::on(machine, |machine| {
        before = leave(machine);
        as_it_was = machine.ports();
    });
    let (agent, [r1, h1]) = (&rig.agent, ["r1", "h1"].map(|node| container(LAB, node)));
    let note: PathBuf = rig.root.path().join("var/lib/netloom/network-plugin");
    rig.until("the plugin is answered", |_| note.exists());
    let traffic = Traffic::start(&rig, &h1, "10.0.1.1");
    rig.netloom(&["adopt", LAB]).code(0).says("3 nodes, 6 links");
    assert_eq!(rig.ports(), as_it_was);
    traffic.lost_nothing();
    assert_eq!(agent.links(LAB, &recorded_link()), 2050, "it is there already");

    // One is stopped while the others run on, and started as ours.
    let begun = Instant::now();
    assert_eq!(agent.reconcile(LAB, &r1, "stopped")["action"], "removed");
    assert!(begun.elapsed() < PROMPT, "it took {:?}", begun.elapsed());
    rig.until("its ports are gone", |_| rig.ports().len() == as_it_was.len() - 3);
    // Docker gives the other ends of what it knows back to the host.
    assert_eq!(cables(&rig), as_it_was.len() - 3);
    agent.brings_up(LAB, &R1);
    agent.waits_for(LAB, &R1);
    assert_eq!(agent.links(LAB, &recorded_link()), 2050, "its tag is kept");
    rig.address(&r1, "eth1", "10.0.1.1/24");
    // It has another hardware address, and asks first, so that its neighbour hears of that.
    rig.until("it is reached again", |_| rig.reaches(&r1, "10.0.1.2", 56));
    let networks_of_r1 = rig.docker(&format!("inspect --format '{{{{len .NetworkSettings.Networks}}}}' {r1}"));
    assert_eq!(networks_of_r1, "1", "it hangs on none of the plugin");

    // One ends by itself.
    prompt(&rig, &format!("docker kill {h1}"));
    rig.until("it is seen to have ended", |_| {
        node(&agent.status(LAB), "h1").is_some_and(|h1| h1["status"] == "stopped")
    });
    let started = agent.start(LAB, &H1);
    assert_eq!(started["success"], true, "{started:#}");
    agent.links(LAB, &recorded_link());
    rig.address(&h1, "eth1", "10.0.1.2/24");
    rig.until("it is reached again", |_| rig.reaches(&h1, "10.0.1.1", 56));

    // All of it goes, and nothing of the other lab.
    assert_eq!((networks(&rig, LAB), networks(&rig, OTHER)), (3, 2));
    let begun = Instant::now();
    agent.destroys(LAB);
    assert!(begun.elapsed() < PROMPT * 2, "it took {:?}", begun.elapsed());
    rig.until("nothing is left", |_| rig.leavings() == before);
    assert_eq!((networks(&rig, LAB), networks(&rig, OTHER)), (0, 2));
    prompt(&rig, "docker ps --all && docker network ls");
    assert!(note.exists() && rig.plugin().exists(), "the other lab hangs on it");

    rig.netloom(&["adopt", OTHER]).code(0).says("1 nodes, 2 links");
    agent.destroys(OTHER);
    rig.until("nothing needs the plugin any more", |_| !note.exists() && !rig.plugin().exists());
    assert_eq!((networks(&rig, OTHER), rig.ports()), (0, Vec::new()));
    assert_eq!(cables(&rig), 0);
    prompt(&rig, "docker ps --all && docker network ls");
}

#[test]
fn a_docker_that_is_restarted_comes_back_at_once_and_what_hung_on_the_plugin_is_started_again() {
    let Some(machine) = Machine::plugged() else { return };
    let mut before = Vec::new();
    let rig = Rig::on(machine, |machine| before = leave(machine));
    let (agent, [r1, h1]) = (&rig.agent, ["r1", "h1"].map(|node| container(LAB, node)));
    rig.netloom(&["adopt", LAB]).code(0);
    rig.daemon.kill();
    rig.until("it is said", |_| agent.get(&format!("/labs/{LAB}/status"))["error"].is_string());
    let begun = Instant::now();
    rig.daemon.start_again();
    assert!(begun.elapsed() < PROMPT + GRACE, "it took {:?}", begun.elapsed());
    rig.until("all have ended", |_| {
        let status = agent.get(&format!("/labs/{LAB}/status"));
        let has_ended = |name| node(&status, name).is_some_and(|node| node["status"] == "stopped");
        status["error"].is_null() && ["r1", "h1", "h2"].into_iter().all(has_ended)
    });
    for it in [&R1, &H1] {
        let begun = Instant::now();
        let started = agent.start(LAB, it);
        assert_eq!(started["success"], true, "{started:#}");
        assert!(begun.elapsed() < PROMPT, "it took {:?}", begun.elapsed());
    }
    agent.links(LAB, &recorded_link());
    rig.address(&r1, "eth1", "10.0.1.1/24");
    rig.address(&h1, "eth1", "10.0.1.2/24");
    rig.until("it is reached again", |_| rig.reaches(&h1, "10.0.1.1", 56));
    // Nothing is made anew on the plugin, and that is said at once.
    let begun = Instant::now();
    let refused = rig.sh(&format!("docker start {}", container(OTHER, "h1"))).code(1);
    refused.says("Have the controller start the node");
    assert!(begun.elapsed() < PROMPT, "it took {:?}", begun.elapsed());
    agent.destroys(LAB);
    rig.netloom(&["adopt", OTHER]).code(0);
    agent.destroys(OTHER);
    rig.until("nothing is left", |_| rig.ports().is_empty() && cables(&rig) == 0);
    assert_eq!((networks(&rig, LAB), networks(&rig, OTHER)), (0, 0));
}
