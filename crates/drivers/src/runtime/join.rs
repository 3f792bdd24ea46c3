//! Joining something that runs: the process that does it, started and connected.
//!
//! The node's own runtime has no part in it. Whatever has a process on this host can be joined, whoever started it, and
//! also while a daemon that did does not answer.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use netloom_backlog::Backlog;
use netloom_engine::{
    CopyError, CopyIn, CopyOut, ExecRequest, ExecSession, Incoming, Landing, Layout, Links, Outgoing, Owner, Terminal,
};
use netloom_kernel::{Identity, Spawner, Surroundings, prepare_pin_directory};

use super::copy::{self, Copying};
use super::fault::{Backend, Fault, plain};
use super::program::Program;
use super::session;
use super::turns::Key;

/// What joins: the init, in memory, and the threads that start it.
#[derive(Debug, Clone)]
pub struct Joiner {
    pub(super) spawner: Spawner,
    pub(super) program: Arc<Program>,
}

/// The inside of a node, as whoever joins it has to know it.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    /// A process whose namespaces are the node's.
    pub(super) process: Identity,
    /// The `cgroup.procs` files of the node.
    pub(super) cgroups: Vec<PathBuf>,
    /// `user[:group]` that commands run as; empty: root.
    pub(super) user: String,
    /// Where they start; empty: `/`.
    pub(super) directory: String,
    /// Environment of commands, as `NAME=value`.
    pub(super) env: Vec<String>,
    /// The most that they may do, as a mask of capabilities; what a namespace node may do if nothing is given.
    pub(super) capabilities: Option<u64>,
}

impl Joiner {
    /// Starts the threads. Or says why nothing can be joined or started.
    pub(super) fn start(layout: &Layout) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("root is needed".into());
        }
        let pins = layout.pins();
        // A mount of its own, and private, before the spawner copies what is mounted.
        prepare_pin_directory(&pins).map_err(|error| format!("{}: {}", pins.display(), plain(&error)))?;
        let foreign = ["/run/netns", "/run/docker", "/run/containerd", "/var/lib/docker", "/var/lib/containerd"];
        let mut hidden: Vec<PathBuf> = foreign.iter().map(PathBuf::from).collect();
        hidden.extend([pins, layout.ip_netns()]);
        let spawner = Spawner::start(&hidden).map_err(|error| error.to_string())?;
        let program =
            Program::load().map_err(|error| format!("the init cannot be kept in memory: {}", plain(&error)))?;
        Ok(Self { spawner, program: Arc::new(program) })
    }

    /// What the threads have not started yet.
    pub(super) fn backlog(&self) -> &Backlog {
        self.spawner.backlog()
    }

    /// Runs a command inside a node, or on the host: `place` says where, for logs.
    pub(super) async fn exec(
        &self,
        place: &str,
        inside: &Inside,
        request: &ExecRequest,
        deadline: Instant,
    ) -> Result<ExecSession, Fault> {
        let mut command = self.command(inside)?;
        if !inside.user.is_empty() {
            command.args(["--user", &inside.user]);
        }
        if !inside.directory.is_empty() {
            command.args(["--cwd", &inside.directory]);
        }
        if let Terminal::Size { columns, rows } = request.terminal {
            command.args(["--tty", &format!("{columns}x{rows}")]).env("TERM", "xterm-256color");
        }
        let env = inside.env.iter().chain(&request.env);
        command.envs(env.filter_map(|pair| pair.split_once('=')));
        command.arg("--").args(&request.argv);
        self.connect(format!("exec in {place}"), command, request.terminal, deadline).await
    }

    /// Begins to copy files out of a node.
    pub(super) async fn copy_out(
        &self,
        (backend, key): (Backend, &Key),
        inside: &Inside,
        request: CopyOut,
        deadline: Instant,
    ) -> Result<Outgoing, CopyError> {
        let mut words = vec!["out".to_owned()];
        if request.links == Links::Followed {
            words.push("--follow".into());
        }
        words.push(request.path);
        let copying = copying(backend, "copy files from", key);
        let session = self.copy(&copying, inside, &words, deadline).await?;
        copy::outgoing(copying, session, deadline).await
    }

    /// Begins to copy files into a node.
    pub(super) async fn copy_in(
        &self,
        (backend, key): (Backend, &Key),
        inside: &Inside,
        request: CopyIn,
        deadline: Instant,
    ) -> Result<Incoming, CopyError> {
        let mut words = vec!["in".to_owned()];
        if request.landing == Landing::Into {
            words.push("--into".into());
        }
        if request.owner == Owner::Kept {
            words.push("--keep-owners".into());
        }
        words.push(request.path);
        let copying = copying(backend, "copy files to", key);
        let session = self.copy(&copying, inside, &words, deadline).await?;
        Ok(copy::incoming(copying, session))
    }

    async fn copy(
        &self,
        copying: &Copying,
        inside: &Inside,
        words: &[String],
        deadline: Instant,
    ) -> Result<ExecSession, CopyError> {
        let begin = async {
            if words.iter().any(|word| word.contains('\0')) {
                return Err(Fault::permanent("no path has a NUL in it".into()));
            }
            let mut command = self.command(inside)?;
            command.args(["--program", "own", "--", "copy"]).args(words);
            self.connect(format!("copy in {}", copying.place), command, Terminal::None, deadline).await
        };
        begin.await.map_err(|fault| fault.of(copying.backend, copying.what, &copying.object).into())
    }

    fn command(&self, inside: &Inside) -> Result<Command, Fault> {
        let Identity { pid, start_time } = inside.process;
        let mut command = self.program.command();
        command.args(["exec", "--pid", &pid.to_string(), "--start-time", &start_time.to_string()]);
        for file in &inside.cgroups {
            command.arg("--cgroup").arg(text(file)?);
        }
        if let Some(mask) = inside.capabilities {
            command.args(["--capabilities", &format!("{mask:x}")]);
        }
        Ok(command)
    }

    /// Starts what joins a node, and carries its streams.
    async fn connect(
        &self,
        name: String,
        mut command: Command,
        terminal: Terminal,
        deadline: Instant,
    ) -> Result<ExecSession, Fault> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let spawned = self.spawner.spawn(Surroundings::Own, command, deadline).await?;
        session::connect(name, spawned, terminal).map_err(|error| Fault::transient(plain(&error)))
    }
}

/// How a copy is called in errors.
fn copying(backend: Backend, what: &'static str, (lab, node): &Key) -> Copying {
    Copying { backend, what, place: format!("{lab}/{node}:"), object: format!("node {node}") }
}

fn text(path: &Path) -> Result<&str, Fault> {
    path.to_str().ok_or_else(|| Fault::permanent(format!("the path {} is not UTF-8", path.display())))
}
