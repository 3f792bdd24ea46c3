//! What is left when something is lost: a state file, or everything but that.

use std::fs;

use serde_json::Value;

use crate::lab::{node, pair};
use crate::sandbox::{Run, Sandbox};

/// A lab with something of everything: commands run once, addresses, a bridge, an end on the host, a long name, a node
/// that has ended for good, a link that is cut.
const RICH: &str = "
name: rich
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes:
    a: { cmd: sleep 100000, exec: [\"sh -c 'echo once >> /ran'\", \"sh -c 'echo twice >> /ran'\"] }
    b: { labels: { site: x } }
    over: { cmd: sh -c 'echo bye; exit 3', restart-policy: \"no\" }
    br-l0: { kind: bridge }
    br-idle: { kind: bridge }
  links:
    - { endpoints: [\"b:eth1\", \"a:eth1\"], ipv4: [10.0.0.2/24, 10.0.0.1/24], ipv6: [\"2001:db8::2/64\", \"\"], mtu: 1400 }
    - endpoints: [\"a:uplink-to-the-core-router\", \"b:eth2\"]
    - endpoints: [\"b:eth3\", \"host:nl-h1\"]
    - endpoints: [\"a:eth4\", \"br-l0:nl-p1\"]
    - endpoints: [\"b:eth4\", \"br-l0:nl-p2\"]
";

fn rich(host: &Sandbox) -> String {
    let file = host.topology("rich", RICH);
    // The node that ends at once is a problem of the deploy.
    host.netloom(&["deploy", "-t", &file]).code(1).says("exited(3)");
    host.netloom(&["link", "down", "rich", "a:uplink-to-the-core-router"]).code(0);
    host.sh("nsenter --net=$NETLOOM_ROOT/run/netloom/netns/rich/a ip address add 10.99.0.1/32 dev eth1").code(0);
    file
}

/// What nobody may touch: processes, indexes, addresses.
pub(crate) fn fixed(lab: &Value) -> Value {
    let mut fixed = lab.clone();
    fixed.as_object_mut().unwrap().retain(|key, _| ["nodes", "links", "source"].contains(&key.as_str()));
    for node in fixed["nodes"].as_array_mut().unwrap() {
        node.as_object_mut().unwrap().remove("seen");
    }
    fixed
}

fn ran(host: &Sandbox, node: &str) -> String {
    host.netloom(&["exec", node, "--", "cat", "/ran"]).code(0).out
}

#[test]
fn a_damaged_state_file_is_said_and_moved_away_and_the_labs_are_adopted() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = rich(&host);
    let second = host.topology("second", &pair("second", ""));
    host.netloom(&["deploy", "-t", &second]).code(0);
    let (wanted, exported) = (fixed(&host.lab("rich")), host.netloom(&["export", "rich"]).code(0).out);
    host.netloom(&["agent", "stop"]).code(0);
    let there = host.traces();

    let state = host.root.path().join("var/lib/netloom/state.redb");
    fs::write(&state, b"this was a state file").unwrap();
    let said = host.netloom(&["agent"]).code(1).says("is damaged").err;
    host.netloom(&["agent", "--background"]).code(1).says("is damaged");
    assert_eq!(fs::read(&state).unwrap(), b"this was a state file");
    there.are_all(&host);

    // As the message says, word by word.
    let (_, way_out) = said.split_once('`').unwrap();
    host.sh(way_out.split_once('`').unwrap().0).code(0);
    host.netloom(&["agent", "--background"]).code(0);
    host.until("both are found", |host| host.netloom(&["inspect", "--all"]).out.matches("unknown").count() == 2);
    let found = host.lab("rich");
    for name in ["a", "b", "over"] {
        assert_eq!(node(&found, name)["pid"], node(&wanted, name)["pid"], "{found}");
    }
    host.netloom(&["inspect", "--name", "rich"]).code(0).says("`netloom adopt rich`");
    for needs in [&["export", "rich"][..], &["node", "stop", "rich/a"], &["link", "down", "rich", "a:eth1"]] {
        host.netloom(needs).code(2).says("lab `rich` is there").says("`netloom adopt rich`");
    }

    host.netloom(&["adopt", "--all"]).code(0).says("5 nodes, 5 links").says("2 `exec` commands").says("lab second");
    host.netloom(&["adopt", "--all"]).code(0).says("no lab that the agent does not know");
    host.netloom(&["adopt", "rich"]).code(2).says("is known");
    host.netloom(&["adopt", "nowhere"]).code(2).says("there is no lab");
    assert_eq!(fixed(&host.lab("rich")), wanted);
    assert_eq!(host.netloom(&["export", "rich"]).code(0).out, exported);
    host.netloom(&["deploy", "-t", &second]).code(0).says("nothing to change");
    // Its ended node is still a problem, and nothing else.
    let again = host.netloom(&["deploy", "-t", &file]).code(1).says("exited(3)");
    assert!(!again.err.contains("create") && !again.err.contains("exec"), "{}", again.err);
    assert_eq!(fixed(&host.lab("rich")), wanted);
    assert_eq!(ran(&host, "rich/a"), "once\ntwice\n");

    // Also after another start; and what is to come back does, in a new life.
    host.netloom(&["agent", "stop"]).code(0);
    host.netloom(&["agent", "--background"]).code(0);
    host.until("it is seen as it was", |host| fixed(&host.lab("rich")) == wanted);
    let pid = node(&wanted, "a")["pid"].clone();
    host.sh(&format!("kill -KILL {pid}")).code(0);
    host.until("it runs again and its commands have", |host| {
        let now = node(&host.lab("rich"), "a");
        now["pid"] != pid && now["state"]["phase"] == "running" && {
            host.netloom(&["exec", "rich/a", "--", "cat", "/ran"]).out == "once\ntwice\nonce\ntwice\n"
        }
    });
    host.netloom(&["destroy", "--all"]).code(0);
    fs::remove_file(state.with_extension("redb.bad")).unwrap();
    before.are_all(&host);
}

#[test]
fn what_was_changed_by_hand_is_not_adopted_and_the_reason_is_said() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.netloom(&["agent", "stop"]).code(0);
    fs::remove_file(host.root.path().join("var/lib/netloom/state.redb")).unwrap();
    host.sh("nsenter --net=$NETLOOM_ROOT/run/netloom/netns/x/a ip address del 10.0.0.1/24 dev eth1").code(0);
    host.netloom(&["agent", "--background"]).code(0);
    host.netloom(&["adopt", "x"]).code(2).says("link a:eth1-b:eth1: its MTU or an address").says("deploy its file");
    host.netloom(&["inspect"]).code(0).says("unknown");
    host.sh("nsenter --net=$NETLOOM_ROOT/run/netloom/netns/x/a ip address add 10.0.0.1/24 dev eth1").code(0);
    host.until("it is adopted", |host| host.netloom(&["adopt", "x"]).code == 0);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    host.netloom(&["destroy", "--name", "x"]).code(0);
}

/// What of a lab is the same in every boot: names, MAC addresses and what the topology gave.
fn lasting(lab: &Value) -> Value {
    let mut lasting = fixed(lab);
    for node in lasting["nodes"].as_array_mut().unwrap() {
        node.as_object_mut().unwrap().retain(|key, _| !["id", "pid", "last_output"].contains(&key.as_str()));
    }
    for end in lasting["links"].as_array_mut().unwrap().iter_mut().flat_map(|link| link["ends"].as_array_mut().unwrap())
    {
        end.as_object_mut().unwrap().remove("ifindex");
    }
    // Added by hand: it was nowhere but in the kernel.
    let text = lasting.to_string().replace("\"10.99.0.1/32\",", "").replace(",\"10.99.0.1/32\"", "");
    serde_json::from_str(&text).unwrap()
}

/// Cancels a deploy, so that the lab is held; one node of it waits for ten minutes.
fn held(host: &Sandbox) {
    let text = "name: held\ntopology: { nodes: { a: { kind: linux, runtime: namespace, startup-delay: 600 } } }\n";
    let file = host.topology("held", text);
    host.netloom(&["deploy", "-t", &file, "--timeout", "1s"]).code(4);
    let all = host.netloom(&["operation", "list", "--json"]).code(0).json();
    let running = all.as_array().unwrap().iter().find(|one| one["state"] == "running").unwrap();
    host.netloom(&["operation", "cancel", running["id"].as_str().unwrap()]).code(0);
    host.netloom(&["inspect", "--name", "held"]).code(0).says("held: ");
}

/// Begins a destroy that cannot end in this boot: something is mounted where a node has written.
fn half_destroyed(host: &Sandbox) {
    let file = host.topology("half", &pair("half", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    host.sh("mount -t tmpfs none $NETLOOM_ROOT/var/lib/netloom/layers/half/a/upper").code(0);
    let mut destroy = host.start(&["destroy", "--name", "half"]);
    host.until("one node is gone and one is not", |host| {
        host.sh("cd $NETLOOM_ROOT/run/netloom/nodes/half && test ! -e b && test -e a").code == 0
    });
    destroy.kill().unwrap();
    destroy.wait().unwrap();
}

fn comes_back_after_a_reboot(run: Run) {
    let Some(mut host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = rich(&host);
    let wanted = lasting(&host.lab("rich"));
    held(&host);
    half_destroyed(&host);
    host.reboot(run);

    host.netloom(&["agent", "--background"]).code(0);
    host.until("the lab is as it was", |host| {
        lasting(&host.lab("rich")) == wanted && ran(host, "rich/a").lines().count() >= 4
    });
    host.until("the rest of the other is gone", |host| {
        !host.netloom(&["inspect"]).out.contains("half")
            && host.sh("test -e $NETLOOM_ROOT/var/lib/netloom/layers/half").code == 1
    });
    // Nobody's hand was needed, and none finds anything to do.
    let again = host.netloom(&["deploy", "-t", &file]).code(1).says("exited(3)");
    assert!(!again.err.contains("create") && !again.err.contains("exec"), "{}", again.err);
    host.netloom(&["inspect", "--name", "held"]).code(0).says("held: ").says("0 of 1 node running");
    host.sh("ls $NETLOOM_ROOT/run/netloom/netns/held").code(if run == Run::Memory { 2 } else { 0 });

    // One more start in this life runs no command again.
    host.netloom(&["agent", "stop"]).code(0);
    host.netloom(&["agent", "--background"]).code(0);
    host.until("it is seen", |host| lasting(&host.lab("rich")) == wanted);
    assert_eq!(ran(&host, "rich/a"), "once\ntwice\nonce\ntwice\n", "once in each life");
    host.netloom(&["destroy", "--all"]).code(0);
    before.are_all(&host);
}

#[test]
fn after_a_reboot_labs_come_back_unattended_and_held_ones_stay_held() {
    comes_back_after_a_reboot(Run::Memory);
}

#[test]
fn after_a_reboot_with_run_on_a_disk_what_is_left_there_misleads_nobody() {
    comes_back_after_a_reboot(Run::Disk);
}
