//! A session with a controller that lives in the test: connections are pipes and time is virtual, so that each test is a
//! matter of milliseconds and none of chance.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use netloom_engine::task;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::call::Caller;
use super::deliver::deliver;
use super::dial::{Dial, Stream};
use super::told::{Attributes, Carrier, CarrierChange, EventType, Message, NodeEvent};
use super::usage::ResourceUsage;
use super::*;

/// How the controller takes a request.
#[derive(Debug, Clone, PartialEq)]
enum Mood {
    /// As it should.
    Well,
    /// With this status and some JSON.
    Says(u16),
    /// With a page of something before it, with this status.
    Page(u16),
    /// It says nothing for ever.
    Silent,
    /// It closes in the middle of its answer.
    BreaksOff,
    /// Nobody listens.
    Away,
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    path: String,
    authorization: String,
    body: Value,
    at: Instant,
}

/// A controller. Clones are the same.
#[derive(Clone)]
struct Controller {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<usize>,
}

struct State {
    /// How it takes requests to each path, told by how the path ends.
    moods: Vec<(&'static str, Mood)>,
    assigns: &'static str,
    asked: Vec<Asked>,
    /// How many calls it has under way, and the most that it had.
    under_way: (usize, usize),
}

impl Controller {
    fn new() -> Self {
        let state = State { moods: Vec::new(), assigns: "b39a05df", asked: Vec::new(), under_way: (0, 0) };
        Self { state: Arc::new(Mutex::new(state)), changed: watch::Sender::new(0) }
    }

    fn is(&self, path: &'static str, mood: Mood) {
        let mut state = self.state.lock().unwrap();
        state.moods.retain(|(of, _)| *of != path);
        state.moods.push((path, mood));
    }

    fn mood(&self, path: &str) -> Mood {
        let state = self.state.lock().unwrap();
        let mood = state.moods.iter().find(|(of, _)| path.ends_with(of));
        mood.map_or(Mood::Well, |(_, mood)| mood.clone())
    }

    /// What was asked of a path, told by how it ends.
    fn asked(&self, path: &str) -> Vec<Asked> {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| asked.path.ends_with(path)).cloned().collect()
    }

    /// Waits until a path was asked so often.
    async fn until(&self, path: &str, times: usize) -> Vec<Asked> {
        let mut changed = self.changed.subscribe();
        let reached = changed.wait_for(|_| self.asked(path).len() >= times);
        let day = Duration::from_secs(24 * 3600);
        timeout(day, reached)
            .await
            .unwrap_or_else(|_| panic!("{path} was asked {} times", self.asked(path).len()))
            .unwrap();
        self.asked(path)
    }

    async fn serve(self, mut stream: DuplexStream) -> io::Result<()> {
        let mut read = Vec::new();
        let (head, length) = loop {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            let Some(end) = read.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let length: usize = header(&head, "content-length").parse().unwrap();
            if read.len() >= end + 4 + length {
                break (head, length);
            }
        };
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let body = serde_json::from_slice(&read[read.len() - length..]).unwrap();
        {
            let mut state = self.state.lock().unwrap();
            let authorization = header(&head, "authorization");
            state.asked.push(Asked { path: path.clone(), authorization, body, at: Instant::now() });
            state.under_way.0 += 1;
            state.under_way.1 = state.under_way.1.max(state.under_way.0);
        }
        self.changed.send_modify(|times| *times += 1);
        // As long as it takes to think.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let answer = match self.mood(&path) {
            Mood::Well => answer(200, "application/json", &self.says(&path).to_string()),
            Mood::Says(status) => answer(status, "application/json", r#"{"detail":"no"}"#),
            Mood::Page(status) => answer(status, "text/html; charset=utf-8", "<h1>Welcome to nginx</h1>"),
            Mood::BreaksOff => "HTTP/1.1 200 OK\r\ncontent-length: 80\r\n\r\n{\"success".to_owned(),
            Mood::Silent | Mood::Away => {
                // Until the agent hangs up.
                let _ = stream.read_buf(&mut read).await;
                String::new()
            }
        };
        self.state.lock().unwrap().under_way.0 -= 1;
        stream.write_all(answer.as_bytes()).await
    }

    fn says(&self, path: &str) -> Value {
        match path {
            _ if path.ends_with(REGISTER) => {
                let assigned_id = self.state.lock().unwrap().assigns;
                json!({ "success": true, "message": "Agent registered", "assigned_id": assigned_id })
            }
            _ if path.ends_with(BEAT) => json!({ "acknowledged": true, "pending_jobs": [] }),
            _ => json!({ "success": false, "message": "Lab not found (ignored)" }),
        }
    }
}

impl Dial for Controller {
    fn dial(&self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        async {
            if self.mood("anything") == Mood::Away {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(64 << 10);
            task::spawn("controller of the test", self.clone().serve(far));
            Ok(Box::new(near) as Box<dyn Stream>)
        }
        .boxed()
    }
}

fn header(head: &str, name: &str) -> String {
    let line = head.lines().find_map(|line| line.split_once(": ").filter(|(of, _)| of.eq_ignore_ascii_case(name)));
    line.map(|(_, value)| value.to_owned()).unwrap_or_default()
}

fn answer(status: u16, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} Some\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// An agent in a directory of its own.
struct Agent {
    member: Arc<Member>,
    caller: Caller,
    _state: TempDir,
}

impl Agent {
    fn of(controller: &Controller) -> Self {
        let config =
            ControllerConfig { url: "http://controller/api".parse().unwrap(), secret: "hush".parse().unwrap() };
        let caller = Caller::new(&config, Arc::new(controller.clone()));
        let introduction = Introduction { name: Some("rack1".into()), ..Introduction::default() };
        let state = TempDir::new().unwrap();
        let listens = "192.0.2.1:8001".parse().unwrap();
        let member = Member::with(&introduction, Some(caller.clone()), state.path(), listens, SystemTime::UNIX_EPOCH);
        Self { member: Arc::new(member.unwrap()), caller, _state: state }
    }

    /// Keeps it registered.
    fn runs(&self) {
        let load = || Load { active_jobs: 3, usage: ResourceUsage::default(), data_plane: None };
        let capabilities = Capabilities::of(&[netloom_engine::Source::Runtime(netloom_model::RuntimeKind::Docker)]);
        let session = Session::new(self.caller.clone(), self.member.clone(), capabilities, Box::new(load));
        task::spawn("session", session.run());
    }

    /// Sends what is put into its outbox.
    fn delivers(&self) {
        task::spawn("deliver", deliver(self.caller.clone(), self.member.clone()));
    }

    fn registrations(&self) -> u64 {
        self.member.counts.registrations.load(Ordering::Relaxed)
    }
}

const REGISTER: &str = "/agents/register";
const BEAT: &str = "/heartbeat";
const EVENT: &str = "/events/node";
const CARRIER: &str = "/callbacks/carrier-state";

#[tokio::test(start_paused = true)]
async fn it_registers_takes_the_id_that_it_is_given_and_beats_every_ten_seconds() {
    let controller = Controller::new();
    let agent = Agent::of(&controller);
    let first = agent.member.id();
    assert!(!agent.member.health().registered);
    agent.runs();
    let beats = controller.until(BEAT, 4).await;
    let registered = controller.asked(REGISTER);
    assert_eq!(registered.len(), 1);
    assert_eq!(
        (&registered[0].path, &registered[0].authorization),
        (&"/api/agents/register".into(), &"Bearer hush".into())
    );
    let mut body = registered[0].body.clone();
    assert!(["systemd", "docker", "unknown"].map(Value::from).contains(&body["agent"]["deployment_mode"].take()));
    let expected = json!({ "agent": {
        "agent_id": first.as_str(), "name": "rack1", "address": "192.0.2.1:8001",
        "capabilities": { "providers": ["docker"], "max_concurrent_jobs": 32, "features": ["console", "status", "vxlan"] },
        "version": env!("CARGO_PKG_VERSION"), "commit": body["agent"]["commit"],
        "started_at": "1970-01-01T00:00:00.000000+00:00", "is_local": false, "deployment_mode": null,
        "data_plane_ip": null, "docker_snapshotter_mode": null,
    }, "token": null });
    assert_eq!(body, expected);
    for (beat, next) in beats.iter().zip(&beats[1..]) {
        assert_eq!(next.at - beat.at, Duration::from_secs(10));
    }
    let Asked { path, authorization, body, .. } = &beats[0];
    assert_eq!((path.as_str(), authorization.as_str()), ("/api/agents/b39a05df/heartbeat", "Bearer hush"));
    assert_eq!(
        (&body["agent_id"], &body["status"], &body["active_jobs"]),
        (&json!("b39a05df"), &json!("online"), &json!(3))
    );
    assert_eq!(body["resource_usage"]["containers_total"], 0);
    let health = agent.member.health();
    assert_eq!((health.agent_id.as_str(), health.registered), ("b39a05df", true));
    assert!(agent.member.acknowledged_age().unwrap() <= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn only_a_controller_that_does_not_know_it_has_it_register_again() {
    let controller = Controller::new();
    let agent = Agent::of(&controller);
    agent.runs();
    let mut times = controller.until(BEAT, 1).await.len();
    let bad = [
        Mood::Says(500),
        Mood::Says(503),
        Mood::Says(403),
        Mood::Says(422),
        Mood::Says(302),
        Mood::Page(200),
        Mood::Page(404),
        Mood::Page(502),
        Mood::Silent,
        Mood::BreaksOff,
    ];
    for mood in bad {
        controller.is(BEAT, mood);
        times = controller.until(BEAT, times + 2).await.len();
    }
    controller.is("anything", Mood::Away);
    tokio::time::sleep(Duration::from_secs(600)).await;
    controller.is("anything", Mood::Well);
    controller.is(BEAT, Mood::Well);
    let beats = controller.until(BEAT, times + 2).await;
    assert_eq!((controller.asked(REGISTER).len(), agent.registrations()), (1, 1));
    let late = beats.windows(2).filter(|pair| pair[1].at - pair[0].at != Duration::from_secs(10)).count();
    assert_eq!(late, 1, "no beat waits for the one before; there was nobody once");
    assert!(agent.member.counts.beats_failed.load(Ordering::Relaxed) >= 80);
    controller.is(BEAT, Mood::Says(404));
    let again = controller.until(REGISTER, 2).await;
    assert_eq!(again[1].body["agent"]["agent_id"], "b39a05df");
    controller.is(BEAT, Mood::Well);
    controller.until(BEAT, beats.len() + 4).await;
    assert_eq!(controller.asked(REGISTER).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_never_knows_whom_it_took_is_not_overrun() {
    let controller = Controller::new();
    controller.is(BEAT, Mood::Says(404));
    Agent::of(&controller).runs();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let times = controller.asked(REGISTER).len();
    assert!((60..=150).contains(&times), "{times}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_away_or_refuses_at_the_start_is_tried_until_it_takes_the_agent() {
    let controller = Controller::new();
    let agent = Agent::of(&controller);
    controller.is("anything", Mood::Away);
    agent.runs();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(controller.asked("").is_empty());
    controller.is("anything", Mood::Well);
    for mood in [Mood::Says(403), Mood::Says(422), Mood::Page(200), Mood::Silent, Mood::BreaksOff] {
        controller.is(REGISTER, mood);
        controller.until(REGISTER, controller.asked(REGISTER).len() + 2).await;
        assert_eq!((controller.asked(BEAT).len(), agent.member.health().registered), (0, false));
    }
    let tries = controller.asked(REGISTER);
    let gaps = tries.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(gaps.clone().all(|gap| (30..=71).contains(&gap.as_secs())), "{:?}", gaps.collect::<Vec<_>>());
    controller.is(REGISTER, Mood::Well);
    controller.until(BEAT, 1).await;
    assert!(agent.member.health().registered);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_cannot_be_used_is_not_taken() {
    let controller = Controller::new();
    controller.state.lock().unwrap().assigns = "../evil";
    let agent = Agent::of(&controller);
    let first = agent.member.id();
    agent.runs();
    let beats = controller.until(BEAT, 1).await;
    assert_eq!(beats[0].path, format!("/api/agents/{first}/heartbeat"));
}

fn died(node: &str, code: i32) -> Message {
    Message::Node(NodeEvent {
        lab_id: "lab".parse().unwrap(),
        node_name: node.parse().unwrap(),
        container_id: Some("0123".into()),
        event_type: EventType::Died,
        timestamp: SystemTime::UNIX_EPOCH,
        status: format!("exited (code {code})"),
        attributes: Attributes {
            container_name: "archetype-lab-r1".into(),
            image: "alpine".into(),
            node_kind: "linux".into(),
            exit_code: Some(code),
        },
    })
}

fn off(node: &str) -> Message {
    let (lab_id, node, interface) = ("lab".parse().unwrap(), node.parse().unwrap(), "eth1".parse().unwrap());
    Message::Carrier(CarrierChange { lab_id, node, interface, carrier_state: Carrier::Off })
}

#[tokio::test(start_paused = true)]
async fn what_happened_is_told_once_the_agent_has_its_id() {
    let controller = Controller::new();
    let agent = Agent::of(&controller);
    agent.delivers();
    agent.member.outbox.put(died("r1", 1));
    agent.member.outbox.put(off("r1"));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(controller.asked("").is_empty());
    agent.runs();
    let (events, carriers) = (controller.until(EVENT, 1).await, controller.until(CARRIER, 1).await);
    let expected = json!({
        "agent_id": "b39a05df", "lab_id": "lab", "node_name": "r1", "container_id": "0123", "event_type": "died",
        "timestamp": "1970-01-01T00:00:00.000000+00:00", "status": "exited (code 1)",
        "attributes": { "container_name": "archetype-lab-r1", "image": "alpine", "node_kind": "linux", "exit_code": 1 },
    });
    assert_eq!((&events[0].body, &events[0].authorization), (&expected, &"Bearer hush".into()));
    let expected = json!({ "lab_id": "lab", "node": "r1", "interface": "eth1", "carrier_state": "off" });
    assert_eq!((&carriers[0].body, &carriers[0].authorization), (&expected, &"Bearer hush".into()));
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(
        (controller.asked(EVENT).len(), controller.asked(CARRIER).len()),
        (1, 1),
        "that it has no lab is its affair"
    );
    assert_eq!(agent.member.outbox.counts.sent.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn of_what_was_removed_here_alone_only_its_end_is_not_told() {
    let agent = Agent::of(&Controller::new());
    let stopped = |node: &str| match died(node, 0) {
        Message::Node(event) => Message::Node(NodeEvent { event_type: EventType::Stopped, ..event }),
        other @ Message::Carrier(_) => other,
    };
    let leave_untold = || agent.member.leave_untold(&"lab".parse().unwrap(), ["r1".parse().unwrap()]);
    let untold = |message: Message| agent.member.is_untold(&message);
    leave_untold();
    assert_eq!([stopped("r2"), off("r1"), stopped("r1"), stopped("r1")].map(untold), [false, false, true, false]);
    leave_untold();
    assert_eq!([died("r1", 1), stopped("r1")].map(untold), [false, false], "it was there again");
    leave_untold();
    tokio::time::sleep(Duration::from_secs(121)).await;
    assert!(!untold(stopped("r1")));
}

#[tokio::test(start_paused = true)]
async fn an_answer_waits_for_its_events_but_for_none_that_fail_and_never_for_long() {
    let controller = Controller::new();
    let agent = Agent::of(&controller);
    let (_reporter, inventory, _writer) = netloom_engine::channel();
    let lab = "lab".parse().unwrap();
    let waits = async || {
        let began = Instant::now();
        agent.member.has_told(&lab, &inventory).await;
        began.elapsed()
    };
    agent.member.outbox.put(died("r1", 1));
    assert_eq!(waits().await, Duration::ZERO, "no controller knows the agent");
    agent.runs();
    agent.delivers();
    let _ = agent.member.registered.subscribe().wait_for(|registered| *registered).await;
    waits().await;
    assert_eq!((controller.asked(EVENT).len(), agent.member.outbox.waiting()), (1, 0));

    controller.is(EVENT, Mood::Silent);
    agent.member.outbox.put(died("r1", 2));
    assert_eq!(waits().await, Duration::from_secs(1));
    controller.is(EVENT, Mood::Says(500));
    controller.until(EVENT, 4).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!((agent.member.outbox.waiting(), waits().await), (1, Duration::ZERO), "it takes no events");
}

#[tokio::test(start_paused = true)]
async fn events_are_tried_until_they_arrive_and_only_the_newest_of_a_node() {
    let controller = Controller::new();
    let agent = Agent::of(&controller);
    agent.runs();
    agent.delivers();
    agent.member.outbox.put(died("r1", 1));
    for mood in [Mood::Says(500), Mood::Says(403), Mood::Page(200), Mood::Silent, Mood::BreaksOff] {
        controller.is(EVENT, mood);
        controller.until(EVENT, controller.asked(EVENT).len() + 2).await;
    }
    agent.member.outbox.put(died("r1", 2));
    let before = controller.asked(EVENT).len();
    controller.is(EVENT, Mood::Well);
    let arrived = controller.until(EVENT, before + 1).await;
    assert_eq!(arrived.last().unwrap().body["status"], "exited (code 2)");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((controller.asked(EVENT).len(), agent.member.outbox.waiting()), (before + 1, 0));
    assert_eq!(controller.asked(REGISTER).len(), 1);
    // A request that is not taken is not sent again, and holds up nobody.
    controller.is(EVENT, Mood::Says(422));
    agent.member.outbox.put(died("r2", 1));
    controller.until(EVENT, before + 2).await;
    agent.member.outbox.put(off("r2"));
    controller.until(CARRIER, 1).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(controller.asked(EVENT).len(), before + 2);
    let letters = serde_json::to_value(agent.member.dead_letters()).unwrap();
    assert_eq!(letters["dead_letters"][0]["job_id"], "lab/r2");
}

#[tokio::test(start_paused = true)]
async fn many_events_are_few_calls_at_once_and_one_while_they_do_not_arrive() {
    let controller = Controller::new();
    let agent = Agent::of(&controller);
    agent.runs();
    controller.until(BEAT, 1).await;
    agent.delivers();
    let put = || (0..40).for_each(|node| agent.member.outbox.put(died(&format!("r{node}"), 1)));
    put();
    controller.until(EVENT, 40).await;
    let most = std::mem::take(&mut controller.state.lock().unwrap().under_way.1);
    assert!((2..=5).contains(&most), "{most}, with a beat");
    controller.is(EVENT, Mood::Says(503));
    put();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let tries = controller.asked(EVENT).len() - 40;
    assert!((10..=40).contains(&tries), "{tries}");
    controller.is(EVENT, Mood::Well);
    controller.until(EVENT, 80 + tries).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((controller.asked(EVENT).len(), agent.member.outbox.waiting()), (80 + tries, 0));
}
