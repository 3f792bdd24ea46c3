//! The namespace runtime: nodes are processes in namespaces of their own, over the host's root file system.
//!
//! A node belongs to no agent. Its init ([`netloom-init`](https://github.com/netloom/netloom), carried along in this
//! program) makes the root, keeps the output, records the exit, and lives on when the agent ends. What is known of a
//! node is read from its run directory and from the kernel; the next agent adopts it by that.
//!
//! ```text
//!   /run/netloom/nodes/<lab>/<node>/   node.json (our mark), status.json, log, log.1
//!   /run/netloom/netns/<lab>/<node>    its network namespace, pinned; /run/netns/<container> links to it
//!   /run/netloom/labs/<lab>/hosts      names of the lab: /etc/hosts of each of its nodes
//!   /var/lib/netloom/layers/<lab>/<node>/{upper,work}   what it has written; made-for: the spec it was made for
//!   cgroups netloom/<instance>/lab-<lab>/node-<node>
//! ```
//!
//! ```text
//!   Runtime calls ─▶ one task a call, one at a time a node ─▶ nl-node-0 … -7  files, namespaces, cgroups
//!                                     │                   └─▶ nl-spawn-0, -1  processes
//!                                     └─▶ one task a running node: waits for its end (pidfd), reports it
//! ```
//!
//! Nodes are not a security boundary: root in a node is root. They lose what would change the machine by accident.

mod compose;
mod copy;
mod fault;
mod life;
mod logs;
mod observe;
mod pool;
mod program;
mod record;
mod session;
#[path = "../../../../init/src/spec.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the init, which reads what is written here")]
mod spec;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use netloom_engine::{
    Applied, Context, CopyError, CopyIn, CopyOut, DriverError, ErrorClass, ExecRequest, ExecSession, Fact, Follow,
    Incoming, Landing, Layout, Links, LogStream, NodeOrder, NodeUsage, Outgoing, Owner, Report, Reporter, Runtime,
    Source, Terminal, task,
};
use netloom_failpoint::point;
use netloom_kernel::{Cgroups, Identity, Process, Signal, Spawner, Surroundings, prepare_pin_directory};
use netloom_model::{LabName, NodeName, RuntimeKind};
use netloom_plan::names_hash;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

pub use program::INIT;

use fault::{Fault, fault};
use life::Ground;
use pool::Pool;
use program::Program;

const SOURCE: Source = Source::Runtime(RuntimeKind::Namespace);
/// How long a node has to end after TERM before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How long a look or the start of a session may take; those have no deadline of their own.
const PATIENCE: Duration = Duration::from_secs(10);

/// The namespace runtime of one agent instance.
#[derive(Debug, Clone)]
pub struct NamespaceRuntime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ground: Ground,
    reporter: Reporter,
    pool: Pool,
    /// Or why nothing can be started.
    starter: Result<(Spawner, Arc<Program>), String>,
    nodes: Mutex<HashMap<Key, Entry>>,
}

type Key = (LabName, NodeName);

/// What is remembered of a node while this agent lives; nothing of it is state of the node.
#[derive(Debug, Default)]
struct Entry {
    /// Held by the call that works on the node.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// How many hold it or wait for it.
    places: usize,
    /// The init whose end is waited for.
    watched: Option<Identity>,
}

/// A place in the line of those that work on a node. The last one that leaves removes the entry, unless the node is
/// watched.
struct Place {
    shared: Arc<Shared>,
    key: Key,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = self.shared.entries();
        let Some(entry) = entries.get_mut(&self.key) else { return };
        entry.places -= 1;
        if entry.places == 0 && entry.watched.is_none() {
            entries.remove(&self.key);
        }
    }
}

impl NamespaceRuntime {
    /// Starts the threads of the runtime. Blocks for some milliseconds; call it once, before the async work begins.
    /// Without root it starts too, and [`Runtime::check`] says what is missing.
    pub fn start(layout: Layout, reporter: Reporter) -> Result<Self, DriverError> {
        let refused = |cause: String| fault("start", "the namespace runtime", cause, ErrorClass::Permanent);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let cgroups = Cgroups::detect().map_err(|error| refused(format!("cgroups: {}", plain(&error))))?;
        let pool = Pool::start().map_err(|error| refused(plain(&error)))?;
        let starter = starter(&layout);
        let ground = Ground { layout, cgroups, boot };
        let shared = Shared { ground, reporter, pool, starter, nodes: Mutex::default() };
        Ok(Self { shared: Arc::new(shared) })
    }
}

fn starter(layout: &Layout) -> Result<(Spawner, Arc<Program>), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("root is needed".into());
    }
    // A mount of its own, and private, before the spawner copies what is mounted.
    prepare_pin_directory(layout.pins()).map_err(|error| format!("{}: {}", layout.pins().display(), plain(&error)))?;
    let foreign = ["/run/netns", "/run/docker", "/run/containerd", "/var/lib/docker", "/var/lib/containerd"];
    let mut hidden: Vec<PathBuf> = foreign.iter().map(PathBuf::from).collect();
    hidden.extend([layout.pins(), layout.ip_netns()]);
    let spawner = Spawner::start(&hidden).map_err(|error| error.to_string())?;
    let program = Program::load().map_err(|error| format!("the init cannot be kept in memory: {}", plain(&error)))?;
    Ok((spawner, Arc::new(program)))
}

impl Shared {
    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn files<T: Send + 'static>(
        self: &Arc<Self>,
        deadline: Instant,
        work: impl FnOnce(&Ground) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let shared = Arc::clone(self);
        self.pool.run(deadline, move || work(&shared.ground)).await.map_err(Fault::from)
    }

    /// Looks at a node, reports what is there, and sees to it that its end will be noticed.
    async fn observe(self: &Arc<Self>, key: &Key) {
        let (lab, node) = key.clone();
        let look = self.files(Instant::now() + PATIENCE, move |ground| {
            let seen = ground.look(&lab, &node)?;
            Ok::<_, Fault>(seen.map(|seen| (seen.fact(&ground.layout), seen.process)))
        });
        match look.await {
            Ok(Ok(Some((fact, process)))) => {
                self.reporter.send(Report::Events(SOURCE, vec![Fact::Node(fact)]));
                if let Some(process) = process {
                    self.watch(key.clone(), process);
                }
            }
            Ok(Ok(None)) => self.gone(key),
            // The relist comes back to it, soon.
            Ok(Err(why)) => {
                self.reporter.send(Report::Unreachable(SOURCE, why.to_string()));
                self.reporter.send(Report::Lost(SOURCE));
            }
            Err(_) => self.reporter.send(Report::Lost(SOURCE)),
        }
    }

    fn gone(&self, (lab, node): &Key) {
        self.reporter.send(Report::Events(SOURCE, vec![Fact::NodeGone(lab.clone(), node.clone())]));
    }

    /// Waits for the end of an init, once, and reports it.
    fn watch(self: &Arc<Self>, key: Key, process: Process) {
        let identity = process.identity();
        if self.entries().entry(key.clone()).or_default().watched.replace(identity) == Some(identity) {
            return;
        }
        let shared = Arc::clone(self);
        task::spawn(format!("end of {}/{}", key.0, key.1), async move {
            let ended = process.ended().await;
            let place = shared.place(&key);
            if let Err(error) = ended {
                // The next look waits for it again.
                shared.unwatch(&key, identity);
                tracing::error!(lab = %key.0, node = %key.1, %error, "a node's end cannot be waited for");
                return;
            }
            process.reap();
            // While a call works on the node, that call says what became of it.
            let _turn = place.turn.lock().await;
            if shared.unwatch(&key, identity) {
                shared.observe(&key).await;
            }
        });
    }

    fn place(self: &Arc<Self>, key: &Key) -> Place {
        let mut entries = self.entries();
        let entry = entries.entry(key.clone()).or_default();
        entry.places += 1;
        let turn = Arc::clone(&entry.turn);
        drop(entries);
        Place { shared: Arc::clone(self), key: key.clone(), turn }
    }

    /// Whether the end of this init was still to be told.
    fn unwatch(&self, key: &Key, identity: Identity) -> bool {
        self.entries().get_mut(key).is_some_and(|entry| entry.watched.take_if(|of| *of == identity).is_some())
    }

    /// Runs a call about a node as a task of its own, after those before it: a caller that gives up does not leave
    /// it half done.
    async fn in_turn<F>(
        self: &Arc<Self>,
        what: &'static str,
        key: Key,
        context: &Context,
        call: impl FnOnce(Arc<Self>, Key, Instant) -> F + Send + 'static,
    ) -> Result<(), DriverError>
    where
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let object = format!("node {}", key.1);
        let (deadline, cancel) = (context.deadline, context.cancel.clone());
        let shared = Arc::clone(self);
        let work = task::spawn(format!("{what} {}/{}", key.0, key.1), async move {
            let place = shared.place(&key);
            let Ok(_turn) = tokio::time::timeout_at(deadline.into(), place.turn.lock()).await else {
                return Err(Fault::from(ErrorClass::Deadline));
            };
            if Instant::now() >= deadline {
                return Err(Fault::from(ErrorClass::Deadline));
            }
            if cancel.is_cancelled() {
                return Err(Fault::from(ErrorClass::Cancelled));
            }
            call(shared, key, deadline).await
        });
        // What has begun is waited for also when it is cancelled: whoever plans next must see what came of it.
        let result = tokio::select! {
            result = work => result.unwrap_or_else(|_| Err(Fault::from(ErrorClass::Transient))),
            () = tokio::time::sleep_until(deadline.into()) => Err(ErrorClass::Deadline.into()),
        };
        result.map_err(|fault| fault.of(what, &object))
    }

    fn starter(&self) -> Result<(Spawner, Arc<Program>), Fault> {
        self.starter.clone().map_err(Fault::permanent)
    }

    async fn start_node(self: Arc<Self>, order: NodeOrder, key: Key, deadline: Instant) -> Result<(), Fault> {
        let (spawner, program) = self.starter()?;
        let prepare = move |ground: &Ground| ground.prepare(&order, &program, deadline);
        let prepared = self.files(deadline, prepare).await??;
        let Some((netns, command)) = prepared else { return Ok(()) };
        let mut spawned = spawner.spawn(Surroundings::Node(netns), command, deadline).await?;
        point!("node.start.spawned");
        let answer = match spawned.child.stdout.take() {
            Some(stdout) => tokio::time::timeout_at(deadline.into(), ready(stdout.into())).await,
            None => Ok(Err(Fault::permanent("its init cannot be heard".into()))),
        };
        point!("node.start.answered");
        let result = answer.unwrap_or_else(|_| Err(ErrorClass::Deadline.into()));
        if result.is_err() {
            // One that could not be set up ends by itself; one that hangs does not.
            let _ = spawned.process.signal(Signal::KILL);
        }
        self.watch(key.clone(), spawned.process);
        self.observe(&key).await;
        point!("node.start.done");
        result
    }

    async fn stop_node(self: Arc<Self>, key: Key, deadline: Instant) -> Result<(), Fault> {
        let (lab, node) = key.clone();
        let stop = move |ground: &Ground| ground.begin_stop(&lab, &node);
        if let Some(process) = self.files(deadline, stop).await?.map_err(Fault::again)? {
            process.signal(Signal::TERM).map_err(|error| Fault::transient(plain(&error)))?;
            point!("node.stop.asked");
            // Time must be left to kill it.
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = GRACE.min(left / 2);
            if tokio::time::timeout(patience, process.ended()).await.is_err() {
                process.signal(Signal::KILL).map_err(|error| Fault::transient(plain(&error)))?;
            }
            end_of(&process, deadline).await?;
            point!("node.stop.ended");
        }
        self.observe(&key).await;
        Ok(())
    }

    async fn delete_node(self: Arc<Self>, key: Key, deadline: Instant) -> Result<(), Fault> {
        let deleted = self.end_and_remove(&key, deadline).await;
        match deleted {
            Ok(()) => self.gone(&key),
            // It may be dead by now, and nobody else tells.
            Err(_) => self.observe(&key).await,
        }
        deleted
    }

    async fn end_and_remove(self: &Arc<Self>, key: &Key, deadline: Instant) -> Result<(), Fault> {
        let (lab, node) = key.clone();
        let look = move |ground: &Ground| ground.begin_delete(&lab, &node);
        if let Some(process) = self.files(deadline, look).await?? {
            process.signal(Signal::KILL).map_err(|error| Fault::transient(plain(&error)))?;
            point!("node.delete.killed");
            end_of(&process, deadline).await?;
        }
        point!("node.delete.ended");
        // Who deletes it tells what becomes of it.
        if let Some(entry) = self.entries().get_mut(key) {
            entry.watched = None;
        }
        let (lab, node) = key.clone();
        let errors = self.files(deadline, move |ground| ground.remove(&lab, &node, deadline)).await?;
        if errors.is_empty() { Ok(()) } else { Err(Fault::transient(errors.join("; "))) }
    }
}

/// Waits for what the init says when it is set up.
async fn ready(stdout: OwnedFd) -> Result<(), Fault> {
    let failed = |error: io::Error| Fault::transient(plain(&error));
    let mut answer = String::new();
    let mut stdout = pipe::Receiver::from_owned_fd(stdout).map_err(failed)?;
    stdout.read_to_string(&mut answer).await.map_err(failed)?;
    match answer.trim_end() {
        "ready" => Ok(()),
        "" => Err(Fault::transient("its init ended before the node was set up".into())),
        other => Err(Fault::of_init(other.strip_prefix("failed ").unwrap_or(other))),
    }
}

async fn end_of(process: &Process, deadline: Instant) -> Result<(), Fault> {
    match tokio::time::timeout_at(deadline.into(), process.ended()).await {
        Ok(ended) => ended.map_err(|error| Fault::transient(plain(&error))),
        Err(_) => Err(ErrorClass::Deadline.into()),
    }
    .inspect(|()| {
        process.reap();
    })
}

#[async_trait]
impl Runtime for NamespaceRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Namespace
    }

    async fn check(&self) -> Result<(), DriverError> {
        let refused = |cause: &str, hint: &str| {
            let mut error = fault("use", "the namespace runtime", cause.to_owned(), ErrorClass::Permanent);
            error.hint = Some(hint.to_owned());
            error
        };
        if let Err(why) = &self.shared.starter {
            return Err(refused(why, "run the agent as root"));
        }
        let known = self.shared.files(Instant::now() + PATIENCE, |_| {
            let modules = rustix::system::uname().release().to_string_lossy().into_owned();
            let listed = fs::read_to_string("/proc/filesystems").is_ok_and(|list| list.contains("\toverlay\n"));
            // Where there are modules, the kernel loads this one when it is asked for.
            listed || fs::exists(format!("/lib/modules/{modules}")).unwrap_or(false)
        });
        match known.await {
            Ok(false) => Err(refused("this kernel has no overlay file system", "use a kernel with CONFIG_OVERLAY_FS")),
            _ => Ok(()),
        }
    }

    async fn check_node(&self, order: &NodeOrder) -> Result<(), DriverError> {
        let object = format!("node {}", order.node);
        let order = order.clone();
        let check = self.shared.files(Instant::now() + PATIENCE, move |ground| {
            let node = compose::node(&order).map_err(|why| (why, None))?;
            if let Some(obstacle) = compose::obstacle(node) {
                return Err(obstacle);
            }
            let limits = compose::limits(node);
            ground.cgroups.supports(limits).map_err(|error| (error.to_string(), Some("remove the limit".to_owned())))
        });
        match check.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((cause, hint))) => Err(DriverError { hint, ..fault("make", &object, cause, ErrorClass::Permanent) }),
            Err(fault) => Err(fault.of("check", &object)),
        }
    }

    async fn create(&self, order: &NodeOrder, context: &Context) -> Result<(), DriverError> {
        let key = key_of(order);
        let order = order.clone();
        let create = |shared: Arc<Shared>, key: Key, deadline| async move {
            shared.starter()?;
            let made = shared.files(deadline, move |ground| ground.create(&order)).await?;
            shared.observe(&key).await;
            made
        };
        self.shared.in_turn("create", key, context, create).await
    }

    async fn start(&self, order: &NodeOrder, context: &Context) -> Result<(), DriverError> {
        let key = key_of(order);
        let order = order.clone();
        let start = |shared: Arc<Shared>, key, deadline| shared.start_node(order, key, deadline);
        self.shared.in_turn("start", key, context, start).await
    }

    async fn update(&self, order: &NodeOrder, context: &Context) -> Result<(), DriverError> {
        let key = key_of(order);
        let order = order.clone();
        let update = |shared: Arc<Shared>, key: Key, deadline| async move {
            let updated = shared.files(deadline, move |ground| ground.update(&order)).await?;
            shared.observe(&key).await;
            updated
        };
        self.shared.in_turn("update", key, context, update).await
    }

    async fn stop(&self, lab: &LabName, node: &NodeName, context: &Context) -> Result<(), DriverError> {
        let key = (lab.clone(), node.clone());
        self.shared.in_turn("stop", key, context, Shared::stop_node).await
    }

    async fn delete(&self, lab: &LabName, node: &NodeName, context: &Context) -> Result<(), DriverError> {
        let key = (lab.clone(), node.clone());
        self.shared.in_turn("delete", key, context, Shared::delete_node).await
    }

    async fn write_names(&self, lab: &LabName, content: Option<&str>, context: &Context) -> Result<(), DriverError> {
        let fact = Fact::Names(lab.clone(), content.map(names_hash));
        let (lab_name, content) = (lab.clone(), content.map(str::to_owned));
        let write = self.shared.files(context.deadline, move |ground| match content {
            Some(content) => ground.write_names(&lab_name, &content),
            None => ground.forget_lab(&lab_name),
        });
        let written = write.await.and_then(|result| result.map_err(Fault::again));
        written.map_err(|fault| fault.of("write", &format!("the names of lab {lab}")))?;
        self.shared.reporter.send(Report::Events(SOURCE, vec![fact]));
        Ok(())
    }

    async fn relist(&self) -> Result<(), DriverError> {
        let started = SystemTime::now();
        let look = self.shared.files(Instant::now() + PATIENCE, move |ground| {
            let mut facts = Vec::new();
            let mut running = Vec::new();
            let mut mended = false;
            let all = observe::all(&ground.layout, &ground.boot)?;
            for seen in all.seen {
                let (lab, node) = (&seen.record.lab, &seen.record.node);
                match ground.mend(&seen) {
                    Ok(true) => {
                        mended = true;
                        tracing::warn!(%lab, %node, "somebody unpinned its namespace; it is pinned again");
                    }
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%lab, %node, %error, "its namespace cannot be pinned again"),
                }
                facts.push(Fact::Node(seen.fact(&ground.layout)));
                let key = (seen.record.lab, seen.record.node);
                running.extend(seen.process.map(|process| (key, process)));
            }
            for (lab, content) in observe::names_files(&ground.layout)? {
                facts.push(Fact::Names(lab, Some(names_hash(&content))));
            }
            Ok::<_, io::Error>((facts, all.unseen, running, mended))
        });
        let found = look.await.and_then(|found| found.map_err(|error| Fault::transient(plain(&error))));
        match found {
            Ok((facts, unseen, running, mended)) => {
                if mended {
                    self.shared.reporter.send(Report::Lost(Source::Fabric));
                }
                self.shared.reporter.send(Report::Relist { source: SOURCE, started, facts, unseen });
                for (key, process) in running {
                    self.shared.watch(key, process);
                }
                Ok(())
            }
            Err(fault) => {
                let error = fault.of("list", "the nodes");
                self.shared.reporter.send(Report::Unreachable(SOURCE, error.to_string()));
                Err(error)
            }
        }
    }

    async fn applied(&self, lab: &LabName) -> Result<BTreeMap<NodeName, Option<Applied>>, DriverError> {
        let name = lab.clone();
        let look = self.shared.files(Instant::now() + PATIENCE, move |ground| observe::applied(&ground.layout, &name));
        let found = look.await.and_then(|found| found.map_err(|error| Fault::transient(plain(&error))));
        found.map_err(|fault| fault.of("read the records of", &format!("lab {lab}")))
    }

    async fn exec(&self, lab: &LabName, node: &NodeName, request: ExecRequest) -> Result<ExecSession, DriverError> {
        let object = format!("node {node}");
        self.begin_exec(lab, node, request).await.map_err(|fault| fault.of("run a command in", &object))
    }

    async fn logs(&self, lab: &LabName, node: &NodeName, follow: Follow) -> Result<LogStream, DriverError> {
        let (lab, name) = (lab.clone(), node.clone());
        let look = self.shared.files(Instant::now() + PATIENCE, move |ground| {
            let there = ground.look(&lab, &name)?.is_some();
            Ok::<_, Fault>(there.then(|| ground.layout.node_run(&lab, &name)))
        });
        let opened = match look.await {
            Ok(Ok(Some(directory))) => logs::open(self.shared.pool.clone(), &directory, follow)
                .map_err(|error| Fault::transient(plain(&error))),
            Ok(Ok(None)) => Err(Fault::permanent("it is not there".into())),
            Ok(Err(why)) => Err(why.again()),
            Err(fault) => Err(fault),
        };
        opened.map_err(|fault| fault.of("read the output of", &format!("node {node}")))
    }

    async fn usage(&self, lab: &LabName, context: &Context) -> Result<Vec<NodeUsage>, DriverError> {
        let name = lab.clone();
        let read = self.shared.files(context.deadline, move |ground| ground.usage(&name)).await;
        read.and_then(|usage| usage.map_err(Fault::again))
            .map_err(|fault| fault.of("read the usage of", &format!("lab {lab}")))
    }

    async fn copy_out(&self, lab: &LabName, node: &NodeName, request: CopyOut) -> Result<Outgoing, CopyError> {
        let mut words = vec!["out".to_owned()];
        if request.links == Links::Followed {
            words.push("--follow".into());
        }
        words.push(request.path);
        let copying = copying("copy files from", lab, node);
        let deadline = Instant::now() + PATIENCE;
        let session = self.begin_copy(lab, node, words, deadline).await;
        let session = session.map_err(|fault| fault.of(copying.what, &copying.object))?;
        copy::outgoing(copying, session, deadline).await
    }

    async fn copy_in(&self, lab: &LabName, node: &NodeName, request: CopyIn) -> Result<Incoming, CopyError> {
        let mut words = vec!["in".to_owned()];
        if request.landing == Landing::Into {
            words.push("--into".into());
        }
        if request.owner == Owner::Kept {
            words.push("--keep-owners".into());
        }
        words.push(request.path);
        let copying = copying("copy files to", lab, node);
        let session = self.begin_copy(lab, node, words, Instant::now() + PATIENCE).await;
        let session = session.map_err(|fault| fault.of(copying.what, &copying.object))?;
        Ok(copy::incoming(copying, session))
    }
}

fn copying(what: &'static str, lab: &LabName, node: &NodeName) -> copy::Copying {
    copy::Copying { what, place: format!("{lab}/{node}:"), object: format!("node {node}") }
}

impl NamespaceRuntime {
    async fn begin_exec(&self, lab: &LabName, node: &NodeName, request: ExecRequest) -> Result<ExecSession, Fault> {
        let (spawner, program) = self.shared.starter()?;
        let deadline = Instant::now() + PATIENCE;
        let name = format!("exec in {lab}/{node}");
        let terminal = request.terminal;
        let (lab, node) = (lab.clone(), node.clone());
        let prepare = self.shared.files(deadline, move |ground| ground.exec_command(&lab, &node, &program, &request));
        let command = prepare.await??;
        connect(name, &spawner, command, terminal, deadline).await
    }

    async fn begin_copy(
        &self,
        lab: &LabName,
        node: &NodeName,
        words: Vec<String>,
        deadline: Instant,
    ) -> Result<ExecSession, Fault> {
        let (spawner, program) = self.shared.starter()?;
        if words.iter().any(|word| word.contains('\0')) {
            return Err(Fault::permanent("no path has a NUL in it".into()));
        }
        let name = format!("copy in {lab}/{node}");
        let (lab, node) = (lab.clone(), node.clone());
        let prepare = self.shared.files(deadline, move |ground| ground.copy_command(&lab, &node, &program, &words));
        let command = prepare.await??;
        connect(name, &spawner, command, Terminal::None, deadline).await
    }
}

/// Starts what joins a node, and carries its streams.
async fn connect(
    name: String,
    spawner: &Spawner,
    mut command: Command,
    terminal: Terminal,
    deadline: Instant,
) -> Result<ExecSession, Fault> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let spawned = spawner.spawn(Surroundings::Own, command, deadline).await?;
    session::connect(name, spawned, terminal).map_err(|error| Fault::transient(plain(&error)))
}

fn key_of(order: &NodeOrder) -> Key {
    (order.lab.name().clone(), order.node.clone())
}

/// "no such file or directory" without Rust's "(os error 2)".
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
