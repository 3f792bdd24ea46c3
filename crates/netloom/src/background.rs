//! An agent without a terminal: how it is started, and where its log goes.
//!
//! ```text
//!   netloom agent --background              netloom agent --detached
//!       │  stdout, stderr: pipes  ◀──────────── "ready", or why not; closed when it is ready
//!       │                                       stderr ──pipe──▶ thread `log file` ──▶ <state>/agent.log
//! ```
//!
//! Everything that the agent says goes through the pipe, a panic too; the file is moved to `agent.log.1` when it
//! is full, so that it never grows beyond its bound.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use netloom_engine::Layout;
use rustix::stdio::{dup2_stderr, dup2_stdout};

use crate::failure::{Failure, Result, plain};

/// How long a start may take.
const LIMIT: Duration = Duration::from_secs(10);
/// What the log file may take, twice: the one that is written and the one before.
const LOG_MAX: u64 = 8 << 20;
/// What the child says when it answers.
const READY: &str = "ready\n";

/// Where the log of an agent in the background is.
pub(crate) fn log_path(layout: &Layout) -> PathBuf {
    layout.state().join("agent.log")
}

/// Starts an agent that outlives this process, and returns when it answers.
pub(crate) async fn start(layout: &Layout) -> Result {
    let program = std::env::current_exe().map_err(|error| cannot(&plain(&error)))?;
    let mut child = Command::new(program)
        .args(["agent", "--detached"])
        .current_dir("/")
        .env("NETLOOM_ROOT", layout.root())
        // It is a flag for this process, and contradicts those of the other.
        .env_remove("NETLOOM_AGENT_BACKGROUND")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot(&plain(&error)))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (done, said) = tokio::sync::oneshot::channel();
    let listen = move || {
        let read = |pipe: Option<Box<dyn Read>>| {
            let mut text = String::new();
            let _ = pipe.map(|pipe| pipe.take(64 << 10).read_to_string(&mut text));
            text
        };
        let ready = read(stdout.map(|pipe| Box::new(pipe) as Box<dyn Read>));
        let why = read(stderr.map(|pipe| Box::new(pipe) as Box<dyn Read>));
        let _ = done.send((ready, why));
    };
    thread::Builder::new().name("start".into()).spawn(listen).map_err(|error| cannot(&plain(&error)))?;
    let log = log_path(layout);
    match tokio::time::timeout(LIMIT, said).await {
        Ok(Ok((ready, _))) if ready == READY => Ok(()),
        Ok(Ok((_, why))) => {
            let _ = child.wait();
            let why = why.trim().trim_start_matches("netloom: ");
            Err(cannot(if why.is_empty() { "it ended at once" } else { why }))
        }
        Ok(Err(_)) => Err(cannot("it cannot be listened to")),
        Err(_) => Err(cannot(&format!(
            "it (process {}) does not answer within {} s; its log is {}",
            child.id(),
            LIMIT.as_secs(),
            log.display()
        ))),
    }
}

fn cannot(why: &str) -> Failure {
    Failure::failed(format_args!("the agent cannot be started: {why}"))
}

/// The child's side: whom to tell how the start went.
pub(crate) struct Starter {
    ready: File,
    errors: File,
}

impl Starter {
    /// Leaves the session of the caller, and sends what is said on standard error to the log file.
    pub(crate) fn detach(layout: &Layout) -> io::Result<Self> {
        // Fails when it leads a session already, and then there is nothing to leave.
        let _ = rustix::process::setsid();
        let (ready, errors) = (
            File::from(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?),
            File::from(rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3)?),
        );
        let null = OpenOptions::new().write(true).open("/dev/null")?;
        dup2_stdout(&null)?;
        let log = Log::open(&log_path(layout))?;
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        thread::Builder::new().name("log file".into()).spawn(move || log.copy(File::from(reader)))?;
        dup2_stderr(&writer)?;
        Ok(Self { ready, errors })
    }

    /// Tells that the start failed.
    pub(crate) fn failed(mut self, why: &str) {
        let _ = self.errors.write_all(why.as_bytes());
    }

    /// Tells that it answers, and lets the caller go.
    pub(crate) fn ready(mut self) {
        // A caller that has gone does not want to know any more.
        let _ = self.ready.write_all(READY.as_bytes());
    }
}

/// A log file with a bound.
struct Log {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Log {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size })
    }

    /// Writes what comes until nothing can come any more. What a full disk does not take is lost.
    fn copy(mut self, mut from: File) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let _ = self.write(&buffer[..n]);
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size >= LOG_MAX {
            let mut before = self.path.clone().into_os_string();
            before.push(".1");
            std::fs::rename(&self.path, before)?;
            *self = Self::open(&self.path)?;
        }
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_is_moved_aside_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.log");
        let mut log = Log::open(&path).unwrap();
        let block = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            log.write(&block).unwrap();
        }
        let sizes: Vec<u64> =
            std::fs::read_dir(&directory).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 2);
        assert!(sizes.iter().all(|size| *size <= LOG_MAX), "{sizes:?}");
    }
}
