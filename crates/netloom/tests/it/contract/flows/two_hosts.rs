//! A lab across two hosts: flow 5.3, and what of the others is different there.

use std::net::SocketAddr;
use std::thread;

use serde_json::{Value, json};

use crate::contract::client::Client;
use crate::contract::double::Controller;
use crate::contract::rig::{Machine, Told, container, is_whole, number, text};
use crate::contract::steps::{H1, H2, LAB, LINK, Node, OTHER, R1, link, node};
use crate::contract::traffic::Traffic;
use crate::docker::host::IMAGE;

/// Two hosts on one wire; the controller is on the first.
pub(super) struct Hosts {
    controller: Controller,
    /// The agents of both.
    pub(super) agents: [Client; 2],
    pub(super) machines: [Machine; 2],
}

const ADDRESSES: [&str; 2] = ["10.99.0.1", "10.99.0.2"];
const NAMES: [&str; 2] = ["rack1", "rack2"];
const IDS: [&str; 2] = ["hosta", "hostb"];

impl Hosts {
    pub(super) fn new() -> Option<Self> {
        let mut machines = [Machine::new()?, Machine::new()?];
        machines[0].join(&machines[1], "under");
        let controller = SocketAddr::from(([10, 99, 0, 1], 8000));
        for (at, machine) in machines.iter_mut().enumerate() {
            machine.sh(&format!("ip address add {}/24 dev under && ip link set under up", ADDRESSES[at])).code(0);
            machine.tell(&Told { controller, id: IDS[at], name: NAMES[at], host: ADDRESSES[at] });
        }
        let controller = Controller::listen(machines[0].netns(), controller);
        machines.iter().for_each(Machine::start_agent);
        let agents = IDS.map(|id| controller.agent(id));
        for (machine, agent) in machines.iter().zip(&agents) {
            machine.until("Docker and Open vSwitch are seen", |_| is_whole(agent));
        }
        Some(Self { controller, agents, machines })
    }

    /// The same of both hosts at once.
    fn both<T: Send>(&self, of: impl Fn(usize, &Client) -> T + Sync) -> [T; 2] {
        thread::scope(|scope| {
            let of = &of;
            let [one, two] = [0, 1].map(|at| scope.spawn(move || of(at, &self.agents[at])));
            [one.join().unwrap(), two.join().unwrap()]
        })
    }

    /// Has the router on the first and the host on the second deployed, with one job.
    #[track_caller]
    fn deploy(&self, lab: &str) {
        assert!(self.agents[1].image_exists(IMAGE), "one is asked for the images of all");
        self.both(|at, agent| {
            assert_eq!(agent.states(lab), []);
            agent.deploys(lab, &[ENDS[at]], &[]);
            agent.waits_for(lab, &ENDS[at]);
        });
    }

    /// `POST /overlay/attach-link` to both, and what the controller verifies. Gives the tags.
    #[track_caller]
    fn attach(&self, tunnel: &Tunnel) -> [u64; 2] {
        let tags = self.both(|at, agent| {
            let answer = agent.post("/overlay/attach-link", &tunnel.attach(at));
            assert_eq!((&answer["success"], &answer["error"]), (&json!(true), &Value::Null), "{answer:#}");
            assert_eq!(number(&answer, "vni"), tunnel.vni);
            number(&answer, "local_vlan")
        });
        for (at, agent) in self.agents.iter().enumerate() {
            assert_eq!(agent.vlan(tunnel.lab, ENDS[at].name, "eth1").0, tags[at]);
            let entry = tunnel.seen(agent).expect("it is there");
            assert_eq!(
                ["local_ip", "remote_ip", "interface_name"].map(|field| text(&entry, field)),
                [ADDRESSES[at], ADDRESSES[1 - at], tunnel.port]
            );
            assert_eq!(["vni", "tenant_mtu"].map(|field| number(&entry, field)), [tunnel.vni, 1450]);
            let tagged = &entry["local_vlan"];
            assert!(tagged.is_null() || *tagged == tags[at], "{entry:#}");
            assert_eq!(self.machines[at].tag(tunnel.port), Some(tags[at]), "the tunnel is on the tag of the node");
            agent.maps_ports(tunnel.lab);
        }
        tags
    }

    /// `POST /overlay/declare-state` to both with one tunnel each; gives what is said of it.
    #[track_caller]
    fn declare(&self, tunnel: &Tunnel, tags: [u64; 2]) -> [String; 2] {
        self.declare_between(tunnel, tags, ADDRESSES)
    }

    #[track_caller]
    fn declare_between(&self, tunnel: &Tunnel, tags: [u64; 2], addresses: [&str; 2]) -> [String; 2] {
        self.both(|at, agent| {
            let mut declared = json!({ "link_id": LINK, "lab_id": tunnel.lab, "vni": tunnel.vni, "port_name": tunnel.port,
                "mtu": 1450 });
            declared["local_ip"] = json!(addresses[at]);
            declared["remote_ip"] = json!(addresses[1 - at]);
            declared["expected_vlan"] = json!(tags[at]);
            let answer = agent.post("/overlay/declare-state", &json!({ "tunnels": [declared], "declared_labs": [tunnel.lab] }));
            assert_eq!(answer["orphans_removed"], json!([]), "{answer:#}");
            let [result] = answer["results"].as_array().unwrap().as_slice() else { panic!("{answer:#}") };
            assert_eq!((text(result, "link_id"), text(result, "lab_id")), (LINK, tunnel.lab));
            assert_eq!((number(result, "actual_vlan"), &result["error"]), (tags[at], &Value::Null), "{answer:#}");
            text(result, "status").to_owned()
        })
    }

    /// Gives both ends of a link addresses, and waits until one reaches the other.
    fn carries(&self, lab: &str) {
        for (at, machine) in self.machines.iter().enumerate() {
            machine.address(&container(lab, ENDS[at].name), "eth1", &format!("10.0.1.{}/24", at + 1));
        }
        let [one, two] = &self.machines;
        let far =
            |machine: &Machine, node: &str, to: &str, content| machine.reaches(&container(lab, node), to, content);
        one.until("it is reached", |_| far(one, "r1", "10.0.1.2", 56));
        // What the overlay is to carry, less IP and ICMP.
        assert!(far(one, "r1", "10.0.1.2", 1450 - 28) && far(two, "h1", "10.0.1.1", 1450 - 28));
    }

    /// The end of a lab on both.
    #[track_caller]
    fn take_down(&self, lab: &str) {
        self.both(|_, agent| {
            let cleaned = agent.post("/overlay/cleanup", &json!({ "lab_id": lab }));
            assert_eq!(cleaned["errors"], json!([]));
        });
        self.both(|_, agent| agent.destroys(lab));
        self.both(|_, agent| agent.declares_nothing(&[lab]));
    }
}

/// What is on each host.
const ENDS: [Node; 2] = [R1, H1];

/// The tunnel of the one link of a lab, with the numbers that the controller makes of their names.
struct Tunnel {
    lab: &'static str,
    vni: u64,
    port: &'static str,
}

const TUNNELS: [Tunnel; 2] = [
    Tunnel { lab: LAB, vni: 178_410, port: "vxlan-f0562502" },
    Tunnel { lab: OTHER, vni: 12_454_519, port: "vxlan-e59fc68f" },
];

impl Tunnel {
    fn attach(&self, at: usize) -> Value {
        json!({ "lab_id": self.lab, "container_name": ENDS[at].name, "interface_name": "eth1", "vni": self.vni,
            "local_ip": ADDRESSES[at], "remote_ip": ADDRESSES[1 - at], "link_id": LINK, "tenant_mtu": 1450 })
    }

    /// As an agent shows it.
    fn seen(&self, agent: &Client) -> Option<Value> {
        let status = agent.get("/overlay/status");
        let tunnels = status["link_tunnels"].as_array().unwrap();
        tunnels.iter().find(|tunnel| tunnel["lab_id"] == self.lab && tunnel["link_id"] == LINK).cloned()
    }
}

#[test]
fn labs_with_the_same_names_across_two_hosts_come_up_at_once_and_go_without_a_trace() {
    let Some(hosts) = Hosts::new() else { return };
    // Somebody else's device, which is called as ours are.
    for machine in &hosts.machines {
        machine.sh("ip link add vxlan-deadbeef type vxlan id 5 dstport 4790 remote 192.0.2.1 dev under").code(0);
    }
    let before = hosts.machines.each_ref().map(Machine::leavings);
    hosts.deploy(LAB);
    let [tunnel, other] = &TUNNELS;
    let tags = hosts.attach(tunnel);
    for (at, agent) in hosts.agents.iter().enumerate() {
        assert_eq!(tunnel.seen(agent).unwrap()["local_vlan"], tags[at], "one of this name is told with its tag");
    }
    hosts.carries(LAB);
    hosts.deploy(OTHER);
    let others = thread::scope(|scope| {
        let [again, others] = [scope.spawn(|| hosts.attach(tunnel)), scope.spawn(|| hosts.attach(other))];
        assert_eq!(again.join().unwrap(), tags, "what is attached has the tag that it had");
        others.join().unwrap()
    });
    hosts.carries(OTHER);
    hosts.carries(LAB);
    for (at, agent) in hosts.agents.iter().enumerate() {
        assert_ne!(tags[at], others[at]);
        for tunnel in &TUNNELS {
            assert_eq!(
                tunnel.seen(agent).unwrap()["local_vlan"],
                Value::Null,
                "the controller takes the first of a name"
            );
        }
    }

    // What its loops do, which nobody notices.
    let [one, two] = &hosts.machines;
    let traffic = [LAB, OTHER].map(|lab| Traffic::start(one, &container(lab, "r1"), "10.0.1.2"));
    assert_eq!([hosts.declare(tunnel, tags), hosts.declare(other, others)], [["converged", "converged"]; 2]);
    // It declares between the addresses by which it reaches the hosts what it has attached between those for tunnels.
    let reached = ["192.0.2.101", "192.0.2.102"];
    assert_eq!(hosts.declare_between(tunnel, tags, reached), ["converged", "converged"]);
    for _ in 0..2 {
        assert_eq!([hosts.attach(tunnel), hosts.attach(other)], [tags, others]);
    }
    hosts.both(|_, agent| agent.declares_nothing(&[]));
    for agent in &hosts.agents {
        let valid = json!({ "valid_port_names": [tunnel.port, other.port], "force": false, "confirm": false, "allow_empty": false });
        assert_eq!(agent.post("/overlay/reconcile-ports", &valid)["removed_ports"], json!([]));
        let none = json!({ "valid_port_names": [], "force": false, "confirm": false, "allow_empty": false });
        let skipped = agent.post("/overlay/reconcile-ports", &none);
        assert_eq!((&skipped["removed_ports"], &skipped["skipped"]), (&json!([]), &json!(true)), "{skipped:#}");
    }
    let put = hosts.agents[0]
        .put(&format!("/overlay/ports/{}/vlan", tunnel.port), &json!({ "vlan_tag": tags[0], "link_id": LINK }));
    assert_eq!((&put["success"], number(&put, "vlan_tag")), (&json!(true), tags[0]), "{put:#}");
    let absent =
        hosts.agents[0].put("/overlay/ports/vxlan-deadbeef/vlan", &json!({ "vlan_tag": 2999, "link_id": LINK }));
    assert_eq!(absent["success"], false, "it is not ours: {absent:#}");

    // An agent dies and comes back.
    let mark = hosts.controller.mark();
    let ports = two.ports();
    two.kill_agent();
    two.start_agent();
    assert_eq!(hosts.agents[1].get("/overlay/status")["link_tunnels"].as_array().unwrap().len(), 2);
    hosts.controller.wait("it registers", mark, |call| call.is_register() && call.body["agent"]["name"] == NAMES[1]);
    hosts.controller.wait("it beats", mark, |call| call.path == format!("/agents/{}/heartbeat", IDS[1]));
    assert_eq!([hosts.attach(tunnel), hosts.attach(other)], [tags, others]);
    assert_eq!(two.ports(), ports);

    // The end of one, which the other does not notice.
    let [of_one, of_other] = traffic;
    of_one.lost_nothing();
    hosts.take_down(LAB);
    of_other.went_on();
    for (at, agent) in hosts.agents.iter().enumerate() {
        assert!(tunnel.seen(agent).is_none());
        assert_eq!(other.seen(agent).unwrap()["local_vlan"], others[at], "there is one of this name again");
    }
    hosts.take_down(OTHER);
    for (machine, before) in hosts.machines.iter().zip(&before) {
        assert_eq!(machine.leavings(), *before);
    }
}

#[test]
fn a_node_on_one_host_is_stopped_and_started_and_a_link_across_is_removed_and_made_again() {
    let Some(hosts) = Hosts::new() else { return };
    let [one, two] = &hosts.machines;
    let [first, second] = &hosts.agents;
    let tunnel = &TUNNELS[0];
    hosts.deploy(LAB);
    // A link beside it that has both ends on the first host.
    first.brings_up(LAB, &H2);
    first.waits_for(LAB, &H2);
    let near = link(("h2", "eth1"), ("r1", "eth2"));
    let tag = first.links(LAB, &near);
    one.address(&container(LAB, "r1"), "eth2", "10.0.2.1/24");
    one.address(&container(LAB, "h2"), "eth1", "10.0.2.2/24");
    let tags = hosts.attach(tunnel);
    hosts.carries(LAB);
    one.until("what the tunnel has carried is told", |_| {
        let dumped = &first.get("/overlay/bridge-ports")["vxlan_ports"][0];
        assert_eq!((text(dumped, "name"), text(&dumped["options"], "remote_ip")), (tunnel.port, ADDRESSES[1]));
        dumped["statistics"]["tx_bytes"].as_u64().is_some_and(|bytes| bytes > 1450)
    });

    // One that is off is put right; one whose interface is gone and cannot be made is not told to be there.
    one.sh(&format!("ip link set {} down", tunnel.port)).code(0);
    hosts.carries(LAB);
    let there = || first.get("/ovs-plugin/status")["bridges"][0]["vxlan_tunnels"].clone();
    assert_eq!(there(), 1);
    // The kernel takes an identifier once.
    let taken = format!("ip link add taken0 type vxlan id {} dstport 4789 remote 192.0.2.1", tunnel.vni);
    one.sh(&format!("until ip link del {}; {taken}; do sleep 0.02; done", tunnel.port)).code(0);
    one.until("it is not told", |_| tunnel.seen(first).is_none() && there() == 0);
    assert!(tunnel.seen(second).is_some());
    one.sh("ip link del taken0").code(0);
    assert_eq!(hosts.attach(tunnel), tags, "it is made again");
    hosts.carries(LAB);
    let traffic = Traffic::start(one, &container(LAB, "h2"), "10.0.2.1");

    // Carrier that goes on one host is told to the other.
    hosts.controller.knows_link(LAB, [(IDS[0], "r1", "eth1"), (IDS[1], "h1", "eth1")]);
    let inside = |machine: &Machine, node: &str, script: &str| {
        let pid = machine.pid_of(&container(LAB, node));
        machine.sh(&format!("nsenter --target {pid} --net {script}")).code(0).out
    };
    inside(one, "r1", "ip link set eth1 down");
    two.until("the far end has no carrier", |_| !inside(two, "h1", "ip link show eth1").contains("LOWER_UP"));
    inside(one, "r1", "ip link set eth1 up");
    two.until("it has it again", |_| inside(two, "h1", "ip link show eth1").contains("LOWER_UP"));
    hosts.carries(LAB);

    // The node stops; its tunnel stays declared, and is tried to be attached again and again.
    hosts.both(|_, agent| drop(agent.get("/overlay/status")));
    let stopped = second.reconcile(LAB, &container(LAB, "h1"), "stopped");
    assert_eq!(text(&stopped, "action"), "removed");
    hosts.declare(tunnel, tags);
    let refused = second.post("/overlay/attach-link", &tunnel.attach(1));
    assert_eq!(refused["success"], false);
    assert!(text(&refused, "error").starts_with("Could not find OVS port for "), "{refused:#}");
    assert!(!text(&refused, "error").contains("not running"), "it would be tried three times: {refused:#}");

    // It starts: all tunnels of the lab are dropped on both, and made again.
    hosts.both(|_, agent| {
        let cleaned = agent.post("/overlay/cleanup", &json!({ "lab_id": LAB }));
        assert_eq!((number(&cleaned, "tunnels_deleted"), &cleaned["errors"]), (1, &json!([])), "{cleaned:#}");
        assert!(tunnel.seen(agent).is_none());
    });
    let checked = second.get("/ovs/status");
    assert!(checked["initialized"] == true && number(&checked, "vlan_allocations") < 3901);
    let body = json!({ "node_name": "h1", "node_definition_id": H1.definition });
    let free = second.post(&format!("/labs/{LAB}/nodes/h1/runtime-conflict?provider=docker"), &body);
    assert_eq!((text(&free, "classification"), &free["available"]), ("absent", &json!(true)));
    second.brings_up(LAB, &H1);
    second.waits_for(LAB, &H1);
    assert_eq!(hosts.attach(tunnel)[0], tags[0], "of the node that ran on nothing has changed");
    hosts.carries(LAB);
    assert_eq!(first.links(LAB, &near), tag);

    // The link is removed on both, and once more.
    for time in 1..=2 {
        hosts.both(|at, agent| {
            let body =
                json!({ "lab_id": LAB, "container_name": ENDS[at].name, "interface_name": "eth1", "link_id": LINK });
            let answer = agent.post("/overlay/detach-link", &body);
            assert_eq!(
                (&answer["success"], &answer["tunnel_deleted"]),
                (&json!(true), &json!(true)),
                "time {time}: {answer:#}"
            );
            let alone = agent.vlan(LAB, ENDS[at].name, "eth1").0;
            assert!(alone < 2050, "{alone} is no tag of a port by itself");
        });
    }
    let gone = json!({ "lab_id": LAB, "container_name": "nobody", "interface_name": "eth1", "link_id": "nobody:eth1-r1:eth3" });
    let gone = first.post("/overlay/detach-link", &gone);
    assert_eq!(
        ["success", "interface_isolated", "tunnel_deleted"].map(|field| gone[field].as_bool()),
        [Some(true), Some(false), Some(true)]
    );
    assert!(!one.reaches(&container(LAB, "r1"), "10.0.1.2", 56));
    let tags = hosts.attach(tunnel);
    hosts.carries(LAB);

    // The controller takes what is not declared of a lab for an orphan.
    let answer = first.post("/overlay/declare-state", &json!({ "tunnels": [], "declared_labs": [LAB] }));
    assert_eq!(answer, json!({ "results": [], "orphans_removed": [tunnel.port] }));
    assert_eq!(hosts.declare(tunnel, tags), ["created", "converged"]);
    assert!(node(&first.status(LAB), "r1").is_some());
    traffic.went_on();
    hosts.take_down(LAB);
}
