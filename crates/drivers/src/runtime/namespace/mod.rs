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

mod calls;
mod compose;
mod ends;
mod life;
mod logs;
mod observe;
mod record;
#[path = "../../../../init/src/spec.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the init, which reads what is written here")]
mod spec;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use netloom_backlog::Backlog;
use netloom_engine::{
    Applied, Context, CopyError, CopyIn, CopyOut, DriverError, ErrorClass, ExecRequest, ExecSession, Fact, Follow,
    Incoming, Layout, LogStream, NodeOrder, NodeUsage, Outgoing, Report, Reporter, Runtime, Source,
};
use netloom_kernel::{Cgroups, Identity, Process};
use netloom_model::{LabName, NodeName, RuntimeKind};
use netloom_plan::names_hash;

pub use super::program::INIT;

use super::fault::{Backend, Fault, plain};
use super::join::{Inside, Joiner};
use super::order::{key_of, node_of};
use super::pool::Pool;
use super::turns::{InTurns, Key, Turns};
use crate::demand::Demand;
use ends::Ends;
use life::Ground;

const BACKEND: Backend = Backend("namespace");
const SOURCE: Source = Source::Runtime(RuntimeKind::Namespace);
/// More than there are cores, since they mostly wait: umount(2) and rmdir(2) of cgroups for each other's grace periods.
const THREADS: usize = 8;
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
    /// Not without root.
    ends: Option<Ends>,
    /// Or why nothing can be started.
    joiner: Result<Joiner, String>,
    turns: Arc<Turns>,
    /// The inits whose end is waited for.
    watched: Mutex<HashMap<Key, Identity>>,
}

impl NamespaceRuntime {
    /// Starts the threads of the runtime. Blocks for some milliseconds; call it once, before the async work begins.
    /// `demand` is the fabric's. Without root it starts too, and [`Runtime::check`] says what is missing.
    pub fn start(layout: Layout, reporter: Reporter, demand: Demand) -> Result<Self, DriverError> {
        let refused = |cause: String| BACKEND.fault("start", "the namespace runtime", cause, ErrorClass::Permanent);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let cgroups = Cgroups::detect().map_err(|error| refused(format!("cgroups: {}", plain(&error))))?;
        let pool = Pool::start("nl-node", THREADS).map_err(|error| refused(plain(&error)))?;
        let ends = Ends::start(demand).inspect_err(|error| tracing::debug!(%error, "ends of namespaces are not heard"));
        let joiner = Joiner::start(&layout);
        let ground = Ground { layout, cgroups, boot };
        if let Err(error) = ground.sweep() {
            tracing::warn!(%error, "directories of nodes that are gone are left");
        }
        if let Err(fault) = ground.mend_all() {
            tracing::warn!(%fault, "namespaces that somebody unpinned are not all pinned again");
        }
        let shared = Shared {
            ground,
            reporter,
            pool,
            ends: ends.ok(),
            joiner,
            turns: Arc::default(),
            watched: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What joins nodes, also those of other runtimes; or why nothing can be joined.
    pub fn joiner(&self) -> Result<Joiner, String> {
        self.shared.joiner.clone()
    }
}

impl InTurns for Shared {
    const BACKEND: Backend = BACKEND;

    fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }
}

impl Shared {
    async fn files<T: Send + 'static>(
        self: &Arc<Self>,
        deadline: Instant,
        work: impl FnOnce(&Ground) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let shared = Arc::clone(self);
        self.pool.run(deadline, move || work(&shared.ground)).await.map_err(Fault::from)
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<Key, Identity>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn joiner(&self) -> Result<Joiner, Fault> {
        self.joiner.clone().map_err(Fault::permanent)
    }

    /// What joins, and the inside of the node that is to be joined.
    async fn inside(self: &Arc<Self>, key: &Key, deadline: Instant) -> Result<(Joiner, Inside), Fault> {
        let (joiner, of) = (self.joiner()?, key.clone());
        Ok((joiner, self.files(deadline, move |ground| ground.inside(&of)).await??))
    }
}

#[async_trait]
impl Runtime for NamespaceRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Namespace
    }

    fn backlogs(&self) -> Vec<Backlog> {
        let spawner = self.shared.joiner.iter().map(Joiner::backlog);
        std::iter::once(self.shared.pool.backlog()).chain(spawner).cloned().collect()
    }

    async fn check(&self) -> Result<(), DriverError> {
        let refused = |cause: &str, hint: &str| {
            let mut error = BACKEND.fault("use", "the namespace runtime", cause.to_owned(), ErrorClass::Permanent);
            error.hint = Some(hint.to_owned());
            error
        };
        if let Err(why) = &self.shared.joiner {
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
            let node = node_of(&order).map_err(|why| (why, None))?;
            if let Some(obstacle) = compose::obstacle(node) {
                return Err(obstacle);
            }
            let limits = compose::limits(node);
            ground.cgroups.supports(limits).map_err(|error| (error.to_string(), Some("remove the limit".to_owned())))
        });
        match check.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err((cause, hint))) => {
                Err(DriverError { hint, ..BACKEND.fault("make", &object, cause, ErrorClass::Permanent) })
            }
            Err(fault) => Err(fault.of(BACKEND, "check", &object)),
        }
    }

    async fn create(&self, order: &NodeOrder, context: &Context) -> Result<(), DriverError> {
        let key = key_of(order);
        let order = order.clone();
        let create = |shared: Arc<Shared>, key: Key, deadline| async move {
            shared.joiner()?;
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
        written.map_err(|fault| fault.of(BACKEND, "write", &format!("the names of lab {lab}")))?;
        self.shared.reporter.send(Report::Events(SOURCE, vec![fact]));
        Ok(())
    }

    async fn relist(&self) -> Result<(), DriverError> {
        self.shared.look_at_all().await
    }

    async fn applied(&self, lab: &LabName) -> Result<BTreeMap<NodeName, Option<Applied>>, DriverError> {
        let name = lab.clone();
        let look = self.shared.files(Instant::now() + PATIENCE, move |ground| observe::applied(&ground.layout, &name));
        let found = look.await.and_then(|found| found.map_err(|error| Fault::transient(plain(&error))));
        found.map_err(|fault| fault.of(BACKEND, "read the records of", &format!("lab {lab}")))
    }

    async fn exec(&self, lab: &LabName, node: &NodeName, request: ExecRequest) -> Result<ExecSession, DriverError> {
        let (key, deadline) = ((lab.clone(), node.clone()), Instant::now() + PATIENCE);
        let begin = async {
            let (joiner, inside) = self.shared.inside(&key, deadline).await?;
            joiner.exec(&format!("{}/{}", key.0, key.1), &inside, &request, deadline).await
        };
        begin.await.map_err(|fault| fault.of(BACKEND, "run a command in", &format!("node {node}")))
    }

    async fn exec_on_host(&self, request: ExecRequest) -> Result<ExecSession, DriverError> {
        let deadline = Instant::now() + PATIENCE;
        let begin = async {
            let joiner = self.shared.joiner.clone().map_err(Fault::permanent)?;
            let inside = self.shared.files(deadline, |_| inside_host()).await??;
            joiner.exec("the host", &inside, &request, deadline).await
        };
        let object = format!("`{}` on the host", request.argv.join(" "));
        begin.await.map_err(|fault| fault.of(BACKEND, "run", &object))
    }

    fn boot(&self) -> Option<String> {
        Some(self.shared.ground.boot.clone())
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
        opened.map_err(|fault| fault.of(BACKEND, "read the output of", &format!("node {node}")))
    }

    async fn usage(&self, lab: &LabName, context: &Context) -> Result<Vec<NodeUsage>, DriverError> {
        let name = lab.clone();
        let read = self.shared.files(context.deadline, move |ground| ground.usage(&name)).await;
        read.and_then(|usage| usage.map_err(Fault::again))
            .map_err(|fault| fault.of(BACKEND, "read the usage of", &format!("lab {lab}")))
    }

    async fn copy_out(&self, lab: &LabName, node: &NodeName, request: CopyOut) -> Result<Outgoing, CopyError> {
        let (key, deadline) = ((lab.clone(), node.clone()), Instant::now() + PATIENCE);
        let inside = self.shared.inside(&key, deadline).await;
        let (joiner, inside) = inside.map_err(|fault| fault.of(BACKEND, "copy files from", &format!("node {node}")))?;
        joiner.copy_out((BACKEND, &key), &inside, request, deadline).await
    }

    async fn copy_in(&self, lab: &LabName, node: &NodeName, request: CopyIn) -> Result<Incoming, CopyError> {
        let (key, deadline) = ((lab.clone(), node.clone()), Instant::now() + PATIENCE);
        let inside = self.shared.inside(&key, deadline).await;
        let (joiner, inside) = inside.map_err(|fault| fault.of(BACKEND, "copy files to", &format!("node {node}")))?;
        joiner.copy_in((BACKEND, &key), &inside, request, deadline).await
    }
}

/// The inside of the host is that of this process: the threads that start others have mounts of their own.
fn inside_host() -> Result<Inside, Fault> {
    let own = Process::open(std::process::id()).map_err(|error| Fault::transient(plain(&error)))?;
    let own = own.ok_or_else(|| Fault::transient("this process is not to be seen in /proc".into()))?;
    Ok(Inside {
        process: own.identity(),
        cgroups: Vec::new(),
        user: String::new(),
        directory: String::new(),
        env: Vec::new(),
        capabilities: Some(u64::MAX),
    })
}
