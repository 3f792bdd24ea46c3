//! `netloom agent --background`, `stop`, `status`; and an agent for a deploy that finds none.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use netloom_engine::Layout;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::Command;
use tokio::time::timeout;

use crate::background;
use crate::cli::{Agent, AgentCommand};
use crate::client::{Client, Silence, other_version};
use crate::failure::{Failure, Result, plain};
use crate::output;

/// The unit that is started when it is installed.
const UNIT: &str = "netloom.service";
/// How long a unit may take to start.
const UNIT_LIMIT: Duration = Duration::from_secs(30);
/// How long an agent may take to end: it finishes the steps under way first.
const STOP_LIMIT_SECONDS: i64 = 30;

/// What is left of `netloom agent` when it is not the agent itself.
pub(crate) async fn run(options: &Agent, layout: &Layout) -> Result {
    match options.command {
        None => in_background(layout).await,
        Some(AgentCommand::Stop) => stop(layout).await,
        Some(AgentCommand::Status { json }) => status(layout, json).await,
    }
}

async fn in_background(layout: &Layout) -> Result {
    match Client::find(layout).await {
        Ok((_, info)) => output::result(&format!("the agent runs already (process {})\n", info.pid)),
        Err(Silence::Other(failure)) => Err(failure),
        Err(Silence::Nobody) => {
            background::start(layout).await?;
            let log = background::log_path(layout);
            output::result(&format!("the agent runs in the background; its log is {}\n", log.display()))
        }
    }
}

async fn status(layout: &Layout, json: bool) -> Result {
    let client = Client::connect(layout).await?;
    let info: netloom_agent::wire::Info = client.get("/info").await?;
    if json {
        return output::json(&info);
    }
    let listen = info.listen.map_or_else(|| "nothing".to_owned(), |listen| listen.to_string());
    output::result(&format!(
        "netloom agent {}, process {}, up for {}\nsocket {}, TCP {listen}\n",
        info.version,
        info.pid,
        humantime::format_duration(Duration::from_secs(info.uptime_seconds)),
        info.socket.display()
    ))
}

/// Ends the agent and waits until its process is gone. Labs run on.
async fn stop(layout: &Layout) -> Result {
    let info = match Client::find(layout).await {
        Ok((_, info)) => info,
        Err(Silence::Nobody) => return output::result("no agent runs\n"),
        Err(Silence::Other(failure)) => return Err(failure),
    };
    let pid = i32::try_from(info.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::failed("the agent does not say its process"))?;
    let cannot = |error: Errno| match error {
        Errno::PERM => Failure::failed(format_args!("the agent (process {}) may only be stopped by root", info.pid)),
        error => Failure::failed(format_args!("the agent (process {}) cannot be stopped: {error}", info.pid)),
    };
    let process = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
        Ok(process) => process,
        Err(Errno::SRCH) => return output::result("the agent has ended\n"),
        Err(error) => return Err(cannot(error)),
    };
    pidfd_send_signal(&process, Signal::TERM).map_err(cannot)?;
    // A pidfd is readable when its process has ended (pidfd_open(2)). Nothing else is under way, so this may block.
    let limit = Timespec { tv_sec: STOP_LIMIT_SECONDS, tv_nsec: 0 };
    match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)) {
        Ok(1..) => output::result("the agent has stopped; labs run on, and its next start takes them over\n"),
        Ok(0) => Err(Failure::ended(format_args!(
            "the agent (process {}) is still ending after {STOP_LIMIT_SECONDS} s",
            info.pid
        ))),
        Err(error) => Err(Failure::failed(format_args!("cannot wait for the agent (process {}): {error}", info.pid))),
    }
}

/// The agent; one is started when none answers.
pub(crate) async fn connect_or_start(layout: &Layout) -> Result<Client> {
    match Client::find(layout).await {
        Ok((client, info)) => {
            if let Some(warning) = other_version(&info.version) {
                output::say(&warning);
            }
            return Ok(client);
        }
        Err(Silence::Other(failure)) => return Err(failure),
        Err(Silence::Nobody) => {}
    }
    let socket = layout.socket();
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::no_agent(format_args!(
            "no agent answers on {}, and starting one needs root: run this with sudo, or start it with `sudo netloom \
             agent --background`",
            socket.display()
        )));
    }
    if layout.root() == Path::new("/") && unit_is_installed().await {
        output::say(&format!("no agent answers on {}; starting {UNIT}", socket.display()));
        start_unit().await?;
    } else {
        let say = "starting one in the background (`netloom agent stop` ends it)";
        output::say(&format!("no agent answers on {}; {say}", socket.display()));
        background::start(layout).await.map_err(|failure| Failure::no_agent(failure.text.unwrap_or_default()))?;
    }
    Client::connect(layout).await
}

async fn unit_is_installed() -> bool {
    Path::new("/run/systemd/system").is_dir() && systemctl(&["cat", UNIT]).await.is_ok()
}

async fn start_unit() -> Result {
    let failed = |why: String| {
        Failure::no_agent(format_args!("{UNIT} cannot be started: {why}; `systemctl status {UNIT}` says more"))
    };
    systemctl(&["start", UNIT]).await.map_err(failed)
}

async fn systemctl(arguments: &[&str]) -> std::result::Result<(), String> {
    let mut command = Command::new("systemctl");
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(UNIT_LIMIT, command.output()).await;
    let output = output.map_err(|_| format!("no end within {} s", UNIT_LIMIT.as_secs()))?;
    let output = output.map_err(|error| plain(&error))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
