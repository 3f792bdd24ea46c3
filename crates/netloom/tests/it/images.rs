//! Images: pulled before anything is made, loaded, listed, and kept while labs need them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use netloom_dockerd_fixture::{Dockerd, busybox};
use serde_json::{Value, json};

use crate::registry::Registry;
use crate::sandbox::{Ended, NETLOOM, PATIENCE, Sandbox};
use crate::terminal::Terminal;

/// What controllers have.
const SECRET: &str = "correct horse";

/// A host with a Docker daemon, and an agent that knows it.
struct Host {
    // Ends before the host does.
    daemon: Dockerd,
    sandbox: Sandbox,
}

impl Host {
    fn new() -> Option<Self> {
        let mut sandbox = Sandbox::new()?;
        sandbox.environment.push(("NETLOOM_SECRET", SECRET.to_owned()));
        let daemon = Dockerd::start_by(&mut sandbox.command("env"))?;
        let host = Self { daemon, sandbox };
        host.netloom(&["agent", "--background"]).code(0);
        Some(host)
    }

    fn netloom(&self, arguments: &[&str]) -> Ended {
        self.netloom_reading(arguments, Stdio::null())
    }

    fn netloom_reading(&self, arguments: &[&str], input: Stdio) -> Ended {
        let mut command = self.sandbox.command(NETLOOM);
        command.env("DOCKER_HOST", format!("unix://{}", self.daemon.socket().display()));
        Ended::from(&command.args(arguments).stdin(input).output().unwrap())
    }

    /// A file with an image.
    fn archive(&self, reference: &str) -> String {
        let path = self.sandbox.labs.path().join("image.tar");
        fs::write(&path, busybox(reference)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A topology of containers with these images.
    fn topology(&self, nodes: &[(&str, &str)], more: &str) -> String {
        let nodes: Vec<String> = nodes
            .iter()
            .map(|(node, image)| format!("    {node}: {{ kind: linux, image: \"{image}\", network-mode: none{more} }}"))
            .collect();
        self.sandbox.topology("lab", &format!("name: lab\ntopology:\n  nodes:\n{}\n", nodes.join("\n")))
    }

    fn images(&self) -> Vec<String> {
        let view = self.netloom(&["image", "ls", "--json"]).code(0).json();
        let all = view["images"].as_array().unwrap().iter();
        all.flat_map(|image| image["references"].as_array().unwrap().clone()).map(|name| text(&name)).collect()
    }
}

/// What the agent answers to a controller.
fn controller(host: &Sandbox, request: &str, head: &str, body: &[u8]) -> Value {
    let connect = || TcpStream::connect("127.0.0.1:8001");
    let mut stream = host.netns().run(connect).unwrap().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!("Authorization: Bearer {SECRET}\r\nContent-Length: {length}\r\n{head}");
    write!(stream, "{request} HTTP/1.0\r\nHost: agent.example:8001\r\n{head}\r\n").unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}:\n{answer}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn images_are_loaded_and_kept_as_long_as_a_lab_needs_them() {
    let Some(host) = Host::new() else { return };
    let archive = host.archive("bb:1");
    host.netloom(&["image", "load", &archive]).code(0).says("loaded bb:1");
    let other = netloom_dockerd_fixture::archive("old:1", &json!({ "Cmd": ["/bin/true"] }), &[]);
    fs::write(&archive, other).unwrap();
    host.netloom_reading(&["image", "load", "-"], fs::File::open(&archive).unwrap().into()).code(0);
    assert_eq!(host.images().len(), 2);
    fs::write(&archive, "no archive").unwrap();
    host.netloom(&["image", "load", &archive]).code(2).says("docker save");
    fs::write(&archive, [0; 10240]).unwrap();
    host.netloom(&["image", "load", &archive]).code(2).says("there is no image in the archive");
    host.netloom(&["image", "load", "/"]).code(2).says("/ is a directory");
    let topology = host.topology(&[("a", "bb:1"), ("b", "docker.io/library/bb:1")], "");
    host.netloom(&["deploy", "-t", &topology]).code(0);
    host.netloom(&["image", "ls"]).code(0).says("bb:1").says("lab");
    let refused = host.netloom(&["image", "rm", "bb:1"]).code(2);
    refused.says("lab `lab` has nodes of it");
    host.netloom(&["image", "prune", "--all"]).code(0).says("removed old:1").says("1 image removed");
    assert_eq!(host.images(), ["bb:1"]);
    host.netloom(&["destroy", "--name", "lab"]).code(0);
    host.netloom(&["image", "rm", "bb:1"]).code(0).says("removed bb:1").says("freed");
    assert!(host.images().is_empty());
    host.netloom(&["image", "rm", "bb:1"]).code(2).says("there is no image `bb:1`");
}

#[test]
fn an_image_that_a_controller_delivers_is_run_has_a_console_and_is_removed() {
    let Some(host) = Host::new() else { return };
    host.netloom(&["image", "load", &host.archive("mine:1")]).code(0);
    let ask = |request: &str| controller(&host.sandbox, request, "", b"");
    assert_eq!(ask("GET /images")["images"], json!([]));
    let archive = netloom_dockerd_fixture::archive("theirs:1", &json!({ "Cmd": ["/bin/true"] }), &[]);
    let busybox = busybox("bb:1");
    let receive = |archive: &[u8], of: &[u8]| {
        let query = format!("sha256={}&device_id=linux", netloom_model::hex(of));
        let head = b"--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"image.tar\"\r\n\r\n".as_slice();
        let form = [head, archive, b"\r\n--cut--\r\n"].concat();
        let kind = "Content-Type: multipart/form-data; boundary=cut\r\n";
        controller(&host.sandbox, &format!("POST /images/receive?{query}"), kind, &form)
    };
    // An archive that is another one stays without its end.
    let refused = receive(&busybox, &archive);
    assert!(refused["success"] == false && text(&refused["error"]).contains("SHA-256"), "{refused}");
    assert_eq!(host.images(), ["mine:1"]);
    for (archive, name) in [(&busybox, "bb:1"), (&archive, "theirs:1")] {
        assert_eq!(receive(archive, archive), json!({ "success": true, "error": null, "loaded_images": [name] }));
    }
    let listed = ask("GET /images");
    let tags: Vec<_> = listed["images"].as_array().unwrap().iter().map(|image| text(&image["tags"][0])).collect();
    assert!(tags.len() == 2 && !tags.contains(&"mine:1".to_owned()), "{listed}");

    let labels = "labels: { archetype.node_kind: frr }, cmd: \"sh -c 'seq -s. 9; exec sleep 4731'\"";
    let topology = host.topology(&[("a", "bb:1")], &format!(", {labels}"));
    host.netloom(&["deploy", "-t", &topology]).code(0);
    assert_eq!(ask("GET /images/bb%3A1")["image"]["in_use"], true);
    let mut console = Terminal::with(&host.sandbox, &["console", "lab/a"]);
    // There is no vtysh in it.
    console.shows("1.2.3.4.5.6.7.8.9\r\n");
    console.types("echo $(hostname) $0; exit 7\r");
    console.shows("a /bin/sh\r\n");
    assert_eq!(console.ends().0, 7);

    for (image, why) in [("mine%3A1", "not delivered"), ("bb%3A1", "lab `lab`")] {
        let refused = ask(&format!("DELETE /images/{image}"));
        assert!(refused["success"] == false && text(&refused["error"]).contains(why), "{refused}");
    }
    host.netloom(&["destroy", "--name", "lab"]).code(0);
    for image in ["bb%3A1", "theirs%3A1"] {
        assert_eq!(ask(&format!("DELETE /images/{image}")), json!({ "success": true, "deleted": true }));
    }
    assert_eq!(host.images(), ["mine:1"]);
}

#[test]
fn missing_images_are_pulled_with_progress_and_one_that_is_nowhere_stops_all() {
    let Some(host) = Host::new() else { return };
    let registry = Registry::start(&host.sandbox.netns());
    registry.add("good");
    let (good, bad, worse) = (registry.name("good"), registry.name("bad"), registry.name("worse"));
    let nowhere = host.topology(&[("a", &good), ("b", &bad), ("c", &worse)], "");
    let ended = host.netloom(&["deploy", "-t", &nowhere]).code(1);
    let ended = ended.says(&format!("pull image {bad} (node b)")).says(&format!("pull image {worse} (node c)"));
    ended.says("manifest unknown").says("netloom image load");
    let nodes = host.sandbox.lab("lab")["nodes"].as_array().unwrap().clone();
    assert!(nodes.iter().all(|node| node["state"]["phase"] == "absent"), "{nodes:?}");
    host.netloom(&["destroy", "--name", "lab"]).code(0);
    host.netloom(&["image", "rm", &good]).code(0);

    let topology = host.topology(&[("a", &good), ("b", &good)], "");
    host.netloom(&["deploy", "-t", &topology]).code(0).says(&format!("pull image {good} ("));
    // Two nodes are made from it.
    assert!(registry.pulls("good") <= 2, "no more than once for each deploy that lacked it");
    let operations = host.netloom(&["operation", "list", "--json"]).code(0).json();
    let deploy = operations.as_array().unwrap().last().unwrap();
    let layers = deploy["steps"][0]["progress"]["layers"].as_array().unwrap();
    assert!(layers.len() == 1 && layers[0]["is_done"] == true, "{deploy}");
    host.netloom(&["deploy", "-t", &topology]).code(0).says("nothing to change");

    let never = host.topology(&[("a", &bad), ("b", &worse)], ", image-pull-policy: never");
    let refused = host.netloom(&["deploy", "-t", &never, "--name", "other"]).code(2);
    refused.says(&format!("`{bad}` (node a), `{worse}` (node b)"));
    host.netloom(&["image", "pull", &bad]).code(1).says("manifest unknown");
    host.netloom(&["image", "pull", &good]).code(0);
    host.netloom(&["destroy", "--name", "lab"]).code(0);
}

#[test]
fn a_daemon_that_cannot_be_talked_to_keeps_nothing_else_from_working() {
    let Some(sandbox) = Sandbox::new() else { return };
    let mut agent = sandbox.command(NETLOOM);
    agent.env("DOCKER_HOST", "tcp://10.0.0.1:2375").args(["agent", "--background"]);
    Ended::from(&agent.output().unwrap()).code(0);
    let topology =
        sandbox.topology("lab", "name: lab\ntopology: { nodes: { a: { kind: linux, runtime: namespace } } }");
    sandbox.netloom(&["deploy", "-t", &topology]).code(0);
    let docker = sandbox.topology("two", "name: two\ntopology: { nodes: { a: { kind: linux, image: bb } } }");
    let refused = sandbox.netloom(&["deploy", "-t", &docker]);
    assert_ne!(refused.code, 0);
    refused.says("DOCKER_HOST: Docker at `tcp://10.0.0.1:2375` is not supported");
    let ready: Value = serde_json::from_str(&sandbox.ask("GET /readyz").body).unwrap();
    let down = |capability: &Value| capability["name"] == "docker" && capability["status"] == "down";
    let docker = ready["capabilities"].as_array().unwrap().iter().find(|there| down(there)).unwrap();
    assert!(docker["reason"].as_str().unwrap().contains("DOCKER_HOST"), "{docker}");
    let metrics = sandbox.ask("GET /metrics").body;
    assert!(
        metrics.contains("netloom_docker_seconds_count{operation=\"listen to events\",status=\"unreachable\"}"),
        "{metrics}"
    );
    assert!(metrics.contains("netloom_bulkhead_limit{bulkhead=\"docker-work\"} 4"), "{metrics}");
    sandbox.netloom(&["image", "ls"]).code(0).says("DOCKER_HOST");
    sandbox.netloom(&["destroy", "--name", "lab"]).code(0);
}

#[test]
fn what_waits_for_a_daemon_that_is_silent_says_so_and_what_is_known_is_shown() {
    let Some(host) = Host::new() else { return };
    host.netloom(&["image", "load", &host.archive("bb:1")]).code(0);
    host.daemon.freeze();
    let mut remove = host.sandbox.command(NETLOOM);
    let mut remove = remove.args(["image", "rm", "bb:1"]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(remove.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.contains("waiting for Docker"), "{said}");
    assert_eq!(host.images(), ["bb:1"]);
    host.daemon.thaw();
    assert!(remove.wait().unwrap().success());
    assert!(host.images().is_empty());
}
