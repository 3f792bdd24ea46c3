//! Calls that are cut short, with a process in the place of an init.

use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;

use netloom_engine::{Inventory, NodeFact, task};
use netloom_kernel::{Identity, Process, Signal};
use netloom_plan::NodeState;

use super::*;

/// A host's directories of a test's own, and a node `lab/r1` on it.
struct Stage {
    shared: Arc<Shared>,
    inventory: Inventory,
    layout: Layout,
    _root: tempfile::TempDir,
}

/// What looks like an init; it waits until its input is closed.
struct Init {
    child: Child,
    _input: ChildStdin,
}

const RUNNING: &str = r#""phase":"running""#;

fn key() -> Key {
    ("lab".parse().unwrap(), "r1".parse().unwrap())
}

impl Stage {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        let (reporter, inventory, writer) = netloom_engine::channel();
        task::spawn("inventory", writer.run());
        let cgroups = Cgroups::detect().unwrap();
        let ground = Ground { layout: layout.clone(), cgroups, boot: "boot".into() };
        let (pool, joiner) = (Pool::start("nl-node", THREADS).unwrap(), Err("nothing is started here".into()));
        let shared = Arc::new(Shared {
            ground,
            reporter,
            pool,
            ends: None,
            joiner,
            turns: Arc::default(),
            watched: Mutex::default(),
        });
        Self { shared, inventory, layout, _root: root }
    }

    fn run(&self) -> std::path::PathBuf {
        let (lab, node) = key();
        self.layout.node_run(&lab, &node)
    }

    /// A node whose init says this of itself.
    fn node(&self, phase: &str) -> Init {
        let run = self.run();
        fs::create_dir_all(&run).unwrap();
        let scripts = self.layout.root().join("scripts");
        fs::create_dir(&scripts).unwrap();
        fs::write(scripts.join("node"), "echo up; read line").unwrap();
        let mut command = Command::new("sh");
        command.arg0(super::super::program::NAME).arg("node").arg(&run).current_dir(scripts);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // Until it says something its words may not be there yet: a spawn returns in the middle of the exec.
        let mut line = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let Identity { pid, start_time } = Process::open(child.id()).unwrap().unwrap().identity();
        let instance = self.layout.instance();
        let record = format!(
            r#"{{"instance":"{instance}","lab":"lab","node":"r1","container":"c","boot":"boot","fingerprint":"1.2.3"}}"#
        );
        fs::write(run.join(record::FILE), record).unwrap();
        let status = format!(r#"{{{phase},"init":{{"pid":{pid},"start_time":{start_time}}}}}"#);
        fs::write(run.join(spec::STATUS_FILE), status).unwrap();
        let input = child.stdin.take().unwrap();
        Init { child, _input: input }
    }

    async fn until(&self, wanted: impl Fn(Option<&NodeFact>) -> bool) {
        let (lab, node) = key();
        let mut changes = self.inventory.changes();
        let seen = async {
            loop {
                let snapshot = self.inventory.snapshot();
                if wanted(snapshot.node(&lab, &node)) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(5), seen).await;
        seen.unwrap_or_else(|_| panic!("not seen; the inventory has {:?}", self.inventory.snapshot().labs));
    }

    /// Keeps a thread of the pool busy until the answer is dropped.
    fn occupy(&self) -> mpsc::SyncSender<()> {
        let (busy, idle) = mpsc::sync_channel::<()>(1);
        let pool = self.shared.pool.clone();
        let work = move || idle.recv();
        task::spawn("busy", async move { pool.run(Instant::now() + PATIENCE, work).await });
        busy
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_running(fact: Option<&NodeFact>) -> bool {
    fact.is_some_and(|fact| fact.state == NodeState::Running)
}

#[tokio::test]
async fn a_node_that_was_killed_but_not_removed_in_time_is_not_shown_as_running() {
    let stage = Stage::new();
    let _init = stage.node(RUNNING);
    stage.shared.observe(&key()).await;
    stage.until(is_running).await;

    // In the order of the queue: all threads are busy, the look of the delete, all threads are busy again.
    let first: Vec<_> = (0..THREADS).map(|_| stage.occupy()).collect();
    tokio::task::yield_now().await;
    let deadline = Instant::now() + Duration::from_millis(300);
    let delete = task::spawn("delete", Arc::clone(&stage.shared).delete_node(key(), deadline));
    tokio::task::yield_now().await;
    let second: Vec<_> = (0..THREADS).map(|_| stage.occupy()).collect();
    tokio::task::yield_now().await;
    drop(first);
    // What was asked before it passed is not begun after it.
    tokio::time::sleep_until(deadline.into()).await;
    drop(second);
    let error = delete.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), Fault::from(ErrorClass::Deadline).to_string());
    stage.until(|fact| fact.is_some_and(|fact| fact.state != NodeState::Running)).await;
    assert!(stage.run().exists());
}

#[tokio::test]
async fn nothing_is_remembered_of_a_node_that_is_gone() {
    let stage = Stage::new();
    let _init = stage.node(RUNNING);
    stage.shared.observe(&key()).await;
    assert_eq!(stage.shared.watched().len(), 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    let context = Context { deadline, cancel: tokio_util::sync::CancellationToken::new() };
    // The call as if it were done, while whoever waits for the end of the init still waits for its turn.
    let call = |shared: Arc<Shared>, key: Key, _| async move {
        let identity = shared.watched().remove(&key).unwrap();
        Process::find(identity).unwrap().unwrap().signal(Signal::KILL).map_err(|e| Fault::transient(plain(&e)))?;
        while shared.turns.in_line(&key) < 2 {
            tokio::task::yield_now().await;
        }
        Ok(())
    };
    stage.shared.in_turn("delete", key(), &context, call).await.unwrap();
    let empty = async {
        while !stage.shared.watched().is_empty() || stage.shared.turns.in_line(&key()) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), empty).await.unwrap();
}

#[tokio::test]
async fn a_node_whose_last_life_does_not_end_may_be_started_later() {
    let stage = Stage::new();
    let _init = stage.node(r#""phase":"exited","code":0"#);
    let lab = serde_json::json!({ "name": "lab", "nodes": { "r1": { "kind": "linux", "runtime": "namespace", "hostname": "r1" } } });
    let lab: Arc<netloom_model::Lab> = Arc::new(serde_json::from_value(lab).unwrap());
    let fingerprint = "1.2.3".parse().unwrap();
    let order = NodeOrder { lab, node: key().1, fingerprint, rebuild: 0, restarts: 0 };
    let program = super::super::program::Program::load().unwrap();
    let error =
        stage.shared.ground.prepare(&order, &program, Instant::now()).unwrap_err().of(BACKEND, "start", "node r1");
    assert_eq!((error.cause.as_str(), error.class), ("what ran in it before does not end", ErrorClass::Transient));
}
