//! The floor: a ring made of the very kernel objects that Netloom makes, by nothing but system calls.
//!
//! A node has five namespaces, the mounts that Netloom's init makes (it is that program), its network settings and its
//! cgroups. A link is made in place, with names, MAC addresses, MTU, group, alias and addresses, and both ends are
//! brought up. What is missing is Netloom: no engine, no inventory, no store, no events, no plan, no check of anything,
//! no names file. One thread orders one thing after the other; it does not wait for an init before it starts the next.

use std::fs::{self, DirBuilder, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netloom_drivers::runtime::namespace::INIT;
use netloom_kernel::{
    Address, AdminState, Cgroups, Limits, LinkChange, Netns, Place, Request, Rtnl, Signal, Spawned, Spawner,
    Surroundings, VethEnd, prepare_pin_directory, unpin,
};
use netloom_model::{Mac, Mtu};
use tokio::runtime::Runtime;

use crate::host::{Kernel, LIMIT, Memory};
use crate::ring;
use crate::spec::NodeSpec;

/// The network settings of every node, as Netloom sets them.
const SETTINGS: [(&str, &str); 9] = [
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
    ("net.ipv6.conf.default.forwarding", "0"),
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
];
/// The group of all links.
const GROUP: u32 = 0x4e4c;
/// Below the root of each cgroup hierarchy.
const CGROUP: &str = "netloom-floor";

/// What rings are made with.
pub(crate) struct Floor {
    memory: Memory,
    runtime: Runtime,
    spawner: Spawner,
    rtnl: Rtnl,
    cgroups: Cgroups,
}

/// A ring that is there.
pub(crate) struct Ring {
    nodes: Vec<Node>,
}

struct Node {
    name: String,
    netns: Netns,
    init: Option<Spawned>,
}

impl Ring {
    /// The network of the first node, and its init.
    pub(crate) fn first(&self) -> Option<(&Netns, u32)> {
        let node = self.nodes.first()?;
        Some((&node.netns, node.init.as_ref()?.child.id()))
    }
}

impl Floor {
    pub(crate) fn new() -> Result<Self> {
        let memory = Memory::new()?;
        let pins = memory.path().join("netns");
        prepare_pin_directory(&pins)?;
        let mut init = File::options().write(true).create_new(true).mode(0o755).open(memory.path().join("init"))?;
        init.write_all(INIT)?;
        fs::write(memory.path().join("hosts"), "127.0.0.1\tlocalhost\n")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (spawner, rtnl) = (Spawner::start(&[pins])?, Rtnl::start(Netns::host()?)?);
        Ok(Self { memory, runtime, spawner, rtnl, cgroups: Cgroups::detect()? })
    }

    /// Makes a ring; ends when every node is set up and the last link is up.
    pub(crate) fn make(&self, size: usize) -> Result<(Ring, Duration)> {
        let started = Instant::now();
        let nodes = (0..size).map(|number| self.namespace(number)).collect::<Result<_>>()?;
        let mut ring = Ring { nodes };
        self.links(&ring)?;
        for node in &mut ring.nodes {
            node.init = Some(self.start(&node.name, &node.netns)?);
        }
        for node in &mut ring.nodes {
            let Some(Spawned { child, .. }) = &mut node.init else { continue };
            let mut answer = String::new();
            child.stdout.take().context("its output was asked for")?.read_to_string(&mut answer)?;
            if answer.trim_end() != "ready" {
                bail!("the init of {} said `{answer}`", node.name);
            }
        }
        Ok((ring, started.elapsed()))
    }

    /// Removes a ring; ends when the last namespace is gone.
    pub(crate) fn remove(&self, ring: Ring, kernel: &Kernel) -> Result<Duration> {
        let started = Instant::now();
        for node in &ring.nodes {
            node.init.as_ref().map_or(Ok(()), |init| init.process.signal(Signal::KILL))?;
        }
        for Node { name, netns, init } in ring.nodes {
            if let Some(mut init) = init {
                init.child.wait()?;
            }
            drop(netns);
            unpin(self.path("netns", &name))?;
            if let Some(error) = self.cgroups.remove(&Path::new(CGROUP).join(&name), started + LIMIT).pop() {
                return Err(error.into());
            }
            fs::remove_dir_all(self.path("layers", &name))?;
            fs::remove_dir_all(self.path("nodes", &name))?;
        }
        kernel.settle()?;
        Ok(started.elapsed())
    }

    /// Where everything is that it has for itself.
    pub(crate) fn roots(&self) -> [PathBuf; 1] {
        [self.memory.path().to_owned()]
    }

    fn path(&self, what: &str, node: &str) -> PathBuf {
        self.memory.path().join(what).join(node)
    }

    /// The directories, the network namespace and the cgroups of a node.
    fn namespace(&self, number: usize) -> Result<Node> {
        let name = ring::node(number);
        let layer = self.path("layers", &name);
        for directory in [self.path("nodes", &name), layer.join("upper"), layer.join("work")] {
            DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        }
        let netns = Netns::create_pinned_with(self.path("netns", &name), || {
            for (setting, value) in SETTINGS {
                let file = format!("/proc/sys/{}", setting.replace('.', "/"));
                if !fs::read_to_string(&file).is_ok_and(|now| now.trim_end() == value) {
                    let _ = fs::write(file, value);
                }
            }
        })?;
        self.cgroups.ensure(&Path::new(CGROUP).join(&name), Limits::default())?;
        Ok(Node { name, netns, init: None })
    }

    fn links(&self, ring: &Ring) -> Result<()> {
        let size = ring.nodes.len();
        let place = |at: usize| Place::node(ring.nodes[at % size].netns.clone(), ring.nodes[at % size].name.as_str());
        let ifindex = |number: usize| u32::try_from(number).map(|number| number + 1000);
        let mut create = Vec::with_capacity(size);
        let mut finish: Vec<Vec<Request>> = (0..size).map(|_| Vec::new()).collect();
        for link in 0..size {
            let ends = [(link, "eth1", 2 * link), ((link + 1) % size, "eth2", 2 * link + 1)];
            let mut made = Vec::with_capacity(2);
            for ((at, name, number), address) in ends.into_iter().zip(ring::addresses(link)) {
                let octets = u32::try_from(number)?.to_be_bytes();
                made.push(VethEnd {
                    place: place(at),
                    name: name.parse().context("a valid name")?,
                    ifindex: Some(ifindex(number)?),
                    mac: Some(Mac([0xaa, 0xc1, 0xab, octets[1], octets[2], octets[3]])),
                    mtu: Some(Mtu::DEFAULT),
                    group: GROUP,
                });
                let alias = format!("netloom/0123456789ab/floor/{}/01234567.89abcdef", ring::link(link, size));
                let state = Some(AdminState::Up);
                let change = LinkChange { state, alias: Some(alias), ..LinkChange::default() };
                let address = Address::V4(address.parse().context("a valid address")?);
                finish[at].extend([
                    Request::SetLink { place: place(at), ifindex: ifindex(number)?, change },
                    Request::AddAddress { place: place(at), ifindex: ifindex(number)?, address, protocol: Some(0x4e) },
                ]);
            }
            let (Some(b), Some(a)) = (made.pop(), made.pop()) else { bail!("a link has two ends") };
            create.push(Request::CreateVeth { a, b, a_state: AdminState::Down, a_master: None });
        }
        for batch in [create, finish.concat()] {
            for answer in self.runtime.block_on(self.rtnl.submit(batch, Instant::now() + LIMIT))? {
                answer?;
            }
        }
        Ok(())
    }

    fn start(&self, name: &str, netns: &Netns) -> Result<Spawned> {
        let text = |path: PathBuf| path.into_os_string().into_string().ok().context("a path in UTF-8");
        let run = self.path("nodes", name);
        let groups = self.cgroups.files(&Path::new(CGROUP).join(name));
        let spec = NodeSpec {
            layer: text(self.path("layers", name))?,
            hostname: name.to_owned(),
            hosts: text(self.memory.path().join("hosts"))?,
            masks: vec!["/var/lib/docker".into(), "/var/lib/containerd".into(), text(self.memory.path().into())?],
            sysctls: SETTINGS.iter().map(|(setting, value)| format!("-{setting}={value}")).collect(),
            cgroups: groups.into_iter().map(text).collect::<Result<_>>()?,
            ..NodeSpec::default()
        };
        let log = File::options().create(true).append(true).mode(0o640).open(run.join("log"))?;
        let mut command = Command::new(self.memory.path().join("init"));
        command.arg0("netloom-init").arg("node").arg(run).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let deadline = Instant::now() + LIMIT;
        let surroundings = Surroundings::Node(netns.clone());
        let mut spawned = self.runtime.block_on(self.spawner.spawn(surroundings, command, deadline))?;
        spawned.child.stdin.take().context("its input was asked for")?.write_all(&spec.encode())?;
        Ok(spawned)
    }
}
