//! A daemon whose events are lost on their way, for a while or for good.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use super::host::{DockerHost, docker_is};
use super::labs::ring;
use crate::sandbox::NETLOOM;

/// A socket that leads to the daemon.
struct Way {
    socket: PathBuf,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Nothing of what the daemon says of events comes through.
    deaf: AtomicBool,
    /// Nor does it on connections that were made before this.
    stuck: Mutex<Option<Instant>>,
    /// How often events were asked for.
    asked: AtomicUsize,
    /// How often containers were listed.
    listed: AtomicUsize,
}

impl State {
    fn swallows(&self, since: Instant) -> bool {
        self.deaf.load(Ordering::Relaxed) || self.stuck.lock().unwrap().is_some_and(|stuck| since < stuck)
    }
}

impl Way {
    fn to(host: &DockerHost) -> Self {
        let (socket, real) = (host.daemon.directory().join("way.sock"), host.daemon.socket());
        let listener = UnixListener::bind(&socket).unwrap();
        let state = Arc::new(State::default());
        let way = Self { socket, state: state.clone() };
        thread::spawn(move || {
            for client in listener.incoming() {
                let _ = client.and_then(|client| carry(client, UnixStream::connect(&real)?, state.clone()));
            }
        });
        way
    }
}

fn carry(client: UnixStream, daemon: UnixStream, state: Arc<State>) -> io::Result<()> {
    let is_events = Arc::new(AtomicBool::new(false));
    let (asks, answers) = ((client.try_clone()?, daemon.try_clone()?), (daemon, client));
    let (began, noted, counted) = (Instant::now(), is_events.clone(), state.clone());
    thread::spawn(move || {
        pass(asks, |piece| {
            if piece.windows(8).any(|words| words == b"/events?") {
                noted.store(true, Ordering::Relaxed);
                counted.asked.fetch_add(1, Ordering::Relaxed);
            }
            if piece.windows(17).any(|words| words == b"/containers/json?") {
                counted.listed.fetch_add(1, Ordering::Relaxed);
            }
            true
        })
    });
    thread::spawn(move || pass(answers, |_| !(is_events.load(Ordering::Relaxed) && state.swallows(began))));
    Ok(())
}

fn pass((mut from, mut to): (UnixStream, UnixStream), mut comes_through: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return to.shutdown(Shutdown::Write);
        }
        if comes_through(&buffer[..length]) {
            to.write_all(&buffer[..length])?;
        }
    }
}

/// How many facts about containers a list had to mend.
fn mended(host: &DockerHost) -> u64 {
    let metrics = host.ask("GET /metrics").body;
    let of_nodes =
        metrics.lines().filter(|line| line.starts_with("netloom_source_mended_facts") && line.contains("docker"));
    of_nodes.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn what_events_did_not_tell_is_found_by_looking_again_and_counted() {
    let Some(host) = DockerHost::new() else { return };
    let way = Way::to(&host);
    let docker = way.socket.display();
    host.sh(&format!("DOCKER_HOST=unix://{docker} NETLOOM_RELIST_SECONDS=2 {NETLOOM} agent --background")).code(0);
    host.wait("the daemon is seen", |host| docker_is(host, "ok"));
    let before = host.all_traces();
    let file = host.topology("x", &ring("x"));
    host.netloom(&["deploy", "-t", &file]).code(0);

    way.state.deaf.store(true, Ordering::Relaxed);
    let (known, id) = (mended(&host), host.docker("inspect -f '{{.Id}}' clab-x-b"));
    host.docker("rm -f clab-x-b");
    host.wait("it is back", |host| {
        let now = host.sh("docker inspect -f '{{.Id}}' clab-x-b").out;
        !now.trim().is_empty() && now.trim() != id && host.netloom(&["inspect"]).out.contains("x    ready  3/3    3/3")
    });
    host.docker("restart -t 0 clab-x-c");
    host.wait("all are wired", |host| host.pings("a", "10.0.1.2") && host.pings("c", "10.0.2.1"));
    assert!(mended(&host) > known, "nothing was mended");
    assert!(docker_is(&host, "ok"), "it answers whatever it is asked");

    way.state.deaf.store(false, Ordering::Relaxed);
    host.netloom(&["deploy", "-t", &file]).code(0).says("nothing to change");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn events_that_do_not_come_though_the_daemon_answers_are_asked_for_anew() {
    let Some(host) = DockerHost::new() else { return };
    let way = Way::to(&host);
    let docker = way.socket.display();
    host.sh(&format!("DOCKER_HOST=unix://{docker} NETLOOM_RELIST_SECONDS=5 {NETLOOM} agent --background")).code(0);
    host.wait("the daemon is seen", |host| docker_is(host, "ok"));
    let before = host.all_traces();
    let file = host.topology("x", &ring("x"));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let ends = |host: &DockerHost| {
        let id = host.docker("inspect -f '{{.Id}}' clab-x-b");
        host.docker("rm -f clab-x-b");
        host.wait("it is back", |host| {
            let now = host.sh("docker inspect -f '{{.Id}}' clab-x-b").out;
            let is_another = !now.trim().is_empty() && now.trim() != id;
            is_another && host.netloom(&["inspect"]).out.contains("x    ready  3/3    3/3")
        });
    };

    let asked = way.state.asked.load(Ordering::Relaxed);
    *way.state.stuck.lock().unwrap() = Some(Instant::now());
    ends(&host);
    host.wait("events are asked for anew", |_| way.state.asked.load(Ordering::Relaxed) >= asked + 2);
    assert!(docker_is(&host, "ok"), "it answers whatever it is asked");

    // What happened before they came again is found by a list: the second one from now on begins after that.
    let listed = way.state.listed.load(Ordering::Relaxed);
    host.wait("containers are listed", |_| way.state.listed.load(Ordering::Relaxed) >= listed + 2);
    let known = mended(&host);
    ends(&host);
    assert_eq!(mended(&host), known, "what happens is told again");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}
