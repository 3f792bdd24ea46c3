//! A command in a node: the process that joins the node, and the task that carries its bytes.
//!
//! ```text
//!   ExecInput  ──bounded──▶ ┌──────┐ ──pipe──▶ netloom-init exec ──▶ the command
//!   ExecOutput ◀─bounded─── │ task │ ◀─pipes─          │
//!                           └──────┘ ◀─pidfd───────────┘
//! ```
//!
//! Both ways a slow reader slows the writer. When nobody reads the output any more the command is ended.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use netloom_engine::{ExecInput, ExecOutput, ExecSession, Terminal};
use netloom_kernel::{Process, Signal, Spawned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, watch};

/// Pieces that wait in either direction.
const QUEUE: usize = 32;
/// Size of a piece in bytes.
const PIECE: usize = 16 * 1024;
/// The most that can be in a pipe, unless root has raised `fs.pipe-max-size` (pipe(7)).
const PIPE: usize = 1024 * 1024;
/// How long a command has to end after TERM, and what it has left behind to be quiet after its end.
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
        let (patient, over) = watch::channel(());
        let carry = async {
            tokio::join!(
                // Of what is there at the same time, what went wrong comes after the rest.
                biased;
                forward(stdout, &outputs, ExecOutput::Stdout, over.clone()),
                forward(stderr, &outputs, ExecOutput::Stderr, over.clone()),
            )
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
            // A process that was left behind may hold the pipes open. What is in them still belongs to the command, however
            // long its reader takes for it.
            if tokio::time::timeout(GRACE, &mut carry).await.is_err() {
                drop(patient);
                carry.await;
            }
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

/// Passes on what a pipe brings until it is at its end. When the other side of `over` is gone, what is in the pipe is the
/// rest.
async fn forward(
    mut pipe: pipe::Receiver,
    outputs: &mpsc::Sender<ExecOutput>,
    wrap: fn(Bytes) -> ExecOutput,
    mut over: watch::Receiver<()>,
) {
    let mut buffer = BytesMut::new();
    let mut rest = PIPE;
    while rest > 0 {
        buffer.reserve(PIECE);
        let read = tokio::select! {
            read = pipe.read_buf(&mut buffer) => read,
            _ = over.changed() => pipe.try_read_buf(&mut buffer),
        };
        let count = match read {
            // Nothing more comes, or nothing is there when it is over.
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        if over.has_changed().is_err() {
            rest = rest.saturating_sub(count);
        }
        if outputs.send(wrap(buffer.split().freeze())).await.is_err() {
            // Nobody reads: leave the pipe unread until the command is ended for it.
            let _ = over.changed().await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Write as _};
    use std::process::Command;

    use super::*;

    /// The session of a command that ends at once with code 3, and the command itself. One piece has room in its queue.
    #[expect(clippy::zombie_processes, reason = "the session buries it by `Process::reap`")]
    fn session(stdout: PipeReader) -> (mpsc::Receiver<ExecOutput>, Process) {
        let child = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        let [process, same] = [(); 2].map(|()| Process::open(child.id()).unwrap().unwrap());
        let ours = |pipe: PipeReader| pipe::Receiver::from_owned_fd(pipe.into()).unwrap();
        let (outputs, output) = mpsc::channel(1);
        let (_, inputs) = mpsc::channel(1);
        let (stderr, _) = io::pipe().unwrap();
        let session = Session { process, stdin: None, framed: false, outputs, asked: false };
        netloom_engine::task::spawn("session", session.run(inputs, ours(stdout), ours(stderr)));
        (output, same)
    }

    async fn read(output: &mut mpsc::Receiver<ExecOutput>) -> (usize, i32) {
        let mut length = 0;
        loop {
            match output.recv().await.unwrap() {
                ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes) => length += bytes.len(),
                ExecOutput::Exited(code) => return (length, code),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stalls_long_after_the_end_loses_nothing() {
        let (stdout, mut filled) = io::pipe().unwrap();
        filled.write_all(&vec![0; 4 * PIECE]).unwrap();
        let (mut output, process) = session(stdout);
        process.ended().await.unwrap();
        tokio::time::sleep(10 * GRACE).await;
        // Also where another process still holds the pipe.
        assert_eq!(read(&mut output).await, (4 * PIECE, 3));
        drop(filled);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_is_left_behind_and_writes_does_not_keep_the_session() {
        let (stdout, mut held) = io::pipe().unwrap();
        let (mut output, process) = session(stdout);
        process.ended().await.unwrap();
        let ended = tokio::time::Instant::now();
        held.write_all(b"late").unwrap();
        assert_eq!(read(&mut output).await, (4, 3));
        assert!(ended.elapsed() <= GRACE);
        drop(held);
    }
}
