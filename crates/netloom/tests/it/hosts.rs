//! Two hosts, each with its half of a lab: nothing places labs on hosts, so the links between them are `vxlan-stitch` links
//! to the other one's address. One crashes and comes back; the other one's own labs do not notice.

mod pair;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Child;

use pair::{BOTH, Host, IMAGE, Pair};

const LINKS: usize = 20;

/// The half of a lab that is on a host: four containers, each with five links to its counterpart on the other one.
fn half(host: Host) -> String {
    let (side, far) = (side(host), host.other().address());
    let link = |node, link| {
        let end =
            format!("{{ node: {side}{node}, interface: eth{link}, ipv4: 10.{node}.{link}.{}/24 }}", 1 + host as usize);
        format!("    - {{ type: vxlan-stitch, endpoint: {end}, remote: {far}, vni: {node}{link}, dst-port: 4789 }}\n")
    };
    let links: String = (1..=4).flat_map(|node| (1..=5).map(move |number| link(node, number))).collect();
    format!(
        "name: across
settings: {{ fabric: ovs }}
topology:
  defaults: {{ kind: linux, image: \"{IMAGE}\" }}
  nodes: {{ {side}1: , {side}2: , {side}3: , {side}4: }}
  links:
{links}"
    )
}

/// How nodes of a host are called. MAC addresses come of the names of lab, node and interface, and both ends of a link with
/// the same one would not reach each other.
fn side(host: Host) -> &'static str {
    ["left", "right"][host as usize]
}

/// A lab that has nothing to do with the other host, but for the bridge that its link is on.
const LOCAL: &str = "name: local
settings: { fabric: ovs }
topology:
  defaults: { kind: linux, runtime: namespace }
  nodes: { a: , b: }
  links:
    - { endpoints: [\"a:eth1\", \"b:eth1\"], ipv4: [10.0.0.1/24, 10.0.0.2/24] }
";

/// How many of the links between the hosts carry a packet there and back, as the first host sees it.
fn crossed(pair: &Pair) -> usize {
    let ping = "ping -c 1 -W 1 10.$node.$link.2 >/dev/null && echo crossed &";
    let inside = format!("node=$0; for link in 1 2 3 4 5; do {ping} done; wait");
    let exec = format!("netloom exec across/left$node -- sh -c '{inside}' $node &");
    let script = format!("for node in 1 2 3 4; do {exec} done; wait");
    pair.sh(Host::One, &script).out.lines().filter(|line| *line == "crossed").count()
}

/// Whether all nodes run, and all links carry. The packets alone do not say it: the ends of links wait for a node with their
/// addresses, and answer.
fn is_whole(pair: &Pair) -> bool {
    let whole = "4 of 4 nodes running, 20 of 20 links up";
    let says = |host| pair.netloom(host, &["inspect", "--name", "across"]).out.contains(whole);
    BOTH.into_iter().all(says) && crossed(pair) == LINKS
}

/// The ports of links on a host, as `name tag`.
fn ports(pair: &Pair, host: Host) -> BTreeSet<String> {
    let list = "ovs-vsctl --timeout=10 --format=csv --data=bare --no-headings --columns=name,tag list Port";
    let all = pair.sh(host, list).code(0).out;
    all.lines().filter(|line| line.starts_with("vh") || line.starts_with("vxlan-")).map(str::to_owned).collect()
}

/// What a lab could leave on a host: interfaces, containers, networks, namespaces and nodes.
fn traces(pair: &Pair, host: Host) -> String {
    let script = "ip -oneline link | sed 's/^[0-9]*: \\([^:@]*\\).*/link \\1/' | sort
        docker ps --all --quiet; docker network ls --format '{{.Name}}' | sort
        find /run/netns /run/netloom/nodes /run/netloom/netns /var/lib/netloom/layers -mindepth 1 2>/dev/null";
    pair.sh(host, script).out
}

/// Packets that a node of the local lab sends to the other each 10 ms.
struct Traffic {
    ping: Child,
    pid: String,
}

impl Traffic {
    const SAID: &str = "traffic";

    fn start(pair: &Pair) -> Self {
        let lab = pair.netloom(Host::One, &["inspect", "--name", "local", "--json"]).code(0).json();
        let node = &lab["nodes"][0]["pid"];
        let script = format!("echo $$; exec nsenter --target {node} --net ping -n -i 0.01 10.0.0.2");
        let said = File::create(pair.file(Self::SAID)).unwrap();
        let ping = pair.command(Host::One, "sh").args(["-c", &script]).stdout(said).spawn().unwrap();
        let first = || fs::read_to_string(pair.file(Self::SAID)).unwrap().lines().next().map(str::to_owned);
        pair.until("it has begun", |_| first().is_some_and(|pid| !pid.is_empty()));
        Self { ping, pid: first().unwrap() }
    }

    /// Fails the test if one of them did not come back. The last may be on its way.
    #[track_caller]
    fn lost_nothing(mut self, pair: &Pair) {
        pair.sh(Host::One, &format!("kill -INT {}", self.pid)).code(0);
        self.ping.wait().unwrap();
        let said = fs::read_to_string(pair.file(Self::SAID)).unwrap();
        let number = |line: &str| line.split_once("icmp_seq=")?.1.split_once(' ')?.0.parse().ok();
        let back: Vec<usize> = said.lines().filter_map(number).collect();
        let sent = said.split_once(" packets transmitted").and_then(|(before, _)| before.lines().last()?.parse().ok());
        let last = (1..=back.len()).eq(back.iter().copied()) && sent.is_some_and(|sent: usize| sent <= back.len() + 1);
        assert!(last && back.len() > 100, "sent {sent:?}, back {}: {:?}", back.len(), said.lines().last());
    }
}

#[test]
fn links_between_two_hosts_come_back_by_themselves_after_a_crash_of_one_and_the_other_loses_no_packet() {
    let Some(mut pair) = Pair::boot() else { return };
    let before = BOTH.map(|host| traces(&pair, host));
    let local = pair.topology("local", LOCAL);
    pair.netloom(Host::One, &["deploy", "-t", &local]).code(0).says("1 of 1 link up");
    let halves = BOTH.map(|host| (host, pair.topology(side(host), &half(host))));
    let deploy = |(host, file): &(Host, String)| pair.netloom(*host, &["deploy", "-t", file]);
    let [one, two] = std::thread::scope(|scope| {
        let two = scope.spawn(|| deploy(&halves[1]));
        [deploy(&halves[0]), two.join().unwrap()]
    });
    for half in [one, two] {
        half.code(0).says("4 of 4 nodes running, 20 of 20 links up");
    }
    pair.until("all links carry", is_whole);
    let made = BOTH.map(|host| ports(&pair, host));
    assert_eq!(made.each_ref().map(BTreeSet::len), [2 + 2 * LINKS, 2 * LINKS]);

    let traffic = Traffic::start(&pair);
    pair.crash(Host::Two);
    pair.start(Host::Two);
    pair.until("all is back", is_whole);
    assert_eq!(BOTH.map(|host| ports(&pair, host)), made);

    pair.crash(Host::Two);
    pair.lose_database(Host::Two);
    pair.start(Host::Two);
    pair.until("all is back, with the same tags", |pair| is_whole(pair) && BOTH.map(|host| ports(pair, host)) == made);
    traffic.lost_nothing(&pair);

    for (host, before) in BOTH.into_iter().zip(&before) {
        pair.netloom(host, &["destroy", "--all", "--yes"]).code(0);
        assert_eq!(ports(&pair, host), BTreeSet::new());
        pair.sh(host, "ovs-vsctl --timeout=10 del-br arch-ovs").code(0);
        pair.until("the bridge is gone", |pair| !pair.sh(host, "ip link").out.contains("arch-ovs"));
        assert_eq!(traces(&pair, host), *before);
    }
}
