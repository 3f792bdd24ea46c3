//! What every body of the contract looks like, field by field, as JSON Schema.
//!
//! They are written in a short form in the JSON files beside this: an object is closed and has all its fields, unless
//!
//! | written | means |
//! |---|---|
//! | `"name?": …` | the field may be absent |
//! | `"*": …` | further fields, each like that |
//! | `"string"`, `"integer"`, `"number"`, `"boolean"`, `"object"`, `"any"` | the type |
//! | `"text"` | a string that is not empty |
//! | `"time"` | a date and time of ISO 8601 |
//! | `"true"`, `"false"` | just that |
//! | `"=a\|b"` | one of these strings |
//! | `"~…"` | a string that matches the regular expression |
//! | `"integer 0..100"`, `"integer 1.."` | within these bounds |
//! | `"#name"` | as in `shared.json` |
//! | any of them with `?` at its end | or `null` |
//! | `[…]` | a list of such |
//! | `{ "\|": [a, b] }` | one or the other |

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// Schemas by method and route.
pub(crate) struct Schemas(BTreeMap<String, Validator>);

/// Of what the agent answers.
pub(crate) static ANSWERS: LazyLock<Schemas> = LazyLock::new(|| Schemas::read(include_str!("schemas/answers.json")));
/// Of what the agent sends to its controller.
pub(crate) static SENT: LazyLock<Schemas> = LazyLock::new(|| Schemas::read(include_str!("schemas/sent.json")));

static SHARED: LazyLock<Map<String, Value>> = LazyLock::new(|| object(include_str!("schemas/shared.json")));

const TIME: &str = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?$";

/// Fails the test, with the path of what is wrong, unless this is an answer of that route.
///
/// Of answers other than 2xx the contract says something only for 403 and 422; 501 and the like are of no contract.
#[track_caller]
pub(crate) fn check(method: &str, route: &str, status: u16, body: &Value) {
    let wrong = mistakes(method, route, status, body);
    assert!(wrong.is_empty(), "{method} {route} answered {status}, which is wrong at {wrong:#?}\n{body:#}");
}

/// What is wrong with an answer, each with its path.
pub(crate) fn mistakes(method: &str, route: &str, status: u16, body: &Value) -> Vec<String> {
    match status {
        200..=299 => ANSWERS.mistakes(&format!("{method} {route}"), body),
        403 if ["Missing authorization", "Invalid authorization"]
            .contains(&body["detail"].as_str().unwrap_or_default()) =>
        {
            Vec::new()
        }
        403 => vec!["/detail: it is neither of the two texts of the contract".to_owned()],
        422 if body.get("detail").is_none() => vec!["/detail: it is missing".to_owned()],
        400..=599 => Vec::new(),
        _ => vec![format!("{status} is no status that the controller knows")],
    }
}

impl Schemas {
    fn read(text: &str) -> Self {
        let compiled = object(text).into_iter().map(|(route, short)| {
            let mut schema = written_out(&short);
            schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
            let validator = jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{route}: {error}"));
            (route, validator)
        });
        Self(compiled.collect())
    }

    /// What is wrong with a body, each with its path.
    pub(crate) fn mistakes(&self, route: &str, body: &Value) -> Vec<String> {
        let Some(validator) = self.0.get(route) else { return vec![format!("there is no route `{route}`")] };
        validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }

    /// The route that a request is for: the one with the fewest parameters that fits.
    pub(crate) fn route(&self, method: &str, path: &str) -> Option<&str> {
        let path = path.split('?').next().unwrap_or_default();
        let fitting = self.routes(method).filter_map(|route| Some((parameters(route, path)?, route)));
        let (_, route) = fitting.min_by_key(|(parameters, _)| *parameters)?;
        Some(route)
    }

    /// The routes of a method, such as `/labs/{lab}/status`.
    pub(crate) fn routes(&self, method: &str) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(move |key| key.strip_prefix(method)?.strip_prefix(' '))
    }
}

/// How many parameters the path fills, if it fits.
fn parameters(route: &str, path: &str) -> Option<usize> {
    if route == "/images/{reference}" && path.strip_prefix("/images/").is_some_and(|reference| !reference.is_empty()) {
        // References may come with their slashes unencoded.
        return Some(usize::MAX);
    }
    let (route, path): (Vec<&str>, Vec<&str>) = (route.split('/').collect(), path.split('/').collect());
    let is_parameter = |part: &str| part.starts_with('{');
    let fits = route.len() == path.len()
        && route.iter().zip(&path).all(|(want, is)| if is_parameter(want) { !is.is_empty() } else { want == is });
    fits.then(|| route.iter().filter(|part| is_parameter(part)).count())
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

/// The schema that is meant by the short form.
fn written_out(short: &Value) -> Value {
    match short {
        Value::String(word) => of_word(word),
        Value::Array(items) => {
            let [item] = items.as_slice() else { panic!("a list has one shape: {short}") };
            json!({ "type": "array", "items": written_out(item) })
        }
        Value::Object(fields) => match fields.get("|") {
            Some(Value::Array(either)) => json!({ "anyOf": either.iter().map(written_out).collect::<Vec<_>>() }),
            _ => of_fields(fields),
        },
        _ => panic!("this is no shape: {short}"),
    }
}

fn of_fields(fields: &Map<String, Value>) -> Value {
    let (mut properties, mut required, mut others) = (Map::new(), Vec::new(), json!(false));
    for (name, short) in fields {
        let schema = written_out(short);
        match name.strip_suffix('?') {
            _ if name == "*" => others = schema,
            Some(name) => drop(properties.insert(name.to_owned(), schema)),
            None => {
                properties.insert(name.clone(), schema);
                required.push(name);
            }
        }
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": others })
}

fn of_word(word: &str) -> Value {
    if let Some(word) = word.strip_suffix('?') {
        return json!({ "anyOf": [of_word(word), { "type": "null" }] });
    }
    if let Some(name) = word.strip_prefix('#') {
        return written_out(SHARED.get(name).unwrap_or_else(|| panic!("`{name}` is not shared")));
    }
    if let Some(words) = word.strip_prefix('=') {
        return json!({ "enum": words.split('|').collect::<Vec<_>>() });
    }
    if let Some(pattern) = word.strip_prefix('~') {
        return json!({ "type": "string", "pattern": pattern });
    }
    if let Some((kind, (least, most))) =
        word.split_once(' ').and_then(|(kind, rest)| Some((kind, rest.split_once("..")?)))
    {
        let mut schema = json!({ "type": kind, "minimum": least.parse::<i64>().unwrap() });
        if !most.is_empty() {
            schema["maximum"] = json!(most.parse::<i64>().unwrap());
        }
        return schema;
    }
    match word {
        "any" => json!({}),
        "text" => json!({ "type": "string", "minLength": 1 }),
        "time" => json!({ "type": "string", "pattern": TIME }),
        "true" => json!({ "const": true }),
        "false" => json!({ "const": false }),
        "string" | "integer" | "number" | "boolean" | "object" => json!({ "type": word }),
        _ => panic!("`{word}` is no type"),
    }
}

#[test]
fn all_routes_of_the_contract_that_answer_json_have_a_schema() {
    let methods = ["GET", "POST", "PUT", "DELETE"];
    assert_eq!(methods.map(|method| ANSWERS.routes(method).count()), [37, 50, 2, 10]);
    assert_eq!(SENT.routes("POST").count(), 6);
}

#[test]
fn bodies_that_were_recorded_are_right_and_mistakes_in_them_are_told_with_their_path() {
    let node = json!({ "name": "r1", "status": "running", "container_id": "e400dd4dddbd", "runtime_id": "e400dd4d",
        "node_definition_id": "5be13e96", "image": "quay.io/frrouting/frr:latest", "ip_addresses": [], "error": null });
    let status = json!({ "lab_id": "l", "nodes": [node], "error": null });
    check("GET", "/labs/{lab}/status", 200, &status);
    let link = json!({ "success": true, "error": null, "link": { "link_id": "h1:eth1-r1:eth1", "lab_id": "l",
        "source_node": "h1", "source_interface": "eth1", "target_node": "r1", "target_interface": "eth1",
        "state": "connected", "vlan_tag": 2050, "source_ovs_port": "vh0bebb915546", "target_ovs_port": "vhdd06a46747d",
        "error": null } });
    check("POST", "/labs/{lab}/links", 200, &link);
    check("POST", "/overlay/declare-state", 200, &json!({ "results": [], "orphans_removed": [] }));
    check("GET", "/health", 403, &json!({ "detail": "Missing authorization" }));
    let progress = json!({ "job_id": "j", "status": "unknown", "progress_percent": 0, "bytes_transferred": 0,
        "total_bytes": 0, "error": null, "started_at": null });
    check("GET", "/images/pull/{job}/progress", 200, &progress);

    let told = |change: &dyn Fn(&mut Value)| {
        let mut wrong = status.clone();
        change(&mut wrong);
        mistakes("GET", "/labs/{lab}/status", 200, &wrong).join("\n")
    };
    assert!(told(&|status| status["nodes"][0]["status"] = json!("exited")).starts_with("/nodes/0/status: "));
    assert!(told(&|status| status["nodes"][0]["more"] = json!(1)).contains("'more'"));
    assert!(told(&|status| drop(status["nodes"][0].as_object_mut().unwrap().remove("error"))).contains("error"));
    assert!(told(&|status| status["nodes"][0]["runtime_id"] = json!("")).starts_with("/nodes/0/runtime_id: "));
    assert!(told(&|status| status["lab_id"] = json!(7)).starts_with("/lab_id: "));
    assert_ne!(mistakes("GET", "/labs/{lab}/status", 302, &status), [""; 0]);
    assert_ne!(mistakes("GET", "/labs/{lab}/status", 422, &json!({})), [""; 0]);
}

#[test]
fn what_was_recorded_of_an_agent_is_right() {
    let register = json!({ "agent": { "agent_id": "b39a05df", "name": "rack1", "address": "10.0.0.11:8001",
        "capabilities": { "providers": ["docker", "libvirt"], "max_concurrent_jobs": 4,
            "features": ["console", "status", "vxlan"],
            "virtualization": { "cpu_model": "x", "cpu_flags": { "svm": true }, "kvm_amd": { "avic": false } } },
        "version": "0.1.0", "commit": "0123abcd", "started_at": "2026-11-23T20:00:00+00:00", "is_local": false,
        "deployment_mode": "systemd", "data_plane_ip": null, "docker_snapshotter_mode": "legacy" }, "token": null });
    assert_eq!(SENT.mistakes("POST /agents/register", &register), [""; 0]);
    let mut no_port = register.clone();
    no_port["agent"]["address"] = json!("http://10.0.0.11");
    assert!(SENT.mistakes("POST /agents/register", &no_port)[0].starts_with("/agent/address: "));
    let beat = json!({ "agent_id": "a", "status": "degraded" });
    assert!(SENT.mistakes("POST /agents/{agent}/heartbeat", &beat)[0].starts_with("/status: "));
    let kill = json!({ "agent_id": "a", "lab_id": "l", "node_name": "r1", "container_id": null, "event_type": "creating",
        "timestamp": "2026-11-23T20:00:00Z", "status": "create", "attributes": null });
    assert!(SENT.mistakes("POST /events/node", &kill)[0].starts_with("/event_type: "));
}

#[test]
fn a_path_is_of_the_route_with_the_fewest_parameters() {
    let route = |method, path| ANSWERS.route(method, path);
    assert_eq!(route("GET", "/images/active-transfers"), Some("/images/active-transfers"));
    assert_eq!(route("GET", "/images/quay.io%2Ffrrouting%2Ffrr%3Alatest"), Some("/images/{reference}"));
    assert_eq!(route("GET", "/images/quay.io/frrouting/frr:latest"), Some("/images/{reference}"));
    assert_eq!(route("GET", "/images/pull/7/progress"), Some("/images/pull/{job}/progress"));
    assert_eq!(route("POST", "/labs/l/nodes/reconcile?x=1"), Some("/labs/{lab}/nodes/reconcile"));
    assert_eq!(route("DELETE", "/labs/l/links/h1:eth1-r1:eth1"), Some("/labs/{lab}/links/{link}"));
    assert_eq!(route("GET", "/nothing"), None);
}
