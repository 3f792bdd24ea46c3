//! Bare connections to processes: `exec` in a container, and being attached to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;

use crate::docker::{Ask, Docker};
use crate::error::{ErrorKind, Result};
use crate::frames::{Frames, Framing, Source};
use crate::lenient::is_empty;
use crate::reply::{ONE, Reply};
use crate::target::Target;

/// A command in a container.
///
/// Source: the body of `POST /containers/{id}/exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(clippy::struct_excessive_bools, reason = "the API has them")]
pub struct ExecSpec {
    /// The command and its arguments.
    pub cmd: Vec<String>,
    /// Whether it has standard input.
    #[serde(skip_serializing_if = "is_empty")]
    pub attach_stdin: bool,
    /// Whether its standard output is wanted.
    #[serde(skip_serializing_if = "is_empty")]
    pub attach_stdout: bool,
    /// Whether its standard error is wanted.
    #[serde(skip_serializing_if = "is_empty")]
    pub attach_stderr: bool,
    /// Whether it has a terminal; then all output is standard output.
    #[serde(skip_serializing_if = "is_empty")]
    pub tty: bool,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "is_empty")]
    pub env: Vec<String>,
    /// The directory that it begins in; the container's where it is empty.
    #[serde(skip_serializing_if = "is_empty")]
    pub working_dir: String,
    /// `user[:group]`; the container's where it is empty.
    #[serde(skip_serializing_if = "is_empty")]
    pub user: String,
    /// Whether it may do everything.
    #[serde(skip_serializing_if = "is_empty")]
    pub privileged: bool,
}

/// A command that runs in a container.
///
/// Dropping it closes the connection; the command runs on, without input and with nobody who reads its output.
#[derive(Debug)]
pub struct Exec {
    /// By which it is inspected and resized.
    pub id: String,
    /// Its standard input.
    pub input: ExecInput,
    /// Its output; it ends with the command, after which [`Docker::inspect_exec`] has the exit code.
    pub output: Frames,
}

/// A connection to the first process of a container.
///
/// Dropping it closes the connection; the container runs on.
#[derive(Debug)]
pub struct Attached {
    /// Its standard input, if that is open.
    pub input: ExecInput,
    /// What it puts out from now on.
    pub output: Frames,
    /// Whether it has a terminal; then all output is standard output.
    pub tty: bool,
}

/// Standard input of a process; what is written is with the daemon when the write is done.
///
/// Dropping it closes the input, as [`Self::close`] does.
#[derive(Debug)]
pub struct ExecInput(OwnedWriteHalf);

impl ExecInput {
    /// Ends the input: the process reads to the end of it. Its output goes on.
    pub async fn close(mut self) -> io::Result<()> {
        self.0.shutdown().await
    }
}

impl AsyncWrite for ExecInput {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// What became of a command.
///
/// Source: the answer of `GET /exec/{id}/json`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ExecState {
    /// Whether it runs.
    pub running: bool,
    /// How it ended; `None` before.
    pub exit_code: Option<i64>,
    /// Its process as the daemon sees it; 0 where there is none.
    pub pid: u32,
}

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

impl Docker {
    /// Starts a command in a container that runs; one that does not is a `Conflict`.
    ///
    /// A command that is not there is found only by its exit code (126, 127) and what is put out. The deadline covers
    /// the start. Source: `POST /containers/{id}/exec`, `POST /exec/{id}/start`.
    pub async fn exec(&self, id: &str, exec: &ExecSpec, deadline: Instant) -> Result<Exec> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Made {
            id: String,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Start {
            detach: bool,
            tty: bool,
        }
        self.call("exec in container", id, deadline, async {
            let ask = Ask::post(Target::at(["containers", id, "exec"])).json(exec)?;
            let Made { id: made } = self.ask(ask).await?.json(ONE).await?;
            let start = Start { detach: false, tty: exec.tty };
            let ask = Ask::post(Target::at(["exec", &made, "start"])).json(&start)?.hijack();
            let framing = if exec.tty { Framing::Raw } else { Framing::Framed };
            let (input, output) = split(self.ask(ask).await?, framing, "read the output of a command in", id)?;
            Ok(Exec { id: made, input, output })
        })
        .await
    }

    /// Tells the terminal of a command how large it is.
    ///
    /// Source: `POST /exec/{id}/resize`.
    pub async fn resize_exec(&self, exec: &str, size: TerminalSize, deadline: Instant) -> Result<()> {
        let target = sized(Target::at(["exec", exec, "resize"]), size);
        self.command("resize the terminal of command", exec, Ask::post(target), deadline).await
    }

    /// Tells the terminal of a container how large it is.
    ///
    /// Source: `POST /containers/{id}/resize`.
    pub async fn resize_container(&self, id: &str, size: TerminalSize, deadline: Instant) -> Result<()> {
        let target = sized(Target::at(["containers", id, "resize"]), size);
        self.command("resize the terminal of container", id, Ask::post(target), deadline).await
    }

    /// What became of a command. The daemon forgets it with its container, and a while after it has ended.
    ///
    /// Source: `GET /exec/{id}/json`.
    pub async fn inspect_exec(&self, exec: &str, deadline: Instant) -> Result<ExecState> {
        self.call("inspect command", exec, deadline, async {
            let mut state: ExecState = self.ask(Ask::get(Target::at(["exec", exec, "json"]))).await?.json(ONE).await?;
            // One that has just been made has an exit code of 0 to some daemons.
            if state.running {
                state.exit_code = None;
            }
            Ok(state)
        })
        .await
    }

    /// Connects to the first process of a container, from now on.
    ///
    /// Source: `POST /containers/{id}/attach`.
    pub async fn attach(&self, id: &str, deadline: Instant) -> Result<Attached> {
        self.call("attach to container", id, deadline, async {
            let framing = self.framing(id).await?;
            let target = Target::at(["containers", id, "attach"]).flag("stream", true);
            let target = target.flag("stdin", true).flag("stdout", true).flag("stderr", true);
            let reply = self.ask(Ask::post(target).hijack()).await?;
            let (input, output) = split(reply, framing, "read the output of container", id)?;
            Ok(Attached { input, output, tty: framing == Framing::Raw })
        })
        .await
    }

    /// How a container's output is sent: it has to be asked, since daemons before 23 do not say it with the output.
    pub(crate) async fn framing(&self, id: &str) -> std::result::Result<Framing, ErrorKind> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Inspected {
            config: Config,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Config {
            tty: bool,
        }
        let reply = self.ask(Ask::get(Target::at(["containers", id, "json"]))).await?;
        let Inspected { config } = reply.json(ONE).await?;
        Ok(if config.tty { Framing::Raw } else { Framing::Framed })
    }
}

fn sized(target: Target, size: TerminalSize) -> Target {
    target.query("h", &size.rows.to_string()).query("w", &size.columns.to_string())
}

fn split(
    reply: Reply,
    framing: Framing,
    operation: &'static str,
    object: &str,
) -> std::result::Result<(ExecInput, Frames), ErrorKind> {
    let (stream, read) = reply.into_raw()?;
    let (output, input) = stream.into_split();
    Ok((ExecInput(input), Frames::new(Source::Raw(read, output), framing, operation, object)))
}
