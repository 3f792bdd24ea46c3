//! An open-loop prober of `/healthz`: a probe leaves at its time, whether the last one was answered or not.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// As the health checks of containers have it.
const LIMIT: Duration = Duration::from_secs(5);

/// Probes until it is stopped.
pub(crate) struct Prober {
    stop: SyncSender<()>,
    thread: JoinHandle<Report>,
}

/// What the probes found.
pub(crate) struct Report {
    answered: Vec<Duration>,
    failed: usize,
}

impl Prober {
    /// Starts `rate` probes a second.
    pub(crate) fn start(rate: u32) -> Self {
        let (stop, stopped) = sync_channel::<()>(1);
        let thread = thread::spawn(move || {
            let period = Duration::from_secs(1) / rate;
            let mut next = Instant::now();
            let mut probes = Vec::new();
            loop {
                next += period;
                match stopped.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Err(RecvTimeoutError::Timeout) => probes.push(thread::spawn(probe)),
                    _ => break,
                }
            }
            let mut report = Report { answered: Vec::new(), failed: 0 };
            for probe in probes {
                match probe.join() {
                    Ok(Some(took)) => report.answered.push(took),
                    _ => report.failed += 1,
                }
            }
            report
        });
        Self { stop, thread }
    }

    /// Stops and waits for the last answers.
    pub(crate) fn stop(self) -> Report {
        let _ = self.stop.send(());
        self.thread.join().unwrap_or(Report { answered: Vec::new(), failed: 0 })
    }
}

fn probe() -> Option<Duration> {
    let started = Instant::now();
    let mut stream = TcpStream::connect_timeout(&"127.0.0.1:8001".parse().ok()?, LIMIT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    answer.starts_with(b"HTTP/1.1 200").then(|| started.elapsed())
}

impl Report {
    /// One line.
    pub(crate) fn print(mut self) {
        self.answered.sort();
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "an index"
            )]
            let index = ((self.answered.len() as f64) * share) as usize;
            self.answered
                .get(index.min(self.answered.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
                .as_secs_f64()
                * 1000.0
        };
        println!(
            "/healthz: {} probes, {} failed, p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            self.answered.len() + self.failed,
            self.failed,
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        );
    }
}
