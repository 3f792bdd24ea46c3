//! `exec`: joins a running node and runs a command there.
//!
//! Exit code: the command's own, 128 + n after signal n, 125 when we could not do it, 126 and 127 as a shell has
//! them. The environment of this process is the command's. TERM, INT and HUP are passed on to its process group; the
//! second TERM kills it. When a command that was asked to end has ended, what it leaves of its group is ended too: TERM, and
//! two seconds later KILL. When nobody holds the other end of standard output any more (the agent is gone), the command is
//! ended too: TERM, or HUP if it has a terminal, and two seconds later KILL.
//!
//! ```text
//!   --pid <pid>           the init of the node, as this process numbers it
//!   --start-time <ticks>  field 22 of its /proc/<pid>/stat: another process of that number is refused
//!   --cgroup <file>       a cgroup.procs file to join; may be given several times
//!   --user <user[:group]> who the command runs as; root unless given
//!   --cwd <directory>     where it starts; `/` unless given
//!   --tty <cols>x<rows>   with a terminal; standard input is then framed (see `relay`)
//!   --capabilities <mask> the most that it may do, hex (capabilities(7)); what a node may do unless given
//!   --program own         the words are for this very program, and it is root who runs it
//! ```

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, chdir, kill_process_group, pidfd_open, test_kill_process_group,
    umask, waitpid,
};
use rustix::stdio::stdout;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::launch::{DEFAULT_PATH, Failure, Launch, Streams, User, spawn, spawn_own};
use crate::signals::Signals;
use crate::status::identity;
use crate::trouble::Because;
use crate::{capability, complain, relay};

#[derive(Default)]
struct Options {
    pid: i32,
    start_time: Option<u64>,
    cgroups: Vec<String>,
    user: String,
    cwd: Option<String>,
    terminal: Option<(u16, u16)>,
    capabilities: Option<u64>,
    own_program: bool,
    argv: Vec<String>,
}

/// Runs the command that the arguments describe; its exit code.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> i32 {
    match parse(arguments).map_err(own_fault).and_then(|options| execute(&options)) {
        Ok(code) => code,
        Err(failure) => {
            complain(&failure.message);
            failure.code
        }
    }
}

fn own_fault(message: impl Into<String>) -> Failure {
    Failure { code: 125, message: message.into(), errno: 0 }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        if name == "--" {
            options.argv = arguments.collect();
            break;
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let bad = || format!("{name} cannot be `{value}`");
        match name.as_str() {
            "--pid" => options.pid = value.parse().map_err(|_| bad())?,
            "--start-time" => options.start_time = Some(value.parse().map_err(|_| bad())?),
            "--cgroup" => options.cgroups.push(value),
            "--user" => options.user = value,
            "--cwd" => options.cwd = Some(value),
            "--capabilities" => options.capabilities = Some(u64::from_str_radix(&value, 16).map_err(|_| bad())?),
            "--program" if value == "own" => options.own_program = true,
            "--tty" => {
                let size = value.split_once('x').and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?)));
                options.terminal = Some(size.ok_or_else(bad)?);
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    if options.argv.is_empty() {
        return Err("there is no command".into());
    }
    Ok(options)
}

fn execute(options: &Options) -> Result<i32, Failure> {
    let mut signals = Signals::catch().because(|| "catching signals".into()).map_err(own_fault)?;
    // Opened now: in the node's /proc this process has no entry.
    let own = enter(options).map_err(own_fault)?;
    let own_program = format!("/proc/self/fd/{}", own.as_raw_fd());
    if options.own_program {
        let child = child_pid(&spawn_own(&own_program, &options.argv)?)?;
        return Ok(wait_for(child, &mut signals, Stopping::of(child)));
    }
    let user = User::find(&options.user).map_err(own_fault)?;
    let env = environment(&user);
    let launch = Launch { argv: &options.argv, env: &env, user: &user, own_program: &own_program };
    let Some((columns, rows)) = options.terminal else {
        let child = child_pid(&spawn(&launch, Streams::Inherited)?)?;
        return Ok(wait_for(child, &mut signals, Stopping::of(child)));
    };
    let (ours, theirs) = relay::terminal(columns, rows).map_err(own_fault)?;
    let child = child_pid(&spawn(&launch, Streams::Terminal(theirs))?)?;
    let mut stopping = Stopping::of(child);
    let code = relay::run(&ours, child, &mut signals, &mut stopping);
    stopping.sweep();
    Ok(code)
}

fn child_pid(child: &std::process::Child) -> Result<Pid, Failure> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| own_fault("the command has no number"))
}

/// Moves into the node: cgroups, namespaces, capabilities. Returns this program, opened.
fn enter(options: &Options) -> Result<OwnedFd, String> {
    let pid = Pid::from_raw(options.pid).ok_or("--pid is needed")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).because(|| "the node does not run".into())?;
    // After the descriptor is there: from now on the number cannot be given to another process unnoticed.
    if let Some(wanted) = options.start_time {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", options.pid)).because(|| "the node does not run".into())?;
        if identity(&stat).map(|(_, start_time)| start_time) != Some(wanted) {
            return Err("the node does not run: its process number belongs to another process".into());
        }
    }
    for procs in &options.cgroups {
        fs::write(procs, "0").because(|| format!("joining {procs}"))?;
    }
    let own = open("/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .because(|| "opening this program".into())?;
    let all = ThreadNameSpaceType::MOUNT
        | ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::PROCESS_ID;
    move_into_thread_name_spaces(pidfd.as_fd(), all).because(|| "joining the node".into())?;
    let cwd = options.cwd.as_deref().unwrap_or("/");
    chdir(cwd).because(|| format!("directory {cwd} in the node"))?;
    umask(Mode::from_raw_mode(0o022));
    let limited = options.capabilities.map_or_else(capability::drop_dangerous, capability::keep_only);
    limited.because(|| "dropping capabilities".into())?;
    Ok(own)
}

fn environment(user: &User) -> Vec<String> {
    let mut env: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    for (name, value) in [("PATH", DEFAULT_PATH), ("HOME", &user.home), ("USER", &user.name), ("LOGNAME", &user.name)] {
        if !env.iter().any(|pair| pair.split('=').next() == Some(name)) {
            env.push(format!("{name}={value}"));
        }
    }
    env
}

/// How long a command has to end when nobody is there any more to want it.
const GRACE: Duration = Duration::from_secs(2);

/// How often what is left of a group is looked at.
const SWEEP: Duration = Duration::from_millis(20);

/// How the command is asked to end.
pub(crate) struct Stopping {
    child: Pid,
    asked: bool,
    /// When it is killed, once it was abandoned.
    killed: Option<Instant>,
}

impl Stopping {
    fn of(child: Pid) -> Self {
        Self { child, asked: false, killed: None }
    }

    /// Passes a signal on to the command's group.
    pub(crate) fn pass_on(&mut self, signal: i32) {
        let signal = match signal {
            SIGTERM if std::mem::replace(&mut self.asked, true) => Signal::KILL,
            SIGTERM => Signal::TERM,
            SIGINT => Signal::INT,
            SIGHUP => Signal::HUP,
            _ => return,
        };
        // The command leads a group of its own; it is not reaped yet, so the number is still its own.
        let _ = kill_process_group(self.child, signal);
    }

    /// Nobody is there any more who wants the command: `signal`, and KILL when that does not help.
    pub(crate) fn abandon(&mut self, signal: i32) {
        if self.killed.is_none() {
            self.killed = Some(Instant::now() + GRACE);
            self.pass_on(signal);
            // One that is stopped would not hear it.
            let _ = kill_process_group(self.child, Signal::CONT);
        }
    }

    /// Whether nobody is there any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.killed.is_some()
    }

    /// Kills a command that was abandoned, when it is time; how long until then.
    pub(crate) fn due(&mut self) -> Option<Timespec> {
        let left = self.killed?.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = kill_process_group(self.child, Signal::KILL);
            // It is gone in a moment; SIGCHLD wakes us.
            return None;
        }
        Some(Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() })
    }

    /// Ends what a command that was asked to end has left of its group: a process that it forked while the signal was
    /// under way never got it, or lost it between fork and exec.
    fn sweep(self) {
        if !self.asked && !self.is_abandoned() {
            return;
        }
        let give_up = Instant::now() + GRACE;
        let _ = kill_process_group(self.child, Signal::TERM);
        // The number of a group is not given away while it has a member, and not within a pause after it had one: that
        // would take every number there is in between.
        while test_kill_process_group(self.child).is_ok() {
            if Instant::now() >= give_up {
                let _ = kill_process_group(self.child, Signal::KILL);
                return;
            }
            #[expect(clippy::disallowed_methods, reason = "the end of who is no child of ours has no event")]
            thread::sleep(SWEEP);
        }
    }
}

fn wait_for(child: Pid, signals: &mut Signals, mut stopping: Stopping) -> i32 {
    loop {
        if let Some(code) = ended(child) {
            stopping.sweep();
            return code;
        }
        let due = stopping.due();
        let mut wanted = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        if !stopping.is_abandoned() {
            wanted.push(nobody_reads());
        }
        // EINTR is as good as a byte on the pipe.
        let _ = poll(&mut wanted, due.as_ref());
        let gone = wanted.get(1).is_some_and(is_gone);
        drop(wanted);
        for signal in signals.take() {
            stopping.pass_on(signal);
        }
        if gone {
            stopping.abandon(SIGTERM);
        }
    }
}

/// Waits for nothing of standard output but that its other end is closed (POLLERR, poll(2)).
pub(crate) fn nobody_reads<'a>() -> PollFd<'a> {
    PollFd::from_borrowed_fd(stdout(), PollFlags::empty())
}

/// Whether a wait found that the other end is closed.
pub(crate) fn is_gone(waited: &PollFd<'_>) -> bool {
    waited.revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// The exit code of a child that has ended.
pub(crate) fn ended(child: Pid) -> Option<i32> {
    let (_, status) = waitpid(Some(child), WaitOptions::NOHANG).ok()??;
    Some(exit_code(status))
}

fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_up_to_the_command() {
        let words = ["--pid", "7", "--tty", "80x24", "--", "ls", "--pid"].map(str::to_owned);
        let options = parse(words.into_iter()).unwrap();
        assert_eq!((options.pid, options.terminal), (7, Some((80, 24))));
        assert_eq!(options.argv, ["ls", "--pid"]);
        assert!(parse(["--pid".to_owned(), "x".to_owned()].into_iter()).is_err());
        assert!(parse(["--pid".to_owned(), "7".to_owned()].into_iter()).is_err());
    }
}
