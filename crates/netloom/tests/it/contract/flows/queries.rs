//! Everything that can be asked, of a host with nothing on it and of one with a lab; each answer by its schema.

use serde_json::{Value, json};

use crate::contract::rig::{Rig, container, text};
use crate::contract::schemas::ANSWERS;
use crate::contract::steps::{H1, LAB, R1, recorded_link};

/// Routes that nothing in the controller calls. They may be absent.
const UNUSED: [&str; 16] = [
    "/info",
    "/disk-usage",
    "/deployment-mode",
    "/callbacks/dead-letters",
    "/overlay/bridge-ports",
    "/overlay/port-ifindex",
    "/ovs-plugin/health",
    "/ovs-plugin/status",
    "/ovs-plugin/labs/{lab}",
    "/ovs-plugin/labs/{lab}/flows",
    "/ovs-plugin/labs/{lab}/external",
    "/labs/{lab}/external",
    "/labs/{lab}/nodes/{node}/linux-interfaces",
    // Never reached: the controller asks without a scheme.
    "/interfaces",
    "/bridges",
    // Absent where the node is.
    "/labs/{lab}/nodes/{node}/runtime",
];

fn ask_all(rig: &Rig) {
    for route in ANSWERS.routes("GET") {
        let path = route
            .replace("{lab}", LAB)
            .replace("{node}", "h1")
            .replace("{interface}", "eth1")
            .replace("{reference}", "nowhere.invalid%2Fno%3A1")
            .replace("{job}", "j");
        let (status, answer) = rig.agent.send("GET", &path, None);
        let is_right = status == 200 || status == 404 && UNUSED.contains(&route);
        assert!(is_right, "GET {path} answered {status} {answer}");
    }
}

#[test]
fn all_questions_have_the_answers_that_their_schemas_say() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    ask_all(&rig);
    assert_eq!(agent.get("/discover-labs")["labs"], json!([]));
    let tunnels = json!({ "vteps": [], "tunnels": [], "bridges": [], "link_tunnels": [] });
    assert_eq!(agent.get("/overlay/status"), tunnels);

    agent.deploys(LAB, &[R1, H1], &[]);
    agent.links(LAB, &recorded_link());
    ask_all(&rig);
    let labs = agent.get("/discover-labs");
    let labs = labs["labs"].as_array().unwrap();
    assert_eq!((labs.len(), text(&labs[0], "lab_id")), (1, LAB));
    assert_eq!(labs[0]["nodes"], agent.status(LAB)["nodes"]);

    let audit = agent.get("/runtime-identity-audit");
    let docker = audit["providers"].as_array().unwrap().iter().find(|one| one["provider"] == "docker").unwrap();
    assert_eq!((&docker["managed_runtimes"], &docker["resolved_by_metadata"]), (&json!(2), &json!(2)), "{docker:#}");
    assert_eq!((&docker["name_only"], &docker["missing_node_definition_id"]), (&json!(0), &json!(0)), "{docker:#}");

    let runtime = agent.get(&format!("/labs/{LAB}/nodes/h1/runtime?provider_type=docker"));
    assert_eq!([text(&runtime, "node_name"), text(&runtime, "runtime_name")], ["h1", &container(LAB, "h1")]);
    let logs = agent.get(&format!("/labs/{LAB}/boot-logs"));
    let logs = logs["boot_logs"].as_object().unwrap();
    assert_eq!(logs.keys().map(String::as_str).collect::<Vec<_>>(), ["h1", "r1"]);
    let interfaces = agent.get("/interfaces/details");
    let names = interfaces["interfaces"].as_array().unwrap();
    assert!(names.iter().all(|one| one["name"] != "lo"), "{interfaces:#}");
    assert_eq!(agent.get("/locks/status")["locks"], json!([]));
    let released = agent.call(&format!("/locks/{LAB}/release"));
    assert!(["cleared", "not_found"].contains(&text(&released, "status")), "{released:#}");
    let update =
        json!({ "job_id": "j", "target_version": "9.9.9", "callback_url": "http://127.0.0.1:8000/callbacks/update/j" });
    assert_eq!(agent.post("/update", &update)["accepted"], false);
    let links = agent.get(&format!("/labs/{LAB}/links"));
    let links: Vec<&Value> = links["links"].as_array().unwrap().iter().collect();
    assert_eq!(links.iter().map(|link| text(link, "link_id")).collect::<Vec<_>>(), ["h1:eth1-r1:eth1"]);

    // An address of this host is one hop away, and takes what fits.
    let tested = agent.post("/network/test-mtu", &json!({ "target_ip": "127.0.0.1", "mtu": 1450, "source_ip": null }));
    assert_eq!((&tested["success"], &tested["link_type"]), (&json!(true), &json!("direct")), "{tested:#}");
    let (status, _) = agent.send("POST", "/network/test-mtu", Some(&json!({ "target_ip": "300.0.0.1", "mtu": 1450 })));
    assert_eq!(status, 400);
    let entry = json!({ "lab_id": LAB, "node_name": "h1", "node_definition_id": H1.definition, "provider": "docker" });
    let filled = agent.post("/runtime-identity/backfill", &json!({ "entries": [entry] }));
    assert_eq!(filled["errors"], json!([]));
    agent.takes_down(LAB, &[]);
}

#[test]
fn one_connection_takes_calls_of_all_kinds_one_after_the_other() {
    let Some(rig) = Rig::new() else { return };
    // The client keeps its connections, so that all of these follow each other on one.
    for _ in 0..20 {
        rig.agent.get("/healthz");
        rig.agent.get("/images");
        rig.agent.get("/health");
        rig.agent.status(LAB);
        rig.agent.declares_nothing(&[]);
    }
}
