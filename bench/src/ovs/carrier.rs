//! An end that is shut: how long until the far end has no carrier, and until it has one again; on one host, and on two.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netloom_kernel::{AdminState, LinkChange, Netns, Place, Request, Rtnl, unpin};
use netloom_ovs_fixture::Ovs;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::{Host, ends};
use crate::host::{in_namespace, wait};
use crate::ring;
use crate::stats::{Sample, milliseconds};
use crate::table::{Line, print_all};

const LAB: &str = "carrier";
/// Links of the lab on one host, and between two.
const LINKS: usize = 100;
const ACROSS: usize = 20;
const ROUNDS: usize = 100;
/// The bar, in seconds.
const P50: f64 = 0.200;
/// A look at the far end so often.
const LOOK: Duration = Duration::from_micros(500);
const LIMIT: Duration = Duration::from_secs(30);

/// Measures, and prints its lines; whether the bars hold.
pub(super) fn measure(host: &Host, netloom: &Path) -> Result<bool> {
    host.deploy(LAB, LINKS)?;
    let [from, to] = ends(0).map(|node| End::open(&host.agent.pin(LAB, &ring::node(node)), "e0"));
    let near = shut_and_opened(&from?, &to?)?;
    host.agent.destroy(LAB)?;
    let other = Other::start(netloom)?;
    other.deploy(host)?;
    let far = shut_and_opened(&End::open(&host.agent.pin(LAB, "r"), "e0")?, &other.end()?)?;
    host.agent.destroy(LAB)?;
    other.host.agent.destroy(LAB)?;
    let line = |what: &str, sample: &Sample| Line {
        what: what.to_owned(),
        figure: milliseconds(sample.median()),
        more: format!("p99 {}, of {}", milliseconds(sample.at(0.99)), sample.count()),
        bar: Some((format!("p50 ≤ {}", milliseconds(P50)), sample.median() <= P50)),
        ..Line::default()
    };
    Ok(print_all([
        line(&format!("{LINKS} links: end shut, far carrier gone"), &near[0]),
        line("… opened, it is back", &near[1]),
        line(&format!("{ACROSS} links to a host: end shut, gone there"), &far[0]),
        line("… opened, it is back there", &far[1]),
    ]))
}

/// Shuts one end and opens it again; how long it took until the other end had lost its carrier, and had it back.
fn shut_and_opened(end: &End, far: &End) -> Result<[Sample; 2]> {
    let (mut off, mut on) = (Sample::default(), Sample::default());
    far.until(true)?;
    for _ in 0..ROUNDS {
        for (state, sample) in [(AdminState::Down, &mut off), (AdminState::Up, &mut on)] {
            let started = Instant::now();
            end.set(state)?;
            far.until(state == AdminState::Up)?;
            sample.time(started.elapsed());
        }
    }
    Ok([off, on])
}

/// An end of a link, in the namespace of its node.
struct End {
    place: Place,
    name: &'static str,
    rtnl: Rtnl,
    runtime: Runtime,
}

impl End {
    fn open(pin: &Path, name: &'static str) -> Result<Self> {
        let netns = Netns::open(pin).with_context(|| pin.display().to_string())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Self { place: Place::node(netns.clone(), "bench"), name, rtnl: Rtnl::start(netns)?, runtime })
    }

    fn set(&self, state: AdminState) -> Result<()> {
        let ifindex = self.look()?.0;
        let change = LinkChange { state: Some(state), ..LinkChange::default() };
        let request = Request::SetLink { place: self.place.clone(), ifindex, change };
        let done = self.rtnl.submit(vec![request], Instant::now() + LIMIT);
        self.runtime.block_on(done)?.remove(0)?;
        Ok(())
    }

    /// Its number, and whether it has a carrier.
    fn look(&self) -> Result<(u32, bool)> {
        let dump = netloom_kernel::dump(std::slice::from_ref(&self.place))?.remove(0)?;
        let link = dump.named(self.name).context("the end of the link")?;
        Ok((link.ifindex, link.lower_up))
    }

    fn until(&self, carrier: bool) -> Result<()> {
        let started = Instant::now();
        while self.look()?.1 != carrier {
            ensure!(started.elapsed() < LIMIT, "the carrier of the far end does not become {carrier}");
            wait(LOOK);
        }
        Ok(())
    }
}

/// Another host: a network namespace with an Open vSwitch and an agent, and a cable to this one.
struct Other {
    // Ends first: it is in the namespace.
    host: Host,
    directory: TempDir,
}

impl Other {
    fn start(netloom: &Path) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let pin = directory.path().join("host");
        Netns::create_pinned(&pin)?;
        let inside = |arguments: &str| run(in_namespace(&pin).args(arguments.split(' ')));
        run(Command::new("ip").args(["link", "add", "under", "type", "veth", "peer", "name", "u0"]))?;
        run(Command::new("ip").args(["link", "set", "u0", "netns"]).arg(&pin))?;
        run(Command::new("ip").args(["address", "add", "192.0.2.1/24", "dev", "under"]))?;
        run(Command::new("ip").args(["link", "set", "under", "up"]))?;
        inside("ip address add 192.0.2.2/24 dev u0")?;
        inside("ip link set u0 up")?;
        let ovs = Ovs::start_with_switch_by(&mut in_namespace(&pin)).context("Open vSwitch")?;
        // The program as it is there.
        let there = directory.path().join("netloom");
        let netloom = netloom.canonicalize()?;
        fs::write(&there, format!("#!/bin/sh\nexec nsenter --net={} {} \"$@\"\n", pin.display(), netloom.display()))?;
        fs::set_permissions(&there, fs::Permissions::from_mode(0o755))?;
        let agent = crate::agent::Agent::start_with_ovs(&there, ovs.socket())?;
        Ok(Self { host: Host { agent, ovs }, directory })
    }

    /// Deploys both halves of a lab: a node each, and links between them.
    fn deploy(&self, here: &Host) -> Result<()> {
        for (host, remote) in [(here, "192.0.2.2"), (&self.host, "192.0.2.1")] {
            let mut text = format!(
                "name: {LAB}\nsettings: {{ fabric: ovs }}\ntopology:\n  nodes: {{ r: {{ kind: linux, runtime: namespace }} }}\n  \
                 links:\n"
            );
            for number in 0..ACROSS {
                let (end, vni) = (format!("{{ node: r, interface: e{number} }}"), number + 1);
                let _ = writeln!(
                    text,
                    "    - {{ type: vxlan-stitch, endpoint: {end}, remote: {remote}, vni: {vni}, dst-port: 4789 }}"
                );
            }
            let file = host.agent.root().join("across.clab.yml");
            fs::write(&file, text)?;
            host.agent.timed(&["deploy", "-t", file.to_str().context("a path in UTF-8")?])?;
        }
        Ok(())
    }

    fn end(&self) -> Result<End> {
        End::open(&self.host.agent.pin(LAB, "r"), "e0")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = unpin(self.directory.path().join("host"));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}
