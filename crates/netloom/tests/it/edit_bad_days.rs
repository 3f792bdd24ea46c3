//! Bad days of live edits: others edit the same lab, it is being destroyed, it is far too large.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::ask::Answer;
use crate::bad_days::ring;
use crate::lab::{node, pair};
use crate::sandbox::{Ended, NETLOOM, Sandbox};

fn patch(host: &Sandbox, lab: &str, tag: &str, patch: &Value) -> Answer {
    host.send(&format!("PATCH /labs/{lab}"), &format!("If-Match: {tag}\r\n"), &patch.to_string())
}

fn generation(host: &Sandbox, lab: &str) -> u64 {
    host.ask(&format!("GET /labs/{lab}/desired")).json()["generation"].as_u64().unwrap()
}

fn add(port: &str) -> Value {
    serde_json::json!({ "links": { format!("a:{port} b:{port}"): {} } })
}

#[test]
fn of_two_edits_of_one_state_the_second_is_told_that_it_has_changed() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    for round in 0..10 {
        let tag = format!("\"{}\"", generation(&host, "x"));
        let ports = ["p", "q"].map(|port| format!("{port}{round}"));
        let answers = thread::scope(|scope| {
            let both = ports.each_ref().map(|port| scope.spawn(|| patch(&host, "x", &tag, &add(port))));
            both.map(|one| one.join().unwrap())
        });
        let mut codes = answers.each_ref().map(|answer| answer.status);
        codes.sort_unstable();
        assert_eq!(codes, [202, 412], "{answers:?}");
        let refused = answers.iter().find(|answer| answer.status == 412).unwrap().json();
        let says = refused["detail"].as_str().unwrap();
        assert!(says.contains("has changed meanwhile") && refused["generation"].is_u64(), "{refused}");
        // The first is true, the second has left nothing.
        host.until("the first is done", |host| host.netloom(&["inspect"]).out.contains("x    ready"));
        let links = host.lab("x")["links"].as_array().unwrap().len();
        assert_eq!(links, round + 2);
    }
    assert_eq!(patch(&host, "x", "\"1\"", &add("late")).status, 412);
    assert_eq!(host.send("PATCH /labs/x", "", &add("late").to_string()).status, 428);
}

/// How many edits of a command line come too late.
const TOO_LATE: usize = 3;

/// Stands between command lines and the agent. Just before an edit arrives somebody else's does, as often as is left.
struct Rival<'a> {
    host: &'a Sandbox,
    /// How many more edits come too late.
    left: AtomicUsize,
    /// How many edits came by.
    edits: AtomicUsize,
}

impl Rival<'_> {
    /// The root directory with which a command line comes here.
    fn root(&self) -> PathBuf {
        self.host.root.path().join("rival")
    }

    fn netloom(&self, arguments: &[&str]) -> Ended {
        Ended::from(&self.host.command(NETLOOM).env("NETLOOM_ROOT", self.root()).args(arguments).output().unwrap())
    }

    fn pass(&self, mut client: UnixStream) {
        let mut method = [0; 5];
        // One that only looks whether somebody listens says nothing.
        if client.read_exact(&mut method).is_err() {
            return;
        }
        if &method == b"PATCH" {
            let edits = self.edits.fetch_add(1, Ordering::Relaxed);
            if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let label = serde_json::json!({ "nodes": { "b": { "labels": { "at": edits.to_string() } } } });
                assert_eq!(patch(self.host, "x", "*", &label).status, 202);
            }
        }
        let mut agent = UnixStream::connect(self.host.root.path().join("run/netloom/agent.sock")).unwrap();
        agent.write_all(&method).unwrap();
        let (mut from, mut to) = (client.try_clone().unwrap(), agent.try_clone().unwrap());
        thread::scope(|scope| {
            scope.spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            let _ = io::copy(&mut agent, &mut client);
            let _ = client.shutdown(Shutdown::Both);
        });
    }
}

#[test]
fn a_command_line_that_comes_second_looks_again_and_wins() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let rival = Rival { host: &host, left: AtomicUsize::new(0), edits: AtomicUsize::new(0) };
    fs::create_dir_all(rival.root().join("run/netloom")).unwrap();
    let listener = UnixListener::bind(rival.root().join("run/netloom/agent.sock")).unwrap();
    let rival = &rival;
    let edits: [&[&str]; 4] = [
        &["link", "add", "x", "a:p0", "b:p0"],
        &["link", "down", "x", "a:p0"],
        &["node", "restart", "x/a"],
        &["node", "add", "x/c"],
    ];
    thread::scope(|scope| {
        // As many connections as there are; the last one is the test's own.
        scope.spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if rival.edits.load(Ordering::Relaxed) == usize::MAX {
                    break;
                }
                scope.spawn(move || rival.pass(client));
            }
        });
        for edit in edits {
            rival.left.store(TOO_LATE, Ordering::Relaxed);
            rival.edits.store(0, Ordering::Relaxed);
            let before = generation(&host, "x");
            let ended = rival.netloom(edit);
            let (came, grown) = (rival.edits.load(Ordering::Relaxed), generation(&host, "x") - before);
            if ended.code != 0 || came != TOO_LATE + 1 || grown != TOO_LATE as u64 + 1 {
                end(rival);
                panic!("{edit:?}: {came} edits, {grown} generations: {ended:?}");
            }
        }
        end(rival);
    });
    host.until("all of it is as it should be", |host| {
        host.netloom(&["inspect"]).out.contains("x    ready  3/3    1/2")
    });
}

/// Without it nobody ends who waits for connections.
fn end(rival: &Rival) {
    rival.edits.store(usize::MAX, Ordering::Relaxed);
    drop(UnixStream::connect(rival.root().join("run/netloom/agent.sock")));
}

#[test]
fn a_lab_that_is_being_destroyed_is_not_edited_and_not_revived() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let file = host.topology("big", &ring("big", 80));
    host.netloom(&["deploy", "-t", &file]).code(0);
    let destroy = host.start(&["destroy", "--name", "big"]);
    let mut refused = Vec::new();
    for n in 0.. {
        let (a, b, extra) = (format!("r1:p{n}"), format!("r2:p{n}"), format!("big/extra{n}"));
        let edits: [&[&str]; 4] = [
            &["link", "add", "big", &a, &b],
            &["node", "add", &extra],
            &["node", "restart", "big/r7"],
            &["node", "stop", "big/r9"],
        ];
        let ended = host.netloom(edits[n % edits.len()]);
        if ended.err.contains("there is no lab `big`") {
            assert_eq!(ended.code, 2, "{}", ended.err);
            break;
        }
        // One that came before the destroy may have been done, or the destroy took its place.
        match ended.code {
            2 => refused.push(ended.err),
            0 | 4 => {}
            other => panic!("{other}: {}", ended.err),
        }
    }
    let said = "lab `big` is being destroyed; wait until it is gone, then deploy it again";
    assert!(!refused.is_empty() && refused.iter().all(|text| text.contains(said)), "{refused:?}");
    let ended = destroy.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    before.are_all(&host);
}

#[test]
fn a_lab_is_edited_while_another_is_destroyed() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let big = host.topology("big", &ring("big", 80));
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &big]).code(0);
    host.netloom(&["deploy", "-t", &file]).code(0);
    let mut destroy = host.start(&["destroy", "--name", "big"]);
    // Each is done and said before the other lab is gone.
    let mut during = 0;
    let mut round = 0;
    while destroy.try_wait().unwrap().is_none() {
        let port = format!("p{round}");
        let (a, b) = (format!("a:{port}"), format!("b:{port}"));
        let edits: [&[&str]; 3] =
            [&["link", "add", "x", &a, &b], &["node", "restart", "x/b"], &["link", "rm", "x", &a]];
        for edit in edits {
            host.netloom(edit).code(0);
            during += u32::from(destroy.try_wait().unwrap().is_none());
        }
        round += 1;
    }
    assert!(destroy.wait().unwrap().success());
    assert!(during > 0, "no edit came through before the end of {round} rounds");
    host.netloom(&["inspect"]).code(0).says("x    ready  2/2    1/1");
    host.netloom(&["exec", "x/a", "--", "ping", "-c", "1", "-W", "5", "10.0.0.2"]).code(0);
    host.netloom(&["inspect", "--name", "big"]).code(2);
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}

#[test]
fn a_node_that_many_stop_and_start_at_once_is_as_the_last_one_said() {
    let Some(host) = Sandbox::with_agent() else { return };
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    for _ in 0..5 {
        let verbs = ["stop", "restart", "start", "stop", "restart"];
        let running: Vec<_> = verbs.iter().map(|verb| host.start(&["node", verb, "x/b"])).collect();
        for command in running {
            let ended = command.wait_with_output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        }
        host.netloom(&["node", "stop", "x/b"]).code(0);
        assert_eq!(node(&host.lab("x"), "b")["state"]["phase"], "stopped");
        host.netloom(&["node", "start", "x/b"]).code(0);
        assert_eq!(node(&host.lab("x"), "b")["ready"], true);
    }
}

#[test]
fn ten_thousand_nodes_are_refused_before_anything_is_touched_and_cost_little() {
    let Some(host) = Sandbox::new() else { return };
    let file = host.topology("huge", &ring("huge", 10_000));
    // Seconds of the processor, whatever else the machine does.
    host.sh(&format!("ulimit -t 10; exec {NETLOOM} validate {file}")).code(0).says("10000 nodes, 10000 links: valid");
    // Whatever this host allows.
    host.sh(&format!("ulimit -n 4096 && {NETLOOM} agent --background")).code(0);
    let before = host.traces();
    let refused = host.netloom(&["deploy", "-t", &file]).code(2);
    assert!(refused.err.contains("allows 4096 descriptors") && refused.err.contains("LimitNOFILE"), "{}", refused.err);
    let plan = host.netloom(&["deploy", "-t", &file, "--dry-run"]).code(2).says("allows 4096 descriptors");
    assert!(plan.out.contains("lab huge: 30001 steps"), "{}", &plan.out[..80.min(plan.out.len())]);
    before.are_all(&host);
    host.netloom(&["inspect", "--name", "huge"]).code(2).says("there is no lab `huge`");

    let agent = host.agent();
    let memory = host.sh(&format!("sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/{agent}/status")).code(0).out;
    let memory: u64 = memory.trim().parse().unwrap();
    // Some 75 MiB: the lab as text, as JSON, and its plan.
    assert!(memory < 256 << 10, "{memory} KiB");
    let small = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &small]).code(0);
}
