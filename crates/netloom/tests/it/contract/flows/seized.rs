//! Labs of a controller that whoever owns the host takes from it, or removes.

use serde_json::json;

use crate::contract::rig::{Rig, container, text};
use crate::contract::steps::{H1, LAB, OTHER, R1, recorded_link};
use crate::contract::traffic::Traffic;

#[test]
fn what_a_controller_has_deployed_is_taken_from_it_or_removed_only_by_force() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    for lab in [LAB, OTHER] {
        agent.deploys(lab, &[R1, H1], &[recorded_link()]);
    }
    agent.links(LAB, &recorded_link());
    rig.address(&container(LAB, "r1"), "eth1", "10.0.1.1/24");
    rig.address(&container(LAB, "h1"), "eth1", "10.0.1.2/24");
    rig.until("it is reached", |_| rig.reaches(&container(LAB, "h1"), "10.0.1.1", 56));
    rig.netloom(&["destroy", LAB]).code(2).says("netloom destroy --force");
    rig.netloom(&["node", "stop", &format!("{LAB}/h1")]).code(2).says("netloom adopt --force");

    let traffic = Traffic::start(&rig, &container(LAB, "h1"), "10.0.1.1");
    rig.netloom(&["adopt", "--force", LAB]).code(0).says("from now on the command line decides about it");
    traffic.went_on();
    rig.netloom(&["inspect", "--name", LAB]).code(0).says("2 of 2 nodes running");
    // It is none of the controller's any more.
    assert_eq!(agent.states(LAB), []);
    let job = json!({ "job_id": "7d3a3f0b-5d7e-4a53-9a3f-6c9d3c1fd0c2", "lab_id": LAB, "provider": "docker" });
    let refused = agent.post("/jobs/destroy", &job);
    assert_eq!(text(&refused, "status"), "failed");
    assert!(text(&refused, "error_message").contains("is the command line's"), "{refused:#}");
    rig.netloom(&["node", "stop", &format!("{LAB}/h1")]).code(0);
    rig.netloom(&["destroy", LAB]).code(0);
    assert_eq!(agent.states(OTHER).len(), 2);
    rig.netloom(&["destroy", "--force", OTHER]).code(0);
    assert_eq!(agent.states(OTHER), []);
    assert_eq!(rig.ports(), [""; 0]);
}
