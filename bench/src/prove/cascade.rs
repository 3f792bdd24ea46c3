//! The cascade in which agents become unhealthy: all that a controller asks, at once and each alone, while Docker is late or
//! hangs. The agent belongs to a small controller, which has deployed labs of containers and notes when heartbeats come.

use std::time::Duration;

use anyhow::Result;
use netloom_fault_kit::Manner;
use serde_json::json;

use super::fault::Fault;
use super::load::{Kind, Load, Offered, PATIENCE, POLLERS};
use super::phase::Phase;
use crate::agent::Agent;
use crate::containers::IMAGE;
use crate::contract::client::{Client, encoded};
use crate::contract::set::{LABS, lab, node};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it.
    All,
    /// The status of a lab, by clients that do not pause.
    Status,
    /// A tunnel, a port attached to it, and both away again.
    Overlay,
    /// The interfaces of a node.
    Interfaces,
    /// The images, and one of them.
    Images,
    /// An audit, and that what nothing uses is removed from Docker.
    CleanUp,
}

/// The interface that is attached to tunnels.
const INTERFACE: &str = "eth8";

const fn phase(name: &'static str, asked: Asked, manner: Manner) -> Phase {
    // Each needs half a minute, and the tests of the agent ask it much the same.
    Phase { name, load: Load::Controlled(asked), fault: Fault::Docker(manner), is_reference: false, is_rare: true }
}

const HALF: Manner = Manner::Late(Duration::from_millis(500));
const THREE: Manner = Manner::Late(Duration::from_secs(3));

pub(super) const PHASES: &[Phase] = &[
    phase("cascade-late-0.5s", Asked::All, HALF),
    phase("cascade-late-3s", Asked::All, THREE),
    phase("cascade-hung", Asked::All, Manner::Hung),
    phase("status-late-0.5s", Asked::Status, HALF),
    phase("status-late-3s", Asked::Status, THREE),
    phase("status-hung", Asked::Status, Manner::Hung),
    phase("overlay-late-0.5s", Asked::Overlay, HALF),
    phase("overlay-late-3s", Asked::Overlay, THREE),
    phase("overlay-hung", Asked::Overlay, Manner::Hung),
    phase("interfaces-late-0.5s", Asked::Interfaces, HALF),
    phase("interfaces-late-3s", Asked::Interfaces, THREE),
    phase("interfaces-hung", Asked::Interfaces, Manner::Hung),
    phase("images-late-0.5s", Asked::Images, HALF),
    phase("images-late-3s", Asked::Images, THREE),
    phase("images-hung", Asked::Images, Manner::Hung),
    phase("clean-up-late-0.5s", Asked::CleanUp, HALF),
    phase("clean-up-late-3s", Asked::CleanUp, THREE),
    phase("clean-up-hung", Asked::CleanUp, Manner::Hung),
];

/// Begins to ask, of labs with so many nodes each.
pub(super) fn offer(asked: Asked, agent: &Agent, nodes: usize) -> Result<Offered> {
    let mut offered = Offered::nothing(agent);
    let is_asked = |one| asked == Asked::All || asked == one;
    let numbered = |turn: u32, count: usize| turn as usize % count;
    if is_asked(Asked::Status) {
        let client = Client::new(PATIENCE);
        offered.at(f64::INFINITY, POLLERS, Kind::Read, move |_, turn| {
            client.get(&format!("/labs/{}/status", lab(numbered(turn, LABS)))).map(drop)
        })?;
    }
    if is_asked(Asked::Overlay) {
        for number in 0..LABS {
            let client = Client::new(PATIENCE);
            offered.at(2.0, 1, Kind::Namespaces, move |_, turn| attach(&client, number, turn))?;
        }
    }
    if is_asked(Asked::Interfaces) {
        let client = Client::new(PATIENCE);
        offered.at(2.0, 2, Kind::Read, move |_, turn| {
            let (lab, node) = (lab(numbered(turn, LABS)), node(numbered(turn, nodes)));
            client.get(&format!("/labs/{lab}/nodes/{node}/linux-interfaces")).map(drop)
        })?;
    }
    if is_asked(Asked::Images) {
        let client = Client::new(PATIENCE);
        offered.at(2.0, 2, Kind::Read, move |_, turn| match turn % 2 {
            0 => client.get("/images").map(drop),
            _ => client.get(&format!("/images/{}", encoded(IMAGE))).map(drop),
        })?;
    }
    if is_asked(Asked::CleanUp) {
        let client = Client::new(PATIENCE);
        let valid = json!({ "valid_lab_ids": (0..LABS).map(lab).collect::<Vec<_>>() });
        offered.at(2.0, 2, Kind::Read, move |_, turn| match turn % 2 {
            0 => client.post("/cleanup/audit", &json!({ "include_ovs": true })).map(drop),
            _ => client.does("/prune-docker", &valid).map(drop),
        })?;
    }
    Ok(offered)
}

/// A step of a tunnel of a lab: it is made, a port is attached to it, it goes again.
fn attach(client: &Client, number: usize, turn: u32) -> Result<()> {
    let lab = lab(number);
    let name = node(0);
    let link = format!("far:eth1-{name}:{INTERFACE}");
    match turn % 3 {
        0 => client.does(
            "/overlay/tunnel",
            &json!({ "lab_id": lab, "link_id": link, "local_ip": "127.0.0.1", "remote_ip": "127.0.0.2" }),
        ),
        1 => client.does(
            "/overlay/attach",
            &json!({ "lab_id": lab, "link_id": link, "container_name": name,
                "interface_name": INTERFACE }),
        ),
        _ => client.post("/overlay/cleanup", &json!({ "lab_id": lab })),
    }
    .map(drop)
}
