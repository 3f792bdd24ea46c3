//! A command in a node: the process that joins the node, and the task that carries its bytes.
//!
//! ```text
//!   ExecInput  ──bounded──▶ ┌──────┐ ──pipe──▶ netloom-init exec ──▶ the command
//!   ExecOutput ◀─bounded─── │ task │ ◀─pipes─          │
//!                           └──────┘ ◀─pidfd───────────┘
//! ```
//!
//! Both ways a slow reader slows the writer. When nobody reads the output any more the command is ended.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use netloom_engine::{ExecInput, ExecOutput, ExecSession, Terminal};
use netloom_kernel::{Process, Signal, Spawned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// Pieces that wait in either direction.
const QUEUE: usize = 32;
/// Size of a piece in bytes.
const PIECE: usize = 16 * 1024;
/// How long a command has to end after TERM.
const GRACE: Duration = Duration::from_secs(2);

/// Connects a started `netloom-init exec` with a session.
pub(super) fn connect(name: String, mut spawned: Spawned, terminal: Terminal) -> io::Result<ExecSession> {
    let child = &mut spawned.child;
    let missing = || io::Error::other("a stream of the command is missing");
    let stdin = pipe::Sender::from_owned_fd(OwnedFd::from(child.stdin.take().ok_or_else(missing)?))?;
    let stdout = pipe::Receiver::from_owned_fd(OwnedFd::from(child.stdout.take().ok_or_else(missing)?))?;
    let stderr = pipe::Receiver::from_owned_fd(OwnedFd::from(child.stderr.take().ok_or_else(missing)?))?;
    let (input, inputs) = mpsc::channel(QUEUE);
    let (outputs, output) = mpsc::channel(QUEUE);
    let session = Session {
        process: spawned.process,
        stdin: Some(stdin),
        framed: matches!(terminal, Terminal::Size { .. }),
        outputs,
        asked: false,
    };
    netloom_engine::task::spawn(name, session.run(inputs, stdout, stderr));
    Ok(ExecSession { input, output })
}

struct Session {
    process: Process,
    /// `None` once it was closed.
    stdin: Option<pipe::Sender>,
    /// Standard input is framed, because it also carries the terminal's size.
    framed: bool,
    outputs: mpsc::Sender<ExecOutput>,
    /// TERM was sent.
    asked: bool,
}

impl Session {
    async fn run(mut self, mut inputs: mpsc::Receiver<ExecInput>, stdout: pipe::Receiver, stderr: pipe::Receiver) {
        let outputs = self.outputs.clone();
        let carry = async {
            tokio::join!(forward(stdout, &outputs, ExecOutput::Stdout), forward(stderr, &outputs, ExecOutput::Stderr),)
        };
        tokio::pin!(carry);
        let mut carried = false;
        let mut listening = true;
        // A write that is under way: input waits for it, everything else goes on.
        let mut waiting = Bytes::new();
        let grace = tokio::time::sleep(GRACE);
        tokio::pin!(grace);
        loop {
            tokio::select! {
                _ = &mut carry, if !carried => carried = true,
                ended = self.process.ended() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a command cannot be waited for");
                        let _ = self.process.signal(Signal::KILL);
                    }
                    break;
                }
                written = write(self.stdin.as_mut(), &mut waiting), if !waiting.is_empty() => {
                    if written.is_err() {
                        // It has closed its input; what comes is thrown away.
                        self.stdin = None;
                        waiting.clear();
                    }
                }
                request = inputs.recv(), if listening && waiting.is_empty() => match request {
                    Some(ExecInput::Terminate) => {
                        if self.terminate() {
                            grace.as_mut().reset(tokio::time::Instant::now() + GRACE);
                        }
                    }
                    Some(request) => waiting = self.encode(request),
                    None => {
                        waiting = self.encode(ExecInput::CloseStdin);
                        listening = false;
                    }
                },
                () = self.outputs.closed(), if !self.asked => {
                    self.hang_up();
                    grace.as_mut().reset(tokio::time::Instant::now() + GRACE);
                }
                () = &mut grace, if self.asked => {
                    // The second TERM means KILL.
                    let _ = self.process.signal(Signal::TERM);
                    self.outputs_ended().await;
                    break;
                }
            }
        }
        if !carried {
            // What is in the pipes is still theirs; a process that was left behind may hold them open.
            let _ = tokio::time::timeout(GRACE, carry).await;
        }
        let code = self.process.reap().unwrap_or(125);
        let _ = self.outputs.send(ExecOutput::Exited(code)).await;
    }

    /// Asks the command to end. `false`: it was asked before, so now it is made to.
    fn terminate(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.asked, true);
        let _ = self.process.signal(Signal::TERM);
        first
    }

    /// Nobody watches any more. A terminal is hung up, which is what a shell that ignores TERM understands.
    fn hang_up(&mut self) {
        if !self.framed {
            self.terminate();
            return;
        }
        self.asked = true;
        self.stdin = None;
    }

    /// Until the process is gone after it was made to end; it cannot stay.
    async fn outputs_ended(&self) {
        if tokio::time::timeout(GRACE, self.process.ended()).await.is_err() {
            let _ = self.process.signal(Signal::KILL);
            let _ = self.process.ended().await;
        }
    }

    /// What goes into the pipe for a request.
    fn encode(&mut self, request: ExecInput) -> Bytes {
        let frame = |kind: u8, payload: &[u8]| {
            let mut bytes = BytesMut::with_capacity(payload.len() + 3);
            for part in payload.chunks(usize::from(u16::MAX)).chain(payload.is_empty().then_some(payload)) {
                let length = u16::try_from(part.len()).unwrap_or(u16::MAX);
                bytes.extend_from_slice(&[kind]);
                bytes.extend_from_slice(&length.to_be_bytes());
                bytes.extend_from_slice(part);
            }
            bytes.freeze()
        };
        match request {
            ExecInput::Stdin(data) if self.framed && !data.is_empty() => frame(0, &data),
            ExecInput::Stdin(data) => data,
            ExecInput::Resize { columns, rows } if self.framed => {
                let ([c1, c2], [r1, r2]) = (columns.to_be_bytes(), rows.to_be_bytes());
                frame(1, &[c1, c2, r1, r2])
            }
            ExecInput::CloseStdin if self.framed => frame(2, &[]),
            ExecInput::CloseStdin => {
                self.stdin = None;
                Bytes::new()
            }
            ExecInput::Resize { .. } | ExecInput::Terminate => Bytes::new(),
        }
    }
}

/// Writes some of `waiting` and takes it off. Safe to cancel: what was not written stays.
async fn write(pipe: Option<&mut pipe::Sender>, waiting: &mut Bytes) -> io::Result<()> {
    let Some(pipe) = pipe else {
        waiting.clear();
        return Ok(());
    };
    let count = pipe.write(waiting).await?;
    let _ = waiting.split_to(count);
    Ok(())
}

async fn forward(mut pipe: pipe::Receiver, outputs: &mpsc::Sender<ExecOutput>, wrap: fn(Bytes) -> ExecOutput) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(PIECE);
        match pipe.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if outputs.send(wrap(buffer.split().freeze())).await.is_err() {
            // Nobody reads: leave the pipe unread until the command is ended for it.
            pending::<()>().await;
        }
    }
}
