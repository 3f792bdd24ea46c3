//! A ping each 10 ms between two containers, to see whether one of them is lost: a switch in user space passes nothing of which
//! somebody else reckons the checksums, and so no stream.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netloom_kernel::{Process, Signal};

use crate::host::until;

/// How long the first may take.
const FIRST: Duration = Duration::from_secs(10);

/// Those pings, until they are stopped.
pub(crate) struct Pings {
    ping: Child,
    said: PathBuf,
}

impl Pings {
    /// Begins in the network of this process, and returns when the first have come back.
    pub(crate) fn start(from: &str, to: &str, said: PathBuf) -> Result<Self> {
        let ping = Command::new("nsenter")
            .args(["--target", from, "--net", "ping", "-n", "-i", "0.01", to])
            .stdin(Stdio::null())
            .stdout(File::create(&said)?)
            .spawn()
            .context("nsenter")?;
        let pings = Self { ping, said };
        ensure!(until(FIRST, || Ok(pings.back().len() > 10))?, "no ping comes back: {}", pings.text());
        Ok(pings)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// The numbers of those that came back.
    fn back(&self) -> Vec<usize> {
        let number = |line: &str| line.split_once("icmp_seq=")?.1.split_once(' ')?.0.parse().ok();
        self.text().lines().filter_map(number).collect()
    }

    /// Ends them. Every one but those at the beginning, when a switch still learns, came back once; the last may be on its way.
    pub(crate) fn stop(mut self) -> Result<()> {
        let ping = Process::open(self.ping.id())?.context("the pings have ended")?;
        ping.signal(Signal::INT)?;
        self.ping.wait()?;
        let (back, text) = (self.back(), self.text());
        let sent = text.split_once(" packets transmitted").and_then(|(before, _)| before.lines().last()?.parse().ok());
        let first = back.first().copied().unwrap_or_default();
        let is_whole = (first..first + back.len()).eq(back.iter().copied())
            && sent.is_some_and(|sent: usize| sent <= first + back.len());
        ensure!(is_whole, "sent {sent:?} pings, {} came back: {}", back.len(), text.lines().last().unwrap_or_default());
        Ok(())
    }
}
