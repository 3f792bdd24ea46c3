//! A host of a test's own, an agent on it, and what all tests of nodes ask.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_drivers::Demand;
use netloom_drivers::runtime::namespace::NamespaceRuntime;
use netloom_engine::{
    Context, DriverError, ExecInput, ExecOutput, ExecRequest, Follow, Inventory, Layout, NodeFact, NodeOrder, Runtime,
};
use netloom_kernel::{Process, Signal};
use netloom_model::{Lab, LabName, NodeName};
use netloom_plan::{NodeFingerprint, NodeState};
use serde_json::{Value, json};

pub(crate) fn root() -> bool {
    if std::fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0\t0\t0")) {
        return true;
    }
    assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "this test needs root and NETLOOM_REQUIRE_ROOT is set");
    eprintln!("SKIPPED: this test needs root");
    false
}

/// A lab of nodes with these fields beside kind, runtime and host name.
pub(crate) fn lab(nodes: &[(&str, Value)]) -> Arc<Lab> {
    let nodes: serde_json::Map<String, Value> = nodes
        .iter()
        .map(|(name, more)| {
            let mut node = json!({ "kind": "linux", "runtime": "namespace", "hostname": name });
            node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ((*name).to_owned(), node)
        })
        .collect();
    Arc::new(serde_json::from_value(json!({ "name": "lab", "nodes": nodes })).unwrap())
}

pub(crate) fn one(more: Value) -> Arc<Lab> {
    lab(&[("r1", more)])
}

pub(crate) fn context() -> Context {
    Context { deadline: Instant::now() + Duration::from_secs(30), cancel: tokio_util::sync::CancellationToken::new() }
}

pub(crate) fn lab_name() -> LabName {
    "lab".parse().unwrap()
}

pub(crate) fn name(node: &str) -> NodeName {
    node.parse().unwrap()
}

pub(crate) fn order(lab: &Arc<Lab>, node: &str) -> NodeOrder {
    let fingerprint = NodeFingerprint::of(&lab.nodes()[&name(node)], 0, 0);
    NodeOrder { lab: lab.clone(), node: name(node), fingerprint, rebuild: 0, restarts: 0 }
}

/// A host's directories of a test's own, and an agent on it.
pub(crate) struct Stage {
    pub(crate) root: tempfile::TempDir,
    pub(crate) layout: Layout,
    pub(crate) runtime: NamespaceRuntime,
    pub(crate) inventory: Inventory,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        Self::of(root, layout)
    }

    pub(crate) fn of(root: tempfile::TempDir, layout: Layout) -> Self {
        let (runtime, inventory) = agent(&layout);
        Self { root, layout, runtime, inventory }
    }

    pub(crate) fn run(&self, node: &str) -> PathBuf {
        self.layout.node_run(&lab_name(), &name(node))
    }

    pub(crate) async fn up(&self, lab: &Arc<Lab>, node: &str) -> Result<(), DriverError> {
        self.runtime.create(&order(lab, node), &context()).await?;
        self.runtime.start(&order(lab, node), &context()).await
    }

    /// Waits until a node is seen so.
    pub(crate) async fn until(&self, node: &str, wanted: impl Fn(&NodeFact) -> bool) -> NodeFact {
        until(&self.inventory, node, wanted).await
    }

    /// Runs a command in a node: exit code, output, errors.
    pub(crate) async fn exec(&self, node: &str, words: &[&str]) -> (i32, String, String) {
        let argv = words.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecRequest::plain(argv);
        let mut session = self.runtime.exec(&lab_name(), &name(node), request).await.unwrap();
        // It may have ended already.
        let _ = session.input.send(ExecInput::CloseStdin).await;
        collect(&mut session.output).await
    }

    /// The output of `sh -c` in a node, which must succeed.
    pub(crate) async fn sh(&self, node: &str, script: &str) -> String {
        let (code, output, errors) = self.exec(node, &["sh", "-c", script]).await;
        assert_eq!(code, 0, "{script}: {output}{errors}");
        output.trim_end().to_owned()
    }

    /// Waits until the runtime says that it could not look at something; what it says.
    pub(crate) async fn complaint(&self) -> String {
        let mut changes = self.inventory.changes();
        let error = async {
            loop {
                let snapshot = self.inventory.snapshot();
                if let Some(error) = snapshot.sources.values().find_map(|state| state.error.clone()) {
                    return error;
                }
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(10), error).await.unwrap()
    }

    pub(crate) async fn delete(&self, node: &str) {
        self.runtime.delete(&lab_name(), &name(node), &context()).await.unwrap();
    }

    pub(crate) async fn log(&self, node: &str) -> String {
        let mut stream = self.runtime.logs(&lab_name(), &name(node), Follow::No).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = stream.chunks.recv().await {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Also after a test that failed: nothing may be left.
        for pid in inits_below(self.root.path()) {
            if let Ok(Some(process)) = Process::open(pid) {
                process.signal(Signal::KILL).unwrap();
                process.wait_until(Instant::now() + Duration::from_secs(10)).unwrap();
                process.reap();
            }
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(4)) {
            if Path::new(mount).starts_with(self.root.path()) {
                let _ = rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH);
            }
        }
        remove_cgroups(&self.layout);
    }
}

pub(crate) fn remove_cgroups(layout: &Layout) {
    for directory in cgroups_of(layout) {
        for lab in std::fs::read_dir(&directory).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
            for node in std::fs::read_dir(lab.path()).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
                let _ = std::fs::remove_dir(node.path());
            }
            let _ = std::fs::remove_dir(lab.path());
        }
        let _ = std::fs::remove_dir(&directory);
    }
}

pub(crate) fn agent(layout: &Layout) -> (NamespaceRuntime, Inventory) {
    let (reporter, inventory, writer) = netloom_engine::channel();
    netloom_engine::task::spawn("inventory", writer.run());
    (NamespaceRuntime::start(layout.clone(), reporter, Demand::default()).unwrap(), inventory)
}

pub(crate) async fn until(inventory: &Inventory, node: &str, wanted: impl Fn(&NodeFact) -> bool) -> NodeFact {
    let mut changes = inventory.changes();
    let seen = async {
        loop {
            let snapshot = inventory.snapshot();
            let fact = snapshot.labs.get(&lab_name()).and_then(|lab| lab.nodes.get(&name(node)));
            if let Some(fact) = fact.filter(|fact| wanted(fact)) {
                return NodeFact::clone(fact);
            }
            changes.changed().await.unwrap();
        }
    };
    let result = tokio::time::timeout(Duration::from_secs(10), seen).await;
    result.unwrap_or_else(|_| panic!("not seen; the inventory has {:?}", inventory.snapshot().labs))
}

pub(crate) async fn collect(output: &mut tokio::sync::mpsc::Receiver<ExecOutput>) -> (i32, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let next = tokio::time::timeout(Duration::from_secs(20), output.recv()).await.unwrap();
        match next.expect("a session ends with an exit code") {
            ExecOutput::Stdout(bytes) => out.extend_from_slice(&bytes),
            ExecOutput::Stderr(bytes) => err.extend_from_slice(&bytes),
            ExecOutput::Exited(code) => {
                return (code, String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned());
            }
        }
    }
}

/// Process numbers of inits whose run directory is below a path.
pub(crate) fn inits_below(root: &Path) -> Vec<u32> {
    let numbers = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|pid| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
            words.first() == Some(&b"netloom-init".as_slice())
                && words.get(2).is_some_and(|run| run.starts_with(root.to_str().unwrap().as_bytes()))
        })
        .collect()
}

pub(crate) fn cgroups_of(layout: &Layout) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts = mounts.lines().filter(|line| line.split(' ').nth(2).is_some_and(|kind| kind.starts_with("cgroup")));
    let ours = mounts.map(|line| Path::new(line.split(' ').nth(1).unwrap()).join("netloom").join(layout.instance()));
    ours.filter(|directory| directory.exists()).collect()
}

pub(crate) fn is_running(fact: &NodeFact) -> bool {
    fact.state == NodeState::Running
}
