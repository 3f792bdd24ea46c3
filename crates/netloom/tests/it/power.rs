//! Nodes stopped, started and restarted by command line, and what their neighbours see of it.

use std::fs;
use std::thread;

use crate::lab::{node, pair};
use crate::sandbox::{Ended, NETLOOM, Sandbox};

/// A third node, with a command and a route over its link.
const RUNS: &str = "    c: { cmd: sleep 1000, exec: [\"ip route add 10.9.0.0/24 via 10.0.1.1\"] }\n";

fn lab(name: &str) -> String {
    pair(name, RUNS)
        + "    - { endpoints: [\"a:eth2\", \"c:eth1\"], ipv4: [\"10.0.1.1/24\", \"10.0.1.2/24\"], ipv6: [\"fd00::1/64\", \"fd00::2/64\"] }\n"
}

fn inside(host: &Sandbox, of: &str, script: &str) -> Ended {
    host.netloom(&["exec", &format!("x/{of}"), "--", "sh", "-c", script])
}

/// What a restart must not change of an interface: index, name, MAC address, addresses.
fn identity(host: &Sandbox, of: &str, interface: &str) -> String {
    // Link-local ones are made from the MAC address and come a second after the link.
    let script = format!(
        "ip -o link show {interface} | sed 's/ mtu .*//; s/<[^>]*>//; s/@[^:]*//'; cat /sys/class/net/{interface}/address; \
         ip -o addr show {interface} scope global | sed 's/^[^ ]* *\\([^ ]* *[^ ]* *[^ ]*\\).*/\\1/' | sort"
    );
    inside(host, of, &script).code(0).out
}

fn carrier(host: &Sandbox, of: &str, interface: &str) -> bool {
    inside(host, of, &format!("cat /sys/class/net/{interface}/carrier")).code(0).out == "1\n"
}

#[test]
fn a_stopped_node_is_off_for_its_neighbours_and_comes_back_as_it_was() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("x", &lab("x"));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let was = [identity(&host, "a", "eth2"), identity(&host, "c", "eth1")];
    assert!(was.iter().all(|text| text.contains("10.0.1.") && text.contains("fd00::")), "{was:?}");

    assert_eq!(host.netloom(&["node", "stop", "x/c"]).code(0).out, "lab x: node c is stopped\n");
    assert_eq!(node(&host.lab("x"), "c")["state"]["phase"], "stopped");
    assert!(!carrier(&host, "a", "eth2"), "its neighbour sees that it is off");
    assert!(carrier(&host, "a", "eth1"), "and nothing else");
    assert_eq!(identity(&host, "a", "eth2"), was[0]);
    let says = "stopped: c; it stays so until `netloom node start x/c`";
    host.netloom(&["inspect", "--name", "x"]).code(0).says(says).says("2 of 3 nodes running");
    host.netloom(&["inspect"]).code(0).says("x    ready  2/3    1/2");
    host.netloom(&["deploy", "-t", &file, "--dry-run"]).code(0).says("nothing to change").says(says);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change; stopped until `netloom node start x/c`: c");
    host.netloom(&["exec", "x/c", "--", "true"]).code(125).says("is stopped");
    assert_eq!(host.answers("/readyz"), 200);

    // A new life of the agent leaves it as it is.
    host.netloom(&["agent", "stop"]).code(0);
    host.netloom(&["agent", "--background"]).code(0);
    host.until("all of it is seen", |host| host.netloom(&["inspect"]).out.contains("x    ready  2/3    1/2"));
    assert_eq!(node(&host.lab("x"), "c")["pid"], serde_json::Value::Null);

    assert_eq!(host.netloom(&["node", "start", "x/c"]).code(0).out, "lab x: node c runs\n");
    assert!(carrier(&host, "a", "eth2"));
    assert_eq!([identity(&host, "a", "eth2"), identity(&host, "c", "eth1")], was);
    inside(&host, "c", "ping -c 1 -W 5 10.0.1.1 && ip route show 10.9.0.0/24 | grep via").code(0);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_restarted_node_lives_anew_on_the_same_links() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &lab("x"));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let was = [identity(&host, "a", "eth2"), identity(&host, "c", "eth1")];
    let changes = || {
        let count = inside(&host, "a", "cat /sys/class/net/eth2/carrier_down_count").code(0).out;
        count.trim().parse::<u32>().unwrap()
    };
    for _ in 0..3 {
        let (pid, downs) = (node(&host.lab("x"), "c")["pid"].clone(), changes());
        assert_eq!(host.netloom(&["node", "restart", "x/c"]).code(0).out, "lab x: node c is restarted\n");
        assert_ne!(node(&host.lab("x"), "c")["pid"], pid);
        assert!(changes() > downs, "its neighbour saw it");
        assert_eq!([identity(&host, "a", "eth2"), identity(&host, "c", "eth1")], was);
        inside(&host, "c", "ping -c 1 -W 5 10.0.1.1 && ip route show 10.9.0.0/24 | grep via").code(0);
    }
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    host.netloom(&["inspect", "--name", "x"]).code(0).says("3 of 3 nodes running, 2 of 2 links up");
    // A node without a command can be restarted too, and one that was stopped is started by it.
    host.netloom(&["node", "stop", "x/a"]).code(0);
    host.netloom(&["node", "restart", "x/a"]).code(0);
    host.netloom(&["inspect"]).code(0).says("x    ready  3/3    2/2");
    let done = host.netloom(&["node", "restart", "x/a", "--json"]).code(0);
    let last: serde_json::Value = serde_json::from_str(done.out.lines().last().unwrap()).unwrap();
    assert_eq!((last["kind"].as_str(), last["state"].as_str()), (Some("edit"), Some("succeeded")), "{last}");
    host.netloom(&["operation", "show", last["id"].as_str().unwrap()]).code(0).says("a restart was asked for");
}

#[test]
fn an_agent_that_is_killed_while_it_stops_or_restarts_a_node_goes_on_when_it_starts_again() {
    let Some(host) = Sandbox::with_agent() else { return };
    let gate = host.labs.path().join("gate");
    fs::create_dir(&gate).unwrap();
    // It neither ends nor is set up before the gate is open, so that whoever is killed then is in the middle.
    let waits = |file| format!("until [ -e /gate/{file} ]; do sleep 0.01; done");
    let runs = format!(
        "    c:\n      binds: [\"{}:/gate\"]\n      cmd: sh -c 'trap \"{}; exit\" TERM; while :; do sleep 0.01; done'\n      exec: [\"sh -c \
         '{}'\", \"ip route add 10.9.0.0/24 via 10.0.1.1\"]\n",
        gate.display(),
        waits("end"),
        waits("begin"),
    );
    let file = host.topology("x", &lab("x").replace(RUNS, &runs));
    let open = |file: &str| fs::write(gate.join(file), "").unwrap();
    let shut = |file: &str| fs::remove_file(gate.join(file)).unwrap();
    open("begin");
    let before = host.traces();
    host.netloom(&["deploy", "-t", &file]).code(0);
    for verb in ["restart", "stop", "start", "restart", "stop"] {
        let pid = node(&host.lab("x"), "c")["pid"].clone();
        if verb == "start" {
            shut("begin");
        }
        // As soon as the node is marked; 9 if it was done already.
        let script = format!(
            "mark() {{ cat $NETLOOM_ROOT/run/netloom/nodes/x/c/node.json; }}; before=$(mark); {NETLOOM} node {verb} x/c & \
             edit=$!; while [ \"$(mark)\" = \"$before\" ]; do kill -0 $edit || exit 9; done; kill -KILL {}; wait $edit",
            host.agent()
        );
        let ended = host.sh(&script);
        assert_eq!(ended.code, 3, "{verb}: {ended:?}");
        host.until("it is gone", |host| host.netloom(&["agent", "status"]).code == 3);
        open("begin");
        open("end");
        host.netloom(&["agent", "--background"]).code(0);
        let runs = verb != "stop";
        host.until("it is as asked", |host| {
            let c = node(&host.lab("x"), "c");
            let state = if runs { c["ready"] == true && c["pid"] != pid } else { c["state"]["phase"] == "stopped" };
            state && carrier(host, "a", "eth2") == runs
        });
        host.until("all is well", |host| host.netloom(&["inspect"]).out.contains("x    ready"));
        shut("end");
    }
    open("end");
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_node_that_has_ended_is_off_and_started_by_hand() {
    let Some(host) = Sandbox::with_agent() else { return };
    let once =
        "    c: { cmd: \"sh -c 'trap \\\"exit 3\\\" USR1; while :; do sleep 0.01; done'\", restart-policy: \"no\" }\n";
    let file = host.topology("x", &pair("x", once).replace("b:eth1", "c:eth1"));
    host.netloom(&["deploy", "-t", &file]).code(0);
    inside(&host, "c", "kill -USR1 $(pgrep -o -x sh)");
    host.until("it has ended", |host| node(&host.lab("x"), "c")["state"]["code"] == 3);
    host.until("its neighbour sees it", |host| !carrier(host, "a", "eth1"));
    host.netloom(&["inspect"]).code(0).says("x    degraded");
    host.netloom(&["node", "start", "x/c"]).code(0);
    assert!(carrier(&host, "a", "eth1"));
    host.netloom(&["inspect"]).code(0).says("x    ready");
}

#[test]
fn what_cannot_be_stopped_is_said() {
    let Some(host) = Sandbox::with_agent() else { return };
    let text = pair("x", "    br0: { kind: bridge }\n    out: { kind: host }\n");
    let file = host.topology(
        "x",
        &text.replace("b:eth1", "br0:p1").replace("ipv4: [\"10.0.0.1/24\", \"10.0.0.2/24\"]", "mtu: 1500"),
    );
    host.netloom(&["deploy", "-t", &file]).code(0);
    for verb in ["stop", "start", "restart"] {
        host.netloom(&["node", verb, "x/br0"]).code(2).says("`br0` of lab `x` is of kind `bridge`: nothing runs in it");
        host.netloom(&["node", verb, "x/out"]).code(2).says("is of kind `host`");
        host.netloom(&["node", verb, "x/z"]).code(2).says("there is no node `z` in lab `x`");
        host.netloom(&["node", verb, "y/z"]).code(2).says("there is no lab `y`");
    }
}

#[test]
fn a_node_restarts_while_its_neighbour_is_removed_and_both_are_true() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("x", &lab("x"));
    for _ in 0..5 {
        host.netloom(&["deploy", "-t", &file]).code(0);
        let pid = node(&host.lab("x"), "a")["pid"].clone();
        thread::scope(|scope| {
            let restart = scope.spawn(|| host.netloom(&["node", "restart", "x/a"]));
            let remove = scope.spawn(|| host.netloom(&["node", "rm", "x/c"]));
            restart.join().unwrap().code(0);
            remove.join().unwrap().code(0);
        });
        let lab = host.lab("x");
        assert_eq!(node(&lab, "c"), serde_json::Value::Null, "{lab}");
        assert!(node(&lab, "a")["ready"] == true && node(&lab, "a")["pid"] != pid, "{lab}");
        assert_eq!(lab["links"].as_array().unwrap().len(), 1, "{lab}");
        inside(&host, "a", "ping -c 1 -W 5 10.0.0.2 && ! ip link show eth2 2>/dev/null").code(0);
        host.netloom(&["destroy", "--name", "x"]).code(0);
        before.are_all(&host);
    }
}
