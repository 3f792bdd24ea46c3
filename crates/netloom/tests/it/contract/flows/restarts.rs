//! An agent that is killed under load.

use serde_json::{Value, json};

use crate::contract::double::Call;
use crate::contract::rig::{AGENT, Rig, container, text};
use crate::contract::steps::{H1, H2, LAB, LINK, R1, link, node, recorded_link};
use crate::contract::traffic::Traffic;

#[test]
fn an_agent_that_is_killed_cuts_no_link_and_its_next_life_is_right_at_the_first_question() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    agent.deploys(LAB, &[R1, H1, H2], &[]);
    for each in [R1, H1, H2] {
        agent.waits_for(LAB, &each);
    }
    let ends = link(("h2", "eth1"), ("r1", "eth2"));
    let (tag, other) = (agent.links(LAB, &recorded_link()), agent.links(LAB, &ends));
    let [r1, h1, h2] = ["r1", "h1", "h2"].map(|node| container(LAB, node));
    rig.address(&r1, "eth1", "10.0.1.1/24");
    rig.address(&h1, "eth1", "10.0.1.2/24");
    rig.address(&r1, "eth2", "10.0.2.1/24");
    rig.address(&h2, "eth1", "10.0.2.2/24");
    let traffic = [(&h1, "10.0.1.1"), (&h2, "10.0.2.1")].map(|(from, to)| Traffic::start(&rig, from, to));
    let (ports, status, mapped) = (rig.ports(), agent.status(LAB), agent.maps_ports(LAB));

    // The controller asks as soon as it hears of the agent again, before it has answered.
    let name = |node: &str| agent.vlan(LAB, node, "eth1").1;
    let pairing =
        json!({ "link_name": LINK, "lab_id": LAB, "port_a": name("h1"), "port_b": name("r1"), "vlan_tag": tag });
    rig.controller.follow(
        AGENT,
        &[
            ("POST /overlay/declare-state", json!({ "tunnels": [], "declared_labs": [] })),
            (&format!("GET /labs/{LAB}/port-state"), Value::Null),
            ("POST /ports/declare-state", json!({ "pairings": [pairing] })),
        ],
    );
    let next_life = |meanwhile: &dyn Fn()| {
        let mark = rig.controller.mark();
        rig.kill_agent();
        meanwhile();
        rig.start_agent();
        let first = agent.get(&format!("/labs/{LAB}/status"));
        rig.controller.wait("it registers", mark, Call::is_register);
        rig.controller.wait("it beats", mark, Call::is_heartbeat);
        (first, rig.controller.since(mark))
    };
    let (first, told) = next_life(&|| ());
    assert_eq!(first, status);
    assert_eq!(agent.maps_ports(LAB), mapped);
    assert_eq!((agent.links(LAB, &recorded_link()), agent.links(LAB, &ends)), (tag, other));
    assert_eq!(rig.ports(), ports);
    let wrong = told.iter().flat_map(Call::events).find(|event| event["event_type"] != "started");
    assert_eq!(wrong, None, "nothing has stopped");
    let [stays, ends_here] = traffic;
    ends_here.lost_nothing();

    // What happened between two lives.
    let (first, _) = next_life(&|| drop(rig.docker(&format!("kill {h2}"))));
    let seen = |name: &str| node(&first, name).map(|node| text(node, "status").to_owned());
    assert_eq!(first["error"], Value::Null);
    assert_eq!(["h1", "h2", "r1"].map(|name| seen(name).unwrap()), ["running", "stopped", "running"]);
    assert_eq!(agent.links(LAB, &recorded_link()), tag);
    agent.brings_up(LAB, &H2);
    agent.waits_for(LAB, &H2);
    assert_eq!(agent.links(LAB, &ends), other, "a port that comes back has its tag");
    stays.went_on();
    agent.takes_down(LAB, &[]);
}
