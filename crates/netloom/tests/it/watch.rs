//! `inspect --watch`: what flows, as long as somebody looks.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::lab::pair;
use crate::sandbox::{NETLOOM, Sandbox, signal};
use crate::terminal::Terminal;

fn host() -> Option<Sandbox> {
    let host = Sandbox::with_agent()?;
    let file = host.topology("x", &pair("x", ""));
    host.netloom(&["deploy", "-t", &file]).code(0);
    Some(host)
}

fn metric(host: &Sandbox, name: &str) -> f64 {
    let metrics = host.ask("GET /metrics").body;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.expect("there is such a metric").parse().unwrap()
}

fn samples(host: &Sandbox) -> f64 {
    metric(host, "netloom_samples_total")
}

#[test]
fn a_rate_is_seen_while_traffic_flows_and_nobody_looks_before_and_after() {
    let Some(host) = host() else { return };
    assert_eq!(samples(&host).to_string(), "0");
    let ping = host.start(&["exec", "x/a", "--", "ping", "-q", "-i", "0.01", "-s", "1000", "10.0.0.2"]);
    let mut watch = host.start(&["inspect", "--name", "x", "--watch", "--every", "200ms", "--json"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let first = next();
    assert_eq!(first["seconds"], Value::Null, "{first}");
    // 100 packets of 1,042 bytes a second, both ways.
    let sees = |rates: &Value| {
        let ends = &rates["links"][0]["ends"];
        assert_eq!((&ends[0]["end"], &ends[1]["end"]), (&"a:eth1".into(), &"b:eth1".into()));
        let flows = [&ends[0]["tx"], &ends[0]["rx"], &ends[1]["tx"], &ends[1]["rx"]];
        flows.iter().all(|flow| {
            let rate = |name: &str| flow[name].as_f64().unwrap_or_default();
            rate("bits_per_second") > 100_000.0 && rate("packets_per_second") > 10.0
        })
    };
    // The machine may be busy.
    assert!((0..100).any(|_| sees(&next())), "no rate is seen");
    let uses = |rates: &Value| {
        let node = &rates["nodes"][0];
        node["cpu_percent"].as_f64().is_some() && node["memory_bytes"].as_u64().is_some_and(|bytes| bytes > 0)
    };
    assert!((0..10).any(|_| uses(&next())), "no use is seen");
    signal(&watch, Signal::INT);
    assert_eq!(watch.wait().unwrap().code(), Some(0));
    signal(&ping, Signal::INT);
    ping.wait_with_output().unwrap();

    // The sampler ends with its watcher.
    host.until("nobody looks", |host| metric(host, "netloom_samplers") < 1.0);
    let before = samples(&host);
    host.netloom(&["inspect", "--name", "x"]).code(0);
    assert_eq!(samples(&host).to_string(), before.to_string());
}

#[test]
fn on_a_terminal_the_picture_is_drawn_in_place_and_the_terminal_is_given_back() {
    let Some(host) = host() else { return };
    let (_, _, cooked) = Terminal::with(&host, &["version"]).ends();
    let mut terminal = Terminal::with(&host, &["inspect", "--name", "x", "--watch", "--every", "200ms"]);
    terminal.shows("\x1b[?1049h\x1b[?25l");
    terminal.shows("\x1b[H\x1b[Klab x: 2 of 2 nodes running, 1 of 1 link up");
    terminal.shows("a:eth1  b:eth1  up ");
    terminal.shows("\x1b[J");
    assert_ne!(terminal.modes(), cooked, "what is typed is not shown");
    // The window has room for two lines of eleven columns.
    terminal.resize(11, 2);
    terminal.shows("\x1b[H\x1b[Klab x: 2 of\r");
    terminal.shows("\x1b[K… 8 more li\x1b[H");
    terminal.types("x\x03");
    let (code, shown, modes) = terminal.ends();
    assert_eq!((code, modes), (0, cooked));
    assert!(shown.ends_with("\x1b[?7h\x1b[?25h\x1b[?1049l"), "{shown:?}");

    // What else is typed is for nobody, and a key ends it too.
    let mut terminal = Terminal::with(&host, &["inspect", "-w"]);
    terminal.shows("LAB  NODES  LINKS");
    terminal.types("reboot\nq");
    let (code, shown, modes) = terminal.ends();
    assert_eq!((code, modes), (0, cooked));
    assert!(!shown.contains("reboot"), "{shown:?}");

    // All labs, and the end of the agent.
    let mut terminal = Terminal::with(&host, &["inspect", "-w"]);
    terminal.shows("LAB  NODES  LINKS");
    terminal.shows("x    2/2    1/1 ");
    host.netloom(&["agent", "stop"]).code(0);
    let (code, shown, modes) = terminal.ends();
    assert_eq!((code, modes), (3, cooked));
    let (_, said) = shown.split_once("\x1b[?1049l").expect("the screen is given back first");
    assert!(said.contains("the agent has ended"), "{shown:?}");
}

#[test]
fn a_second_watcher_sees_at_once_what_the_first_one_saw() {
    let Some(host) = host() else { return };
    let see = || {
        let mut watch = host.start(&["inspect", "--name", "x", "--watch", "--every", "1m"]);
        let mut line = String::new();
        BufReader::new(watch.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "lab x: 2 of 2 nodes running, 1 of 1 link up\n");
        watch
    };
    let begun = Instant::now();
    for mut watch in [see(), see()] {
        signal(&watch, Signal::INT);
        watch.wait().unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(50), "it waited for the next look");
}

#[test]
fn the_watch_is_ended_also_while_nobody_takes_what_it_shows() {
    let Some(host) = host() else { return };
    let (_unread, mut full) = std::io::pipe().unwrap();
    full.write_all(&vec![b'x'; 65536]).unwrap();
    let mut watch = host.command(NETLOOM);
    watch.args(["inspect", "--watch", "--every", "200ms", "--json"]).stdout(full);
    let mut watch = watch.spawn().unwrap();
    host.until("it has something to show", |host| samples(host) > 2.0);
    signal(&watch, Signal::INT);
    host.until("it has ended", |_| watch.try_wait().unwrap().is_some_and(|status| status.code() == Some(0)));
}

#[test]
fn a_lab_that_vanishes_is_said() {
    let Some(host) = host() else { return };
    let mut watch = host.start(&["inspect", "--name", "x", "--watch", "--every", "200ms"]);
    let mut out = BufReader::new(watch.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "lab x: 2 of 2 nodes running, 1 of 1 link up\n");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    let ended = watch.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "netloom: lab `x` is gone\n");
    assert_eq!(ended.status.code(), Some(1));

    host.netloom(&["inspect", "--name", "x", "--watch"]).code(2).says("no lab `x`");
    host.netloom(&["inspect", "--watch", "--every", "1ms"]).code(2).says("`every` is from 200ms to 1m");
}
