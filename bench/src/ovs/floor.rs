//! The floor of ports: the very cables that Netloom makes, made ready beforehand, and one `ovs-vsctl` that makes ports of
//! them, or takes the ports away; it ends when `ovs-vswitchd` has.
//!
//! It has an Open vSwitch and a network namespace of its own, so that the agent does not hear of what happens here.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netloom_kernel::{AdminState, LinkChange, Netns, Place, Request, Rtnl, VethEnd, prepare_pin_directory, unpin};
use netloom_model::Mtu;
use netloom_ovs_fixture::{Daemon, Ovs};
use tokio::runtime::Runtime;

use super::{NODES, ends};
use crate::containers::batch;
use crate::host::{LIMIT, Memory, in_namespace};
use crate::ring;

const BRIDGE: &str = "floor";
const GROUP: u32 = 0x4e4c;
/// Ports that are made one by one.
const SINGLE: usize = 100;
/// The tags of links begin here, and each links two ports.
const TAG: usize = 2050;
const TAGS: usize = 1900;

pub(super) struct Floor {
    ovs: Ovs,
    host: Netns,
    nodes: Vec<Netns>,
    pins: Memory,
    runtime: Runtime,
    rtnl: Rtnl,
}

/// How long the parts of one round took.
pub(super) struct Times {
    /// The cables.
    pub(super) cables: Duration,
    /// The ports.
    pub(super) ports: Duration,
}

impl Drop for Floor {
    fn drop(&mut self) {
        for number in 0..self.nodes.len() {
            let _ = unpin(self.pin(number));
        }
    }
}

impl Floor {
    pub(super) fn start() -> Result<Self> {
        let ovs = Ovs::start_with_switch_by(Command::new("unshare").args(["--net", "--"]));
        let ovs = ovs.context("Open vSwitch (Debian package openvswitch-switch)")?;
        let host = Netns::open(format!("/proc/{}/ns/net", ovs.pid(Daemon::Switch)))?;
        ovs.vsctl(["add-br", BRIDGE, "--", "set", "Bridge", BRIDGE, "datapath_type=netdev", "fail_mode=standalone"]);
        let pins = Memory::new()?;
        let directory = pins.path().join("netns");
        prepare_pin_directory(&directory)?;
        let nodes = (0..NODES).map(|number| Netns::create_pinned(directory.join(ring::node(number))));
        let nodes = nodes.collect::<Result<_, _>>()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Self { ovs, host, nodes, pins, runtime, rtnl: Rtnl::start(Netns::host()?)? })
    }

    pub(super) fn ovs(&self) -> &Ovs {
        &self.ovs
    }

    /// Makes the cables of so many ports, up and marked as Netloom does it, then the ports.
    pub(super) fn add(&self, ports: usize) -> Result<Times> {
        let started = Instant::now();
        self.make_cables(ports)?;
        let cables = started.elapsed();
        Ok(Times { cables, ports: self.make_ports(ports) })
    }

    /// Takes the ports away, then the cables.
    pub(super) fn remove(&self, ports: usize) -> Result<Times> {
        let mut arguments = Vec::new();
        for port in 0..ports {
            arguments.extend(["--", "del-port", BRIDGE].map(str::to_owned));
            arguments.push(name(port));
        }
        let taken = self.vsctl(&arguments);
        let started = Instant::now();
        self.submit(vec![Request::DeleteGroup { place: self.place(), group: GROUP }])?;
        Ok(Times { cables: started.elapsed(), ports: taken })
    }

    /// Makes the cables of so many ports by `ip -batch`, one process for all of them and one for each node, in which the other
    /// ends are brought up; then the ports, as [`Self::add`] does.
    pub(super) fn add_by_ip(&self, ports: usize) -> Result<Times> {
        let started = Instant::now();
        let mut cables = String::new();
        let mut inside = vec![String::new(); NODES];
        for port in 0..ports {
            let (node, end) = (ends(port / 2)[port % 2], format!("e{}", port / 2));
            let pin = self.pin(node);
            let _ = writeln!(
                cables,
                "link add {} up group {GROUP} type veth peer name {end} group {GROUP} netns {}",
                name(port),
                pin.display()
            );
            let _ = writeln!(inside[node], "link set {end} up");
        }
        let host = PathBuf::from(format!("/proc/{}/ns/net", self.ovs.pid(Daemon::Switch)));
        batch(in_namespace(&host), &cables)?;
        for (node, commands) in inside.iter().enumerate() {
            batch(in_namespace(&self.pin(node)), commands)?;
        }
        let cables = started.elapsed();
        Ok(Times { cables, ports: self.make_ports(ports) })
    }

    fn pin(&self, node: usize) -> PathBuf {
        self.pins.path().join("netns").join(ring::node(node))
    }

    fn make_ports(&self, ports: usize) -> Duration {
        let arguments: Vec<String> = (0..ports).flat_map(added).collect();
        self.vsctl(&arguments)
    }

    /// How long one port takes that has an `ovs-vsctl` to itself.
    pub(super) fn one_by_one(&self) -> Result<Duration> {
        self.make_cables(SINGLE)?;
        let started = Instant::now();
        for port in 0..SINGLE {
            self.vsctl(&added(port));
        }
        let taken = started.elapsed();
        self.remove(SINGLE)?;
        Ok(taken / u32::try_from(SINGLE)?)
    }

    fn vsctl(&self, arguments: &[String]) -> Duration {
        let started = Instant::now();
        self.ovs.vsctl(arguments.iter().map(String::as_str));
        started.elapsed()
    }

    fn place(&self) -> Place {
        Place::node(self.host.clone(), "floor")
    }

    fn make_cables(&self, ports: usize) -> Result<()> {
        let mut create = Vec::with_capacity(ports);
        let (mut complete, mut finish) = (Vec::with_capacity(ports), Vec::with_capacity(2 * ports));
        for port in 0..ports {
            let number = u32::try_from(port)?;
            let node = ends(port / 2)[port % 2];
            let node = Place::node(self.nodes[node].clone(), ring::node(node));
            let end = |place: &Place, name: String, ifindex: u32| {
                let (name, mtu) = (name.parse().context("a valid name")?, Some(Mtu::DEFAULT));
                anyhow::Ok(VethEnd { place: place.clone(), name, ifindex: Some(ifindex), mac: None, mtu, group: GROUP })
            };
            let (a, b) = (10_000 + 2 * number, 10_001 + 2 * number);
            create.push(Request::CreateVeth {
                a: end(&node, format!("e{}", port / 2), a)?,
                b: end(&self.place(), name(port), b)?,
                a_state: AdminState::Down,
                a_master: None,
            });
            let name = format!("e{}", port / 2).parse().context("a valid name")?;
            complete.push(Request::DisableTxChecksum { place: node.clone(), name });
            for (place, ifindex) in [(node, a), (self.place(), b)] {
                let alias = Some(format!("netloom/0123456789ab/ports/{}/01234567.89abcdef", link(port / 2)));
                let change = LinkChange { state: Some(AdminState::Up), alias, ..LinkChange::default() };
                finish.push(Request::SetLink { place, ifindex, change });
            }
        }
        // Neighbours of one namespace share a datagram.
        for batch in [&mut create, &mut complete, &mut finish] {
            batch.sort_by_key(|request| match request {
                Request::CreateVeth { a: VethEnd { place, .. }, .. }
                | Request::DisableTxChecksum { place, .. }
                | Request::SetLink { place, .. } => format!("{place}"),
                _ => String::new(),
            });
        }
        self.submit(create)?;
        self.submit(complete)?;
        self.submit(finish)
    }

    fn submit(&self, batch: Vec<Request>) -> Result<()> {
        for answer in self.runtime.block_on(self.rtnl.submit(batch, Instant::now() + LIMIT))? {
            if let Err(error) = answer {
                bail!("the floor: {error}");
            }
        }
        Ok(())
    }
}

/// The host's end of a cable, as long as Netloom's.
fn name(port: usize) -> String {
    format!("vh{port:011}")
}

fn link(number: usize) -> String {
    let [a, b] = ends(number).map(|node| format!("{}:e{number}", ring::node(node)));
    format!("{a}-{b}")
}

/// The arguments that add a port, with the tag and the marks that Netloom gives it.
fn added(port: usize) -> Vec<String> {
    let number = port / 2;
    let end = format!("{}:e{number}", ring::node(ends(number)[port % 2]));
    vec![
        "--".to_owned(),
        "add-port".to_owned(),
        BRIDGE.to_owned(),
        name(port),
        format!("tag={}", TAG + number % TAGS),
        "external_ids:netloom-instance=0123456789ab".to_owned(),
        "external_ids:netloom-lab=ports".to_owned(),
        format!("external_ids:netloom-link=\"{}\"", link(number)),
        format!("external_ids:netloom-end=\"{end}\""),
    ]
}
