//! One link connected and disconnected among many ports, while packets pass over another one.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netloom_kernel::Netns;
use serde_json::{Value, json};

use super::traffic::{Loss, Traffic};
use super::{Host, NODES};
use crate::host::wait;
use crate::idle;
use crate::ring;
use crate::stats::{Sample, milliseconds};
use crate::table::{Line, print_all};

const LAB: &str = "live";
/// Links of the lab; each is two ports.
const LINKS: usize = 250;
/// Packets pass over the first for so long, so far apart, each time with and without edits.
const WATCHED: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(10);
const ROUNDS: usize = 2;
/// The bars, in seconds.
const P50: f64 = 0.060;
const P99: f64 = 0.250;
/// A packet is sent so often.
const RHYTHM: Duration = Duration::from_micros(500);
const PORT: u16 = 7001;
/// No packet takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Measures, and prints its lines; whether the bars hold.
pub(super) fn measure(host: &Host) -> Result<bool> {
    host.deploy(LAB, LINKS)?;
    let mut edits = Edits::new(host)?;
    // The first ones are not counted: they warm the caches.
    for number in 0..NODES {
        edits.edit(host, number)?;
    }
    (edits.connected, edits.disconnected) = (Sample::default(), Sample::default());
    let agent = host.agent.pid()?;
    let (mut quiet, mut busy) = (Loss::default(), Loss::default());
    let started = idle::children(agent)?;
    let mut number = NODES;
    for _ in 0..ROUNDS {
        let traffic = Traffic::start(host, LAB, 1, PAUSE)?;
        wait(WATCHED);
        quiet.add(traffic.end()?);
        let traffic = Traffic::start(host, LAB, 1, PAUSE)?;
        let began = Instant::now();
        while began.elapsed() < WATCHED {
            edits.edit(host, number)?;
            number += 1;
        }
        busy.add(traffic.end()?);
    }
    let started = idle::children(agent)? - started;
    ensure!(host.agent.pid()? == agent, "the agent is another one");
    host.agent.destroy(LAB)?;
    let line = |what: &str, sample: &Sample| {
        let (p50, p99) = (sample.median(), sample.at(0.99));
        Line {
            what: format!("{} ports: a link {what}", 2 * LINKS),
            figure: milliseconds(p50),
            more: format!("p99 {}, of {}", milliseconds(p99), sample.count()),
            bar: Some((format!("p50 ≤ {}, p99 ≤ {}", milliseconds(P50), milliseconds(P99)), p50 <= P50 && p99 <= P99)),
            ..Line::default()
        }
    };
    let other = Line {
        what: "… packets lost on another link".to_owned(),
        floor: format!("{}", quiet.lost),
        figure: format!("{}", busy.lost),
        more: format!("of {} each", busy.sent),
        bar: Some(("as without changes".to_owned(), busy.lost <= quiet.lost)),
    };
    let processes = Line {
        what: "… page faults of children".to_owned(),
        figure: format!("{started}"),
        more: "none: no process was started".to_owned(),
        bar: Some(("0".to_owned(), started == 0)),
        ..Line::default()
    };
    Ok(print_all([
        line("connected, packets pass", &edits.connected),
        line("disconnected", &edits.disconnected),
        other,
        processes,
    ]))
}

struct Edits {
    /// From the request to the first packet, or to the end of the operation.
    connected: Sample,
    disconnected: Sample,
    /// One in each node, and the process of each.
    sockets: Vec<UdpSocket>,
    pids: Vec<u64>,
}

impl Edits {
    fn new(host: &Host) -> Result<Self> {
        let socket = |number: usize| {
            let netns = Netns::open(host.agent.pin(LAB, &ring::node(number)))?;
            let socket = netns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)))??;
            socket.set_nonblocking(true)?;
            // What is sent to all needs no address resolved, which would be tried but once a second.
            socket.set_broadcast(true)?;
            anyhow::Ok(socket)
        };
        let sockets = (0..NODES).map(socket).collect::<Result<_>>()?;
        let lab = host.agent.socket().get(&format!("/labs/{LAB}"))?;
        let nodes = lab["nodes"].as_array().context("nodes")?;
        let pid = |number: usize| {
            let node = nodes.iter().find(|node| node["name"] == ring::node(number));
            node.and_then(|node| node["pid"].as_u64()).context("a node that runs")
        };
        let pids = (0..NODES).map(pid).collect::<Result<_>>()?;
        Ok(Self { connected: Sample::default(), disconnected: Sample::default(), sockets, pids })
    }

    /// Connects two nodes, and parts them again.
    fn edit(&mut self, host: &Host, number: usize) -> Result<()> {
        let nodes = [number % NODES, (number + NODES / 2) % NODES];
        let labels = nodes.map(|node| format!("{}:live", ring::node(node)));
        let link = labels.join(" ");
        let [from, to] = ring::addresses(LINKS);
        let ends = json!({ (labels[0].as_str()): { "ipv4": from }, (labels[1].as_str()): { "ipv4": to } });
        let patch = json!({ "links": { (link.as_str()): { "ends": ends } } });
        let started = Instant::now();
        let operation = host.agent.socket().patch(LAB, &patch)?;
        self.until_a_packet_passes(nodes, started)?;
        self.connected.time(started.elapsed());
        host.agent.socket().wait(&operation)?;

        let patch = json!({ "links": { (link.as_str()): Value::Null } });
        let started = Instant::now();
        let operation = host.agent.socket().patch(LAB, &patch)?;
        host.agent.socket().wait(&operation)?;
        self.disconnected.time(started.elapsed());
        ensure!(self.send(nodes[0]).is_err(), "the link is gone, and its address is there");
        Ok(())
    }

    /// Sends to all on the link that is edited.
    fn send(&self, node: usize) -> Result<()> {
        let all = ring::addresses(LINKS)[0].split('/').next().context("an address")?.parse::<Ipv4Addr>()?;
        let all = Ipv4Addr::from(u32::from(all) | 3);
        self.sockets[node].send_to(b"bench", (all, PORT))?;
        Ok(())
    }

    /// The other end is asked how many packets it has received, and not the socket: the datapath in user space does not
    /// complete the checksums that veths leave to be done.
    fn until_a_packet_passes(&self, [from, to]: [usize; 2], since: Instant) -> Result<()> {
        let path = format!("/proc/{}/net/dev", self.pids[to]);
        let received = |text: &str| {
            let counters = text.lines().find_map(|line| line.trim_start().strip_prefix("live:"))?;
            counters.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        while since.elapsed() < LIMIT {
            // Before there is a way there is an error.
            let _ = self.send(from);
            wait(RHYTHM);
            if received(&fs::read_to_string(&path)?).is_some_and(|packets| packets > 0) {
                return Ok(());
            }
        }
        bail!("no packet passes over the link that was connected")
    }
}
