//! An agent and the controller that it belongs to, which is played by the test: it answers on the loopback of the sandbox.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use netloom_kernel::Netns;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::console::{Console, run};
use crate::sandbox::{PATIENCE, Sandbox, example};

const SECRET: &str = "hush-hush-hush";
const AGENT: &str = "127.0.0.1:8001";

/// A controller; it goes with the test's process.
struct Controller {
    at: SocketAddr,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Path, `Authorization` and body of each request.
    asked: Vec<(String, String, Value)>,
    /// What heartbeats are answered with; 0 is 200.
    beats: u16,
    /// What it says of the transport of the agent; it refuses to say anything if that is nothing.
    transport: Option<Value>,
    /// How the agent answered while it was being registered.
    meanwhile: Vec<String>,
}

impl Controller {
    fn start(host: &Netns) -> Self {
        Self::listen(host, "127.0.0.1:0")
    }

    fn listen(host: &Netns, address: &str) -> Self {
        let listener = host.run(|| TcpListener::bind(address).unwrap()).unwrap();
        let (at, told) = (listener.local_addr().unwrap(), Arc::new(Told::default()));
        let (shared, host) = (told.clone(), host.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, host) = (shared.clone(), host.clone());
                std::thread::spawn(move || answer(stream, &shared, &host));
            }
        });
        Self { at, told }
    }

    fn answers_beats_with(&self, status: u16) {
        self.told.state.lock().unwrap().beats = status;
    }

    /// Waits until a path was asked so often; gives the bodies.
    #[track_caller]
    fn until(&self, path: &str, times: usize) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE * 2;
        let mut state = self.told.state.lock().unwrap();
        loop {
            let asked = state.asked.iter().filter(|(of, ..)| of == path);
            let bodies: Vec<Value> = asked.map(|(_, _, body)| body.clone()).collect();
            if bodies.len() >= times {
                return bodies;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{path} was asked {} times: {:?}", bodies.len(), state.asked);
            state = self.told.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn times(&self, path: &str) -> usize {
        self.told.state.lock().unwrap().asked.iter().filter(|(of, ..)| of == path).count()
    }
}

fn answer(mut stream: TcpStream, told: &Told, host: &Netns) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut authorization, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => value.clone_into(&mut authorization),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    // What a controller does as soon as it has an agent, before the agent has its answer.
    let meanwhile =
        (path == REGISTER).then(|| host.run(|| ask("/info")).unwrap().unwrap_or_else(|error| error.to_string()));
    let (beats, transport) = {
        let mut state = told.state.lock().unwrap();
        state.asked.push((path.clone(), authorization, serde_json::from_slice(&body).unwrap_or_default()));
        state.meanwhile.extend(meanwhile);
        (state.beats, state.transport.clone())
    };
    told.changed.notify_all();
    let (status, body) = match path.as_str() {
        REGISTER => (200, json!({ "success": true, "message": "Agent registered", "assigned_id": "b39a05df" })),
        TRANSPORT => transport.map_or((401, json!({ "detail": "Could not validate credentials" })), |said| (200, said)),
        _ if beats != 0 => (beats, json!({ "detail": "Agent not registered" })),
        _ => (200, json!({ "acknowledged": true, "pending_jobs": [] })),
    };
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status} Some\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What the agent answers on its TCP address, whole.
fn ask(path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(AGENT)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

const REGISTER: &str = "/agents/register";
const BEAT: &str = "/agents/b39a05df/heartbeat";
const TRANSPORT: &str = "/infrastructure/agents/b39a05df/transport-config";

fn health(host: &Sandbox) -> Value {
    let answer = host.netns().run(|| ask("/health")).unwrap().unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn log(host: &Sandbox) -> String {
    fs::read_to_string(host.root.path().join("var/lib/netloom/agent.log")).unwrap()
}

#[test]
fn an_agent_belongs_to_its_controller_and_registers_again_only_when_that_does_not_know_it() {
    let Some(mut host) = Sandbox::new() else { return };
    let controller = Controller::start(&host.netns());
    host.environment.push(("NETLOOM_CONTROLLER", format!("http://{}", controller.at)));
    host.environment.push(("NETLOOM_SECRET", SECRET.to_owned()));
    host.environment.push(("NETLOOM_AGENT_NAME", "rack1".to_owned()));
    host.netloom(&["agent", "--background"]).code(0);
    let registered = controller.until(REGISTER, 1);
    let agent = &registered[0]["agent"];
    assert_eq!(
        (&agent["name"], &agent["address"], &agent["is_local"]),
        (&json!("rack1"), &json!(AGENT), &json!(false))
    );
    assert_eq!(agent["capabilities"]["providers"], json!(["docker"]));
    let first = agent["agent_id"].as_str().unwrap().to_owned();
    assert_eq!(first.len(), 8);

    let beats = controller.until(BEAT, 2);
    assert_eq!((&beats[0]["status"], &beats[0]["agent_id"]), (&json!("online"), &json!("b39a05df")));
    assert!(beats[1]["resource_usage"]["memory_total_gb"].as_f64().unwrap() > 0.0, "{}", beats[1]);
    let health = health(&host);
    let said = (&health["status"], &health["agent_id"], &health["registered"]);
    assert_eq!(said, (&json!("ok"), &json!("b39a05df"), &json!(true)));
    let metrics = host.ask("GET /metrics").body;
    assert!(metrics.contains("netloom_controller_registrations_total 1\n"), "{metrics}");
    {
        let state = controller.told.state.lock().unwrap();
        assert!(state.asked.iter().all(|(_, authorization, _)| *authorization == format!("Bearer {SECRET}")));
        assert!(state.meanwhile[0].starts_with("HTTP/1.0 "), "it listens before it registers: {:?}", state.meanwhile);
    }

    controller.answers_beats_with(500);
    controller.until(BEAT, controller.times(BEAT) + 2);
    assert_eq!(controller.times(REGISTER), 1);
    controller.answers_beats_with(404);
    let again = controller.until(REGISTER, 2);
    assert_eq!(again[1]["agent"]["agent_id"], "b39a05df");
    assert_eq!(again[1]["agent"]["started_at"], agent["started_at"]);

    controller.answers_beats_with(0);
    let kept = host.root.path().join("var/lib/netloom/agent-id");
    host.until("the id is kept", |_| fs::read_to_string(&kept).unwrap().contains("\"id\":\"b39a05df\""));
    host.kill_agent();
    let before = controller.times(REGISTER);
    host.netloom(&["agent", "--background"]).code(0);
    let restarted = controller.until(REGISTER, before + 1).pop().unwrap();
    assert_eq!(restarted["agent"]["agent_id"], "b39a05df");
    assert!(restarted["agent"]["started_at"].as_str() > agent["started_at"].as_str());
    controller.until(BEAT, controller.times(BEAT) + 1);
    host.netloom(&["agent", "stop"]).code(0);
    let log = log(&host);
    assert_eq!(log.matches("does not answer as it should").count(), 1, "{log}");
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn a_controller_that_is_away_keeps_nobody_from_working() {
    let Some(mut host) = Sandbox::new() else { return };
    host.environment.push(("NETLOOM_CONTROLLER", "http://127.0.0.1:1".to_owned()));
    host.environment.push(("NETLOOM_SECRET", SECRET.to_owned()));
    host.environment.push(("NETLOOM_AGENT_ID", "rack1".to_owned()));
    host.netloom(&["agent", "--background"]).code(0);
    host.netloom(&["deploy", "-t", example("minimal").to_str().unwrap()]).code(0);
    let health = health(&host);
    assert_eq!((&health["agent_id"], &health["registered"]), (&json!("rack1"), &json!(false)));
    host.until("it is said", |host| log(host).contains("does not answer as it should"));
    host.netloom(&["destroy", "--all"]).code(0);
    host.netloom(&["agent", "stop"]).code(0);
}

#[test]
fn a_controller_without_a_secret_is_wrong_input() {
    let Some(mut host) = Sandbox::new() else { return };
    host.environment.push(("NETLOOM_CONTROLLER", "http://127.0.0.1:1".to_owned()));
    host.netloom(&["agent"]).code(2).says("`secret` is not");
}

#[test]
fn the_controller_is_asked_for_the_transport_once_and_told_the_address_that_came_of_it() {
    let Some(mut host) = Sandbox::new() else { return };
    let controller = Controller::start(&host.netns());
    host.environment.push(("NETLOOM_CONTROLLER", format!("http://{}", controller.at)));
    host.environment.push(("NETLOOM_SECRET", SECRET.to_owned()));
    host.sh("ip link add d0 type veth peer d1 && ip link set d1 up").code(0);
    // It refuses, and that is all right.
    host.netloom(&["agent", "--background"]).code(0);
    controller.until(TRANSPORT, 1);
    let beats = controller.until(BEAT, 2);
    assert_eq!((controller.times(TRANSPORT), &beats[1]["data_plane_ip"]), (1, &Value::Null));
    assert!(!host.ask("GET /operations").body.contains("transport"));
    assert!(!log(&host).contains("transport"), "{}", log(&host));
    host.netloom(&["agent", "stop"]).code(0);

    controller.told.state.lock().unwrap().transport = Some(json!({ "transport_mode": "dedicated",
        "parent_interface": null, "vlan_id": null, "transport_ip": "10.100.0.5/24", "desired_mtu": 9000,
        "data_plane_interface": "d0" }));
    host.netloom(&["agent", "--background"]).code(0);
    host.until("it is made", |host| host.sh("ip addr show d0").out.contains("10.100.0.5/24"));
    let told = |beats: &[Value]| beats.last().is_some_and(|beat| beat["data_plane_ip"] == "10.100.0.5");
    host.until("it is told", |_| told(&controller.until(BEAT, 1)));
    host.sh("ip link show d0").says("mtu 9000");
    host.netloom(&["agent", "stop"]).code(0);
}

#[test]
fn an_agent_whose_address_becomes_another_one_registers_again_and_only_then() {
    let Some(mut host) = Sandbox::new() else { return };
    let controller = Controller::start(&host.netns());
    host.environment.push(("NETLOOM_CONTROLLER", format!("http://{}", controller.at)));
    host.environment.push(("NETLOOM_SECRET", SECRET.to_owned()));
    host.environment.push(("NETLOOM_LISTEN", "0.0.0.0:8001".to_owned()));
    host.environment.push(("NETLOOM_AGENT_NAME", "rack1".to_owned()));
    host.sh("ip link add m0 type veth peer m1 && ip link set m0 up && ip link set m1 up").code(0);
    host.netloom(&["agent", "--background"]).code(0);
    let first = controller.until(REGISTER, 1);
    assert_eq!(first[0]["agent"]["address"], "rack1:8001");
    controller.until(BEAT, 1);
    host.sh("ip addr add 192.0.2.7/24 dev m0 && ip route add default via 192.0.2.1").code(0);
    assert_eq!(controller.until(REGISTER, 2)[1]["agent"]["address"], "192.0.2.7:8001");
    // Routes change, and the address does not.
    host.sh("ip route add 198.51.100.0/24 via 192.0.2.2 && ip route replace default via 192.0.2.3").code(0);
    controller.until(BEAT, controller.times(BEAT) + 1);
    assert_eq!(controller.times(REGISTER), 2);
    host.netloom(&["agent", "stop"]).code(0);
}

/// Whether a console is opened from there without a word of who opens it.
fn opens(from: &Netns) -> bool {
    let mut is_open = None;
    run(async {
        is_open = match Console::open_from(from, "192.0.2.1:8001", "x/r", None).await {
            Ok(_) => Some(true),
            Err(Error::Http(refused)) if refused.status() == 403 => Some(false),
            Err(error) => panic!("{error}"),
        };
    });
    is_open.unwrap()
}

#[test]
fn a_controller_that_is_known_by_its_name_opens_consoles_without_the_secret_and_nobody_else_does() {
    let (Some(mut host), Some(there), Some(other)) = (Sandbox::new(), Sandbox::new(), Sandbox::new()) else { return };
    for (name, of, address) in [("c0", &there, "192.0.2.2"), ("c1", &other, "192.0.2.3")] {
        host.join(of, name);
        of.sh(&format!("ip addr add {address}/24 dev {name} && ip link set {name} up")).code(0);
    }
    let switch = "ip link add br0 type bridge && ip addr add 192.0.2.1/24 dev br0 && ip link set br0 up &&
                  for port in c0 c1; do ip link set $port master br0 up; done";
    host.sh(switch).code(0);
    let hosts = host.labs.path().join("hosts");
    let name = |text: &str| fs::write(&hosts, format!("127.0.0.1 localhost\n{text}\n")).unwrap();
    name("192.0.2.2 controller.test");
    host.sh(&format!("mount --bind {} /etc/hosts", hosts.display())).code(0);
    let (first, second) = (there.netns(), other.netns());
    let controller = Controller::listen(&first, "0.0.0.0:8000");
    host.environment.push(("NETLOOM_CONTROLLER", "http://controller.test:8000".to_owned()));
    host.environment.push(("NETLOOM_SECRET", SECRET.to_owned()));
    host.environment.push(("NETLOOM_LISTEN", "0.0.0.0:8001".to_owned()));
    host.netloom(&["agent", "--background"]).code(0);
    let lab = "name: x\ntopology:\n  nodes:\n    r: { kind: linux, runtime: namespace }\n";
    let file = host.topology("x", lab);
    host.netloom(&["deploy", "-t", &file]).code(0);
    controller.until(BEAT, 1);
    assert_eq!((opens(&first), opens(&second), opens(&host.netns())), (true, false, false));

    // It has moved, and has forgotten its agents.
    name("192.0.2.3 controller.test");
    let moved = Controller::listen(&second, "0.0.0.0:8000");
    controller.answers_beats_with(404);
    moved.until(BEAT, 1);
    assert_eq!((opens(&first), opens(&second)), (false, true));

    // The name is lost. The controller is still reached where it was, and nobody goes by its name any more.
    name("");
    moved.answers_beats_with(404);
    moved.until(REGISTER, moved.times(REGISTER) + 1);
    moved.answers_beats_with(0);
    host.until("it is seen", |_| log(&host).contains("leads nowhere"));
    moved.until(BEAT, moved.times(BEAT) + 1);
    assert_eq!((opens(&first), opens(&second)), (false, false));
    name("192.0.2.3 controller.test");
    host.until("the name is known again", |_| opens(&second));
    assert!(!opens(&first));
    host.netloom(&["destroy", "--all"]).code(0);
    host.netloom(&["agent", "stop"]).code(0);
}
