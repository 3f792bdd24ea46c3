//! Names and bodies that nobody should send: they are refused, touch nothing, and are never an error of the agent.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::contract::client::Request;
use crate::contract::rig::Rig;
use crate::contract::schemas::ANSWERS;
use crate::contract::steps::{H1, LAB, LINK, OTHER};

/// What no lab, node or interface is called; each as one segment of a path.
const BAD_NAMES: [&str; 13] = [
    "..",
    ".",
    "%2e%2e",
    "..%2f..%2fetc",
    "..%2F",
    "a%2Fb",
    "a%00",
    "a%20b",
    "a.b",
    "%C3%A9",
    "%FF",
    "$(reboot)",
    "%3Bid",
];

/// Parameters for which a bad name is something that cannot be understood. For the others it may be what is not there.
const STRICT: [&str; 4] = ["{lab}", "{node}", "{interface}", "{vni}"];

/// Bodies that would be right, by method and route. None of them does anything to the lab that runs.
fn bodies() -> Vec<(&'static str, Value)> {
    let absent = "nowhere.invalid/no:1";
    let mut node = H1.in_topology();
    node["image"] = json!(absent);
    let mut create = H1.to_create();
    create["image"] = json!(absent);
    let topology = json!({ "nodes": [node], "links": [link()] });
    let tunnel = json!({ "link_id": LINK, "lab_id": OTHER, "vni": 0, "local_ip": "", "remote_ip": "", "expected_vlan": 0,
        "port_name": "vxlan-00000000", "mtu": 1450 });
    let attach = json!({ "lab_id": OTHER, "container_name": "r1", "interface_name": "eth1", "vni": 7,
        "local_ip": "127.0.0.1", "remote_ip": "127.0.0.2", "link_id": LINK, "tenant_mtu": 1450 });
    let detach = json!({ "lab_id": OTHER, "container_name": "r1", "interface_name": "eth1", "link_id": LINK });
    let pairing =
        json!({ "link_name": LINK, "lab_id": OTHER, "port_a": "vhnone1", "port_b": "vhnone2", "vlan_tag": 2050 });
    let prune = json!({ "valid_lab_ids": [LAB], "prune_dangling_images": false, "prune_build_cache": false,
        "prune_unused_volumes": false, "prune_stopped_containers": false, "prune_unused_networks": false });
    let provision = json!({ "action": "delete", "name": "nothere0", "parent_interface": "nothere1", "vlan_id": 7,
        "ip_cidr": "192.0.2.1/24", "mtu": 1500, "attach_to_ovs": false, "ovs_vlan_tag": 7 });
    let connect = json!({ "node_name": "r1", "container_name": null, "interface_name": "eth1",
        "external_interface": "nothere0", "vlan_tag": 7 });
    let entry = json!({ "lab_id": OTHER, "node_name": "r1", "node_definition_id": "d", "provider": "docker" });
    vec![
        ("POST /jobs/deploy", json!({ "job_id": "j", "lab_id": OTHER, "provider": "docker", "topology": topology })),
        ("POST /jobs/destroy", json!({ "job_id": "j", "lab_id": OTHER, "provider": "docker" })),
        (
            "POST /labs/{lab}/nodes/reconcile",
            json!({ "nodes": [{ "container_name": "r1", "desired_state": "running" }] }),
        ),
        ("POST /cleanup-orphans", json!({ "valid_lab_ids": [LAB] })),
        ("POST /cleanup-lab-orphans", json!({ "lab_id": OTHER, "keep_node_names": ["r1"] })),
        ("POST /cleanup-workspaces", json!({ "valid_lab_ids": [LAB] })),
        ("POST /prune-docker", prune),
        ("POST /runtime-identity/backfill", json!({ "entries": [entry], "dry_run": true })),
        ("PUT /labs/{lab}/nodes/{node}/config", json!({ "content": "hostname r1\n" })),
        ("POST /labs/{lab}/nodes/{node}/runtime-conflict", json!({ "node_name": "r1", "node_definition_id": "d" })),
        ("POST /labs/{lab}/nodes/{node}/create", create),
        ("POST /labs/{lab}/nodes/{node}/start", json!({ "repair_endpoints": true, "fix_interfaces": true })),
        (
            "POST /labs/{lab}/nodes/{node}/cli-verify",
            json!({ "commands": ["show version"], "timeout": 5, "retries": 0 }),
        ),
        ("POST /labs/{lab}/repair-endpoints", json!({ "nodes": ["r1"] })),
        ("POST /labs/{lab}/links", link()),
        ("POST /ports/declare-state", json!({ "pairings": [pairing] })),
        ("POST /labs/{lab}/interfaces/{node}/{interface}/carrier", json!({ "state": "on" })),
        ("POST /overlay/attach-link", attach),
        ("POST /overlay/detach-link", detach),
        ("POST /overlay/declare-state", json!({ "tunnels": [tunnel], "declared_labs": [OTHER] })),
        ("POST /overlay/cleanup", json!({ "lab_id": OTHER })),
        ("PUT /overlay/ports/{port}/vlan", json!({ "vlan_tag": 2050, "link_id": LINK })),
        (
            "POST /overlay/reconcile-ports",
            json!({ "valid_port_names": ["vxlan-00000000"], "force": false, "confirm": false, "allow_empty": false }),
        ),
        ("POST /network/test-mtu", json!({ "target_ip": "nowhere" })),
        ("POST /labs/{lab}/external/connect", connect),
        ("POST /interfaces/{name}/mtu", json!({ "mtu": 1500, "persist": false })),
        ("POST /interfaces/provision", provision),
        (
            "POST /images/pull",
            json!({ "image_id": "docker:nowhere.invalid/no:1", "reference": absent, "sha256": null, "device_id": null }),
        ),
        ("POST /images/backfill-metadata", json!({ "nowhere.invalid/no:1": "linux" })),
        ("POST /update", json!({ "job_id": "j", "target_version": "0", "callback_url": "http://127.0.0.1:8000/x" })),
        ("POST /labs/{lab}/nodes/{node}/exec", json!({ "cmd": "true" })),
    ]
}

fn link() -> Value {
    crate::contract::steps::link(("h1", "eth1"), ("r1", "eth1"))
}

/// The parameters of a route.
fn parameters(route: &str) -> Vec<&str> {
    route.split('/').filter(|part| part.starts_with('{')).collect()
}

/// A path whose parameters name what is not there, but for those that are given. Commands are for the node that runs.
fn path(route: &str, given: &[(&str, &str)]) -> String {
    let runs = route.ends_with("/exec");
    let fill = |part: &str| {
        let own = given.iter().find(|(parameter, _)| *parameter == part).map(|(_, value)| *value);
        let usual = match part {
            "{lab}" if runs => LAB,
            "{lab}" => OTHER,
            "{node}" if runs => "h1",
            "{node}" => "r1",
            "{interface}" => "eth1",
            "{link}" => LINK,
            "{port}" => "vxlan-00000000",
            "{reference}" => "nowhere.invalid%2Fno%3A1",
            "{name}" if route.starts_with("/interfaces/") => "nothere0",
            "{name}" => "archetype-74eadeec-2b1d-4f0e-8-r1",
            "{vni}" => "7",
            "{job}" => "j",
            _ => part,
        };
        own.unwrap_or(usual).to_owned()
    };
    route.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// All that a request could have touched.
fn everything(rig: &Rig) -> (Vec<String>, String, Value) {
    let files =
        rig.sh("cd $NETLOOM_ROOT && find . -not -name 'agent.log*' | sort; ls /etc | sort; ls / | sort").code(0).out;
    (rig.leavings(), files, rig.agent.status(LAB))
}

#[test]
fn a_bad_name_in_a_path_is_refused_and_touches_nothing() {
    let Some(rig) = Rig::new() else { return };
    rig.agent.deploys(LAB, &[H1], &[]);
    rig.agent.put(&format!("/labs/{LAB}/nodes/h1/config"), &json!({ "content": "hostname h1\n" }));
    let before = everything(&rig);
    let bodies = bodies();
    let mut wrong = Vec::new();
    for method in ["GET", "POST", "PUT", "DELETE"] {
        for route in ANSWERS.routes(method) {
            let body = bodies.iter().find(|(of, _)| *of == format!("{method} {route}"));
            for parameter in parameters(route) {
                for name in BAD_NAMES {
                    let path = path(route, &[(parameter, name)]);
                    let secret = format!("Bearer {}", crate::contract::double::SECRET);
                    let request = Request {
                        method,
                        path: &path,
                        authorization: Some(secret),
                        content_type: body.map(|_| "application/json"),
                        body: body.map(|(_, body)| body.to_string().into_bytes()).unwrap_or_default(),
                    };
                    // References and ids of images may have dots and slashes, and what is not there may be told by 200.
                    let is_strict =
                        STRICT.contains(&parameter) && !(parameter == "{interface}" && route.contains("/external/"));
                    match rig.agent.exchange(&request, Duration::from_secs(30)).map(|answer| answer.status) {
                        Ok(400..=499) => {}
                        Ok(200) if !is_strict => {}
                        other => wrong.push(format!("{method} {path}: {other:?}")),
                    }
                }
            }
        }
    }
    // What answers without JSON.
    for route in ["/poap/{lab}/{node}/startup-config", "/poap/{lab}/{node}/script.py", "/console/{lab}/{node}"] {
        for parameter in parameters(route) {
            for name in BAD_NAMES {
                let path = path(route, &[("{lab}", LAB), ("{node}", "h1")]);
                let path = path.replacen(if parameter == "{lab}" { LAB } else { "h1" }, name, 1);
                let request = Request { method: "GET", path: &path, ..Request::default() };
                let status = rig.agent.exchange(&request, Duration::from_secs(30)).map(|answer| answer.status);
                if !matches!(status, Ok(400..=499)) {
                    wrong.push(format!("GET {path}: {status:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} are not refused: {wrong:#?}", wrong.len());
    // Names in bodies are as bad as those in paths.
    for lab in ["..", "../x", "a/b", "a b", "", "x\u{0}"] {
        for (route, body) in bodies.iter().filter(|(_, body)| body["lab_id"].is_string()) {
            let mut body = body.clone();
            body["lab_id"] = json!(lab);
            let (method, route) = route.split_once(' ').unwrap();
            let (status, answer) = rig.agent.send(method, &path(route, &[]), Some(&body));
            assert!((400..500).contains(&status), "{method} {route} for lab {lab:?} answered {status} {answer}");
        }
    }
    assert_eq!(everything(&rig), before);
    rig.agent.takes_down(LAB, &[]);
}

/// How often each spoiled body is spoiled once more.
const AGAIN: usize = 5;

/// Values of every type, and some at the edge of theirs.
fn values() -> Vec<Value> {
    let mut all: Vec<Value> = ["", "..", "\u{0}"].into_iter().map(Value::from).collect();
    all.extend([json!(null), json!(true), json!(-1), json!(1.5), json!(u64::MAX)]);
    all.extend([json!([]), json!({}), json!([null]), json!("x".repeat(20_000))]);
    all
}

/// The same body with something wrong in one place, at most as deep as the entries of its lists.
fn spoiled(body: &Value) -> Vec<Value> {
    let Value::Object(fields) = body else { return values() };
    let mut all = Vec::new();
    for (name, value) in fields {
        let with = |value: Option<Value>| {
            let mut other: Map<String, Value> = fields.clone();
            match value {
                Some(value) => drop(other.insert(name.clone(), value)),
                None => drop(other.remove(name)),
            }
            Value::Object(other)
        };
        // What an interface keeps is written to files that this machine has too.
        if name == "persist" {
            continue;
        }
        all.push(with(None));
        all.extend(values().into_iter().map(|value| with(Some(value))));
        match value {
            Value::Array(items) => {
                let entry = items.first().filter(|entry| entry.is_object());
                all.extend(entry.into_iter().flat_map(spoiled).map(|entry| with(Some(json!([entry])))));
            }
            Value::Object(_) => all.extend(spoiled(value).into_iter().map(|value| with(Some(value)))),
            _ => {}
        }
    }
    all
}

/// Bodies with something wrong in one place, and of each a few with something wrong in another one too: the same in every run.
fn spoiled_more(body: &Value) -> Vec<Value> {
    let mut state = 1_u64;
    let mut next = |below: usize| {
        // Knuth's MMIX; its upper bits are the good ones.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let once = spoiled(body);
    let mut all = once.clone();
    for body in once.iter().filter(|body| body.is_object()) {
        let twice = spoiled(body);
        all.extend((0..AGAIN).filter(|_| !twice.is_empty()).map(|_| twice[next(twice.len())].clone()));
    }
    all
}

/// Bodies that are none.
fn nonsense() -> Vec<Vec<u8>> {
    let texts = ["{", "", "nul", "null", "[]", "42", "\"x\"", "{\"a\":}", "{}{}", "{'a': 1}", "NaN"];
    let mut all: Vec<Vec<u8>> = texts.into_iter().map(|text| text.as_bytes().to_vec()).collect();
    all.push(vec![0xff, 0xfe, b'{', b'}']);
    all.push("[".repeat(100_000).into_bytes());
    all.push("{\"topology\":".repeat(10_000).into_bytes());
    all
}

#[test]
fn a_body_that_is_wrong_is_never_an_error_of_the_agent() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    agent.deploys(LAB, &[H1], &[]);
    let before = agent.status(LAB);
    let (mut wrong, mut sent) = (Vec::new(), 0);
    for (call, body) in bodies() {
        let (method, route) = call.split_once(' ').unwrap();
        let path = match route {
            "/labs/{lab}/nodes/{node}/cli-verify" => path(route, &[]) + "?provider=libvirt",
            _ => path(route, &[]),
        };
        // There is no libvirt.
        let bearable = |status: u16| status < 500 || (status == 503 && route.ends_with("/cli-verify"));
        // A body is no must there.
        let is_optional = route.ends_with("/start") || route.ends_with("/repair-endpoints");
        for body in nonsense() {
            let (status, _) = agent.send_as(method, &path, Some("application/json"), body.clone());
            let may_be = is_optional && (body.is_empty() || body == b"null");
            let is_refused = (400..500).contains(&status) || (may_be && status == 200);
            if !is_refused && status != 503 || !bearable(status) {
                let body = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
                wrong.push(format!("{call} answers {status} to {body:?}"));
            }
        }
        for body in spoiled_more(&body) {
            sent += 1;
            // What is checked by the schema is whatever is answered.
            let (status, _) = agent.send(method, &path, Some(&body));
            if !bearable(status) {
                let body = body.to_string();
                wrong.push(format!("{call} answers {status} to {}", body.chars().take(300).collect::<String>()));
            }
        }
        rig.agent.get("/healthz");
    }
    // No JSON at all, and no multipart.
    for path in ["/images/receive", "/images/receive?reference=x&image_id=x"] {
        for content_type in ["application/json", "multipart/form-data", "multipart/form-data; boundary=x", "text/plain"]
        {
            let (status, answer) = agent.send_as("POST", path, Some(content_type), b"--x\r\n\r\nnothing".to_vec());
            let is_refused = (400..500).contains(&status) || answer["success"] == false;
            if !is_refused {
                wrong.push(format!("POST {path} of {content_type} answers {status} {answer}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are answered wrongly: {wrong:#?}", wrong.len());
    assert!(sent >= 10_000, "{sent} are not many");
    assert_eq!(agent.status(LAB), before);
    let complaints = rig.controller.complaints();
    assert_eq!(complaints, [""; 0], "an agent that is told nonsense tells none");
    agent.destroys(OTHER);
    agent.takes_down(LAB, &[]);
}
