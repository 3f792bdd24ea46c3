//! Many links in one plan: they are made, and complete, with a tag each; they stay so over a restart of the agent, and nothing of
//! them is left when the lab is destroyed.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Host;
use crate::host::wait;
use crate::stats::seconds;
use crate::table::{Line, print_all};

const LAB: &str = "large";
/// Links of the lab; each is two ports.
const LINKS: usize = 1000;
/// The bridge goes when it is seen to be left over; what is there so long after the lab is a trace.
const LAST: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Measures, and prints its lines; whether the bars hold.
pub(super) fn measure(host: &Host) -> Result<bool> {
    let before = host.traces()?;
    let deployed = host.deploy(LAB, LINKS)?;
    let is_complete = host.is_whole(LAB, LINKS)?;
    let ports = host.ports();
    let tags = tags(&ports);
    let is_apart = ports.len() == 2 * LINKS && tags.len() == LINKS && tags.values().all(|count| *count == 2);
    let restarted = host.restart_agent(LAB, LINKS)?;
    let is_same = host.ports() == ports;
    let began = Instant::now();
    let destroyed = host.agent.destroy(LAB)?;
    let gone = host.until_traces_are(&before, began)?;
    let line = |what: &str, time: Duration, bar: &str, holds: bool| Line {
        what: format!("{} ports: {what}", 2 * LINKS),
        figure: seconds(time.as_secs_f64()),
        bar: (!bar.is_empty()).then(|| (bar.to_owned(), holds)),
        ..Line::default()
    };
    Ok(print_all([
        line("deploy", deployed, "complete, each link with a tag of its own", is_complete && is_apart),
        line("agent killed and started", restarted, "complete, the same ports and tags", is_same),
        line("destroy", destroyed, "", true),
        line("… until there is no trace", gone.unwrap_or(LAST), "no trace", gone.is_some()),
    ]))
}

/// How many ports have each tag, by lines of a name and a tag.
fn tags(ports: &[String]) -> BTreeMap<&str, usize> {
    let mut tags = BTreeMap::new();
    for port in ports {
        if let Some((_, tag)) = port.split_once(',') {
            *tags.entry(tag).or_default() += 1;
        }
    }
    tags
}

/// What there is of labs.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    interfaces: Vec<String>,
    pins: Vec<String>,
    /// Bridges of the switch, with what they say of tags, and all ports.
    bridges: String,
    ports: String,
    labs: Value,
}

impl Host {
    /// How long it takes until what there is is what there was; nothing if it does not come to that.
    fn until_traces_are(&self, before: &Traces, since: Instant) -> Result<Option<Duration>> {
        loop {
            let now = self.traces()?;
            if now == *before {
                return Ok(Some(since.elapsed()));
            }
            if since.elapsed() > LAST {
                println!("what there was: {before:?}\nwhat is left: {now:?}");
                return Ok(None);
            }
            wait(LOOK);
        }
    }

    fn traces(&self) -> Result<Traces> {
        let devices = fs::read_to_string("/proc/net/dev")?;
        let names = devices.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
        let mut interfaces: Vec<String> = names.collect();
        interfaces.sort_unstable();
        let mut pins = Vec::new();
        for entry in fs::read_dir(self.agent.root().join("run/netloom/netns"))? {
            pins.push(entry?.file_name().to_string_lossy().into_owned());
        }
        let list = |table: &str, columns: &str| {
            let columns = format!("--columns={columns}");
            self.ovs.vsctl(["--format=csv", "--data=bare", "--no-headings", &columns, "list", table])
        };
        let (bridges, ports) = (list("Bridge", "name,external_ids"), list("Port", "name"));
        let labs = self.agent.socket().get("/labs")?;
        ensure!(labs.as_array().is_some(), "a list of labs");
        Ok(Traces { interfaces, pins, bridges, ports, labs })
    }
}
