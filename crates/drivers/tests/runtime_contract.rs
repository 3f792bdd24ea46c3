//! The real runtimes keep the contract of runtimes.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use the helpers here")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_docker::{ByteStream, Docker, Endpoint, Remove};
use netloom_dockerd_fixture::{Dockerd, busybox};
use netloom_drivers::Demand;
use netloom_drivers::fabric::kernel::KernelFabric;
use netloom_drivers::runtime::docker::{DockerParts, DockerRuntime};
use netloom_drivers::runtime::namespace::NamespaceRuntime;
use netloom_engine::testing::Sketch;
use netloom_engine::testing::contract::{RuntimeStage, runtime_contract};
use netloom_engine::{Context, Layout, NodeOrder, Reporter, Runtime, Snapshot, channel, task};
use netloom_kernel::{Netns, Process, Signal};
use netloom_model::NodeName;
use netloom_plan::{NodeFingerprint, NodeState};
use tokio_util::sync::CancellationToken;

fn root() -> bool {
    if std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0\t0\t0")) {
        return true;
    }
    assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "this test needs root and NETLOOM_REQUIRE_ROOT is set");
    eprintln!("SKIPPED: this test needs root");
    false
}

/// A root directory of the test's own.
struct Below(tempfile::TempDir);

impl Drop for Below {
    fn drop(&mut self) {
        // Also after a test that failed: no node may be left.
        let root = self.0.path();
        for pid in std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()) {
            let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let run = words.strip_prefix("netloom-init\0node\0");
            if run.is_some_and(|run| Path::new(run).starts_with(root))
                && let Ok(Some(process)) = Process::open(pid)
            {
                process.signal(Signal::KILL).unwrap();
                process.wait_until(Instant::now() + Duration::from_secs(10)).unwrap();
                process.reap();
            }
        }
        // The runtime mounts the directory of pins on itself, and a pin for each node.
        let pins = Layout::new(root).unwrap().pins();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(mount).starts_with(&pins) {
                let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
            }
        }
        let instance = Path::new("netloom").join(Layout::new(root).unwrap().instance());
        for mount in mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4))
        {
            remove_tree(&Path::new(mount).join(&instance));
        }
    }
}

/// Removes empty cgroups, the innermost first.
fn remove_tree(directory: &Path) {
    for inner in std::fs::read_dir(directory).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        remove_tree(&inner.path());
    }
    let _ = std::fs::remove_dir(directory);
}

#[async_trait::async_trait]
impl RuntimeStage for Below {
    async fn runtime(&mut self, reporter: Reporter) -> Arc<dyn Runtime> {
        Arc::new(NamespaceRuntime::start(Layout::new(self.0.path()).unwrap(), reporter, Demand::default()).unwrap())
    }
}

/// A daemon of the test's own, and an agent's root for its containers.
struct Dockers {
    // Ends first, with all that holds what is below the root.
    daemon: Dockerd,
    root: Below,
    keeper: Option<Arc<NamespaceRuntime>>,
}

const IMAGE: &str = "netloom.test/busybox:1";

impl Dockers {
    async fn new() -> Option<Self> {
        let daemon = Dockerd::start()?;
        let docker = Docker::new(Endpoint::Unix(daemon.socket()), Arc::new(()));
        let deadline = Instant::now() + Duration::from_secs(60);
        docker.load_image(ByteStream::from(bytes::Bytes::from(busybox(IMAGE))), deadline).await.unwrap();
        Some(Self { daemon, root: Below(tempfile::tempdir().unwrap()), keeper: None })
    }
}

#[async_trait::async_trait]
impl RuntimeStage for Dockers {
    async fn runtime(&mut self, reporter: Reporter) -> Arc<dyn Runtime> {
        self.keeper = None;
        let layout = Layout::new(self.root.0.path()).unwrap();
        let host = Netns::open(format!("/proc/{}/ns/net", self.daemon.pid())).unwrap();
        let fabric = Arc::new(KernelFabric::start(layout.clone(), &host, reporter.clone()).unwrap());
        let keeper = NamespaceRuntime::start(layout.clone(), reporter.clone(), fabric.demand()).unwrap();
        let parts = DockerParts {
            endpoint: Endpoint::Unix(self.daemon.socket()),
            observer: Arc::new(()),
            fabric,
            joiner: keeper.joiner(),
        };
        self.keeper = Some(Arc::new(keeper));
        Arc::new(DockerRuntime::start(layout, reporter, parts).unwrap())
    }

    fn image(&self) -> Option<String> {
        Some(IMAGE.to_owned())
    }

    fn keeper_of_names(&self) -> Option<Arc<dyn Runtime>> {
        let keeper = self.keeper.as_ref()?;
        Some(Arc::<NamespaceRuntime>::clone(keeper))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_docker_runtime_keeps_the_contract() {
    let Some(mut stage) = Dockers::new().await else { return };
    runtime_contract(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_container_goes_is_not_gone_before_the_place_of_its_links_is() {
    let Some(mut stage) = Dockers::new().await else { return };
    let layout = Layout::new(stage.root.0.path()).unwrap();
    let (reporter, inventory, writer) = channel();
    task::spawn("inventory", writer.run());
    let runtime = stage.runtime(reporter).await;
    let within = || Context { deadline: Instant::now() + Duration::from_secs(60), cancel: CancellationToken::new() };
    let image = stage.image();
    let sketch = ["a", "b"]
        .into_iter()
        .fold(Sketch::new("x"), |sketch, node| sketch.container(node).with(node, |node| node.image.clone_from(&image)));
    let lab = sketch.lab();
    let order = |node: &str| {
        let node: NodeName = node.parse().unwrap();
        let fingerprint = NodeFingerprint::of(&lab.nodes()[&node], 0, 0);
        NodeOrder { fingerprint, rebuild: 0, restarts: 0, lab: lab.clone(), node }
    };
    let (a, b) = (order("a"), order("b"));
    let is = async |node: &NodeName, state: Option<NodeState>| {
        let mut changes = inventory.changes();
        let seen = |all: &Snapshot| Some(all.labs.get(lab.name())?.nodes.get(node)?.state.clone());
        while seen(&inventory.snapshot()) != state {
            changes.changed().await.unwrap();
        }
    };
    let docker = Docker::new(Endpoint::Unix(stage.daemon.socket()), Arc::new(()));
    let remove = async |name: &str| docker.remove_container(name, Remove::ALL, within().deadline).await.unwrap();
    runtime.relist().await.unwrap();
    // Since then it listens, sooner or later.
    let listens = async {
        loop {
            runtime.create(&b, &within()).await.unwrap();
            is(&b.node, Some(NodeState::Created)).await;
            remove("clab-x-b").await;
            if tokio::time::timeout(Duration::from_secs(1), is(&b.node, None)).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), listens).await.expect("it hears of a removal");

    runtime.reserve(&a, &within()).await.unwrap();
    runtime.create(&a, &within()).await.unwrap();
    is(&a.node, Some(NodeState::Created)).await;
    remove("clab-x-a").await;
    let absent = is(&a.node, Some(NodeState::Absent));
    tokio::time::timeout(Duration::from_secs(60), absent).await.expect("it is absent, and not gone");
    let pin = layout.pin(lab.name(), &a.node);
    assert!(pin.exists());
    runtime.delete(lab.name(), &a.node, &within()).await.unwrap();
    assert!(!pin.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_namespace_runtime_keeps_the_contract() {
    if root() {
        runtime_contract(&mut Below(tempfile::tempdir().unwrap())).await;
    }
}
