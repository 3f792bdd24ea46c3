//! Copying files: the init's `copy`, run in the node, with its streams turned into those of the engine.
//!
//! ```text
//!   Outgoing ◀──bounded── task ◀──ExecOutput── session ◀─pipe── netloom-init copy out
//!   Incoming ──bounded──▶ task ──ExecInput───▶ session ──pipe─▶ netloom-init copy in
//! ```
//!
//! No byte of a file is read or written by this process, and no path of a node is looked up by it.

use std::time::Instant;

use bytes::Bytes;
use netloom_engine::{CopyError, ErrorClass, ExecInput, ExecOutput, ExecSession, Incoming, Outgoing, task};
use tokio::sync::{mpsc, oneshot};

use super::fault::Backend;

/// Pieces that wait on the way to or from the session, which has a queue of its own.
const QUEUE: usize = 4;
/// The most that is kept of what went wrong, in bytes.
const WORDS: usize = 4096;
/// What the init's `copy` exits with when nothing was touched.
const REFUSED: i32 = 2;

/// How something is copied, for errors.
#[derive(Debug, Clone)]
pub(super) struct Copying {
    /// The runtime.
    pub(super) backend: Backend,
    /// `copy files from`, `copy files to`.
    pub(super) what: &'static str,
    /// `lab/node:`, in front of paths in the node.
    pub(super) place: String,
    /// `node r1`.
    pub(super) object: String,
}

impl Copying {
    /// What a copy came to that ended with this code and these words.
    fn result(&self, code: i32, words: &[u8]) -> Result<(), CopyError> {
        let words = String::from_utf8_lossy(words);
        let words: Vec<&str> = words
            .lines()
            .map(|line| line.strip_prefix("netloom: ").unwrap_or(line))
            .filter(|l| !l.is_empty())
            .collect();
        let words = words.join("; ");
        match code {
            0 => Ok(()),
            REFUSED => Err(CopyError::Refused(format!("{}{words}", self.place))),
            _ if words.is_empty() => Err(self.failed("it was ended before it was done")),
            _ => Err(self.failed(&words)),
        }
    }

    fn failed(&self, why: &str) -> CopyError {
        self.backend.fault(self.what, &self.object, why.to_owned(), ErrorClass::Transient).into()
    }
}

fn keep(words: &mut Vec<u8>, more: &[u8]) {
    let left = WORDS.saturating_sub(words.len());
    words.extend_from_slice(&more[..more.len().min(left)]);
}

/// Waits for the first piece, or for the reason why there is none.
pub(super) async fn outgoing(
    copying: Copying,
    mut session: ExecSession,
    deadline: Instant,
) -> Result<Outgoing, CopyError> {
    let mut words = Vec::new();
    let first = async {
        loop {
            match session.output.recv().await {
                Some(ExecOutput::Stdout(piece)) => return Ok(Some(piece)),
                Some(ExecOutput::Stderr(more)) => keep(&mut words, &more),
                Some(ExecOutput::Exited(code)) => return copying.result(code, &words).map(|()| None),
                None => return Err(copying.failed("it was ended before it was done")),
            }
        }
    };
    let first = tokio::time::timeout_at(deadline.into(), first).await;
    let first = first.unwrap_or_else(|_| Err(copying.failed("nothing could be read in time")))?;
    let (sender, pieces) = mpsc::channel(QUEUE);
    if let Some(first) = first {
        let name = format!("copy from {}", copying.place);
        task::spawn(name, carry_out(copying, session, first, sender));
    }
    Ok(Outgoing { pieces })
}

/// Ends early, and with it the session, when nobody wants more.
async fn carry_out(
    copying: Copying,
    mut session: ExecSession,
    first: Bytes,
    pieces: mpsc::Sender<Result<Bytes, CopyError>>,
) {
    let mut words = Vec::new();
    let mut next = Some(ExecOutput::Stdout(first));
    loop {
        match next {
            Some(ExecOutput::Stdout(piece)) => {
                if pieces.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
            Some(ExecOutput::Stderr(more)) => keep(&mut words, &more),
            ended @ (Some(ExecOutput::Exited(_)) | None) => {
                let result = match ended {
                    Some(ExecOutput::Exited(code)) => copying.result(code, &words),
                    _ => Err(copying.failed("it was ended before it was done")),
                };
                if let Err(error) = result {
                    let _ = pieces.send(Err(error)).await;
                }
                return;
            }
        }
        next = tokio::select! {
            next = session.output.recv() => next,
            () = pieces.closed() => return,
        };
    }
}

/// Carries what comes until it has ended in the node.
pub(super) fn incoming(copying: Copying, session: ExecSession) -> Incoming {
    let (pieces, arriving) = mpsc::channel(QUEUE);
    let (told, done) = oneshot::channel();
    task::spawn(format!("copy to {}", copying.place), carry_in(copying, session, arriving, told));
    Incoming { pieces, done }
}

async fn carry_in(
    copying: Copying,
    session: ExecSession,
    arriving: mpsc::Receiver<Bytes>,
    mut told: oneshot::Sender<Result<(), CopyError>>,
) {
    let ExecSession { input, mut output } = session;
    let mut words = Vec::new();
    let ended = async {
        loop {
            match output.recv().await {
                Some(ExecOutput::Stdout(_)) => {}
                Some(ExecOutput::Stderr(more)) => keep(&mut words, &more),
                Some(ExecOutput::Exited(code)) => return copying.result(code, &words),
                None => return Err(copying.failed("it was ended before it was done")),
            }
        }
    };
    let result = tokio::select! {
        result = ended => result,
        // It only ever waits: the end comes through the output.
        () = feed(input, arriving) => return,
        // Nobody wants to know any more; dropping the session ends the copying.
        () = told.closed() => return,
    };
    let _ = told.send(result);
}

async fn feed(input: mpsc::Sender<ExecInput>, mut arriving: mpsc::Receiver<Bytes>) {
    while let Some(piece) = arriving.recv().await {
        if input.send(ExecInput::Stdin(piece)).await.is_err() {
            break;
        }
    }
    let _ = input.send(ExecInput::CloseStdin).await;
    // More would not be wanted: senders find the queue closed.
    drop(arriving);
    std::future::pending::<()>().await;
}
