//! A runtime whose nodes are entries of a map.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use netloom_model::{LabName, NamespaceComes, Node, NodeName, RuntimeKind};
use netloom_plan::{NodeFingerprint, NodeState, names_hash};
use tokio::sync::{mpsc, oneshot};

use super::program::{self, Program};
use super::trouble::error;
use super::world::{FakeNode, World};
use crate::applied::Applied;
use crate::copy::{CopyError, CopyIn, CopyOut, Incoming, Outgoing};
use crate::driver::{
    Context, DriverError, ErrorClass, ExecInput, ExecOutput, ExecRequest, ExecSession, Follow, LogStream, Networks,
    NodeOrder, Runtime,
};
use crate::fact::{Fact, Health, NodeFact, Source};
use crate::image::Images;
use crate::rates::NodeUsage;
use crate::task;

/// The runtime of a [`World`].
#[derive(Debug, Clone)]
pub struct FakeRuntime {
    pub(super) world: World,
    pub(super) kind: RuntimeKind,
}

impl FakeRuntime {
    pub(super) fn new(world: World, kind: RuntimeKind) -> Self {
        Self { world, kind }
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }

    fn running(&self, lab: &LabName, node: &NodeName, operation: &str) -> Result<(), DriverError> {
        let state = self.world.lock();
        match state.nodes.get(&(lab.clone(), node.clone())) {
            Some(there) if there.fact.state == NodeState::Running => Ok(()),
            _ => Err(error(operation, &format!("node {node}"), "it does not run", ErrorClass::Permanent)),
        }
    }

    fn program(&self, lab: &LabName, argv: &[String]) -> Program {
        let hosts = self.world.lock().names.get(lab).cloned().unwrap_or_default();
        program::run(argv, &hosts)
    }
}

fn key(order: &NodeOrder) -> (LabName, NodeName) {
    (order.lab.name().clone(), order.node.clone())
}

/// A node of which nothing is there yet.
fn absent(order: &NodeOrder, runtime: RuntimeKind) -> NodeFact {
    NodeFact {
        lab: order.lab.name().clone(),
        node: order.node.clone(),
        runtime,
        state: NodeState::Absent,
        pid: None,
        incarnation: None,
        health: None,
        reserved: false,
        namespace: None,
        left_behind: false,
        restarting: false,
        fingerprint: NodeFingerprint::default(),
        container: order.lab.container_name(&order.node),
        runtime_id: None,
        image: None,
        last_output: None,
        note: None,
        seen: std::time::SystemTime::now(),
    }
}

fn has_check(spec: &Node) -> bool {
    let test = spec.healthcheck.as_ref().and_then(|check| check.test.first());
    test.is_some_and(|word| word != "NONE")
}

fn object(lab: &LabName, node: &NodeName) -> String {
    format!("{lab}/{node}")
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn kind(&self) -> RuntimeKind {
        self.kind
    }

    fn images(&self) -> Option<&dyn Images> {
        self.has_images().then_some(self)
    }

    async fn check(&self) -> Result<(), DriverError> {
        self.world.look("check", "runtime").await
    }

    async fn check_node(&self, order: &NodeOrder) -> Result<(), DriverError> {
        self.world.look("check", &object(order.lab.name(), &order.node)).await?;
        let node = &order.lab.nodes()[&order.node];
        match node.binds.iter().find(|bind| bind.source.contains("missing")) {
            Some(bind) => {
                let cause = format!("the source `{}` of a bind is not there", bind.source);
                Err(error("check", &format!("node {}", order.node), &cause, ErrorClass::Permanent))
            }
            None => Ok(()),
        }
    }

    async fn reserve(&self, order: &NodeOrder, _context: &Context) -> Result<(), DriverError> {
        self.world.enter("reserve", &object(order.lab.name(), &order.node)).await?;
        let mut state = self.world.lock();
        let there = state.nodes.entry(key(order)).or_insert_with(|| FakeNode::new(absent(order, self.kind)));
        if there.fact.state == NodeState::Absent {
            there.fact.reserved = true;
            there.has_namespace = true;
        }
        state.tell_node(&key(order));
        Ok(())
    }

    async fn create(&self, order: &NodeOrder, _context: &Context) -> Result<(), DriverError> {
        self.world.enter("create", &object(order.lab.name(), &order.node)).await?;
        self.check_image(order)?;
        let mut state = self.world.lock();
        let there = state.nodes.entry(key(order)).or_insert_with(|| FakeNode::new(absent(order, self.kind)));
        if there.fact.state == NodeState::Absent {
            there.fact.state = NodeState::Created;
            there.fact.fingerprint = order.fingerprint.clone();
            there.fact.image.clone_from(&order.lab.nodes()[&order.node].image);
            there.applied = Applied::of(order);
            there.has_namespace |= self.kind.namespace_comes() == NamespaceComes::WithCreate;
        }
        state.tell_node(&key(order));
        Ok(())
    }

    async fn start(&self, order: &NodeOrder, _context: &Context) -> Result<(), DriverError> {
        self.world.enter("start", &object(order.lab.name(), &order.node)).await?;
        let spec = &order.lab.nodes()[&order.node];
        let argv: Vec<String> = spec.entrypoint.iter().chain(&spec.cmd).cloned().collect();
        let program = self.program(order.lab.name(), &argv);
        let mut state = self.world.lock();
        let life = state.fresh();
        let Some(there) = state.nodes.get_mut(&key(order)) else {
            return Err(error("start", &format!("node {}", order.node), "it is not there", ErrorClass::Permanent));
        };
        if there.fact.state == NodeState::Running && there.fact.fingerprint == order.fingerprint {
            return Ok(());
        }
        there.applied = Applied::of(order);
        there.has_namespace = true;
        there.output += &(program.stdout + &program.stderr);
        there.fact = NodeFact {
            state: NodeState::Running,
            pid: Some(10_000 + life),
            incarnation: Some(format!("life-{life}")),
            fingerprint: order.fingerprint.clone(),
            last_output: None,
            health: has_check(spec).then_some(Health::Starting),
            reserved: false,
            ..there.fact.clone()
        };
        state.tell_node(&key(order));
        if let Some(code) = program.ends {
            let there = state.nodes.get_mut(&key(order)).expect("just seen");
            there.fact.state = NodeState::Exited { code };
            there.fact.pid = None;
            there.fact.health = None;
            there.fact.last_output = Some(there.output.clone());
            state.tell_node(&key(order));
        }
        Ok(())
    }

    async fn update(&self, order: &NodeOrder, _context: &Context) -> Result<(), DriverError> {
        self.world.enter("update", &object(order.lab.name(), &order.node)).await?;
        let mut state = self.world.lock();
        let Some(there) = state.nodes.get_mut(&key(order)) else {
            return Err(error("update", &format!("node {}", order.node), "it is not there", ErrorClass::Permanent));
        };
        there.fact.fingerprint = order.fingerprint.clone();
        there.applied = Applied::of(order);
        state.tell_node(&key(order));
        Ok(())
    }

    async fn stop(&self, lab: &LabName, node: &NodeName, _context: &Context) -> Result<(), DriverError> {
        self.world.enter("stop", &object(lab, node)).await?;
        let mut state = self.world.lock();
        let key = (lab.clone(), node.clone());
        if let Some(there) = state.nodes.get_mut(&key) {
            there.fact.state = NodeState::Stopped;
            there.fact.pid = None;
            there.fact.health = None;
            state.tell_node(&key);
        }
        Ok(())
    }

    async fn delete(&self, lab: &LabName, node: &NodeName, _context: &Context) -> Result<(), DriverError> {
        self.world.enter("delete", &object(lab, node)).await?;
        self.world.lock().remove_node(&(lab.clone(), node.clone()));
        Ok(())
    }

    fn networks(&self) -> Option<&dyn Networks> {
        let keeps = self.kind == RuntimeKind::Docker && self.world.lock().networks.is_some();
        keeps.then_some(self)
    }

    async fn write_names(&self, lab: &LabName, content: Option<&str>, _context: &Context) -> Result<(), DriverError> {
        self.world.enter("names", lab.as_str()).await?;
        let mut state = self.world.lock();
        match content {
            Some(content) => state.names.insert(lab.clone(), content.to_owned()),
            None => state.names.remove(lab),
        };
        state.send(Source::Runtime(self.kind()), vec![Fact::Names(lab.clone(), content.map(names_hash))]);
        Ok(())
    }

    async fn relist(&self) -> Result<(), DriverError> {
        self.world.look("relist", "runtime").await?;
        let answer = self.world.lock().relist(Source::Runtime(self.kind()), |state, seen| {
            let ours = state.nodes.values().filter(|node| node.fact.runtime == self.kind);
            let nodes = ours.map(|node| Fact::Node(NodeFact { seen, ..node.fact.clone() }));
            let names = state.names.iter().map(|(lab, text)| Fact::Names(lab.clone(), Some(names_hash(text))));
            nodes.chain(names).collect()
        });
        self.report_images();
        answer.map_err(|why| error("list", "nodes", &why, ErrorClass::Transient))
    }

    async fn applied(&self, lab: &LabName) -> Result<BTreeMap<NodeName, Option<Applied>>, DriverError> {
        self.world.look("applied", lab.as_str()).await?;
        let state = self.world.lock();
        let nodes = state.nodes.iter().filter(|((of, _), there)| of == lab && there.fact.runtime == self.kind);
        Ok(nodes.map(|((_, node), there)| (node.clone(), there.applied.clone())).collect())
    }

    async fn exec(&self, lab: &LabName, node: &NodeName, request: ExecRequest) -> Result<ExecSession, DriverError> {
        let words = request.argv.join(" ");
        self.world.enter("exec", &format!("{}: {words}", object(lab, node))).await?;
        self.running(lab, node, "exec on")?;
        let program = self.program(lab, &request.argv);
        let (input, from_caller) = mpsc::channel(16);
        let (to_caller, output) = mpsc::channel(16);
        task::spawn("fake exec", serve(program, from_caller, to_caller));
        Ok(ExecSession { input, output })
    }

    async fn exec_on_host(&self, request: ExecRequest) -> Result<ExecSession, DriverError> {
        let words = request.argv.join(" ");
        self.world.enter("exec", &format!("the host: {words}")).await?;
        let (input, from_caller) = mpsc::channel(16);
        let (to_caller, output) = mpsc::channel(16);
        let program = program::run(&request.argv, "");
        task::spawn("fake exec", serve(program, from_caller, to_caller));
        Ok(ExecSession { input, output })
    }

    fn boot(&self) -> Option<String> {
        Some(self.world.lock().boots.to_string())
    }

    async fn logs(&self, lab: &LabName, node: &NodeName, follow: Follow) -> Result<LogStream, DriverError> {
        self.world.look("logs", &object(lab, node)).await?;
        let state = self.world.lock();
        let Some(there) = state.nodes.get(&(lab.clone(), node.clone())) else {
            return Err(error("read logs of", &format!("node {node}"), "it is not there", ErrorClass::Permanent));
        };
        let (sender, chunks) = mpsc::channel(1);
        if !there.output.is_empty() {
            let _ = sender.try_send(Bytes::from(there.output.clone()));
        }
        if follow == Follow::Yes {
            // Nothing more is ever written, so the stream only waits for its reader to go.
            task::spawn("fake logs", async move { sender.closed().await });
        }
        Ok(LogStream { chunks })
    }

    async fn usage(&self, lab: &LabName, _context: &Context) -> Result<Vec<NodeUsage>, DriverError> {
        self.world.look("usage", lab.as_str()).await?;
        let state = self.world.lock();
        let running = state
            .nodes
            .values()
            .filter(|node| &node.fact.lab == lab && node.fact.runtime == self.kind && node.fact.pid.is_some());
        let usage = running.map(|node| NodeUsage {
            node: node.fact.node.clone(),
            cpu: Some(Duration::from_secs(1)),
            memory_bytes: Some(4096),
        });
        Ok(usage.collect())
    }

    async fn copy_out(&self, lab: &LabName, node: &NodeName, request: CopyOut) -> Result<Outgoing, CopyError> {
        self.world.look("copy out", &object(lab, node)).await?;
        self.running(lab, node, "copy from")?;
        let archive = {
            let state = self.world.lock();
            let node = state.nodes.get(&(lab.clone(), node.clone())).expect("it runs");
            Bytes::from(node.files.pack(&request.path)?)
        };
        let (sender, pieces) = mpsc::channel(1);
        task::spawn("fake copy out", async move {
            for piece in archive.chunks(1000) {
                if sender.send(Ok(archive.slice_ref(piece))).await.is_err() {
                    return;
                }
            }
        });
        Ok(Outgoing { pieces })
    }

    async fn copy_in(&self, lab: &LabName, node: &NodeName, request: CopyIn) -> Result<Incoming, CopyError> {
        self.world.enter("copy in", &object(lab, node)).await?;
        self.running(lab, node, "copy to")?;
        let (pieces, mut arriving) = mpsc::channel::<Bytes>(1);
        let (told, done) = oneshot::channel();
        let (world, key) = (self.world.clone(), (lab.clone(), node.clone()));
        task::spawn("fake copy in", async move {
            let mut archive = Vec::new();
            while let Some(piece) = arriving.recv().await {
                archive.extend_from_slice(&piece);
            }
            let mut state = world.lock();
            let copied = match state.nodes.get_mut(&key) {
                Some(node) => node.files.unpack(&request, &archive),
                None => Err(error("copy to", &format!("node {}", key.1), "it is gone", ErrorClass::Permanent).into()),
            };
            // Whoever copied may be gone.
            let _ = told.send(copied);
        });
        Ok(Incoming { pieces, done })
    }
}

/// Plays a command: its output, then its input if it reads that, then its end.
async fn serve(program: Program, mut input: mpsc::Receiver<ExecInput>, output: mpsc::Sender<ExecOutput>) {
    let send = async |what| output.send(what).await;
    if !program.stdout.is_empty() && send(ExecOutput::Stdout(program.stdout.into())).await.is_err() {
        return;
    }
    if !program.stderr.is_empty() && send(ExecOutput::Stderr(program.stderr.into())).await.is_err() {
        return;
    }
    let code = match program.ends {
        Some(code) => code,
        None => loop {
            match input.recv().await {
                Some(ExecInput::Stdin(bytes)) if program.repeats => {
                    if send(ExecOutput::Stdout(bytes)).await.is_err() {
                        return;
                    }
                }
                Some(ExecInput::CloseStdin) if program.repeats => break 0,
                Some(ExecInput::Terminate) | None => break 143,
                Some(_) => {}
            }
        },
    };
    // The reader may have gone; that ends the command too.
    let _ = send(ExecOutput::Exited(code)).await;
}
