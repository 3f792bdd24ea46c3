//! Logs: written by a thread of its own from a bounded queue. A pipe that nobody drains blocks that thread and
//! nothing else: what does not fit into the queue is dropped and counted.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait.
const QUEUE: usize = 4096;
/// How long the end of the process waits for lines to be written.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// One per process, because a process has one default subscriber.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// The queue of the default subscriber.
static LINES: OnceLock<SyncSender<Message>> = OnceLock::new();

/// How many lines were dropped since the start of the process.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The thread could not be started.
    #[error("the log thread cannot be started: {0}")]
    Thread(#[from] io::Error),
    /// Something else logs in this process already.
    #[error("logs are set up already")]
    Twice,
}

/// Sends logs to standard error, through the bounded queue. `levels` is what `NETLOOM_LOG` holds: `info`, `debug`,
/// `netloom_engine=trace,info`; if it cannot be read, that is said and `info` taken.
pub fn init(levels: &str, format: Format) -> Result<LogGuard, LogError> {
    let (filter, wrong) = match EnvFilter::try_new(if levels.is_empty() { "info" } else { levels }) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let (writer, guard) = queue(io::stderr())?;
    let _ = LINES.set(writer.lines.clone());
    let builder = tracing_subscriber::fmt().with_writer(writer).with_env_filter(filter);
    match format {
        Format::Text => builder.with_ansi(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LogError::Twice)?;
    if let Some(error) = wrong {
        tracing::warn!(levels, %error, "the log levels (NETLOOM_LOG) cannot be read; using `info`");
    }
    Ok(guard)
}

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Writes what waits when it is dropped, for half a second at most. Keep it until the process ends.
#[derive(Debug)]
pub struct LogGuard {
    lines: SyncSender<Message>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Line(_) => "Line",
            Self::Flush(_) => "Flush",
        })
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        flush_into(&self.lines);
    }
}

/// Waits until what was said is written, for half a second at most.
pub(crate) fn flush() {
    if let Some(lines) = LINES.get() {
        flush_into(lines);
    }
}

fn flush_into(lines: &SyncSender<Message>) {
    let (done, written) = sync_channel(1);
    if lines.try_send(Message::Flush(done)).is_ok() {
        let _ = written.recv_timeout(LAST_WORDS);
    }
}

#[derive(Debug, Clone)]
struct Writer {
    lines: SyncSender<Message>,
}

fn queue(sink: impl io::Write + Send + 'static) -> io::Result<(Writer, LogGuard)> {
    let (lines, waiting) = sync_channel(QUEUE);
    thread::Builder::new().name("log".into()).spawn(move || write_lines(&waiting, sink))?;
    Ok((Writer { lines: lines.clone() }, LogGuard { lines }))
}

fn write_lines(waiting: &Receiver<Message>, mut sink: impl io::Write) {
    let mut said = dropped();
    while let Ok(message) = waiting.recv() {
        match message {
            // A sink that is closed takes no complaint either.
            Message::Line(line) => drop(sink.write_all(&line)),
            Message::Flush(done) => {
                let _ = sink.flush();
                let _ = done.try_send(());
            }
        }
        let now = dropped();
        if now != said {
            let line = format!("netloom: {} log lines were dropped: nobody read them\n", now - said);
            let _ = sink.write_all(line.as_bytes());
            said = now;
        }
    }
}

impl io::Write for Writer {
    /// The subscriber formats an event first and writes it with one call, so that a call is a line.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.lines.try_send(Message::Line(line.to_vec())) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                DROPPED.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// A sink that says what it is given and then waits to be released.
    struct Stuck {
        seen: SyncSender<Vec<u8>>,
        release: Receiver<()>,
    }

    impl io::Write for Stuck {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.seen.send(line.to_vec());
            let _ = self.release.recv();
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_nobody_drains_blocks_no_logger_and_what_is_lost_is_counted_and_said() {
        let (seen, lines) = sync_channel(QUEUE * 2);
        let (unblock, release) = sync_channel(1);
        let (mut writer, guard) = queue(Stuck { seen, release }).unwrap();
        writer.write_all(b"first\n").unwrap();
        assert_eq!(lines.recv_timeout(Duration::from_secs(5)).unwrap(), b"first\n");
        // The thread is stuck now: the queue takes its fill, the rest is dropped.
        let before = dropped();
        for _ in 0..QUEUE + 10 {
            writer.write_all(b"more\n").unwrap();
        }
        assert_eq!(dropped() - before, 10);
        drop(unblock);
        // The line, then what was lost; other tests of this process drop nothing.
        let said = String::from_utf8(lines.recv_timeout(Duration::from_secs(5)).unwrap()).unwrap();
        assert_eq!(said, "netloom: 10 log lines were dropped: nobody read them\n");
        drop(guard);
    }
}
