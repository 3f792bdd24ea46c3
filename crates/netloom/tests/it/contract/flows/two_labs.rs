//! Two labs whose nodes have the same names.

use std::thread;

use crate::contract::rig::{Rig, container};
use crate::contract::steps::{H1, H2, LAB, LINK, OTHER, R1, recorded_link};
use crate::contract::traffic::Traffic;

/// A lab whose id begins as that of [`LAB`], as far as names of containers have it.
const SAME_BEGINNING: &str = "11c55636-995a-43e9-93d5-ffffffffffff";

#[test]
fn labs_with_the_same_names_at_once_have_nothing_of_each_other() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    let deploy = |lab: &'static str| {
        move || {
            agent.deploys(lab, &[R1, H1], &[recorded_link()]);
            for each in [R1, H1] {
                agent.waits_for(lab, &each);
            }
            agent.links(lab, &recorded_link())
        }
    };
    let [one, two] =
        thread::scope(|scope| [LAB, OTHER].map(|lab| scope.spawn(deploy(lab))).map(|lab| lab.join().unwrap()));
    assert_ne!(one, two, "one tag for both would join them");
    for lab in [LAB, OTHER] {
        // The same addresses in both.
        rig.address(&container(lab, "r1"), "eth1", "10.0.1.1/24");
        rig.address(&container(lab, "h1"), "eth1", "10.0.1.2/24");
        rig.until("it is reached", |_| rig.reaches(&container(lab, "h1"), "10.0.1.1", 56));
        assert_eq!(agent.maps_ports(lab).len(), 16);
    }
    agent.deploys(SAME_BEGINNING, &[H2], &[]);

    let traffic = Traffic::start(&rig, &container(OTHER, "h1"), "10.0.1.1");
    agent.unlinks(LAB, LINK);
    assert!(!rig.reaches(&container(LAB, "h1"), "10.0.1.1", 56));
    assert_eq!(agent.links(OTHER, &recorded_link()), two);
    agent.stops(LAB, &R1);
    agent.takes_down(LAB, &[OTHER, SAME_BEGINNING]);
    traffic.went_on();
    assert_eq!(agent.states(OTHER).len(), 2);
    assert_eq!(agent.states(SAME_BEGINNING), [("h2".to_owned(), "running".to_owned())]);
    agent.takes_down(SAME_BEGINNING, &[OTHER]);
    agent.takes_down(OTHER, &[]);
    assert_eq!(rig.ports(), [""; 0]);
}
