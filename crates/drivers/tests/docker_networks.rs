//! Management networks of the Docker runtime, with a daemon of the test's own.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_docker::{ByteStream, ContainerSpec, Docker, Endpoint, HostConfig, Ipam, NetworkSpec, Remove, Subnet};
use netloom_dockerd_fixture::{Dockerd, busybox};
use netloom_drivers::Demand;
use netloom_drivers::fabric::kernel::KernelFabric;
use netloom_drivers::runtime::docker::{DockerParts, DockerRuntime};
use netloom_drivers::runtime::namespace::NamespaceRuntime;
use netloom_engine::{Context, Layout, Networks, Runtime, channel, task};
use netloom_kernel::Netns;
use netloom_model::{Family, Management};
use tokio_util::sync::CancellationToken;

const IMAGE: &str = "netloom.test/busybox:1";
const BRIDGE: &str = "br-test";

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn context() -> Context {
    Context { deadline: soon(), cancel: CancellationToken::new() }
}

/// A daemon in a network of its own, and an agent's runtime on it.
struct Stage {
    agent: DockerRuntime,
    docker: Docker,
    daemon: Dockerd,
    _root: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Option<Self> {
        let daemon = Dockerd::start()?;
        let docker = Docker::new(Endpoint::Unix(daemon.socket()), Arc::new(()));
        docker.load_image(ByteStream::from(bytes::Bytes::from(busybox(IMAGE))), soon()).await.unwrap();
        let (agent, root) = agent(&daemon);
        Some(Self { agent, docker, daemon, _root: root })
    }

    fn networks(&self) -> &dyn Networks {
        self.agent.networks().unwrap()
    }

    /// What `ip` says on the daemon's host.
    fn ip(&self, arguments: &str) -> String {
        let netns = format!("--net=/proc/{}/ns/net", self.daemon.pid());
        let output = Command::new("nsenter").arg(netns).arg("ip").args(arguments.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    async fn names(&self) -> Vec<String> {
        let all = self.docker.list_networks(&netloom_docker::Filters::new(), soon()).await.unwrap();
        let mut names: Vec<String> = all.into_iter().map(|network| network.name).collect();
        names.retain(|name| !["host", "none", "bridge"].contains(&name.as_str()));
        names
    }

    /// A container that is on a network.
    async fn member(&self, network: &str) -> String {
        let host_config = HostConfig { network_mode: network.to_owned(), ..HostConfig::default() };
        let cmd = Some(["sleep", "100000"].map(str::to_owned).to_vec());
        let spec = ContainerSpec { image: IMAGE.into(), cmd, host_config, ..ContainerSpec::default() };
        let id = self.docker.create_container("theirs", &spec, soon()).await.unwrap().id;
        self.docker.start_container(&id, soon()).await.unwrap();
        id
    }
}

/// An agent beside a daemon, with directories of its own.
fn agent(daemon: &Dockerd) -> (DockerRuntime, tempfile::TempDir) {
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::new(root.path()).unwrap();
    let (reporter, _, writer) = channel();
    task::spawn("inventory", writer.run());
    let host = Netns::open(format!("/proc/{}/ns/net", daemon.pid())).unwrap();
    let fabric = Arc::new(KernelFabric::start(layout.clone(), &host, reporter.clone()).unwrap());
    let keeper = NamespaceRuntime::start(layout.clone(), reporter.clone(), Demand::default()).unwrap();
    let endpoint = Endpoint::Unix(daemon.socket());
    let parts = DockerParts { endpoint, observer: Arc::new(()), fabric, joiner: keeper.joiner() };
    (DockerRuntime::start(layout, reporter, parts).unwrap(), root)
}

fn wanted() -> Management {
    Management { bridge: Some(BRIDGE.parse().unwrap()), ..Management::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_is_made_once_however_many_ask_and_goes_when_nobody_is_on_it() {
    let Some(stage) = Stage::new().await else { return };
    let networks = stage.networks();
    let on = networks.survey(&wanted(), &context()).await.unwrap().on;
    assert_eq!((stage.names().await, stage.ip("-br link show type bridge")), (Vec::new(), String::new()));
    let contexts: Vec<Context> = (0..4).map(|_| context()).collect();
    let asked = contexts.iter().map(|context| networks.ensure(&on, context));
    futures::future::join_all(asked).await.into_iter().for_each(Result::unwrap);
    assert_eq!(stage.names().await, ["clab"]);
    let there = stage.docker.inspect_network("clab", soon()).await.unwrap();
    let of = |subnet: &Subnet| format!("{} {} {}", subnet.subnet, subnet.ip_range, subnet.gateway);
    let sides: Vec<String> = there.ipam.config.iter().map(of).collect();
    assert_eq!(
        sides,
        [
            "172.20.20.0/24 172.20.20.240/28 172.20.20.1",
            "3fff:172:20:20::/64 3fff:172:20:20:8000::/80 3fff:172:20:20::1"
        ]
    );
    let again = networks.survey(&wanted(), &context()).await.unwrap();
    assert_eq!((&again.on, again.taken.len()), (&on, 0));

    // Docker gives to others what no node of ours is given; and as long as one is there, the network is.
    let id = stage.member("clab").await;
    let taken = networks.survey(&wanted(), &context()).await.unwrap().taken;
    let taken: Vec<String> = taken.iter().map(|(address, who)| format!("{address} {who}")).collect();
    assert_eq!(taken, ["172.20.20.240 theirs", "3fff:172:20:20:8000:: theirs"]);
    networks.remove("clab", &context()).await.unwrap();
    assert_eq!(stage.names().await, ["clab"]);
    stage.docker.remove_container(&id, Remove::ALL, soon()).await.unwrap();
    networks.remove("clab", &context()).await.unwrap();
    networks.remove("clab", &context()).await.unwrap();
    assert_eq!((stage.names().await, stage.ip("-br link show type bridge")), (Vec::new(), String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_was_deleted_or_is_half_made_is_whole_again_and_goes_with_its_network() {
    let Some(stage) = Stage::new().await else { return };
    let networks = stage.networks();
    let on = networks.survey(&wanted(), &context()).await.unwrap().on;
    networks.ensure(&on, &context()).await.unwrap();
    let id = stage.member("clab").await;
    let ports = || stage.ip(&format!("-br link show master {BRIDGE}")).lines().count();
    let is_whole = || {
        let addresses = stage.ip(&format!("-o address show {BRIDGE}"));
        let has = |address| addresses.contains(address);
        ports() == 1 && has("172.20.20.1/24") && has("3fff:172:20:20::1/64") && stage.ip("link").contains(",UP")
    };
    assert!(is_whole());
    stage.ip(&format!("link delete {BRIDGE}"));
    assert_eq!(ports(), 0);
    networks.ensure(&on, &context()).await.unwrap();
    assert!(is_whole(), "{}", stage.ip("address"));

    // As when an agent has died over it.
    stage.ip(&format!("link set {BRIDGE} down"));
    stage.ip(&format!("address flush dev {BRIDGE}"));
    let port = stage.ip(&format!("-br link show master {BRIDGE}"));
    stage.ip(&format!("link set {} nomaster", port.split('@').next().unwrap()));
    networks.ensure(&on, &context()).await.unwrap();
    assert!(is_whole(), "{}", stage.ip("address"));

    stage.docker.remove_container(&id, Remove::ALL, soon()).await.unwrap();
    networks.remove("clab", &context()).await.unwrap();
    assert_eq!((stage.names().await, stage.ip("-br link show type bridge")), (Vec::new(), String::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn networks_of_others_are_used_or_refused_and_never_removed() {
    let Some(stage) = Stage::new().await else { return };
    let networks = stage.networks();
    let subnet = Subnet { subnet: "172.20.20.0/23".into(), ..Subnet::default() };
    let ipam = Ipam { config: vec![subnet], ..Ipam::default() };
    let theirs = NetworkSpec { name: "theirs".into(), ipam, ..NetworkSpec::default() };
    stage.docker.create_network(&theirs, soon()).await.unwrap();
    let refused = networks.survey(&wanted(), &context()).await.unwrap_err();
    let (why, hint) = (refused.to_string(), refused.hint.unwrap());
    assert!(why.contains("172.20.20.0/24 overlaps 172.20.20.0/23 of Docker's network `theirs`"), "{why}");
    assert!(hint.contains("`mgmt.ipv4-subnet`"), "{hint}");

    let used = Management { network: "theirs".into(), ..Management::default() };
    let on = networks.survey(&used, &context()).await.unwrap().on;
    let Family::Subnet { net, .. } = on.network.ipv4 else { panic!("{on:?}") };
    assert_eq!((net.to_string(), on.others_ipv4.unwrap()), ("172.20.20.0/23".into(), net));
    assert_eq!(on.network.ipv6, Family::Off);
    networks.ensure(&on, &context()).await.unwrap();
    networks.remove("theirs", &context()).await.unwrap();
    assert_eq!(stage.names().await, ["theirs"]);
    stage.docker.remove_network("theirs", soon()).await.unwrap();

    // Another agent's: whom it has given which address shows nowhere.
    let (other, _root) = agent(&stage.daemon);
    let on = networks.survey(&wanted(), &context()).await.unwrap().on;
    networks.ensure(&on, &context()).await.unwrap();
    let refused = other.networks().unwrap().survey(&wanted(), &context()).await.unwrap_err();
    assert!(refused.to_string().contains("another agent"), "{refused}");
    assert!(refused.hint.unwrap().contains("`mgmt.network`"));
    other.networks().unwrap().remove("clab", &context()).await.unwrap();
    assert_eq!(stage.names().await, ["clab"]);
    networks.remove("clab", &context()).await.unwrap();
}
