//! A lab on Open vSwitch with the datapath of the kernel, which forwards by itself, whatever becomes of the agent.

#[path = "../it/ovs/carry.rs"]
mod carry;
#[path = "../it/ovs/host.rs"]
mod host;
mod traffic;

use std::process::Command;

use netloom_kernel::Netns;
use netloom_ovs_fixture::{Daemon, Ovs};
use serde_json::{Value, json};

use crate::sandbox::Sandbox;
use host::{ON_OVS, OvsHost, WAYS, ring};
use traffic::{Traffic, is_unfinished};

/// Which node each of [`WAYS`] leads to.
const TO: [&str; 3] = ["b", "c", "a"];

/// Where Open vSwitch is to be started: with the datapath of the kernel one that begins in the first ten seconds of its host
/// counts no thread that takes packets from there, and forwards nothing. For this one it has long been up.
fn place(host: &Sandbox) -> Command {
    let mut command = host.command("unshare");
    command.args(["--fork", "--time", "--monotonic", "1000", "--"]);
    command
}

/// A host on which the agent and the database are started before the kernel has the module.
fn before_the_module() -> OvsHost {
    let host = crate::host();
    host.until("the module is gone", |host| host.sh("modprobe -r openvswitch").code == 0);
    let ovs = Ovs::start_by(&mut place(&host)).unwrap();
    let host = OvsHost::with(host, ovs);
    assert!(!std::fs::exists("/sys/module/openvswitch").unwrap());
    host
}

impl OvsHost {
    fn forwards_in_the_kernel(&self) {
        assert_eq!(self.vsctl("get bridge arch-ovs datapath_type").code(0).out, "system\n");
        let datapaths = self.ovs.appctl(Daemon::Switch, ["dpif/show"]);
        assert!(datapaths.contains("system@ovs-system") && !datapaths.contains("netdev@"), "{datapaths}");
    }

    /// Both ends of each link, and the address of the second.
    fn ways(&self) -> [(Netns, Netns, &'static str); 3] {
        let netns = |node: &str| self.node_netns(&format!("x/{node}")).unwrap();
        std::array::from_fn(|at| (netns(WAYS[at].0), netns(TO[at]), WAYS[at].1))
    }

    /// TCP, UDP and a ping pass over all links.
    #[track_caller]
    fn carries_all(&self) {
        for ((from, address), to) in WAYS.into_iter().zip(TO) {
            let [from, to] = [from, to].map(|node| format!("x/{node}"));
            self.until(&format!("{from} talks to {to}"), |host| host.carries(&from, &to, address));
        }
        assert!(self.pings("x/a", WAYS[0].1));
    }

    fn leaves_checksums_to_the_kernel(&self) {
        for (from, to, address) in self.ways() {
            // The first packet of a flow goes by ovs-vswitchd, for which the kernel completes it.
            self.until("one comes with an unfinished one", |_| is_unfinished(&from, &to, address));
        }
    }

    /// No packet of any link is lost while this is done, and no port is another.
    #[track_caller]
    fn loses_nothing_while(&self, done: impl FnOnce()) {
        let before = self.ports();
        let traffic = self.ways().map(|(from, to, address)| Traffic::start(&from, &to, address));
        done();
        let counts = traffic.map(Traffic::end);
        assert!(counts.iter().all(|count| count.lost == 0 && count.sent >= 50), "{counts:?}");
        assert_eq!(self.ports(), before);
    }

    /// As `netloom link add` and `netloom link rm` do, whose own starts would take most of the time here.
    fn connects_and_disconnects(&self, [a, b]: [&str; 2]) {
        let link = format!("{a} {b}");
        self.edits(&json!({ (&link): { "ends": { (a): { "ipv4": "10.9.0.1/30" }, (b): { "ipv4": "10.9.0.2/30" } } } }));
        assert_eq!(self.ports().len(), 8);
        self.edits(&json!({ (&link): null }));
    }

    /// Has links of the lab changed.
    #[track_caller]
    fn edits(&self, links: &Value) {
        let accepted = self.send("PATCH /labs/x", "If-Match: *\r\n", &json!({ "links": links }).to_string());
        assert_eq!(accepted.status, 202, "{}", accepted.body);
        let operation = format!("GET /operations/{}?wait=4", accepted.json()["operation"]["id"].as_str().unwrap());
        self.until("it is done", |host| host.ask(&operation).json()["state"] == "succeeded");
    }
}

#[test]
fn bridges_forward_in_the_kernel_and_nothing_is_lost_while_other_links_come_and_go_and_the_agent_is_killed() {
    let host = before_the_module();
    // It has the kernel load the module.
    host.ovs.start_again(Daemon::Switch);
    let file = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 links up");
    host.forwards_in_the_kernel();
    host.carries_all();
    host.leaves_checksums_to_the_kernel();

    host.loses_nothing_while(|| {
        let others = [["a:eth5", "b:eth5"], ["b:eth5", "c:eth5"]];
        others.into_iter().cycle().take(10).for_each(|ends| host.connects_and_disconnects(ends));
    });
    host.loses_nothing_while(|| {
        host.kill_agent();
        host.netloom(&["agent", "--background"]).code(0);
        host.until("it is whole", |_| host.netloom(&["inspect", "--name", "x"]).code == 0 && host.is_up("x"));
    });

    let before = host.ports();
    host.ovs.kill(Daemon::Switch);
    host.ovs.start_again(Daemon::Switch);
    host.carries_all();
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    assert_eq!(host.ports(), before);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(host.ports(), [""; 0]);
}
