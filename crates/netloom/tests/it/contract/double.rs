//! The side of the controller that agents call: it answers as the real one does, checks whom it hears and what is said, and
//! notes all of it in order.
//!
//! ```text
//!   agent ──▶ thread `controller` (accepts, reads) ──▶ a thread per request ──▶ State ◀── condvar ── the test waits
//!                                                       └── calls back into agents where the real one does
//! ```

mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use netloom_kernel::Netns;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::client::{Client, Request};
use super::schemas::{self, SENT};
use crate::sandbox::PATIENCE;

/// What the agent and its controller share.
pub(crate) const SECRET: &str = "s3cret-of-both";

/// Something that an agent has sent.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

impl Call {
    pub(crate) fn is_register(&self) -> bool {
        self.path == "/agents/register"
    }

    pub(crate) fn is_heartbeat(&self) -> bool {
        self.path.ends_with("/heartbeat")
    }

    pub(crate) fn is_carrier(&self) -> bool {
        self.path == "/callbacks/carrier-state"
    }

    /// Whether it says this of a node, alone or among others.
    pub(crate) fn tells(&self, lab: &str, node: &str, event: &str) -> bool {
        self.events().any(|told| told["lab_id"] == lab && told["node_name"] == node && told["event_type"] == event)
    }

    /// The events that it tells of.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Value> {
        let events = match (self.path.as_str(), &self.body) {
            ("/events/node", event) => std::slice::from_ref(event),
            ("/events/batch", Value::Array(events)) => events,
            _ => &[],
        };
        events.iter()
    }
}

/// How the controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mood {
    #[default]
    Well,
    /// It answers 500 to everything.
    Failing,
}

/// The controller; it ends with this. Where a body or a bearer was not as it should be the test fails then.
pub(crate) struct Controller {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Its end ends the thread.
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    netns: Netns,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    calls: Vec<Call>,
    complaints: Vec<String>,
    mood: Mood,
    /// By the names of agents, the ids that they get.
    assigned: BTreeMap<String, String>,
    /// Agents that are registered, by id.
    agents: BTreeMap<String, Client>,
    /// What follows a registration, if it is something else than of an agent without labs.
    follows: BTreeMap<String, Vec<(String, Value)>>,
    /// What each end of a link is joined to, and where that is.
    peers: BTreeMap<(String, String, String), (String, String, String)>,
    /// Archives by the ids of images.
    library: BTreeMap<String, Vec<u8>>,
}

impl Controller {
    /// One that listens there in a network.
    pub(crate) fn listen(netns: Netns, address: SocketAddr) -> Self {
        let listener = netns.run(|| TcpListener::bind(address)).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { netns, state: Mutex::default(), news: Condvar::new() });
        let (stop, stopped) = mpsc::channel(1);
        let door = shared.clone();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, serve(listener, door, stopped));
        };
        let thread = thread::Builder::new().name("controller".to_owned()).spawn(serve).unwrap();
        Self { shared, address, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id that an agent of this name gets, in place of its own.
    pub(crate) fn assign(&self, name: &str, id: &str) {
        self.state().assigned.insert(name.to_owned(), id.to_owned());
    }

    pub(crate) fn feel(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// As if the record of all agents were lost: heartbeats are answered with 404.
    pub(crate) fn forget(&self) {
        self.state().agents.clear();
    }

    /// What the controller asks when this agent registers again, which it does for an agent with labs: `METHOD path` and body.
    pub(crate) fn follow(&self, id: &str, calls: &[(&str, Value)]) {
        let calls = calls.iter().map(|(call, body)| ((*call).to_owned(), body.clone())).collect();
        self.state().follows.insert(id.to_owned(), calls);
    }

    /// It knows a link: carrier that goes at one end is told to the agent of the other.
    pub(crate) fn knows_link(&self, lab: &str, ends: [(&str, &str, &str); 2]) {
        let mut state = self.state();
        for (near, far) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let key = (lab.to_owned(), near.1.to_owned(), near.2.to_owned());
            state.peers.insert(key, (far.0.to_owned(), far.1.to_owned(), far.2.to_owned()));
        }
    }

    /// It has an image in its library.
    pub(crate) fn has_image(&self, id: &str, archive: Vec<u8>) {
        self.state().library.insert(id.to_owned(), archive);
    }

    /// How much was heard so far.
    pub(crate) fn mark(&self) -> usize {
        self.state().calls.len()
    }

    /// All that was heard since.
    pub(crate) fn since(&self, mark: usize) -> Vec<Call> {
        self.state().calls[mark..].to_vec()
    }

    /// The first such call since, which is waited for.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, mark: usize, so: impl Fn(&Call) -> bool) -> Call {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state();
        loop {
            if let Some(call) = state.calls[mark..].iter().find(|call| so(call)) {
                return call.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "never heard: {what}\nbut {:#?}\n{:#?}", &state.calls[mark..], state.complaints);
            let waited = self.shared.news.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// An agent, as soon as it has registered and beaten once.
    #[track_caller]
    pub(crate) fn agent(&self, id: &str) -> Client {
        let path = format!("/agents/{id}/heartbeat");
        self.wait("a heartbeat", 0, |call| call.path == path);
        self.state().agents[id].clone()
    }

    /// What was wrong with what was heard; it is forgotten with this.
    pub(crate) fn complaints(&self) -> Vec<String> {
        std::mem::take(&mut self.state().complaints)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if !thread::panicking() {
            assert_eq!(self.complaints(), [""; 0]);
        }
    }
}

/// An answer: its status, and its body.
type Reply = (u16, Vec<u8>);

fn says(status: u16, body: &Value) -> Reply {
    (status, body.to_string().into_bytes())
}

/// A request as it was read.
struct Heard {
    method: String,
    path: String,
    authorization: Option<String>,
    body: Bytes,
}

async fn serve(listener: TcpListener, shared: Arc<Shared>, mut stopped: mpsc::Receiver<()>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            _ = stopped.recv() => return,
        };
        let Ok((stream, _)) = stream else { continue };
        let shared = shared.clone();
        let service = service_fn(move |request| hear(shared.clone(), request));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::task::spawn_local(async { drop(connection.await) });
    }
}

async fn hear(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let authorization = head.headers.get("authorization").map(|value| value.to_str().unwrap_or_default().to_owned());
    let path = head.uri.path_and_query().map_or_else(String::new, |path| path.as_str().to_owned());
    let body = body.collect().await?.to_bytes();
    let heard = Heard { method: head.method.to_string(), path, authorization, body };
    let (reply, replied) = oneshot::channel();
    let line = format!("{} {}", heard.method, heard.path);
    let answering = shared.clone();
    // It may call agents, which takes its time.
    thread::spawn(move || drop(reply.send(answering.answer(&heard))));
    let (status, body) = replied.await.unwrap_or_else(|_| {
        shared.complain(format!("what follows {line} went wrong, see above"));
        (500, Vec::new())
    });
    let answer = hyper::Response::builder().status(status).header("content-type", "application/json");
    Ok::<_, Infallible>(answer.body(Full::from(body)).unwrap()).map_err(|never| match never {})
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, what: String) {
        self.state().complaints.push(what);
        self.news.notify_all();
    }

    fn answer(self: &Arc<Self>, heard: &Heard) -> Reply {
        let (method, path) = (heard.method.as_str(), heard.path.as_str());
        if let Some(refusal) = self.refusal(heard) {
            return refusal;
        }
        if method == "GET" {
            return self.give(path);
        }
        let body: Value = match serde_json::from_slice(&heard.body) {
            Ok(body) => body,
            Err(error) => {
                self.complain(format!("{method} {path}: {error}"));
                return says(422, &json!({ "detail": [] }));
            }
        };
        let Some(route) = SENT.route(method, path) else {
            self.complain(format!("{method} {path} is nothing that the controller is asked"));
            return says(404, &json!({ "detail": "Not Found" }));
        };
        let wrong = SENT.mistakes(&format!("{method} {route}"), &body);
        if !wrong.is_empty() {
            self.complain(format!("{method} {path}: {}\n{body:#}", wrong.join("\n")));
        }
        if self.state().mood == Mood::Failing {
            self.note(heard, &body);
            return says(500, &json!({ "detail": "Internal Server Error" }));
        }
        let reply = match route {
            "/agents/register" => self.register(&body),
            "/agents/{agent}/heartbeat" => self.heartbeat(path),
            "/callbacks/carrier-state" => self.carrier(&body),
            _ => says(200, &json!({ "success": true, "message": "noted" })),
        };
        self.note(heard, &body);
        reply
    }

    fn note(&self, heard: &Heard, body: &Value) {
        let call = Call { path: heard.path.clone(), body: body.clone(), at: Instant::now() };
        self.state().calls.push(call);
        self.news.notify_all();
    }

    /// Who does not say the secret hears nothing else.
    fn refusal(&self, heard: &Heard) -> Option<Reply> {
        let detail = match heard.authorization.as_deref().map(|value| value.strip_prefix("Bearer ")) {
            Some(Some(SECRET)) => return None,
            Some(Some(_)) => "Invalid agent authorization",
            Some(None) | None => "Missing agent authorization",
        };
        self.complain(format!("{} {}: {detail}", heard.method, heard.path));
        Some(says(403, &json!({ "detail": detail })))
    }

    fn give(&self, path: &str) -> Reply {
        if path.starts_with("/infrastructure/agents/") && path.ends_with("/transport-config") {
            return says(401, &json!({ "detail": "Could not validate credentials" }));
        }
        let image = path.strip_prefix("/images/library/").and_then(|rest| rest.strip_suffix("/stream"));
        let archive = image.and_then(|image| self.state().library.get(&decoded(image)).cloned());
        match archive {
            Some(archive) => (200, archive),
            None => says(404, &json!({ "detail": "Not Found" })),
        }
    }

    /// Asks an agent for its images. One that does not know them yet says so.
    fn lists_images(&self, agent: &Client) {
        let authorization = Some(format!("Bearer {SECRET}"));
        let request = Request { method: "GET", path: "/images", authorization, ..Request::default() };
        // An agent may be killed meanwhile.
        let Ok(answer) = agent.exchange(&request, Duration::from_secs(30)) else { return };
        let wrong = schemas::mistakes("GET", "/images", answer.status, &answer.json());
        if ![200, 503].contains(&answer.status) || !wrong.is_empty() {
            self.complain(format!("GET /images answered {}: {}", answer.status, wrong.join("\n")));
        }
    }

    fn register(self: &Arc<Self>, body: &Value) -> Reply {
        let agent = &body["agent"];
        let Some(address) = agent["address"].as_str().and_then(|address| address.parse().ok()) else {
            return says(422, &json!({ "detail": [] }));
        };
        let (own, name) = (agent["agent_id"].as_str().unwrap_or_default(), agent["name"].as_str().unwrap_or_default());
        let client = Client::new(self.netns.clone(), address, SECRET);
        let (id, known, follows) = {
            let mut state = self.state();
            let id = state.assigned.get(name).cloned().unwrap_or_else(|| own.to_owned());
            let known = state.agents.insert(id.clone(), client.clone()).is_some();
            let follows = state.follows.get(&id).cloned();
            (id, known, follows)
        };
        // The real one asks a millisecond after its answer. Here it is before, which is as late for whom does not serve yet. Its list
        // of images nothing waits for.
        let (shared, asked) = (self.clone(), client.clone());
        thread::spawn(move || shared.lists_images(&asked));
        let nothing =
            || vec![("POST /overlay/declare-state".to_owned(), json!({ "tunnels": [], "declared_labs": [] }))];
        for (call, body) in follows.unwrap_or_else(nothing) {
            let (method, path) = call.split_once(' ').unwrap();
            let (status, answer) = client.send(method, path, (!body.is_null()).then_some(&body));
            assert_eq!(status, 200, "{call} answered {answer}");
        }
        let message = if known { "Agent re-registered" } else { "Agent registered" };
        says(200, &json!({ "success": true, "message": message, "assigned_id": id }))
    }

    fn heartbeat(&self, path: &str) -> Reply {
        let id = path.trim_start_matches("/agents/").trim_end_matches("/heartbeat");
        if self.state().agents.contains_key(id) {
            return says(200, &json!({ "acknowledged": true, "pending_jobs": [] }));
        }
        says(404, &json!({ "detail": "Agent not registered" }))
    }

    /// Within the request the agent of the other end is told.
    fn carrier(&self, body: &Value) -> Reply {
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        let peer = self.state().peers.get(&(text("lab_id"), text("node"), text("interface"))).cloned();
        let Some((agent, node, interface)) = peer else {
            return says(200, &json!({ "success": false, "message": "Link not found" }));
        };
        let client = self.state().agents[&agent].clone();
        let path = format!("/labs/{}/interfaces/{node}/{interface}/carrier", text("lab_id"));
        let told = client.post(&path, &json!({ "state": body["carrier_state"] }));
        assert_eq!(told["success"], true, "{told}");
        says(200, &json!({ "success": true, "message": "Carrier state updated" }))
    }
}

/// Without percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code =
            (*first == b'%').then(|| u8::from_str_radix(std::str::from_utf8(after.get(..2)?).ok()?, 16).ok()).flatten();
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// A reference or an id as one segment of a path.
pub(crate) fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// How long a heartbeat may come after the one before.
pub(crate) const BEAT: Duration = Duration::from_secs(10);
