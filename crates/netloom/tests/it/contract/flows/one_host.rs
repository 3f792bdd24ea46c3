//! A lab on one host from its deploy to its end: flows 5.2, 5.4, 5.7 and 5.8.

use serde_json::{Value, json};

use crate::contract::double::Call;
use crate::contract::rig::{Rig, container, number, text};
use crate::contract::steps::{H1, H2, LAB, LINK, OTHER, R1, link, node, recorded_link};
use crate::contract::traffic::Traffic;
use crate::docker::host::IMAGE;

#[test]
fn a_lab_that_is_placed_comes_up_is_linked_once_and_goes_without_a_trace() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    let before = rig.leavings();

    // The deploy, and what the controller looks at around it.
    assert!(agent.image_exists(IMAGE));
    assert_eq!(agent.states(LAB), []);
    let mark = rig.controller.mark();
    agent.deploys(LAB, &[R1, H1], &[recorded_link()]);
    for each in [R1, H1] {
        let started = rig.controller.wait("it is told to run", mark, |call| call.tells(LAB, each.name, "started"));
        let event = started.events().find(|event| event["node_name"] == each.name).unwrap();
        let status = agent.status(LAB);
        assert_eq!(event["container_id"], node(&status, each.name).unwrap()["runtime_id"]);
    }
    let told = rig.controller.since(mark);
    assert!(told.iter().flat_map(Call::events).all(|event| event["event_type"] == "started"), "{told:#?}");

    // The containers are as the contract has them.
    for each in [R1, H1] {
        let name = container(LAB, each.name);
        let shown: Value = serde_json::from_str(&rig.docker(&format!("inspect {name}"))).unwrap();
        let (config, host) = (&shown[0]["Config"], &shown[0]["HostConfig"]);
        let labels = [
            ("lab_id", LAB),
            ("node_name", each.name),
            ("node_definition_id", each.definition),
            ("node_display_name", each.name),
            ("node_kind", each.kind),
            ("node_interface_count", "8"),
            ("provider", "docker"),
        ];
        for (label, value) in labels {
            assert_eq!(config["Labels"][format!("archetype.{label}")], value, "{label} of {name}");
        }
        assert_eq!(config["Hostname"], each.name);
        assert_eq!(host["RestartPolicy"]["Name"], "no");
        let (status, count) = agent.exec(LAB, each.name, "ls /sys/class/net | grep -c ^eth");
        assert_eq!((status, count.trim()), (0, "8"), "eth1 to eth8, and none for management");
        assert_eq!(agent.exec(LAB, each.name, "cat /sys/class/net/eth1/mtu").1.trim(), "9000");
        agent.waits_for(LAB, &each);
    }

    // The link, once and twice more.
    let tag = agent.links(LAB, &recorded_link());
    rig.address(&container(LAB, "r1"), "eth1", "10.0.1.1/24");
    rig.address(&container(LAB, "h1"), "eth1", "10.0.1.2/24");
    rig.until("it is reached", |_| rig.reaches(&container(LAB, "h1"), "10.0.1.1", 56));
    assert_eq!(agent.exec(LAB, "h1", "ping -c 1 -W 2 10.0.1.1").0, 0);

    // What goes through the ports is told, of each as the switch counts it.
    let ends = ["h1", "r1"].map(|node| (node, agent.carried(LAB, node, "eth1")));
    let pings =
        format!("nsenter --target {} --net ping -n -q -c 20 -i 0.01 -s 1000", rig.pid_of(&container(LAB, "h1")));
    rig.sh(&format!("{pings} 10.0.1.1")).code(0);
    for (node, before) in ends {
        rig.until("both ways are told", |_| {
            let (rx, tx) = agent.carried(LAB, node, "eth1");
            rx >= before.0 + 20_000 && tx >= before.1 + 20_000
        });
    }
    assert!(agent.carried(LAB, "h1", "eth8").1 < 20_000, "a port that is not linked has had nothing of it");

    let ports = rig.ports();
    let traffic = Traffic::start(&rig, &container(LAB, "h1"), "10.0.1.1");
    assert_eq!(agent.links(LAB, &recorded_link()), tag);
    // By another code path, which has the ends the other way round.
    assert_eq!(agent.links(LAB, &link(("r1", "eth1"), ("h1", "eth1"))), tag);
    let name = |side: &str| agent.vlan(LAB, side, "eth1").1;
    let (port_a, port_b) = (name("h1"), name("r1"));
    let pairing = json!({ "link_name": LINK, "lab_id": LAB, "port_a": port_a, "port_b": port_b, "vlan_tag": tag });
    let declared = agent.post("/ports/declare-state", &json!({ "pairings": [pairing] }));
    let converged =
        json!({ "link_name": LINK, "lab_id": LAB, "status": "converged", "actual_vlan": tag, "error": null });
    assert_eq!(declared, json!({ "results": [converged] }));
    agent.declares_nothing(&[LAB]);
    traffic.lost_nothing();
    assert_eq!(rig.ports(), ports, "nobody was given another tag");

    // What Open vSwitch has.
    let mapped = agent.maps_ports(LAB);
    assert_eq!(mapped.len(), 16, "{mapped:#?}");
    let mut tags = Vec::new();
    for (node, interface, port, tagged) in &mapped {
        assert_eq!(rig.tag(port), Some(*tagged), "{node}:{interface}");
        match interface.as_str() {
            "eth1" => assert_eq!(*tagged, tag),
            _ => assert!((100..2050).contains(tagged), "{node}:{interface} has {tagged}"),
        }
        tags.push(*tagged);
    }
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 15, "ports that are not linked have a tag of their own each");
    let status = agent.get("/ovs/status");
    assert!(number(&status, "vlan_allocations") >= 15, "{status:#}");

    // The end.
    let mark = rig.controller.mark();
    agent.takes_down(LAB, &[]);
    for each in [R1, H1] {
        rig.controller.wait("it is told to be stopped", mark, |call| call.tells(LAB, each.name, "stopped"));
    }
    assert_eq!(rig.leavings(), before);
    let gone = agent.delete(&format!("/labs/{LAB}/workspace"));
    assert_eq!(gone["success"], true, "{gone:#}");
    agent.destroys(LAB);
    agent.destroys("never-there");
}

#[test]
fn a_lab_that_is_exported_is_the_same_network_when_its_file_is_deployed() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    agent.deploys(LAB, &[R1, H1], &[recorded_link()]);
    agent.links(LAB, &recorded_link());
    let file = rig.labs.path().join("exported.clab.yml");
    let path = file.to_str().unwrap();
    rig.netloom(&["export", LAB, "-o", path]).code(0);
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(written.contains("    - endpoints: [\"h1:eth1\", \"r1:eth1\"]\n      mtu: 9000\n"), "{written}");
    assert!(written.contains("    # not linked, and left out: h1:eth2, h1:eth3, "), "{written}");
    rig.netloom(&["validate", path]).code(0);
    agent.takes_down(LAB, &[]);

    rig.netloom(&["deploy", "-t", path]).code(0);
    let [r1, h1] = ["r1", "h1"].map(|node| format!("clab-{LAB}-{node}"));
    rig.address(&r1, "eth1", "10.0.1.1/24");
    rig.address(&h1, "eth1", "10.0.1.2/24");
    rig.until("it is reached", |_| rig.reaches(&h1, "10.0.1.1", 8972));
    rig.netloom(&["destroy", "-t", path]).code(0);
}

#[test]
fn started_is_told_before_the_deploy_is_answered_because_links_wait_for_it() {
    let Some(rig) = Rig::new() else { return };
    let mark = rig.controller.mark();
    rig.agent.deploy(LAB, &[H1, H2], &[]);
    let told = rig.controller.since(mark);
    for each in [H1, H2] {
        assert!(told.iter().any(|call| call.tells(LAB, each.name, "started")), "{}: {told:#?}", each.name);
    }
}

#[test]
fn a_deploy_leaves_out_the_links_that_cannot_be_made_and_leaves_alone_what_runs_by_whatever_id() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    let mut odd = recorded_link();
    odd.as_object_mut().unwrap().remove("target_interface");
    let links = [
        link(("h1", "eth2"), ("r1", "")),
        odd,
        link(("h1", "eth3"), ("nobody", "eth1")),
        link(("h1", "eth3"), ("..", "eth1")),
        recorded_link(),
    ];
    agent.deploys(LAB, &[R1, H1], &links);
    let tags = ["h1", "r1"].map(|node| agent.vlan(LAB, node, "eth1").0);
    assert!(tags[0] >= 2050 && tags[0] == tags[1], "{tags:?}");
    assert!(agent.vlan(LAB, "h1", "eth2").0 < 2050, "it is not linked");

    let runs = agent.status(LAB);
    for id in [Value::Null, json!("")] {
        let nodes = [R1, H1].map(|node| {
            let mut node = node.in_topology();
            node["node_definition_id"] = id.clone();
            node
        });
        let topology = json!({ "nodes": nodes, "links": [recorded_link()] });
        let body = json!({ "job_id": "j", "lab_id": LAB, "provider": "docker", "topology": topology });
        let result = agent.post("/jobs/deploy", &body);
        assert_eq!(result["status"], "completed", "{result:#}");
        assert_eq!(agent.status(LAB), runs, "they are the same containers");
    }
    agent.takes_down(LAB, &[]);
}

#[test]
fn a_tag_that_is_set_on_a_port_brings_it_to_no_link_that_it_is_no_end_of() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    agent.deploys(LAB, &[R1, H1, H2], &[]);
    let tag = agent.links(LAB, &recorded_link());
    let set = |node: &str| {
        let port = agent.vlan(LAB, node, "eth1").1;
        agent.put(&format!("/overlay/ports/{port}/vlan"), &json!({ "vlan_tag": tag }))
    };
    assert_eq!(set("h1")["success"], true);
    let own = agent.vlan(LAB, "h2", "eth1").0;
    let refused = set("h2");
    assert!(
        text(&refused, "error").contains(&format!("is that of link {LINK}, and h2:eth1 is no end of it")),
        "{refused:#}"
    );
    assert_eq!((&refused["success"], agent.vlan(LAB, "h2", "eth1").0), (&json!(false), own));
    agent.destroys(LAB);
}

#[test]
fn links_of_a_running_lab_come_and_go_and_carrier_goes_from_end_to_end() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    agent.deploys(LAB, &[R1, H1, H2], &[]);
    for each in [R1, H1, H2] {
        agent.waits_for(LAB, &each);
    }
    let (r1, h1, h2) = (container(LAB, "r1"), container(LAB, "h1"), container(LAB, "h2"));
    for (name, interface, address) in [
        (&r1, "eth1", "10.0.1.1/24"),
        (&h1, "eth1", "10.0.1.2/24"),
        (&r1, "eth2", "10.0.2.1/24"),
        (&h2, "eth1", "10.0.2.2/24"),
    ] {
        rig.address(name, interface, address);
    }
    assert!(!rig.reaches(&h1, "10.0.1.1", 56), "nothing is joined yet");
    let tag = agent.links(LAB, &recorded_link());
    let other = agent.links(LAB, &link(("r1", "eth2"), ("h2", "eth1")));
    assert_ne!(tag, other);
    let traffic = Traffic::start(&rig, &h2, "10.0.2.1");
    rig.until("it is reached", |_| rig.reaches(&h1, "10.0.1.1", 56));

    // Away and back, which the other link does not notice.
    agent.unlinks(LAB, LINK);
    let [(one, _), (two, _)] = ["r1", "h1"].map(|node| agent.vlan(LAB, node, "eth1"));
    assert!(one != two && one < 2050 && two < 2050, "{one} {two}");
    assert!(!rig.reaches(&h1, "10.0.1.1", 56));
    agent.unlinks(LAB, LINK);
    agent.links(LAB, &recorded_link());
    rig.until("it is reached again", |_| rig.reaches(&h1, "10.0.1.1", 56));
    // Its name may have the ends in the order in which somebody has drawn them.
    agent.unlinks(LAB, "r1:eth1-h1:eth1");
    assert!(!rig.reaches(&h1, "10.0.1.1", 56));
    agent.links(LAB, &recorded_link());
    rig.until("it is reached again", |_| rig.reaches(&h1, "10.0.1.1", 56));

    // A name that has a dash is split where its ends are.
    let nowhere = agent.delete(&format!("/labs/{LAB}/links/gone-1:eth1-r1:eth1"));
    assert_eq!(nowhere["success"], true, "a link whose end is gone is gone: {nowhere:#}");

    // What the node does with its interface is told, and done at the other end.
    rig.controller.knows_link(LAB, [("fake0001", "h1", "eth1"), ("fake0001", "r1", "eth1")]);
    let inside = |container: &str, script: &str| {
        let pid = rig.pid_of(container);
        rig.sh(&format!("nsenter --target {pid} --net {script}")).code(0).out
    };
    let has_carrier = |container: &str| inside(container, "ip link show eth1").contains("LOWER_UP");
    let mark = rig.controller.mark();
    inside(&r1, "ip link set eth1 down");
    let told = rig.controller.wait("the carrier is told", mark, Call::is_carrier);
    let off = json!({ "lab_id": LAB, "node": "r1", "interface": "eth1", "carrier_state": "off" });
    assert_eq!(told.body, off);
    rig.until("the other end has none", |_| !has_carrier(&h1));
    inside(&r1, "ip link set eth1 up");
    rig.controller.wait("it is told to be back", mark, |call| call.is_carrier() && call.body["carrier_state"] == "on");
    rig.until("both have it again", |_| has_carrier(&h1) && has_carrier(&r1));
    rig.until("it is reached again", |_| rig.reaches(&h1, "10.0.1.1", 56));
    let told: Vec<_> = rig.controller.since(mark).into_iter().filter(Call::is_carrier).collect();
    assert!(told.iter().all(|call| call.body["node"] == "r1"), "what the agent did itself is not told: {told:#?}");
    assert_eq!(told.len(), 2, "{told:#?}");
    traffic.went_on();

    // A scenario of the controller.
    let carrier = |state: &str| {
        let path = format!("/labs/{LAB}/interfaces/h1/eth1/carrier");
        let answer = agent.post(&path, &json!({ "state": state }));
        assert_eq!((text(&answer, "interface"), text(&answer, "state")), ("eth1", state));
        assert_eq!(answer["success"], true, "{answer:#}");
    };
    carrier("off");
    assert!(!has_carrier(&h1));
    carrier("on");
    rig.until("it has carrier again", |_| has_carrier(&h1));

    // A link to nothing stays pending for the controller, by the text.
    let answer = agent.post(&format!("/labs/{LAB}/links"), &link(("h1", "eth2"), ("nobody", "eth1")));
    assert_eq!(answer["success"], false);
    assert!(text(&answer, "error").starts_with("Cannot find OVS port for nobody:eth1"), "{answer:#}");
    let answer = agent.get(&format!("/labs/{LAB}/interfaces/nobody/eth1/vlan?read_from_ovs=true"));
    assert_eq!((&answer["vlan_tag"], text(&answer, "error")), (&Value::Null, "Endpoint not found"));

    // A node that the topology has no more.
    agent.unlinks(LAB, LINK);
    let removed = agent.delete(&format!("/labs/{LAB}/nodes/h1"));
    assert_eq!((&removed["success"], &removed["container_removed"]), (&json!(true), &json!(true)), "{removed:#}");
    let removed = agent.delete(&format!("/labs/{LAB}/nodes/h1"));
    assert_eq!((&removed["success"], &removed["container_removed"]), (&json!(true), &json!(false)), "{removed:#}");
    assert!(node(&agent.status(LAB), "h1").is_none());
    assert_eq!(agent.maps_ports(LAB).len(), 16);
    let by_name = agent.delete(&format!("/containers/{LAB}/h2?force=true"));
    assert_eq!(by_name["success"], true, "{by_name:#}");
    assert!(node(&agent.status(LAB), "h2").is_none());
    agent.takes_down(LAB, &[]);
}

/// What the kernel says of interfaces of the host, until it is asked for. `ovs-vswitchd` looks at all its ports again whenever
/// something is said of one.
struct Heard<'a> {
    rig: &'a Rig,
    pid: String,
}

impl<'a> Heard<'a> {
    fn begin(rig: &'a Rig) -> Self {
        let heard = "ip -o monitor link > $NETLOOM_ROOT/heard 2>&1 & echo $!";
        let heard = Self { rig, pid: rig.sh(heard).code(0).out.trim().to_owned() };
        rig.until("it listens", |_| heard.marked() > 0);
        heard
    }

    /// Has it said one thing more; how often it was heard.
    fn marked(&self) -> usize {
        self.rig.sh("ip link set lo alias marked").code(0);
        self.lines().iter().filter(|line| line.contains(": lo:")).count()
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.rig.sh("cat $NETLOOM_ROOT/heard").code(0).out;
        lines.lines().map(str::to_owned).collect()
    }

    /// What was heard since it began.
    fn end(self) -> Vec<String> {
        let before = self.marked();
        self.rig.until("all of it is heard", |_| self.marked() > before + 1);
        self.rig.sh(&format!("kill {}", self.pid)).code(0);
        self.lines().into_iter().filter(|line| !line.contains(": lo:")).collect()
    }
}

#[test]
fn ports_are_linked_by_their_tags_alone_and_one_that_has_lost_its_tag_has_it_again() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    agent.deploys(LAB, &[R1, H1], &[]);
    let (own, port) = agent.vlan(LAB, "h1", "eth1");
    let heard = Heard::begin(&rig);
    let tag = agent.links(LAB, &recorded_link());
    rig.ovs.vsctl(["set", "port", port.as_str(), "tag=4001"]);
    rig.until("its tag is right again", |_| rig.tag(&port) == Some(tag));
    agent.unlinks(LAB, LINK);
    assert_eq!(rig.tag(&port), Some(own));
    rig.ovs.vsctl(["clear", "port", port.as_str(), "tag"]);
    rig.until("its own tag is right again", |_| rig.tag(&port) == Some(own));
    assert_eq!(heard.end(), [""; 0], "no interface was touched");
    agent.takes_down(LAB, &[]);
}

#[test]
fn what_is_of_no_lab_of_the_controller_is_cleaned_up_and_all_else_is_left_alone() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    rig.docker(&format!("run --detach --tty --name archetype-foreign-x --network none {IMAGE}"));
    agent.deploys(LAB, &[H1, H2], &[]);
    agent.deploys(OTHER, &[H1], &[]);

    // No list is no order to remove everything.
    let (status, _) = agent.send("POST", "/cleanup-orphans", Some(&json!({ "valid_lab_ids": [] })));
    assert!(status < 500);
    assert_eq!((agent.states(LAB).len(), agent.states(OTHER).len()), (2, 1));

    let kept = json!({ "lab_id": LAB, "keep_node_names": ["h1"] });
    let cleaned = agent.post("/cleanup-lab-orphans", &kept);
    assert_eq!(cleaned["errors"], json!([]));
    let names = |field: &str| {
        cleaned[field].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(
        names("removed_containers").iter().any(|name| name.contains("h2")) && names("removed_containers").len() == 1
    );
    assert!(names("kept_containers").iter().any(|name| name.contains("h1")) && names("kept_containers").len() == 1);
    assert_eq!(agent.states(LAB), [("h1".to_owned(), "running".to_owned())]);

    // It is younger than the list may be that does not name it.
    let cleaned = agent.post("/cleanup-orphans", &json!({ "valid_lab_ids": [LAB] }));
    assert_eq!((cleaned["removed_containers"].as_array().unwrap().len(), &cleaned["errors"]), (0, &json!([])));
    assert_eq!((agent.states(LAB).len(), agent.states(OTHER).len()), (1, 1));
    agent.takes_down(OTHER, &[]);

    // It is the agent's own that is pruned, whatever is asked for.
    let all = json!({ "valid_lab_ids": [LAB], "prune_dangling_images": true, "prune_build_cache": true,
        "prune_unused_volumes": true, "prune_stopped_containers": true, "prune_unused_networks": true });
    rig.docker("stop --time 0 archetype-foreign-x");
    rig.docker("volume create foreign");
    let pruned = agent.post("/prune-docker", &all);
    assert_eq!(pruned["success"], true, "{pruned:#}");
    let valid = agent.post("/cleanup-workspaces", &json!({ "valid_lab_ids": [LAB] }));
    assert_eq!((&valid["success"], &valid["errors"]), (&json!(true), &json!([])));
    assert_eq!(rig.docker("ps --all --quiet --filter name=archetype-foreign-x").len(), 12);
    assert_eq!(rig.docker("volume ls --quiet"), "foreign");
    assert_eq!(agent.states(LAB), [("h1".to_owned(), "running".to_owned())]);
    agent.takes_down(LAB, &[]);
}
