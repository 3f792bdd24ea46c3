//! Labs on Open vSwitch: many ports at once, one link among many, what is interrupted, more ports still. The daemons are the
//! run's own, with the datapath in user space.

mod carrier;
mod edits;
mod floor;
mod large;
mod lives;
mod ports;
mod traffic;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use netloom_ovs_fixture::Ovs;
use serde_json::Value;

use crate::agent::Agent;
use crate::ring;

/// Nodes of each lab: few, so that ports count and not they.
const NODES: usize = 10;

/// How it is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Numbers of ports.
    #[arg(default_values_t = PORTS)]
    sizes: Vec<usize>,
    /// Pairs of each number.
    #[arg(long, default_value_t = crate::PAIRS)]
    pairs: usize,
    /// Only these parts.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Part>,
}

const PORTS: [usize; 3] = [100, 500, 1000];

impl Default for Options {
    fn default() -> Self {
        Self { sizes: PORTS.to_vec(), pairs: crate::PAIRS, only: Vec::new() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Numbers of ports made and removed in one plan, each time beside one `ovs-vsctl` that does.
    Ports,
    /// A link connected and disconnected among 500 ports.
    Edits,
    /// How long it takes until the far end of a link notices that the near one is off.
    Carrier,
    /// The agent, and the server of the database, killed and started under traffic.
    Lives,
    /// 2,000 ports in one plan, from their deploy to the last trace.
    Large,
}

/// Measures all of it, or the parts that are named; whether the bars hold.
pub(crate) fn measure(netloom: &Path, options: &Options) -> Result<bool> {
    let is_wanted = |part: Part| options.only.is_empty() || options.only.contains(&part);
    let host = Host::start(netloom)?;
    let mut good = true;
    if is_wanted(Part::Ports) {
        let floor = floor::Floor::start()?;
        let single = floor.one_by_one()?;
        for size in &options.sizes {
            good &= ports::measure(&host, &floor, *size, options.pairs, single)?;
        }
    }
    if is_wanted(Part::Edits) {
        good &= edits::measure(&host)?;
    }
    if is_wanted(Part::Carrier) {
        good &= carrier::measure(&host, netloom)?;
    }
    if is_wanted(Part::Lives) {
        good &= lives::measure(&host)?;
    }
    if is_wanted(Part::Large) {
        good &= large::measure(&host)?;
    }
    Ok(good)
}

/// An Open vSwitch, and an agent that uses it.
struct Host {
    // Ends first: its labs are on the switch.
    agent: Agent,
    ovs: Ovs,
}

impl Host {
    fn start(netloom: &Path) -> Result<Self> {
        let ovs = Ovs::start_with_switch().context("Open vSwitch (Debian package openvswitch-switch)")?;
        let agent = Agent::start_with_ovs(netloom, ovs.socket())?;
        Ok(Self { agent, ovs })
    }

    /// Writes the topology file of a lab with so many links.
    fn file(&self, lab: &str, links: usize) -> Result<PathBuf> {
        let mut text = format!(
            "name: {lab}\nsettings: {{ fabric: ovs }}\ntopology:\n  defaults: {{ kind: linux, runtime: namespace }}\n  \
             nodes:\n"
        );
        for number in 0..NODES {
            let _ = writeln!(text, "    {}:", ring::node(number));
        }
        text.push_str("  links:\n");
        for number in 0..links {
            let [a, b] = ends(number).map(|node| format!("{}:e{number}", ring::node(node)));
            let _ = writeln!(text, "    - endpoints: [\"{a}\", \"{b}\"]");
            if number < NODES {
                let [from, to] = ring::addresses(number);
                let _ = writeln!(text, "      ipv4: [\"{from}\", \"{to}\"]");
            }
        }
        let file = self.agent.root().join(format!("{lab}.clab.yml"));
        std::fs::write(&file, text)?;
        Ok(file)
    }

    fn deploy(&self, lab: &str, links: usize) -> Result<Duration> {
        let file = self.file(lab, links)?;
        self.agent.timed(&["deploy", "-t", file.to_str().context("a path in UTF-8")?])
    }

    /// The ports of the labs in the database, each with its tag, in order.
    fn ports(&self) -> Vec<String> {
        let said =
            self.ovs.vsctl(["--format=csv", "--data=bare", "--no-headings", "--columns=name,tag", "list", "Port"]);
        let mut ports: Vec<String> = said.lines().filter(|line| line.starts_with("vh")).map(str::to_owned).collect();
        ports.sort_unstable();
        ports
    }

    /// Whether every node runs, and every link is up and has both ports with one tag.
    fn is_whole(&self, lab: &str, links: usize) -> Result<bool> {
        let view = self.agent.socket().get(&format!("/labs/{lab}"))?;
        let all = |of: &Value, count: usize, is: &dyn Fn(&Value) -> bool| {
            of.as_array().is_some_and(|some| some.len() == count && some.iter().all(is))
        };
        let is_linked = |link: &Value| {
            let tag = &link["switch"][0]["tag"];
            link["state"] == "up" && tag.is_u64() && all(&link["switch"], 2, &|port| &port["tag"] == tag)
        };
        Ok(all(&view["nodes"], NODES, &|node| node["ready"] == true) && all(&view["links"], links, &is_linked))
    }
}

/// The nodes at the ends of a link: all pairs take their turns. Its interfaces are called after its number.
fn ends(link: usize) -> [usize; 2] {
    let from = link % NODES;
    [from, (from + 1 + link / NODES % (NODES - 1)) % NODES]
}
