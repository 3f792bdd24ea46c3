//! What an agent tells the controller that it belongs to, on a fake world.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use netloom_agent::{ControllerConfig, Listeners};
use netloom_engine::testing::{FakeStore, Sketch, World};
use netloom_engine::{Config, Engine, Parts, Store as _, Write, channel, task};
use netloom_plan::NodeState;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bench::{config, within};

/// What was told.
#[derive(Default)]
struct Told {
    events: Mutex<Vec<Value>>,
    came: Notify,
}

async fn note(State(told): State<Arc<Told>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    if path == "/events/node" {
        told.events.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
        told.came.notify_one();
    }
    let said = json!({ "success": true, "message": "", "assigned_id": "b39a05df", "acknowledged": true });
    said.to_string().into_response()
}

#[tokio::test]
async fn what_becomes_of_a_node_of_a_controllers_lab_is_told() {
    let told = Arc::new(Told::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/{*path}", post(note)).with_state(told.clone());
    task::spawn("controller", async move { serve_all(listener, router).await });

    let (_root, mut config) = config();
    config.controller = Some(ControllerConfig { url: url.parse().unwrap(), secret: "hush".parse().unwrap() });
    let store = FakeStore::default();
    let lab = Sketch::pair("pair").runs("r1", &["sleep", "infinity"]).lab();
    let wish = json!({
        "lab": &*lab, "authority": { "controller": "c" }, "phase": "run", "generation": 1, "rebuild": 0,
        "created": humantime::format_rfc3339(SystemTime::now()).to_string(),
    });
    let key = "labs/pair".to_owned();
    store.write(vec![Write::Put { key, value: serde_json::to_vec(&wish).unwrap() }]).await.unwrap();
    let layout = config.layout.clone();
    let listeners = Listeners::bind(config).await.unwrap();
    let (reporter, inventory, writer) = channel();
    let world = World::new(reporter);
    let config = Config { relist: Duration::from_millis(200), ..Config::default() };
    let parts = Parts { config, ..world.parts(layout, &store, inventory, writer) };
    let engine = Engine::start(parts).await.unwrap();
    let shutdown = CancellationToken::new();
    let served = task::spawn("serve", listeners.serve(engine.clone(), shutdown.clone()));

    // What has run before the agent first looked is told to nobody: it ends once more.
    let event = within(async {
        loop {
            runs(&engine).await;
            world.exit("pair", "r1", 3, "");
            let _ = timeout(Duration::from_secs(2), told.came.notified()).await;
            let events = told.events.lock().unwrap();
            if let Some(event) = events.iter().find(|event| event["event_type"] == "died") {
                return event.clone();
            }
        }
    });
    let event = event.await;
    let said = ["agent_id", "lab_id", "node_name", "status"].map(|key| event[key].as_str().unwrap());
    assert_eq!(said, ["b39a05df", "pair", "r1", "exited (code 3)"]);
    shutdown.cancel();
    within(served).await.unwrap().unwrap();
}

/// Waits until `r1` runs.
async fn runs(engine: &Engine) {
    let lab = "pair".parse().unwrap();
    let mut changes = engine.inventory().changes();
    let is_running = |_: &u64| {
        let view = engine.view(&lab);
        view.is_some_and(|view| {
            view.nodes.iter().any(|node| node.name.as_str() == "r1" && node.state == NodeState::Running)
        })
    };
    changes.wait_for(is_running).await.unwrap();
}

async fn serve_all(listener: tokio::net::TcpListener, router: Router) {
    use hyper_util::rt::TokioIo;
    use hyper_util::service::TowerToHyperService;
    while let Ok((stream, _)) = listener.accept().await {
        let service = TowerToHyperService::new(router.clone());
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        task::spawn("connection", async move { connection.await.ok() });
    }
}
