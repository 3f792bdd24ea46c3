//! PID 1 of a node: set up, start the command, reap, pass signals on, keep the output, end when the command ends.
//!
//! ```text
//!   signals ──▶┐                     ┌─▶ the command (its process group)
//!              ├─ poll, one thread ──┤
//!   output  ──▶┘                     └─▶ log, log.1, status.json (in the run directory, by descriptor)
//! ```
//!
//! When it ends the kernel kills whatever is left in the node.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, setsid, umask, wait};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGQUIT, SIGTERM};

use crate::launch::{Launch, Streams, User, spawn};
use crate::output::Output;
use crate::signals::Signals;
use crate::spec::NodeSpec;
use crate::status::{Phase, Status, report};
use crate::trouble::{Because, Result, Trouble};
use crate::{capability, complain, plain, setup};

/// Runs the node of a run directory until it ends; its exit code.
pub(crate) fn run(directory: &str) -> i32 {
    if getpid() != Pid::INIT {
        complain("`node` changes the mounts around it and runs only as the first process of a node");
        return 125;
    }
    // Out of the session of whoever started us: a ctrl-C there is not meant for the node.
    let _ = setsid();
    let _ = rustix::thread::set_name(c"netloom-init");
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = open(directory, flags, Mode::empty()).and_then(|directory| {
        // Held as long as we live: whoever finds it taken knows that the node has an init, also before that has
        // said a word. Waiting, because a look at it holds the lock for a moment too.
        flock(&directory, FlockOperation::LockExclusive)?;
        Ok(directory)
    });
    let status = match opened.map_err(std::io::Error::from).and_then(Status::new) {
        Ok(status) => status,
        Err(error) => {
            complain(&format!("{directory}: {}", plain(&error)));
            return 125;
        }
    };
    let failed = |Trouble { text: cause, errno }: Trouble| {
        let cause = cause.as_str();
        // Also where its output is looked for.
        complain(cause);
        if let Err(error) = status.write(&Phase::Failed { cause }) {
            complain(&format!("the status cannot be written: {}", plain(&error)));
        }
        let _ = report(&format!("failed {errno}: {cause}"));
        1
    };
    let mut node = match start(directory, &status) {
        Ok(node) => node,
        Err(trouble) => return failed(trouble),
    };
    let phase = Phase::Running { pid: node.main.map(Pid::as_raw_pid), notes: &node.notes };
    let told = status.write(&phase).and_then(|()| report("ready"));
    if let Err(trouble) = told.because(|| "the status cannot be written".into()) {
        return failed(trouble);
    }
    let code = node.supervise();
    if let Err(error) = status.write(&Phase::Exited { code }) {
        complain(&format!("the status cannot be written: {}", plain(&error)));
    }
    code
}

struct Node {
    signals: Signals,
    main: Option<Pid>,
    output: Option<Output>,
    notes: Vec<String>,
}

fn start(directory: &str, status: &Status) -> Result<Node> {
    let signals = Signals::catch().because(|| "signals cannot be caught".into())?;
    let spec = read_spec()?;
    let notes = setup::enter(&spec, directory)?;
    umask(Mode::from_raw_mode(0o022));
    capability::drop_dangerous().because(|| "capabilities cannot be dropped".into())?;
    if spec.argv.is_empty() {
        return Ok(Node { signals, main: None, output: None, notes });
    }
    let (output, write) = Output::open(status.directory()).because(|| "the log cannot be opened".into())?;
    let user = User::find(&spec.user)?;
    let env = with_defaults(&spec, &user);
    let launch = Launch { argv: &spec.argv, env: &env, user: &user, own_program: "/proc/self/exe" };
    let child = spawn(&launch, Streams::Captured(write))?;
    let main = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    Ok(Node { signals, main, output: Some(output), notes })
}

/// The spec is all of standard input, which is nothing afterwards.
fn read_spec() -> Result<NodeSpec> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes)
        .and_then(|_| {
            let null = std::fs::File::open("/dev/null")?;
            Ok(rustix::stdio::dup2_stdin(&null)?)
        })
        .because(|| "the spec cannot be read".into())?;
    Ok(NodeSpec::decode(&bytes)?)
}

/// The environment with what every command expects, unless the spec says otherwise.
fn with_defaults(spec: &NodeSpec, user: &User) -> Vec<String> {
    let mut env = spec.env.clone();
    let has = |env: &[String], name: &str| env.iter().any(|pair| pair.split('=').next() == Some(name));
    for (name, value) in [("PATH", crate::launch::DEFAULT_PATH), ("HOME", &user.home), ("HOSTNAME", &spec.hostname)] {
        if !has(&env, name) {
            env.push(format!("{name}={value}"));
        }
    }
    env
}

impl Node {
    /// Until the command has ended, or without one until a signal asks us to end. The exit code: 128 + n after
    /// signal n, 0 when we were asked.
    fn supervise(&mut self) -> i32 {
        loop {
            self.wait_for_something();
            if self.output.as_mut().is_some_and(|output| !output.drain()) {
                self.output = None;
            }
            for signal in self.signals.take() {
                if signal == SIGCHLD {
                    continue;
                }
                match self.main {
                    Some(main) => {
                        if let Some(signal) = Signal::from_named_raw(signal) {
                            // It may have ended a moment ago; it is not reaped yet, so the number is still its own.
                            let _ = kill_process(main, signal);
                        }
                    }
                    None if matches!(signal, SIGTERM | SIGINT | SIGQUIT) => return 0,
                    None => {}
                }
            }
            // Also without a SIGCHLD seen: it costs one system call and misses nothing.
            if let Some(code) = self.reap() {
                if let Some(output) = &mut self.output {
                    output.drain();
                }
                return code;
            }
        }
    }

    fn wait_for_something(&self) {
        let signals = PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN);
        // EINTR is as good as a byte on the pipe.
        let _ = match &self.output {
            Some(output) => poll(&mut [signals, PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)], None),
            None => poll(&mut [signals], None),
        };
    }

    /// Buries every dead child; the exit code if the command is among them.
    fn reap(&self) -> Option<i32> {
        let mut ended = None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if Some(pid) == self.main {
                ended = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
            }
        }
        ended
    }
}
