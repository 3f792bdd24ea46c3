//! Labs on Open vSwitch whose wish is lost with the state file: taken back as they run, or left alone with the reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::process::Signal;

use super::overlay::hosts;
use super::{ON_OVS, OvsHost, WAYS, ring};
use crate::recovery::fixed;
use crate::sandbox::{Ended, signal};

/// Of everything that there is on Open vSwitch something: links, ports of a bridge of the lab's own, a tunnel.
const RICH: &str = "
name: x
settings: { fabric: ovs }
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes: { a: , b: , sw: { kind: ovs-bridge } }
  links:
    - { endpoints: [\"b:eth1\", \"a:eth1\"], ipv4: [10.0.1.2/24, 10.0.1.1/24], mtu: 1400 }
    - type: veth
      endpoints: [{ node: a, interface: eth2, ipv4: 10.0.2.1/24 }, { node: sw, interface: p1, vars: { vlan: 10 } }]
    - type: veth
      endpoints: [{ node: b, interface: eth2, ipv4: 10.0.2.2/24 }, { node: sw, interface: p2, vars: { vlan: 10, trunks: [20, 30] } }]
    - type: vxlan-stitch
      endpoint: { node: a, interface: eth3, ipv4: 10.0.3.1/24 }
      remote: 10.99.0.2
      vni: 7
      dst-port: 4789
    - { endpoints: [\"b:eth4\", \"host:nl-h1\"] }
";

/// The other end of its tunnel.
const FAR: &str = "
name: far
settings: { fabric: ovs }
topology:
  nodes: { c: { kind: linux, runtime: namespace } }
  links:
    - type: vxlan-stitch
      endpoint: { node: c, interface: eth1, ipv4: 10.0.3.2/24 }
      remote: 10.99.0.1
      vni: 7
      dst-port: 4789
";

/// The ways from `a` on which traffic is not to be cut.
const FROM_A: [&str; 3] = ["10.0.1.2", "10.0.2.2", "10.0.3.2"];

impl OvsHost {
    /// Pings every 10 ms from a node, until it is told to end. What it hears goes to a file: a pipe may be full.
    fn traffic(&self, pid: &str, address: &str) -> (Child, PathBuf) {
        let heard = self.root.path().join(format!("heard-from-{address}"));
        let ping = format!("exec nsenter --target {pid} --net ping -i 0.01 {address}");
        let file = fs::File::create(&heard).unwrap();
        (self.command("sh").args(["-c", &ping]).stdout(file).spawn().unwrap(), heard)
    }

    fn lose_state(&self) {
        self.netloom(&["agent", "stop"]).code(0);
        fs::remove_file(self.root.path().join("var/lib/netloom/state.redb")).unwrap();
    }

    fn find_unknown(&self, lab: &str) {
        self.netloom(&["agent", "--background"]).code(0);
        self.until("it is found", |host| host.netloom(&["inspect", "--all"]).out.contains("unknown"));
        self.netloom(&["inspect", "--name", lab]).code(0).says(&format!("`netloom adopt {lab}`"));
    }

    /// Asks for it as soon as the agent has seen everything.
    fn adopt(&self, lab: &str) -> Ended {
        let mut ended = None;
        self.until("everything is seen", |host| {
            let one = host.netloom(&["adopt", lab]);
            let is_ready = !one.err.contains("has not seen the whole host yet");
            ended = Some(one);
            is_ready
        });
        ended.expect("it was asked for")
    }

    /// All of the switch, row by row, with its ids.
    fn board(&self) -> Vec<String> {
        let columns = [("Bridge", "_uuid,name,external_ids"), ("Port", "_uuid,name,tag,trunks,vlan_mode,external_ids")];
        let list = |(table, columns)| self.vsctl(&format!("--format=csv --columns={columns} list {table}")).code(0).out;
        let mut rows: Vec<String> = columns.map(list).concat().lines().map(str::to_owned).collect();
        rows.sort();
        rows
    }

    /// The interfaces of the host, with their indexes, addresses and states.
    fn interfaces(&self) -> String {
        // Whether somebody else has an address is looked for a while after it was given.
        self.sh("ip -o link; ip -o address").code(0).out.replace(" tentative", "")
    }
}

/// The packets that were sent before the last one that came back, and did not.
fn lost(heard: &Path) -> Vec<usize> {
    let heard = fs::read_to_string(heard).unwrap();
    let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok();
    let back: BTreeSet<usize> = heard.lines().filter_map(number).collect();
    let last = *back.last().expect("something came back");
    (1..=last).filter(|number| !back.contains(number)).collect()
}

#[test]
fn a_lab_whose_state_is_lost_is_adopted_with_its_tags_and_no_packet_is_lost() {
    let Some(hosts) = hosts() else { return };
    let [host, far] = &hosts;
    let traces = host.traces();
    far.netloom(&["deploy", "-t", &far.topology("far", FAR)]).code(0);
    let file = host.topology("x", RICH);
    host.netloom(&["deploy", "-t", &file]).code(0).says("5 of 5 links up");
    for address in FROM_A {
        host.until("it is reached", |_| host.pings("x/a", address));
    }
    host.netloom(&["link", "down", "x", "b:eth4"]).code(0);
    host.until("the cut end takes the carrier of the other", |_| {
        let links = host.links("x");
        links
            .iter()
            .flat_map(|link| link["ends"].as_array().unwrap())
            .any(|end| end["end"] == "host:nl-h1" && end["carrier"] == false)
    });
    let (lab, exported) = (fixed(&host.lab("x")), host.netloom(&["export", "x"]).code(0).out);
    let (board, interfaces) = (host.board(), host.interfaces());
    let pid = lab["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "a").unwrap()["pid"].to_string();
    let mut traffic = FROM_A.map(|address| host.traffic(&pid, address));

    host.lose_state();
    host.find_unknown("x");
    assert_eq!(host.board(), board, "nobody touches what is not known");
    host.adopt("x").code(0).says("5 links").says("3 links keep their tags on bridge `arch-ovs`");
    assert_eq!((host.board(), host.interfaces()), (board.clone(), interfaces.clone()));
    assert_eq!(fixed(&host.lab("x")), lab);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    // As the next life finds it.
    host.netloom(&["agent", "stop"]).code(0);
    host.netloom(&["agent", "--background"]).code(0);
    host.until("it is seen as it was", |host| fixed(&host.lab("x")) == lab);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    assert_eq!((host.board(), host.interfaces()), (board, interfaces));

    for ((ping, heard), address) in traffic.iter_mut().zip(FROM_A) {
        assert!(host.pings("x/a", address), "it goes on");
        assert_eq!(ping.try_wait().unwrap(), None, "it went on all the time");
        signal(ping, Signal::INT);
        ping.wait().unwrap();
        assert_eq!(lost(heard), [0; 0], "{address}");
        fs::remove_file(heard).unwrap();
    }
    assert_eq!(host.netloom(&["export", "x"]).code(0).out, exported);

    // It is the agent's again.
    let ports = host.ports();
    host.vsctl(&format!("set port {} tag=99", ports[0].split(' ').next().unwrap())).code(0);
    host.until("the tag is back", |_| host.ports() == ports);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(host.vsctl("list-br").code(0).out, "arch-ovs\n");
    assert_eq!(host.vsctl("get bridge arch-ovs external_ids").code(0).out.matches("netloom-tag").count(), 0);
    host.vsctl("del-br arch-ovs").code(0);
    host.until("its interface is gone", |host| !host.sh("ip link show arch-ovs").out.contains("arch-ovs"));
    traces.are_all(host);
}

#[test]
fn a_tag_that_was_changed_by_hand_is_not_adopted_and_a_claim_that_was_taken_away_is_made_again() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let (board, ports) = (host.board(), host.ports());
    let port = ports.iter().find_map(|port| port.strip_suffix(" 2050")).unwrap();
    host.lose_state();
    host.vsctl(&format!("set port {port} tag=99")).code(0);
    host.vsctl("remove bridge arch-ovs external_ids netloom-tag-2051").code(0);
    host.find_unknown("x");
    let changed = host.board();
    let refused = format!("its port `{port}` has tag 99, and what is claimed for it is 2050");
    host.adopt("x").code(2).says(&refused).says("deploy its file");
    assert_eq!(host.board(), changed, "nothing is touched");
    host.netloom(&["inspect"]).code(0).says("unknown");

    // Somebody else has claimed the other meanwhile.
    host.vsctl(&format!("set port {port} tag=2050")).code(0);
    host.vsctl("set bridge arch-ovs external_ids:netloom-tag-2051=other/lab/r1:eth1").code(0);
    host.until("that is seen", |host| {
        host.netloom(&["adopt", "x"]).code(2).err.contains("tag 2051 of bridge arch-ovs, which the ports of link")
    });
    host.vsctl("remove bridge arch-ovs external_ids netloom-tag-2051").code(0);
    host.until("it is adopted", |host| host.netloom(&["adopt", "x"]).code == 0);
    assert_eq!(host.board(), board, "with all claims, and no other tag");
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    for (node, address) in WAYS {
        assert!(host.pings(&format!("x/{node}"), address));
    }
    host.netloom(&["destroy", "--name", "x"]).code(0);
    assert_eq!(host.vsctl("get bridge arch-ovs external_ids").code(0).out.matches("netloom-tag").count(), 0);
}
