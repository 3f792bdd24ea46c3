//! Rings of containers, each time beside the same ring made by bare calls of Docker's API, four at once, and `ip -batch`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use netloom_docker::{ByteStream, ContainerSpec, Docker, Endpoint, Filters, HostConfig, Remove};
use netloom_dockerd_fixture::{Dockerd, busybox};
use netloom_fault_kit::Proxy;
use tokio::runtime::Runtime;

use crate::agent::Agent;
use crate::host::LIMIT;
use crate::pairs::Pairs;
use crate::ring::{self, Nodes};
use crate::stats::{Sample, milliseconds};
use crate::table::{Line, print_all};

pub(crate) const IMAGE: &str = "bench:1";
/// Calls of the API at once: more do not make Docker faster.
const AT_ONCE: usize = 4;
/// How many times what the floor takes a deploy or a destroy may take.
const BAR: f64 = 1.1;
/// The same of a deploy on the management network, beside the floor without one.
const MANAGED: f64 = 1.2;
/// A deploy with nothing to change, a link added, what is asked of a lab that runs; in seconds.
const NOTHING: f64 = 0.050;
const LINK: f64 = 0.050;
const INSPECT: f64 = 0.020;
const EXEC: f64 = 1.0;
/// Calls of the API for each new node.
const CALLS: f64 = 3.0;
/// Runs of what is quick.
const RUNS: usize = 20;
/// Containers in the lab that is asked and edited, and in the one whose calls are counted.
const LARGE: usize = 100;
const COUNTED: usize = 10;
/// Containers that a command is run in.
const EXECS: usize = 50;

/// A daemon, and the bare way to make a ring with it.
pub(crate) struct Bare {
    daemon: Dockerd,
    docker: Docker,
    runtime: Runtime,
}

impl Bare {
    pub(crate) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // In the namespace of this process, where the agent is too.
        let daemon =
            Dockerd::start_by(&mut Command::new("env")).context("a Docker daemon (Debian package docker.io)")?;
        let docker = Docker::new(Endpoint::Unix(daemon.socket()), Arc::new(()));
        let image = ByteStream::from(bytes::Bytes::from(busybox(IMAGE)));
        runtime.block_on(docker.load_image(image, Instant::now() + LIMIT))?;
        Ok(Self { daemon, docker, runtime })
    }

    /// Where the daemon is.
    pub(crate) fn socket(&self) -> PathBuf {
        self.daemon.socket()
    }

    pub(crate) fn daemon(&self) -> &Dockerd {
        &self.daemon
    }

    /// Makes a ring; the ids of its containers, and how long it took.
    fn make(&self, size: usize) -> Result<(Vec<String>, Duration)> {
        let started = Instant::now();
        let made = futures::stream::iter((0..size).map(|number| self.container(number)));
        let made = self.runtime.block_on(made.buffered(AT_ONCE).try_collect::<Vec<_>>())?;
        wire(&made)?;
        Ok((made.into_iter().map(|(id, _)| id).collect(), started.elapsed()))
    }

    async fn container(&self, number: usize) -> Result<(String, u32)> {
        let host = HostConfig {
            network_mode: "none".into(),
            cap_add: vec!["ALL".into()],
            cap_drop: vec!["SYS_RESOURCE".into()],
            masked_paths: Some(Vec::new()),
            readonly_paths: Some(Vec::new()),
            security_opt: vec!["seccomp=unconfined".into()],
            ..HostConfig::default()
        };
        let spec = ContainerSpec {
            image: IMAGE.into(),
            tty: true,
            open_stdin: true,
            host_config: host,
            ..ContainerSpec::default()
        };
        let deadline = Instant::now() + LIMIT;
        let id = self.docker.create_container(&format!("bare-{number}"), &spec, deadline).await?.id;
        self.docker.start_container(&id, deadline).await?;
        let pid = self.docker.inspect_container(&id, deadline).await?.state.pid;
        Ok((id, pid))
    }

    fn remove(&self, ids: Vec<String>) -> Result<Duration> {
        let started = Instant::now();
        let removals = futures::stream::iter(
            ids.into_iter()
                .map(|id| async move { self.docker.remove_container(&id, Remove::ALL, Instant::now() + LIMIT).await }),
        );
        self.runtime.block_on(removals.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>())?;
        Ok(started.elapsed())
    }

    /// Whether it has no containers.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        Ok(self.runtime.block_on(self.docker.list_containers(&Filters::new(), Instant::now() + LIMIT))?.is_empty())
    }
}

/// Makes the links of a ring in place, one process for all of them, and brings them up, one process a container.
fn wire(made: &[(String, u32)]) -> Result<()> {
    let mut links = String::new();
    let mut inside = vec![String::new(); made.len()];
    for link in 0..made.len() {
        let (a, b) = (link, (link + 1) % made.len());
        let (from, to) = (made[a].1, made[b].1);
        let _ = writeln!(links, "link add eth1 netns {from} type veth peer name eth2 netns {to}");
        for (node, name, address) in [(a, "eth1", 0), (b, "eth2", 1)] {
            let address = &ring::addresses(link)[address];
            let _ = writeln!(inside[node], "link set {name} up\naddr add {address} dev {name}");
        }
    }
    batch(Command::new("env"), &links)?;
    for ((_, pid), commands) in made.iter().zip(inside) {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &pid.to_string()]);
        batch(command, &commands)?;
    }
    Ok(())
}

/// Has `ip` carry out commands; `there` begins a command that runs its further arguments where they are for.
pub(crate) fn batch(mut there: Command, commands: &str) -> Result<()> {
    let mut ip = there.args(["ip", "-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    ip.stdin.take().context("its input")?.write_all(commands.as_bytes())?;
    ensure!(ip.wait()?.success(), "ip -batch failed");
    Ok(())
}

/// Measures rings of these sizes; whether the bars hold.
pub(crate) fn measure(netloom: &std::path::Path, sizes: &[usize], pairs: usize) -> Result<bool> {
    let bare = Bare::start()?;
    let counter = Proxy::start(&bare.daemon.socket())?;
    let agent = Agent::start_with_docker(netloom, bare.daemon.socket())?;
    let mut good = true;
    for size in sizes {
        good &= rings(&bare, &agent, *size, pairs)?;
    }
    agent.deploy_ring("large", LARGE, Nodes::Containers(IMAGE))?;
    good &= large(&agent)?;
    agent.destroy("large")?;
    drop(agent);
    good &= calls(netloom, &counter)?;
    ensure!(bare.is_empty()?, "containers are left");
    Ok(good)
}

fn rings(bare: &Bare, agent: &Agent, size: usize, pairs: usize) -> Result<bool> {
    let (mut made, mut removed, mut managed) = (Pairs::default(), Pairs::default(), Pairs::default());
    // The first pair warms the caches of both sides and is not counted.
    for pair in 0..=pairs {
        let (ids, floor) = bare.make(size)?;
        let floor_removed = bare.remove(ids)?;
        let deployed = agent.deploy_ring("ring", size, Nodes::Containers(IMAGE))?;
        let destroyed = agent.destroy("ring")?;
        let on_network = agent.deploy_ring("ring", size, Nodes::Managed(IMAGE))?;
        agent.destroy("ring")?;
        if pair > 0 {
            managed.add(floor, on_network);
            made.add(floor, deployed);
            removed.add(floor_removed, destroyed);
        }
    }
    let what = format!("ring of {size} containers");
    Ok(print_all([
        made.line(format!("{what}: deploy"), BAR),
        managed.line(format!("{what}: deploy on a network"), MANAGED),
        removed.line(format!("{what}: destroy"), BAR),
    ]))
}

/// What is asked of a lab that runs.
fn large(agent: &Agent) -> Result<bool> {
    let mut nothing = Sample::default();
    let (mut inspect, mut exec, mut link) = (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..RUNS {
        nothing.time(agent.deploy_ring("large", LARGE, Nodes::Containers(IMAGE))?);
        inspect.time(agent.timed(&["inspect", "large"])?);
        link.time(agent.timed(&["link", "add", "large", "n0:eth9", "n50:eth9"])?);
        agent.timed(&["link", "rm", "large", "n0:eth9", "n50:eth9"])?;
    }
    agent.deploy_ring("execs", EXECS, Nodes::Containers(IMAGE))?;
    for _ in 0..5 {
        exec.time(agent.timed(&["exec", "--name", "execs", "--", "hostname"])?);
    }
    agent.destroy("execs")?;
    let line = |what: String, sample: &Sample, bar: f64| Line {
        what,
        figure: milliseconds(sample.median()),
        more: format!("most {}", milliseconds(sample.most())),
        bar: Some((format!("≤ {}", milliseconds(bar)), sample.median() <= bar)),
        ..Line::default()
    };
    Ok(print_all([
        line(format!("{LARGE} containers: a deploy with nothing to do"), &nothing, NOTHING),
        line(format!("{LARGE} containers: a link added"), &link, LINK),
        line(format!("{LARGE} containers: inspect"), &inspect, INSPECT),
        line(format!("{EXECS} containers: exec hostname in all"), &exec, EXEC),
    ]))
}

/// How often Docker is called, by an agent that reaches it through a counter.
fn calls(netloom: &std::path::Path, counter: &Proxy) -> Result<bool> {
    let agent = Agent::start_with_docker(netloom, counter.socket())?;
    // The first look at everything, and what is asked once for all nodes, is none of a node's.
    agent.deploy_ring("first", 1, Nodes::Containers(IMAGE))?;
    let counted = |what: &dyn Fn() -> Result<()>| -> Result<f64> {
        counter.take();
        what()?;
        Ok(f64::from(counter.take()))
    };
    let deploy = counted(&|| agent.deploy_ring("calls", COUNTED, Nodes::Containers(IMAGE)).map(drop))?;
    let nothing = counted(&|| agent.deploy_ring("calls", COUNTED, Nodes::Containers(IMAGE)).map(drop))?;
    let link = counted(&|| agent.timed(&["link", "add", "calls", "n0:eth9", "n5:eth9"]).map(drop))?;
    agent.destroy("calls")?;
    agent.destroy("first")?;
    // A lab of its own asks once whether the daemon is there, and once which names are taken.
    #[expect(clippy::cast_precision_loss, reason = "ten")]
    let each = (deploy - 2.0) / COUNTED as f64;
    let line = |what: &str, figure: f64, bar: f64| Line {
        what: format!("calls of Docker: {what}"),
        figure: format!("{figure:.1}"),
        bar: Some((format!("≤ {bar:.0}"), figure <= bar)),
        ..Line::default()
    };
    Ok(print_all([
        line("each node of a fresh deploy", each, CALLS),
        line("a deploy with nothing to do", nothing, 0.0),
        line("a link added", link, 0.0),
    ]))
}
