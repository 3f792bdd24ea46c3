//! Health is answered by a thread of its own, whatever the rest does.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant, SystemTime};

use hyper::StatusCode;
use netloom_agent::Listeners;
use netloom_agent::wire::{Liveness, Readiness, Ready, Stall, TRANSPORT};
use netloom_engine::testing::Sketch;
use netloom_engine::{LabView, Source, Transport, Uplink, Vlan, task};
use netloom_model::RuntimeKind;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, PATIENCE, config, engine};

/// Asks as a simple probe does; status and body.
fn probe(address: SocketAddr, path: &str) -> (u16, String) {
    talk(address, &[format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()])
}

/// Sends pieces and reads to the end.
fn talk(address: SocketAddr, pieces: &[&[u8]]) -> (u16, String) {
    let mut stream = connect(address);
    for piece in pieces {
        stream.write_all(piece).unwrap();
        stream.flush().unwrap();
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Asks until the status is this; every answer must come in time.
fn until(address: SocketAddr, path: &str, status: u16) -> String {
    let start = Instant::now();
    loop {
        let asked = Instant::now();
        let (found, body) = probe(address, path);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        if found == status {
            return body;
        }
        assert!(start.elapsed() < PATIENCE, "{path} stays {found}: {body}");
        std::thread::yield_now();
    }
}

#[test]
fn health_is_answered_while_every_worker_is_blocked_and_says_so() {
    let workers = 2;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap();
    let (_root, mut config) = config();
    config.live_limit = Duration::from_millis(200);
    let shutdown = CancellationToken::new();
    let layout = config.layout.clone();
    let (address, served) = runtime.block_on(async {
        let listeners = Listeners::bind(config).await.unwrap();
        let address = listeners.tcp().unwrap();
        let (engine, _, _) = engine(&layout).await;
        (address, task::spawn("serve", listeners.serve(engine, shutdown.clone())))
    });
    until(address, "/livez", 200);

    let (begun, released) = (Arc::new(Barrier::new(workers + 1)), Arc::new(Barrier::new(workers + 1)));
    for _ in 0..workers {
        let (begun, released) = (begun.clone(), released.clone());
        runtime.spawn(async move {
            begun.wait();
            released.wait();
        });
    }
    begun.wait();
    let late: Liveness = serde_json::from_str(&until(address, "/healthz", 503)).unwrap();
    assert_eq!(late.status, "late");
    assert_eq!(late.late[0].name, "main runtime");
    assert!(late.late[0].seconds >= 0.2, "{late:?}");
    assert_eq!(probe(address, "/livez").0, 503);

    released.wait();
    until(address, "/livez", 200);
    let token = std::fs::read_to_string(layout.token()).unwrap();
    let request = format!(
        "GET /debug/stalls HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        token.trim()
    );
    let (status, body) = talk(address, &[request.as_bytes()]);
    assert_eq!(status, 200, "{body}");
    let stalls: Vec<Stall> = serde_json::from_str(&body).unwrap();
    let stall = stalls.iter().find(|stall| stall.name == "main runtime").unwrap();
    assert!(stall.ended.is_some() && stall.decision.contains("restart"), "{stall:?}");
    assert!(stall.threads.iter().filter(|thread| thread.name == "tokio-rt-worker").count() >= workers, "{stall:?}");
    shutdown.cancel();
    runtime.block_on(served).unwrap().unwrap();
}

/// With the feature `failpoints` an agent can be told to block its own workers; without it there is no such route.
#[test]
fn workers_that_are_blocked_by_request_fail_liveness_until_the_block_ends() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bench = runtime.block_on(Bench::with(|config| config.live_limit = Duration::from_millis(200)));
    let asked = runtime.block_on(bench.send(hyper::Method::POST, "/debug/block?seconds=3", ""));
    if cfg!(not(feature = "failpoints")) {
        assert_eq!(asked.status, StatusCode::NOT_FOUND);
        return;
    }
    assert_eq!(asked.status, StatusCode::ACCEPTED);
    let begun = Instant::now();
    let late: Liveness = serde_json::from_str(&until(bench.tcp, "/livez", 503)).unwrap();
    assert_eq!(late.late[0].name, "main runtime");
    until(bench.tcp, "/livez", 200);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}: it came back before the end", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_before_the_engine_has_started() {
    let (_root, config) = config();
    let listeners = Listeners::bind(config).await.unwrap();
    let address = listeners.tcp().unwrap();
    assert_eq!(probe(address, "/healthz"), (200, r#"{"status":"ok"}"#.to_owned()));
    let (status, body) = probe(address, "/readyz");
    assert_eq!(status, 503);
    assert!(body.contains("the agent is starting"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_and_slow_connections_exhaust_nothing() {
    let bench = Bench::with(|config| config.silent = 8).await;
    let silent: Vec<TcpStream> = (0..40).map(|_| connect(bench.tcp)).collect();
    let mut slow = connect(bench.tcp);
    slow.write_all(b"GET /hea").unwrap();
    // Half a request and then nothing more: ready for ever, and never enough.
    let mut half = connect(bench.tcp);
    half.write_all(b"GET /hea").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    // Bytes that nobody read turn the close into a reset.
    assert_eq!(half.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    for _ in 0..20 {
        assert_eq!(probe(bench.tcp, "/healthz").0, 200);
    }
    // The oldest had to go, and saw its connection closed.
    let mut oldest = &silent[0];
    assert_eq!(oldest.read(&mut [0; 1]).unwrap(), 0);
    let metrics = bench.get("/metrics").await.text();
    let evicted = metrics.lines().find_map(|line| line.strip_prefix("netloom_connections_evicted_total "));
    assert!(evicted.unwrap().parse::<u64>().unwrap() >= 32, "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_comes_in_pieces_is_understood() {
    let bench = Bench::new().await;
    let health: [&[u8]; 4] = [b"G", b"ET /heal", b"thz HTTP/1.1\r\nHost: loc", b"alhost\r\n\r\n"];
    assert_eq!(talk(bench.tcp, &health), (200, r#"{"status":"ok"}"#.to_owned()));
    let other: [&[u8]; 2] = [b"GET /", b"labs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"];
    assert_eq!(talk(bench.tcp, &other).0, 401);
    let long = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(6000));
    assert_eq!(talk(bench.tcp, &[long.as_bytes()]).0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_names_what_is_wrong_and_liveness_does_not_care() {
    let bench = Bench::new().await;
    let verbose: Readiness = bench.get("/readyz?verbose").await.json();
    assert_eq!(verbose.status, Ready::Ok);
    let names: Vec<&str> = verbose.capabilities.iter().map(|capability| capability.name.as_str()).collect();
    assert_eq!(names, ["agent", "namespace", bench.engine.fabric(), "store", "transport"]);

    let mut changes = bench.engine.inventory().changes();
    let source = Source::Runtime(RuntimeKind::Namespace);
    bench.world.make_unreachable(source, "it hangs");
    let inventory = bench.engine.inventory();
    let failed = |_: &u64| inventory.snapshot().sources[&source].error.is_some();
    crate::bench::within(changes.wait_for(failed)).await.unwrap();
    let degraded: Readiness = bench.ready_when(|ready| ready.status == Ready::Degraded).await;
    assert_eq!((degraded.status, degraded.capabilities.len()), (Ready::Degraded, 1), "{degraded:?}");
    assert_eq!(degraded.capabilities[0].reason.as_deref(), Some("it hangs"));
    assert_eq!(bench.get("/livez").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_shows_in_readiness_and_never_in_liveness() {
    let bench = Bench::with(|config| config.live_limit = Duration::from_secs(1)).await;
    bench.store.freeze();
    let lab = Sketch::pair("lab").lab();
    let (engine, begun) = (bench.engine.clone(), Instant::now());
    let request = netloom_engine::DeployRequest {
        lab,
        rebuild: netloom_engine::Rebuild::No,
        only: None,
        generation: None,
        raise_limits: netloom_engine::RaiseLimits::No,
    };
    let asked = task::spawn("ask", async move { engine.deploy(request).await.map(|_| ()) });
    while !asked.is_finished() {
        let start = Instant::now();
        assert_eq!(probe(bench.tcp, "/livez").0, 200);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let refused = asked.await.unwrap().unwrap_err().to_string();
    assert!(refused.contains("does not answer"), "{refused}");
    assert_eq!(probe(bench.tcp, "/livez").0, 200);
    let ready: Readiness = serde_json::from_str(&until(bench.tcp, "/readyz", 503)).unwrap();
    assert_eq!((ready.capabilities[0].name.as_str(), ready.capabilities[0].status), ("store", Ready::Down));
    assert!(ready.capabilities[0].reason.as_ref().unwrap().contains("does not answer since"), "{ready:?}");
    bench.store.thaw();
    until(bench.tcp, "/readyz", 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_is_not_as_it_is_wanted_is_said_and_keeps_nobody_from_being_ready() {
    let vlan = Vlan { parent: "eth1".parse().unwrap(), id: 100.try_into().unwrap() };
    let wanted = Transport::Subinterface(Uplink::subinterface(vlan, None).unwrap());
    let bench = Bench::with(|config| config.transport = Some(wanted)).await;
    let degraded = bench.ready_when(|ready| ready.status == Ready::Degraded).await;
    let [transport] = &degraded.capabilities[..] else { panic!("{degraded:?}") };
    assert_eq!((transport.name.as_str(), transport.status), (TRANSPORT, Ready::Degraded));
    let why = transport.reason.as_ref().unwrap();
    assert!(why.starts_with("eth1.100: ") && transport.since > SystemTime::UNIX_EPOCH, "{transport:?}");
    assert_eq!((probe(bench.tcp, "/readyz").0, probe(bench.tcp, "/livez").0), (200, 200));
    bench.world.underlay().has("eth1", &[]);
    bench.ready_when(|ready| ready.status == Ready::Ok).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_that_is_paused_is_said_and_keeps_nobody_from_being_ready() {
    let bench = Bench::new().await;
    bench.deploy(&Sketch::pair("lab").lab()).await;
    let lab = "lab".parse().unwrap();
    while bench.engine.pauses().of(&lab).is_none() {
        bench.engine.panic_in(&lab, "on purpose");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reply = bench.get("/readyz").await;
    let ready: Readiness = reply.json();
    assert_eq!(
        (reply.status, ready.status, ready.capabilities.len()),
        (StatusCode::OK, Ready::Degraded, 1),
        "{ready:?}"
    );
    let reason = ready.capabilities[0].reason.as_ref().unwrap();
    assert!(reason.contains("lab lab is paused") && reason.contains("on purpose"), "{reason}");
    let view: LabView = bench.get("/labs/lab").await.json();
    assert!(view.paused.unwrap().why.contains("on purpose"));
    let refused = bench.patch("lab", &serde_json::json!({ "nodes": {} }), &[("if-match", "*")]).await;
    assert!(refused.problem(409, "paused").detail.contains("deploy it again"), "{refused:?}");
    assert!(bench.get("/metrics").await.text().contains("netloom_labs_paused 1"));

    bench.deploy(&Sketch::pair("lab").lab()).await;
    assert_eq!(bench.get("/readyz").await.json::<Readiness>().status, Ready::Ok);
}
